//! What of the system catalog is the same in every database: which system relations there are, and the rows that PostgreSQL 15 has in
//! tables about built-in objects. `scripts/system-catalog.sh` takes the files in `data/` from PostgreSQL, filtered by the types, functions and
//! operators that Meridian has.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::cells::Row;
use crate::catalog::descriptor::{INFORMATION_SCHEMA_OID, Oid, PG_CATALOG_OID};
use crate::functions::SessionView;
use crate::types::{DataType, Datum, NO_TYPMOD, parse_text};

/// A table or view of `pg_catalog` or `information_schema`.
#[derive(Debug)]
pub struct SystemRelation {
    /// OID, as in PostgreSQL.
    pub oid: Oid,
    /// Its schema's OID.
    pub schema: Oid,
    /// Name.
    pub name: &'static str,
    /// `r` or `v`.
    pub kind: char,
    /// Names and types.
    pub columns: &'static [(&'static str, DataType)],
    /// Which columns are NOT NULL.
    pub not_null: Vec<bool>,
}

fn leak<T>(v: Vec<T>) -> &'static [T] {
    Box::leak(v.into_boxed_slice())
}

/// The nearest type that Meridian has: statistics of any type, addresses and the like are shown as text.
fn known(ty: DataType) -> DataType {
    if ty.info().is_none() || ty.is_pseudo() { DataType::TEXT } else { ty }
}

static RELATIONS: LazyLock<Vec<SystemRelation>> = LazyLock::new(|| {
    let parse = |line: &'static str| -> Option<SystemRelation> {
        let mut fields = line.split('|');
        let (oid, schema, name, kind) = (fields.next()?.parse().ok()?, fields.next()?, fields.next()?, fields.next()?.chars().next()?);
        let mut columns = vec![];
        let mut not_null = vec![];
        for column in fields.nth(1)?.split(' ') {
            let (name, ty) = column.split_once(':')?;
            not_null.push(ty.ends_with('!'));
            columns.push((name, known(DataType(ty.trim_end_matches('!').parse().ok()?))));
        }
        let schema = if schema == "pg_catalog" { PG_CATALOG_OID } else { INFORMATION_SCHEMA_OID };
        Some(SystemRelation { oid, schema, name, kind, columns: leak(columns), not_null })
    };
    include_str!("data/relations.txt").lines().filter_map(parse).collect()
});

static BY_NAME: LazyLock<BTreeMap<&'static str, usize>> =
    LazyLock::new(|| RELATIONS.iter().enumerate().map(|(i, r)| (r.name, i)).collect());

/// Every system relation, `pg_catalog` first, by name.
pub fn relations() -> &'static [SystemRelation] {
    &RELATIONS
}

/// A system relation by its name alone: no two schemas share one.
pub fn relation_named(name: &str) -> Option<&'static SystemRelation> {
    BY_NAME.get(name).map(|i| &RELATIONS[*i])
}

/// A system relation by OID.
pub fn relation_by_oid(oid: Oid) -> Option<&'static SystemRelation> {
    // All are below the first user OID: a scan of 150 is fine for what is asked rarely.
    RELATIONS.iter().find(|r| r.oid == oid)
}

/// A session for reading the data files: nothing in them depends on settings.
fn neutral_session() -> SessionView {
    SessionView {
        user: String::new(),
        session_user: String::new(),
        database: String::new(),
        search_path: vec![],
        timezone: "UTC".into(),
        datestyle: "ISO, MDY".into(),
        intervalstyle: "postgres".into(),
        extra_float_digits: 1,
        bytea_escape: false,
        backend_pid: 0,
        settings: BTreeMap::new(),
    }
}

/// Undoes the escapes of COPY's text format.
fn unescape(field: &str) -> String {
    let mut out = String::with_capacity(field.len());
    let mut chars = field.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some('b') => out.push('\u{8}'),
                Some(other) => out.push(other),
                None => {}
            },
            _ => out.push(c),
        }
    }
    out
}

/// Reads rows in COPY's text format. The files are part of the program: a field that does not fit its type is NULL, and a test says that there is none.
fn read(text: &str, types: &[DataType]) -> Vec<Row> {
    let session = neutral_session();
    let field = |field: &str, ty: &DataType| match field {
        "\\N" => Datum::Null,
        // A number names the object here; no look-up.
        _ if ty.is_oid_like() => field.parse().map_or(Datum::Null, Datum::Oid),
        _ => parse_text(*ty, NO_TYPMOD, &unescape(field), &session).unwrap_or(Datum::Null),
    };
    text.lines().map(|line| line.split('\t').zip(types).map(|(f, ty)| field(f, ty)).collect()).collect()
}

macro_rules! files {
    ($($name:literal $file:literal;)*) => {
        /// Rows that a system table has from its file, in all its columns.
        pub fn rows(table: &str) -> Option<&'static [Row]> {
            match table {
                $($name => {
                    static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
                        let types: Vec<DataType> = relation_named($name).map(|r| r.columns.iter().map(|c| c.1).collect()).unwrap_or_default();
                        read(include_str!($file), &types)
                    });
                    Some(&ROWS)
                })*
                _ => None,
            }
        }
    };
}

