//! Foreign keys.
//!
//! While a statement runs, its writes only leave notes: child rows whose parent must exist, parent keys that vanished. At the end of the
//! statement the notes are worked off: actions (CASCADE, SET NULL, SET DEFAULT) first, round after round until they leave no more parent keys, then
//! the checks. So rows of one statement may refer to each other in any order, as in PostgreSQL.
//!
//! * A child's check is a batched locking read (`KEY SHARE`) of the parent's unique key: it sees everything written so far and keeps the parent
//!   there until commit.
//! * A parent's check or action reads the children through an index on the foreign key if there is one, else scans.
//! * Deferred checks go to [`DeferredChecks`] and are made by the session before it commits, or on SET CONSTRAINTS … IMMEDIATE.

mod actions;
mod children;

use std::sync::Arc;

use meridian_txn::api::{Columns, Get, Got, LockStrength, LockWait, Locking};
use rustc_hash::{FxHashMap, FxHashSet};

use super::context::{ExecContext, table_of};
use super::dml::describe::columns_text;
use super::scan::layout::IndexLayout;
use super::value;
use crate::catalog::descriptor::{ForeignKeyDescriptor, Oid, ReferentialAction, RelationDescriptor, TableDescriptor};
use crate::error::{Result, SqlError, SqlState};
use crate::types::Datum;

/// Rounds of actions in one statement: a cycle of cascades ends here.
const ROUNDS_MAX: usize = 1000;
/// Keys checked in one batch.
const BATCH_KEYS: usize = 1024;

/// A foreign key together with the table that has it.
#[derive(Clone, Debug)]
pub struct ForeignKey {
    /// The child.
    pub child: Arc<RelationDescriptor>,
    /// Place in the child's list.
    pub index: usize,
}

impl ForeignKey {
    /// The descriptor.
    pub fn descriptor(&self) -> Result<&ForeignKeyDescriptor> {
        table_of(&self.child)?.foreign_keys.get(self.index).ok_or_else(|| SqlError::internal("a foreign key is gone"))
    }
}

/// A check still to be made.
#[derive(Clone, Debug)]
pub enum Check {
    /// The parent of a child row with these foreign key values must exist.
    ParentExists { key: ForeignKey, values: Vec<Datum> },
    /// No child may refer to these parent key values, unless a parent has them (again).
    NoChildren { key: ForeignKey, values: Vec<Datum> },
}

/// A parent row that was deleted or got another key.
#[derive(Clone, Debug)]
struct ParentChange {
    parent: Arc<RelationDescriptor>,
    old: Vec<Datum>,
    new: Option<Vec<Datum>>,
}

/// Notes of the statement that is running.
#[derive(Debug, Default)]
pub struct StatementChecks {
    checks: Vec<Check>,
    seen: FxHashSet<(Oid, Vec<Datum>)>,
    changes: Vec<ParentChange>,
}

/// Checks put off to the end of the transaction, and what SET CONSTRAINTS said.
#[derive(Debug, Default)]
pub struct DeferredChecks {
    checks: Vec<Check>,
    /// SET CONSTRAINTS ALL.
    all: Option<bool>,
    /// SET CONSTRAINTS name, by constraint OID.
    named: FxHashMap<Oid, bool>,
}

impl DeferredChecks {
    /// SET CONSTRAINTS ALL DEFERRED (`true`) or IMMEDIATE. The caller runs the checks after IMMEDIATE.
    pub fn set_all(&mut self, deferred: bool) {
        self.all = Some(deferred);
        self.named.clear();
    }
    /// SET CONSTRAINTS … for one constraint.
    pub fn set(&mut self, constraint: Oid, deferred: bool) {
        self.named.insert(constraint, deferred);
    }
    fn is_deferred(&self, key: &ForeignKeyDescriptor) -> bool {
        key.deferrable && self.named.get(&key.oid).copied().or(self.all).unwrap_or(key.initially_deferred)
    }
    /// Whether anything is put off.
    pub fn is_empty(&self) -> bool {
        self.checks.is_empty()
    }
    /// A mark for a savepoint.
    pub fn mark(&self) -> usize {
        self.checks.len()
    }
    /// Forgets what was put off since the mark.
    pub fn rollback_to(&mut self, mark: usize) {
        self.checks.truncate(mark);
    }
    /// Forgets everything: the transaction is over.
    pub fn clear(&mut self) {
        *self = DeferredChecks::default();
    }
}

