//! `dealpulse local-broker`: a Kafka-protocol broker on loopback, for the demo and the tests.

use std::io::{self, BufRead, Write};
use std::thread;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::local::broker::{LocalBroker, TopicSpec};
use crate::local::broker_child::{ANSWER, CREATED};
use crate::local::child::LISTENING;

/// Runs a Kafka-protocol broker on a free loopback port until its standard input ends.
///
/// It keeps 5 MiB a partition in memory and nothing on disk: it is for trying things out, never for
/// data. A line `topic NAME PARTITIONS` on standard input creates another topic.
#[derive(Debug, clap::Args)]
pub struct LocalBrokerArgs {
    /// A topic to create; may be given more than once.
    #[arg(long = "topic", value_name = "NAME:PARTITIONS")]
    topics: Vec<TopicSpec>,
}

/// Serves until standard input ends (which shows that its parent has ended), Ctrl-C or SIGTERM.
pub async fn run(args: LocalBrokerArgs) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM can't be listened for")?;
    let broker = LocalBroker::start(&args.topics)?;
    print_line(&format!("{LISTENING}{}", broker.address()))?;
    let mut lines = standard_input()?;
    loop {
        let line = tokio::select! {
            line = lines.recv() => line,
            _ = tokio::signal::ctrl_c() => None,
            _ = terminate.recv() => None,
        };
        let Some(line) = line else { return Ok(()) };
        let answer = match create(&broker, &line) {
            Ok(()) => CREATED.to_owned(),
            Err(reason) => format!("refused: {reason:#}"),
        };
        print_line(&format!("{ANSWER}{answer}"))?;
    }
}

/// Runs the command of a line of standard input.
fn create(broker: &LocalBroker, line: &str) -> anyhow::Result<()> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let ["topic", name, partitions] = words[..] else {
        anyhow::bail!("{line:?} is not understood: write topic NAME PARTITIONS");
    };
    let partitions = partitions
        .parse()
        .with_context(|| format!("{partitions:?} is not a number of partitions"))?;
    Ok(broker.create_topic(TopicSpec::new(name, partitions)?)?)
}

/// The lines of standard input; the channel closes at its end.
///
/// A plain thread reads them: tokio's own reader would keep the runtime from shutting down while a
/// read is waiting.
fn standard_input() -> anyhow::Result<mpsc::Receiver<String>> {
    let (sender, lines) = mpsc::channel(1);
    thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || {
            for line in io::stdin().lock().lines().map_while(Result::ok) {
                if sender.blocking_send(line).is_err() {
                    return;
                }
            }
        })
        .context("standard input can't be read")?;
    Ok(lines)
}

/// Prints a line at once: the parent process waits for it.
fn print_line(line: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .context("standard output is closed")
}
