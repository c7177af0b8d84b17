//! What the overload rules need to know of types: category, preferred types, implicit casts, polymorphism.
//!
//! The tables are PostgreSQL's `pg_type.typcategory`, `typispreferred` and the implicit rows of `pg_cast`, restricted to the
//! types that exist here. They decide *which* function is called; how a value is then converted is `types::casts`' business.

use crate::error::{Result, SqlError, SqlState};
use crate::types::DataType;

/// `anycompatiblenonarray`
pub const ANYCOMPATIBLENONARRAY: DataType = DataType(5079);

/// PostgreSQL's `typcategory`.
pub fn category(t: DataType) -> char {
    match t {
        DataType::BOOL => 'B',
        DataType::INT2
        | DataType::INT4
        | DataType::INT8
        | DataType::FLOAT4
        | DataType::FLOAT8
        | DataType::NUMERIC
        | DataType::OID
        | DataType::REGPROC
        | DataType::REGPROCEDURE
        | DataType::REGOPER
        | DataType::REGCLASS
        | DataType::REGTYPE
        | DataType::REGNAMESPACE
        | DataType::REGROLE => 'N',
        DataType::TEXT | DataType::VARCHAR | DataType::BPCHAR | DataType::NAME => 'S',
        DataType::CHAR_INTERNAL | DataType::PG_NODE_TREE => 'Z',
        DataType::DATE | DataType::TIME | DataType::TIMETZ | DataType::TIMESTAMP | DataType::TIMESTAMPTZ => 'D',
        DataType::INTERVAL => 'T',
        DataType::UNKNOWN => 'X',
        DataType::RECORD
        | DataType::ANY
        | DataType::ANYARRAY
        | DataType::ANYELEMENT
        | DataType::ANYNONARRAY
        | DataType::ANYENUM
        | DataType::ANYCOMPATIBLE
        | DataType::ANYCOMPATIBLEARRAY
        | ANYCOMPATIBLENONARRAY
        | DataType::VOID
        | DataType::CSTRING
        | DataType::TRIGGER
        | DataType::INTERNAL => 'P',
        t if t == DataType::INT2VECTOR || t == DataType::OIDVECTOR || element_of(t).is_some() => 'A',
        _ => 'U',
    }
}

/// Whether the type wins ties within its category.
pub fn is_preferred(t: DataType) -> bool {
    matches!(t, DataType::BOOL | DataType::TEXT | DataType::OID | DataType::FLOAT8 | DataType::TIMESTAMPTZ | DataType::INTERVAL)
}

/// Element and array types that belong together.
const ARRAYS: &[(DataType, DataType)] = &[
    (DataType::BOOL, DataType::BOOL_ARRAY),
    (DataType::BYTEA, DataType::BYTEA_ARRAY),
    (DataType::CHAR_INTERNAL, DataType::CHAR_INTERNAL_ARRAY),
    (DataType::NAME, DataType::NAME_ARRAY),
    (DataType::INT2, DataType::INT2_ARRAY),
    (DataType::INT4, DataType::INT4_ARRAY),
    (DataType::TEXT, DataType::TEXT_ARRAY),
    (DataType::BPCHAR, DataType::BPCHAR_ARRAY),
    (DataType::VARCHAR, DataType::VARCHAR_ARRAY),
    (DataType::INT8, DataType::INT8_ARRAY),
    (DataType::FLOAT4, DataType::FLOAT4_ARRAY),
    (DataType::FLOAT8, DataType::FLOAT8_ARRAY),
    (DataType::OID, DataType::OID_ARRAY),
    (DataType::ACLITEM, DataType::ACLITEM_ARRAY),
    (DataType::TIMESTAMP, DataType::TIMESTAMP_ARRAY),
    (DataType::DATE, DataType::DATE_ARRAY),
    (DataType::TIME, DataType::TIME_ARRAY),
    (DataType::TIMESTAMPTZ, DataType::TIMESTAMPTZ_ARRAY),
    (DataType::INTERVAL, DataType::INTERVAL_ARRAY),
    (DataType::NUMERIC, DataType::NUMERIC_ARRAY),
    (DataType::TIMETZ, DataType::TIMETZ_ARRAY),
    (DataType::REGCLASS, DataType::REGCLASS_ARRAY),
    (DataType::REGTYPE, DataType::REGTYPE_ARRAY),
    (DataType::UUID, DataType::UUID_ARRAY),
    (DataType::JSON, DataType::JSON_ARRAY),
    (DataType::JSONB, DataType::JSONB_ARRAY),
    (DataType::RECORD, DataType::RECORD_ARRAY),
    (DataType::CSTRING, DataType::CSTRING_ARRAY),
];

/// The element type of an array type.
pub fn element_of(t: DataType) -> Option<DataType> {
    match t {
        DataType::INT2VECTOR => Some(DataType::INT2),
        DataType::OIDVECTOR => Some(DataType::OID),
        _ => ARRAYS.iter().find(|(_, a)| *a == t).map(|(e, _)| *e),
    }
}

/// The array type over an element type.
pub fn array_of(t: DataType) -> Option<DataType> {
    ARRAYS.iter().find(|(e, _)| *e == t).map(|(_, a)| *a)
}