/// Makes all deferred checks (`only_immediate`: those of constraints that are no longer deferred). Called before commit and by SET CONSTRAINTS … IMMEDIATE.
pub async fn run_deferred(only_immediate: bool, cx: &mut ExecContext<'_>) -> Result<()> {
    if cx.deferred.is_empty() {
        return Ok(());
    }
    let checks = std::mem::take(&mut cx.deferred.checks);
    let (now, later): (Vec<Check>, Vec<Check>) = checks.into_iter().partition(|check| {
        let key = match check {
            Check::ParentExists { key, .. } | Check::NoChildren { key, .. } => key,
        };
        !only_immediate || key.descriptor().map_or(true, |d| !cx.deferred.is_deferred(d))
    });
    cx.deferred.checks = later;
    cx.txn.begin_statement();
    // A child that vanished in the meantime needs no parent: what is checked is the state now.
    make_checks(now, true, cx).await
}

/// Notes a new row.
pub fn note_insert(relation: &Arc<RelationDescriptor>, row: &[Datum], cx: &mut ExecContext<'_>) -> Result<()> {
    let table = table_of(relation)?;
    for index in 0..table.foreign_keys.len() {
        note_child(relation, table, index, row, cx)?;
    }
    Ok(())
}

fn note_child(
    relation: &Arc<RelationDescriptor>,
    table: &TableDescriptor,
    index: usize,
    row: &[Datum],
    cx: &mut ExecContext<'_>,
) -> Result<()> {
    let key = &table.foreign_keys[index];
    let values = values_of(table, &key.columns, row);
    let nulls = values.iter().filter(|v| matches!(v, Datum::Null)).count();
    if nulls > 0 {
        if key.match_full && nulls < values.len() {
            return Err(violates(relation, key)
                .detail("MATCH FULL does not allow mixing of null and nonnull key values.")
                .of_relation(&cx.catalog, relation));
        }
        return Ok(());
    }
    let mut note = vec![Datum::Oid(index as u32)];
    note.extend_from_slice(&values);
    if cx.state.checks.seen.insert((key.oid, note)) {
        cx.state.checks.checks.push(Check::ParentExists { key: ForeignKey { child: relation.clone(), index }, values });
    }
    Ok(())
}

/// Notes a changed row.
pub fn note_update(relation: &Arc<RelationDescriptor>, old: &[Datum], new: &[Datum], cx: &mut ExecContext<'_>) -> Result<()> {
    let table = table_of(relation)?;
    for (index, key) in table.foreign_keys.iter().enumerate() {
        if !value::equal_rows(&values_of(table, &key.columns, old), &values_of(table, &key.columns, new)) {
            note_child(relation, table, index, new, cx)?;
        }
    }
    if !table.referenced_by.is_empty() {
        let moved = referencing(relation, cx)?.iter().any(|key| {
            key.descriptor().is_ok_and(|d| {
                !value::equal_rows(&values_of(table, &d.referenced_columns, old), &values_of(table, &d.referenced_columns, new))
            })
        });
        if moved {
            let change = ParentChange { parent: relation.clone(), old: old.to_vec(), new: Some(new.to_vec()) };
            cx.state.checks.changes.push(change);
        }
    }
    Ok(())
}

/// Notes a deleted row.
pub fn note_delete(relation: &Arc<RelationDescriptor>, old: &[Datum], cx: &mut ExecContext<'_>) -> Result<()> {
    if !table_of(relation)?.referenced_by.is_empty() {
        cx.state.checks.changes.push(ParentChange { parent: relation.clone(), old: old.to_vec(), new: None });
    }
    Ok(())
}

