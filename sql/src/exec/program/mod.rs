//! Scan programs: what a scan sends along to be done where the rows are.
//!
//! ```text
//!   bytes = postcard( entry reader, filter, groups and calls, session and clock if anything in it is stable )
//!   rows out = the scan's columns, or `groups ++ partial states`, in the spill codec
//! ```
//! The leaseholder decodes only the columns that the program reads, filters, and sends compact rows or partial aggregates. A user error
//! (division by zero) goes back as [`ProgramError`] and becomes the same [`SqlError`] at the gateway. The same program runs at the gateway over rows that
//! could not be filtered below.

mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use meridian_storage::Key;
use meridian_txn::api::{Program, ProgramError, ProgramEvaluator};
use parking_lot::Mutex;
use rand::SeedableRng;
use serde::{Deserialize, Serialize};

use self::wire::{Needs, WireExpr, WireFunction, from_wire, pushable, to_wire};
use super::batch::RowBatch;
use super::context::ExecContext;
use super::eval::{EvalCx, eval, eval_bool};
use super::relational::group::{GroupSpec, Groups};
use super::scan::layout::{EntryReader, IndexLayout};
use super::value;
use crate::catalog::descriptor::Oid;
use crate::error::{Result, SqlError, SqlState};
use crate::functions::{CatalogLookup, EvalContext, FunctionBody, SessionView};
use crate::plan::expr::Expr;
use crate::plan::logical::any;
use crate::plan::node::{AggregateCall, AggregatePhase, Scan, SortKey};
use crate::types::{DataType, Datum};

/// Groups held at the leaseholder before partial states are sent: the final phase merges any number of them.
const GROUPS_MAX: usize = 16 * 1024;

/// A program as it travels.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScanProgram {
    reader: EntryReader,
    filter: Option<WireExpr>,
    aggregate: Option<WireAggregate>,
    environment: Option<Environment>,
    width: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct WireAggregate {
    groups: Vec<WireExpr>,
    calls: Vec<WireCall>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct WireCall {
    function: WireFunction,
    args: Vec<WireExpr>,
    filter: Option<WireExpr>,
    ty: DataType,
}

/// What stable functions depend on.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Environment {
    session: Arc<SessionView>,
    transaction_micros: i64,
    statement_micros: i64,
}

impl ScanProgram {
    /// The program of a scan over entries of `layout`; `None` if something in it must stay at the gateway.
    pub fn compile(scan: &Scan, layout: &IndexLayout, cx: &mut ExecContext<'_>) -> Result<Option<ScanProgram>> {
        let table = super::context::table_of(&scan.table)?;
        let reader = layout.reader(table, &scan.columns)?;
        let mut needs = Needs::default();
        let (mut width, mut filter, mut aggregate) = (scan.columns.len(), None, None);
        {
            let mut ecx = cx.eval();
            if let Some(expr) = &scan.filter {
                filter = to_wire(expr, &mut ecx, &mut needs)?;
                if filter.is_none() {
                    return Ok(None);
                }
            }
            if let Some(partial) = &scan.aggregate {
                let Some(wire) = wire_aggregate(&partial.groups, &partial.calls, &mut ecx, &mut needs)? else { return Ok(None) };
                width = partial.groups.len() + partial.calls.iter().map(partial_width).sum::<usize>();
                aggregate = Some(wire);
            }
        }
        let environment = needs.session.then(|| Environment {
            session: cx.session.clone(),
            transaction_micros: cx.transaction_micros,
            statement_micros: cx.statement_micros,
        });
        Ok(Some(ScanProgram { reader, filter, aggregate, environment, width: width as u32 }))
    }

    /// Datums of an output row.
    pub fn output_width(&self) -> usize {
        self.width as usize
    }

    /// As bytes.
    pub fn encode(&self) -> Result<Bytes> {
        postcard::to_stdvec(self).map(Bytes::from).map_err(|e| SqlError::internal(format!("a scan program does not serialize: {e}")))
    }
}

