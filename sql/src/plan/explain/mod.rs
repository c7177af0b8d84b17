//! The plan as text, in PostgreSQL's manner, and as JSON.
//!
//! ```text
//! Lookup Join  (cost=… rows=… width=…)
//!   Lookup: Index Scan using orders_customer_idx on orders
//!   Lookup Cond: (customer_id = c.id)
//!   ->  Index Scan using customers_pkey on customers
//!         Index Cond: (id < 10)
//! ```
//! ANALYZE figures come from the executor through a function from node to [`Figures`]: nodes are told apart by address, as the
//! executor does, so the plan must be the very one that ran.

mod expr;

use serde_json::{Map, Value, json};

use super::expr::Expr;
use super::node::*;
use crate::catalog::descriptor::TableDescriptor;
use crate::front::ExplainOptions;
use crate::functions::SessionView;
use expr::Printer;

/// What was measured of one node.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Milliseconds to the first row.
    pub first_ms: f64,
    /// Milliseconds to the last row.
    pub total_ms: f64,
    /// Rows, of all loops together.
    pub rows: u64,
    /// How often it was started; 0: never.
    pub loops: u64,
    /// More lines: `Ranges: 3  Remote: 2  KV Requests: 4`, spills, ….
    pub extra: Vec<(String, String)>,
}

/// Where figures come from.
pub type FigureSource<'a> = &'a dyn Fn(&Plan) -> Option<Figures>;

/// No figures: plain EXPLAIN.
pub fn no_figures(_: &Plan) -> Option<Figures> {
    None
}

/// A node for printing: name, properties, children with what they are to it.
struct Entry<'p> {
    title: String,
    properties: Vec<(String, String)>,
    children: Vec<(Option<String>, &'p Plan)>,
}

/// The lines of EXPLAIN's text.
pub fn text(plan: &Plan, options: &ExplainOptions, session: &SessionView, figures: FigureSource<'_>) -> Vec<String> {
    let mut out = Vec::new();
    write(plan, options, &Printer { session }, figures, 0, None, &mut out);
    out
}

/// EXPLAIN (FORMAT JSON).
pub fn json(plan: &Plan, options: &ExplainOptions, session: &SessionView, figures: FigureSource<'_>) -> String {
    let node = value(plan, options, &Printer { session }, figures, None);
    let whole = json!([{ "Plan": node }]);
    serde_json::to_string_pretty(&whole).unwrap_or_default()
}

fn costs(plan: &Plan, options: &ExplainOptions, figures: FigureSource<'_>) -> String {
    let mut out = String::new();
    if options.costs {
        out.push_str(&format!("  (cost=0.00..{:.2} rows={:.0})", plan.cost, plan.rows.max(0.0).round()));
    }
    if options.analyze
        && let Some(f) = figures(plan)
    {
        let Some(rows) = f.rows.checked_div(f.loops) else {
            out.push_str(" (never executed)");
            return out;
        };
        if options.timing {
            out.push_str(&format!(" (actual time={:.3}..{:.3} rows={rows} loops={})", f.first_ms, f.total_ms, f.loops));
        } else {
            out.push_str(&format!(" (actual rows={rows} loops={})", f.loops));
        }
    }
    out
}

fn write(
    plan: &Plan,
    options: &ExplainOptions,
    p: &Printer<'_>,
    figures: FigureSource<'_>,
    depth: usize,
    label: Option<&str>,
    out: &mut Vec<String>,
) {
    let entry = describe(plan, p, options.verbose);
    let indent = if depth == 0 { String::new() } else { " ".repeat(6 * (depth - 1) + 2) };
    let inner = " ".repeat(6 * depth + 2);
    if let Some(label) = label {
        out.push(format!("{indent}{label}"));
    }
    let arrow = if depth == 0 { "" } else { "->  " };
    out.push(format!("{indent}{arrow}{}{}", entry.title, costs(plan, options, figures)));
    for (key, value) in &entry.properties {
        out.push(format!("{inner}{key}: {value}"));
    }
    if options.analyze
        && let Some(f) = figures(plan)
    {
        for (key, value) in &f.extra {
            out.push(format!("{inner}{key}: {value}"));
        }
    }
    for (label, child) in &entry.children {
        write(child, options, p, figures, depth + 1, label.as_deref(), out);
    }
    for sub in expr::subplans(plan) {
        write(sub, options, p, figures, depth + 1, Some("SubPlan"), out);
    }
}