/// The foreign keys that refer to a table.
pub fn referencing(parent: &RelationDescriptor, cx: &ExecContext<'_>) -> Result<Vec<ForeignKey>> {
    let mut keys = Vec::new();
    let mut children: Vec<Oid> = table_of(parent)?.referenced_by.clone();
    children.sort_unstable();
    children.dedup();
    for oid in children {
        let Some(child) = cx.catalog.relations.get(&oid) else { continue };
        for (index, key) in table_of(child)?.foreign_keys.iter().enumerate() {
            if key.referenced_table == parent.id {
                keys.push(ForeignKey { child: child.clone(), index });
            }
        }
    }
    Ok(keys)
}

/// The columns of a row, by id.
pub fn values_of(table: &TableDescriptor, columns: &[u32], row: &[Datum]) -> Vec<Datum> {
    columns
        .iter()
        .map(|id| table.columns.iter().position(|c| c.id == *id).and_then(|at| row.get(at)).cloned().unwrap_or(Datum::Null))
        .collect()
}

/// Works off the notes of a statement.
pub async fn finish_statement(cx: &mut ExecContext<'_>) -> Result<()> {
    for _ in 0..ROUNDS_MAX {
        let changes = std::mem::take(&mut cx.state.checks.changes);
        if changes.is_empty() {
            break;
        }
        // The children are read by plain reads, which must see what the statement wrote.
        cx.txn.begin_statement();
        let affected = cx.state.affected;
        actions::run(changes, cx).await?;
        cx.state.affected = affected;
    }
    if !cx.state.checks.changes.is_empty() {
        return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, format!("foreign key actions did not end within {ROUNDS_MAX} rounds")));
    }
    let checks = std::mem::take(&mut cx.state.checks).checks;
    if checks.is_empty() {
        return Ok(());
    }
    let (deferred, now): (Vec<Check>, Vec<Check>) = checks.into_iter().partition(|check| {
        let key = match check {
            Check::ParentExists { key, .. } | Check::NoChildren { key, .. } => key,
        };
        key.descriptor().is_ok_and(|d| cx.deferred.is_deferred(d))
    });
    cx.deferred.checks.extend(deferred);
    if now.iter().any(|c| matches!(c, Check::NoChildren { .. })) {
        cx.txn.begin_statement();
    }
    make_checks(now, false, cx).await
}

/// Makes checks. `deferred`: child rows may have gone since the check was noted, so a missing parent is an error only if a child still refers to it.
async fn make_checks(checks: Vec<Check>, deferred: bool, cx: &mut ExecContext<'_>) -> Result<()> {
    let mut parents: Vec<(ForeignKey, Vec<Vec<Datum>>)> = Vec::new();
    let mut orphans: Vec<(ForeignKey, Vec<Vec<Datum>>)> = Vec::new();
    for check in checks {
        let (list, key, values) = match check {
            Check::ParentExists { key, values } => (&mut parents, key, values),
            Check::NoChildren { key, values } => (&mut orphans, key, values),
        };
        match list.iter_mut().find(|(k, _)| k.child.id == key.child.id && k.index == key.index) {
            Some((_, all)) => all.push(values),
            None => list.push((key, vec![values])),
        }
    }
    for (key, values) in parents {
        for values in values.chunks(BATCH_KEYS) {
            let missing = missing_parents(&key, values, cx).await?;
            for at in missing {
                if deferred && children::rows(&key, &values[at..=at], None, cx).await?.is_empty() {
                    continue;
                }
                return Err(not_present(&key, &values[at], cx)?);
            }
        }
    }
    for (key, values) in orphans {
        for values in values.chunks(BATCH_KEYS) {
            // The key may be there again, from another row.
            let child_values = actions::to_child_types(&key, values, cx)?;
            let missing = missing_parents(&key, &child_values, cx).await?;
            let gone: Vec<Vec<Datum>> = missing.iter().map(|at| child_values[*at].clone()).collect();
            if let Some(row) = children::rows(&key, &gone, None, cx).await?.into_iter().next() {
                return Err(still_referenced(&key, &values_of(table_of(&key.child)?, &key.descriptor()?.columns, &row), cx)?);
            }
        }
    }
    Ok(())
}

