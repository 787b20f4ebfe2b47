//! Which partition of an internal topic a key belongs to.

/// Java's `String.hashCode`, over UTF-16 units: the clients of other brokers of the cluster must come to the same
/// partition.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// The partition of a group or a transactional id.
pub fn partition_for(key: &str, partitions: i32) -> i32 {
    // As Kafka takes absolute values: the one that has none becomes 0.
    let hash = java_hash(key);
    let positive = if hash == i32::MIN { 0 } else { hash.abs() };
    positive % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_javas() {
        assert_eq!(java_hash(""), 0);
        assert_eq!(java_hash("hello"), 99_162_322);
        assert_eq!(java_hash("polygenelubricants"), i32::MIN);
        assert_eq!(java_hash("größe"), "größe".encode_utf16().fold(0_i32, |h, u| h.wrapping_mul(31) + i32::from(u)));
        assert_eq!(partition_for("polygenelubricants", 50), 0);
        assert_eq!(partition_for("console-consumer-1", 1), 0);
        assert_eq!(partition_for("hello", 50), 22);
    }
}
