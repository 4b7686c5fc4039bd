//! Personal data: texts of which only a keyed hash is kept.
//!
//! The hash is HMAC-SHA-256 (RFC 2104 over FIPS 180-4), cut to its first 128 bits and written as 32
//! hexadecimal digits. It is a standard that databases and languages have, so that whoever holds
//! the key finds the records of a person without us. Blanks around a text are cut off; its case
//! counts unless the mapping says `ignore_case`. The name of the field is not hashed, so one text
//! has one hash wherever it stands.
//!
//! A *mark* stands for a text in a dead letter that was redacted: it names the key by its
//! fingerprint, so that a hash is known as one, and is not hashed again.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::event::decode::{Bad, Reason};

/// The shortest key taken: below it all keys could be tried.
const SHORTEST: usize = 32;
/// How much of a hash is kept.
const HASH_BYTES: usize = 16;
/// How much of a hash names its key.
const FINGERPRINT_BYTES: usize = 8;
/// What a mark begins with.
const MARK: &str = "hmac-sha256:";
/// What is hashed to name a key: no cell of a row, which has no blank at its start.
const FINGERPRINT_OF: &str = " the key of Dealpulse's hashes";

/// A key to hash with.
#[derive(Clone)]
pub struct HashKey(Arc<Keyed>);

struct Keyed {
    mac: Hmac<Sha256>,
    fingerprint: String,
}

/// Never the key itself.
impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HashKey {}", self.0.fingerprint)
    }
}

impl HashKey {
    /// A key of a secret text.
    ///
    /// # Errors
    /// It is too short; what would be right.
    pub fn new(secret: &str) -> Result<HashKey, String> {
        let secret = secret.trim();
        let length = secret.chars().count();
        let too_short = || {
            format!(
                "the key has {length} characters; write at least {SHORTEST}, as `openssl rand -hex 32` prints them"
            )
        };
        if length < SHORTEST {
            return Err(too_short());
        }
        let mac = Hmac::new_from_slice(secret.as_bytes()).map_err(|_| too_short())?;
        let fingerprint = hex(&mac, FINGERPRINT_OF, FINGERPRINT_BYTES);
        Ok(HashKey(Arc::new(Keyed { mac, fingerprint })))
    }

    /// Names the key without giving it away: 16 hexadecimal digits.
    pub fn fingerprint(&self) -> &str {
        &self.0.fingerprint
    }

    /// The hash of a text: 32 hexadecimal digits.
    pub fn hash(&self, text: &str) -> String {
        hex(&self.0.mac, text, HASH_BYTES)
    }

    /// The hash of bytes, whole: 64 hexadecimal digits.
    pub fn whole_hash(&self, bytes: &[u8]) -> String {
        digits(
            &self
                .0
                .mac
                .clone()
                .chain_update(bytes)
                .finalize()
                .into_bytes(),
        )
    }
}

fn hex(mac: &Hmac<Sha256>, text: &str, bytes: usize) -> String {
    let hash = mac.clone().chain_update(text).finalize().into_bytes();
    digits(&hash[..bytes])
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A mark, taken apart.
struct Mark<'a> {
    fingerprint: &'a str,
    hash: &'a str,
}

