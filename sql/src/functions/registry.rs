//! The registry: every callable by name, built once.
//!
//! Signatures are PostgreSQL 15's own (`data/pg_proc.txt` and `data/pg_operator.txt`, taken from its catalog): OID, name,
//! kind, strictness, volatility, argument and result types, output columns. Bodies are ours: each topic module lists
//! `(key, body)` pairs, where the key is PostgreSQL's internal symbol (`int4pl`), or `name(type,…)` for aggregates and for
//! functions that are written in SQL there. A row of the data file without a body is known but unsupported: calling it is
//! `0A000`, not "does not exist".
//!
//! Line format of `pg_proc.txt`: oid name key kind+flags volatility result defaults args columns, where kind is `f`
//! function, `a` aggregate, `w` window; flags `s` strict, `v` variadic, `r` returns a set.

use std::sync::LazyLock;

use rustc_hash::FxHashMap;

use super::{FunctionBody, FunctionDef, Volatility};
use crate::types::DataType;

/// What a comparison operator asks; the planner knows which of them an index can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComparisonKind {
    /// `=`
    Eq,
    /// `<>`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
}

impl ComparisonKind {
    /// The kind of an operator by its name.
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "=" => Self::Eq,
            "<>" => Self::Ne,
            "<" => Self::Lt,
            "<=" => Self::Le,
            ">" => Self::Gt,
            ">=" => Self::Ge,
            _ => return None,
        })
    }
    /// The kind with its sides exchanged: `5 < x` is `x > 5`.
    pub fn commuted(self) -> Self {
        match self {
            Self::Lt => Self::Gt,
            Self::Le => Self::Ge,
            Self::Gt => Self::Lt,
            Self::Ge => Self::Le,
            same => same,
        }
    }
    /// Whether an ordering satisfies the comparison.
    #[inline]
    pub fn holds(self, ordering: std::cmp::Ordering) -> bool {
        match self {
            Self::Eq => ordering.is_eq(),
            Self::Ne => ordering.is_ne(),
            Self::Lt => ordering.is_lt(),
            Self::Le => ordering.is_le(),
            Self::Gt => ordering.is_gt(),
            Self::Ge => ordering.is_ge(),
        }
    }
}

/// An operator: a name for a function.
#[derive(Clone, Copy)]
pub struct OperatorDef {
    /// OID in `pg_operator`.
    pub oid: u32,
    /// Symbol.
    pub name: &'static str,
    /// Left operand; none for a prefix operator.
    pub left: Option<DataType>,
    /// Right operand.
    pub right: DataType,
    /// Result type, possibly polymorphic.
    pub result: DataType,
    /// The function behind it.
    pub function: &'static FunctionDef,
    /// Symbol of the operator that gives the same with sides exchanged.
    pub commutator: Option<&'static str>,
    /// Symbol of the operator that gives the opposite.
    pub negator: Option<&'static str>,
    /// Whether it is an equality that hash joins may use.
    pub can_hash: bool,
    /// Which comparison it is, if one.
    pub comparison: Option<ComparisonKind>,
}

impl std::fmt::Debug for OperatorDef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.name)
    }
}

pub(super) struct Registry {
    functions: &'static [FunctionDef],
    by_name: FxHashMap<&'static str, (usize, usize)>,
    by_oid: FxHashMap<u32, usize>,
    unsupported: FxHashMap<&'static str, Vec<&'static [DataType]>>,
    operators: &'static [OperatorDef],
    operators_by_name: FxHashMap<&'static str, (usize, usize)>,
}

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::build);

fn number(field: Option<&str>) -> u32 {
    field.and_then(|f| f.parse().ok()).unwrap_or(0)
}

fn leak<T>(v: Vec<T>) -> &'static [T] {
    Box::leak(v.into_boxed_slice())
}

