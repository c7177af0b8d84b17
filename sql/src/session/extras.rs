//! What the system catalog shows of sessions, settings and sequences.

use std::sync::Arc;

use async_trait::async_trait;
use meridian_txn::api::{Columns, Get, Got, Kv, LockInfo, LockStrength, TxnOptions};
use parking_lot::Mutex;

use super::database::SessionTable;
use super::environment::POSTGRES_EPOCH_MICROS;
use super::settings::{self, Kind};
use crate::catalog::descriptor::Oid;
use crate::catalog::keys::sequence_key;
use crate::catalog::system::extras::{Activity, Cursor, Lock, PreparedStatement, SettingInfo, SystemExtras};
use crate::error::{Result, SqlError};
use crate::exec::sequence::SequenceState;

/// The gateway's side of the system catalog.
pub struct Extras {
    /// The store, for sequences' states.
    pub kv: Arc<dyn Kv>,
    /// The gateway's sessions.
    pub sessions: Arc<Mutex<SessionTable>>,
}

#[async_trait]
impl SystemExtras for Extras {
    fn now_micros(&self) -> i64 {
        (self.kv.now().unix_nanos() / 1000) as i64 - POSTGRES_EPOCH_MICROS
    }

    fn activity(&self) -> Vec<Activity> {
        let state = |active: bool, in_transaction: bool| match (active, in_transaction) {
            (true, _) => "active",
            (false, true) => "idle in transaction",
            (false, false) => "idle",
        };
        let address = |client: &str| match client.rsplit_once(':') {
            Some((host, port)) => (host.trim_matches(['[', ']']).to_owned(), port.parse().ok()),
            None => (client.to_owned(), None),
        };
        let sessions = self.sessions.lock();
        let row = |(pid, entry): (&i32, &super::SessionEntry)| {
            let (client_address, client_port) = address(&entry.client);
            Activity {
                pid: *pid,
                user: entry.user.clone(),
                database: entry.database.clone(),
                application: entry.application.clone(),
                client_address,
                client_port,
                state: state(entry.active, entry.transaction_started.is_some()),
                query: entry.query.to_string(),
                backend_start: Some(entry.started),
                xact_start: entry.transaction_started,
                query_start: Some(entry.statement_started).filter(|at| *at > 0),
                state_change: None,
            }
        };
        sessions.iter().map(row).collect()
    }

    fn settings(&self) -> Vec<SettingInfo> {
        let info = |setting: &'static settings::Setting| {
            let (vartype, unit, bounds, words): (_, _, _, &'static [&'static str]) = match setting.kind {
                Kind::Bool | Kind::Fixed => ("bool", None, None, &[]),
                Kind::FixedNumber => ("real", Some("ms"), None, &[]),
                Kind::Int(low, high) => ("integer", None, Some((low, high)), &[]),
                Kind::Millis => ("integer", Some("ms"), Some((0, i64::from(i32::MAX))), &[]),
                Kind::Kibibytes(low, high) => ("integer", Some("kB"), Some((low, high)), &[]),
                Kind::Enum(words) => ("enum", None, None, words),
                Kind::Text | Kind::Only(_) | Kind::ReadOnly => ("string", None, None, &[]),
            };
            SettingInfo {
                name: setting.name,
                default: setting.default,
                unit,
                about: setting.about,
                vartype,
                bounds,
                words,
                read_only: matches!(setting.kind, Kind::ReadOnly),
            }
        };
        settings::SETTINGS.iter().map(info).collect()
    }

    async fn locks(&self) -> Vec<Lock> {
        let shown = |lock: LockInfo| {
            let name = lock.name.as_deref().and_then(super::advisory::Name::shown);
            // As PostgreSQL names the locks on tuples, and on what advisory locks name.
            let mode = match (lock.strength, name) {
                (LockStrength::Share, Some(_)) => "ShareLock",
                (_, Some(_)) => "ExclusiveLock",
                (LockStrength::KeyShare, None) => "AccessShareLock",
                (LockStrength::Share, None) => "RowShareLock",
                (LockStrength::NoKeyUpdate, None) => "ExclusiveLock",
                (LockStrength::Update, None) => "AccessExclusiveLock",
            };
            Lock {
                locktype: if name.is_some() { "advisory" } else { "tuple" },
                database: name.map(|n| n.0),
                key: name.is_none().then_some(lock.key),
                object: name.map(|n| (n.1, n.2, n.3)),
                transaction: format!("{:032x}", lock.attempt.0),
                pid: lock.session.0,
                mode,
                granted: lock.granted,
            }
        };
        self.kv.locks().await.into_iter().map(shown).collect()
    }

    fn prepared_statements(&self, pid: i32) -> Vec<PreparedStatement> {
        self.sessions.lock().get(&pid).map(|entry| entry.prepared.values().cloned().collect()).unwrap_or_default()
    }

    fn cursors(&self, pid: i32) -> Vec<Cursor> {
        self.sessions.lock().get(&pid).map(|entry| entry.cursors.values().cloned().collect()).unwrap_or_default()
    }

    async fn sequence_last_value(&self, sequence: Oid) -> Result<Option<i64>> {
        let mut txn = self.kv.begin(TxnOptions { read_only: true, description: "sequence state".into(), ..TxnOptions::default() });
        let got = txn.get(vec![Get { key: sequence_key(sequence), columns: Columns::All, lock: None }]).await.map_err(SqlError::from);
        txn.rollback().await;
        match got?.pop() {
            Some(Got::Value(Some(bytes))) => SequenceState::decode(&bytes).map(|s| s.called.then_some(s.last)),
            _ => Ok(None),
        }
    }
}
