//! Who holds and who waits in the ranges served here, and the locks of those that are dead.
//!
//! Somebody who queues for a lock asks whether its holder lives (`contention`); NOWAIT and SKIP LOCKED never queue, so a sweep asks in
//! their place. A coordinator that has not been reached for a while has its locks released, as by one who waits: they are never the proof (C4).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use meridian_replication::api::NodeId;
use meridian_storage::mvcc::{self, AttemptId};
use tokio::time::{Instant, sleep};

use super::Leaseholders;
use crate::api::{LOCKS_SHOWN_MAX, LockInfo, LockStrength, SessionId};
use crate::attempt::{self, NOBODY};
use crate::coordinator::lock_name;

/// How often holders are asked after.
const SWEEP_EVERY: Duration = Duration::from_secs(3);
/// How long a node may not be reached before its transactions' locks go.
const SILENT_AFTER: Duration = Duration::from_secs(8);

impl Leaseholders {
    /// Locks held and waited for; whose sessions they are is for the caller to find out.
    pub(crate) fn inventory(&self) -> Vec<LockInfo> {
        let mut all = Vec::new();
        for state in self.all() {
            let room = LOCKS_SHOWN_MAX - all.len();
            all.extend(state.lock().locks.list().take(room).map(|(key, attempt, strength, waits)| LockInfo {
                key: key.clone(),
                name: lock_name(key).map(<[u8]>::to_vec),
                attempt,
                node: attempt::coordinator(attempt),
                session: SessionId::NONE,
                strength,
                granted: waits.is_none(),
                waits_for: waits.unwrap_or_default(),
                blocked_by: Vec::new(),
            }));
            for (key, attempt) in state.waits_for_intents() {
                let Ok(Some(intent)) = mvcc::intent(self.reader(), &key) else { continue };
                if all.len() < LOCKS_SHOWN_MAX && attempt != NOBODY {
                    all.push(LockInfo {
                        key,
                        name: None,
                        attempt,
                        node: attempt::coordinator(attempt),
                        session: SessionId::NONE,
                        strength: LockStrength::Update,
                        granted: false,
                        waits_for: vec![intent.attempt],
                        blocked_by: Vec::new(),
                    });
                }
            }
        }
        all
    }

    /// Frees the locks of attempts that their nodes know nothing of any more, again and again.
    pub(crate) async fn sweep_locks(self: Arc<Self>) {
        let mut silent: BTreeMap<NodeId, Instant> = BTreeMap::new();
        loop {
            sleep(SWEEP_EVERY).await;
            let Some(router) = self.router() else { continue };
            let mut by_node: BTreeMap<NodeId, BTreeSet<AttemptId>> = BTreeMap::new();
            for state in self.all() {
                for attempt in state.lock().locks.holders() {
                    by_node.entry(attempt::coordinator(attempt)).or_default().insert(attempt);
                }
            }
            for (node, attempts) in by_node {
                let attempts: Vec<AttemptId> = attempts.into_iter().collect();
                let alive = match router.all_alive(node, &attempts).await {
                    Some(alive) => {
                        silent.remove(&node);
                        alive
                    }
                    None if silent.entry(node).or_insert_with(Instant::now).elapsed() > SILENT_AFTER => vec![false; attempts.len()],
                    None => continue,
                };
                for (attempt, alive) in attempts.into_iter().zip(alive) {
                    if !alive && attempt != NOBODY {
                        self.all().iter().for_each(|state| state.release(attempt, true));
                    }
                }
            }
        }
    }
}
