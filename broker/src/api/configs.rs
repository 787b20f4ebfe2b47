//! DescribeConfigs v1-4, AlterConfigs v0-2, IncrementalAlterConfigs v0-1, ListConfigResources v0-1.

use ottla_protocol::messages::{
    AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest, ListConfigResourcesRequest,
};

use super::{ApiSpec, House, Reply, RequestContext};

/// Handler of DescribeConfigs, AlterConfigs, IncrementalAlterConfigs, ListConfigResources.
pub struct Configs {}

impl Configs {
    /// What is advertised of this family: nothing until it is built.
    pub const APIS: &'static [ApiSpec] = &[];

    pub fn new(_house: &House) -> Self {
        Self {}
    }

    pub async fn describe_configs(&self, _cx: &RequestContext, _request: DescribeConfigsRequest) -> Reply {
        Reply::Close
    }

    pub async fn alter_configs(&self, _cx: &RequestContext, _request: AlterConfigsRequest) -> Reply {
        Reply::Close
    }

    pub async fn incremental_alter_configs(
        &self,
        _cx: &RequestContext,
        _request: IncrementalAlterConfigsRequest,
    ) -> Reply {
        Reply::Close
    }

    pub async fn list_config_resources(&self, _cx: &RequestContext, _request: ListConfigResourcesRequest) -> Reply {
        Reply::Close
    }
}
