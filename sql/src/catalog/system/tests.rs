//! Whole tables over a fixture. `fixture.sql` says what the fixture is; `golden/` is what PostgreSQL 15 answers about it.

mod fixture;

use std::sync::Arc;

use super::extras::{Activity, Cursor, PreparedStatement, SettingInfo};
use super::*;
use crate::catalog::descriptor::*;
use crate::functions::CatalogLookup;
use crate::types::{Datum, to_text};

/// A session layer with one session and one setting.
struct Alone;

#[async_trait::async_trait]
impl SystemExtras for Alone {
    fn now_micros(&self) -> i64 {
        0
    }
    fn activity(&self) -> Vec<Activity> {
        vec![Activity { pid: 7, user: "root".into(), database: "defaultdb".into(), state: "active", ..Activity::default() }]
    }
    fn settings(&self) -> Vec<SettingInfo> {
        vec![SettingInfo { name: "TimeZone", default: "UTC", vartype: "string", ..SettingInfo::default() }]
    }
    fn prepared_statements(&self, _pid: i32) -> Vec<PreparedStatement> {
        vec![PreparedStatement { name: "p".into(), parameters: vec![DataType::INT4], ..PreparedStatement::default() }]
    }
    fn cursors(&self, _pid: i32) -> Vec<Cursor> {
        vec![Cursor { name: "c".into(), ..Cursor::default() }]
    }
    async fn sequence_last_value(&self, _sequence: Oid) -> Result<Option<i64>> {
        Ok(None)
    }
}

fn session() -> SessionView {
    SessionView {
        user: "root".into(),
        session_user: "root".into(),
        database: "defaultdb".into(),
        search_path: vec!["pg_catalog".into(), "root".into(), "public".into()],
        timezone: "UTC".into(),
        datestyle: "ISO, MDY".into(),
        intervalstyle: "postgres".into(),
        extra_float_digits: 1,
        bytea_escape: false,
        backend_pid: 7,
        settings: [("timezone".to_owned(), "Europe/Berlin".to_owned())].into(),
    }
}

fn rows(table: &str) -> Vec<Row> {
    let system = SystemCatalog::new(Arc::new(Alone));
    futures::executor::block_on(system.table_rows(table, &Arc::new(fixture::snapshot()), &session())).unwrap()
}

/// What a column type may hold.
fn fits(ty: DataType, value: &Datum) -> bool {
    match (ty, value) {
        (_, Datum::Null) => true,
        (ty, Datum::Text(_)) => ty.is_string() || matches!(ty, DataType::PG_NODE_TREE | DataType::ACLITEM),
        (ty, Datum::Oid(_)) => ty.is_oid_like(),
        (ty, Datum::Array(a)) => ty.element() == Some(a.element),
        (ty, value) => ty == value.natural_type(),
    }
}

#[test]
fn every_row_of_every_table_has_the_columns_and_types_that_the_table_declares() {
    for relation in fixed::relations() {
        assert!(find(if relation.schema == PG_CATALOG_OID { "pg_catalog" } else { "information_schema" }, relation.name).is_some());
        for row in rows(relation.name) {
            assert_eq!(row.len(), relation.columns.len(), "{}: {row:?}", relation.name);
            for ((value, (column, ty)), not_null) in row.iter().zip(relation.columns).zip(&relation.not_null) {
                assert!(fits(*ty, value), "{}.{column} is {value:?}, not {}", relation.name, ty.name());
                assert!(!(*not_null && value.is_null()), "{}.{column} is NULL in {row:?}", relation.name);
            }
        }
    }
}

