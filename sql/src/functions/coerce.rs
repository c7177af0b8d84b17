//! What the overload rules need to know of types: category, preferred types, implicit casts, polymorphism.
//!
//! The tables themselves (categories, preferred types, `pg_cast`) are `types`'; here is how they decide which function is meant.

use crate::error::{Result, SqlError, SqlState};
use crate::types::{CastContext, DataType, find_cast};

/// `anycompatiblenonarray`
pub const ANYCOMPATIBLENONARRAY: DataType = DataType(5079);

pub(super) fn category(t: DataType) -> char {
    t.category()
}

pub(super) fn is_preferred(t: DataType) -> bool {
    t.preferred()
}

pub(super) fn element_of(t: DataType) -> Option<DataType> {
    t.element()
}

pub(super) fn array_of(t: DataType) -> Option<DataType> {
    t.array_type()
}

pub(super) fn type_name(t: DataType) -> String {
    t.name()
}

/// Whether a type is a polymorphic pseudo-type.
pub fn is_polymorphic(t: DataType) -> bool {
    matches!(
        t,
        DataType::ANYELEMENT
            | DataType::ANYARRAY
            | DataType::ANYNONARRAY
            | DataType::ANYENUM
            | DataType::ANYCOMPATIBLE
            | DataType::ANYCOMPATIBLEARRAY
            | ANYCOMPATIBLENONARRAY
    )
}

/// Whether PostgreSQL converts silently in any expression.
pub fn implicit_cast(from: DataType, to: DataType) -> bool {
    // The vector types are arrays without element-wise casts into them.
    if matches!(to, DataType::INT2VECTOR | DataType::OIDVECTOR) {
        return from == to || from == DataType::UNKNOWN;
    }
    from == to || to == DataType::ANY || from == DataType::UNKNOWN || find_cast(from, to, CastContext::Implicit).is_some()
}

/// Whether a list of arguments can be passed to a list of parameters, polymorphic ones included.
pub fn can_coerce(inputs: &[DataType], targets: &[DataType]) -> bool {
    let generic = targets.iter().any(|t| is_polymorphic(*t));
    inputs.iter().zip(targets).all(|(i, t)| is_polymorphic(*t) || implicit_cast(*i, *t))
        && (!generic || solve_polymorphic(inputs, targets, DataType::VOID).is_ok())
}

