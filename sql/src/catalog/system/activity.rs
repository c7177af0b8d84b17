//! Sessions, settings, statistics.
//!
//! Statistics count what is known: rows at the last ANALYZE. Counters that nobody keeps are zero, as after a reset.

use super::Cx;
use super::cells::{Row, array, row};
use super::extras::{Activity, SettingInfo};
use super::view::shown_indexes;
use crate::exec::dml::describe::describe_key;
use crate::types::{DataType, Datum};

/// Rows of the tables of this topic.
pub fn rows(cx: &Cx<'_>, table: &str) -> Option<Vec<Row>> {
    let time = |micros: Option<i64>| micros.map(Datum::TimestampTz);
    Some(match table {
        "pg_stat_activity" => cx.extras.activity().iter().map(|a| activity(cx, a)).collect(),
        "pg_settings" => cx.extras.settings().iter().map(|s| setting(cx, s)).collect(),
        "pg_prepared_statements" => {
            let statement = |p: super::extras::PreparedStatement| {
                let types = array(DataType::REGTYPE, p.parameters.iter().copied());
                row![&p.name, &p.statement, time(p.prepared), types, p.from_sql, 0_i64, 0_i64]
            };
            cx.extras.prepared_statements(cx.session.backend_pid).into_iter().map(statement).collect()
        }
        "pg_cursors" => {
            let cursor = |c: super::extras::Cursor| row![&c.name, &c.statement, c.hold, c.binary, c.scroll, time(c.created)];
            cx.extras.cursors(cx.session.backend_pid).into_iter().map(cursor).collect()
        }
        "pg_stat_user_tables" | "pg_stat_all_tables" => tables(cx),
        "pg_stat_user_indexes" | "pg_stat_all_indexes" => indexes(cx),
        "pg_stat_database" => databases(cx),
        _ => return None,
    })
}

/// `pg_locks`. A row is shown by its table and, as `virtualxid`, its key in words: there are no pages here.
pub async fn locks(cx: &Cx<'_>) -> Vec<Row> {
    let lock = |l: super::extras::Lock| {
        let found = l.key.as_ref().and_then(|key| describe_key(&cx.view.catalog, key));
        let relation = found.as_ref().map(|f| f.relation.id);
        let database = l.database.or(found.as_ref().map(|f| f.relation.database));
        let key = found.map(|f| format!("{} {}", f.index.name, f.text));
        let (class, object, form) = (l.object.map(|o| o.0), l.object.map(|o| o.1), l.object.map(|o| o.2));
        let pid = (l.pid != 0).then_some(l.pid);
        row![l.locktype, database, relation, (), (), key, (), class, object, form, l.transaction, pid, l.mode, l.granted, false, ()]
    };
    cx.extras.locks().await.into_iter().map(lock).collect()
}

fn activity(cx: &Cx<'_>, a: &Activity) -> Row {
    let catalog = &cx.view.catalog;
    let database = catalog.databases.values().find(|d| d.name == a.database).map(|d| d.id);
    let user = catalog.roles.values().find(|r| r.name == a.user).map(|r| r.id);
    let time = |micros: Option<i64>| micros.map(Datum::TimestampTz);
    // An idle session waits for its client.
    let waits = a.state.starts_with("idle");
    row![
        database,
        &a.database,
        a.pid,
        (),
        user,
        &a.user,
        &a.application,
        (!a.client_address.is_empty()).then_some(&a.client_address),
        (),
        a.client_port.unwrap_or(-1),
        time(a.backend_start),
        time(a.xact_start),
        time(a.query_start),
        time(a.state_change),
        waits.then_some("Client"),
        waits.then_some("ClientRead"),
        a.state,
        (),
        (),
        (),
        &a.query,
        "client backend"
    ]
}

fn setting(cx: &Cx<'_>, s: &SettingInfo) -> Row {
    let value = cx.session.settings.get(&s.name.to_ascii_lowercase()).map_or(s.default, String::as_str);
    let words = (!s.words.is_empty()).then(|| array(DataType::TEXT, s.words.iter().copied()));
    let bound = |n: i64| n.to_string();
    row![
        s.name,
        value,
        s.unit,
        if s.read_only { "Preset Options" } else { "Client Connection Defaults" },
        s.about,
        (),
        if s.read_only { "internal" } else { "user" },
        s.vartype,
        if value == s.default { "default" } else { "session" },
        s.bounds.map(|b| bound(b.0)),
        s.bounds.map(|b| bound(b.1)),
        words,
        s.default,
        s.default,
        (),
        (),
        false
    ]
}

fn tables(cx: &Cx<'_>) -> Vec<Row> {
    let table = |relation: &crate::catalog::descriptor::RelationDescriptor| {
        let mut out = row![relation.id, cx.view.schema_name(relation.schema), &relation.name];
        out.extend((0..8).map(|_| Datum::Int8(0)));
        out.push(Datum::Int8(cx.lookup.rows(relation.id)));
        out.extend((0..3).map(|_| Datum::Int8(0)));
        out.extend((0..4).map(|_| Datum::Null));
        out.extend((0..4).map(|_| Datum::Int8(0)));
        out
    };
    cx.view.tables().map(|(r, _)| table(r)).collect()
}

fn indexes(cx: &Cx<'_>) -> Vec<Row> {
    let mut out = vec![];
    for (relation, table) in cx.view.tables() {
        for index in shown_indexes(table) {
            out.push(row![relation.id, index.oid, cx.view.schema_name(relation.schema), &relation.name, &index.name, 0_i64, 0_i64, 0_i64]);
        }
    }
    out
}

fn databases(cx: &Cx<'_>) -> Vec<Row> {
    let sessions = cx.extras.activity();
    let (commits, rollbacks) = cx.extras.transactions();
    let row = |d: &std::sync::Arc<crate::catalog::descriptor::DatabaseDescriptor>| {
        let connected = sessions.iter().filter(|a| a.database == d.name).count() as i32;
        // Transactions are counted by gateway, not by database: the database asked from shows them.
        let here = d.id == cx.view.database;
        let count = |n: u64| if here { i64::try_from(n).unwrap_or(i64::MAX) } else { 0 };
        let mut out = row![d.id, &d.name, connected, count(commits), count(rollbacks)];
        out.extend((0..11).map(|_| Datum::Int8(0)));
        out.extend([Datum::Null, Datum::Null]);
        out.extend((0..5).map(|_| Datum::Float8(0.0)));
        out.extend((0..4).map(|_| Datum::Int8(0)));
        out.push(Datum::Null);
        out
    };
    cx.view.catalog.databases.values().map(row).collect()
}
