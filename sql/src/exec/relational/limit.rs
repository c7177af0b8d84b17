//! LIMIT, OFFSET, and FETCH FIRST … WITH TIES.

use async_trait::async_trait;

use super::basic::mismatch;
use super::sort::{compare_keys, key_exprs};
use crate::error::{Result, SqlError, SqlState};
use crate::exec::batch::RowBatch;
use crate::exec::context::ExecContext;
use crate::exec::{Operator, subquery};
use crate::plan::expr::Expr;
use crate::plan::node::{Node, Plan};
use crate::types::{DataType, Datum};

/// A row count: NULL is no limit.
pub async fn count_of(expr: &Expr, cx: &mut ExecContext<'_>) -> Result<Option<u64>> {
    let negative = || SqlError::new(SqlState::INVALID_ROW_COUNT_IN_LIMIT, "LIMIT must not be negative");
    match subquery::eval_suspending(expr, &[], cx).await? {
        Datum::Null => Ok(None),
        Datum::Int8(n) => u64::try_from(n).map(Some).map_err(|_| negative()),
        Datum::Int4(n) => u64::try_from(n).map(Some).map_err(|_| negative()),
        Datum::Int2(n) => u64::try_from(n).map(Some).map_err(|_| negative()),
        other => {
            let ty = expr.ty();
            let cast = crate::exec::value::cast(other, ty, DataType::INT8, -1, false, &mut cx.eval().functions)?;
            match cast {
                Datum::Int8(n) => u64::try_from(n).map(Some).map_err(|_| negative()),
                _ => Ok(None),
            }
        }
    }
}

/// State of a `Limit`.
pub struct Limit {
    input: Box<dyn Operator>,
    started: bool,
    skip: u64,
    left: Option<u64>,
    /// Keys of the last row within the limit, while its peers are still let through.
    ties: Option<Vec<Datum>>,
    done: bool,
}

impl Limit {
    /// Over an input.
    pub fn new(input: Box<dyn Operator>) -> Self {
        Limit { input, started: false, skip: 0, left: None, ties: None, done: false }
    }
}

#[async_trait]
impl Operator for Limit {
    async fn next(&mut self, plan: &Plan, cx: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        let Node::Limit { input, limit, offset, with_ties } = &plan.node else { return Err(mismatch()) };
        if !self.started {
            self.started = true;
            if let Some(offset) = offset {
                self.skip = match count_of(offset, cx).await {
                    Ok(count) => count.unwrap_or(0),
                    Err(e) if e.code == SqlState::INVALID_ROW_COUNT_IN_LIMIT => {
                        return Err(SqlError::new(SqlState::INVALID_ROW_COUNT_IN_OFFSET, "OFFSET must not be negative"));
                    }
                    Err(e) => return Err(e),
                };
            }
            if let Some(limit) = limit {
                self.left = count_of(limit, cx).await?;
            }
            self.done = self.left == Some(0);
        }
        while !self.done {
            let Some(mut batch) = self.input.next(input, cx).await? else {
                self.done = true;
                break;
            };
            if self.skip > 0 {
                let skipped = self.skip.min(batch.len as u64);
                batch.skip(skipped as usize);
                self.skip -= skipped;
            }
            if batch.is_empty() {
                continue;
            }
            match with_ties {
                Some(keys) => self.cut_with_ties(&mut batch, keys, cx).await?,
                None => {
                    if let Some(left) = &mut self.left {
                        batch.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                        *left -= batch.len as u64;
                        self.done = *left == 0;
                    }
                }
            }
            if !batch.is_empty() {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }
}

impl Limit {
    async fn cut_with_ties(&mut self, batch: &mut RowBatch, keys: &[crate::plan::node::SortKey], cx: &mut ExecContext<'_>) -> Result<()> {
        let Some(left) = self.left else { return Ok(()) };
        let within = left.min(batch.len as u64);
        self.left = Some(left - within);
        if left > within {
            return Ok(());
        }
        let mut last = self.ties.take();
        if within > 0 {
            last = Some(key_exprs(keys, batch.row(within as usize - 1), cx).await?);
        }
        let Some(last) = last else { return Ok(()) };
        let mut end = within as usize;
        while end < batch.len {
            let next = key_exprs(keys, batch.row(end), cx).await?;
            if compare_keys(keys, &last, &next).is_ne() {
                self.done = true;
                break;
            }
            end += 1;
        }
        batch.truncate(end);
        self.ties = Some(last);
        Ok(())
    }
}
