//! A broker's life: registration, heartbeats, fencing, controlled shutdown, removal.

use std::collections::BTreeSet;

use ottla_metadata::{
    BrokerRegistration, BrokerRegistrationChange, Endpoint, FeatureRange, METADATA_VERSION, MetadataRecord,
    PartitionImage,
};
use ottla_protocol::messages::{
    BrokerHeartbeatRequest, BrokerHeartbeatResponse, BrokerRegistrationRequest, BrokerRegistrationResponse,
    UnregisterBrokerRequest, UnregisterBrokerResponse,
};
use ottla_protocol::{BrokerId, ErrorCode, Offset, Timestamp};
use uuid::Uuid;

use crate::elections::BrokerMove;
use crate::error::ApiError;
use crate::heartbeats::SoftState;
use crate::request::Decision;
use crate::state::{Context, ControllerState};

/// A directory id below this is reserved.
const RESERVED_DIRS: u128 = 100;

/// Changes of one heartbeat of a broker that shuts down: they become one entry of the metadata log.
const MOVED_AT_ONCE: usize = 10_000;

impl ControllerState {
    /// BrokerRegistration, all versions.
    pub(crate) fn register_broker(
        &self,
        soft: &mut SoftState,
        request: &BrokerRegistrationRequest,
        cx: &Context<'_>,
    ) -> Decision<BrokerRegistrationResponse> {
        match self.try_register(soft, request, cx) {
            Ok((records, epoch)) => {
                Decision { records, response: BrokerRegistrationResponse::default().with_broker_epoch(epoch) }
            }
            Err(error) => {
                let response = BrokerRegistrationResponse::default();
                Decision::answer(response.with_error_code(error.code.code()).with_broker_epoch(-1))
            }
        }
    }

    fn try_register(
        &self,
        soft: &mut SoftState,
        request: &BrokerRegistrationRequest,
        cx: &Context<'_>,
    ) -> Result<(Vec<MetadataRecord>, i64), ApiError> {
        if *request.cluster_id != *self.defaults.cluster_id {
            let message =
                format!("Expected cluster ID {}, but got cluster ID {}", self.defaults.cluster_id, request.cluster_id);
            return Err(ApiError::new(ErrorCode::InconsistentClusterId, message));
        }
        let id = BrokerId(request.broker_id.0);
        let existing = self.image.brokers.get(&id);
        let same_life = existing.is_some_and(|existing| existing.incarnation_id == request.incarnation_id);
        if let Some(existing) = existing.filter(|_| !same_life) {
            let timeout = self.session_timeout_ms();
            // A broker that let itself be fenced has gone; only one that may still be running is in the way.
            if !existing.fenced && soft.has_valid_session(id, existing.epoch, cx.now, timeout) {
                return Err(ApiError::new(
                    ErrorCode::DuplicateBrokerRegistration,
                    "Another broker is registered with that broker id.",
                ));
            }
        }
        self.check_registered_dirs(id, &request.log_dirs)?;
        let features = self.check_registered_features(request)?;
        let listeners = request
            .listeners
            .iter()
            .map(|listener| Endpoint {
                name: listener.name.as_str().into(),
                host: listener.host.as_str().into(),
                port: listener.port,
                security_protocol: listener.security_protocol,
            })
            .collect();
        let mut registration = BrokerRegistration {
            id,
            epoch: cx.next_offset.0,
            incarnation_id: request.incarnation_id,
            listeners,
            features,
            rack: request.rack.as_ref().map(|rack| rack.as_str().into()),
            fenced: true,
            in_controlled_shutdown: false,
            log_dirs: request.log_dirs.clone(),
            cordoned_log_dirs: Vec::new(),
        };
        let mut records = Vec::new();
        match existing.filter(|_| same_life) {
            // The answer to the first request was lost, or a listener changed: the same life goes on.
            Some(existing) => {
                registration.epoch = existing.epoch;
                registration.fenced = existing.fenced;
                registration.in_controlled_shutdown = existing.in_controlled_shutdown;
            }
            None => {
                let clean = existing.is_some_and(|existing| existing.epoch == request.previous_broker_epoch);
                records = self.after_shutdown(id, clean);
                soft.remove(id);
            }
        }
        soft.touch(id, registration.epoch, cx.now, None);
        let epoch = registration.epoch;
        records.push(MetadataRecord::RegisterBroker { registration });
        Ok((records, epoch))
    }

