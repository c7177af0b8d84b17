//! How to read a table: which index, which stretches of it.
//!
//! A condition is of use to an index if it compares one column with something that no column of this table is in
//! ([`Sarg`]): a constant, a parameter, a column of an enclosing query, or, for a lookup join, a column of the left side. Leading key
//! columns take equalities, the last of them possibly a list; the next takes a range. What the index answers exactly is
//! dropped from the filter.

use super::cost;
use super::estimate::Estimates;
use super::pushdown::comparison;
use crate::catalog::descriptor::*;
use crate::functions::like::like_prefix;
use crate::functions::registry::ComparisonKind;
use crate::plan::PlanContext;
use crate::plan::expr::Expr;
use crate::plan::logical::*;
use crate::types::casts::{CastContext, find_cast};
use crate::types::codec::key_is_lossless;
use crate::types::{Array, DataType, Datum};

/// A column in an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OrderCol {
    pub col: ColId,
    pub descending: bool,
    pub nulls_first: bool,
}

/// What one condition says about one column.
#[derive(Clone, Debug)]
enum Test {
    Equal(Expr),
    In(Expr),
    Null,
    Lower(Expr, bool),
    Upper(Expr, bool),
}

#[derive(Clone, Debug)]
struct Sarg {
    /// Column id in the table.
    column: u32,
    test: Test,
    /// Which condition it came from.
    pred: usize,
    /// The condition says no more than this.
    exact: bool,
}

/// Bounds over logical expressions; becomes a `node::IndexRange`.
#[derive(Clone, Debug, Default)]
pub(super) struct Range {
    pub equal: Vec<Expr>,
    pub lower: Option<(Expr, bool)>,
    pub upper: Option<(Expr, bool)>,
    pub null_equal: Vec<usize>,
    pub any: bool,
}

/// A way to read a table.
#[derive(Clone, Debug)]
pub(super) struct Path {
    pub index: u32,
    /// `None`: the whole index.
    pub range: Option<Range>,
    /// Conditions that the range answers exactly.
    pub used: Vec<usize>,
    /// The range is one entry for each value looked up, found by its whole key.
    pub unique: bool,
    /// Rows that come out of the range.
    pub scanned: f64,
    /// Rows that pass the rest too.
    pub rows: f64,
    pub cost: f64,
    pub covering: bool,
    pub reverse: bool,
    /// The order in which rows come (that of the wanted one, if it is satisfied).
    pub ordered: bool,
    /// The order in which rows come by the index's own keys.
    pub order: Vec<OrderCol>,
}

/// What a table is read for.
pub(super) struct Request<'a> {
    pub cx: &'a PlanContext<'a>,
    pub cols: &'a [ColInfo],
    pub subqueries: &'a [Subquery],
    pub table: &'a TableRel,
    /// Conditions: the table's own and, for a lookup, those that join it.
    pub preds: &'a [Expr],
    /// Columns that must come out, by column id.
    pub needed: &'a [u32],
    pub want: &'a [OrderCol],
    /// Rows that will be taken at most.
    pub limit: Option<f64>,
    /// Rows are locked or modified: they come from the primary index in the end.
    pub whole_row: bool,
}

/// The best path; there is always one (the whole primary index).
pub(super) fn best(request: &Request<'_>) -> Option<Path> {
    let table = request.table.table.table()?;
    let sargs = sargs(request, table);
    let mut best: Option<Path> = None;
    for index in table.all_indexes() {
        if index.state != IndexState::Public {
            continue;
        }
        let Some(answered) = implied(request, table, index) else { continue };
        let path = path(request, table, index, &sargs, &answered);
        if best.as_ref().is_none_or(|b| path.cost < b.cost * 0.9999) {
            best = Some(path);
        }
    }
    best
}

