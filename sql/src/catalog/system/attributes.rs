//! Columns: `pg_attribute`, `pg_attrdef`.

use super::Cx;
use super::cells::{Row, row};
use super::fixed;
use super::view::{shown_columns, shown_indexes};
use crate::catalog::descriptor::*;
use crate::types::{DataType, NO_TYPMOD};

/// Rows of the tables of this topic.
pub fn rows(cx: &Cx<'_>, table: &str) -> Option<Vec<Row>> {
    match table {
        "pg_attribute" => Some(pg_attribute(cx)),
        "pg_attrdef" => Some(pg_attrdef(cx)),
        _ => None,
    }
}

/// The OID of a column's default: defaults have none of their own, so it is made from the table's and the column's number.
pub fn default_oid(table: Oid, column: u32) -> Oid {
    table.wrapping_mul(2048).wrapping_add(column)
}

/// What of a `pg_attribute` row differs between columns.
struct Attribute<'a> {
    relation: Oid,
    name: &'a str,
    number: u32,
    ty: DataType,
    typmod: i32,
    not_null: bool,
    has_default: bool,
    has_missing: bool,
    identity: char,
    generated: char,
    /// Of a system table: names and texts of those are in collation C.
    system: bool,
}

/// Collation `C`.
const C_COLLATION: Oid = 950;
/// `"char"` of length zero.
const NOTHING: char = '\0';

impl Attribute<'_> {
    fn row(self) -> Row {
        let info = self.ty.info();
        row![
            self.relation,
            self.name,
            self.ty,
            -1,
            self.ty.len(),
            self.number as i16,
            i32::from(self.ty.is_array()),
            -1,
            self.typmod,
            info.is_some_and(|i| i.by_value),
            info.map_or('i', |i| i.align),
            info.map_or('p', |i| i.storage),
            NOTHING,
            self.not_null,
            self.has_default,
            self.has_missing,
            self.identity,
            self.generated,
            false,
            true,
            0,
            info.map_or(0, |i| if self.system && i.collation != 0 { C_COLLATION } else { i.collation }),
            (),
            (),
            (),
            ()
        ]
    }
}

fn of_column<'a>(relation: Oid, number: u32, c: &'a ColumnDescriptor) -> Attribute<'a> {
    Attribute {
        relation,
        name: &c.name,
        number,
        ty: c.ty,
        typmod: c.typmod,
        not_null: c.not_null,
        has_default: c.generated.is_some() || (c.default.is_some() && c.identity.is_none()),
        has_missing: c.missing_value.is_some(),
        identity: match c.identity {
            Some(Identity::Always) => 'a',
            Some(Identity::ByDefault) => 'd',
            None => NOTHING,
        },
        generated: if c.generated.is_some() { 's' } else { NOTHING },
        system: false,
    }
}

fn pg_attribute(cx: &Cx<'_>) -> Vec<Row> {
    let mut out = vec![];
    for relation in fixed::relations() {
        for (((name, ty), not_null), number) in relation.columns.iter().zip(&relation.not_null).zip(1..) {
            let attribute = Attribute {
                relation: relation.oid,
                name,
                number,
                ty: *ty,
                typmod: NO_TYPMOD,
                not_null: *not_null,
                has_default: false,
                has_missing: false,
                identity: NOTHING,
                generated: NOTHING,
                system: relation.kind == 'r',
            };
            out.push(attribute.row());
        }
    }
    for relation in cx.view.relations() {
        out.extend(shown_columns(relation).iter().map(|c| of_column(relation.id, c.id, c).row()));
        let Some(table) = relation.table() else { continue };
        for index in shown_indexes(table) {
            let columns = index.keys.iter().map(|k| k.column).chain(index.include.iter().copied()).filter_map(|id| table.column(id));
            out.extend(columns.zip(1..).map(|(column, number)| {
                let plain = Attribute {
                    not_null: false,
                    has_default: false,
                    has_missing: false,
                    identity: NOTHING,
                    generated: NOTHING,
                    ..of_column(index.oid, number, column)
                };
                plain.row()
            }));
        }
    }
    out
}

fn pg_attrdef(cx: &Cx<'_>) -> Vec<Row> {
    let mut out = vec![];
    for (relation, table) in cx.view.tables() {
        for column in table.columns.iter().filter(|c| !c.hidden) {
            if let Some(text) = cx.view.default_text(table, column) {
                out.push(row![default_oid(relation.id, column.id), relation.id, column.id as i16, text]);
            }
        }
    }
    out
}