    /// What a former life of the broker left behind.
    fn after_shutdown(&self, id: BrokerId, clean: bool) -> Vec<MetadataRecord> {
        let in_sync = |partition: &PartitionImage| partition.isr.contains(&id);
        if self.elr_enabled() && !clean {
            let moved = BrokerMove { crashed: Some(id), ..BrokerMove::default() };
            return self.after_broker_move(moved, |p| in_sync(p) || p.eligible_leader_replicas.contains(&id));
        }
        self.after_broker_move(BrokerMove { gone: Some(id), ..BrokerMove::default() }, in_sync)
    }

    fn check_registered_dirs(&self, id: BrokerId, dirs: &[Uuid]) -> Result<(), ApiError> {
        let invalid = |message: String| ApiError::new(ErrorCode::InvalidRegistration, message);
        if dirs.is_empty() {
            return Err(invalid("No directories specified in request".into()));
        }
        if dirs.iter().any(|dir| dir.as_u128() < RESERVED_DIRS) {
            return Err(invalid("Reserved directory ID in request".into()));
        }
        if dirs.iter().collect::<BTreeSet<_>>().len() != dirs.len() {
            return Err(invalid("Duplicate directory ID in request".into()));
        }
        for other in self.image.brokers.values().filter(|other| other.id != id) {
            if let Some(dir) = dirs.iter().find(|dir| other.log_dirs.contains(dir)) {
                let dir = ottla_protocol::ids::encode_uuid(*dir);
                return Err(invalid(format!("Broker {} is already registered with directory {dir}", other.id)));
            }
        }
        Ok(())
    }

    fn check_registered_features(&self, request: &BrokerRegistrationRequest) -> Result<Vec<FeatureRange>, ApiError> {
        let supported: Vec<FeatureRange> = request
            .features
            .iter()
            .map(|f| FeatureRange {
                name: f.name.as_str().into(),
                min: f.min_supported_version,
                max: f.max_supported_version,
            })
            .collect();
        if !supported.iter().any(|range| &*range.name == METADATA_VERSION) {
            return Err(ApiError::new(
                ErrorCode::InvalidRegistration,
                format!("Request features do not contain '{METADATA_VERSION}'"),
            ));
        }
        let refuse = |name: &str, level: i16, min: i16, max: i16| {
            ApiError::new(
                ErrorCode::UnsupportedVersion,
                format!(
                    "Unable to register because the broker does not support finalized version {level} of {name}. The \
                     broker wants a version between {min} and {max}, inclusive."
                ),
            )
        };
        for range in &supported {
            let level = self.image.features.level(&range.name);
            if level < range.min || level > range.max {
                return Err(refuse(&range.name, level, range.min, range.max));
            }
        }
        for (name, level) in self.image.features.iter() {
            if !supported.iter().any(|range| range.name == *name) {
                return Err(refuse(name, level, 0, 0));
            }
        }
        Ok(supported)
    }

    /// The registration this epoch belongs to.
    pub(crate) fn check_broker_epoch(&self, id: BrokerId, epoch: i64) -> Result<&BrokerRegistration, ApiError> {
        match self.image.brokers.get(&id) {
            None => Err(ApiError::new(
                ErrorCode::StaleBrokerEpoch,
                format!("No broker registration found for broker id {id}"),
            )),
            Some(broker) if broker.epoch != epoch => Err(ApiError::new(
                ErrorCode::StaleBrokerEpoch,
                format!("Expected broker epoch {}, but got broker epoch {epoch}", broker.epoch),
            )),
            Some(broker) => Ok(broker),
        }
    }