impl<'a> Mark<'a> {
    fn of(text: &'a str) -> Option<Mark<'a>> {
        let (fingerprint, hash) = text.trim().strip_prefix(MARK)?.split_once(':')?;
        let is_hex = |text: &str, bytes: usize| {
            text.len() == 2 * bytes && text.bytes().all(|b| b.is_ascii_hexdigit())
        };
        (is_hex(fingerprint, FINGERPRINT_BYTES) && is_hex(hash, HASH_BYTES))
            .then_some(Mark { fingerprint, hash })
    }
}

/// True if a text is the mark of one that was redacted.
pub fn is_mark(text: &str) -> bool {
    Mark::of(text).is_some()
}

/// How the texts of a column are hashed.
#[derive(Debug, Clone)]
pub(super) struct Hashing {
    /// Capitals don't count.
    pub ignore_case: bool,
    /// The key; none as long as nobody gave one.
    pub key: Option<HashKey>,
}

impl Hashing {
    /// What is kept of a text that isn't blank.
    ///
    /// # Errors
    /// [`Reason::Redacted`] for the mark of another key; there is no key.
    pub fn kept<'a>(&self, text: &'a str) -> Result<Cow<'a, str>, Bad> {
        let key = self.key()?;
        match Mark::of(text) {
            None => Ok(key.hash(&self.normal(text)).into()),
            Some(mark) if mark.fingerprint == key.fingerprint() => Ok(Cow::Borrowed(mark.hash)),
            Some(mark) => Err(Bad::new(
                Reason::Redacted,
                format!(
                    "it was redacted with the key {}, and the key is {} now; replay it with that one",
                    mark.fingerprint,
                    key.fingerprint()
                ),
            )),
        }
    }

    /// What stands for a text in a dead letter.
    ///
    /// # Errors
    /// There is no key.
    pub fn mark(&self, text: &str) -> Result<String, Bad> {
        if is_mark(text) {
            return Ok(text.to_owned());
        }
        let key = self.key()?;
        let hash = key.hash(&self.normal(text));
        Ok(format!("{MARK}{}:{hash}", key.fingerprint()))
    }

    fn key(&self) -> Result<&HashKey, Bad> {
        let problem = "its mapping hashes a column, and there is no key to hash with";
        self.key
            .as_ref()
            .ok_or_else(|| Bad::new(Reason::Redacted, problem))
    }

    fn normal<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let text = text.trim();
        if self.ignore_case {
            text.to_lowercase().into()
        } else {
            text.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "00112233445566778899aabbccddeeff";

    fn hashing(secret: &str, ignore_case: bool) -> Hashing {
        Hashing {
            ignore_case,
            key: Some(HashKey::new(secret).unwrap()),
        }
    }

    #[test]
    fn a_hash_is_what_any_other_tool_computes() {
        // printf %s kim@example.com | openssl dgst -sha256 -hmac 00112233445566778899aabbccddeeff
        let key = HashKey::new(SECRET).unwrap();
        let whole = "ea49aa47d8a0665837fd0ce75f1846f7031a4d396bd9527a653a31be2bcc439b";
        assert_eq!(key.whole_hash(b"kim@example.com"), whole);
        assert_eq!(key.hash("kim@example.com"), whole[..32]);
    }

    #[test]
    fn blanks_around_do_not_count_and_case_does_unless_said() {
        let exact = hashing(SECRET, false);
        let kept = |hashing: &Hashing, text: &str| hashing.kept(text).unwrap().into_owned();
        assert_eq!(kept(&exact, " Kim@x "), kept(&exact, "Kim@x"));
        assert_ne!(kept(&exact, "Kim@x"), kept(&exact, "kim@x"));
        let folded = hashing(SECRET, true);
        assert_eq!(kept(&folded, "KIM@x"), kept(&exact, "kim@x"));
        let other = hashing("another key of at least 32 characters", false);
        assert_ne!(kept(&exact, "kim@x"), kept(&other, "kim@x"));
    }

    #[test]
    fn a_mark_is_not_hashed_again_and_is_refused_under_another_key() {
        let ours = hashing(SECRET, true);
        let mark = ours.mark(" KIM@x").unwrap();
        assert!(is_mark(&mark) && !mark.to_lowercase().contains("kim"));
        assert_eq!(ours.mark(&mark).unwrap(), mark);
        assert_eq!(ours.kept(&mark).unwrap(), ours.kept("kim@x").unwrap());
        let other = hashing("another key of at least 32 characters", true);
        assert_eq!(other.kept(&mark).unwrap_err().reason, Reason::Redacted);
        for text in ["hmac-sha256:", "hmac-sha256:00:11", "hmac-sha256", ""] {
            assert!(!is_mark(text), "{text}");
        }
    }

    #[test]
    fn a_short_key_is_refused_and_no_key_is_printed() {
        assert!(HashKey::new("secret").unwrap_err().contains("6 characters"));
        let key = HashKey::new(SECRET).unwrap();
        assert!(!format!("{key:?}").contains(SECRET));
        let keyless = Hashing {
            ignore_case: false,
            key: None,
        };
        assert_eq!(keyless.kept("kim").unwrap_err().reason, Reason::Redacted);
    }
}
