use super::*;

fn error(text: &str) -> String {
    let e = parse(text).expect_err(text);
    let position = e.more.as_ref().and_then(|m| m.position).map_or("-".into(), |p| p.to_string());
    format!("{} {} @{position}", e.code.0, e.message)
}

#[test]
fn syntax_errors_in_postgresql_words() {
    assert_eq!(error("selec 1"), "42601 syntax error at or near \"selec\" @1");
    assert_eq!(error("select 1 +"), "42601 syntax error at end of input @11");
    assert_eq!(error("select a from t x y"), "42601 syntax error at or near \"y\" @19");
    assert_eq!(error("select 'abc"), "42601 unterminated quoted string at or near \"'abc\" @8");
    assert_eq!(error("select \"abc"), "42601 unterminated quoted identifier at or near \"\"abc\" @8");
    assert_eq!(error("select 1;\nselect from where"), "42601 syntax error at or near \"where\" @23");
    assert_eq!(error("insert into t values (1"), "42601 syntax error at end of input @24");
    assert_eq!(error("é; select )"), "42601 syntax error at or near \"é\" @1");
    assert_eq!(error("begin isolation level foo"), "42601 syntax error at or near \"foo\" @23");
    assert!(error("/* a").contains("unterminated /* comment"));
}

#[test]
fn accepts_what_sqlparser_does_not() {
    for text in [
        "begin transaction isolation level serializable, read only, deferrable",
        "start transaction read write as of system time '-10s'",
        "set transaction isolation level read committed read only",
        "set constraints all deferred",
        "fetch c",
        "fetch 10 from c",
        "fetch forward all in c",
        "fetch -5 c",
        "move backward 3 from c",
        "table t",
        "select 1 union all table t order by 1",
        "(table t)",
        "explain table t",
        "select * from t for no key update of t, u nowait",
        "select * from t for key share skip locked for update",
        "select * from t for share of t",
        "copy t from stdin with (freeze on)",
        "copy t (a, b) to stdout (format csv, header, delimiter ';', force_quote *)",
        "copy (select * from t) to stdout csv header",
        "copy t from stdin delimiter ',' null as '' csv",
        "vacuum analyze t",
        "vacuum (analyze, verbose) t (a), u",
        "create user u with password 'x' createdb",
        "alter role u with encrypted password 'y' connection limit 5",
        "alter sequence s restart with 5 increment by 2 no cycle",
        "alter table t split at values (1), (2, 'a')",
        "alter index t@i split at values ('x')",
        "alter table t add column c int default 5, drop column b, set schema x",
        "alter table t alter column a drop identity if exists",
        "alter table t alter constraint c deferrable initially deferred",
        "alter table only t add constraint pk primary key (a)",
        "comment on column t.a is 'x'",
        "comment on constraint c on t is null",
        "create database d with encoding 'UTF8' template = template0",
        "drop index concurrently if exists i",
        "select 1 between symmetric 3 and 1",
        "select 'a'\n 'b'",
        "select * from t as of system time '-1s' where a = 1",
        "show ranges from table t",
        "show ranges from index t@i",
        "set time zone 'UTC'; set search_path = a, \"B\"; set local x.y to 'z'; show transaction isolation level; reset all; discard all",
        "prepare p (int, text) as select $1, $2",
        "execute p (1, 'a')",
        "deallocate all",
        "declare c binary no scroll cursor with hold for select 1",
        "lock table a, b in share row exclusive mode nowait",
        "explain (analyze, costs off, format json) select 1",
        "explain analyze verbose insert into t values (1)",
        "create view v as select * from t where a > 1",
        "create table t (a int primary key, b text)",
        "create table u as select 1 as a with no data",
        "grant select on t to u",
        "truncate t, u restart identity cascade",
        "with x as (insert into t values (1) returning a) select * from x",
        "with x as (select 1) update t set a = 1 from x",
        "select a isnull, b notnull from t",
    ] {
        if let Err(e) = parse(text) {
            panic!("{text}: {e} {:?}", e.more);
        }
    }
}

#[test]
fn joins_adjacent_literals_and_truncates_names() {
    let p = parse("select 'a'\n 'b' as Xyz").unwrap();
    let Statement::Query { ast, .. } = &p[0].statement else { panic!() };
    assert_eq!(ast.to_string(), "SELECT 'ab' AS xyz");
    let long = "a".repeat(100_000);
    let p = parse(&format!("select {long}")).unwrap();
    assert_eq!(p[0].notices.len(), 1);
    let Statement::Query { ast, .. } = &p[0].statement else { panic!() };
    assert_eq!(ast.to_string().len(), "SELECT ".len() + 63);
}

#[test]
fn depth_is_refused_not_overflown() {
    let deep = |n: usize, open: &str, inner: &str, close: &str| format!("select {}{inner}{}", open.repeat(n), close.repeat(n));
    for (open, inner, close) in [
        ("(", "1", ")"),
        ("- ", "1", ""),
        ("not ", "true", ""),
        ("case when true then ", "1", " end"),
        ("array[", "1", "]"),
        ("(select ", "1", ")"),
    ] {
        let e = parse(&deep(10_000, open, inner, close)).expect_err(open);
        assert_eq!(e.code, SqlState::STATEMENT_TOO_COMPLEX, "{open}");
        parse(&deep(100, open, inner, close)).unwrap_or_else(|e| panic!("{open} {e}"));
    }
    // Chains are no nesting.
    parse(&format!("select {} 1", "1 + ".repeat(20_000))).unwrap();
    parse(&format!("select 1 where {} true", "a = 1 or ".repeat(20_000))).unwrap();
}
