//! The child rows that refer to given parent keys.

use meridian_txn::api::{LockStrength, LockWait};
use rustc_hash::FxHashSet;

use super::{ForeignKey, values_of};
use crate::catalog::descriptor::{IndexDescriptor, IndexState, TableDescriptor};
use crate::error::Result;
use crate::exec::context::{ExecContext, table_of};
use crate::exec::scan::ScanOperator;
use crate::exec::{Operator, value};
use crate::plan::expr::Expr;
use crate::plan::node::{Derived, IndexRange, Node, OutputColumn, Plan, RowLock, Scan};
use crate::types::Datum;

/// Whole rows of the child whose foreign key is one of `keys` (in child types), locked if asked.
pub async fn rows(key: &ForeignKey, keys: &[Vec<Datum>], lock: Option<LockStrength>, cx: &mut ExecContext<'_>) -> Result<Vec<Vec<Datum>>> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let table = table_of(&key.child)?;
    let descriptor = key.descriptor()?;
    let plan = scan_plan(key, table, &descriptor.columns, keys, lock);
    let Node::Scan(scan) = &plan.node else { return Ok(Vec::new()) };
    let wanted: FxHashSet<&[Datum]> = keys.iter().map(Vec::as_slice).collect();
    let mut operator = ScanOperator::new(scan);
    let mut found = Vec::new();
    let mut memory = cx.memory.reservation();
    while let Some(batch) = operator.next(&plan, cx).await? {
        for row in batch.rows() {
            if wanted.contains(values_of(table, &descriptor.columns, row).as_slice()) {
                memory.require(value::row_size(row), "A foreign key action")?;
                found.push(row.to_vec());
            }
        }
    }
    Ok(found)
}

/// The index with the most leading columns among `columns`.
fn best_index<'t>(table: &'t TableDescriptor, columns: &[u32]) -> Option<(&'t IndexDescriptor, usize)> {
    table
        .all_indexes()
        .filter(|i| i.state == IndexState::Public && i.predicate.is_none())
        .map(|i| (i, i.keys.iter().take_while(|k| columns.contains(&k.column)).count()))
        .filter(|(_, leading)| *leading > 0)
        .max_by_key(|(_, leading)| *leading)
}

fn scan_plan(key: &ForeignKey, table: &TableDescriptor, columns: &[u32], keys: &[Vec<Datum>], lock: Option<LockStrength>) -> Plan {
    let all: Vec<u32> = table.columns.iter().map(|c| c.id).collect();
    let constant = |column: u32, values: &[Datum]| {
        let at = columns.iter().position(|c| *c == column).unwrap_or(0);
        let ty = table.column(column).map_or(crate::types::DataType::UNKNOWN, |c| c.ty);
        Expr::Const { value: values[at].clone(), ty }
    };
    let (index, ranges) = match best_index(table, columns) {
        Some((index, leading)) => {
            let ranges = keys
                .iter()
                .map(|values| IndexRange {
                    equal: index.keys[..leading].iter().map(|k| constant(k.column, values)).collect(),
                    ..IndexRange::default()
                })
                .collect();
            (index.id, ranges)
        }
        None => (table.primary.id, Vec::new()),
    };
    // One key: the leaseholder can do the comparing. More: here, against a set.
    let filter = (keys.len() == 1).then(|| {
        Expr::And(
            columns
                .iter()
                .filter_map(|id| Some((table.columns.iter().position(|c| c.id == *id)?, *id)))
                .map(|(ordinal, id)| Expr::IsDistinct {
                    left: Box::new(Expr::Column { ordinal, ty: table.columns[ordinal].ty }),
                    right: Box::new(constant(id, &keys[0])),
                    negated: true,
                })
                .collect(),
        )
    });
    let output = table.columns.iter().map(|c| OutputColumn { name: c.name.clone(), ty: c.ty, typmod: c.typmod, origin: None }).collect();
    Plan {
        node: Node::Scan(Box::new(Scan {
            table: key.child.clone(),
            index,
            ranges,
            reverse: false,
            columns: all,
            fetch_primary: index != table.primary.id,
            filter,
            limit: None,
            aggregate: None,
            lock: lock.map(|strength| RowLock { strength, wait: LockWait::Block(None) }),
            derived: Derived::default(),
        })),
        columns: output,
        rows: 0.0,
        cost: 0.0,
    }
}
