//! Waiting for nodes, and showing them.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::process::log_tail;
use super::state::{ClusterState, NodeEntry};

/// A node's process must answer within this.
const ALIVE_LIMIT: Duration = Duration::from_secs(60);
/// Every range must have its replicas within this.
const REPLICATED_LIMIT: Duration = Duration::from_secs(180);
/// Replicas that a cluster keeps of each range.
const REPLICAS: usize = 3;
const POLL: Duration = Duration::from_millis(100);

/// GET of a path on a node's HTTP port: status and body.
pub async fn get(node: &NodeEntry, path: &str) -> Result<(u16, String)> {
    let exchange = async {
        let mut stream = TcpStream::connect(("127.0.0.1", node.http_port)).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok::<_, std::io::Error>(text)
    };
    let text = tokio::time::timeout(Duration::from_secs(2), exchange).await.context("no answer")??;
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).context("not an HTTP answer")?;
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.to_owned()))
}

/// One figure of a node's metrics.
pub async fn metric(node: &NodeEntry, name: &str) -> Option<u64> {
    let (_, text) = get(node, "/metrics").await.ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// Waits until every process answers.
pub async fn alive(state: &ClusterState) -> Result<()> {
    for node in &state.nodes {
        until(node, "/health/live", ALIVE_LIMIT).await?;
    }
    Ok(())
}

/// Waits until a node serves SQL.
pub async fn ready(node: &NodeEntry) -> Result<()> {
    until(node, "/health/ready", REPLICATED_LIMIT).await
}

async fn until(node: &NodeEntry, path: &str, limit: Duration) -> Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        if matches!(get(node, path).await, Ok((200, _))) {
            return Ok(());
        }
        if !node.running() {
            bail!("node {} ended; its log, {}, ends with\n{}", node.number, node.log.display(), log_tail(node));
        }
        if Instant::now() >= deadline {
            bail!("node {} does not answer {path} within {limit:?}; its log is {}", node.number, node.log.display());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until every node serves SQL and no range lacks a replica. With too few nodes for that, until every node serves SQL.
pub async fn replicated(state: &ClusterState, progress: bool) -> Result<()> {
    let running = state.nodes.iter().filter(|n| n.running());
    for node in running.clone() {
        ready(node).await?;
    }
    if running.count() < REPLICAS {
        eprintln!("fewer than {REPLICAS} nodes run: ranges get all their replicas as nodes are added");
        return Ok(());
    }
    let deadline = Instant::now() + REPLICATED_LIMIT;
    let mut told = None;
    loop {
        let (mut ranges, mut lacking, mut answers) = (0, 0, 0);
        for node in state.nodes.iter().filter(|n| n.running()) {
            if let (Some(r), Some(u)) =
                (metric(node, "meridian_ranges_leaseholder ").await, metric(node, "meridian_ranges_underreplicated ").await)
            {
                (ranges, lacking, answers) = (ranges + r, lacking + u, answers + 1);
            }
        }
        if answers > 0 && ranges > 0 && lacking == 0 {
            return Ok(());
        }
        if progress && told != Some((ranges, lacking)) {
            eprintln!("{} of {ranges} ranges have their replicas", ranges - lacking.min(ranges));
            told = Some((ranges, lacking));
        }
        if Instant::now() >= deadline {
            bail!("{lacking} of {ranges} ranges still lack replicas after {REPLICATED_LIMIT:?}");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The nodes as a table.
pub async fn table(state: &ClusterState) -> String {
    let mut rows = vec![["node", "region", "state", "SQL URL", "HTTP URL", "pid"].map(str::to_owned)];
    for node in &state.nodes {
        let status = if !node.running() {
            "down".to_owned()
        } else {
            match get(node, "/health/ready").await {
                Ok((200, _)) => "ready".to_owned(),
                Ok((_, reason)) => reason.trim().to_owned(),
                Err(_) => "no answer".to_owned(),
            }
        };
        rows.push([node.number.to_string(), node.region.clone(), status, node.sql_url(), node.http_url(), node.pid.to_string()]);
    }
    let widths: Vec<usize> = (0..6).map(|c| rows.iter().map(|r| r[c].len()).max().unwrap_or(0)).collect();
    rows.iter()
        .map(|row| row.iter().zip(&widths).map(|(v, w)| format!("{v:<w$}  ")).collect::<String>().trim_end().to_owned() + "\n")
        .collect()
}