    /// BrokerHeartbeat, all versions: the broker lives, and wants to be unfenced, fenced or let go.
    pub(crate) fn broker_heartbeat(
        &self,
        soft: &mut SoftState,
        request: &BrokerHeartbeatRequest,
        cx: &Context<'_>,
    ) -> Decision<BrokerHeartbeatResponse> {
        let id = BrokerId(request.broker_id.0);
        let broker = match self.check_broker_epoch(id, request.broker_epoch) {
            Ok(broker) => broker,
            Err(error) => {
                let response = BrokerHeartbeatResponse::default().with_is_fenced(true);
                return Decision::answer(response.with_error_code(error.code.code()));
            }
        };
        let read = Offset(request.current_metadata_offset);
        let caught_up = read.0 >= broker.epoch;
        soft.touch(id, broker.epoch, cx.now, Some(read));
        // Such a broker is about to end. Without a directory it would be taken for one that never named any.
        let has_no_dir =
            !broker.log_dirs.is_empty() && broker.log_dirs.iter().all(|dir| request.offline_log_dirs.contains(dir));
        let leads = || self.image.topics.iter().any(|topic| topic.partitions.iter().any(|p| p.leader == Some(id)));
        let mut response =
            BrokerHeartbeatResponse::default().with_is_caught_up(caught_up).with_is_fenced(broker.fenced);
        let mut records = Vec::new();
        if broker.fenced {
            if request.want_shut_down {
                response.should_shut_down = true;
            } else if !request.want_fence && caught_up && !has_no_dir {
                response.is_fenced = false;
                records = self.unfence(broker);
            }
        } else if broker.in_controlled_shutdown {
            records = self.begin_shutdown(broker);
            if !records.is_empty() {
                soft.set_shutdown_offset(id, cx.next_offset);
            }
            let awaited = soft.shutdown_offset(id);
            let others = soft.lowest_active_offset(&self.image);
            // Everybody else must know that this broker leads no more before it may vanish.
            let everybody_knows = awaited.is_none_or(|awaited| others.is_none_or(|read| read >= awaited));
            if !leads() && records.is_empty() && everybody_knows {
                response.should_shut_down = true;
                response.is_fenced = true;
                records = self.fence(broker);
            }
        } else if request.want_fence || has_no_dir {
            response.is_fenced = true;
            response.should_shut_down = request.want_shut_down;
            records = self.fence(broker);
        } else if request.want_shut_down {
            if leads() {
                records = self.begin_shutdown(broker);
                soft.set_shutdown_offset(id, cx.next_offset);
            } else {
                response.should_shut_down = true;
                response.is_fenced = true;
                records = self.fence(broker);
            }
        }
        if !has_no_dir {
            records.extend(self.directory_changes(broker, request));
        }
        Decision { records, response }
    }

    fn directory_changes(&self, broker: &BrokerRegistration, request: &BrokerHeartbeatRequest) -> Vec<MetadataRecord> {
        let offline: Vec<Uuid> =
            request.offline_log_dirs.iter().copied().filter(|dir| broker.log_dirs.contains(dir)).collect();
        // v2 says which directories take no new partitions; absent until the broker has caught up.
        let cordoned = request.cordoned_log_dirs.clone().filter(|dirs| *dirs != broker.cordoned_log_dirs);
        if offline.is_empty() && cordoned.is_none() {
            return Vec::new();
        }
        let mut records = self.after_broker_move(BrokerMove { gone: Some(broker.id), ..BrokerMove::default() }, |p| {
            p.isr.contains(&broker.id) && p.directory(broker.id).is_some_and(|dir| offline.contains(&dir))
        });
        let online = broker.log_dirs.iter().copied().filter(|dir| !offline.contains(dir)).collect();
        let log_dirs = (!offline.is_empty()).then_some(online);
        let change = BrokerRegistrationChange { log_dirs, cordoned_log_dirs: cordoned, ..unchanged(broker) };
        records.push(MetadataRecord::BrokerChange { change });
        records
    }

