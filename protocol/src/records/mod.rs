//! Records of the internal topics, as Kafka writes them: a coordinator's log can be read by Kafka's tools and the other
//! way round.
//!
//! A key is an `i16` record type and its fields; a value is an `i16` version and its fields. The structs are generated
//! from our own tables by protocol/codegen.

pub mod group;
pub mod share;
pub mod transaction;

pub use crate::wire::WireError as RecordError;

/// Declares the record kinds of one topic: type, file, variant, key, value, and how the version
/// that a value is written in follows from it.
macro_rules! record_kinds {
    (
        $(#[$key_doc:meta])* $keys:ident,
        $(#[$value_doc:meta])* $values:ident,
        $($number:literal $file:ident $variant:ident $key:ident $value:ident $version:expr;)*
    ) => {
        $(
            pub mod $file;
            pub use $file::{$key, $value};
        )*

        $(#[$key_doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $keys {
            $( $variant($key), )*
        }

        $(#[$value_doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $values {
            $( $variant($value), )*
        }

        impl $keys {
            /// The record type.
            pub const fn record_type(&self) -> i16 {
                match self {
                    $( Self::$variant(_) => $number, )*
                }
            }

            /// The key as it is stored. Fails if a string is longer than 32767 bytes.
            pub fn encode(&self) -> Result<Bytes, $crate::records::RecordError> {
                match self {
                    $( Self::$variant(key) => $crate::wire::Versioned::encode_behind(key, $number, 0), )*
                }
            }

            /// Reads a key. [`RecordError::UnknownType`](crate::records::RecordError) is a record of a later Kafka,
            /// to be skipped.
            pub fn decode(mut bytes: &[u8]) -> Result<Self, $crate::records::RecordError> {
                match $crate::wire::get_i16(&mut bytes)? {
                    $(
                        $number => {
                            <$key as $crate::wire::Versioned>::read_fields(&mut bytes, 0).map(Self::$variant)
                        }
                    )*
                    unknown => Err($crate::records::RecordError::UnknownType(unknown)),
                }
            }
        }

        impl $values {
            /// The value as it is stored, in the version that Kafka 4.3 writes.
            pub fn encode(&self) -> Result<Bytes, $crate::records::RecordError> {
                match self {
                    $(
                        Self::$variant(value) => {
                            let version: fn(&$value) -> i16 = $version;
                            $crate::records::write_value(value, version(value))
                        }
                    )*
                }
            }

            /// The value in a version of the caller's.
            pub fn encode_version(&self, version: i16) -> Result<Bytes, $crate::records::RecordError> {
                match self {
                    $( Self::$variant(value) => $crate::records::write_value(value, version), )*
                }
            }

            /// Reads the value that belongs to `key`.
            pub fn decode(key: &$keys, bytes: &[u8]) -> Result<Self, $crate::records::RecordError> {
                match key {
                    $( $keys::$variant(_) => $crate::wire::Versioned::decode_value(bytes).map(Self::$variant), )*
                }
            }
        }

        $(
            impl From<$key> for $keys {
                fn from(key: $key) -> Self {
                    Self::$variant(key)
                }
            }

            impl From<$value> for $values {
                fn from(value: $value) -> Self {
                    Self::$variant(value)
                }
            }
        )*
    };
}

use record_kinds;

fn write_value<V: crate::wire::Versioned>(value: &V, version: i16) -> Result<bytes::Bytes, RecordError> {
    value.encode_behind(version, version)
}