fn partial_width(call: &AggregateCall) -> usize {
    match call.function.0.body {
        FunctionBody::Aggregate { partial, .. } => partial.len(),
        _ => 0,
    }
}

fn wire_aggregate(groups: &[Expr], calls: &[AggregateCall], cx: &mut EvalCx<'_>, needs: &mut Needs) -> Result<Option<WireAggregate>> {
    let mut wire = WireAggregate { groups: Vec::new(), calls: Vec::new() };
    for group in groups {
        let Some(group) = to_wire(group, cx, needs)? else { return Ok(None) };
        wire.groups.push(group);
    }
    for call in calls {
        // An aggregate's own volatility says nothing of its arguments, which are converted one by one.
        if call.distinct || !call.order.is_empty() || !pushable(call.function.0, needs) {
            return Ok(None);
        }
        let mut args = Vec::new();
        for arg in &call.args {
            let Some(arg) = to_wire(arg, cx, needs)? else { return Ok(None) };
            args.push(arg);
        }
        let filter = match &call.filter {
            None => None,
            Some(filter) => match to_wire(filter, cx, needs)? {
                None => return Ok(None),
                some => some,
            },
        };
        wire.calls.push(WireCall { function: WireFunction::of(call.function.0), args, filter, ty: call.ty });
    }
    Ok(Some(wire))
}

/// The evaluator that `txn` calls at the leaseholder.
#[derive(Debug, Default)]
pub struct SqlPrograms;

impl ProgramEvaluator for SqlPrograms {
    fn start(&self, program: &Bytes) -> Result<Box<dyn Program>, String> {
        let program: ScanProgram = postcard::from_bytes(program).map_err(|e| e.to_string())?;
        Run::new(program).map(|run| Box::new(run) as Box<dyn Program>).map_err(|e| e.to_string())
    }
}

/// One run of a program.
struct Run {
    reader: EntryReader,
    filter: Option<Expr>,
    aggregate: Option<(Vec<Expr>, Vec<AggregateCall>)>,
    groups: Option<Groups>,
    environment: Option<Environment>,
    rng: meridian_clock::Rng,
    row: Vec<Datum>,
    projected: Vec<Datum>,
    prepared: Option<Prepared>,
}

/// The aggregate calls resolved once a run, and what they project.
struct Prepared {
    exprs: Vec<Expr>,
    /// Which of `exprs` are the last use of a plain column: the value is moved out of the row instead of copied.
    moves: Vec<Option<usize>>,
    calls: Vec<super::relational::group::CallSpec>,
    groups: usize,
}

impl Run {
    fn new(program: ScanProgram) -> Result<Self> {
        let filter = program.filter.map(from_wire).transpose()?;
        let aggregate = match program.aggregate {
            None => None,
            Some(wire) => {
                let groups = wire.groups.into_iter().map(from_wire).collect::<Result<Vec<_>>>()?;
                let calls = wire.calls.into_iter().map(call_from_wire).collect::<Result<Vec<_>>>()?;
                Some((groups, calls))
            }
        };
        let prepared = match &aggregate {
            None => None,
            Some((groups, calls)) => {
                let spec = GroupSpec::new(groups, calls, AggregatePhase::Complete)?;
                let exprs: Vec<Expr> = spec.exprs.into_iter().cloned().collect();
                Some(Prepared { moves: last_uses(&exprs), exprs, calls: spec.calls, groups: spec.groups })
            }
        };
        Ok(Run {
            reader: program.reader,
            filter,
            groups: prepared.as_ref().map(|p| Groups::new(p.groups)),
            aggregate,
            environment: program.environment,
            rng: meridian_clock::Rng::seed_from_u64(0),
            row: Vec::new(),
            projected: Vec::new(),
            prepared,
        })
    }

