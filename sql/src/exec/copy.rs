//! Bulk loading (COPY FROM): rows that the session has parsed, written in batches with the checks of INSERT and its foreign key notes.

use std::sync::Arc;

use super::context::ExecContext;
use super::dml::checks::check_row;
use super::dml::writer::{TableWriter, UniqueKeys};
use super::fk;
use crate::catalog::descriptor::RelationDescriptor;
use crate::error::Result;
use crate::plan::node::RowChecks;
use crate::types::Datum;

/// Rows written at once: one batched locking read of their unique keys.
pub const COPY_ROWS: usize = 4096;

/// A load in progress. Rows given to [`CopyWriter::push`] are buffered up to [`COPY_ROWS`]; [`CopyWriter::finish`] writes the rest and checks foreign keys.
pub struct CopyWriter {
    writer: TableWriter,
    checks: Arc<RowChecks>,
    rows: Vec<Vec<Datum>>,
    written: u64,
}

impl CopyWriter {
    /// For a table.
    pub fn new(table: &Arc<RelationDescriptor>, checks: Arc<RowChecks>) -> Result<Self> {
        Ok(CopyWriter { writer: TableWriter::new(table)?, checks, rows: Vec::new(), written: 0 })
    }

    /// Adds a full row: all columns in descriptor order, defaults filled in.
    pub async fn push(&mut self, mut row: Vec<Datum>, cx: &mut ExecContext<'_>) -> Result<()> {
        check_row(&self.writer.relation, &self.checks, &mut row, cx)?;
        self.rows.push(row);
        if self.rows.len() >= COPY_ROWS {
            self.flush(cx).await?;
        }
        Ok(())
    }

    async fn flush(&mut self, cx: &mut ExecContext<'_>) -> Result<()> {
        cx.cancel.check()?;
        let rows = std::mem::take(&mut self.rows);
        let mut entries = Vec::with_capacity(rows.len());
        let mut keys = Vec::new();
        for row in &rows {
            let of_row = self.writer.entries(row, &self.checks, cx)?;
            keys.extend(of_row.iter().filter(|e| e.unique && !(e.layout == 0 && self.writer.hidden_key)).map(|e| e.key.clone()));
            entries.push(of_row);
        }
        let mut known = UniqueKeys::default();
        self.writer.learn(keys, &mut known, cx).await?;
        self.written += rows.len() as u64;
        for (row, entries) in rows.into_iter().zip(entries) {
            self.writer.insert(&row, entries, &mut known, cx).await?;
            fk::note_insert(&self.writer.relation, &row, cx)?;
        }
        Ok(())
    }

    /// Writes what is buffered and checks foreign keys. Answers the number of rows.
    pub async fn finish(mut self, cx: &mut ExecContext<'_>) -> Result<u64> {
        self.flush(cx).await?;
        fk::finish_statement(cx).await?;
        Ok(self.written)
    }
}
