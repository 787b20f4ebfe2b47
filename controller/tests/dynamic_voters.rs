//! A quorum whose voters change while it runs: founded once, joined, left, and not deceived by a node whose disk was lost.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::{Node, create_topic, register};
use ottla_controller::{
    Assigned, AutoJoin, Carried, Controller, ControllerOptions, Destination, Joining, Lane, Transport, VoterChange,
    VoterError, VoterInfo, assignment_request, read_assignment,
};
use ottla_metadata::Endpoint;
use ottla_protocol::{BrokerId, ErrorCode};
use uuid::Uuid;

/// By port: each node has an address of its own, whatever id it goes by.
#[derive(Clone, Default)]
struct Switch {
    nodes: Arc<Mutex<HashMap<u16, Controller>>>,
}

impl Switch {
    fn plug(&self, port: u16, controller: &Controller) {
        self.nodes.lock().unwrap().insert(port, controller.clone());
    }

    fn unplug(&self, port: u16) {
        self.nodes.lock().unwrap().remove(&port);
    }
}

impl Transport for Switch {
    fn call(&self, to: Destination, _: Lane, message: Bytes) -> Carried {
        let controller = to.endpoint.and_then(|endpoint| self.nodes.lock().unwrap().get(&endpoint.port).cloned());
        Box::pin(async move {
            let controller = controller.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionRefused))?;
            controller.receive(&message).await
        })
    }
}

fn address(port: u16) -> Endpoint {
    Endpoint { name: "CONTROLLER".into(), host: "x".into(), port, security_protocol: 0 }
}

fn directory(number: u128) -> Uuid {
    Uuid::from_u128(7_000 + number)
}

/// Of node `id` at port `id`, in the directory of this number.
fn options(node: &Node, id: i32, directory_number: u128, bootstrap: &[u16], auto_join: AutoJoin) -> ControllerOptions {
    let mut defaults = common::defaults();
    defaults.node_id = BrokerId(id);
    defaults.bootstrap_features.push(("kraft.version".into(), 1));
    defaults.supported_features.push(ottla_metadata::FeatureRange { name: "kraft.version".into(), min: 0, max: 1 });
    ControllerOptions {
        node_id: BrokerId(id),
        directory_id: directory(directory_number),
        voters: Vec::new(),
        joining: Some(Joining {
            endpoints: vec![address(id as u16)],
            auto_join,
            listen_before_founding: Duration::from_secs(1),
        }),
        bootstrap: bootstrap.iter().copied().map(address).collect(),
        defaults: Arc::new(defaults),
        ..node.options()
    }
}

async fn start(switch: &Switch, options: ControllerOptions) -> Controller {
    let port = options.joining.as_ref().unwrap().endpoints[0].port;
    let controller = Controller::start(options, Arc::new(switch.clone())).await.unwrap();
    switch.plug(port, &controller);
    controller
}

async fn stop(switch: &Switch, port: u16, controller: &Controller) {
    switch.unplug(port);
    controller.shutdown().await;
}

/// Asks again until the answer is right.
async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    for _ in 0..1_500 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what}");
}

/// Ids of voters and of observers, as the leader knows them.
async fn members(controller: &Controller) -> (Vec<i32>, Vec<i32>) {
    let Ok(quorum) = controller.quorum().await else { return Default::default() };
    let mut observers: Vec<i32> = quorum.observers.iter().map(|observer| observer.id.0).collect();
    observers.sort_unstable();
    (quorum.voters.iter().map(|voter| voter.id.0).collect(), observers)
}

async fn until_members(controller: &Controller, voters: &[i32], observers: &[i32]) {
    eventually(&format!("voters {voters:?}, observers {observers:?}"), || async {
        members(controller).await == (voters.to_vec(), observers.to_vec())
    })
    .await;
}

async fn add(controller: &Controller, id: i32, directory_number: u128) -> Result<(), VoterError> {
    let voter =
        VoterInfo { id: BrokerId(id), directory_id: directory(directory_number), endpoints: vec![address(id as u16)] };
    controller.change_voters(VoterChange::Add { voter, timeout_ms: 10_000, wait_until_committed: true }).await
}

