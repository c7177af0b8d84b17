//! COPY FROM STDIN and COPY TO STDOUT.

use std::sync::Arc;

use bytes::Bytes;
use sqlparser::ast;

use super::Session;
use super::analyze::SessionAnalyzer;
use super::api::ResultSink;
use super::copy_binary::{self, BinaryReader, BinaryRecord};
use super::copy_format::{Reader, Record, Style, shortened};
use super::run::Commit;
use crate::catalog::descriptor::{ColumnDescriptor, RelationDescriptor, RelationKind};
use crate::error::{Result, SqlError, SqlState};
use crate::exec::copy::BulkWriter;
use crate::exec::eval::eval;
use crate::exec::fk;
use crate::exec::spill::DEFAULT_SPILL_BYTES;
use crate::exec::subquery::eval_suspending;
use crate::exec::{MemoryBudget, SpillArea};
use crate::front::{Copy, CopyEnd, CopySource};
use crate::plan::expr::Expr;
use crate::types::{Datum, Io, parse_binary, parse_text, write_text};

impl Session {
    pub(super) async fn copy(&mut self, copy: &Copy, commit: Commit, sink: &mut dyn ResultSink) -> Result<()> {
        match &copy.end {
            CopyEnd::Client => {}
            CopyEnd::File(_) => return Err(SqlError::unsupported("COPY to or from a file on the server").hint("Use \\copy of psql.")),
            CopyEnd::Program(_) => return Err(SqlError::unsupported("COPY PROGRAM")),
        }
        let mut style = Style::new(&copy.options)?;
        let rows = match (&copy.source, copy.from) {
            (CopySource::Table(name, columns), true) => self.copy_from(name, columns, style, copy.filter.as_ref(), commit, sink).await?,
            (CopySource::Query(_), true) => return Err(SqlError::new(SqlState::SYNTAX_ERROR, "COPY FROM needs a table")),
            (source, false) => self.copy_to(source, &mut style, sink).await?,
        };
        if commit == Commit::WithStatement {
            self.commit().await?;
        }
        sink.complete(&format!("COPY {rows}")).await
    }

