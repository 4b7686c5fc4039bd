//! A command of this very program run as a child process that cannot outlive us.
//!
//! The child prints `listening on ADDRESS` on its standard output when it is ready. We hold its
//! standard input: when our process ends, for whatever reason, it reads the end of it and exits.
//! When the handle is dropped, the child is ended by its [`Ending`], and reaped.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{self, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// What a child prints before its address once it is ready.
pub const LISTENING: &str = "listening on ";

/// The longest a start or an answer may take: to open a large data directory every table's parts
/// are read.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a child that has closed its output may take to exit: its own exit status is more
/// informative than that of a kill.
const EXIT: Duration = Duration::from_secs(2);

/// How a child is ended when its handle is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It is killed: it has nothing to finish.
    Kill,
    /// Its standard input is closed, upon which it ends by itself; it is killed if it takes longer
    /// than this.
    CloseStdin(Duration),
}

/// Why a child process could not be started or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The process could not be started.
    #[error("{command} could not be started")]
    Spawn {
        /// The command, without its arguments.
        command: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The process ended where an answer was due; the reason is on its standard error.
    #[error("the child process {command} ended ({status}); its messages above have the reason")]
    Ended {
        /// The command, without its arguments.
        command: String,
        /// Its exit status, or why that is unknown.
        status: String,
    },
    /// The process lives but does not answer.
    #[error("the child process {command} did not answer within {} s; look at its messages above", ANSWER_TIMEOUT.as_secs())]
    Silent {
        /// The command, without its arguments.
        command: String,
    },
}

/// A child process that listens on a loopback address; ended and reaped on drop.
#[derive(Debug)]
pub struct Child {
    command: String,
    process: process::Child,
    /// Held open for as long as we live: its end makes the child exit. `None` only while the child
    /// is being ended.
    stdin: Option<ChildStdin>,
    ending: Ending,
    /// Behind a lock so that the handle may be shared between threads; only what has it alone
    /// reads.
    lines: Mutex<Receiver<String>>,
    address: String,
}

impl Child {
    /// Runs this program with `args` and waits until it listens; blocks the calling thread
    /// meanwhile.
    pub fn spawn(args: &[OsString], ending: Ending) -> Result<Self, LocalError> {
        let program = std::env::current_exe().map_err(|source| LocalError::Spawn {
            command: first(args),
            source,
        })?;
        Self::spawn_program(&program, args, ending)
    }

    /// As [`Child::spawn`] with another build of this program, for tests: their own executable has
    /// no commands.
    pub fn spawn_program(
        program: &Path,
        args: &[OsString],
        ending: Ending,
    ) -> Result<Self, LocalError> {
        let name = program.file_name().unwrap_or(OsStr::new("dealpulse"));
        let command = format!("{} {}", name.to_string_lossy(), first(args));
        let spawn_error = |source| LocalError::Spawn {
            command: command.clone(),
            source,
        };
        let mut process = Command::new(program)
            .args(args) // Ctrl-C is for us; we end our children in our own order.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(spawn_error)?;
        let (Some(stdin), Some(stdout)) = (process.stdin.take(), process.stdout.take()) else {
            unreachable!("both were asked for as pipes");
        };
        let (sender, lines) = mpsc::channel();
        let reader = thread::Builder::new().name("child-output".to_owned());
        // A thread of its own, because a pipe can't be read with a time limit; it ends with the
        // child's output.
        let reading = reader.spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // The receiver lives as long as the handle; the output is read on so that the child
                // never blocks on a full pipe.
                let _ = sender.send(line);
            }
        });
        let mut child = Self {
            command: command.clone(),
            process,
            stdin: Some(stdin),
            ending,
            lines: Mutex::new(lines),
            address: String::new(),
        };
        // From here on the process is owned by `child`, so every return ends it.
        reading.map_err(spawn_error)?;
        child.address = child.next_line_after(LISTENING)?;
        Ok(child)
    }

    /// The address the child listens on, `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The child's process number.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Writes a line to the child and returns the rest of its first line that starts with `prefix`;
    /// blocks meanwhile.
    pub fn exchange(&mut self, line: &str, prefix: &str) -> Result<String, LocalError> {
        let written = self.stdin.as_mut().map(|stdin| writeln!(stdin, "{line}"));
        if !matches!(written, Some(Ok(()))) {
            return Err(self.ended());
        }
        self.next_line_after(prefix)
    }

    fn next_line_after(&mut self, prefix: &str) -> Result<String, LocalError> {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let lines = self.lines.get_mut().unwrap_or_else(PoisonError::into_inner);
            match lines.recv_timeout(left) {
                Ok(line) => {
                    if let Some(rest) = line.strip_prefix(prefix) {
                        return Ok(rest.to_owned());
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Err(self.ended()),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(LocalError::Silent {
                        command: self.command.clone(),
                    });
                }
            }
        }
    }

    /// Kills the process at once, as a crash would, and waits until it has ended.
    pub fn kill(mut self) {
        self.kill_and_reap();
    }

    /// Waits for the process to end by itself; true if it has.
    fn ends_within(&mut self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        while matches!(self.process.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        true
    }

    fn kill_and_reap(&mut self) {
        // Either it has ended already or it has ended after this.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// The error for a child that closed its pipes: it has ended or is about to, and is not let
    /// live on.
    fn ended(&mut self) -> LocalError {
        if !self.ends_within(EXIT) {
            let _ = self.process.kill();
        }
        let status = match self.process.wait() {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        LocalError::Ended {
            command: self.command.clone(),
            status,
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(self.stdin.take());
        if let Ending::CloseStdin(within) = self.ending
            && !self.ends_within(within)
        {
            tracing::warn!(
                pid = self.pid(),
                command = self.command,
                "the child process did not end in time and is killed"
            );
        }
        self.kill_and_reap();
    }
}

fn first(args: &[OsString]) -> String {
    args.first()
        .map_or_else(String::new, |first| first.to_string_lossy().into_owned())
}
