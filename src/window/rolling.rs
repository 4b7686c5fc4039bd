//! Windows: which panes a stretch like "the last 28 days" is the sum of. They are cut when they are
//! read, never while folding.

use super::calendar::{Calendar, DAY, Day, civil};
use super::pane::Grain;
use super::when::When;

/// A time range metrics are read for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Window {
    /// The hour panes, so many, that end with the present one.
    Hours(u32),
    /// Today so far and the local days before, so many in all.
    Days(u32),
    /// The fiscal quarter so far.
    QuarterToDate,
    /// One calendar month, by its first day.
    Month(Day),
    /// From the beginning, also what has no usable time.
    All,
}

/// The windows the gauges show.
pub const ROLLING: [Window; 5] = [
    Window::Hours(24),
    Window::Days(7),
    Window::Days(28),
    Window::Days(90),
    Window::QuarterToDate,
];

/// How the panes a metric looks at lie to the window it is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Span {
    /// The window itself.
    Window,
    /// The window moved back until every cohort in it had this many days (× 24 h) to mature.
    Matured(u32),
    /// The window itself, if it is one of whole local days.
    LocalDays,
    /// Everything before the window, if it is one of whole local days and has a beginning.
    UpToStart,
    /// Everything up to the window's end.
    UpToEnd,
    /// Everything before the so many local days that the window ends with.
    BeforeLastDays(u32),
    /// All there is, dated or not, whatever the window.
    Ever,
    /// The local days before today, whatever the window.
    BeforeToday,
    /// Today and the local days after it, whatever the window.
    FromToday,
    /// The calendar period: of a window that is a month, that month; of any other, the fiscal
    /// quarter that holds today. All of its days.
    Period,
    /// The month panes of the same.
    MonthsOfPeriod,
    /// Today and the days after it in the same.
    RestOfPeriod,
    /// As many local days as the window has, before it; of a month or a quarter, as many of the one
    /// before. Nothing for hours.
    Previous,
    /// The same local days a year before. Nothing for hours.
    YearBefore,
    /// The month pane of a window that is a calendar month; no panes for any other.
    MonthPane,
    /// The month pane of the last calendar month that is over: of a window that is a month, that
    /// month itself, once it is.
    FullMonth,
}

impl Span {
    /// How long before the present lies what is looked at, in seconds, besides the window's length.
    pub fn lag(self) -> i64 {
        match self {
            Span::Matured(days) => i64::from(days) * DAY,
            _ => 0,
        }
    }
}

/// The panes to be summed: those of `grain` from `from` up to before `to`, in a pane's seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PaneRange {
    /// The panes' grain.
    pub grain: Grain,
    /// The start of the first pane.
    pub from: i64,
    /// The start of the first pane that is not in it any more.
    pub to: i64,
    /// What has no usable time counts as well.
    pub undated: bool,
}

/// The two times that windows are cut by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The present, or for history its last instant (µs).
    pub now: i64,
    /// Up to where everything has been folded (µs): a cohort is mature only when this has passed
    /// its time too.
    pub watermark: i64,
}

impl Window {
    /// Its label: `24h`, `7d`, `qtd`, `2026-03`, `all`.
    pub fn label(&self) -> String {
        match self {
            Window::Hours(hours) => format!("{hours}h"),
            Window::Days(days) => format!("{days}d"),
            Window::QuarterToDate => "qtd".into(),
            Window::Month(day) => civil(*day).format("%Y-%m").to_string(),
            Window::All => "all".into(),
        }
    }

