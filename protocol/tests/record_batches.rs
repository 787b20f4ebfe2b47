//! Batches as they are built, read, stamped and broken.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use ottla_protocol::compression::{Budget, Codec, CompressionError, compress};
use ottla_protocol::record_batch::*;
use ottla_protocol::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};
use proptest::prelude::*;

const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

type Header = (String, Option<Vec<u8>>);
type Record = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<Header>);

fn build(builder: BatchBuilder, records: &[Record]) -> Bytes {
    let mut builder = builder;
    for (timestamp, key, value, headers) in records {
        let headers: Vec<_> = headers.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        builder.push(Timestamp(*timestamp), key.as_deref(), value.as_deref(), &headers);
    }
    builder.build()
}

fn read(batch: &BatchView<'_>) -> Result<Vec<Record>, BatchError> {
    let mut all = Vec::new();
    let mut records = batch.records()?;
    while let Some(record) = records.next_record()? {
        assert_eq!(record.offset_delta as usize, all.len());
        let headers = record
            .headers()
            .map(|header| (String::from_utf8(header.key.to_vec()).unwrap(), header.value.map(<[u8]>::to_vec)));
        all.push((
            batch.timestamp_of(record.timestamp_delta).0,
            record.key.map(<[u8]>::to_vec),
            record.value.map(<[u8]>::to_vec),
            headers.collect(),
        ));
    }
    Ok(all)
}

fn some_record() -> impl Strategy<Value = Record> {
    let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300));
    let headers = proptest::collection::vec(("[a-zé]{0,8}", bytes()), 0..4);
    (0..1_900_000_000_000_i64, bytes(), bytes(), headers)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_batch_survives_every_codec(records in proptest::collection::vec(some_record(), 1..30), codec in 0..5_usize) {
        let bytes = build(BatchBuilder::new().compression(CODECS[codec], None), &records);
        let batch = BatchView::parse(&bytes).unwrap();
        prop_assert_eq!(batch.codec().unwrap(), CODECS[codec]);
        prop_assert_eq!(batch.crc, crc32c::crc32c(&bytes[PREFIX_SIZE..]));
        prop_assert_eq!(batch.record_count as usize, records.len());
        prop_assert_eq!(batch.last_offset_delta as usize, records.len() - 1);
        prop_assert_eq!(batch.max_timestamp.0, records.iter().map(|record| record.0).max().unwrap());
        prop_assert_eq!(batch.size(), bytes.len());
        prop_assert_eq!(read(&batch).unwrap(), records);
    }

    #[test]
    fn random_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..400), attributes: i16) {
        let mut bytes = bytes;
        for batch in batches(&bytes) {
            let _ = batch.map(|batch| read_all(&batch));
        }
        // The same as the payload of a sound header.
        if bytes.len() > HEADER_SIZE {
            let length = (bytes.len() - LOG_OVERHEAD) as i32;
            bytes[8..12].copy_from_slice(&length.to_be_bytes());
            bytes[16] = 2;
            bytes[21..23].copy_from_slice(&attributes.to_be_bytes());
            bytes[57..61].copy_from_slice(&1000_i32.to_be_bytes());
            let _ = read_all(&BatchView::parse(&bytes).unwrap());
        }
    }

    #[test]
    fn a_flipped_bit_in_the_payload_is_seen_or_harmless(
        records in proptest::collection::vec(some_record(), 1..10), codec in 0..5_usize, at: prop::sample::Index, bit in 0..8_u8,
    ) {
        let mut bytes = build(BatchBuilder::new().compression(CODECS[codec], None), &records).to_vec();
        let at = HEADER_SIZE + at.index(bytes.len() - HEADER_SIZE);
        bytes[at] ^= 1 << bit;
        let batch = BatchView::parse(&bytes).unwrap();
        prop_assert!(!batch.crc_is_valid());
        let _ = read_all(&batch);
    }
}

fn read_all(batch: &BatchView<'_>) -> Result<usize, BatchError> {
    let mut records = batch.records()?;
    let mut count = 0;
    while let Some(record) = records.next_record()? {
        count += 1 + record.headers().count();
    }
    Ok(count)
}

