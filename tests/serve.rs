//! What is shown, asked for over HTTP: the worked example's metrics as gauges and as a page, also
//! when the source is down.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::support::figures::worked_example_definitions;
use crate::support::pure::Pure;
use crate::support::read_model::as_read;
use dealpulse::clickhouse::{NewRows, RollupRow};
use dealpulse::config::Gauges;
use dealpulse::definitions::DefinitionsSpec;
use dealpulse::health::Health;
use dealpulse::metric::{Catalogue, Column, SideInputs, ValueNames, versions};
use dealpulse::pipeline::Row;
use dealpulse::pipeline::watermark::Progress;
use dealpulse::pipeline::{Epoch, OutsideError};
use dealpulse::serve::metrics::business;
use dealpulse::serve::model::{Model, Snapshot};
use dealpulse::serve::reach::Reach;
use dealpulse::serve::refresh::{Refresh, Source, refresh_forever};
use dealpulse::serve::{router, serve};
use dealpulse::shard::CellRow;
use dealpulse::telemetry::Telemetry;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

/// The last instant of the worked example (µs), at which every test cuts its windows.
static END: OnceLock<i64> = OnceLock::new();

/// Rollups in memory that can be made unavailable.
#[derive(Default)]
struct Rollups {
    definitions: DefinitionsSpec,
    watermark: i64,
    rows: Vec<Row<CellRow>>,
    is_away: Arc<AtomicBool>,
    /// How long a reading takes at least.
    takes: Duration,
    /// Who is told when a reading begins.
    asked: Option<mpsc::UnboundedSender<Instant>>,
}

impl Source for Rollups {
    async fn side_inputs_state(&self, _: &Epoch) -> Result<u64, OutsideError> {
        Ok(0)
    }

    async fn side_inputs(&self, _: &Epoch, _: Option<&str>) -> Result<SideInputs, OutsideError> {
        let mut names = ValueNames::default();
        names.add("source".into(), "event".into(), "Trade <fair>".into());
        names.add("region".into(), "website".into(), "Elsewhere".into());
        Ok(SideInputs {
            names,
            ..SideInputs::default()
        })
    }

    async fn current(&self) -> Result<Epoch, OutsideError> {
        if let Some(asked) = &self.asked {
            asked.send(Instant::now()).unwrap();
        }
        tokio::time::sleep(self.takes).await;
        if self.is_away.load(Ordering::Relaxed) {
            return Err(OutsideError::transient(
                "reading the epochs",
                "connection refused <here>",
            ));
        }
        Ok(Epoch::first(self.definitions.clone(), 3))
    }

    async fn progress(&self, _: &Epoch) -> Result<Progress, OutsideError> {
        Ok(Progress {
            watermark: Some(self.watermark),
            append_time: 0,
            flushed: Vec::new(),
        })
    }

