//! Relations: `pg_class`, `pg_index`, `pg_sequence`, and the views over them.

use super::Cx;
use super::cells::{Row, row, vector};
use super::definitions::{index_definition, view_definition};
use super::fixed;
use super::view::{shown_columns, shown_indexes};
use crate::catalog::descriptor::*;
use crate::error::Result;
use crate::types::{DataType, Datum};

/// Access method `heap`.
const HEAP: Oid = 2;
/// Access method `btree`.
const BTREE: Oid = 403;

/// Rows of the tables of this topic.
pub fn rows(cx: &Cx<'_>, table: &str) -> Option<Vec<Row>> {
    Some(match table {
        "pg_class" => pg_class(cx),
        "pg_index" => pg_index(cx),
        "pg_sequence" => pg_sequence(cx),
        "pg_tables" => pg_tables(cx),
        "pg_views" => pg_views(cx),
        "pg_indexes" => pg_indexes(cx),
        "pg_rewrite" => {
            // The rule that makes a view a view; its OID is the view's.
            let rule =
                |(r, v): (&RelationDescriptor, &ViewDescriptor)| row![r.id, "_RETURN", r.id, '1', 'O', true, "<>", view_definition(v)];
            cx.view.views().map(rule).collect()
        }
        _ => return None,
    })
}

/// What of a `pg_class` row differs between relations.
struct ClassRow<'a> {
    oid: Oid,
    name: &'a str,
    schema: Oid,
    owner: Oid,
    kind: char,
    method: Oid,
    storage: Oid,
    columns: usize,
    checks: usize,
    rows: Option<u64>,
    has_index: bool,
    has_rules: bool,
    has_triggers: bool,
    shared: bool,
}

impl ClassRow<'_> {
    fn row(self) -> Row {
        // PostgreSQL: the old row's identity is the primary key, and only tables have one.
        let identity = if self.kind == 'r' && self.oid >= FIRST_USER_OID { 'd' } else { 'n' };
        let tuples = match (self.kind, self.rows) {
            ('r' | 'i', None) => -1.0,
            ('S', _) => 1.0,
            (_, rows) => rows.unwrap_or(0) as f32,
        };
        row![
            self.oid,
            self.name,
            self.schema,
            0_u32,
            0_u32,
            self.owner,
            self.method,
            self.storage,
            0_u32,
            0,
            tuples,
            0,
            0_u32,
            self.has_index,
            self.shared,
            'p',
            self.kind,
            self.columns as i16,
            self.checks as i16,
            self.has_rules,
            self.has_triggers,
            false,
            false,
            false,
            true,
            identity,
            false,
            0_u32,
            0_u32,
            0_u32,
            (),
            (),
            ()
        ]
    }
}

/// Tables of `pg_catalog` that all databases share.
const SHARED: [&str; 11] = [
    "pg_authid",
    "pg_auth_members",
    "pg_database",
    "pg_db_role_setting",
    "pg_parameter_acl",
    "pg_replication_origin",
    "pg_shdepend",
    "pg_shdescription",
    "pg_shseclabel",
    "pg_subscription",
    "pg_tablespace",
];

fn pg_class(cx: &Cx<'_>) -> Vec<Row> {
    let system = fixed::relations().iter().map(|r| ClassRow {
        oid: r.oid,
        name: r.name,
        schema: r.schema,
        owner: ROOT_ROLE_OID,
        kind: r.kind,
        method: if r.kind == 'r' { HEAP } else { 0 },
        storage: 0,
        columns: r.columns.len(),
        checks: 0,
        rows: Some(0),
        has_index: false,
        has_rules: r.kind == 'v',
        has_triggers: false,
        shared: SHARED.contains(&r.name),
    });
    let mut out: Vec<Row> = system.map(ClassRow::row).collect();
    for relation in cx.view.relations() {
        out.push(relation_row(cx, relation).row());
        let Some(table) = relation.table() else { continue };
        for index in shown_indexes(table) {
            let row = ClassRow {
                oid: index.oid,
                name: &index.name,
                schema: relation.schema,
                owner: relation.owner,
                kind: 'i',
                method: BTREE,
                storage: index.oid,
                columns: index.keys.len() + index.include.len(),
                checks: 0,
                rows: cx.view.catalog.row_counts.get(&relation.id).copied(),
                has_index: false,
                has_rules: false,
                has_triggers: false,
                shared: false,
            };
            out.push(row.row());
        }
    }
    out
}

fn relation_row<'a>(cx: &Cx<'_>, relation: &'a RelationDescriptor) -> ClassRow<'a> {
    let mut row = ClassRow {
        oid: relation.id,
        name: &relation.name,
        schema: relation.schema,
        owner: relation.owner,
        kind: 'r',
        method: HEAP,
        storage: relation.id,
        columns: shown_columns(relation).iter().map(|c| c.id as usize).max().unwrap_or(0),
        checks: 0,
        rows: cx.view.catalog.row_counts.get(&relation.id).copied(),
        has_index: false,
        has_rules: false,
        has_triggers: false,
        shared: false,
    };
    match &relation.kind {
        RelationKind::Table(table) => {
            row.storage = table.storage_id;
            row.checks = table.checks.len();
            row.has_index = shown_indexes(table).next().is_some();
            // Foreign keys are triggers in PostgreSQL: clients look for them only where there are some.
            row.has_triggers = !table.foreign_keys.is_empty() || !table.referenced_by.is_empty();
        }
        RelationKind::View(_) => (row.kind, row.method, row.storage, row.has_rules) = ('v', 0, 0, true),
        RelationKind::Sequence(_) => (row.kind, row.method) = ('S', 0),
    }
    row
}

