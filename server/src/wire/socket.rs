//! One client's socket, and the answers that are held back on their way to it.
//!
//! A client that pipelines gets one write for many answers: while its next message is already here, an answer is held. That must never keep it from
//! an answer that it waits for, so whoever is about to wait for anything, a lock, a disk, another node, sends what is held first ([`sending_before_waits`]).

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_rustls::server::TlsStream;

/// A client's socket, plain or under TLS.
pub enum Socket {
    /// Plain TCP.
    Plain(OwnedReadHalf, Arc<Outbox>),
    /// TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// The sending side of a plain socket. `held` is sent before anything else.
pub struct Outbox {
    write: OwnedWriteHalf,
    held: Mutex<BytesMut>,
}

impl Socket {
    /// A plain socket.
    pub fn plain(stream: TcpStream) -> Self {
        let (read, write) = stream.into_split();
        Socket::Plain(read, Arc::new(Outbox { write, held: Mutex::default() }))
    }

    /// The stream of a plain socket on which nothing is held.
    pub fn into_stream(self) -> Option<TcpStream> {
        let Socket::Plain(read, outbox) = self else { return None };
        read.reunite(Arc::into_inner(outbox)?.write).ok()
    }

    /// Where answers can be held.
    pub fn outbox(&self) -> Option<&Arc<Outbox>> {
        match self {
            Socket::Plain(_, outbox) => Some(outbox),
            Socket::Tls(_) => None,
        }
    }
}

impl Outbox {
    /// Whether anything is held.
    pub fn holds(&self) -> bool {
        !self.held.lock().is_empty()
    }

    /// Holds `answers` behind what is held already, and leaves nothing there.
    pub fn hold(&self, answers: &mut BytesMut) {
        let mut held = self.held.lock();
        if held.is_empty() {
            std::mem::swap(&mut *held, answers);
        } else {
            held.extend_from_slice(answers);
            answers.clear();
        }
    }

    /// What is held, for one who sends it.
    pub fn take(&self) -> BytesMut {
        std::mem::take(&mut self.held.lock())
    }

    /// Sends as much as the socket takes at once. The rest, and an error of the socket, are for the next flush.
    fn send_now(&self) {
        let mut held = self.held.lock();
        while !held.is_empty() {
            match self.write.try_write(&held) {
                Ok(sent) if sent > 0 => held.advance(sent),
                _ => break,
            }
        }
    }
}

/// Does `work`; whenever it has to wait, what `outbox` holds is sent first.
pub async fn sending_before_waits<T>(outbox: Option<Arc<Outbox>>, work: impl Future<Output = T>) -> T {
    let Some(outbox) = outbox else { return work.await };
    let mut work = pin!(work);
    std::future::poll_fn(|cx| {
        let polled = work.as_mut().poll(cx);
        if polled.is_pending() {
            outbox.send_now();
        }
        polled
    })
    .await
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Socket::Plain(read, _) => Pin::new(read).poll_read(cx, buf),
            Socket::Tls(s) => Pin::new(s.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Socket::Plain(_, outbox) => loop {
                let stream: &TcpStream = outbox.write.as_ref();
                ready!(stream.poll_write_ready(cx))?;
                match stream.try_write(buf) {
                    Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                    written => return Poll::Ready(written),
                }
            },
            Socket::Tls(s) => Pin::new(s.as_mut()).poll_write(cx, buf),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            // Nothing is buffered between us and the kernel.
            Socket::Plain(..) => Poll::Ready(Ok(())),
            Socket::Tls(s) => Pin::new(s.as_mut()).poll_flush(cx),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Socket::Plain(_, outbox) => {
                let stream: &TcpStream = outbox.write.as_ref();
                Poll::Ready(socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Write))
            }
            Socket::Tls(s) => Pin::new(s.as_mut()).poll_shutdown(cx),
        }
    }
}
