//! Stored expression text as PostgreSQL prints it.
//!
//! Descriptors keep expressions as SQL; clients expect what PostgreSQL's `ruleutils.c` makes of them: operators in parentheses (fewer in
//! the "pretty" form), untyped literals with the type they took (`'new'::text`), `IN` as `= ANY (ARRAY[…])`, `BETWEEN` as two
//! comparisons, `LIKE` as `~~`. The types of columns are known, those of functions nearly always; what this module does not know it prints as it
//! is written.

use sqlparser::ast::{self, BinaryOperator, Expr, UnaryOperator, Value};

use crate::catalog::descriptor::ColumnDescriptor;
use crate::functions::{quote_ident, quote_literal};
use crate::types::{DataType, NO_TYPMOD, format_type};

/// What an expression is printed with.
pub struct Printer<'a> {
    /// Columns it may name.
    pub columns: &'a [ColumnDescriptor],
    /// As few parentheses as can be.
    pub pretty: bool,
    /// How `regclass` literals print; gives the text back if it knows nothing better.
    pub relation: &'a dyn Fn(&str) -> String,
}

/// How tightly an expression binds; operands that bind less tightly get parentheses in the pretty form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Binding {
    Or,
    And,
    Not,
    Is,
    Comparison,
    Other,
    Sum,
    Product,
    Unary,
    Atom,
}

/// Text, and how tightly it binds.
struct Printed {
    text: String,
    binding: Binding,
}

fn atom(text: impl Into<String>) -> Printed {
    Printed { text: text.into(), binding: Binding::Atom }
}