/// The name as `format_type` prints it.
pub fn type_name(t: DataType) -> String {
    if let (Some(e), true) = (element_of(t), t != DataType::INT2VECTOR && t != DataType::OIDVECTOR) {
        return format!("{}[]", type_name(e));
    }
    let s = match t {
        DataType::BOOL => "boolean",
        DataType::BYTEA => "bytea",
        DataType::CHAR_INTERNAL => "\"char\"",
        DataType::NAME => "name",
        DataType::INT8 => "bigint",
        DataType::INT2 => "smallint",
        DataType::INT2VECTOR => "int2vector",
        DataType::INT4 => "integer",
        DataType::REGPROC => "regproc",
        DataType::TEXT => "text",
        DataType::OID => "oid",
        DataType::XID => "xid",
        DataType::CID => "cid",
        DataType::OIDVECTOR => "oidvector",
        DataType::JSON => "json",
        DataType::FLOAT4 => "real",
        DataType::FLOAT8 => "double precision",
        DataType::UNKNOWN => "unknown",
        DataType::BPCHAR => "character",
        DataType::VARCHAR => "character varying",
        DataType::DATE => "date",
        DataType::TIME => "time without time zone",
        DataType::TIMESTAMP => "timestamp without time zone",
        DataType::TIMESTAMPTZ => "timestamp with time zone",
        DataType::INTERVAL => "interval",
        DataType::TIMETZ => "time with time zone",
        DataType::NUMERIC => "numeric",
        DataType::REGPROCEDURE => "regprocedure",
        DataType::REGOPER => "regoper",
        DataType::REGCLASS => "regclass",
        DataType::REGTYPE => "regtype",
        DataType::RECORD => "record",
        DataType::CSTRING => "cstring",
        DataType::ANY => "\"any\"",
        DataType::ANYARRAY => "anyarray",
        DataType::VOID => "void",
        DataType::TRIGGER => "trigger",
        DataType::INTERNAL => "internal",
        DataType::ANYELEMENT => "anyelement",
        DataType::ANYNONARRAY => "anynonarray",
        DataType::UUID => "uuid",
        DataType::PG_LSN => "pg_lsn",
        DataType::JSONB => "jsonb",
        DataType::REGNAMESPACE => "regnamespace",
        DataType::REGROLE => "regrole",
        DataType::ANYCOMPATIBLE => "anycompatible",
        DataType::ANYCOMPATIBLEARRAY => "anycompatiblearray",
        DataType::PG_NODE_TREE => "pg_node_tree",
        DataType::ACLITEM => "aclitem",
        DataType(oid) => return oid.to_string(),
    };
    s.to_owned()
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
    use DataType as T;
    if from == to || to == T::ANY || from == T::UNKNOWN {
        return true;
    }
    let reg = |t| matches!(t, T::REGPROC | T::REGPROCEDURE | T::REGOPER | T::REGCLASS | T::REGTYPE | T::REGROLE | T::REGNAMESPACE);
    match (from, to) {
        (T::INT2, T::INT4 | T::INT8 | T::FLOAT4 | T::FLOAT8 | T::NUMERIC | T::OID) => true,
        (T::INT4, T::INT8 | T::FLOAT4 | T::FLOAT8 | T::NUMERIC | T::OID) => true,
        (T::INT8, T::FLOAT4 | T::FLOAT8 | T::NUMERIC | T::OID) => true,
        (T::FLOAT4, T::FLOAT8) => true,
        (T::NUMERIC, T::FLOAT4 | T::FLOAT8) => true,
        (T::INT2 | T::INT4 | T::INT8 | T::OID, t) if reg(t) => true,
        (f, T::OID) if reg(f) => true,
        (T::REGPROC, T::REGPROCEDURE) | (T::REGPROCEDURE, T::REGPROC) => true,
        (T::TEXT | T::VARCHAR, T::REGCLASS) => true,
        (T::TEXT, T::BPCHAR | T::VARCHAR | T::NAME) => true,
        (T::BPCHAR, T::TEXT | T::VARCHAR | T::NAME) => true,
        (T::VARCHAR, T::TEXT | T::BPCHAR | T::NAME) => true,
        (T::NAME | T::CHAR_INTERNAL | T::PG_NODE_TREE, T::TEXT) => true,
        (T::NAME_ARRAY, T::TEXT_ARRAY) => true,
        (T::DATE, T::TIMESTAMP | T::TIMESTAMPTZ) => true,
        (T::TIMESTAMP, T::TIMESTAMPTZ) => true,
        (T::TIME, T::INTERVAL | T::TIMETZ) => true,
        (T::INT2VECTOR, T::INT2_ARRAY) | (T::OIDVECTOR, T::OID_ARRAY) => true,
        _ => match (array_element(from), array_element(to)) {
            (Some(f), Some(t)) => implicit_cast(f, t),
            _ => false,
        },
    }
}

/// Element of a true array (not of the vector types, which do not cast element-wise).
fn array_element(t: DataType) -> Option<DataType> {
    element_of(t).filter(|_| t != DataType::INT2VECTOR && t != DataType::OIDVECTOR)
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
