//! `dealpulse demo`: an organisation that sells, the engines it needs and the pipeline, in one
//! process tree, with nothing to install.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use chrono::{DateTime, Utc};
use tokio::signal::unix::{SignalKind, signal};

use super::run::{Pipeline, Times};
use crate::config::{Config, Environment};
use crate::kafka::feed::Feed;
use crate::local::broker::TopicSpec;
use crate::local::broker_child::BrokerChild;
use crate::local::clickhouse_child::ClickhouseChild;
use crate::local::generate::{Generator, GeneratorConfig, stage_order};
use crate::telemetry::{Telemetry, wall_clock};

const TOPIC: &str = "crm.events";
const LOG: &str = "dealpulse.log";
const DEAD_LETTERS: &str = "dealpulse.dead-letters";
const PARTITIONS: u32 = 4;
const DAY: i64 = 86_400_000_000;
/// How many events may be on their way: the local broker drops what is more than 5 MiB old a
/// partition, silently.
const ON_THEIR_WAY: u64 = 4_000;
/// How long the generator waits for an event's time, or for the pipeline.
const PAUSE: Duration = Duration::from_millis(10);

/// Show a sales organisation at work, with engines of its own: nothing to install, nothing left
/// behind
#[derive(Debug, clap::Args)]
pub struct Demo {
    /// Where the page is shown; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:9464")]
    pub listen: SocketAddr,
    /// The same seed gives the same organisation
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How many hours of the organisation's time pass in a second, until it has caught up with
    /// today
    #[arg(long, default_value_t = 2.0)]
    pub speed: f64,
    /// How many days of history come first, at full speed
    #[arg(long, default_value_t = 240)]
    pub history_days: u32,
    /// How many days before today the organisation's clock starts to tick
    #[arg(long, default_value_t = 30)]
    pub catch_up_days: u32,
    /// About how many deals are opened a day
    #[arg(long, default_value_t = 60)]
    pub deals_per_day: u32,
}

/// The organisation's clock: where it started, when, and how fast it runs.
static CLOCK: OnceLock<(i64, Instant, f64)> = OnceLock::new();

/// The organisation's present (µs): faster than ours until it has caught up.
fn clock() -> i64 {
    let Some((start, since, speed)) = CLOCK.get() else {
        return wall_clock();
    };
    let passed = since.elapsed().as_secs_f64() * speed * 3_600e6;
    start.saturating_add(passed as i64).min(wall_clock())
}

/// How far the organisation's events had come to the log, and when.
static ARRIVALS: Mutex<Arrivals> = Mutex::new(Arrivals::new());

/// Up to which of the organisation's instants (µs) all events had come to the log at an instant of
/// ours.
fn arrived_by(instant: i64) -> Option<i64> {
    ARRIVALS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .at(instant)
}

/// Pairs of instants (µs), oldest first: when it was, and how far the organisation's events had
/// come to the log.
///
/// The local broker stamps our time on what happened in the organisation's, so its stamps have to
/// be translated into the organisation's time.
struct Arrivals(VecDeque<(i64, i64)>);

impl Arrivals {
    /// How far apart two pairs are at least.
    const APART: i64 = 100_000;
    /// Enough for ten minutes: no shard of a demonstration is further behind.
    const MOST: usize = 6_000;

    const fn new() -> Self {
        Arrivals(VecDeque::new())
    }

    fn note(&mut self, instant: i64, arrived: i64) {
        if self
            .0
            .back()
            .is_some_and(|(last, _)| instant - last < Self::APART)
        {
            return;
        }
        if self.0.len() == Self::MOST {
            self.0.pop_front();
        }
        self.0.push_back((instant, arrived));
    }

    fn at(&self, instant: i64) -> Option<i64> {
        let later = self.0.partition_point(|(noted, _)| *noted <= instant);
        Some(self.0.get(later.checked_sub(1)?)?.1)
    }
}

/// Runs until Ctrl-C or SIGTERM.
pub async fn run(args: Demo) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let topics = [
        (TOPIC.to_owned(), PARTITIONS),
        (format!("{LOG}.1"), PARTITIONS),
        (DEAD_LETTERS.to_owned(), 1),
    ];
    let topics = topics
        .iter()
        .map(|(name, partitions)| TopicSpec::new(name, *partitions as i32))
        .collect::<Result<Vec<_>, _>>()?;
    let (clickhouse, broker) = tokio::task::spawn_blocking(move || {
        anyhow::Ok((ClickhouseChild::spawn(None)?, BrokerChild::spawn(&topics)?))
    })
    .await??;

    let config = config(&args, &clickhouse.url(), broker.address())?;
    let times = Times {
        now: clock,
        in_the_organisation: arrived_by,
    };
    let start = wall_clock() - i64::from(args.catch_up_days) * DAY;
    let pipeline = Pipeline::start(config.clone(), times).await?;
    println!(
        "the sales of an invented organisation, live: open http://{0}/ in a browser; Ctrl-C ends it\n\
         a Prometheus scrapes http://{0}/metrics, a Grafana asks ClickHouse at {1} (database {2}): docs/dashboards.md",
        pipeline.address(),
        clickhouse.url(),
        config.clickhouse.database
    );

    let stop = std::sync::Arc::new(AtomicBool::new(false));
    let feeding = {
        let (stop, telemetry) = (stop.clone(), pipeline.telemetry().clone());
        let organisation = organisation(&args, start)?;
        let feed = Feed::new(&config.kafka, TOPIC)?;
        CLOCK.get_or_init(|| (start, Instant::now(), 0.0f64.max(args.speed)));
        std::thread::spawn(move || play(organisation, &feed, &telemetry, &stop))
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    eprintln!("stopping");
    stop.store(true, Ordering::Release);
    let fed = tokio::task::spawn_blocking(move || feeding.join()).await?;
    pipeline.stop().await?;
    drop((clickhouse, broker));
    fed.map_err(|_| anyhow::anyhow!("the generator stopped unexpectedly"))?
}