    /// The panes to sum for the window as `span` looks at it; `None` where the span means nothing
    /// for it.
    pub fn panes(&self, span: Span, at: Now, calendar: &Calendar) -> Option<PaneRange> {
        let now = When::Instant(at.now);
        let today = calendar.day(now);
        let days = |from: Day, to: Day| PaneRange {
            grain: Grain::Day,
            from: i64::from(from) * DAY,
            to: i64::from(to) * DAY,
            undated: false,
        };
        let everything = |to: Day| PaneRange {
            from: i64::MIN,
            ..days(0, to)
        };
        let period = self.period(today, calendar);
        match span {
            Span::Window => Some(match self {
                Window::Hours(hours) => {
                    last_hours(*hours, calendar.hour_start(now), true, calendar)
                }
                Window::Days(count) => days(today - *count as Day + 1, today + 1),
                Window::QuarterToDate => days(calendar.quarter_start(today), today + 1),
                Window::Month(first) => days(*first, calendar.next_month(*first)),
                Window::All => PaneRange {
                    undated: true,
                    to: i64::MAX,
                    ..everything(0)
                },
            }),
            Span::Matured(maturity) => {
                // The pane that holds this instant is the first whose end plus the maturity has not
                // passed.
                let limit =
                    When::Instant(at.now.min(at.watermark) - i64::from(maturity) * DAY * 1_000_000);
                let young = calendar.day(limit);
                let within = |from: Day, to: Day| days(from, to.min(young).max(from));
                Some(match self {
                    Window::Hours(hours) => {
                        last_hours(*hours, calendar.hour_start(limit), false, calendar)
                    }
                    Window::Days(count) => days(young - *count as Day, young),
                    Window::QuarterToDate => within(calendar.quarter_start(today), today + 1),
                    Window::Month(first) => within(*first, calendar.next_month(*first)),
                    Window::All => everything(young),
                })
            }
            Span::LocalDays => match self {
                Window::Hours(_) => None,
                _ => self.panes(Span::Window, at, calendar),
            },
            Span::UpToStart => match self {
                Window::Hours(_) | Window::All => None,
                _ => {
                    let window = self.panes(Span::Window, at, calendar)?;
                    Some(PaneRange {
                        from: i64::MIN,
                        to: window.from,
                        ..window
                    })
                }
            },
            Span::UpToEnd => Some(everything(self.end(today, calendar))),
            Span::BeforeLastDays(count) => {
                Some(everything(self.end(today, calendar) - count as Day))
            }
            Span::Ever => Some(PaneRange {
                undated: true,
                to: i64::MAX,
                ..everything(0)
            }),
            Span::BeforeToday => Some(everything(today)),
            Span::FromToday => Some(PaneRange {
                from: i64::from(today) * DAY,
                to: i64::MAX,
                ..days(0, 0)
            }),
            Span::Period => Some(days(period.0, period.1)),
            Span::MonthsOfPeriod => Some(PaneRange {
                grain: Grain::Month,
                ..days(period.0, period.1)
            }),
            Span::RestOfPeriod => Some(days(today.clamp(period.0, period.1), period.1)),
            Span::Previous => {
                let (first, end) = self.local_days(today, calendar)?;
                let before = match self {
                    Window::Month(_) => calendar.month_start(first - 1),
                    Window::QuarterToDate => calendar.quarter_start(first - 1),
                    _ => first - (end - first),
                };
                // The last month may have fewer days than this one; a full month is compared with a
                // full one.
                let same = if end == calendar.next_month(first) && matches!(self, Window::Month(_))
                {
                    first
                } else {
                    (before + (end - first)).min(first)
                };
                Some(days(before, same))
            }
            Span::YearBefore => {
                let (first, end) = self.local_days(today, calendar)?;
                Some(days(calendar.year_before(first), calendar.year_before(end)))
            }
            Span::MonthPane => match self {
                Window::Month(first) => Some(PaneRange {
                    grain: Grain::Month,
                    ..days(*first, *first + 1)
                }),
                _ => None,
            },
            Span::FullMonth => {
                let present = calendar.month_start(today);
                let first = match self {
                    Window::Month(first) => *first,
                    Window::All => return None,
                    _ => calendar.month_start(present - 1),
                };
                (first < present).then(|| PaneRange {
                    grain: Grain::Month,
                    ..days(first, first + 1)
                })
            }
        }
    }
}

impl Window {
    /// The calendar period it stands for, from its first day up to before the second one: a month,
    /// or the fiscal quarter that holds today.
    pub fn period(&self, today: Day, calendar: &Calendar) -> (Day, Day) {
        match self {
            Window::Month(first) => (*first, calendar.next_month(*first)),
            _ => {
                let first = calendar.quarter_start(today);
                (first, calendar.next_quarter(first))
            }
        }
    }

    /// The first day after it: of a month that is not over, as of any other window, the day after
    /// today.
    fn end(&self, today: Day, calendar: &Calendar) -> Day {
        match self {
            Window::Month(first) => calendar.next_month(*first).min(today + 1),
            _ => today + 1,
        }
    }