impl Printer<'_> {
    /// An expression. Outer parentheses are PostgreSQL's too: `(price > 0)`.
    pub fn expression(&self, text: &str) -> String {
        match crate::front::parse_expression(text) {
            Ok((_, expr)) => self.whole(&expr, None),
            Err(_) => text.to_owned(),
        }
    }

    /// A column's default: an untyped literal has the column's type.
    pub fn default(&self, text: &str, column: &ColumnDescriptor) -> String {
        match crate::front::parse_expression(text) {
            Ok((_, expr)) => self.whole(&expr, Some(column.ty)),
            Err(_) => text.to_owned(),
        }
    }

    fn whole(&self, expr: &Expr, expected: Option<DataType>) -> String {
        let printed = self.print(expr, expected);
        if self.pretty { printed.text } else { wrapped(printed) }
    }

    /// An operand: in parentheses unless it needs none.
    fn operand(&self, expr: &Expr, expected: Option<DataType>, around: Binding) -> String {
        let printed = self.print(expr, expected);
        if self.pretty && printed.binding > around { printed.text } else { wrapped(printed) }
    }

    /// An argument, where a comma or bracket ends it.
    fn argument(&self, expr: &Expr, expected: Option<DataType>) -> String {
        let printed = self.print(expr, expected);
        if self.pretty { printed.text } else { wrapped(printed) }
    }

    fn print(&self, expr: &Expr, expected: Option<DataType>) -> Printed {
        match expr {
            Expr::Nested(inner) => self.print(inner, expected),
            Expr::Identifier(name) => atom(quote_ident(&name.value)),
            Expr::CompoundIdentifier(parts) => atom(parts.last().map(|p| quote_ident(&p.value)).unwrap_or_default()),
            Expr::Value(value) => atom(literal(&value.value, expected)),
            Expr::TypedString(typed) => match &typed.value.value {
                Value::SingleQuotedString(s) => atom(format!("{}::{}", quote_literal(s), type_name(&typed.data_type))),
                _ => atom(expr.to_string()),
            },
            Expr::Cast { expr: inner, data_type, .. } => self.cast(inner, data_type),
            Expr::BinaryOp { left, op, right } => self.binary(left, op, right),
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => {
                Printed { text: format!("NOT {}", self.operand(expr, None, Binding::Not)), binding: Binding::Not }
            }
            Expr::UnaryOp { op: UnaryOperator::Minus, expr: inner } if matches!(&**inner, Expr::Value(_)) => match &**inner {
                Expr::Value(v) => negative(&v.value).map_or_else(|| atom(expr.to_string()), atom),
                _ => atom(expr.to_string()),
            },
            Expr::UnaryOp { op, expr } => {
                Printed { text: format!("{op} {}", self.operand(expr, None, Binding::Unary)), binding: Binding::Unary }
            }
            Expr::IsNull(e) => self.is(e, "NULL"),
            Expr::IsNotNull(e) => self.is(e, "NOT NULL"),
            Expr::IsTrue(e) => self.is(e, "TRUE"),
            Expr::IsNotTrue(e) => self.is(e, "NOT TRUE"),
            Expr::IsFalse(e) => self.is(e, "FALSE"),
            Expr::IsNotFalse(e) => self.is(e, "NOT FALSE"),
            Expr::IsUnknown(e) => self.is(e, "UNKNOWN"),
            Expr::IsNotUnknown(e) => self.is(e, "NOT UNKNOWN"),
            Expr::IsDistinctFrom(a, b) => self.compare(a, "IS DISTINCT FROM", b),
            Expr::IsNotDistinctFrom(a, b) => {
                Printed { text: format!("NOT {}", wrapped(self.compare(a, "IS DISTINCT FROM", b))), binding: Binding::Not }
            }
            Expr::Between { expr, negated: false, low, high } => {
                self.join(&[self.compare(expr, ">=", low), self.compare(expr, "<=", high)], true)
            }
            Expr::Between { expr, low, high, .. } => self.join(&[self.compare(expr, "<", low), self.compare(expr, ">", high)], false),
            Expr::Like { negated, expr, pattern, escape_char: None, .. } => {
                self.compare(expr, if *negated { "!~~" } else { "~~" }, pattern)
            }
            Expr::ILike { negated, expr, pattern, escape_char: None, .. } => {
                self.compare(expr, if *negated { "!~~*" } else { "~~*" }, pattern)
            }
            Expr::In { expr, target: ast::InTarget::List(list), negated, .. } => self.in_list(expr, list, *negated),
            Expr::AnyOp { left, compare_op, right, .. } => self.compare_array(left, compare_op, "ANY", right),
            Expr::AllOp { left, compare_op, right } => self.compare_array(left, compare_op, "ALL", right),
            Expr::Function(function) => self.function(function),
            Expr::Array(array) => {
                let element =
                    array.elem.iter().find_map(|e| self.type_of(e)).or(expected.and_then(DataType::element)).or(Some(DataType::TEXT));
                let items: Vec<String> = array.elem.iter().map(|e| self.argument(e, element)).collect();
                atom(format!("ARRAY[{}]", items.join(", ")))
            }
            Expr::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref(), expected)
            }
            Expr::AtTimeZone { timestamp, time_zone } => {
                let (zone, time) =
                    (self.operand(time_zone, Some(DataType::TEXT), Binding::Other), self.operand(timestamp, None, Binding::Other));
                Printed { text: format!("{time} AT TIME ZONE {zone}"), binding: Binding::Other }
            }
            other => atom(other.to_string()),
        }
    }

    fn is(&self, expr: &Expr, what: &str) -> Printed {
        Printed { text: format!("{} IS {what}", self.operand(expr, None, Binding::Is)), binding: Binding::Is }
    }

    fn cast(&self, inner: &Expr, to: &ast::DataType) -> Printed {
        let to_name = type_name(to);
        if let Expr::Value(value) = inner
            && let Value::SingleQuotedString(s) = &value.value
        {
            let s = if to_name == "regclass" { (self.relation)(s) } else { s.clone() };
            return atom(format!("{}::{to_name}", quote_literal(&s)));
        }
        let printed = self.print(inner, None);
        // A bare name would do without in the pretty form.
        let inner = if self.pretty && printed.binding == Binding::Atom { printed.text } else { format!("({})", printed.text) };
        atom(format!("{inner}::{to_name}"))
    }

    fn binary(&self, left: &Expr, op: &BinaryOperator, right: &Expr) -> Printed {
        if matches!(op, BinaryOperator::And | BinaryOperator::Or) {
            let mut terms = vec![];
            flatten(left, op, &mut terms);
            flatten(right, op, &mut terms);
            let printed: Vec<Printed> = terms.iter().map(|t| self.print(t, None)).collect();
            return self.join(&printed, *op == BinaryOperator::And);
        }
        self.compare(left, &op.to_string(), right)
    }

    /// Terms with AND or OR between.
    fn join(&self, terms: &[Printed], and: bool) -> Printed {
        let binding = if and { Binding::And } else { Binding::Or };
        let term = |p: &Printed| if self.pretty && p.binding > binding { p.text.clone() } else { parenthesised(p) };
        Printed { text: terms.iter().map(term).collect::<Vec<_>>().join(if and { " AND " } else { " OR " }), binding }
    }

    /// `left op right`, each side seen in the type that the other gives it.
    fn compare(&self, left: &Expr, op: &str, right: &Expr) -> Printed {
        let binding = match op {
            "+" | "-" => Binding::Sum,
            "*" | "/" | "%" => Binding::Product,
            "=" | "<>" | "<" | "<=" | ">" | ">=" => Binding::Comparison,
            "IS DISTINCT FROM" => Binding::Is,
            _ => Binding::Other,
        };
        let (a, b) = (self.type_of(left), self.type_of(right));
        let (left, right) = (self.side(left, a, b, binding), self.side(right, b, a, binding));
        Printed { text: format!("{left} {op} {right}"), binding }
    }

    /// One side of an operator: `own` is its type, `other` that of the other side.
    fn side(&self, expr: &Expr, own: Option<DataType>, other: Option<DataType>, around: Binding) -> String {
        let bare = unnest(expr);
        let string = |t: DataType| if matches!(t, DataType::VARCHAR | DataType::NAME | DataType::UNKNOWN) { DataType::TEXT } else { t };
        // `varchar` has no operators of its own.
        if own == Some(DataType::VARCHAR) && matches!(bare, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) {
            let name = self.operand(expr, None, Binding::Atom);
            return if self.pretty { format!("{name}::text") } else { format!("({name})::text") };
        }
        if let Some(target) = other.and_then(|o| widened(own, o)) {
            let printed = self.print(expr, None);
            let bare = self.pretty && printed.binding == Binding::Atom;
            return if bare { format!("{}::{target}", printed.text) } else { format!("({})::{target}", printed.text) };
        }
        self.operand(expr, Some(string(other.unwrap_or(DataType::TEXT))), around)
    }

    fn in_list(&self, expr: &Expr, list: &[Expr], negated: bool) -> Printed {
        let (op, word) = if negated { ("<>", "ALL") } else { ("=", "ANY") };
        let own = self.type_of(expr);
        let element = own.or_else(|| list.iter().find_map(|e| self.type_of(e)));
        let items: Vec<String> = list.iter().map(|e| self.argument(e, element)).collect();
        let array = format!("ARRAY[{}]", items.join(", "));
        let (left, array) = match own {
            Some(DataType::VARCHAR) => {
                let array = if self.pretty { format!("{array}::text[]") } else { format!("({array})::text[]") };
                (self.side(expr, own, None, Binding::Comparison), array)
            }
            _ => (self.operand(expr, None, Binding::Comparison), array),
        };
        Printed { text: format!("{left} {op} {word} ({array})"), binding: Binding::Comparison }
    }

    fn compare_array(&self, left: &Expr, op: &BinaryOperator, word: &str, right: &Expr) -> Printed {
        let own = self.type_of(left);
        let right = self.argument(right, own.and_then(DataType::array_type));
        Printed { text: format!("{} {op} {word} ({right})", self.operand(left, None, Binding::Comparison)), binding: Binding::Comparison }
    }

    fn function(&self, function: &ast::Function) -> Printed {
        let name = function.name.to_string();
        let name = name.strip_prefix("pg_catalog.").unwrap_or(&name);
        match &function.args {
            // CURRENT_TIMESTAMP and the like.
            ast::FunctionArguments::None => atom(name.to_uppercase()),
            ast::FunctionArguments::List(list) if list.clauses.is_empty() && list.duplicate_treatment.is_none() => {
                let upper = matches!(name, "coalesce" | "greatest" | "least" | "nullif").then(|| name.to_uppercase());
                let common = list.args.iter().filter_map(plain_argument).find_map(|e| self.type_of(e)).filter(|_| upper.is_some());
                let args: Option<Vec<String>> =
                    list.args.iter().map(|a| plain_argument(a).map(|e| self.argument(e, Some(common.unwrap_or(DataType::TEXT))))).collect();
                match args {
                    Some(args) => atom(format!("{}({})", upper.as_deref().unwrap_or(name), args.join(", "))),
                    None => atom(function.to_string()),
                }
            }
            _ => atom(function.to_string()),
        }
    }

    fn case(&self, operand: Option<&Expr>, conditions: &[ast::CaseWhen], otherwise: Option<&Expr>, expected: Option<DataType>) -> Printed {
        let results = conditions.iter().map(|c| &c.result).chain(otherwise);
        let ty = results.clone().find_map(|e| self.type_of(e)).or(expected).or(Some(DataType::TEXT));
        let tested = operand.and_then(|o| self.type_of(o));
        let mut text = "\nCASE".to_owned();
        if let Some(operand) = operand {
            text += &format!(" {}", self.argument(operand, None));
        }
        for when in conditions {
            text += &format!("\n    WHEN {} THEN {}", self.argument(&when.condition, tested), self.argument(&when.result, ty));
        }
        match otherwise {
            Some(e) => text += &format!("\n    ELSE {}", self.argument(e, ty)),
            None => text += &format!("\n    ELSE NULL::{}", format_type(ty.unwrap_or(DataType::TEXT), NO_TYPMOD)),
        }
        atom(text + "\nEND")
    }

    /// The type of an expression, `None` if it is an untyped literal or not known.
    fn type_of(&self, expr: &Expr) -> Option<DataType> {
        let column = |name: &str| self.columns.iter().find(|c| c.name == name).map(|c| c.ty);
        match unnest(expr) {
            Expr::Identifier(name) => column(&name.value),
            Expr::CompoundIdentifier(parts) => column(&parts.last()?.value),
            Expr::Cast { data_type, .. } => parse_type(data_type),
            Expr::TypedString(typed) => parse_type(&typed.data_type),
            Expr::Value(value) => match &value.value {
                Value::Number(n, _) => Some(number_type(n)),
                Value::Boolean(_) => Some(DataType::BOOL),
                _ => None,
            },
            Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr } => self.type_of(expr),
            Expr::BinaryOp { left, op, right } => match op.to_string().as_str() {
                "+" | "-" | "*" | "/" | "%" => match (self.type_of(left), self.type_of(right)) {
                    (Some(a), Some(b)) if a == b => Some(a),
                    (Some(DataType::NUMERIC), _) | (_, Some(DataType::NUMERIC)) => Some(DataType::NUMERIC),
                    _ => None,
                },
                "||" => Some(DataType::TEXT),
                _ => Some(DataType::BOOL),
            },
            Expr::Function(function) => {
                let name = function.name.to_string();
                let overloads = crate::functions::functions_named(name.strip_prefix("pg_catalog.").unwrap_or(&name));
                let first = overloads.first()?.returns;
                (!first.is_pseudo() && overloads.iter().all(|f| f.returns == first)).then_some(first)
            }
            _ => None,
        }
    }
}