fn value(plan: &Plan, options: &ExplainOptions, p: &Printer<'_>, figures: FigureSource<'_>, label: Option<&str>) -> Value {
    let entry = describe(plan, p, options.verbose);
    let mut node = Map::new();
    node.insert("Node Type".into(), json!(entry.title));
    if let Some(label) = label {
        node.insert("Parent Relationship".into(), json!(label));
    }
    if options.costs {
        node.insert("Total Cost".into(), json!((plan.cost * 100.0).round() / 100.0));
        node.insert("Plan Rows".into(), json!(plan.rows.max(0.0).round() as u64));
    }
    if options.analyze
        && let Some(f) = figures(plan)
    {
        if options.timing {
            node.insert("Actual Startup Time".into(), json!(f.first_ms));
            node.insert("Actual Total Time".into(), json!(f.total_ms));
        }
        node.insert("Actual Rows".into(), json!(f.rows.checked_div(f.loops).unwrap_or(0)));
        node.insert("Actual Loops".into(), json!(f.loops));
        for (key, value) in f.extra {
            node.insert(key, json!(value));
        }
    }
    for (key, value) in entry.properties {
        node.insert(key, json!(value));
    }
    let mut children: Vec<Value> = entry.children.iter().map(|(l, c)| value_of_child(c, options, p, figures, l.as_deref())).collect();
    children.extend(expr::subplans(plan).into_iter().map(|s| value_of_child(s, options, p, figures, Some("SubPlan"))));
    if !children.is_empty() {
        node.insert("Plans".into(), Value::Array(children));
    }
    Value::Object(node)
}

fn value_of_child(plan: &Plan, options: &ExplainOptions, p: &Printer<'_>, figures: FigureSource<'_>, label: Option<&str>) -> Value {
    value(plan, options, p, figures, label)
}

fn kind_name(kind: JoinKind) -> &'static str {
    match kind {
        JoinKind::Inner => "",
        JoinKind::Left => " Left",
        JoinKind::Full => " Full",
        JoinKind::Semi => " Semi",
        JoinKind::Anti => " Anti",
    }
}

fn names(plan: &Plan) -> Vec<String> {
    plan.columns.iter().map(|c| c.name.clone()).collect()
}

fn both(left: &Plan, right: &[String]) -> Vec<String> {
    let mut all = names(left);
    all.extend_from_slice(right);
    all
}

/// Title and properties of a scan; `left`: the names its bounds see.
fn scan_entry(scan: &Scan, p: &Printer<'_>, left: &[String]) -> (String, Vec<(String, String)>) {
    let relation = &scan.table.name;
    let Some(table) = scan.table.table() else { return (format!("Scan on {relation}"), Vec::new()) };
    let index = table.all_indexes().find(|i| i.id == scan.index);
    let primary = scan.index == table.primary.id;
    let name = index.map_or("?", |i| i.name.as_str());
    let back = if scan.reverse { " Backward" } else { "" };
    let title = if primary && scan.ranges.is_empty() && !scan.reverse {
        format!("Seq Scan on {relation}")
    } else if !scan.fetch_primary && !primary {
        format!("Index Only Scan{back} using {name} on {relation}")
    } else {
        format!("Index Scan{back} using {name} on {relation}")
    };
    let mut properties = Vec::new();
    if let Some(index) = index {
        let keys: Vec<&str> = index.keys.iter().map(|k| table.column(k.column).map_or("?", |c| c.name.as_str())).collect();
        let bounds: Vec<String> = scan.ranges.iter().map(|r| p.range(r, &keys, left)).collect();
        match bounds.len() {
            0 => {}
            1 => properties.push(("Index Cond".to_owned(), bounds[0].clone())),
            _ => properties.push(("Index Cond".to_owned(), bounds.join(" OR "))),
        }
    }
    let own = column_names(table, &scan.columns);
    if let Some(filter) = &scan.filter {
        properties.push(("Filter".to_owned(), p.top(filter, &own)));
    }
    if let Some(limit) = &scan.limit {
        properties.push(("Limit".to_owned(), p.expr(limit, &[])));
    }
    if let Some(aggregate) = &scan.aggregate {
        let calls: Vec<String> = aggregate.calls.iter().map(|c| p.aggregate(c, &own)).collect();
        if !aggregate.groups.is_empty() {
            properties.push(("Partial Group Key".to_owned(), p.list(&aggregate.groups, &own)));
        }
        properties.push(("Partial Aggregate".to_owned(), calls.join(", ")));
    }
    if let Some(lock) = &scan.lock {
        properties.push(("Lock".to_owned(), lock_name(lock)));
    }
    (title, properties)
}

