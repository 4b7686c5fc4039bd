//! Dealpulse

use clap::Parser;
use dealpulse::cli::clickhouse_local::{self, ClickhouseLocal};

#[derive(Parser)]
#[command(version, about)]
enum Command {
    ClickhouseLocal(ClickhouseLocal),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::ClickhouseLocal(args) => clickhouse_local::run(args).await,
    }
}
