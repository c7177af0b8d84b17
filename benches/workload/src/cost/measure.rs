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

const PROBE: &str = "SELECT v FROM cost WHERE id = $1";
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
    let (at, here, there) = settle(options).await?;
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
        } else if near(&of_turn) {
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
        gateway: at as i32 + 1,
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

/// Ranges of the table by the first of their ids: those that a gateway's own node leads, and the others. Found out by reading a row of each and looking
/// whether a request left the node; what `SHOW RANGES` says may be old.
async fn look(url: &str, http: &str) -> Result<(Vec<i32>, Vec<i32>)> {
    let mut session = Session::connect(url).await?;
    session.prepare(&[PROBE]).await?;
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for base in (0..RANGES).map(|n| n * RANGE_ROWS) {
        // The first read may have to look for the range.
        session.row(PROBE, &[&base]).await?;
        let before = Counters::scrape(http).await?.remote;
        session.row(PROBE, &[&base]).await?;
        if Counters::scrape(http).await?.remote == before { here.push(base) } else { there.push(base) }
    }
    Ok((here, there))
}

/// Waits until leases have come to rest, so that every operation meets the distances that it is about: a gateway (by its place) that leads the
/// catalog, whose version each transaction reads, and two ranges of the table, and a third range led elsewhere.
async fn settle(options: &Options) -> Result<(usize, [i32; 2], i32)> {
    let (began, mut last) = (Instant::now(), None);
    loop {
        let mut found = None;
        for (at, (url, http)) in options.urls.iter().zip(&options.https).enumerate() {
            let (here, there) = look(url, http).await?;
            if let ([first, second, ..], [third, ..]) = (&here[..], &there[..]) {
                found = Some((at, [*first, *second], *third));
                break;
            }
        }
        if found.is_some() && found == last {
            return found.context("just looked");
        }
        last = found;
        if began.elapsed() >= SETTLE_LIMIT {
            bail!("no node leads the catalog and two ranges of the table");
        }
        tokio::time::sleep(RESTED).await;
    }
}

/// Whether the ranges that are written and the catalog were led by the gateway's node throughout a turn. A few requests are its own housekeeping.
fn near(turn: &[Record]) -> bool {
    let near = |operation: Operation| Operation::ALL.iter().zip(turn).all(|(o, r)| *o != operation || r.remote < f64::from(BLOCK));
    near(Operation::TwoRanges) && near(Operation::Read)
}

/// Counters of a gateway.
#[derive(Clone, Copy, Debug)]
struct Counters {
    remote: f64,
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
            remote: get("meridian_kv_remote_requests_total")?,
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
    /// Requests that left the gateway's node.
    remote: f64,
    retries: u64,
    reply_micros: f64,
    validations: f64,
    validation_micros: f64,
}

impl Record {
    fn new() -> Self {
        let latencies = Histogram::new_with_bounds(1, MICROS_MAX, 3).unwrap_or_else(|e| unreachable!("constant bounds: {e}"));
        Record { latencies, remote: 0.0, retries: 0, reply_micros: 0.0, validations: 0.0, validation_micros: 0.0 }
    }

    fn samples(&self) -> u64 {
        self.latencies.len()
    }

    fn add(&mut self, took: Duration, retries: u64) {
        self.latencies.saturating_record((took.as_micros() as u64).max(1));
        self.retries += retries;
    }

    fn spent(&mut self, before: Counters, after: Counters) {
        self.remote += after.remote - before.remote;
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
