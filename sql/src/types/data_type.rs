//! What is known of a type from its OID: the columns of `pg_type`, its names, and its place among arrays.

use super::type_table::{ROWS, Row};
use super::{DataType, NO_TYPMOD};

/// One row of `pg_type`.
#[derive(Clone, Copy, Debug)]
pub struct TypeInfo {
    /// `oid`
    pub ty: DataType,
    /// `typname`
    pub name: &'static str,
    /// `typlen`: bytes, or -1 for varlena, -2 for a C string.
    pub len: i16,
    /// `typbyval`
    pub by_value: bool,
    /// `typtype`: `b` base, `p` pseudo.
    pub kind: char,
    /// `typcategory`
    pub category: char,
    /// `typispreferred`
    pub preferred: bool,
    /// `typarray`, 0 if none.
    pub array: u32,
    /// `typelem`, 0 if none.
    pub element: u32,
    /// `typalign`
    pub align: char,
    /// `typstorage`
    pub storage: char,
    /// `typcollation`
    pub collation: u32,
    /// Prefix of `typinput` (`…in`), `typoutput` (`…out`), `typreceive` (`…recv`) and `typsend` (`…send`).
    pub io_prefix: &'static str,
}

impl From<&Row> for TypeInfo {
    fn from(r: &Row) -> Self {
        TypeInfo {
            ty: DataType(r.0),
            name: r.1,
            len: r.2,
            by_value: r.3,
            kind: r.4,
            category: r.5,
            preferred: r.6,
            array: r.7,
            element: r.8,
            align: r.9,
            storage: r.10,
            collation: r.11,
            io_prefix: r.12,
        }
    }
}

fn row(ty: DataType) -> Option<&'static Row> {
    ROWS.binary_search_by_key(&ty.0, |r| r.0).ok().map(|i| &ROWS[i])
}

/// Every built-in type, by OID.
pub fn all_types() -> impl Iterator<Item = TypeInfo> {
    ROWS.iter().map(TypeInfo::from)
}

/// SQL spellings that are not the `typname`.
const ALIASES: &[(&str, DataType)] = &[
    ("boolean", DataType::BOOL),
    ("smallint", DataType::INT2),
    ("integer", DataType::INT4),
    ("int", DataType::INT4),
    ("bigint", DataType::INT8),
    ("real", DataType::FLOAT4),
    ("double precision", DataType::FLOAT8),
    ("float", DataType::FLOAT8),
    ("decimal", DataType::NUMERIC),
    ("dec", DataType::NUMERIC),
    ("character varying", DataType::VARCHAR),
    ("char varying", DataType::VARCHAR),
    ("character", DataType::BPCHAR),
    ("time without time zone", DataType::TIME),
    ("time with time zone", DataType::TIMETZ),
    ("timestamp without time zone", DataType::TIMESTAMP),
    ("timestamp with time zone", DataType::TIMESTAMPTZ),
    ("national character varying", DataType::VARCHAR),
    ("national character", DataType::BPCHAR),
    ("string", DataType::TEXT),
];

impl DataType {
    /// The row of `pg_type`, if the type is built in.
    pub fn info(self) -> Option<TypeInfo> {
        row(self).map(TypeInfo::from)
    }
    /// `typname`: `int4`, `_int4`; `???` for an unknown OID.
    pub fn typname(self) -> &'static str {
        row(self).map_or("???", |r| r.1)
    }
    /// The name as `format_type(oid, NULL)` prints it: `integer`, `integer[]`.
    pub fn name(self) -> String {
        format_type(self, NO_TYPMOD)
    }
    /// The array type over this element type (`record[]` for what has none).
    pub fn array_of(self) -> DataType {
        self.array_type().unwrap_or(DataType::RECORD_ARRAY)
    }
    /// The array type over this element type, if there is one.
    pub fn array_type(self) -> Option<DataType> {
        row(self).map(|r| r.7).filter(|&oid| oid != 0).map(DataType)
    }
    /// The element type of an array type (also of `int2vector` and `oidvector`).
    pub fn element(self) -> Option<DataType> {
        row(self).filter(|r| r.8 != 0 && (r.5 == 'A' || r.1.starts_with('_'))).map(|r| DataType(r.8))
    }
    /// Whether values are [`super::Datum::Array`].
    pub fn is_array(self) -> bool {
        self.element().is_some()
    }
    /// `typcategory`; `U` for an unknown OID.
    pub fn category(self) -> char {
        row(self).map_or('U', |r| r.5)
    }
    /// `typispreferred`
    pub fn preferred(self) -> bool {
        row(self).is_some_and(|r| r.6)
    }
    /// `typlen`
    pub fn len(self) -> i16 {
        row(self).map_or(-1, |r| r.2)
    }
    /// Never: a type has a length. (Here because clippy wants it beside `len`.)
    pub fn is_empty(self) -> bool {
        false
    }
    /// Pseudo-types cannot be column types.
    pub fn is_pseudo(self) -> bool {
        row(self).is_some_and(|r| r.4 == 'p')
    }
    /// `text`, `varchar`, `bpchar`, `name`, `unknown`: values are [`super::Datum::Text`].
    pub fn is_string(self) -> bool {
        matches!(self, DataType::TEXT | DataType::VARCHAR | DataType::BPCHAR | DataType::NAME | DataType::UNKNOWN | DataType::CSTRING)
    }
    /// `oid` and the types that are an OID with a name: values are [`super::Datum::Oid`].
    pub fn is_oid_like(self) -> bool {
        matches!(self, DataType::OID | DataType::XID | DataType::CID) || self.is_reg()
    }
    /// The `reg…` types.
    pub fn is_reg(self) -> bool {
        matches!(
            self,
            DataType::REGPROC
                | DataType::REGPROCEDURE
                | DataType::REGOPER
                | DataType::REGOPERATOR
                | DataType::REGCLASS
                | DataType::REGTYPE
                | DataType::REGNAMESPACE
                | DataType::REGROLE
        )
    }
    /// A type by its SQL name or `typname`, lower case, without modifiers: `integer`, `int4`, `double precision`, `text[]`,
    /// `timestamp with time zone`, `_int4`. A `pg_catalog.` prefix is allowed. `"char"` (with its quotes) is the one-byte type, `char` is `bpchar`.
    pub fn from_name(name: &str) -> Option<DataType> {
        let name = name.trim();
        let name = name.strip_prefix("pg_catalog.").unwrap_or(name);
        if let Some(inner) = name.strip_suffix("[]") {
            let inner = inner.trim_end();
            let ty = Self::from_name(inner)?;
            return if inner.ends_with(']') { Some(ty) } else { ty.array_type() };
        }
        if name == "\"char\"" {
            return Some(DataType::CHAR_INTERNAL);
        }
        if name == "char" {
            return Some(DataType::BPCHAR);
        }
        let name = name.strip_prefix('"').and_then(|n| n.strip_suffix('"')).unwrap_or(name);
        ALIASES
            .iter()
            .find(|(alias, _)| *alias == name)
            .map(|(_, ty)| *ty)
            .or_else(|| ROWS.iter().find(|r| r.1 == name).map(|r| DataType(r.0)))
    }
    /// A type by its `typname` alone, as quoted identifiers and catalogs name it.
    pub fn from_typname(name: &str) -> Option<DataType> {
        ROWS.iter().find(|r| r.1 == name).map(|r| DataType(r.0))
    }
}

