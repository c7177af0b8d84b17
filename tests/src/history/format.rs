//! The one format of histories: JSON lines, first a [`Header`], then a [`Txn`] a line.
//!
//! ```json
//! {"workload":"register","about":"a stale read"}
//! {"process":0,"gateway":1,"kind":"write","invoked":10,"completed":20,"outcome":"ok","ops":[{"write":["x",1]}]}
//! {"process":1,"gateway":2,"kind":"read","invoked":30,"completed":40,"outcome":"ok","ops":[{"read":["x",null]}]}
//! ```
//! Times are nanoseconds (or any unit that grows) of one clock that all clients share. Values are unique among all writes of their key.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// What a transaction did, with what it saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Added an element to the end of a list.
    Append(String, i64),
    /// Saw a whole list.
    List(String, Vec<i64>),
    /// Set a register.
    Write(String, i64),
    /// Saw a register; `None`: no row.
    Read(String, Option<i64>),
    /// Saw every register whose key begins with a prefix.
    Scan(String, Vec<(String, i64)>),
    /// Saw the balances of all accounts of a bank; their total is in the header.
    Balances(String, Vec<(String, i64)>),
}

/// How a transaction ended, as its client knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Acknowledged.
    Ok,
    /// Certainly not committed.
    Fail,
    /// Nobody knows.
    Unknown,
}

/// A transaction as its client saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Txn {
    /// Which client: its transactions come one after the other.
    pub process: u64,
    /// The node that it talked to.
    #[serde(default)]
    pub gateway: u64,
    /// What sort of transaction.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Before its first message left.
    pub invoked: u64,
    /// After its last answer came; `None` if none came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed: Option<u64>,
    /// How it ended.
    pub outcome: Outcome,
    /// The error of one that was not acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What it did, in order.
    pub ops: Vec<Op>,
}

/// What a history is of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Workload.
    pub workload: String,
    /// Where it comes from, or what it shows.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// What the balances of each bank must add up to.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub totals: BTreeMap<String, i64>,
    /// How many of the times' units are a millisecond, for stories; 0: they are told as they are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub per_millisecond: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// A header and its transactions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// What it is of.
    pub header: Header,
    /// In any order.
    pub txns: Vec<Txn>,
}

/// A file that is not a history.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The disk.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A line.
    #[error("line {line}: {reason}")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong with it.
        reason: serde_json::Error,
    },
}

impl History {
    /// Reads JSON lines.
    pub fn read(from: impl BufRead) -> Result<History, HistoryError> {
        let mut history = History::default();
        for (at, line) in from.lines().enumerate() {
            let line = line?;
            let wrong = |reason| HistoryError::Line { line: at + 1, reason };
            if at == 0 {
                history.header = serde_json::from_str(&line).map_err(wrong)?;
            } else if !line.trim().is_empty() {
                history.txns.push(serde_json::from_str(&line).map_err(wrong)?);
            }
        }
        Ok(history)
    }

    /// Reads a file.
    pub fn load(path: &Path) -> Result<History, HistoryError> {
        History::read(std::io::BufReader::new(std::fs::File::open(path)?))
    }

    /// Writes JSON lines.
    pub fn write(&self, mut to: impl Write) -> std::io::Result<()> {
        serde_json::to_writer(&mut to, &self.header)?;
        to.write_all(b"\n")?;
        for txn in &self.txns {
            serde_json::to_writer(&mut to, txn)?;
            to.write_all(b"\n")?;
        }
        to.flush()
    }

    /// Writes a file.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        self.write(std::io::BufWriter::new(std::fs::File::create(path)?))
    }
}
