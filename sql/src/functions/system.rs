//! Session and system information, casts by function name, window functions, and what only the executor can do.
//!
//! Answers that need the catalog go through [`super::CatalogLookup`].

use super::args::{Entry, boolean, err, i4, i8, oid, opt, s, text, txt};
use super::strings::t;
use super::{EvalContext, FunctionBody};
use crate::error::{Result, SqlError, SqlState};
use crate::types::{CastContext, DataType, Datum, apply_cast, find_cast, format_type};

/// What `version()` answers: drivers read the number behind "PostgreSQL".
pub const VERSION: &str = concat!("PostgreSQL 15.0 (Meridian ", env!("CARGO_PKG_VERSION"), ")");

const fn executor(key: &'static str) -> Entry {
    (key, FunctionBody::Executor)
}

const fn window(key: &'static str) -> Entry {
    (key, FunctionBody::Window)
}

/// Asks the catalog by the function's SQL name.
fn ask(ctx: &EvalContext<'_>, name: &str, x: &[Datum]) -> Result<Datum> {
    ctx.catalog.system_function(name, x).unwrap_or_else(|| Err(SqlError::unsupported(format!("function {name}"))))
}

/// A definition text, NULL for an unknown object. A last argument of `true` asks for the pretty form, which the catalog knows by PostgreSQL's
/// own name for it: with `_ext`.
fn definition(ctx: &EvalContext<'_>, what: &str, x: &[Datum]) -> Result<Datum> {
    let column = match (what, x.get(1)) {
        ("pg_get_indexdef", Some(d)) => i4(d)?,
        _ => 0,
    };
    let object = match &x[0] {
        // `pg_get_viewdef` also takes a name.
        Datum::Text(name) => match ctx.catalog.relation_oid(name, &ctx.session.search_path) {
            Some(found) => found,
            None => return err(SqlState::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist")),
        },
        other => oid(other)?,
    };
    let pretty = matches!(x.last(), Some(Datum::Bool(true)));
    let what = if pretty { format!("{what}_ext") } else { what.to_owned() };
    Ok(ctx.catalog.definition(&what, object, column).map_or(Datum::Null, txt))
}

/// A cast under its function name.
fn cast(ctx: &mut EvalContext<'_>, d: &Datum, from: DataType, to: DataType) -> Result<Datum> {
    let found = find_cast(from, to, CastContext::Explicit)
        .ok_or_else(|| SqlError::new(SqlState::CANNOT_COERCE, format!("cannot cast type {} to {}", from.name(), to.name())))?;
    apply_cast(&found, d.clone(), -1, true, ctx)
}

macro_rules! casts {
    ($($key:literal $to:ident,)*) => { &[$(t($key, |c, ty, x| cast(c, &x[0], ty.first().copied().unwrap_or(DataType::TEXT), DataType::$to)),)*] };
}

/// Functions behind `int4(x)`, `text(x)`, `date(x)`, ….
pub(super) const CASTS: &[Entry] = casts! {
    "i4toi2" INT2, "int82" INT2, "dtoi2" INT2, "ftoi2" INT2, "numeric_int2" INT2, "jsonb_int2" INT2,
    "i2toi4" INT4, "int84" INT4, "dtoi4" INT4, "ftoi4" INT4, "numeric_int4" INT4, "jsonb_int4" INT4, "bool_int4" INT4, "chartoi4" INT4,
    "int28" INT8, "int48" INT8, "dtoi8" INT8, "ftoi8" INT8, "numeric_int8" INT8, "jsonb_int8" INT8, "oidtoi8" INT8,
    "i2tof" FLOAT4, "i4tof" FLOAT4, "i8tof" FLOAT4, "dtof" FLOAT4, "numeric_float4" FLOAT4, "jsonb_float4" FLOAT4,
    "i2tod" FLOAT8, "i4tod" FLOAT8, "i8tod" FLOAT8, "ftod" FLOAT8, "numeric_float8" FLOAT8, "jsonb_float8" FLOAT8,
    "int2_numeric" NUMERIC, "int4_numeric" NUMERIC, "int8_numeric" NUMERIC, "float4_numeric" NUMERIC, "float8_numeric" NUMERIC, "jsonb_numeric" NUMERIC,
    "int4_bool" BOOL, "jsonb_bool" BOOL, "booltext" TEXT, "name_text" TEXT, "char_text" TEXT, "text_name" NAME, "bpchar_name" NAME,
    "text_char" CHAR_INTERNAL, "i4tochar" CHAR_INTERNAL, "name_bpchar" BPCHAR, "char_bpchar" BPCHAR, "i8tooid" OID, "text_regclass" REGCLASS,
    "timestamptz_date" DATE, "timestamp_date" DATE, "date_timestamp" TIMESTAMP, "timestamptz_timestamp" TIMESTAMP, "date_timestamptz" TIMESTAMPTZ,
    "timestamp_timestamptz" TIMESTAMPTZ, "timestamp_time" TIME, "timestamptz_time" TIME, "interval_time" TIME, "timetz_time" TIME,
    "time_interval" INTERVAL, "timestamptz_timetz" TIMETZ, "time_timetz" TIMETZ,
};

/// `pg_size_pretty`.
fn size_pretty(bytes: i64) -> String {
    if bytes.unsigned_abs() < 10 * 1024 {
        return format!("{bytes} bytes");
    }
    // From here on the value carries one bit more than the unit, for rounding half away from zero.
    let mut value = bytes >> 9;
    for unit in ["kB", "MB", "GB", "TB", "PB"] {
        if value.unsigned_abs() < 20 * 1024 - 1 || unit == "PB" {
            let rounded = if value >= 0 { (value + 1) / 2 } else { (value - 1) / 2 };
            return format!("{rounded} {unit}");
        }
        value /= 1024;
    }
    String::new()
}

fn encoding_name(n: i32) -> &'static str {
    match n {
        0 => "SQL_ASCII",
        6 => "UTF8",
        8 => "LATIN1",
        _ => "",
    }
}

