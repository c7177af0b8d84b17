//! `pg_get_indexdef`, `pg_get_constraintdef`, `pg_get_viewdef`, `pg_get_functiondef`, ….
//!
//! A name of a function ending in `_ext` is its pretty form: fewer parentheses, names qualified only where they must be.

use super::fixed::{self, ProcRow};
use super::view::{Class, Constraint, View, column_name};
use crate::catalog::descriptor::*;
use crate::functions::{FunctionBody, FunctionDef, Volatility, function_by_oid, ordered_set_direct_arguments, quote_ident};
use crate::types::{DataType, Datum};

/// The text that `what` gives for an object, `None` if there is no such object.
pub fn definition(view: &View, what: &str, oid: Oid, column: i32) -> Option<String> {
    let (what, pretty) = match what.strip_suffix("_ext") {
        Some(plain) => (plain, true),
        None => (what, false),
    };
    match what {
        "pg_get_indexdef" => match view.class(oid)? {
            Class::Index(relation, table, index) => index_definition(view, relation, table, index, column, pretty),
            _ => None,
        },
        "pg_get_constraintdef" => {
            let (_, table, constraint) = view.constraint(oid)?;
            Some(constraint_definition(view, table, constraint, pretty))
        }
        "pg_get_viewdef" => match view.class(oid)? {
            Class::Relation(RelationDescriptor { kind: RelationKind::View(v), .. }) => Some(view_definition(v)),
            _ => None,
        },
        "pg_get_ruledef" => match view.class(oid)? {
            Class::Relation(r @ RelationDescriptor { kind: RelationKind::View(v), .. }) => {
                let name = view.qualified_name(&Class::Relation(r));
                Some(format!("CREATE RULE \"_RETURN\" AS\n    ON SELECT TO {name} DO INSTEAD {}", view_definition(v)))
            }
            _ => None,
        },
        "pg_get_functiondef" => function_definition(oid),
        _ => None,
    }
}

/// ` SELECT …;`
pub fn view_definition(view: &ViewDescriptor) -> String {
    format!(" {};", view.query.trim().trim_end_matches(';'))
}

/// `CREATE INDEX …`, or the definition of one column, from 1.
pub fn index_definition(
    view: &View,
    relation: &RelationDescriptor,
    table: &TableDescriptor,
    index: &IndexDescriptor,
    column: i32,
    pretty: bool,
) -> Option<String> {
    if column != 0 {
        let position = usize::try_from(column).ok()?.checked_sub(1)?;
        let id = index.keys.iter().map(|k| k.column).chain(index.include.iter().copied()).nth(position)?;
        return Some(column_name(table, id));
    }
    let class = Class::Relation(relation);
    let name = if pretty && view.is_visible(&class, relation.id) { quote_ident(&relation.name) } else { view.qualified_name(&class) };
    let keys: Vec<String> = index
        .keys
        .iter()
        .map(|k| {
            let order = match (k.descending, k.nulls_first) {
                (false, false) => "",
                (false, true) => " NULLS FIRST",
                (true, true) => " DESC",
                (true, false) => " DESC NULLS LAST",
            };
            column_name(table, k.column) + order
        })
        .collect();
    let unique = if index.unique { "UNIQUE " } else { "" };
    let mut text = format!("CREATE {unique}INDEX {} ON {name} USING btree ({})", quote_ident(&index.name), keys.join(", "));
    text += &include(table, index);
    if let Some(predicate) = &index.predicate {
        text += &format!(" WHERE {}", view.print(&table.columns, pretty, |p| p.expression(predicate)));
    }
    Some(text)
}

fn include(table: &TableDescriptor, index: &IndexDescriptor) -> String {
    if index.include.is_empty() { String::new() } else { format!(" INCLUDE ({})", names(table, &index.include)) }
}

fn names(table: &TableDescriptor, ids: &[u32]) -> String {
    ids.iter().map(|id| column_name(table, *id)).collect::<Vec<_>>().join(", ")
}

