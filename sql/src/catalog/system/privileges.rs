//! `has_…_privilege` and `pg_has_role`.
//!
//! There is no GRANT: nothing that a role that can log in may not do with an object is refused for want of a privilege. So every privilege is held
//! by everybody, and grant options by superusers and owners.

use super::fixed;
use super::lookup::Lookup;
use super::view::{Class, shown_columns};
use crate::catalog::descriptor::{Oid, RoleDescriptor};
use crate::error::{Result, SqlError, SqlState};
use crate::functions::CatalogLookup;
use crate::types::{DataType, Datum};

/// The privileges of each kind of object.
fn known(function: &str) -> &'static [&'static str] {
    match function {
        "has_table_privilege" => &["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER", "RULE"],
        "has_sequence_privilege" => &["USAGE", "SELECT", "UPDATE"],
        "has_any_column_privilege" | "has_column_privilege" => &["SELECT", "INSERT", "UPDATE", "REFERENCES"],
        "has_database_privilege" => &["CREATE", "TEMPORARY", "TEMP", "CONNECT"],
        "has_schema_privilege" => &["CREATE", "USAGE"],
        "has_function_privilege" => &["EXECUTE"],
        "has_tablespace_privilege" => &["CREATE"],
        "has_parameter_privilege" => &["SET", "ALTER SYSTEM"],
        "pg_has_role" => &["MEMBER", "USAGE"],
        _ => &["USAGE"],
    }
}

/// Whether any of the comma-separated privileges asks for the right to grant; all must be known.
fn parse(function: &str, text: &str) -> Result<bool> {
    let mut grant = false;
    for word in text.split(',') {
        let word = word.trim().to_ascii_uppercase();
        let option = word.strip_suffix(" WITH GRANT OPTION").or_else(|| word.strip_suffix(" WITH ADMIN OPTION"));
        grant |= option.is_some();
        if !known(function).contains(&option.unwrap_or(&word)) {
            let message = format!("unrecognized privilege type: \"{}\"", text.trim());
            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
    }
    Ok(grant)
}

fn missing(code: SqlState, what: &str, name: &str) -> SqlError {
    SqlError::new(code, format!("{what} \"{name}\" does not exist"))
}

/// Answers one of the functions: `(user, object, …, privilege)` or the same without the user.
pub fn ask(lookup: &Lookup, function: &str, args: &[Datum]) -> Result<Datum> {
    let objects = if function == "has_column_privilege" { 2 } else { 1 };
    let (user, rest) = if args.len() > objects + 1 { (args.first(), &args[1..]) } else { (None, args) };
    let (Some(object), Some(privilege)) = (rest.first(), rest.last().and_then(Datum::as_str)) else {
        return Err(SqlError::internal(format!("{function} with {} arguments", args.len())));
    };
    let user = role(lookup, user)?;
    let grant = parse(function, privilege)?;
    if function == "pg_has_role" {
        let Some(target) = role(lookup, Some(object))? else { return Ok(Datum::Null) };
        return Ok(Datum::Bool(user.is_some_and(|u| u.superuser || u.id == target.id)));
    }
    let Some(owner) = owner(lookup, function, object)? else { return Ok(Datum::Null) };
    if let ("has_column_privilege", Some(column)) = (function, rest.get(1))
        && !column_exists(lookup, object, column)?
    {
        return Ok(Datum::Null);
    }
    Ok(Datum::Bool(!grant || user.is_some_and(|u| u.superuser || u.id == owner)))
}

/// A role by name (which must exist) or OID; the current one if none is given.
fn role<'a>(lookup: &'a Lookup, which: Option<&Datum>) -> Result<Option<&'a RoleDescriptor>> {
    let roles = &lookup.view.catalog.roles;
    let named = |name: &str| roles.values().find(|r| r.name == name).map(|r| &**r);
    match which {
        None => Ok(named(&lookup.user)),
        Some(Datum::Text(name)) if &**name == "public" => Ok(None),
        Some(Datum::Text(name)) => named(name).map(Some).ok_or_else(|| missing(SqlState::UNDEFINED_OBJECT, "role", name)),
        Some(Datum::Oid(oid)) => Ok(roles.get(oid).map(|r| &**r)),
        Some(_) => Ok(None),
    }
}