async fn remove(controller: &Controller, id: i32, directory_number: u128) -> Result<(), VoterError> {
    let change = VoterChange::Remove { id: BrokerId(id), directory_id: directory(directory_number) };
    controller.change_voters(change).await
}

async fn has_topic(controller: &Controller, name: &str) {
    let mut images = controller.images();
    let seen = images.wait_for(|image| image.topics.by_name(name).is_some());
    tokio::time::timeout(Duration::from_secs(20), seen).await.expect("in time").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn voters_come_and_go() {
    let switch = Switch::default();
    let nodes: Vec<Node> = (0..3).map(|_| Node::new()).collect();
    let mut all = Vec::new();
    for id in 1..=3 {
        all.push(start(&switch, options(&nodes[id - 1], id as i32, id as u128, &[1], AutoJoin::Never)).await);
    }
    let [one, two, three] = [&all[0], &all[1], &all[2]];
    // The first founds, the others read along.
    until_members(one, &[1], &[2, 3]).await;
    register(one, 2).await;
    assert_eq!(create_topic(two, "alone", 1).await.error_code, 0);
    has_topic(three, "alone").await;

    let other = remove(one, 2, 2).await.unwrap_err();
    assert_eq!(other.code, ErrorCode::VoterNotFound);
    assert!(other.message.starts_with("Cannot remove voter ReplicaKey(id=2, directoryId="), "{}", other.message);
    // A change may be asked of anybody.
    add(three, 2, 2).await.unwrap();
    add(one, 3, 3).await.unwrap();
    until_members(one, &[1, 2, 3], &[]).await;
    let twice = add(one, 3, 3).await.unwrap_err();
    assert_eq!(twice.code, ErrorCode::DuplicateVoter);
    assert!(twice.message.contains("is already part of the set of voters [ReplicaKey(id=1, "), "{}", twice.message);
    let known = one.quorum().await.unwrap();
    assert_eq!(known.voters[1].directory_id, directory(2));
    assert_eq!(known.voters[1].endpoints, [address(2)]);

    // Whoever leads loses its vote: another leads, and it reads along.
    let leader = one.leader().unwrap().0;
    remove(one, leader, leader as u128).await.unwrap();
    let rest: Vec<i32> = (1..=3).filter(|id| *id != leader).collect();
    until_members(two, &rest, &[leader]).await;
    assert_eq!(create_topic(one, "without-one", 1).await.error_code, 0);
    for controller in &all {
        has_topic(controller, "without-one").await;
    }
    add(two, leader, leader as u128).await.unwrap();
    until_members(two, &[1, 2, 3], &[]).await;

    // All three vote: without any one of them the others go on.
    let leader = two.leader().unwrap().0 as usize;
    stop(&switch, leader as u16, &all[leader - 1]).await;
    let other = &all[leader % 3];
    eventually("another leads", || async { create_topic(other, "after", 1).await.error_code == 0 }).await;
    // From its own disk, and with nothing but its bootstrap server, which is not there.
    let again = options(&nodes[leader - 1], leader as i32, leader as u128, &[9], AutoJoin::Never);
    let back = start(&switch, again).await;
    has_topic(&back, "after").await;
    for controller in all.iter().chain([&back]) {
        controller.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_its_disk_is_not_who_it_was() {
    let switch = Switch::default();
    let nodes: Vec<Node> = (0..5).map(|_| Node::new()).collect();
    let mut all = Vec::new();
    for id in 1..=3 {
        all.push(start(&switch, options(&nodes[id - 1], id as i32, id as u128, &[1], AutoJoin::Always)).await);
    }
    until_members(&all[0], &[1, 2, 3], &[]).await;
    register(&all[0], 1).await;
    assert_eq!(create_topic(&all[0], "kept", 1).await.error_code, 0);

    // The founder of all comes back with an empty disk, and its bootstrap server is itself.
    stop(&switch, 1, &all[0]).await;
    eventually("another leads", || async { create_topic(&all[1], "meanwhile", 1).await.error_code == 0 }).await;
    let wiped = start(&switch, options(&nodes[3], 1, 11, &[1], AutoJoin::Never)).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(!wiped.is_active(), "a second quorum");
    assert_eq!(wiped.images().borrow().offset.0, -1, "it was told what its old self should hear");
    assert_eq!(members(&all[1]).await, (vec![1, 2, 3], Vec::new()));

    // Healed by hand: the old self goes, the new one comes, while it waits.
    let refused = add(&all[1], 1, 11).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::DuplicateVoter);
    remove(&all[1], 1, 1).await.unwrap();
    until_members(&all[1], &[2, 3], &[1]).await;
    add(&all[1], 1, 11).await.unwrap();
    until_members(&all[1], &[1, 2, 3], &[]).await;
    has_topic(&wiped, "kept").await;

    // With auto join it does the same by itself.
    stop(&switch, 1, &wiped).await;
    eventually("another leads", || async { create_topic(&all[2], "again", 1).await.error_code == 0 }).await;
    let healed = start(&switch, options(&nodes[4], 1, 12, &[2, 3], AutoJoin::Always)).await;
    has_topic(&healed, "again").await;
    until_members(&all[2], &[1, 2, 3], &[]).await;
    assert_eq!(all[2].quorum().await.unwrap().voters[0].directory_id, directory(12));
    for controller in [&all[1], &all[2], &healed] {
        controller.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_that_start_together_found_one_quorum() {
    let switch = Switch::default();
    let nodes: Vec<Node> = (0..3).map(|_| Node::new()).collect();
    // In any order, and not before all of them are there: one may know of an old quorum.
    let third = start(&switch, options(&nodes[2], 3, 3, &[1, 2, 3], AutoJoin::Always)).await;
    let first = start(&switch, options(&nodes[0], 1, 1, &[1, 2, 3], AutoJoin::Always)).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(first.leader().is_none() && third.leader().is_none());
    let second = start(&switch, options(&nodes[1], 2, 2, &[1, 2, 3], AutoJoin::Always)).await;
    until_members(&first, &[1, 2, 3], &[]).await;

    // One that moved tells where it is now; one that joins late gets a number that nobody has.
    stop(&switch, 3, &third).await;
    let mut moved = options(&nodes[2], 3, 3, &[1, 2, 3], AutoJoin::Always);
    moved.joining.as_mut().unwrap().endpoints = vec![address(33)];
    let moved = start(&switch, moved).await;
    eventually("its new address is known", || async {
        first.quorum().await.is_ok_and(|quorum| quorum.voters[2].endpoints == [address(33)])
    })
    .await;
    register(&first, 1).await;
    assert_eq!(create_topic(&first, "there", 1).await.error_code, 0);
    has_topic(&moved, "there").await;
    let leader = first.leader().unwrap();
    let leader = [&first, &second, &moved].into_iter().find(|node| node.is_active()).unwrap_or(match leader.0 {
        1 => &first,
        2 => &second,
        _ => &moved,
    });
    let token = Uuid::from_u128(1);
    for (token, id) in [(token, 4), (token, 4), (Uuid::from_u128(2), 5)] {
        let answer = leader.receive(&assignment_request(token).unwrap()).await.unwrap();
        assert_eq!(read_assignment(&answer).unwrap(), Assigned::Id(id));
    }
    for controller in [&first, &second, &moved] {
        controller.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn voters_of_a_configuration_stay() {
    let switch = Switch::default();
    let nodes: Vec<Node> = (0..2).map(|_| Node::new()).collect();
    let mut fixed = options(&nodes[0], 1, 1, &[], AutoJoin::Never);
    let voter = VoterInfo { id: BrokerId(1), directory_id: Uuid::nil(), endpoints: vec![address(1)] };
    (fixed.voters, fixed.joining, fixed.defaults) = (vec![voter], None, Arc::new(common::defaults()));
    let fixed = Controller::start(fixed, Arc::new(switch.clone())).await.unwrap();
    switch.plug(1, &fixed);
    let joiner = start(&switch, options(&nodes[1], 2, 2, &[1], AutoJoin::Always)).await;
    let refused = add(&fixed, 2, 2).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::UnsupportedVersion);
    assert_eq!(refused.message, "Cluster doesn't support adding voter because the kraft.version feature is 0");
    let refused = remove(&fixed, 1, 1).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::UnsupportedVersion);
    assert_eq!(members(&fixed).await, (vec![1], Vec::new()));
    fixed.shutdown().await;
    joiner.shutdown().await;
}