    async fn rows(
        &self,
        _: &Epoch,
        _: &Reach,
        take: &mut (dyn FnMut(RollupRow<'_>) + Send),
    ) -> Result<(), OutsideError> {
        self.rows.iter().for_each(|row| take(as_read(row, 0)));
        Ok(())
    }

    async fn new_rows(
        &self,
        _: &Epoch,
        _: &NewRows<'_>,
        _: &mut (dyn FnMut(RollupRow<'_>) + Send),
    ) -> Result<i64, OutsideError> {
        Ok(0)
    }
}

#[tokio::test]
async fn readings_that_take_long_leave_the_source_alone_for_four_fifths_of_the_time() {
    const TAKES: Duration = Duration::from_millis(60);
    let (asked, mut times) = mpsc::unbounded_channel();
    let source = Rollups {
        takes: TAKES,
        asked: Some(asked),
        ..Rollups::default()
    };
    let refresh = Refresh {
        every: Duration::from_millis(1),
        ..Refresh::default()
    };
    tokio::spawn(refresh_forever(
        Model::new(Duration::from_secs(30)),
        source,
        refresh,
        Telemetry::new(),
        std::future::pending(),
    ));
    let mut last = times.recv().await.unwrap();
    for _ in 0..3 {
        let next = times.recv().await.unwrap();
        assert!(next - last >= TAKES * 5, "{:?}", next - last);
        last = next;
    }
}

/// A server on a port of its own.
struct Served {
    port: u16,
    model: Model,
    telemetry: Arc<Telemetry>,
    health: Health,
    is_away: Arc<AtomicBool>,
    _stop: oneshot::Sender<()>,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Served {
    /// Serves the worked example with some more lines, windows cut at its own end.
    async fn new(more: &[String], top: usize, stale_after: Duration, is_away: bool) -> Served {
        let text = fs::read_to_string("tests/fixtures/worked_example.ndjson").unwrap();
        let mut pure = Pure::new(3, worked_example_definitions()).await;
        pure.feed((0..).zip(text.lines()), 3).await;
        let end = *END.get_or_init(|| pure.last_instant());
        pure.feed((1_000..).zip(more.iter().map(String::as_str)), 3)
            .await;

        let is_away = Arc::new(AtomicBool::new(is_away));
        let source = Rollups {
            definitions: pure.definitions.spec.clone(),
            watermark: end,
            rows: pure.store.cells().into_values().collect(),
            is_away: is_away.clone(),
            ..Rollups::default()
        };
        let clock = || *END.get().unwrap();
        let (model, telemetry, health) =
            (Model::new(stale_after), Telemetry::new(), Health::default());
        let refresh = Refresh {
            every: Duration::from_millis(20),
            top,
            gauges: Gauges::All,
            clock,
            catalogue: versions,
            ..Refresh::default()
        };
        tokio::spawn(refresh_forever(
            model.clone(),
            source,
            refresh,
            telemetry.clone(),
            std::future::pending(),
        ));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (stop, stopped) = oneshot::channel::<()>();
        let routes = router(model.clone(), telemetry.clone(), health.clone());
        tokio::spawn(serve(listener, routes, async move { drop(stopped.await) }));
        model.changed().await;
        Served {
            port,
            model,
            telemetry,
            health,
            is_away,
            _stop: stop,
        }
    }

    async fn worked_example() -> Served {
        Self::new(&[], 20, Duration::from_secs(30), false).await
    }

    async fn ask(&self, method: &str, path: &str) -> Answer {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer {
            status,
            head: head.to_lowercase(),
            body: body.to_owned(),
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path).await
    }

    async fn scrape(&self) -> Scrape {
        let answer = self.get("/metrics").await;
        assert_eq!(answer.status, 200);
        assert!(
            answer
                .head
                .contains("content-type: text/plain; version=0.0.4"),
            "{}",
            answer.head
        );
        Scrape::read(&answer.body)
    }
}

/// A lead of the source `source`, created on the example's last days.
fn lead(id: &str, source: &str) -> String {
    let data = serde_json::json!({"lead_source": source, "status": "open", "created_at": "2026-04-01T08:00:00Z"});
    serde_json::json!({"specversion": "1.0", "id": id, "source": "test", "type": "crm.lead.upserted", "subject": id, "time": "2026-04-01T08:00:00Z", "data": data}).to_string()
}

/// A scrape, read as strictly as the format and the naming rules ask for.
struct Scrape {
    series: BTreeMap<(String, BTreeMap<String, String>), f64>,
    helps: BTreeMap<String, String>,
}

impl Scrape {
    fn read(text: &str) -> Scrape {
        assert!(text.ends_with('\n'));
        let (mut series, mut helps, mut types) = (
            BTreeMap::new(),
            BTreeMap::new(),
            BTreeMap::<String, String>::new(),
        );
        let mut family = String::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').expect(line);
                assert!(
                    helps.insert(name.to_owned(), help.to_owned()).is_none(),
                    "{name} comes twice"
                );
                family = name.to_owned();
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect(line);
                assert_eq!(name, family, "TYPE follows HELP");
                types.insert(name.to_owned(), kind.to_owned());
            } else {
                let (name, labels, value) = Self::sample(line);
                let stem = ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|s| name.strip_suffix(s))
                    .filter(|_| types[&family] == "histogram");
                assert_eq!(
                    stem.unwrap_or(&name),
                    family,
                    "series are together with their family"
                );
                assert!(
                    series.insert((name.clone(), labels), value).is_none(),
                    "twice: {line}"
                );
            }
        }
        for (name, kind) in &types {
            assert!(
                name.starts_with("dealpulse_")
                    && name
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
                "{name}"
            );
            assert_eq!(
                name.ends_with("_total"),
                kind == "counter",
                "{name}: {kind}"
            );
            let reserved = [
                "_count",
                "_sum",
                "_bucket",
                "_days",
                "_hours",
                "_milliseconds",
            ];
            assert!(
                !reserved.iter().any(|suffix| name.ends_with(suffix)),
                "{name}"
            );
            assert!(helps[name].len() > 10, "{name} needs a help");
        }
        Scrape { series, helps }
    }

    fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
        let mut labels = BTreeMap::new();
        let split = line.find(['{', ' ']).expect(line);
        let (name, mut rest) = line.split_at(split);
        if let Some(inner) = rest.strip_prefix('{') {
            rest = inner;
            loop {
                let (label, after) = rest.split_once("=\"").expect(line);
                let mut value = String::new();
                let mut letters = after.char_indices();
                let end = loop {
                    match letters.next().expect(line) {
                        (at, '"') => break at,
                        (_, '\\') => value.push(match letters.next().expect(line).1 {
                            'n' => '\n',
                            c @ ('\\' | '"') => c,
                            c => panic!("\\{c} in {line}"),
                        }),
                        (_, c) => value.push(c),
                    }
                };
                assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
                rest = &after[end + 1..];
                match rest.strip_prefix(',') {
                    Some(next) => rest = next,
                    None => break,
                }
            }
            rest = rest.strip_prefix('}').expect(line);
        }
        (name.to_owned(), labels, rest.trim().parse().expect(line))
    }

    fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        self.series
            .get(&(format!("dealpulse_{name}"), labels))
            .copied()
    }

