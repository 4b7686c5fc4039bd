//! The client: the `clickhouse` crate over a connection that sends small requests at once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clickhouse::Client;
use clickhouse::error::Error;
use clickhouse::insert_formatted::InsertFormatted;
use clickhouse::query::BytesCursor;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::OnceCell;

use super::native::{Block, NoBlock, Received};
use crate::codec::{Damaged, Reader, Writer};
use crate::config::Access;
use crate::pipeline::{Fault, OutsideError};
use crate::shard::columns::{Column, Kind};

/// How long an idle connection is idle before its other end is probed.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long what was sent may stay unacknowledged by the other machine.
const UNACKNOWLEDGED: Duration = Duration::from_secs(60);

/// A database in ClickHouse.
#[derive(Clone)]
pub struct ClickHouse {
    client: Client,
    database: String,
    insert_settings: Vec<(String, String)>,
    /// Whether the rollups are, once it was asked.
    pub(super) is_replicated: Arc<OnceCell<bool>>,
}

impl ClickHouse {
    /// A client for `access`. Nothing is sent yet.
    pub fn new(access: &Access) -> Self {
        let mut connector = HttpConnector::new();
        // Without this a small insert waits for the receiver's delayed acknowledgement: 15 ms
        // instead of 3.
        connector.set_nodelay(true);
        connector.set_keepalive(Some(KEEP_ALIVE));
        // A machine that is down does not answer; one that is busy still acknowledges what it is
        // sent, and is waited for.
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
        let http = HyperClient::builder(TokioExecutor::new())
            .pool_idle_timeout(std::time::Duration::from_secs(2))
            .build(connector);
        let mut client = Client::with_http_client(http).with_url(&access.url);
        if !access.user.is_empty() {
            client = client
                .with_user(&access.user)
                .with_password(&access.password);
        }
        ClickHouse {
            client,
            database: access.database.clone(),
            insert_settings: access.insert_settings.clone(),
            is_replicated: Arc::default(),
        }
    }

    /// The database everything is in.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Runs a statement in the database.
    ///
    /// # Errors
    /// What ClickHouse or the network answered; `doing` names the operation.
    pub async fn execute(&self, doing: &str, sql: &str) -> Result<(), OutsideError> {
        let client = self.client.clone().with_database(&self.database);
        client
            .query_raw(sql)
            .execute()
            .await
            .map_err(|error| outside(doing, error))
    }

    /// Runs a statement outside any database.
    ///
    /// # Errors
    /// As [`ClickHouse::execute`].
    pub async fn execute_anywhere(&self, doing: &str, sql: &str) -> Result<(), OutsideError> {
        self.client
            .query_raw(sql)
            .execute()
            .await
            .map_err(|error| outside(doing, error))
    }

    /// Asks for the answer to a query in a format, piece by piece.
    fn ask(&self, doing: &str, sql: &str, format: &str) -> Result<BytesCursor, OutsideError> {
        let client = self.client.clone().with_database(&self.database);
        let asked = client.query_raw(sql).fetch_bytes(format);
        asked.map_err(|error| outside(doing, error))
    }

    /// The whole answer to a query in a format.
    ///
    /// # Errors
    /// As [`ClickHouse::execute`].
    pub async fn fetch(&self, doing: &str, sql: &str, format: &str) -> Result<Bytes, OutsideError> {
        self.ask(doing, sql, format)?
            .collect()
            .await
            .map_err(|error| outside(doing, error))
    }

