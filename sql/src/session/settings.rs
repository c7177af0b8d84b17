//! Run-time settings: SET, SHOW, RESET, `pg_settings`.
//!
//! One table says of every setting its default, its kind and whether clients are told of changes. Settings of PostgreSQL that
//! have no meaning here are refused like unknown ones, except the few that every driver sets: those accept the values that change nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::{Result, SqlError, SqlState};

/// How a value is checked and normalised.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `on`/`off`.
    Bool,
    /// An integer within bounds.
    Int(i64, i64),
    /// Milliseconds with optional unit, 0: off.
    Millis,
    /// Kibibytes with optional unit, within bounds.
    Kibibytes(i64, i64),
    /// One of these words.
    Enum(&'static [&'static str]),
    /// Free text.
    Text,
    /// Accepts only these values (compared without case): what drivers set without needing it.
    Only(&'static [&'static str]),
    /// `on`/`off`, of which only the default is true of us.
    Fixed,
    /// A number of which only the default is true of us.
    FixedNumber,
    /// Shown, not settable.
    ReadOnly,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Name as shown.
    pub name: &'static str,
    /// Default value.
    pub default: &'static str,
    /// See [`Kind`].
    pub kind: Kind,
    /// Clients get ParameterStatus (protocol: "GUC_REPORT").
    pub reported: bool,
    /// One line for `pg_settings`.
    pub about: &'static str,
}

const fn s(name: &'static str, default: &'static str, kind: Kind, about: &'static str) -> Setting {
    Setting { name, default, kind, reported: false, about }
}
const fn r(name: &'static str, default: &'static str, kind: Kind, about: &'static str) -> Setting {
    Setting { name, default, kind, reported: true, about }
}

const ISOLATION: Kind = Kind::Enum(&["serializable", "repeatable read", "read committed", "read uncommitted"]);

/// The version of PostgreSQL whose behaviour is the specification.
pub const SERVER_VERSION: &str = "15.0";