    fn total(&self, name: &str, window: &str) -> Option<f64> {
        self.get(
            name,
            &[("window", window), ("dimension", "all"), ("value", "all")],
        )
    }

    fn of_source(&self, name: &str, window: &str, source: &str) -> Option<f64> {
        self.get(
            name,
            &[
                ("window", window),
                ("dimension", "source"),
                ("value", source),
            ],
        )
    }

    fn values(&self, dimension: &str) -> BTreeSet<&str> {
        self.series
            .keys()
            .filter(|(_, l)| l.get("dimension").is_some_and(|d| d == dimension))
            .filter_map(|(_, l)| Some(l.get("value")?.as_str()))
            .collect()
    }
}

#[tokio::test]
async fn the_gauges_are_the_figures_of_the_worked_example() {
    let scrape = Served::worked_example().await.scrape().await;
    assert_eq!(scrape.total("close_rate_leads", "90d"), Some(7.0));
    assert_eq!(scrape.total("close_rate_within_60d_rate", "90d"), Some(0.4));
    // Wilson's interval of 2 of 5.
    let bound = |end: &str| scrape.total(&format!("close_rate_within_60d_rate_{end}"), "90d");
    let rounded = |end| (bound(end).unwrap() * 1e4).round() / 1e4;
    assert_eq!((rounded("low"), rounded("high")), (0.1176, 0.7693));
    assert_eq!(
        scrape.total("upsell_accounts_rate_low", "90d"),
        None,
        "the accounts that expanded are not some of those that are active"
    );
    assert_eq!(
        scrape.of_source("lead_source_by_close_won_deals", "28d", "website"),
        Some(2.0)
    );
    let usd = [
        ("window", "28d"),
        ("dimension", "source"),
        ("value", "website"),
        ("currency", "USD"),
    ];
    assert_eq!(
        scrape.get("lead_source_by_close_revenue", &usd),
        Some(13_000.0)
    );
    assert!(
        scrape
            .of_source("lead_source_leads", "90d", "(none)")
            .is_some(),
        "a lead without source is shown as such"
    );
    assert!(
        scrape.helps["dealpulse_close_rate_rate"]
            .ends_with("Won leads ÷ all leads of the same creation cohort: the share of leads that become closed deals.")
    );

    // Every figure computed by hand, and no other number in its place.
    let expected: Value = serde_json::from_str(
        &fs::read_to_string("tests/fixtures/worked_example.expected.json").unwrap(),
    )
    .unwrap();
    let mut compared = 0;
    let catalogue = Catalogue::new(DefinitionsSpec::default()).unwrap();
    for (metric, windows) in expected["metrics"].as_object().unwrap() {
        // What goes by the quarter, whatever the window, is there once, for `qtd`: E's quarter is
        // that of the fixture's windows.
        let known = catalogue.metric(metric).unwrap();
        let depends = known.depends_on_window();
        // Of a group, what its table shows.
        let columns = known.display().columns.iter().flat_map(Column::paths);
        let of_groups = columns.chain(known.gauges().iter().copied());
        let of_groups: BTreeSet<String> = of_groups
            .map(|path| format!("{metric}_{}", path.replace('.', "_")))
            .collect();
        let windows_shown: &[(&str, &str)] = match depends {
            true => &[("28d", "28d"), ("90d", "90d")],
            false => &[("90d", "qtd")],
        };
        for (window, shown) in windows_shown.iter().copied() {
            for (group, figures) in windows[window].as_object().unwrap() {
                let (dimension, value) = group.split_once('=').unwrap_or(("all", "all"));
                let value = if value.is_empty() { "(none)" } else { value };
                let labels = [
                    ("window", shown),
                    ("dimension", dimension),
                    ("value", value),
                ];
                compare(&scrape, metric, figures, &labels, &of_groups, &mut compared);
            }
        }
    }
    assert!(compared > 500, "only {compared} figures were compared");
}

