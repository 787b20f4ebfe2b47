//! The lower floors of the house: log directories, controller, partitions, and this broker's place in the cluster.
//!
//! Built bottom-up: [`Ground::lay`], then the controller listeners, [`Node::start`], the other listeners, [`Node::open`].
//! Taken down top-down: [`Node::leave`], the listeners, [`Node::shutdown`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ottla_controller::{
    AutoJoin, Controller, ControllerDefaults, ControllerOptions, InternalTopicGrowth, Joining, VoterInfo,
    is_of_apache_kafka,
};
use ottla_metadata::config_def;
use ottla_metadata::{Endpoint, MetadataImage};
use ottla_protocol::ids::encode_uuid;
use ottla_storage::{LogDirs, LogDirsOptions};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::config::{Effective, Settings, Voter, log_config, sessions};
use crate::coordinators::internal_topics::{GROUP_TOPIC, TRANSACTION_TOPIC};
use crate::cordons::Cordons;
use crate::fatal::Fatal;
use crate::features;
use crate::metadata_cache::MetadataCache;
use crate::offline_dirs::OfflineDirs;
use crate::peer::Limits;
use crate::peer::quorum::{QuorumPeers, QuorumTransport};
use crate::publisher::Publisher;
use crate::registration::{Heartbeats, Identity, Registered, Registration, RegistrationError};
use crate::replica::{
    Assignment, DirReports, FetchOptions, Fetchers, LogDirMoves, Partitions, PeerLeaders, Throttle, failed_dirs,
    isr_proposals,
};
use crate::upkeep::Upkeep;

/// How long what ended the metadata has to say so itself.
const CAUSE_PATIENCE: Duration = Duration::from_millis(200);
/// Longest wait for a controlled shutdown where there is nobody to hand leadership to.
const SHUTDOWN_PATIENCE: Duration = Duration::from_millis(500);
/// A node that was started with `--join` votes while there are fewer voters than this.
const VOTERS_OF_JOINED: usize = 3;
/// Longest wait for others to take over and to hear of it.
const HANDOVER_PATIENCE: Duration = Duration::from_secs(10);

/// Segment files that are open at a time, where the limit of the process allows.
const OPEN_FILES_MAX: usize = 4096;

/// What nodes of a cluster agree on when they are started from Apache's image without a `CLUSTER_ID`.
const CLUSTER_ID_OF_IMAGES: &str = "5L6g3nShT-eMCtK--X86sw";

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Storage(#[from] ottla_storage::OpenError),
    #[error("controller: {0}")]
    Controller(#[from] ottla_controller::StartError),
    #[error(transparent)]
    Registration(#[from] RegistrationError),
    #[error(
        "the cluster id is not known: give every node of the cluster the same one, by CLUSTER_ID or by `kafka-storage \
         format --cluster-id`"
    )]
    NoClusterId,
    #[error(
        "{0}: an Apache Kafka node has run on this directory, and its metadata log is not in Ottla's format. Nothing was \
         changed. Start on a directory of its own: partition directories can be moved there once their topics exist (README)"
    )]
    OfApacheKafka(PathBuf),
    #[error("{0}: {1}")]
    Io(PathBuf, std::io::Error),
}

/// The ground floor: data and controller. With it the node can be part of a quorum, and knows nothing of its cluster yet.
pub struct Ground {
    settings: Arc<Settings>,
    pub cluster_id: Arc<str>,
    pub controller: Controller,
    /// Empty until the node has caught up.
    pub metadata: MetadataCache,
    log_dirs: Arc<LogDirs>,
    offline_dirs: OfflineDirs,
    fatal: Fatal,
    tasks: Vec<JoinHandle<()>>,
}

/// A node without its listeners.
pub struct Node {
    settings: Arc<Settings>,
    pub cluster_id: Arc<str>,
    pub metadata: MetadataCache,
    pub controller: Controller,
    pub publisher: Publisher,
    pub partitions: Partitions,
    pub log_dirs: Arc<LogDirs>,
    pub log_dir_moves: LogDirMoves,
    registered: Option<Registered>,
    registration: Option<Registration>,
    broker_epoch: i64,
    fetchers: Fetchers,
    tasks: Vec<JoinHandle<()>>,
}