    /// Its local days up to today, from the first one up to before the second one; none of one of
    /// hours, or without a beginning.
    pub fn local_days(&self, today: Day, calendar: &Calendar) -> Option<(Day, Day)> {
        let end = today + 1;
        match self {
            Window::Days(count) => Some((end - *count as Day, end)),
            Window::QuarterToDate => Some((calendar.quarter_start(today), end)),
            Window::Month(first) => {
                Some((*first, calendar.next_month(*first).min(end.max(*first))))
            }
            Window::Hours(_) | Window::All => None,
        }
    }
}

/// So many hour panes: ending with the one that starts at `hour`, or before it.
fn last_hours(hours: u32, hour: i64, inclusive: bool, calendar: &Calendar) -> PaneRange {
    let before = |start: i64| calendar.hour_start(When::Instant((start - 1) * 1_000_000));
    let steps = if inclusive {
        hours.saturating_sub(1)
    } else {
        hours
    };
    let from = (0..steps).fold(hour, |start, _| before(start));
    PaneRange {
        grain: Grain::Hour,
        from,
        to: if inclusive { hour + 1 } else { hour },
        undated: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::Pane;
    use chrono_tz::Tz;

    fn range(window: Window, span: Span, now: &str) -> (String, String) {
        let calendar = Calendar::new(Tz::Europe__Berlin, 1);
        let now = calendar.instant(When::parse(now).unwrap());
        let panes = window
            .panes(
                span,
                Now {
                    now,
                    watermark: i64::MAX,
                },
                &calendar,
            )
            .unwrap();
        let show = |seconds: i64| {
            chrono::DateTime::from_timestamp(seconds, 0)
                .unwrap()
                .format("%Y-%m-%dT%H:%M:%S")
                .to_string()
        };
        (show(panes.from), show(panes.to))
    }

    #[test]
    fn a_window_of_days_is_today_and_the_local_days_before() {
        // 22:30 UTC is the next day in Berlin.
        let week = range(Window::Days(7), Span::Window, "2026-03-31T22:30:00Z");
        assert_eq!(
            week,
            ("2026-03-26T00:00:00".into(), "2026-04-02T00:00:00".into())
        );
        let quarter = range(Window::QuarterToDate, Span::Window, "2026-03-31T22:30:00Z");
        assert_eq!(
            quarter,
            ("2026-04-01T00:00:00".into(), "2026-04-02T00:00:00".into())
        );
    }

    #[test]
    fn a_window_of_hours_ends_with_the_present_hour() {
        let day = range(Window::Hours(24), Span::Window, "2026-01-02T10:20:00Z");
        assert_eq!(
            day,
            ("2026-01-01T11:00:00".into(), "2026-01-02T10:00:01".into())
        );
    }

    #[test]
    fn a_cohort_is_mature_when_its_last_moment_had_its_days() {
        // The day of January 30 in Berlin ends January 30, 23:00 UTC; thirty days later is March 1,
        // 23:00 UTC.
        let until = |now| range(Window::Days(1), Span::Matured(30), now).1;
        assert_eq!(until("2026-03-01T22:59:59Z"), "2026-01-30T00:00:00");
        assert_eq!(until("2026-03-01T23:00:00Z"), "2026-01-31T00:00:00");
        let calendar = Calendar::new(Tz::UTC, 1);
        let late = Now {
            now: 100 * DAY * 1_000_000,
            watermark: 50 * DAY * 1_000_000,
        };
        let panes = Window::All
            .panes(Span::Matured(30), late, &calendar)
            .unwrap();
        assert_eq!(
            panes.to,
            20 * DAY,
            "what has not been folded yet can't be judged"
        );
    }

    #[test]
    fn a_month_is_cut_to_its_mature_days() {
        let calendar = Calendar::new(Tz::UTC, 1);
        let first = calendar.day(When::parse("2026-03-01").unwrap());
        let now = |text: &str| Now {
            now: calendar.instant(When::parse(text).unwrap()),
            watermark: i64::MAX,
        };
        let panes = |at| {
            Window::Month(first)
                .panes(Span::Matured(30), at, &calendar)
                .unwrap()
        };
        assert_eq!(
            panes(now("2026-04-11T00:00:00Z")).to,
            i64::from(first + 11) * DAY
        );
        assert_eq!(
            panes(now("2026-02-01T00:00:00Z")).to,
            panes(now("2026-02-01T00:00:00Z")).from,
            "none of it"
        );
        assert_eq!(
            panes(now("2027-02-01T00:00:00Z")).to,
            i64::from(calendar.next_month(first)) * DAY
        );
    }

    #[test]
    fn a_window_is_compared_with_as_many_days_before_it_and_a_year_ago() {
        let days = |window: Window, span, now: &str| {
            let (from, to) = range(window, span, now);
            (from[..10].to_owned(), to[..10].to_owned())
        };
        let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        let first = |text: &str| match When::parse(text) {
            Some(When::Date(day)) => day,
            other => panic!("{text}: {other:?}"),
        };
        let now = "2026-03-31T10:00:00Z";
        let week = Window::Days(7);
        assert_eq!(
            days(week.clone(), Span::Previous, now),
            pair("2026-03-18", "2026-03-25")
        );
        assert_eq!(
            days(week, Span::YearBefore, now),
            pair("2025-03-25", "2025-04-01")
        );
        // February has no 29th to 31st day.
        let march = Window::Month(first("2026-03-01"));
        assert_eq!(
            days(march.clone(), Span::Previous, "2026-03-30T10:00:00Z"),
            pair("2026-02-01", "2026-03-01")
        );
        assert_eq!(
            days(march.clone(), Span::Previous, "2026-03-10T10:00:00Z"),
            pair("2026-02-01", "2026-02-11")
        );
        // A month that is over is compared with all of the one before.
        let february = Window::Month(first("2026-02-01"));
        assert_eq!(
            days(february, Span::Previous, now),
            pair("2026-01-01", "2026-02-01")
        );
        let quarter = Window::QuarterToDate;
        assert_eq!(
            days(quarter, Span::Previous, "2026-02-10T10:00:00Z"),
            pair("2025-10-01", "2025-11-11")
        );
        assert_eq!(
            days(march, Span::YearBefore, now),
            pair("2025-03-01", "2025-04-01")
        );
        let leap = Window::Month(first("2024-02-01"));
        assert_eq!(
            days(leap, Span::YearBefore, now),
            pair("2023-02-01", "2023-03-01")
        );
    }
    #[test]
    fn what_is_due_is_cut_at_today_whatever_the_window() {
        // 22:30 UTC is April 1 in Berlin.
        let calendar = Calendar::new(Tz::Europe__Berlin, 1);
        let at = Now {
            now: calendar.instant(When::parse("2026-03-31T22:30:00Z").unwrap()),
            watermark: i64::MAX,
        };
        let day = |text: &str| calendar.day(When::parse(text).unwrap());
        let (yesterday, today) = (Pane::day(day("2026-03-31")), Pane::day(day("2026-04-01")));
        let february = Window::Month(day("2026-02-01"));
        for window in [Window::Hours(24), Window::Days(7), february, Window::All] {
            let holds = |span, pane| window.panes(span, at, &calendar).unwrap().holds(pane);
            let both = |span| (holds(span, yesterday), holds(span, today));
            assert_eq!(both(Span::BeforeToday), (true, false));
            assert_eq!(both(Span::FromToday), (false, true));
            assert_eq!(both(Span::Ever), (true, true));
            let undated = [Span::BeforeToday, Span::FromToday, Span::Ever];
            assert_eq!(
                undated.map(|span| holds(span, Pane::UNDATED)),
                [false, false, true]
            );
        }
    }

    #[test]
    fn the_last_days_end_with_the_window() {
        let calendar = Calendar::new(Tz::Europe__Berlin, 1);
        let at = Now {
            now: calendar.instant(When::parse("2026-03-31T22:30:00Z").unwrap()),
            watermark: i64::MAX,
        };
        let day = |text: &str| calendar.day(When::parse(text).unwrap());
        let first = |window: Window| {
            let before = window.panes(Span::BeforeLastDays(30), at, &calendar);
            civil((before.unwrap().to / DAY) as Day).to_string()
        };
        assert_eq!(
            first(Window::Days(7)),
            "2026-03-03",
            "the last one is April 1"
        );
        assert_eq!(first(Window::Hours(24)), "2026-03-03");
        assert_eq!(first(Window::Month(day("2026-02-01"))), "2026-01-30");
        let unfinished = Window::Month(day("2026-04-01"));
        assert_eq!(first(unfinished), "2026-03-03", "it ends today so far");
    }
}