#[tokio::test]
async fn groups_have_the_gauges_their_metric_names_unless_all_are_wanted() {
    let served = Served::worked_example().await;
    let all = served.model.snapshot().unwrap();
    let main = Snapshot {
        gauges: Gauges::Main,
        ..Snapshot::clone(&all)
    };
    // By name, what the total has and what groups have.
    let names = |snapshot: &Snapshot| {
        let (mut total, mut groups) = (BTreeSet::new(), BTreeSet::new());
        for family in business(snapshot) {
            for series in family.get_metric() {
                let labels = series.get_label();
                let is_total = labels
                    .iter()
                    .any(|l| l.name() == "dimension" && l.value() == "all");
                let names = if is_total { &mut total } else { &mut groups };
                names.insert(family.name().to_owned());
            }
        }
        (total, groups)
    };
    let ((total, few), (total_of_all, many)) = (names(&main), names(&all));
    assert_eq!(total, total_of_all);
    assert!(few.is_subset(&many) && few.len() < many.len());
    let of_metric = |metric: &str| -> Vec<&str> {
        let prefix = format!("dealpulse_{metric}_");
        let names = few.iter().filter_map(|name| name.strip_prefix(&prefix));
        names.collect()
    };
    let share = ["rate", "rate_high", "rate_low"];
    assert_eq!(of_metric("contacted_wins"), [&share[..], &["won"]].concat());
    assert_eq!(
        of_metric("upsell"),
        [
            &["amount_rate", "cross_sell"],
            &share[..],
            &["upsell", "won"]
        ]
        .concat()
    );
}

