//! Each rule taken away: some history must fail with the expected symptom, and the same history
//! with the rule must pass.

use std::collections::BTreeSet;

use dealpulse::pipeline::rebuild::Form;

use super::history::{History, Mischief};
use super::{Cast, World, number, run, run_events};
use crate::oracle::history::Event;

/// Which rule is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    Nothing,
    /// The checkpoint is read after the records.
    CheckpointReadLast,
    /// Rows are written before the greatest restored version is passed.
    WritesBeforeRestored,
    /// Cells that became zero are not written.
    ZerosDropped,
    /// Withdrawn links are not stored.
    WithdrawalsDropped,
    /// Only cells that differ from what they were at the last flush, or at the restart, are
    /// written.
    DifferentOnly,
    /// Contributions are taken at the flush, as the difference from the last one, not at every
    /// message.
    EvaluatedOnceAFlush,
    /// Records are written before the links and cells they led to.
    RecordsBeforeLinks,
    /// Field values are written before what follows from them.
    FieldValuesBeforeDerived,
    /// Of links with one target and sender, the last to arrive counts.
    LastLinkWins,
    /// Links are versioned by a count of the owner's own, not by the offset of the flush.
    LinksCountedByOwner,
    /// Merges are sent to the home of the merged record only.
    AliasesAtHomeOnly,
    /// Links are addressed by another partition count than the one recorded.
    ClientsPartitioner,
    /// A flush's records are those of a later offset than its version.
    Torn,
    /// An epoch begins in each shard when its owner finds it in the table, not by a message of the
    /// log.
    EpochsBegunByTable,
    /// Links of an epoch that arrive before its start are not kept.
    EarlyLinksIgnored,
    /// Two epochs of one log share their links.
    LinksSharedByEpochs,
    /// The switch comes after one turn of the checkpoints past the log's ends.
    OneTurn,
    /// The switch comes after two.
    TwoTurns,
    /// The switch comes after three.
    ThreeTurns,
    /// The switch comes after four.
    FourTurns,
    /// The switch comes after five.
    FiveTurns,
    /// Of tied values only the one that counts is copied into the new log.
    TiesNotCopied,
    /// The smallest clock of a record is not copied.
    FirstNotCopied,
    /// Poured values get new origins.
    OriginsAnew,
    /// Poured values get the record's newest clock.
    ClocksOfTheNewest,
    /// That a history was cut is not copied.
    CutsNotCopied,
    /// The old log is carried over from a checkpoint read after the facts.
    CarriedFromLater,
    /// The old log is carried over only until the switch.
    CarryingEndsWithTheSwitch,
    /// Links are carried over with the rest.
    LinksCarried,
    /// A program counts for epochs of another catalogue, and for those that another version has
    /// left.
    CataloguesIgnored,
    /// Of tied values the one that was routed last counts.
    TiesByArrival,
    /// What was touched in an hour that is over is not set aside: it is written as the next hour's.
    HoursNotSetAside,
    /// The hour is that of the last message, not of the greatest append time so far.
    HoursByTheLastMessage,
    /// Hours are read that are not kept, and so not corrected, any more.
    OldHoursRead,
}

/// What a missing rule must lead to, so that a rule is not "noticed" by something harmless.
const NUMBERS: &str = "a cell differs from an undisturbed run's";
const TORN_ROW: &str = "a record row is not f(log ≤ version)";
const WRONG_LINK: &str = "a link sent is not f(log ≤ version)";
const RECORDS: &str = "a record differs from an undisturbed run's";
const OTHER_FORMULAS: &str = "a cell is by other formulas than its epoch";
const HOUR: &str = "the state of an hour is missing or wrong";
const WRONG_HOUR: &str = "an hourly row is not f(log ≤ version)";
const METRICS: &str = "the metrics are not the oracle's";
const SWITCH: &str = "a number is missing at the switch";

/// When a rule is needed.
#[derive(Clone, Copy, PartialEq)]
enum Needed {
    Always,
    /// Only with faults: without the rule, a world without faults gives the right metrics.
    UnderCrashes,
}