fn sample(codec: Codec) -> Vec<u8> {
    let records: Vec<Record> =
        (0..10).map(|n| (1000 + n, Some(vec![b'k'; 3]), Some(vec![n as u8; 50]), vec![])).collect();
    let builder = BatchBuilder::new().compression(codec, None).producer(ProducerId(7), ProducerEpoch(2), 40);
    build(builder, &records).to_vec()
}

#[test]
fn a_mutation_of_any_byte_that_the_crc_covers_is_seen() {
    for at in 0..HEADER_SIZE {
        let mut bytes = sample(Codec::None);
        bytes[at] ^= 0x55;
        match (at, BatchView::parse(&bytes)) {
            // Base offset and leader epoch are the leader's to write.
            (0..8 | 12..16, Ok(batch)) => assert!(batch.crc_is_valid(), "byte {at}"),
            (8..12, Ok(batch)) => panic!("byte {at}: size {}", batch.size()),
            (8..12, Err(BatchError::Incomplete { .. } | BatchError::LengthTooSmall(_))) => {}
            (16, Err(BatchError::UnsupportedMagic(magic))) => assert_eq!(magic, 2 ^ 0x55),
            (17.., Ok(batch)) => assert!(matches!(batch.check_crc(), Err(BatchError::CrcMismatch { .. })), "byte {at}"),
            (at, other) => panic!("byte {at}: {other:?}"),
        }
    }
}

#[test]
fn record_counts_that_lie_are_seen() {
    for codec in CODECS {
        for (count, ok) in [(10, true), (9, false), (11, false), (0, false), (i32::MAX, false), (-1, false)] {
            let mut bytes = sample(codec);
            bytes[57..61].copy_from_slice(&i32::to_be_bytes(count));
            assert_eq!(read_all(&BatchView::parse(&bytes).unwrap()).is_ok(), ok, "{codec:?} {count}");
        }
    }
}

#[test]
fn a_payload_that_is_cut_off_is_seen() {
    for codec in CODECS {
        let whole = sample(codec);
        for end in HEADER_SIZE..whole.len() {
            let mut bytes = whole[..end].to_vec();
            bytes[8..12].copy_from_slice(&((end - LOG_OVERHEAD) as i32).to_be_bytes());
            assert!(read_all(&BatchView::parse(&bytes).unwrap()).is_err(), "{codec:?}, {end} of {}", whole.len());
        }
    }
}

#[test]
fn bytes_behind_the_payload_are_seen() {
    for codec in CODECS {
        let mut bytes = sample(codec);
        bytes.extend_from_slice(&[0; 9]);
        let length = (bytes.len() - LOG_OVERHEAD) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        assert!(read_all(&BatchView::parse(&bytes).unwrap()).is_err(), "{codec:?}");
    }
}

#[test]
fn negative_lengths_are_seen() {
    // A record of length -1, a key of length -2, a header without a key.
    for payload in [&[0x01][..], &[0x0c, 0, 0, 0, 0x03, 0x01, 0], &[0x0e, 0, 0, 0, 0x01, 0x01, 0x02, 0x01]] {
        let mut bytes = sample(Codec::None)[..HEADER_SIZE].to_vec();
        bytes.extend_from_slice(payload);
        let length = (bytes.len() - LOG_OVERHEAD) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[57..61].copy_from_slice(&1_i32.to_be_bytes());
        let result = read_all(&BatchView::parse(&bytes).unwrap());
        assert!(matches!(result, Err(BatchError::InvalidRecord { index: 0, .. })), "{payload:?}: {result:?}");
    }
}

#[test]
fn batches_are_walked_until_a_cut_off_one() {
    let batch = sample(Codec::Lz4);
    let mut log = [batch.clone(), batch.clone(), batch.clone()].concat();
    assert_eq!(batches(&log).filter(Result::is_ok).count(), 3);
    log.truncate(log.len() - 1);
    let walked: Vec<_> = batches(&log).collect();
    assert_eq!(walked.len(), 3);
    assert!(matches!(walked[2], Err(BatchError::Incomplete { needed, available }) if needed == available + 1));
    // Less than a header.
    let expected = BatchError::Incomplete { needed: HEADER_SIZE, available: 10 };
    assert_eq!(batches(&log[..10]).next().unwrap().unwrap_err(), expected);
}