fn column_names(table: &TableDescriptor, ids: &[u32]) -> Vec<String> {
    ids.iter().map(|id| table.column(*id).map_or_else(|| "?".to_owned(), |c| c.name.clone())).collect()
}

fn lock_name(lock: &RowLock) -> String {
    use meridian_txn::api::{LockStrength, LockWait};
    let strength = match lock.strength {
        LockStrength::KeyShare => "For Key Share",
        LockStrength::Share => "For Share",
        LockStrength::NoKeyUpdate => "For No Key Update",
        LockStrength::Update => "For Update",
    };
    match lock.wait {
        LockWait::NoWait => format!("{strength} Nowait"),
        LockWait::SkipLocked => format!("{strength} Skip Locked"),
        LockWait::Block(_) => strength.to_owned(),
    }
}

fn optional(properties: &mut Vec<(String, String)>, key: &str, e: Option<&Expr>, p: &Printer<'_>, names: &[String]) {
    if let Some(e) = e {
        properties.push((key.to_owned(), p.top(e, names)));
    }
}

fn describe<'p>(plan: &'p Plan, p: &Printer<'_>, verbose: bool) -> Entry<'p> {
    let mut e = describe_node(plan, p);
    if verbose {
        e.properties.insert(0, ("Output".to_owned(), names(plan).join(", ")));
    }
    e
}

