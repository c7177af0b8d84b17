//! The receiving side of the registry.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use super::Registry;
use super::records::{Answer, Gossip, Identity, Question, VERSION, decode, encode};
use crate::api::NodeId;
use crate::transport::{Handler, NOBODY, Service, TrafficClass};

/// Hands what arrives to the registry, as long as there is one.
pub(super) struct Receiver(pub Weak<Registry>);

#[async_trait]
impl Handler for Receiver {
    fn message(&self, from: NodeId, body: Bytes) {
        let Some(registry) = self.0.upgrade() else { return };
        match decode(&body) {
            Ok(gossip) if from != NOBODY => registry.hear(from, gossip),
            Ok(_) => {}
            Err(error) => tracing::warn!(peer = %from, "{error}"),
        }
    }

    async fn call(&self, _from: NodeId, body: Bytes) -> Result<Bytes, String> {
        let registry = self.0.upgrade().ok_or("this node is going down")?;
        let answer = registry.answer(decode(&body)?).await?;
        Ok(encode(&answer))
    }
}

impl Registry {
    pub(super) fn tell(&self, peer: NodeId, message: Bytes) {
        // Whoever cannot be reached now is told again in a moment.
        let _ = self.transport.send(peer, TrafficClass::Control, Service::Registry, message);
    }

    fn hear(&self, from: NodeId, gossip: Gossip) {
        match gossip {
            Gossip::Heartbeat { record, load, digest, first_generation } => {
                if record.id != from {
                    return tracing::warn!(peer = %from, "a heartbeat in the name of {}", record.id);
                }
                let (news, reply) = {
                    let mut table = self.table.lock();
                    if table.record(from).is_some_and(|known| known.removed) {
                        drop(table);
                        return self.tell(from, encode(&Gossip::YouAreRemoved));
                    }
                    let now = Instant::now();
                    let news = table.merge_record(record, now);
                    table.heard(from, load, now);
                    let we_know_more =
                        table.digest() != digest || table.first_range().is_some_and(|first| first.generation > first_generation);
                    (news, we_know_more.then(|| encode(&Gossip::Knowledge(table.knowledge()))))
                };
                if news {
                    self.connect_all();
                    if let Err(error) = self.changed() {
                        tracing::warn!("could not keep what is known of the cluster: {error}");
                    }
                }
                if let Some(reply) = reply {
                    self.tell(from, reply);
                }
            }
            Gossip::Knowledge(knowledge) => {
                if let Err(error) = self.learn(knowledge) {
                    tracing::warn!("could not keep what is known of the cluster: {error}");
                }
            }
            Gossip::YouAreRemoved => self.stand_down(),
        }
    }

    async fn answer(self: &Arc<Self>, question: Question) -> Result<Answer, String> {
        if matches!(question, Question::Init) {
            return self.found().map(Answer::Founded);
        }
        let us = self.identity.get().ok_or("this node is in no cluster yet; run `meridian init` against one node")?;
        match question {
            Question::Join { version } if version != VERSION => {
                Err(format!("the new node has version {version} of the registry, this cluster version {VERSION}"))
            }
            Question::Join { .. } => {
                let node = self.allocate().await.map_err(|error| error.to_string())?;
                tracing::info!(%node, "a node joins");
                Ok(Answer::Welcome { identity: Identity { node, cluster: us.cluster }, knowledge: self.table.lock().knowledge() })
            }
            Question::Nodes => Ok(Answer::Nodes { cluster: us.cluster, knowledge: self.table.lock().knowledge() }),
            Question::Init => Err("already answered".into()),
        }
    }
}