fn setting(ctx: &EvalContext<'_>, x: &[Datum]) -> Result<Datum> {
    let name = text(&x[0])?;
    let missing_ok = opt(x, 1).map(boolean).transpose()?.unwrap_or(false);
    let settings = &ctx.session.settings;
    let found = settings.get(name).or_else(|| settings.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v));
    match found {
        Some(v) => Ok(txt(v)),
        None if missing_ok => Ok(Datum::Null),
        None => err(SqlState::UNDEFINED_OBJECT, format!("unrecognized configuration parameter \"{name}\"")),
    }
}

/// Microseconds between PostgreSQL's epoch and 2020-01-01, where row ids begin.
const ROWID_EPOCH_MICROS: i64 = 631_152_000_000_000;
/// Bits of a row id that name the node.
const ROWID_NODE_BITS: u32 = 10;

/// `unique_rowid()`: microseconds since 2020, then the node. Ascending within a process; two processes never share a node id, and one
/// that gives out more than a million ids a second runs ahead of its clock instead of repeating itself.
fn unique_rowid(ctx: &EvalContext<'_>) -> Datum {
    use std::sync::atomic::{AtomicI64, Ordering};
    static LAST: AtomicI64 = AtomicI64::new(0);
    let now = ctx.statement_micros - ROWID_EPOCH_MICROS;
    let next = |last: i64| Some(now.max(last + 1));
    let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or_default();
    let node: i64 = ctx.session.settings.get("node_id").and_then(|n| n.parse().ok()).unwrap_or(0);
    Datum::Int8((now.max(last + 1) << ROWID_NODE_BITS) | (node & ((1 << ROWID_NODE_BITS) - 1)))
}

/// Schemas of the search path that exist. `pg_catalog` is in every path, but unless the user put it there it counts only when asked for.
fn schemas<'c>(ctx: &'c EvalContext<'_>, implicit: bool) -> Vec<&'c str> {
    let session = ctx.session;
    let named = session.settings.get("search_path").is_some_and(|s| s.contains("pg_catalog"));
    let path = session.search_path.iter().map(String::as_str);
    let mut all: Vec<&str> = path.filter(|s| (named || *s != "pg_catalog") && ctx.catalog.schema_oid(s).is_some()).collect();
    if implicit && !all.contains(&"pg_catalog") {
        all.insert(0, "pg_catalog");
    }
    all
}

