//! `meridian init`: tells one waiting node to found the cluster.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use meridian_clock::{Clock, Entropy, SharedHostClock, TaskGroup};
use meridian_replication::registry;
use meridian_replication::transport::LatencyMatrix;
use meridian_replication::transport::grpc::{GrpcConfig, GrpcTransport, TlsPaths, TransportLimits};

/// Asks the node that listens at `address` to found the cluster, trying until `limit` while it is not up yet.
pub async fn run(address: &str, limit: Duration) -> Result<()> {
    run_with(address, limit, None).await
}

/// The same, over TLS if material is given.
pub async fn run_with(address: &str, limit: Duration, tls: Option<TlsPaths>) -> Result<()> {
    // The clock of a client that only asks: its reading is never used for a timestamp.
    let clock = Clock::new(Arc::new(SharedHostClock))?;
    let tasks = TaskGroup::new();
    let config = GrpcConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        region: String::new(),
        latency: LatencyMatrix::new(),
        tls,
        limits: TransportLimits::default(),
    };
    let transport = GrpcTransport::start(config, clock, &Entropy::from_os(), tasks.clone()).await?;
    let deadline = tokio::time::Instant::now() + limit;
    let outcome = loop {
        match registry::init(&*transport, address).await {
            Ok(identity) => break Ok(identity),
            Err(error) if tokio::time::Instant::now() >= deadline => break Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    };
    tasks.abort_all();
    let identity = outcome.with_context(|| format!("asking {address} to found a cluster"))?;
    println!("cluster {:032x} founded by {}", identity.cluster, identity.node);
    Ok(())
}
