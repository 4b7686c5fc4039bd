//! Argument parsing and exit codes, nothing else.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use dealpulse::cli;
use tokio::runtime::Runtime;
use tracing_subscriber::EnvFilter;

// Faster than the system's allocator, and gives freed memory back: docs/benchmarks.md.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Streaming sales metrics between a CRM's change feed and its dashboards.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Alerts(cli::alerts::Alerts),
    Audit(cli::audit::Audit),
    Check(cli::check::Check),
    ClickhouseLocal(cli::clickhouse_local::ClickhouseLocal),
    Clv(cli::clv::Clv),
    Demo(cli::demo::Demo),
    Dlq(cli::dlq::Dlq),
    Explain(cli::explain::Explain),
    Generate(cli::generate::Generate),
    Init(cli::init::Init),
    LocalBroker(cli::local_broker::LocalBrokerArgs),
    Rebuild(cli::rebuild::Rebuild),
    Reconcile(cli::reconcile::Reconcile),
    Report(cli::report::Report),
    Run(cli::run::Run),
}

/// How long threads are waited for that a command has left behind. A request to a Kafka that is
/// down can't be cancelled.
const LEFT_BEHIND: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    // Standard output is for a command's result; the log goes to standard error.
    let filter =
        EnvFilter::try_from_env("DEALPULSE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    let command = Arguments::parse().command;
    let done = Runtime::new()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| {
            let done = runtime.block_on(run(command));
            runtime.shutdown_timeout(LEFT_BEHIND);
            done
        });
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Alerts(args) => cli::alerts::run(args).await,
        Command::Audit(args) => return cli::audit::run(args).await,
        Command::Check(args) => return cli::check::run(args).await,
        Command::ClickhouseLocal(args) => cli::clickhouse_local::run(args).await,
        Command::Clv(args) => cli::clv::run(args).await,
        Command::Demo(args) => cli::demo::run(args).await,
        Command::Dlq(args) => cli::dlq::run(args).await,
        Command::Explain(args) => return cli::explain::run(args).await,
        Command::Generate(args) => cli::generate::run(args),
        Command::Init(args) => return cli::init::run(args).await,
        Command::LocalBroker(args) => cli::local_broker::run(args).await,
        Command::Rebuild(args) => cli::rebuild::run(args).await,
        Command::Reconcile(args) => return cli::reconcile::run(args).await,
        Command::Report(args) => cli::report::run(args).await,
        Command::Run(args) => return cli::run::run(args).await,
    }?;
    Ok(ExitCode::SUCCESS)
}
