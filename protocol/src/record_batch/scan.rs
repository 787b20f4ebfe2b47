//! A quick look over the records of a batch, for the one that is as almost all are.

/// What the records of a batch that is not compressed have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlainScan {
    /// The smallest and the largest timestamp delta.
    pub timestamp_deltas: (i64, i64),
    /// Whether offset deltas count from 0.
    pub is_counted: bool,
    pub has_null_key: bool,
}

/// Walks `count` records that fill the payload exactly. `None` where anything is unusual, sound or not: headers, long varints,
/// a length that does not fit; [`super::Records`] tells what it is.
pub(super) fn plain(payload: &[u8], count: i32) -> Option<PlainScan> {
    let mut scan = PlainScan { timestamp_deltas: (i64::MAX, i64::MIN), is_counted: true, has_null_key: false };
    let mut rest = payload;
    let mut padded = [0; HEAD];
    // No varint has this value.
    let mut last_timestamp = u64::MAX;
    for index in 0..u64::from(u32::try_from(count).ok()?) {
        let head = head_of(rest, &mut padded);
        let mut at = 0;
        let size = length(uvarint(head, &mut at)?)?;
        let record;
        (record, rest) = rest.split_at_checked(at + size)?;
        // Attributes, which say nothing.
        at += 1;
        let timestamp = uvarint(head, &mut at)?;
        // Most records of a batch are of the same millisecond as the one before.
        if timestamp != last_timestamp {
            last_timestamp = timestamp;
            let delta = zigzag(timestamp);
            scan.timestamp_deltas = (scan.timestamp_deltas.0.min(delta), scan.timestamp_deltas.1.max(delta));
        }
        scan.is_counted &= uvarint(head, &mut at)? == 2 * index;
        let key = uvarint(head, &mut at)?;
        let value = if key == NULL {
            scan.has_null_key = true;
            uvarint(head, &mut at)?
        } else {
            at += length(key)?;
            let mut groups = 0;
            let value = uvarint(head_of(record.get(at..)?, &mut padded), &mut groups)?;
            at += groups;
            value
        };
        if value != NULL {
            at += length(value)?;
        }
        // No headers, and nothing behind them. Whatever was read behind the record's end does not come out here.
        if record.get(at..) != Some(&[0]) {
            return None;
        }
    }
    (rest.is_empty() && count > 0).then_some(scan)
}

/// The varint of -1.
const NULL: u64 = 1;

/// What a varint that is a length says; `None` for a negative one.
#[inline(always)]
fn length(varint: u64) -> Option<usize> {
    if varint & 1 == 0 { usize::try_from(varint >> 1).ok() } else { None }
}

/// Bytes of a record's beginning, where all lies but what is behind a key: one look at the bounds is enough for it.
const HEAD: usize = 35;

/// Behind the end there are zeros.
#[inline(always)]
fn head_of<'a>(bytes: &'a [u8], padded: &'a mut [u8; HEAD]) -> &'a [u8; HEAD] {
    bytes.first_chunk().unwrap_or_else(|| {
        padded.fill(0);
        padded[..bytes.len()].copy_from_slice(bytes);
        padded
    })
}

/// Up to four groups of seven bits, as much as nearly every length and delta takes. `at` is far below 32: behind at most four
/// varints and a byte.
#[inline(always)]
fn uvarint(head: &[u8; HEAD], at: &mut usize) -> Option<u64> {
    let start = *at % 32;
    let word = u32::from_le_bytes([head[start], head[start + 1], head[start + 2], head[start + 3]]);
    let (value, groups) = if word & 0x80 == 0 {
        (word & 0x7f, 1)
    } else if word & 0x8000 == 0 {
        (word & 0x7f | word >> 1 & 0x3f80, 2)
    } else {
        long_uvarint(word)?
    };
    *at += groups;
    Some(value.into())
}

#[cold]
fn long_uvarint(word: u32) -> Option<(u32, usize)> {
    let value = word & 0x7f | word >> 1 & 0x3f80 | word >> 2 & 0x1f_c000;
    if word & 0x80_0000 == 0 {
        Some((value, 3))
    } else if word & 0x8000_0000 == 0 {
        Some((value | word >> 3 & 0xfe0_0000, 4))
    } else {
        None
    }
}

#[inline(always)]
const fn zigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::Timestamp;
    use crate::compression::{Budget, Codec};
    use crate::record_batch::{BatchBuilder, BatchView, Records};

    /// The same by the way that tells what is wrong; `None` where something is.
    fn slowly(payload: &[u8], count: i32) -> Option<PlainScan> {
        let mut records = Records::new(Codec::None, count, payload, &Budget::default()).ok()?;
        let mut scan = PlainScan { timestamp_deltas: (i64::MAX, i64::MIN), is_counted: true, has_null_key: false };
        let mut index = 0;
        while let Some(record) = records.next_record().ok()? {
            let (min, max) = scan.timestamp_deltas;
            scan.timestamp_deltas = (min.min(record.timestamp_delta), max.max(record.timestamp_delta));
            scan.is_counted &= record.offset_delta == index;
            scan.has_null_key |= record.key.is_none();
            index += 1;
        }
        Some(scan)
    }

    fn field() -> impl Strategy<Value = Option<Vec<u8>>> {
        prop_oneof![Just(None), prop::collection::vec(any::<u8>(), 0..300).prop_map(Some)]
    }

    proptest! {
        #[test]
        fn it_sees_what_the_careful_way_sees(
            records in prop::collection::vec((0_i64..200_000, field(), field(), any::<bool>()), 1..20),
            damage in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
            cut in prop::option::of(any::<prop::sample::Index>()),
            more in 0_i32..2,
        ) {
            let mut builder = BatchBuilder::new();
            let mut plain = true;
            for (time, key, value, header) in &records {
                let headers: &[(&str, Option<&[u8]>)] = if *header && damage.is_some() { &[("h", None)] } else { &[] };
                plain &= headers.is_empty();
                builder.push(Timestamp(100_000 + time), key.as_deref(), value.as_deref(), headers);
            }
            let bytes = builder.build();
            let batch = BatchView::parse(&bytes).unwrap();
            let mut payload = batch.payload().to_vec();
            let sound = damage.is_none() && cut.is_none() && more == 0;
            if let Some((at, byte)) = damage {
                let at = at.index(payload.len());
                payload[at] = byte;
            }
            if let Some(cut) = cut {
                payload.truncate(cut.index(payload.len()));
            }
            let count = batch.record_count + more;
            let quick = plain_scan(&payload, count);
            if let Some(quick) = quick {
                prop_assert_eq!(Some(quick), slowly(&payload, count));
            }
            prop_assert!(!sound || !plain || quick.is_some(), "a plain batch is taken");
        }
    }

    fn plain_scan(payload: &[u8], count: i32) -> Option<PlainScan> {
        super::plain(payload, count)
    }
}