/// Whether a rule applies in a history: a rule of rebuilds does not where nothing is rebuilt, or by
/// another form.
fn concerns(broken: Broken, history: &History) -> bool {
    let cast = || Cast::new(*history, &[], broken, World::Cruel);
    let form = || {
        let cast = cast();
        let lingers = cast.routers.iter().any(|router| router.is_straggler);
        (cast.rebuilder.map(|rebuilder| rebuilder.form()), lingers)
    };
    match broken {
        Broken::OneTurn
        | Broken::TwoTurns
        | Broken::ThreeTurns
        | Broken::FourTurns
        | Broken::FiveTurns => form().0.is_some(),
        Broken::EpochsBegunByTable | Broken::EarlyLinksIgnored | Broken::LinksSharedByEpochs => {
            form().0 == Some(Form::Definitions)
        }
        Broken::TiesNotCopied
        | Broken::FirstNotCopied
        | Broken::OriginsAnew
        | Broken::ClocksOfTheNewest
        | Broken::CutsNotCopied => form().0 == Some(Form::Log),
        Broken::CarriedFromLater | Broken::LinksCarried => form().0 == Some(Form::Log),
        Broken::CarryingEndsWithTheSwitch => form().0 == Some(Form::Log) && form().1,
        Broken::CataloguesIgnored => cast()
            .rebuilder
            .is_some_and(|rebuilder| rebuilder.is_upgrade()),
        _ => true,
    }
}

/// Runs histories until one shows by `symptom` that the rule is missing; with the rule that history
/// passes.
fn notice(broken: Broken, symptom: &str, needed: Needed) {
    // Rare are a history long enough to be cut, and links that come late enough.
    let enough = match broken {
        Broken::CutsNotCopied => 16_000,
        Broken::LinksCarried | Broken::ThreeTurns => 64_000,
        _ => 4_000,
    };
    let most = number("DEALPULSE_SEEDS").unwrap_or(0).max(enough) as usize;
    // Only the rule about cuts may show by them.
    let without = if broken == Broken::CutsNotCopied {
        0
    } else {
        Mischief::Burst as u8
    };
    let mut histories = (0..)
        .map(|seed| History {
            without,
            ..History::new(seed)
        })
        .filter(|history| concerns(broken, history))
        .take(most);
    let noticed = histories.find(|history| run(*history, broken, World::Cruel).0.contains(symptom));
    let history = noticed.unwrap_or_else(|| {
        panic!("{most} histories without the rule, and nothing is wrong: {broken:?}")
    });
    println!("{broken:?}: noticed in history {}", history.seed);
    assert!(
        run(history, Broken::Nothing, World::Cruel).0.is_empty(),
        "history {history} fails with the rule, too"
    );
    if needed == Needed::UnderCrashes {
        let early = (0..50)
            .map(History::new)
            .find(|history| run(*history, broken, World::Quiet).0.contains(NUMBERS));
        assert_eq!(
            early, None,
            "it is not the rule that was taken away: a quiet world shows it"
        );
    }
}

/// A lead that is merged into another, and names a deal: all that the longest chain of links needs.
/// Among other events it is one history in many thousands in which the last link is late.
#[test]
fn rule_the_switch_waits_for_the_whole_chain_of_a_merged_lead() {
    let itself = |deal| vec![("status", Some("converted")), ("converted_deal_id", deal)];
    notice_chain(&itself(Some("D1")), None, Broken::FourTurns);
}

/// The same of a lead that is said to have become the deal by a field value: one more message
/// before it.
#[test]
fn rule_the_switch_waits_for_the_chain_that_begins_with_a_field_value() {
    let by_another = vec![
        ("entity", Some("lead")),
        ("record_id", Some("L1")),
        ("field", Some("converted_deal_id")),
        ("value", Some("D1")),
    ];
    let itself = [("status", Some("converted"))];
    notice_chain(&itself, Some(by_another), Broken::FiveTurns);
}

type Fields = Vec<(&'static str, Option<&'static str>)>;

/// The chain of a merged lead, by what it says itself and what a field value says of it, is whole
/// at the switch; with fewer turns it isn't always.
fn notice_chain(
    itself: &[(&'static str, Option<&'static str>)],
    by_another: Option<Fields>,
    broken: Broken,
) {
    let event = |entity, id, action, time, fields| Event {
        entity,
        id,
        action,
        time,
        sequence: 0,
        offset: 0,
        fields,
    };
    let mut events = vec![
        event(
            "lead",
            "L1",
            "upserted",
            "2026-02-10T10:00:00Z",
            itself.to_vec(),
        ),
        event(
            "lead",
            "L1",
            "merged",
            "2026-03-03T10:00:00Z",
            vec![("merged_into", Some("L2"))],
        ),
        event(
            "lead",
            "L2",
            "upserted",
            "2026-02-10T10:00:00Z",
            vec![("lead_source", Some("fair"))],
        ),
        event(
            "deal",
            "D1",
            "upserted",
            "2026-03-03T10:00:00Z",
            vec![("status", Some("won")), ("account_id", Some("A1"))],
        ),
    ];
    let time = "2026-02-10T10:00:00Z";
    events.extend(by_another.map(|said| event("field_value", "F1", "upserted", time, said)));
    events
        .iter_mut()
        .zip(0..)
        .for_each(|(event, offset)| event.offset = offset);
    let problems =
        |history: &History, broken| run_events(*history, &events, broken, World::Cruel).0;
    let mut histories = (0..4_000)
        .map(History::new)
        .filter(|history| concerns(broken, history));
    let history = histories
        .find(|history| problems(history, broken).contains(SWITCH))
        .unwrap_or_else(|| panic!("a turn less does as well: {broken:?}"));
    println!("{broken:?}: noticed in history {}", history.seed);
    for seed in 0..500 {
        assert_eq!(
            problems(&History::new(seed), Broken::Nothing),
            BTreeSet::new(),
            "seed {seed}"
        );
    }
}

