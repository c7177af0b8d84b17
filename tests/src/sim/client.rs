//! Clients: one transaction after the other at one gateway, retried as SQL would, until told to stop.

use std::sync::Arc;
use std::time::Duration;

use meridian_clock::{Entropy, Rng};
use meridian_txn::api::{Kv, KvError};
use parking_lot::Mutex;
use rand::Rng as _;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::cluster::Cluster;
use super::session::Session;
use super::workload::{Kind, Script, Stop};

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
}

enum End {
    Committed,
    Not,
}

impl Client {
    /// A client of `gateway`.
    pub fn new(cluster: &Arc<Cluster>, gateway: usize) -> Arc<Self> {
        Arc::new(Client { gateway, last_commit: Mutex::default(), doing: Arc::default(), cluster: cluster.clone() })
    }

    /// Works until `stop`.
    pub async fn run(self: Arc<Self>, number: usize, mut stop: watch::Receiver<bool>) {
        let plan = &self.cluster.plan;
        let mut rng = Entropy::seeded(plan.seed).fork(&format!("client {} {number}", self.gateway)).rng();
        let mut up = self.cluster.up(self.gateway);
        while !*stop.borrow() {
            let kv = up.borrow_and_update().clone();
            let Some(kv) = kv else {
                *self.doing.lock() = "waits for its gateway to start".into();
                tokio::select! { biased; _ = stop.changed() => {}, _ = up.changed() => {} }
                continue;
            };
            let script = Script { kind: Kind::draw(&mut rng), rng: Entropy::seeded(rng.random()).rng(), keys: plan.keys };
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

    async fn transaction(&self, kv: &Arc<dyn Kv>, script: Script, rng: &mut Rng) -> End {
        let (cluster, kind) = (&self.cluster, script.kind);
        let read_only = kind == Kind::Audit;
        let mut session = Session::begin(&cluster.history, &cluster.truth(), kv, self.gateway, kind.name(), read_only, self.doing.clone());
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
                    cluster.wrong(format!("T{} ({}): {what}", session.id(), kind.name()));
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
