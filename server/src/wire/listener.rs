//! The SQL port: accepts clients, limits them, authenticates them, and lets them finish when the node drains.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use meridian_sql::error::{SqlError, SqlState};
use meridian_sql::session::{CancelHandle, Database, Session};
use parking_lot::Mutex;
use pgwire::messages::startup::{Authentication, BackendKeyData, SecretKey};
use rand::Rng;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::io::ClientIo;
use super::{backend, connection, startup};

/// A client has this long to get through TLS and authentication.
const AUTHENTICATION_TIMEOUT: Duration = Duration::from_secs(60);

/// How the SQL port behaves.
#[derive(Clone)]
pub struct WireConfig {
    /// Clients beyond this many are refused with `53300`.
    pub max_connections: usize,
    /// Longest message a client may send, in bytes.
    pub max_message_bytes: usize,
    /// TLS, when the node has a certificate.
    pub tls: Option<TlsAcceptor>,
    /// Passwords are asked for, and TLS demanded.
    pub secure: bool,
}

/// Counters of the SQL port.
#[derive(Debug, Default)]
pub struct WireCounters {
    /// Clients now.
    pub connections: AtomicUsize,
    /// Clients ever.
    pub accepted: AtomicU64,
    /// Clients refused at the limit.
    pub refused: AtomicU64,
    /// Failed authentications.
    pub authentication_failures: AtomicU64,
}

/// Bits of a process id that count within a node; those above are the node's.
const PID_BITS: u32 = 21;

/// The SQL port of a node.
pub struct SqlListener {
    database: Arc<Database>,
    config: WireConfig,
    /// Figures for metrics.
    pub counters: WireCounters,
    cancels: Mutex<BTreeMap<i32, (i32, CancelHandle)>>,
    next_pid: AtomicI32,
}

impl SqlListener {
    /// A port that serves `database`.
    pub fn new(database: Arc<Database>, config: WireConfig) -> Arc<Self> {
        Arc::new(SqlListener {
            database,
            config,
            counters: WireCounters::default(),
            cancels: Mutex::default(),
            next_pid: AtomicI32::new(1),
        })
    }

    /// Accepts until `drain` turns true.
    pub async fn run(self: Arc<Self>, listener: TcpListener, mut drain: watch::Receiver<bool>) {
        loop {
            let accepted = tokio::select! {
                biased;
                _ = drain.wait_for(|d| *d) => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let (this, drain) = (self.clone(), drain.clone());
                    tokio::spawn(async move { this.client(stream, peer, drain).await });
                }
                Err(error) => {
                    // Out of file descriptors: waiting lets some close.
                    tracing::warn!(%error, "accepting a SQL client failed");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn client(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, drain: watch::Receiver<bool>) {
        // Answers are small and latency is what clients wait for.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        self.counters.accepted.fetch_add(1, Ordering::Relaxed);
        let here = self.counters.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let _here = Here(&self.counters.connections);
        let opened = tokio::time::timeout(AUTHENTICATION_TIMEOUT, self.open(stream, peer, here)).await;
        if let Ok(Some((mut io, mut session, pid))) = opened {
            // A bug that panics costs its client the session, not the node a slot, a transaction or the client an explanation.
            let served = AssertUnwindSafe(connection::serve(&mut io, &mut session, drain)).catch_unwind().await;
            if served.is_err() {
                tracing::error!(%peer, pid, "a session panicked: it is closed");
                let error = SqlError::internal("internal error: the session is closed; the node's log says more");
                io.output.clear();
                let _: Option<()> = refuse(&mut io, &error).await;
            }
            self.cancels.lock().remove(&pid);
            session.close().await;
        }
    }

    async fn open(&self, stream: TcpStream, peer: SocketAddr, here: usize) -> Option<(Box<ClientIo>, Session, i32)> {
        let opening = startup::open(stream, self.config.tls.as_ref(), self.config.secure).await;
        let (mut io, mut start) = match opening {
            Ok(startup::Opening::Session(io, start)) => (io, start),
            Ok(startup::Opening::Cancel(pid, secret)) => {
                self.cancel(pid, &secret);
                return None;
            }
            Ok(startup::Opening::Gone) => return None,
            Err(error) => {
                tracing::debug!(%peer, %error, "client did not start up");
                return None;
            }
        };
        start.client = peer.to_string();
        if here > self.config.max_connections {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            let error = SqlError::new(SqlState::TOO_MANY_CONNECTIONS, "sorry, too many clients already");
            return refuse(&mut io, &error).await;
        }
        match self.start_session(&mut io, start).await {
            Ok((session, pid)) => Some((io, session, pid)),
            Err(error) => {
                if error.code == SqlState::INVALID_PASSWORD {
                    self.counters.authentication_failures.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(%peer, %error, "authentication failed");
                }
                refuse(&mut io, &error).await
            }
        }
    }

    async fn start_session(&self, io: &mut ClientIo, start: meridian_sql::session::api::SessionStart) -> Result<(Session, i32), SqlError> {
        if self.config.secure {
            let verifier = self.database.password_verifier(&start.user).await?;
            startup::authenticate(io, &start.user, verifier.as_deref()).await?;
        }
        io.set_max_message_bytes(self.config.max_message_bytes);
        let pid = self.free_pid();
        let session = Session::open(self.database.clone(), start, pid).await?;
        let secret: i32 = rand::rng().random();
        self.cancels.lock().insert(pid, (secret, session.cancel_handle()));
        backend::put(&mut io.output, &Authentication::Ok);
        for (name, value) in session.reported_parameters() {
            backend::parameter(&mut io.output, &name, &value);
        }
        backend::put(&mut io.output, &BackendKeyData::new(pid, SecretKey::I32(secret)));
        Ok((session, pid))
    }

    /// A process id that no session of this node has, and no other node gives: `pg_locks` shows sessions of all nodes.
    fn free_pid(&self) -> i32 {
        let node = self.database.kv().node().0.wrapping_sub(1) as i32;
        let cancels = self.cancels.lock();
        loop {
            let pid = ((node & 0x3ff) << PID_BITS) | (self.next_pid.fetch_add(1, Ordering::Relaxed) & ((1 << PID_BITS) - 1));
            if pid != 0 && !cancels.contains_key(&pid) {
                return pid;
            }
        }
    }

    fn cancel(&self, pid: i32, secret: &Bytes) {
        let cancels = self.cancels.lock();
        // No answer either way: the protocol gives none, and a wrong guess must not be told from a right one.
        if let Some((expected, handle)) = cancels.get(&pid)
            && secret.as_ref() == expected.to_be_bytes()
        {
            handle.cancel();
        }
    }
}

/// One client's place among the connections, given back whatever happens.
struct Here<'a>(&'a AtomicUsize);

impl Drop for Here<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn refuse<T>(io: &mut ClientIo, error: &SqlError) -> Option<T> {
    backend::error(&mut io.output, "FATAL", error);
    io.close().await;
    None
}