/// All settings, by lower-case name.
pub const SETTINGS: &[Setting] = &[
    r("application_name", "", Kind::Text, "Sets the application name to be reported in statistics and logs."),
    s("backslash_quote", "safe_encoding", Kind::Only(&["safe_encoding"]), "Whether \\' is allowed in string literals."),
    s("bytea_output", "hex", Kind::Enum(&["hex", "escape"]), "Sets the output format for bytea."),
    // There are no bodies to check and no row security policies: either value is true of none.
    s("check_function_bodies", "on", Kind::Bool, "Check routine bodies during CREATE FUNCTION and CREATE PROCEDURE."),
    r("client_encoding", "UTF8", Kind::Only(&["utf8", "unicode"]), "Sets the client's character set encoding."),
    s(
        "client_min_messages",
        "notice",
        Kind::Enum(&["debug5", "debug4", "debug3", "debug2", "debug1", "log", "notice", "warning", "error"]),
        "Sets the message levels that are sent to the client.",
    ),
    r("DateStyle", "ISO, MDY", Kind::Text, "Sets the display format for date and time values."),
    s("default_tablespace", "", Kind::Only(&[""]), "Sets the default tablespace."),
    s("default_table_access_method", "heap", Kind::Only(&["heap"]), "Sets the default table access method."),
    s("default_transaction_deferrable", "off", Kind::Bool, "Sets the default deferrable status of new transactions."),
    s("default_transaction_isolation", "serializable", ISOLATION, "Sets the transaction isolation level of each new transaction."),
    r("default_transaction_read_only", "off", Kind::Bool, "Sets the default read-only status of new transactions."),
    s("extra_float_digits", "1", Kind::Int(-15, 3), "Sets the number of digits displayed for floating-point values."),
    s("geqo", "off", Kind::Fixed, "Enables genetic query optimization."),
    s("idle_in_transaction_session_timeout", "0", Kind::Millis, "Sets the maximum allowed idle time inside a transaction."),
    s("idle_session_timeout", "0", Kind::Millis, "Sets the maximum allowed idle time outside a transaction."),
    r("in_hot_standby", "off", Kind::ReadOnly, "Shows whether hot standby is currently active."),
    r("integer_datetimes", "on", Kind::ReadOnly, "Shows whether datetimes are integer based."),
    r(
        "IntervalStyle",
        "postgres",
        Kind::Enum(&["postgres", "postgres_verbose", "sql_standard", "iso_8601"]),
        "Sets the display format for interval values.",
    ),
    r("is_superuser", "on", Kind::ReadOnly, "Shows whether the current user is a superuser."),
    s("jit", "off", Kind::Fixed, "Allow JIT compilation."),
    s("lc_collate", "C", Kind::ReadOnly, "Shows the collation order locale."),
    s("lc_ctype", "C.UTF-8", Kind::ReadOnly, "Shows the character classification and case conversion locale."),
    s("lc_messages", "C", Kind::Only(&["c", "en_us.utf-8", ""]), "Sets the language in which messages are displayed."),
    s("lc_monetary", "C", Kind::Only(&["c", "en_us.utf-8", ""]), "Sets the locale for formatting monetary amounts."),
    s("lc_numeric", "C", Kind::Only(&["c", "en_us.utf-8", ""]), "Sets the locale for formatting numbers."),
    s("lc_time", "C", Kind::Only(&["c", "en_us.utf-8", ""]), "Sets the locale for formatting date and time values."),
    s("lock_timeout", "0", Kind::Millis, "Sets the maximum allowed duration of any wait for a lock."),
    s("max_connections", "100", Kind::ReadOnly, "Sets the maximum number of concurrent connections."),
    s("max_identifier_length", "63", Kind::ReadOnly, "Shows the maximum identifier length."),
    s("max_index_keys", "32", Kind::ReadOnly, "Shows the maximum number of index keys."),
    s("node_id", "0", Kind::ReadOnly, "Shows the id of the node that serves this session."),
    s("password_encryption", "scram-sha-256", Kind::Only(&["scram-sha-256"]), "Chooses the algorithm for encrypting passwords."),
    s("quote_all_identifiers", "off", Kind::Fixed, "When generating SQL fragments, quote all identifiers."),
    s("row_security", "on", Kind::Bool, "Enable row security."),
    s("search_path", "\"$user\", public", Kind::Text, "Sets the schema search order for names that are not schema-qualified."),
    r("server_encoding", "UTF8", Kind::ReadOnly, "Shows the server (database) character set encoding."),
    r("server_version", SERVER_VERSION, Kind::ReadOnly, "Shows the server version."),
    s("server_version_num", "150000", Kind::ReadOnly, "Shows the server version as an integer."),
    r("session_authorization", "", Kind::ReadOnly, "Shows the session user name."),
    r("standard_conforming_strings", "on", Kind::Fixed, "Causes '...' strings to treat backslashes literally."),
    s("statement_timeout", "0", Kind::Millis, "Sets the maximum allowed duration of any statement."),
    s("synchronize_seqscans", "off", Kind::Fixed, "Enable synchronized sequential scans."),
    s(
        "synchronous_commit",
        "on",
        Kind::Only(&["on", "remote_apply", "remote_write", "local"]),
        "Sets the current transaction's synchronization level.",
    ),
    r("TimeZone", "UTC", Kind::Text, "Sets the time zone for displaying and interpreting time stamps."),
    s("transaction_deferrable", "off", Kind::Bool, "Whether to defer a read-only serializable transaction."),
    s("transaction_isolation", "serializable", ISOLATION, "Sets the current transaction's isolation level."),
    s("transaction_read_only", "off", Kind::Bool, "Sets the current transaction's read-only status."),
    s("vacuum_cost_delay", "0", Kind::FixedNumber, "Vacuum cost delay in milliseconds."),
    s("work_mem", "65536", Kind::Kibibytes(64, 2_147_483_647), "Sets the maximum memory to be used for a query's sorts and hash tables."),
    s("xmloption", "content", Kind::Only(&["content"]), "Sets whether XML data is to be considered documents or content fragments."),
];

/// The definition of a setting by any-case name.
pub fn definition(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|s| s.name.eq_ignore_ascii_case(name))
}

/// A session's settings, with what SET LOCAL and rollback need.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// Values that differ from the defaults, by the definition's name; custom ones (`a.b`) under their own.
    values: BTreeMap<String, String>,
    /// Session defaults from start-up parameters: what RESET goes back to.
    start: BTreeMap<String, String>,
}

fn unknown(name: &str) -> SqlError {
    SqlError::new(SqlState::UNDEFINED_OBJECT, format!("unrecognized configuration parameter \"{name}\""))
}

