//! One client's connection, and one transaction on it, recorded as it goes.

use std::time::Duration;

use tokio_postgres::{Client, Config, Error, NoTls, SimpleQueryMessage};

use super::Level;
use crate::history::{Op, Outcome};

/// Nothing may take longer than this to be answered: then the outcome is unknown, and the gateway hangs.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Connecting may take this long.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// Why a transaction ended early.
#[derive(Debug)]
pub enum Failure {
    /// The server said so: SQLSTATE and message.
    Sql(String, String),
    /// The connection broke.
    Broken,
    /// No answer within the limit.
    Silent,
}

impl Failure {
    /// SQLSTATE (or what happened instead) and message.
    pub fn text(&self) -> String {
        match self {
            Failure::Sql(code, message) => format!("{code} {message}"),
            Failure::Broken => "connection".into(),
            Failure::Silent => format!("no answer within {ANSWER_LIMIT:?}"),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error.as_db_error() {
            Some(db) => Failure::Sql(db.code().code().to_owned(), db.message().to_owned()),
            None => Failure::Broken,
        }
    }
}

/// Rows as text.
pub type Rows = Vec<Vec<Option<String>>>;

/// A connection.
pub struct Connection {
    client: Client,
    /// Over the extended protocol; otherwise the simple one.
    extended: bool,
}

impl Connection {
    /// Connects, and sets the level for all transactions.
    pub async fn open(url: &str, level: Level, extended: bool) -> Result<Connection, Failure> {
        let mut config: Config = url.parse()?;
        config.connect_timeout(CONNECT_LIMIT);
        let connecting = tokio::time::timeout(ANSWER_LIMIT, config.connect(NoTls)).await.map_err(|_| Failure::Silent)?;
        let (client, connection) = connecting?;
        tokio::spawn(async move {
            let _ = connection.await;
        });
        let connection = Connection { client, extended };
        connection.rows(&format!("SET default_transaction_isolation = '{}'", level.sql())).await?;
        Ok(connection)
    }

    /// Whether it is broken.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Runs one statement. Every column of a query must be text.
    pub async fn rows(&self, sql: &str) -> Result<Rows, Failure> {
        tokio::time::timeout(ANSWER_LIMIT, self.ask(sql)).await.map_err(|_| Failure::Silent)?
    }

    async fn ask(&self, sql: &str) -> Result<Rows, Failure> {
        if self.extended {
            let rows = self.client.query(sql, &[]).await?;
            return Ok(rows.iter().map(|row| (0..row.len()).map(|at| row.get::<_, Option<String>>(at)).collect()).collect());
        }
        let messages = self.client.simple_query(sql).await?;
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect()),
            _ => None,
        });
        Ok(rows.collect())
    }
}

/// A transaction under way.
pub struct Session<'a> {
    connection: &'a Connection,
    /// What it did and saw.
    pub ops: Vec<Op>,
    block: bool,
    /// From here on it may have committed.
    committing: bool,
}

impl<'a> Session<'a> {
    /// A transaction block, or (without `block`) one statement on its own.
    pub fn new(connection: &'a Connection, block: bool) -> Self {
        Session { connection, ops: Vec::new(), block, committing: false }
    }

    /// BEGIN.
    pub async fn begin(&mut self) -> Result<(), Failure> {
        if self.block {
            self.connection.rows("BEGIN").await?;
        }
        Ok(())
    }

    /// A statement that reads.
    pub async fn read(&mut self, sql: &str) -> Result<Rows, Failure> {
        self.connection.rows(sql).await
    }

    /// A statement that writes `ops`.
    pub async fn write(&mut self, sql: &str, ops: impl IntoIterator<Item = Op>) -> Result<(), Failure> {
        self.ops.extend(ops);
        self.committing |= !self.block;
        self.connection.rows(sql).await.map(drop)
    }

    /// COMMIT.
    pub async fn commit(&mut self) -> Result<(), Failure> {
        if self.block {
            self.committing = true;
            self.connection.rows("COMMIT").await?;
        }
        Ok(())
    }

    /// What became of it after `failure`.
    pub fn outcome(&self, failure: &Failure) -> Outcome {
        match failure {
            _ if !self.committing => Outcome::Fail,
            // Certain refusals: serialization failure, deadlock, uniqueness, a full disk, a transaction that had failed before.
            Failure::Sql(code, _) if matches!(code.as_str(), "40001" | "40P01" | "23505" | "53100" | "25P02" | "55P03") => Outcome::Fail,
            _ => Outcome::Unknown,
        }
    }

    /// ROLLBACK after a refusal; false if the connection is done with.
    pub async fn roll_back(&self, failure: &Failure) -> bool {
        match failure {
            Failure::Sql(..) if !self.block => true,
            Failure::Sql(..) => self.connection.rows("ROLLBACK").await.is_ok(),
            Failure::Broken | Failure::Silent => false,
        }
    }
}
