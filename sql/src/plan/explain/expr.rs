//! Expressions in plans as SQL-like text.

use std::sync::LazyLock;

use rustc_hash::FxHashMap;

use crate::functions::SessionView;
use crate::functions::registry::all_operators;
use crate::plan::expr::{Expr, FunctionRef, SubqueryKind};
use crate::plan::logical::children;
use crate::plan::node::*;
use crate::types::text_io::to_text;
use crate::types::{DataType, Datum};

/// Prints expressions; literals as the session prints values.
pub(super) struct Printer<'s> {
    pub session: &'s SessionView,
}

/// The operator that a function stands behind, by the function's OID.
static OPERATORS: LazyLock<FxHashMap<u32, &'static str>> = LazyLock::new(|| {
    let mut out = FxHashMap::default();
    for o in all_operators() {
        out.entry(o.function.oid).or_insert(o.name);
    }
    out
});

fn symbol(function: FunctionRef) -> Option<&'static str> {
    OPERATORS.get(&function.0.oid).copied()
}

impl Printer<'_> {
    /// As the value of a property: in parentheses if it is a condition.
    pub fn top(&self, e: &Expr, names: &[String]) -> String {
        self.expr(e, names)
    }

    pub fn list(&self, exprs: &[Expr], names: &[String]) -> String {
        exprs.iter().map(|e| self.expr(e, names)).collect::<Vec<_>>().join(", ")
    }

    pub fn keys(&self, keys: &[SortKey], names: &[String]) -> String {
        let one = |k: &SortKey| {
            let mut out = self.expr(&k.expr, names);
            if k.descending {
                out.push_str(" DESC");
            }
            if k.nulls_first != k.descending {
                out.push_str(if k.nulls_first { " NULLS FIRST" } else { " NULLS LAST" });
            }
            out
        };
        keys.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    pub fn aggregate(&self, c: &AggregateCall, names: &[String]) -> String {
        let args = if c.args.is_empty() { "*".to_owned() } else { self.list(&c.args, names) };
        let mut out = format!("{}({}{args}", c.function.0.name, if c.distinct { "DISTINCT " } else { "" });
        if !c.order.is_empty() {
            out.push_str(&format!(" ORDER BY {}", self.keys(&c.order, names)));
        }
        out.push(')');
        if let Some(filter) = &c.filter {
            out.push_str(&format!(" FILTER (WHERE {})", self.expr(filter, names)));
        }
        out
    }

    pub fn range(&self, r: &IndexRange, keys: &[&str], left: &[String]) -> String {
        let mut parts = Vec::new();
        let key = |n: usize| keys.get(n).copied().unwrap_or("?");
        for (n, e) in r.equal.iter().enumerate() {
            let column = key(n);
            parts.push(if r.null_equal.contains(&n) {
                format!("({column} IS NULL)")
            } else if r.any && n + 1 == r.equal.len() {
                format!("({column} = ANY ({}))", self.expr(e, left))
            } else {
                format!("({column} = {})", self.expr(e, left))
            });
        }
        let next = key(r.equal.len());
        if let Some((e, inclusive)) = &r.lower {
            parts.push(format!("({next} {} {})", if *inclusive { ">=" } else { ">" }, self.expr(e, left)));
        }
        if let Some((e, inclusive)) = &r.upper {
            parts.push(format!("({next} {} {})", if *inclusive { "<=" } else { "<" }, self.expr(e, left)));
        }
        parts.join(" AND ")
    }

    fn constant(&self, value: &Datum, ty: DataType) -> String {
        match value {
            Datum::Null => format!("NULL::{}", ty.name()),
            Datum::Bool(b) => b.to_string(),
            Datum::Int2(_) | Datum::Int4(_) | Datum::Int8(_) | Datum::Numeric(_) | Datum::Float8(_) => to_text(value, ty, self.session),
            other => {
                let text = to_text(other, ty, self.session);
                let short: String = text.chars().take(200).collect();
                let dots = if short.len() < text.len() { "…" } else { "" };
                format!("'{}{dots}'::{}", short.replace('\'', "''"), ty.name())
            }
        }
    }

    pub fn expr(&self, e: &Expr, names: &[String]) -> String {
        let s = |x: &Expr| self.expr(x, names);
        match e {
            Expr::Const { value, ty } => self.constant(value, *ty),
            Expr::Column { ordinal, .. } => names.get(*ordinal).cloned().unwrap_or_else(|| format!("#{ordinal}")),
            Expr::Outer { depth, ordinal, .. } => format!("outer{depth}.{ordinal}"),
            Expr::Param { index, .. } => format!("${}", index + 1),
            Expr::Call { function, args, .. } | Expr::ExecutorCall { function, args, .. } => match (symbol(*function), &args[..]) {
                (Some(op), [a, b]) => format!("({} {op} {})", s(a), s(b)),
                (Some(op), [a]) => format!("({op} {})", s(a)),
                _ => format!("{}({})", function.0.name, self.list(args, names)),
            },
            Expr::Cast { input, to, typmod, .. } => format!("({})::{}", s(input), crate::types::format_type(*to, *typmod)),
            Expr::And(args) => format!("({})", args.iter().map(s).collect::<Vec<_>>().join(" AND ")),
            Expr::Or(args) => format!("({})", args.iter().map(s).collect::<Vec<_>>().join(" OR ")),
            Expr::Not(x) => format!("(NOT {})", s(x)),
            Expr::IsNull { input, negated } => format!("({} IS {}NULL)", s(input), if *negated { "NOT " } else { "" }),
            Expr::IsBool { input, value, negated } => {
                let what = match value {
                    Some(true) => "TRUE",
                    Some(false) => "FALSE",
                    None => "UNKNOWN",
                };
                format!("({} IS {}{what})", s(input), if *negated { "NOT " } else { "" })
            }
            Expr::IsDistinct { left, right, negated } => {
                format!("({} IS {}DISTINCT FROM {})", s(left), if *negated { "NOT " } else { "" }, s(right))
            }
            Expr::Case { branches, otherwise, .. } => {
                let mut out = "CASE".to_owned();
                for (when, then) in branches {
                    out.push_str(&format!(" WHEN {} THEN {}", s(when), s(then)));
                }
                if let Some(x) = otherwise {
                    out.push_str(&format!(" ELSE {}", s(x)));
                }
                out + " END"
            }
            Expr::Coalesce { args, .. } => format!("COALESCE({})", self.list(args, names)),
            Expr::MinMax { args, greatest, .. } => format!("{}({})", if *greatest { "GREATEST" } else { "LEAST" }, self.list(args, names)),
            Expr::AnyAll { left, array, function, all } => {
                format!(
                    "({} {} {} ({}))",
                    s(left),
                    symbol(*function).unwrap_or(function.0.name),
                    if *all { "ALL" } else { "ANY" },
                    s(array)
                )
            }
            Expr::Array { elements, .. } => format!("ARRAY[{}]", self.list(elements, names)),
            Expr::Subscript { input, indices, .. } => {
                let mut out = s(input);
                for (lower, upper, slice) in indices {
                    let (l, u) = (lower.as_ref().map_or(String::new(), s), upper.as_ref().map_or(String::new(), s));
                    out.push_str(&if *slice { format!("[{l}:{u}]") } else { format!("[{u}]") });
                }
                out
            }
            Expr::Row { fields } => format!("ROW({})", self.list(fields, names)),
            Expr::Field { input, index, .. } => format!("({}).f{}", s(input), index + 1),
            Expr::Subquery { kind, .. } => match kind {
                SubqueryKind::Scalar => "(SubPlan)".to_owned(),
                SubqueryKind::Exists => "EXISTS(SubPlan)".to_owned(),
                SubqueryKind::AnyAll { left, function, all } => {
                    format!("({} {} {} (SubPlan))", s(left), symbol(*function).unwrap_or("?"), if *all { "ALL" } else { "ANY" })
                }
                SubqueryKind::RowIn { left, .. } => format!("(({}) IN (SubPlan))", self.list(left, names)),
                SubqueryKind::Array { .. } => "ARRAY(SubPlan)".to_owned(),
            },
        }
    }
}

