//! Index entries of one table: which a row has, whether they may be there, writing and removing them.

use std::sync::Arc;

use bytes::Bytes;
use meridian_txn::api::{Columns, Expect, Get, Got, LockStrength, LockWait, Locking};
use rustc_hash::FxHashMap;

use super::describe::{key_text, unique_violation};
use crate::catalog::descriptor::RelationDescriptor;
use crate::error::Result;
use crate::exec::context::{ExecContext, table_of};
use crate::exec::eval::eval_bool;
use crate::exec::scan::layout::{EntryReader, IndexLayout, index_of};
use crate::plan::node::RowChecks;
use crate::types::Datum;

/// Writes rows of one table.
pub struct TableWriter {
    /// The table.
    pub relation: Arc<RelationDescriptor>,
    /// Layouts: the primary index first, then the others in catalog order.
    pub layouts: Vec<IndexLayout>,
    /// Reads whole rows from primary entries.
    pub reader: EntryReader,
    /// The primary key is generated and cannot collide.
    pub hidden_key: bool,
}

/// One index entry of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which layout.
    pub layout: usize,
    /// Its key.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
    /// No other row may have this key.
    pub unique: bool,
}

/// Unique keys that a batch is about, with their present values: read under lock, then kept up to date.
pub type UniqueKeys = FxHashMap<Bytes, Option<Bytes>>;

impl TableWriter {
    /// For a table.
    pub fn new(relation: &Arc<RelationDescriptor>) -> Result<Self> {
        let table = table_of(relation)?;
        let layouts = table.all_indexes().map(|i| IndexLayout::new(table, i)).collect::<Result<Vec<_>>>()?;
        let all: Vec<u32> = table.columns.iter().map(|c| c.id).collect();
        let reader = layouts[0].reader(table, &all)?;
        let hidden_key = table.primary.keys.iter().all(|k| table.column(k.column).is_some_and(|c| c.hidden));
        Ok(TableWriter { relation: relation.clone(), layouts, reader, hidden_key })
    }

    /// The primary key of a row.
    pub fn primary_key(&self, row: &[Datum]) -> Result<Bytes> {
        self.layouts[0].key(row)
    }

    /// The entries a row has: all indexes whose predicate it satisfies, the primary first.
    pub fn entries(&self, row: &[Datum], checks: &RowChecks, cx: &mut ExecContext<'_>) -> Result<Vec<Entry>> {
        self.entries_where(row, checks, |_| true, true, cx)
    }

    /// Of the entries that a row has before an update those that the update may change ([`TableWriter::touched`]). Its primary value is left out: it is
    /// written anew whatever it was.
    pub fn entries_before(&self, row: &[Datum], checks: &RowChecks, touched: &[bool], cx: &mut ExecContext<'_>) -> Result<Vec<Entry>> {
        self.entries_where(row, checks, |at| touched[at], false, cx)
    }

    /// The same after the update.
    pub fn entries_after(&self, row: &[Datum], checks: &RowChecks, touched: &[bool], cx: &mut ExecContext<'_>) -> Result<Vec<Entry>> {
        self.entries_where(row, checks, |at| touched[at], true, cx)
    }

    /// By layout, whether an update of the columns at `ordinals` may change its entries. The primary ones always.
    pub fn touched(&self, ordinals: &[usize], checks: &RowChecks) -> Result<Vec<bool>> {
        let columns = &table_of(&self.relation)?.columns;
        let changed = || ordinals.iter().copied().chain(checks.generated.iter().map(|(ordinal, _)| *ordinal)).map(|at| columns[at].id);
        let conditional = |layout: &IndexLayout| checks.predicates.iter().any(|(id, _)| *id == layout.id);
        Ok(self.layouts.iter().map(|l| l.primary || conditional(l) || changed().any(|column| l.holds(column))).collect())
    }

    fn entries_where(
        &self,
        row: &[Datum],
        checks: &RowChecks,
        wanted: impl Fn(usize) -> bool,
        primary_value: bool,
        cx: &mut ExecContext<'_>,
    ) -> Result<Vec<Entry>> {
        let mut entries = Vec::with_capacity(self.layouts.len());
        for (at, layout) in self.layouts.iter().enumerate().filter(|(at, _)| wanted(*at)) {
            if let Some((_, predicate)) = checks.predicates.iter().find(|(id, _)| *id == layout.id)
                && !eval_bool(predicate, row, &mut cx.eval())?
            {
                continue;
            }
            let value = if layout.primary && !primary_value { Bytes::new() } else { layout.value(row)? };
            entries.push(Entry { layout: at, key: layout.key(row)?, value, unique: layout.is_arbiter(row) });
        }
        Ok(entries)
    }

