//! One cluster: where to stand, and the operations in turns.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::operations::{Operation, RANGE_ROWS, Stage};
use super::{Figures, Outcome};
use crate::frame::connect::Session;

/// Ranges of the table. Enough that whichever node leads the catalog is given two of them when leases are spread.
const RANGES: i32 = 15;
/// Rows at the beginning of each range.
const ROWS: i32 = 200;
/// Times that an operation runs before it is the next one's turn.
const BLOCK: i32 = 5;
/// Turns that do not count: caches, plans and addresses are cold.
const COLD_TURNS: i32 = 1;
/// How long leases may take to come to rest, and how long they must have rested.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);
const RESTED: Duration = Duration::from_secs(4);
/// How long a gateway may take to answer a request for its counters.
const SCRAPE_LIMIT: Duration = Duration::from_secs(5);
/// Latencies are recorded in microseconds, to three digits, up to a minute.
const MICROS_MAX: u64 = 60_000_000;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// One URL a node; the node's number is the place in the list, from 1.
    pub urls: Vec<String>,
    /// One HTTP address a node, `host:port`.
    pub https: Vec<String>,
    /// As in [`Outcome`].
    pub topology: String,
    /// As in [`Outcome`].
    pub epsilon_ms: f64,
    /// As in [`Outcome`].
    pub round_trip_ms: Option<f64>,
    /// How long the turns go on.
    pub length: Duration,
    /// Samples of each operation at most.
    pub samples_max: u64,
}

/// Runs the operations against a fresh cluster. A turn during which leases moved does not count.
pub async fn measure(options: &Options) -> Result<Outcome> {
    if options.urls.len() < 2 || options.urls.len() != options.https.len() {
        bail!("name at least two nodes, each with its URL and its HTTP address");
    }
    let setup = Session::connect(&options.urls[0]).await?;
    let server: String = setup.client.query_one("SELECT version()", &[]).await?.get(0);
    make_table(&setup).await.context("making the table")?;
    let (gateway, here, there) = settle(&setup).await?;
    let at = usize::try_from(gateway - 1).ok().filter(|at| *at < options.urls.len()).context("a leaseholder that was not named")?;
    let elsewhere = (at + 1) % options.urls.len();
    let mut stage = Stage {
        client: Session::connect(&options.urls[at]).await?,
        other: Session::connect(&options.urls[at]).await?,
        elsewhere: Session::connect(&options.urls[elsewhere]).await?,
        here,
        there,
        inserted: 0,
    };
    stage.prepare().await?;
    let mut all: Vec<Record> = Operation::ALL.iter().map(|_| Record::new()).collect();
    let mut until = Instant::now() + options.length;
    let mut turn = 0;
    while Instant::now() < until && stage.room() > BLOCK && all[0].samples() < options.samples_max {
        let mut of_turn: Vec<Record> = Operation::ALL.iter().map(|_| Record::new()).collect();
        for (operation, record) in Operation::ALL.into_iter().zip(&mut of_turn) {
            let before = Counters::scrape(&options.https[at]).await?;
            for n in 0..BLOCK {
                let (took, retries) = stage.perform(operation, turn * BLOCK + n).await.with_context(|| operation.name())?;
                record.add(took, retries);
            }
            record.spent(before, Counters::scrape(&options.https[at]).await?);
        }
        turn += 1;
        if turn == COLD_TURNS {
            until = Instant::now() + options.length;
        } else if stands(&leases(&setup).await?, gateway, here, there) {
            all.iter_mut().zip(&of_turn).for_each(|(all, turn)| all.merge(turn));
        }
    }
    if all[0].samples() == 0 {
        bail!("leases have moved since the start: measure again");
    }
    let operations = Operation::ALL.into_iter().zip(&all).map(|(operation, record)| record.figures(operation)).collect();
    Ok(Outcome {
        topology: options.topology.clone(),
        epsilon_ms: options.epsilon_ms,
        round_trip_ms: options.round_trip_ms,
        server,
        gateway,
        operations,
    })
}

async fn make_table(setup: &Session) -> Result<()> {
    setup.client.batch_execute("CREATE TABLE cost (id int PRIMARY KEY, v int NOT NULL)").await?;
    for range in 0..RANGES {
        if range > 0 {
            setup.client.batch_execute(&format!("ALTER TABLE cost SPLIT AT VALUES ({})", range * RANGE_ROWS)).await?;
        }
        let from = range * RANGE_ROWS;
        setup.client.batch_execute(&format!("INSERT INTO cost SELECT g, 0 FROM generate_series({from}, {}) g", from + ROWS - 1)).await?;
    }
    Ok(())
}

/// Who leads what.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Leases {
    /// All ranges below the table's: the catalog and what goes with it.
    system: Vec<Option<i32>>,
    /// The table's, in the order of their keys.
    table: Vec<Option<i32>>,
}

async fn leases(setup: &Session) -> Result<Leases> {
    let holders = |rows: Vec<tokio_postgres::Row>| rows.iter().map(|r| r.get::<_, Option<i32>>("leaseholder")).collect::<Vec<_>>();
    let all = holders(setup.client.query("SHOW RANGES", &[]).await?);
    let table = holders(setup.client.query("SHOW RANGES FROM TABLE cost", &[]).await?);
    let system = all[..all.len().saturating_sub(table.len())].to_vec();
    Ok(Leases { system, table })
}

