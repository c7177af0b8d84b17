//! Latencies, counts and errors, by transaction and by second. Each terminal has a recorder of its own, which the view and the result merge.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::client::Done;
use super::connect::error_name;

/// Latencies are recorded in microseconds, to three digits, up to an hour.
const MICROS_MAX: u64 = 3_600_000_000;

/// What happened to transactions of one kind.
#[derive(Clone, Debug)]
struct Kind {
    latencies: Histogram<u64>,
    /// Rolled back as the workload asks for.
    rolled_back: u64,
    retries: BTreeMap<String, u64>,
    errors: BTreeMap<String, u64>,
}

impl Kind {
    fn new() -> Self {
        let latencies = Histogram::new_with_bounds(1, MICROS_MAX, 3).unwrap_or_else(|e| unreachable!("constant bounds: {e}"));
        Kind { latencies, rolled_back: 0, retries: BTreeMap::new(), errors: BTreeMap::new() }
    }
}

#[derive(Debug)]
struct Inner {
    kinds: Vec<Kind>,
    /// Transactions done, per second since the start and kind. Counted in the ramp too.
    seconds: Vec<Vec<u32>>,
    /// Whether the measurement has begun.
    measuring: bool,
}

/// All figures of a run. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stats {
    names: Arc<[&'static str]>,
    start: tokio::time::Instant,
    inner: Arc<Mutex<Inner>>,
}

impl Stats {
    /// For transactions of these kinds, whose clock starts now.
    pub fn new(names: &[&'static str]) -> Self {
        let inner = Inner { kinds: names.iter().map(|_| Kind::new()).collect(), seconds: Vec::new(), measuring: false };
        Stats { names: names.into(), start: tokio::time::Instant::now(), inner: Arc::new(Mutex::new(inner)) }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        // Nothing panics while it holds the lock; if it did, the figures would still be figures.
        f(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From here on it counts.
    pub fn measure(&self) {
        self.with(|inner| inner.measuring = true);
    }

    /// A transaction of `kind` is through after `took`.
    pub fn done(&self, kind: usize, took: Duration, rolled_back: bool) {
        let second = self.start.elapsed().as_secs() as usize;
        self.with(|inner| {
            if inner.seconds.len() <= second {
                inner.seconds.resize(second + 1, vec![0; self.names.len()]);
            }
            inner.seconds[second][kind] += 1;
            if inner.measuring {
                let kind = &mut inner.kinds[kind];
                kind.latencies.saturating_record((took.as_micros() as u64).max(1));
                kind.rolled_back += u64::from(rolled_back);
            }
        });
    }

    /// How a transaction of `kind` ended after `took`.
    pub fn record(&self, kind: usize, took: Duration, outcome: Result<Done, tokio_postgres::Error>) {
        match outcome {
            Ok(Done::Committed) => self.done(kind, took, false),
            Ok(Done::RolledBack) => self.done(kind, took, true),
            Ok(Done::Wrong(what)) => self.failed(kind, what),
            Err(error) => self.failed(kind, &error_name(&error)),
        }
    }

    /// A transaction of `kind` began again because of `code`.
    pub fn retried(&self, kind: usize, code: &str) {
        self.with(|inner| {
            if inner.measuring {
                *inner.kinds[kind].retries.entry(code.to_owned()).or_default() += 1;
            }
        });
    }

    /// A transaction of `kind` failed for good.
    pub fn failed(&self, kind: usize, code: &str) {
        self.with(|inner| {
            if inner.measuring {
                *inner.kinds[kind].errors.entry(code.to_owned()).or_default() += 1;
            }
        });
    }

    /// Seconds since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Transactions done in the last whole second, by kind.
    pub fn last_second(&self) -> Vec<u32> {
        let second = self.start.elapsed().as_secs() as usize;
        self.with(|inner| second.checked_sub(1).and_then(|s| inner.seconds.get(s).cloned()).unwrap_or_else(|| vec![0; self.names.len()]))
    }

    /// The figures so far, over `measured` of measurement.
    pub fn summary(&self, measured: Duration) -> Summary {
        let seconds = measured.as_secs_f64().max(1e-9);
        self.with(|inner| {
            let kinds = self.names.iter().zip(&inner.kinds).map(|(name, kind)| KindSummary::new(name, kind, seconds)).collect();
            let per_second = inner.seconds.clone();
            Summary { seconds, kinds, per_second }
        })
    }
}

/// The figures of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// Length of the measurement.
    pub seconds: f64,
    /// By kind.
    pub kinds: Vec<KindSummary>,
    /// Transactions done in each second since the start, by kind, ramp included.
    pub per_second: Vec<Vec<u32>>,
}

/// The figures of one kind of transaction. Latencies in milliseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KindSummary {
    /// Its name.
    pub name: String,
    /// Done, rolled back on purpose included.
    pub count: u64,
    /// Rolled back as the workload asks for.
    pub rolled_back: u64,
    /// Per second.
    pub rate: f64,
    /// Mean latency.
    pub mean_ms: f64,
    /// Median.
    pub p50_ms: f64,
    /// 90th percentile.
    pub p90_ms: f64,
    /// 95th percentile.
    pub p95_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// Latency at each of [`DISTRIBUTION`].
    pub distribution_ms: Vec<f64>,
    /// Restarts by SQLSTATE.
    pub retries: BTreeMap<String, u64>,
    /// Failures by SQLSTATE.
    pub errors: BTreeMap<String, u64>,
}

/// Percentiles of [`KindSummary::distribution_ms`].
pub const DISTRIBUTION: [f64; 14] = [1.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0, 99.0, 99.9];

impl KindSummary {
    fn new(name: &str, kind: &Kind, seconds: f64) -> Self {
        let at = |percentile: f64| kind.latencies.value_at_percentile(percentile) as f64 / 1000.0;
        KindSummary {
            name: name.to_owned(),
            count: kind.latencies.len(),
            rolled_back: kind.rolled_back,
            rate: kind.latencies.len() as f64 / seconds,
            mean_ms: kind.latencies.mean() / 1000.0,
            p50_ms: at(50.0),
            p90_ms: at(90.0),
            p95_ms: at(95.0),
            p99_ms: at(99.0),
            max_ms: kind.latencies.max() as f64 / 1000.0,
            distribution_ms: DISTRIBUTION.map(at).to_vec(),
            retries: kind.retries.clone(),
            errors: kind.errors.clone(),
        }
    }

    /// Failures of all codes.
    pub fn failures(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Restarts of all codes.
    pub fn restarts(&self) -> u64 {
        self.retries.values().sum()
    }
}
