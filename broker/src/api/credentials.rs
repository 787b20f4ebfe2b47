//! DescribeUserScramCredentials, AlterUserScramCredentials: v0 (KIP-554).

use std::collections::BTreeMap;

use ottla_controller::Controller;
use ottla_metadata::ScramImage;
use ottla_protocol::messages::alter_user_scram_credentials_response::AlterUserScramCredentialsResult;
use ottla_protocol::messages::describe_user_scram_credentials_response::{
    CredentialInfo, DescribeUserScramCredentialsResult,
};
use ottla_protocol::messages::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse, DescribeUserScramCredentialsRequest,
    DescribeUserScramCredentialsResponse,
};
use ottla_protocol::{ErrorCode, StrBytes};

use super::topics::origin;
use super::wire::text;
use super::{ApiSpec, House, Reply, RequestContext};
use crate::metadata_cache::MetadataCache;
use crate::publisher::Publisher;

/// Handler of DescribeUserScramCredentials and AlterUserScramCredentials.
pub struct Credentials {
    metadata: MetadataCache,
    controller: Controller,
    publisher: Publisher,
}

impl Credentials {
    pub const APIS: &'static [ApiSpec] = &[ApiSpec::of(50), ApiSpec::of(51)];

    pub fn new(house: &House) -> Self {
        Self {
            metadata: house.metadata.clone(),
            controller: house.controller.clone(),
            publisher: house.publisher.clone(),
        }
    }

    pub async fn describe_user_scram_credentials(
        &self,
        cx: &RequestContext,
        request: DescribeUserScramCredentialsRequest,
    ) -> Reply {
        let image = self.metadata.load();
        let users: Vec<StrBytes> = request.users.unwrap_or_default().into_iter().map(|user| user.name).collect();
        let results = describe(&image.scram, &users);
        cx.reply(&DescribeUserScramCredentialsResponse::default().with_results(results))
    }

    pub async fn alter_user_scram_credentials(
        &self,
        cx: &RequestContext,
        request: AlterUserScramCredentialsRequest,
    ) -> Reply {
        let mut users: Vec<StrBytes> = request.deletions.iter().map(|deletion| deletion.name.clone()).collect();
        users.extend(request.upsertions.iter().map(|upsertion| upsertion.name.clone()));
        users.sort();
        users.dedup();
        match self.controller.alter_user_scram_credentials(origin(cx), request).await {
            Ok(committed) => cx.reply(&self.publisher.in_force(committed).await),
            Err(code) => {
                let failed = users.into_iter().map(|user| {
                    AlterUserScramCredentialsResult::default()
                        .with_user(user)
                        .with_error_code(code.code())
                        .with_error_message(Some(StrBytes::from_static_str(code.message())))
                });
                cx.reply(&AlterUserScramCredentialsResponse::default().with_results(failed.collect()))
            }
        }
    }
}

/// The mechanisms of the users asked for; of all users when none is named.
fn describe(scram: &ScramImage, asked: &[StrBytes]) -> Vec<DescribeUserScramCredentialsResult> {
    let mut known: BTreeMap<&str, Vec<CredentialInfo>> = BTreeMap::new();
    for (user, mechanism, credential) in scram.iter() {
        let info = CredentialInfo::default().with_mechanism(mechanism.code()).with_iterations(credential.iterations);
        known.entry(user).or_default().push(info);
    }
    if asked.is_empty() {
        let all = known.into_iter();
        return all
            .map(|(user, infos)| {
                DescribeUserScramCredentialsResult::default().with_user(text(user)).with_credential_infos(infos)
            })
            .collect();
    }
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for user in asked {
        *times.entry(user.as_str()).or_default() += 1;
    }
    let mut results = Vec::with_capacity(times.len());
    for user in asked {
        // Each is answered once, where it is first named.
        let Some(count) = times.remove(user.as_str()) else { continue };
        let result = DescribeUserScramCredentialsResult::default().with_user(user.clone());
        let refuse = |code: ErrorCode, message: String| {
            result.clone().with_error_code(code.code()).with_error_message(Some(StrBytes::from_string(message)))
        };
        results.push(if count > 1 {
            let message =
                format!("Cannot describe SCRAM credentials for the same user twice in a single request: {user}");
            refuse(ErrorCode::DuplicateResource, message)
        } else {
            match known.get(user.as_str()) {
                Some(infos) => result.clone().with_credential_infos(infos.clone()),
                None => refuse(
                    ErrorCode::ResourceNotFound,
                    format!("Attempt to describe a user credential that does not exist: {user}"),
                ),
            }
        });
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_users_and_repeated_ones_are_told() {
        let user = |name| StrBytes::from_static_str(name);
        let results = describe(&ScramImage::default(), &[user("a"), user("b"), user("b")]);
        let codes: Vec<i16> = results.iter().map(|result| result.error_code).collect();
        assert_eq!(codes, [ErrorCode::ResourceNotFound.code(), ErrorCode::DuplicateResource.code()]);
        assert!(describe(&ScramImage::default(), &[]).is_empty());
    }
}