/// The node that leads the catalog's range, if it leads two of the table's too and somebody else a third.
fn place(leases: &Leases) -> Option<(i32, [i32; 2], i32)> {
    // The last range before the table's is the catalog's: each transaction reads its version there.
    let gateway = (*leases.system.last()?)?;
    let bases = |of: &dyn Fn(i32) -> bool| {
        let table = leases.table.iter().enumerate();
        table.filter_map(|(n, holder)| holder.filter(|h| of(*h)).map(|_| n as i32 * RANGE_ROWS)).collect::<Vec<_>>()
    };
    let (ours, others) = (bases(&|h| h == gateway), bases(&|h| h != gateway));
    let [first, second, ..] = ours[..] else { return None };
    Some((gateway, [first, second], *others.first()?))
}

fn stands(leases: &Leases, gateway: i32, here: [i32; 2], there: i32) -> bool {
    let holder = |base: i32| usize::try_from(base / RANGE_ROWS).ok().and_then(|n| leases.table.get(n).copied().flatten());
    let catalog = leases.system.last().copied().flatten();
    catalog == Some(gateway) && here.iter().all(|base| holder(*base) == Some(gateway)) && holder(there).is_some_and(|h| h != gateway)
}

/// Waits until leases have come to rest, so that every operation meets the distances that it is about.
async fn settle(setup: &Session) -> Result<(i32, [i32; 2], i32)> {
    let began = Instant::now();
    let (mut last, mut since) = (leases(setup).await?, Instant::now());
    loop {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let now = leases(setup).await?;
        if now != last {
            (last, since) = (now, Instant::now());
        }
        if since.elapsed() >= RESTED
            && let Some(place) = place(&last)
        {
            return Ok(place);
        }
        if began.elapsed() >= SETTLE_LIMIT {
            bail!("no node leads the catalog and two ranges of the table: {last:?}");
        }
    }
}

/// Counters of a gateway.
#[derive(Clone, Copy, Debug)]
struct Counters {
    reply_micros: f64,
    validations: f64,
    validation_micros: f64,
}

impl Counters {
    async fn scrape(http: &str) -> Result<Self> {
        let text = tokio::time::timeout(SCRAPE_LIMIT, fetch(http)).await.context("the gateway does not give its counters")??;
        let samples: BTreeMap<&str, &str> = text.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.split_once(' ')).collect();
        // A server from before these counters is measured without the split.
        let get =
            |name: &str| samples.get(name).map_or(Ok(f64::NAN), |text| text.trim().parse().with_context(|| format!("{name} of {http}")));
        Ok(Counters {
            reply_micros: get("meridian_txn_reply_wait_microseconds_total")?,
            validations: get("meridian_txn_validations_total")?,
            validation_micros: get("meridian_txn_validation_microseconds_total")?,
        })
    }
}

async fn fetch(http: &str) -> Result<String> {
    let mut stream = TcpStream::connect(http).await.with_context(|| format!("connecting to {http}"))?;
    stream.write_all(format!("GET /metrics HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

/// What came of one operation.
struct Record {
    latencies: Histogram<u64>,
    retries: u64,
    reply_micros: f64,
    validations: f64,
    validation_micros: f64,
}

impl Record {
    fn new() -> Self {
        let latencies = Histogram::new_with_bounds(1, MICROS_MAX, 3).unwrap_or_else(|e| unreachable!("constant bounds: {e}"));
        Record { latencies, retries: 0, reply_micros: 0.0, validations: 0.0, validation_micros: 0.0 }
    }

    fn samples(&self) -> u64 {
        self.latencies.len()
    }

    fn add(&mut self, took: Duration, retries: u64) {
        self.latencies.saturating_record((took.as_micros() as u64).max(1));
        self.retries += retries;
    }

    fn spent(&mut self, before: Counters, after: Counters) {
        self.reply_micros += after.reply_micros - before.reply_micros;
        self.validations += after.validations - before.validations;
        self.validation_micros += after.validation_micros - before.validation_micros;
    }

    fn merge(&mut self, turn: &Record) {
        // Bounds and digits are the same.
        self.latencies.add(&turn.latencies).unwrap_or_else(|e| unreachable!("histograms of one make: {e}"));
        self.retries += turn.retries;
        self.reply_micros += turn.reply_micros;
        self.validations += turn.validations;
        self.validation_micros += turn.validation_micros;
    }

    fn figures(&self, operation: Operation) -> Figures {
        let per = |total: f64| Some(total / self.samples().max(1) as f64).filter(|mean| mean.is_finite());
        let at = |quantile| self.latencies.value_at_quantile(quantile) as f64 / 1e3;
        Figures {
            name: operation.name().into(),
            samples: self.samples(),
            retries: self.retries,
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            reply_wait_ms: per(self.reply_micros / 1e3),
            validation_ms: per(self.validation_micros / 1e3),
            validations: per(self.validations),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Leases, place, stands};

    #[test]
    fn the_gateway_leads_the_catalog_and_two_ranges() {
        let leases = Leases { system: vec![Some(1), Some(3)], table: vec![Some(1), Some(3), Some(2), None, Some(3), Some(3)] };
        assert_eq!(place(&leases), Some((3, [1000, 4000], 0)));
        assert!(stands(&leases, 3, [1000, 4000], 0));
        assert!(!stands(&leases, 3, [1000, 3000], 0), "nobody leads the fourth");
        assert!(!stands(&leases, 3, [1000, 4000], 5000), "the far one is near");
        assert!(!stands(&leases, 2, [1000, 4000], 0), "the catalog is elsewhere");
        let lonely = Leases { system: vec![Some(2)], table: vec![Some(2), Some(3)] };
        assert_eq!(place(&lonely), None);
    }
}