impl Ground {
    /// Opens the data and starts the controller. `controller_listeners` is what other nodes are told of it; `fatal` is told
    /// what the node cannot go on after.
    ///
    /// # Errors
    /// When the data cannot be used, or belongs to another cluster or another process.
    pub async fn lay(
        settings: Arc<Settings>,
        controller_listeners: Vec<Endpoint>,
        fatal: Fatal,
    ) -> Result<Self, StartError> {
        let metadata_dir = settings.text("metadata.log.dir").map(PathBuf::from);
        let metadata_dir = metadata_dir.or_else(|| settings.log_dirs.first().cloned()).unwrap_or_default();
        // Before anything is written: whoever tried it goes on with Kafka, which would miss its marker of a clean shutdown.
        if let Some(dir) = settings.log_dirs.iter().chain([&metadata_dir]).find(|dir| is_of_apache_kafka(dir)) {
            return Err(StartError::OfApacheKafka(dir.clone()));
        }
        let cluster_id: Arc<str> = cluster_id(&settings)?.into();
        let log_dirs = open_log_dirs(&settings, &cluster_id).await?;
        let dirs = log_dirs.dirs();
        let directory_id = dirs
            .iter()
            .find(|dir| same_dir(&dir.path, &metadata_dir))
            .or(dirs.first())
            .map_or(Uuid::nil(), |dir| dir.id);
        let offline_dirs = OfflineDirs::new(&log_dirs);
        // Only a controller has a metadata log.
        let of_metadata = dirs.into_iter().map(|dir| dir.path).find(|dir| same_dir(dir, &metadata_dir));
        let of_metadata = of_metadata.filter(|_| settings.is_controller());
        let controller =
            start_controller(&settings, &cluster_id, metadata_dir, directory_id, controller_listeners).await?;
        let watch_controller = {
            let (controller, fatal) = (controller.clone(), fatal.clone());
            async move { fatal.report(controller.failed().await) }
        };
        let tasks =
            vec![tokio::spawn(watch_controller), tokio::spawn(offline_dirs.clone().watch(of_metadata, fatal.clone()))];
        let metadata = MetadataCache::new(Arc::new(MetadataImage::default()));
        Ok(Self { settings, cluster_id, controller, metadata, log_dirs, offline_dirs, fatal, tasks })
    }
}

/// A task that ends a moment after `task` where that has ended because there was nothing more to come: why is the reason that counts.
fn after_its_cause(task: JoinHandle<()>) -> JoinHandle<()> {
    let task = AbortOnDropHandle::new(task);
    tokio::spawn(async move {
        if task.await.is_ok() {
            tokio::time::sleep(CAUSE_PATIENCE).await;
        }
    })
}

impl Node {
    /// Starts everything below the listeners, in the order in which one part needs the other, and registers the broker,
    /// which stays fenced until `open`. `listeners` is what clients are told.
    ///
    /// # Errors
    /// When the broker is refused.
    pub async fn start(ground: Ground, listeners: Vec<Endpoint>) -> Result<Self, StartError> {
        let Ground { settings, cluster_id, controller, metadata, log_dirs, offline_dirs, fatal, mut tasks } = ground;
        // What is on the disk is judged by the metadata: by all of it.
        controller.caught_up().await;
        let partitions = Partitions::new(metadata.clone());
        let (proposals, changes) = mpsc::unbounded_channel();
        let effective = Effective::new(Arc::clone(&settings), metadata.clone());
        let lag_max_ms = settings.i64("replica.lag.time.max.ms");
        let leaders = Arc::new(PeerLeaders::new(&settings, metadata.clone()));
        let throttle = Throttle::new(
            Effective::new(Arc::clone(&settings), metadata.clone()),
            "follower.replication.throttled.rate",
        );
        let fetchers = Fetchers::new(leaders, FetchOptions::new(&settings), throttle);
        let assignment = Assignment::new(
            settings.node_id,
            partitions.clone(),
            Arc::clone(&log_dirs),
            {
                let effective = effective.clone();
                Arc::new(move |image, topic| log_config(&effective.at(image), topic))
            },
            proposals,
            fetchers.clone(),
            lag_max_ms,
        );
        let cordons = Cordons::new(effective.clone(), Arc::clone(&log_dirs));
        let (publisher, published) =
            Publisher::start(controller.images(), metadata.clone(), assignment, cordons.clone()).await;
        let log_dir_moves = LogDirMoves::new(
            effective,
            Arc::clone(&log_dirs),
            partitions.clone(),
            metadata.clone(),
            controller.clone(),
        );
        log_dir_moves.resume();
        // A half-applied image would serve some partitions under old roles.
        tasks.push(fatal.watch("changes of the metadata are no longer applied", after_its_cause(published)));
        tasks.extend(Upkeep::new(&settings, &log_dirs, &partitions, &[GROUP_TOPIC, TRANSACTION_TOPIC]).start());
        tasks.push(tokio::spawn(failed_dirs::tell(partitions.clone(), fetchers.clone(), offline_dirs.clone())));
        let mut broker_epoch = -1;
        let mut registered = None;
        if settings.is_broker() {
            let identity = Identity {
                broker: settings.node_id,
                cluster_id: Arc::clone(&cluster_id),
                listeners,
                features: features::supported(),
                rack: settings.text("broker.rack").map(Arc::from),
                log_dirs: log_dirs.dirs().iter().filter(|dir| dir.online).map(|dir| dir.id).collect(),
                previous_broker_epoch: log_dirs.previous_broker_epoch(),
            };
            let (alone, among) = sessions(&settings);
            let heartbeats = Heartbeats { alone: alone.heartbeat, among_others: among.heartbeat };
            let dirs = (cordons, offline_dirs);
            let broker = Registered::new(controller.clone(), publisher.clone(), identity, heartbeats, dirs).await?;
            broker_epoch = broker.broker_epoch();
            let proposer =
                isr_proposals::Proposer { local: settings.node_id, lag_check: millis((lag_max_ms / 2).max(1)) };
            tasks.push(isr_proposals::start(
                controller.clone(),
                partitions.clone(),
                metadata.clone(),
                proposer,
                changes,
            ));
            let reports = DirReports {
                local: settings.node_id,
                log_dirs: Arc::clone(&log_dirs),
                partitions: partitions.clone(),
                controller: controller.clone(),
                applied: publisher.applied(),
            };
            tasks.push(reports.start());
            registered = Some(broker);
        }
        Ok(Self {
            settings,
            cluster_id,
            metadata,
            controller,
            publisher,
            partitions,
            log_dirs,
            log_dir_moves,
            registered,
            registration: None,
            broker_epoch,
            fetchers,
            tasks,
        })
    }

