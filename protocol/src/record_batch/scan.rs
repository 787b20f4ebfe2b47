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
    let mut at = 0;
    for index in 0..count {
        let length = usize::try_from(zigzag(uvarint(payload, &mut at)?)).ok()?;
        let end = at.checked_add(length).filter(|end| *end <= payload.len())?;
        // Attributes, which say nothing.
        at += 1;
        let delta = zigzag(uvarint(payload, &mut at)?);
        scan.timestamp_deltas = (scan.timestamp_deltas.0.min(delta), scan.timestamp_deltas.1.max(delta));
        scan.is_counted &= zigzag(uvarint(payload, &mut at)?) == i64::from(index);
        match zigzag(uvarint(payload, &mut at)?) {
            -1 => scan.has_null_key = true,
            key => at = at.checked_add(usize::try_from(key).ok()?)?,
        }
        match zigzag(uvarint(payload, &mut at)?) {
            -1 => {}
            value => at = at.checked_add(usize::try_from(value).ok()?)?,
        }
        // No headers, and nothing behind them.
        if at.checked_add(1)? != end || payload[at] != 0 {
            return None;
        }
        at = end;
    }
    (at == payload.len() && count > 0).then_some(scan)
}

/// Up to four groups of seven bits: as much as nearly every length and delta takes.
#[inline(always)]
fn uvarint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0;
    for group in 0..4 {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << (7 * group);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
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
