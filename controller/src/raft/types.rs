//! The types of the raft group. Leader ids are the standard ones: at most one leader per term, so that a term names a
//! leader as Kafka's epoch does.

use std::fmt;

use bytes::Bytes;
use openraft::impls::leader_id_std;
use ottla_metadata::MetadataRecord;
use ottla_metadata::wire::{DecodeError, Input, Wire, put_uvarint};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

openraft::declare_raft_types!(
    /// The group that holds the cluster's metadata.
    pub TypeConfig:
        D = Batch,
        R = (),
        Node = VoterNode,
        LeaderId = leader_id_std::LeaderId<Self::Term, Self::NodeId>,
);

pub(crate) type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
pub(crate) type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
pub(crate) type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
pub(crate) type Membership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;
pub(crate) type Snapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, Bytes>;
pub(crate) type Raft = openraft::Raft<TypeConfig, crate::raft::state_machine::ImageMachine>;

/// Where a voter is reached, as the membership entries keep it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoterNode {
    /// Kafka's text form of the directory id.
    pub directory_id: String,
    pub endpoints: Vec<VoterEndpoint>,
}

/// A controller listener of a voter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoterEndpoint {
    pub name: String,
    pub host: String,
    pub port: u16,
    pub security_protocol: i16,
}

/// The records of one entry, as bytes: encoded once by who proposes, written and sent as they are.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Batch(pub Bytes);

impl Batch {
    /// `count, record ...`
    pub fn encode(records: &[MetadataRecord]) -> Self {
        let mut bytes = Vec::with_capacity(16 + records.len() * 64);
        put_uvarint(&mut bytes, records.len() as u64);
        for record in records {
            record.write(&mut bytes);
        }
        Self(bytes.into())
    }

    /// The records again.
    ///
    /// # Errors
    /// When the bytes were written by a newer build or are not a batch.
    pub fn decode(&self) -> Result<Vec<MetadataRecord>, DecodeError> {
        let mut input = Input::new(&self.0);
        let records = Vec::<MetadataRecord>::read(&mut input)?;
        if input.is_empty() { Ok(records) } else { Err(DecodeError::Invalid("batch length")) }
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batch({} bytes)", self.0.len())
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

// As one run of bytes.
impl Serialize for Batch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl serde::de::Visitor<'_> for Read {
            type Value = Batch;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Batch, E> {
                Ok(Batch(Bytes::copy_from_slice(bytes)))
            }

            fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Batch, E> {
                Ok(Batch(bytes.into()))
            }
        }

        deserializer.deserialize_bytes(Read)
    }
}
