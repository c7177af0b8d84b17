//! Clients at several gateways, until they are told to stop; everything that they did and saw.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::actions::{Action, Shared};
use super::connection::{Connection, Failure, Session};
use super::{Level, Workload};
use crate::history::{Header, History, Outcome, Txn};

/// Pause of a client whose gateway refuses connections.
const RECONNECT: Duration = Duration::from_millis(50);
/// Tries at the last read.
const LAST_READS_MAX: usize = 20;

/// What is run.
#[derive(Clone, Debug)]
pub struct LoadPlan {
    /// One a gateway.
    pub urls: Vec<String>,
    /// Clients at each.
    pub per_gateway: usize,
    /// What they do.
    pub workload: Workload,
    /// Prefix of the tables: unused before.
    pub tag: String,
    /// Isolation.
    pub level: Level,
    /// Of all choices.
    pub seed: u64,
    /// Longest pause between two transactions of a client.
    pub think: Duration,
}

/// A running load.
pub struct Load {
    plan: LoadPlan,
    shared: Arc<Shared>,
    record: Arc<Record>,
    stop: watch::Sender<bool>,
    clients: Vec<JoinHandle<()>>,
}

/// What was recorded so far.
#[derive(Debug)]
pub struct Record {
    origin: Instant,
    txns: Mutex<Vec<Txn>>,
}

impl Record {
    fn now(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }
}

impl Load {
    /// Makes the tables and starts the clients. Times count from `origin`.
    pub async fn start(plan: LoadPlan, origin: Instant) -> Result<Load> {
        let shared = Arc::new(Shared::new(plan.workload, &plan.tag));
        let record = Arc::new(Record { origin, txns: Mutex::default() });
        let load = Load { plan, shared, record, stop: watch::channel(false).0, clients: Vec::new() };
        load.set_up().await.with_context(|| format!("setting up {}", load.plan.workload.name()))?;
        let mut load = load;
        for number in 0..load.plan.per_gateway * load.plan.urls.len() {
            let client = Client {
                number: number as u64,
                gateway: number % load.plan.urls.len(),
                plan: load.plan.clone(),
                shared: load.shared.clone(),
                record: load.record.clone(),
                rng: ChaCha8Rng::seed_from_u64(load.plan.seed.wrapping_mul(1009).wrapping_add(number as u64)),
            };
            load.clients.push(tokio::spawn(client.run(load.stop.subscribe())));
        }
        Ok(load)
    }

    async fn set_up(&self) -> Result<()> {
        let refused = |failure: Failure| anyhow::anyhow!(failure.text());
        let connection = Connection::open(&self.plan.urls[0], self.plan.level, false).await.map_err(refused)?;
        for statement in self.shared.schema() {
            connection.rows(&statement).await.map_err(refused).with_context(|| statement.clone())?;
        }
        let Some((statements, ops)) = self.shared.first_rows() else { return Ok(()) };
        let invoked = self.record.now();
        // Several statements in one message are one transaction.
        connection.rows(&statements).await.map_err(refused)?;
        let completed = Some(self.record.now());
        let (process, kind) = (u64::MAX >> 32, "set up".to_owned());
        let txn = Txn { process, gateway: 1, kind, invoked, completed, outcome: Outcome::Ok, error: None, ops };
        self.record.txns.lock().push(txn);
        Ok(())
    }

    /// What the clients share.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Looks at everything recorded so far.
    pub fn with_txns<T>(&self, look: impl FnOnce(&[Txn]) -> T) -> T {
        look(&self.record.txns.lock())
    }

    /// Nanoseconds since the origin.
    pub fn now(&self) -> u64 {
        self.record.now()
    }

