//! The embedded engine as a child process: a crash inside the library, or its lock on a data
//! directory, stays out of ours.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::child::{Child, Ending, LocalError};

/// The longest an orderly end may take before the child is killed; a little above what the child
/// allows its statements.
const STOP: Duration = Duration::from_secs(8);

/// Why the local ClickHouse isn't there.
#[derive(Debug, thiserror::Error)]
pub enum ClickhouseChildError {
    /// The process could not be started, or ended before it answered.
    #[error("the local ClickHouse: {0}")]
    Process(#[from] LocalError),
    /// It printed something else than an address.
    #[error("the local ClickHouse listens on `{0}`, which is no address")]
    Address(String),
}

/// A running `dealpulse clickhouse-local`. Dropping it ends the process after its last statement.
#[derive(Debug)]
pub struct ClickhouseChild {
    child: Child,
    address: SocketAddr,
}

impl ClickhouseChild {
    /// Starts the child from the current executable and waits until it answers. Without a data
    /// directory it keeps its data in a temporary one and removes it at its end. Blocks for about
    /// 0.2 s.
    ///
    /// # Errors
    /// Why it did not start.
    pub fn spawn(data_dir: Option<&Path>) -> Result<Self, ClickhouseChildError> {
        Self::of(Child::spawn(
            &arguments(data_dir),
            Ending::CloseStdin(STOP),
        )?)
    }

    /// As [`ClickhouseChild::spawn`], from the `dealpulse` executable at `executable`: a test's own
    /// executable is another.
    ///
    /// # Errors
    /// Why it did not start.
    pub fn spawn_from(
        executable: &Path,
        data_dir: Option<&Path>,
    ) -> Result<Self, ClickhouseChildError> {
        Self::of(Child::spawn_program(
            executable,
            &arguments(data_dir),
            Ending::CloseStdin(STOP),
        )?)
    }

    fn of(child: Child) -> Result<Self, ClickhouseChildError> {
        let address = child
            .address()
            .parse()
            .map_err(|_| ClickhouseChildError::Address(child.address().to_owned()))?;
        Ok(Self { child, address })
    }

    /// Where it answers, on loopback.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a client is given as ClickHouse's URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The operating system's id of the process.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Kills the process at once, as a crash would, and waits until it has ended.
    pub fn kill(self) {
        self.child.kill();
    }
}

fn arguments(data_dir: Option<&Path>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = ["clickhouse-local", "--port", "0", "--end-with-stdin"]
        .map(OsString::from)
        .into();
    if let Some(data_dir) = data_dir {
        arguments.extend(["--data-dir".into(), data_dir.into()]);
    }
    arguments
}
