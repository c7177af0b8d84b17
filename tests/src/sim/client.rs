//! Clients: one transaction after the other at one gateway, retried as SQL would, until told to stop.

use std::sync::Arc;
use std::time::Duration;

use meridian_clock::{Entropy, Rng};
use meridian_txn::api::{Kv, KvError};
use parking_lot::Mutex;
use rand::Rng as _;
use tokio::time::{Instant, sleep};

use super::cluster::Cluster;
use super::plan::Fault;
use super::session::{Session, look_back};
use super::signal::Watcher;
use super::workload::{Kind, Script, Stop, span};

/// Attempts before a client turns to something else.
const ATTEMPTS_MAX: usize = 8;

/// One client, as the outside sees it.
pub struct Client {
    /// Its gateway, by place.
    pub gateway: usize,
    /// When it last committed something.
    pub last_commit: Mutex<Option<Instant>>,
    /// What it is doing.
    pub doing: Arc<Mutex<String>>,
    cluster: Arc<Cluster>,
    /// Whether it does what the aimed faults are aimed at, and nothing else.
    relays: bool,
}

enum End {
    Committed,
    Not,
}

impl Client {
    /// A client of `gateway`; one that `relays` has a workload of its own.
    pub fn new(cluster: &Arc<Cluster>, gateway: usize, relays: bool) -> Arc<Self> {
        let doing: Arc<Mutex<String>> = Arc::default();
        cluster.doing.lock().push((gateway, doing.clone()));
        Arc::new(Client { gateway, last_commit: Mutex::default(), doing, cluster: cluster.clone(), relays })
    }

    /// Works until `stop`.
    pub async fn run(self: Arc<Self>, number: usize, mut stop: Watcher<bool>) {
        let plan = &self.cluster.plan;
        let mut rng = Entropy::seeded(plan.seed).fork(&format!("client {} {number}", self.gateway)).rng();
        let mut up = self.cluster.up(self.gateway);
        while !stop.get() {
            let kv = up.take();
            let Some(kv) = kv else {
                *self.doing.lock() = "waits for its gateway to start".into();
                tokio::select! { biased; _ = stop.changed() => {}, _ = up.changed() => {} }
                continue;
            };
            let kind = match (self.relays, plan.wide) {
                (true, _) => Kind::draw_relay(&mut rng),
                (false, true) => Kind::draw_wide(&mut rng),
                (false, false) => Kind::draw(&mut rng),
            };
            let script = Script { kind, rng: Entropy::seeded(rng.random()).rng(), keys: plan.keys };
            // A crash of the gateway ends its clients' transactions where they stand: what was being committed stays unknown.
            tokio::select! {
                biased;
                _ = up.changed() => continue,
                end = self.transaction(&kv, script, &mut rng) => {
                    if let End::Committed = end {
                        *self.last_commit.lock() = Some(Instant::now());
                    }
                }
            }
            let pause = plan.think.mul_f64(rng.random_range(0.0..1.0));
            sleep(pause).await;
        }
        *self.doing.lock() = "has stopped".into();
    }

    /// A read in the past, some of it at replicas nearby.
    async fn past(&self, kv: &Arc<dyn Kv>, rng: &mut Rng) -> End {
        let notes = &self.cluster.notes;
        // Often about as long ago as timestamps close: any replica may answer then.
        let ago = if rng.random_bool(0.5) { rng.random_range(2500..6000) } else { rng.random_range(100..9000) };
        let at = (notes.truth)().minus(Duration::from_millis(ago));
        let prefix = match self.relays {
            true => ["hot/", "own/"][rng.random_range(0..2)],
            false => ["bank/", "list/", "register/", "fork/", "comment/", "pair/", "riap/", "load/", "daol/"][rng.random_range(0..9)],
        };
        *self.doing.lock() = format!("reads {prefix} as of {at}");
        match look_back(notes, kv, self.gateway, span(prefix), at).await {
            Ok(()) => End::Committed,
            Err(_) => End::Not,
        }
    }

    async fn transaction(&self, kv: &Arc<dyn Kv>, script: Script, rng: &mut Rng) -> End {
        let (cluster, kind) = (&self.cluster, script.kind);
        if kind == Kind::Past {
            return self.past(kv, rng).await;
        }
        let mut session = Session::begin(&cluster.notes, kv, self.gateway, kind.name(), kind.read_only(), self.doing.clone());
        if cluster.plan.slow_share > 0.0 && rng.random_bool(cluster.plan.slow_share) {
            // Long enough for leases to change hands in the middle, now and then for timestamps to close over it.
            session.pace = Duration::from_millis(rng.random_range(0..300));
            session.long = Some(Duration::from_millis(rng.random_range(100..6500)));
        }
        for attempt in 0..ATTEMPTS_MAX {
            let outcome: Result<(), KvError> = match script.run(&mut session).await {
                Ok(_) => match session.commit().await {
                    Ok(_) => return End::Committed,
                    Err(error) => Err(error),
                },
                Err(Stop::Kv(error)) => {
                    session.fail(&error).await;
                    Err(error)
                }
                Err(Stop::Wrong(what)) => {
                    // What a gateway sees whose clock lies is excused, like all that it reads (`Notes::without_lies`).
                    if !session.lied_to() {
                        cluster.wrong(format!("T{} ({}): {what}", session.id(), kind.name()));
                    }
                    session.fail(&KvError::Internal(what)).await;
                    return End::Not;
                }
            };
            match outcome {
                Err(KvError::Retry { .. } | KvError::Deadlock { .. }) if attempt + 1 < ATTEMPTS_MAX => {
                    sleep(Duration::from_millis(rng.random_range(0..10))).await;
                    session.restart();
                }
                Err(KvError::KeyExists { key }) => {
                    // C8: nobody else writes it.
                    cluster.wrong(format!("T{} ({}) met its own row {key:?}", session.id(), kind.name()));
                    return End::Not;
                }
                // Reported, as it must be; served it never is.
                Err(KvError::Corruption(_)) if cluster.plan.faults.contains(&Fault::Corrupt) => return End::Not,
                Err(KvError::Corruption(what) | KvError::Internal(what)) => {
                    cluster.wrong(format!("T{} ({}): {what}", session.id(), kind.name()));
                    return End::Not;
                }
                _ => return End::Not,
            }
        }
        End::Not
    }
}