#[test]
fn stamping_leaves_the_crc_alone_and_copies_no_body() {
    let bytes = Bytes::from(sample(Codec::Zstd));
    let stamped = StampedBatch::new(&bytes, Offset(500), LeaderEpoch(9)).unwrap();
    assert_eq!(stamped.body.as_ptr(), bytes[PREFIX_SIZE..].as_ptr());
    let whole = [&stamped.prefix[..], &stamped.body].concat();
    let batch = BatchView::parse(&whole).unwrap();
    assert!(batch.crc_is_valid());
    assert_eq!((batch.base_offset, batch.last_offset(), batch.next_offset()), (Offset(500), Offset(509), Offset(510)));
    assert_eq!((batch.partition_leader_epoch, batch.last_sequence()), (LeaderEpoch(9), 49));
}

#[test]
fn log_append_time_is_every_records_time() {
    let mut bytes = sample(Codec::Gzip);
    stamp_timestamps(&mut bytes, TimestampType::LogAppendTime, Timestamp(77_000)).unwrap();
    let batch = BatchView::parse(&bytes).unwrap();
    assert!(batch.crc_is_valid());
    assert!(read(&batch).unwrap().iter().all(|record| record.0 == 77_000));
}

#[test]
fn sequences_wrap_to_zero() {
    assert_eq!(sequence_after(i32::MAX, 1), 0);
    assert_eq!(sequence_after(i32::MAX - 1, 3), 1);
    assert_eq!(sequence_after(0, 5), 5);
}

#[test]
fn a_record_that_would_fill_the_memory_is_refused_before_it_is_unpacked() {
    let mut builder = BatchBuilder::new().compression(Codec::Gzip, None);
    builder.push(Timestamp(1), Some(b"key"), Some(&vec![0; 300_000]), &[]);
    let bytes = builder.build();
    let batch = BatchView::parse(&bytes).unwrap();
    let read = |bytes_max| {
        let mut records = batch.records_within(&Budget { bytes_max, ratio_max: 1_000_000 }).unwrap();
        records.next_record().map(|record| record.is_some())
    };
    assert!(read(400_000).unwrap());
    let expected = CompressionError::TooLarge { codec: Codec::Gzip, limit: 200_000 };
    assert_eq!(read(200_000).unwrap_err(), BatchError::Compression(expected));
}

#[test]
fn a_bomb_stops_at_the_budget() {
    let zeros = vec![0; 80 << 20];
    for codec in [Codec::Gzip, Codec::Lz4, Codec::Zstd] {
        let packed = compress(codec, None, &zeros).unwrap();
        let mut bytes = sample(Codec::None)[..HEADER_SIZE].to_vec();
        bytes.extend_from_slice(&packed);
        let length = (bytes.len() - LOG_OVERHEAD) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[21..23].copy_from_slice(&codec.id().to_be_bytes());
        // Zeros read as records of no length, which are refused at once; so decompress without reading.
        let budget = Budget { bytes_max: 1 << 20, ratio_max: 10 };
        let limit = budget.limit(packed.len());
        let result = ottla_protocol::compression::decompress(codec, &packed, &budget);
        assert_eq!(result.unwrap_err(), CompressionError::TooLarge { codec, limit }, "{codec:?}");
        assert!(read_all(&BatchView::parse(&bytes).unwrap()).is_err());
    }
}

#[test]
fn snappy_that_claims_four_gigabytes_is_refused() {
    let result = ottla_protocol::compression::decompress(
        Codec::Snappy,
        &[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0],
        &Budget { bytes_max: usize::MAX, ratio_max: 1 },
    );
    assert!(matches!(result, Err(CompressionError::Corrupt { .. })));
}

#[test]
fn control_batches_and_delete_horizons() {
    let mut builder = BatchBuilder::new().delete_horizon(Timestamp(5_000)).base_offset(Offset(10));
    builder.push_at(3, Timestamp(1_000), Some(b"k"), None, std::iter::empty());
    let bytes = builder.last_offset_delta(9).build();
    let batch = BatchView::parse(&bytes).unwrap();
    assert_eq!(batch.delete_horizon(), Some(Timestamp(5_000)));
    assert_eq!((batch.last_offset(), batch.record_count, batch.max_timestamp), (Offset(19), 1, Timestamp(1_000)));
    let mut records = batch.records().unwrap();
    let record = records.next_record().unwrap().unwrap();
    assert_eq!((record.offset_delta, batch.timestamp_of(record.timestamp_delta)), (3, Timestamp(1_000)));
}
