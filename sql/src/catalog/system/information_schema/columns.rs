//! `columns` and its relatives.

use super::{cells, data_type, digits, sparse, type_facts};
use crate::catalog::descriptor::*;
use crate::catalog::system::Cx;
use crate::catalog::system::cells::{Row, row, yes_no};
use crate::catalog::system::expression::columns_used;
use crate::catalog::system::fixed;
use crate::catalog::system::view::shown_columns;
use crate::types::{DataType, Datum, NO_TYPMOD};

/// Rows of the views of this topic.
pub fn rows(cx: &Cx<'_>, table: &str) -> Option<Vec<Row>> {
    match table {
        "columns" => Some(columns(cx)),
        "element_types" => Some(element_types(cx)),
        "column_udt_usage" => Some(column_udt_usage(cx)),
        "column_column_usage" => Some(column_column_usage(cx)),
        _ => None,
    }
}

/// What `columns` tells of a column of any relation.
struct Column<'a> {
    schema: Oid,
    relation: &'a str,
    name: &'a str,
    number: u32,
    ty: DataType,
    typmod: i32,
    nullable: bool,
    default: Option<String>,
    updatable: bool,
}

fn column_row(cx: &Cx<'_>, column: Column<'_>, more: Vec<(&'static str, Datum)>) -> Row {
    let database = cx.view.database_name();
    let ty = column.ty;
    let mut cells = cells! {
        table_catalog: database,
        table_schema: cx.view.schema_name(column.schema),
        table_name: column.relation,
        column_name: column.name,
        ordinal_position: column.number as i32,
        column_default: column.default,
        is_nullable: yes_no(column.nullable),
        data_type: data_type(ty),
        udt_catalog: database,
        udt_schema: "pg_catalog",
        udt_name: ty.typname(),
        dtd_identifier: digits(column.number),
        is_self_referencing: "NO",
        is_identity: "NO",
        identity_cycle: "NO",
        is_generated: "NEVER",
        is_updatable: yes_no(column.updatable),
    };
    // Only a collation that is not the default is told.
    if ty == DataType::NAME {
        cells.extend(cells! { collation_catalog: database, collation_schema: "pg_catalog", collation_name: "C" });
    }
    cells.extend(type_facts(ty, column.typmod));
    cells.extend(more);
    sparse("columns", cells)
}

/// What identity and generated columns add.
fn extra_facts(cx: &Cx<'_>, table: &TableDescriptor, column: &ColumnDescriptor) -> Vec<(&'static str, Datum)> {
    let mut more = vec![];
    if let Some(identity) = column.identity {
        let generation = if identity == Identity::Always { "ALWAYS" } else { "BY DEFAULT" };
        more.extend(cells! { is_identity: "YES", identity_generation: generation });
        let sequence = column.owned_sequence.and_then(|oid| cx.view.catalog.relations.get(&oid));
        if let Some(RelationKind::Sequence(s)) = sequence.map(|r| &r.kind) {
            more.extend(cells! {
                identity_start: digits(s.start),
                identity_increment: digits(s.increment),
                identity_maximum: digits(s.max),
                identity_minimum: digits(s.min),
                identity_cycle: yes_no(s.cycle),
            });
        }
    }
    if column.generated.is_some() {
        more.extend(cells! { is_generated: "ALWAYS", generation_expression: cx.view.default_text(table, column) });
    }
    more
}

fn columns(cx: &Cx<'_>) -> Vec<Row> {
    let mut out = vec![];
    for relation in fixed::relations() {
        for (((name, ty), not_null), number) in relation.columns.iter().zip(&relation.not_null).zip(1..) {
            let column = Column {
                schema: relation.schema,
                relation: relation.name,
                name,
                number,
                ty: *ty,
                typmod: NO_TYPMOD,
                nullable: !not_null,
                default: None,
                updatable: false,
            };
            out.push(column_row(cx, column, vec![]));
        }
    }
    for relation in cx.view.relations().filter(|r| !matches!(r.kind, RelationKind::Sequence(_))) {
        for column in shown_columns(relation) {
            let table = relation.table();
            let default = table.filter(|_| column.generated.is_none()).and_then(|t| cx.view.default_text(t, &column));
            let more = table.map(|t| extra_facts(cx, t, &column)).unwrap_or_default();
            let facts = Column {
                schema: relation.schema,
                relation: &relation.name,
                name: &column.name,
                number: column.id,
                ty: column.ty,
                typmod: column.typmod,
                nullable: !column.not_null,
                default,
                updatable: table.is_some(),
            };
            out.push(column_row(cx, facts, more));
        }
    }
    out
}

/// Tables and views with their columns: for views about columns.
fn each_column(cx: &Cx<'_>, mut visit: impl FnMut(&RelationDescriptor, &ColumnDescriptor)) {
    for relation in cx.view.relations().filter(|r| !matches!(r.kind, RelationKind::Sequence(_))) {
        shown_columns(relation).iter().for_each(|c| visit(relation, c));
    }
}

fn element_types(cx: &Cx<'_>) -> Vec<Row> {
    let mut out = vec![];
    let database = cx.view.database_name();
    each_column(cx, |relation, column| {
        let Some(element) = column.ty.element().filter(|_| column.ty.typname().starts_with('_')) else { return };
        out.push(sparse(
            "element_types",
            cells! {
                object_catalog: database,
                object_schema: cx.view.schema_name(relation.schema),
                object_name: &relation.name,
                object_type: if relation.table().is_some() { "TABLE" } else { "VIEW" },
                collection_type_identifier: digits(column.id),
                data_type: data_type(element),
                udt_catalog: database,
                udt_schema: "pg_catalog",
                udt_name: element.typname(),
                dtd_identifier: format!("a{}", column.id),
            },
        ));
    });
    out
}

fn column_udt_usage(cx: &Cx<'_>) -> Vec<Row> {
    let mut out = vec![];
    let database = cx.view.database_name();
    each_column(cx, |relation, column| {
        let schema = cx.view.schema_name(relation.schema);
        out.push(row![database, "pg_catalog", column.ty.typname(), database, schema, &relation.name, &column.name]);
    });
    out
}

fn column_column_usage(cx: &Cx<'_>) -> Vec<Row> {
    let mut out = vec![];
    for (relation, table) in cx.view.tables() {
        for dependent in table.columns.iter() {
            let Some(expression) = &dependent.generated else { continue };
            for used in columns_used(expression, &table.columns).into_iter().filter_map(|id| table.column(id)) {
                let schema = cx.view.schema_name(relation.schema);
                out.push(row![cx.view.database_name(), schema, &relation.name, &used.name, &dependent.name]);
            }
        }
    }
    out
}
