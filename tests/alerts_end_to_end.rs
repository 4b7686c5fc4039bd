//! The whole way of an alert: events whose close rate really falls go through Kafka, the pipeline
//! and ClickHouse; Prometheus evaluates the committed rules, Alertmanager routes by the committed
//! routes, and a webhook is told, first of the fall and then that it is over. Only times are
//! shortened.

use std::sync::Arc;
use std::time::Duration;

use crate::support::kafka::free_port;
use crate::support::monitoring::{Alertmanager, Prometheus, Webhook};
use crate::support::pipeline::{Engines, Pipeline, Setup, blocking, engines, start};
use chrono::{DateTime, TimeDelta, Utc};
use dealpulse::telemetry::wall_clock;
use serde_json::{Value, json};

/// Longer than any of it takes on a busy machine.
const WITHIN: Duration = Duration::from_secs(120);
/// Deals of more than a year, and the last weeks, in which hardly any is won.
const HISTORY: i64 = 600;
const FALLEN: i64 = 40;
const DEALS_A_DAY: i64 = 20;

/// A deal of a day: one of four is won, or in the last weeks, if the rate falls, one of sixteen.
struct Sold {
    number: i64,
    closed: DateTime<Utc>,
    is_fallen: bool,
}

impl Sold {
    /// All deals, oldest first.
    fn all(now: DateTime<Utc>) -> impl Iterator<Item = Sold> {
        let midnight = now - TimeDelta::seconds(now.timestamp().rem_euclid(86_400));
        (0..HISTORY * DEALS_A_DAY).map(move |number| {
            let age = HISTORY - number / DEALS_A_DAY;
            Sold {
                number,
                closed: midnight - TimeDelta::days(age) + TimeDelta::hours(10),
                is_fallen: age <= FALLEN,
            }
        })
    }

    fn is_won(&self, falls: bool) -> bool {
        let of = if falls && self.is_fallen { 16 } else { 4 };
        // Not the same owner's every time.
        (self.number + self.number / DEALS_A_DAY) % of == 0
    }

    /// The lead, ten days before the close, and the deal as it was closed.
    fn events(&self) -> [String; 2] {
        let Sold { number, closed, .. } = self;
        let created = *closed - TimeDelta::days(10);
        let source = ["webinar", "referral", "trade fair"][(number % 3) as usize];
        let owner = ["u-ana", "u-bob", "u-eve", "u-jan", "u-mia"][(number % 5) as usize];
        let lead =
            json!({"lead_source": source, "owner_id": owner, "created_at": created.to_rfc3339()});
        let mut deal = self.outcome(self.is_won(true));
        deal["lead_id"] = json!(format!("L-{number}"));
        deal["owner_id"] = json!(owner);
        deal["created_at"] = json!(created.to_rfc3339());
        [
            event("lead", &format!("L-{number}"), created, lead),
            event("deal", &format!("D-{number}"), *closed, deal),
        ]
    }

    fn outcome(&self, is_won: bool) -> Value {
        let reason = (!is_won).then_some("price");
        json!({
            "status": if is_won { "won" } else { "lost" }, "lost_reason": reason,
            "closed_at": self.closed.to_rfc3339(), "amount": "1000", "currency": "EUR",
        })
    }

    /// What the CRM says of it later, if it was wrong at first: it was won after all.
    fn correction(&self, now: DateTime<Utc>) -> Option<String> {
        let is_wrong = self.is_won(false) && !self.is_won(true);
        is_wrong.then(|| {
            event(
                "deal",
                &format!("D-{}", self.number),
                now,
                self.outcome(true),
            )
        })
    }
}

fn event(entity: &str, id: &str, time: DateTime<Utc>, data: Value) -> String {
    json!({
        "specversion": "1.0", "id": "e", "source": "crm", "type": format!("crm.{entity}.upserted"), "subject": id,
        "time": time.to_rfc3339(), "data": data,
    })
    .to_string()
}

/// A pipeline of one topic, whose instances listen where Prometheus looks for them.
struct Scenario {
    engines: Arc<Engines>,
    setup: Setup,
}

impl Scenario {
    async fn new(name: &str) -> Scenario {
        let engines = engines().await;
        engines.kafka.create_topic(name, 3, &[]).await;
        let (kafka, clickhouse) = (engines.kafka.bootstrap(), engines.clickhouse.url());
        let setup = Setup::new(name, &kafka, &clickhouse, &[name]);
        Scenario { engines, setup }
    }

    async fn send(&self, events: Vec<String>) {
        let messages = events.into_iter().map(|event| ("any", event));
        self.engines
            .kafka
            .produce(&self.setup.name, None, messages)
            .await;
        self.setup.settled().await;
    }

    async fn instance(&self, port: u16) -> Pipeline {
        let listen = format!("127.0.0.1:{port}");
        let configuration = self.setup.to_toml().replace("127.0.0.1:0", &listen);
        start(&self.setup.name, configuration).await
    }
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(wall_clock()).expect("the present")
}

