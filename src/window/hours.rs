//! How long panes of hours are kept. Only the window of the last 24 hours is made from them, so that
//! they are kept no longer than it may need them: that of a year would be as many cells as those of
//! its days, and more.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::calendar::DAY;

/// The least number of days. The window reaches into the day before, and the clock it is cut by may
/// be behind the log's.
const LEAST: u32 = 2;

/// For how long panes of hours are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "String")]
pub enum HoursKept {
    /// Those of the present day and of so many days before it, by the greatest time at which the
    /// log took a message.
    Days(u32),
    /// All of them: where windows end in the past, as those of a report do.
    All,
}

/// As it is written down.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Other(IgnoredAny),
}

impl Default for HoursKept {
    fn default() -> Self {
        HoursKept::Days(7)
    }
}

impl HoursKept {
    /// True if nothing else was written down.
    pub fn is_default(&self) -> bool {
        *self == HoursKept::default()
    }

    /// Why hours can't be kept so, and what to write instead.
    pub fn problem(self) -> Option<String> {
        match self {
            HoursKept::Days(days @ ..LEAST) => Some(format!(
                "`{days}d` is too short for the window of 24 hours; write `{LEAST}d` or more, or `all`"
            )),
            HoursKept::Days(_) | HoursKept::All => None,
        }
    }

    /// The start (s) of the first hour that is kept when the log has come to a time (µs); the least
    /// number there is if all are. It moves by whole days, so that there is seldom something to
    /// drop.
    pub fn first(self, append_time: i64) -> i64 {
        match self {
            HoursKept::Days(days) => {
                (append_time.div_euclid(DAY * 1_000_000) - i64::from(days)) * DAY
            }
            HoursKept::All => i64::MIN,
        }
    }
}

impl From<HoursKept> for String {
    fn from(kept: HoursKept) -> String {
        match kept {
            HoursKept::Days(days) => format!("{days}d"),
            HoursKept::All => "all".into(),
        }
    }
}

impl TryFrom<Written> for HoursKept {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written::Text(text) = written else {
            return Err("write a number of days as a text, like `\"7d\"`, or `\"all\"`".into());
        };
        let days = text.strip_suffix('d').map(str::parse);
        match (text.as_str(), days) {
            ("all", _) => Ok(HoursKept::All),
            (_, Some(Ok(days))) => Ok(HoursKept::Days(days)),
            _ => Err(format!(
                "`{text}` is no number of days; write one like `7d`, or `all`"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<HoursKept, String> {
        let kept: Result<HoursKept, _> = serde_json::from_value(text.into());
        let kept = kept.map_err(|error| error.to_string())?;
        kept.problem().map_or(Ok(kept), Err)
    }

    #[test]
    fn days_are_read_and_written_and_what_is_too_short_or_none_is_refused_with_the_fix() {
        for text in ["2d", "7d", "400d", "all"] {
            let kept = read(text).unwrap();
            assert_eq!(serde_json::to_value(kept).unwrap(), text);
        }
        for text in ["7", "d", "-7d", "7h", "", "ALL", "99999999999d"] {
            assert!(
                read(text).unwrap_err().contains("write one like `7d`"),
                "{text}"
            );
        }
        let number: Result<HoursKept, _> = serde_json::from_value(7.into());
        assert!(number.unwrap_err().to_string().contains("as a text"));
        for text in ["0d", "1d"] {
            assert!(
                read(text).unwrap_err().contains("write `2d` or more"),
                "{text}"
            );
        }
    }

    #[test]
    fn the_hours_of_so_many_days_before_the_present_one_are_kept() {
        let kept = HoursKept::Days(2);
        let day = 86_400 * 1_000_000;
        assert_eq!(kept.first(20_000 * day), 19_998 * DAY);
        assert_eq!(kept.first(20_001 * day - 1), 19_998 * DAY);
        assert_eq!(kept.first(20_001 * day), 19_999 * DAY);
        assert_eq!(HoursKept::All.first(20_000 * day), i64::MIN);
        assert!(HoursKept::Days(u32::MAX).first(0) < 0);
    }
}
