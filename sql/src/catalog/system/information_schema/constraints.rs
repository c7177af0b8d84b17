//! Constraints, as the standard divides them.

use crate::catalog::descriptor::*;
use crate::catalog::system::Cx;
use crate::catalog::system::cells::{Row, row, yes_no};
use crate::catalog::system::definitions::{action_words, constraint_definition};
use crate::catalog::system::expression::columns_used;
use crate::catalog::system::view::{Constraint, constraints};

/// Rows of the views of this topic.
pub fn rows(cx: &Cx<'_>, table: &str) -> Option<Vec<Row>> {
    match table {
        "table_constraints" => Some(table_constraints(cx)),
        "key_column_usage" => Some(key_column_usage(cx)),
        "constraint_column_usage" => Some(constraint_column_usage(cx)),
        "constraint_table_usage" => Some(constraint_table_usage(cx)),
        "referential_constraints" => Some(referential_constraints(cx)),
        "check_constraints" => Some(check_constraints(cx)),
        _ => None,
    }
}

/// Every constraint with its table.
fn all<'c>(cx: &'c Cx<'_>) -> impl Iterator<Item = (&'c RelationDescriptor, &'c TableDescriptor, Constraint<'c>)> {
    cx.view.tables().flat_map(|(r, t)| constraints(t).map(move |c| (r, t, c)))
}

/// NOT NULL is a CHECK to the standard: its made-up name, and its column.
fn not_nulls<'c>(cx: &'c Cx<'_>) -> impl Iterator<Item = (&'c RelationDescriptor, String, &'c ColumnDescriptor)> {
    cx.view.tables().flat_map(|(r, t)| {
        let columns = t.columns.iter().filter(|c| c.not_null && !c.hidden);
        columns.map(move |c| (r, format!("{}_{}_{}_not_null", r.schema, r.id, c.id), c))
    })
}

fn table_constraints(cx: &Cx<'_>) -> Vec<Row> {
    let (database, schema) = (cx.view.database_name(), |r: &RelationDescriptor| cx.view.schema_name(r.schema));
    let listed = all(cx).map(|(r, _, c)| {
        let (kind, deferrable, deferred) = match c {
            Constraint::Key(_, _, true) => ("PRIMARY KEY", false, false),
            Constraint::Key(..) => ("UNIQUE", false, false),
            Constraint::Check(_) => ("CHECK", false, false),
            Constraint::Foreign(f) => ("FOREIGN KEY", f.deferrable, f.initially_deferred),
        };
        let nulls = (kind == "UNIQUE").then_some("YES");
        let (deferrable, deferred) = (yes_no(deferrable), yes_no(deferred));
        row![database, schema(r), c.name(), database, schema(r), &r.name, kind, deferrable, deferred, "YES", nulls]
    });
    let not_null =
        not_nulls(cx).map(|(r, name, _)| row![database, schema(r), name, database, schema(r), &r.name, "CHECK", "NO", "NO", "YES", ()]);
    listed.chain(not_null).collect()
}

fn key_column_usage(cx: &Cx<'_>) -> Vec<Row> {
    let database = cx.view.database_name();
    let mut out = vec![];
    for (r, t, c) in all(cx) {
        let (columns, positions): (Vec<u32>, Vec<Option<i32>>) = match c {
            Constraint::Key(_, index, _) => (index.keys.iter().map(|k| k.column).collect(), vec![]),
            Constraint::Foreign(key) => {
                let index = cx.view.referenced_index(key);
                let at = |column: &u32| index?.keys.iter().position(|k| k.column == *column).map(|i| i as i32 + 1);
                (key.columns.clone(), key.referenced_columns.iter().map(at).collect())
            }
            Constraint::Check(_) => continue,
        };
        for (i, id) in columns.iter().enumerate() {
            let schema = cx.view.schema_name(r.schema);
            let column = t.column(*id).map(|c| c.name.as_str());
            let position = positions.get(i).copied().flatten();
            out.push(row![database, schema, c.name(), database, schema, &r.name, column, i as i32 + 1, position]);
        }
    }
    out
}

fn constraint_column_usage(cx: &Cx<'_>) -> Vec<Row> {
    let database = cx.view.database_name();
    let mut out = vec![];
    for (r, t, c) in all(cx) {
        let referenced = match c {
            Constraint::Foreign(key) => cx.view.catalog.relations.get(&key.referenced_table).map(|r| (r, &key.referenced_columns)),
            _ => None,
        };
        let (relation, columns) = match (c, referenced) {
            (Constraint::Key(_, index, _), _) => (r, index.keys.iter().map(|k| k.column).collect()),
            (Constraint::Check(check), _) => (r, columns_used(&check.expression, &t.columns)),
            (Constraint::Foreign(_), Some((relation, columns))) => (&**relation, columns.clone()),
            (Constraint::Foreign(_), None) => continue,
        };
        for column in columns.iter().filter_map(|id| relation.table()?.column(*id)) {
            let schema = cx.view.schema_name(relation.schema);
            out.push(row![database, schema, &relation.name, &column.name, database, cx.view.schema_name(r.schema), c.name()]);
        }
    }
    out
}

fn constraint_table_usage(cx: &Cx<'_>) -> Vec<Row> {
    let database = cx.view.database_name();
    let usage = |(r, _, c): (&RelationDescriptor, &TableDescriptor, Constraint<'_>)| {
        let used = match c {
            Constraint::Key(..) => r,
            Constraint::Foreign(key) => cx.view.catalog.relations.get(&key.referenced_table)?,
            Constraint::Check(_) => return None,
        };
        let schema = cx.view.schema_name(used.schema);
        Some(row![database, schema, &used.name, database, cx.view.schema_name(r.schema), c.name()])
    };
    all(cx).filter_map(usage).collect()
}

fn referential_constraints(cx: &Cx<'_>) -> Vec<Row> {
    let database = cx.view.database_name();
    let mut out = vec![];
    for (r, _, c) in all(cx) {
        let Constraint::Foreign(key) = c else { continue };
        // A unique index without a constraint has no name here.
        let unique = cx.view.referenced_index(key).filter(|i| i.constraint.is_some());
        let schema = cx.view.catalog.relations.get(&key.referenced_table).and_then(|r| cx.view.schema_name(r.schema));
        out.push(row![
            database,
            cx.view.schema_name(r.schema),
            &key.name,
            unique.map(|_| database),
            unique.and(schema),
            unique.map(|i| &i.name),
            if key.match_full { "FULL" } else { "NONE" },
            action_words(key.on_update),
            action_words(key.on_delete)
        ]);
    }
    out
}

fn check_constraints(cx: &Cx<'_>) -> Vec<Row> {
    let database = cx.view.database_name();
    let checks = all(cx).filter(|(.., c)| matches!(c, Constraint::Check(_))).map(|(r, t, c)| {
        let text = constraint_definition(&cx.view, t, c, false);
        row![database, cx.view.schema_name(r.schema), c.name(), text.trim_start_matches("CHECK ")]
    });
    let not_null = not_nulls(cx).map(|(r, name, c)| {
        row![database, cx.view.schema_name(r.schema), name, format!("{} IS NOT NULL", crate::functions::quote_ident(&c.name))]
    });
    checks.chain(not_null).collect()
}