/// OIDs that name something must name something that is there.
#[test]
fn references_between_tables_hold() {
    let oids = |table: &str| rows(table).iter().filter_map(|r| r[0].as_oid()).collect::<std::collections::BTreeSet<_>>();
    let references = [
        ("pg_class", "relnamespace", "pg_namespace"),
        ("pg_class", "relowner", "pg_roles"),
        ("pg_class", "relam", "pg_am"),
        ("pg_attribute", "attrelid", "pg_class"),
        ("pg_attribute", "atttypid", "pg_type"),
        ("pg_attribute", "attcollation", "pg_collation"),
        ("pg_attrdef", "adrelid", "pg_class"),
        ("pg_index", "indexrelid", "pg_class"),
        ("pg_index", "indrelid", "pg_class"),
        ("pg_constraint", "conrelid", "pg_class"),
        ("pg_constraint", "conindid", "pg_class"),
        ("pg_constraint", "confrelid", "pg_class"),
        ("pg_type", "typelem", "pg_type"),
        ("pg_type", "typarray", "pg_type"),
        ("pg_type", "typinput", "pg_proc"),
        ("pg_type", "typreceive", "pg_proc"),
        ("pg_type", "typoutput", "pg_proc"),
        ("pg_type", "typsend", "pg_proc"),
        ("pg_proc", "prorettype", "pg_type"),
        ("pg_proc", "prolang", "pg_language"),
        ("pg_operator", "oprleft", "pg_type"),
        ("pg_operator", "oprresult", "pg_type"),
        ("pg_operator", "oprcode", "pg_proc"),
        ("pg_aggregate", "aggfnoid", "pg_proc"),
        ("pg_opclass", "opcfamily", "pg_opfamily"),
        ("pg_sequence", "seqrelid", "pg_class"),
        ("pg_stat_user_tables", "relid", "pg_class"),
    ];
    for (table, column, target) in references {
        let at = fixed::relation_named(table).unwrap().columns.iter().position(|c| c.0 == column).unwrap();
        let there = if target == "pg_roles" { [ROOT_ROLE_OID].into() } else { oids(target) };
        for row in rows(table) {
            let oid = row[at].as_oid().unwrap();
            assert!(oid == 0 || there.contains(&oid), "{table}.{column} = {oid} in {row:?}");
        }
    }
}

/// A table's rows about `public`, as text, without the columns that `skip` names.
fn dump(table: &str, skip: &[&str]) -> String {
    let relation = fixed::relation_named(table).unwrap();
    let session = session();
    let at = |name: &str| relation.columns.iter().position(|c| c.0 == name);
    let schema = ["table_schema", "constraint_schema", "schemaname", "sequence_schema", "object_schema", "view_schema"];
    let schema = schema.iter().find_map(|name| at(name));
    let namespace = at("relnamespace").or(at("attrelid"));
    let mut lines: Vec<String> = vec![];
    for row in rows(table) {
        let other_schema = schema.is_some_and(|at| row[at].as_str() != Some("public"));
        // `public` has the OID 2200; user objects are above 16384.
        let system = namespace.is_some_and(|at| {
            row[at].as_oid().is_some_and(|oid| oid < PUBLIC_SCHEMA_OID || (oid > PUBLIC_SCHEMA_OID && oid < FIRST_USER_OID))
        });
        if other_schema || system {
            continue;
        }
        let cells = row.iter().zip(relation.columns).filter(|(_, c)| !skip.contains(&c.0));
        let shown = |(value, column): (&Datum, &(&str, DataType))| match value {
            Datum::Null => "\\N".to_owned(),
            // As a cast to text prints it.
            Datum::Bool(b) => b.to_string(),
            value => to_text(value, column.1, &session),
        };
        let line = cells.map(shown).collect::<Vec<_>>().join("|").replace('\n', "⏎");
        lines.push(match line.find("_not_null") {
            // The made-up names of NOT NULL begin with OIDs.
            Some(end) => {
                let number = line[..end].rfind('_').unwrap() + 1;
                let start = line[..end].rfind('|').unwrap() + 1;
                format!("{}{}", &line[..start], &line[number..])
            }
            None => line,
        });
    }
    lines.sort();
    lines.join("\n")
}

/// The sections of the golden file: heading and text.
fn golden_sections() -> Vec<(&'static str, String)> {
    let sections = include_str!("golden/postgres15.txt").trim_start_matches("-- ").split("\n-- ");
    sections.map(|s| s.split_once('\n').map_or((s, String::new()), |(h, t)| (h, t.trim_end().to_owned()))).collect()
}

fn golden(name: &str) -> String {
    golden_sections().into_iter().find(|s| s.0 == name).unwrap_or_else(|| panic!("no golden {name}")).1
}

#[test]
fn tables_are_what_postgresql_shows_of_the_same_objects() {
    let mut compared = 0;
    for (heading, text) in golden_sections() {
        let Some((table, skip)) = heading.split_once(" skip=") else { continue };
        let skip: Vec<&str> = skip.split(',').collect();
        assert_eq!(dump(table.trim_start_matches("information_schema."), &skip), text, "{table}");
        compared += 1;
    }
    assert!(compared > 20);
}