/// Columns of a table that an expression names, in the order in which it does.
pub fn columns_used(text: &str, columns: &[ColumnDescriptor]) -> Vec<u32> {
    let mut names: Vec<String> = vec![];
    if let Ok((_, expr)) = crate::front::parse_expression(text) {
        let _ = ast::visit_expressions(&expr, |e: &Expr| {
            match e {
                Expr::Identifier(name) => names.push(name.value.clone()),
                Expr::CompoundIdentifier(parts) => names.extend(parts.last().map(|p| p.value.clone())),
                _ => {}
            }
            std::ops::ControlFlow::<()>::Continue(())
        });
    }
    let mut out: Vec<u32> = vec![];
    for id in names.iter().filter_map(|n| columns.iter().find(|c| c.name == *n)).map(|c| c.id) {
        if !out.contains(&id) {
            out.push(id);
        }
    }
    out
}

/// The type that an operand of type `own` is converted to beside one of type `other`, where there is no operator for the two.
fn widened(own: Option<DataType>, other: DataType) -> Option<&'static str> {
    let integer = matches!(own, Some(DataType::INT2 | DataType::INT4 | DataType::INT8));
    match other {
        DataType::NUMERIC if integer => Some("numeric"),
        DataType::FLOAT8 | DataType::FLOAT4 if integer || own == Some(DataType::NUMERIC) => Some("double precision"),
        _ => None,
    }
}