    /// Hands the rows of RowBinary to `take` as they come, so that an answer need not fit in
    /// memory.
    ///
    /// # Errors
    /// As [`ClickHouse::execute`], or bytes that are no rows; some rows may have been handed over.
    pub async fn fetch_rows(
        &self,
        doing: &str,
        sql: &str,
        take: &mut (dyn FnMut(&mut Reader<'_>) -> Result<(), Damaged> + Send),
    ) -> Result<(), OutsideError> {
        let mut cursor = self.ask(doing, sql, "RowBinary")?;
        // The beginning of a row whose end is still to come.
        let mut rest: Vec<u8> = Vec::new();
        let mut damage = None;
        while let Some(piece) = cursor.next().await.map_err(|error| outside(doing, error))? {
            rest.extend_from_slice(&piece);
            let mut reader = Reader::new(&rest);
            let mut taken = 0;
            damage = None;
            while !reader.is_at_end() {
                match take(&mut reader) {
                    Ok(()) => taken = reader.position(),
                    Err(error) => {
                        damage = Some(error);
                        break;
                    }
                }
            }
            rest.drain(..taken);
        }
        match damage {
            Some(error) => Err(OutsideError::fatal(format!("ClickHouse, {doing}"), error)),
            None => Ok(()),
        }
    }

    /// Hands over an answer of columns of these kinds row by row: for answers of many rows. A block
    /// of the answer has to fit in memory.
    ///
    /// # Errors
    /// As [`ClickHouse::fetch_rows`].
    pub(super) async fn fetch_columns(
        &self,
        doing: &str,
        sql: &str,
        kinds: &[Kind],
        take: &mut (dyn FnMut(&mut [Received<'_>]) -> Result<(), Damaged> + Send),
    ) -> Result<(), OutsideError> {
        let mut cursor = self.ask(doing, sql, "Native")?;
        let damaged = |error| OutsideError::fatal(format!("ClickHouse, {doing}"), error);
        let mut rest: Vec<u8> = Vec::new();
        // A block that is not all there is looked at again when there is twice as much.
        let mut enough = 0;
        loop {
            let piece = cursor.next().await.map_err(|error| outside(doing, error))?;
            let is_last = piece.is_none();
            rest.extend_from_slice(piece.as_deref().unwrap_or_default());
            if rest.len() < enough && !is_last {
                continue;
            }
            let mut taken = 0;
            while taken < rest.len() {
                match Received::block(&rest[taken..], kinds) {
                    Ok((rows, mut columns, length)) => {
                        (0..rows)
                            .try_for_each(|_| take(&mut columns))
                            .map_err(damaged)?;
                        taken += length;
                    }
                    Err(NoBlock::Incomplete(_)) if !is_last => break,
                    Err(NoBlock::Incomplete(error) | NoBlock::Other(error)) => {
                        return Err(damaged(error));
                    }
                }
            }
            rest.drain(..taken);
            enough = 2 * rest.len();
            if is_last {
                return Ok(());
            }
        }
    }

    /// Inserts rows, each written as RowBinary while the ones before are on their way. Acknowledged
    /// when it returns.
    ///
    /// # Errors
    /// As [`ClickHouse::execute`].
    pub async fn insert<R>(
        &self,
        table: &str,
        columns: &str,
        rows: impl Iterator<Item = R> + Send,
        write: impl Fn(&mut Writer, R) + Send,
    ) -> Result<(), OutsideError> {
        self.insert_with(&[], table, columns, rows, write).await
    }

    /// The same with further settings, which override those of the configuration.
    ///
    /// # Errors
    /// As [`ClickHouse::execute`].
    pub(super) async fn insert_with<R>(
        &self,
        settings: &[(&str, &str)],
        table: &str,
        columns: &str,
        rows: impl Iterator<Item = R> + Send,
        write: impl Fn(&mut Writer, R) + Send,
    ) -> Result<(), OutsideError> {
        let into = format!("{table} ({columns}) FORMAT RowBinary");
        let mut insert = self.begin_insert(settings, table, &into);
        // Pieces of a size that is worth compressing, and small beside the rows they are made of.
        const PIECE: usize = 1 << 18;
        let mut writer = Writer::default();
        for row in rows {
            write(&mut writer, row);
            if writer.bytes.len() >= PIECE {
                let full = std::mem::replace(&mut writer.bytes, Vec::with_capacity(PIECE + 1_024));
                insert.send(full).await?;
            }
        }
        if !writer.bytes.is_empty() {
            insert.send(writer.bytes).await?;
        }
        insert.end().await
    }

    /// Inserts rows, each written as RowBinary of `columns`, as columns: for tables that take many.
    /// The blocks before are on their way meanwhile. Acknowledged when it returns.
    ///
    /// # Errors
    /// As [`ClickHouse::execute`], or what was written is no such row.
    pub(super) async fn insert_columns<R>(
        &self,
        table: &str,
        columns: Vec<Column>,
        rows: impl Iterator<Item = R> + Send,
        write: impl Fn(&mut Writer, R) + Send,
    ) -> Result<(), OutsideError> {
        let names: Vec<&str> = columns.iter().map(|column| &*column.name).collect();
        let into = format!("{table} ({}) FORMAT Native", names.join(", "));
        let mut insert = self.begin_insert(&[], table, &into);
        let (mut block, mut bytes) = (Block::new(columns), Writer::default());
        for row in rows {
            bytes.bytes.clear();
            write(&mut bytes, row);
            let pushed = block.push(&bytes.bytes);
            pushed.map_err(|damage| OutsideError::fatal(&insert.doing, damage))?;
            if block.is_full() {
                insert.send(block.take()).await?;
            }
        }
        if !block.is_empty() {
            insert.send(block.take()).await?;
        }
        insert.end().await
    }

    /// Inserts blocks of columns. The blocks before are on their way meanwhile. Acknowledged when it
    /// returns.
    ///
    /// # Errors
    /// As [`ClickHouse::execute`].
    pub(super) async fn insert_blocks(
        &self,
        table: &str,
        columns: &str,
        blocks: impl Iterator<Item = Vec<u8>> + Send,
    ) -> Result<(), OutsideError> {
        let into = format!("{table} ({columns}) FORMAT Native");
        let mut insert = self.begin_insert(&[], table, &into);
        for block in blocks {
            insert.send(block).await?;
        }
        insert.end().await
    }

    /// Begins an insert into the table and columns, in the format, that `into` names.
    fn begin_insert(&self, settings: &[(&str, &str)], table: &str, into: &str) -> BegunInsert {
        let mut client = self.client.clone().with_database(&self.database);
        // All rows of an insert have keys of their own, so that there is nothing to replace among
        // them: not to look for it saves ClickHouse a quarter of its work.
        client = client.with_setting("optimize_on_insert", "0");
        for (name, value) in &self.insert_settings {
            client = client.with_setting(name, value);
        }
        for (name, value) in settings {
            client = client.with_setting(*name, *value);
        }
        BegunInsert {
            doing: format!("inserting into {table}"),
            insert: client.insert_formatted_with(format!("INSERT INTO {into}")),
        }
    }
}

/// An insert that is sent piece by piece.
struct BegunInsert {
    doing: String,
    insert: InsertFormatted,
}

impl BegunInsert {
    /// Sends a piece of its bytes.
    async fn send(&mut self, piece: Vec<u8>) -> Result<(), OutsideError> {
        let sent = self.insert.send(piece.into()).await;
        sent.map_err(|error| outside(&self.doing, error))
    }

    /// Ends it: acknowledged when this returns.
    async fn end(self) -> Result<(), OutsideError> {
        let ended = self.insert.end().await;
        ended.map_err(|error| outside(&self.doing, error))
    }
}

/// What an error of ClickHouse means for us: an outage passes, a refusal doesn't.
fn outside(doing: &str, error: Error) -> OutsideError {
    let doing = format!("ClickHouse, {doing}");
    match &error {
        Error::Network(_) | Error::TimedOut => OutsideError::transient(
            doing,
            format!("{error}; is it running, and is [clickhouse] url right?"),
        ),
        Error::BadResponse(answer) => {
            // Codes of permanent errors: unknown names, syntax, types, access. All others may pass:
            // memory, disk, timeouts, parts.
            const OURS: [u32; 14] = [16, 36, 44, 46, 47, 53, 60, 62, 81, 192, 193, 194, 497, 516];
            let is_ours = code(answer).is_some_and(|code| OURS.contains(&code));
            let message: String = answer.chars().take(600).collect();
            let fault = if is_ours {
                Fault::User
            } else {
                Fault::External
            };
            OutsideError {
                doing,
                message,
                fault,
                is_transient: !is_ours,
            }
        }
        _ => OutsideError::fatal(doing, error),
    }
}

/// The code in `Code: 60. DB::Exception: …`.
fn code(answer: &str) -> Option<u32> {
    let digits = answer.split_once("Code: ")?.1;
    digits
        .split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}
