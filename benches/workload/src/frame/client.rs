//! One emulated user's loop, the same for every workload: types, runs a transaction until it is through, thinks. What a transaction is says the
//! workload ([`User`]).

use std::future::Future;
use std::time::Duration;

use anyhow::Result;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;
use tokio_postgres::Error;

use super::connect::{CONNECT_PAUSE, NO_CONNECTION, Reconnecting, Session, error_name, is_retry};
use super::run::{Stop, Task, pause, stopped};
use super::stats::Stats;

/// How a transaction ended that the server let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// Committed.
    Committed,
    /// Rolled back, as the workload asks for.
    RolledBack,
    /// The server answered something that cannot be; counted as an error of this name.
    Wrong(&'static str),
}

/// The state of one emulated user of a workload.
pub trait User: Send + Sync + 'static {
    /// A transaction with its parameters: those stay the same when it has to begin again.
    type Work: Send + Sync;

    /// All statements that its transactions run, to be prepared on each connection.
    fn statements(&self) -> Vec<&'static str>;

    /// The next transaction, and the number of its kind.
    fn next(&mut self, rng: &mut ChaCha8Rng) -> (usize, Self::Work);

    /// Runs it once.
    fn run(&self, work: &Self::Work, session: &Session) -> impl Future<Output = Result<Done, Error>> + Send;

    /// How long the user types before a transaction of this kind.
    fn keying(&self, _kind: usize) -> Duration {
        Duration::ZERO
    }

    /// How long the user thinks after it.
    fn think(&self, _rng: &mut ChaCha8Rng, _kind: usize) -> Duration {
        Duration::ZERO
    }
}

/// A user at a gateway.
#[derive(Clone, Debug)]
pub struct Client<U> {
    /// All gateways.
    pub urls: Vec<String>,
    /// The number of its own; beyond the last it goes on with the first.
    pub gateway: usize,
    /// What it does.
    pub user: U,
    /// Its randomness.
    pub seed: u64,
}

/// `count` users, dealt to the gateways in turn, each with randomness of its own.
pub fn clients<U: User>(urls: &[String], count: usize, seed: u64, stats: &Stats, mut user: impl FnMut(usize) -> U) -> Vec<Task> {
    (0..count).map(|n| Client { urls: urls.to_vec(), gateway: n, user: user(n), seed: seed_of(seed, n) }.task(stats.clone())).collect()
}

/// The seed of the `n`th user of a run.
pub fn seed_of(seed: u64, n: usize) -> u64 {
    seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(n as u64)
}

impl<U: User> Client<U> {
    /// Its loop, to be run.
    pub fn task(self, stats: Stats) -> Task {
        Box::new(move |stop| Box::pin(self.work(stats, stop)))
    }

    /// Works until told to stop. A connection that is lost is made anew; the transaction counts as failed, and so does each that finds no connection.
    async fn work(mut self, stats: Stats, mut stop: Stop) -> Result<()> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut connection = Reconnecting::open(self.urls, self.gateway, self.user.statements()).await?;
        while !stopped(&stop) {
            let (kind, work) = self.user.next(&mut rng);
            pause(&mut stop, self.user.keying(kind)).await;
            if stopped(&stop) {
                break;
            }
            let Some(session) = connection.session().await else {
                stats.failed(kind, NO_CONNECTION);
                pause(&mut stop, CONNECT_PAUSE).await;
                continue;
            };
            let began = Instant::now();
            let outcome = until_through(session, &stats, kind, || self.user.run(&work, session)).await;
            stats.record(kind, began.elapsed(), outcome);
            pause(&mut stop, self.user.think(&mut rng, kind)).await;
        }
        Ok(())
    }
}

/// The same transaction until it is through: what the server could not serialize begins again, and is counted.
pub async fn until_through<F>(session: &Session, stats: &Stats, kind: usize, run: impl Fn() -> F) -> Result<Done, Error>
where
    F: Future<Output = Result<Done, Error>>,
{
    loop {
        match run().await {
            Ok(done) => return Ok(done),
            Err(error) if session.is_closed() => return Err(error),
            Err(error) => {
                session.client.batch_execute("rollback").await?;
                if !is_retry(&error) {
                    return Err(error);
                }
                stats.retried(kind, &error_name(&error));
            }
        }
    }
}
