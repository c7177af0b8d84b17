//! `SELECT … FOR UPDATE/SHARE` over rows whose scans could not lock them: the primary rows are locked in one batched read, the columns
//! refreshed from the versions found under the lock, and the conditions looked at again.

use async_trait::async_trait;
use meridian_txn::api::{Columns, Get, Got, Locking};

use super::basic::mismatch;
use super::hash_join::passes;
use crate::error::Result;
use crate::exec::batch::RowBatch;
use crate::exec::context::{ExecContext, table_of};
use crate::exec::scan::layout::IndexLayout;
use crate::exec::{Operator, walk};
use crate::plan::node::{LockTarget, Node, Plan};
use crate::types::Datum;

/// State of a `LockRows`.
pub struct LockRows {
    input: Box<dyn Operator>,
}

impl LockRows {
    /// Over an input.
    pub fn new(input: Box<dyn Operator>) -> Self {
        LockRows { input }
    }
}

async fn lock_target(target: &LockTarget, batch: &mut RowBatch, cx: &mut ExecContext<'_>) -> Result<()> {
    let table = table_of(&target.table)?;
    let primary = IndexLayout::new(table, &table.primary)?;
    let ids: Vec<u32> = target.columns.iter().map(|(_, id)| *id).collect();
    let reader = primary.reader(table, &ids)?;
    let lock = Some(Locking { strength: target.lock.strength, wait: cx.lock_wait(target.lock.wait) });
    let mut keys = Vec::with_capacity(batch.len);
    for row in batch.rows() {
        let values: Vec<Datum> = target.key.iter().map(|at| row[*at].clone()).collect();
        // The null-extended side of an outer join has no row to lock.
        keys.push(match values.iter().any(|v| matches!(v, Datum::Null)) {
            true => None,
            false => Some(primary.key_of_values(&values)?),
        });
    }
    let gets: Vec<Get> = keys.iter().flatten().map(|key| Get { key: key.clone(), columns: Columns::All, lock }).collect();
    let mut got = cx.get(gets).await?.into_iter();
    let suspends = target.recheck.as_ref().is_some_and(walk::suspends);
    let mut keep = vec![true; batch.len];
    let mut fresh = Vec::with_capacity(ids.len());
    for (at, key) in keys.iter().enumerate() {
        let Some(key) = key else { continue };
        let Some(Got::Value(Some(value))) = got.next() else {
            keep[at] = false;
            continue;
        };
        fresh.clear();
        reader.read(key, &value, &mut fresh)?;
        let base = at * batch.width;
        for ((ordinal, _), datum) in target.columns.iter().zip(fresh.drain(..)) {
            batch.datums[base + ordinal] = datum;
        }
        if let Some(recheck) = &target.recheck {
            keep[at] = passes(recheck, suspends, batch.row(at), cx).await?;
        }
    }
    batch.retain(&keep);
    Ok(())
}

#[async_trait]
impl Operator for LockRows {
    async fn next(&mut self, plan: &Plan, cx: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        let Node::LockRows { input, targets } = &plan.node else { return Err(mismatch()) };
        loop {
            let Some(mut batch) = self.input.next(input, cx).await? else { return Ok(None) };
            for target in targets {
                lock_target(target, &mut batch, cx).await?;
            }
            if !batch.is_empty() {
                return Ok(Some(batch));
            }
        }
    }
}