/// Positions of those of `values` (in child columns' order and types) without a parent. The parents found stay locked.
pub async fn missing_parents(key: &ForeignKey, values: &[Vec<Datum>], cx: &mut ExecContext<'_>) -> Result<Vec<usize>> {
    let descriptor = key.descriptor()?;
    let parent = cx.relation(descriptor.referenced_table)?;
    let parent_table = table_of(&parent)?;
    let index = parent_table
        .all_indexes()
        .filter(|i| i.id == parent_table.primary.id || (i.unique && i.predicate.is_none()))
        .find(|i| {
            i.keys.len() == descriptor.referenced_columns.len() && i.keys.iter().all(|k| descriptor.referenced_columns.contains(&k.column))
        })
        .ok_or_else(|| {
            SqlError::new(
                SqlState::INVALID_FOREIGN_KEY,
                format!("there is no unique constraint matching foreign key \"{}\"", descriptor.name),
            )
        })?;
    let layout = IndexLayout::new(parent_table, index)?;
    let child_table = table_of(&key.child)?;
    let lock = Some(Locking { strength: LockStrength::KeyShare, wait: cx.lock_wait(LockWait::Block(None)) });
    let mut gets = Vec::with_capacity(values.len());
    for values in values {
        let mut parts = Vec::with_capacity(layout.keys.len());
        for part in &layout.keys {
            let at = descriptor.referenced_columns.iter().position(|c| *c == part.column).unwrap_or(0);
            let from = child_table.column(descriptor.columns[at]).map_or(part.ty, |c| c.ty);
            parts.push(value::cast(values[at].clone(), from, part.ty, -1, false, &mut cx.eval().functions)?);
        }
        gets.push(Get { key: layout.key_of_values(&parts)?, columns: Columns::Existence, lock });
    }
    let got = cx.get(gets).await?;
    Ok(got.iter().enumerate().filter(|(_, g)| !matches!(g, Got::Value(Some(_)))).map(|(at, _)| at).collect())
}

fn violates(child: &RelationDescriptor, key: &ForeignKeyDescriptor) -> SqlError {
    SqlError::new(
        SqlState::FOREIGN_KEY_VIOLATION,
        format!("insert or update on table \"{}\" violates foreign key constraint \"{}\"", child.name, key.name),
    )
    .constraint(&key.name)
}

/// `23503` of the child's side.
pub fn not_present(key: &ForeignKey, values: &[Datum], cx: &ExecContext<'_>) -> Result<SqlError> {
    let descriptor = key.descriptor()?;
    let parent = cx.relation(descriptor.referenced_table)?;
    let text = columns_text(table_of(&key.child)?, &descriptor.columns, values);
    let detail = format!("Key {text} is not present in table \"{}\".", parent.name);
    Ok(violates(&key.child, descriptor).detail(detail).of_relation(&cx.catalog, &key.child))
}

/// `23503` of the parent's side.
pub fn still_referenced(key: &ForeignKey, values: &[Datum], cx: &ExecContext<'_>) -> Result<SqlError> {
    let descriptor = key.descriptor()?;
    let parent = cx.relation(descriptor.referenced_table)?;
    let text = columns_text(table_of(&parent)?, &descriptor.referenced_columns, values);
    Ok(SqlError::new(
        SqlState::FOREIGN_KEY_VIOLATION,
        format!(
            "update or delete on table \"{}\" violates foreign key constraint \"{}\" on table \"{}\"",
            parent.name, descriptor.name, key.child.name
        ),
    )
    .detail(format!("Key {text} is still referenced from table \"{}\".", key.child.name))
    .of_relation(&cx.catalog, &key.child)
    .constraint(&descriptor.name))
}

/// Whether an action needs no rows to be changed.
pub(super) fn is_check(action: ReferentialAction) -> bool {
    matches!(action, ReferentialAction::NoAction | ReferentialAction::Restrict)
}
