//! A record is a function of the set of what was said of it: not of the order, the repetitions or
//! the pieces it came in.

use std::sync::{Arc, LazyLock};

use proptest::prelude::*;

use super::deal::{AMOUNT, OWNER_ID, STAGE, STATUS};
use super::*;
use crate::definitions::{DefinitionsSpec, StageMeaning};
use crate::event::{Decimal, FieldSpec, Kind, Value};
use crate::metric::Catalogue;

/// With one stage that stands for a status.
static DEFINITIONS: LazyLock<Arc<Catalogue>> = LazyLock::new(|| {
    let mut spec = DefinitionsSpec::default();
    spec.stages.insert(
        "signed".into(),
        StageMeaning {
            status: Some("won".into()),
            probability: None,
        },
    );
    Arc::new(Catalogue::new(spec).unwrap())
});

/// One assertion about a deal: clock, offset of its origin, values.
#[derive(Debug, Clone)]
struct Said {
    clock: Clock,
    offset: u64,
    values: Vec<(Field, Value<'static>)>,
}

#[derive(Default)]
struct Shelf {
    symbols: Symbols,
    customs: CustomFields,
    record: Record,
}

fn origin(offset: u64) -> Origin {
    Origin {
        offset,
        ..Origin::default()
    }
}

fn at(time: i64) -> Clock {
    Clock { time, sequence: 0 }
}

impl Shelf {
    /// Custom fields are numbered from [`Field::FIRST_CUSTOM`] in a test; a shelf numbers them as
    /// it meets them.
    fn say(&mut self, said: &Said) -> bool {
        let (customs, symbols) = (&mut self.customs, &mut self.symbols);
        let number = |field: &Field, customs: &mut CustomFields| match field
            .0
            .checked_sub(Field::FIRST_CUSTOM)
        {
            Some(number) => customs.number(&format!("custom{number}")),
            None => Some(*field),
        };
        let values = said.values.iter();
        let values: Vec<_> = values
            .map(|(field, value)| (number(field, customs), Held::hold(value, symbols)))
            .collect();
        let stamp = Stamp {
            clock: said.clock,
            origin: origin(said.offset),
        };
        let spec = Entity::DEAL.spec();
        let effect = self.record.fold(spec, stamp, values.into_iter(), symbols);
        assert_eq!(effect.overflowed, 0);
        effect.changed
    }

    fn of<'s>(all: impl IntoIterator<Item = &'s Said>) -> Shelf {
        let mut shelf = Shelf::default();
        for said in all {
            shelf.say(said);
        }
        shelf
    }

    fn with_statuses(statuses: impl Iterator<Item = (i64, &'static str)>) -> Shelf {
        let mut shelf = Shelf::default();
        for (time, word) in statuses {
            shelf.status(time, 0, word);
        }
        shelf
    }

    fn status(&mut self, time: i64, offset: u64, word: &'static str) -> bool {
        self.say(&Said {
            clock: at(time),
            offset,
            values: vec![(STATUS, text(word))],
        })
    }

    fn bytes(&self) -> Vec<u8> {
        self.record.to_bytes(&self.customs, &self.symbols)
    }

    fn shown(&self, field: Field) -> Value<'_> {
        self.record.latest(field).show(&self.symbols)
    }

    fn run(&self) -> StatusRun {
        status::status(
            &self.record,
            super::deal::STATUS_FIELDS,
            &DEFINITIONS.compile(&mut self.symbols.clone()),
        )
    }
}