/// `format_type(oid, typmod)`: `character varying(10)`, `timestamp(3) without time zone`, `numeric(10,2)[]`.
pub fn format_type(ty: DataType, typmod: i32) -> String {
    if ty.0 == 0 {
        return "-".to_owned();
    }
    let Some(info) = ty.info() else { return "???".to_owned() };
    if let Some(element) = ty.element()
        && info.name.starts_with('_')
    {
        return format!("{}[]", format_type(element, typmod));
    }
    let precision = |suffix: &str, base: &str| {
        if typmod >= 0 { format!("{base}({typmod}){suffix}") } else { format!("{base}{suffix}") }
    };
    match ty {
        DataType::BOOL => "boolean".into(),
        DataType::INT2 => "smallint".into(),
        DataType::INT4 => "integer".into(),
        DataType::INT8 => "bigint".into(),
        DataType::FLOAT4 => "real".into(),
        DataType::FLOAT8 => "double precision".into(),
        DataType::CHAR_INTERNAL => "\"char\"".into(),
        DataType::VARCHAR if typmod > 4 => format!("character varying({})", typmod - 4),
        DataType::VARCHAR => "character varying".into(),
        DataType::BPCHAR if typmod > 4 => format!("character({})", typmod - 4),
        // Without a modifier `character` would mean `character(1)`.
        DataType::BPCHAR => {
            if typmod == NO_TYPMOD {
                "character".into()
            } else {
                "bpchar".into()
            }
        }
        DataType::NUMERIC if typmod >= 4 => {
            let (precision, scale) = numeric_typmod(typmod);
            format!("numeric({precision},{scale})")
        }
        DataType::TIME => precision(" without time zone", "time"),
        DataType::TIMETZ => precision(" with time zone", "time"),
        DataType::TIMESTAMP => precision(" without time zone", "timestamp"),
        DataType::TIMESTAMPTZ => precision(" with time zone", "timestamp"),
        DataType::INTERVAL => format!("interval{}", super::interval::typmod_suffix(typmod)),
        DataType::ANY => "\"any\"".into(),
        _ => info.name.into(),
    }
}

/// Precision and scale of a `numeric` modifier (which must be ≥ 4). The scale may be negative.
pub fn numeric_typmod(typmod: i32) -> (i32, i32) {
    let bits = typmod - 4;
    ((bits >> 16) & 0xffff, ((bits & 0x7ff) ^ 1024) - 1024)
}

/// The modifier of `numeric(precision, scale)`.
pub fn make_numeric_typmod(precision: i32, scale: i32) -> i32 {
    ((precision << 16) | (scale & 0x7ff)) + 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(format_type(DataType::VARCHAR, 14), "character varying(10)");
        assert_eq!(format_type(DataType::VARCHAR_ARRAY, 14), "character varying(10)[]");
        assert_eq!(format_type(DataType::TIMESTAMP, 3), "timestamp(3) without time zone");
        assert_eq!(format_type(DataType::NUMERIC, make_numeric_typmod(10, -2)), "numeric(10,-2)");
        assert_eq!(DataType::INT4_ARRAY.name(), "integer[]");
        assert_eq!(DataType::INT2VECTOR.name(), "int2vector");
        for info in all_types() {
            if info.ty == DataType::CHAR_INTERNAL {
                continue;
            }
            assert_eq!(DataType::from_name(&info.ty.name()), Some(info.ty), "{}", info.name);
            assert_eq!(DataType::from_typname(info.name), Some(info.ty));
            if let Some(array) = info.ty.array_type() {
                assert_eq!(array.element(), Some(info.ty));
            }
        }
    }
}
