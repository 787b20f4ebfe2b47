//! Bodies made at random from the tables: the guard accepts them, the decoder reads them, and what the encoder writes
//! is the same bytes again. So tables, decoder and encoder agree for every API and version.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::{BufMut, Bytes};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::buf::put_uvarint;
use crate::request::{encode_default, round_trip};

struct Author {
    rng: StdRng,
    version: i16,
    flexible: bool,
    /// Whether to add tagged fields that no version knows; records drop them.
    unknown_tags: bool,
}

impl Author {
    fn fields(&mut self, out: &mut Vec<u8>, fields: &[Field]) {
        let version = self.version;
        for field in fields.iter().filter(|field| (field.min..=field.max).contains(&version)) {
            if field.is_tagged(version) {
                continue;
            }
            let nullable = (field.null_min..=field.null_max).contains(&version);
            let null = nullable && self.rng.random_ratio(1, 4);
            if nullable && let Kind::Struct(_) = field.kind {
                out.put_i8(if null { -1 } else { 1 });
                if null {
                    continue;
                }
            }
            self.kind(out, &field.kind, null, false);
        }
        if self.flexible {
            self.tagged(out, fields);
        }
    }

    fn tagged(&mut self, out: &mut Vec<u8>, fields: &[Field]) {
        let version = self.version;
        let mut tagged: Vec<&Field> = fields
            .iter()
            .filter(|field| field.is_tagged(version) && (field.min..=field.max).contains(&version))
            .collect();
        tagged.sort_by_key(|field| field.tag);
        tagged.retain(|_| self.rng.random());
        // A number that no version uses: both codecs carry it along.
        let unknown = self.unknown_tags && self.rng.random_ratio(1, 4);
        put_uvarint(out, tagged.len() as u32 + u32::from(unknown));
        for field in tagged {
            let mut value = Vec::new();
            if (field.null_min..=field.null_max).contains(&version) && matches!(field.kind, Kind::Struct(_)) {
                value.put_i8(1);
            }
            self.kind(&mut value, &field.kind, false, true);
            put_uvarint(out, field.tag.cast_unsigned());
            put_uvarint(out, value.len() as u32);
            out.extend_from_slice(&value);
        }
        if unknown {
            out.extend_from_slice(&[0x87, 0x4e, 2, 0xaa, 0xbb]);
        }
    }

    /// `set`: not the default value, since that would not be written as a tagged field.
    fn kind(&mut self, out: &mut Vec<u8>, kind: &Kind, null: bool, set: bool) {
        match kind {
            // Also read as a bool, so one byte is 0 or 1.
            Kind::Fixed(1) => out.put_u8(u8::from(set || self.rng.random())),
            Kind::Fixed(size) => out.extend((0..*size).map(|_| self.rng.random_range(1..=0x6f_u8))),
            Kind::Struct(fields) => self.fields(out, fields),
            Kind::String => {
                let text = if null { None } else { Some(self.text(set)) };
                match (self.flexible, text) {
                    (true, None) => put_uvarint(out, 0),
                    (true, Some(text)) => {
                        put_uvarint(out, text.len() as u32 + 1);
                        out.extend_from_slice(text.as_bytes());
                    }
                    (false, None) => out.put_i16(-1),
                    (false, Some(text)) => {
                        out.put_i16(text.len() as i16);
                        out.extend_from_slice(text.as_bytes());
                    }
                }
            }
            Kind::Bytes => {
                let length = if null { None } else { Some(self.rng.random_range(u32::from(set)..200)) };
                self.length(out, length);
                out.extend((0..length.unwrap_or(0)).map(|_| self.rng.random::<u8>()));
            }
            Kind::Array(element) => {
                let count = if null { None } else { Some(self.rng.random_range(u32::from(set)..=3)) };
                self.length(out, count);
                for _ in 0..count.unwrap_or(0) {
                    self.kind(out, element, false, false);
                }
            }
        }
    }

    fn text(&mut self, set: bool) -> String {
        let length = self.rng.random_range(usize::from(set)..20);
        let accent = self.rng.random_bool(0.1).then_some('é');
        (0..length).map(|_| self.rng.random_range('a'..='z')).chain(accent).collect()
    }

    fn length(&self, out: &mut Vec<u8>, length: Option<u32>) {
        match (self.flexible, length) {
            (true, length) => put_uvarint(out, length.map_or(0, |length| length + 1)),
            (false, None) => out.put_i32(-1),
            (false, Some(length)) => out.put_i32(length as i32),
        }
    }
}

