//! This broker's life in the cluster: it registers, says that it lives, and asks to leave.

use std::sync::Arc;
use std::time::Duration;

use ottla_controller::{Controller, RequestOrigin};
use ottla_metadata::{Endpoint, FeatureRange, FeaturesImage};
use ottla_protocol::messages::broker_registration_request::{Feature, Listener};
use ottla_protocol::messages::{BrokerHeartbeatRequest, BrokerHeartbeatResponse, BrokerRegistrationRequest};
use ottla_protocol::{BrokerId, ErrorCode, Offset, StrBytes};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::cordons::Cordons;
use crate::offline_dirs::OfflineDirs;
use crate::publisher::Publisher;

/// How often a registration that was refused for the moment is tried again.
const RETRY: Duration = Duration::from_millis(100);

/// What this broker tells of itself.
#[derive(Debug, Clone)]
pub struct Identity {
    pub broker: BrokerId,
    pub cluster_id: Arc<str>,
    pub listeners: Vec<Endpoint>,
    pub features: Vec<FeatureRange>,
    pub rack: Option<Arc<str>>,
    pub log_dirs: Vec<Uuid>,
    /// The epoch of the life before, from the clean-shutdown marker; -1 when that life ended uncleanly: the controller
    /// then takes the broker out of the in-sync sets it may no longer deserve.
    pub previous_broker_epoch: i64,
}

/// Why this broker cannot join.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    #[error("registration refused: {}", .0.message())]
    Refused(ErrorCode),
    /// The cluster has moved on, or was never this far back.
    #[error(
        "registration refused: this build cannot run the feature levels of the cluster ({0}): run another build here"
    )]
    Features(String),
    #[error("metadata stopped coming in")]
    Stopped,
}

/// How often a broker says that it lives.
#[derive(Debug, Clone, Copy)]
pub struct Heartbeats {
    /// While it is the only one.
    pub alone: Duration,
    pub among_others: Duration,
}

/// A registered broker that is not yet unfenced: nobody is sent here before it can serve.
pub struct Registered {
    life: Life,
    heartbeats: Heartbeats,
}

/// A registered, unfenced broker.
pub struct Registration {
    epoch: i64,
    leave: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Registered {
    /// Registers, and waits until this broker has caught up with its own registration.
    ///
    /// # Errors
    /// When another live broker has this id, or the cluster id differs.
    pub async fn new(
        controller: Controller,
        publisher: Publisher,
        identity: Identity,
        heartbeats: Heartbeats,
        (cordons, offline_dirs): (Cordons, OfflineDirs),
    ) -> Result<Self, RegistrationError> {
        let incarnation = Uuid::new_v4();
        let request = registration_request(&identity, incarnation);
        let mut warned = false;
        let registered = loop {
            match controller.register_broker(RequestOrigin::internal(), request.clone()).await {
                Ok(committed) if committed.response.error_code == 0 => break committed,
                Ok(committed) => {
                    let code = ErrorCode::from_code(committed.response.error_code);
                    let code = code.unwrap_or(ErrorCode::UnknownServerError);
                    if code == ErrorCode::UnsupportedVersion {
                        let image = publisher.applied().borrow().clone();
                        return Err(RegistrationError::Features(unsupported(&identity.features, &image.features)));
                    }
                    // Another life of this broker may not have ended in the controller's eyes yet.
                    if code != ErrorCode::DuplicateBrokerRegistration {
                        return Err(RegistrationError::Refused(code));
                    }
                    if !warned {
                        warned = true;
                        tracing::warn!(
                            broker = identity.broker.0,
                            "a live broker is registered under this node.id: waiting for its session to end. If it is \
                             another process, give one of the two another node.id"
                        );
                    }
                }
                Err(code) if code.is_retriable() => {}
                Err(code) => return Err(RegistrationError::Refused(code)),
            }
            tokio::time::sleep(RETRY).await;
        };
        publisher.wait_applied(registered.offset).await.map_err(|_| RegistrationError::Stopped)?;
        let epoch = registered.response.broker_epoch;
        let life = Life { controller, publisher, cordons, broker: identity.broker, epoch, offline_dirs };
        Ok(Self { life, heartbeats })
    }

    /// The epoch of this life.
    pub const fn broker_epoch(&self) -> i64 {
        self.life.epoch
    }

    /// Waits until the controller sends clients here, then keeps it so.
    ///
    /// # Errors
    /// When the controller refuses this broker.
    pub async fn unfence(self) -> Result<Registration, RegistrationError> {
        let Self { mut life, heartbeats } = self;
        loop {
            match life.heartbeat(false).await {
                Ok((answer, offset)) if !answer.is_fenced => {
                    // From here on this broker leads what it should.
                    life.publisher.wait_applied(offset).await.map_err(|_| RegistrationError::Stopped)?;
                    break;
                }
                Ok(_) => {}
                Err(code) if code.is_retriable() => {}
                Err(code) => return Err(RegistrationError::Refused(code)),
            }
            tokio::time::sleep(RETRY).await;
        }
        let (leave, left) = watch::channel(false);
        let epoch = life.epoch;
        let task = tokio::spawn(async move { life.run(heartbeats, left).await });
        Ok(Registration { epoch, leave, task })
    }
}

impl Registration {
    /// The epoch of this life; written beside the clean-shutdown marker.
    pub const fn broker_epoch(&self) -> i64 {
        self.epoch
    }

