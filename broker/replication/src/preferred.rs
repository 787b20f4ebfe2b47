//! From which replica a consumer had better read (KIP-392): one in its own rack, if there is one that has what it asks for.

use ottla_protocol::{BrokerId, Offset, Timestamp};

/// A replica that could serve the read, with the rack of its broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate<'a> {
    pub broker: BrokerId,
    pub rack: Option<&'a str>,
    pub log_end: Offset,
    pub last_caught_up: Timestamp,
}

/// Of the replicas in the rack of the consumer the one that is furthest; the leader if it is there itself, or nobody is.
/// `None` is the leader.
pub fn rack_aware(rack: &str, leader_rack: Option<&str>, followers: &[Candidate<'_>]) -> Option<BrokerId> {
    if rack.is_empty() || leader_rack == Some(rack) {
        return None;
    }
    let here = followers.iter().filter(|follower| follower.rack == Some(rack));
    here.max_by_key(|follower| (follower.log_end, follower.last_caught_up)).map(|follower| follower.broker)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follower(id: i32, rack: &str, log_end: i64, last_caught_up: i64) -> Candidate<'_> {
        let (log_end, last_caught_up) = (Offset(log_end), Timestamp(last_caught_up));
        Candidate { broker: BrokerId(id), rack: Some(rack), log_end, last_caught_up }
    }

    #[test]
    fn the_nearest_replica_is_preferred_and_of_those_the_furthest() {
        let followers =
            [follower(2, "b", 10, 5), follower(3, "b", 10, 6), follower(4, "b", 9, 9), follower(5, "c", 10, 9)];
        assert_eq!(rack_aware("b", Some("a"), &followers), Some(BrokerId(3)));
        assert_eq!(rack_aware("a", Some("a"), &followers), None, "the leader is there itself");
        assert_eq!(rack_aware("d", Some("a"), &followers), None, "nobody is there");
        assert_eq!(rack_aware("", None, &followers), None, "the consumer does not say where it is");
    }
}
