//! What of an envelope carries data. It is read, or the event is refused: nothing that a source
//! sends is lost in silence.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::super::json::{Json, Next};
use super::super::{Bad, Context, Reason, short};
use super::Action;
use super::fields::Fields;
use crate::event::EntityRef;

/// The data attributes of an event.
#[derive(Debug, Default)]
pub(super) struct Data<'a> {
    content: Content<'a>,
    /// `data_base64`
    encoded: Option<Cow<'a, str>>,
    /// `dataref`: the data, or a copy of them, are at another place.
    reference: Option<Cow<'a, str>>,
    /// The first media type that is not JSON.
    foreign: Option<Cow<'a, str>>,
}

#[derive(Debug, Default)]
enum Content<'a> {
    /// No `data`, or `null`.
    #[default]
    None,
    /// Read already.
    Fields(Fields<'a>),
    /// Written before the `type` that says how to read it.
    Json(&'a str),
}

impl<'a> Data<'a> {
    /// Reads the value that comes next as `data`: at once if the event's type is known by now.
    pub(super) fn read(
        &mut self,
        json: &mut Json<'a>,
        kind: &Option<Result<(EntityRef, Action), Bad>>,
        context: &Context<'_>,
    ) -> Result<(), Bad> {
        self.content = match kind {
            _ if json.next()? == Next::Null => {
                json.value()?;
                Content::None
            }
            Some(Ok((entity, action))) if *action != Action::Deleted => {
                Content::Fields(Fields::read(json, *entity, context.namespace)?)
            }
            _ => Content::Json(json.skip()?),
        };
        Ok(())
    }

    pub(super) fn set_encoded(&mut self, encoded: Option<Cow<'a, str>>) {
        self.encoded = encoded;
    }

    pub(super) fn set_reference(&mut self, reference: Option<Cow<'a, str>>) {
        self.reference = reference.filter(|place| !place.trim().is_empty());
    }

    pub(super) fn set_media_type(&mut self, media_type: Option<Cow<'a, str>>) {
        let foreign = media_type.filter(|media_type| !is_json(media_type));
        self.foreign = self.foreign.take().or(foreign);
    }

    /// The fields it asserts: none of a deleted record, whatever its source sends of it all the
    /// same.
    ///
    /// # Errors
    /// [`Reason::NotAnEvent`] if there are data that can't be read: twice, elsewhere or not as
    /// JSON.
    pub(super) fn fields(
        self,
        (entity, action): (EntityRef, Action),
        context: &Context<'_>,
    ) -> Result<Fields<'a>, Bad> {
        let refused = |detail: String| Err(Bad::new(Reason::NotAnEvent, detail));
        if !matches!(self.content, Content::None) && self.encoded.is_some() {
            return refused("both `data` and `data_base64`; an event has one of them".to_owned());
        }
        if action == Action::Deleted {
            return Ok(Fields::default());
        }
        let is_empty = matches!(self.content, Content::None) && self.encoded.is_none();
        if let (true, Some(place)) = (is_empty, &self.reference) {
            let detail = "the data themselves belong into `data`";
            return refused(format!(
                "the data are at `{}` (`dataref`); {detail}",
                short(place)
            ));
        }
        if let (false, Some(media_type)) = (is_empty, &self.foreign) {
            let media_type = short(media_type);
            return refused(format!(
                "the data are `{media_type}`; expected application/json"
            ));
        }
        match (self.content, self.encoded) {
            (Content::Fields(fields), _) => Ok(fields),
            (Content::Json(text), _) => {
                Fields::read(&mut Json::new(text), entity, context.namespace)
            }
            (Content::None, Some(encoded)) => decoded(&encoded, entity, context),
            (Content::None, None) => Ok(Fields::default()),
        }
    }
}

fn decoded(
    encoded: &str,
    entity: EntityRef,
    context: &Context<'_>,
) -> Result<Fields<'static>, Bad> {
    let bytes = BASE64
        .decode(encoded.trim())
        .map_err(|_| Bad::new(Reason::NotAnEvent, "`data_base64` is not base64"))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Bad::new(Reason::NotJson, "`data_base64` holds what is not UTF-8"))?;
    let mut json = Json::new(&text);
    let fields = Fields::read(&mut json, entity, context.namespace)?;
    json.finish()?;
    Ok(fields.into_owned())
}

/// With padding or without: either way it means the same bytes.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// By the CloudEvents JSON format: the subtype is `json` or ends in `+json`. Blank is the same as
/// none, which means JSON.
fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    if essence.is_empty() {
        return true;
    }
    let Some((_, subtype)) = essence.split_once('/') else {
        return false;
    };
    let format = subtype.rsplit('+').next().unwrap_or_default();
    format.eq_ignore_ascii_case("json")
}

#[cfg(test)]
mod tests {
    use super::is_json;

    #[test]
    fn json_is_recognised_by_its_subtype() {
        for json in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/vnd.crm.v1+json",
            " text/json ;x=y",
            "",
        ] {
            assert!(is_json(json), "{json}");
        }
        for other in [
            "application/xml",
            "application/avro",
            "application/json5",
            "application/jsonl",
            "application/json+xml",
            "json",
            "text/plain; x=application/json",
        ] {
            assert!(!is_json(other), "{other}");
        }
    }
}