/// One body of every message in every version that is spoken.
fn bodies(seed: u64) -> impl Iterator<Item = (bool, i16, i16, Bytes)> {
    let all = tables::REQUESTS.iter().map(|s| (true, s)).chain(tables::RESPONSES.iter().map(|s| (false, s)));
    all.flat_map(move |(is_request, schema)| {
        let (min, max) = crate::versions::supported(schema.key).unwrap();
        (min..=max).map(move |version| {
            let rng = StdRng::seed_from_u64(seed ^ (schema.key as u64) << 20 ^ (version as u64) << 8);
            let mut author = Author { rng, version, flexible: version >= schema.flexible, unknown_tags: true };
            let mut body = Vec::new();
            author.fields(&mut body, schema.fields);
            (is_request, schema.key, version, Bytes::from(body))
        })
    })
}

fn check_body(is_request: bool, api_key: i16, version: i16, body: &[u8]) -> Result<usize, WalkError> {
    let extent = if is_request { check_request } else { check_response }(api_key, version, body)?;
    Ok(extent.behind)
}

#[test]
fn every_version_is_read_and_written_again() {
    for seed in 0..40 {
        for (is_request, api_key, version, body) in bodies(seed) {
            let story = format!("request: {is_request}, API {api_key} v{version}, seed {seed}: {body:?}");
            assert_eq!(check_body(is_request, api_key, version, &body), Ok(0), "{story}");
            match round_trip(is_request, api_key, version, &body) {
                Ok(again) => assert_eq!(Bytes::from(again), body, "{story}"),
                Err(error) => panic!("{error}: {story}"),
            }
        }
    }
}

#[test]
fn every_default_message_fits_its_schema() {
    for (is_request, api_key, version, _) in bodies(0) {
        match encode_default(is_request, api_key, version) {
            Ok(body) => {
                let result = check_body(is_request, api_key, version, &body);
                assert_eq!(result, Ok(0), "request: {is_request}, API {api_key} v{version}");
                assert_eq!(round_trip(is_request, api_key, version, &Bytes::from(body.clone())).unwrap(), body);
            }
            Err(error) => panic!("request: {is_request}, API {api_key} v{version}: {error}"),
        }
    }
}

#[test]
fn a_body_that_is_cut_off_is_refused_and_bytes_behind_it_are_counted() {
    for (is_request, api_key, version, body) in bodies(7) {
        let mut longer = body.to_vec();
        longer.push(0);
        assert_eq!(check_body(is_request, api_key, version, &longer), Ok(1));
        for end in (0..body.len()).step_by(1 + body.len() / 16) {
            assert!(check_body(is_request, api_key, version, &body[..end]).is_err(), "API {api_key} v{version}");
        }
    }
}

#[test]
fn what_the_guard_accepts_the_decoder_does_not_choke_on() {
    let mut rng = StdRng::seed_from_u64(42);
    for seed in 0..10 {
        for (is_request, api_key, version, body) in bodies(seed) {
            if body.is_empty() {
                continue;
            }
            let mut mutated = body.to_vec();
            for _ in 0..rng.random_range(1..4) {
                let at = rng.random_range(0..mutated.len());
                mutated[at] = rng.random();
            }
            if check_body(is_request, api_key, version, &mutated) == Ok(0) {
                // Strings that are not UTF-8 are left to the decoder; what it accepts must be all of the body.
                let _ = round_trip(is_request, api_key, version, &Bytes::from(mutated));
            }
        }
    }
}

#[test]
fn a_terabyte_of_elements_is_refused_before_anything_is_reserved() {
    // CreateTopics v7 with 2^32-2 topics in five bytes.
    assert_eq!(check_request(19, 7, &[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0]), Err(WalkError::CountTooLarge));
    // Metadata v1 with 2^31-1 topics.
    assert_eq!(check_request(3, 1, &[0x7f, 0xff, 0xff, 0xff, 0]), Err(WalkError::CountTooLarge));
}

