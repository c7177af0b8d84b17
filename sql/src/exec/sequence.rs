//! Sequences, outside transactions as in PostgreSQL: a value once given is never given again, whether its transaction commits or not.
//!
//! ```text
//!   sequence_key(oid) → postcard( last value, whether it has been given out )      absent: START, not yet given out
//! ```
//! A session takes CACHE values at once in a short transaction of its own and hands them out from memory. `currval` and `lastval` are the session's.

use meridian_txn::api::{Columns, Expect, Get, Got, KvError, LockStrength, LockWait, Locking, TxnOptions};
use rustc_hash::FxHashMap;

use super::context::{ExecContext, kv_error};
use crate::catalog::descriptor::{Oid, RelationDescriptor, RelationKind, SequenceDescriptor};
use crate::catalog::keys::sequence_key;
use crate::error::{Result, SqlError, SqlState};
use crate::functions::FunctionDef;
use crate::types::Datum;

/// Attempts of the short transaction before its conflict is reported.
const ATTEMPTS_MAX: usize = 100;

/// A session's sequences.
#[derive(Debug, Default)]
pub struct Sequences {
    cached: FxHashMap<Oid, Cached>,
    current: FxHashMap<Oid, i64>,
    last: Option<Oid>,
}

#[derive(Clone, Copy, Debug)]
struct Cached {
    version: u64,
    next: i64,
    left: i64,
    increment: i64,
}

/// What is stored of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SequenceState {
    /// `last_value`
    pub last: i64,
    /// `is_called`
    pub called: bool,
}

impl SequenceState {
    /// As bytes.
    pub fn encode(&self) -> Result<bytes::Bytes> {
        postcard::to_stdvec(self).map(Into::into).map_err(|e| SqlError::internal(e.to_string()))
    }
    /// From bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        postcard::from_bytes(bytes).map_err(|e| SqlError::new(SqlState::DATA_CORRUPTED, format!("a sequence's state cannot be read: {e}")))
    }
    /// Of a sequence never used.
    pub fn fresh(sequence: &SequenceDescriptor) -> Self {
        SequenceState { last: sequence.start, called: false }
    }
}

impl Sequences {
    /// Forgets everything (`DISCARD SEQUENCES`).
    pub fn discard(&mut self) {
        *self = Sequences::default();
    }
}

/// Calls an executor function: the sequence functions here, the others through the session's hook.
pub async fn call(function: &'static FunctionDef, args: &[Datum], cx: &mut ExecContext<'_>) -> Result<Datum> {
    match (function.name, args) {
        ("nextval", [Datum::Oid(oid)]) => nextval(*oid, cx).await.map(Datum::Int8),
        ("currval", [Datum::Oid(oid)]) => {
            let relation = cx.relation(*oid)?;
            cx.sequences.current.get(oid).copied().map(Datum::Int8).ok_or_else(|| {
                let message = format!("currval of sequence \"{}\" is not yet defined in this session", relation.name);
                SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
            })
        }
        ("lastval", []) => {
            let last = cx.sequences.last.and_then(|oid| cx.sequences.current.get(&oid)).copied();
            last.map(Datum::Int8)
                .ok_or_else(|| SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "lastval is not yet defined in this session"))
        }
        ("setval", [Datum::Oid(oid), Datum::Int8(value)]) => setval(*oid, *value, true, cx).await,
        ("setval", [Datum::Oid(oid), Datum::Int8(value), Datum::Bool(called)]) => setval(*oid, *value, *called, cx).await,
        _ => {
            let cancel = cx.cancel.clone();
            let value = cancel.run(cx.functions.call(function, args)).await??;
            if matches!(
                function.name,
                "pg_advisory_lock" | "pg_advisory_lock_shared" | "pg_advisory_xact_lock" | "pg_advisory_xact_lock_shared"
            ) {
                // What was done under the lock before is what the transaction must see; its snapshot may be older than its wait.
                cancel.run(cx.txn.advance()).await?.map_err(kv_error)?;
            }
            Ok(value)
        }
    }
}

fn sequence_of(relation: &RelationDescriptor) -> Result<&SequenceDescriptor> {
    match &relation.kind {
        RelationKind::Sequence(sequence) => Ok(sequence),
        _ => Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{}\" is not a sequence", relation.name))),
    }
}