files! {
    "pg_aggregate" "data/pg_aggregate.txt";
    "pg_am" "data/pg_am.txt";
    "pg_amop" "data/pg_amop.txt";
    "pg_amproc" "data/pg_amproc.txt";
    "pg_cast" "data/pg_cast.txt";
    "pg_description" "data/pg_description.txt";
    "pg_opclass" "data/pg_opclass.txt";
    "pg_operator" "data/pg_operator.txt";
    "pg_opfamily" "data/pg_opfamily.txt";
}

/// A function of PostgreSQL's that Meridian has, or that belongs to a type: its columns of `pg_proc` as far as they differ between functions.
#[derive(Debug)]
pub struct ProcRow {
    /// `oid`
    pub oid: Oid,
    /// `proname`
    pub name: String,
    /// `procost`, `prorows`, `provariadic`, `prosupport`, `prokind`, `proleakproof`, `proisstrict`, `proretset`, `provolatile`, `proparallel`,
    /// `pronargdefaults`, `prorettype`, `proargtypes`, `proallargtypes`, `proargmodes`, `proargnames`, `prosrc`
    pub cells: Row,
    /// `pg_get_function_arguments`, where there are defaults.
    pub arguments: Option<String>,
}

/// What is between `proname` and the argument text in `pg_proc.txt`.
const PROC_CELLS: [DataType; 17] = [
    DataType::FLOAT4,
    DataType::FLOAT4,
    DataType::OID,
    DataType::OID,
    DataType::CHAR_INTERNAL,
    DataType::BOOL,
    DataType::BOOL,
    DataType::BOOL,
    DataType::CHAR_INTERNAL,
    DataType::CHAR_INTERNAL,
    DataType::INT2,
    DataType::OID,
    DataType::OIDVECTOR,
    DataType::OID_ARRAY,
    DataType::CHAR_INTERNAL_ARRAY,
    DataType::TEXT_ARRAY,
    DataType::TEXT,
];

/// Every such function, by OID.
pub fn procs() -> &'static BTreeMap<Oid, ProcRow> {
    static PROCS: LazyLock<BTreeMap<Oid, ProcRow>> = LazyLock::new(|| {
        let mut types = vec![DataType::OID, DataType::TEXT];
        types.extend(PROC_CELLS);
        types.push(DataType::TEXT);
        let own = |mut row: Row| {
            let arguments = row.pop()?.as_str().map(str::to_owned);
            let cells = row.split_off(2);
            let (oid, name) = (row.first()?.as_oid()?, row.get(1)?.as_str()?.to_owned());
            Some((oid, ProcRow { oid, name, cells, arguments }))
        };
        read(include_str!("data/pg_proc.txt"), &types).into_iter().filter_map(own).collect()
    });
    &PROCS
}

/// The name of a function that other catalogs refer to.
pub fn proc_name(oid: Oid) -> Option<&'static str> {
    static NAMES: LazyLock<BTreeMap<Oid, &'static str>> = LazyLock::new(|| {
        include_str!("data/proc_names.txt")
            .lines()
            .filter_map(|l| l.split_once('\t'))
            .filter_map(|(oid, n)| Some((oid.parse().ok()?, n)))
            .collect()
    });
    procs()
        .get(&oid)
        .map(|p| p.name.as_str())
        .or_else(|| crate::functions::function_by_oid(oid).map(|f| f.name))
        .or_else(|| NAMES.get(&oid).copied())
}

/// OIDs of the functions of a name, those that only types use included.
pub fn procs_named(name: &str) -> Vec<Oid> {
    let mut found: Vec<Oid> = procs().values().filter(|p| p.name == name).map(|p| p.oid).collect();
    found.extend(crate::functions::functions_named(name).iter().map(|f| f.oid).filter(|oid| !procs().contains_key(oid)));
    found
}

/// Rows of `pg_type` as far as they differ between types: see the script for the columns.
pub fn types() -> &'static [Row] {
    static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
        use DataType as T;
        let types = [
            T::OID,
            T::NAME,
            T::INT2,
            T::BOOL,
            T::CHAR_INTERNAL,
            T::CHAR_INTERNAL,
            T::BOOL,
            T::CHAR_INTERNAL,
            T::OID,
            T::OID,
            T::OID,
            T::OID,
            T::OID,
            T::OID,
            T::OID,
            T::OID,
            T::OID,
            T::OID,
            T::CHAR_INTERNAL,
            T::CHAR_INTERNAL,
            T::OID,
        ];
        read(include_str!("data/pg_type.txt"), &types)
    });
    &ROWS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field that could not be read would have become NULL.
    #[test]
    fn every_field_of_the_data_files_is_read() {
        for relation in relations() {
            for row in rows(relation.name).unwrap_or(&[]) {
                assert_eq!(row.len(), relation.columns.len(), "{} {row:?}", relation.name);
                for ((value, (column, _)), not_null) in row.iter().zip(relation.columns).zip(&relation.not_null) {
                    assert!(!not_null || !value.is_null(), "{}.{column} {row:?}", relation.name);
                }
            }
        }
        assert!(types().iter().flatten().all(|d| !d.is_null()));
        assert!(procs().values().all(|p| p.cells[..13].iter().all(|d| !d.is_null()) && !p.cells[16].is_null()));
        assert_eq!(procs().len(), include_str!("data/pg_proc.txt").lines().count());
        assert_eq!(relations().len(), include_str!("data/relations.txt").lines().count());
        assert_eq!(BY_NAME.len(), relations().len(), "names are unique across the two schemas");
    }
}