/// Keys and values of the internal topics, made up the same way.
macro_rules! records_survive {
    ($test:ident $keys:ident $values:ident $key:ty, $value:ty) => {
        #[test]
        fn $test() {
            for seed in 0..40 {
                for (key, value) in tables::$keys.iter().zip(tables::$values) {
                    assert_eq!(key.key, value.key);
                    for version in value.min..=value.max {
                        let rng = StdRng::seed_from_u64(seed ^ (key.key as u64) << 20 ^ (version as u64) << 8);
                        let mut author = Author { rng, version: 0, flexible: false, unknown_tags: false };
                        let mut bytes = key.key.to_be_bytes().to_vec();
                        author.fields(&mut bytes, key.fields);
                        let decoded = <$key>::decode(&bytes).unwrap();
                        assert_eq!((decoded.record_type(), &decoded.encode().unwrap()[..]), (key.key, &bytes[..]));

                        author.version = version;
                        author.flexible = version >= value.flexible;
                        let mut bytes = version.to_be_bytes().to_vec();
                        author.fields(&mut bytes, value.fields);
                        let story = format!("type {} v{version}: {bytes:?}", key.key);
                        let value = <$value>::decode(&decoded, &bytes).expect(&story);
                        assert_eq!(&value.encode_version(version).expect(&story)[..], &bytes[..], "{story}");
                        let written = value.encode().expect(&story);
                        assert_eq!(
                            &<$value>::decode(&decoded, &written).unwrap().encode().unwrap(),
                            &written,
                            "{story}"
                        );
                    }
                }
            }
            assert_eq!(<$key>::decode(&[0x7f, 0, 1]), Err(crate::wire::WireError::UnknownType(0x7f00)));
            assert!(<$key>::decode(&[0]).is_err());
        }
    };
}

records_survive!(group_records_survive GROUP_KEYS GROUP_VALUES crate::records::group::GroupRecordKey, crate::records::group::GroupRecordValue);
records_survive!(transaction_records_survive TRANSACTION_KEYS TRANSACTION_VALUES crate::records::transaction::TransactionRecordKey, crate::records::transaction::TransactionRecordValue);
records_survive!(share_records_survive SHARE_KEYS SHARE_VALUES crate::records::share::ShareRecordKey, crate::records::share::ShareRecordValue);

/// Bodies that Apache Kafka 4.3.1 has read and written again without a difference (kind, key, version, bytes; made up
/// from these tables). A table that is edited wrongly no longer reads them.
#[test]
fn bodies_that_kafka_accepts_survive() {
    use crate::records::{group::*, share::*, transaction::*};
    use crate::wire::Versioned;

    fn again<V: Versioned>(version: i16, body: &[u8]) -> Vec<u8> {
        let bytes = [&version.to_be_bytes(), body].concat();
        V::decode_value(&bytes).unwrap().encode_behind(version, version).unwrap()[2..].to_vec()
    }
    for line in include_str!("../../tests/data/kafka_bodies.txt").lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let (key, version) = (words[1].parse::<i16>().unwrap(), words[2].parse::<i16>().unwrap());
        let hex = words[3].trim_start_matches('-');
        let body: Bytes =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let written = match words[0] {
            "request" | "response" => {
                let is_request = words[0] == "request";
                assert_eq!(check_body(is_request, key, version, &body), Ok(0), "{line}");
                round_trip(is_request, key, version, &body).expect(line)
            }
            "group" => match key {
                1 => again::<OffsetCommitValue>(version, &body),
                2 => again::<GroupMetadataValue>(version, &body),
                3 => again::<ConsumerGroupMetadataValue>(version, &body),
                5 => again::<ConsumerGroupMemberMetadataValue>(version, &body),
                6 => again::<ConsumerGroupTargetAssignmentMetadataValue>(version, &body),
                7 => again::<ConsumerGroupTargetAssignmentMemberValue>(version, &body),
                8 => again::<ConsumerGroupCurrentMemberAssignmentValue>(version, &body),
                16 => again::<ConsumerGroupRegularExpressionValue>(version, &body),
                _ => continue,
            },
            "transaction" => again::<TransactionLogValue>(version, &body),
            _ if key == 0 => again::<ShareSnapshotValue>(version, &body),
            _ => again::<ShareUpdateValue>(version, &body),
        };
        assert_eq!(Bytes::from(written), body, "{line}");
    }
}

#[test]
fn a_request_of_nothing_but_tiny_elements_is_bounded_by_their_number() {
    // DeleteTopics v1: an array of names, each empty.
    let names = |count: usize| {
        let mut body = Vec::new();
        body.put_u32(u32::try_from(count).unwrap());
        body.resize(4 + 2 * count, 0);
        body.put_i32(1000);
        body
    };
    let whole = |elements| Ok(Extent { behind: 0, elements });
    assert_eq!(check_request(20, 1, &names(ELEMENTS_MAX)), whole(ELEMENTS_MAX));
    assert_eq!(check_request(20, 1, &names(ELEMENTS_MAX + 1)), Err(WalkError::TooManyElements));
    // One long string is one element, however long.
    let mut body = vec![0, 0, 0, 1, 0x7f, 0xff];
    body.resize(6 + 0x7fff, b'x');
    body.put_i32(1000);
    assert_eq!(check_request(20, 1, &body), whole(1));
}
