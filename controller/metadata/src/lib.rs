//! The image of the cluster, rebuilt by replaying metadata records.
//!
//! ```text
//!   records ──replay──► MetadataImage ──snapshot──► records     (the same image again)
//! ```
//!
//! Invariant: this crate opens no file and no socket, reads no clock and draws no random number; the same records give
//! the same image and the same bytes on every node. Begin with [`MetadataRecord`] and [`MetadataImage`]; one file per
//! kind of state; [`wire`] is the bytes of records, [`snapshot`] the bytes of a whole image.

pub mod acls;
pub mod cluster;
pub mod config_def;
pub mod configs;
pub mod delta;
pub mod features;
mod image;
pub mod quotas;
mod record;
pub mod scram;
pub mod snapshot;
pub mod topics;
pub mod wire;

pub use acls::{AccessControlEntry, AclsImage};
pub use cluster::{BrokerRegistration, Endpoint, FeatureRange};
pub use configs::{ConfigKind, ConfigResource, ConfigsImage};
pub use delta::TopicChange;
pub use features::{FeaturesImage, METADATA_VERSION};
pub use image::MetadataImage;
pub use quotas::{ClientQuotasImage, QuotaEntity};
pub use record::{BrokerRegistrationChange, MetadataRecord, PartitionChange};
pub use scram::{ScramCredential, ScramImage, ScramMechanism};
pub use topics::{PartitionImage, TopicImage, TopicsImage};