fn describe_node<'p>(plan: &'p Plan, p: &Printer<'_>) -> Entry<'p> {
    let mut properties = Vec::new();
    let one = |title: &str, properties, child: &'p Plan| Entry { title: title.to_owned(), properties, children: vec![(None, child)] };
    match &plan.node {
        Node::OneRow => Entry { title: "Result".into(), properties, children: vec![] },
        Node::Empty => Entry { title: "Result".into(), properties: vec![("One-Time Filter".into(), "false".into())], children: vec![] },
        Node::Values { .. } => Entry { title: "Values Scan".into(), properties, children: vec![] },
        Node::Scan(scan) => {
            let (title, properties) = scan_entry(scan, p, &[]);
            Entry { title, properties, children: vec![] }
        }
        Node::SystemScan { table, filter, .. } => {
            optional(&mut properties, "Filter", filter.as_ref(), p, &names(plan));
            Entry { title: format!("System Scan on {table}"), properties, children: vec![] }
        }
        Node::FunctionScan { function, args, .. } => {
            properties.push(("Function Call".into(), format!("{}({})", function.0.name, p.list(args, &[]))));
            Entry { title: format!("Function Scan on {}", function.0.name), properties, children: vec![] }
        }
        Node::Filter { input, predicate } => {
            properties.push(("Filter".into(), p.top(predicate, &names(input))));
            one("Filter", properties, input)
        }
        Node::Project { input, exprs } => {
            // Columns merely picked are no news.
            let computed: Vec<Expr> = exprs.iter().filter(|e| !matches!(e, Expr::Column { .. })).cloned().collect();
            if !computed.is_empty() {
                properties.push(("Render".into(), p.list(&computed, &names(input))));
            }
            one("Project", properties, input)
        }
        Node::ProjectSet { input, .. } => one("ProjectSet", properties, input),
        Node::Sort { input, keys, limit } => {
            properties.push(("Sort Key".into(), p.keys(keys, &names(input))));
            optional(&mut properties, "Top", limit.as_ref(), p, &[]);
            one("Sort", properties, input)
        }
        Node::Limit { input, limit, offset, with_ties } => {
            optional(&mut properties, "Count", limit.as_ref(), p, &[]);
            optional(&mut properties, "Offset", offset.as_ref(), p, &[]);
            if with_ties.is_some() {
                properties.push(("With Ties".into(), "true".into()));
            }
            one("Limit", properties, input)
        }
        Node::Distinct { input } => one("HashAggregate", vec![("Group Key".into(), names(input).join(", "))], input),
        Node::DistinctOn { input, keys } => one("Unique", vec![("Key".into(), p.list(keys, &names(input)))], input),
        Node::Aggregate(a) => aggregate_entry(a, p),
        Node::Window { input, partition, order, calls } => {
            let own = names(input);
            if !partition.is_empty() {
                properties.push(("Partition By".into(), p.list(partition, &own)));
            }
            if !order.is_empty() {
                properties.push(("Order By".into(), p.keys(order, &own)));
            }
            properties.push((
                "Functions".into(),
                calls.iter().map(|c| format!("{}({})", c.function.0.name, p.list(&c.args, &own))).collect::<Vec<_>>().join(", "),
            ));
            one("WindowAgg", properties, input)
        }
        Node::HashJoin { left, right, kind, left_keys, right_keys, residual } => {
            let (l, r) = (names(left), names(right));
            let keys: Vec<String> =
                left_keys.iter().zip(right_keys).map(|(a, b)| format!("({} = {})", p.expr(a, &l), p.expr(b, &r))).collect();
            properties.push(("Hash Cond".into(), keys.join(" AND ")));
            optional(&mut properties, "Join Filter", residual.as_ref(), p, &both(left, &r));
            Entry { title: format!("Hash{} Join", kind_name(*kind)), properties, children: vec![(None, left), (None, right)] }
        }
        Node::MergeJoin { left, right, kind, left_keys, right_keys, residual } => {
            let (l, r) = (names(left), names(right));
            let keys: Vec<String> =
                left_keys.iter().zip(right_keys).map(|(a, b)| format!("({} = {})", p.expr(&a.expr, &l), p.expr(&b.expr, &r))).collect();
            properties.push(("Merge Cond".into(), keys.join(" AND ")));
            optional(&mut properties, "Join Filter", residual.as_ref(), p, &both(left, &r));
            Entry { title: format!("Merge{} Join", kind_name(*kind)), properties, children: vec![(None, left), (None, right)] }
        }
        Node::LookupJoin { left, kind, lookup, residual } => {
            let (title, scan) = scan_entry(lookup, p, &names(left));
            properties.push(("Lookup".into(), title));
            properties
                .extend(scan.into_iter().map(|(k, v)| (k.replace("Index Cond", "Lookup Cond").replace("Filter", "Lookup Filter"), v)));
            let own = lookup.table.table().map_or_else(Vec::new, |t| column_names(t, &lookup.columns));
            optional(&mut properties, "Join Filter", residual.as_ref(), p, &both(left, &own));
            Entry { title: format!("Lookup{} Join", kind_name(*kind)), properties, children: vec![(None, left)] }
        }
        Node::NestedLoop { left, right, kind, predicate, lateral } => {
            optional(&mut properties, "Join Filter", predicate.as_ref(), p, &both(left, &names(right)));
            if *lateral {
                properties.push(("Lateral".into(), "true".into()));
            }
            let title =
                if kind_name(*kind).is_empty() { "Nested Loop".to_owned() } else { format!("Nested Loop{} Join", kind_name(*kind)) };
            Entry { title, properties, children: vec![(None, left), (None, right)] }
        }
        Node::Append { inputs } => Entry { title: "Append".into(), properties, children: inputs.iter().map(|i| (None, i)).collect() },
        Node::SetOp { left, right, kind, all } => {
            let name = match kind {
                SetOpKind::Union => "Union",
                SetOpKind::Intersect => "Intersect",
                SetOpKind::Except => "Except",
            };
            Entry {
                title: format!("SetOp {name}{}", if *all { " All" } else { "" }),
                properties,
                children: vec![(None, left), (None, right)],
            }
        }
        Node::With { ctes, body } => {
            let mut children: Vec<(Option<String>, &Plan)> = ctes.iter().map(|c| (Some(format!("CTE {}", c.name)), &c.plan)).collect();
            children.push((None, body));
            Entry { title: "With".into(), properties, children }
        }
        Node::CteScan { .. } => Entry { title: "CTE Scan".into(), properties, children: vec![] },
        Node::RecursiveUnion { base, step, distinct, .. } => {
            if *distinct {
                properties.push(("Distinct".into(), "true".into()));
            }
            Entry { title: "Recursive Union".into(), properties, children: vec![(None, base), (None, step)] }
        }
        Node::WorkTable { .. } => Entry { title: "WorkTable Scan".into(), properties, children: vec![] },
        Node::LockRows { input, targets } => {
            let list: Vec<String> = targets.iter().map(|t| format!("{} {}", t.table.name, lock_name(&t.lock))).collect();
            properties.push(("Lock".into(), list.join(", ")));
            one("LockRows", properties, input)
        }
        Node::Insert(i) => {
            if let Some(conflict) = &i.conflict {
                properties.push(("Conflict Resolution".into(), if conflict.update.is_some() { "UPDATE".into() } else { "NOTHING".into() }));
                if let Some(table) = i.table.table()
                    && !conflict.arbiters.is_empty()
                {
                    let arbiters: Vec<&str> =
                        table.all_indexes().filter(|x| conflict.arbiters.contains(&x.id)).map(|x| x.name.as_str()).collect();
                    properties.push(("Conflict Arbiter Indexes".into(), arbiters.join(", ")));
                }
            }
            one(&format!("Insert on {}", i.table.name), properties, &i.source)
        }
        Node::Update(u) => {
            let own = names(&u.source);
            let set: Vec<String> = u
                .assignments
                .iter()
                .map(|(id, e)| {
                    format!("{} = {}", u.table.table().and_then(|t| t.column(*id)).map_or("?", |c| c.name.as_str()), p.expr(e, &own))
                })
                .collect();
            properties.push(("Set".into(), set.join(", ")));
            one(&format!("Update on {}", u.table.name), properties, &u.source)
        }
        Node::Delete(d) => one(&format!("Delete on {}", d.table.name), properties, &d.source),
    }
}

