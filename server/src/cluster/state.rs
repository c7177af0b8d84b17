//! What `cluster` remembers between commands.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// A cluster on this machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClusterState {
    /// Its directory.
    pub dir: PathBuf,
    /// First port.
    pub base_port: u16,
    /// Distances, if any.
    pub latency_matrix: Option<PathBuf>,
    /// Seconds after which a silent node's replicas are replaced.
    pub dead_after_secs: u64,
    /// The bound of every node's clock; `None`: they share the host's.
    #[serde(default)]
    pub clock_bound: Option<String>,
    /// How far each node's clock is off, by number: for tests.
    #[serde(default)]
    pub clock_skew: Vec<String>,
    /// Its nodes, in order of number.
    pub nodes: Vec<NodeEntry>,
}

/// One node process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeEntry {
    /// From 1.
    pub number: usize,
    /// Region.
    pub region: String,
    /// Zone within the region.
    pub zone: String,
    /// SQL port.
    pub sql_port: u16,
    /// Node-to-node port.
    pub rpc_port: u16,
    /// HTTP port.
    pub http_port: u16,
    /// Data directory.
    pub data_dir: PathBuf,
    /// Log file.
    pub log: PathBuf,
    /// Process id of the last start.
    pub pid: i32,
    /// Start time of that process in clock ticks since boot (`/proc/PID/stat`), which tells it from a later owner of the pid.
    pub started: u64,
}

impl ClusterState {
    /// The state file of a directory.
    pub fn path(dir: &Path) -> PathBuf {
        dir.join("cluster.json")
    }

    /// Reads the state.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = Self::path(dir);
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("no cluster in {} (reading {})", dir.display(), path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))
    }

    /// Writes the state, whole or not at all.
    pub fn save(&self) -> Result<()> {
        let path = Self::path(&self.dir);
        let temporary = path.with_extension("json.new");
        std::fs::write(&temporary, serde_json::to_string_pretty(self)?)?;
        std::fs::rename(&temporary, &path).with_context(|| format!("writing {}", path.display()))
    }

    /// Adds a node that has not run yet.
    pub fn push_node(&mut self, region: &str) -> Result<()> {
        let number = self.nodes.last().map_or(1, |n| n.number + 1);
        let port = |offset: usize| {
            u16::try_from(usize::from(self.base_port) + (number - 1) * 10 + offset).context("base port too high for this many nodes")
        };
        let zone = self.nodes.iter().filter(|n| n.region == region).count();
        let dir = self.dir.join(format!("n{number}"));
        self.nodes.push(NodeEntry {
            number,
            region: region.to_owned(),
            zone: char::from(b'a' + (zone % 26) as u8).to_string(),
            sql_port: port(0)?,
            rpc_port: port(1)?,
            http_port: port(2)?,
            data_dir: dir.join("data"),
            log: dir.join("node.log"),
            pid: 0,
            started: 0,
        });
        Ok(())
    }

    /// Where node `number` is in the list.
    pub fn position(&self, number: usize) -> Result<usize> {
        match self.nodes.iter().position(|n| n.number == number) {
            Some(at) => Ok(at),
            None => bail!("no node {number}: the cluster has nodes 1 to {}", self.nodes.len()),
        }
    }

    /// Node `number`.
    pub fn node(&self, number: usize) -> Result<&NodeEntry> {
        Ok(&self.nodes[self.position(number)?])
    }
}

impl NodeEntry {
    /// SQL URL.
    pub fn sql_url(&self) -> String {
        format!("postgresql://root@127.0.0.1:{}/defaultdb?sslmode=disable", self.sql_port)
    }
    /// HTTP URL.
    pub fn http_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http_port)
    }
    /// Node-to-node address.
    pub fn rpc_address(&self) -> String {
        format!("127.0.0.1:{}", self.rpc_port)
    }

    /// Whether the process we started still runs.
    pub fn running(&self) -> bool {
        self.pid > 0 && process_start(self.pid) == Some(self.started)
    }

    /// Sends a signal to the process we started.
    pub fn signal(&self, signal: i32) -> Result<()> {
        if !self.running() {
            return Ok(());
        }
        // SAFETY: kill has no memory effects; the pid was just checked to be our process.
        #[allow(unsafe_code)]
        let outcome = unsafe { libc::kill(self.pid, signal) };
        if outcome != 0 {
            return Err(std::io::Error::last_os_error()).with_context(|| format!("signalling node {} (pid {})", self.number, self.pid));
        }
        Ok(())
    }
}

/// When a process started, in clock ticks since boot; `None` if there is no such process or it has ended and waits to be reaped.
pub fn process_start(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name is in parentheses and may hold anything: fields are counted from the last one. State is field 3, start time 22.
    let fields: Vec<&str> = stat[stat.rfind(')')? + 2..].split(' ').collect();
    if fields.first() == Some(&"Z") {
        return None;
    }
    fields.get(19)?.parse().ok()
}