    /// Has the controller send clients here: the listeners are open.
    ///
    /// # Errors
    /// When the broker is refused.
    pub async fn open(&mut self) -> Result<(), StartError> {
        if let Some(registered) = self.registered.take() {
            self.registration = Some(registered.unfence().await?);
        }
        Ok(())
    }

    /// Whether this node is all of its cluster.
    pub async fn is_alone(&self) -> bool {
        self.metadata.load().brokers.len() < 2 && self.controller.is_alone().await
    }

    /// Hands leadership to others and leaves the cluster, while the listeners still answer.
    pub async fn leave(&mut self) {
        if self.is_alone().await {
            // Nobody takes over, and nobody is there to be told: to ask would be to wait in vain.
            if let Some(registration) = self.registration.take() {
                registration.abandon();
            }
            return;
        }
        let alone = self.metadata.load().brokers.len() < 2;
        let patience = if alone { SHUTDOWN_PATIENCE } else { HANDOVER_PATIENCE };
        if let Some(registration) = self.registration.take() {
            let leaving = registration.shutdown(patience);
            tokio::pin!(leaving);
            if tokio::time::timeout(Duration::from_secs(1), &mut leaving).await.is_err() {
                tracing::info!(
                    seconds = patience.as_secs(),
                    "waiting for a controller to have others take over, so long at most"
                );
                leaving.await;
            }
        }
        if self.settings.is_controller() {
            self.controller.resign().await;
        }
    }

    /// Leaves without a word: it could not be said, or would change nothing.
    pub fn abandon(&mut self) {
        if let Some(registration) = self.registration.take() {
            registration.abandon();
        }
    }

    /// Flushes and closes everything. Listeners must be closed before.
    pub async fn shutdown(self) {
        self.fetchers.shutdown();
        self.log_dir_moves.shutdown().await;
        for task in &self.tasks {
            task.abort();
        }
        self.controller.shutdown().await;
        let (log_dirs, broker_epoch) = (self.log_dirs, self.broker_epoch);
        let closed = tokio::task::spawn_blocking(move || log_dirs.shutdown(broker_epoch)).await;
        if let Err(error) = closed {
            tracing::error!(%error, "log directories were not closed cleanly");
        }
    }
}