/// Prometheus and Alertmanager over two instances, and the webhook.
async fn monitoring(ports: [u16; 2]) -> (Prometheus, Alertmanager, Webhook) {
    blocking(move || {
        let webhook = Webhook::listen();
        let alertmanager = Alertmanager::start(&webhook);
        let targets = ports.map(|port| format!("127.0.0.1:{port}"));
        let prometheus = Prometheus::start(&targets, &alertmanager.address());
        (prometheus, alertmanager, webhook)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_rate_that_really_falls_is_told_to_those_who_sell_and_that_it_is_over() {
    let scenario = Scenario::new("fallen").await;
    let ports = [free_port(), free_port()];
    let folding = scenario.setup.start().await;
    let sold: Vec<Sold> = Sold::all(now()).collect();
    scenario
        .send(sold.iter().flat_map(Sold::events).collect())
        .await;
    // An instance that is scraped begins with all of it: the watched days are read at the start,
    // and then rarely.
    let first = scenario.instance(ports[0]).await;
    let (prometheus, _alertmanager, mut webhook) = monitoring(ports).await;

    let of = |name: &'static str| [("alertname", name), ("dimension", "all")];
    let webhook = blocking(move || {
        let mut told = |name, summary: &str| {
            let (receiver, alert) = webhook.until("firing", &of(name), WITHIN);
            assert_eq!(receiver, "sales");
            let labels = alert["labels"].as_object().expect("labels");
            assert_eq!(labels["severity"], "warning");
            let strangers = ["grafana", "instance", "job"].map(|name| labels.get(name));
            assert_eq!(strangers, [None; 3]);
            let text = |name: &str| alert["annotations"][name].as_str().unwrap_or_default();
            assert!(text("summary").starts_with(summary), "{alert:#}");
            assert!(
                text("dashboard").starts_with("http://localhost:3000/d/dealpulse-metric?"),
                "{alert:#}"
            );
            let description = text("description").to_owned();
            eprintln!("{}\n{description}", text("summary"));
            assert!(
                description.contains("How sure: the evidence is ")
                    && !description.contains("error"),
                "{description}"
            );
            description
        };
        told("CloseRateDropped", "Close rate of all leads dropped to ");
        let description = told("WinRateDropped", "Win rate of all deals dropped to ");
        for part in [" were won; ", " by lost reason: price; ", " by owner: u-"] {
            assert!(description.contains(part), "{part}: {description}");
        }
        webhook
    })
    .await;

    // The CRM says that they were won after all. Another instance reads it; while one still shows
    // the evidence, the alert stays.
    let corrections = sold.iter().filter_map(|sold| sold.correction(now()));
    scenario.send(corrections.collect()).await;
    let _second = scenario.instance(ports[1]).await;
    let second = format!("instance=\"127.0.0.1:{}\"", ports[1]);
    let prometheus = blocking(move || {
        let evidence =
            format!("dealpulse_alert_evidence{{{second},watch=\"win_rate\",dimension=\"all\"}}");
        prometheus.until(&format!("{evidence} < 1"));
        let firing = "ALERTS{alertname=\"WinRateDropped\",alertstate=\"firing\",dimension=\"all\"}";
        assert_eq!(prometheus.query(firing).len(), 1);
        prometheus
    })
    .await;
    first.sigterm().await;
    blocking(move || {
        let mut webhook = webhook;
        for name in ["CloseRateDropped", "WinRateDropped"] {
            webhook.until("resolved", &of(name), WITHIN);
        }
        drop((prometheus, folding));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_dies_is_told_to_those_who_run_it_and_that_it_is_back() {
    let scenario = Scenario::new("died").await;
    let ports = [free_port(), free_port()];
    let first = scenario.instance(ports[0]).await;
    let _second = scenario.instance(ports[1]).await;
    let (prometheus, _alertmanager, mut webhook) = monitoring(ports).await;
    let prometheus = blocking(move || {
        prometheus.until("count(up{job=\"dealpulse\"} == 1) == 2");
        prometheus
    })
    .await;
    first.kill_nine();
    let target = format!("127.0.0.1:{}", ports[0]);
    let down = target.clone();
    let webhook = blocking(move || {
        let labels = [("alertname", "InstanceDown"), ("instance", down.as_str())];
        let (receiver, alert) = webhook.until("firing", &labels, WITHIN);
        assert_eq!(receiver, "operations");
        assert_eq!(
            alert["annotations"]["summary"],
            format!("{down} can't be scraped")
        );
        webhook
    })
    .await;
    let _first = scenario.instance(ports[0]).await;
    blocking(move || {
        let mut webhook = webhook;
        let labels = [("alertname", "InstanceDown"), ("instance", target.as_str())];
        webhook.until("resolved", &labels, WITHIN);
        drop(prometheus);
    })
    .await;
}
