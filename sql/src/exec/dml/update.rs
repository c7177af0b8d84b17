//! UPDATE.

use async_trait::async_trait;
use bytes::Bytes;
use rustc_hash::FxHashSet;

use super::checks::check_row;
use super::writer::{TableWriter, UniqueKeys};
use crate::error::{Result, SqlError};
use crate::exec::batch::RowBatch;
use crate::exec::context::{ExecContext, table_of};
use crate::exec::relational::basic::mismatch;
use crate::exec::{Operator, fk, subquery, walk};
use crate::plan::expr::Expr;
use crate::plan::node::{Node, Plan, Update};

/// State of an `Update`.
pub struct UpdateOperator {
    source: Box<dyn Operator>,
    assignments_suspend: bool,
    returning_suspends: bool,
    /// Rows updated so far, where the source may give one twice.
    met: Option<FxHashSet<Bytes>>,
}

/// What follows from the statement alone.
struct Writing {
    writer: TableWriter,
    /// Places in the row of the columns that are set.
    ordinals: Vec<usize>,
    touched: Vec<bool>,
}

impl Writing {
    fn new(update: &Update) -> Result<Self> {
        let columns = &table_of(&update.table)?.columns;
        let ordinal =
            |id: u32| columns.iter().position(|c| c.id == id).ok_or_else(|| SqlError::internal("UPDATE sets a column that is gone"));
        let ordinals = update.assignments.iter().map(|(id, _)| ordinal(*id)).collect::<Result<Vec<_>>>()?;
        let writer = TableWriter::new(&update.table)?;
        let touched = writer.touched(&ordinals, &update.checks)?;
        Ok(Writing { writer, ordinals, touched })
    }
}

/// Whether a source may give one target row twice: only joins do.
pub fn may_repeat(source: &Plan) -> bool {
    walk::any_node(source, &mut |p| {
        matches!(
            p.node,
            Node::HashJoin { .. } | Node::MergeJoin { .. } | Node::LookupJoin { .. } | Node::NestedLoop { .. } | Node::Append { .. }
        )
    })
}

impl UpdateOperator {
    /// Over a source.
    pub fn new(source: Box<dyn Operator>, update: &Update) -> Self {
        UpdateOperator {
            source,
            assignments_suspend: walk::any_suspends(update.assignments.iter().map(|(_, e)| e)),
            returning_suspends: walk::any_suspends(update.returning.iter().flatten()),
            met: may_repeat(&update.source).then(FxHashSet::default),
        }
    }

    /// Rows of the batch whose target has not been updated yet.
    fn first_meetings(&mut self, writer: &TableWriter, width: usize, batch: &mut RowBatch) -> Result<()> {
        let Some(met) = &mut self.met else { return Ok(()) };
        let mut keep = Vec::with_capacity(batch.len);
        for row in batch.rows() {
            keep.push(met.insert(writer.primary_key(&row[..width])?));
        }
        batch.retain(&keep);
        Ok(())
    }
}

#[async_trait]
impl Operator for UpdateOperator {
    async fn next(&mut self, plan: &Plan, cx: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        let Node::Update(update) = &plan.node else { return Err(mismatch()) };
        let writing = update.derived.get(|| Writing::new(update))?;
        let Writing { writer, ordinals, touched } = &*writing;
        let Some(mut batch) = self.source.next(&update.source, cx).await? else { return Ok(None) };
        cx.cancel.check()?;
        let table = table_of(&update.table)?;
        let width = table.columns.len();
        self.first_meetings(writer, width, &mut batch)?;
        let exprs: Vec<&Expr> = update.assignments.iter().map(|(_, e)| e).collect();
        let values = subquery::project(&exprs, self.assignments_suspend, &batch, cx).await?;
        let mut changes = Vec::with_capacity(batch.len);
        let mut moved = Vec::new();
        for (source, values) in batch.rows().zip(values.rows()) {
            let old = &source[..width];
            let mut new = old.to_vec();
            for (ordinal, value) in ordinals.iter().zip(values) {
                new[*ordinal] = value.clone();
            }
            check_row(&update.table, &update.checks, &mut new, cx)?;
            let before = writer.entries_before(old, &update.checks, touched, cx)?;
            let after = writer.entries_after(&new, &update.checks, touched, cx)?;
            moved.extend(TableWriter::moved_keys(&before, &after));
            changes.push((before, new, after));
        }
        let mut known = UniqueKeys::default();
        writer.learn(moved, &mut known, cx).await?;
        let mut returned = RowBatch::new(batch.width);
        for (source, (before, new, after)) in batch.rows().zip(changes) {
            writer.change(&before, &new, after, &mut known, cx).await?;
            fk::note_update(&update.table, &source[..width], &new, cx)?;
            cx.state.affected += 1;
            if update.returning.is_some() {
                returned.push_owned(new.into_iter().chain(source[width..].iter().cloned()));
            }
        }
        match &update.returning {
            None => Ok(Some(RowBatch::new(0))),
            Some(exprs) => {
                let exprs: Vec<&Expr> = exprs.iter().collect();
                subquery::project(&exprs, self.returning_suspends, &returned, cx).await.map(Some)
            }
        }
    }
}
