//! EXPLAIN and EXPLAIN ANALYZE.

use std::sync::Arc;

use super::Session;
use super::api::{Field, ResultSink};
use super::extended::plannable;
use super::run::Commit;
use super::show::{field, text};
use crate::error::{Result, SqlError};
use crate::exec::NodeStats;
use crate::front::{ExplainOptions, Parsed};
use crate::functions::SessionView;
use crate::plan::explain::{self, FigureSource, Figures, no_figures};
use crate::plan::node::Plan;
use crate::types::{DataType, Datum};

/// The one column of the result.
pub(super) fn fields(options: &ExplainOptions) -> Arc<[Field]> {
    Arc::from([field("QUERY PLAN", if options.json { DataType::JSON } else { DataType::TEXT })])
}

impl Session {
    pub(super) async fn explain(&mut self, options: &ExplainOptions, inner: &Parsed, sink: &mut dyn ResultSink) -> Result<()> {
        if !plannable(inner) {
            return Err(SqlError::unsupported("EXPLAIN of this kind of statement"));
        }
        self.enter_past(inner, !options.analyze).await?;
        let planning = tokio::time::Instant::now();
        let planned = self.plan(inner, &[], false).await?;
        let planning = planning.elapsed();
        let plan = planned.prepared.plan.clone();
        let lines = if options.analyze {
            if let Some(txn) = &mut self.txn {
                txn.kv.begin_statement();
            }
            let began = tokio::time::Instant::now();
            let mut running = self.running(&plan, true);
            let params: Arc<[Datum]> = Arc::from([]);
            // The rows are what ANALYZE counts; nobody reads them.
            while self.next_batch(&mut running, params.clone(), Commit::Later).await?.is_some() {}
            let elapsed = began.elapsed();
            let figures = |node: &crate::plan::node::Plan| {
                running.execution.stats(node).map(|s| Figures {
                    first_ms: 0.0,
                    total_ms: s.micros as f64 / 1e3,
                    rows: s.rows,
                    loops: s.loops,
                    extra: kv_line(&s),
                })
            };
            let mut lines = print(&plan, options, &self.env.view, &figures);
            if options.summary.unwrap_or(true) && !options.json {
                lines.push(format!("Planning Time: {:.3} ms", planning.as_secs_f64() * 1e3));
                lines.push(format!("Execution Time: {:.3} ms", elapsed.as_secs_f64() * 1e3));
            }
            lines
        } else {
            print(&plan, options, &self.env.view, &no_figures)
        };
        sink.begin(&fields(options)).await?;
        for line in lines {
            let value = if options.json { Datum::Json(Arc::from(line)) } else { text(line) };
            sink.rows(&[value], self.io()).await?;
        }
        sink.complete("EXPLAIN").await
    }
}

fn print(plan: &Plan, options: &ExplainOptions, view: &SessionView, figures: FigureSource<'_>) -> Vec<String> {
    if options.json { vec![explain::json(plan, options, view, figures)] } else { explain::text(plan, options, view, figures) }
}

/// What a node and its inputs cost in KV requests, local and over the network.
fn kv_line(stats: &NodeStats) -> Vec<(String, String)> {
    if stats.local_batches + stats.remote_batches == 0 {
        return vec![];
    }
    let text = format!("local={} network={} ranges={}", stats.local_batches, stats.remote_batches, stats.ranges);
    vec![("KV Requests".to_owned(), text)]
}