fn text(word: &'static str) -> Value<'static> {
    Value::Text(word.into())
}

/// Few values, few clocks, and enough of them that histories are cut.
fn said(clocks: i64) -> impl Strategy<Value = Said> {
    let value = prop_oneof![
        Just((STATUS, text("won"))),
        Just((STATUS, text("lost"))),
        Just((STATUS, text("open"))),
        Just((STATUS, Value::Null)),
        Just((OWNER_ID, text("u1"))),
        Just((OWNER_ID, text("u2"))),
        Just((STAGE, text("talks"))),
        Just((AMOUNT, Value::Decimal(Decimal(1)))),
        Just((AMOUNT, Value::Decimal(Decimal(-2)))),
        Just((AMOUNT, Value::Null)),
        Just((Field::DELETED, Value::Flag(true))),
        Just((Field::DELETED, Value::Flag(false))),
        Just((Field(Field::FIRST_CUSTOM), text("gold"))),
        Just((Field(Field::FIRST_CUSTOM + 1), text("gold"))),
        Just((Field(Field::FIRST_CUSTOM + 1), text("tin"))),
    ];
    (
        0..clocks,
        0u64..3,
        0u64..40,
        prop::collection::vec(value, 0..5),
    )
        .prop_map(|(time, sequence, offset, mut values)| {
            // A message says one thing of a field.
            let mut seen = std::collections::HashSet::new();
            values.retain(|(field, _)| seen.insert(*field));
            Said {
                clock: Clock { time, sequence },
                offset,
                values,
            }
        })
}

/// One delivery: every assertion whole or in pieces, some again at the same or a later offset, in
/// an order of its own.
fn delivered(said: &[Said], picks: &[(u8, u32)]) -> Vec<Said> {
    let mut out: Vec<(u32, Said)> = Vec::new();
    for (s, (how, place)) in said.iter().zip(picks.iter().cycle()) {
        let place = |turn: u32| place.wrapping_mul(2_654_435_761).rotate_left(turn * 7);
        if how & 1 == 1 {
            out.extend(s.values.iter().enumerate().map(|(i, v)| {
                (
                    place(i as u32),
                    Said {
                        values: vec![v.clone()],
                        ..s.clone()
                    },
                )
            }));
            out.push((
                place(9),
                Said {
                    values: Vec::new(),
                    ..s.clone()
                },
            ));
        } else {
            out.push((place(1), s.clone()));
        }
        if how & 2 == 2 {
            out.push((place(2), s.clone()));
        }
        if how & 4 == 4 {
            out.push((
                place(3),
                Said {
                    offset: s.offset + 100 + u64::from(how >> 3),
                    ..s.clone()
                },
            ));
        }
    }
    out.sort_by_key(|(place, _)| *place);
    out.into_iter().map(|(_, said)| said).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn order_repetition_and_pieces_leave_no_trace(
        all in prop_oneof![prop::collection::vec(said(4), 0..30), prop::collection::vec(said(60), 150..260)],
        picks in prop::collection::vec(any::<(u8, u32)>(), 1..300),
    ) {
        let plain = Shelf::of(&all);
        let mut other = Shelf::of(&delivered(&all, &picks));
        prop_assert_eq!(plain.bytes(), other.bytes());
        for said in delivered(&all, &picks) {
            prop_assert!(!other.say(&said), "what was said already changed something: {:?}", said);
        }
    }

    #[test]
    fn a_record_comes_back_from_its_bytes_and_folds_on(all in prop::collection::vec(said(60), 0..260), split in any::<prop::sample::Index>()) {
        let (before, after) = all.split_at(split.index(all.len() + 1));
        let (whole, first) = (Shelf::of(&all), Shelf::of(before));
        let mut second = Shelf::default();
        second.symbols.intern("a shelf with other numbers");
        second.customs.number("custom1");
        second.record = Record::from_bytes(Entity::DEAL.spec(), &first.bytes(), &mut second.customs, &mut second.symbols).unwrap();
        prop_assert_eq!(first.bytes(), second.bytes());
        for said in after {
            second.say(said);
        }
        prop_assert_eq!(whole.bytes(), second.bytes());
    }

    #[test]
    fn damaged_bytes_are_an_error_or_a_record_never_a_panic(
        all in prop::collection::vec(said(60), 0..120), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut in any::<prop::sample::Index>()
    ) {
        let mut shelf = Shelf::of(&all);
        let mut bytes = shelf.bytes();
        let length = bytes.len();
        flips.iter().for_each(|(at, flip)| bytes[at.index(length)] ^= flip);
        for bytes in [&bytes[..], &bytes[..cut.index(length)]] {
            if let Ok(record) = Record::from_bytes(Entity::DEAL.spec(), bytes, &mut shelf.customs, &mut shelf.symbols) {
                let written = record.to_bytes(&shelf.customs, &shelf.symbols);
                let again = Record::from_bytes(Entity::DEAL.spec(), &written, &mut shelf.customs, &mut shelf.symbols).unwrap();
                prop_assert_eq!(again.to_bytes(&shelf.customs, &shelf.symbols), written, "what was taken in can be kept");
            }
        }
    }

    #[test]
    fn a_history_is_the_greatest_64_clocks_with_all_tied_values(all in prop::collection::vec(said(60), 0..260)) {
        let shelf = Shelf::of(&all);
        // The plainest history: every (clock, value) with its smallest origin, cut by whole clocks.
        let mut plain: std::collections::BTreeMap<(Clock, String), u64> = std::collections::BTreeMap::new();
        for said in &all {
            for (_, value) in said.values.iter().filter(|(field, _)| *field == STATUS) {
                let offset = plain.entry((said.clock, format!("{value:?}"))).or_insert(said.offset);
                *offset = said.offset.min(*offset);
            }
        }
        let clocks: std::collections::BTreeSet<Clock> = plain.keys().map(|(clock, _)| *clock).collect();
        let oldest = clocks.iter().rev().nth(HISTORY_CLOCKS - 1).copied();
        let is_kept = |clock: &Clock| oldest.is_none_or(|oldest| *clock >= oldest);
        let mut expected: Vec<(Clock, u64, String)> =
            plain.iter().filter(|((c, _), _)| is_kept(c)).map(|((c, v), o)| (*c, *o, v.clone())).collect();
        expected.sort();
        let mut found: Vec<(Clock, u64, String)> = shelf
            .record
            .stamped(STATUS, &shelf.symbols)
            .map(|s| (s.stamp.clock, s.stamp.origin.offset, format!("{:?}", s.held.show(&shelf.symbols))))
            .collect();
        prop_assert!(found.is_sorted_by_key(|(clock, offset, _)| (*clock, *offset)));
        found.sort();
        prop_assert_eq!(found, expected);
        // Of what was cut, each value's earliest and latest clock, each with its smallest origin.
        let gone: Vec<&(Clock, String)> = plain.keys().filter(|(clock, _)| !is_kept(clock)).collect();
        let words: std::collections::BTreeSet<&String> = gone.iter().map(|(_, value)| value).collect();
        let mut cuts: Vec<(String, Stamp, Stamp)> = Vec::new();
        for cut in shelf.record.cuts().iter().filter(|c| c.field == STATUS) {
            cuts.push((format!("{:?}", cut.held.show(&shelf.symbols)), cut.earliest, cut.latest));
        }
        cuts.sort();
        let clocks = |word: &String| gone.iter().filter(|(_, value)| value == word).map(|(clock, _)| *clock).collect::<Vec<_>>();
        let stamp = |clock: Clock, word: &String| Stamp { clock, origin: origin(plain[&(clock, word.clone())]) };
        let ends = |word: &String| (*clocks(word).iter().min().unwrap(), *clocks(word).iter().max().unwrap());
        let expected: Vec<_> = words.into_iter().map(|w| (w.clone(), stamp(ends(w).0, w), stamp(ends(w).1, w))).collect();
        prop_assert_eq!(cuts, expected);
    }

    /// Against the whole history, which only the test keeps: exact where one run was cut, never
    /// before the others' latest.
    #[test]
    fn through_the_cut_a_run_begins_as_late_as_can_be_known(words in prop::collection::vec(prop::sample::select(vec!["won", "won", "won", "lost"]), 1..90)) {
        let shelf = Shelf::with_statuses(words.iter().enumerate().map(|(time, word)| (time as i64, *word)));
        let run = shelf.run();
        let last = words[words.len() - 1];
        let begin = words.iter().rposition(|w| *w != last).map_or(0, |before| before + 1) as i64;
        let kept = words.len().saturating_sub(HISTORY_CLOCKS) as i64;
        prop_assert_eq!(run.history_cut, begin < kept, "flagged where the cut reaches into the run");
        let since = run.since.unwrap().time;
        let had_one_run = words[..begin as usize].iter().all(|w| *w != last);
        if begin >= kept || had_one_run {
            prop_assert_eq!(since, begin);
        } else {
            prop_assert_eq!(since, begin - 1, "the latest of the others: the run began after it");
        }
    }
}

#[test]
fn rule_of_tied_values_the_one_whose_smallest_origin_is_greatest_wins() {
    let mut shelf = Shelf::default();
    let amount = |offset, number| Said {
        clock: at(5),
        offset,
        values: vec![(AMOUNT, Value::Decimal(Decimal(number)))],
    };
    assert!(shelf.say(&amount(10, 1)));
    assert!(shelf.say(&amount(20, 2)));
    assert_eq!(shelf.shown(AMOUNT), Value::Decimal(Decimal(2)));
    let before = shelf.bytes();
    assert!(!shelf.say(&amount(30, 1)), "a redelivery at a new offset");
    assert_eq!(shelf.bytes(), before);
    assert!(
        shelf.say(&amount(5, 2)),
        "the winner turns out to have been said first"
    );
    assert_eq!(
        shelf.shown(AMOUNT),
        Value::Decimal(Decimal(1)),
        "so the loser, which was kept, wins"
    );
}

#[test]
fn rule_a_history_is_cut_by_whole_clocks() {
    let mut shelf = Shelf::default();
    shelf.status(0, 0, "open");
    shelf.status(0, 1, "won");
    for time in 1..HISTORY_CLOCKS as i64 {
        shelf.status(time, 0, "open");
    }
    assert_eq!(
        shelf.record.history(STATUS).count(),
        HISTORY_CLOCKS + 1,
        "64 clocks, one of them with two values"
    );
    assert!(shelf.record.cuts().is_empty());
    shelf.status(HISTORY_CLOCKS as i64, 0, "open");
    assert_eq!(shelf.record.history(STATUS).count(), HISTORY_CLOCKS);
    let cuts: Vec<(Held, Clock)> = shelf
        .record
        .cuts()
        .iter()
        .map(|c| (c.held, c.earliest.clock))
        .collect();
    assert_eq!(
        cuts,
        [
            (Held::Text(Symbol::OPEN), at(0)),
            (Held::Text(Symbol::WON), at(0))
        ],
        "both tied values went together"
    );
}

#[test]
fn rule_that_something_was_cut_is_a_flag_not_a_count() {
    let mut shelf = Shelf::with_statuses((0..100).map(|time| (time, "won")));
    let before = shelf.bytes();
    for time in 0..100 {
        assert!(
            !shelf.status(time, 0, "won"),
            "what was cut and comes again changes nothing"
        );
    }
    assert_eq!(shelf.bytes(), before);
}

#[test]
fn rule_the_earliest_clock_of_a_cut_run_stands_in_for_closed_at() {
    let won = |from: i64| (from..200).map(|time| (time, "won"));
    let shelf = Shelf::with_statuses([(1, "open")].into_iter().chain(won(2)));
    assert_eq!(
        shelf.run(),
        StatusRun {
            status: Status::Won,
            since: Some(at(2)),
            history_cut: true,
            reopened: None
        }
    );
    // Won, lost and won again, all of it cut: the latest of the others is the best that is known.
    let shelf = Shelf::with_statuses([(1, "won"), (2, "lost")].into_iter().chain(won(3)));
    assert_eq!(
        shelf.run(),
        StatusRun {
            status: Status::Won,
            since: Some(at(2)),
            history_cut: true,
            reopened: None
        }
    );
}

#[test]
fn a_status_cut_off_after_a_stage_that_was_kept_still_dates_the_run() {
    let mut shelf = Shelf::default();
    shelf.say(&Said {
        clock: at(1),
        offset: 0,
        values: vec![(STAGE, text("signed"))],
    });
    for time in 2..200 {
        shelf.status(time, 0, "lost");
    }
    assert_eq!(
        shelf.run(),
        StatusRun {
            status: Status::Lost,
            since: Some(at(2)),
            history_cut: true,
            reopened: None
        }
    );
}

#[test]
fn a_stage_that_a_status_contradicted_at_its_clock_never_closed_a_deal_cut_or_not() {
    // A stage that stands for won, and at its clock the status: open. Then open once more, and won
    // until the status is cut, alone or with the stage.
    for stage_goes_on in [false, true] {
        let mut shelf = Shelf::default();
        let mut say = |time: i64, values: Vec<(Field, Value<'static>)>| {
            shelf.say(&Said {
                clock: at(time),
                offset: time as u64,
                values,
            });
        };
        say(5, vec![(STAGE, text("signed")), (STATUS, text("open"))]);
        say(9, vec![(STATUS, text("open"))]);
        for time in 10..200 {
            let talks = stage_goes_on.then(|| (STAGE, text("talks")));
            let won = (STATUS, text("won"));
            say(time, talks.into_iter().chain([won]).collect());
        }
        assert_eq!(shelf.run().reopened, None, "{stage_goes_on}");
    }
}

#[test]
fn what_an_earlier_format_says_was_cut_off_is_read() {
    let mut written = crate::codec::Writer::default();
    [1, 1].into_iter().for_each(|byte| written.byte(byte));
    written.clock(at(3));
    let (stamps, values, cuts) = (0, 0, 1);
    [stamps, values, cuts]
        .into_iter()
        .for_each(|n| written.number(n));
    written.byte(STATUS.0 as u8);
    written.value(&text("won"));
    [3, 9].into_iter().for_each(|time| written.clock(at(time)));
    let mut shelf = Shelf::default();
    let (customs, symbols) = (&mut shelf.customs, &mut shelf.symbols);
    let spec = Entity::DEAL.spec();
    let record = Record::from_bytes(spec, &written.bytes, customs, symbols).unwrap();
    let [earliest, latest] = [3, 9].map(|time| Stamp {
        clock: at(time),
        origin: Origin::default(),
    });
    let cut = Cut {
        field: STATUS,
        held: Held::Text(Symbol::WON),
        earliest,
        latest,
    };
    assert_eq!(record.cuts(), [cut]);
}

#[test]
fn a_stage_that_a_status_contradicts_does_not_interrupt_its_run() {
    // Lost from the second day on, whatever the stage is called; then so often that it is cut.
    for days in [10, 200] {
        let mut shelf = Shelf::default();
        for time in 1..days {
            let status = text(if time == 1 { "open" } else { "lost" });
            shelf.say(&Said {
                clock: at(time),
                offset: 0,
                values: vec![(STAGE, text("signed")), (STATUS, status)],
            });
        }
        let expected = StatusRun {
            status: Status::Lost,
            since: Some(at(2)),
            history_cut: days == 200,
            reopened: None,
        };
        assert_eq!(shelf.run(), expected);
    }
}

#[test]
fn a_stage_says_its_status_also_when_it_is_cut_off() {
    let mut shelf = Shelf::default();
    for time in 1..200 {
        let stage = if time == 1 { "signed" } else { "delivered" };
        shelf.say(&Said {
            clock: at(time),
            offset: 0,
            values: vec![(STAGE, text(stage))],
        });
    }
    let expected = StatusRun {
        status: Status::Won,
        since: Some(at(1)),
        history_cut: true,
        reopened: None,
    };
    assert_eq!(shelf.run(), expected);
}

#[test]
fn a_status_that_lost_a_tie_never_closed_a_deal_cut_or_not() {
    // Won and open at one clock, open having the last word; open once more, and lost for long.
    for days in [20, 200] {
        let mut shelf = Shelf::default();
        shelf.status(5, 1, "won");
        shelf.status(5, 2, "open");
        shelf.status(9, 0, "open");
        for time in 10..days {
            shelf.status(time, 0, "lost");
        }
        let run = shelf.run();
        assert_eq!((run.since, run.reopened), (Some(at(10)), None), "{days}");
    }
}

#[test]
fn what_was_cut_before_another_status_does_not_date_the_run() {
    let open = (2..10).map(|time| (time, "open"));
    let shelf = Shelf::with_statuses(
        [(1, "won")]
            .into_iter()
            .chain(open)
            .chain((10..74).map(|time| (time, "won"))),
    );
    assert_eq!(
        shelf.run(),
        StatusRun {
            status: Status::Won,
            since: Some(at(10)),
            history_cut: false,
            reopened: Some(at(1))
        }
    );
}

#[test]
fn the_earliest_clock_is_kept_whatever_comes_later() {
    let mut shelf = Shelf::default();
    for (time, expected) in [(7, 7), (9, 7), (3, 3), (5, 3)] {
        shelf.record.witness(at(time));
        assert_eq!(shelf.record.first(), Some(at(expected)));
    }
}

/// A value of a field, another one for another number.
fn some_value(spec: &FieldSpec, number: usize) -> Value<'static> {
    match spec.kind {
        Kind::Text | Kind::Reference | Kind::Currency => {
            Value::Text(["one", "two"][number % 2].into())
        }
        Kind::Keyword(words) => Value::Text(words[number % words.len()].into()),
        Kind::When => Value::When(crate::event::When::Date(20_000 + number as i32)),
        Kind::Money | Kind::Fraction => Value::Decimal(Decimal(1_000 + number as i64)),
        Kind::Rate => Value::Text("1.25".into()),
        Kind::Flag => Value::Flag(number % 2 == 1),
    }
}

