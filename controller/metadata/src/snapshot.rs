//! An image as records, and as the bytes of a snapshot file.
//!
//! ```text
//!   magic "OTMS"  format u8  offset  epoch  record count  record ...  crc32c (4 bytes, big endian) of all before it
//! ```
//!
//! The order is fixed by the sorted maps of the image, so equal images give equal bytes on every node.

use ottla_protocol::Offset;
use ottla_state_machine::StateMachine;

use crate::image::MetadataImage;
use crate::record::MetadataRecord;
use crate::wire::{DecodeError, Input, Wire, put_uvarint};

const MAGIC: &[u8; 4] = b"OTMS";
const FORMAT: u8 = 1;

/// The records that build this image from nothing. Brokers and features go first: what follows refers to them.
pub fn records(image: &MetadataImage) -> Vec<MetadataRecord> {
    let mut records = Vec::new();
    for (name, level) in image.features.iter() {
        records.push(MetadataRecord::FeatureLevel { name: name.clone(), level });
    }
    for registration in image.brokers.values() {
        records.push(MetadataRecord::RegisterBroker { registration: registration.clone() });
    }
    for topic in image.topics.iter() {
        records.push(MetadataRecord::Topic { name: topic.name.clone(), id: topic.id });
        for (index, partition) in (0..).zip(&topic.partitions) {
            let partition = partition.as_ref().clone();
            records.push(MetadataRecord::Partition { topic_id: topic.id, index, partition });
        }
    }
    for (resource, values) in image.configs.iter() {
        for (key, value) in values {
            let (resource, key, value) = (resource.clone(), key.clone(), Some(value.clone()));
            records.push(MetadataRecord::Config { resource, key, value });
        }
    }
    if image.next_producer_id.0 != 0 {
        let next = image.next_producer_id;
        records.push(MetadataRecord::ProducerIds { broker: ottla_protocol::BrokerId(-1), broker_epoch: -1, next });
    }
    for (entity, values) in image.client_quotas.iter() {
        for (key, value) in values {
            let (entity, key, value) = (entity.clone(), key.clone(), Some(*value));
            records.push(MetadataRecord::ClientQuota { entity, key, value });
        }
    }
    for (id, entry) in image.acls.iter() {
        records.push(MetadataRecord::AccessControl { id, entry: entry.as_ref().clone() });
    }
    for (user, mechanism, credential) in image.scram.iter() {
        let (user, credential) = (user.clone(), credential.as_ref().clone());
        records.push(MetadataRecord::UserScramCredential { user, mechanism, credential });
    }
    records
}

/// The bytes of a snapshot.
pub fn encode(image: &MetadataImage) -> Vec<u8> {
    let records = records(image);
    let mut out = Vec::with_capacity(64 + records.len() * 64);
    out.extend_from_slice(MAGIC);
    out.push(FORMAT);
    image.offset.write(&mut out);
    image.epoch.write(&mut out);
    put_uvarint(&mut out, records.len() as u64);
    for record in &records {
        record.write(&mut out);
    }
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_be_bytes());
    out
}

/// The image of a snapshot's bytes.
///
/// # Errors
/// When the bytes are damaged, cut, or written by a newer build.
pub fn decode(bytes: &[u8]) -> Result<MetadataImage, DecodeError> {
    let (body, crc) = bytes.split_last_chunk::<4>().ok_or(DecodeError::Truncated)?;
    if crc32c::crc32c(body) != u32::from_be_bytes(*crc) {
        return Err(DecodeError::Invalid("snapshot checksum"));
    }
    let mut input = Input::new(body);
    if input.take(4)? != MAGIC {
        return Err(DecodeError::Invalid("snapshot magic"));
    }
    let format = input.byte()?;
    if format != FORMAT {
        return Err(DecodeError::TooNew { kind: 0, version: u64::from(format) });
    }
    let offset = Offset::read(&mut input)?;
    let epoch = i32::read(&mut input)?;
    let mut image = MetadataImage::default();
    for _ in 0..input.count()? {
        image.replay(&MetadataRecord::read(&mut input)?);
    }
    if !input.is_empty() {
        return Err(DecodeError::Invalid("snapshot length"));
    }
    image.offset = offset;
    image.epoch = epoch;
    Ok(image)
}