    fn feed(&mut self, key: &[u8], entry: &[u8], out: &mut Vec<(Key, Bytes)>) -> Result<()> {
        self.row.clear();
        self.reader.read(key, entry, &mut self.row)?;
        let (session, transaction_micros, statement_micros) = match &self.environment {
            Some(e) => (&*e.session, e.transaction_micros, e.statement_micros),
            None => (value::neutral_session(), 0, 0),
        };
        let functions = EvalContext { transaction_micros, statement_micros, session, rng: &mut self.rng, catalog: &NoCatalog };
        let mut cx = EvalCx::new(functions, &[], &[]);
        if let Some(filter) = &self.filter
            && !eval_bool(filter, &self.row, &mut cx)?
        {
            return Ok(());
        }
        let (Some(prepared), Some(groups)) = (&self.prepared, &mut self.groups) else {
            let mut bytes = Vec::with_capacity(self.row.len() * 8);
            value::encode_spill(&self.row, &mut bytes);
            out.push((Key::copy_from_slice(key), bytes.into()));
            return Ok(());
        };
        self.projected.clear();
        for (expr, last) in prepared.exprs.iter().zip(&prepared.moves) {
            self.projected.push(match last {
                Some(ordinal) => std::mem::replace(&mut self.row[*ordinal], Datum::Null),
                None => eval(expr, &self.row, &mut cx)?,
            });
        }
        let group_key = &self.projected[..prepared.groups];
        let hash = value::hash_row(group_key, 0);
        let group = match groups.find(hash, group_key) {
            Some(group) => group,
            None => groups.add(hash, group_key, &prepared.calls).0,
        };
        groups.feed(group, &self.projected, &prepared.calls)?;
        if groups.len() >= GROUPS_MAX {
            self.flush(out)?;
        }
        Ok(())
    }

    fn flush(&mut self, out: &mut Vec<(Key, Bytes)>) -> Result<()> {
        let (Some(prepared), Some(groups)) = (&self.prepared, self.groups.take()) else { return Ok(()) };
        self.groups = Some(Groups::new(prepared.groups));
        for (mut row, states) in groups.drain(prepared.calls.len()) {
            for (call, state) in prepared.calls.iter().zip(states) {
                row.extend(call.finish_partial(state)?);
            }
            let mut bytes = Vec::new();
            value::encode_spill(&row, &mut bytes);
            out.push((Key::new(), bytes.into()));
        }
        Ok(())
    }
}

/// The ordinals of those expressions that are plain columns which no later one reads.
fn last_uses(exprs: &[Expr]) -> Vec<Option<usize>> {
    let reads = |e: &Expr, ordinal: usize| any(e, &|x| matches!(x, Expr::Column { ordinal: o, .. } if *o == ordinal));
    let last = |(n, e): (usize, &Expr)| match e {
        Expr::Column { ordinal, .. } if !exprs[n + 1..].iter().any(|later| reads(later, *ordinal)) => Some(*ordinal),
        _ => None,
    };
    exprs.iter().enumerate().map(last).collect()
}

fn call_from_wire(wire: WireCall) -> Result<AggregateCall> {
    Ok(AggregateCall {
        function: wire.function.resolve()?,
        args: wire.args.into_iter().map(from_wire).collect::<Result<Vec<_>>>()?,
        distinct: false,
        order: Vec::<SortKey>::new(),
        filter: wire.filter.map(from_wire).transpose()?,
        ty: wire.ty,
    })
}

impl Program for Run {
    fn row(&mut self, key: &[u8], entry: &[u8], out: &mut Vec<(Key, Bytes)>) -> Result<(), ProgramError> {
        self.feed(key, entry, out).map_err(|e| encode_error(&e))
    }
    fn finish(&mut self, out: &mut Vec<(Key, Bytes)>) -> Result<(), ProgramError> {
        if self.aggregate.is_none() {
            return Ok(());
        }
        self.flush(out).map_err(|e| encode_error(&e))
    }
}

