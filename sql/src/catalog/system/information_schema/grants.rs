//! Privileges. Without GRANT, an object's owner holds everything, with the right to grant it, and system relations may be read by all.

use super::enabled_roles;
use crate::catalog::descriptor::*;
use crate::catalog::system::Cx;
use crate::catalog::system::cells::{Row, row, yes_no};
use crate::catalog::system::fixed;
use crate::catalog::system::view::shown_columns;

const TABLE_PRIVILEGES: [&str; 7] = ["INSERT", "SELECT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"];
const COLUMN_PRIVILEGES: [&str; 4] = ["INSERT", "SELECT", "UPDATE", "REFERENCES"];

/// Rows of the views of this topic.
pub fn rows(cx: &Cx<'_>, table: &str) -> Option<Vec<Row>> {
    let enabled = |rows: Vec<Row>| {
        let roles = enabled_roles(cx);
        let granted = |row: &Row| row.get(1).and_then(|g| g.as_str()).is_some_and(|g| roles.contains(&g));
        rows.into_iter().filter(granted).collect()
    };
    match table {
        "table_privileges" => Some(table_privileges(cx)),
        "role_table_grants" => Some(enabled(table_privileges(cx))),
        "column_privileges" => Some(column_privileges(cx)),
        "role_column_grants" => Some(enabled(column_privileges(cx))),
        "usage_privileges" => Some(usage_privileges(cx)),
        "role_usage_grants" => Some(enabled(usage_privileges(cx))),
        _ => None,
    }
}

/// Tables and views, not sequences.
fn tables_and_views<'c>(cx: &'c Cx<'_>) -> impl Iterator<Item = &'c RelationDescriptor> {
    cx.view.relations().filter(|r| !matches!(r.kind, RelationKind::Sequence(_)))
}

fn table_privileges(cx: &Cx<'_>) -> Vec<Row> {
    let database = cx.view.database_name();
    let mut out = vec![];
    for r in tables_and_views(cx) {
        let owner = cx.view.role_name(r.owner);
        for privilege in TABLE_PRIVILEGES {
            let hierarchy = yes_no(privilege == "SELECT");
            out.push(row![owner, owner, database, cx.view.schema_name(r.schema), &r.name, privilege, "YES", hierarchy]);
        }
    }
    let root = cx.view.role_name(ROOT_ROLE_OID);
    for r in fixed::relations() {
        out.push(row![root, "PUBLIC", database, cx.view.schema_name(r.schema), r.name, "SELECT", "NO", "YES"]);
    }
    out
}

fn column_privileges(cx: &Cx<'_>) -> Vec<Row> {
    let database = cx.view.database_name();
    let mut out = vec![];
    for r in tables_and_views(cx) {
        let owner = cx.view.role_name(r.owner);
        for column in shown_columns(r) {
            for privilege in COLUMN_PRIVILEGES {
                out.push(row![owner, owner, database, cx.view.schema_name(r.schema), &r.name, &column.name, privilege, "YES"]);
            }
        }
    }
    out
}

fn usage_privileges(cx: &Cx<'_>) -> Vec<Row> {
    let database = cx.view.database_name();
    let root = cx.view.role_name(ROOT_ROLE_OID);
    let collations = ["default", "C", "POSIX"];
    let collation = |name: &&str| row![root, "PUBLIC", database, "pg_catalog", *name, "COLLATION", "USAGE", "NO"];
    let sequence = |(r, _): (&RelationDescriptor, &SequenceDescriptor)| {
        let owner = cx.view.role_name(r.owner);
        row![owner, owner, database, cx.view.schema_name(r.schema), &r.name, "SEQUENCE", "USAGE", "YES"]
    };
    collations.iter().map(collation).chain(cx.view.sequences().map(sequence)).collect()
}
