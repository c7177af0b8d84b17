//! Window functions over input sorted by partition and order keys: a partition is collected, every call computed over it, and its rows handed on with
//! one more column per call.

use async_trait::async_trait;

use super::basic::mismatch;
use super::window_frame::{Bounds, Peers, frames};
use crate::error::{Result, SqlError, SqlState};
use crate::exec::batch::RowBatch;
use crate::exec::context::ExecContext;
use crate::exec::memory::Reservation;
use crate::exec::{Operator, subquery, value, walk};
use crate::functions::FunctionBody;
use crate::plan::expr::Expr;
use crate::plan::node::{Node, Plan, SortKey, WindowCall};
use crate::types::Datum;

/// State of a `Window`.
pub struct Window {
    input: Box<dyn Operator>,
    /// Rows of the partition at hand, and what was computed over them.
    rows: RowBatch,
    computed: RowBatch,
    /// Input read beyond it.
    ahead: Option<(RowBatch, RowBatch, usize)>,
    reservation: Option<Reservation>,
    output: std::vec::IntoIter<RowBatch>,
    done: bool,
}

/// Where in the computed row things stand: `partition ++ order ++ (args ++ filter) of each call`.
struct Layout<'p> {
    exprs: Vec<&'p Expr>,
    partition: usize,
    /// First argument of each call, number of arguments, filter.
    calls: Vec<(usize, usize, Option<usize>)>,
}

fn layout<'p>(partition: &'p [Expr], order: &'p [SortKey], calls: &'p [WindowCall]) -> Layout<'p> {
    let mut exprs: Vec<&Expr> = partition.iter().chain(order.iter().map(|k| &k.expr)).collect();
    let mut places = Vec::with_capacity(calls.len());
    for call in calls {
        let first = exprs.len();
        exprs.extend(call.args.iter().chain(&call.filter));
        places.push((first, call.args.len(), call.filter.as_ref().map(|_| first + call.args.len())));
    }
    Layout { exprs, partition: partition.len(), calls: places }
}

impl Window {
    /// Over a sorted input.
    pub fn new(input: Box<dyn Operator>) -> Self {
        Window {
            input,
            rows: RowBatch::new(0),
            computed: RowBatch::new(0),
            ahead: None,
            reservation: None,
            output: Vec::new().into_iter(),
            done: false,
        }
    }

    /// Collects the next partition; answers whether there is one.
    async fn collect(&mut self, input: &Plan, layout: &Layout<'_>, cx: &mut ExecContext<'_>) -> Result<bool> {
        let suspends = walk::any_suspends(layout.exprs.iter().copied());
        let mut reservation = cx.memory.reservation();
        self.rows = RowBatch::new(input.columns.len());
        self.computed = RowBatch::new(layout.exprs.len());
        loop {
            let (batch, computed, mut at) = match self.ahead.take() {
                Some(ahead) => ahead,
                None => match self.input.next(input, cx).await? {
                    None => break,
                    Some(batch) => {
                        let computed = subquery::project(&layout.exprs, suspends, &batch, cx).await?;
                        (batch, computed, 0)
                    }
                },
            };
            while at < batch.len {
                let row = computed.row(at);
                if self.computed.len > 0 && !value::equal_rows(&self.computed.row(0)[..layout.partition], &row[..layout.partition]) {
                    self.ahead = Some((batch, computed, at));
                    self.reservation = Some(reservation);
                    return Ok(true);
                }
                reservation.require(value::row_size(row) + value::row_size(batch.row(at)), "A window partition")?;
                self.rows.push(batch.row(at));
                self.computed.push(row);
                at += 1;
            }
            cx.cancel.check()?;
        }
        self.reservation = Some(reservation);
        Ok(self.rows.len > 0)
    }

    /// Computes every call over the partition.
    async fn compute(
        &mut self,
        order: &[SortKey],
        calls: &[WindowCall],
        layout: &Layout<'_>,
        cx: &mut ExecContext<'_>,
    ) -> Result<Vec<Vec<Datum>>> {
        let peers = Peers::of(&self.computed, layout.partition, order);
        let mut columns = Vec::with_capacity(calls.len());
        for (call, place) in calls.iter().zip(&layout.calls) {
            let column = match call.function.0.body {
                FunctionBody::Aggregate { .. } => {
                    let bounds = frames(&call.frame, &self.computed, layout.partition, order, &peers, cx).await?;
                    aggregate(call, &self.computed, *place, &bounds)?
                }
                _ => {
                    let needs_frame = matches!(call.function.0.name, "first_value" | "last_value" | "nth_value");
                    let bounds = match needs_frame {
                        true => frames(&call.frame, &self.computed, layout.partition, order, &peers, cx).await?,
                        false => Bounds::default(),
                    };
                    ranking(call, &self.computed, *place, &peers, &bounds)?
                }
            };
            columns.push(column);
        }
        Ok(columns)
    }
}

