//! Starting and ending node processes.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use super::state::{ClusterState, NodeEntry, process_start};

/// Starts a node in a process group of its own, so that a Ctrl-C in the terminal does not reach it.
pub fn start(state: &mut ClusterState, at: usize) -> Result<()> {
    let join: Vec<String> = state.nodes.iter().filter(|n| n.number != state.nodes[at].number).map(NodeEntry::rpc_address).collect();
    let node = &state.nodes[at];
    std::fs::create_dir_all(&node.data_dir)?;
    let log = std::fs::OpenOptions::new().create(true).append(true).open(&node.log).with_context(|| node.log.display().to_string())?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("start")
        .arg("--data-dir")
        .arg(&node.data_dir)
        .args(["--listen", &format!("127.0.0.1:{}", node.sql_port)])
        .args(["--rpc-listen", &node.rpc_address()])
        .args(["--http", &format!("127.0.0.1:{}", node.http_port)])
        .args(["--locality", &format!("region={},zone={}", node.region, node.zone)])
        .args(["--dead-after", &format!("{}s", state.dead_after_secs)])
        .arg("--insecure");
    match &state.clock_bound {
        None => command.arg("--shared-host-clock"),
        Some(bound) => command.args(["--clock-bound", bound]),
    };
    if let Some(skew) = state.clock_skew.get(node.number - 1) {
        command.arg(format!("--clock-skew={skew}"));
    }
    // A cluster of one has nobody to join.
    command.args(["--join", &if join.is_empty() { node.rpc_address() } else { join.join(",") }]);
    if let Some(matrix) = &state.latency_matrix {
        command.arg("--latency-matrix").arg(matrix);
    }
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
    let child = command.spawn().context("starting a node process")?;
    let pid = i32::try_from(child.id())?;
    let node = &mut state.nodes[at];
    (node.pid, node.started) = (pid, process_start(pid).unwrap_or(0));
    // Reaped in the background, so that a node that dies while this command waits is seen to be gone.
    std::thread::spawn(move || {
        let mut child = child;
        let _ = child.wait();
    });
    Ok(())
}

/// Waits until no node runs, or until `limit`.
pub async fn wait_gone(state: &ClusterState, limit: Duration) {
    let deadline = tokio::time::Instant::now() + limit;
    while state.nodes.iter().any(NodeEntry::running) && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until this node does not run, or until `limit`.
pub async fn wait_one_gone(node: &NodeEntry, limit: Duration) {
    let deadline = tokio::time::Instant::now() + limit;
    while node.running() && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The end of a node's log.
pub fn log_tail(node: &NodeEntry) -> String {
    let text = std::fs::read_to_string(&node.log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
