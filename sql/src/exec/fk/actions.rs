//! ON DELETE and ON UPDATE: what happens to the children of parents that are gone or have another key.

use std::sync::Arc;

use meridian_txn::api::LockStrength;

use super::{
    BATCH_KEYS, Check, ForeignKey, ParentChange, children, is_check, note_delete, note_update, referencing, still_referenced, values_of,
};
use crate::catalog::descriptor::{ReferentialAction, RelationDescriptor};
use crate::error::Result;
use crate::exec::context::{ExecContext, table_of};
use crate::exec::dml::checks::check_row;
use crate::exec::dml::writer::{TableWriter, UniqueKeys};
use crate::exec::{subquery, value};
use crate::types::Datum;

/// Runs the actions that these changes call for; checks that they call for are noted.
pub async fn run(changes: Vec<ParentChange>, cx: &mut ExecContext<'_>) -> Result<()> {
    let mut parents: Vec<Arc<RelationDescriptor>> = Vec::new();
    for change in &changes {
        if !parents.iter().any(|p| p.id == change.parent.id) {
            parents.push(change.parent.clone());
        }
    }
    for parent in parents {
        let of_parent: Vec<&ParentChange> = changes.iter().filter(|c| c.parent.id == parent.id).collect();
        for key in referencing(&parent, cx)? {
            for chunk in of_parent.chunks(BATCH_KEYS) {
                run_key(&parent, &key, chunk, cx).await?;
            }
        }
    }
    Ok(())
}

/// Parent key values in the child columns' types.
pub fn to_child_types(key: &ForeignKey, values: &[Vec<Datum>], cx: &mut ExecContext<'_>) -> Result<Vec<Vec<Datum>>> {
    let descriptor = key.descriptor()?;
    let child = table_of(&key.child)?;
    let parent = cx.relation(descriptor.referenced_table)?;
    let parent = table_of(&parent)?;
    let mut out = Vec::with_capacity(values.len());
    for values in values {
        let mut row = Vec::with_capacity(values.len());
        for (at, datum) in values.iter().enumerate() {
            let from = parent.column(descriptor.referenced_columns[at]).map(|c| c.ty);
            let to = child.column(descriptor.columns[at]).map(|c| c.ty);
            row.push(match (from, to) {
                (Some(from), Some(to)) if from != to => value::cast(datum.clone(), from, to, -1, false, &mut cx.eval().functions)?,
                _ => datum.clone(),
            });
        }
        out.push(row);
    }
    Ok(out)
}

async fn run_key(parent: &RelationDescriptor, key: &ForeignKey, changes: &[&ParentChange], cx: &mut ExecContext<'_>) -> Result<()> {
    let descriptor = key.descriptor()?;
    let table = table_of(parent)?;
    let mut deleted: Vec<Vec<Datum>> = Vec::new();
    let mut updated: Vec<(Vec<Datum>, Vec<Datum>)> = Vec::new();
    for change in changes {
        let old = values_of(table, &descriptor.referenced_columns, &change.old);
        if old.iter().any(|v| matches!(v, Datum::Null)) {
            continue;
        }
        match &change.new {
            None => deleted.push(old),
            Some(new) => {
                let new = values_of(table, &descriptor.referenced_columns, new);
                if !value::equal_rows(&old, &new) {
                    updated.push((old, new));
                }
            }
        }
    }
    if !deleted.is_empty() {
        apply(key, descriptor.on_delete, deleted, None, cx).await?;
    }
    if !updated.is_empty() {
        let (old, new): (Vec<_>, Vec<_>) = updated.into_iter().unzip();
        apply(key, descriptor.on_update, old, Some(new), cx).await?;
    }
    Ok(())
}

async fn apply(
    key: &ForeignKey,
    action: ReferentialAction,
    old: Vec<Vec<Datum>>,
    new: Option<Vec<Vec<Datum>>>,
    cx: &mut ExecContext<'_>,
) -> Result<()> {
    if action == ReferentialAction::NoAction {
        cx.state.checks.checks.extend(old.into_iter().map(|values| Check::NoChildren { key: key.clone(), values }));
        return Ok(());
    }
    let child_keys = to_child_types(key, &old, cx)?;
    if is_check(action) {
        let rows = children::rows(key, &child_keys, None, cx).await?;
        return match rows.first() {
            None => Ok(()),
            Some(row) => Err(still_referenced(key, &values_of(table_of(&key.child)?, &key.descriptor()?.columns, row), cx)?),
        };
    }
    let rows = children::rows(key, &child_keys, Some(LockStrength::Update), cx).await?;
    if rows.is_empty() {
        return Ok(());
    }
    if action == ReferentialAction::SetDefault {
        // The default may be the very key that goes: then the row still refers to it (PostgreSQL checks this in the same way).
        cx.state.checks.checks.extend(old.iter().map(|values| Check::NoChildren { key: key.clone(), values: values.clone() }));
    }
    let writer = TableWriter::new(&key.child)?;
    let checks = cx.expressions.row_checks(&key.child)?;
    if action == ReferentialAction::Cascade && new.is_none() {
        for row in rows {
            let entries = writer.entries(&row, &checks, cx)?;
            writer.remove(entries, cx).await?;
            note_delete(&key.child, &row, cx)?;
        }
        return Ok(());
    }
    let replacement = match &new {
        Some(new) if action == ReferentialAction::Cascade => to_child_types(key, new, cx)?,
        _ => Vec::new(),
    };
    for row in rows {
        let changed = changed_child(key, action, &row, &child_keys, &replacement, cx).await?;
        let mut changed = changed;
        check_row(&key.child, &checks, &mut changed, cx)?;
        let before = writer.entries(&row, &checks, cx)?;
        let after = writer.entries(&changed, &checks, cx)?;
        let mut known = UniqueKeys::default();
        writer.learn(TableWriter::moved_keys(&before, &after), &mut known, cx).await?;
        writer.change(&before, &changed, after, &mut known, cx).await?;
        note_update(&key.child, &row, &changed, cx)?;
    }
    Ok(())
}

/// The child row with its foreign key columns set as the action says.
async fn changed_child(
    key: &ForeignKey,
    action: ReferentialAction,
    row: &[Datum],
    old_keys: &[Vec<Datum>],
    new_keys: &[Vec<Datum>],
    cx: &mut ExecContext<'_>,
) -> Result<Vec<Datum>> {
    let descriptor = key.descriptor()?;
    let table = table_of(&key.child)?;
    let mut changed = row.to_vec();
    let present = values_of(table, &descriptor.columns, row);
    for (at, column) in descriptor.columns.iter().enumerate() {
        let Some(ordinal) = table.columns.iter().position(|c| c.id == *column) else { continue };
        changed[ordinal] = match action {
            ReferentialAction::SetNull => Datum::Null,
            ReferentialAction::SetDefault => {
                let default = cx.expressions.column_default(&key.child, *column)?;
                subquery::eval_suspending(&default, &[], cx).await?
            }
            _ => match old_keys.iter().position(|old| value::equal_rows(old, &present)).and_then(|n| new_keys.get(n)) {
                Some(new) => new[at].clone(),
                None => continue,
            },
        };
    }
    Ok(changed)
}
