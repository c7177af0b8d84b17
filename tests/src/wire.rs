//! The wire protocol by hand, for what no driver would send: messages are bytes, answers are read until a chosen kind.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// One message of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// ErrorResponse: severity, SQLSTATE, message.
    Error(String, String, String),
    /// NoticeResponse: severity, SQLSTATE.
    Notice(String, String),
    /// ReadyForQuery with its status.
    Ready(u8),
    /// Any other message: type and body.
    Other(u8, Vec<u8>),
    /// The server closed the connection.
    Closed,
}

/// A raw connection.
pub struct Raw {
    stream: TcpStream,
    input: Vec<u8>,
    /// Process id and secret of BackendKeyData.
    pub key: (i32, i32),
}

/// A message: type byte, length, body.
pub fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    out.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    out.extend_from_slice(body);
    out
}

/// Query.
pub fn query(sql: &[u8]) -> Vec<u8> {
    message(b'Q', &[sql, b"\0"].concat())
}

/// Parse, without declared types.
pub fn parse(name: &str, sql: &str) -> Vec<u8> {
    message(b'P', &[name.as_bytes(), b"\0", sql.as_bytes(), b"\0\0\0"].concat())
}

/// Bind with one format for all parameters.
pub fn bind(portal: &str, statement: &str, format: i16, values: &[Option<&[u8]>]) -> Vec<u8> {
    let mut body = [portal.as_bytes(), b"\0", statement.as_bytes(), b"\0\0\x01"].concat();
    body.extend_from_slice(&format.to_be_bytes());
    body.extend_from_slice(&(values.len() as u16).to_be_bytes());
    for value in values {
        match value {
            None => body.extend_from_slice(&(-1_i32).to_be_bytes()),
            Some(bytes) => {
                body.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
                body.extend_from_slice(bytes);
            }
        }
    }
    body.extend_from_slice(&[0, 0]);
    message(b'B', &body)
}

/// Execute.
pub fn execute(portal: &str, max_rows: i32) -> Vec<u8> {
    message(b'E', &[portal.as_bytes(), b"\0", &max_rows.to_be_bytes()].concat())
}

/// Sync.
pub fn sync() -> Vec<u8> {
    message(b'S', b"")
}

/// A start-up packet of protocol `version` with these parameters.
pub fn startup(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend_from_slice(&[name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
    }
    body.push(0);
    [&(body.len() as u32 + 4).to_be_bytes(), body.as_slice()].concat()
}

/// Protocol 3.0.
pub const VERSION_3: u32 = 3 << 16;

impl Raw {
    /// A socket on which nothing has been said.
    pub fn dial(port: u16) -> Result<Raw> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.set_write_timeout(Some(ANSWER_LIMIT))?;
        stream.set_nodelay(true)?;
        Ok(Raw { stream, input: vec![], key: (0, 0) })
    }

    /// A session of root in defaultdb, ready for queries.
    pub fn connect(port: u16) -> Result<Raw> {
        let mut raw = Raw::dial(port)?;
        raw.send(&startup(VERSION_3, &[("user", "root"), ("database", "defaultdb")]))?;
        let answers = raw.until_ready()?;
        for answer in &answers {
            if let Answer::Other(b'K', body) = answer {
                let word = |at: usize| body.get(at..at + 4).and_then(|b| b.try_into().ok()).map(i32::from_be_bytes);
                raw.key = (word(0).context("a process id")?, word(4).context("a secret")?);
            }
        }
        match answers.last() {
            Some(Answer::Ready(_)) => Ok(raw),
            other => bail!("no session: {other:?}"),
        }
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Says that nothing more comes, and leaves the way back open.
    pub fn half_close(&mut self) -> Result<()> {
        Ok(self.stream.shutdown(std::net::Shutdown::Write)?)
    }

    /// Reads `count` bytes that are no message (the answer to an SSL request).
    pub fn bytes(&mut self, count: usize) -> Result<Vec<u8>> {
        let mut out = vec![0; count];
        self.stream.read_exact(&mut out)?;
        Ok(out)
    }

    /// The next message.
    pub fn answer(&mut self) -> Result<Answer> {
        loop {
            if let Some(length) = self.input.get(1..5).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes) {
                let end = length as usize + 1;
                if self.input.len() >= end {
                    let frame: Vec<u8> = self.input.drain(..end).collect();
                    return Ok(decode(frame[0], &frame[5..]));
                }
            }
            let mut chunk = vec![0; 64 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(Answer::Closed),
                Ok(read) => self.input.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(Answer::Closed),
                Err(error) => return Err(error).context("the server does not answer"),
            }
        }
    }

    /// Everything up to ReadyForQuery or the end of the connection.
    pub fn until_ready(&mut self) -> Result<Vec<Answer>> {
        let mut answers = vec![];
        loop {
            let answer = self.answer()?;
            let last = matches!(answer, Answer::Ready(_) | Answer::Closed);
            answers.push(answer);
            if last {
                return Ok(answers);
            }
        }
    }

    /// Sends, and reads up to ReadyForQuery or the end: the first error's SQLSTATE, "" if there was none, and how it ended.
    pub fn outcome(&mut self, bytes: &[u8]) -> Result<Outcome> {
        self.send(bytes)?;
        self.finish()
    }

    /// Reads up to ReadyForQuery or the end.
    pub fn finish(&mut self) -> Result<Outcome> {
        let answers = self.until_ready()?;
        let mut outcome = Outcome { code: String::new(), message: String::new(), closed: answers.last() == Some(&Answer::Closed), rows: 0 };
        for answer in answers {
            match answer {
                Answer::Error(_, code, message) if outcome.code.is_empty() => (outcome.code, outcome.message) = (code, message),
                Answer::Other(b'D', _) => outcome.rows += 1,
                _ => {}
            }
        }
        Ok(outcome)
    }
}

/// How a batch of messages went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// SQLSTATE of the first error; empty without one.
    pub code: String,
    /// Its message.
    pub message: String,
    /// The server closed the connection.
    pub closed: bool,
    /// DataRow messages.
    pub rows: usize,
}

fn decode(tag: u8, body: &[u8]) -> Answer {
    let field = |code: u8| {
        let found = body.split(|b| *b == 0).find(|f| f.first() == Some(&code));
        found.map(|f| String::from_utf8_lossy(&f[1..]).into_owned()).unwrap_or_default()
    };
    match tag {
        b'E' => Answer::Error(field(b'S'), field(b'C'), field(b'M')),
        b'N' => Answer::Notice(field(b'S'), field(b'C')),
        b'Z' => Answer::Ready(body.first().copied().unwrap_or(0)),
        other => Answer::Other(other, body.to_vec()),
    }
}

/// Resident memory and CPU time (ticks) of the process that was started with this data directory.
pub fn process_usage(data_dir: &Path) -> Result<(u64, u64)> {
    let wanted = data_dir.to_string_lossy().into_owned();
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        let Ok(command) = std::fs::read(path.join("cmdline")) else { continue };
        if !command.split(|b| *b == 0).any(|argument| argument == wanted.as_bytes()) {
            continue;
        }
        let status = std::fs::read_to_string(path.join("status"))?;
        let resident = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("VmRSS")?;
        let kib: u64 = resident.trim().trim_end_matches(" kB").parse()?;
        let stat = std::fs::read_to_string(path.join("stat"))?;
        // Fields after the parenthesised name: 14 and 15 are user and system time.
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
        let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
        return Ok((kib * 1024, ticks(11) + ticks(12)));
    }
    bail!("no process has its data in {wanted}")
}
