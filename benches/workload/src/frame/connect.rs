//! One session: a connection and the statements prepared on it; and a line of sessions, each made when the one before is lost.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, NoTls, Row, Statement};

/// How long connecting is tried.
const CONNECT_FOR: Duration = Duration::from_secs(30);
/// Between two attempts.
pub const CONNECT_PAUSE: Duration = Duration::from_millis(200);
/// How long one attempt to come back may take: a server that died in the middle of it never answers.
const RETURN_FOR: Duration = Duration::from_secs(5);

/// A session. Dropping it closes the connection.
pub struct Session {
    /// The client, for what needs no preparing.
    pub client: Client,
    statements: HashMap<&'static str, Statement>,
    connection: JoinHandle<()>,
}

impl Session {
    /// Connects, trying again for a while.
    pub async fn connect(url: &str) -> Result<Self> {
        let until = tokio::time::Instant::now() + CONNECT_FOR;
        loop {
            match Self::attempt(url).await {
                Ok(session) => return Ok(session),
                Err(error) if tokio::time::Instant::now() >= until => return Err(error).with_context(|| format!("connecting to {url}")),
                Err(_) => tokio::time::sleep(CONNECT_PAUSE).await,
            }
        }
    }

    /// Connects, or not.
    async fn attempt(url: &str) -> Result<Self, Error> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let connection = tokio::spawn(async move {
            // Its end shows in the client's next call.
            let _ = connection.await;
        });
        Ok(Session { client, statements: HashMap::new(), connection })
    }

    /// Whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Prepares statements before they are needed, so that they can be used together ([`Session::statement`]).
    pub async fn prepare(&mut self, texts: &[&'static str]) -> Result<(), Error> {
        for text in texts {
            if !self.statements.contains_key(text) {
                let statement = self.client.prepare(text).await?;
                self.statements.insert(text, statement);
            }
        }
        Ok(())
    }

    /// A statement that was prepared.
    ///
    /// # Panics
    /// If it was not: a mistake in the workload.
    pub fn statement(&self, text: &'static str) -> &Statement {
        self.statements.get(text).unwrap_or_else(|| panic!("not prepared: {text}"))
    }

    /// Runs a prepared statement for its rows.
    pub async fn rows(&self, text: &'static str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        self.client.query(self.statement(text), params).await
    }

    /// Runs a prepared statement that gives exactly one row.
    pub async fn row(&self, text: &'static str, params: &[&(dyn ToSql + Sync)]) -> Result<Row, Error> {
        self.client.query_one(self.statement(text), params).await
    }

    /// Runs a prepared statement for its effect.
    pub async fn run(&self, text: &'static str, params: &[&(dyn ToSql + Sync)]) -> Result<u64, Error> {
        self.client.execute(self.statement(text), params).await
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// A session with statements prepared that comes back when its connection is lost: at its own gateway, or else at the next.
pub struct Reconnecting {
    gateways: Vec<String>,
    /// Where it is connected, or is tried next.
    at: usize,
    statements: Vec<&'static str>,
    session: Session,
}

impl Reconnecting {
    /// Connects to the gateway of this number, trying again for a while; what fails here fails the run.
    pub async fn open(gateways: Vec<String>, at: usize, statements: Vec<&'static str>) -> Result<Self> {
        let at = at % gateways.len();
        let mut session = Session::connect(&gateways[at]).await?;
        session.prepare(&statements).await.context("preparing the statements of the workload")?;
        Ok(Reconnecting { gateways, at, statements, session })
    }

    /// The session, made anew if its connection is gone. None: this attempt failed, and the next is at another gateway; how often it is tried,
    /// and that it is counted, is up to the caller.
    pub async fn session(&mut self) -> Option<&Session> {
        if self.session.is_closed() {
            let again = async {
                let mut session = Session::attempt(&self.gateways[self.at]).await?;
                session.prepare(&self.statements).await?;
                Ok::<_, Error>(session)
            };
            match tokio::time::timeout(RETURN_FOR, again).await {
                Ok(Ok(session)) => self.session = session,
                Ok(Err(_)) | Err(_) => {
                    self.at = (self.at + 1) % self.gateways.len();
                    return None;
                }
            }
        }
        Some(&self.session)
    }
}

/// Whether the transaction should simply be tried again: serialization failures and deadlocks.
pub fn is_retry(error: &Error) -> bool {
    matches!(error.code(), Some(code) if *code == SqlState::T_R_SERIALIZATION_FAILURE || *code == SqlState::T_R_DEADLOCK_DETECTED)
}

/// What a transaction is counted as that found no session to run in.
pub const NO_CONNECTION: &str = "no connection";

/// A short name for an error, to count by: the SQLSTATE, or what happened to the connection.
pub fn error_name(error: &Error) -> String {
    match error.code() {
        Some(code) => code.code().to_owned(),
        None if error.is_closed() => "connection closed".into(),
        None => "connection".into(),
    }
}