macro_rules! rules {
    ($($test:ident: without $broken:ident, $symptom:ident, needed $needed:ident;)*) => {
        $(#[test] fn $test() { notice(Broken::$broken, $symptom, Needed::$needed); })*
    };
}
rules! {
    rule_the_checkpoint_is_read_before_the_records: without CheckpointReadLast, NUMBERS, needed UnderCrashes;
    rule_nothing_is_written_before_the_greatest_restored_version: without WritesBeforeRestored, WRONG_LINK, needed UnderCrashes;
    rule_zeros_are_rows: without ZerosDropped, NUMBERS, needed Always;
    rule_withdrawals_are_rows: without WithdrawalsDropped, NUMBERS, needed UnderCrashes;
    rule_dirty_is_touched_not_different: without DifferentOnly, NUMBERS, needed UnderCrashes;
    rule_contributions_are_taken_once_a_message_never_once_a_flush: without EvaluatedOnceAFlush, NUMBERS, needed UnderCrashes;
    rule_links_go_before_records: without RecordsBeforeLinks, NUMBERS, needed UnderCrashes;
    rule_what_follows_from_field_values_goes_before_them: without FieldValuesBeforeDerived, RECORDS, needed UnderCrashes;
    rule_the_newest_link_wins: without LastLinkWins, NUMBERS, needed UnderCrashes;
    rule_a_links_version_is_the_offset_of_its_flush: without LinksCountedByOwner, NUMBERS, needed UnderCrashes;
    rule_ties_go_by_origin_not_by_arrival: without TiesByArrival, NUMBERS, needed Always;
    rule_merges_are_sent_to_every_shard: without AliasesAtHomeOnly, NUMBERS, needed Always;
    rule_homes_go_by_the_recorded_partition_count: without ClientsPartitioner, NUMBERS, needed Always;
    rule_a_flush_holds_the_values_of_one_offset: without Torn, TORN_ROW, needed UnderCrashes;
    rule_an_epoch_begins_by_a_message_of_the_log: without EpochsBegunByTable, NUMBERS, needed Always;
    rule_a_program_counts_no_epoch_of_another_catalogue: without CataloguesIgnored, OTHER_FORMULAS, needed Always;
    rule_links_of_an_epoch_are_kept_before_it_begins: without EarlyLinksIgnored, NUMBERS, needed Always;
    rule_every_epoch_has_links_of_its_own: without LinksSharedByEpochs, NUMBERS, needed Always;
    rule_the_switch_waits_for_links_of_assertions: without OneTurn, SWITCH, needed Always;
    rule_the_switch_waits_for_links_caused_by_links: without TwoTurns, SWITCH, needed Always;
    rule_the_switch_waits_for_what_an_answer_causes: without ThreeTurns, SWITCH, needed Always;
    rule_tied_values_are_copied: without TiesNotCopied, RECORDS, needed Always;
    rule_the_earliest_clock_is_copied: without FirstNotCopied, RECORDS, needed Always;
    rule_copied_values_keep_their_origin: without OriginsAnew, RECORDS, needed Always;
    rule_copied_values_keep_their_own_clock: without ClocksOfTheNewest, RECORDS, needed Always;
    rule_that_a_history_was_cut_is_copied: without CutsNotCopied, RECORDS, needed Always;
    rule_the_old_log_is_carried_from_a_checkpoint_read_before_the_facts: without CarriedFromLater, NUMBERS, needed Always;
    rule_the_old_log_is_carried_also_after_the_switch: without CarryingEndsWithTheSwitch, NUMBERS, needed Always;
    rule_the_state_of_an_hour_is_set_aside_at_its_end: without HoursNotSetAside, HOUR, needed Always;
    rule_hours_go_by_the_greatest_append_time_so_far: without HoursByTheLastMessage, HOUR, needed Always;
    rule_the_state_of_an_hour_is_not_taken_before_the_greatest_restored_version: without WritesBeforeRestored, WRONG_HOUR, needed UnderCrashes;
    rule_hours_that_are_not_kept_any_more_are_not_read: without OldHoursRead, METRICS, needed Always;
    rule_links_are_rebuilt_in_a_new_log: without LinksCarried, NUMBERS, needed Always;
}