fn plain_argument(arg: &ast::FunctionArg) -> Option<&Expr> {
    match arg {
        ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(e)) => Some(e),
        _ => None,
    }
}

fn unnest(mut expr: &Expr) -> &Expr {
    while let Expr::Nested(inner) = expr {
        expr = inner;
    }
    expr
}

fn flatten<'e>(expr: &'e Expr, op: &BinaryOperator, out: &mut Vec<&'e Expr>) {
    match unnest(expr) {
        Expr::BinaryOp { left, op: inner, right } if inner == op => {
            flatten(left, op, out);
            flatten(right, op, out);
        }
        other => out.push(other),
    }
}

fn wrapped(printed: Printed) -> String {
    if printed.binding == Binding::Atom { printed.text } else { format!("({})", printed.text) }
}

fn parenthesised(printed: &Printed) -> String {
    if printed.binding == Binding::Atom { printed.text.clone() } else { format!("({})", printed.text) }
}

fn number_type(digits: &str) -> DataType {
    if digits.parse::<i32>().is_ok() {
        DataType::INT4
    } else if digits.parse::<i64>().is_ok() {
        DataType::INT8
    } else {
        DataType::NUMERIC
    }
}

fn negative(value: &Value) -> Option<String> {
    match value {
        Value::Number(n, _) => Some(format!("'-{n}'::{}", format_type(number_type(n), NO_TYPMOD))),
        _ => None,
    }
}