fn class_of<'a>(lookup: &'a Lookup, object: &Datum) -> Result<Option<Class<'a>>> {
    match object {
        Datum::Text(name) => {
            let found = lookup.view.find(name).and_then(|oid| lookup.view.class(oid));
            found.map(Some).ok_or_else(|| missing(SqlState::UNDEFINED_TABLE, "relation", name))
        }
        Datum::Oid(oid) => Ok(lookup.view.class(*oid)),
        _ => Ok(None),
    }
}

/// The object's owner; `None` if there is no object with that OID.
fn owner(lookup: &Lookup, function: &str, object: &Datum) -> Result<Option<Oid>> {
    let catalog = &lookup.view.catalog;
    let root = crate::catalog::descriptor::ROOT_ROLE_OID;
    match (function, object) {
        ("has_table_privilege" | "has_sequence_privilege" | "has_column_privilege" | "has_any_column_privilege", _) => {
            Ok(class_of(lookup, object)?.map(|class| match class {
                Class::Relation(r) | Class::Index(r, ..) => r.owner,
                Class::System(_) => root,
            }))
        }
        ("has_schema_privilege", Datum::Text(name)) => {
            let oid = lookup.schema_oid(name).ok_or_else(|| missing(SqlState::INVALID_SCHEMA_NAME, "schema", name))?;
            Ok(Some(catalog.schemas.get(&oid).map_or(root, |s| s.owner)))
        }
        ("has_schema_privilege", Datum::Oid(oid)) => Ok(lookup.view.schemas().iter().find(|s| s.0 == *oid).map(|s| s.2)),
        ("has_database_privilege", Datum::Text(name)) => {
            let found = catalog.databases.values().find(|d| d.name.as_str() == &**name);
            found.map(|d| Some(d.owner)).ok_or_else(|| missing(SqlState::INVALID_CATALOG_NAME, "database", name))
        }
        ("has_database_privilege", Datum::Oid(oid)) => Ok(catalog.databases.get(oid).map(|d| d.owner)),
        ("has_function_privilege", Datum::Text(name)) => match lookup.system_function("regprocedurein", std::slice::from_ref(object)) {
            Some(found) => found.map(|_| Some(root)),
            None => Err(missing(SqlState::UNDEFINED_FUNCTION, "function", name)),
        },
        ("has_function_privilege", Datum::Oid(oid)) => Ok(fixed::proc_name(*oid).map(|_| root)),
        ("has_type_privilege", Datum::Text(name)) => match DataType::from_name(&name.to_lowercase()) {
            Some(_) => Ok(Some(root)),
            None => Err(missing(SqlState::UNDEFINED_OBJECT, "type", name)),
        },
        ("has_type_privilege", Datum::Oid(oid)) => Ok(DataType(*oid).info().map(|_| root)),
        ("has_language_privilege", Datum::Text(name)) if &**name == "internal" => Ok(Some(root)),
        ("has_language_privilege", Datum::Oid(12)) | ("has_tablespace_privilege", Datum::Oid(1663 | 1664)) => Ok(Some(root)),
        ("has_tablespace_privilege", Datum::Text(name)) if matches!(&**name, "pg_default" | "pg_global") => Ok(Some(root)),
        ("has_parameter_privilege", Datum::Text(_)) => Ok(Some(root)),
        (function, Datum::Text(name)) => {
            let what = function.trim_start_matches("has_").trim_end_matches("_privilege").replace('_', "-");
            Err(missing(SqlState::UNDEFINED_OBJECT, &what, name))
        }
        _ => Ok(None),
    }
}

fn column_exists(lookup: &Lookup, object: &Datum, column: &Datum) -> Result<bool> {
    let Some(class) = class_of(lookup, object)? else { return Ok(false) };
    let columns: Vec<(i64, String)> = match class {
        Class::Relation(r) => shown_columns(r).into_iter().map(|c| (i64::from(c.id), c.name)).collect(),
        Class::System(r) => r.columns.iter().zip(1..).map(|(c, n)| (n, c.0.to_owned())).collect(),
        Class::Index(..) => vec![],
    };
    match column {
        Datum::Text(name) if columns.iter().any(|c| c.1 == **name) => Ok(true),
        Datum::Text(name) => {
            let message = format!("column \"{name}\" of relation \"{}\" does not exist", class.name());
            Err(SqlError::new(SqlState::UNDEFINED_COLUMN, message))
        }
        other => Ok(columns.iter().any(|c| Some(c.0) == other.as_i64())),
    }
}