pub(super) const ENTRIES: &[Entry] = &[
    s("unique_rowid", |c, _| Ok(unique_rowid(c))),
    s("pgsql_version", |_, _| Ok(txt(VERSION))),
    s("current_database", |c, _| Ok(txt(&c.session.database))),
    s("current_user", |c, _| Ok(txt(&c.session.user))),
    s("session_user", |c, _| Ok(txt(&c.session.session_user))),
    s("current_schema", |c, _| Ok(schemas(c, false).first().map_or(Datum::Null, txt))),
    s("current_schemas", |c, x| {
        let all = schemas(c, boolean(&x[0])?);
        Ok(super::args::one_dimension(DataType::NAME, all.into_iter().map(txt).collect()))
    }),
    s("show_config_by_name", |c, x| setting(c, x)),
    s("show_config_by_name_missing_ok", |c, x| setting(c, x)),
    s("pg_backend_pid", |c, _| Ok(Datum::Int4(c.session.backend_pid))),
    t("pg_typeof", |_, ty, _| Ok(Datum::Oid(ty.first().map_or(DataType::UNKNOWN.0, |t| t.0)))),
    s("PG_encoding_to_char", |_, x| Ok(txt(encoding_name(i4(&x[0])?)))),
    s("PG_char_to_encoding", |_, x| {
        Ok(Datum::Int4(match text(&x[0])?.to_ascii_uppercase().replace('-', "").as_str() {
            "UTF8" | "UNICODE" => 6,
            "SQL_ASCII" | "SQLASCII" => 0,
            "LATIN1" | "ISO88591" => 8,
            _ => -1,
        }))
    }),
    s("pg_client_encoding", |_, _| Ok(txt("UTF8"))),
    s("getdatabaseencoding", |_, _| Ok(txt("UTF8"))),
    s("format_type", |_, x| {
        if let Datum::Null = x[0] {
            return Ok(Datum::Null);
        }
        Ok(txt(format_type(DataType(oid(&x[0])?), opt(x, 1).map(i4).transpose()?.unwrap_or(-1))))
    }),
    s("pg_get_userbyid", |c, x| {
        let id = oid(&x[0])?;
        Ok(txt(c.catalog.role_name(id).unwrap_or_else(|| format!("unknown (OID={id})"))))
    }),
    s("pg_size_pretty", |_, x| Ok(txt(size_pretty(i8(&x[0])?)))),
    s("to_regclass", |c, x| {
        let path = c.session.search_path.clone();
        Ok(c.catalog.relation_oid(text(&x[0])?, &path).map_or(Datum::Null, Datum::Oid))
    }),
    s("to_regtype", |_, x| Ok(DataType::from_name(text(&x[0])?).map_or(Datum::Null, |t| Datum::Oid(t.0)))),
    s("to_regnamespace", |c, x| Ok(c.catalog.schema_oid(text(&x[0])?).map_or(Datum::Null, Datum::Oid))),
    s("to_regrole", |c, x| Ok(c.catalog.role_oid(text(&x[0])?).map_or(Datum::Null, Datum::Oid))),
    s("to_regproc", |_, x| {
        let found = super::functions_named(text(&x[0])?);
        Ok(if let [one] = found { Datum::Oid(one.oid) } else { Datum::Null })
    }),
    s("gen_random_uuid", |c, _| {
        let mut b: [u8; 16] = rand::Rng::random(c.rng);
        b[6] = b[6] & 0x0f | 0x40;
        b[8] = b[8] & 0x3f | 0x80;
        Ok(Datum::Uuid(std::sync::Arc::new(b)))
    }),
    s("pg_get_viewdef_name", |c, x| definition(c, "pg_get_viewdef", x)),
    s("pg_get_viewdef_name_ext", |c, x| definition(c, "pg_get_viewdef", x)),
    s("pg_get_viewdef", |c, x| definition(c, "pg_get_viewdef", x)),
    s("pg_get_viewdef_ext", |c, x| definition(c, "pg_get_viewdef", x)),
    s("pg_get_viewdef_wrap", |c, x| definition(c, "pg_get_viewdef", x)),
    s("pg_get_indexdef", |c, x| definition(c, "pg_get_indexdef", x)),
    s("pg_get_indexdef_ext", |c, x| definition(c, "pg_get_indexdef", x)),
    s("pg_get_constraintdef", |c, x| definition(c, "pg_get_constraintdef", x)),
    s("pg_get_constraintdef_ext", |c, x| definition(c, "pg_get_constraintdef", x)),
    s("pg_get_triggerdef", |c, x| definition(c, "pg_get_triggerdef", x)),
    s("pg_get_triggerdef_ext", |c, x| definition(c, "pg_get_triggerdef", x)),
    s("pg_get_functiondef", |c, x| definition(c, "pg_get_functiondef", x)),
    s("pg_get_ruledef", |c, x| definition(c, "pg_get_ruledef", x)),
    s("pg_get_ruledef_ext", |c, x| definition(c, "pg_get_ruledef", x)),
    // Expression trees are stored as their text.
    s("pg_get_expr", |_, x| Ok(txt(text(&x[0])?))),
    s("pg_get_expr_ext", |c, x| match (x.get(2), c.catalog.system_function("pg_get_expr", x)) {
        (Some(Datum::Bool(true)), Some(pretty)) => pretty,
        _ => Ok(txt(text(&x[0])?)),
    }),
    // No partitions, no publications.
    super::sets::set("pg_partition_ancestors", |_, _, _| Ok(())),
    super::sets::set("pg_partition_tree", |_, _, _| Ok(())),
    s("pg_partition_root", |_, _| Ok(Datum::Null)),
    super::sets::set("pg_get_publication_tables", |_, _, _| Ok(())),
    // No function has a body of standard SQL.
    s("pg_get_function_sqlbody", |_, _| Ok(Datum::Null)),
];

