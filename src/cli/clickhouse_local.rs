//! `dealpulse clickhouse-local`: the ClickHouse engine behind its HTTP interface, on this machine,
//! with nothing installed.

use std::net::Ipv4Addr;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{fs, io, process, thread};

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::local::chdb::{Engine, library_path};
use crate::local::child::LISTENING;
use crate::local::clickhouse_http::{self, FrontError};

/// Serve ClickHouse's HTTP interface on loopback with the embedded engine
#[derive(Debug, clap::Args)]
pub struct ClickhouseLocal {
    /// Where the data is kept [default: a temporary directory, removed at the end]
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// The port on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 8123)]
    pub port: u16,
    /// End when standard input is closed, as it is when the parent process ends
    #[arg(long, hide = true)]
    pub end_with_stdin: bool,
}

/// Serves until Ctrl-C, SIGTERM or, if asked for, the end of standard input. Prints `listening on
/// 127.0.0.1:PORT` once it answers.
pub async fn run(args: ClickhouseLocal) -> anyhow::Result<()> {
    // From here on, so that a signal during the start isn't lost and the temporary directory isn't
    // left behind.
    let mut terminate = signal(SignalKind::terminate()).context("can't listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("can't listen for Ctrl-C")?;
    let stdin_closed = end_of_stdin(args.end_with_stdin);

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port))
        .await
        .with_context(|| format!("can't listen on port {}: choose another --port", args.port))?;
    let address = listener.local_addr()?;

    let data_dir = DataDir::new(args.data_dir)
        .context("can't make a temporary directory: give a --data-dir")?;
    let engine = Engine::open(&library_path(|name| std::env::var_os(name)), &data_dir.path)?;

    println!("{LISTENING}{address}");
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = stdin_closed => {}
        }
    };
    match clickhouse_http::serve(listener, engine, shutdown).await {
        Err(error @ FrontError::StillRunning) => {
            // Returning would wait for those statements for ever.
            eprintln!("error: {error}");
            process::exit(1);
        }
        result => Ok(result?),
    }
}

/// Ready when standard input is closed; never, if that isn't `wanted`.
async fn end_of_stdin(wanted: bool) {
    let (at_end, ended) = oneshot::channel::<()>();
    if !wanted {
        return std::future::pending().await;
    }
    // A thread of its own: a blocking read inside the runtime would keep it from ending.
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        drop(at_end);
    });
    let _ = ended.await;
}

/// The data directory; a temporary one is removed when this is dropped.
struct DataDir {
    path: PathBuf,
    temporary: bool,
}

impl DataDir {
    fn new(given: Option<PathBuf>) -> io::Result<Self> {
        if let Some(path) = given {
            return Ok(Self {
                path,
                temporary: false,
            });
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let name = format!("dealpulse-clickhouse-{}-{}", process::id(), now.as_nanos());
        let path = std::env::temp_dir().join(name);
        // Fails if it is there already, so no existing directory is ever used or removed.
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self {
            path,
            temporary: true,
        })
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        if self.temporary
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "the temporary data directory stays behind");
        }
    }
}
