//! The codecs in the forms that Kafka's clients write.
#![allow(clippy::unwrap_used)]

use std::io::Write;

use ottla_protocol::compression::{Budget, Codec, compress, decompress};
use proptest::prelude::*;

const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

fn unpack(codec: Codec, bytes: &[u8]) -> Option<Vec<u8>> {
    decompress(codec, bytes, &Budget::default()).ok()
}

proptest! {
    #[test]
    fn what_is_packed_is_unpacked(input in proptest::collection::vec(0..4_u8, 0..200_000), codec in 0..5_usize) {
        let codec = CODECS[codec];
        let packed = compress(codec, None, &input).unwrap();
        prop_assert_eq!(unpack(codec, &packed), Some(input));
    }

    #[test]
    fn random_payloads_do_no_harm(input in proptest::collection::vec(any::<u8>(), 0..300), codec in 0..5_usize) {
        let _ = unpack(CODECS[codec], &input);
    }
}

#[test]
fn names_and_ids() {
    for (id, codec) in CODECS.into_iter().enumerate() {
        assert_eq!(Codec::from_id(id as i16), Some(codec));
        assert_eq!(Codec::from_name(codec.name()), Some(codec));
    }
    assert_eq!(Codec::from_id(5), None);
    assert_eq!(Codec::from_name("producer"), None);
}

#[test]
fn lz4_frames_begin_as_kafkas_do() {
    let packed = compress(Codec::Lz4, None, &[7; 1000]).unwrap();
    assert_eq!(packed[..7], [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82]);
}

#[test]
fn lz4_with_linked_blocks_is_refused() {
    use lz4_flex::frame::{BlockMode, FrameEncoder, FrameInfo};
    let mut encoder = FrameEncoder::with_frame_info(FrameInfo::new().block_mode(BlockMode::Linked), Vec::new());
    encoder.write_all(&[1; 300_000]).unwrap();
    assert_eq!(unpack(Codec::Lz4, &encoder.finish().unwrap()), None);
}

#[test]
fn lz4_with_checksums_is_read() {
    use lz4_flex::frame::{BlockMode, FrameEncoder, FrameInfo};
    let info = FrameInfo::new()
        .block_mode(BlockMode::Independent)
        .block_checksums(true)
        .content_checksum(true)
        .content_size(Some(300_000));
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(&[1; 300_000]).unwrap();
    assert_eq!(unpack(Codec::Lz4, &encoder.finish().unwrap()), Some(vec![1; 300_000]));
}

#[test]
fn lz4_without_an_end_mark_or_with_more_behind_it_is_refused() {
    let packed = compress(Codec::Lz4, None, b"some bytes").unwrap();
    assert_eq!(unpack(Codec::Lz4, &packed[..packed.len() - 4]), None);
    assert_eq!(unpack(Codec::Lz4, &[&packed[..], &[0]].concat()), None);
    assert_eq!(unpack(Codec::Lz4, &[&packed[..], &packed[..]].concat()), None);
}

#[test]
fn snappy_in_javas_framing_and_without() {
    let input: Vec<u8> = (0..100_000_u32).map(|n| (n / 7) as u8).collect();
    let packed = compress(Codec::Snappy, None, &input).unwrap();
    assert_eq!(packed[..16], *b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01");
    assert_eq!(unpack(Codec::Snappy, &packed).as_ref(), Some(&input));
    let raw = snap::raw::Encoder::new().compress_vec(&input).unwrap();
    assert_eq!(unpack(Codec::Snappy, &raw), Some(input));
    assert_eq!(unpack(Codec::Snappy, &packed[..packed.len() - 1]), None);
}

#[test]
fn gzip_of_several_members_is_one_stream() {
    let joined = [compress(Codec::Gzip, Some(1), b"abc").unwrap(), compress(Codec::Gzip, Some(9), b"def").unwrap()];
    assert_eq!(unpack(Codec::Gzip, &joined.concat()), Some(b"abcdef".to_vec()));
}

#[test]
fn zstd_without_a_content_size() {
    // As Java's stream writes it.
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_contentsize(false).unwrap();
    encoder.write_all(&[3; 70_000]).unwrap();
    let packed = encoder.finish().unwrap();
    assert_eq!(unpack(Codec::Zstd, &packed), Some(vec![3; 70_000]));
    assert_eq!(unpack(Codec::Zstd, &packed[..packed.len() - 1]), None);
    // A context is used again after a broken payload.
    assert_eq!(unpack(Codec::Zstd, &packed), Some(vec![3; 70_000]));
    assert_eq!(unpack(Codec::Zstd, &[]), None);
}

#[test]
fn levels_that_a_codec_lacks_fall_back() {
    for (codec, level) in [(Codec::Gzip, 77), (Codec::Zstd, 99), (Codec::Zstd, -7), (Codec::Lz4, 12)] {
        let packed = compress(codec, Some(level), &[1; 5000]).unwrap();
        assert_eq!(unpack(codec, &packed), Some(vec![1; 5000]), "{codec:?} {level}");
    }
}