/// Whether a partial index holds every row that the query wants: its predicate is among the conditions. Answers which ones
/// those are: every entry of the index satisfies them.
fn implied(request: &Request<'_>, table: &TableDescriptor, index: &IndexDescriptor) -> Option<Vec<usize>> {
    let Some(text) = &index.predicate else { return Some(Vec::new()) };
    let named = crate::plan::bind::stored::columns_of(table);
    let Ok(mut predicate) =
        crate::plan::bind::stored::bind_text(request.cx, text, &named, crate::plan::bind::stored::Purpose::Predicate, None)
    else {
        return None;
    };
    substitute(&mut predicate, &|n| request.table.cols.get(n).map(|(col, _)| Expr::Column { ordinal: *col, ty: request.cols[*col].ty }));
    let mut parts = Vec::new();
    conjuncts(predicate, &mut parts);
    parts.iter().map(|p| request.preds.iter().position(|q| same(p, q))).collect()
}

fn sargs(request: &Request<'_>, table: &TableDescriptor) -> Vec<Sarg> {
    let own: ColSet = request.table.cols.iter().map(|c| c.0).collect();
    let mut out = Vec::new();
    for (n, pred) in request.preds.iter().enumerate() {
        analyse(request, table, &own, pred, n, &mut out);
    }
    out
}

/// A column of this table, looking through relabellings that keep the order of keys.
fn own_column(request: &Request<'_>, e: &Expr) -> Option<(u32, DataType)> {
    match e {
        Expr::Column { ordinal, ty } => request.table.cols.iter().find(|c| c.0 == *ordinal).map(|c| (c.1, *ty)),
        Expr::Cast { input, from: DataType::VARCHAR, to: DataType::TEXT, typmod: -1, .. } => own_column(request, input),
        _ => None,
    }
}

fn analyse(request: &Request<'_>, table: &TableDescriptor, own: &ColSet, pred: &Expr, n: usize, out: &mut Vec<Sarg>) {
    let foreign = |e: &Expr| columns(e, request.subqueries).is_disjoint(own) && !volatile(e) && !has_subquery(e);
    match pred {
        Expr::Call { function, args, .. } if args.len() == 2 => {
            let kind = comparison(*function);
            for (a, b, turned) in [(0, 1, false), (1, 0, true)] {
                let Some((column, _)) = own_column(request, &args[a]) else { continue };
                if !foreign(&args[b]) {
                    continue;
                }
                if let Some(kind) = kind {
                    let kind = if turned { kind.commuted() } else { kind };
                    let Some(value) = coerced(request, table, column, &args[b], kind) else { continue };
                    let test = match kind {
                        ComparisonKind::Eq => Test::Equal(value),
                        ComparisonKind::Lt => Test::Upper(value, false),
                        ComparisonKind::Le => Test::Upper(value, true),
                        ComparisonKind::Gt => Test::Lower(value, false),
                        ComparisonKind::Ge => Test::Lower(value, true),
                        ComparisonKind::Ne => continue,
                    };
                    out.push(Sarg { column, test, pred: n, exact: true });
                    return;
                }
                if !turned && is_like(function.0.name) {
                    like(table, column, &args[b], n, out);
                    return;
                }
            }
        }
        Expr::Column { .. } => {
            if let Some((column, DataType::BOOL)) = own_column(request, pred) {
                let value = Expr::Const { value: Datum::Bool(true), ty: DataType::BOOL };
                out.push(Sarg { column, test: Test::Equal(value), pred: n, exact: true });
            }
        }
        Expr::Not(inner) => {
            if let Some((column, DataType::BOOL)) = own_column(request, inner) {
                let value = Expr::Const { value: Datum::Bool(false), ty: DataType::BOOL };
                out.push(Sarg { column, test: Test::Equal(value), pred: n, exact: true });
            }
        }
        Expr::IsNull { input, negated: false } => {
            if let Some((column, _)) = own_column(request, input) {
                out.push(Sarg { column, test: Test::Null, pred: n, exact: true });
            }
        }
        Expr::AnyAll { left, array, function, all: false } if comparison(*function) == Some(ComparisonKind::Eq) => {
            let Some((column, _)) = own_column(request, left) else { return };
            if !foreign(array) {
                return;
            }
            if let Some(array) = coerced_array(request, table, column, array) {
                out.push(Sarg { column, test: Test::In(array), pred: n, exact: true });
            }
        }
        Expr::Or(args) => {
            // a = 1 OR a = 2: a list.
            let mut inner = Vec::new();
            args.iter().for_each(|a| analyse(request, table, own, a, n, &mut inner));
            let Some(first) = inner.first() else { return };
            let column = first.column;
            let same_column = inner.len() == args.len() && inner.iter().all(|s| s.column == column && matches!(s.test, Test::Equal(_)));
            let Some(desc) = table.column(column) else { return };
            if same_column && desc.ty.array_type().is_some() {
                let elements: Vec<Expr> = inner
                    .into_iter()
                    .filter_map(|s| match s.test {
                        Test::Equal(e) => Some(e),
                        _ => None,
                    })
                    .collect();
                let array = super::fold::fold(Expr::Array { elements, element: desc.ty, nested: false }, request.cx);
                out.push(Sarg { column, test: Test::In(array), pred: n, exact: true });
            }
        }
        Expr::And(args) => {
            for a in args {
                let before = out.len();
                analyse(request, table, own, a, n, out);
                out[before..].iter_mut().for_each(|s| s.exact = false);
            }
        }
        _ => {}
    }
}