    async fn copy_to(&mut self, source: &CopySource, style: &mut Style, sink: &mut dyn ResultSink) -> Result<u64> {
        let planned = match source {
            CopySource::Query(query) => self.plan(query, &[], false).await?,
            CopySource::Table(name, columns) => {
                let relation = self.relation(name).await?;
                let (kind, last) = (&relation.kind, &relation.name);
                if let RelationKind::View(_) = kind {
                    return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("cannot copy from view \"{last}\""))
                        .hint("Try the COPY (SELECT ...) TO variant."));
                }
                if let RelationKind::Sequence(_) = kind {
                    return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("cannot copy from sequence \"{last}\"")));
                }
                let catalog = self.catalog().await?;
                let list = if columns.is_empty() { "*".into() } else { columns.iter().map(|c| quoted(c)).collect::<Vec<_>>().join(", ") };
                let sql = format!("SELECT {list} FROM {}", self.qualified_name(&catalog, &relation));
                let parsed = crate::front::parse_one(&sql)?.ok_or_else(|| SqlError::internal("an empty COPY query"))?;
                self.plan(&parsed, &[], false).await?
            }
        };
        let Some(fields) = planned.fields.clone() else {
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, "COPY query must have a RETURNING clause"));
        };
        style.resolve(&fields.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), false)?;
        sink.copy_out(style.binary, fields.len()).await?;
        self.transaction().kv.begin_statement();
        let mut running = self.running(&planned.prepared.plan, false);
        let params: Arc<[Datum]> = Arc::from([]);
        // One CopyData message for each row, as PostgreSQL sends them: clients rely on it. The binary header goes with the first.
        let mut out = vec![];
        if style.binary {
            out.extend_from_slice(copy_binary::HEADER);
        } else if style.header {
            let names: Vec<Option<&str>> = fields.iter().map(|f| Some(f.name.as_str())).collect();
            style.write_header(&names, &mut out);
            sink.copy_data(std::mem::take(&mut out).into()).await?;
        }
        let mut rows = 0;
        while let Some(batch) = self.next_batch(&mut running, params.clone(), Commit::Later).await? {
            if let Some(txn) = &mut self.txn {
                self.cancel.run(txn.kv.wait_reply()).await?;
            }
            rows += batch.len as u64;
            let catalog = self.catalog().await?;
            let lookup = self.lookup(&catalog);
            let io = Io { session: &self.env.view, now: None, catalog: Some(&*lookup) };
            let mut texts = vec![String::new(); fields.len()];
            for row in batch.rows() {
                if style.binary {
                    copy_binary::write_row(row, fields.iter().map(|f| f.ty), &mut out);
                    sink.copy_data(Bytes::copy_from_slice(&out)).await?;
                    out.clear();
                    continue;
                }
                for ((text, datum), field) in texts.iter_mut().zip(row).zip(fields.iter()) {
                    text.clear();
                    write_text(datum, field.ty, io, text);
                }
                let values: Vec<Option<&str>> =
                    texts.iter().zip(row).map(|(t, d)| (!matches!(d, Datum::Null)).then_some(t.as_str())).collect();
                style.write(&values, &mut out);
                sink.copy_data(Bytes::copy_from_slice(&out)).await?;
                out.clear();
            }
        }
        if style.binary {
            out.extend_from_slice(&copy_binary::TRAILER);
            sink.copy_data(out.into()).await?;
        }
        sink.copy_done().await?;
        Ok(rows)
    }

    async fn copy_from(
        &mut self,
        name: &ast::ObjectName,
        columns: &[String],
        mut style: Style,
        filter: Option<&ast::Expr>,
        commit: Commit,
        sink: &mut dyn ResultSink,
    ) -> Result<u64> {
        let relation = self.relation(name).await?;
        if self.transaction().read_only {
            return Err(SqlError::new(SqlState::READ_ONLY_SQL_TRANSACTION, "cannot execute COPY FROM in a read-only transaction"));
        }
        let target = Target::new(&relation, columns)?;
        let filter = match filter {
            Some(expr) => {
                let catalog = self.catalog().await?;
                Some(SessionAnalyzer::new(self.database, self.env.view.clone()).predicate(&catalog, &relation, expr)?)
            }
            None => None,
        };
        style.resolve(&target.given.iter().map(|at| target.columns[*at].name.as_str()).collect::<Vec<_>>(), true)?;
        sink.copy_in(style.binary, target.given.len()).await?;
        self.transaction().kv.begin_statement();
        let expressions = {
            let catalog = self.catalog().await?;
            self.table_expressions(&catalog)
        };
        let checks = expressions.row_checks(&relation)?;
        let mut defaults = vec![];
        for column in target.columns {
            let given = target.given.iter().any(|at| target.columns[*at].id == column.id) || column.generated.is_some();
            defaults.push(if given { None } else { Some(expressions.column_default(&relation, column.id)?) });
        }
        let mut writer = BulkWriter::new(&relation, checks, commit == Commit::WithStatement)?;
        let mut reader = Reader::new(style.clone());
        let mut binary = BinaryReader::default();
        let mut header = style.header;
        loop {
            let chunk = sink.copy_next().await?;
            match &chunk {
                Some(chunk) if style.binary => binary.feed(chunk)?,
                Some(chunk) => reader.feed(chunk)?,
                None => {}
            }
            let last = chunk.is_none();
            let memory = MemoryBudget::new(self.env.settings.work_mem_bytes());
            let spill = SpillArea::new(self.db.spill_dir.clone(), DEFAULT_SPILL_BYTES);
            let view = self.env.view.clone();
            let mut cx = self.exec_context(Arc::from([]), Commit::Later, memory, spill).await?;
            while let Some(record) = if style.binary { binary.next(last)? } else { None } {
                let mut row = target.binary_row(record, binary.line)?;
                for (at, default) in defaults.iter().enumerate() {
                    if let Some(default) = default {
                        row[at] = default_value(default, &mut cx).await?;
                    }
                }
                if let Some(filter) = &filter
                    && !matches!(eval(filter, &row, &mut cx.eval())?, Datum::Bool(true))
                {
                    continue;
                }
                writer.push(Some(binary.line), row, &mut cx).await?;
            }
            loop {
                let record = match if style.binary { Ok(None) } else { reader.next(last) } {
                    Ok(Some(record)) => record,
                    Ok(None) => break,
                    Err(error) => return Err(target.context(error, &reader)),
                };
                if std::mem::take(&mut header) {
                    if style.header_match {
                        target.check_header(&record).map_err(|e| target.context(e, &reader))?;
                    }
                    continue;
                }
                let lookup = cx.lookup.clone();
                let io = Io { session: &view, now: Some(cx.transaction_micros), catalog: Some(&*lookup) };
                let mut row = target.row(record, io, &reader)?;
                for (at, default) in defaults.iter().enumerate() {
                    if let Some(default) = default {
                        row[at] = default_value(default, &mut cx).await?;
                    }
                }
                if let Some(filter) = &filter
                    && !matches!(eval(filter, &row, &mut cx.eval())?, Datum::Bool(true))
                {
                    continue;
                }
                writer.push(Some(reader.line), row, &mut cx).await.map_err(|e| target.context(e, &reader))?;
            }
            if last {
                let written = writer.finish(&mut cx).await?;
                fk::finish_statement(&mut cx).await?;
                return Ok(written);
            }
        }
    }
}

async fn default_value(default: &Expr, cx: &mut crate::exec::ExecContext<'_>) -> Result<Datum> {
    match default {
        Expr::Const { value, .. } => Ok(value.clone()),
        other => eval_suspending(other, &[], cx).await,
    }
}

