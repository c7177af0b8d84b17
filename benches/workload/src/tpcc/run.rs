//! A measured run, and its figures.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::KINDS;
use super::terminal::Terminal;
use crate::frame::connect::Session;
use crate::frame::run::{Length, run};
use crate::frame::stats::{Stats, Summary};

/// Limits of the 90th percentile in milliseconds, by kind (5.2.5.7).
const LIMITS_MS: [f64; 5] = [5_000.0, 5_000.0, 5_000.0, 5_000.0, 20_000.0];
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
}

/// The figures of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// `tpcc`.
    pub workload: String,
    /// What the server calls itself.
    pub server: String,
    /// Warehouses.
    pub warehouses: i32,
    /// Terminals.
    pub connections: usize,
    /// Gateways.
    pub gateways: usize,
    /// Whether users typed and thought.
    pub paced: bool,
    /// New-Order transactions per minute, those rolled back on purpose included (5.4.2).
    pub tpmc: f64,
    /// Of the most that is possible with typing and thinking, in percent.
    pub efficiency: Option<f64>,
    /// Whether every kind's 90th percentile was within the specification's limit.
    pub within_limits: bool,
    /// By transaction and by second.
    pub summary: Summary,
}

/// Runs the mix.
pub async fn measure(options: &Options) -> Result<Outcome> {
    let session = Session::connect(&options.urls[0]).await?;
    let loaded: i64 = session.client.query_one("select count(*) from warehouse", &[]).await?.get(0);
    ensure!(loaded >= i64::from(options.warehouses), "{loaded} warehouses are loaded, {} were asked for", options.warehouses);
    let server: String = session.client.query_one("select version()", &[]).await?.get(0);
    let stats = Stats::new(&KINDS);
    let terminals = (0..options.connections)
        .map(|n| {
            let warehouse = (n % options.warehouses as usize) as i32 + 1;
            let terminal = Terminal {
                url: options.urls[(warehouse - 1) as usize % options.urls.len()].clone(),
                warehouse,
                district: (n / options.warehouses as usize) as i32 % super::DISTRICTS + 1,
                warehouses: options.warehouses,
                paced: options.paced,
                seed: options.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(n as u64),
            };
            let stats = stats.clone();
            move |stop| terminal.work(stats, stop)
        })
        .collect();
    let summary = run(&stats, options.length, &KINDS, terminals).await?;
    let tpmc = summary.kinds[0].rate * 60.0;
    Ok(Outcome {
        workload: "tpcc".into(),
        server: server.split(',').next().unwrap_or_default().chars().take(60).collect(),
        warehouses: options.warehouses,
        connections: options.connections,
        gateways: options.urls.len(),
        paced: options.paced,
        tpmc,
        efficiency: options.paced.then(|| 100.0 * tpmc / (PACED_TPMC_MAX * f64::from(options.warehouses))),
        within_limits: summary.kinds.iter().zip(LIMITS_MS).all(|(kind, limit)| kind.p90_ms <= limit),
        summary,
    })
}

impl Outcome {
    /// The figures as a table for people.
    pub fn table(&self) -> String {
        let mut out = format!(
            "{}\n{} warehouses, {} terminals, {} gateways, {}, {:.0} s measured\n\n",
            self.server,
            self.warehouses,
            self.connections,
            self.gateways,
            if self.paced { "keying and think times" } else { "no wait" },
            self.summary.seconds
        );
        out += &format!(
            "{:<14}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>8}\n",
            "transaction", "count", "/s", "mean", "p50", "p90", "p99", "max ms", "retries", "errors"
        );
        for kind in &self.summary.kinds {
            out += &format!(
                "{:<14}{:>9}{:>9.1}{:>9.2}{:>9.2}{:>9.2}{:>9.2}{:>9.1}{:>9}{:>8}\n",
                kind.name,
                kind.count,
                kind.rate,
                kind.mean_ms,
                kind.p50_ms,
                kind.p90_ms,
                kind.p99_ms,
                kind.max_ms,
                kind.restarts(),
                kind.failures()
            );
            for (what, counts) in [("retry", &kind.retries), ("error", &kind.errors)] {
                for (code, count) in counts {
                    out += &format!("{:<14}{what} {code}: {count}\n", "");
                }
            }
        }
        out += &format!("\ntpmC {:.1}", self.tpmc);
        if let Some(efficiency) = self.efficiency {
            out += &format!(" ({efficiency:.1} % of the maximum)");
        }
        out += if self.within_limits { ", all within the limits of 5.2.5.7\n" } else { ", NOT all within the limits of 5.2.5.7\n" };
        out
    }
}

/// Ramp and measurement from two durations.
pub fn length(ramp: Duration, duration: Duration) -> Length {
    Length { ramp, duration }
}
