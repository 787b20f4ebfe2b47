//! A type of ours that takes the place of the crate's has the same default, so that a builder may leave out what the
//! crate's type lets it leave out.
#![allow(clippy::unwrap_used)]

use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Encodable, Message};
use ottla_protocol::messages as ours;

fn encoded<M: Encodable + Default>(version: i16) -> Vec<u8> {
    let mut bytes = Vec::new();
    M::default().encode(&mut bytes, version).unwrap();
    bytes
}

macro_rules! same_defaults {
    ($($message:ident)*) => {
        #[test]
        fn defaults_are_the_crates() {
            $(
                let range = theirs::$message::VERSIONS;
                assert_eq!(range.min, ours::$message::VERSIONS.min);
                for version in range.min..=range.max {
                    let message = stringify!($message);
                    assert_eq!(encoded::<ours::$message>(version), encoded::<theirs::$message>(version), "{message} v{version}");
                }
            )*
        }
    };
}

same_defaults! {
    ListOffsetsRequest ListOffsetsResponse
    OffsetCommitRequest OffsetCommitResponse
    OffsetFetchRequest OffsetFetchResponse
    WriteTxnMarkersRequest WriteTxnMarkersResponse
    DescribeLogDirsRequest DescribeLogDirsResponse
    BrokerHeartbeatRequest BrokerHeartbeatResponse
    ShareFetchRequest ShareFetchResponse
    ShareAcknowledgeRequest ShareAcknowledgeResponse
    AddRaftVoterRequest AddRaftVoterResponse
    WriteShareGroupStateRequest WriteShareGroupStateResponse
    ReadShareGroupStateSummaryRequest ReadShareGroupStateSummaryResponse
    DescribeShareGroupOffsetsRequest DescribeShareGroupOffsetsResponse
}