/// The action's keywords.
pub fn action_words(action: ReferentialAction) -> &'static str {
    match action {
        ReferentialAction::NoAction => "NO ACTION",
        ReferentialAction::Restrict => "RESTRICT",
        ReferentialAction::Cascade => "CASCADE",
        ReferentialAction::SetNull => "SET NULL",
        ReferentialAction::SetDefault => "SET DEFAULT",
    }
}

/// What stands after `CONSTRAINT name`.
pub fn constraint_definition(view: &View, table: &TableDescriptor, constraint: Constraint<'_>, pretty: bool) -> String {
    match constraint {
        Constraint::Key(_, index, primary) => {
            let keys: Vec<u32> = index.keys.iter().map(|k| k.column).collect();
            format!("{} ({}){}", if primary { "PRIMARY KEY" } else { "UNIQUE" }, names(table, &keys), include(table, index))
        }
        Constraint::Check(check) => {
            let text = check_clause(view, table, check, pretty);
            format!("CHECK ({text}){}", if check.validated { "" } else { " NOT VALID" })
        }
        Constraint::Foreign(key) => {
            let referenced = view.catalog.relations.get(&key.referenced_table);
            let target = view.shown_name(key.referenced_table).unwrap_or_default();
            let columns = referenced.and_then(|r| r.table()).map(|t| names(t, &key.referenced_columns)).unwrap_or_default();
            let mut text = format!("FOREIGN KEY ({}) REFERENCES {target}({columns})", names(table, &key.columns));
            if key.match_full {
                text += " MATCH FULL";
            }
            for (event, action) in [("UPDATE", key.on_update), ("DELETE", key.on_delete)] {
                if action != ReferentialAction::NoAction {
                    text += &format!(" ON {event} {}", action_words(action));
                }
            }
            for (there, words) in
                [(key.deferrable, " DEFERRABLE"), (key.initially_deferred, " INITIALLY DEFERRED"), (!key.validated, " NOT VALID")]
            {
                if there {
                    text += words;
                }
            }
            text
        }
    }
}

/// The expression of a CHECK.
pub fn check_clause(view: &View, table: &TableDescriptor, check: &CheckDescriptor, pretty: bool) -> String {
    view.print(&table.columns, pretty, |p| p.expression(&check.expression))
}

/// A function's arguments as `pg_proc` has them: mode, name, type.
fn arguments_of(def: Option<&FunctionDef>, row: Option<&ProcRow>) -> Vec<(u8, String, DataType)> {
    let items = |d: &Datum| match d {
        Datum::Array(a) => a.elements.clone(),
        _ => vec![],
    };
    let Some(row) = row else {
        let Some(def) = def else { return vec![] };
        let last = def.args.len().saturating_sub(1);
        return def
            .args
            .iter()
            .enumerate()
            .map(|(i, ty)| (if def.variadic && i == last { b'v' } else { b'i' }, String::new(), *ty))
            .collect();
    };
    let [input, all, modes, names] = [12, 13, 14, 15].map(|i| row.cells.get(i).map(items).unwrap_or_default());
    let variadic = row.cells.get(2).and_then(Datum::as_oid).unwrap_or(0) != 0;
    let types = if all.is_empty() { &input } else { &all };
    let mode = |i: usize| match modes.get(i) {
        Some(Datum::Char(c)) => *c,
        _ if variadic && i + 1 == types.len() => b'v',
        _ => b'i',
    };
    let name = |i: usize| names.get(i).and_then(Datum::as_str).unwrap_or_default().to_owned();
    types.iter().enumerate().map(|(i, ty)| (mode(i), name(i), DataType(ty.as_oid().unwrap_or(0)))).collect()
}

fn print_argument((mode, name, ty): &(u8, String, DataType)) -> String {
    let mode = match mode {
        b'o' => "OUT ",
        b'b' => "INOUT ",
        b'v' => "VARIADIC ",
        _ => "",
    };
    let name = if name.is_empty() { String::new() } else { format!("{} ", quote_ident(name)) };
    format!("{mode}{name}{}", ty.name())
}

