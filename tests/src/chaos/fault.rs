//! What breaks, and how it is healed.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::NODES;
use crate::process::{LocalCluster, http_get, http_post};
use crate::workloads::{Connection, Level, Shared};

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `kill -9`, and a restart later.
    Kill,
    /// SIGSTOP, and SIGCONT later.
    Pause,
    /// SIGTERM, drain, start.
    Restart,
    /// That, for one node after the other.
    Rolling,
    /// One node cut off from all others.
    Isolate,
    /// Two nodes cut off from each other; both reach the third.
    Between,
    /// What one node sends to another vanishes; the other direction works.
    OneWay,
    /// Tables are cut into more ranges.
    Splits,
    /// Leases move.
    MoveLeases,
    /// Clocks jump, within their bound.
    SkewJump,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 10] = [
        Kind::Kill,
        Kind::Splits,
        Kind::Pause,
        Kind::MoveLeases,
        Kind::Isolate,
        Kind::SkewJump,
        Kind::Restart,
        Kind::OneWay,
        Kind::Between,
        Kind::Rolling,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Kill => "kill",
            Kind::Pause => "pause",
            Kind::Restart => "restart",
            Kind::Rolling => "rolling",
            Kind::Isolate => "isolate",
            Kind::Between => "between",
            Kind::OneWay => "one-way",
            Kind::Splits => "splits",
            Kind::MoveLeases => "move-leases",
            Kind::SkewJump => "skew-jump",
        }
    }
}

/// A fault. Nodes are numbered from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// See [`Kind`].
    Kill(usize),
    /// See [`Kind`].
    Pause(usize),
    /// See [`Kind`].
    Restart(usize),
    /// See [`Kind`].
    Rolling,
    /// See [`Kind`].
    Isolate(usize),
    /// See [`Kind`].
    Between(usize, usize),
    /// From, to.
    OneWay(usize, usize),
    /// See [`Kind`].
    Splits,
    /// See [`Kind`].
    MoveLeases,
    /// See [`Kind`].
    SkewJump,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Kill(node) => write!(f, "kill -9 of node {node}"),
            Fault::Pause(node) => write!(f, "pause of node {node}"),
            Fault::Restart(node) => write!(f, "restart of node {node}"),
            Fault::Rolling => f.write_str("rolling restart"),
            Fault::Isolate(node) => write!(f, "node {node} cut off"),
            Fault::Between(a, b) => write!(f, "nodes {a} and {b} cut off from each other"),
            Fault::OneWay(from, to) => write!(f, "node {from} not heard by node {to}"),
            Fault::Splits => f.write_str("splits"),
            Fault::MoveLeases => f.write_str("lease moves"),
            Fault::SkewJump => f.write_str("clock jumps within the bound"),
        }
    }
}

impl Fault {
    /// One of this kind.
    pub fn draw(kind: Kind, rng: &mut ChaCha8Rng) -> Fault {
        let node = rng.random_range(1..=NODES);
        let other = (node - 1 + rng.random_range(1..NODES)) % NODES + 1;
        match kind {
            Kind::Kill => Fault::Kill(node),
            Kind::Pause => Fault::Pause(node),
            Kind::Restart => Fault::Restart(node),
            Kind::Rolling => Fault::Rolling,
            Kind::Isolate => Fault::Isolate(node),
            Kind::Between => Fault::Between(node, other),
            Kind::OneWay => Fault::OneWay(node, other),
            Kind::Splits => Fault::Splits,
            Kind::MoveLeases => Fault::MoveLeases,
            Kind::SkewJump => Fault::SkewJump,
        }
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Fault::Kill(_) => Kind::Kill,
            Fault::Pause(_) => Kind::Pause,
            Fault::Restart(_) => Kind::Restart,
            Fault::Rolling => Kind::Rolling,
            Fault::Isolate(_) => Kind::Isolate,
            Fault::Between(..) => Kind::Between,
            Fault::OneWay(..) => Kind::OneWay,
            Fault::Splits => Kind::Splits,
            Fault::MoveLeases => Kind::MoveLeases,
            Fault::SkewJump => Kind::SkewJump,
        }
    }

    /// The gateways that must go on as if nothing had happened, but for a wait.
    pub fn untouched(&self) -> Vec<usize> {
        let touched: &[usize] = match self {
            Fault::Kill(node) | Fault::Pause(node) | Fault::Restart(node) | Fault::Isolate(node) => &[*node],
            Fault::Between(a, b) | Fault::OneWay(a, b) => &[*a, *b],
            // One after the other, each is away for a while.
            Fault::Rolling => &[1, 2, 3],
            Fault::Splits | Fault::MoveLeases | Fault::SkewJump => &[],
        };
        (1..=NODES).filter(|node| !touched.contains(node)).collect()
    }
}