/// Numbers are compared with their gauge; null must have none.
fn compare(
    scrape: &Scrape,
    path: &str,
    expected: &Value,
    labels: &[(&str, &str)],
    of_groups: &BTreeSet<String>,
    compared: &mut u32,
) {
    let expected = match expected {
        Value::Object(figures) => {
            for (name, figure) in figures {
                let is_currency = name.len() == 3 && name.bytes().all(|b| b.is_ascii_uppercase());
                let label = match is_currency {
                    true => Some("currency"),
                    // Under each stage's name there are figures.
                    false => (path.ends_with("_stages")
                        && !labels.iter().any(|(name, _)| *name == "stage"))
                    .then_some("stage"),
                };
                match label {
                    Some(label) => compare(
                        scrape,
                        path,
                        figure,
                        &[labels, &[(label, name)]].concat(),
                        of_groups,
                        compared,
                    ),
                    None => {
                        let path = format!("{path}_{name}");
                        compare(scrape, &path, figure, labels, of_groups, compared);
                    }
                }
            }
            return;
        }
        Value::Null => None,
        Value::String(money) => Some(money.parse().unwrap()),
        number => number.as_f64(),
    };
    let is_total = labels.contains(&("dimension", "all"));
    let expected = expected.filter(|_| is_total || of_groups.contains(path));
    *compared += u32::from(expected.is_some());
    // Gauges are in base units and leave `_count` to histograms.
    let (name, unit) = match (path.strip_suffix("_days"), path.strip_suffix("_count")) {
        (Some(stem), _) => (format!("{stem}_seconds"), 86_400.0),
        (_, Some(stem)) => (format!("{stem}_samples"), 1.0),
        _ => (path.to_owned(), 1.0),
    };
    let found = scrape.get(&name, labels);
    let close = |a: f64, b: f64| {
        (a * unit - b).abs()
            <= if name.ends_with("_seconds") {
                b.abs() * 0.011 + 0.1
            } else if name.ends_with("_median") || name.ends_with("_p90") {
                b.abs() * 0.011
            } else {
                1e-6
            }
    };
    assert!(
        expected
            .zip(found)
            .map_or(expected.is_none() && found.is_none(), |(a, b)| close(a, b)),
        "{name} {labels:?}: expected {expected:?}, found {found:?}"
    );
}

#[tokio::test]
async fn the_pipelines_own_metrics_are_exported_with_them_by_the_same_rules() {
    let served = Served::worked_example().await;
    let t = &served.telemetry;
    for labelled in [&t.events_routed, &t.unknown_fields, &t.flush_rows] {
        labelled.with_label_values(&["crm"]).inc_by(3);
    }
    t.dead_letters.with_label_values(&["crm", "not_json"]).inc();
    t.consumer_lag
        .with_label_values(&["dealpulse", "crm", "0"])
        .set(12);
    t.records.with_label_values(&["deal"]).set(7);
    t.flush.with_label_values(&["cells"]).observe(0.02);
    t.end_to_end_latency.observe(1.5);
    t.set_watermark(0);
    let scrape = served.scrape().await;
    assert_eq!(
        scrape.get("events_routed_total", &[("topic", "crm")]),
        Some(3.0)
    );
    assert_eq!(
        scrape.get(
            "dead_letters_total",
            &[("topic", "crm"), ("reason", "not_json")]
        ),
        Some(1.0)
    );
    assert_eq!(
        scrape.get(
            "consumer_lag",
            &[("group", "dealpulse"), ("topic", "crm"), ("partition", "0")]
        ),
        Some(12.0)
    );
    assert_eq!(
        scrape.get(
            "flush_seconds_bucket",
            &[("step", "cells"), ("le", "0.025")]
        ),
        Some(1.0)
    );
    assert_eq!(
        scrape.get("shards_stopped", &[]),
        Some(0.0),
        "what can be alerted on is there from the start"
    );
    assert!(scrape.get("watermark_age_seconds", &[]).unwrap() > 1.7e9);
}