    /// Ends without a word: the whole cluster ends.
    pub fn abandon(self) {
        self.task.abort();
    }

    /// Asks to leave and waits until leadership has moved, but no longer than `patience`.
    pub async fn shutdown(self, patience: Duration) {
        self.leave.send_replace(true);
        let abort = self.task.abort_handle();
        if tokio::time::timeout(patience, self.task).await.is_err() {
            abort.abort();
        }
    }
}

struct Life {
    controller: Controller,
    publisher: Publisher,
    cordons: Cordons,
    broker: BrokerId,
    epoch: i64,
    offline_dirs: OfflineDirs,
}

impl Life {
    async fn run(&mut self, heartbeats: Heartbeats, mut left: watch::Receiver<bool>) {
        loop {
            let leaving = *left.borrow_and_update();
            match self.heartbeat(leaving).await {
                Ok((answer, _)) if leaving && answer.should_shut_down => return,
                Ok((answer, _)) if answer.is_fenced && !leaving => {
                    tracing::warn!("fenced by the controller");
                }
                Ok(_) => {}
                Err(code) => tracing::warn!(error = ?code, "heartbeat refused"),
            }
            let mut images = self.publisher.applied();
            let is_alone = images.borrow().brokers.len() < 2;
            let pause = match (leaving, is_alone) {
                (true, _) => RETRY,
                (false, true) => heartbeats.alone,
                (false, false) => heartbeats.among_others,
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // Sessions are shorter from now on.
                _ = images.wait_for(|image| image.brokers.len() > 1), if is_alone => {}
                // Others have to lead what was in there.
                () = self.offline_dirs.changed() => {}
                // The controller places replicas by it.
                () = self.cordons.changed() => {}
                changed = left.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn heartbeat(&mut self, want_shut_down: bool) -> Result<(BrokerHeartbeatResponse, Offset), ErrorCode> {
        let applied = self.publisher.applied().borrow().offset;
        let request = BrokerHeartbeatRequest::default()
            .with_broker_id(self.broker.0.into())
            .with_broker_epoch(self.epoch)
            .with_current_metadata_offset(applied.0)
            .with_want_fence(false)
            .with_want_shut_down(want_shut_down)
            .with_cordoned_log_dirs(Some(self.cordons.ids()))
            .with_offline_log_dirs(self.offline_dirs.ids());
        let committed = self.controller.heartbeat(RequestOrigin::internal(), request).await?;
        match ErrorCode::from_code(committed.response.error_code) {
            Some(ErrorCode::None) => Ok((committed.response, committed.offset)),
            code => Err(code.unwrap_or(ErrorCode::UnknownServerError)),
        }
    }
}

/// Levels of the cluster outside of what a build supports, with what it supports.
fn unsupported(supported: &[FeatureRange], finalized: &FeaturesImage) -> String {
    let range = |name: &str| supported.iter().find(|range| &*range.name == name).map_or((0, 0), |r| (r.min, r.max));
    let named = finalized.iter().map(|(name, level)| (&**name, level));
    // What the cluster has not enabled is at level 0.
    let absent = supported.iter().map(|range| (&*range.name, 0)).filter(|(name, _)| finalized.level(name) == 0);
    let wrong = named.chain(absent).filter_map(|(name, level)| {
        let (min, max) = range(name);
        (level < min || level > max).then(|| format!("{name} is at {level}, this build runs {min} to {max}"))
    });
    wrong.collect::<Vec<_>>().join("; ")
}

fn registration_request(identity: &Identity, incarnation: Uuid) -> BrokerRegistrationRequest {
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let listeners = identity.listeners.iter().map(|listener| {
        Listener::default()
            .with_name(text(&listener.name))
            .with_host(text(&listener.host))
            .with_port(listener.port)
            .with_security_protocol(listener.security_protocol)
    });
    let features = identity.features.iter().map(|feature| {
        Feature::default()
            .with_name(text(&feature.name))
            .with_min_supported_version(feature.min)
            .with_max_supported_version(feature.max)
    });
    BrokerRegistrationRequest::default()
        .with_broker_id(identity.broker.0.into())
        .with_cluster_id(text(&identity.cluster_id))
        .with_incarnation_id(incarnation)
        .with_listeners(listeners.collect())
        .with_features(features.collect())
        .with_rack(identity.rack.as_deref().map(text))
        .with_log_dirs(identity.log_dirs.clone())
        .with_previous_broker_epoch(identity.previous_broker_epoch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ottla_metadata::{MetadataImage, MetadataRecord};

    #[test]
    fn levels_that_a_build_cannot_run_are_named_with_what_it_can() {
        let levels = [("metadata.version", 25), ("later.version", 2), ("group.version", 1)];
        let records = levels.map(|(name, level)| MetadataRecord::FeatureLevel { name: name.into(), level });
        let mut image = MetadataImage::default();
        image.replay_entry(Offset::ZERO, 1, &records);
        let range = |name: &str, min, max| FeatureRange { name: name.into(), min, max };
        let own = [range("metadata.version", 7, 20), range("group.version", 0, 1), range("needed.version", 1, 1)];
        assert_eq!(
            unsupported(&own, &image.features),
            "later.version is at 2, this build runs 0 to 0; metadata.version is at 25, this build runs 7 to 20; \
             needed.version is at 0, this build runs 1 to 1"
        );
    }
}