async fn open_log_dirs(settings: &Arc<Settings>, cluster_id: &str) -> Result<Arc<LogDirs>, StartError> {
    let options = LogDirsOptions {
        recovery_threads: settings.usize("num.recovery.threads.per.data.dir"),
        cleaner_threads: cleaner_threads(settings),
        cleaner_dedupe_bytes: settings.usize("log.cleaner.dedupe.buffer.size"),
        cleaner_backoff_ms: u64::try_from(settings.i64("log.cleaner.backoff.ms")).unwrap_or(0),
        cleaner_io_bytes_per_second_max: settings.f64("log.cleaner.io.max.bytes.per.second"),
        open_files_max: open_files_max(rustix::process::getrlimit(rustix::process::Resource::Nofile).current),
        ..LogDirsOptions::new(settings.node_id, cluster_id)
    };
    let paths = settings.log_dirs.clone();
    let opened = tokio::task::spawn_blocking(move || LogDirs::open(&paths, options)).await;
    match opened {
        Ok(opened) => Ok(opened?),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

async fn start_controller(
    settings: &Settings,
    cluster_id: &Arc<str>,
    log_dir: PathBuf,
    directory_id: Uuid,
    endpoints: Vec<Endpoint>,
) -> Result<Controller, StartError> {
    let voters_change = settings.voters.is_empty();
    let (alone, among) = sessions(settings);
    let defaults = ControllerDefaults {
        node_id: settings.node_id,
        cluster_id: Arc::clone(cluster_id),
        num_partitions: settings.i32("num.partitions"),
        default_replication_factor: i16::try_from(settings.i32("default.replication.factor")).unwrap_or(1),
        delete_topic_enable: settings.bool("delete.topic.enable"),
        broker_session_timeout_ms: in_millis(alone.timeout),
        cluster_session_timeout_ms: (among != alone).then(|| in_millis(among.timeout)),
        mutation_burst_seconds: f64::from(settings.i32("controller.quota.window.num"))
            * f64::from(settings.i32("controller.quota.window.size.seconds")),
        internal_topics: internal_topics(settings),
        static_configs: Arc::new(settings.explicit.clone()),
        supported_features: features::supported(),
        bootstrap_features: features::of_new_cluster(voters_change),
    };
    let voters = &settings.voters;
    let founders = match (voters.is_empty(), settings.bootstrap.is_empty()) {
        (false, _) => voters.iter().map(static_voter).collect(),
        // Nobody is named: this node is its whole quorum, until others join it.
        (true, true) => vec![VoterInfo { id: settings.node_id, directory_id, endpoints: endpoints.clone() }],
        (true, false) => Vec::new(),
    };
    let election_timeout = millis(settings.i64("controller.quorum.election.timeout.ms"));
    let joining = voters_change.then(|| Joining {
        endpoints,
        auto_join: match (settings.joins, settings.bool("controller.quorum.auto.join.enable")) {
            (true, _) => AutoJoin::Below(VOTERS_OF_JOINED),
            (false, true) => AutoJoin::Always,
            (false, false) => AutoJoin::Never,
        },
        // Who shares a given cluster id with others may be one of them that has lost its disk.
        listen_before_founding: if settings.cluster_id.is_some() { election_timeout } else { Duration::ZERO },
    });
    let options = ControllerOptions {
        node_id: settings.node_id,
        directory_id,
        log_dir,
        voters: founders,
        joining,
        bootstrap: voters.iter().map(|voter| voter.endpoint.clone()).chain(settings.bootstrap.clone()).collect(),
        request_timeout: millis(settings.i64("controller.socket.timeout.ms")),
        disconnect_grace: millis(settings.i64("broker.disconnect.grace.ms")),
        leader_grace: millis(settings.i64("controller.disconnect.grace.ms")),
        leader_silence_max: millis(settings.i64("controller.leader.silence.max.ms").max(1)),
        leader_session_grace: among.heartbeat * 2,
        fetch_bytes_max: u32::try_from(settings.i64("controller.quorum.fetch.max.bytes")).unwrap_or(u32::MAX),
        snapshot_bytes: u64::try_from(settings.i64("metadata.log.max.record.bytes.between.snapshots"))
            .unwrap_or(u64::MAX),
        election_timeout,
        leader_balance_interval: settings.bool("auto.leader.rebalance.enable").then(|| {
            Duration::from_secs(
                u64::try_from(settings.i64("leader.imbalance.check.interval.seconds")).unwrap_or(0).max(1),
            )
        }),
        defaults: Arc::new(defaults),
    };
    let who = QuorumPeers {
        cluster_id: Arc::clone(cluster_id),
        node_id: settings.node_id,
        addresses: voters.iter().map(|voter| (voter.id, voter.endpoint.clone())).collect(),
    };
    let limits = Limits {
        connect_timeout: millis(settings.i64("socket.connection.setup.timeout.ms")),
        response_bytes_max: settings.usize("socket.request.max.bytes").max(1 << 20),
        ..Limits::default()
    };
    let transport = Arc::new(QuorumTransport::new(who, &limits));
    if settings.is_controller() {
        Ok(Controller::start(options, transport).await?)
    } else {
        Ok(Controller::observe(&options, transport))
    }
}

/// A voter that `controller.quorum.voters` names is known by its address there and has no directory id, as under
/// kraft.version 0.
fn static_voter(voter: &Voter) -> VoterInfo {
    VoterInfo { id: voter.id, directory_id: Uuid::nil(), endpoints: vec![voter.endpoint.clone()] }
}

/// Segment files that may be open at a time: at most half of the descriptors that the process may have, for the others are
/// for connections.
fn open_files_max(descriptors: Option<u64>) -> usize {
    let half = descriptors.map_or(usize::MAX, |limit| usize::try_from(limit / 2).unwrap_or(usize::MAX));
    half.min(OPEN_FILES_MAX)
}

/// `log.cleaner.threads`, unless `log.cleaner.enable` is off.
fn cleaner_threads(settings: &Settings) -> usize {
    if settings.bool("log.cleaner.enable") { settings.usize("log.cleaner.threads") } else { 0 }
}

/// The id that was given, or that of the data, or a new one. In a container that of the data comes first, as in Apache's
/// image: its format step leaves a volume that has an id alone.
fn cluster_id(settings: &Settings) -> Result<String, StartError> {
    let given = settings.cluster_id.clone();
    if !settings.in_container
        && let Some(id) = given
    {
        return Ok(id);
    }
    let of_data = cluster_id_of_data(settings)?;
    if let (Some(given), Some(of_data)) = (&given, &of_data)
        && given != of_data
    {
        tracing::warn!(given, of_data, "the data has a cluster id of its own, which is kept; CLUSTER_ID is ignored");
    }
    if let Some(id) = of_data.or(given) {
        return Ok(id);
    }
    if settings.voters.len() > 1 || settings.bootstrap.len() > 1 || !settings.is_controller() {
        return if settings.in_container { Ok(CLUSTER_ID_OF_IMAGES.to_owned()) } else { Err(StartError::NoClusterId) };
    }
    // As in Kafka no id is given out that tools would take for an option.
    let mut ids = std::iter::repeat_with(|| encode_uuid(Uuid::new_v4()));
    Ok(ids.find(|id| !id.starts_with('-')).unwrap_or_default())
}

fn cluster_id_of_data(settings: &Settings) -> Result<Option<String>, StartError> {
    for dir in &settings.log_dirs {
        let file = dir.join("meta.properties");
        match std::fs::read_to_string(&file) {
            Ok(text) => {
                if let Some(id) = text.lines().find_map(|line| line.trim().strip_prefix("cluster.id=")) {
                    return Ok(Some(id.trim().to_owned()));
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(StartError::Io(file, error)),
        }
    }
    Ok(None)
}

/// `log.dirs` may be given relative, while storage knows them absolute.
fn same_dir(one: &Path, other: &Path) -> bool {
    one == other || std::path::absolute(other).is_ok_and(|other| one == other)
}

/// Internal topics and the replicas that they grow to: what is asked for, or else Kafka's defaults.
fn internal_topics(settings: &Settings) -> InternalTopicGrowth {
    let number = |key: &str| {
        let text = if settings.is_asked_for(key) { settings.text(key) } else { config_def::broker_default(key) };
        text.and_then(|text| text.trim().parse::<usize>().ok()).unwrap_or(1)
    };
    let min_isr = u16::try_from(number("transaction.state.log.min.isr")).ok();
    InternalTopicGrowth {
        partitions_max: settings.usize("internal.topics.grow.partitions.max"),
        topics: vec![
            (GROUP_TOPIC.into(), number("offsets.topic.replication.factor"), None),
            (TRANSACTION_TOPIC.into(), number("transaction.state.log.replication.factor"), min_isr),
        ],
    }
}

fn in_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn millis(milliseconds: i64) -> Duration {
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_leave_descriptors_for_connections() {
        assert_eq!(open_files_max(Some(256)), 128);
        assert_eq!(open_files_max(Some(1 << 20)), OPEN_FILES_MAX);
        assert_eq!(open_files_max(None), OPEN_FILES_MAX);
    }
}
