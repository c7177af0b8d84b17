//! The figures of a run, of any workload: what `--json` writes, the table for people shows and the report draws.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::connect::Session;
use super::machine::ServerFigures;
use super::stats::Summary;

/// The figures of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// `tpcc`, `bank`, …
    pub workload: String,
    /// What the server calls itself.
    pub server: String,
    /// What was asked for, in words.
    pub settings: String,
    /// Sessions.
    pub connections: usize,
    /// Gateways.
    pub gateways: usize,
    /// Transactions of all kinds a second, those that failed left out.
    pub rate: f64,
    /// TPC-C: New-Order transactions per minute, those rolled back on purpose included (5.4.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpmc: Option<f64>,
    /// TPC-C with typing and thinking: `tpmc` of the most that is possible, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub efficiency: Option<f64>,
    /// TPC-C: whether every kind's 90th percentile was within the specification's limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_limits: Option<bool>,
    /// TPC-C: districts in which a delivery found nothing to deliver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped_districts: Option<u64>,
    /// CPU and disk of servers on this machine that were watched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<ServerFigures>,
    /// By transaction and by second.
    pub summary: Summary,
}

/// What the server at this URL calls itself, shortened.
pub async fn server_name(session: &Session) -> Result<String> {
    let version: String = session.client.query_one("select version()", &[]).await?.get(0);
    Ok(version.split(',').next().unwrap_or_default().chars().take(60).collect())
}

impl Outcome {
    /// Of a run of this workload, without what only TPC-C has.
    pub fn new(workload: &str, server: String, settings: String, connections: usize, gateways: usize, summary: Summary) -> Self {
        Outcome {
            workload: workload.to_owned(),
            server,
            settings,
            connections,
            gateways,
            rate: summary.kinds.iter().map(|k| k.rate).sum(),
            tpmc: None,
            efficiency: None,
            within_limits: None,
            skipped_districts: None,
            servers: Vec::new(),
            summary,
        }
    }

    /// Whether nothing failed.
    pub fn is_clean(&self) -> bool {
        self.summary.kinds.iter().all(|k| k.failures() == 0)
    }

    /// The figures as a table for people.
    pub fn table(&self) -> String {
        let mut out = format!(
            "{}\n{}, {}, {} connections, {} gateways, {:.0} s measured\n\n",
            self.server, self.workload, self.settings, self.connections, self.gateways, self.summary.seconds
        );
        out += &format!(
            "{:<18}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>8}\n",
            "transaction", "count", "/s", "mean", "p50", "p90", "p99", "max ms", "retries", "errors"
        );
        for kind in &self.summary.kinds {
            out += &format!(
                "{:<18}{:>9}{:>9.1}{:>9.2}{:>9.2}{:>9.2}{:>9.2}{:>9.1}{:>9}{:>8}\n",
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
                    out += &format!("{:<18}{what} {code}: {count}\n", "");
                }
            }
        }
        match self.tpmc {
            None => out += &format!("\n{:.1} transactions/s\n", self.rate),
            Some(tpmc) => out += &format!("\ntpmC {tpmc:.1}"),
        }
        if let Some(efficiency) = self.efficiency {
            out += &format!(" ({efficiency:.1} % of the maximum)");
        }
        out += match self.within_limits {
            None => "",
            Some(true) => ", all within the limits of 5.2.5.7 and 2.7.2\n",
            Some(false) => ", NOT all within the limits of 5.2.5.7 and 2.7.2\n",
        };
        if let Some(skipped @ 1..) = self.skipped_districts {
            out += &format!("deliveries found nothing to deliver in {skipped} districts (2.7.4.2)\n");
        }
        out
    }
}
