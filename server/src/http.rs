//! The HTTP port: health for load balancers, metrics for Prometheus.
//!
//! * `/health/live`: the process answers. `200` as long as it can.
//! * `/health/ready`: the node can serve SQL: it has joined, its catalog is readable, it is not draining. `503` with the reason otherwise.
//! * `/metrics`: Prometheus text format, made fresh at each request from the counters of every layer.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What the HTTP port asks of the node.
pub trait NodeStatus: Send + Sync + 'static {
    /// Why the node cannot serve SQL now; `None` if it can.
    fn not_ready(&self) -> Option<String>;
    /// All figures: name, help, kind, and samples with their labels.
    fn metrics(&self) -> Vec<Metric>;
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
    /// The value.
    pub value: u64,
}

impl Metric {
    /// A figure that only grows.
    pub fn counter(name: &str, help: &'static str, value: u64) -> Self {
        Metric { name: format!("meridian_{name}"), help, counter: true, value }
    }
    /// A figure that goes up and down.
    pub fn gauge(name: &str, help: &'static str, value: u64) -> Self {
        Metric { name: format!("meridian_{name}"), help, counter: false, value }
    }
}

/// Serves until `stop` turns true.
pub async fn serve(listener: TcpListener, node: Arc<dyn NodeStatus>, mut stop: watch::Receiver<bool>) -> std::io::Result<()> {
    let app = Router::new()
        .route("/health/live", get(|| async { "ok\n" }))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(node);
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

async fn metrics(State(node): State<Arc<dyn NodeStatus>>) -> (StatusCode, String) {
    match encode(node.metrics()) {
        Ok(text) => (StatusCode::OK, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn encode(metrics: Vec<Metric>) -> prometheus::Result<String> {
    let registry = prometheus::Registry::new();
    for metric in metrics {
        if metric.counter {
            let counter = prometheus::IntCounter::new(metric.name, metric.help)?;
            counter.inc_by(metric.value);
            registry.register(Box::new(counter))?;
        } else {
            let gauge = prometheus::IntGauge::new(metric.name, metric.help)?;
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
        let text = encode(vec![Metric::counter("sql_statements_total", "Statements.", 3), Metric::gauge("ranges", "Ranges.", 2)]).unwrap();
        assert!(text.contains("# TYPE meridian_sql_statements_total counter\nmeridian_sql_statements_total 3\n"), "{text}");
        assert!(text.contains("# TYPE meridian_ranges gauge\nmeridian_ranges 2\n"), "{text}");
    }
}
