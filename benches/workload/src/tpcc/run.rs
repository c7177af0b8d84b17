//! A measured run, and its figures.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use super::deferred::{self, Results};
use super::mix::Deck;
use super::terminal::Terminal;
use super::{KINDS, QUEUED};
use crate::frame::client::{Client, seed_of};
use crate::frame::connect::Session;
use crate::frame::outcome::{Outcome, server_name};
use crate::frame::run::{Length, run};
use crate::frame::stats::Stats;

/// Limits of the 90th percentile in milliseconds, by kind (5.2.5.7; 2.7.2.2 for what is deferred).
const LIMITS_MS: [f64; 6] = [5_000.0, 5_000.0, 5_000.0, 5_000.0, 20_000.0, 80_000.0];
/// The most that a warehouse can do when users type and think (4.2.2).
const PACED_TPMC_MAX: f64 = 12.86;

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Gateways; warehouses are dealt to them in turn.
    pub urls: Vec<String>,
    /// Warehouses used.
    pub warehouses: i32,
    /// Terminals, dealt to warehouses in turn. Paced runs have ten a warehouse.
    pub connections: usize,
    /// Ramp and measurement.
    pub length: Length,
    /// Keying and think times.
    pub paced: bool,
    /// Randomness.
    pub seed: u64,
    /// Where the results of deliveries go.
    pub delivery_log: Option<PathBuf>,
}

/// Runs the mix.
pub async fn measure(options: &Options) -> Result<Outcome> {
    let session = Session::connect(&options.urls[0]).await?;
    let loaded: i64 = session.client.query_one("select count(*) from warehouse", &[]).await?.get(0);
    ensure!(loaded >= i64::from(options.warehouses), "{loaded} warehouses are loaded, {} were asked for", options.warehouses);
    let server = server_name(&session).await?;
    let stats = Stats::new(&KINDS);
    let results = Results::new(options.delivery_log.as_deref())?;
    let (queues, mut tasks) = deferred::workers(&options.urls, options.warehouses, &stats, &results);
    for n in 0..options.connections {
        let warehouse = (n % options.warehouses as usize) as i32 + 1;
        let user = Terminal {
            warehouse,
            district: (n / options.warehouses as usize) as i32 % super::DISTRICTS + 1,
            warehouses: options.warehouses,
            paced: options.paced,
            deliveries: queues[(warehouse - 1) as usize % queues.len()].clone(),
            deck: Deck::default(),
        };
        let client = Client { urls: options.urls.clone(), gateway: (warehouse - 1) as usize, user, seed: seed_of(options.seed, n) };
        tasks.push(client.task(stats.clone()));
    }
    // The workers end when the last queue is gone.
    drop(queues);
    let summary = run(&stats, options.length, &KINDS, tasks).await?;
    results.flush()?;
    let pace = if options.paced { "keying and think times" } else { "no wait" };
    let settings = format!("{} warehouses, {pace}", options.warehouses);
    let tpmc = summary.kinds[0].rate * 60.0;
    let within_limits = summary.kinds.iter().zip(LIMITS_MS).all(|(kind, limit)| kind.p90_ms <= limit);
    // A delivery counts once: when it is run, not when it is queued.
    let rate = summary.kinds.iter().enumerate().filter(|(kind, _)| *kind != QUEUED).map(|(_, k)| k.rate).sum();
    Ok(Outcome {
        rate,
        tpmc: Some(tpmc),
        efficiency: options.paced.then(|| 100.0 * tpmc / (PACED_TPMC_MAX * f64::from(options.warehouses))),
        within_limits: Some(within_limits),
        skipped_districts: Some(results.skipped()),
        ..Outcome::new("tpcc", server, settings, options.connections, options.urls.len(), summary)
    })
}
