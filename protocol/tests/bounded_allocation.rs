//! Whatever a frame or batch claims, memory stays in proportion to the bytes that were received.
#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use ottla_protocol::compression::{Budget, Codec, compress};
use ottla_protocol::record_batch::{BatchBuilder, BatchView};
use ottla_protocol::versions::{apis, supported};
use ottla_protocol::{Timestamp, request};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Counts what each thread holds and the most it ever held.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // A thread that is ending has no counters any more.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        PEAK.with(|peak| peak.set(peak.get().max(held.get())));
    });
}

#[expect(unsafe_code, reason = "an allocator can be no other; every call goes straight to the system's")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn peak_of(work: impl FnOnce()) -> usize {
    let before = HELD.get();
    PEAK.set(before);
    work();
    (PEAK.get() - before).unsigned_abs()
}

/// The decoded form of the smallest elements takes up to a hundred times their bytes; never more, however many an
/// array claims to have.
const RATIO: usize = 128;
const FIXED: usize = 64 * 1024;

fn frame(api_key: i16, version: i16, body: &[u8]) -> Bytes {
    let mut frame = Vec::new();
    frame.extend_from_slice(&api_key.to_be_bytes());
    frame.extend_from_slice(&version.to_be_bytes());
    frame.extend_from_slice(&[0, 0, 0, 1, 0xff, 0xff]);
    if request::header_version(api_key, version) == Some(2) {
        frame.push(0);
    }
    frame.extend_from_slice(body);
    Bytes::from(frame)
}

#[test]
fn requests_that_claim_more_than_they_hold() {
    let mut rng = StdRng::seed_from_u64(9);
    for api in apis() {
        let (min, max) = supported(api.key).unwrap();
        for version in min..=max {
            for round in 0..60 {
                let mut body = vec![0; rng.random_range(0..200)];
                match round % 3 {
                    // Bytes that read as huge counts, as zeros and small counts, as anything.
                    0 => body.fill(0x7f),
                    1 => body.iter_mut().for_each(|byte| *byte = [0, 0, 0, 1, 2, 0xff, 0x0f][rng.random_range(0..7)]),
                    _ => rng.fill(&mut body[..]),
                }
                let frame = frame(api.key, version, &body);
                let size = frame.len();
                let peak = peak_of(|| drop(request::decode(frame)));
                assert!(peak <= RATIO * size + FIXED, "{} v{version}: {peak} for {size} bytes", api.name);
            }
        }
    }
}

#[test]
fn random_frames() {
    let mut rng = StdRng::seed_from_u64(10);
    for _ in 0..50_000 {
        let mut bytes = vec![0; rng.random_range(0..100)];
        rng.fill(&mut bytes[..]);
        if bytes.len() > 4 {
            bytes[0] = 0;
            bytes[1] = rng.random_range(0..95);
            bytes[2] = 0;
            bytes[3] = rng.random_range(0..20);
        }
        let size = bytes.len();
        let peak = peak_of(|| drop(request::decode(Bytes::from(bytes))));
        assert!(peak <= RATIO * size + FIXED, "{peak} for {size} bytes");
    }
}

#[test]
fn a_batch_that_expands_to_64_mib_is_read_in_little_memory() {
    let value = vec![0; 1 << 20];
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let mut builder = BatchBuilder::new().compression(codec, None);
        for _ in 0..60 {
            builder.push(Timestamp(1), None, Some(&value), &[]);
        }
        let bytes = builder.build();
        let batch = BatchView::parse(&bytes).unwrap();
        let peak = peak_of(|| {
            let mut records = batch.records().unwrap();
            let mut count = 0;
            while let Some(record) = records.next_record().unwrap() {
                count += usize::from(record.value.unwrap().len() == value.len());
            }
            assert_eq!(count, 60);
        });
        assert!(peak < 4 << 20, "{codec:?}: {peak} bytes for records of 1 MiB");
    }
}

#[test]
fn a_record_that_claims_two_gigabytes_reserves_nothing() {
    // A record length of 2^31-1, and then nothing.
    let payload = compress(Codec::Zstd, None, &[0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0]).unwrap();
    let mut builder = BatchBuilder::new();
    builder.push(Timestamp(1), None, None, &[]);
    let mut bytes = builder.build()[..61].to_vec();
    bytes.extend_from_slice(&payload);
    let length = (bytes.len() - 12) as i32;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[22] = 4;
    let peak = peak_of(|| {
        let batch = BatchView::parse(&bytes).unwrap();
        assert!(batch.records_within(&Budget::default()).unwrap().next_record().is_err());
    });
    assert!(peak < 1 << 20, "{peak}");
}
