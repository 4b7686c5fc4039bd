//! A command of this very program run as a child process that cannot outlive us.
//!
//! The child says `listening on ADDRESS` on its standard output when it is ready. We hold its standard input: when we die, however
//! we die, it reads the end of it and exits; when the handle is dropped, it is killed and reaped.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{self, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// What a child prints before its address once it is ready.
pub const LISTENING: &str = "listening on ";

/// Longer than any start or answer seen; only a child that hangs takes it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a child process could not be started or spoken to.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The process could not be started.
    #[error("{command} could not be started")]
    Spawn {
        /// The command, without its arguments.
        command: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The process ended where an answer was due; it has said why on its standard error.
    #[error("the child process {command} ended ({status}); its messages above say why")]
    Ended {
        /// The command, without its arguments.
        command: String,
        /// Its exit status, or why that is unknown.
        status: String,
    },
    /// The process lives but does not answer.
    #[error("the child process {command} did not answer within {} s; look at its messages above", PATIENCE.as_secs())]
    Silent {
        /// The command, without its arguments.
        command: String,
    },
}

/// A child process that listens on a loopback address; killed and reaped on drop.
pub struct Child {
    command: String,
    process: process::Child,
    // Held open for as long as we live: its end is what tells the child to go.
    stdin: ChildStdin,
    lines: Receiver<String>,
    address: String,
}

impl Child {
    /// Runs this program with `args` and waits until it listens; blocks the calling thread meanwhile.
    pub fn spawn(args: &[String]) -> Result<Self, LocalError> {
        let program = std::env::current_exe().map_err(|source| LocalError::Spawn {
            command: args.first().cloned().unwrap_or_default(),
            source,
        })?;
        Self::spawn_program(&program, args)
    }

    /// As [`Child::spawn`] with another build of this program, for tests: their own executable has no commands.
    pub fn spawn_program(program: &Path, args: &[String]) -> Result<Self, LocalError> {
        let name = program.file_name().unwrap_or(OsStr::new("dealpulse"));
        let first = args.first().map_or("", String::as_str);
        let command = format!("{} {first}", name.to_string_lossy());
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
        // A thread of its own, because a pipe can't be read with a time limit; it ends with the child's output.
        let reading = reader.spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut child = Self {
            command: command.clone(),
            process,
            stdin,
            lines,
            address: String::new(),
        };
        // From here on the process is owned by `child`, so every way out kills it.
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

    /// Writes a line to the child and returns the rest of its first line that starts with `prefix`; blocks meanwhile.
    pub fn exchange(&mut self, line: &str, prefix: &str) -> Result<String, LocalError> {
        if writeln!(self.stdin, "{line}").is_err() {
            return Err(self.ended());
        }
        self.next_line_after(prefix)
    }

    fn next_line_after(&mut self, prefix: &str) -> Result<String, LocalError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
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

    /// The error for a child that closed its pipes: it has ended or is about to, and is not let live on.
    fn ended(&mut self) -> LocalError {
        let _ = self.process.kill();
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
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
