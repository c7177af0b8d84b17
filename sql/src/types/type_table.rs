//! The rows of `pg_type` that Meridian has, copied from PostgreSQL 15's own catalog.

/// One row: oid, typname, typlen, typbyval, typtype, typcategory, typispreferred, typarray, typelem, typalign, typstorage,
/// typcollation, and the common prefix of the names of its I/O functions.
pub(super) type Row = (u32, &'static str, i16, bool, char, char, bool, u32, u32, char, char, u32, &'static str);

macro_rules! rows {
    ($($row:expr;)*) => {
        /// Sorted by OID.
        pub(super) const ROWS: &[Row] = &[$($row),*];
    };
}

rows! {
    (16, "bool", 1, true, 'b', 'B', true, 1000, 0, 'c', 'p', 0, "bool");
    (17, "bytea", -1, false, 'b', 'U', false, 1001, 0, 'i', 'x', 0, "bytea");
    (18, "char", 1, true, 'b', 'Z', false, 1002, 0, 'c', 'p', 0, "char");
    (19, "name", 64, false, 'b', 'S', false, 1003, 18, 'c', 'p', 950, "name");
    (20, "int8", 8, true, 'b', 'N', false, 1016, 0, 'd', 'p', 0, "int8");
    (21, "int2", 2, true, 'b', 'N', false, 1005, 0, 's', 'p', 0, "int2");
    (22, "int2vector", -1, false, 'b', 'A', false, 1006, 21, 'i', 'p', 0, "int2vector");
    (23, "int4", 4, true, 'b', 'N', false, 1007, 0, 'i', 'p', 0, "int4");
    (24, "regproc", 4, true, 'b', 'N', false, 1008, 0, 'i', 'p', 0, "regproc");
    (25, "text", -1, false, 'b', 'S', true, 1009, 0, 'i', 'x', 100, "text");
    (26, "oid", 4, true, 'b', 'N', true, 1028, 0, 'i', 'p', 0, "oid");
    (28, "xid", 4, true, 'b', 'U', false, 1011, 0, 'i', 'p', 0, "xid");
    (29, "cid", 4, true, 'b', 'U', false, 1012, 0, 'i', 'p', 0, "cid");
    (30, "oidvector", -1, false, 'b', 'A', false, 1013, 26, 'i', 'p', 0, "oidvector");
    (114, "json", -1, false, 'b', 'U', false, 199, 0, 'i', 'x', 0, "json_");
    (194, "pg_node_tree", -1, false, 'b', 'Z', false, 0, 0, 'i', 'x', 100, "pg_node_tree_");
    (199, "_json", -1, false, 'b', 'A', false, 0, 114, 'i', 'x', 0, "array_");
    (700, "float4", 4, true, 'b', 'N', false, 1021, 0, 'i', 'p', 0, "float4");
    (701, "float8", 8, true, 'b', 'N', true, 1022, 0, 'd', 'p', 0, "float8");
    (705, "unknown", -2, false, 'p', 'X', false, 0, 0, 'c', 'p', 0, "unknown");
    (1000, "_bool", -1, false, 'b', 'A', false, 0, 16, 'i', 'x', 0, "array_");
    (1001, "_bytea", -1, false, 'b', 'A', false, 0, 17, 'i', 'x', 0, "array_");
    (1002, "_char", -1, false, 'b', 'A', false, 0, 18, 'i', 'x', 0, "array_");
    (1003, "_name", -1, false, 'b', 'A', false, 0, 19, 'i', 'x', 950, "array_");
    (1005, "_int2", -1, false, 'b', 'A', false, 0, 21, 'i', 'x', 0, "array_");
    (1006, "_int2vector", -1, false, 'b', 'A', false, 0, 22, 'i', 'x', 0, "array_");
    (1007, "_int4", -1, false, 'b', 'A', false, 0, 23, 'i', 'x', 0, "array_");
    (1008, "_regproc", -1, false, 'b', 'A', false, 0, 24, 'i', 'x', 0, "array_");
    (1009, "_text", -1, false, 'b', 'A', false, 0, 25, 'i', 'x', 100, "array_");
    (1011, "_xid", -1, false, 'b', 'A', false, 0, 28, 'i', 'x', 0, "array_");
    (1012, "_cid", -1, false, 'b', 'A', false, 0, 29, 'i', 'x', 0, "array_");
    (1013, "_oidvector", -1, false, 'b', 'A', false, 0, 30, 'i', 'x', 0, "array_");
    (1014, "_bpchar", -1, false, 'b', 'A', false, 0, 1042, 'i', 'x', 100, "array_");
    (1015, "_varchar", -1, false, 'b', 'A', false, 0, 1043, 'i', 'x', 100, "array_");
    (1016, "_int8", -1, false, 'b', 'A', false, 0, 20, 'd', 'x', 0, "array_");
    (1021, "_float4", -1, false, 'b', 'A', false, 0, 700, 'i', 'x', 0, "array_");
    (1022, "_float8", -1, false, 'b', 'A', false, 0, 701, 'd', 'x', 0, "array_");
    (1028, "_oid", -1, false, 'b', 'A', false, 0, 26, 'i', 'x', 0, "array_");
    (1033, "aclitem", 12, false, 'b', 'U', false, 1034, 0, 'i', 'p', 0, "aclitem");
    (1034, "_aclitem", -1, false, 'b', 'A', false, 0, 1033, 'i', 'x', 0, "array_");
    (1042, "bpchar", -1, false, 'b', 'S', false, 1014, 0, 'i', 'x', 100, "bpchar");
    (1043, "varchar", -1, false, 'b', 'S', false, 1015, 0, 'i', 'x', 100, "varchar");
    (1082, "date", 4, true, 'b', 'D', false, 1182, 0, 'i', 'p', 0, "date_");
    (1083, "time", 8, true, 'b', 'D', false, 1183, 0, 'd', 'p', 0, "time_");
    (1114, "timestamp", 8, true, 'b', 'D', false, 1115, 0, 'd', 'p', 0, "timestamp_");
    (1115, "_timestamp", -1, false, 'b', 'A', false, 0, 1114, 'd', 'x', 0, "array_");
    (1182, "_date", -1, false, 'b', 'A', false, 0, 1082, 'i', 'x', 0, "array_");
    (1183, "_time", -1, false, 'b', 'A', false, 0, 1083, 'd', 'x', 0, "array_");
    (1184, "timestamptz", 8, true, 'b', 'D', true, 1185, 0, 'd', 'p', 0, "timestamptz_");
    (1185, "_timestamptz", -1, false, 'b', 'A', false, 0, 1184, 'd', 'x', 0, "array_");
    (1186, "interval", 16, false, 'b', 'T', true, 1187, 0, 'd', 'p', 0, "interval_");
    (1187, "_interval", -1, false, 'b', 'A', false, 0, 1186, 'd', 'x', 0, "array_");
    (1231, "_numeric", -1, false, 'b', 'A', false, 0, 1700, 'i', 'x', 0, "array_");
    (1263, "_cstring", -1, false, 'b', 'A', false, 0, 2275, 'i', 'x', 0, "array_");
    (1266, "timetz", 12, false, 'b', 'D', false, 1270, 0, 'd', 'p', 0, "timetz_");
    (1270, "_timetz", -1, false, 'b', 'A', false, 0, 1266, 'd', 'x', 0, "array_");
    (1700, "numeric", -1, false, 'b', 'N', false, 1231, 0, 'i', 'm', 0, "numeric_");
    (2202, "regprocedure", 4, true, 'b', 'N', false, 2207, 0, 'i', 'p', 0, "regprocedure");
    (2203, "regoper", 4, true, 'b', 'N', false, 2208, 0, 'i', 'p', 0, "regoper");
    (2204, "regoperator", 4, true, 'b', 'N', false, 2209, 0, 'i', 'p', 0, "regoperator");
    (2205, "regclass", 4, true, 'b', 'N', false, 2210, 0, 'i', 'p', 0, "regclass");
    (2206, "regtype", 4, true, 'b', 'N', false, 2211, 0, 'i', 'p', 0, "regtype");
    (2207, "_regprocedure", -1, false, 'b', 'A', false, 0, 2202, 'i', 'x', 0, "array_");
    (2208, "_regoper", -1, false, 'b', 'A', false, 0, 2203, 'i', 'x', 0, "array_");
    (2209, "_regoperator", -1, false, 'b', 'A', false, 0, 2204, 'i', 'x', 0, "array_");
    (2210, "_regclass", -1, false, 'b', 'A', false, 0, 2205, 'i', 'x', 0, "array_");
    (2211, "_regtype", -1, false, 'b', 'A', false, 0, 2206, 'i', 'x', 0, "array_");
    (2249, "record", -1, false, 'p', 'P', false, 2287, 0, 'd', 'x', 0, "record_");
    (2275, "cstring", -2, false, 'p', 'P', false, 1263, 0, 'c', 'p', 0, "cstring_");
    (2276, "any", 4, true, 'p', 'P', false, 0, 0, 'i', 'p', 0, "any_");
    (2277, "anyarray", -1, false, 'p', 'P', false, 0, 0, 'd', 'x', 0, "anyarray_");
    (2278, "void", 4, true, 'p', 'P', false, 0, 0, 'i', 'p', 0, "void_");
    (2279, "trigger", 4, true, 'p', 'P', false, 0, 0, 'i', 'p', 0, "trigger_");
    (2281, "internal", 8, true, 'p', 'P', false, 0, 0, 'd', 'p', 0, "internal_");
    (2283, "anyelement", 4, true, 'p', 'P', false, 0, 0, 'i', 'p', 0, "anyelement_");
    (2287, "_record", -1, false, 'p', 'P', false, 0, 2249, 'd', 'x', 0, "array_");
    (2776, "anynonarray", 4, true, 'p', 'P', false, 0, 0, 'i', 'p', 0, "anynonarray_");
    (2950, "uuid", 16, false, 'b', 'U', false, 2951, 0, 'c', 'p', 0, "uuid_");
    (2951, "_uuid", -1, false, 'b', 'A', false, 0, 2950, 'i', 'x', 0, "array_");
    (3220, "pg_lsn", 8, true, 'b', 'U', false, 3221, 0, 'd', 'p', 0, "pg_lsn_");
    (3221, "_pg_lsn", -1, false, 'b', 'A', false, 0, 3220, 'd', 'x', 0, "array_");
    (3500, "anyenum", 4, true, 'p', 'P', false, 0, 0, 'i', 'p', 0, "anyenum_");
    (3802, "jsonb", -1, false, 'b', 'U', false, 3807, 0, 'i', 'x', 0, "jsonb_");
    (3807, "_jsonb", -1, false, 'b', 'A', false, 0, 3802, 'i', 'x', 0, "array_");
    (4089, "regnamespace", 4, true, 'b', 'N', false, 4090, 0, 'i', 'p', 0, "regnamespace");
    (4090, "_regnamespace", -1, false, 'b', 'A', false, 0, 4089, 'i', 'x', 0, "array_");
    (4096, "regrole", 4, true, 'b', 'N', false, 4097, 0, 'i', 'p', 0, "regrole");
    (4097, "_regrole", -1, false, 'b', 'A', false, 0, 4096, 'i', 'x', 0, "array_");
    (5077, "anycompatible", 4, true, 'p', 'P', false, 0, 0, 'i', 'p', 0, "anycompatible_");
    (5078, "anycompatiblearray", -1, false, 'p', 'P', false, 0, 0, 'd', 'x', 0, "anycompatiblearray_");
    (5079, "anycompatiblenonarray", 4, true, 'p', 'P', false, 0, 0, 'i', 'p', 0, "anycompatiblenonarray_");
}
