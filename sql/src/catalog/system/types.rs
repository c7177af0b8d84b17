//! Built-in objects: `pg_type`, `pg_proc`, `pg_operator`, `pg_aggregate`. There are no user-defined ones.

use std::collections::BTreeSet;

use super::Cx;
use super::cells::{Cell, Row, row, vector};
use super::fixed::{self, ProcRow};
use crate::catalog::descriptor::{Oid, PG_CATALOG_OID, ROOT_ROLE_OID};
use crate::functions::{FunctionBody, FunctionDef, Volatility, all_functions, all_operators, function_by_oid};
use crate::types::{DataType, Datum, NO_TYPMOD};

/// The language of built-in functions.
const INTERNAL_LANGUAGE: Oid = 12;

/// Rows of the tables of this topic.
pub fn rows(_cx: &Cx<'_>, table: &str) -> Option<Vec<Row>> {
    match table {
        "pg_type" => Some(fixed::types().iter().map(type_row).collect()),
        "pg_proc" => Some(pg_proc()),
        "pg_operator" => {
            let ours: BTreeSet<Oid> = all_operators().map(|o| o.oid).collect();
            Some(only(fixed::rows("pg_operator"), |oid| ours.contains(&oid)))
        }
        "pg_aggregate" => Some(only(fixed::rows("pg_aggregate"), |oid| function_by_oid(oid).is_some())),
        _ => None,
    }
}

/// Rows whose first column is one of the OIDs.
fn only(rows: Option<&'static [Row]>, keep: impl Fn(Oid) -> bool) -> Vec<Row> {
    rows.unwrap_or(&[]).iter().filter(|r| r.first().and_then(Datum::as_oid).is_some_and(&keep)).cloned().collect()
}

fn type_row(fixed: &Row) -> Row {
    let mut cells = fixed.iter().cloned();
    let mut take = |n: usize, out: &mut Row| out.extend(cells.by_ref().take(n));
    let mut out = vec![];
    take(2, &mut out);
    out.extend(row![PG_CATALOG_OID, ROOT_ROLE_OID]);
    take(5, &mut out);
    out.push(true.datum());
    take(1, &mut out);
    out.push(0_u32.datum());
    take(12, &mut out);
    out.extend(row![false, 0_u32, NO_TYPMOD, 0]);
    take(1, &mut out);
    out.extend(row![(), (), ()]);
    out
}

/// The rows of `pg_proc`.
pub fn pg_proc() -> Vec<Row> {
    // `typinput` to `typmodout` of every type.
    let of_types: BTreeSet<Oid> =
        fixed::types().iter().flat_map(|r| r.get(11..17).unwrap_or(&[]).iter().filter_map(Datum::as_oid).collect::<Vec<_>>()).collect();
    let known = fixed::procs().values().filter(|p| function_by_oid(p.oid).is_some() || of_types.contains(&p.oid)).map(proc_row);
    let own = all_functions().filter(|f| !fixed::procs().contains_key(&f.oid)).map(own_proc_row);
    known.chain(own).collect()
}

fn proc_row(proc: &ProcRow) -> Row {
    let mut cells = proc.cells.iter().cloned();
    let mut take = |n: usize, out: &mut Row| out.extend(cells.by_ref().take(n));
    let arguments = match proc.cells.get(12) {
        Some(Datum::Array(a)) => a.elements.len() as i16,
        _ => 0,
    };
    let mut out = row![proc.oid, &proc.name, PG_CATALOG_OID, ROOT_ROLE_OID, INTERNAL_LANGUAGE];
    take(5, &mut out);
    out.push(false.datum());
    take(5, &mut out);
    out.push(arguments.datum());
    take(6, &mut out);
    // Defaults as text: the values after DEFAULT.
    let defaults = proc
        .arguments
        .as_ref()
        .map(|a| a.split(", ").filter_map(|a| a.split_once(" DEFAULT ")).map(|d| d.1).collect::<Vec<_>>().join(", "));
    out.extend(row![defaults, ()]);
    take(1, &mut out);
    out.extend(row![(), (), (), ()]);
    out
}

/// A function that PostgreSQL does not have.
fn own_proc_row(def: &FunctionDef) -> Row {
    let set = matches!(def.body, FunctionBody::Set { .. });
    let kind = match def.body {
        FunctionBody::Aggregate { .. } => 'a',
        FunctionBody::Window => 'w',
        _ => 'f',
    };
    let volatility = match def.volatility {
        Volatility::Immutable => 'i',
        Volatility::Stable => 's',
        Volatility::Volatile => 'v',
    };
    let variadic = def.args.last().filter(|_| def.variadic).and_then(|t| t.element()).map_or(0, |t| t.0);
    row![
        def.oid,
        def.name,
        PG_CATALOG_OID,
        ROOT_ROLE_OID,
        INTERNAL_LANGUAGE,
        1.0_f32,
        if set { 1000.0_f32 } else { 0.0 },
        variadic,
        0_u32,
        kind,
        false,
        false,
        def.strict,
        set,
        volatility,
        's',
        def.args.len() as i16,
        def.optional as i16,
        def.returns,
        vector(DataType::OID, def.args.iter().copied()),
        (),
        (),
        (),
        (),
        (),
        def.name,
        (),
        (),
        (),
        ()
    ]
}
