//! A blocking PostgreSQL client that keeps what the differential test compares: tags, type OIDs, SQLSTATEs, text values.
//!
//! Every read has a time limit (`READ_TIMEOUT`), so that a server that hangs is a difference and not a hanging test.
//! Notices and parameter status reports are dropped: they are the business of the psql transcripts.

use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long one answer may take before it counts as "no answer".
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// The largest message that a server may send; larger means the stream is out of step.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// An error response: the fields that are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    pub sqlstate: String,
    pub message: String,
}

/// A result column as `RowDescription` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub type_oid: u32,
}

/// What a statement answered; `None` in a row is NULL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    pub parameters: Vec<u32>,
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Option<String>>>,
    pub tags: Vec<String>,
    pub error: Option<ServerError>,
    /// Transaction state after the statement: `I`, `T` or `E`.
    pub state: u8,
}

/// One session with one server.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects without a password and waits for the first `ReadyForQuery`.
    pub fn connect(port: u16, user: &str, database: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        let mut client = Self { stream: BufReader::new(stream) };
        let mut body = 196_608_u32.to_be_bytes().to_vec();
        for word in ["user", user, "database", database, "client_encoding", "UTF8"] {
            body.extend_from_slice(word.as_bytes());
            body.push(0);
        }
        body.push(0);
        let mut message = ((body.len() + 4) as u32).to_be_bytes().to_vec();
        message.extend(body);
        client.stream.get_mut().write_all(&message)?;
        let answer = client.answer()?;
        match answer.error {
            Some(error) => Err(io::Error::other(format!("{}: {}", error.sqlstate, error.message))),
            None => Ok(client),
        }
    }

    /// Runs `sql` with the simple protocol.
    pub fn simple(&mut self, sql: &str) -> io::Result<Answer> {
        self.send(b'Q', |body| put_text(body, sql))?;
        self.answer()
    }

    /// Parses and describes `sql` as the unnamed statement without running it.
    pub fn describe(&mut self, sql: &str) -> io::Result<Answer> {
        self.send_parse(sql)?;
        self.send(b'D', |body| body.extend_from_slice(b"S\0"))?;
        self.send(b'S', |_| {})?;
        self.answer()
    }

    /// Runs `sql` with the extended protocol, text parameters and text results.
    pub fn extended(&mut self, sql: &str, parameters: &[Option<String>]) -> io::Result<Answer> {
        self.send_parse(sql)?;
        self.send(b'B', |body| {
            body.extend_from_slice(&[0, 0, 0, 0]);
            body.extend_from_slice(&(parameters.len() as u16).to_be_bytes());
            for parameter in parameters {
                match parameter {
                    None => body.extend_from_slice(&(-1_i32).to_be_bytes()),
                    Some(text) => {
                        body.extend_from_slice(&(text.len() as u32).to_be_bytes());
                        body.extend_from_slice(text.as_bytes());
                    }
                }
            }
            body.extend_from_slice(&[0, 0]);
        })?;
        self.send(b'D', |body| body.extend_from_slice(b"P\0"))?;
        self.send(b'E', |body| body.extend_from_slice(&[0, 0, 0, 0, 0]))?;
        self.send(b'S', |_| {})?;
        self.answer()
    }

    fn send_parse(&mut self, sql: &str) -> io::Result<()> {
        self.send(b'P', |body| {
            body.push(0);
            put_text(body, sql);
            body.extend_from_slice(&[0, 0]);
        })
    }

    fn send(&mut self, tag: u8, fill: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut body = Vec::new();
        fill(&mut body);
        let mut message = vec![tag];
        message.extend_from_slice(&((body.len() + 4) as u32).to_be_bytes());
        message.extend(body);
        self.stream.get_mut().write_all(&message)
    }

    /// Reads messages up to `ReadyForQuery`.
    fn answer(&mut self) -> io::Result<Answer> {
        let mut answer = Answer::default();
        loop {
            let (tag, body) = self.message()?;
            let mut body = Body { bytes: &body };
            match tag {
                b'T' => answer.columns = body.columns()?,
                b't' => answer.parameters = (0..body.u16()?).map(|_| body.u32()).collect::<io::Result<_>>()?,
                b'D' => answer.rows.push(body.row()?),
                b'C' => answer.tags.push(body.text()?),
                b'I' => answer.tags.push("(empty query)".into()),
                b'E' => answer.error = Some(body.error()?),
                b'Z' => {
                    answer.state = body.u8()?;
                    return Ok(answer);
                }
                b'G' | b'H' | b'W' => return Err(io::Error::other("COPY is not part of this test")),
                _ => {}
            }
        }
    }

    fn message(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0_u8; 5];
        self.stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if !(4..=MESSAGE_BYTES_MAX).contains(&length) {
            return Err(io::Error::other(format!("message of {length} bytes")));
        }
        let mut body = vec![0; length - 4];
        self.stream.read_exact(&mut body)?;
        Ok((head[0], body))
    }
}

fn put_text(body: &mut Vec<u8>, text: &str) {
    body.extend_from_slice(text.as_bytes());
    body.push(0);
}

/// The unread rest of a message body.
struct Body<'a> {
    bytes: &'a [u8],
}

impl Body<'_> {
    fn take(&mut self, count: usize) -> io::Result<&[u8]> {
        let (head, rest) = self.bytes.split_at_checked(count).ok_or_else(|| io::Error::other("message ends too early"))?;
        self.bytes = rest;
        Ok(head)
    }

    fn u8(&mut self) -> io::Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> io::Result<u16> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&mut self) -> io::Result<u32> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn text(&mut self) -> io::Result<String> {
        let end = self.bytes.iter().position(|byte| *byte == 0).ok_or_else(|| io::Error::other("text without its end"))?;
        let text = String::from_utf8_lossy(self.take(end)?).into_owned();
        self.take(1)?;
        Ok(text)
    }

    fn columns(&mut self) -> io::Result<Vec<Column>> {
        let count = self.u16()?;
        let mut columns = Vec::new();
        for _ in 0..count {
            let name = self.text()?;
            self.take(6)?;
            let type_oid = self.u32()?;
            self.take(8)?;
            columns.push(Column { name, type_oid });
        }
        Ok(columns)
    }

    fn row(&mut self) -> io::Result<Vec<Option<String>>> {
        let count = self.u16()?;
        let mut row = Vec::new();
        for _ in 0..count {
            let length = self.u32()?;
            row.push(match length {
                u32::MAX => None,
                length => Some(String::from_utf8_lossy(self.take(length as usize)?).into_owned()),
            });
        }
        Ok(row)
    }

    fn error(&mut self) -> io::Result<ServerError> {
        let mut error = ServerError { sqlstate: String::new(), message: String::new() };
        loop {
            match self.u8()? {
                0 => return Ok(error),
                b'C' => error.sqlstate = self.text()?,
                b'M' => error.message = self.text()?,
                _ => drop(self.text()?),
            }
        }
    }
}