macro_rules! asked {
    ($($key:literal $name:literal,)*) => { &[$(s($key, |c, x| ask(c, $name, x)),)*] };
}

/// What the catalog answers under the SQL name.
pub(super) const ASKED: &[Entry] = asked! {
    "pg_table_is_visible" "pg_table_is_visible", "pg_type_is_visible" "pg_type_is_visible", "pg_function_is_visible" "pg_function_is_visible",
    "pg_operator_is_visible" "pg_operator_is_visible", "pg_opclass_is_visible" "pg_opclass_is_visible", "pg_opfamily_is_visible" "pg_opfamily_is_visible",
    "pg_collation_is_visible" "pg_collation_is_visible", "pg_conversion_is_visible" "pg_conversion_is_visible",
    "pg_statistics_obj_is_visible" "pg_statistics_obj_is_visible", "pg_ts_config_is_visible" "pg_ts_config_is_visible", "pg_ts_dict_is_visible" "pg_ts_dict_is_visible",
    "pg_ts_parser_is_visible" "pg_ts_parser_is_visible", "pg_ts_template_is_visible" "pg_ts_template_is_visible",
    "pg_index_column_has_property" "pg_index_column_has_property",
    "obj_description(oid,name)" "obj_description", "obj_description(oid)" "obj_description", "col_description(oid,int4)" "col_description",
    "shobj_description(oid,name)" "shobj_description", "pg_relation_size" "pg_relation_size", "pg_relation_size(regclass)" "pg_relation_size",
    "pg_total_relation_size" "pg_total_relation_size", "pg_table_size" "pg_table_size", "pg_indexes_size" "pg_indexes_size",
    "pg_database_size_oid" "pg_database_size", "pg_database_size_name" "pg_database_size", "pg_tablespace_size_oid" "pg_tablespace_size",
    "pg_tablespace_size_name" "pg_tablespace_size", "pg_tablespace_location" "pg_tablespace_location", "pg_get_serial_sequence" "pg_get_serial_sequence",
    "pg_get_function_arguments" "pg_get_function_arguments", "pg_get_function_result" "pg_get_function_result",
    "pg_get_function_identity_arguments" "pg_get_function_identity_arguments", "pg_get_partkeydef" "pg_get_partkeydef",
    "pg_get_statisticsobjdef_columns" "pg_get_statisticsobjdef_columns", "pg_get_partition_constraintdef" "pg_get_partition_constraintdef",
    "pg_relation_is_publishable" "pg_relation_is_publishable", "pg_relation_filenode" "pg_relation_filenode", "pg_filenode_relation" "pg_filenode_relation",
    "pg_describe_object" "pg_describe_object", "pg_identify_object" "pg_identify_object", "pg_relation_is_updatable" "pg_relation_is_updatable",
    "pg_column_is_updatable" "pg_column_is_updatable", "pg_sequence_last_value" "pg_sequence_last_value", "pg_sequence_parameters" "pg_sequence_parameters",
    "row_security_active" "row_security_active", "pg_is_in_recovery" "pg_is_in_recovery", "pg_postmaster_start_time" "pg_postmaster_start_time",
    "pg_conf_load_time" "pg_conf_load_time", "pg_is_other_temp_schema" "pg_is_other_temp_schema", "pg_my_temp_schema" "pg_my_temp_schema",
    "inet_client_port" "inet_client_port", "inet_server_port" "inet_server_port", "pg_stat_get_numscans" "pg_stat_get_numscans",
    "pg_stat_get_live_tuples" "pg_stat_get_live_tuples", "pg_stat_get_dead_tuples" "pg_stat_get_dead_tuples",
    "has_table_privilege_name_name" "has_table_privilege", "has_table_privilege_name_id" "has_table_privilege", "has_table_privilege_id_name" "has_table_privilege",
    "has_table_privilege_id_id" "has_table_privilege", "has_table_privilege_name" "has_table_privilege", "has_table_privilege_id" "has_table_privilege",
    "has_schema_privilege_name_name" "has_schema_privilege", "has_schema_privilege_name_id" "has_schema_privilege", "has_schema_privilege_id_name" "has_schema_privilege",
    "has_schema_privilege_id_id" "has_schema_privilege", "has_schema_privilege_name" "has_schema_privilege", "has_schema_privilege_id" "has_schema_privilege",
    "has_database_privilege_name_name" "has_database_privilege", "has_database_privilege_name_id" "has_database_privilege",
    "has_database_privilege_id_name" "has_database_privilege", "has_database_privilege_id_id" "has_database_privilege",
    "has_database_privilege_name" "has_database_privilege", "has_database_privilege_id" "has_database_privilege",
    "has_column_privilege_name_name" "has_column_privilege", "has_column_privilege_name_attnum" "has_column_privilege",
    "has_column_privilege_id_name" "has_column_privilege", "has_column_privilege_id_attnum" "has_column_privilege",
    "has_any_column_privilege_name" "has_any_column_privilege", "has_any_column_privilege_id" "has_any_column_privilege",
    "has_function_privilege_name" "has_function_privilege", "has_function_privilege_id" "has_function_privilege",
    "has_sequence_privilege_name" "has_sequence_privilege", "has_sequence_privilege_id" "has_sequence_privilege",
    "has_type_privilege_name" "has_type_privilege", "has_type_privilege_id" "has_type_privilege",
    "has_language_privilege_name" "has_language_privilege", "has_language_privilege_id" "has_language_privilege",
    "has_any_column_privilege_name_name" "has_any_column_privilege",
    "has_any_column_privilege_name_id" "has_any_column_privilege",
    "has_any_column_privilege_id_name" "has_any_column_privilege",
    "has_any_column_privilege_id_id" "has_any_column_privilege",
    "has_column_privilege_name_name_name" "has_column_privilege",
    "has_column_privilege_name_name_attnum" "has_column_privilege",
    "has_column_privilege_name_id_name" "has_column_privilege",
    "has_column_privilege_name_id_attnum" "has_column_privilege",
    "has_column_privilege_id_name_name" "has_column_privilege",
    "has_column_privilege_id_name_attnum" "has_column_privilege",
    "has_column_privilege_id_id_name" "has_column_privilege",
    "has_column_privilege_id_id_attnum" "has_column_privilege",
    "has_foreign_data_wrapper_privilege_name_name" "has_foreign_data_wrapper_privilege",
    "has_foreign_data_wrapper_privilege_name_id" "has_foreign_data_wrapper_privilege",
    "has_foreign_data_wrapper_privilege_id_name" "has_foreign_data_wrapper_privilege",
    "has_foreign_data_wrapper_privilege_id_id" "has_foreign_data_wrapper_privilege",
    "has_foreign_data_wrapper_privilege_name" "has_foreign_data_wrapper_privilege",
    "has_foreign_data_wrapper_privilege_id" "has_foreign_data_wrapper_privilege",
    "has_function_privilege_name_name" "has_function_privilege",
    "has_function_privilege_name_id" "has_function_privilege",
    "has_function_privilege_id_name" "has_function_privilege",
    "has_function_privilege_id_id" "has_function_privilege",
    "has_language_privilege_name_name" "has_language_privilege",
    "has_language_privilege_name_id" "has_language_privilege",
    "has_language_privilege_id_name" "has_language_privilege",
    "has_language_privilege_id_id" "has_language_privilege",
    "has_parameter_privilege_name_name" "has_parameter_privilege",
    "has_parameter_privilege_id_name" "has_parameter_privilege",
    "has_parameter_privilege_name" "has_parameter_privilege",
    "has_sequence_privilege_name_name" "has_sequence_privilege",
    "has_sequence_privilege_name_id" "has_sequence_privilege",
    "has_sequence_privilege_id_name" "has_sequence_privilege",
    "has_sequence_privilege_id_id" "has_sequence_privilege",
    "has_server_privilege_name_name" "has_server_privilege",
    "has_server_privilege_name_id" "has_server_privilege",
    "has_server_privilege_id_name" "has_server_privilege",
    "has_server_privilege_id_id" "has_server_privilege",
    "has_server_privilege_name" "has_server_privilege",
    "has_server_privilege_id" "has_server_privilege",
    "has_tablespace_privilege_name_name" "has_tablespace_privilege",
    "has_tablespace_privilege_name_id" "has_tablespace_privilege",
    "has_tablespace_privilege_id_name" "has_tablespace_privilege",
    "has_tablespace_privilege_id_id" "has_tablespace_privilege",
    "has_tablespace_privilege_name" "has_tablespace_privilege",
    "has_tablespace_privilege_id" "has_tablespace_privilege",
    "has_type_privilege_name_name" "has_type_privilege",
    "has_type_privilege_name_id" "has_type_privilege",
    "has_type_privilege_id_name" "has_type_privilege",
    "has_type_privilege_id_id" "has_type_privilege",
    "row_security_active_name" "row_security_active",
    "pg_has_role_name_name" "pg_has_role", "pg_has_role_name_id" "pg_has_role", "pg_has_role_id_name" "pg_has_role",
    "pg_has_role_id_id" "pg_has_role", "pg_has_role_name" "pg_has_role", "pg_has_role_id" "pg_has_role",
};

