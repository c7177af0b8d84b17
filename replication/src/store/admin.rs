//! Range administration from other nodes: [`Service::Admin`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use meridian_storage::{Key, StorageError};
use serde::{Deserialize, Serialize};

use super::Store;
use super::codec::{from_bytes, to_bytes};
use crate::api::{AdminError, NodeId, NotLeaseholder, ProposeError, RangeAdmin as _, RangeHost as _, RangeId};
use crate::consistency::ChecksumReport;
use crate::transport::{Handler, Service, TrafficClass, Transport, TransportError};

/// What can be asked of the node that leads a range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdminRequest {
    /// [`crate::api::RangeReplica::split`]
    Split { range: RangeId, key: Key },
    /// [`crate::api::RangeReplica::transfer_lease`]
    TransferLease { range: RangeId, to: NodeId },
    /// [`crate::api::RangeAdmin::change_replicas`]
    ChangeReplicas { range: RangeId, add: Option<NodeId>, remove: Option<NodeId> },
    /// [`Store::check_replicas`]
    Checksum { range: RangeId },
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdminReply {
    /// Done.
    Done,
    /// The answer to [`AdminRequest::Checksum`].
    Checksum(ChecksumReport),
    /// Ask `leader`.
    NotLeaseholder(NotLeaseholder),
    /// [`AdminError::Invalid`]
    Invalid(String),
    /// [`ProposeError::Ambiguous`]
    Ambiguous(RangeId),
    /// [`ProposeError::Overloaded`]
    Overloaded(RangeId),
    /// [`StorageError::DiskFull`]
    DiskFull(String),
    /// Any other failure of the store there.
    Storage(String),
}

impl From<AdminError> for AdminReply {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::NotLeaseholder(e) | AdminError::Propose(ProposeError::NotLeaseholder(e)) => AdminReply::NotLeaseholder(e),
            AdminError::Invalid(why) => AdminReply::Invalid(why),
            AdminError::Propose(ProposeError::Ambiguous(range)) => AdminReply::Ambiguous(range),
            AdminError::Propose(ProposeError::Overloaded(range)) => AdminReply::Overloaded(range),
            AdminError::Propose(ProposeError::Storage(StorageError::DiskFull(what))) => AdminReply::DiskFull(what),
            AdminError::Propose(ProposeError::Storage(error)) => AdminReply::Storage(error.to_string()),
        }
    }
}

/// Why a request to another node has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AdminCallError {
    /// The node could not be asked, or did not answer.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// It answered with an error.
    #[error(transparent)]
    Admin(#[from] AdminError),
}

/// Asks `node` to carry out `request`. `Ok(None)` unless it was a checksum.
pub async fn call(
    transport: &dyn Transport,
    node: NodeId,
    request: &AdminRequest,
    deadline: Duration,
) -> Result<Option<ChecksumReport>, AdminCallError> {
    let answer = transport.call(node, TrafficClass::Control, Service::Admin, to_bytes(request).into(), deadline).await?;
    let reply: AdminReply = from_bytes(&answer, "admin reply").map_err(|e| TransportError::Refused(node, e.to_string()))?;
    let error = match reply {
        AdminReply::Done => return Ok(None),
        AdminReply::Checksum(report) => return Ok(Some(report)),
        AdminReply::NotLeaseholder(e) => AdminError::NotLeaseholder(e),
        AdminReply::Invalid(why) => AdminError::Invalid(why),
        AdminReply::Ambiguous(range) => AdminError::Propose(ProposeError::Ambiguous(range)),
        AdminReply::Overloaded(range) => AdminError::Propose(ProposeError::Overloaded(range)),
        AdminReply::DiskFull(what) => AdminError::Propose(ProposeError::Storage(StorageError::DiskFull(what))),
        AdminReply::Storage(what) => AdminError::Propose(ProposeError::Storage(StorageError::Io(what))),
    };
    Err(error.into())
}

/// The receiving side.
pub(crate) struct AdminHandler(pub Arc<Store>);

#[async_trait]
impl Handler for AdminHandler {
    fn message(&self, _: NodeId, _: Bytes) {}

    async fn call(&self, _: NodeId, body: Bytes) -> Result<Bytes, String> {
        let request: AdminRequest = from_bytes(&body, "admin request").map_err(|e| e.to_string())?;
        let reply = match self.carry_out(request).await {
            Ok(Some(report)) => AdminReply::Checksum(report),
            Ok(None) => AdminReply::Done,
            Err(error) => error.into(),
        };
        Ok(to_bytes(&reply).into())
    }
}

impl AdminHandler {
    async fn carry_out(&self, request: AdminRequest) -> Result<Option<ChecksumReport>, AdminError> {
        match request {
            AdminRequest::Split { range, key } => {
                let replica = self.0.replica(range).ok_or(NotLeaseholder { range, leader: None })?;
                replica.split(key).await.map(|()| None)
            }
            AdminRequest::TransferLease { range, to } => self.0.transfer_lease(range, to).await.map(|()| None),
            AdminRequest::ChangeReplicas { range, add, remove } => self.0.change_replicas(range, add, remove).await.map(|()| None),
            AdminRequest::Checksum { range } => self.0.check_replicas(range).await.map(Some),
        }
    }
}
