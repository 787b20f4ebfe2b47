//! Carries the quorum's messages to the controller listeners of other nodes.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_controller::{Carried, Destination, Lane, Probe, Probing, Transport};
use ottla_metadata::Endpoint;
use ottla_protocol::messages::QuorumMessageRequest;
use ottla_protocol::{BrokerId, ErrorCode, StrBytes};
use parking_lot::Mutex;
use tokio::net::TcpStream;

use super::{Limits, PeerError, Peers};

/// A machine in reach answers a probe at once.
const PROBE_MAX: Duration = Duration::from_millis(100);

/// What is carried on, and for whom.
#[derive(Debug, Clone)]
pub struct QuorumPeers {
    pub cluster_id: Arc<str>,
    pub node_id: BrokerId,
    /// Where voters are by configuration; goes before what the log says of them.
    pub addresses: BTreeMap<BrokerId, Endpoint>,
}

/// The transport of the quorum: each lane is a connection of its own.
pub struct QuorumTransport {
    who: QuorumPeers,
    raft: Peers,
    control: Peers,
    heartbeat: Peers,
    observe: Peers,
    bulk: Peers,
    /// What was complained of last, so that it is said once.
    complaint: Arc<Mutex<String>>,
}

impl QuorumTransport {
    /// `limits` is what any lane may cost; each lowers what it must.
    pub fn new(who: QuorumPeers, limits: &Limits) -> Self {
        let lane = |name: &str, request_timeout: Duration| {
            let limits = Limits {
                request_timeout,
                connect_timeout: limits.connect_timeout.min(Duration::from_secs(2)),
                // Elections and forwarded requests wait for these connections.
                backoff_max: Duration::from_millis(200),
                ..limits.clone()
            };
            Peers::new(&format!("node-{}-{name}", who.node_id), limits)
        };
        let second = Duration::from_secs(1);
        Self {
            raft: lane("raft", 2 * second),
            control: lane("control", 10 * second),
            heartbeat: lane("heartbeat", 2 * second),
            observe: lane("observe", 30 * second),
            bulk: lane("snapshot", 60 * second),
            complaint: Arc::default(),
            who,
        }
    }
}

impl Transport for QuorumTransport {
    fn call(&self, to: Destination, lane: Lane, message: Bytes) -> Carried {
        let configured = to.id.and_then(|id| self.who.addresses.get(&id).cloned());
        let Some(endpoint) = configured.or(to.endpoint) else {
            return Box::pin(async { Err(io::Error::new(io::ErrorKind::NotConnected, "no address is known")) });
        };
        let lane = match lane {
            Lane::Raft => &self.raft,
            Lane::Control => &self.control,
            Lane::Heartbeat => &self.heartbeat,
            Lane::Observe => &self.observe,
            Lane::Bulk => &self.bulk,
        };
        let (lane, complaint) = (lane.clone(), Arc::clone(&self.complaint));
        let request = QuorumMessageRequest::default()
            .with_cluster_id(StrBytes::from_string(self.who.cluster_id.to_string()))
            .with_from_id(self.who.node_id.0.into())
            .with_to_id(to.id.map_or(-1, |id| id.0).into())
            .with_payload(message);
        Box::pin(async move {
            let answer = lane.call(&endpoint, 0, &request).await.map_err(into_io)?;
            if answer.error_code == 0 {
                return Ok(answer.payload);
            }
            let text = answer.error_message.as_deref().unwrap_or("refused");
            let code = ErrorCode::from_code(answer.error_code).unwrap_or(ErrorCode::UnknownServerError);
            let text = format!("{}:{} refuses this node's messages: {text}", endpoint.host, endpoint.port);
            if matches!(code, ErrorCode::InconsistentClusterId | ErrorCode::InvalidRequest) {
                let mut complaint = complaint.lock();
                if *complaint != text {
                    tracing::error!("{text}");
                    complaint.clone_from(&text);
                }
            }
            Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
        })
    }

    fn probe(&self, address: Endpoint) -> Probing {
        Box::pin(async move {
            let connecting = TcpStream::connect((&*address.host, address.port));
            match tokio::time::timeout(PROBE_MAX, connecting).await {
                Ok(Ok(_)) => Probe::Listens,
                Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Probe::Refused,
                _ => Probe::Unknown,
            }
        })
    }
}

fn into_io(error: PeerError) -> io::Error {
    let kind = match &error {
        PeerError::Unreachable { kind, .. } => *kind,
        PeerError::Disconnected { .. } => io::ErrorKind::ConnectionReset,
        PeerError::TimedOut { .. } => io::ErrorKind::TimedOut,
        PeerError::Unsendable(_) | PeerError::Malformed(_) => io::ErrorKind::InvalidData,
        PeerError::Closed => io::ErrorKind::NotConnected,
    };
    io::Error::new(kind, error)
}
