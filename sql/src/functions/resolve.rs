//! Overload resolution: PostgreSQL's rules for operators and functions (its manual, chapter 10), step by step.
//!
//! 1. An exact match wins (for an operator with one unknown side, the unknown is first assumed to be of the other's type).
//! 2. Candidates that cannot take the arguments by implicit casts fall out.
//! 3. Of the rest, keep those with the most exact matches; then those with the most exact or preferred-type matches.
//! 4. Unknown arguments take the category the candidates agree on (string if any accepts it), then its preferred type.
//! 5. If all known arguments are of one type, assume the unknown ones are too.
//! 6. One candidate left: that is it. None or several: `42883` or `42725`.

use super::coerce::{
    array_of, can_coerce, category, element_of, implicit_cast, is_polymorphic, is_preferred, solve_polymorphic, type_name,
};
use super::registry::{OperatorDef, functions_named, is_known_unsupported, operators_named};
use super::{FunctionDef, Resolved};
use crate::error::{Result, SqlError, SqlState};
use crate::types::DataType;

/// PostgreSQL's `FUNC_MAX_ARGS`.
const MAX_ARGS: usize = 100;

/// A call with everything the binder needs to build it.
#[derive(Clone)]
pub struct ResolvedCall {
    /// What to call.
    pub def: &'static FunctionDef,
    /// The concrete type each given argument must be coerced to (as many as were given); `ANY` stays as the argument is,
    /// but an unknown literal there becomes `text`.
    pub arg_types: Vec<DataType>,
    /// The concrete result type (of one row, for a set-returning function).
    pub returns: DataType,
    /// Arguments from here on are to be collected into one array (of the common type `arg_types` gives) before the call:
    /// the function is variadic and the call did not say `VARIADIC`. Not set for `VARIADIC "any"`, whose body takes them one by one.
    pub pack_from: Option<usize>,
}

impl ResolvedCall {
    /// The part executors need.
    pub fn resolved(&self) -> Resolved {
        Resolved { def: self.def, returns: self.returns }
    }
}

/// An operator call resolved.
#[derive(Clone)]
pub struct ResolvedOperator {
    /// The operator.
    pub operator: &'static OperatorDef,
    /// The call behind it: one argument type for a prefix operator, two otherwise.
    pub call: ResolvedCall,
}

struct Candidate<T> {
    item: T,
    /// Effective parameter types, one for each given argument.
    params: Vec<DataType>,
    variadic: bool,
}

/// Resolves a function call. `UNKNOWN` stands for an untyped literal or parameter. `variadic` is whether the call wrote
/// `VARIADIC` before its last argument.
///
/// # Errors
/// `42883`, `42725`, `42804`, `54023` in PostgreSQL's words; `0A000` for a function PostgreSQL has and we do not.
pub fn resolve_function(name: &str, args: &[DataType], variadic: bool) -> Result<ResolvedCall> {
    if args.len() > MAX_ARGS {
        return Err(SqlError::new(SqlState::TOO_MANY_ARGUMENTS, format!("cannot pass more than {MAX_ARGS} arguments to a function")));
    }
    let mut candidates: Vec<Candidate<&'static FunctionDef>> = Vec::new();
    for def in functions_named(name) {
        if let Some(c) = candidate(def, args.len(), variadic) {
            candidates.push(c);
        }
    }
    // Of two candidates with the same effective signature the one that needs no variadic expansion is meant.
    let plain: Vec<Vec<DataType>> = candidates.iter().filter(|c| !c.variadic).map(|c| c.params.clone()).collect();
    candidates.retain(|c| !c.variadic || !plain.contains(&c.params));
    let known = !candidates.is_empty();
    let exact = candidates.iter().position(|c| c.params == args);
    let chosen = match exact {
        Some(i) => Some(candidates.swap_remove(i)),
        None => {
            candidates.retain(|c| can_coerce(args, &c.params));
            match select(candidates, args) {
                Selection::One(c) => Some(c),
                Selection::None => None,
                Selection::Many => {
                    return Err(SqlError::new(SqlState::AMBIGUOUS_FUNCTION, format!("function {} is not unique", signature(name, args)))
                        .hint("Could not choose a best candidate function. You might need to add explicit type casts."));
                }
            }
        }
    };
    match chosen {
        Some(c) => finish(c.item, &c.params, args, c.variadic),
        None => {
            // A contradiction between polymorphic arguments has its own message when there is only one way to read the call.
            if known
                && let [def] = functions_named(name)
                && let Some(c) = candidate(def, args.len(), variadic)
            {
                let castable = args.iter().zip(&c.params).all(|(a, p)| is_polymorphic(*p) || implicit_cast(*a, *p));
                let undetermined = args.iter().zip(&c.params).all(|(a, p)| !is_polymorphic(*p) || *a == DataType::UNKNOWN);
                if castable && undetermined {
                    solve_polymorphic(args, &c.params, def.returns)?;
                }
            }
            if is_known_unsupported(name, args) {
                return Err(SqlError::unsupported(format!("function {}", signature(name, args))));
            }
            Err(SqlError::new(SqlState::UNDEFINED_FUNCTION, format!("function {} does not exist", signature(name, args)))
                .hint("No function matches the given name and argument types. You might need to add explicit type casts."))
        }
    }
}

