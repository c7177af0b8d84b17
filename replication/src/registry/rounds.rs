//! What the registry does again and again: heartbeats, and the reading of records. Both end with the registry.

use std::sync::Weak;
use std::time::Duration;

use meridian_clock::Rng;
use meridian_storage::key::KEY_MIN;
use rand::Rng as _;

use super::records::{Answer, Gossip, Question, encode};
use super::{Health, Registry, RegistryError, RegistryOptions};

pub(super) fn jittered(pause: Duration, rng: &mut Rng) -> Duration {
    pause.mul_f64(rng.random_range(0.75..1.25))
}

/// Says `I am here`, and notices who has fallen silent.
pub(super) async fn heartbeats(registry: Weak<Registry>, interval: Duration, mut rng: Rng) {
    let mut healths = Vec::new();
    loop {
        {
            let Some(registry) = registry.upgrade() else { return };
            registry.heartbeat();
            let now: Vec<_> = registry.statuses().into_iter().map(|status| (status.id, status.health)).collect();
            if now != healths {
                registry.changes.send_modify(|_| {});
                healths = now;
            }
        }
        tokio::time::sleep(jittered(interval, &mut rng)).await;
    }
}

/// Registers, then reads the records of all nodes again and again; asks the join addresses when nobody is heard.
pub(super) async fn refreshes(registry: Weak<Registry>, options: RegistryOptions, mut rng: Rng) {
    let mut registered = false;
    loop {
        {
            let Some(registry) = registry.upgrade() else { return };
            registry.ask_around_if_alone().await;
            let outcome = if registered { registry.read_records().await } else { registry.register().await };
            match outcome {
                Ok(()) => registered = true,
                Err(RegistryError::Removed(_)) => registry.stand_down(),
                Err(error @ RegistryError::OtherCluster { .. }) => tracing::error!("{error}"),
                Err(error) => tracing::debug!("registry: {error}"),
            }
        }
        let pause = if registered { options.refresh } else { options.retry };
        tokio::time::sleep(jittered(pause, &mut rng)).await;
    }
}

impl Registry {
    fn heartbeat(&self) {
        if let Some(replica) = self.host.get().and_then(|host| host.replica_for_key(KEY_MIN)) {
            self.publish_first_range(&replica.descriptor());
        }
        let us = self.transport.local();
        let (message, peers) = {
            let table = self.table.lock();
            let Some(record) = table.record(us).cloned() else { return };
            let first_generation = table.first_range().map_or(0, |first| first.generation);
            let message = Gossip::Heartbeat { record, load: *self.own_load.lock(), digest: table.digest(), first_generation };
            (encode(&message), table.records().filter(|r| r.id != us && !r.removed).map(|r| r.id).collect::<Vec<_>>())
        };
        for peer in peers {
            self.tell(peer, message.clone());
        }
    }

    /// After a restart everybody may have moved: the join addresses are asked while nobody is heard.
    async fn ask_around_if_alone(&self) {
        let us = self.transport.local();
        if self.statuses().iter().any(|status| status.id != us && status.health == Health::Live) {
            return;
        }
        for address in self.join.iter().filter(|address| **address != self.addresses.rpc) {
            if let Ok(Answer::Nodes { cluster, knowledge }) = self.ask(address, &Question::Nodes).await
                && self.identity.get().is_some_and(|us| us.cluster == cluster)
                && let Err(error) = self.learn(knowledge)
            {
                tracing::warn!("could not keep what is known of the cluster: {error}");
            }
        }
    }
}