fn config(args: &Demo, clickhouse: &str, broker: &str) -> anyhow::Result<Config> {
    let stage_order = stage_order();
    let text = format!(
        "version = 1\n[kafka]\nbrokers = \"{broker}\"\n[kafka.properties]\n\"group.protocol\" = \"consumer\"\n\
         [[topics]]\nname = \"{TOPIC}\"\n[log]\ntopic = \"{LOG}\"\npartitions = {PARTITIONS}\nverify = false\n\
         [dead_letters]\ntopic = \"{DEAD_LETTERS}\"\n[clickhouse]\nurl = \"{clickhouse}\"\n\
         [definitions]\ntime_zone = \"Europe/Berlin\"\nhours_kept = \"all\"\nstage_order = {stage_order:?}\n\
         stages = {{ won = {{ status = \"won\" }}, lost = {{ status = \"lost\" }} }}\n[fold]\nflush_milliseconds = 500\n\
         [serve]\nlisten = \"{}\"\nrefresh_milliseconds = 1000\nreporting_currency = \"EUR\"\n",
        args.listen
    );
    Config::parse(
        &text,
        Path::new("the demonstration's configuration"),
        &Environment::new(),
    )
    .context("the demonstration's configuration")
}

fn organisation(args: &Demo, start: i64) -> anyhow::Result<Generator> {
    let instant = |micros: i64| {
        DateTime::<Utc>::from_timestamp_micros(micros)
            .context("a time out of range: give fewer days")
    };
    // A year beyond today, so that the demonstration outlives any audience.
    let days = i64::from(args.history_days) + i64::from(args.catch_up_days) + 365;
    let begin = start - i64::from(args.history_days) * DAY;
    let deals = days as u64 * u64::from(args.deals_per_day.max(1));
    Ok(Generator::new(GeneratorConfig {
        seed: args.seed,
        deals,
        start: instant(begin)?,
        end: instant(begin + days * DAY)?,
        ..GeneratorConfig::default()
    }))
}

/// Sends each event when the organisation's clock has come to it, and never more than the pipeline
/// keeps up with.
fn play(
    organisation: Generator,
    feed: &Feed,
    telemetry: &Telemetry,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    let routed = telemetry.events_routed.with_label_values(&[TOPIC]);
    // Events on their way: number and time, of every so many.
    let mut sent_at: VecDeque<(u64, i64)> = VecDeque::new();
    let mut arrived = i64::MIN;
    for (sent, event) in (0u64..).zip(organisation) {
        let on_their_way = || {
            sent.saturating_sub(routed.get())
                + telemetry
                    .assertions_routed
                    .get()
                    .saturating_sub(telemetry.assertions_folded.get())
        };
        loop {
            let now = clock();
            let is_early = event.emitted_at > now;
            let is_looked_at = is_early || sent % 64 == 0;
            if is_looked_at {
                let routed = routed.get();
                while sent_at.front().is_some_and(|(number, _)| *number < routed)
                    && let Some((_, time)) = sent_at.pop_front()
                {
                    arrived = time;
                }
                if is_early && routed >= sent {
                    arrived = now;
                }
                if arrived > i64::MIN {
                    ARRIVALS
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .note(wall_clock(), arrived);
                }
            }
            if !(is_early || is_looked_at && on_their_way() > ON_THEIR_WAY) {
                break;
            }
            if stop.load(Ordering::Acquire) {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
        feed.send(&event)?;
        if sent % 64 == 0 {
            sent_at.push_back((sent, event.emitted_at));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_complete_in_the_log_is_complete_in_the_organisation_as_far_as_it_had_come() {
        let second = 1_000_000;
        let mut arrivals = Arrivals::new();
        assert_eq!(arrivals.at(second), None, "nothing is known yet");
        for now in 1..=10 {
            arrivals.note(now * second, now * 3_600 * second);
        }
        arrivals.note(10 * second + 1, i64::MAX);
        assert_eq!(arrivals.at(second - 1), None);
        assert_eq!(arrivals.at(3 * second + 5), Some(3 * 3_600 * second));
        assert_eq!(
            arrivals.at(i64::MAX),
            Some(10 * 3_600 * second),
            "the second of two at once is not noted"
        );
    }
}
