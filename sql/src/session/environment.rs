//! What the execution of every statement of a session is lent: settings as functions see them, randomness, sequences.

use std::sync::Arc;

use meridian_clock::Rng;
use parking_lot::Mutex;

use super::api::SessionStart;
use super::database::Database;
use super::functions::SessionFunctions;
use super::settings::Settings;
use crate::catalog::descriptor::Oid;
use crate::catalog::system::Lookup;
use crate::exec::cancel::CancelToken;
use crate::exec::sequence::Sequences;
use crate::functions::SessionView;

/// Microseconds between the Unix epoch and PostgreSQL's (2000-01-01).
pub const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// The lent things.
pub struct Environment {
    /// Settings.
    pub settings: Settings,
    /// The same, as functions and value input see them; made anew when a setting changes.
    pub view: Arc<SessionView>,
    /// What plans depend on besides text and catalog.
    pub plan_environment: Arc<str>,
    /// Cached sequence values.
    pub sequences: Sequences,
    /// Randomness.
    pub rng: Rng,
    /// Current role.
    pub role: Oid,
    /// Functions that act on the session.
    pub functions: SessionFunctions,
    /// `statement_timestamp()`.
    pub statement_micros: i64,
    user: String,
    database: String,
    pid: i32,
    /// The catalog's names under these settings, kept while the catalog version stands.
    pub lookup: Mutex<Option<(u64, Arc<Lookup>)>>,
}

impl Environment {
    /// The environment of a new session.
    pub fn new(
        db: &Arc<Database>,
        cancel: CancelToken,
        settings: Settings,
        start: &SessionStart,
        pid: i32,
        role: Oid,
        database: Oid,
    ) -> Self {
        let mut env = Environment {
            view: Arc::new(view(&settings, &start.user, &start.database, pid)),
            plan_environment: Arc::from(""),
            settings,
            sequences: Sequences::default(),
            rng: db.entropy.fork(&format!("session {pid}")).rng(),
            functions: SessionFunctions::new(db, cancel, pid, role, database),
            role,
            statement_micros: 0,
            user: start.user.clone(),
            database: start.database.clone(),
            pid,
            lookup: Mutex::default(),
        };
        env.refresh();
        env
    }

    /// After a setting has changed.
    pub fn refresh(&mut self) {
        let view = view(&self.settings, &self.user, &self.database, self.pid);
        self.plan_environment = Arc::from(format!(
            "{}\0{}\0{:?}\0{}\0{}\0{}",
            view.database, view.user, view.search_path, view.timezone, view.datestyle, view.intervalstyle
        ));
        self.view = Arc::new(view);
        self.functions.lock_timeout = self.settings.timeout("lock_timeout");
        *self.lookup.lock() = None;
    }

    /// The clock in PostgreSQL's microseconds.
    pub fn now_micros(&self, db: &Database) -> i64 {
        clock_micros(db)
    }
}

/// The clock in PostgreSQL's microseconds.
pub(super) fn clock_micros(db: &Database) -> i64 {
    (db.kv.now().unix_nanos() / 1000) as i64 - POSTGRES_EPOCH_MICROS
}

fn view(settings: &Settings, user: &str, database: &str, pid: i32) -> SessionView {
    let get = |name: &str| settings.get(name).unwrap_or_default();
    SessionView {
        user: user.to_owned(),
        session_user: user.to_owned(),
        database: database.to_owned(),
        search_path: search_path(&get("search_path"), user),
        timezone: get("TimeZone"),
        datestyle: get("DateStyle"),
        intervalstyle: get("IntervalStyle"),
        extra_float_digits: get("extra_float_digits").parse().unwrap_or(1),
        bytea_escape: get("bytea_output") == "escape",
        backend_pid: pid,
        settings: settings.all().into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect(),
    }
}

/// The effective search path: `pg_catalog` first unless it is named, `$user` replaced.
fn search_path(setting: &str, user: &str) -> Vec<String> {
    let mut path: Vec<String> = vec![];
    let mut rest = setting.trim();
    while !rest.is_empty() {
        let (name, after) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let end = quoted.find('"').unwrap_or(quoted.len());
                (quoted[..end].to_owned(), quoted.get(end + 1..).unwrap_or(""))
            }
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].trim().to_lowercase(), &rest[end..])
            }
        };
        let name = if name == "$user" { user.to_owned() } else { name };
        if !name.is_empty() && !path.contains(&name) {
            path.push(name);
        }
        rest = after.trim_start().trim_start_matches(',').trim_start();
    }
    if !path.iter().any(|s| s == "pg_catalog") {
        path.insert(0, "pg_catalog".into());
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_paths_are_split_as_postgresql_splits_them() {
        assert_eq!(search_path("\"$user\", public", "root"), ["pg_catalog", "root", "public"]);
        assert_eq!(search_path("A, \"B c\",pg_catalog", "root"), ["a", "B c", "pg_catalog"]);
        assert_eq!(search_path("", "root"), ["pg_catalog"]);
    }
}
