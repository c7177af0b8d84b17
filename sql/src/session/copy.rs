//! COPY FROM STDIN and COPY TO STDOUT.

use std::sync::Arc;

use bytes::Bytes;
use sqlparser::ast;

use super::Session;
use super::api::ResultSink;
use super::copy_binary::{self, BinaryReader, BinaryRecord};
use super::copy_format::{Reader, Record, Style};
use super::run::Commit;
use crate::catalog::descriptor::{ColumnDescriptor, RelationDescriptor};
use crate::error::{Result, SqlError, SqlState};
use crate::exec::copy::CopyWriter;
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
        let style = Style::new(&copy.options)?;
        let rows = match (&copy.source, copy.from) {
            (CopySource::Table(name, columns), true) => {
                if copy.filter.is_some() {
                    return Err(SqlError::unsupported("COPY FROM … WHERE"));
                }
                self.copy_from(name, columns, style, sink).await?
            }
            (CopySource::Query(_), true) => return Err(SqlError::new(SqlState::SYNTAX_ERROR, "COPY FROM needs a table")),
            (source, false) => self.copy_to(source, &style, sink).await?,
        };
        if commit == Commit::WithStatement {
            self.commit().await?;
        }
        sink.complete(&format!("COPY {rows}")).await
    }

    async fn copy_to(&mut self, source: &CopySource, style: &Style, sink: &mut dyn ResultSink) -> Result<u64> {
        let planned = match source {
            CopySource::Query(query) => self.plan(query, &[], false).await?,
            CopySource::Table(name, columns) => {
                let relation = self.relation(name).await?;
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
            style.write(&names, &mut out);
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

    async fn copy_from(&mut self, name: &ast::ObjectName, columns: &[String], style: Style, sink: &mut dyn ResultSink) -> Result<u64> {
        let relation = self.relation(name).await?;
        if self.transaction().read_only {
            return Err(SqlError::new(SqlState::READ_ONLY_SQL_TRANSACTION, "cannot execute COPY FROM in a read-only transaction"));
        }
        let target = Target::new(&relation, columns)?;
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
        let mut writer = CopyWriter::new(&relation, checks)?;
        let mut reader = if style.binary { Input::Binary(BinaryReader::default()) } else { Input::Text(Reader::new(style.clone())) };
        let mut header = style.header;
        loop {
            let chunk = sink.copy_next().await?;
            if let Some(chunk) = &chunk {
                reader.feed(chunk)?;
            }
            let last = chunk.is_none();
            let memory = MemoryBudget::new(self.env.settings.work_mem_bytes());
            let spill = SpillArea::new(self.db.spill_dir.clone(), DEFAULT_SPILL_BYTES);
            let view = self.env.view.clone();
            let mut cx = self.exec_context(Arc::from([]), Commit::Later, memory, spill).await?;
            while let Some((record, line)) = reader.next(last)? {
                if std::mem::take(&mut header) {
                    if style.header_match
                        && let InputRecord::Text(names) = &record
                    {
                        target.check_header(names)?;
                    }
                    continue;
                }
                let lookup = cx.lookup.clone();
                let io = Io { session: &view, now: Some(cx.transaction_micros), catalog: Some(&*lookup) };
                let mut row = match record {
                    InputRecord::Text(record) => target.row(record, io, line)?,
                    InputRecord::Binary(record) => target.binary_row(record, line)?,
                };
                for (at, default) in defaults.iter().enumerate() {
                    if let Some(default) = default {
                        row[at] = default_value(default, &mut cx).await?;
                    }
                }
                writer.push(row, &mut cx).await?;
            }
            if last {
                return writer.finish(&mut cx).await;
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

/// What COPY FROM reads.
enum Input {
    Text(Reader),
    Binary(BinaryReader),
}

enum InputRecord {
    Text(Record),
    Binary(BinaryRecord),
}

impl Input {
    fn feed(&mut self, chunk: &[u8]) -> Result<()> {
        match self {
            Input::Text(reader) => reader.feed(chunk),
            Input::Binary(reader) => reader.feed(chunk),
        }
    }

    /// The next record and its number.
    fn next(&mut self, last: bool) -> Result<Option<(InputRecord, u64)>> {
        Ok(match self {
            Input::Text(reader) => reader.next(last)?.map(|r| (InputRecord::Text(r), reader.line)),
            Input::Binary(reader) => reader.next(last)?.map(|r| (InputRecord::Binary(r), reader.line)),
        })
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
            let message = format!("cannot copy to \"{}\": it is not a table", relation.name);
            return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message));
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
        for (at, field) in self.given.iter().zip(record) {
            if field.as_deref() != Some(&self.columns[*at].name) {
                let message = format!("column name mismatch in header line: got \"{}\"", field.as_deref().unwrap_or(""));
                return Err(SqlError::new(SqlState::BAD_COPY_FILE_FORMAT, message));
            }
        }
        Ok(())
    }

    /// Says where in the input an error was.
    fn context(&self, mut error: SqlError, line: u64, column: Option<&str>, value: Option<&str>) -> SqlError {
        let place = match (column, value) {
            (Some(column), Some(value)) => {
                let short: String = value.chars().take(100).collect();
                format!(", column {column}: \"{short}{}\"", if short.len() < value.len() { "..." } else { "" })
            }
            (Some(column), None) => format!(", column {column}"),
            (None, _) => String::new(),
        };
        error.more.get_or_insert_default().context = Some(format!("COPY {}, line {line}{place}", self.relation.name));
        error
    }

    fn binary_row(&self, record: BinaryRecord, line: u64) -> Result<Vec<Datum>> {
        if record.len() != self.given.len() {
            let message = format!("row field count is {}, expected {}", record.len(), self.given.len());
            return Err(self.context(SqlError::new(SqlState::BAD_COPY_FILE_FORMAT, message), line, None, None));
        }
        let mut row = vec![Datum::Null; self.columns.len()];
        for (at, field) in self.given.iter().zip(record) {
            let column = &self.columns[*at];
            if let Some(bytes) = field {
                row[*at] = parse_binary(column.ty, column.typmod, &bytes).map_err(|e| self.context(e, line, Some(&column.name), None))?;
            }
        }
        Ok(row)
    }

    fn row(&self, record: Record, io: Io<'_>, line: u64) -> Result<Vec<Datum>> {
        let context = |error: SqlError, column: Option<&str>| self.context(error, line, column, None);
        if record.len() > self.given.len() {
            return Err(context(SqlError::new(SqlState::BAD_COPY_FILE_FORMAT, "extra data after last expected column"), None));
        }
        let given = record.len();
        let mut row = vec![Datum::Null; self.columns.len()];
        for (at, field) in self.given.iter().zip(record) {
            let column = &self.columns[*at];
            if let Some(text) = field {
                row[*at] =
                    parse_text(column.ty, column.typmod, &text, io).map_err(|e| self.context(e, line, Some(&column.name), Some(&text)))?;
            }
        }
        // After the values that are there, like PostgreSQL: of two errors in a row it reports the first.
        if let Some(missing) = self.given.get(given) {
            let message = format!("missing data for column \"{}\"", self.columns[*missing].name);
            return Err(context(SqlError::new(SqlState::BAD_COPY_FILE_FORMAT, message), None));
        }
        Ok(row)
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
