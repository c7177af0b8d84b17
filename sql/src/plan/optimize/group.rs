//! Grouping: partial aggregation in the scan, streaming over sorted input, min and max from the end of an index.

use super::access::OrderCol;
use super::cost;
use super::lower::{Lowerer, Phys};
use crate::error::Result;
use crate::functions::FunctionBody;
use crate::plan::expr::Expr;
use crate::plan::logical::*;
use crate::plan::node::*;
use crate::types::DataType;

impl Lowerer<'_> {
    pub(super) fn aggregate(&mut self, a: &AggregateRel, need: &ColSet) -> Result<Phys> {
        let mut inner = ColSet::default();
        a.groups.iter().for_each(|g| columns_of(&g.1, &self.subqueries, &mut inner));
        // An aggregate that nobody reads is not computed; groups are always needed.
        let calls: Vec<&(ColId, AggregateCall)> = a.calls.iter().filter(|c| need.contains(&c.0)).collect();
        for (_, call) in &calls {
            call.args.iter().chain(&call.filter).for_each(|e| columns_of(e, &self.subqueries, &mut inner));
            call.order.iter().for_each(|k| columns_of(&k.expr, &self.subqueries, &mut inner));
        }
        let phys = match self.extreme(a, &calls, &inner)? {
            Some(phys) => phys,
            None => self.lower(&a.input, &inner, &[], None)?,
        };
        let layout: Vec<ColId> =
            a.groups.iter().map(|g| g.0).chain(calls.iter().map(|c| c.0)).chain(a.grouping.iter().map(|g| g.0)).collect();
        let groups = a.groups.iter().map(|g| self.expr(&g.1, &phys.layout)).collect::<Result<Vec<_>>>()?;
        let mut lowered = Vec::new();
        for (_, call) in &calls {
            lowered.push(AggregateCall {
                function: call.function,
                args: self.exprs(&call.args, &phys.layout)?,
                distinct: call.distinct,
                order: self.sort_keys(&call.order, &phys.layout)?,
                filter: self.option(call.filter.as_ref(), &phys.layout)?,
                ty: call.ty,
            });
        }
        let input_rows = phys.plan.rows;
        let rows = self.estimates().groups(a.groups.iter().map(|g| &g.1), input_rows) * a.sets.len().max(1) as f64;
        let mut cost = phys.plan.cost + input_rows * cost::ROW * (1 + lowered.len()) as f64;
        let mut input = phys.plan;
        let mut phase = AggregatePhase::Complete;
        let mut final_groups = groups.clone();
        let pushed = a.sets.is_empty() && lowered.iter().all(partial) && groups.iter().all(pushable);
        if pushed
            && let Node::Scan(scan) = &mut input.node
            && scan.limit.is_none()
            && scan.lock.is_none()
            && scan.aggregate.is_none()
        {
            let mut columns: Vec<OutputColumn> = a.groups.iter().map(|g| self.output(g.0)).collect();
            for (id, call) in calls.iter().copied() {
                let FunctionBody::Aggregate { partial, .. } = call.function.0.body else { continue };
                let name = &self.cols[*id].name;
                columns.extend(partial.iter().map(|ty| OutputColumn {
                    name: format!("partial {name}"),
                    ty: *ty,
                    typmod: -1,
                    origin: None,
                }));
            }
            scan.aggregate = Some(PartialAggregate { groups: groups.clone(), calls: lowered.clone() });
            input.columns = columns;
            input.rows = rows;
            input.cost = cost;
            cost += rows * cost::ROW;
            phase = AggregatePhase::Final;
            // Groups come first in what the scan yields now. Arguments stay as they were: the final phase uses only their types.
            final_groups = a.groups.iter().enumerate().map(|(n, g)| Expr::Column { ordinal: n, ty: g.1.ty() }).collect();
        }
        let sorted = phase == AggregatePhase::Complete && a.sets.is_empty() && streams(&a.groups, &phys.order);
        let order = if sorted { renumbered(&a.groups, &phys.order) } else { Vec::new() };
        let node = Node::Aggregate(Box::new(Aggregate {
            input,
            groups: final_groups,
            sets: a.sets.clone(),
            calls: lowered,
            grouping: a.grouping.iter().map(|g| g.1.clone()).collect(),
            sorted,
            phase,
        }));
        Ok(Phys { plan: self.plan(node, &layout, rows, cost), layout, order })
    }

    /// `min(c)` / `max(c)` over a table with an index on c: the first entry in order.
    fn extreme(&mut self, a: &AggregateRel, calls: &[&(ColId, AggregateCall)], need: &ColSet) -> Result<Option<Phys>> {
        let [(_, call)] = calls else { return Ok(None) };
        let descending = match call.function.0.name {
            "min" => false,
            "max" => true,
            _ => return Ok(None),
        };
        let ([Expr::Column { ordinal, ty }], Rel::Table(t)) = (&call.args[..], &a.input) else { return Ok(None) };
        if !a.groups.is_empty() || !a.sets.is_empty() || call.filter.is_some() || call.distinct || *ty == DataType::BPCHAR {
            return Ok(None);
        }
        let not_null = Expr::IsNull { input: Box::new(call.args[0].clone()), negated: true };
        let key = OrderCol { col: *ordinal, descending, nulls_first: descending };
        let extra = if self.cols[*ordinal].not_null { Vec::new() } else { vec![not_null] };
        let mut phys = self.table(t, &extra, need, &[key], Some(1.0))?;
        if phys.order.first() != Some(&key) {
            return Ok(None);
        }
        let one = Expr::Const { value: crate::types::Datum::Int8(1), ty: DataType::INT8 };
        if let Node::Scan(scan) = &mut phys.plan.node {
            scan.limit = Some(one.clone());
        }
        let (cost, layout) = (phys.plan.cost, phys.layout.clone());
        let node = Node::Limit { input: Box::new(phys.plan), limit: Some(one), offset: None, with_ties: None };
        let plan = self.plan(node, &layout, 1.0, cost);
        Ok(Some(Phys { plan, layout, order: Vec::new() }))
    }
}

/// Whether the call has a partial form and may run at the leaseholder.
fn partial(call: &AggregateCall) -> bool {
    let has_partial = matches!(call.function.0.body, FunctionBody::Aggregate { partial, .. } if !partial.is_empty());
    has_partial && !call.distinct && call.order.is_empty() && call.args.iter().chain(&call.filter).all(pushable)
}

fn pushable(e: &Expr) -> bool {
    !any(e, &|x| matches!(x, Expr::Outer { .. } | Expr::Subquery { .. } | Expr::ExecutorCall { .. } | Expr::Row { .. })) && !volatile(e)
}

/// Whether rows that come in this order come group by group: the groups are columns that lead the order, in any sequence.
fn streams(groups: &[(ColId, Expr)], order: &[OrderCol]) -> bool {
    !groups.is_empty()
        && order.len() >= groups.len()
        && order[..groups.len()].iter().all(|o| groups.iter().any(|g| matches!(&g.1, Expr::Column { ordinal, .. } if *ordinal == o.col)))
        && groups.iter().all(|g| matches!(&g.1, Expr::Column { ordinal, .. } if order[..groups.len()].iter().any(|o| o.col == *ordinal)))
}

fn renumbered(groups: &[(ColId, Expr)], order: &[OrderCol]) -> Vec<OrderCol> {
    order
        .iter()
        .map_while(|o| {
            groups.iter().find(|g| matches!(&g.1, Expr::Column { ordinal, .. } if *ordinal == o.col)).map(|g| OrderCol { col: g.0, ..*o })
        })
        .collect()
}