/// Evaluated by the executor under their SQL name.
pub(super) const EXECUTOR: &[Entry] = &[
    executor("nextval_oid"),
    executor("currval_oid"),
    executor("setval_oid"),
    executor("setval3_oid"),
    executor("lastval"),
    executor("set_config_by_name"),
    executor("pg_sleep"),
    executor("pg_sleep_for(interval)"),
    executor("pg_sleep_until(timestamptz)"),
    executor("clock_timestamp"),
    executor("timeofday"),
    executor("pg_cancel_backend"),
    executor("pg_blocking_pids"),
    executor("pg_terminate_backend"),
    executor("pg_advisory_lock_int8"),
    executor("pg_advisory_lock_int4"),
    executor("pg_advisory_lock_shared_int8"),
    executor("pg_advisory_lock_shared_int4"),
    executor("pg_advisory_xact_lock_int8"),
    executor("pg_advisory_xact_lock_int4"),
    executor("pg_advisory_xact_lock_shared_int8"),
    executor("pg_advisory_xact_lock_shared_int4"),
    executor("pg_try_advisory_lock_int8"),
    executor("pg_try_advisory_lock_int4"),
    executor("pg_try_advisory_lock_shared_int8"),
    executor("pg_try_advisory_lock_shared_int4"),
    executor("pg_try_advisory_xact_lock_int8"),
    executor("pg_try_advisory_xact_lock_int4"),
    executor("pg_try_advisory_xact_lock_shared_int8"),
    executor("pg_try_advisory_xact_lock_shared_int4"),
    executor("pg_advisory_unlock_int8"),
    executor("pg_advisory_unlock_int4"),
    executor("pg_advisory_unlock_shared_int8"),
    executor("pg_advisory_unlock_shared_int4"),
    executor("pg_advisory_unlock_all"),
    executor("current_query"),
    executor("pg_current_xact_id"),
    executor("pg_current_xact_id_if_assigned"),
    executor("pg_notify"),
    executor("pg_blocking_pids"),
    executor("pg_trigger_depth"),
];

/// Evaluated by the window operator under their SQL name.
pub(super) const WINDOW: &[Entry] = &[
    window("window_row_number"),
    window("window_rank"),
    window("window_dense_rank"),
    window("window_percent_rank"),
    window("window_cume_dist"),
    window("window_ntile"),
    window("window_lag"),
    window("window_lag_with_offset"),
    window("window_lag_with_offset_and_default"),
    window("window_lead"),
    window("window_lead_with_offset"),
    window("window_lead_with_offset_and_default"),
    window("window_first_value"),
    window("window_last_value"),
    window("window_nth_value"),
];
