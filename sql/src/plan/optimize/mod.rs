//! Logical tree → physical plan.
//!
//! ```text
//!   fold        constants
//!   inline      CTEs put where they are read
//!   pushdown    semi joins from subqueries, conditions moved down
//!   access      which index of a table, and which stretch of it
//!   join        join order and method
//!   lower       nodes one by one: columns pruned, numbers turned into ordinals, sorts left out where an index gives the order
//!   modify      INSERT, UPDATE, DELETE, row locks
//!   estimate    rows
//!   cost        figures
//! ```

mod access;
mod cost;
mod estimate;
pub mod fold;
mod group;
mod inline;
mod join;
mod lower;
mod modify;
mod pushdown;

use super::bind::{Bound, Finished};
use super::logical::*;
use super::node::{OutputColumn, Plan};
use super::{PlanContext, expr::Expr};
use crate::error::Result;

/// Makes a bound statement a plan whose columns are its output.
pub fn optimize(bound: Bound, finished: Finished, cx: &PlanContext<'_>) -> Result<Plan> {
    let Finished { mut cols, mut subqueries, .. } = finished;
    let rel = pushdown::Rewriter { cx, cols: &mut cols, subqueries: &mut subqueries }.rewrite(bound.rel);
    let ids: Vec<ColId> = bound.output.iter().map(|o| o.0).collect();
    let mut lowerer = lower::Lowerer::new(cx, cols, subqueries);
    let need: ColSet = ids.iter().copied().collect();
    let phys = lowerer.lower(&rel, &need, &[], None)?;
    let mut plan = if bound.returns_rows { lowerer.exactly(phys, &ids) } else { phys.plan };
    if bound.returns_rows {
        plan.columns = bound
            .output
            .iter()
            .map(|(id, name)| {
                let info = &lowerer.cols[*id];
                OutputColumn { name: name.clone(), ty: info.ty, typmod: info.typmod, origin: info.origin }
            })
            .collect();
    }
    Ok(plan)
}

/// Whether a plan is nothing but a column picked from its input.
pub(super) fn is_identity(exprs: &[Expr]) -> bool {
    exprs.iter().enumerate().all(|(n, e)| matches!(e, Expr::Column { ordinal, .. } if *ordinal == n))
}