    /// Reads, under lock, those of `keys` that `known` does not have yet.
    pub async fn learn(&self, keys: Vec<Bytes>, known: &mut UniqueKeys, cx: &mut ExecContext<'_>) -> Result<()> {
        let lock = Some(Locking { strength: LockStrength::Update, wait: cx.lock_wait(LockWait::Block(None)) });
        let mut wanted: Vec<Bytes> = keys.into_iter().filter(|k| !known.contains_key(k)).collect();
        // In key order, so that two statements that want the same keys do not deadlock.
        wanted.sort_unstable();
        wanted.dedup();
        let gets = wanted.iter().map(|key| Get { key: key.clone(), columns: Columns::All, lock }).collect();
        let got = cx.get(gets).await?;
        for (key, got) in wanted.into_iter().zip(got) {
            known.insert(
                key,
                match got {
                    Got::Value(value) => value,
                    Got::Skipped => None,
                },
            );
        }
        Ok(())
    }

    /// `23505` for an entry that is there already.
    pub fn violation(&self, entry: &Entry, row: &[Datum], cx: &ExecContext<'_>) -> crate::error::SqlError {
        let layout = &self.layouts[entry.layout];
        let values: Vec<Datum> = layout.keys.iter().map(|k| row[k.ordinal].clone()).collect();
        match table_of(&self.relation).and_then(|t| Ok((t, index_of(t, layout.id)?))) {
            Ok((table, index)) => unique_violation(&cx.catalog, &self.relation, index, &key_text(table, index, &values)),
            Err(error) => error,
        }
    }

    /// Writes the entries of a new row whose unique keys are in `known` and must be free there.
    pub async fn insert(&self, row: &[Datum], entries: Vec<Entry>, known: &mut UniqueKeys, cx: &mut ExecContext<'_>) -> Result<()> {
        for entry in entries.iter().filter(|e| e.unique) {
            if matches!(known.get(&entry.key), Some(Some(_))) {
                return Err(self.violation(entry, row, cx));
            }
        }
        for entry in entries {
            if entry.unique {
                known.insert(entry.key.clone(), Some(entry.value.clone()));
            }
            cx.put(entry.key, entry.value, Expect::AsRead).await?;
        }
        Ok(())
    }

    /// The unique keys that changing `old` into `new` moves to.
    pub fn moved_keys(old: &[Entry], new: &[Entry]) -> Vec<Bytes> {
        new.iter().filter(|n| n.unique && !old.iter().any(|o| o.layout == n.layout && o.key == n.key)).map(|n| n.key.clone()).collect()
    }

    /// Writes the difference between two versions of a row. The keys moved to are in `known`.
    pub async fn change(
        &self,
        old: &[Entry],
        row: &[Datum],
        new: Vec<Entry>,
        known: &mut UniqueKeys,
        cx: &mut ExecContext<'_>,
    ) -> Result<()> {
        for entry in new.iter().filter(|e| e.unique) {
            let stays = old.iter().any(|o| o.layout == entry.layout && o.key == entry.key);
            if !stays && matches!(known.get(&entry.key), Some(Some(_))) {
                return Err(self.violation(entry, row, cx));
            }
        }
        for entry in old {
            if !new.iter().any(|n| n.layout == entry.layout && n.key == entry.key) {
                known.insert(entry.key.clone(), None);
                cx.delete(entry.key.clone()).await?;
            }
        }
        for entry in new {
            let same = old.iter().any(|o| o.layout == entry.layout && o.key == entry.key && o.value == entry.value);
            // The primary row is written even if nothing in it changed: an UPDATE writes what it locked.
            if same && entry.layout != 0 {
                continue;
            }
            if entry.unique {
                known.insert(entry.key.clone(), Some(entry.value.clone()));
            }
            cx.put(entry.key, entry.value, Expect::AsRead).await?;
        }
        Ok(())
    }

    /// Removes the entries of a row.
    pub async fn remove(&self, entries: Vec<Entry>, cx: &mut ExecContext<'_>) -> Result<()> {
        for entry in entries {
            cx.delete(entry.key).await?;
        }
        Ok(())
    }

    /// A whole row from its primary entry.
    pub fn decode(&self, key: &[u8], value: &[u8]) -> Result<Vec<Datum>> {
        let mut row = Vec::with_capacity(self.reader.width);
        self.reader.read(key, value, &mut row)?;
        Ok(row)
    }
}
