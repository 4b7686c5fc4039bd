//! The embedded engine on a disk of its own that can be filled up and made read-only: a file system
//! in memory, mounted in a namespace that only the engine is in. It needs no privileges where users
//! may make namespaces; where they may not, it fails with the reason.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::clickhouse::DEALPULSE;
use super::kafka::Watchdog;

/// The parts are on a mount of their own, which is what is made read-only. What is dropped is
/// renamed, so it has to be on the same mount.
const SCRIPT: &str = "set -e; mount -t tmpfs -o size=\"$2\" tmpfs \"$1\"; mkdir -p \"$1/store/dropped\"; \
    mount --bind \"$1/store\" \"$1/store\"; ln -s \"$1/store/dropped\" \"$1/metadata_dropped\"; \
    exec \"$0\" clickhouse-local --port \"$3\" --data-dir \"$1\"";
/// What a full disk has left, in bytes: too little for an insert, and enough for what has started.
const LEFT: usize = 16 << 20;

/// An engine on its small disk. Both are removed when this is dropped.
pub struct SmallDisk {
    process: Child,
    watchdog: Watchdog,
    directory: PathBuf,
}

impl SmallDisk {
    /// Starts the engine on a disk of so many megabytes, mounted at `directory`; returns when it
    /// answers.
    ///
    /// # Panics
    /// Where namespaces can't be made or nothing can be mounted in them.
    pub fn start(port: u16, directory: &Path, megabytes: u32) -> SmallDisk {
        let mut command = Command::new("unshare");
        command
            .args([
                "--user",
                "--map-root-user",
                "--mount",
                "sh",
                "-c",
                SCRIPT,
                DEALPULSE,
            ])
            .arg(directory);
        command
            .args([format!("{megabytes}m"), port.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = command.spawn().expect("`unshare` of util-linux can be run");
        let watchdog = Watchdog::over(&process);
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("a pipe"))
            .read_line(&mut line)
            .expect("its output");
        if !line.starts_with("listening on ") {
            let mut problem = String::new();
            let _ = process
                .stderr
                .take()
                .expect("a pipe")
                .read_to_string(&mut problem);
            panic!(
                "no engine on a small disk: it is mounted with `unshare --user --mount`, which must be allowed here: {problem}"
            );
        }
        SmallDisk {
            process,
            watchdog,
            directory: directory.to_owned(),
        }
    }

    /// Takes the space that is free, but for [`LEFT`]. What the engine frees afterwards, by
    /// merging, is free until the next time.
    pub fn fill(&self) {
        let mut ballast = File::options()
            .create(true)
            .append(true)
            .open(self.ballast())
            .expect("a file on the small disk");
        let free = self.free();
        if free > LEFT {
            ballast
                .write_all(&vec![0; free - LEFT])
                .expect("as much was free");
        }
    }

    /// Makes space again.
    pub fn make_space(&self) {
        fs::remove_file(self.ballast()).expect("the ballast can be removed");
    }

    fn free(&self) -> usize {
        let output = Command::new("stat")
            .args(["--file-system", "--format", "%a %S"])
            .arg(self.seen_from_outside())
            .output()
            .expect("`stat` can be run");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (blocks, size) = text
            .trim()
            .split_once(' ')
            .unwrap_or_else(|| panic!("stat says {text:?}"));
        blocks.parse::<usize>().expect("blocks") * size.parse::<usize>().expect("their size")
    }

    /// Makes the parts read-only: by a mount over them, since a file that is open for writing (the
    /// engine keeps one, the log of inserts that it must not repeat) keeps theirs from being
    /// remounted.
    pub fn make_read_only(&self) {
        self.in_its_namespace("mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\"");
    }

    /// Makes the parts writable again.
    pub fn make_writable(&self) {
        self.in_its_namespace("umount --lazy \"$0\"");
    }

    fn in_its_namespace(&self, script: &str) {
        let process = self.process.id().to_string();
        let done = Command::new("nsenter")
            .args(["--target", &process, "--user", "--preserve-credentials"])
            .args(["--mount", "sh", "-c", script])
            .arg(self.directory.join("store"))
            .output()
            .expect("`nsenter` of util-linux can be run");
        let problem = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{script}: {problem}");
    }

    fn ballast(&self) -> PathBuf {
        self.seen_from_outside().join("ballast")
    }

    /// The directory by the engine's own view of the file system: ours lacks its mounts.
    fn seen_from_outside(&self) -> PathBuf {
        let inside = self.directory.strip_prefix("/").expect("an absolute path");
        Path::new("/proc")
            .join(self.process.id().to_string())
            .join("root")
            .join(inside)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.watchdog.dismiss();
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