/// Replaces polymorphic parameter and result types by concrete ones.
///
/// # Errors
/// `42804` when the arguments contradict each other or leave a type undetermined.
pub fn solve_polymorphic(inputs: &[DataType], targets: &[DataType], result: DataType) -> Result<(Vec<DataType>, DataType)> {
    let mismatch = |m: String| SqlError::new(SqlState::DATATYPE_MISMATCH, m);
    let mut element: Option<DataType> = None;
    let mut array: Option<DataType> = None;
    let mut nonarray = false;
    let mut saw_any = false;
    let mut compatible: Vec<DataType> = Vec::new();
    let mut saw_compatible = false;
    for (&i, &t) in inputs.iter().zip(targets) {
        match t {
            DataType::ANYELEMENT | DataType::ANYNONARRAY => {
                saw_any = true;
                nonarray |= t == DataType::ANYNONARRAY;
                if i == DataType::UNKNOWN {
                    continue;
                }
                match element {
                    Some(e) if e != i => {
                        return Err(mismatch("arguments declared \"anyelement\" are not all alike".into()).detail(format!(
                            "{} versus {}",
                            type_name(e),
                            type_name(i)
                        )));
                    }
                    _ => element = Some(i),
                }
            }
            DataType::ANYARRAY => {
                saw_any = true;
                if i == DataType::UNKNOWN {
                    continue;
                }
                match array {
                    Some(a) if a != i => {
                        return Err(mismatch("arguments declared \"anyarray\" are not all alike".into()).detail(format!(
                            "{} versus {}",
                            type_name(a),
                            type_name(i)
                        )));
                    }
                    _ => array = Some(i),
                }
            }
            DataType::ANYCOMPATIBLE | ANYCOMPATIBLENONARRAY => {
                saw_compatible = true;
                if t == ANYCOMPATIBLENONARRAY && element_of(i).is_some() {
                    return Err(mismatch("type matched to anycompatiblenonarray is an array type".to_owned() + ": " + &type_name(i)));
                }
                compatible.push(i);
            }
            DataType::ANYCOMPATIBLEARRAY => {
                saw_compatible = true;
                if i != DataType::UNKNOWN {
                    compatible.push(element_of(i).ok_or_else(|| {
                        mismatch(format!("argument declared anycompatiblearray is not an array but type {}", type_name(i)))
                    })?);
                }
            }
            _ => {}
        }
    }
    if let Some(a) = array {
        let e = element_of(a).ok_or_else(|| mismatch(format!("argument declared anyarray is not an array but type {}", type_name(a))))?;
        match element {
            Some(x) if x != e => {
                return Err(mismatch("argument declared anyarray is not consistent with argument declared anyelement".into())
                    .detail(format!("{} versus {}", type_name(a), type_name(x))));
            }
            _ => element = Some(e),
        }
    }
    if saw_any && element.is_none() {
        return Err(mismatch("could not determine polymorphic type because input has type unknown".into()));
    }
    if nonarray && element.is_some_and(|e| element_of(e).is_some()) {
        return Err(mismatch(format!("type matched to anynonarray is an array type: {}", type_name(element.unwrap_or(DataType::UNKNOWN)))));
    }
    let common = if saw_compatible { Some(select_common_type(&compatible, "function arguments")?) } else { None };
    let find_array = |e: DataType| {
        array_of(e)
            .ok_or_else(|| SqlError::new(SqlState::UNDEFINED_OBJECT, format!("could not find array type for data type {}", type_name(e))))
    };
    let concrete = |t: DataType, own: Option<DataType>| -> Result<DataType> {
        Ok(match (t, element, common) {
            (DataType::ANYELEMENT | DataType::ANYNONARRAY, Some(e), _) => e,
            (DataType::ANYARRAY, Some(e), _) => match own.filter(|o| *o != DataType::UNKNOWN).or(array) {
                Some(a) => a,
                None => find_array(e)?,
            },
            (DataType::ANYCOMPATIBLE | ANYCOMPATIBLENONARRAY, _, Some(c)) => c,
            (DataType::ANYCOMPATIBLEARRAY, _, Some(c)) => find_array(c)?,
            (t, _, _) => t,
        })
    };
    let args = inputs.iter().zip(targets).map(|(i, t)| concrete(*t, Some(*i))).collect::<Result<Vec<_>>>()?;
    for ((i, a), t) in inputs.iter().zip(&args).zip(targets) {
        if is_polymorphic(*t) && !implicit_cast(*i, *a) {
            return Err(mismatch(format!("argument of type {} cannot be converted to {}", type_name(*i), type_name(*a))));
        }
    }
    let returns = concrete(result, None)?;
    Ok((args, returns))
}

/// The type that UNION columns, CASE arms, COALESCE arguments, VALUES columns or ARRAY elements get. `context` is the
/// construct's name in the error, e.g. `CASE`. All-unknown gives `text`.
///
/// # Errors
/// `42804` when the types are of different categories.
pub fn select_common_type(types: &[DataType], context: &str) -> Result<DataType> {
    let mut best = DataType::UNKNOWN;
    for &t in types {
        if t == DataType::UNKNOWN || t == best {
            continue;
        }
        if best == DataType::UNKNOWN {
            best = t;
        } else if category(t) != category(best) {
            return Err(SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                format!("{context} types {} and {} cannot be matched", type_name(best), type_name(t)),
            ));
        } else if !is_preferred(best) && implicit_cast(best, t) && !implicit_cast(t, best) {
            best = t;
        }
    }
    if best == DataType::UNKNOWN {
        return Ok(DataType::TEXT);
    }
    for &t in types {
        if !implicit_cast(t, best) {
            return Err(SqlError::new(
                SqlState::CANNOT_COERCE,
                format!("{context} could not convert type {} to {}", type_name(t), type_name(best)),
            ));
        }
    }
    Ok(best)
}