    /// Stops the clients after their transactions, reads everything once more, and answers with the history.
    pub async fn stop(self) -> Result<History> {
        self.stop.send_replace(true);
        for client in self.clients {
            client.await.context("a client panicked")?;
        }
        for action in self.shared.last_reads() {
            let mut tries = 0;
            let mut rng = ChaCha8Rng::seed_from_u64(self.plan.seed);
            while !last_read(&self.plan, &self.shared, &self.record, &action, tries % self.plan.urls.len()).await {
                tries += 1;
                if tries == LAST_READS_MAX {
                    bail!("the last read of {} fails {tries} times", self.plan.workload.name());
                }
                tokio::time::sleep(RECONNECT.mul_f64(rng.random_range(1.0..10.0))).await;
            }
        }
        let header = Header {
            workload: self.plan.workload.name().to_owned(),
            about: format!(
                "{} clients at {} gateways, {}, seed {}",
                self.plan.per_gateway * self.plan.urls.len(),
                self.plan.urls.len(),
                self.plan.level.sql(),
                self.plan.seed
            ),
            totals: self.shared.total().into_iter().collect(),
            per_millisecond: 1_000_000,
        };
        let mut txns = std::mem::take(&mut *self.record.txns.lock());
        txns.sort_by_key(|txn| txn.invoked);
        Ok(History { header, txns })
    }
}

async fn last_read(plan: &LoadPlan, shared: &Arc<Shared>, record: &Arc<Record>, action: &Action, gateway: usize) -> bool {
    let (plan, shared, record) = (plan.clone(), shared.clone(), record.clone());
    let number = 1_000_000 + record.txns.lock().len() as u64;
    let Ok(connection) = Connection::open(&plan.urls[gateway], plan.level, false).await else { return false };
    let client = Client { number, gateway, plan, shared, record, rng: ChaCha8Rng::seed_from_u64(0) };
    let mut slot = Some(connection);
    client.transaction(action, &mut slot).await
}

struct Client {
    number: u64,
    gateway: usize,
    plan: LoadPlan,
    shared: Arc<Shared>,
    record: Arc<Record>,
    rng: ChaCha8Rng,
}

impl Client {
    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut connection: Option<Connection> = None;
        while !*stop.borrow() {
            if connection.as_ref().is_none_or(Connection::is_closed) {
                connection = self.connect().await;
            }
            if connection.is_some() {
                for action in self.shared.draw(&mut self.rng) {
                    if !self.transaction(&action, &mut connection).await {
                        break;
                    }
                }
            }
            let pause = if connection.is_some() { self.plan.think.mul_f64(self.rng.random_range(0.0..1.0)) } else { RECONNECT };
            tokio::select! {
                biased;
                _ = stop.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// A refused connection is in the history too, as a failed transaction that did nothing.
    async fn connect(&self) -> Option<Connection> {
        let invoked = self.record.now();
        match Connection::open(&self.plan.urls[self.gateway], self.plan.level, self.number % 2 == 1).await {
            Ok(connection) => Some(connection),
            Err(failure) => {
                self.note("connect", invoked, Outcome::Fail, Some(failure.text()), Vec::new());
                None
            }
        }
    }

    /// Runs a transaction and records it; false if it did not commit.
    async fn transaction(&self, action: &Action, slot: &mut Option<Connection>) -> bool {
        let Some(connection) = slot else { return false };
        let invoked = self.record.now();
        let mut session = Session::new(connection, action.block);
        let failure = match self.attempt(action, &mut session).await {
            Ok(()) => {
                self.note(action.kind, invoked, Outcome::Ok, None, session.ops);
                return true;
            }
            Err(failure) => failure,
        };
        let outcome = session.outcome(&failure);
        let rolled_back = session.roll_back(&failure).await;
        self.note(action.kind, invoked, outcome, Some(failure.text()), session.ops);
        if !rolled_back {
            *slot = None;
        }
        false
    }

    async fn attempt(&self, action: &Action, session: &mut Session<'_>) -> Result<(), Failure> {
        session.begin().await?;
        self.shared.run(action, session).await?;
        session.commit().await
    }

    fn note(&self, kind: &str, invoked: u64, outcome: Outcome, error: Option<String>, ops: Vec<crate::history::Op>) {
        let completed = Some(self.record.now());
        let (process, gateway) = (self.number, self.gateway as u64 + 1);
        self.record.txns.lock().push(Txn { process, gateway, kind: kind.to_owned(), invoked, completed, outcome, error, ops });
    }
}

/// Runs a workload for so long.
pub async fn run_for(plan: LoadPlan, duration: Duration) -> Result<History> {
    let load = Load::start(plan, Instant::now()).await?;
    tokio::time::sleep(duration).await;
    load.stop().await
}