/// `int4('12')`, `text(x)`, `date('2024-01-01')`: a call that no function answers exactly but that names a type is that cast, if the
/// argument is an untyped literal or of a string type (or the type a string type). Ask before [`resolve_function`].
pub fn cast_by_function_name(name: &str, args: &[DataType]) -> Option<DataType> {
    let [arg] = args else { return None };
    let to = DataType::from_typname(name)?;
    let exact = functions_named(name).iter().any(|f| f.args == args);
    let by_text = *arg == DataType::UNKNOWN || *arg == to || to.is_string() || arg.is_string();
    (!exact && !to.is_pseudo() && by_text).then_some(to)
}

/// Resolves an operator; `left` is none for a prefix operator.
///
/// # Errors
/// `42883` and `42725`, as for functions.
pub fn resolve_operator(name: &str, left: Option<DataType>, right: DataType) -> Result<ResolvedOperator> {
    let name = if name == "!=" { "<>" } else { name };
    let args: Vec<DataType> = left.into_iter().chain([right]).collect();
    let candidates: Vec<Candidate<&'static OperatorDef>> = operators_named(name)
        .iter()
        .filter(|o| o.left.is_some() == left.is_some())
        .map(|o| Candidate { item: o, params: o.left.into_iter().chain([o.right]).collect(), variadic: false })
        .collect();
    let exact_as = |l: DataType, r: DataType| candidates.iter().position(|c| c.params == [l, r]);
    let exact = match (left, right) {
        (Some(DataType::UNKNOWN), r) if r != DataType::UNKNOWN => exact_as(r, r),
        (Some(l), DataType::UNKNOWN) if l != DataType::UNKNOWN => exact_as(l, l),
        (Some(l), r) => exact_as(l, r),
        (None, r) => candidates.iter().position(|c| c.params == [r]),
    };
    let shown = || match left {
        Some(l) => format!("{} {name} {}", type_name(l), type_name(right)),
        None => format!("{name} {}", type_name(right)),
    };
    let operator = match exact {
        Some(i) => candidates[i].item,
        None => match select(candidates.into_iter().filter(|c| can_coerce(&args, &c.params)).collect(), &args) {
            Selection::One(c) => c.item,
            Selection::None => {
                return Err(SqlError::new(SqlState::UNDEFINED_FUNCTION, format!("operator does not exist: {}", shown())).hint(
                    if left.is_some() {
                        "No operator matches the given name and argument types. You might need to add explicit type casts."
                    } else {
                        "No operator matches the given name and argument type. You might need to add an explicit type cast."
                    },
                ));
            }
            Selection::Many => {
                return Err(SqlError::new(SqlState::AMBIGUOUS_FUNCTION, format!("operator is not unique: {}", shown()))
                    .hint("Could not choose a best candidate operator. You might need to add explicit type casts."));
            }
        },
    };
    let params: Vec<DataType> = operator.left.into_iter().chain([operator.right]).collect();
    let mut call = finish(operator.function, &params, &args, false)?;
    if is_polymorphic(operator.result) {
        call.returns = solve_polymorphic(&args, &params, operator.result)?.1;
    }
    Ok(ResolvedOperator { operator, call })
}

/// `name(integer, unknown)`
fn signature(name: &str, args: &[DataType]) -> String {
    let list: Vec<String> = args.iter().map(|a| type_name(*a)).collect();
    format!("{name}({})", list.join(", "))
}

