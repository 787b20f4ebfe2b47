//! DescribeProducers v0, DescribeTransactions v0, ListTransactions v0-2.

use ottla_protocol::messages::{DescribeProducersRequest, DescribeTransactionsRequest, ListTransactionsRequest};

use super::{ApiSpec, House, Reply, RequestContext};

/// Handler of DescribeProducers, DescribeTransactions, ListTransactions.
pub struct TxnAdmin {}

impl TxnAdmin {
    /// What is advertised of this family: nothing until it is built.
    pub const APIS: &'static [ApiSpec] = &[];

    pub fn new(_house: &House) -> Self {
        Self {}
    }

    pub async fn describe_producers(&self, _cx: &RequestContext, _request: DescribeProducersRequest) -> Reply {
        Reply::Close
    }

    pub async fn describe_transactions(&self, _cx: &RequestContext, _request: DescribeTransactionsRequest) -> Reply {
        Reply::Close
    }

    pub async fn list_transactions(&self, _cx: &RequestContext, _request: ListTransactionsRequest) -> Reply {
        Reply::Close
    }
}