#[tokio::test]
async fn there_is_no_series_where_the_denominator_is_0() {
    let scrape = Served::worked_example().await.scrape().await;
    assert_eq!(
        scrape.of_source("close_rate_within_60d_leads", "90d", "unknown"),
        Some(0.0)
    );
    assert_eq!(
        scrape.of_source("close_rate_within_60d_rate", "90d", "unknown"),
        None
    );
    assert!(scrape.series.values().all(|value| value.is_finite()));
}

#[tokio::test]
async fn hostile_values_are_escaped_in_gauges_and_page() {
    let hostile = [
        "<script>alert(1)</script>",
        "\"\\\n}x{",
        "(none)",
        "a\" onmouseover=\"b",
    ];
    let more: Vec<String> = hostile
        .iter()
        .enumerate()
        .map(|(i, source)| lead(&format!("L-hostile-{i}"), source))
        .collect();
    let served = Served::new(&more, 20, Duration::from_secs(30), false).await;
    let scrape = served.scrape().await;
    for source in [hostile[0], hostile[1], "\\(none)", hostile[3], "(none)"] {
        assert_eq!(
            scrape.of_source("lead_source_leads", "90d", source),
            Some(1.0),
            "{source:?} among {:?}",
            scrape.values("source")
        );
    }
    let page = served
        .get("/?window=90d&by=source%22%3E%3Cb%3E&about=%3Cb%3E")
        .await
        .body;
    assert!(
        page.contains("&lt;script&gt;alert(1)&lt;/script&gt;")
            && page.contains("a&quot; onmouseover=&quot;b")
    );
    assert!(
        !page.contains("<script") && !page.contains("<b>") && !page.contains("a\" onmouseover")
    );
}

#[tokio::test]
async fn values_are_shown_by_their_names_where_they_have_one() {
    let more = ["event", "event", "website"].iter().enumerate();
    let more: Vec<String> = more
        .map(|(i, source)| lead(&format!("L-named-{i}"), source))
        .collect();
    let served = Served::new(&more, 20, Duration::from_secs(30), false).await;
    let scrape = served.scrape().await;
    let info = |name| {
        let labels = [("dimension", "source"), ("value", "event"), ("name", name)];
        scrape.get("value_info", &labels)
    };
    assert_eq!(info("Trade <fair>"), Some(1.0));
    let infos = scrape.series.keys();
    let infos = infos.filter(|(name, _)| name == "dealpulse_value_info");
    assert_eq!(
        infos.count(),
        1,
        "a name is that of a value of its dimension"
    );
    // Series keep the value, so that a new name begins no new series.
    assert!(scrape.values("source").contains("event"));
    let page = served.get("/?window=90d&by=source").await.body;
    assert!(
        page.contains("title=\"event\"") && page.contains("Trade &lt;fair&gt;"),
        "{page}"
    );
    assert!(!page.contains("Elsewhere"));
}

#[tokio::test]
async fn the_greatest_values_of_a_dimension_are_shown_and_the_others_together() {
    let more: Vec<String> = (0..3)
        .flat_map(|i| (0..10 + i).map(move |n| lead(&format!("L-{i}-{n}"), &format!("big-{i}"))))
        .collect();
    let served = Served::new(&more, 2, Duration::from_secs(30), false).await;
    let scrape = served.scrape().await;
    assert_eq!(
        scrape.values("source"),
        BTreeSet::from(["big-1", "big-2", "(other)"])
    );
    assert_eq!(scrape.values("all"), BTreeSet::from(["all"]));
    let beyond = scrape.get("values_beyond_top", &[("dimension", "source")]);
    assert_eq!(beyond, Some(7.0), "of any window");
    // The others' numbers are summed before a ratio is made of them.
    let of = |name: &str, value| scrape.of_source(name, "90d", value).unwrap_or_default();
    let all = |name: &str| scrape.total(name, "90d").unwrap();
    for name in ["close_rate_leads", "close_rate_won"] {
        let shown = of(name, "big-1") + of(name, "big-2") + of(name, "(other)");
        assert_eq!(shown, all(name), "{name}");
    }
    assert_eq!(
        of("close_rate_rate", "(other)"),
        all("close_rate_won") / of("close_rate_leads", "(other)")
    );
    assert!(all("close_rate_won") > 0.0);
    // Of the window's sources, the example's four and big-0 have one row together.
    let page = served.get("/?window=28d&by=source").await.body;
    assert!(
        page.contains(">big-2<") && !page.contains(">big-0<") && page.contains(">5 more<"),
        "{page}"
    );
}

