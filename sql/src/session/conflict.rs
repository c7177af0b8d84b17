//! A conflict in words: an error that the layer below could name only by bytes gets its table, key, column and the other transaction, and a hint
//! how to avoid it.

use meridian_storage::key::TABLE_PREFIX;
use meridian_txn::api::{KvError, RetryCause, who};

use super::environment::POSTGRES_EPOCH_MICROS;
use crate::catalog::descriptor::{RelationDescriptor, TableDescriptor};
use crate::catalog::snapshot::CatalogSnapshot;
use crate::error::{SqlError, SqlState};
use crate::exec::dml::describe::{describe_key, unique_violation_of};
use crate::exec::value;
use crate::types::{DataType, Datum};

/// Names what a KV error is about, in words for a developer. An error that has been explained stays as it is.
pub(super) fn explain(error: SqlError, catalog: &CatalogSnapshot) -> SqlError {
    if error.more.as_ref().is_some_and(|m| m.detail.is_some()) {
        return error;
    }
    match error.kv().cloned() {
        Some(KvError::KeyExists { key }) => unique_violation_of(catalog, &key),
        Some(KvError::Retry { cause, key, columns, other }) => {
            let place = Place::find(catalog, &key, &columns);
            let mut detail = match (cause, place.as_ref()) {
                (RetryCause::ReadChanged, Some(place)) => format!("{}, which this transaction had read, was changed", place.words()),
                (RetryCause::WriteConflict, Some(place)) => format!("{}, which this transaction changes, was changed", place.words()),
                (RetryCause::ChangedBeforeLock, Some(place)) => {
                    format!("{} was changed after this transaction had read it and before it had its lock", place.words())
                }
                (_, Some(place)) => format!("{}: {cause}", place.words()),
                (_, None) => cause.to_string(),
            };
            if let Some(attempt) = other {
                let (node, began) = who(attempt);
                let at = (began.unix_nanos() / 1000) as i64 - POSTGRES_EPOCH_MICROS;
                let at = value::to_text(&Datum::TimestampTz(at), DataType::TIMESTAMPTZ, value::neutral_session());
                detail += &format!(" by transaction {:032x} of node {}, which began at {at}", attempt.0, node.0);
            }
            // PostgreSQL's words for the two cases that it knows.
            let message = match cause {
                RetryCause::ReadChanged => "could not serialize access due to read/write dependencies among transactions",
                _ => "could not serialize access due to concurrent update",
            };
            let mut out = SqlError::new(SqlState::SERIALIZATION_FAILURE, message)
                .detail(detail + ".")
                .hint(format!("The transaction might succeed if retried. {}", advice(cause)));
            if let Some(place) = place {
                out = out.table("", place.relation.name.clone());
                if let [column] = &place.columns[..] {
                    out.fields().column = Some(column.clone());
                }
            }
            let more = out.fields();
            (more.schema, more.kv) = (None, error.kv().cloned());
            out
        }
        Some(KvError::Deadlock { detail, key }) => {
            let words = Place::find(catalog, &key, &[]).map(|p| format!(" This one waited for {}.", p.words()));
            error
                .detail(format!("{detail}.{}", words.unwrap_or_default()))
                .hint("Transactions that lock the same rows in the same order do not deadlock.")
        }
        _ => error,
    }
}

fn advice(cause: RetryCause) -> &'static str {
    match cause {
        RetryCause::ReadChanged | RetryCause::ChangedBeforeLock => {
            "To avoid the conflict, lock what will be changed when it is read (SELECT … FOR UPDATE), read only what is needed, or use READ COMMITTED."
        }
        RetryCause::WriteConflict => {
            "To avoid the conflict, lock the row before it is read for the first time (SELECT … FOR UPDATE), or use READ COMMITTED."
        }
        RetryCause::TooManyReads => "To avoid the conflict, read less in one transaction that writes, or lock first what it changes.",
        RetryCause::RangeSplit => "Ranges are split rarely; there is nothing to avoid.",
        RetryCause::PushedTooOften => {
            "To avoid the conflict, write the rows that others read all the time in short transactions of their own."
        }
        RetryCause::TakenForDead | RetryCause::Ended => "The node that ran it could not be heard for a while.",
    }
}

/// What a key is.
struct Place<'c> {
    relation: &'c RelationDescriptor,
    index: String,
    /// `(a)=(1)`; `None`: a whole scan.
    key: Option<String>,
    columns: Vec<String>,
}

impl<'c> Place<'c> {
    fn find(catalog: &'c CatalogSnapshot, key: &[u8], columns: &[u32]) -> Option<Self> {
        let names = |table: &TableDescriptor| columns.iter().filter_map(|id| table.column(*id)).map(|c| c.name.clone()).collect();
        if let Some(found) = describe_key(catalog, key) {
            let columns = found.relation.table().map(names).unwrap_or_default();
            return Some(Place { relation: found.relation, index: found.index.name.clone(), key: Some(found.text), columns });
        }
        // The beginning of a scan: a prefix of a key.
        let rest = key.strip_prefix(&[TABLE_PREFIX])?;
        let word = |at: usize| Some(u32::from_be_bytes(rest.get(at..at + 4)?.try_into().ok()?));
        let (storage, index) = (word(0)?, word(4)?);
        let relation = catalog.relations.values().find(|r| r.table().is_some_and(|t| t.storage_id == storage))?;
        let table = relation.table()?;
        let index = table.all_indexes().find(|i| i.id == index)?.name.clone();
        Some(Place { relation, index, key: None, columns: names(table) })
    }

    fn words(&self) -> String {
        let columns = match &self.columns[..] {
            [] => String::new(),
            [one] => format!("Column \"{one}\" of "),
            many => format!("One of the columns {} of ", many.iter().map(|c| format!("\"{c}\"")).collect::<Vec<_>>().join(", ")),
        };
        let row = match &self.key {
            Some(key) => format!("row {key}"),
            None => "a range of rows".to_owned(),
        };
        let row = if columns.is_empty() { row.replacen("row ", "Row ", 1).replacen("a range", "A range", 1) } else { row };
        format!("{columns}{row} of table \"{}\" (index \"{}\")", self.relation.name, self.index)
    }
}
