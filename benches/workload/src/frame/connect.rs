//! One session: a connection and the statements prepared on it.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, NoTls, Row, Statement};

/// How long connecting is tried.
const CONNECT_FOR: Duration = Duration::from_secs(30);

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
            match tokio_postgres::connect(url, NoTls).await {
                Ok((client, connection)) => {
                    let connection = tokio::spawn(async move {
                        // Its end shows in the client's next call.
                        let _ = connection.await;
                    });
                    return Ok(Session { client, statements: HashMap::new(), connection });
                }
                Err(error) if tokio::time::Instant::now() >= until => return Err(error).with_context(|| format!("connecting to {url}")),
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
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

/// Whether the transaction should simply be tried again: serialization failures and deadlocks.
pub fn is_retry(error: &Error) -> bool {
    matches!(error.code(), Some(code) if *code == SqlState::T_R_SERIALIZATION_FAILURE || *code == SqlState::T_R_DEADLOCK_DETECTED)
}

/// A short name for an error, to count by: the SQLSTATE, or what happened to the connection.
pub fn error_name(error: &Error) -> String {
    match error.code() {
        Some(code) => code.code().to_owned(),
        None if error.is_closed() => "connection closed".into(),
        None => "connection".into(),
    }
}
