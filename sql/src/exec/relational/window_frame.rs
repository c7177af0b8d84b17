//! Window frames: for each row of a partition, the stretch of rows that its call sees.

use super::sort::{Order, compare_orders};
use crate::error::{Result, SqlError, SqlState};
use crate::exec::batch::RowBatch;
use crate::exec::context::ExecContext;
use crate::exec::eval::invoke;
use crate::exec::subquery;
use crate::functions::resolve_operator;
use crate::plan::node::{Frame, FrameBound, FrameUnit, SortKey};
use crate::types::{DataType, Datum};

/// Groups of rows with equal order keys.
pub struct Peers {
    /// First row of each group, and the number of rows at the end.
    starts: Vec<usize>,
    /// Group of each row.
    groups: Vec<usize>,
}

impl Peers {
    /// Of a partition; without order keys all rows are peers.
    pub fn of(computed: &RowBatch, partition: usize, order: &[SortKey]) -> Self {
        let orders: Vec<Order> = order.iter().map(Order::of).collect();
        let mut peers = Peers { starts: Vec::new(), groups: Vec::with_capacity(computed.len) };
        for row in 0..computed.len {
            let keys = |row: usize| &computed.row(row)[partition..partition + orders.len()];
            if row == 0 || compare_orders(&orders, keys(row - 1), keys(row)).is_ne() {
                peers.starts.push(row);
            }
            peers.groups.push(peers.starts.len() - 1);
        }
        peers.starts.push(computed.len);
        peers
    }
    /// The group of a row.
    pub fn group(&self, row: usize) -> usize {
        self.groups[row]
    }
    /// First row of the group of a row, and first row past it.
    pub fn range(&self, row: usize) -> (usize, usize) {
        let group = self.groups[row];
        (self.starts[group], self.starts[group + 1])
    }
    fn count(&self) -> usize {
        self.starts.len() - 1
    }
}

/// The frame of each row: first row, and first row past it.
#[derive(Default)]
pub struct Bounds(Vec<(usize, usize)>);

impl Bounds {
    /// Of a row. An empty frame has equal ends.
    pub fn of(&self, row: usize) -> (usize, usize) {
        self.0[row]
    }
}

/// A bound with its offset computed.
enum Bound {
    UnboundedPreceding,
    Preceding(Datum, DataType),
    CurrentRow,
    Following(Datum, DataType),
    UnboundedFollowing,
}

async fn settle(bound: &FrameBound, start: bool, unit: FrameUnit, cx: &mut ExecContext<'_>) -> Result<Bound> {
    let which = if start { "starting" } else { "ending" };
    Ok(match bound {
        FrameBound::UnboundedPreceding => Bound::UnboundedPreceding,
        FrameBound::UnboundedFollowing => Bound::UnboundedFollowing,
        FrameBound::CurrentRow => Bound::CurrentRow,
        FrameBound::Preceding(expr) | FrameBound::Following(expr) => {
            let offset = subquery::eval_suspending(expr, &[], cx).await?;
            if matches!(offset, Datum::Null) {
                return Err(SqlError::new(SqlState::NULL_VALUE_NOT_ALLOWED, format!("frame {which} offset must not be null")));
            }
            let negative = match &offset {
                Datum::Int2(v) => *v < 0,
                Datum::Int4(v) => *v < 0,
                Datum::Int8(v) => *v < 0,
                Datum::Float8(v) => *v < 0.0,
                _ => false,
            };
            if negative {
                let message = match unit {
                    FrameUnit::Range => "invalid preceding or following size in window function".to_owned(),
                    _ => format!("frame {which} offset must not be negative"),
                };
                return Err(SqlError::new(SqlState("22013"), message));
            }
            match bound {
                FrameBound::Preceding(_) => Bound::Preceding(offset, expr.ty()),
                _ => Bound::Following(offset, expr.ty()),
            }
        }
    })
}

fn count(offset: &Datum) -> usize {
    let count = match offset {
        Datum::Int2(v) => i64::from(*v),
        Datum::Int4(v) => i64::from(*v),
        Datum::Int8(v) => *v,
        _ => 0,
    };
    usize::try_from(count).unwrap_or(0)
}

/// The frames of all rows of a partition.
pub async fn frames(
    frame: &Frame,
    computed: &RowBatch,
    partition: usize,
    order: &[SortKey],
    peers: &Peers,
    cx: &mut ExecContext<'_>,
) -> Result<Bounds> {
    let start = settle(&frame.start, true, frame.unit, cx).await?;
    let end = settle(&frame.end, false, frame.unit, cx).await?;
    let mut out = Vec::with_capacity(computed.len);
    for row in 0..computed.len {
        let (from, to) = match frame.unit {
            FrameUnit::Rows => (rows_bound(&start, row, computed.len, true), rows_bound(&end, row, computed.len, false)),
            FrameUnit::Groups => (groups_bound(&start, row, peers, true), groups_bound(&end, row, peers, false)),
            FrameUnit::Range => (
                range_bound(&start, row, computed, partition, order, peers, true, cx)?,
                range_bound(&end, row, computed, partition, order, peers, false, cx)?,
            ),
        };
        let from = from.min(computed.len);
        out.push((from, to.min(computed.len).max(from)));
    }
    Ok(Bounds(out))
}

