//! Schemas, databases, comments, and the few built-in objects of other kinds.

use jiff::tz::TimeZoneDatabase;

use super::Cx;
use super::cells::{Row, row};
use super::fixed;
use super::view::shown_columns;
use crate::catalog::descriptor::*;
use crate::types::{Datum, Interval};

/// `pg_default`
const DEFAULT_TABLESPACE: Oid = 1663;
/// Encoding number of UTF8.
const UTF8: i32 = 6;
/// Seconds between the Unix epoch and 2000-01-01.
const POSTGRES_EPOCH_SECONDS: i64 = 946_684_800;

/// Rows of the tables of this topic.
pub fn rows(cx: &Cx<'_>, table: &str) -> Option<Vec<Row>> {
    Some(match table {
        "pg_namespace" => cx.view.schemas().into_iter().map(|(oid, name, owner, _)| row![oid, name, owner, ()]).collect(),
        "pg_database" => cx.view.catalog.databases.values().map(|d| database(d)).collect(),
        "pg_description" => pg_description(cx),
        "pg_shdescription" => {
            let class = class("pg_database");
            let comment = |d: &std::sync::Arc<DatabaseDescriptor>| Some(row![d.id, class, d.comment.as_ref()?]);
            cx.view.catalog.databases.values().filter_map(comment).collect()
        }
        "pg_shdepend" => pg_shdepend(cx),
        "pg_tablespace" => {
            vec![row![DEFAULT_TABLESPACE, "pg_default", ROOT_ROLE_OID, (), ()], row![1664_u32, "pg_global", ROOT_ROLE_OID, (), ()]]
        }
        "pg_language" => vec![row![12_u32, "internal", ROOT_ROLE_OID, false, false, 0_u32, 0_u32, 0_u32, ()]],
        "pg_collation" => {
            vec![collation(100, "default", 'd', None), collation(950, "C", 'c', Some("C")), collation(951, "POSIX", 'c', Some("POSIX"))]
        }
        "pg_timezone_names" => timezone_names(cx.extras.now_micros()),
        "pg_timezone_abbrevs" => timezone_abbreviations(),
        _ => return None,
    })
}

fn class(name: &str) -> Oid {
    fixed::relation_named(name).map_or(0, |r| r.oid)
}

fn database(d: &DatabaseDescriptor) -> Row {
    row![d.id, &d.name, d.owner, UTF8, 'c', false, true, -1, 0_u32, 0_u32, DEFAULT_TABLESPACE, "C", "C.UTF-8", (), (), ()]
}

fn collation(oid: Oid, name: &str, provider: char, locale: Option<&str>) -> Row {
    row![oid, name, PG_CATALOG_OID, ROOT_ROLE_OID, provider, true, -1, locale, locale, (), ()]
}

fn pg_description(cx: &Cx<'_>) -> Vec<Row> {
    let mut out = fixed::rows("pg_description").unwrap_or(&[]).to_vec();
    let (pg_class, pg_namespace) = (class("pg_class"), class("pg_namespace"));
    for (oid, _, _, comment) in cx.view.schemas().into_iter().filter(|s| s.0 != PG_CATALOG_OID) {
        out.extend(comment.map(|text| row![oid, pg_namespace, 0, text]));
    }
    for relation in cx.view.relations() {
        out.extend(relation.comment.as_ref().map(|text| row![relation.id, pg_class, 0, text]));
        for column in shown_columns(relation) {
            out.extend(column.comment.as_ref().map(|text| row![relation.id, pg_class, column.id as i32, text]));
        }
    }
    out
}

/// Owners other than the first superuser, whose objects need no rows.
fn pg_shdepend(cx: &Cx<'_>) -> Vec<Row> {
    let authid = class("pg_authid");
    let owned = |database: Oid, class: Oid, object: Oid, owner: Oid| {
        (owner != ROOT_ROLE_OID).then(|| row![database, class, object, 0, authid, owner, 'o'])
    };
    let catalog = &cx.view.catalog;
    let databases = catalog.databases.values().filter_map(|d| owned(0, class("pg_database"), d.id, d.owner));
    let schemas = catalog.schemas.values().filter_map(|s| owned(s.database, class("pg_namespace"), s.id, s.owner));
    let relations = catalog.relations.values().filter_map(|r| owned(r.database, class("pg_class"), r.id, r.owner));
    databases.chain(schemas).chain(relations).collect()
}

fn interval(seconds: i32) -> Datum {
    Datum::Interval(Interval { months: 0, days: 0, micros: i64::from(seconds) * 1_000_000 })
}

fn timezone_names(now_micros: i64) -> Vec<Row> {
    let database = TimeZoneDatabase::bundled();
    let now = jiff::Timestamp::from_second(now_micros.div_euclid(1_000_000).saturating_add(POSTGRES_EPOCH_SECONDS)).unwrap_or_default();
    let zone = |name: jiff::tz::TimeZoneName| {
        let zone = database.get(name.as_str()).ok()?;
        let info = zone.to_offset_info(now);
        Some(row![name.as_str(), info.abbreviation(), interval(info.offset().seconds()), info.dst().is_dst()])
    };
    database.available().filter_map(zone).collect()
}

fn timezone_abbreviations() -> Vec<Row> {
    let daylight = |name: &str| {
        name.len() > 2
            && (name.ends_with("dt") || name.ends_with("st") && matches!(name, "bst" | "west" | "cest" | "eest" | "clst" | "mest"))
    };
    let row = |(name, seconds): &(&str, i32)| row![name.to_uppercase(), interval(*seconds), daylight(name)];
    let mut rows: Vec<Row> = crate::types::datetime::abbreviations().iter().map(row).collect();
    rows.sort();
    rows
}
