//! The part of kafka-configs that is about SCRAM credentials: only the salted password leaves this program.

use std::io::Write;

use bytes::Bytes;
use hmac::{Hmac, Mac};
use kafka_protocol::messages::alter_user_scram_credentials_request::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use kafka_protocol::messages::describe_user_scram_credentials_request::UserName;
use kafka_protocol::messages::{AlterUserScramCredentialsRequest, DescribeUserScramCredentialsRequest};
use rand::Rng;
use sha2::{Sha256, Sha512};

use super::Failure;
use super::admin::{message, text};
use super::client::{Client, Target};
use super::configs::Changes;

const MECHANISMS: [(&str, i8); 2] = [("SCRAM-SHA-256", 1), ("SCRAM-SHA-512", 2)];
const ITERATIONS: i32 = 4096;
const SALT_BYTES: usize = 20;

/// Whether a config key names a mechanism.
pub fn is_mechanism(key: &str) -> bool {
    MECHANISMS.iter().any(|(name, _)| *name == key)
}

fn number_of(name: &str) -> i8 {
    MECHANISMS.iter().find(|(known, _)| *known == name).map_or(0, |(_, number)| *number)
}

/// Prints the mechanisms that users have credentials for.
pub fn describe(client: &mut Client, users: &[String], out: &mut dyn Write) -> Result<(), Failure> {
    let asked = users.iter().map(|user| UserName::default().with_name(text(user))).collect();
    let asked = Some(asked).filter(|_| !users.is_empty());
    let request = DescribeUserScramCredentialsRequest::default().with_users(asked);
    let response = client.send(&Target::Controller, &request)?;
    Failure::check(response.error_code, message(response.error_message.as_ref()))?;
    const NOT_FOUND: i16 = 91;
    for result in response.results.iter().filter(|result| result.error_code != NOT_FOUND) {
        let user = result.user.as_str();
        if let Err(failure) = Failure::check(result.error_code, message(result.error_message.as_ref())) {
            let why = failure.as_java();
            writeln!(
                out,
                "Error retrieving SCRAM credential configs for user-principal '{user}': ExecutionException: {why}"
            )?;
            continue;
        }
        let infos: Vec<String> = result
            .credential_infos
            .iter()
            .map(|info| {
                let name = MECHANISMS.iter().find(|(_, number)| *number == info.mechanism);
                format!("{}=iterations={}", name.map_or("UNKNOWN", |(name, _)| *name), info.iterations)
            })
            .collect();
        writeln!(out, "SCRAM credential configs for user-principal '{user}' are {}", infos.join(", "))?;
    }
    Ok(())
}

/// Sets and deletes credentials of a user.
pub fn alter(client: &mut Client, user: &str, changes: &Changes) -> Result<(), Failure> {
    let deletions = changes
        .delete
        .iter()
        .map(|name| ScramCredentialDeletion::default().with_name(text(user)).with_mechanism(number_of(name)));
    let mut upsertions = Vec::new();
    for (name, credential) in &changes.set {
        let (iterations, password) = parse(name, credential)?;
        let mut salt = [0_u8; SALT_BYTES];
        rand::rng().fill(&mut salt[..]);
        let salted = if number_of(name) == 1 {
            salted::<Hmac<Sha256>>(password.as_bytes(), &salt, iterations)?
        } else {
            salted::<Hmac<Sha512>>(password.as_bytes(), &salt, iterations)?
        };
        upsertions.push(
            ScramCredentialUpsertion::default()
                .with_name(text(user))
                .with_mechanism(number_of(name))
                .with_iterations(iterations)
                .with_salt(Bytes::copy_from_slice(&salt))
                .with_salted_password(salted),
        );
    }
    let request =
        AlterUserScramCredentialsRequest::default().with_deletions(deletions.collect()).with_upsertions(upsertions);
    let response = client.send(&Target::Controller, &request)?;
    let mut results = response.results.iter();
    results.try_for_each(|result| Failure::check(result.error_code, message(result.error_message.as_ref())))
}

/// `password=secret` or `iterations=8192,password=secret`.
fn parse<'c>(mechanism: &str, credential: &'c str) -> Result<(i32, &'c str), Failure> {
    let invalid = || Failure::failed(format!("Invalid credential property {mechanism}={credential}"));
    let (iterations, rest) = match credential.strip_prefix("iterations=") {
        Some(rest) => {
            let (number, rest) = rest.split_once(',').ok_or_else(invalid)?;
            (number.parse::<i32>().map_err(|_| invalid())?, rest)
        }
        None => (-1, credential),
    };
    let password = rest.strip_prefix("password=").ok_or_else(invalid)?;
    let iterations = if iterations == -1 { ITERATIONS } else { iterations };
    if iterations < ITERATIONS {
        return Err(Failure::failed(format!(
            "Iterations {iterations} is less than the minimum {ITERATIONS} required for {mechanism}"
        )));
    }
    Ok((iterations, password))
}

/// `Hi` of RFC 5802: PBKDF2 with one block.
fn salted<M: Mac + hmac::digest::KeyInit + Clone>(
    password: &[u8],
    salt: &[u8],
    iterations: i32,
) -> Result<Bytes, Failure> {
    let key = <M as Mac>::new_from_slice(password).map_err(|error| Failure::failed(error.to_string()))?;
    let mut round = key.clone().chain_update(salt).chain_update(1_u32.to_be_bytes()).finalize().into_bytes();
    let mut sum = round.to_vec();
    for _ in 1..iterations {
        round = key.clone().chain_update(&round).finalize().into_bytes();
        for (byte, more) in sum.iter_mut().zip(&round) {
            *byte ^= more;
        }
    }
    Ok(sum.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn passwords_are_salted_as_rfc_7677_shows() {
        // PBKDF2-HMAC-SHA-256 of RFC 7914, section 11: the first 32 of 64 bytes are one block.
        let key = salted::<Hmac<Sha256>>(b"passwd", b"salt", 1).unwrap();
        assert_eq!(key[..8], [0x55, 0xac, 0x04, 0x6e, 0x56, 0xe3, 0x08, 0x9f]);
    }

    #[test]
    fn credentials_may_name_their_iterations() {
        assert_eq!(parse("SCRAM-SHA-256", "password=a,b").unwrap(), (4096, "a,b"));
        assert_eq!(parse("SCRAM-SHA-256", "iterations=8192,password=a").unwrap(), (8192, "a"));
        assert!(parse("SCRAM-SHA-256", "iterations=1,password=a").is_err());
        assert!(parse("SCRAM-SHA-256", "secret").is_err());
    }
}
