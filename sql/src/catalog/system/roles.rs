//! Roles: `pg_authid` and the views over it. Roles have no members and no settings of their own.

use super::Cx;
use super::cells::{Row, array, row};
use crate::catalog::descriptor::{ROOT_ROLE_OID, RoleDescriptor};
use crate::types::DataType;

/// Rows of the tables of this topic.
pub fn rows(cx: &Cx<'_>, table: &str) -> Option<Vec<Row>> {
    let all = || cx.view.catalog.roles.values().map(|r| &**r);
    let login = || all().filter(|r| r.login);
    let make: Vec<Row> = match table {
        "pg_authid" if !is_superuser(cx) => vec![],
        "pg_authid" => all().map(authid).collect(),
        "pg_roles" => all().map(role).collect(),
        "pg_user" => login().map(|r| user(r, "********".into())).collect(),
        "pg_shadow" if !is_superuser(cx) => vec![],
        // Verifiers are not shown, not even to superusers: a backup of the catalog needs none, and a leaked one can be attacked.
        "pg_shadow" => login().map(|r| user(r, r.verifier.as_ref().map_or(String::new(), |_| "********".into()))).collect(),
        "pg_group" => all().filter(|r| !r.login).map(|r| row![&r.name, r.id, array(DataType::OID, Vec::<u32>::new())]).collect(),
        _ => return None,
    };
    Some(make)
}

/// Whether the session's user may see what only superusers may.
pub fn is_superuser(cx: &Cx<'_>) -> bool {
    cx.view.catalog.roles.values().any(|r| r.name == cx.session.user && r.superuser)
}

fn replication(r: &RoleDescriptor) -> bool {
    r.id == ROOT_ROLE_OID
}

fn authid(r: &RoleDescriptor) -> Row {
    let password = r.verifier.as_ref().map(|_| "********");
    row![
        r.id,
        &r.name,
        r.superuser,
        true,
        r.create_role,
        r.create_db,
        r.login,
        replication(r),
        r.superuser && replication(r),
        r.connection_limit,
        password,
        ()
    ]
}

fn role(r: &RoleDescriptor) -> Row {
    row![
        &r.name,
        r.superuser,
        true,
        r.create_role,
        r.create_db,
        r.login,
        replication(r),
        r.connection_limit,
        "********",
        (),
        r.superuser && replication(r),
        (),
        r.id
    ]
}

fn user(r: &RoleDescriptor, password: String) -> Row {
    row![&r.name, r.id, r.create_db, r.superuser, replication(r), r.superuser && replication(r), password, (), ()]
}