fn aggregate_entry<'p>(a: &'p Aggregate, p: &Printer<'_>) -> Entry<'p> {
    let own = names(&a.input);
    let mut properties = Vec::new();
    let title = match (a.groups.is_empty() && a.sets.is_empty(), a.sorted, a.phase == AggregatePhase::Final) {
        (true, _, true) => "Finalize Aggregate",
        (true, _, false) => "Aggregate",
        (false, true, _) => "GroupAggregate",
        (false, false, true) => "Finalize HashAggregate",
        (false, false, false) => "HashAggregate",
    };
    if !a.groups.is_empty() {
        if a.sets.is_empty() {
            properties.push(("Group Key".to_owned(), p.list(&a.groups, &own)));
        } else {
            for set in &a.sets {
                let keys: Vec<Expr> = set.iter().filter_map(|n| a.groups.get(*n).cloned()).collect();
                properties.push(("Group Key".to_owned(), if keys.is_empty() { "()".to_owned() } else { p.list(&keys, &own) }));
            }
        }
    }
    if a.phase == AggregatePhase::Complete && !a.calls.is_empty() {
        properties.push(("Aggregates".to_owned(), a.calls.iter().map(|c| p.aggregate(c, &own)).collect::<Vec<_>>().join(", ")));
    }
    Entry { title: title.to_owned(), properties, children: vec![(None, &a.input)] }
}