/// Which columns a COPY FROM gives.
struct Target<'r> {
    relation: &'r RelationDescriptor,
    columns: &'r [ColumnDescriptor],
    /// Positions in `columns`, in the order of the input's fields.
    given: Vec<usize>,
}

impl<'r> Target<'r> {
    fn new(relation: &'r RelationDescriptor, names: &[String]) -> Result<Self> {
        let Some(table) = relation.table() else {
            let name = &relation.name;
            return Err(match relation.kind {
                RelationKind::View(_) => SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("cannot copy to view \"{name}\""))
                    .hint("To enable copying to a view, provide an INSTEAD OF INSERT trigger."),
                _ => SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("cannot copy to sequence \"{name}\"")),
            });
        };
        let columns = &table.columns;
        if names.is_empty() {
            let given = columns.iter().enumerate().filter(|(_, c)| !c.hidden && c.generated.is_none()).map(|(at, _)| at).collect();
            return Ok(Target { relation, columns, given });
        }
        let mut given = vec![];
        for name in names {
            let at = columns.iter().position(|c| c.name == *name && !c.hidden).ok_or_else(|| {
                let message = format!("column \"{name}\" of relation \"{}\" does not exist", relation.name);
                SqlError::new(SqlState::UNDEFINED_COLUMN, message)
            })?;
            if columns[at].generated.is_some() {
                let message = format!("column \"{name}\" is a generated column");
                return Err(SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, message).detail("Generated columns cannot be used in COPY."));
            }
            if given.contains(&at) {
                return Err(SqlError::new(SqlState::DUPLICATE_COLUMN, format!("column \"{name}\" specified more than once")));
            }
            given.push(at);
        }
        Ok(Target { relation, columns, given })
    }

    fn check_header(&self, record: &Record) -> Result<()> {
        for (n, (at, field)) in self.given.iter().zip(record).enumerate() {
            let expected = &self.columns[*at].name;
            if field.as_deref() != Some(expected) {
                let number = n + 1;
                let message = match field {
                    Some(got) => format!("column name mismatch in header line field {number}: got \"{got}\", expected \"{expected}\""),
                    None => format!("column name mismatch in header line field {number}: got null value, expected \"{expected}\""),
                };
                return Err(SqlError::new(SqlState::BAD_COPY_FILE_FORMAT, message));
            }
        }
        if record.len() != self.given.len() {
            let message = format!("wrong number of fields in header line: got {}, expected {}", record.len(), self.given.len());
            return Err(SqlError::new(SqlState::BAD_COPY_FILE_FORMAT, message));
        }
        Ok(())
    }

    /// Tells where in the input an error happened, unless it is told already.
    fn context(&self, error: SqlError, reader: &Reader) -> SqlError {
        self.place(error, format!("COPY {}, line {}: \"{}\"", self.relation.name, reader.line, reader.text()))
    }

    fn place(&self, mut error: SqlError, place: String) -> SqlError {
        // A conflict between transactions has nothing to do with the line.
        if error.kv().is_none() {
            error.more.get_or_insert_default().context.get_or_insert(place);
        }
        error
    }

    fn binary_row(&self, record: BinaryRecord, line: u64) -> Result<Vec<Datum>> {
        if record.len() != self.given.len() {
            let message = format!("row field count is {}, expected {}", record.len(), self.given.len());
            let error = SqlError::new(SqlState::BAD_COPY_FILE_FORMAT, message);
            return Err(self.place(error, format!("COPY {}, line {line}", self.relation.name)));
        }
        let mut row = vec![Datum::Null; self.columns.len()];
        for (at, field) in self.given.iter().zip(record) {
            let column = &self.columns[*at];
            if let Some(bytes) = field {
                row[*at] = parse_binary(column.ty, column.typmod, &bytes)
                    .map_err(|e| self.place(e, format!("COPY {}, line {line}, column {}", self.relation.name, column.name)))?;
            }
        }
        Ok(row)
    }

    fn row(&self, record: Record, io: Io<'_>, reader: &Reader) -> Result<Vec<Datum>> {
        if record.len() > self.given.len() {
            return Err(self.context(SqlError::new(SqlState::BAD_COPY_FILE_FORMAT, "extra data after last expected column"), reader));
        }
        let count = record.len();
        let mut row = vec![Datum::Null; self.columns.len()];
        for (at, field) in self.given.iter().zip(record) {
            let column = &self.columns[*at];
            if let Some(text) = field {
                row[*at] = parse_text(column.ty, column.typmod, &text, io).map_err(|e| {
                    let value = shortened(&text);
                    self.place(e, format!("COPY {}, line {}, column {}: \"{value}\"", self.relation.name, reader.line, column.name))
                })?;
            }
        }
        // After the values that are there, like PostgreSQL: of two errors in a row it reports the first.
        if let Some(missing) = self.given.get(count) {
            let message = format!("missing data for column \"{}\"", self.columns[*missing].name);
            return Err(self.context(SqlError::new(SqlState::BAD_COPY_FILE_FORMAT, message), reader));
        }
        Ok(row)
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
