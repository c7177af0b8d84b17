//! Groups and their running aggregates: shared by hash and sorted aggregation here and by partial aggregation at the leaseholder.
//!
//! Rows come *projected*: `group values ++ (arguments ++ order keys ++ filter) of each call`; in the final phase `group values ++ partial states`.

use std::ops::Range;

use rustc_hash::FxHashSet;

use super::sort::{Order, compare_orders};
use crate::error::{Result, SqlError};
use crate::exec::value;
use crate::functions::{Accumulator, FunctionBody};
use crate::plan::expr::Expr;
use crate::plan::node::{AggregateCall, AggregatePhase};
use crate::types::{DataType, Datum};

/// One call, resolved against the projected row.
pub struct CallSpec {
    new: fn(&[DataType]) -> Box<dyn Accumulator>,
    types: Vec<DataType>,
    args: Range<usize>,
    order: Range<usize>,
    orders: Vec<Order>,
    filter: Option<usize>,
    distinct: bool,
    /// Keeps its input (`array_agg`, `string_agg`): counts against memory.
    collects: bool,
    merges: bool,
    /// Columns of its partial state.
    pub partial: usize,
}

/// The calls of an aggregation, and the expressions that make the projected row.
pub struct GroupSpec<'p> {
    /// Number of group columns.
    pub groups: usize,
    /// The calls.
    pub calls: Vec<CallSpec>,
    /// What to project; empty in the final phase, whose rows come projected.
    pub exprs: Vec<&'p Expr>,
}

impl<'p> GroupSpec<'p> {
    /// Resolves calls over groups.
    pub fn new(groups: &'p [Expr], calls: &'p [AggregateCall], phase: AggregatePhase) -> Result<Self> {
        let mut spec = GroupSpec { groups: groups.len(), calls: Vec::with_capacity(calls.len()), exprs: Vec::new() };
        let merges = phase == AggregatePhase::Final;
        if !merges {
            spec.exprs.extend(groups);
        }
        let mut at = groups.len();
        for call in calls {
            let FunctionBody::Aggregate { new, partial } = call.function.0.body else {
                return Err(SqlError::internal(format!("{}() is not an aggregate", call.function.0.name)));
            };
            let mut take = |count: usize| {
                at += count;
                at - count..at
            };
            let (args, order, filter) = if merges {
                (take(partial.len()), 0..0, None)
            } else {
                spec.exprs.extend(call.args.iter().chain(call.order.iter().map(|k| &k.expr)).chain(&call.filter));
                (take(call.args.len()), take(call.order.len()), call.filter.as_ref().map(|_| take(1).start))
            };
            spec.calls.push(CallSpec {
                new,
                types: call.args.iter().map(Expr::ty).collect(),
                args,
                order,
                orders: call.order.iter().map(Order::of).collect(),
                filter,
                distinct: call.distinct && !merges,
                collects: partial.is_empty(),
                merges,
                partial: partial.len(),
            });
        }
        Ok(spec)
    }
}

/// One call's state in one group.
pub struct CallState {
    accumulator: Box<dyn Accumulator>,
    /// Rows held back for DISTINCT or ORDER BY: `order keys ++ arguments`.
    held: Option<Vec<Vec<Datum>>>,
    seen: FxHashSet<Vec<Datum>>,
}

impl CallSpec {
    /// A fresh state.
    pub fn start(&self) -> CallState {
        let held = (self.distinct || !self.order.is_empty()).then(Vec::new);
        CallState { accumulator: (self.new)(&self.types), held, seen: FxHashSet::default() }
    }

    /// Feeds a projected row. Answers bytes newly held.
    #[inline]
    pub fn feed(&self, state: &mut CallState, row: &[Datum]) -> Result<usize> {
        if self.merges {
            state.accumulator.merge(&row[self.args.clone()])?;
            return Ok(0);
        }
        if let Some(filter) = self.filter
            && !matches!(row[filter], Datum::Bool(true))
        {
            return Ok(0);
        }
        let args = &row[self.args.clone()];
        let Some(held) = &mut state.held else {
            state.accumulator.update(args)?;
            return Ok(if self.collects { value::row_size(args) } else { 0 });
        };
        if self.distinct && !state.seen.insert(args.to_vec()) {
            return Ok(0);
        }
        let mut kept = row[self.order.clone()].to_vec();
        kept.extend_from_slice(args);
        let bytes = value::row_size(&kept) * 2;
        held.push(kept);
        Ok(bytes)
    }

    fn settle(&self, state: &mut CallState) -> Result<()> {
        let Some(mut held) = state.held.take() else { return Ok(()) };
        let ascending = Order { descending: false, nulls_first: false, blank_padded: false };
        let orders: Vec<Order> = match self.orders.is_empty() {
            // PostgreSQL sorts to find duplicates, and the order shows in array_agg(DISTINCT …).
            true => vec![ascending; self.args.len()],
            false => self.orders.clone(),
        };
        held.sort_by(|a, b| compare_orders(&orders, a, b));
        for row in &held {
            state.accumulator.update(&row[self.order.len()..])?;
        }
        Ok(())
    }

    /// The result.
    pub fn finish(&self, mut state: CallState) -> Result<Datum> {
        self.settle(&mut state)?;
        state.accumulator.finish()
    }

    /// The partial state.
    pub fn finish_partial(&self, mut state: CallState) -> Result<Vec<Datum>> {
        self.settle(&mut state)?;
        state.accumulator.partial()
    }
}

/// Groups by key, with the states of all calls.
pub struct Groups {
    keys: value::KeyMap,
    states: Vec<CallState>,
}

impl Groups {
    /// Keys of `width` datums.
    pub fn new(width: usize) -> Self {
        Groups { keys: value::KeyMap::new(width), states: Vec::new() }
    }
    /// How many groups.
    pub fn len(&self) -> usize {
        self.keys.len()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
    /// A group by key.
    pub fn find(&self, hash: u64, key: &[Datum]) -> Option<usize> {
        self.keys.find(hash, key)
    }
    /// Adds a group. Answers its number and bytes.
    pub fn add(&mut self, hash: u64, key: &[Datum], calls: &[CallSpec]) -> (usize, usize) {
        let mut bytes = 48 + value::row_size(key);
        for call in calls {
            let state = call.start();
            bytes += 64 + state.accumulator.size();
            self.states.push(state);
        }
        (self.keys.add(hash, key), bytes)
    }
    /// Feeds a projected row to a group. Answers bytes newly held.
    #[inline]
    pub fn feed(&mut self, group: usize, row: &[Datum], calls: &[CallSpec]) -> Result<usize> {
        let mut bytes = 0;
        let base = group * calls.len();
        for (call, state) in calls.iter().zip(&mut self.states[base..base + calls.len()]) {
            bytes += call.feed(state, row)?;
        }
        Ok(bytes)
    }
    /// All groups with their states, in order of arrival.
    pub fn drain(self, calls: usize) -> impl Iterator<Item = (Vec<Datum>, Vec<CallState>)> {
        let mut states = self.states.into_iter();
        let keys = self.keys;
        (0..keys.len()).map(move |group| (keys.key(group).to_vec(), states.by_ref().take(calls).collect()))
    }
}
