//! The HTTP port: health for load balancers, metrics for Prometheus.
//!
//! * `/health/live`: the process answers. `200` as long as it can.
//! * `/health/ready`: the node can serve SQL: it has joined, its catalog is readable, it is not draining. `503` with the reason otherwise.
//! * `/debug/check-replicas`: compares the replicas of every range whose lease this node holds, byte for byte at one log entry, and answers
//!   with a line of JSON a range and one with the totals: `200` if all agree, `409` if any differs or could not be compared.
//! * `/debug/…` of `crate::faults`: in builds with debug assertions only.
//! * `/metrics`: Prometheus text format, made fresh at each request from the counters of every layer.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
#[cfg(debug_assertions)]
use axum::routing::post;
use futures::future::BoxFuture;
use meridian_replication::api::{NodeId, RangeId};
use meridian_replication::consistency::ChecksumReport;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What the HTTP port asks of the node.
pub trait NodeStatus: Send + Sync + 'static {
    /// Why the node cannot serve SQL now; `None` if it can.
    fn not_ready(&self) -> Option<String>;
    /// All figures: name, help, kind, and samples with their labels.
    fn metrics(&self) -> Vec<Metric>;
    /// Compares the replicas of the ranges whose lease this node holds; `None` while the node is starting.
    fn check_replicas(&self) -> BoxFuture<'_, Option<ReplicaCheck>>;
    /// Carries out a fault of [`crate::faults`].
    #[cfg(debug_assertions)]
    fn fault<'a>(&'a self, what: &'a str, query: &'a str) -> BoxFuture<'a, Result<String, String>>;
}

/// What comparing replicas found.
#[derive(Clone, Debug, Default)]
pub struct ReplicaCheck {
    /// Compared ranges.
    pub ranges: Vec<ChecksumReport>,
    /// Ranges that could not be compared, and why.
    pub unchecked: Vec<(RangeId, String)>,
}

impl ReplicaCheck {
    /// Whether every range was compared, with all its replicas, and all agree.
    pub fn agrees(&self) -> bool {
        self.unchecked.is_empty() && self.ranges.iter().all(|r| r.differing.is_empty() && r.missing.is_empty())
    }

    fn lines(&self) -> String {
        let mut text = String::new();
        for r in &self.ranges {
            let agree = r.differing.is_empty() && r.missing.is_empty();
            let nodes = |n: &[NodeId]| n.iter().map(|n| n.0).collect::<Vec<_>>();
            let sums: Vec<_> = r.sums.iter().map(|(node, sum)| serde_json::json!({"node": node.0, "sum": format!("{sum:016x}")})).collect();
            let line = serde_json::json!({
                "range": r.range.0, "index": r.index, "agree": agree, "sums": sums,
                "differing": nodes(&r.differing), "missing": nodes(&r.missing),
            });
            text += &format!("{line}\n");
        }
        for (range, why) in &self.unchecked {
            text += &format!("{}\n", serde_json::json!({"range": range.0, "unchecked": why}));
        }
        let total = serde_json::json!({"ranges": self.ranges.len() + self.unchecked.len(), "all_agree": self.agrees()});
        text + &format!("{total}\n")
    }
}

/// One family of samples.
#[derive(Clone, Debug)]
pub struct Metric {
    /// Full name, with `meridian_` prefix and unit suffix.
    pub name: String,
    /// One line.
    pub help: &'static str,
    /// Whether it only grows.
    pub counter: bool,
    /// What tells this sample from others of the family.
    pub label: Option<(&'static str, &'static str)>,
    /// The value.
    pub value: u64,
}

