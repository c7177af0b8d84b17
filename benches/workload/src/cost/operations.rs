//! What is timed.

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;
use tokio_postgres::Error;

use crate::frame::connect::{Session, is_retry};

/// Ids of one range of the table, from a multiple of this.
pub const RANGE_ROWS: i32 = 1000;
/// Rows that writes and reads go round in, so that an operation does not meet what its predecessor is still tidying up.
const AROUND: i32 = 40;
/// Where each use of a range has its rows.
const READ_FROM: i32 = 100;
const INSERT_FROM: i32 = 200;
/// Tries of one operation that meets serialization failures.
const TRIES_MAX: u64 = 20;

const INSERT: &str = "INSERT INTO cost VALUES ($1, $2)";
const UPDATE: &str = "UPDATE cost SET v = $2 WHERE id = $1";
const SELECT: &str = "SELECT v FROM cost WHERE id = $1";
const PAST: &str = "SELECT v FROM cost AS OF SYSTEM TIME follower_read_timestamp() WHERE id = $1";
const STATEMENTS: [&str; 4] = [INSERT, UPDATE, SELECT, PAST];

/// An operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Inserts a row, outside a block.
    Insert,
    /// Reads a row and writes it, in a block.
    ReadWrite,
    /// The same at READ COMMITTED.
    ReadWriteCommitted,
    /// Writes a row in each of two ranges.
    TwoRanges,
    /// The same; before the commit somebody else reads one of the rows, so that the commit must go above its snapshot. Nothing to validate.
    Pushed,
    /// The same with a third row that was only read and is validated at the commit.
    Validated,
    /// The same with the third row in a range that another node leads.
    ValidatedFar,
    /// Reads a row.
    Read,
    /// Reads a row that a client of another node has just written.
    ReadJustWritten,
    /// Reads a row at `follower_read_timestamp()`.
    ReadPast,
}

impl Operation {
    /// All of them.
    pub const ALL: [Operation; 10] = [
        Operation::Insert,
        Operation::ReadWrite,
        Operation::ReadWriteCommitted,
        Operation::TwoRanges,
        Operation::Pushed,
        Operation::Validated,
        Operation::ValidatedFar,
        Operation::Read,
        Operation::ReadJustWritten,
        Operation::ReadPast,
    ];

    /// Its name in table and plot.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Insert => "insert of one row",
            Operation::ReadWrite => "read-modify-write of one row",
            Operation::ReadWriteCommitted => "the same, READ COMMITTED",
            Operation::TwoRanges => "write in two ranges",
            Operation::Pushed => "write in two ranges, pushed",
            Operation::Validated => "the same, one read validated",
            Operation::ValidatedFar => "the same, the read led elsewhere",
            Operation::Read => "fresh read of one row",
            Operation::ReadJustWritten => "fresh read of a row just written elsewhere",
            Operation::ReadPast => "read at follower_read_timestamp()",
        }
    }
}

/// The sessions that the operations need, and the first ids of the ranges that they touch.
pub struct Stage {
    /// Is timed.
    pub client: Session,
    /// Somebody else at the same gateway.
    pub other: Session,
    /// Somebody else at another gateway.
    pub elsewhere: Session,
    /// Two ranges led by the gateway's node.
    pub here: [i32; 2],
    /// A range led by another node.
    pub there: i32,
    /// Rows inserted so far.
    pub inserted: i32,
}

impl Stage {
    /// Prepares the statements.
    pub async fn prepare(&mut self) -> Result<()> {
        for session in [&mut self.client, &mut self.other, &mut self.elsewhere] {
            session.prepare(&STATEMENTS).await?;
        }
        Ok(())
    }

    /// Rows that inserts may still take.
    pub fn room(&self) -> i32 {
        RANGE_ROWS - INSERT_FROM - self.inserted
    }

    /// Runs `operation` for the `n`th time. Answers how long it took, and how often it had to begin again.
    pub async fn perform(&mut self, operation: Operation, n: i32) -> Result<(Duration, u64)> {
        for retries in 0..TRIES_MAX {
            match self.once(operation, n).await {
                Ok(took) => return Ok((took, retries)),
                Err(error) if is_retry(&error) => {
                    let _ = self.client.client.batch_execute("ROLLBACK").await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        anyhow::bail!("{}: {TRIES_MAX} serialization failures in a row", operation.name())
    }

    async fn once(&mut self, operation: Operation, n: i32) -> Result<Duration, Error> {
        let around = n.rem_euclid(AROUND);
        let [first, second] = self.here.map(|base| base + around);
        let client = &self.client;
        let read = |base: i32| base + READ_FROM + around;
        if operation == Operation::ReadJustWritten {
            self.elsewhere.run(UPDATE, &[&first, &n]).await?;
        }
        let since = Instant::now();
        match operation {
            Operation::Insert => {
                self.inserted += 1;
                client.run(INSERT, &[&(self.here[0] + INSERT_FROM + self.inserted - 1), &n]).await?;
            }
            Operation::ReadWrite | Operation::ReadWriteCommitted => {
                let committed = operation == Operation::ReadWriteCommitted;
                client.client.batch_execute(if committed { "BEGIN ISOLATION LEVEL READ COMMITTED" } else { "BEGIN" }).await?;
                let v: i32 = client.row(SELECT, &[&first]).await?.get(0);
                client.run(UPDATE, &[&first, &v.wrapping_add(1)]).await?;
                client.client.batch_execute("COMMIT").await?;
            }
            Operation::TwoRanges | Operation::Pushed | Operation::Validated | Operation::ValidatedFar => {
                client.client.batch_execute("BEGIN").await?;
                match operation {
                    Operation::Validated => drop(client.row(SELECT, &[&read(self.here[0])]).await?),
                    Operation::ValidatedFar => drop(client.row(SELECT, &[&read(self.there)]).await?),
                    _ => {}
                }
                client.run(UPDATE, &[&first, &n]).await?;
                client.run(UPDATE, &[&second, &n]).await?;
                if operation != Operation::TwoRanges {
                    // A read at a later snapshot closes the past of the row up to there.
                    self.other.row(SELECT, &[&second]).await?;
                }
                client.client.batch_execute("COMMIT").await?;
            }
            Operation::Read | Operation::ReadJustWritten => drop(client.row(SELECT, &[&first]).await?),
            Operation::ReadPast => drop(client.row(PAST, &[&read(self.here[0])]).await?),
        }
        Ok(since.elapsed())
    }
}
