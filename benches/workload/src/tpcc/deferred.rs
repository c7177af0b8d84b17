//! Deferred execution of Delivery (2.7.2): a terminal queues the request and goes on; a worker of its warehouse runs it, in the order of queueing,
//! and records the result. Its response time is counted from the queueing, and 90 % must be within 80 seconds (2.7.2.2).
//!
//! One worker a warehouse at most: deliveries of a warehouse take the oldest order of each district, so two of them at a time would only wait for
//! each other. When terminals stop, the workers do what is queued and end; what they do then is in the log but not in the figures.

use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::delivery::{self, Delivery};
use super::{DEFERRED, DISTRICTS};
use crate::frame::client::{Done, until_through};
use crate::frame::connect::{CONNECT_PAUSE, NO_CONNECTION, Reconnecting};
use crate::frame::run::{Stop, Task, pause};
use crate::frame::stats::Stats;

/// Deliveries that wait for a worker at most. At the limit a terminal waits for room, which its response time shows.
const QUEUE_MAX: usize = 1024;
/// Workers at most.
const WORKERS_MAX: usize = 64;

/// A delivery and when it was queued.
type Request = (Delivery, Instant);

/// Where terminals of one warehouse leave their deliveries.
#[derive(Clone, Debug)]
pub struct Queue(mpsc::Sender<Request>);

impl Queue {
    /// Queues a delivery.
    pub async fn push(&self, delivery: Delivery) {
        // A worker ends before its terminals only by an error, which the run gives back at its end.
        let _ = self.0.send((delivery, Instant::now())).await;
    }
}

/// A line of the result file (2.7.3.2). Times are milliseconds since the start of the run.
#[derive(Debug, Serialize)]
struct Record {
    queued_ms: u64,
    completed_ms: u64,
    warehouse: i32,
    carrier: i32,
    /// The order delivered in each district; null: there was none.
    orders: [Option<i32>; DISTRICTS as usize],
}

/// What the workers of a run share.
#[derive(Clone, Debug)]
pub struct Results {
    began: Instant,
    skipped: Arc<AtomicU64>,
    log: Option<Arc<Mutex<std::io::BufWriter<std::fs::File>>>>,
}

impl Results {
    /// With a result file, one JSON object a line, if a path is given.
    pub fn new(log: Option<&Path>) -> Result<Self> {
        let log = match log {
            None => None,
            Some(path) => {
                let file = std::fs::File::create(path).with_context(|| path.display().to_string())?;
                Some(Arc::new(Mutex::new(std::io::BufWriter::new(file))))
            }
        };
        Ok(Results { began: Instant::now(), skipped: Arc::default(), log })
    }

    /// Districts in which a delivery found nothing.
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    fn record(&self, delivery: &Delivery, queued: Instant, orders: [Option<i32>; DISTRICTS as usize]) -> Result<()> {
        self.skipped.fetch_add(orders.iter().filter(|o| o.is_none()).count() as u64, Ordering::Relaxed);
        let Some(log) = &self.log else { return Ok(()) };
        let millis = |at: Instant| at.saturating_duration_since(self.began).as_millis() as u64;
        let record = Record {
            queued_ms: millis(queued),
            completed_ms: millis(Instant::now()),
            warehouse: delivery.warehouse,
            carrier: delivery.carrier,
            orders,
        };
        let line = serde_json::to_string(&record)?;
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(log, "{line}").context("writing the results of deliveries")
    }

    /// Writes out what is buffered.
    pub fn flush(&self) -> Result<()> {
        match &self.log {
            Some(log) => log.lock().unwrap_or_else(PoisonError::into_inner).flush().context("writing the results of deliveries"),
            None => Ok(()),
        }
    }
}

/// The queues of warehouses (warehouse `w` uses number `(w - 1) % len`), and their workers.
pub fn workers(urls: &[String], warehouses: i32, stats: &Stats, results: &Results) -> (Vec<Queue>, Vec<Task>) {
    let mut queues = Vec::new();
    let mut tasks: Vec<Task> = Vec::new();
    for n in 0..(warehouses.max(1) as usize).min(WORKERS_MAX) {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        queues.push(Queue(sender));
        let (urls, stats, results) = (urls.to_vec(), stats.clone(), results.clone());
        tasks.push(Box::new(move |stop| Box::pin(work(urls, n, receiver, stats, results, stop))));
    }
    (queues, tasks)
}

/// Runs what is queued until no terminal is left and the queue is empty. A delivery that finds no connection, or loses it, has failed.
async fn work(
    urls: Vec<String>,
    gateway: usize,
    mut queue: mpsc::Receiver<Request>,
    stats: Stats,
    results: Results,
    mut stop: Stop,
) -> Result<()> {
    let mut connection = Reconnecting::open(urls, gateway, delivery::statements()).await?;
    while let Some((delivery, queued)) = queue.recv().await {
        let Some(session) = connection.session().await else {
            stats.failed(DEFERRED, NO_CONNECTION);
            pause(&mut stop, CONNECT_PAUSE).await;
            continue;
        };
        let orders = Mutex::new([None; DISTRICTS as usize]);
        let outcome = until_through(session, &stats, DEFERRED, || async {
            let delivered = delivery.run(session).await?;
            *orders.lock().unwrap_or_else(PoisonError::into_inner) = delivered;
            Ok(Done::Committed)
        })
        .await;
        let through = outcome.is_ok();
        stats.record(DEFERRED, queued.elapsed(), outcome);
        if through {
            results.record(&delivery, queued, orders.into_inner().unwrap_or_else(PoisonError::into_inner))?;
        }
    }
    Ok(())
}
