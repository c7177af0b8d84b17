//! `pg_constraint`, and `pg_depend` as far as clients use it: which column owns a sequence, which relations a view reads, which index a
//! constraint has.

use super::Cx;
use super::attributes::default_oid;
use super::cells::{Row, array, column_numbers, row};
use super::definitions::check_clause;
use super::expression::columns_used;
use super::fixed;
use super::view::{Constraint, constraints};
use crate::catalog::descriptor::*;
use crate::functions::operators_named;
use crate::types::{DataType, Datum};

/// Rows of the tables of this topic.
pub fn rows(cx: &Cx<'_>, table: &str) -> Option<Vec<Row>> {
    match table {
        "pg_constraint" => Some(pg_constraint(cx)),
        "pg_depend" => Some(pg_depend(cx)),
        _ => None,
    }
}

fn action_letter(action: ReferentialAction) -> char {
    match action {
        ReferentialAction::NoAction => 'a',
        ReferentialAction::Restrict => 'r',
        ReferentialAction::Cascade => 'c',
        ReferentialAction::SetNull => 'n',
        ReferentialAction::SetDefault => 'd',
    }
}

/// The equality operator between two types, 0 if there is none.
fn equality(a: DataType, b: DataType) -> Oid {
    let stand_in = |t: DataType| match t {
        DataType::VARCHAR => DataType::TEXT,
        _ if t.is_array() => DataType::ANYARRAY,
        _ if t.is_reg() => DataType::OID,
        _ => t,
    };
    operators_named("=").iter().find(|o| o.left == Some(stand_in(a)) && o.right == stand_in(b)).map_or(0, |o| o.oid)
}

fn pg_constraint(cx: &Cx<'_>) -> Vec<Row> {
    cx.view.tables().flat_map(|(r, t)| constraints(t).map(move |c| constraint_row(cx, r, t, c))).collect()
}

fn constraint_row(cx: &Cx<'_>, relation: &RelationDescriptor, table: &TableDescriptor, constraint: Constraint<'_>) -> Row {
    let none =
        || (false, false, true, 0_u32, 0_u32, (' ', ' ', ' '), true, Datum::Null, Datum::Null, [(); 3].map(|()| Datum::Null), Datum::Null);
    let (kind, (deferrable, deferred, validated, index, referenced, actions, no_inherit, key, other_key, operators, expression)) =
        match constraint {
            Constraint::Key(_, index, primary) => {
                let keys: Vec<u32> = index.keys.iter().map(|k| k.column).collect();
                let mut cells = none();
                (cells.3, cells.7) = (index.oid, column_numbers(&keys));
                (if primary { 'p' } else { 'u' }, cells)
            }
            Constraint::Check(check) => {
                let mut cells = none();
                (cells.2, cells.6) = (check.validated, false);
                cells.7 = column_numbers(&columns_used(&check.expression, &table.columns));
                cells.10 = Datum::text(check_clause(&cx.view, table, check, false));
                ('c', cells)
            }
            Constraint::Foreign(key) => {
                let mut cells = none();
                (cells.0, cells.1, cells.2) = (key.deferrable, key.initially_deferred, key.validated);
                cells.3 = cx.view.referenced_index(key).map_or(0, |i| i.oid);
                cells.4 = key.referenced_table;
                cells.5 = (action_letter(key.on_update), action_letter(key.on_delete), if key.match_full { 'f' } else { 's' });
                (cells.7, cells.8) = (column_numbers(&key.columns), column_numbers(&key.referenced_columns));
                cells.9 = foreign_operators(cx, table, key);
                ('f', cells)
            }
        };
    let [primary_foreign, primary_primary, foreign_foreign] = operators;
    row![
        constraint.oid(),
        constraint.name(),
        relation.schema,
        kind,
        deferrable,
        deferred,
        validated,
        relation.id,
        0_u32,
        index,
        0_u32,
        referenced,
        actions.0,
        actions.1,
        actions.2,
        true,
        0,
        no_inherit,
        key,
        other_key,
        primary_foreign,
        primary_primary,
        foreign_foreign,
        (),
        (),
        expression
    ]
}

