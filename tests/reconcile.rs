//! `dealpulse reconcile` as a process over the real engine: changed rows are found, named with
//! their month, and reported by the exit code.

use crate::support::stored::{Stored, code_and_output, generated};
use serde_json::Value as Json;

/// The stored values when nothing is wrong, in a database of ten weeks' events.
async fn stored(name: &str) -> Stored {
    let mut stored = Stored::new(name).await;
    for lines in generated(150).chunks(400) {
        stored.feed(lines).await;
    }
    stored
}

async fn reconcile(stored: &Stored) -> (i32, Json) {
    let output = stored
        .setup
        .ask("reconcile", &["--json", "--show", "1000"])
        .await;
    let (code, text) = code_and_output(&output);
    (
        code,
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")),
    )
}

/// The single difference there is.
async fn difference(stored: &Stored) -> Json {
    let (code, found) = reconcile(stored).await;
    assert_eq!(
        (code, &found["differing"], &found["in_motion"]),
        (4, &1.into(), &0.into()),
        "{found:#}"
    );
    let difference = found["differences"][0].clone();
    let month = difference["month"].as_str().expect("a month");
    assert_eq!(found["months"][month]["differing"], 1, "{found:#}");
    difference
}

/// A day's total of won deals: where it is, and its month.
const A_DAY: &str = "FROM rollups AS r FINAL WHERE series = 'win_rate.closed' AND grain = 'day' AND dimension = '' AND r.counts[1] > 0 ORDER BY pane DESC, shard LIMIT 1";

#[tokio::test]
async fn what_the_facts_say_is_what_is_stored() {
    let stored = stored("equal").await;
    let (code, found) = reconcile(&stored).await;
    assert_eq!(
        (code, &found["differing"], &found["in_motion"]),
        (0, &0.into(), &0.into()),
        "{found:#}"
    );
    let rows: u64 = stored.row("SELECT count() FROM rollups FINAL").await[0]
        .parse()
        .unwrap();
    assert!(
        found["cells"]
            .as_u64()
            .is_some_and(|cells| cells == rows && rows > 1_000),
        "{} cells of {rows}",
        found["cells"]
    );
    assert!(
        found["months"]
            .as_object()
            .is_some_and(|months| months.len() > 2),
        "{found:#}"
    );

    let (code, text) = code_and_output(&stored.setup.ask("reconcile", &[]).await);
    assert_eq!(code, 0);
    assert!(
        text.contains("All values equal those computed from the facts.") && text.contains("month"),
        "{text}"
    );
}

#[tokio::test]
async fn a_row_that_was_tampered_with_is_found_and_named() {
    let stored = stored("tampered").await;
    let day = stored
        .row(&format!(
            "SELECT toDate(pane), formatDateTime(pane, '%Y-%m'), counts[1], shard {A_DAY}"
        ))
        .await;
    // Of rows of one version the last counts.
    let more = "arrayMap((n, i) -> n + if(i = 1, 2, 0), counts, arrayEnumerate(counts)) AS counts";
    stored
        .execute(&format!(
            "INSERT INTO rollups SELECT * REPLACE ({more}) {A_DAY}"
        ))
        .await;
    let found = difference(&stored).await;
    let won: i64 = day[2].parse().unwrap();
    assert_eq!(
        (&found["series"], &found["pane"], &found["month"]),
        (
            &"win_rate.closed".into(),
            &day[0].as_str().into(),
            &day[1].as_str().into()
        )
    );
    assert_eq!(
        (
            &found["stored"]["counts"][0],
            &found["recomputed"]["counts"][0]
        ),
        (&(won + 2).into(), &won.into()),
        "{found:#}"
    );
    assert_eq!(found["defined"], true);

    let (code, text) = code_and_output(&stored.setup.ask("reconcile", &[]).await);
    assert_eq!(code, 4);
    let line = text
        .lines()
        .find(|line| line.contains("win_rate.closed"))
        .unwrap_or_else(|| panic!("{text}"));
    assert!(
        line.contains(&format!("{}  win_rate.closed, all, day {}", day[1], day[0])),
        "{line}"
    );
    assert!(
        line.contains(&format!(
            "shard {}: won (count): {} stored, {won} recomputed",
            day[3],
            won + 2
        )),
        "{line}"
    );
    assert!(text.contains("Different from the facts: 1 of "), "{text}");
}

#[tokio::test]
async fn a_missing_row_is_found() {
    let stored = stored("missing").await;
    let day = stored
        .row(&format!(
            "SELECT toDate(pane), toUnixTimestamp(pane), shard, currency {A_DAY}"
        ))
        .await;
    stored
        .execute(&format!(
            "ALTER TABLE rollups DELETE WHERE series = 'win_rate.closed' AND grain = 'day' AND dimension = '' AND toUnixTimestamp(pane) = {} \
             AND shard = {} AND currency = '{}' SETTINGS mutations_sync = 2",
            day[1], day[2], day[3]
        ))
        .await;
    let found = difference(&stored).await;
    assert_eq!(
        (
            &found["pane"],
            &found["version"],
            &found["stored"]["counts"]
        ),
        (&day[0].as_str().into(), &0.into(), &serde_json::json!([]))
    );
}