/// What the definition functions print, plain and pretty.
#[test]
fn definitions_are_what_postgresql_prints_of_the_same_objects() {
    let lookup = Lookup::new(Arc::new(fixture::snapshot()), DEFAULT_DATABASE_OID).for_session(&session());
    let path = session().search_path;
    let mut lines = vec![];
    for row in rows("pg_index") {
        let oid = row[0].as_oid().unwrap();
        let name = lookup.relation_name(oid, &path).unwrap();
        let text = |what: &str, column| lookup.definition(what, oid, column).unwrap();
        lines.push(format!("{name}|{}|{}|{}", text("pg_get_indexdef", 0), text("pg_get_indexdef_ext", 0), text("pg_get_indexdef", 1)));
    }
    for row in rows("pg_constraint") {
        let oid = row[0].as_oid().unwrap();
        let text = |what: &str| lookup.definition(what, oid, 0).unwrap();
        lines.push(format!("{}|{}|{}", row[1].as_str().unwrap(), text("pg_get_constraintdef"), text("pg_get_constraintdef_ext")));
    }
    lines.sort();
    assert_eq!(lines.join("\n").replace("\n    ", "⏎    ").replace("\nEND", "⏎END"), golden("definitions"));
}

#[test]
fn functions_print_as_postgresql_prints_them() {
    let lookup = Lookup::new(Arc::new(fixture::snapshot()), DEFAULT_DATABASE_OID).for_session(&session());
    let call = |name: &str, args: &[Datum]| match lookup.system_function(name, args) {
        Some(Ok(value)) => to_text(&value, value.natural_type(), &session()),
        Some(Err(error)) => error.message,
        None => "none".into(),
    };
    let mut lines = vec![];
    for procedure in [
        "abs(integer)",
        "make_interval(integer,integer,integer,integer,integer,integer,double precision)",
        "percentile_cont(double precision,double precision)",
        "generate_series(integer,integer)",
        "concat(\"any\")",
        "jsonb_each(jsonb)",
        "int4in(cstring)",
    ] {
        let oid = match lookup.system_function("regprocedurein", &[Datum::text(procedure)]) {
            Some(Ok(oid)) => oid,
            other => panic!("{procedure}: {other:?}"),
        };
        let of = |what| call(what, std::slice::from_ref(&oid));
        lines.push(format!(
            "{}|{}|{}|{}|{}",
            of("regprocout"),
            of("regprocedureout"),
            of("pg_get_function_arguments"),
            of("pg_get_function_identity_arguments"),
            of("pg_get_function_result")
        ));
    }
    assert_eq!(lines.join("\n"), golden("functions"));
    assert_eq!(call("regoperatorout", &[Datum::Oid(96)]), "=(integer,integer)");
    assert_eq!(call("regprocin", &[Datum::text("pg_catalog.array_in")]), "750");
    assert_eq!(call("regprocin", &[Datum::text("abs")]), "more than one function named \"abs\"");
    assert_eq!(call("obj_description", &[Datum::Oid(11), Datum::text("pg_namespace")]), "system catalog schema");
    assert_eq!(call("pg_get_serial_sequence", &[Datum::text("orders"), Datum::text("id")]), "public.orders_id_seq");
    assert_eq!(call("has_table_privilege", &[Datum::text("orders"), Datum::text("select, update")]), "t");
    assert_eq!(call("has_table_privilege", &[Datum::text("orders"), Datum::text("fly")]), "unrecognized privilege type: \"fly\"");
    assert_eq!(call("has_table_privilege", &[Datum::text("nothing"), Datum::text("select")]), "relation \"nothing\" does not exist");
}

/// The hidden primary key of a table without one is nowhere.
#[test]
fn hidden_columns_and_indexes_are_not_shown() {
    for relation in fixed::relations() {
        for row in rows(relation.name) {
            for value in &row {
                let shown = value.as_str().is_some_and(|s| s.contains("rowid"));
                assert!(!shown || row.iter().any(|d| d.as_str().is_some_and(|s| s.contains("unique_rowid"))), "{}: {row:?}", relation.name);
            }
        }
    }
}