/// The effective parameters of a function for a number of arguments, if it can take that many.
fn candidate(def: &'static FunctionDef, count: usize, variadic_call: bool) -> Option<Candidate<&'static FunctionDef>> {
    let declared = def.args.len();
    if !def.variadic || variadic_call {
        let fits = if variadic_call { def.variadic && count == declared } else { count <= declared && count + def.optional >= declared };
        return fits.then(|| Candidate { item: def, params: def.args[..count].to_vec(), variadic: false });
    }
    let last = *def.args.last()?;
    // VARIADIC needs at least one argument in its place (PostgreSQL declares an argument-less twin where none is meant).
    if count < declared {
        return None;
    }
    let element = match last {
        DataType::ANY => DataType::ANY,
        DataType::ANYARRAY => DataType::ANYELEMENT,
        DataType::ANYCOMPATIBLEARRAY => DataType::ANYCOMPATIBLE,
        other => element_of(other)?,
    };
    let mut params = def.args[..declared - 1].to_vec();
    params.resize(count, element);
    Some(Candidate { item: def, params, variadic: true })
}

fn finish(def: &'static FunctionDef, params: &[DataType], args: &[DataType], variadic: bool) -> Result<ResolvedCall> {
    let (mut arg_types, returns) = if params.iter().any(|p| is_polymorphic(*p)) || is_polymorphic(def.returns) {
        solve_polymorphic(args, params, def.returns)?
    } else {
        (params.to_vec(), def.returns)
    };
    for (t, a) in arg_types.iter_mut().zip(args) {
        if *t == DataType::ANY {
            *t = if *a == DataType::UNKNOWN { DataType::TEXT } else { *a };
        }
    }
    let packs = variadic && def.args.last().is_some_and(|l| *l != DataType::ANY && (is_polymorphic(*l) || element_of(*l).is_some()));
    Ok(ResolvedCall { def, arg_types, returns, pack_from: packs.then(|| def.args.len() - 1) })
}

/// The array type a packed variadic tail has.
pub fn packed_type(call: &ResolvedCall) -> Option<DataType> {
    call.pack_from.and_then(|i| call.arg_types.get(i)).and_then(|t| array_of(*t))
}

enum Selection<T> {
    None,
    One(Candidate<T>),
    Many,
}

/// Keeps the candidates with the highest score.
fn keep_best<T>(candidates: Vec<Candidate<T>>, score: impl Fn(&Candidate<T>) -> usize) -> Vec<Candidate<T>> {
    let best = candidates.iter().map(&score).max().unwrap_or(0);
    candidates.into_iter().filter(|c| score(c) == best).collect()
}

fn select<T>(candidates: Vec<Candidate<T>>, args: &[DataType]) -> Selection<T> {
    let done = |mut c: Vec<Candidate<T>>| if c.len() == 1 { c.pop() } else { None };
    if candidates.is_empty() {
        return Selection::None;
    }
    if candidates.len() == 1 {
        return done(candidates).map_or(Selection::None, Selection::One);
    }
    let candidates = keep_best(candidates, |c| args.iter().zip(&c.params).filter(|(a, p)| **a != DataType::UNKNOWN && a == p).count());
    if candidates.len() == 1 {
        return done(candidates).map_or(Selection::None, Selection::One);
    }
    let mut candidates = keep_best(candidates, |c| {
        let fits = |a: DataType, p: DataType| a != DataType::UNKNOWN && (a == p || (is_preferred(p) && category(p) == category(a)));
        args.iter().zip(&c.params).filter(|(a, p)| fits(**a, **p)).count()
    });
    if candidates.len() == 1 {
        return done(candidates).map_or(Selection::None, Selection::One);
    }
    if !args.contains(&DataType::UNKNOWN) {
        return Selection::Many;
    }
    resolve_unknowns(&mut candidates, args);
    if candidates.len() == 1 {
        return done(candidates).map_or(Selection::None, Selection::One);
    }
    // Last resort: all known arguments of one type, so take the unknown ones as that type too.
    let mut known = args.iter().filter(|a| **a != DataType::UNKNOWN);
    if let Some(first) = known.next()
        && known.all(|k| k == first)
    {
        let assumed = vec![*first; args.len()];
        let mut fitting: Vec<Candidate<T>> = candidates.into_iter().filter(|c| can_coerce(&assumed, &c.params)).collect();
        if fitting.len() == 1 {
            return fitting.pop().map_or(Selection::None, Selection::One);
        }
    }
    Selection::Many
}

/// Step 4: the categories that the candidates offer where the argument is unknown.
fn resolve_unknowns<T>(candidates: &mut Vec<Candidate<T>>, args: &[DataType]) {
    let mut slots: Vec<Option<(char, bool)>> = vec![None; args.len()];
    for (i, _) in args.iter().enumerate().filter(|(_, a)| **a == DataType::UNKNOWN) {
        let mut slot: Option<(char, bool)> = None;
        let mut conflict = false;
        let mut string = false;
        for c in candidates.iter() {
            let t = c.params[i];
            let (cat, pref) = (category(t), is_preferred(t));
            string |= cat == 'S';
            match slot {
                None => slot = Some((cat, pref)),
                Some((have, p)) if have == cat => slot = Some((have, p || pref)),
                Some(_) => conflict = true,
            }
        }
        if conflict {
            if !string {
                return;
            }
            let preferred = candidates.iter().any(|c| category(c.params[i]) == 'S' && is_preferred(c.params[i]));
            slot = Some(('S', preferred));
        }
        slots[i] = slot;
    }
    let fits = |c: &Candidate<T>| {
        slots.iter().zip(&c.params).all(|(slot, p)| slot.is_none_or(|(cat, pref)| category(*p) == cat && (!pref || is_preferred(*p))))
    };
    if candidates.iter().any(fits) {
        candidates.retain(|c| fits(c));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DataType as T;

    /// Every operator has a body, and the answers are PostgreSQL's.
    #[test]
    fn operators_resolve_as_in_postgresql() {
        let case = |op: &str, l: Option<T>, r: T| match resolve_operator(op, l, r) {
            Ok(o) => format!("{:?} -> {}", o.call.arg_types.iter().map(|t| type_name(*t)).collect::<Vec<_>>(), type_name(o.call.returns)),
            Err(e) => format!("{:?} {}", e.code, e.message),
        };
        assert_eq!(case("+", Some(T::INT4), T::INT8), r#"["integer", "bigint"] -> bigint"#);
        assert_eq!(case("+", Some(T::INT4), T::UNKNOWN), r#"["integer", "integer"] -> integer"#);
        assert_eq!(case("+", Some(T::INT4), T::FLOAT4), r#"["double precision", "real"] -> double precision"#);
        assert_eq!(case("+", Some(T::INT4), T::TEXT), "42883 operator does not exist: integer + text");
        assert_eq!(case("-", None, T::TEXT), "42883 operator does not exist: - text");
        assert_eq!(case("||", Some(T::UNKNOWN), T::UNKNOWN), r#"["text", "text"] -> text"#);
        assert_eq!(case("=", Some(T::VARCHAR), T::UNKNOWN), r#"["text", "text"] -> boolean"#);
        assert_eq!(case("=", Some(T::BPCHAR), T::TEXT), r#"["text", "text"] -> boolean"#);
        assert_eq!(case("=", Some(T::UNKNOWN), T::UNKNOWN), r#"["text", "text"] -> boolean"#);
        assert_eq!(case("~~", Some(T::VARCHAR), T::UNKNOWN), r#"["text", "text"] -> boolean"#);
        assert_eq!(case("=", Some(T::INT4), T::BOOL), "42883 operator does not exist: integer = boolean");
    }

    #[test]
    fn functions_resolve_as_in_postgresql() {
        let case = |name: &str, args: &[T]| match resolve_function(name, args, false) {
            Ok(c) => format!("{:?} -> {}", c.arg_types.iter().map(|t| type_name(*t)).collect::<Vec<_>>(), type_name(c.returns)),
            Err(e) => format!("{:?} {}", e.code, e.message),
        };
        assert_eq!(case("length", &[T::UNKNOWN]), r#"["text"] -> integer"#);
        assert_eq!(case("length", &[T::VARCHAR]), r#"["text"] -> integer"#);
        assert_eq!(case("abs", &[T::UNKNOWN]), r#"["double precision"] -> double precision"#);
        assert_eq!(case("max", &[T::VARCHAR]), r#"["text"] -> text"#);
        assert_eq!(case("count", &[]), r#"[] -> bigint"#);
        assert_eq!(case("lower", &[T::INT4]), "42883 function lower(integer) does not exist");
        assert_eq!(case("substr", &[T::TEXT, T::UNKNOWN, T::INT4]), r#"["text", "integer", "integer"] -> text"#);
        assert_eq!(case("sqrt", &[T::INT4]), r#"["double precision"] -> double precision"#);
        assert_eq!(
            case("nothing_of_the_kind", &[T::INT4, T::UNKNOWN]),
            "42883 function nothing_of_the_kind(integer, unknown) does not exist"
        );
    }
}