/// `conpfeqop`, `conppeqop`, `conffeqop`.
fn foreign_operators(cx: &Cx<'_>, table: &TableDescriptor, key: &ForeignKeyDescriptor) -> [Datum; 3] {
    let ty = |t: Option<&TableDescriptor>, id: u32| t.and_then(|t| t.column(id)).map_or(DataType(0), |c| c.ty);
    let referenced = cx.view.catalog.relations.get(&key.referenced_table).and_then(|r| r.table());
    let pairs: Vec<(DataType, DataType)> =
        key.columns.iter().zip(&key.referenced_columns).map(|(f, p)| (ty(referenced, *p), ty(Some(table), *f))).collect();
    [
        array(DataType::OID, pairs.iter().map(|(p, f)| equality(*p, *f))),
        array(DataType::OID, pairs.iter().map(|(p, _)| equality(*p, *p))),
        array(DataType::OID, pairs.iter().map(|(_, f)| equality(*f, *f))),
    ]
}

fn pg_depend(cx: &Cx<'_>) -> Vec<Row> {
    let class = |name: &str| fixed::relation_named(name).map_or(0, |r| r.oid);
    let (pg_class, pg_attrdef, pg_rewrite, pg_constraint) =
        (class("pg_class"), class("pg_attrdef"), class("pg_rewrite"), class("pg_constraint"));
    let pg_namespace = class("pg_namespace");
    let mut out: Vec<Row> = vec![];
    let mut depends = |from: (Oid, Oid, u32), on: (Oid, Oid, u32), kind: char| {
        out.push(row![from.0, from.1, from.2 as i32, on.0, on.1, on.2 as i32, kind]);
    };
    for relation in cx.view.relations() {
        depends((pg_class, relation.id, 0), (pg_namespace, relation.schema, 0), 'n');
        match &relation.kind {
            RelationKind::Sequence(s) => {
                if let Some((table, column)) = s.owned_by {
                    // An identity column's sequence cannot be dropped on its own.
                    let identity = cx.view.catalog.relations.get(&table).and_then(|r| r.table()?.column(column)?.identity).is_some();
                    depends((pg_class, relation.id, 0), (pg_class, table, column), if identity { 'i' } else { 'a' });
                }
            }
            RelationKind::View(v) => {
                depends((pg_rewrite, relation.id, 0), (pg_class, relation.id, 0), 'i');
                v.depends_on.iter().for_each(|on| depends((pg_rewrite, relation.id, 0), (pg_class, *on, 0), 'n'));
            }
            RelationKind::Table(table) => {
                for column in table.columns.iter().filter(|c| !c.hidden && (c.default.is_some() || c.generated.is_some())) {
                    if column.identity.is_some() {
                        continue;
                    }
                    let default = (pg_attrdef, default_oid(relation.id, column.id), 0);
                    depends(default, (pg_class, relation.id, column.id), 'a');
                    if let Some(sequence) = column.owned_sequence {
                        depends(default, (pg_class, sequence, 0), 'n');
                    }
                }
                for index in super::view::shown_indexes(table) {
                    match index.constraint {
                        Some(ConstraintKind::Primary(oid) | ConstraintKind::Unique(oid)) => {
                            depends((pg_class, index.oid, 0), (pg_constraint, oid, 0), 'i');
                        }
                        None => index.keys.iter().for_each(|k| depends((pg_class, index.oid, 0), (pg_class, relation.id, k.column), 'a')),
                    }
                }
                for constraint in constraints(table) {
                    let columns = match constraint {
                        Constraint::Key(_, index, _) => index.keys.iter().map(|k| k.column).collect(),
                        Constraint::Check(check) => columns_used(&check.expression, &table.columns),
                        Constraint::Foreign(key) => key.columns.clone(),
                    };
                    columns.into_iter().for_each(|c| depends((pg_constraint, constraint.oid(), 0), (pg_class, relation.id, c), 'a'));
                    if let Constraint::Foreign(key) = constraint {
                        key.referenced_columns.iter().for_each(|c| {
                            depends((pg_constraint, constraint.oid(), 0), (pg_class, key.referenced_table, *c), 'n');
                        });
                    }
                }
            }
        }
    }
    out
}