impl Settings {
    /// Settings at session start.
    pub fn at_start(parameters: &[(String, String)]) -> Result<Self> {
        let mut settings = Settings::default();
        for (name, value) in parameters {
            settings.set(name, value)?;
        }
        settings.start = settings.values.clone();
        Ok(settings)
    }

    /// The value of a setting.
    pub fn get(&self, name: &str) -> Result<String> {
        match definition(name) {
            Some(def) => Ok(self.value(def)),
            None => self.values.get(name).cloned().ok_or_else(|| unknown(name)),
        }
    }

    fn value(&self, def: &Setting) -> String {
        self.values.get(def.name).cloned().unwrap_or_else(|| match def.kind {
            // Defaults are written in the base unit; they are shown as a value that was set.
            Kind::Kibibytes(..) => def.default.parse().map_or_else(|_| def.default.to_owned(), show_kibibytes),
            Kind::Millis => def.default.parse().map_or_else(|_| def.default.to_owned(), show_millis),
            _ => def.default.to_owned(),
        })
    }

    /// Sets one; answers its canonical name and whether clients are told.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(String, bool)> {
        let Some(def) = definition(name) else {
            // PostgreSQL: any two-part name is a custom setting.
            if name.contains('.') {
                self.values.insert(name.to_owned(), value.to_owned());
                return Ok((name.to_owned(), false));
            }
            return Err(unknown(name));
        };
        let value = normalise(def, value)?;
        self.values.insert(def.name.to_owned(), value);
        Ok((def.name.to_owned(), def.reported))
    }

    /// Sets what only the session itself may (`is_superuser`, `session_authorization`).
    pub fn force(&mut self, name: &'static str, value: &str) {
        self.values.insert(name.to_owned(), value.to_owned());
    }

    /// Back to the session's start.
    pub fn reset(&mut self, name: &str) -> Result<(String, bool)> {
        let Some(def) = definition(name) else {
            return if self.values.remove(name).is_some() || name.contains('.') {
                Ok((name.to_owned(), false))
            } else {
                Err(unknown(name))
            };
        };
        if matches!(def.kind, Kind::ReadOnly) {
            return Err(read_only(def));
        }
        match self.start.get(def.name) {
            Some(value) => self.values.insert(def.name.to_owned(), value.clone()),
            None => self.values.remove(def.name),
        };
        Ok((def.name.to_owned(), def.reported))
    }

    /// RESET ALL.
    pub fn reset_all(&mut self) {
        let keep: Vec<(String, String)> = self
            .values
            .iter()
            .filter(|(name, _)| definition(name).is_some_and(|d| matches!(d.kind, Kind::ReadOnly)) || name.starts_with("transaction_"))
            .map(|(n, v)| (n.clone(), v.clone()))
            .collect();
        self.values = self.start.clone();
        self.values.extend(keep);
    }

    /// All, for SHOW ALL and `pg_settings`: name, value, definition.
    pub fn all(&self) -> Vec<(String, String)> {
        let mut all: Vec<(String, String)> = SETTINGS.iter().map(|d| (d.name.to_owned(), self.value(d))).collect();
        all.extend(self.values.iter().filter(|(n, _)| definition(n).is_none()).map(|(n, v)| (n.clone(), v.clone())));
        all
    }

    /// What clients are told at start.
    pub fn reported(&self) -> Vec<(String, String)> {
        SETTINGS.iter().filter(|d| d.reported).map(|d| (d.name.to_owned(), self.value(d))).collect()
    }

    /// A boolean setting.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).is_ok_and(|v| v == "on")
    }

    /// A timeout; `None` when off.
    pub fn timeout(&self, name: &str) -> Option<Duration> {
        let millis = self.get(name).ok().and_then(|v| millis(&v)).unwrap_or(0);
        (millis > 0).then(|| Duration::from_millis(millis))
    }

    /// `work_mem` in bytes.
    pub fn work_mem_bytes(&self) -> usize {
        self.get("work_mem").ok().and_then(|v| kibibytes(&v)).map_or(64 << 20, |k| (k as usize) << 10)
    }
}

fn read_only(def: &Setting) -> SqlError {
    SqlError::new(SqlState::CANT_CHANGE_RUNTIME_PARAM, format!("parameter \"{}\" cannot be changed", def.name))
}

