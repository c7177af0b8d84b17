//! The front and the planner over damaged SQL: whatever comes, an answer or a clean error, never a panic, never an internal error.

mod fixture;

use fixture::{catalog, context, session};
use meridian_sql::front::{Statement, parse};
use meridian_sql::plan::prepare;
use proptest::prelude::*;

fn corpus() -> Vec<String> {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans");
    let mut out = Vec::new();
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    for file in files {
        let text = std::fs::read_to_string(file).unwrap();
        let lines = text.split("\n\n").filter_map(|block| block.lines().next());
        out.extend(lines.filter(|l| l.ends_with(';') && !l.starts_with("--")).map(str::to_owned));
    }
    out
}

/// Pieces of two statements put together, and some letters changed.
fn words(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for c in text.chars() {
        match out.last_mut() {
            Some(last) if c.is_alphanumeric() && last.ends_with(|p: char| p.is_alphanumeric()) => last.push(c),
            _ => out.push(c.to_string()),
        }
    }
    out
}

fn check(sql: &str) {
    let Ok(parsed) = parse(sql) else { return };
    let catalog = catalog();
    let session = session();
    let cx = context(&catalog, &session);
    for statement in &parsed {
        if let Statement::Query { .. } | Statement::Dml(_) = &statement.statement
            && let Err(e) = prepare(statement, &cx, &mut Vec::new())
        {
            assert_ne!(e.code.0, "XX000", "{sql}: {e}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_statements(a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>(), cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..4u8), 1..4)) {
        let corpus = corpus();
        let mut words_a = words(&corpus[a.index(corpus.len())]);
        let words_b = words(&corpus[b.index(corpus.len())]);
        for (at, from, what) in cuts {
            if words_a.is_empty() { break }
            let n = at.index(words_a.len());
            let piece = words_b[from.index(words_b.len())].clone();
            match what {
                0 => { words_a.remove(n); }
                1 => words_a[n] = piece,
                2 => words_a.insert(n, piece),
                _ => { let copy = words_a[n].clone(); words_a.insert(n, copy); }
            }
        }
        check(&words_a.concat());
    }

    #[test]
    fn noise(text in "\\PC{0,60}") {
        check(&text);
        check(&format!("select {text}"));
    }
}

#[test]
fn spliced_subqueries() {
    // Each query of the corpus inside another: as a derived table, a scalar, EXISTS, IN, a CTE.
    for q in corpus().iter().filter(|q| q.starts_with("select")) {
        let q = q.trim_end_matches(';');
        for outer in [
            format!("select * from ({q}) x"),
            format!("select * from loose l where exists ({q})"),
            format!("select * from loose l where not exists ({q})"),
            format!("select a, ({q}) from loose l"),
            format!("select * from loose l where a in ({q})"),
            format!("with x as ({q}) select * from x, x y"),
            format!("select * from loose l left join lateral ({q}) x on true"),
            format!("({q}) union all ({q}) order by 1 limit 3"),
            format!("insert into loose (a) {q}"),
        ] {
            check(&outer);
        }
    }
}

fn outcome(sql: &str) -> Result<(), String> {
    let parsed = parse(sql).map_err(|e| e.code.0.to_owned())?;
    let catalog = catalog();
    let session = session();
    let cx = context(&catalog, &session);
    for statement in &parsed {
        prepare(statement, &cx, &mut Vec::new()).map_err(|e| e.code.0.to_owned())?;
    }
    Ok(())
}

#[test]
fn size_and_depth() {
    let nested = |n: usize, open: &str, inner: &str, close: &str| format!("select {}{inner}{}", open.repeat(n), close.repeat(n));
    for (open, inner, close) in [
        ("(", "1", ")"),
        ("- ", "a", ""),
        ("not ", "true", ""),
        ("case when true then ", "1", " end"),
        ("abs(", "1", ")"),
        ("(select ", "1", ")"),
    ] {
        assert_eq!(outcome(&nested(50, open, inner, close)), if inner == "a" { Err("42703".into()) } else { Ok(()) }, "{open}");
        for n in [500, 590, 5000, 50_000] {
            // Either it is planned or it is too deep; it never ends the process.
            if let Err(code) = outcome(&nested(n, open, inner, close)) {
                assert!(code == "54001" || code == "42703", "{open} {n} {code}");
            }
        }
    }
    assert_eq!(outcome(&format!("select {} 1", "1 + ".repeat(1000))), Ok(()));
    assert_eq!(outcome(&format!("select {} 1", "1 + ".repeat(100_000))), Err("54001".into()));
    assert_eq!(outcome(&format!("select a from loose where {} false", "a = 1 or ".repeat(20_000))), Ok(()));
    assert_eq!(outcome(&format!("select a from loose where {} true", "a = 1 and ".repeat(2_000))), Ok(()));
    assert_eq!(
        outcome(&format!("select a from loose where a in ({})", (0..50_000).map(|n| n.to_string()).collect::<Vec<_>>().join(","))),
        Ok(())
    );
    assert_eq!(outcome(&format!("select 1{}", " union all select 1".repeat(300))), Ok(()));
    let code = outcome(&format!("select 1{}", " union all select 1".repeat(20_000)));
    assert!(code.is_ok() || code == Err("54001".into()));
    let many = (0..12).map(|n| format!("items t{n}")).collect::<Vec<_>>().join(", ");
    let on = (1..12).map(|n| format!("t{n}.order_id = t{}.order_id", n - 1)).collect::<Vec<_>>().join(" and ");
    assert_eq!(outcome(&format!("select count(*) from {many} where {on}")), Ok(()));
}
