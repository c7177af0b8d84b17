//! EXPLAIN and EXPLAIN ANALYZE.

use std::sync::Arc;

use super::Session;
use super::api::{Field, ResultSink};
use super::extended::plannable;
use super::run::Commit;
use super::show::{field, text};
use crate::error::{Result, SqlError};
use crate::front::{ExplainOptions, Parsed};
use crate::plan::explain::{ExplainInput, NodeFigures, explain};
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
                running.execution.stats(node).map(|s| NodeFigures {
                    rows: s.rows,
                    loops: s.loops,
                    micros: s.micros,
                    local_batches: s.local_batches,
                    remote_batches: s.remote_batches,
                    ranges: s.ranges,
                })
            };
            let mut lines = explain(&plan, &ExplainInput { options, figures: Some(&figures), catalog: &*self.catalog().await? });
            if options.summary.unwrap_or(true) && !options.json {
                lines.push(format!("Planning Time: {:.3} ms", planning.as_secs_f64() * 1e3));
                lines.push(format!("Execution Time: {:.3} ms", elapsed.as_secs_f64() * 1e3));
            }
            lines
        } else {
            explain(&plan, &ExplainInput { options, figures: None, catalog: &*self.catalog().await? })
        };
        sink.begin(&fields(options)).await?;
        for line in lines {
            let value = if options.json { Datum::Json(Arc::from(line)) } else { text(line) };
            sink.rows(&[value], self.io()).await?;
        }
        sink.complete("EXPLAIN").await
    }
}