fn is_like(name: &str) -> bool {
    matches!(name, "like" | "textlike" | "bpcharlike" | "namelike")
}

/// `c LIKE 'abc%'`
fn like(table: &TableDescriptor, column: u32, pattern: &Expr, n: usize, out: &mut Vec<Sarg>) {
    let Expr::Const { value: Datum::Text(pattern), .. } = pattern else { return };
    let Some(desc) = table.column(column) else { return };
    if !matches!(desc.ty, DataType::TEXT | DataType::VARCHAR | DataType::NAME) {
        return;
    }
    let (prefix, whole) = like_prefix(pattern);
    if prefix.is_empty() {
        return;
    }
    let text = |s: &str| Expr::Const { value: Datum::text(s), ty: desc.ty };
    if whole {
        out.push(Sarg { column, test: Test::Equal(text(&prefix)), pred: n, exact: true });
        return;
    }
    out.push(Sarg { column, test: Test::Lower(text(&prefix), true), pred: n, exact: false });
    if let Some(end) = after_prefix(&prefix) {
        out.push(Sarg { column, test: Test::Upper(text(&end), false), pred: n, exact: false });
    }
}

/// The least text above everything with this prefix.
fn after_prefix(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        let next = (last as u32 + 1..=0x10_FFFF).find_map(char::from_u32);
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

/// The value as the column's type, if the comparison keeps its meaning.
fn coerced(request: &Request<'_>, table: &TableDescriptor, column: u32, value: &Expr, kind: ComparisonKind) -> Option<Expr> {
    let to = table.column(column)?.ty;
    let from = value.ty();
    if from == to {
        return Some(value.clone());
    }
    let text = |t: DataType| matches!(t, DataType::TEXT | DataType::VARCHAR | DataType::NAME);
    if text(from) && text(to) {
        return match value {
            Expr::Const { value, .. } => Some(Expr::Const { value: value.clone(), ty: to }),
            other => Some(Expr::Cast { input: Box::new(other.clone()), from, to, typmod: -1, explicit: false }),
        };
    }
    let rank = |t: DataType| match t {
        DataType::INT2 => Some(1),
        DataType::INT4 => Some(2),
        DataType::INT8 => Some(3),
        DataType::FLOAT4 => Some(11),
        DataType::FLOAT8 => Some(12),
        _ => None,
    };
    let (a, b) = (rank(from)?, rank(to)?);
    if a / 10 != b / 10 {
        return None;
    }
    match value {
        // A constant that fits is itself; one that does not leaves the condition to the filter.
        Expr::Const { value, .. } if a < 10 => super::fold::convert(value, from, to, request.cx).map(|value| Expr::Const { value, ty: to }),
        other if a < b => {
            let _ = kind;
            find_cast(from, to, CastContext::Implicit)?;
            Some(Expr::Cast { input: Box::new(other.clone()), from, to, typmod: -1, explicit: false })
        }
        _ => None,
    }
}

fn coerced_array(request: &Request<'_>, table: &TableDescriptor, column: u32, array: &Expr) -> Option<Expr> {
    let to = table.column(column)?.ty;
    let from = array.ty().element()?;
    if from == to {
        return Some(array.clone());
    }
    match array {
        Expr::Const { value: Datum::Array(values), .. } => {
            let mut elements = Vec::with_capacity(values.elements.len());
            for value in &values.elements {
                let as_expr = Expr::Const { value: value.clone(), ty: from };
                match coerced(request, table, column, &as_expr, ComparisonKind::Eq) {
                    Some(Expr::Const { value, .. }) => elements.push(value),
                    _ => return None,
                }
            }
            let dims = values.dims.clone();
            Some(Expr::Const { value: Datum::Array(std::sync::Arc::new(Array { element: to, dims, elements })), ty: to.array_of() })
        }
        other if matches!((from, to), (DataType::TEXT, DataType::VARCHAR) | (DataType::VARCHAR, DataType::TEXT)) => Some(other.clone()),
        _ => None,
    }
}

fn path(request: &Request<'_>, table: &TableDescriptor, index: &IndexDescriptor, sargs: &[Sarg], answered: &[usize]) -> Path {
    let estimates = Estimates { catalog: request.cx.catalog, cols: request.cols };
    let of = request.table.table.id;
    let rows = answered.iter().fold(estimates.table_rows(of), |rows, n| rows * estimates.selectivity(&request.preds[*n])).max(1.0);
    let mut range = Range::default();
    let mut used: Vec<usize> = answered.to_vec();
    let mut touched: Vec<usize> = answered.to_vec();
    let mut share = 1.0;
    let mut lists = 1.0;
    for key in &index.keys {
        let on = |s: &&Sarg| s.column == key.column;
        if let Some(s) = sargs.iter().filter(on).find(|s| matches!(s.test, Test::Equal(_) | Test::Null)) {
            match &s.test {
                Test::Equal(value) => range.equal.push(value.clone()),
                _ => {
                    range.null_equal.push(range.equal.len());
                    let ty = table.column(key.column).map_or(DataType::TEXT, |c| c.ty);
                    range.equal.push(Expr::Const { value: Datum::Null, ty });
                }
            }
            share *= if matches!(s.test, Test::Null) { 0.1 } else { estimates.equal_share(of, key.column) };
            touched.push(s.pred);
            if s.exact {
                used.push(s.pred);
            }
            continue;
        }
        if let Some(s) = sargs.iter().filter(on).find(|s| matches!(s.test, Test::In(_)))
            && let Test::In(array) = &s.test
        {
            range.equal.push(array.clone());
            range.any = true;
            lists = cost::array_length(array);
            share *= (estimates.equal_share(of, key.column) * lists).min(0.5);
            touched.push(s.pred);
            if s.exact {
                used.push(s.pred);
            }
            break;
        }
        let mut bounded = false;
        for s in sargs.iter().filter(on) {
            match &s.test {
                Test::Lower(value, inclusive) if range.lower.is_none() => range.lower = Some((value.clone(), *inclusive)),
                Test::Upper(value, inclusive) if range.upper.is_none() => range.upper = Some((value.clone(), *inclusive)),
                _ => continue,
            }
            touched.push(s.pred);
            // A LIKE's two bounds come from one condition, which stays as a filter.
            if s.exact {
                used.push(s.pred);
            }
            bounded = true;
        }
        if bounded {
            share *= if range.lower.is_some() && range.upper.is_some() { 0.05 } else { 0.333 };
        }
        break;
    }
    let full = range.equal.len() == index.keys.len() && range.null_equal.is_empty();
    let unique = full && (index.unique || index.id == table.primary.id);
    // A key prefix of k of n columns (n + 1 if not unique) is taken to have rows^(k/n) values, where nobody has counted them.
    let counted = index.keys[..range.equal.len()].iter().all(|k| estimates.is_counted(of, k.column));
    let width = (index.keys.len() + usize::from(!index.unique && index.id != table.primary.id)) as f64;
    let bound = rows.powf((width - range.equal.len() as f64) / width) * lists;
    let scanned = if unique {
        lists
    } else if range.equal.is_empty() {
        (rows * share).max(if touched.is_empty() { 0.0 } else { 1.0 })
    } else if counted {
        (rows * share).max(1.0)
    } else {
        (rows * share).min(bound).max(1.0)
    };
    let scanned = scanned.min(rows.max(lists));
    let rest: Vec<&Expr> = request.preds.iter().enumerate().filter(|(n, _)| !touched.contains(n)).map(|(_, p)| p).collect();
    let pass: f64 = rest.iter().map(|p| estimates.selectivity(p)).product();
    let passing = (scanned * pass).max(if unique { 0.5 } else { 1.0 });
    let primary = index.id == table.primary.id;
    let covering = primary || (!request.whole_row && covers(request, table, index));
    let (satisfied, reverse) = order(request, table, index, &range);
    let reverse = reverse && satisfied;
    let ordered = satisfied && !request.want.is_empty();
    let mut read = scanned;
    if let Some(limit) = request.limit
        && (ordered || request.want.is_empty())
    {
        read = read.min(limit / pass.max(1e-6));
    }
    let mut total = cost::ROUND + read * cost::ENTRY + (lists - 1.0) * cost::LOOKUP + read * cost::CONDITION * rest.len() as f64;
    if !primary {
        // A narrower index is a little cheaper to read than the rows.
        total -= read * cost::ENTRY * 0.2;
    }
    if !covering {
        total += cost::ROUND + read * cost::FETCH;
    }
    if !request.want.is_empty() && !ordered {
        total += cost::sort(passing);
    }
    let own_order = if range.any {
        Vec::new()
    } else {
        let col = |id: u32| request.table.cols.iter().find(|c| c.1 == id).map(|c| c.0);
        index
            .keys
            .iter()
            .skip(range.equal.len())
            .filter_map(|k| {
                col(k.column).map(|col| OrderCol { col, descending: k.descending != reverse, nulls_first: k.nulls_first != reverse })
            })
            .collect()
    };
    let whole = range.equal.is_empty() && range.lower.is_none() && range.upper.is_none();
    Path {
        index: index.id,
        range: (!whole).then_some(range),
        used,
        unique,
        scanned: read,
        rows: passing,
        cost: total,
        covering,
        reverse,
        ordered,
        order: own_order,
    }
}

/// Whether the index gives every needed column back.
fn covers(request: &Request<'_>, table: &TableDescriptor, index: &IndexDescriptor) -> bool {
    request.needed.iter().all(|id| {
        let Some(column) = table.column(*id) else { return false };
        let in_key = index.keys.iter().any(|k| k.column == *id) || table.primary.keys.iter().any(|k| k.column == *id);
        index.include.contains(id) || (in_key && key_is_lossless(column.ty))
    })
}

/// Whether the index, read forwards or backwards, gives the wanted order.
fn order(request: &Request<'_>, table: &TableDescriptor, index: &IndexDescriptor, range: &Range) -> (bool, bool) {
    if request.want.is_empty() {
        return (false, false);
    }
    let fixed: Vec<u32> = index.keys[..range.equal.len()]
        .iter()
        .enumerate()
        .filter(|(n, _)| !(range.any && n + 1 == range.equal.len()))
        .map(|(_, k)| k.column)
        .collect();
    let id_of = |col: ColId| request.table.cols.iter().find(|c| c.0 == col).map(|c| c.1);
    let mut keys = index.keys[range.equal.len()..].iter();
    let mut direction: Option<bool> = None;
    let many = range.any && cost::array_length(range.equal.last().unwrap_or(&Expr::Row { fields: Vec::new() })) != 1.0;
    for want in request.want {
        let Some(id) = id_of(want.col) else { return (false, false) };
        if fixed.contains(&id) {
            continue;
        }
        if many {
            return (false, false);
        }
        let Some(key) = keys.by_ref().find(|k| !fixed.contains(&k.column)) else {
            // Past all keys of a unique index there are no peers left to order.
            let ends = index.id == table.primary.id
                || (index.unique && index.keys.iter().all(|k| table.column(k.column).is_some_and(|c| c.not_null)));
            return (ends, direction.unwrap_or(false));
        };
        if key.column != id {
            return (false, false);
        }
        let not_null = table.column(id).is_some_and(|c| c.not_null);
        let turned = key.descending != want.descending;
        if !not_null && (key.nulls_first != want.nulls_first) != turned {
            return (false, false);
        }
        if *direction.get_or_insert(turned) != turned {
            return (false, false);
        }
    }
    (true, direction.unwrap_or(false))
}
