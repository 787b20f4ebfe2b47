//! AlterReplicaLogDirs v1-2, DescribeLogDirs v1-5.

use ottla_protocol::messages::{AlterReplicaLogDirsRequest, DescribeLogDirsRequest};

use super::{ApiSpec, House, Reply, RequestContext};

/// Handler of AlterReplicaLogDirs, DescribeLogDirs.
pub struct LogDirs {}

impl LogDirs {
    /// What is advertised of this family: nothing until it is built.
    pub const APIS: &'static [ApiSpec] = &[];

    pub fn new(_house: &House) -> Self {
        Self {}
    }

    pub async fn alter_replica_log_dirs(&self, _cx: &RequestContext, _request: AlterReplicaLogDirsRequest) -> Reply {
        Reply::Close
    }

    pub async fn describe_log_dirs(&self, _cx: &RequestContext, _request: DescribeLogDirsRequest) -> Reply {
        Reply::Close
    }
}