fn rows_bound(bound: &Bound, row: usize, rows: usize, start: bool) -> usize {
    let past = usize::from(!start);
    match bound {
        Bound::UnboundedPreceding => 0,
        Bound::UnboundedFollowing => rows,
        Bound::CurrentRow => row + past,
        Bound::Preceding(n, _) => (row + past).saturating_sub(count(n)),
        Bound::Following(n, _) => (row + past).saturating_add(count(n)),
    }
}

fn groups_bound(bound: &Bound, row: usize, peers: &Peers, start: bool) -> usize {
    let group = peers.group(row);
    let edge = |group: Option<usize>| match group {
        // Before the first group: nothing of it is inside.
        None => 0,
        Some(group) if group >= peers.count() => peers.starts[peers.count()],
        Some(group) => peers.starts[if start { group } else { group + 1 }],
    };
    match bound {
        Bound::UnboundedPreceding => 0,
        Bound::UnboundedFollowing => peers.starts[peers.count()],
        Bound::CurrentRow => edge(Some(group)),
        Bound::Preceding(n, _) => edge(group.checked_sub(count(n))),
        Bound::Following(n, _) => edge(group.checked_add(count(n))),
    }
}

/// RANGE: by value. Rows whose key is NULL are framed by their peers.
#[allow(clippy::too_many_arguments)]
fn range_bound(
    bound: &Bound,
    row: usize,
    computed: &RowBatch,
    partition: usize,
    order: &[SortKey],
    peers: &Peers,
    start: bool,
    cx: &mut ExecContext<'_>,
) -> Result<usize> {
    let (peer_start, peer_end) = peers.range(row);
    let (offset, offset_ty, preceding) = match bound {
        Bound::UnboundedPreceding => return Ok(0),
        Bound::UnboundedFollowing => return Ok(computed.len),
        Bound::CurrentRow => return Ok(if start { peer_start } else { peer_end }),
        Bound::Preceding(n, ty) => (n, *ty, true),
        Bound::Following(n, ty) => (n, *ty, false),
    };
    let Some(key) = order.first() else { return Err(SqlError::internal("RANGE with an offset needs an ORDER BY column")) };
    let value = &computed.row(row)[partition];
    if matches!(value, Datum::Null) {
        return Ok(if start { peer_start } else { peer_end });
    }
    // Preceding means smaller in an ascending order, greater in a descending one.
    let operator = if preceding == key.descending { "+" } else { "-" };
    let ty = key.expr.ty();
    let function = resolve_operator(operator, Some(ty), offset_ty)?.call.resolved();
    let limit = match invoke(function.def, &[value.clone(), offset.clone()], &mut cx.eval()) {
        Ok(limit) => limit,
        // Past what the type holds: no row lies beyond.
        Err(e) if e.code == SqlState::NUMERIC_VALUE_OUT_OF_RANGE || e.code == SqlState::DATETIME_FIELD_OVERFLOW => {
            return Ok(if preceding { non_null_start(computed, partition) } else { non_null_end(computed, partition) });
        }
        Err(e) => return Err(e),
    };
    let limit = if function.returns == ty {
        limit
    } else {
        crate::exec::value::cast(limit, function.returns, ty, -1, false, &mut cx.eval().functions)?
    };
    let order = Order::of(key);
    let mut at = first_where(computed.len, |at| {
        let ordering = order.compare(&computed.row(at)[partition], &limit);
        if start { ordering.is_ge() } else { ordering.is_gt() }
    });
    // NULLs are no values: a bound by value stops before them.
    at = at.clamp(non_null_start(computed, partition), non_null_end(computed, partition));
    Ok(at)
}

/// The first row for which `test` holds, which then holds for all after it.
fn first_where(rows: usize, test: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, rows);
    while low < high {
        let middle = (low + high) / 2;
        if test(middle) { high = middle } else { low = middle + 1 }
    }
    low
}

fn is_null(computed: &RowBatch, partition: usize, row: usize) -> bool {
    matches!(computed.row(row)[partition], Datum::Null)
}

fn non_null_start(computed: &RowBatch, partition: usize) -> usize {
    if computed.len == 0 || !is_null(computed, partition, 0) {
        0
    } else {
        first_where(computed.len, |at| !is_null(computed, partition, at))
    }
}

fn non_null_end(computed: &RowBatch, partition: usize) -> usize {
    if computed.len == 0 || !is_null(computed, partition, computed.len - 1) || is_null(computed, partition, 0) {
        computed.len
    } else {
        first_where(computed.len, |at| is_null(computed, partition, at))
    }
}
