//! SCRAM credentials: salted keys, never passwords.

use std::sync::Arc;

use imbl::OrdMap;

use crate::wire::{DecodeError, Input, Wire, wire_struct};

/// The hash of a credential. The number is Kafka's on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i8)]
pub enum ScramMechanism {
    Sha256 = 1,
    Sha512 = 2,
}

impl ScramMechanism {
    /// The mechanism for a wire value.
    pub const fn from_code(code: i8) -> Option<Self> {
        match code {
            1 => Some(Self::Sha256),
            2 => Some(Self::Sha512),
            _ => None,
        }
    }

    /// The value on the wire.
    pub const fn code(self) -> i8 {
        self as i8
    }
}

impl Wire for ScramMechanism {
    fn write(&self, out: &mut Vec<u8>) {
        self.code().write(out);
    }
    fn read(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        Self::from_code(i8::read(input)?).ok_or(DecodeError::Invalid("SCRAM mechanism"))
    }
}

wire_struct! {
    /// What a server needs to check a password it never sees (RFC 5802).
    #[derive(Clone, PartialEq, Eq)]
    pub struct ScramCredential {
        pub salt: Vec<u8>,
        pub stored_key: Vec<u8>,
        pub server_key: Vec<u8>,
        pub iterations: i32,
    }
}

// Keys stay out of logs.
impl std::fmt::Debug for ScramCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScramCredential").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

/// All credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScramImage {
    by_user: OrdMap<(Arc<str>, ScramMechanism), Arc<ScramCredential>>,
}

impl ScramImage {
    /// A user's credential.
    pub fn get(&self, user: &str, mechanism: ScramMechanism) -> Option<&Arc<ScramCredential>> {
        self.by_user.get(&(Arc::from(user), mechanism))
    }

    /// Every credential, sorted by user.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, ScramMechanism, &Arc<ScramCredential>)> {
        self.by_user.iter().map(|((user, mechanism), credential)| (user, *mechanism, credential))
    }

    pub(crate) fn insert(&mut self, user: &Arc<str>, mechanism: ScramMechanism, credential: &ScramCredential) {
        self.by_user.insert((Arc::clone(user), mechanism), Arc::new(credential.clone()));
    }

    pub(crate) fn remove(&mut self, user: &Arc<str>, mechanism: ScramMechanism) {
        self.by_user.remove(&(Arc::clone(user), mechanism));
    }
}