/// A record of an entity with every field but those common to all, and what it reads as.
fn full(entity: Entity, changes: &[(Field, usize)], again: Option<Field>) -> Reading {
    let (mut symbols, customs) = (Symbols::default(), CustomFields::default());
    let spec = entity.spec();
    let compiled = DEFINITIONS.compile(&mut symbols);
    let id = symbols.intern("it");
    let mut record = Record::default();
    let mut fold = |time: i64, field: Field, number: usize, symbols: &mut Symbols| {
        let held = Held::hold(&some_value(spec.spec(field), number), symbols);
        let values = [(Some(field), held)];
        let stamp = Stamp {
            clock: at(time),
            origin: origin(time as u64),
        };
        record.fold(spec, stamp, values.into_iter(), symbols);
    };
    for number in 2..spec.fields.len() {
        fold(1, Field(number as u16), 0, &mut symbols);
    }
    for (field, number) in changes {
        fold(2, *field, *number, &mut symbols);
    }
    if let Some(field) = again {
        fold(3, field, 0, &mut symbols);
    }
    let context = ReadContext {
        compiled: &compiled,
        symbols: &symbols,
        customs: &customs,
        aliases: &Aliases::default(),
    };
    let key = Key { entity, id };
    (declared(entity).read)(key, &record, &Inbox::default(), context)
}