/// An aggregate over each row's frame. As long as frames only grow at the end, rows are fed once.
fn aggregate(
    call: &WindowCall,
    computed: &RowBatch,
    (first, count, filter): (usize, usize, Option<usize>),
    bounds: &Bounds,
) -> Result<Vec<Datum>> {
    let FunctionBody::Aggregate { new, .. } = call.function.0.body else { return Err(SqlError::internal("not an aggregate")) };
    let types: Vec<_> = call.args.iter().map(Expr::ty).collect();
    let mut out: Vec<Datum> = Vec::with_capacity(computed.len);
    let mut accumulator = new(&types);
    let (mut start, mut end) = (0, 0);
    for row in 0..computed.len {
        let (from, to) = bounds.of(row);
        if row > 0 && (from, to) == (start, end) {
            let same = out[row - 1].clone();
            out.push(same);
            continue;
        }
        if from != start || to < end {
            accumulator = new(&types);
            (start, end) = (from, from);
        }
        for at in end..to.max(end) {
            let args = computed.row(at);
            if filter.is_none_or(|f| matches!(args[f], Datum::Bool(true))) {
                accumulator.update(&args[first..first + count])?;
            }
        }
        end = to.max(end);
        out.push(accumulator.finish()?);
    }
    Ok(out)
}

fn integer(datum: &Datum) -> Option<i64> {
    match datum {
        Datum::Int2(v) => Some(i64::from(*v)),
        Datum::Int4(v) => Some(i64::from(*v)),
        Datum::Int8(v) => Some(*v),
        _ => None,
    }
}

/// The window functions proper.
fn ranking(
    call: &WindowCall,
    computed: &RowBatch,
    (first, count, _): (usize, usize, Option<usize>),
    peers: &Peers,
    bounds: &Bounds,
) -> Result<Vec<Datum>> {
    let rows = computed.len;
    let arg = |row: usize, n: usize| if n < count { computed.row(row)[first + n].clone() } else { Datum::Null };
    let total = rows as f64;
    let mut out = Vec::with_capacity(rows);
    for row in 0..rows {
        let (peer_start, peer_end) = peers.range(row);
        out.push(match call.function.0.name {
            "row_number" => Datum::Int8(row as i64 + 1),
            "rank" => Datum::Int8(peer_start as i64 + 1),
            "dense_rank" => Datum::Int8(peers.group(row) as i64 + 1),
            "percent_rank" => Datum::Float8(if rows <= 1 { 0.0 } else { peer_start as f64 / (total - 1.0) }),
            "cume_dist" => Datum::Float8(peer_end as f64 / total),
            "ntile" => match integer(&arg(0, 0)) {
                None => Datum::Null,
                Some(n) if n <= 0 => {
                    return Err(SqlError::new(SqlState("22014"), "argument of ntile must be greater than zero"));
                }
                Some(n) => {
                    let (n, row, rows) = (n, row as i64, rows as i64);
                    let (size, larger) = (rows / n, rows % n);
                    let tile =
                        if row < larger * (size + 1) { row / (size + 1) } else { larger + (row - larger * (size + 1)) / size.max(1) };
                    Datum::Int4((tile + 1) as i32)
                }
            },
            name @ ("lag" | "lead") => {
                let offset = if count > 1 { integer(&arg(row, 1)) } else { Some(1) };
                match offset {
                    None => Datum::Null,
                    Some(offset) => {
                        let offset = if name == "lag" { offset.checked_neg() } else { Some(offset) };
                        let at = offset
                            .and_then(|o| (row as i64).checked_add(o))
                            .and_then(|at| usize::try_from(at).ok())
                            .filter(|at| *at < rows);
                        at.map_or_else(|| arg(row, 2), |at| arg(at, 0))
                    }
                }
            }
            name @ ("first_value" | "last_value" | "nth_value") => {
                let (from, to) = bounds.of(row);
                let at = match name {
                    "first_value" => Some(from),
                    "last_value" => to.checked_sub(1),
                    _ => match integer(&arg(row, 1)) {
                        None => None,
                        Some(n) if n <= 0 => {
                            return Err(SqlError::new(SqlState("22016"), "argument of nth_value must be greater than zero"));
                        }
                        Some(n) => from.checked_add(n as usize - 1),
                    },
                };
                at.filter(|at| (from..to).contains(at)).map_or(Datum::Null, |at| arg(at, 0))
            }
            other => return Err(SqlError::unsupported(format!("window function {other}()"))),
        });
    }
    Ok(out)
}

#[async_trait]
impl Operator for Window {
    async fn next(&mut self, plan: &Plan, cx: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        let Node::Window { input, partition, order, calls } = &plan.node else { return Err(mismatch()) };
        loop {
            if let Some(batch) = self.output.next() {
                return Ok(Some(batch));
            }
            if self.done {
                return Ok(None);
            }
            let layout = layout(partition, order, calls);
            if !self.collect(input, &layout, cx).await? {
                self.done = true;
                return Ok(None);
            }
            let columns = self.compute(order, calls, &layout, cx).await?;
            let mut batches = Vec::new();
            let mut batch = RowBatch::new(plan.columns.len());
            for (at, row) in self.rows.rows().enumerate() {
                batch.push_owned(row.iter().cloned().chain(columns.iter().map(|c| c[at].clone())));
                if batch.is_full() {
                    batches.push(std::mem::replace(&mut batch, RowBatch::new(plan.columns.len())));
                }
            }
            batches.push(batch);
            self.output = batches.into_iter();
        }
    }
}
