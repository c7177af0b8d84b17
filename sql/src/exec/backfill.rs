//! Online schema changes over existing rows, a chunk at a time: filling a new index, and finding rows that a new constraint does not allow.
//!
//! The caller (DDL) runs each chunk in a transaction of its own and keeps the resume span: so a backfill blocks nobody, and starts again where it was.
//! Writers maintain the index meanwhile (`WriteOnly`), so a chunk only adds what is missing.

use std::sync::Arc;

use meridian_storage::Span;
use meridian_storage::mvcc::Direction;
use meridian_txn::api::{Columns, Expect, LockStrength, LockWait, Locking, Scan};

use super::context::{ExecContext, table_of};
use super::dml::describe::columns_text;
use super::dml::writer::{Entry, TableWriter, UniqueKeys};
use super::eval::{eval, eval_bool};
use super::fk::{self, ForeignKey};
use super::scan::layout::{IndexLayout, index_of};
use crate::catalog::descriptor::{ForeignKeyDescriptor, RelationDescriptor};
use crate::error::{Result, SqlError, SqlState};
use crate::plan::expr::Expr;
use crate::types::Datum;

/// Rows of one chunk.
pub const CHUNK_ROWS: u64 = 2000;

/// Where all rows of a table are: the start of a backfill.
pub fn table_span(table: &RelationDescriptor) -> Result<Span> {
    let descriptor = table_of(table)?;
    Ok(Span::prefix(IndexLayout::new(descriptor, &descriptor.primary)?.prefix))
}

/// Reads one chunk of whole rows, and says what is left.
async fn chunk(
    writer: &TableWriter,
    span: Span,
    lock: Option<Locking>,
    cx: &mut ExecContext<'_>,
) -> Result<(Vec<Vec<Datum>>, Option<Span>)> {
    let page = cx
        .scan(Scan {
            span,
            direction: Direction::Forward,
            columns: Columns::All,
            limit_rows: CHUNK_ROWS,
            limit_bytes: 0,
            program: None,
            lock,
        })
        .await?;
    let rows = page.rows.iter().map(|(key, value)| writer.decode(key, value)).collect::<Result<Vec<_>>>()?;
    Ok((rows, page.resume))
}

/// Writes the entries of one chunk of rows into a new index; answers the span that is left, `None` at the end. `predicate`: the bound predicate of a partial
/// index. `23505` if two rows share a unique key.
///
/// Rows are locked (`SHARE`): a row changed or deleted at the same time would otherwise leave an entry behind that nobody removes.
pub async fn backfill_chunk(
    table: &Arc<RelationDescriptor>,
    index: u32,
    predicate: Option<&Expr>,
    span: Span,
    cx: &mut ExecContext<'_>,
) -> Result<Option<Span>> {
    let descriptor = table_of(table)?;
    let writer = TableWriter::new(table)?;
    let index = index_of(descriptor, index)?;
    let layout = writer.layouts.iter().position(|l| l.id == index.id).ok_or_else(|| SqlError::internal("the new index is gone"))?;
    let lock = Locking { strength: LockStrength::Share, wait: cx.lock_wait(LockWait::Block(None)) };
    let (rows, resume) = chunk(&writer, span, Some(lock), cx).await?;
    let mut entries = Vec::with_capacity(rows.len());
    for row in &rows {
        if let Some(predicate) = predicate
            && !eval_bool(predicate, row, &mut cx.eval())?
        {
            continue;
        }
        let l = &writer.layouts[layout];
        entries.push((row, Entry { layout, key: l.key(row)?, value: l.value(row)?, unique: l.is_arbiter(row) }));
    }
    let mut known = UniqueKeys::default();
    writer.learn(entries.iter().filter(|(_, e)| e.unique).map(|(_, e)| e.key.clone()).collect(), &mut known, cx).await?;
    for (row, entry) in entries {
        if entry.unique {
            match known.get(&entry.key) {
                // Written already by the writer of the row: the value names the primary key, so equal values mean the same row.
                Some(Some(value)) if *value == entry.value => continue,
                Some(Some(_)) => return Err(duplicates(table, index, row).of_relation(&cx.catalog, table)),
                _ => {}
            }
            known.insert(entry.key.clone(), Some(entry.value.clone()));
        }
        cx.put(entry.key, entry.value, Expect::AsRead).await?;
    }
    Ok(resume)
}