#[test]
fn what_a_declaration_says_is_not_read_changes_no_reading() {
    for entity in Entity::ALL {
        let (declared, plain) = (declared(entity), full(entity, &[], None));
        let mut read = 0;
        for number in 2..entity.fields().len() {
            let field = Field(number as u16);
            let changed = full(entity, &[(field, 1)], None) != plain;
            let name = entity.fields()[number].name;
            let is_read = declared.read_mask() & field.bit() != 0;
            assert!(
                is_read || !changed,
                "{}.{name} is read and not declared",
                entity.name()
            );
            read += usize::from(changed);
            let moved = full(entity, &[], Some(field)) != plain;
            let is_clock = declared.clock_mask(true) & field.bit() != 0;
            assert!(
                is_clock || !moved,
                "the clock of {}.{name} is read",
                entity.name()
            );
        }
        assert!(
            read > 0 || plain == Reading::Nothing,
            "{}: nothing is read",
            entity.name()
        );
    }
}

#[test]
fn a_link_of_the_first_version_reads_like_one_of_today() {
    let mut symbols = Symbols::default();
    let mut writer = crate::codec::Writer::default();
    writer.byte(1); // a deal
    writer.byte(Status::Won as u8);
    writer.when(Some(crate::event::When::Date(20_000)));
    writer.value(&Value::Decimal(Decimal(5)));
    writer.value(&Value::Null);
    writer.text("EUR");
    writer.number(1);
    writer.byte(2);
    writer.text("p1");
    writer.number(3);
    let old = read_link(&mut Reader::new(&writer.bytes), &mut symbols)
        .unwrap()
        .unwrap();
    let deal: deal::DealOutcome = old.read().unwrap();
    assert_eq!(
        (deal.status, deal.amount, deal.excluded),
        (Status::Won, Some(5), 3)
    );
    assert_eq!(symbols.text(deal.dims[2]), "p1");
    let mut again = crate::codec::Writer::default();
    link::write(Some(&old), &symbols, &mut again);
    let today = read_link(&mut Reader::new(&again.bytes), &mut symbols).unwrap();
    assert_eq!(today, Some(old), "and is written in today's form");
    for cut in 0..writer.bytes.len() {
        assert!(read_link(&mut Reader::new(&writer.bytes[..cut]), &mut symbols).is_err());
    }
}
