//! Faults on command, for tests: this module exists in builds with debug assertions only. A release build has no such port and no such flag.
//!
//! ```text
//! GET  /debug/faults                                  this node's id, and the present skew of its clock in nanoseconds
//! POST /debug/partition?peer=ID&outgoing=1&incoming=1 cuts what goes to a node and what comes from it; 0 restores it. What is cut vanishes.
//! POST /debug/clock-skew?nanos=-3000000               sets the clock off, at most by its declared bound
//! POST /debug/move-leases?to=ID[&one=N]               hands this node's leases (or the N-th of them) over to a node that has replicas
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use meridian_clock::{ClockError, PhysicalClock, PhysicalReading};
use meridian_replication::api::{NodeId, RangeAdmin, RangeHost as _};
use meridian_replication::transport::grpc::GrpcTransport;

use crate::node::Node;

/// A physical clock that is off by so much.
#[derive(Debug)]
pub struct SkewedClock {
    source: Arc<dyn PhysicalClock>,
    skew_nanos: Arc<AtomicI64>,
}

impl SkewedClock {
    /// `source`, off by `skew_nanos`.
    pub fn new(source: Arc<dyn PhysicalClock>, skew_nanos: Arc<AtomicI64>) -> Self {
        SkewedClock { source, skew_nanos }
    }
}

impl PhysicalClock for SkewedClock {
    fn read(&self) -> Result<PhysicalReading, ClockError> {
        let reading = self.source.read()?;
        Ok(PhysicalReading { unix_nanos: reading.unix_nanos.saturating_add_signed(self.skew_nanos.load(Ordering::Relaxed)), ..reading })
    }
}

/// The knobs.
#[derive(Clone)]
pub struct Faults {
    /// Node to node.
    pub transport: Arc<GrpcTransport>,
    /// How far the clock is off.
    pub skew_nanos: Arc<AtomicI64>,
    /// How far it may be.
    pub bound: Duration,
}

/// Whether a skew keeps to the declared bound: only then does the cluster promise anything.
pub fn within(skew_nanos: i64, bound: Duration) -> bool {
    u128::from(skew_nanos.unsigned_abs()) <= bound.as_nanos()
}

impl Faults {
    /// Carries out `what` with the parameters of a query string.
    pub async fn carry_out(&self, node: Option<Arc<Node>>, what: &str, query: &str) -> Result<String, String> {
        let parameters: BTreeMap<&str, &str> = query.split('&').filter_map(|part| part.split_once('=')).collect();
        let number = |name: &str| -> Result<i64, String> {
            let text = parameters.get(name).ok_or_else(|| format!("{what} wants {name}=NUMBER"))?;
            text.parse().map_err(|_| format!("{name}={text} is not a number"))
        };
        let id = |name: &str| number(name).and_then(|n| u32::try_from(n).map_err(|e| e.to_string()).map(NodeId));
        match what {
            "faults" => {
                let id = node.map(|node| node.id().0);
                Ok(serde_json::json!({"node": id, "skew_nanos": self.skew_nanos.load(Ordering::Relaxed)}).to_string())
            }
            "partition" => {
                self.transport.block(id("peer")?, number("outgoing")? != 0, number("incoming")? != 0);
                Ok("done".into())
            }
            "clock-skew" => {
                let nanos = number("nanos")?;
                if !within(nanos, self.bound) {
                    return Err(format!("the clock is declared to be off by at most {:?}", self.bound));
                }
                self.skew_nanos.store(nanos, Ordering::Relaxed);
                Ok("done".into())
            }
            "move-leases" => {
                let (node, to) = (node.ok_or("starting")?, id("to")?);
                let ranges = node.store.leaseholder_ranges();
                let one = number("one").ok().and_then(|n| usize::try_from(n).ok());
                let mut moved = Vec::new();
                for (at, range) in ranges.iter().enumerate() {
                    if one.is_some_and(|one| one % ranges.len() != at) {
                        continue;
                    }
                    if let Some(replica) = node.store.replica(range.id) {
                        let outcome = replica.transfer_lease(to).await.map_or_else(|e| e.to_string(), |()| "moved".into());
                        moved.push(format!("{}: {outcome}", range.id));
                    }
                }
                Ok(moved.join("\n"))
            }
            other => Err(format!("no such fault: {other}")),
        }
    }
}