fn duplicates(table: &RelationDescriptor, index: &crate::catalog::descriptor::IndexDescriptor, row: &[Datum]) -> SqlError {
    let columns: Vec<u32> = index.keys.iter().map(|k| k.column).collect();
    let text = table.table().map_or_else(String::new, |t| columns_text(t, &columns, &fk::values_of(t, &columns, row)));
    SqlError::new(SqlState::UNIQUE_VIOLATION, format!("could not create unique index \"{}\"", index.name))
        .detail(format!("Key {text} is duplicated."))
        .constraint(&index.name)
}

/// Looks for a row that a new CHECK constraint does not allow. Reads the whole table in the caller's transaction.
pub async fn validate_check(table: &Arc<RelationDescriptor>, name: &str, check: &Expr, cx: &mut ExecContext<'_>) -> Result<()> {
    let writer = TableWriter::new(table)?;
    let mut rest = Some(table_span(table)?);
    while let Some(span) = rest {
        let (rows, resume) = chunk(&writer, span, None, cx).await?;
        let mut ecx = cx.eval();
        for row in &rows {
            if matches!(eval(check, row, &mut ecx)?, Datum::Bool(false)) {
                let message = format!("check constraint \"{name}\" of relation \"{}\" is violated by some row", table.name);
                return Err(SqlError::new(SqlState::CHECK_VIOLATION, message).constraint(name));
            }
        }
        rest = resume;
    }
    Ok(())
}

/// Looks for a row with NULL in a column that is to be NOT NULL.
pub async fn validate_not_null(table: &Arc<RelationDescriptor>, column: u32, cx: &mut ExecContext<'_>) -> Result<()> {
    let descriptor = table_of(table)?;
    let at = descriptor.columns.iter().position(|c| c.id == column).ok_or_else(|| SqlError::internal("the column is gone"))?;
    let writer = TableWriter::new(table)?;
    let mut rest = Some(table_span(table)?);
    while let Some(span) = rest {
        let (rows, resume) = chunk(&writer, span, None, cx).await?;
        if rows.iter().any(|row| matches!(row[at], Datum::Null)) {
            let name = &descriptor.columns[at].name;
            let message = format!("column \"{name}\" of relation \"{}\" contains null values", table.name);
            return Err(SqlError::new(SqlState::NOT_NULL_VIOLATION, message).column(name));
        }
        rest = resume;
    }
    Ok(())
}

/// Looks for a row of `child` without a parent by its foreign key number `index`.
pub async fn validate_foreign_key(child: &Arc<RelationDescriptor>, index: usize, cx: &mut ExecContext<'_>) -> Result<()> {
    let table = table_of(child)?;
    let key = ForeignKey { child: child.clone(), index };
    let descriptor: &ForeignKeyDescriptor = key.descriptor()?;
    let writer = TableWriter::new(child)?;
    let mut rest = Some(table_span(child)?);
    while let Some(span) = rest {
        let (rows, resume) = chunk(&writer, span, None, cx).await?;
        let mut wanted = Vec::new();
        for row in &rows {
            let values = fk::values_of(table, &descriptor.columns, row);
            let nulls = values.iter().filter(|v| matches!(v, Datum::Null)).count();
            if nulls > 0 {
                if descriptor.match_full && nulls < values.len() {
                    let message =
                        format!("insert or update on table \"{}\" violates foreign key constraint \"{}\"", child.name, descriptor.name);
                    return Err(SqlError::new(SqlState::FOREIGN_KEY_VIOLATION, message)
                        .detail("MATCH FULL does not allow mixing of null and nonnull key values.")
                        .constraint(&descriptor.name));
                }
                continue;
            }
            wanted.push(values);
        }
        if let Some(at) = fk::missing_parents(&key, &wanted, cx).await?.first() {
            return Err(fk::not_present(&key, &wanted[*at], cx)?);
        }
        rest = resume;
    }
    Ok(())
}
