//! Locks that a session holds, across transactions: PostgreSQL's advisory locks.
//!
//! A lock is two things, of which the second is the proof:
//!
//! ```text
//!   0x03 'k' ‖ name                 in the lock table of its range, held by the session's *owner* attempt: a fair queue, deadlock detection,
//!                                   handed over in planned lease moves. Nothing is ever written at this key.
//!   0x03 'h' ‖ name ‖ 0 ‖ owner     a row that says "owner holds it, so strongly", written by a serializable transaction that has looked at
//!                                   the rows beside it: two sessions can no more both have an exclusive lock than they can both insert a key.
//!   0x03 'n' ‖ node                 until when the owners of a node live without being asked: the node's lease, renewed while it has owners.
//! ```
//! Acquiring takes the first, then writes the second; releasing goes the other way round. If a leaseholder dies, the queue is lost and the
//! rows are not: whoever gets the first place anew finds the row, and looks at it again and again until it is gone.
//!
//! **Whose row counts.** An owner is an attempt like any other (`registry`), so its node answers whether it lives. A node that cannot be
//! reached is believed to keep its owners until its lease has certainly run out (`now().earliest` beyond it); the node itself counts
//! its owners' locks as lost as soon as it may have (`now().latest`), and when a renewal finds that the lease had run out in between. So a
//! lock is never with two sessions, and one that is lost is told so ([`SessionLocks::lost`]). Rows of the dead are removed by who meets them, and
//! by their own node when it has started again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use meridian_clock::Timestamp;
use meridian_replication::api::NodeId;
use meridian_storage::mvcc::{AttemptId, Direction};
use meridian_storage::{Key, Span};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::{Instant, sleep};

use super::registry::Live;
use super::{Gateway, Txn, next_attempt};
use crate::api::{
    Columns, Expect, Get, Got, KvError, KvTxn, LockStrength, LockWait, Locking, SESSION_LOCK_PREFIX, Scan, SessionId, SessionLocks,
    TxnOptions,
};
use crate::attempt;
use crate::leaseholder::conflicts;
use crate::request::{Header, PointGet, Request, Response};
use crate::router::{Backoff, SendError, unexpected};

/// How long a node's owners live without a word from it.
const LEASE: Duration = Duration::from_secs(12);
/// How often the lease is renewed while the node has owners.
const RENEW_EVERY: Duration = Duration::from_secs(3);
/// Pauses of one who waits for a row (rare: the queue was lost with its leaseholder).
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Tries of the short transactions before their conflict is reported.
const TRIES_MAX: u32 = 100;
/// Locks that one session may hold.
const HELD_MAX: usize = 100_000;

fn named(kind: u8, name: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + 20);
    key.extend_from_slice(&[SESSION_LOCK_PREFIX, kind]);
    key.extend_from_slice(name);
    key
}

/// The key of the lock table.
fn lock_key(name: &[u8]) -> Key {
    named(b'k', name).into()
}

/// The name of a lock by its key in the lock table.
pub fn lock_name(key: &[u8]) -> Option<&[u8]> {
    key.strip_prefix(&[SESSION_LOCK_PREFIX, b'k'])
}

/// The prefix of a lock's holders. Names are of one length for each first byte (SQL's are), so none is another's prefix.
fn holders(name: &[u8]) -> Key {
    let mut key = named(b'h', name);
    key.push(0);
    key.into()
}

fn holder_key(name: &[u8], owner: AttemptId) -> Key {
    let mut key = holders(name).to_vec();
    key.extend_from_slice(&owner.0.to_be_bytes());
    key.into()
}

fn holder_of(key: &[u8]) -> Option<AttemptId> {
    let owner = key.get(key.len().checked_sub(16)?..)?;
    Some(AttemptId(u128::from_be_bytes(owner.try_into().ok()?)))
}

fn lease_key(node: NodeId) -> Key {
    named(b'n', &node.0.to_be_bytes()).into()
}

fn encoded(strength: LockStrength) -> Bytes {
    postcard::to_stdvec(&strength).unwrap_or_default().into()
}

/// The lease of this node's owners.
#[derive(Debug, Default)]
pub(crate) struct OwnersLease {
    /// Raw timestamp until which the owners live; 0: never had one.
    expires: AtomicU64,
    /// Goes up when the lease had run out: owners of before are gone.
    generation: AtomicU64,
    /// The renewing task runs, and rows of an earlier life of this node were looked for.
    begun: AtomicBool,
}

impl OwnersLease {
    fn valid(&self, gateway: &Gateway) -> bool {
        gateway.clock.now().latest.as_raw() < self.expires.load(Ordering::Acquire)
    }

