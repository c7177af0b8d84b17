//! Advisory locks of one session: PostgreSQL's counting over the locks that the layer below holds (`meridian_txn`'s `session_locks`).
//!
//! A lock is named by database and one `bigint` or two `integer`s. Of each a session may hold four things, and the lock below is as strong
//! as the strongest of them:
//!
//! ```text
//!                  exclusive     shared
//!   session        counted       counted       until as many unlocks, DISCARD ALL, or the session's end
//!   transaction    counted       counted       until the transaction ends, or ROLLBACK TO a savepoint before it
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_txn::api::{KvError, LockStrength, LockWait, SessionLocks};

use crate::catalog::descriptor::Oid;
use crate::error::{Result, SqlError, SqlState};
use crate::types::Datum;

/// A lock's name: database, form and number, as it is below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    database: Oid,
    /// Of two integers rather than one bigint.
    pair: bool,
    number: u64,
}

impl Name {
    /// From a function's arguments.
    pub fn of(database: Oid, args: &[Datum]) -> Option<Self> {
        match args {
            [Datum::Int8(n)] => Some(Name { database, pair: false, number: *n as u64 }),
            [Datum::Int4(a), Datum::Int4(b)] => {
                Some(Name { database, pair: true, number: u64::from(*a as u32) << 32 | u64::from(*b as u32) })
            }
            _ => None,
        }
    }

    /// As the layer below names it.
    fn bytes(self) -> [u8; 13] {
        let mut out = [0; 13];
        out[0] = u8::from(self.pair) + 1;
        out[1..5].copy_from_slice(&self.database.to_be_bytes());
        out[5..].copy_from_slice(&self.number.to_be_bytes());
        out
    }

    /// Reads that back: database, `classid`, `objid` and `objsubid` of `pg_locks`.
    pub fn shown(bytes: &[u8]) -> Option<(Oid, Oid, Oid, i16)> {
        let word = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let form = i16::from(*bytes.first().filter(|_| bytes.len() == 13)?);
        Some((word(1)?, word(5)?, word(9)?, form))
    }
}

/// How often a lock is held, each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    session: [u32; 2],
    transaction: [u32; 2],
}

const EXCLUSIVE: usize = 0;
const SHARED: usize = 1;

impl Held {
    fn strength(&self) -> Option<LockStrength> {
        let any = |mode: usize| self.session[mode] + self.transaction[mode] > 0;
        match (any(EXCLUSIVE), any(SHARED)) {
            (true, _) => Some(LockStrength::Update),
            (false, true) => Some(LockStrength::Share),
            _ => None,
        }
    }
}

/// A state to go back to.
#[derive(Clone, Default)]
pub struct Mark {
    held: BTreeMap<Name, Held>,
    transaction: usize,
}

/// The advisory locks of a session.
pub struct Advisory {
    locks: Box<dyn SessionLocks>,
    held: BTreeMap<Name, Held>,
    /// The transaction's, in the order they were taken.
    transaction: Vec<(Name, usize)>,
}

impl Advisory {
    /// None yet.
    pub fn new(locks: Box<dyn SessionLocks>) -> Self {
        Advisory { locks, held: BTreeMap::new(), transaction: vec![] }
    }

    /// Whether the session holds any.
    pub fn any(&self) -> bool {
        !self.held.is_empty()
    }

    /// `57P01` when locks were lost: the session cannot go on as if it had them.
    pub fn check(&self) -> Result<()> {
        if self.any() && self.locks.lost() {
            let message = "terminating connection because its advisory locks were lost";
            return Err(SqlError::new(SqlState::ADMIN_SHUTDOWN, message)
                .detail("This node could not reach the rest of the cluster for so long that other sessions may have taken them."));
        }
        Ok(())
    }

    /// Takes a lock. `false`: not without waiting.
    async fn acquire(&mut self, name: Name, mode: usize, transaction: bool, wait: LockWait) -> Result<bool> {
        let strength = if mode == EXCLUSIVE { LockStrength::Update } else { LockStrength::Share };
        let taken = self.locks.acquire(&name.bytes(), strength, wait).await.map_err(|e| match e {
            KvError::Deadlock { ref detail, .. } => {
                let detail = detail.clone();
                SqlError::from(e).detail(detail).hint("See server log for query details.")
            }
            other => SqlError::from(other),
        })?;
        if taken {
            let held = self.held.entry(name).or_default();
            if transaction {
                held.transaction[mode] += 1;
                self.transaction.push((name, mode));
            } else {
                held.session[mode] += 1;
            }
        }
        Ok(taken)
    }

