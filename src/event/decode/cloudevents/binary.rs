//! Binary mode: the attributes are the message's headers, and its value is the data alone.

use std::borrow::Cow;

use super::super::json::Json;
use super::super::{Bad, Context, Reason};
use super::{Envelope, Header, event_type};

const CONTENT_TYPE: &str = "content-type";

/// Whether a message is in binary mode. One whose content is said to be a whole event is not,
/// whatever else its headers say.
pub(super) fn is_binary(headers: &[Header<'_>]) -> bool {
    let is_event = |(name, value): &Header<'_>| {
        let start = value.get(.."application/cloudevents".len());
        name.eq_ignore_ascii_case(CONTENT_TYPE)
            && start.is_some_and(|start| start.eq_ignore_ascii_case(b"application/cloudevents"))
    };
    headers.iter().any(|(name, _)| *name == "ce_type") && !headers.iter().any(is_event)
}

/// Reads an event from its headers and its data.
pub(super) fn read<'a>(
    text: &'a str,
    headers: &[Header<'a>],
    context: &Context<'_>,
) -> Result<Envelope<'a>, Bad> {
    let header = |name: &str| -> Result<Option<Cow<'a, str>>, Bad> {
        Ok(find(headers, name)?.map(Cow::Borrowed))
    };
    let mut event = Envelope::default();
    let kind = header("ce_type");
    if let Ok(Some(kind)) = &kind {
        event.kind = Some(event_type(kind, context.schema));
    }
    if !text.trim().is_empty() {
        let mut json = Json::new(text);
        json.next()?;
        event.data.read(&mut json, &event.kind, context)?;
        json.finish()?;
    }
    kind?;
    event.specversion = header("ce_specversion")?;
    event.subject = header("ce_subject")?;
    event.time = header("ce_time")?;
    event.sequence = find(headers, "ce_sequence")?.map(sequence).transpose()?;
    event.data.set_reference(header("ce_dataref")?);
    for name in ["ce_datacontenttype", CONTENT_TYPE] {
        event.data.set_media_type(header(name)?);
    }
    Ok(event)
}

/// The last header of a name.
fn find<'a>(headers: &[Header<'a>], name: &str) -> Result<Option<&'a str>, Bad> {
    let is_it = |(known, _): &&Header<'_>| match name {
        CONTENT_TYPE => known.eq_ignore_ascii_case(name), // bridges from HTTP write it in any case
        _ => *known == name,
    };
    let Some((_, bytes)) = headers.iter().rev().find(is_it) else {
        return Ok(None);
    };
    std::str::from_utf8(bytes)
        .map(Some)
        .map_err(|_| Bad::new(Reason::NotAnEvent, format!("header `{name}` is not UTF-8")))
}

/// A header is bare text; as a JSON value it is either a number or would need quotes.
fn sequence(text: &str) -> Result<&str, Bad> {
    let mut json = Json::new(text);
    let read = json.skip().and_then(|raw| json.finish().map(|()| raw));
    read.map_err(|_| Bad::new(Reason::WrongType, "header `ce_sequence` is no whole number"))
}