/// The plans of subqueries in a node's expressions.
pub(super) fn subplans(plan: &Plan) -> Vec<&Plan> {
    let mut out = Vec::new();
    let mut see = |e| collect(e, &mut out);
    match &plan.node {
        Node::Filter { predicate, .. } => see(predicate),
        Node::Project { exprs, .. } => exprs.iter().for_each(see),
        Node::Values { rows } => rows.iter().flatten().for_each(see),
        Node::Scan(scan) => scan.filter.iter().for_each(see),
        Node::Limit { limit, offset, .. } => limit.iter().chain(offset).for_each(see),
        Node::HashJoin { residual, .. } | Node::MergeJoin { residual, .. } | Node::LookupJoin { residual, .. } => {
            residual.iter().for_each(see)
        }
        Node::NestedLoop { predicate, .. } => predicate.iter().for_each(see),
        Node::Aggregate(a) => {
            a.groups.iter().for_each(&mut see);
            a.calls.iter().flat_map(|c| c.args.iter().chain(&c.filter)).for_each(see);
        }
        Node::Update(u) => u.assignments.iter().for_each(|a| see(&a.1)),
        _ => {}
    }
    out
}

fn collect<'p>(e: &'p Expr, out: &mut Vec<&'p Plan>) {
    if let Expr::Subquery { plan, .. } = e {
        out.push(plan);
    }
    children(e, &mut |c| collect(c, out));
}