/// The default `btree` operator class of a type.
fn operator_class(ty: DataType) -> Oid {
    let class = |input: DataType| {
        let is = |r: &&Row| r.get(6).and_then(Datum::as_oid) == Some(input.0) && r.get(7).and_then(Datum::as_bool) == Some(true);
        fixed::rows("pg_opclass").unwrap_or(&[]).iter().find(is).and_then(|r| r.first()?.as_oid())
    };
    let stand_in = match ty {
        DataType::VARCHAR => DataType::TEXT,
        _ if ty.is_array() => DataType::ANYARRAY,
        _ if ty.is_reg() => DataType::OID,
        _ => ty,
    };
    class(ty).or_else(|| class(stand_in)).unwrap_or(0)
}

fn pg_index(cx: &Cx<'_>) -> Vec<Row> {
    let mut out = vec![];
    for (relation, table) in cx.view.tables() {
        for index in shown_indexes(table) {
            let types: Vec<DataType> = index.keys.iter().filter_map(|k| table.column(k.column).map(|c| c.ty)).collect();
            let all = index.keys.iter().map(|k| k.column).chain(index.include.iter().copied());
            let predicate = index.predicate.as_ref().map(|p| cx.view.print(&table.columns, false, |printer| printer.expression(p)));
            out.push(row![
                index.oid,
                relation.id,
                (index.keys.len() + index.include.len()) as i16,
                index.keys.len() as i16,
                index.unique,
                false,
                matches!(index.constraint, Some(ConstraintKind::Primary(_))),
                false,
                true,
                false,
                index.state == IndexState::Public,
                false,
                true,
                true,
                false,
                vector(DataType::INT2, all.map(|id| id as i16)),
                vector(DataType::OID, types.iter().map(|t| t.info().map_or(0, |i| i.collation))),
                vector(DataType::OID, types.iter().map(|t| operator_class(*t))),
                vector(DataType::INT2, index.keys.iter().map(|k| i16::from(k.descending) + 2 * i16::from(k.nulls_first))),
                (),
                predicate
            ]);
        }
    }
    out
}

fn pg_sequence(cx: &Cx<'_>) -> Vec<Row> {
    cx.view.sequences().map(|(r, s)| row![r.id, s.ty, s.start, s.increment, s.max, s.min, s.cache, s.cycle]).collect()
}

/// `pg_sequences`, whose last values are in the store.
pub async fn pg_sequences(cx: &Cx<'_>) -> Result<Vec<Row>> {
    let mut out = vec![];
    for (r, s) in cx.view.sequences() {
        let last = cx.extras.sequence_last_value(r.id).await?;
        let (schema, owner) = (cx.view.schema_name(r.schema), cx.view.role_name(r.owner));
        out.push(row![schema, &r.name, owner, s.ty, s.start, s.min, s.max, s.increment, s.cycle, s.cache, last]);
    }
    Ok(out)
}

/// What `SELECT * FROM sequence` shows, of every sequence.
pub async fn sequence_states(cx: &Cx<'_>) -> Result<Vec<Row>> {
    let mut out = vec![];
    for (r, s) in cx.view.sequences() {
        let (last, called) = cx.extras.sequence_state(r.id).await?.unwrap_or((s.start, false));
        out.push(row![r.id, last, 0_i64, called]);
    }
    Ok(out)
}

fn pg_tables(cx: &Cx<'_>) -> Vec<Row> {
    let root = cx.view.role_name(ROOT_ROLE_OID);
    let system = fixed::relations().iter().filter(|r| r.kind == 'r');
    let system = system.map(|r| row![cx.view.schema_name(r.schema), r.name, root, (), false, false, false, false]);
    let own = cx.view.tables().map(|(r, t)| {
        let class = relation_row(cx, r);
        let indexed = shown_indexes(t).next().is_some();
        row![cx.view.schema_name(r.schema), &r.name, cx.view.role_name(r.owner), (), indexed, false, class.has_triggers, false]
    });
    system.chain(own).collect()
}

fn pg_views(cx: &Cx<'_>) -> Vec<Row> {
    let root = cx.view.role_name(ROOT_ROLE_OID);
    let system = fixed::relations().iter().filter(|r| r.kind == 'v').map(|r| row![cx.view.schema_name(r.schema), r.name, root, ()]);
    let own = cx.view.views().map(|(r, v)| row![cx.view.schema_name(r.schema), &r.name, cx.view.role_name(r.owner), view_definition(v)]);
    system.chain(own).collect()
}

fn pg_indexes(cx: &Cx<'_>) -> Vec<Row> {
    let mut out = vec![];
    for (relation, table) in cx.view.tables() {
        for index in shown_indexes(table) {
            let text = index_definition(&cx.view, relation, table, index, 0, false);
            out.push(row![cx.view.schema_name(relation.schema), &relation.name, &index.name, (), text]);
        }
    }
    out
}