async fn nextval(oid: Oid, cx: &mut ExecContext<'_>) -> Result<i64> {
    let relation = cx.relation(oid)?;
    let sequence = sequence_of(&relation)?;
    let cached = cx.sequences.cached.get_mut(&oid).filter(|c| c.left > 0 && c.version == relation.version);
    let value = match cached {
        Some(cached) => {
            let value = cached.next;
            cached.next = value.wrapping_add(cached.increment);
            cached.left -= 1;
            value
        }
        None => {
            let (first, count) = allocate(&relation, sequence, cx).await?;
            let next = first.wrapping_add(sequence.increment);
            let cached = Cached { version: relation.version, next, left: count - 1, increment: sequence.increment };
            cx.sequences.cached.insert(oid, cached);
            first
        }
    };
    cx.sequences.current.insert(oid, value);
    cx.sequences.last = Some(oid);
    Ok(value)
}

/// Takes up to CACHE values: the first, and how many.
async fn allocate(relation: &RelationDescriptor, sequence: &SequenceDescriptor, cx: &mut ExecContext<'_>) -> Result<(i64, i64)> {
    let mut taken = (0, 0);
    change(relation.id, cx, &mut |stored| {
        let state = stored.unwrap_or_else(|| SequenceState::fresh(sequence));
        let first = if state.called { step(relation, sequence, state.last)? } else { state.last };
        let (mut last, mut count) = (first, 1);
        while count < sequence.cache.max(1) {
            match last.checked_add(sequence.increment).filter(|v| (sequence.min..=sequence.max).contains(v)) {
                Some(next) => {
                    last = next;
                    count += 1;
                }
                None => break,
            }
        }
        taken = (first, count);
        Ok(SequenceState { last, called: true })
    })
    .await?;
    Ok(taken)
}

/// The value after `last`.
fn step(relation: &RelationDescriptor, sequence: &SequenceDescriptor, last: i64) -> Result<i64> {
    let next = last.checked_add(sequence.increment).filter(|v| (sequence.min..=sequence.max).contains(v));
    match next {
        Some(next) => Ok(next),
        None if sequence.cycle => Ok(if sequence.increment > 0 { sequence.min } else { sequence.max }),
        None => {
            let (what, bound) = if sequence.increment > 0 { ("maximum", sequence.max) } else { ("minimum", sequence.min) };
            let message = format!("nextval: reached {what} value of sequence \"{}\" ({bound})", relation.name);
            Err(SqlError::new(SqlState::SEQUENCE_LIMIT_EXCEEDED, message))
        }
    }
}

async fn setval(oid: Oid, value: i64, called: bool, cx: &mut ExecContext<'_>) -> Result<Datum> {
    let relation = cx.relation(oid)?;
    let sequence = sequence_of(&relation)?;
    if !(sequence.min..=sequence.max).contains(&value) {
        return Err(SqlError::new(
            SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
            format!("setval: value {value} is out of bounds for sequence \"{}\" ({}..{})", relation.name, sequence.min, sequence.max),
        ));
    }
    change(oid, cx, &mut |_| Ok(SequenceState { last: value, called })).await?;
    cx.sequences.cached.remove(&oid);
    if called {
        cx.sequences.current.insert(oid, value);
        cx.sequences.last = Some(oid);
    }
    Ok(Datum::Int8(value))
}

/// Changes a sequence's state in a transaction of its own.
async fn change(
    oid: Oid,
    cx: &mut ExecContext<'_>,
    compute: &mut (dyn FnMut(Option<SequenceState>) -> Result<SequenceState> + Send),
) -> Result<()> {
    let mut txn = cx.kv.begin(TxnOptions { description: format!("sequence {oid}"), ..TxnOptions::default() });
    let lock = Some(Locking { strength: LockStrength::Update, wait: LockWait::Block(cx.lock_timeout) });
    let key = sequence_key(oid);
    for _ in 0..ATTEMPTS_MAX {
        let attempt = async {
            let got = txn.get(vec![Get { key: key.clone(), columns: Columns::All, lock }]).await?;
            let stored = match got.into_iter().next() {
                Some(Got::Value(Some(bytes))) => Some(bytes),
                _ => None,
            };
            Ok::<_, KvError>(stored)
        };
        let stored = match cx.cancel.run(attempt).await? {
            Ok(stored) => stored,
            Err(KvError::Retry { .. } | KvError::Deadlock { .. }) => {
                txn.restart();
                continue;
            }
            Err(error) => return Err(kv_error(error)),
        };
        let state = compute(stored.map(|bytes| SequenceState::decode(&bytes)).transpose()?)?;
        txn.put(key.clone(), state.encode()?, Expect::AsRead).await.map_err(kv_error)?;
        // Not to be cancelled half-way: a commit given up on may still have happened.
        match txn.commit().await {
            Ok(_) => return Ok(()),
            Err(KvError::Retry { .. } | KvError::Deadlock { .. }) => txn.restart(),
            Err(error) => return Err(kv_error(error)),
        }
    }
    Err(SqlError::new(SqlState::SERIALIZATION_FAILURE, "could not advance a sequence: too many conflicts"))
}