fn invalid(def: &Setting, value: &str) -> SqlError {
    let error = SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("invalid value for parameter \"{}\": \"{value}\"", def.name));
    let known_number = split_unit(value).is_some();
    match def.kind {
        Kind::Millis if known_number => error.hint("Valid units for this parameter are \"us\", \"ms\", \"s\", \"min\", \"h\", and \"d\"."),
        Kind::Kibibytes(..) if known_number => error.hint("Valid units for this parameter are \"B\", \"kB\", \"MB\", \"GB\", and \"TB\"."),
        _ => error,
    }
}

fn normalise(def: &Setting, value: &str) -> Result<String> {
    let bounds = |number: i64, low: i64, high: i64| {
        if (low..=high).contains(&number) {
            Ok(())
        } else {
            let message = format!("{number} is outside the valid range for parameter \"{}\" ({low} .. {high})", def.name);
            Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message))
        }
    };
    match def.kind {
        Kind::Text if def.name == "TimeZone" => time_zone(def, value),
        Kind::Text if def.name == "DateStyle" => date_style(def, value),
        Kind::Text => Ok(value.to_owned()),
        Kind::Bool => match boolean(value) {
            Some(true) => Ok("on".into()),
            Some(false) => Ok("off".into()),
            None => Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("parameter \"{}\" requires a Boolean value", def.name))),
        },
        Kind::Int(low, high) => {
            let number: i64 = value.trim().parse().map_err(|_| invalid(def, value))?;
            bounds(number, low, high)?;
            Ok(number.to_string())
        }
        Kind::Millis => {
            if let Some(negative) = value.trim().parse::<i64>().ok().filter(|n| *n < 0) {
                let message = format!("{negative} ms is outside the valid range for parameter \"{}\" (0 .. {})", def.name, i32::MAX);
                return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
            }
            let ms = millis(value).ok_or_else(|| invalid(def, value))?;
            bounds(ms as i64, 0, i64::from(i32::MAX))?;
            Ok(show_millis(ms))
        }
        Kind::Kibibytes(low, high) => {
            let kib = kibibytes(value).ok_or_else(|| invalid(def, value))?;
            bounds(kib, low, high)?;
            Ok(show_kibibytes(kib))
        }
        Kind::Enum(words) => {
            let lower = value.to_ascii_lowercase();
            if words.contains(&lower.as_str()) {
                return Ok(lower);
            }
            Err(invalid(def, value).hint(format!("Available values: {}.", words.join(", "))))
        }
        Kind::Only(values) => {
            if def.name == "client_encoding" {
                // PostgreSQL looks at letters and digits only: drivers send utf-8, 'utf-8' with its quotes, UTF_8.
                let name: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
                if values.contains(&name.to_ascii_lowercase().as_str()) {
                    return Ok("UTF8".into());
                }
            } else if values.contains(&value.to_ascii_lowercase().as_str()) {
                return Ok(value.to_owned());
            }
            Err(not_supported(def, value))
        }
        Kind::Fixed => {
            let value = normalise(&Setting { kind: Kind::Bool, ..*def }, value)?;
            if value == def.default { Ok(value) } else { Err(not_supported(def, &value)) }
        }
        Kind::FixedNumber => {
            let same = split_unit(value).zip(split_unit(def.default)).is_some_and(|((a, _), (b, _))| a == b);
            if same { Ok(def.default.to_owned()) } else { Err(not_supported(def, value)) }
        }
        Kind::ReadOnly => Err(read_only(def)),
    }
}

fn not_supported(def: &Setting, value: &str) -> SqlError {
    SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, format!("{} = \"{value}\" is not supported", def.name))
        .hint(format!("Only \"{}\" is true of this server.", def.default))
}

/// PostgreSQL's spellings of a boolean setting.
pub(super) fn boolean(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "on" | "true" | "tru" | "tr" | "t" | "yes" | "ye" | "y" | "1" => Some(true),
        "off" | "of" | "false" | "fals" | "fal" | "fa" | "f" | "no" | "n" | "0" => Some(false),
        _ => None,
    }
}

fn time_zone(def: &Setting, value: &str) -> Result<String> {
    let name = match value.to_ascii_lowercase().as_str() {
        "local" | "default" => "UTC".to_owned(),
        _ => value.to_owned(),
    };
    crate::types::datetime::timezone_setting(&name).ok_or_else(|| invalid(def, value))
}

