//! What became of other transactions: pushed, recovered, asked about at their coordinators.

use futures::future::BoxFuture;
use meridian_clock::Timestamp;
use meridian_replication::api::NodeId;
use meridian_storage::Key;
use meridian_storage::mvcc::AttemptId;

use super::{Route, Router, unexpected};
use crate::api::KvError;
use crate::attempt::{self, NOBODY};
use crate::request::{Envelope, Fate, Header, Request, Response};

impl Router {
    /// A leaseholder cannot reach the record of an intent that is in this gateway's way: settles it from here, if that is possible, and tells the leaseholder. In vain
    /// it costs the time of a few calls, and the request is made again in any case.
    pub(super) fn settle_for<'a>(
        &'a self,
        route: &'a Route,
        header: &'a Header,
        (target, anchor): (AttemptId, Key),
        key: Key,
        push_to: Option<Timestamp>,
        suspect: bool,
    ) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let alive = self.alive(target).await;
            let (force, suspect) = (alive == Some(false), suspect && alive.is_none());
            let Ok(fate) = self.settle(target, &anchor, push_to, force, suspect).await else { return };
            if let Err(error) = self.send(route, header, Request::Learn { target, fate, key }).await {
                tracing::debug!(?target, ?error, "told a leaseholder in vain what became of an intent");
            }
        })
    }

    /// What became of `target`, settling it if it is abandoned: pushed, or recovered by the one way there is (C6, C7).
    /// Boxed, because settling asks ranges, and asking a range may come back here.
    pub(crate) fn settle<'a>(
        &'a self,
        target: AttemptId,
        anchor: &'a Key,
        to: Option<Timestamp>,
        force: bool,
        suspect: bool,
    ) -> BoxFuture<'a, Result<Fate, KvError>> {
        Box::pin(async move {
            let nobody = self.system_header();
            let push = Request::Push { target, anchor: anchor.clone(), to, force, suspect };
            match self.ask(anchor, &nobody, &push).await? {
                Response::Fate(Fate::Staging { at, keys }) => self.recover(target, anchor, at, keys).await,
                Response::Fate(fate) => Ok(fate),
                other => Err(unexpected(&other)),
            }
        })
    }

    async fn recover(&self, target: AttemptId, anchor: &Key, staged: Timestamp, keys: Vec<Key>) -> Result<Fate, KvError> {
        let nobody = self.system_header();
        let found = self.ask_all(&keys, &nobody, &|keys| Request::Prevent { target, at: staged, keys }).await?;
        let commit = found.iter().all(|r| matches!(r, Response::AllThere(true)));
        tracing::debug!(node = %self.node, ?target, %staged, commit, "asked for the writes of a staging");
        let decide = Request::Recover { target, anchor: anchor.clone(), staged, commit };
        let fate = match self.ask(anchor, &nobody, &decide).await? {
            Response::Fate(fate) => fate,
            other => return Err(unexpected(&other)),
        };
        tracing::debug!(node = %self.node, ?target, %staged, commit, ?fate, "settled a staging");
        let outcome = match &fate {
            Fate::Committed(at) => Some(*at),
            Fate::Aborted => None,
            _ => return Ok(fate),
        };
        // The one who waits resolves the intent that it met; the others are cleaned up behind its back.
        if let Some(me) = self.registry.router() {
            self.tasks.spawn(async move {
                let nobody = me.system_header();
                let _ = me.ask_all(&keys, &nobody, &|keys| Request::Resolve { target, at: outcome, keys }).await;
            });
        }
        Ok(fate)
    }

    /// Whether `attempt` is still run by its coordinator; `None` if that cannot be reached.
    pub(crate) async fn alive(&self, attempt: AttemptId) -> Option<bool> {
        let node = attempt::coordinator(attempt);
        if attempt == NOBODY {
            return Some(true);
        }
        if node == self.node {
            return Some(self.registry.is_alive(attempt));
        }
        self.question::<Vec<bool>>(node, &Envelope::Alive(vec![attempt])).await?.first().copied()
    }

    /// Which of `attempts` are still run by `node`; `None` if it cannot be reached.
    pub(crate) async fn all_alive(&self, node: NodeId, attempts: &[AttemptId]) -> Option<Vec<bool>> {
        if node == self.node {
            return Some(attempts.iter().map(|a| self.registry.is_alive(*a)).collect());
        }
        let answer: Vec<bool> = self.question(node, &Envelope::Alive(attempts.to_vec())).await?;
        (answer.len() == attempts.len()).then_some(answer)
    }

    /// A quick question to another node; `None` if it does not answer.
    pub(super) async fn question<T: serde::de::DeserializeOwned>(&self, node: NodeId, envelope: &Envelope) -> Option<T> {
        let body = postcard::to_stdvec(envelope).ok()?;
        let answer = self.links.question(node, body.into()).await?;
        postcard::from_bytes(&answer).ok()
    }
}