#[tokio::test]
async fn rows_that_no_definition_and_no_shard_makes_are_found() {
    let stored = stored("surplus").await;
    let columns = "epoch, series, grain, dimension, pane, value, currency, shard, counts, version";
    for row in [
        "1, 'win_rate.gone', 'day', '', toDateTime('2026-03-04 00:00:00', 'UTC'), [], '', 0, [1], 1",
        "1, 'win_rate.closed', 'day', 'colour', toDateTime('2026-03-04 00:00:00', 'UTC'), ['red'], '', 1, [1, 0], 1",
        "1, 'win_rate.closed', 'day', '', toDateTime('2026-04-04 00:00:00', 'UTC'), [], '', 7, [1, 0], 1000000",
    ] {
        stored
            .execute(&format!("INSERT INTO rollups ({columns}) SELECT {row}"))
            .await;
    }
    let (code, found) = reconcile(&stored).await;
    assert_eq!(
        (code, &found["differing"], &found["in_motion"]),
        (4, &3.into(), &0.into()),
        "{found:#}"
    );
    assert_eq!(
        (
            &found["months"]["2026-03"]["differing"],
            &found["months"]["2026-04"]["differing"]
        ),
        (&2.into(), &1.into())
    );
    let (_, text) = code_and_output(&stored.setup.ask("reconcile", &["--show", "2"]).await);
    assert!(text.contains("win_rate.gone, all, day 2026-03-04, shard 0 (no definition makes it): count 1: 1 stored, 0 recomputed"), "{text}");
    assert!(
        text.contains("colour = red") && text.contains("… and 1 more"),
        "{text}"
    );
}

#[tokio::test]
async fn a_fact_changed_behind_its_back_is_found() {
    let stored = stored("fact").await;
    let pair = "FROM deals AS won FINAL JOIN deals AS lost FINAL ON won.shard = lost.shard WHERE won.status = 'won' AND lost.status = 'lost' LIMIT 1";
    let of = stored
        .row(&format!("SELECT won.id, lost.id, won.shard {pair}"))
        .await;
    let version = stored
        .row(&format!(
            "SELECT version FROM deals FINAL WHERE id = '{}'",
            of[1]
        ))
        .await
        .remove(0);
    stored
        .execute(&format!(
            "INSERT INTO deals SELECT * REPLACE ('{}' AS id, {version} AS version) FROM deals AS d FINAL WHERE d.id = '{}' AND d.shard = {}",
            of[1], of[0], of[2]
        ))
        .await;
    let (code, found) = reconcile(&stored).await;
    assert_eq!((code, &found["in_motion"]), (4, &0.into()), "{found:#}");
    assert!(
        found["differing"]
            .as_u64()
            .is_some_and(|differing| differing > 2),
        "{found:#}"
    );
    let series: Vec<&str> = found["differences"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|difference| difference["series"].as_str())
        .collect();
    assert!(series.contains(&"win_rate.closed"), "{series:?}");
    let shard: u32 = of[2].parse().unwrap();
    assert!(
        found["differences"]
            .as_array()
            .unwrap()
            .iter()
            .all(|difference| difference["shard"] == shard)
    );
}

#[tokio::test]
async fn a_row_ahead_of_the_checkpoint_is_in_motion_and_not_judged() {
    let stored = stored("ahead").await;
    let ahead = "arrayMap(n -> n + 1, counts) AS counts, version + 1000000 AS version";
    stored
        .execute(&format!(
            "INSERT INTO rollups SELECT * REPLACE ({ahead}) {A_DAY}"
        ))
        .await;
    let (code, found) = reconcile(&stored).await;
    assert_eq!(
        (code, &found["differing"], &found["in_motion"]),
        (5, &0.into(), &1.into()),
        "{found:#}"
    );
    assert_eq!(found["moving"][0]["series"], "win_rate.closed");
}

#[tokio::test]
async fn an_epoch_that_is_not_there_is_refused() {
    let stored = Stored::new("refused").await;
    let (code, text) = code_and_output(&stored.setup.ask("reconcile", &["--epoch", "9"]).await);
    assert_eq!(code, 1);
    assert!(
        text.contains("the database `refused` has no epoch 9; it has 1"),
        "{text}"
    );
    let (code, text) = code_and_output(&stored.setup.ask("reconcile", &["--epoch", "1"]).await);
    assert_eq!(code, 0, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_writer_that_keeps_flushing_there_is_no_false_alarm() {
    let mut stored = Stored::new("busy").await;
    let lines = generated(400);
    let (first, rest) = lines.split_at(lines.len() / 3);
    stored.feed(first).await;
    let setup = stored.setup.clone();
    let asking = tokio::spawn(async move {
        let mut codes = Vec::new();
        for _ in 0..4 {
            let output = setup.ask("reconcile", &[]).await;
            codes.push(code_and_output(&output));
        }
        codes
    });
    let mut chunks = rest.chunks(25).cycle();
    while !asking.is_finished() {
        // Again from the start when all was fed: a replay touches little, and yet flushes.
        stored
            .feed(chunks.next().expect("there is always more"))
            .await;
    }
    for (code, text) in asking.await.expect("asking") {
        assert!(matches!(code, 0 | 5), "{code}: {text}");
    }
    let (code, found) = reconcile(&stored).await;
    assert_eq!(
        (code, &found["differing"], &found["in_motion"]),
        (0, &0.into(), &0.into()),
        "{found:#}"
    );
}