/// `pg_get_function_arguments` and `pg_get_function_identity_arguments`.
pub fn function_arguments(oid: Oid, identity: bool) -> Option<String> {
    let (def, row) = (function_by_oid(oid), fixed::procs().get(&oid));
    if def.is_none() && row.is_none() {
        return None;
    }
    if let Some(text) = row.and_then(|r| r.arguments.as_ref()).filter(|_| !identity) {
        return Some(text.clone());
    }
    let args: Vec<String> = arguments_of(def, row).iter().filter(|(mode, ..)| *mode != b't').map(print_argument).collect();
    Some(match def.and_then(ordered_set_direct_arguments) {
        Some(direct) if direct <= args.len() => {
            let (direct, ordered) = args.split_at(direct);
            let blank = if direct.is_empty() { "" } else { " " };
            format!("{}{blank}ORDER BY {}", direct.join(", "), ordered.join(", "))
        }
        _ => args.join(", "),
    })
}

/// `pg_get_function_result`.
pub fn function_result(oid: Oid) -> Option<String> {
    let (def, row) = (function_by_oid(oid), fixed::procs().get(&oid));
    let returns = match (row, def) {
        (Some(row), _) => DataType(row.cells.get(11)?.as_oid()?),
        (None, Some(def)) => def.returns,
        (None, None) => return None,
    };
    let set = match row {
        Some(row) => row.cells.get(7).and_then(Datum::as_bool).unwrap_or(false),
        None => def.is_some_and(|d| matches!(d.body, FunctionBody::Set { .. })),
    };
    let table: Vec<String> = arguments_of(def, row).iter().filter(|(mode, ..)| *mode == b't').map(print_argument).collect();
    Some(match (set, table.is_empty()) {
        (_, false) => format!("TABLE({})", table.join(", ")),
        (true, true) => format!("SETOF {}", returns.name()),
        (false, true) => returns.name(),
    })
}

/// `CREATE FUNCTION` of a built-in function.
fn function_definition(oid: Oid) -> Option<String> {
    let (def, row) = (function_by_oid(oid), fixed::procs().get(&oid));
    if def.is_some_and(|d| matches!(d.body, FunctionBody::Aggregate { .. })) {
        return None;
    }
    let flag = |i: usize, c: u8| row.is_some_and(|r| matches!(r.cells.get(i), Some(Datum::Char(x)) if *x == c));
    let name = fixed::proc_name(oid)?;
    let volatility = match def.map(|d| d.volatility) {
        Some(Volatility::Immutable) => " IMMUTABLE",
        Some(Volatility::Stable) => " STABLE",
        None if flag(8, b'i') => " IMMUTABLE",
        None if flag(8, b's') => " STABLE",
        _ => "",
    };
    let mut options = String::new();
    options += if matches!(def.map(|d| d.body), Some(FunctionBody::Window)) { " WINDOW" } else { "" };
    options += volatility;
    options += if flag(9, b's') {
        " PARALLEL SAFE"
    } else if flag(9, b'r') {
        " PARALLEL RESTRICTED"
    } else {
        ""
    };
    let strict = row.and_then(|r| r.cells.get(6)?.as_bool()).or(def.map(|d| d.strict)).unwrap_or(false);
    options += if strict { " STRICT" } else { "" };
    if row.and_then(|r| r.cells.get(5)?.as_bool()) == Some(true) {
        options += " LEAKPROOF";
    }
    let source = row.and_then(|r| r.cells.get(16)?.as_str()).unwrap_or(name);
    let options = if options.is_empty() { String::new() } else { format!("{options}\n") };
    Some(format!(
        "CREATE OR REPLACE FUNCTION pg_catalog.{}({})\n RETURNS {}\n LANGUAGE internal\n{options}AS $function${source}$function$\n",
        quote_ident(name),
        function_arguments(oid, false)?,
        function_result(oid)?
    ))
}

/// A function's arguments: mode (`i`, `o`, `b`, `v`, `t`), name, type.
pub fn arguments(oid: Oid) -> Vec<(u8, String, DataType)> {
    arguments_of(function_by_oid(oid), fixed::procs().get(&oid))
}