/// A literal in the type it takes from where it stands.
fn literal(value: &Value, expected: Option<DataType>) -> String {
    match value {
        Value::Number(n, _) if number_type(n) == DataType::INT8 => format!("'{n}'::bigint"),
        Value::Number(n, _) => n.clone(),
        Value::Boolean(b) => b.to_string(),
        Value::Null => expected.map_or_else(|| "NULL".to_owned(), |t| format!("NULL::{}", format_type(t, NO_TYPMOD))),
        Value::SingleQuotedString(s) => typed_literal(s, expected.unwrap_or(DataType::TEXT)),
        other => other.to_string(),
    }
}

/// A quoted literal as a constant of its type prints: numbers and booleans bare, everything else with its type.
fn typed_literal(s: &str, ty: DataType) -> String {
    match ty {
        DataType::INT4 if s.trim().parse::<u32>().is_ok() => s.trim().to_owned(),
        DataType::NUMERIC if s.trim().starts_with(|c: char| c.is_ascii_digit()) => s.trim().to_owned(),
        DataType::BOOL if s.len() <= 5 && s.starts_with(['t', 'T', 'y', 'Y', '1']) => "true".into(),
        DataType::BOOL if s.len() <= 5 && s.starts_with(['f', 'F', 'n', 'N', '0']) => "false".into(),
        // `character` would mean `character(1)`.
        DataType::BPCHAR => format!("{}::bpchar", quote_literal(s)),
        ty => format!("{}::{}", quote_literal(s), format_type(ty, NO_TYPMOD)),
    }
}

fn parse_type(ty: &ast::DataType) -> Option<DataType> {
    let text = ty.to_string().to_lowercase();
    // Modifiers stand before the array brackets and time zone words.
    let bare = match (text.find('('), text.find(')')) {
        (Some(open), Some(close)) if open < close => format!("{}{}", text[..open].trim_end(), &text[close + 1..]),
        _ => text,
    };
    DataType::from_name(&bare)
}

fn type_name(ty: &ast::DataType) -> String {
    let text = ty.to_string().to_lowercase();
    match parse_type(ty) {
        Some(known) => {
            let name = format_type(known, NO_TYPMOD);
            // Lengths and precisions are kept as they are written.
            match (text.find('('), text.find(')')) {
                (Some(open), Some(close)) if open < close => match name.find(' ').filter(|_| name.starts_with("time")) {
                    Some(space) => format!("{}{}{}", &name[..space], &text[open..=close], &name[space..]),
                    None => format!("{name}{}", text[open..=close].replace(' ', "")),
                },
                _ => name,
            }
        }
        None => text,
    }
}