/// The cluster, as the nemesis sees it.
pub struct Target<'a> {
    cluster: &'a LocalCluster,
    clock_bound: Duration,
    /// Ids by number: nodes join in any order.
    ids: Vec<u64>,
}

impl<'a> Target<'a> {
    /// Asks every node for its id. Fails on a binary without faults on command.
    pub fn new(cluster: &'a LocalCluster, clock_bound: Duration) -> Result<Self> {
        let mut ids = Vec::new();
        for node in 1..=NODES {
            let (status, text) = http_get(cluster.http_port(node), "/debug/faults")?;
            ensure!(status == 200, "this binary has no faults on command: build it with debug assertions");
            let answer: serde_json::Value = serde_json::from_str(&text)?;
            ids.push(answer["node"].as_u64().context("a node without an id")?);
        }
        Ok(Target { cluster, clock_bound, ids })
    }

    fn cut(&self, at: usize, peer: usize, outgoing: bool, incoming: bool) -> Result<()> {
        let (peer, out, inc) = (self.ids[peer - 1], u8::from(outgoing), u8::from(incoming));
        self.order(at, &format!("/debug/partition?peer={peer}&outgoing={out}&incoming={inc}")).map(drop)
    }

    fn order(&self, node: usize, path: &str) -> Result<String> {
        let (status, text) = http_post(self.cluster.http_port(node), path)?;
        ensure!(status == 200, "node {node}, {path}: {text}");
        Ok(text)
    }

    /// Breaks it.
    pub fn strike(&self, fault: &Fault) -> Result<()> {
        match *fault {
            Fault::Kill(node) => self.cluster.act("kill", node),
            Fault::Pause(node) => self.cluster.act("pause", node),
            Fault::Restart(node) => self.cluster.act("restart", node),
            Fault::Rolling => (1..=NODES).try_for_each(|node| self.cluster.act("restart", node)),
            Fault::Isolate(node) => (1..=NODES).filter(|other| *other != node).try_for_each(|other| {
                self.cut(node, other, true, true)?;
                self.cut(other, node, true, true)
            }),
            Fault::Between(a, b) => {
                self.cut(a, b, true, true)?;
                self.cut(b, a, true, true)
            }
            Fault::OneWay(from, to) => {
                self.cut(from, to, true, false)?;
                self.cut(to, from, false, true)
            }
            Fault::Splits | Fault::MoveLeases | Fault::SkewJump => Ok(()),
        }
    }

    /// One of the many small steps of splits, lease moves and clock jumps.
    pub async fn small(&self, fault: &Fault, shared: &Shared, rng: &mut ChaCha8Rng) -> Result<()> {
        match fault {
            Fault::Splits => {
                let node = rng.random_range(1..=NODES);
                let refused = |failure: crate::workloads::Failure| anyhow::anyhow!(failure.text());
                let connection = Connection::open(&self.cluster.url(node), Level::Serializable, false).await.map_err(refused)?;
                let statement = shared.split(rng);
                if let Err(failure) = connection.rows(&statement).await {
                    println!("  {statement}: {}", failure.text());
                }
            }
            Fault::MoveLeases => {
                let (from, to) = (rng.random_range(1..=NODES), rng.random_range(1..=NODES));
                let one = if rng.random_bool(0.5) { String::new() } else { format!("&one={}", rng.random_range(0..100)) };
                let path = format!("/debug/move-leases?to={}{one}", self.ids[to - 1]);
                if from != to {
                    tokio::task::block_in_place(|| self.order(from, &path))?;
                }
            }
            Fault::SkewJump => {
                let bound = i64::try_from(self.clock_bound.as_nanos())?;
                for node in 1..=NODES {
                    let nanos = rng.random_range(-bound..=bound);
                    tokio::task::block_in_place(|| self.order(node, &format!("/debug/clock-skew?nanos={nanos}")))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Heals it.
    pub fn heal(&self, fault: &Fault) -> Result<()> {
        match *fault {
            Fault::Kill(node) => self.cluster.act("restart", node),
            Fault::Pause(node) => self.cluster.act("resume", node),
            Fault::Isolate(_) | Fault::Between(..) | Fault::OneWay(..) => (1..=NODES)
                .try_for_each(|node| (1..=NODES).filter(|other| *other != node).try_for_each(|other| self.cut(node, other, false, false))),
            Fault::Restart(_) | Fault::Rolling | Fault::Splits | Fault::MoveLeases | Fault::SkewJump => Ok(()),
        }
    }
}
