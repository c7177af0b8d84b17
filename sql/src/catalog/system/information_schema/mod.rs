//! `information_schema`: the SQL standard's view of the same objects.
//!
//! Rows are written by column name where most columns are NULL ([`sparse`]): the standard has many that PostgreSQL, and so Meridian, never fills.

mod columns;
mod constraints;
mod grants;
mod routines;

use super::Cx;
use super::cells::{Cell, Row, row, yes_no};
use super::definitions::view_definition;
use super::fixed;
use crate::catalog::descriptor::*;
use crate::types::{DataType, Datum, NO_TYPMOD, format_type};

/// Rows of the views of this schema.
pub fn rows(cx: &Cx<'_>, table: &str) -> Option<Vec<Row>> {
    columns::rows(cx, table)
        .or_else(|| constraints::rows(cx, table))
        .or_else(|| grants::rows(cx, table))
        .or_else(|| routines::rows(cx, table))
        .or_else(|| objects(cx, table))
}

/// A row from some of a table's columns; the others are NULL.
fn sparse(table: &str, cells: Vec<(&'static str, Datum)>) -> Row {
    let Some(relation) = fixed::relation_named(table) else { return vec![] };
    let mut row = vec![Datum::Null; relation.columns.len()];
    for (name, value) in cells {
        match relation.columns.iter().position(|c| c.0 == name) {
            Some(i) => row[i] = value,
            None => debug_assert!(false, "{table} has no column {name}"),
        }
    }
    row
}

/// `name => value` pairs for [`sparse`].
macro_rules! cells {
    ($($name:ident: $value:expr),* $(,)?) => { vec![$((stringify!($name), $crate::catalog::system::cells::Cell::datum($value))),*] };
}
use cells;

/// `data_type`: the SQL name, `ARRAY` for arrays.
fn data_type(ty: DataType) -> String {
    if ty.is_array() && ty.len() == -1 && ty.typname().starts_with('_') { "ARRAY".into() } else { format_type(ty, NO_TYPMOD) }
}

/// Length, precision and scale of a type with a modifier, in the standard's columns.
fn type_facts(ty: DataType, typmod: i32) -> Vec<(&'static str, Datum)> {
    let character = matches!(ty, DataType::TEXT | DataType::VARCHAR | DataType::BPCHAR);
    let length = (matches!(ty, DataType::VARCHAR | DataType::BPCHAR) && typmod >= 4).then(|| typmod - 4);
    let octets = character.then(|| length.map_or(1 << 30, |n| n.saturating_mul(4)));
    let numeric = (ty == DataType::NUMERIC && typmod >= 4).then(|| crate::types::data_type::numeric_typmod(typmod));
    let precision = match ty {
        DataType::INT2 => Some(16),
        DataType::INT4 => Some(32),
        DataType::INT8 => Some(64),
        DataType::FLOAT4 => Some(24),
        DataType::FLOAT8 => Some(53),
        _ => numeric.map(|n| n.0),
    };
    let integer = matches!(ty, DataType::INT2 | DataType::INT4 | DataType::INT8);
    let radix = if ty == DataType::NUMERIC { Some(10) } else { precision.map(|_| 2) };
    let seconds = match ty {
        DataType::DATE => Some(0),
        DataType::TIME | DataType::TIMETZ | DataType::TIMESTAMP | DataType::TIMESTAMPTZ => Some(if typmod < 0 { 6 } else { typmod }),
        DataType::INTERVAL => Some(if typmod < 0 || typmod & 0xffff == 0xffff { 6 } else { typmod & 0xffff }),
        _ => None,
    };
    let fields = (ty == DataType::INTERVAL).then(|| {
        let text = format_type(ty, typmod);
        text.trim_start_matches("interval").trim_start_matches(|c: char| c == '(' || c == ')' || c.is_ascii_digit()).trim().to_uppercase()
    });
    cells! {
        character_maximum_length: length,
        character_octet_length: octets,
        numeric_precision: precision,
        numeric_precision_radix: radix,
        numeric_scale: if integer { Some(0) } else { numeric.map(|n| n.1) },
        datetime_precision: seconds,
        interval_type: fields.filter(|f| !f.is_empty()),
    }
}

/// Views about whole objects.
fn objects(cx: &Cx<'_>, table: &str) -> Option<Vec<Row>> {
    let view = &cx.view;
    let catalog = view.database_name();
    Some(match table {
        "information_schema_catalog_name" => vec![row![catalog]],
        "schemata" => {
            let schema = |(_, name, owner, _): (Oid, &str, Oid, Option<&str>)| row![catalog, name, view.role_name(owner), (), (), (), ()];
            view.schemas().into_iter().map(schema).collect()
        }
        "tables" => {
            let row = |schema, name: &str, table: bool| {
                let kind = if table { "BASE TABLE" } else { "VIEW" };
                row![catalog, view.schema_name(schema), name, kind, (), (), (), (), (), yes_no(table), "NO", ()]
            };
            let system = fixed::relations().iter().map(|r| row(r.schema, r.name, r.kind == 'r'));
            let own = view.relations().filter(|r| !matches!(r.kind, RelationKind::Sequence(_)));
            system.chain(own.map(|r| row(r.schema, &r.name, r.table().is_some()))).collect()
        }
        "views" => {
            let row = |schema, name: &str, text: Option<String>| {
                row![catalog, view.schema_name(schema), name, text, "NONE", "NO", "NO", "NO", "NO", "NO"]
            };
            let system = fixed::relations().iter().filter(|r| r.kind == 'v').map(|r| row(r.schema, r.name, None));
            system.chain(view.views().map(|(r, v)| row(r.schema, &r.name, Some(view_definition(v))))).collect()
        }
        "view_table_usage" => {
            let mut out = vec![];
            for (r, v) in view.views() {
                for read in v.depends_on.iter().filter_map(|oid| view.class(*oid)) {
                    let (from, to) = (view.schema_name(r.schema), view.schema_name(read.schema()));
                    out.push(row![catalog, from, &r.name, catalog, to, read.name()]);
                }
            }
            out
        }
        "sequences" => {
            let own = |(r, _): &(&RelationDescriptor, &SequenceDescriptor)| !is_identity_sequence(cx, r);
            let row = |(r, s): (&RelationDescriptor, &SequenceDescriptor)| {
                let bits = i32::from(s.ty.len()) * 8;
                let [start, min, max, step] = [s.start, s.min, s.max, s.increment].map(|n| n.to_string());
                row![catalog, view.schema_name(r.schema), &r.name, s.ty.name(), bits, 2, 0, start, min, max, step, yes_no(s.cycle)]
            };
            view.sequences().filter(own).map(row).collect()
        }
        "character_sets" => vec![row![(), (), "UTF8", "UCS", "UTF8", catalog, "pg_catalog", "default"]],
        "collations" => ["default", "C", "POSIX"].iter().map(|name| row![catalog, "pg_catalog", *name, "NO PAD"]).collect(),
        "collation_character_set_applicability" => {
            ["default", "C", "POSIX"].iter().map(|name| row![catalog, "pg_catalog", *name, (), (), "UTF8"]).collect()
        }
        "enabled_roles" => enabled_roles(cx).into_iter().map(|r| row![r]).collect(),
        _ => return None,
    })
}

/// Whether an identity column owns the sequence.
fn is_identity_sequence(cx: &Cx<'_>, relation: &RelationDescriptor) -> bool {
    let RelationKind::Sequence(s) = &relation.kind else { return false };
    s.owned_by
        .is_some_and(|(table, column)| cx.view.catalog.relations.get(&table).and_then(|r| r.table()?.column(column)?.identity).is_some())
}

/// Roles whose privileges the user has: itself, or all for a superuser.
fn enabled_roles<'c>(cx: &'c Cx<'_>) -> Vec<&'c str> {
    let all = super::roles::is_superuser(cx);
    cx.view.catalog.roles.values().filter(|r| all || r.name == cx.session.user).map(|r| r.name.as_str()).collect()
}

/// `"char"`-free helper: a number as the text that the standard wants.
fn digits(n: impl std::fmt::Display) -> Datum {
    n.to_string().datum()
}