impl Metric {
    /// A figure that only grows.
    pub fn counter(name: &str, help: &'static str, value: u64) -> Self {
        Metric { name: format!("meridian_{name}"), help, counter: true, label: None, value }
    }
    /// One sample of a family of counters.
    pub fn labelled(name: &str, help: &'static str, label: (&'static str, &'static str), value: u64) -> Self {
        Metric { label: Some(label), ..Metric::counter(name, help, value) }
    }
    /// A figure that goes up and down.
    pub fn gauge(name: &str, help: &'static str, value: u64) -> Self {
        Metric { name: format!("meridian_{name}"), help, counter: false, label: None, value }
    }
}

/// Serves until `stop` turns true.
pub async fn serve(listener: TcpListener, node: Arc<dyn NodeStatus>, mut stop: watch::Receiver<bool>) -> std::io::Result<()> {
    let app = Router::new()
        .route("/health/live", get(|| async { "ok\n" }))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/debug/check-replicas", get(check_replicas));
    #[cfg(debug_assertions)]
    let app = app
        .route("/debug/faults", get(fault))
        .route("/debug/partition", post(fault))
        .route("/debug/clock-skew", post(fault))
        .route("/debug/move-leases", post(fault));
    let app = app.with_state(node);
    axum::serve(listener, app)
        .with_graceful_shutdown(async move {
            let _ = stop.wait_for(|s| *s).await;
        })
        .await
}

async fn ready(State(node): State<Arc<dyn NodeStatus>>) -> (StatusCode, String) {
    match node.not_ready() {
        None => (StatusCode::OK, "ready\n".into()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn check_replicas(State(node): State<Arc<dyn NodeStatus>>) -> (StatusCode, String) {
    match node.check_replicas().await {
        None => (StatusCode::SERVICE_UNAVAILABLE, "starting\n".into()),
        Some(check) if check.agrees() => (StatusCode::OK, check.lines()),
        Some(check) => (StatusCode::CONFLICT, check.lines()),
    }
}

#[cfg(debug_assertions)]
async fn fault(State(node): State<Arc<dyn NodeStatus>>, uri: axum::http::Uri) -> (StatusCode, String) {
    let what = uri.path().trim_start_matches("/debug/");
    match node.fault(what, uri.query().unwrap_or_default()).await {
        Ok(text) => (StatusCode::OK, text + "\n"),
        Err(reason) => (StatusCode::BAD_REQUEST, reason + "\n"),
    }
}

async fn metrics(State(node): State<Arc<dyn NodeStatus>>) -> (StatusCode, String) {
    match encode(node.metrics()) {
        Ok(text) => (StatusCode::OK, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn encode(metrics: Vec<Metric>) -> prometheus::Result<String> {
    let registry = prometheus::Registry::new();
    for metric in metrics {
        let mut opts = prometheus::Opts::new(metric.name, metric.help);
        if let Some((name, value)) = metric.label {
            opts = opts.const_label(name, value);
        }
        if metric.counter {
            let counter = prometheus::IntCounter::with_opts(opts)?;
            counter.inc_by(metric.value);
            registry.register(Box::new(counter))?;
        } else {
            let gauge = prometheus::IntGauge::with_opts(opts)?;
            gauge.set(i64::try_from(metric.value).unwrap_or(i64::MAX));
            registry.register(Box::new(gauge))?;
        }
    }
    prometheus::TextEncoder::new().encode_to_string(&registry.gather())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_in_prometheus_text_form() {
        let by_cause = |cause, value| Metric::labelled("sql_retries_by_cause_total", "Retries.", ("cause", cause), value);
        let counter = Metric::counter("sql_statements_total", "Statements.", 3);
        let text = encode(vec![counter, Metric::gauge("ranges", "Ranges.", 2), by_cause("pushed", 1), by_cause("deadlock", 0)]).unwrap();
        assert!(text.contains("meridian_sql_retries_by_cause_total{cause=\"pushed\"} 1\n"), "{text}");
        assert!(text.contains("# TYPE meridian_sql_statements_total counter\nmeridian_sql_statements_total 3\n"), "{text}");
        assert!(text.contains("# TYPE meridian_ranges gauge\nmeridian_ranges 2\n"), "{text}");
    }
}
