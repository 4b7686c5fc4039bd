//! Argument parsing and exit codes, nothing else.

use clap::{Parser, Subcommand};
use dealpulse::cli;

/// Streaming sales metrics between a CRM's change feed and its dashboards.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    ClickhouseLocal(cli::clickhouse_local::ClickhouseLocal),
    Generate(cli::generate::Generate),
    LocalBroker(cli::local_broker::LocalBrokerArgs),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::ClickhouseLocal(args) => cli::clickhouse_local::run(args).await,
        Command::Generate(args) => cli::generate::run(args),
        Command::LocalBroker(args) => cli::local_broker::run(args).await,
    }
}