    fn fence(&self, broker: &BrokerRegistration) -> Vec<MetadataRecord> {
        let id = broker.id;
        let moved = BrokerMove { gone: Some(id), ..BrokerMove::default() };
        let mut records = self.after_broker_move(moved, |p| p.isr.contains(&id));
        records.push(MetadataRecord::BrokerChange {
            change: BrokerRegistrationChange { fenced: Some(true), ..unchanged(broker) },
        });
        records
    }

    fn unfence(&self, broker: &BrokerRegistration) -> Vec<MetadataRecord> {
        let mut records = vec![MetadataRecord::BrokerChange {
            change: BrokerRegistrationChange { fenced: Some(false), ..unchanged(broker) },
        }];
        let moved = BrokerMove { back: Some(broker.id), ..BrokerMove::default() };
        records.extend(self.after_broker_move(moved, |p| p.leader.is_none()));
        records
    }

    /// Marks the broker as leaving and takes it out of every ISR. Nothing is left to do when this is empty.
    fn begin_shutdown(&self, broker: &BrokerRegistration) -> Vec<MetadataRecord> {
        let id = broker.id;
        let mut records = Vec::new();
        if !broker.in_controlled_shutdown {
            records.push(MetadataRecord::BrokerChange {
                change: BrokerRegistrationChange { in_controlled_shutdown: Some(true), ..unchanged(broker) },
            });
        }
        let moved = BrokerMove { gone: Some(id), ..BrokerMove::default() };
        records.extend(self.after_broker_move(moved, |p| p.isr.contains(&id)));
        // The next heartbeat goes on with the rest.
        records.truncate(MOVED_AT_ONCE);
        records
    }

    /// UnregisterBroker: takes a broker out of every ISR and forgets it.
    pub(crate) fn unregister_broker(
        &self,
        soft: &mut SoftState,
        request: &UnregisterBrokerRequest,
    ) -> Decision<UnregisterBrokerResponse> {
        let id = BrokerId(request.broker_id.0);
        let Some(broker) = self.image.brokers.get(&id) else {
            let error =
                ApiError::new(ErrorCode::BrokerIdNotRegistered, format!("Broker ID {id} is not currently registered"));
            let response = UnregisterBrokerResponse::default().with_error_code(error.code.code());
            return Decision::answer(response.with_error_message(error.wire_message()));
        };
        let moved = BrokerMove { gone: Some(id), ..BrokerMove::default() };
        let mut records =
            self.after_broker_move(moved, |p| p.isr.contains(&id) || p.eligible_leader_replicas.contains(&id));
        records.push(MetadataRecord::UnregisterBroker { id, epoch: broker.epoch });
        soft.remove(id);
        Decision { records, response: UnregisterBrokerResponse::default().with_error_message(None) }
    }

    /// Fences a broker that is known to be gone, unless it has left or begun another life.
    pub fn fence_lost(&self, id: BrokerId, epoch: i64) -> Option<Vec<MetadataRecord>> {
        let broker = self.image.brokers.get(&id).filter(|broker| broker.epoch == epoch && !broker.fenced)?;
        Some(self.fence(broker))
    }

    /// Fences one broker whose session ran out. One at a time, so that each sees what the one before changed.
    pub fn fence_expired(&self, soft: &SoftState, now: Timestamp) -> Option<(BrokerId, Vec<MetadataRecord>)> {
        let id = soft.expired(&self.image, now, self.session_timeout_ms())?;
        let broker = self.image.brokers.get(&id)?;
        Some((id, self.fence(broker)))
    }
}

fn unchanged(broker: &BrokerRegistration) -> BrokerRegistrationChange {
    BrokerRegistrationChange {
        id: broker.id,
        epoch: broker.epoch,
        fenced: None,
        in_controlled_shutdown: None,
        log_dirs: None,
        cordoned_log_dirs: None,
    }
}