    /// Writes the lease anew. A commit that comes after the end of the old one says that there was a gap.
    async fn renew(&self, gateway: &Arc<Gateway>) -> Result<(), KvError> {
        let key = lease_key(gateway.router.node);
        for _ in 0..TRIES_MAX {
            let until = gateway.clock.now().latest.plus(LEASE);
            let mut txn = short(gateway, "lease of session locks");
            let lock = Some(Locking { strength: LockStrength::Update, wait: LockWait::Block(None) });
            txn.get(vec![Get { key: key.clone(), columns: Columns::All, lock }]).await?;
            txn.put(key.clone(), until.as_raw().to_be_bytes().to_vec().into(), Expect::AsRead).await?;
            match txn.commit().await {
                Ok(_) => {
                    let before = self.expires.swap(until.as_raw(), Ordering::AcqRel);
                    if before != 0 && gateway.clock.now().latest.as_raw() >= before {
                        self.generation.fetch_add(1, Ordering::AcqRel);
                        tracing::warn!("the lease of this node's session locks had run out: sessions have lost theirs");
                    }
                    return Ok(());
                }
                Err(KvError::Retry { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(KvError::Unavailable("the lease of session locks could not be renewed".into()))
    }

    /// Makes sure that there is a lease, and somebody who renews it.
    async fn ensure(self: &Arc<Self>, gateway: &Arc<Gateway>) -> Result<(), KvError> {
        if !self.valid(gateway) {
            self.renew(gateway).await?;
        }
        if !self.begun.swap(true, Ordering::AcqRel) {
            gateway.router.tasks.spawn(renew_while_needed(self.clone(), gateway.clone()));
        }
        Ok(())
    }
}

async fn renew_while_needed(lease: Arc<OwnersLease>, gateway: Arc<Gateway>) {
    if let Err(error) = sweep(&gateway).await {
        tracing::debug!(%error, "session locks of an earlier life of this node are left to those who meet them");
    }
    loop {
        sleep(RENEW_EVERY).await;
        if gateway.owners.load(Ordering::Acquire) == 0 && !lease.valid(&gateway) {
            continue;
        }
        if gateway.owners.load(Ordering::Acquire) > 0
            && let Err(error) = lease.renew(&gateway).await
        {
            tracing::warn!(%error, "the lease of session locks was not renewed");
        }
    }
}

/// Removes what sessions of an earlier life of this node have left.
async fn sweep(gateway: &Arc<Gateway>) -> Result<(), KvError> {
    let mut left = Some(Span::prefix(named(b'h', &[])));
    while let Some(span) = left {
        let mut txn = short(gateway, "session locks of an earlier life");
        let page = txn.scan(all_of(span)).await?;
        for (key, _) in &page.rows {
            if let Some(owner) = holder_of(key)
                && attempt::coordinator(owner) == gateway.router.node
                && !gateway.router.registry.is_alive(owner)
            {
                txn.delete(key.clone()).await?;
            }
        }
        txn.commit().await?;
        left = page.resume;
    }
    Ok(())
}

fn all_of(span: Span) -> Scan {
    Scan { span, direction: Direction::Forward, columns: Columns::All, limit_rows: 0, limit_bytes: 0, program: None, lock: None }
}

fn short(gateway: &Arc<Gateway>, what: &str) -> Txn {
    Txn::begin(gateway.clone(), TxnOptions { description: what.into(), ..TxnOptions::default() })
}

/// The attempt in whose name a session holds its locks.
#[derive(Debug)]
struct Owner {
    attempt: AttemptId,
    live: Arc<Live>,
    generation: u64,
    held: BTreeMap<Vec<u8>, LockStrength>,
}

/// One session's locks.
pub(crate) struct Locks {
    gateway: Arc<Gateway>,
    session: SessionId,
    owner: Option<Owner>,
    /// One change at a time; what a cancelled one has left behind is cleaned up under it.
    turn: Arc<Mutex<()>>,
}

impl Locks {
    pub(crate) fn new(gateway: Arc<Gateway>, session: SessionId) -> Self {
        Locks { gateway, session, owner: None, turn: Arc::default() }
    }

    fn owner(&mut self) -> &mut Owner {
        let (gateway, session) = (&self.gateway, self.session);
        self.owner.get_or_insert_with(|| {
            let attempt = next_attempt(gateway, gateway.clock.now().latest);
            gateway.owners.fetch_add(1, Ordering::AcqRel);
            Owner {
                attempt,
                live: gateway.router.registry.enter(attempt, session),
                generation: gateway.lease.generation.load(Ordering::Acquire),
                held: BTreeMap::new(),
            }
        })
    }
}

/// Undoes a half-made acquisition, also when the caller stops waiting for it.
struct HalfMade {
    gateway: Arc<Gateway>,
    attempt: AttemptId,
    name: Vec<u8>,
    before: Option<LockStrength>,
    /// A row may have been written.
    claimed: bool,
    turn: Option<OwnedMutexGuard<()>>,
}

impl Drop for HalfMade {
    fn drop(&mut self) {
        let Some(turn) = self.turn.take() else { return };
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let (gateway, attempt, name, before) = (self.gateway.clone(), self.attempt, std::mem::take(&mut self.name), self.before);
        let claimed = self.claimed;
        self.gateway.router.tasks.spawn(async move {
            let _turn = turn;
            let undone = match claimed {
                true => set(&gateway, attempt, &name, before).await,
                false => unlock(&gateway, attempt, &name, before).await,
            };
            if let Err(error) = undone {
                tracing::warn!(%error, "a session lock that was given up stays until its session ends");
            }
        });
    }
}

/// Makes row and lock table say that `attempt` holds the lock so strongly (at most as it did), or not at all.
async fn set(gateway: &Arc<Gateway>, attempt: AttemptId, name: &[u8], keep: Option<LockStrength>) -> Result<(), KvError> {
    let row = holder_key(name, attempt);
    let mut tries = 0;
    loop {
        let mut txn = short(gateway, "release of a session lock");
        match keep {
            Some(strength) => txn.put(row.clone(), encoded(strength), Expect::AsRead).await?,
            None => txn.delete(row.clone()).await?,
        }
        match txn.commit().await {
            Ok(_) => break,
            Err(KvError::Retry { .. }) if tries < TRIES_MAX => tries += 1,
            Err(error) => return Err(error),
        }
    }
    unlock(gateway, attempt, name, keep).await
}

/// The same in the lock table alone.
async fn unlock(gateway: &Arc<Gateway>, attempt: AttemptId, name: &[u8], keep: Option<LockStrength>) -> Result<(), KvError> {
    let (key, header) = (lock_key(name), Header { attempt, read_ts: Timestamp::ZERO });
    gateway.router.ask(&key, &header, &Request::Unlock { key: key.clone(), keep }).await.map(|_| ())
}

/// Asks for the place in the lock table.
async fn queue(gateway: &Arc<Gateway>, attempt: AttemptId, key: &Key, lock: Locking) -> Result<(), KvError> {
    let router = &gateway.router;
    let mut backoff: Option<Backoff> = None;
    loop {
        let route = router.route(key).await?;
        let header = Header { attempt, read_ts: gateway.clock.now().latest };
        let asked = Instant::now();
        match router.send(&route, &header, Request::Get { gets: vec![PointGet { key: key.clone(), lock: Some(lock) }] }).await {
            Ok(Response::Points(_)) => return Ok(()),
            Ok(other) => return Err(unexpected(&other)),
            Err(SendError::Kv(error)) => return Err(error),
            Err(SendError::Stale | SendError::Unknown(_) | SendError::NoAnswer(_)) => {
                // It was there as long as this waited.
                if asked.elapsed() > LOOK_AGAIN {
                    backoff = None;
                }
                backoff.get_or_insert_with(Backoff::new).pause(router, "the range of a session lock does not answer").await?
            }
        }
    }
}

/// Writes the row of `attempt`, unless another row is in the way (`false`).
async fn claim(gateway: &Arc<Gateway>, attempt: AttemptId, name: &[u8], strength: LockStrength) -> Result<bool, KvError> {
    let mut txn = short(gateway, "session lock");
    let mut left = Some(Span::prefix(holders(name)));
    while let Some(span) = left {
        let page = txn.scan(all_of(span)).await?;
        for (key, value) in page.rows {
            let (Some(owner), Ok(theirs)) = (holder_of(&key), postcard::from_bytes::<LockStrength>(&value)) else {
                return Err(KvError::Corruption("a row of a session lock cannot be read".into()));
            };
            if owner == attempt || !conflicts(theirs, strength) {
                continue;
            }
            if !is_gone(gateway, &mut txn, owner).await? {
                txn.rollback().await;
                return Ok(false);
            }
            txn.delete(key).await?;
        }
        left = page.resume;
    }
    txn.put(holder_key(name, attempt), encoded(strength), Expect::AsRead).await?;
    txn.commit().await.map(|_| true)
}

/// Whether an owner is certainly dead.
async fn is_gone(gateway: &Arc<Gateway>, txn: &mut Txn, owner: AttemptId) -> Result<bool, KvError> {
    if let Some(alive) = gateway.router.alive(owner).await {
        return Ok(!alive);
    }
    let lease = Get { key: lease_key(attempt::coordinator(owner)), columns: Columns::All, lock: None };
    let until = match txn.get(vec![lease]).await?.pop() {
        Some(Got::Value(Some(bytes))) => bytes.as_ref().try_into().map(u64::from_be_bytes).unwrap_or(u64::MAX),
        _ => 0,
    };
    Ok(gateway.clock.now().earliest.as_raw() > until)
}

#[async_trait]
impl SessionLocks for Locks {
    async fn acquire(&mut self, name: &[u8], strength: LockStrength, wait: LockWait) -> Result<bool, KvError> {
        let turn = self.turn.clone().lock_owned().await;
        let gateway = self.gateway.clone();
        gateway.lease.ensure(&gateway).await?;
        let generation = gateway.lease.generation.load(Ordering::Acquire);
        let owner = self.owner();
        if owner.held.is_empty() {
            owner.generation = generation;
        }
        let before = owner.held.get(name).copied();
        if before.is_some_and(|held| held >= strength) {
            return Ok(true);
        }
        if owner.held.len() >= HELD_MAX {
            return Err(KvError::LimitExceeded(format!("a session may hold at most {HELD_MAX} advisory locks")));
        }
        let (attempt, live) = (owner.attempt, owner.live.clone());
        let deadline = match wait {
            LockWait::Block(Some(limit)) => Some(Instant::now() + limit),
            _ => None,
        };
        let mut half = HalfMade { gateway: gateway.clone(), attempt, name: name.to_vec(), before, claimed: false, turn: Some(turn) };
        let key = lock_key(name);
        let outcome = async {
            let waiting = queue(&gateway, attempt, &key, Locking { strength, wait });
            let waited = tokio::select! {
                biased;
                verdict = live.condemned() => Err(verdict),
                waited = waiting => waited,
            };
            gateway.router.registry.goes_on(attempt);
            live.acquit();
            match waited {
                Err(KvError::LockNotAvailable { .. }) if !matches!(wait, LockWait::Block(_)) => return Ok(false),
                other => other?,
            }
            let mut tries = 0;
            half.claimed = true;
            loop {
                match claim(&gateway, attempt, name, strength).await {
                    Ok(true) => return Ok(true),
                    Ok(false) if !matches!(wait, LockWait::Block(_)) => return Ok(false),
                    Ok(false) if deadline.is_some_and(|d| Instant::now() >= d) => return Err(KvError::LockTimeout { key: key.clone() }),
                    Ok(false) => sleep(LOOK_AGAIN).await,
                    Err(KvError::Retry { .. }) if tries < TRIES_MAX => tries += 1,
                    Err(error) => return Err(error),
                }
            }
        }
        .await;
        match outcome {
            Ok(true) => {
                half.turn = None;
                self.owner().held.insert(name.to_vec(), strength);
                Ok(true)
            }
            // Dropping `half` takes back what there is.
            other => other,
        }
    }

    async fn release(&mut self, name: &[u8], keep: Option<LockStrength>) -> Result<(), KvError> {
        let turn = self.turn.clone().lock_owned().await;
        let Some(owner) = &mut self.owner else { return Ok(()) };
        let Some(held) = owner.held.get_mut(name) else { return Ok(()) };
        match keep {
            Some(strength) if strength >= *held => return Ok(()),
            Some(strength) => *held = strength,
            None => {
                owner.held.remove(name);
            }
        }
        // A task of its own: a caller that goes away must not leave half of it done.
        let (gateway, attempt, name) = (self.gateway.clone(), owner.attempt, name.to_vec());
        let release = async move {
            let _turn = turn;
            set(&gateway, attempt, &name, keep).await
        };
        match self.gateway.router.tasks.spawn(release).await {
            Ok(outcome) => outcome,
            Err(_) => Err(KvError::Unavailable("the node is stopping".into())),
        }
    }

    fn lost(&self) -> bool {
        let lease = &self.gateway.lease;
        self.owner.as_ref().is_some_and(|owner| {
            !owner.held.is_empty() && (owner.generation != lease.generation.load(Ordering::Acquire) || !lease.valid(&self.gateway))
        })
    }
}

impl Drop for Locks {
    fn drop(&mut self) {
        let Some(owner) = self.owner.take() else { return };
        let gateway = self.gateway.clone();
        // From here on its rows are those of the dead: nobody needs to wait for the cleaning up.
        gateway.router.registry.leave(owner.attempt);
        gateway.owners.fetch_sub(1, Ordering::AcqRel);
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let tasks = gateway.router.tasks.clone();
        let turn = self.turn.clone();
        tasks.spawn(async move {
            let _turn = turn.lock_owned().await;
            for name in owner.held.into_keys() {
                if let Err(error) = set(&gateway, owner.attempt, &name, None).await {
                    tracing::debug!(%error, "the row of a session lock is left to those who meet it");
                    break;
                }
            }
        });
    }
}
