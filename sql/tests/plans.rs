//! Golden plans and binder errors: `plans/*.plan` hold statements with the plan, or the error, under each.
//!
//! A statement ends with `;` at the end of a line; what follows up to a blank line is the answer. `UPDATE_PLANS=1 cargo test -p meridian-sql --test
//! plans` writes the answers anew: the diff is the review. The catalog is the fixture below.

mod fixture;

use fixture::{catalog, context, session};
use meridian_sql::front::{ExplainOptions, parse};
use meridian_sql::plan::{explain, prepare};

fn answer(sql: &str) -> String {
    let catalog = catalog();
    let session = session();
    let cx = context(&catalog, &session);
    let shown = |e: &meridian_sql::error::SqlError| {
        let mut out = format!("ERROR {}: {}", e.code.0, e.message);
        if let Some(more) = &e.more {
            if let Some(position) = more.position {
                out.push_str(&format!(" @{position}"));
            }
            for (name, text) in [("DETAIL", &more.detail), ("HINT", &more.hint)] {
                if let Some(text) = text {
                    out.push_str(&format!("\n{name}: {text}"));
                }
            }
        }
        out
    };
    let parsed = match parse(sql) {
        Ok(parsed) => parsed,
        Err(e) => return shown(&e),
    };
    let mut out = Vec::new();
    for statement in &parsed {
        let mut params = Vec::new();
        match prepare(statement, &cx, &mut params) {
            Err(e) => out.push(shown(&e)),
            Ok(prepared) => {
                let types: Vec<String> = params.iter().map(|p| p.map_or("?".into(), |t| t.name())).collect();
                if !types.is_empty() {
                    out.push(format!("Parameters: {}", types.join(", ")));
                }
                if prepared.returns_rows {
                    let columns: Vec<String> = prepared.plan.columns.iter().map(|c| format!("{} {}", c.name, c.ty.name())).collect();
                    out.push(format!("Columns: {}", columns.join(", ")));
                }
                let options = ExplainOptions { costs: false, ..ExplainOptions::default() };
                out.extend(explain::text(&prepared.plan, &options, &session, &explain::no_figures));
            }
        }
    }
    out.join("\n")
}

#[test]
fn plans() {
    let update = std::env::var_os("UPDATE_PLANS").is_some();
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans");
    let mut files: Vec<_> =
        std::fs::read_dir(&dir).unwrap().map(|f| f.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "plan")).collect();
    files.sort();
    let mut failures = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let mut out = String::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            if line.is_empty() || line.starts_with("--") {
                out.push_str(line);
                out.push('\n');
                continue;
            }
            let mut sql = line.to_owned();
            while !sql.ends_with(';') {
                let Some(next) = lines.next() else { break };
                sql.push('\n');
                sql.push_str(next);
            }
            while lines.peek().is_some_and(|l| !l.is_empty()) {
                lines.next();
            }
            out.push_str(&sql);
            out.push('\n');
            out.push_str(&answer(&sql));
            out.push('\n');
        }
        if update {
            std::fs::write(&file, &out).unwrap();
        } else if out != text {
            let line = out.lines().zip(text.lines()).position(|(a, b)| a != b).unwrap_or(0);
            failures.push(format!(
                "{}:{}\n  now:    {}\n  golden: {}",
                file.display(),
                line + 1,
                out.lines().nth(line).unwrap_or(""),
                text.lines().nth(line).unwrap_or("")
            ));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
