//! What a new version of a row must pass: generated columns are computed, then NOT NULL and CHECK looked at.

use crate::catalog::descriptor::RelationDescriptor;
use crate::error::{Result, SqlError, SqlState};
use crate::exec::context::{ExecContext, table_of};
use crate::exec::eval::eval;
use crate::exec::value;
use crate::functions::SessionView;
use crate::plan::node::RowChecks;
use crate::types::Datum;

/// Bytes of a value shown in a DETAIL, as PostgreSQL cuts them.
const FIELD_BYTES_MAX: usize = 64;

/// Computes generated columns of `row` and checks NOT NULL and CHECK constraints.
pub fn check_row(relation: &RelationDescriptor, checks: &RowChecks, row: &mut [Datum], cx: &mut ExecContext<'_>) -> Result<()> {
    let table = table_of(relation)?;
    let session = cx.session.clone();
    let catalog = cx.catalog.clone();
    let mut ecx = cx.eval();
    for (ordinal, expr) in &checks.generated {
        let value = eval(expr, row, &mut ecx)?;
        row[*ordinal] = value;
    }
    for (column, datum) in table.columns.iter().zip(row.iter()) {
        if column.not_null && matches!(datum, Datum::Null) {
            return Err(SqlError::new(
                SqlState::NOT_NULL_VIOLATION,
                format!("null value in column \"{}\" of relation \"{}\" violates not-null constraint", column.name, relation.name),
            )
            .detail(failing_row(relation, row, &session))
            .of_relation(&catalog, relation)
            .column(&column.name));
        }
    }
    for (name, expr) in &checks.checks {
        // NULL passes.
        if matches!(eval(expr, row, &mut ecx)?, Datum::Bool(false)) {
            return Err(SqlError::new(
                SqlState::CHECK_VIOLATION,
                format!("new row for relation \"{}\" violates check constraint \"{name}\"", relation.name),
            )
            .detail(failing_row(relation, row, &session))
            .of_relation(&catalog, relation)
            .constraint(name));
        }
    }
    Ok(())
}

/// `Failing row contains (…).`
fn failing_row(relation: &RelationDescriptor, row: &[Datum], session: &SessionView) -> String {
    let columns = relation.table().map_or(&[] as &[_], |t| &t.columns);
    let fields: Vec<String> = columns
        .iter()
        .zip(row)
        .filter(|(c, _)| !c.hidden)
        .map(|(c, d)| {
            let mut text = value::to_text(d, c.ty, session);
            if text.len() > FIELD_BYTES_MAX {
                let cut = (0..=FIELD_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
                text.truncate(cut);
                text.push_str("...");
            }
            text
        })
        .collect();
    format!("Failing row contains ({}).", fields.join(", "))
}
