//! Every request and response of Kafka 4.3 as a struct.
//!
//! Most come from the `kafka-protocol` crate; what it lacks or knows only in older versions is generated from our own
//! tables (protocol/codegen) and takes the place of the crate's type under the same name, so that users need not know
//! the difference.

pub use kafka_protocol::messages::*;
pub use kafka_protocol::protocol::StrBytes;

pub mod add_raft_voter_request;
pub mod add_raft_voter_response;
pub mod broker_heartbeat_request;
pub mod broker_heartbeat_response;
pub mod describe_log_dirs_request;
pub mod describe_log_dirs_response;
pub mod describe_share_group_offsets_request;
pub mod describe_share_group_offsets_response;
pub mod list_offsets_request;
pub mod list_offsets_response;
pub mod offset_commit_request;
pub mod offset_commit_response;
pub mod offset_fetch_request;
pub mod offset_fetch_response;
pub mod quorum_message_request;
pub mod quorum_message_response;
pub mod read_share_group_state_summary_request;
pub mod read_share_group_state_summary_response;
pub mod share_acknowledge_request;
pub mod share_acknowledge_response;
pub mod share_fetch_request;
pub mod share_fetch_response;
pub mod streams_group_describe_request;
pub mod streams_group_describe_response;
pub mod streams_group_heartbeat_request;
pub mod streams_group_heartbeat_response;
pub mod write_share_group_state_request;
pub mod write_share_group_state_response;
pub mod write_txn_markers_request;
pub mod write_txn_markers_response;

pub use add_raft_voter_request::AddRaftVoterRequest;
pub use add_raft_voter_response::AddRaftVoterResponse;
pub use broker_heartbeat_request::BrokerHeartbeatRequest;
pub use broker_heartbeat_response::BrokerHeartbeatResponse;
pub use describe_log_dirs_request::DescribeLogDirsRequest;
pub use describe_log_dirs_response::DescribeLogDirsResponse;
pub use describe_share_group_offsets_request::DescribeShareGroupOffsetsRequest;
pub use describe_share_group_offsets_response::DescribeShareGroupOffsetsResponse;
pub use list_offsets_request::ListOffsetsRequest;
pub use list_offsets_response::ListOffsetsResponse;
pub use offset_commit_request::OffsetCommitRequest;
pub use offset_commit_response::OffsetCommitResponse;
pub use offset_fetch_request::OffsetFetchRequest;
pub use offset_fetch_response::OffsetFetchResponse;
pub use quorum_message_request::QuorumMessageRequest;
pub use quorum_message_response::QuorumMessageResponse;
pub use read_share_group_state_summary_request::ReadShareGroupStateSummaryRequest;
pub use read_share_group_state_summary_response::ReadShareGroupStateSummaryResponse;
pub use share_acknowledge_request::ShareAcknowledgeRequest;
pub use share_acknowledge_response::ShareAcknowledgeResponse;
pub use share_fetch_request::ShareFetchRequest;
pub use share_fetch_response::ShareFetchResponse;
pub use streams_group_describe_request::StreamsGroupDescribeRequest;
pub use streams_group_describe_response::StreamsGroupDescribeResponse;
pub use streams_group_heartbeat_request::StreamsGroupHeartbeatRequest;
pub use streams_group_heartbeat_response::StreamsGroupHeartbeatResponse;
pub use write_share_group_state_request::WriteShareGroupStateRequest;
pub use write_share_group_state_response::WriteShareGroupStateResponse;
pub use write_txn_markers_request::WriteTxnMarkersRequest;
pub use write_txn_markers_response::WriteTxnMarkersResponse;

macro_rules! apis {
    ($($key:literal $request:ident $response:ident;)*) => {
        $(
            impl kafka_protocol::protocol::Request for $request {
                const KEY: i16 = $key;
                type Response = $response;
            }
        )*
    };
}

apis! {
    2 ListOffsetsRequest ListOffsetsResponse;
    8 OffsetCommitRequest OffsetCommitResponse;
    9 OffsetFetchRequest OffsetFetchResponse;
    27 WriteTxnMarkersRequest WriteTxnMarkersResponse;
    35 DescribeLogDirsRequest DescribeLogDirsResponse;
    63 BrokerHeartbeatRequest BrokerHeartbeatResponse;
    78 ShareFetchRequest ShareFetchResponse;
    79 ShareAcknowledgeRequest ShareAcknowledgeResponse;
    80 AddRaftVoterRequest AddRaftVoterResponse;
    85 WriteShareGroupStateRequest WriteShareGroupStateResponse;
    87 ReadShareGroupStateSummaryRequest ReadShareGroupStateSummaryResponse;
    88 StreamsGroupHeartbeatRequest StreamsGroupHeartbeatResponse;
    89 StreamsGroupDescribeRequest StreamsGroupDescribeResponse;
    90 DescribeShareGroupOffsetsRequest DescribeShareGroupOffsetsResponse;
    20000 QuorumMessageRequest QuorumMessageResponse;
}