    /// Makes the lock below no stronger than what is counted.
    async fn settle(&mut self, name: Name) -> Result<()> {
        let keep = self.held.get(&name).and_then(Held::strength);
        if keep.is_none() {
            self.held.remove(&name);
        }
        Ok(self.locks.release(&name.bytes(), keep).await?)
    }

    /// Gives one of the session's up; `false` if it has none.
    async fn unlock(&mut self, name: Name, mode: usize) -> Result<bool> {
        match self.held.get_mut(&name) {
            Some(held) if held.session[mode] > 0 => held.session[mode] -= 1,
            _ => return Ok(false),
        }
        self.settle(name).await.map(|()| true)
    }

    /// Gives all of the session's up.
    pub async fn unlock_all(&mut self) -> Result<()> {
        let names: Vec<Name> = self.held.keys().copied().collect();
        for name in names {
            if let Some(held) = self.held.get_mut(&name) {
                held.session = [0; 2];
            }
            self.settle(name).await?;
        }
        Ok(())
    }

    /// How many the transaction has taken: what [`Advisory::rollback_to`] goes back to.
    pub fn in_transaction(&self) -> usize {
        self.transaction.len()
    }

    /// Gives up what the transaction took after it had `kept`; 0: all. A lock that cannot be given up now stays the session's until its end.
    pub async fn rollback_to(&mut self, kept: usize) {
        while self.transaction.len() > kept {
            let Some((name, mode)) = self.transaction.pop() else { return };
            if let Some(held) = self.held.get_mut(&name) {
                held.transaction[mode] = held.transaction[mode].saturating_sub(1);
            }
            if let Err(error) = self.settle(name).await {
                tracing::warn!(%error, "an advisory lock was not released with its transaction; it goes with the session");
            }
        }
    }

    /// The present state, for a statement that may have to run again.
    pub fn mark(&self) -> Mark {
        Mark { held: self.held.clone(), transaction: self.transaction.len() }
    }

    /// Takes back what a statement did that runs again.
    pub async fn take_back(&mut self, mark: &Mark) -> Result<()> {
        if self.held == mark.held && self.transaction.len() == mark.transaction {
            return Ok(());
        }
        self.transaction.truncate(mark.transaction);
        let mut names: Vec<Name> = self.held.keys().chain(mark.held.keys()).copied().collect();
        names.sort();
        names.dedup();
        for name in names {
            let before = mark.held.get(&name).copied().unwrap_or_default();
            // What it had given up it takes again; nobody is promised that nobody else had it meanwhile, as in any unlock.
            if let Some(strength) = before.strength() {
                self.locks.acquire(&name.bytes(), strength, LockWait::Block(None)).await?;
            }
            self.held.insert(name, before);
            self.settle(name).await?;
        }
        Ok(())
    }

    /// One of the `pg_…advisory…` functions; `None`: another function. `warn` takes the warning of an unlock without lock.
    pub async fn call(
        &mut self,
        function: &str,
        database: Oid,
        args: &[Datum],
        limit: Option<Duration>,
        warn: &mut Vec<SqlError>,
    ) -> Result<Option<Datum>> {
        let Some(rest) = function.strip_prefix("pg_") else { return Ok(None) };
        if rest == "advisory_unlock_all" {
            return self.unlock_all().await.map(|()| Some(Datum::Void));
        }
        let (rest, mode) = match rest.strip_suffix("_shared") {
            Some(rest) => (rest, SHARED),
            None => (rest, EXCLUSIVE),
        };
        let Some(name) = Name::of(database, args) else { return Ok(None) };
        Ok(Some(match rest {
            "advisory_lock" | "advisory_xact_lock" => {
                self.acquire(name, mode, rest == "advisory_xact_lock", LockWait::Block(limit)).await?;
                Datum::Void
            }
            "try_advisory_lock" | "try_advisory_xact_lock" => {
                Datum::Bool(self.acquire(name, mode, rest == "try_advisory_xact_lock", LockWait::NoWait).await?)
            }
            "advisory_unlock" => {
                let had = self.unlock(name, mode).await?;
                if !had {
                    let mode = if mode == EXCLUSIVE { "ExclusiveLock" } else { "ShareLock" };
                    warn.push(SqlError::new(SqlState::WARNING, format!("you don't own a lock of type {mode}")));
                }
                Datum::Bool(had)
            }
            _ => return Ok(None),
        }))
    }
}