/// Partial aggregation at the gateway, for scans whose rows had to come here first.
pub fn aggregate_here(scan: &Scan, batch: &RowBatch, cx: &mut ExecContext<'_>) -> Result<RowBatch> {
    let Some(partial) = &scan.aggregate else { return Err(SqlError::internal("the scan does not aggregate")) };
    let spec = GroupSpec::new(&partial.groups, &partial.calls, AggregatePhase::Complete)?;
    let mut groups = Groups::new(spec.groups);
    let mut projected = Vec::new();
    let mut ecx = cx.eval();
    for row in batch.rows() {
        projected.clear();
        for expr in &spec.exprs {
            projected.push(eval(expr, row, &mut ecx)?);
        }
        let key = &projected[..spec.groups];
        let hash = value::hash_row(key, 0);
        let group = match groups.find(hash, key) {
            Some(group) => group,
            None => groups.add(hash, key, &spec.calls).0,
        };
        groups.feed(group, &projected, &spec.calls)?;
    }
    let mut out = RowBatch::new(spec.groups + spec.calls.iter().map(|c| c.partial).sum::<usize>());
    for (mut row, states) in groups.drain(spec.calls.len()) {
        for (call, state) in spec.calls.iter().zip(states) {
            row.extend(call.finish_partial(state)?);
        }
        out.push_owned(row);
    }
    Ok(out)
}

#[derive(Serialize, Deserialize)]
struct WireError {
    code: String,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
}

/// A user error as `txn` carries it.
pub fn encode_error(error: &SqlError) -> ProgramError {
    let more = error.more.as_ref();
    let wire = WireError {
        code: error.code.0.to_owned(),
        message: error.message.clone(),
        detail: more.and_then(|m| m.detail.clone()),
        hint: more.and_then(|m| m.hint.clone()),
    };
    ProgramError(postcard::to_stdvec(&wire).unwrap_or_default().into())
}

/// The user error again.
pub fn decode_error(error: &ProgramError) -> SqlError {
    match postcard::from_bytes::<WireError>(&error.0) {
        Err(_) => SqlError::internal("an error of a scan program cannot be read"),
        Ok(wire) => {
            let mut out = SqlError::new(intern(&wire.code), wire.message);
            if let Some(detail) = wire.detail {
                out = out.detail(detail);
            }
            if let Some(hint) = wire.hint {
                out = out.hint(hint);
            }
            out
        }
    }
}

/// A SQLSTATE that came as text. There are a few hundred; more than that many different ones are not SQLSTATEs.
fn intern(code: &str) -> SqlState {
    const CODES_MAX: usize = 1024;
    static CODES: Mutex<BTreeMap<String, &'static str>> = Mutex::new(BTreeMap::new());
    let mut codes = CODES.lock();
    if let Some(known) = codes.get(code) {
        return SqlState(known);
    }
    if code.len() != 5 || codes.len() >= CODES_MAX {
        return SqlState::INTERNAL_ERROR;
    }
    let leaked: &'static str = Box::leak(code.to_owned().into_boxed_str());
    codes.insert(code.to_owned(), leaked);
    SqlState(leaked)
}

/// The catalog as seen from a leaseholder: nothing. What needs it is not pushed.
struct NoCatalog;

impl CatalogLookup for NoCatalog {
    fn relation_oid(&self, _: &str, _: &[String]) -> Option<Oid> {
        None
    }
    fn relation_name(&self, _: Oid, _: &[String]) -> Option<String> {
        None
    }
    fn schema_oid(&self, _: &str) -> Option<Oid> {
        None
    }
    fn schema_name(&self, _: Oid) -> Option<String> {
        None
    }
    fn role_oid(&self, _: &str) -> Option<Oid> {
        None
    }
    fn role_name(&self, _: Oid) -> Option<String> {
        None
    }
    fn definition(&self, _: &str, _: Oid, _: i32) -> Option<String> {
        None
    }
    fn system_function(&self, _: &str, _: &[Datum]) -> Option<Result<Datum>> {
        None
    }
}
