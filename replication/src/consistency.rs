//! Replicas of a range must be equal, byte for byte, at the same entry of the log. This is where that is looked at.
//!
//! The leaseholder proposes an entry; every replica computes the checksum of its state just before it and tells the leaseholder. A replica that
//! differs is told to stop, loudly: it serves nothing from then on, and placement replaces it like a dead one. If the
//! leaseholder itself is the odd one out, it is the one that stops.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::api::{AdminError, NodeId, ProposeError, RangeId, RangeReplica as _, ReplicaRole};
use crate::store::{Context, Diverging, ReplicaHandle};

/// How long the replicas may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a comparison found.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ChecksumReport {
    /// The range.
    pub range: RangeId,
    /// The log index at which the states were compared.
    pub index: u64,
    /// The checksum of each replica that answered.
    pub sums: Vec<(NodeId, u64)>,
    /// The nodes whose replica differs from the majority of those that answered.
    pub differing: Vec<NodeId>,
    /// Nodes that did not answer in time.
    pub missing: Vec<NodeId>,
}

/// Compares the replicas of the range of `handle`, whose lease this node holds, and stops those that differ.
pub(crate) async fn check(ctx: &Arc<Context>, handle: &Arc<ReplicaHandle>) -> Result<ChecksumReport, AdminError> {
    let range = handle.range_id();
    handle.lease()?;
    let (sender, mut answers) = mpsc::unbounded_channel();
    let request = ctx.collect_checksums(sender);
    let report = gather(handle, request, &mut answers).await;
    ctx.forget_checksums(request);
    let report = report?;
    if !report.differing.is_empty() {
        tracing::error!(%range, index = report.index, sums = ?report.sums, differing = ?report.differing, "replicas DIVERGED");
        let expected = report.sums.iter().find(|(n, _)| !report.differing.contains(n)).map_or(0, |(_, s)| *s);
        for node in &report.differing {
            ctx.stop_diverged(handle, Diverging { node: *node, index: report.index, expected });
        }
    }
    Ok(report)
}

async fn gather(
    handle: &Arc<ReplicaHandle>,
    request: crate::api::RequestId,
    answers: &mut mpsc::UnboundedReceiver<(NodeId, u64, u64)>,
) -> Result<ChecksumReport, AdminError> {
    let index = handle.propose_checksum(request).await?;
    // A learner may get this very entry inside a snapshot, and then cannot answer.
    let voters = handle.descriptor();
    let mut missing: Vec<NodeId> = voters.replicas.iter().filter(|r| r.role != ReplicaRole::Learner).map(|r| r.node).collect();
    let mut sums = Vec::new();
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while !missing.is_empty() {
        match tokio::time::timeout_at(deadline, answers.recv()).await {
            Ok(Some((node, at, sum))) if at == index && missing.contains(&node) => {
                missing.retain(|n| *n != node);
                sums.push((node, sum));
            }
            Ok(Some(_)) => {}
            Ok(None) => return Err(AdminError::Propose(ProposeError::Ambiguous(handle.range_id()))),
            Err(_) => break,
        }
    }
    sums.sort_unstable();
    let votes = |sum: u64| sums.iter().filter(|(_, s)| *s == sum).count();
    let majority = sums.iter().map(|(_, s)| *s).max_by_key(|s| votes(*s)).unwrap_or_default();
    let differing = sums.iter().filter(|(_, s)| *s != majority).map(|(n, _)| *n).collect();
    Ok(ChecksumReport { range: handle.range_id(), index, sums, differing, missing })
}