fn date_style(def: &Setting, value: &str) -> Result<String> {
    let (mut style, mut order) = ("ISO", "MDY");
    for word in value.split(',').map(|w| w.trim().to_ascii_uppercase()) {
        match word.as_str() {
            "ISO" => style = "ISO",
            "SQL" => style = "SQL",
            "POSTGRES" => style = "Postgres",
            "GERMAN" => (style, order) = ("German", "DMY"),
            "MDY" | "US" | "NONEUROPEAN" => order = "MDY",
            "DMY" | "EURO" | "EUROPEAN" => order = "DMY",
            "YMD" => order = "YMD",
            "DEFAULT" => (style, order) = ("ISO", "MDY"),
            _ => return Err(invalid(def, value)),
        }
    }
    Ok(format!("{style}, {order}"))
}

fn split_unit(value: &str) -> Option<(f64, &str)> {
    let value = value.trim();
    let end = value.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-')).unwrap_or(value.len());
    Some((value[..end].parse().ok()?, value[end..].trim()))
}

fn millis(value: &str) -> Option<u64> {
    let (number, unit) = split_unit(value)?;
    let factor = match unit {
        "" | "ms" => 1.0,
        "us" => 0.001,
        "s" => 1000.0,
        "min" => 60_000.0,
        "h" => 3_600_000.0,
        "d" => 86_400_000.0,
        _ => return None,
    };
    (number >= 0.0).then(|| (number * factor).round() as u64)
}

fn show_millis(ms: u64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s"), (1, "ms")];
    if ms == 0 {
        return "0".into();
    }
    units.iter().find(|(size, _)| ms.is_multiple_of(*size)).map_or_else(|| format!("{ms}ms"), |(size, unit)| format!("{}{unit}", ms / size))
}

fn kibibytes(value: &str) -> Option<i64> {
    let (number, unit) = split_unit(value)?;
    let factor = match unit {
        "" | "kB" => 1.0,
        "B" => 1.0 / 1024.0,
        "MB" => 1024.0,
        "GB" => 1024.0 * 1024.0,
        "TB" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    Some((number * factor).round() as i64)
}

fn show_kibibytes(kib: i64) -> String {
    let units = [(1 << 30, "TB"), (1 << 20, "GB"), (1 << 10, "MB")];
    units
        .iter()
        .find(|(size, _)| kib % size == 0 && kib > 0)
        .map_or_else(|| format!("{kib}kB"), |(size, unit)| format!("{}{unit}", kib / size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_as_postgresql_shows_them() {
        let mut settings = Settings::default();
        for (name, given, shown) in [
            ("statement_timeout", "1500", "1500ms"),
            ("statement_timeout", "2min", "2min"),
            ("lock_timeout", "3000", "3s"),
            ("work_mem", "65536", "64MB"),
            ("datestyle", "sql, dmy", "SQL, DMY"),
            ("default_transaction_read_only", "TRUE", "on"),
            ("my.setting", "x", "x"),
        ] {
            settings.set(name, given).unwrap();
            assert_eq!(settings.get(name).unwrap(), shown, "{name}");
        }
        assert_eq!(settings.timeout("statement_timeout"), Some(Duration::from_secs(120)));
        settings.set("geqo", "FALSE").unwrap();
        settings.set("vacuum_cost_delay", "0ms").unwrap();
        assert_eq!(settings.set("geqo", "on").unwrap_err().code, SqlState::FEATURE_NOT_SUPPORTED);
        assert_eq!(settings.set("vacuum_cost_delay", "5").unwrap_err().code, SqlState::FEATURE_NOT_SUPPORTED);
        assert_eq!(settings.set("nonsense", "1").unwrap_err().code, SqlState::UNDEFINED_OBJECT);
        assert_eq!(settings.set("server_version", "9").unwrap_err().code, SqlState::CANT_CHANGE_RUNTIME_PARAM);
        assert_eq!(settings.set("extra_float_digits", "99").unwrap_err().code, SqlState::INVALID_PARAMETER_VALUE);
        settings.reset("statement_timeout").unwrap();
        assert_eq!(settings.get("statement_timeout").unwrap(), "0");
    }
}