/// `(name, type)` pairs of the output columns.
fn columns(field: &'static str) -> &'static [(&'static str, DataType)] {
    if field == "-" {
        return &[];
    }
    leak(field.split(',').filter_map(|c| c.split_once(':')).map(|(n, t)| (n, DataType(number(Some(t))))).collect())
}

impl Registry {
    fn build() -> Registry {
        let mut bodies: FxHashMap<&'static str, FunctionBody> = FxHashMap::default();
        for (key, body) in super::topics().into_iter().flatten() {
            bodies.insert(key, *body);
        }
        let mut functions = Vec::new();
        let mut unsupported: FxHashMap<&'static str, Vec<&'static [DataType]>> = FxHashMap::default();
        let sources: [&'static str; 2] = [include_str!("data/pg_proc.txt"), include_str!("data/own_proc.txt")];
        for line in sources.into_iter().flat_map(str::lines).filter(|l| !l.is_empty() && !l.starts_with('#')) {
            let mut fields = line.split(' ');
            let oid = number(fields.next());
            let (Some(name), Some(key), Some(kind)) = (fields.next(), fields.next(), fields.next()) else { continue };
            let volatility = match fields.next() {
                Some("i") => Volatility::Immutable,
                Some("s") => Volatility::Stable,
                _ => Volatility::Volatile,
            };
            let returns = DataType(number(fields.next()));
            let optional = number(fields.next()) as usize;
            let args = fields.next().unwrap_or("-");
            let args = if args == "-" { &[][..] } else { leak(args.split(',').map(|a| DataType(number(Some(a)))).collect()) };
            let Some(mut body) = bodies.get(key).copied() else {
                unsupported.entry(name).or_default().push(args);
                continue;
            };
            if let FunctionBody::Set { columns: c, .. } = &mut body {
                *c = columns(fields.next().unwrap_or("-"));
            }
            functions.push(FunctionDef {
                oid,
                name,
                args,
                variadic: kind.contains('v'),
                optional,
                returns,
                strict: kind.contains('s'),
                volatility,
                body,
            });
        }
        functions.sort_by(|a, b| a.name.cmp(b.name).then(a.oid.cmp(&b.oid)));
        let functions = leak(functions);
        let by_oid: FxHashMap<u32, usize> = functions.iter().enumerate().map(|(i, f)| (f.oid, i)).collect();
        let by_name = ranges(functions, |f| f.name);
        let mut operators = Vec::new();
        for line in include_str!("data/pg_operator.txt").lines() {
            let f: Vec<&'static str> = line.split(' ').collect();
            let [oid, name, left, right, result, function, commutator, negator, hash] = f[..] else { continue };
            let Some(function) = by_oid.get(&number(Some(function))).map(|i| &functions[*i]) else { continue };
            let left = number(Some(left));
            let named = |s: &'static str| (s != "-").then_some(s);
            operators.push(OperatorDef {
                oid: number(Some(oid)),
                name,
                left: (left != 0).then_some(DataType(left)),
                right: DataType(number(Some(right))),
                result: DataType(number(Some(result))),
                function,
                // `-` is both a symbol and the mark of absence; no operator commutes to or is negated by minus.
                commutator: named(commutator),
                negator: named(negator),
                can_hash: hash == "h",
                comparison: ComparisonKind::of(name),
            });
        }
        operators.sort_by(|a, b| a.name.cmp(b.name).then(a.oid.cmp(&b.oid)));
        let operators = leak(operators);
        let operators_by_name = ranges(operators, |o| o.name);
        Registry { functions, by_name, by_oid, unsupported, operators, operators_by_name }
    }
}

/// Where each name's run lies in a slice sorted by name.
fn ranges<T>(sorted: &'static [T], name: fn(&T) -> &'static str) -> FxHashMap<&'static str, (usize, usize)> {
    let mut out: FxHashMap<&'static str, (usize, usize)> = FxHashMap::default();
    for (i, item) in sorted.iter().enumerate() {
        out.entry(name(item)).and_modify(|r| r.1 = i + 1).or_insert((i, i + 1));
    }
    out
}

/// Every function, ordered by name and OID: the rows of `pg_proc`.
pub fn all_functions() -> impl Iterator<Item = &'static FunctionDef> {
    REGISTRY.functions.iter()
}

/// Every operator, ordered by name and OID: the rows of `pg_operator`.
pub fn all_operators() -> impl Iterator<Item = &'static OperatorDef> {
    REGISTRY.operators.iter()
}

/// The overloads of a name (lower case, unqualified).
pub fn functions_named(name: &str) -> &'static [FunctionDef] {
    REGISTRY.by_name.get(name).map_or(&[], |(a, b)| &REGISTRY.functions[*a..*b])
}

/// The function with an OID: how pushed-down programs name what they call.
pub fn function_by_oid(oid: u32) -> Option<&'static FunctionDef> {
    REGISTRY.by_oid.get(&oid).map(|i| &REGISTRY.functions[*i])
}

/// The overloads of an operator symbol.
pub fn operators_named(name: &str) -> &'static [OperatorDef] {
    REGISTRY.operators_by_name.get(name).map_or(&[], |(a, b)| &REGISTRY.operators[*a..*b])
}

/// Whether PostgreSQL 15 has a function that would take this call and that we do not implement.
pub fn is_known_unsupported(name: &str, args: &[DataType]) -> bool {
    let fits = |params: &&[DataType]| params.len() == args.len() && super::coerce::can_coerce(args, params);
    REGISTRY.unsupported.get(name).is_some_and(|all| all.iter().any(fits))
}
