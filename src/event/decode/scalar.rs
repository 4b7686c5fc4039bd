//! Scalars: one value of one field, read from text as its kind demands.

use std::borrow::Cow;

use super::{Bad, Reason, qualify, short};
use crate::event::{
    DECIMAL_ONE, Decimal, FieldSpec, Kind, Value, When, is_currency, rate, without_exponent,
};

/// Reads a field's value from text. Of a field that is no text, blank can only mean none: webhooks
/// write `""` for `null`.
///
/// # Errors
/// The reason and the field, with what would be right.
pub fn read_text<'a>(
    spec: &FieldSpec,
    text: Cow<'a, str>,
    namespace: Option<&str>,
) -> Result<Value<'a>, Bad> {
    let wrong = |expected: &str| {
        Bad::new(
            Reason::WrongType,
            format!("`{}` is `{}`; expected {expected}", spec.name, short(&text)),
        )
    };
    if spec.kind != Kind::Text && is_blank(&text) {
        return Ok(Value::Null);
    }
    Ok(match spec.kind {
        Kind::Text => Value::Text(text),
        Kind::Reference => qualify(namespace, text).map_or(Value::Null, Value::Text),
        Kind::Keyword(words) => match words.iter().find(|word| **word == text) {
            Some(word) => Value::Text(Cow::Borrowed(word)),
            None => return Err(wrong(&format!("one of {}", words.join(", ")))),
        },
        Kind::When => match When::parse(&text) {
            Some(when) => Value::When(when),
            None => {
                let detail = format!(
                    "`{}` is `{}`; expected an RFC 3339 instant, a date or epoch milliseconds",
                    spec.name,
                    short(&text)
                );
                return Err(Bad::new(Reason::BadTime, detail));
            }
        },
        Kind::Money => match Decimal::parse(&text) {
            Some(decimal) => Value::Decimal(decimal),
            None => {
                let detail = format!(
                    "`{}` is `{}`; expected a decimal with at most four places, below 922 trillion",
                    spec.name,
                    short(&text)
                );
                return Err(Bad::new(Reason::BadMoney, detail));
            }
        },
        Kind::Fraction => match Decimal::parse(&text) {
            Some(decimal @ Decimal(0..=DECIMAL_ONE)) => Value::Decimal(decimal),
            _ => return Err(wrong("a number from 0 to 1 with at most four places")),
        },
        Kind::Currency => {
            let code = text.trim();
            if !is_currency(code) {
                return Err(Bad::new(
                    Reason::BadMoney,
                    format!(
                        "`{}` is `{}`; expected an ISO 4217 code like EUR",
                        spec.name,
                        short(&text)
                    ),
                ));
            }
            let is_canonical = text.bytes().all(|b| b.is_ascii_uppercase());
            Value::Text(if is_canonical {
                text
            } else {
                code.to_ascii_uppercase().into()
            })
        }
        Kind::Rate => match rate(&text) {
            Some(_) => {
                let plain = without_exponent(text.trim());
                Value::Text(plain.map_or_else(String::new, Cow::into_owned).into())
            }
            None => return Err(wrong("a positive number with at most twelve places")),
        },
        Kind::Flag => match &*text {
            "true" => Value::Flag(true),
            "false" => Value::Flag(false),
            _ => return Err(wrong("true or false")),
        },
    })
}

fn is_blank(text: &str) -> bool {
    match text.as_bytes().first() {
        Some(b'!'..=b'~') => false,
        _ => text.trim().is_empty(),
    }
}