#[tokio::test]
async fn the_page_shows_ratios_with_their_counts_and_what_they_mean() {
    let served = Served::worked_example().await;
    let answer = served.get("/?window=90d&by=source").await;
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .head
            .contains("content-security-policy: default-src 'none'; style-src 'unsafe-inline'"),
        "{}",
        answer.head
    );
    let page = answer.body;
    assert!(
        page.contains("1 won of 7 leads") && page.contains("14.3\u{202f}%"),
        "the close rate"
    );
    assert!(page.contains("<meta http-equiv=\"refresh\" content=\"2\">"));
    assert!(
        page.contains("(Europe/Berlin)"),
        "times are the organisation's"
    );
    assert!(page.contains("2,500.50"), "money is grouped");
    assert!(
        page.contains("Quantiles are within 1 % (DDSketch)."),
        "definitions are shown in full"
    );
    assert!(
        page.contains("<span class=\"none\">–</span>"),
        "no value is a dash"
    );
    assert!(
        served
            .get("/?window=24h&by=region")
            .await
            .body
            .contains("Hours are not kept by region.")
    );
    assert!(
        served
            .get("/?window=90d&by=product")
            .await
            .body
            .contains("This is not cut by product.")
    );
    let by_stage = served.get("/?window=90d&by=stage").await.body;
    assert!(
        by_stage.contains("<span class=\"code\">proposal</span>83.3\u{202f}%"),
        "five of the six deals that reached it went on"
    );
    let (cards, tables) = by_stage
        .split_once("<nav aria-label=\"Dimension\">")
        .unwrap();
    let title = "<h2>Time in stage</h2>";
    assert!(
        tables.contains(title) && !cards.contains(title),
        "what is not summed up has no card"
    );
    let of_stage = tables.split_once(title).unwrap().1;
    let of_stage = of_stage.split_once("</section>").unwrap().0;
    assert!(
        of_stage.contains("title=\"discovery\"") && !of_stage.contains("<span>All</span>"),
        "{of_stage}"
    );
    let paused = served.get("/?window=90d&by=source&paused=yes").await.body;
    assert!(!paused.contains("http-equiv=\"refresh\""));
    assert!(
        served
            .get("/?window=1900d&by=nothing")
            .await
            .body
            .contains("aria-current=\"true\">28 days"),
        "what is unknown is the default"
    );
}

#[tokio::test]
async fn metrics_stay_and_grow_visibly_old_while_the_source_is_down() {
    let served = Served::new(&[], 20, Duration::from_millis(200), false).await;
    let before = served.scrape().await;
    served.is_away.store(true, Ordering::Relaxed);
    let failed = |scrape: &Scrape| {
        scrape
            .get("read_model_refreshes_total", &[("result", "failed")])
            .unwrap()
    };
    let after = loop {
        let scrape = served.scrape().await;
        if failed(&scrape) >= 2.0 && scrape.get("data_age_seconds", &[]).unwrap() > 0.2 {
            break scrape;
        }
        served.model.changed().await;
    };
    let business = |scrape: &Scrape| {
        scrape
            .series
            .iter()
            .filter(|((_, l), _)| l.contains_key("window"))
            .map(|(k, v)| (k.clone(), *v))
            .collect::<Vec<_>>()
    };
    assert_eq!(business(&before), business(&after));

    let ready = served.get("/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(
        ready
            .body
            .contains("read model: the metrics have not been refreshed for")
            && ready.body.contains("connection refused"),
        "{}",
        ready.body
    );
    let page = served.get("/").await.body;
    assert!(
        page.contains("class=\"stale\"")
            && page.contains("connection refused &lt;here&gt;")
            && page.contains("Win rate"),
        "{page}"
    );

    served.is_away.store(false, Ordering::Relaxed);
    while served.get("/readyz").await.status != 200 {
        served.model.changed().await;
    }
    assert!(served.scrape().await.get("data_age_seconds", &[]).unwrap() < 30.0);
}

