//! SCRAM credentials: set from a salted password, or removed. The password itself is never seen here.

use std::collections::BTreeMap;

use hmac::{Hmac, Mac};
use ottla_metadata::{MetadataRecord, ScramCredential, ScramMechanism};
use ottla_protocol::messages::alter_user_scram_credentials_request::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use ottla_protocol::messages::alter_user_scram_credentials_response::AlterUserScramCredentialsResult;
use ottla_protocol::messages::{AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse};
use ottla_protocol::{ErrorCode, StrBytes};
use sha2::{Digest, Sha256, Sha512};

use crate::error::{ApiError, wire};
use crate::request::Decision;
use crate::state::ControllerState;

const ITERATIONS_MIN: i32 = 4096;
const ITERATIONS_MAX: i32 = 16_384;

impl ControllerState {
    /// AlterUserScramCredentials, v0. A user may be named once only.
    pub(crate) fn alter_user_scram_credentials(
        &self,
        request: &AlterUserScramCredentialsRequest,
    ) -> Decision<AlterUserScramCredentialsResponse> {
        let deletions = request.deletions.iter().map(|deletion| (deletion.name.as_str(), self.delete(deletion)));
        let upsertions = request.upsertions.iter().map(|upsertion| (upsertion.name.as_str(), upsert(upsertion)));
        let mut records = Vec::new();
        let mut results = Vec::new();
        for (user, decided) in once_each(deletions.chain(upsertions)) {
            let (error_code, error_message) = wire(&decided);
            records.extend(decided);
            results.push(
                AlterUserScramCredentialsResult::default()
                    .with_user(StrBytes::from_string(user.to_owned()))
                    .with_error_code(error_code)
                    .with_error_message(error_message),
            );
        }
        Decision { records, response: AlterUserScramCredentialsResponse::default().with_results(results) }
    }

    fn delete(&self, deletion: &ScramCredentialDeletion) -> Result<MetadataRecord, ApiError> {
        let mechanism = check(&deletion.name, deletion.mechanism)?;
        if self.image.scram.get(&deletion.name, mechanism).is_none() {
            let message = "Attempt to delete a user credential that does not exist";
            return Err(ApiError::new(ErrorCode::ResourceNotFound, message));
        }
        Ok(MetadataRecord::RemoveUserScramCredential { user: deletion.name.as_str().into(), mechanism })
    }
}

/// One outcome for each user: the first error, also where that is to be named twice.
fn once_each<'a>(
    decisions: impl Iterator<Item = (&'a str, Result<MetadataRecord, ApiError>)>,
) -> BTreeMap<&'a str, Result<MetadataRecord, ApiError>> {
    let mut by_user = BTreeMap::new();
    for (user, decided) in decisions {
        let twice = |first: &mut Result<MetadataRecord, ApiError>| {
            if first.is_ok() {
                let message = "A user credential cannot be altered twice in the same request";
                *first = Err(ApiError::new(ErrorCode::DuplicateResource, message));
            }
        };
        by_user.entry(user).and_modify(twice).or_insert(decided);
    }
    by_user
}

fn check(user: &str, mechanism: i8) -> Result<ScramMechanism, ApiError> {
    if user.is_empty() {
        return Err(ApiError::new(ErrorCode::UnacceptableCredential, "Username must not be empty"));
    }
    ScramMechanism::from_code(mechanism)
        .ok_or_else(|| ApiError::new(ErrorCode::UnsupportedSaslMechanism, "Unknown SCRAM mechanism"))
}

fn upsert(upsertion: &ScramCredentialUpsertion) -> Result<MetadataRecord, ApiError> {
    let mechanism = check(&upsertion.name, upsertion.mechanism)?;
    let unacceptable = |message: &str| Err(ApiError::new(ErrorCode::UnacceptableCredential, message));
    if upsertion.iterations < ITERATIONS_MIN {
        return unacceptable("Too few iterations");
    }
    if upsertion.iterations > ITERATIONS_MAX {
        return unacceptable("Too many iterations");
    }
    let (stored_key, server_key) = keys(mechanism, &upsertion.salted_password);
    let credential =
        ScramCredential { salt: upsertion.salt.to_vec(), stored_key, server_key, iterations: upsertion.iterations };
    Ok(MetadataRecord::UserScramCredential { user: upsertion.name.as_str().into(), mechanism, credential })
}

/// RFC 5802: `StoredKey = H(HMAC(salted, "Client Key"))`, `ServerKey = HMAC(salted, "Server Key")`.
fn keys(mechanism: ScramMechanism, salted: &[u8]) -> (Vec<u8>, Vec<u8>) {
    match mechanism {
        ScramMechanism::Sha256 => {
            let stored = Sha256::digest(sign::<Hmac<Sha256>>(salted, b"Client Key"));
            (stored.to_vec(), sign::<Hmac<Sha256>>(salted, b"Server Key"))
        }
        ScramMechanism::Sha512 => {
            let stored = Sha512::digest(sign::<Hmac<Sha512>>(salted, b"Client Key"));
            (stored.to_vec(), sign::<Hmac<Sha512>>(salted, b"Server Key"))
        }
    }
}

fn sign<M: Mac + hmac::digest::KeyInit>(key: &[u8], message: &[u8]) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
    let mut mac = <M as Mac>::new_from_slice(key).expect("any key length");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_of_a_user_is_the_one_that_is_told() {
        let removed = |user: &'static str| {
            let mechanism = ScramMechanism::Sha256;
            (user, Ok(MetadataRecord::RemoveUserScramCredential { user: user.into(), mechanism }))
        };
        let missing = |user: &'static str| (user, Err(ApiError::bare(ErrorCode::ResourceNotFound)));
        let decisions = [removed("a"), removed("b"), removed("b"), missing("c"), removed("c"), removed("b")];
        let told: Vec<(&str, Option<ErrorCode>)> = once_each(decisions.into_iter())
            .into_iter()
            .map(|(user, decided)| (user, decided.err().map(|error| error.code)))
            .collect();
        let expected =
            [("a", None), ("b", Some(ErrorCode::DuplicateResource)), ("c", Some(ErrorCode::ResourceNotFound))];
        assert_eq!(told, expected);
    }

    #[test]
    fn keys_are_those_of_the_rfc() {
        // RFC 7677, section 3: user "user", password "pencil", 4096 iterations.
        let salted = [
            0xc4, 0xa4, 0x95, 0x10, 0x32, 0x3a, 0xb4, 0xf9, 0x52, 0xca, 0xc1, 0xfa, 0x99, 0x44, 0x19, 0x39, 0xe7, 0x8e,
            0xa7, 0x4d, 0x6b, 0xe8, 0x1d, 0xdf, 0x70, 0x96, 0xe8, 0x75, 0x13, 0xdc, 0x61, 0x5d,
        ];
        let (stored, server) = keys(ScramMechanism::Sha256, &salted);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(&stored), "586e5df283e6dceb5c3e791d8b8528ec191e664045ce971792e2e6b5bb13e2a6");
        assert_eq!(hex(&server), "c1f3cbc1c13a9d35a14c0990eed97629ea225863e566a4314ab99f3f00e5d9d5");
        let (stored, _) = keys(ScramMechanism::Sha512, &salted);
        assert_eq!(stored.len(), 64);
    }
}
