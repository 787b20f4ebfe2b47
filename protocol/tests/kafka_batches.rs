//! Batches that Apache Kafka 4.3.1 built (tests/data/kafka_batches.txt: codec, number of records, bytes).
#![allow(clippy::unwrap_used)]

use ottla_protocol::control_record::{ControlRecord, end_txn_marker};
use ottla_protocol::record_batch::{BatchBuilder, BatchView, stamp};
use ottla_protocol::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

fn fixtures() -> impl Iterator<Item = (&'static str, usize, Vec<u8>)> {
    include_str!("data/kafka_batches.txt").lines().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let bytes = (0..words[2].len()).step_by(2).map(|at| u8::from_str_radix(&words[2][at..at + 2], 16).unwrap());
        (words[0], words[1].parse().unwrap(), bytes.collect())
    })
}

#[test]
fn kafkas_batches_are_read() {
    for (codec, count, bytes) in fixtures().filter(|fixture| fixture.0 != "commit") {
        let batch = BatchView::parse(&bytes).unwrap();
        assert!(batch.crc_is_valid());
        assert_eq!(batch.codec().unwrap().id().to_string(), codec);
        let mut records = batch.records().unwrap();
        let mut read = 0;
        while let Some(record) = records.next_record().unwrap() {
            assert_eq!(record.key.unwrap(), format!("key-{read}").as_bytes());
            assert_eq!(record.value.unwrap(), format!("value {read} {}", read * read).as_bytes());
            assert_eq!(batch.timestamp_of(record.timestamp_delta).0, 1_700_000_000_000 + read as i64);
            let header = record.headers().next().unwrap();
            assert_eq!((header.key, header.value.unwrap()), (&b"h"[..], &[read as u8][..]));
            read += 1;
        }
        assert_eq!(read, count);
    }
}

#[test]
fn uncompressed_batches_are_built_byte_for_byte() {
    for (_, count, expected) in fixtures().filter(|fixture| fixture.0 == "0") {
        let mut builder = BatchBuilder::new();
        for n in 0..count {
            let (key, value) = (format!("key-{n}"), format!("value {n} {}", n * n));
            let timestamp = Timestamp(1_700_000_000_000 + n as i64);
            let header = [n as u8];
            builder.push(timestamp, Some(key.as_bytes()), Some(value.as_bytes()), &[("h", Some(&header))]);
        }
        assert_eq!(builder.build(), expected);
    }
}

#[test]
fn a_commit_marker_is_built_byte_for_byte() {
    let (_, _, expected) = fixtures().find(|fixture| fixture.0 == "commit").unwrap();
    let marker = end_txn_marker(ProducerId(77), ProducerEpoch(5), 11, true, Timestamp(1_700_000_000_000));
    let mut marker = marker.to_vec();
    stamp(&mut marker, Offset(7), LeaderEpoch(3));
    assert_eq!(marker, expected);
    let batch = BatchView::parse(&expected).unwrap();
    assert_eq!(ControlRecord::of_batch(&batch).unwrap(), ControlRecord::Commit { coordinator_epoch: 11 });
}