#[tokio::test]
async fn it_is_alive_before_it_is_ready_and_reports_what_it_lacks() {
    let served = Served::new(&[], 20, Duration::from_secs(30), true).await;
    assert_eq!(served.get("/healthz").await.body, "ok\n");
    let ready = served.get("/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(
        ready.body.starts_with(
            "read model: no metrics have been read yet: reading the epochs: connection refused"
        ),
        "{}",
        ready.body
    );
    let scrape = served.scrape().await;
    assert!(
        scrape.get("data_age_seconds", &[]).is_some(),
        "how long metrics have been missing can be alerted on"
    );
    assert!(
        scrape
            .get("build_info", &[("version", env!("CARGO_PKG_VERSION"))])
            .is_some()
    );
    assert!(
        served
            .get("/")
            .await
            .body
            .contains("No metrics have been read yet")
    );

    served.is_away.store(false, Ordering::Relaxed);
    while served.get("/readyz").await.status != 200 {
        served.model.changed().await;
    }
    served.health.set(
        "shard 3",
        Some("the log jumps from offset 7 to 9; run `dealpulse rebuild --new-log`".into()),
    );
    served.health.set("kafka", Some("no broker answers".into()));
    let body = served.get("/readyz").await.body;
    assert_eq!(
        body,
        "kafka: no broker answers\nshard 3: the log jumps from offset 7 to 9; run `dealpulse rebuild --new-log`\n"
    );
    // A notice is shown with the problems and without them, and is not a problem.
    served
        .health
        .notice("configuration", Some("it is outdated".into()));
    let problems_first = served.get("/readyz").await.body;
    assert_eq!(problems_first, body + "configuration: it is outdated\n");
    served.health.set("shard 3", None);
    served.health.set("kafka", None);
    let ready = served.get("/readyz").await;
    assert_eq!(
        (ready.status, ready.body.as_str()),
        (200, "ready\nconfiguration: it is outdated\n")
    );
    served.health.notice("configuration", None);
    assert_eq!(served.get("/readyz").await.body, "ready\n");
}

#[tokio::test]
async fn only_what_is_there_is_served_and_only_to_be_read() {
    let served = Served::worked_example().await;
    let missing = served.get("/favicon.ico").await;
    assert_eq!(missing.status, 404);
    assert!(
        missing.head.contains("content-type: text/plain"),
        "{}",
        missing.head
    );
    for path in ["/", "/metrics", "/healthz", "/readyz"] {
        let head = served.ask("HEAD", path).await;
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
        for method in ["POST", "PUT", "DELETE"] {
            assert_eq!(
                served.ask(method, path).await.status,
                405,
                "{method} {path}"
            );
        }
    }
}

#[tokio::test]
async fn a_request_that_never_ends_does_not_hold_up_the_shutdown() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let begun = Arc::new(tokio::sync::Notify::new());
    let endless = {
        let begun = begun.clone();
        axum::Router::new().route(
            "/",
            axum::routing::get(async move || {
                begun.notify_one();
                std::future::pending::<()>().await;
            }),
        )
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(serve(listener, endless, async move { drop(stopped.await) }));
    let mut client = TcpStream::connect(address).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    begun.notified().await;
    drop(stop);
    tokio::time::timeout(Duration::from_secs(20), serving)
        .await
        .expect("it ends by itself")
        .unwrap()
        .unwrap();
}
