//! The embedded engine as a child process: a crash inside the library, or its lock on a data directory, stays out of ours.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::child::LISTENING;

/// The longest a start may take: opening a large data directory reads every table's parts.
const START: Duration = Duration::from_secs(60);
/// The longest an orderly end may take before the child is killed; a little above what the child allows its statements.
const STOP: Duration = Duration::from_secs(8);

/// Why the child isn't there.
#[derive(Debug, thiserror::Error)]
pub enum ClickhouseChildError {
    #[error("can't run the local ClickHouse as a process: {0}")]
    Process(io::Error),
    #[error("the local ClickHouse ended before it answered ({0}): its reason stands above")]
    Ended(ExitStatus),
    #[error("the local ClickHouse didn't answer within {} s: look at the size of its data directory", START.as_secs())]
    Silent,
}

/// A running `dealpulse clickhouse-local`. Dropping it ends the process; if this process dies, however it dies, the child
/// sees its standard input close and ends too.
#[derive(Debug)]
pub struct ClickhouseChild {
    process: Child,
    /// The pipe whose closing tells the child to end; `None` only while being dropped.
    lifeline: Option<ChildStdin>,
    address: SocketAddr,
}

impl ClickhouseChild {
    /// Starts the child from the current executable and waits until it answers. Without a data directory it keeps its data
    /// in a temporary one and removes it at its end. Blocks for about 0.2 s.
    pub fn spawn(data_dir: Option<&Path>) -> Result<Self, ClickhouseChildError> {
        Self::spawn_from(
            &std::env::current_exe().map_err(ClickhouseChildError::Process)?,
            data_dir,
        )
    }

    /// As [`ClickhouseChild::spawn`], from the `dealpulse` executable at `executable`: a test's own executable is another.
    pub fn spawn_from(
        executable: &Path,
        data_dir: Option<&Path>,
    ) -> Result<Self, ClickhouseChildError> {
        let mut arguments: Vec<OsString> = ["clickhouse-local", "--port", "0", "--end-with-stdin"]
            .map(OsString::from)
            .into();
        if let Some(data_dir) = data_dir {
            arguments.extend(["--data-dir".into(), data_dir.into()]);
        }
        let mut process = Command::new(executable)
            .args(arguments) // Ctrl-C is for us; we end our children in our own order.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(ClickhouseChildError::Process)?;
        let lifeline = process.stdin.take();
        let address = match process.stdout.take() {
            Some(stdout) => wait_for_address(stdout),
            None => Err(RecvTimeoutError::Disconnected),
        };
        match address {
            Ok(address) => Ok(Self {
                process,
                lifeline,
                address,
            }),
            Err(RecvTimeoutError::Disconnected) => {
                drop(lifeline);
                let status = process.wait().map_err(ClickhouseChildError::Process)?;
                Err(ClickhouseChildError::Ended(status))
            }
            Err(RecvTimeoutError::Timeout) => {
                let killed = process.kill().and_then(|()| process.wait());
                killed.map_err(ClickhouseChildError::Process)?;
                Err(ClickhouseChildError::Silent)
            }
        }
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
        self.process.id()
    }

    /// Kills the process at once, as a crash would, and waits until it is gone.
    pub fn kill(mut self) -> io::Result<()> {
        self.process.kill()?;
        self.process.wait().map(drop)
    }
}

impl Drop for ClickhouseChild {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        let deadline = Instant::now() + STOP;
        while matches!(self.process.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                tracing::warn!(
                    pid = self.pid(),
                    "the local ClickHouse didn't end in time and is killed"
                );
                // Either it is gone already or it is gone after this; there is nobody to tell otherwise.
                let _ = self.process.kill();
                let _ = self.process.wait();
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Reads the address from the child's output, which goes on being read so that the child never blocks on a full pipe.
fn wait_for_address(stdout: ChildStdout) -> Result<SocketAddr, RecvTimeoutError> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Some(address) = line
                .strip_prefix(LISTENING)
                .and_then(|rest| rest.parse().ok())
            {
                // The waiter may have given up.
                let _ = sender.send(address);
            }
        }
    });
    receiver.recv_timeout(START)
}
