//! DELETE.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use rustc_hash::FxHashSet;

use super::update::may_repeat;
use super::writer::TableWriter;
use crate::error::Result;
use crate::exec::batch::RowBatch;
use crate::exec::context::{ExecContext, table_of};
use crate::exec::relational::basic::mismatch;
use crate::exec::{Operator, fk, subquery, walk};
use crate::plan::expr::Expr;
use crate::plan::node::{Delete, Node, Plan};

/// State of a `Delete`.
pub struct DeleteOperator {
    source: Box<dyn Operator>,
    returning_suspends: bool,
    met: Option<FxHashSet<Bytes>>,
}

impl DeleteOperator {
    /// Over a source.
    pub fn new(source: Box<dyn Operator>, delete: &Delete) -> Self {
        DeleteOperator {
            source,
            returning_suspends: walk::any_suspends(delete.returning.iter().flatten()),
            met: may_repeat(&delete.source).then(FxHashSet::default),
        }
    }
}

#[async_trait]
impl Operator for DeleteOperator {
    async fn next(&mut self, plan: &Plan, cx: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        let Node::Delete(delete) = &plan.node else { return Err(mismatch()) };
        let writer = delete.derived.get(|| TableWriter::new(&delete.table))?;
        let Some(mut batch) = self.source.next(&delete.source, cx).await? else { return Ok(None) };
        cx.cancel.check()?;
        let width = table_of(&delete.table)?.columns.len();
        if let Some(met) = &mut self.met {
            let mut keep = Vec::with_capacity(batch.len);
            for row in batch.rows() {
                keep.push(met.insert(writer.primary_key(&row[..width])?));
            }
            batch.retain(&keep);
        }
        // Under the key of a row that a partial unique index leaves out may stand another row: predicates matter here too.
        let checks = match table_of(&delete.table)?.indexes.iter().any(|i| i.predicate.is_some()) {
            true => cx.expressions.row_checks(&delete.table)?,
            false => Arc::default(),
        };
        for row in batch.rows() {
            let entries = writer.entries(&row[..width], &checks, cx)?;
            writer.remove(entries, cx).await?;
            fk::note_delete(&delete.table, &row[..width], cx)?;
        }
        cx.state.affected += batch.len as u64;
        match &delete.returning {
            None => Ok(Some(RowBatch::new(0))),
            Some(exprs) => {
                let exprs: Vec<&Expr> = exprs.iter().collect();
                subquery::project(&exprs, self.returning_suspends, &batch, cx).await.map(Some)
            }
        }
    }
}
