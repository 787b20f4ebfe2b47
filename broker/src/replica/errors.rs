//! Why a partition refused.

use ottla_protocol::ErrorCode;

/// Why an append was refused.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// This broker does not lead the partition.
    #[error("not the leader")]
    NotLeader,
    /// `acks=all`, and fewer replicas are in sync than `min.insync.replicas`. Nothing was written.
    #[error("{in_sync} replicas in sync, {required} required")]
    NotEnoughReplicas { in_sync: usize, required: usize },
    /// The log refused the records or could not write them.
    #[error(transparent)]
    Log(#[from] ottla_storage::AppendError),
}

impl AppendError {
    /// The code a producer is told.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            Self::NotLeader => ErrorCode::NotLeaderOrFollower,
            Self::NotEnoughReplicas { .. } => ErrorCode::NotEnoughReplicas,
            Self::Log(error) => error.error_code(),
        }
    }
}

/// Why a read was refused: the code a fetcher is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0:?}")]
pub struct ReadError(pub ErrorCode);

impl From<ErrorCode> for ReadError {
    fn from(code: ErrorCode) -> Self {
        Self(code)
    }
}
