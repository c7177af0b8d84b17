//! Framing and buffered output over one client's socket.

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use meridian_sql::error::{Result, SqlError, SqlState};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::frontend::violation;
use super::socket::{Outbox, Socket};

/// Output beyond this is sent without waiting for Sync.
pub const FLUSH_BYTES: usize = 64 * 1024;
/// Longest message before authentication, in bytes (PostgreSQL: 10,000 for start-up, 65,535 for SASL).
pub const MAX_STARTUP_BYTES: usize = 10_000;
/// What an idle connection keeps of each buffer.
const IDLE_BUFFER_BYTES: usize = 8 * 1024;

/// One client's byte streams.
pub struct ClientIo {
    socket: Socket,
    input: BytesMut,
    /// Encoded messages not yet sent.
    pub output: BytesMut,
    sent: u64,
    max_message_bytes: usize,
}

/// A socket failure as an error; the client will hardly read it.
pub fn lost(error: std::io::Error) -> SqlError {
    SqlError::new(SqlState::CONNECTION_FAILURE, format!("connection to client lost: {error}"))
}

impl ClientIo {
    /// Streams over `socket`; messages longer than `max_message_bytes` are refused.
    pub fn new(socket: Socket, max_message_bytes: usize) -> Self {
        ClientIo { socket, input: BytesMut::new(), output: BytesMut::new(), sent: 0, max_message_bytes }
    }

    /// Changes the limit (it is small until the client has authenticated).
    pub fn set_max_message_bytes(&mut self, bytes: usize) {
        self.max_message_bytes = bytes;
    }

    /// Takes the socket out to put TLS around it. Fails if the client has already sent more: it would be read in the clear.
    pub fn into_plain_socket(self) -> Result<TcpStream> {
        let stream = if self.input.is_empty() { self.socket.into_stream() } else { None };
        stream.ok_or_else(|| violation("received unencrypted data after SSL request"))
    }

    /// Whether TLS is on.
    pub fn is_tls(&self) -> bool {
        matches!(self.socket, Socket::Tls(_))
    }

    async fn fill(&mut self) -> Result<bool> {
        if self.input.capacity() - self.input.len() < 1024 {
            self.input.reserve(IDLE_BUFFER_BYTES);
        }
        Ok(self.socket.read_buf(&mut self.input).await.map_err(lost)? > 0)
    }

    /// The next start-up packet (no type byte): its body. `None` if the client has gone.
    pub async fn startup_packet(&mut self) -> Result<Option<Bytes>> {
        loop {
            if self.input.len() >= 4 {
                let length = u32::from_be_bytes([self.input[0], self.input[1], self.input[2], self.input[3]]) as usize;
                if !(8..=MAX_STARTUP_BYTES).contains(&length) {
                    return Err(violation("invalid length of startup packet"));
                }
                if self.input.len() >= length {
                    let mut packet = self.input.split_to(length);
                    packet.advance(4);
                    return Ok(Some(packet.freeze()));
                }
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// The next message: type byte and body. `None` if the client has gone.
    pub async fn message(&mut self) -> Result<Option<(u8, Bytes)>> {
        loop {
            if let Some(message) = self.buffered_message()? {
                return Ok(Some(message));
            }
            if self.input.is_empty() && self.input.capacity() > 4 * IDLE_BUFFER_BYTES {
                self.input = BytesMut::new();
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// The length field of the first message in the input, if all of that message is there.
    fn buffered_length(&self) -> Result<Option<usize>> {
        let [_, a, b, c, d, ..] = self.input[..] else { return Ok(None) };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length < 4 || length > self.max_message_bytes {
            return Err(violation(format!("invalid message length {length}")));
        }
        // The buffer grows with what arrives, never with what a length field claims.
        Ok((self.input.len() > length).then_some(length))
    }

    /// A message that has arrived already.
    pub fn buffered_message(&mut self) -> Result<Option<(u8, Bytes)>> {
        let Some(length) = self.buffered_length()? else { return Ok(None) };
        let tag = self.input[0];
        let mut frame = self.input.split_to(length + 1);
        frame.advance(5);
        Ok(Some((tag, frame.freeze())))
    }

    /// Sends all output, unless the client's next message is here already: then what is sent next goes with it (see `socket`).
    pub async fn flush_or_hold(&mut self) -> Result<()> {
        match self.socket.outbox() {
            Some(outbox) if self.output.len() < FLUSH_BYTES && matches!(self.buffered_length(), Ok(Some(_))) => {
                outbox.hold(&mut self.output);
                Ok(())
            }
            _ => self.flush().await,
        }
    }

    /// Where answers are held, if any are.
    pub fn held(&self) -> Option<&Arc<Outbox>> {
        self.socket.outbox().filter(|outbox| outbox.holds())
    }

    /// Sends all output.
    pub async fn flush(&mut self) -> Result<()> {
        if !self.output.is_empty() || self.held().is_some() {
            self.send_output().await?;
            if self.output.capacity() > 4 * FLUSH_BYTES {
                self.output = BytesMut::new();
            }
        }
        self.socket.flush().await.map_err(lost)
    }

    /// Sends output if there is much of it: the back-pressure of a slow client.
    pub async fn flush_if_large(&mut self) -> Result<()> {
        if self.output.len() >= FLUSH_BYTES {
            self.send_output().await?;
        }
        Ok(())
    }

    async fn send_output(&mut self) -> Result<()> {
        self.sent += self.output.len() as u64;
        match self.socket.outbox().map(|outbox| outbox.take()).filter(|held| !held.is_empty()) {
            Some(mut held) => {
                held.extend_from_slice(&self.output);
                self.socket.write_all(&held).await.map_err(lost)?;
            }
            None => self.socket.write_all(&self.output).await.map_err(lost)?,
        }
        self.output.clear();
        Ok(())
    }

    /// Bytes sent so far: tells whether something in the output buffer can still be taken back.
    pub fn sent_bytes(&self) -> u64 {
        self.sent
    }

    /// Whether the next message has arrived already and is a Sync.
    pub fn sync_is_next(&self) -> bool {
        self.input.first() == Some(&b'S')
    }

    /// Sends what is left and closes.
    pub async fn close(&mut self) {
        // The client may be gone already; nothing more can be done for it.
        let _ = self.flush().await;
        let _ = self.socket.shutdown().await;
    }
}
