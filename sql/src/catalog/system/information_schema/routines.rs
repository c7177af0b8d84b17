//! Functions and their parameters, read from `pg_proc`.

use super::{cells, data_type, digits, sparse};
use crate::catalog::system::Cx;
use crate::catalog::system::cells::{Row, yes_no};
use crate::catalog::system::definitions::arguments;
use crate::catalog::system::types::pg_proc;
use crate::types::{DataType, Datum};

/// Rows of the views of this topic.
pub fn rows(cx: &Cx<'_>, table: &str) -> Option<Vec<Row>> {
    match table {
        "routines" => Some(pg_proc().iter().map(|p| routine(cx, p)).collect()),
        "parameters" => Some(pg_proc().iter().flat_map(|p| parameters(cx, p)).collect()),
        _ => None,
    }
}

/// OID and name of a row of `pg_proc`.
fn identity(proc: &Row) -> (u32, &str) {
    (proc.first().and_then(Datum::as_oid).unwrap_or(0), proc.get(1).and_then(Datum::as_str).unwrap_or_default())
}

fn routine(cx: &Cx<'_>, proc: &Row) -> Row {
    let database = cx.view.database_name();
    let (oid, name) = identity(proc);
    let letter = |i: usize| match proc.get(i) {
        Some(Datum::Char(c)) => *c,
        _ => 0,
    };
    let returns = DataType(proc.get(18).and_then(Datum::as_oid).unwrap_or(0));
    let strict = proc.get(12).and_then(Datum::as_bool).unwrap_or(false);
    sparse(
        "routines",
        cells! {
            specific_catalog: database,
            specific_schema: "pg_catalog",
            specific_name: format!("{name}_{oid}"),
            routine_catalog: database,
            routine_schema: "pg_catalog",
            routine_name: name,
            routine_type: (letter(9) == b'f').then_some("FUNCTION"),
            data_type: data_type(returns),
            type_udt_catalog: database,
            type_udt_schema: "pg_catalog",
            type_udt_name: returns.typname(),
            dtd_identifier: "0",
            routine_body: "EXTERNAL",
            routine_definition: proc.get(25).cloned(),
            external_language: "INTERNAL",
            parameter_style: "GENERAL",
            is_deterministic: yes_no(letter(14) == b'i'),
            sql_data_access: "MODIFIES",
            is_null_call: yes_no(strict),
            schema_level_routine: "YES",
            max_dynamic_result_sets: 0,
            security_type: "INVOKER",
            as_locator: "NO",
            is_udt_dependent: "NO",
        },
    )
}

fn parameters(cx: &Cx<'_>, proc: &Row) -> Vec<Row> {
    let database = cx.view.database_name();
    let (oid, name) = identity(proc);
    let row = |(i, (mode, parameter, ty)): (usize, (u8, String, DataType))| {
        let mode = match mode {
            b'o' | b't' => "OUT",
            b'b' => "INOUT",
            _ => "IN",
        };
        sparse(
            "parameters",
            cells! {
                specific_catalog: database,
                specific_schema: "pg_catalog",
                specific_name: format!("{name}_{oid}"),
                ordinal_position: i as i32 + 1,
                parameter_mode: mode,
                is_result: "NO",
                as_locator: "NO",
                parameter_name: (!parameter.is_empty()).then_some(parameter),
                data_type: data_type(ty),
                udt_catalog: database,
                udt_schema: "pg_catalog",
                udt_name: ty.typname(),
                dtd_identifier: digits(i + 1),
            },
        )
    };
    arguments(oid).into_iter().enumerate().map(row).collect()
}
