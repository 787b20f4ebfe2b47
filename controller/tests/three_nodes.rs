//! Three controllers over a transport in memory: one leads, all have the same image, and another takes over.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::{Node, create_topic, register};
use ottla_controller::{
    Carried, Controller, ControllerOptions, Destination, Lane, RequestOrigin, Transport, VoterInfo,
};
use ottla_metadata::Endpoint;
use ottla_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use ottla_protocol::messages::create_topics_request::CreatableTopic;
use ottla_protocol::messages::{AlterClientQuotasRequest, CreateTopicsRequest};
use ottla_protocol::{BrokerId, ErrorCode, StrBytes};
use uuid::Uuid;

#[derive(Clone, Default)]
struct Switch {
    nodes: Arc<Mutex<HashMap<u64, Controller>>>,
}

impl Transport for Switch {
    fn call(&self, to: Destination, _: Lane, message: Bytes) -> Carried {
        // An observer knows addresses only: here the port is the id.
        let id = to.id.map(|id| id.0 as u64).or(to.endpoint.map(|endpoint| u64::from(endpoint.port)));
        let controller = id.and_then(|id| self.nodes.lock().unwrap().get(&id).cloned());
        Box::pin(async move {
            let controller = controller.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionRefused))?;
            controller.receive(&message).await
        })
    }
}

fn options(node: &Node, id: i32) -> ControllerOptions {
    let voter = |id: i32| VoterInfo {
        id: BrokerId(id),
        directory_id: Uuid::from_u128(1000 + id as u128),
        endpoints: Vec::new(),
    };
    ControllerOptions {
        node_id: BrokerId(id),
        directory_id: voter(id).directory_id,
        voters: (1..=3).map(voter).collect(),
        ..node.options()
    }
}

async fn active(controllers: &[Controller]) -> Controller {
    for _ in 0..1000 {
        if let Some(active) = controllers.iter().find(|controller| controller.is_active()) {
            return active.clone();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody leads");
}

async fn wait_for_topic(controller: &Controller, name: &str) {
    let mut images = controller.images();
    let seen = images.wait_for(|image| image.topics.by_name(name).is_some());
    tokio::time::timeout(Duration::from_secs(10), seen).await.expect("in time").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_controller_takes_over_with_everything() {
    let switch = Switch::default();
    let nodes: Vec<Node> = (0..3).map(|_| Node::new()).collect();
    let mut controllers = Vec::new();
    for (node, id) in nodes.iter().zip(1..) {
        let controller = Controller::start(options(node, id), Arc::new(switch.clone())).await.unwrap();
        switch.nodes.lock().unwrap().insert(id as u64, controller.clone());
        controllers.push(controller);
    }
    let first = active(&controllers).await;
    register(&first, 1).await;
    assert_eq!(create_topic(&first, "before", 2).await.error_code, 0);
    for controller in &controllers {
        wait_for_topic(controller, "before").await;
        assert_eq!(controller.images().borrow().topics, first.images().borrow().topics);
        assert_eq!(controller.quorum().await.unwrap().voters.len(), 3);
    }
    let leader = first.leader().unwrap();
    let follower = controllers.iter().find(|controller| !controller.is_active()).unwrap();
    assert_eq!(create_topic(follower, "by a follower", 1).await.error_code, ErrorCode::InvalidTopicException.code());
    assert_eq!(create_topic(follower, "by-a-follower", 1).await.error_code, 0);

    switch.nodes.lock().unwrap().remove(&(leader.0 as u64));
    first.shutdown().await;
    let rest: Vec<Controller> = switch.nodes.lock().unwrap().values().cloned().collect();
    let second = active(&rest).await;
    assert!(second.quorum().await.unwrap().leader_epoch > 1);
    assert_eq!(create_topic(&second, "before", 2).await.error_code, ErrorCode::TopicAlreadyExists.code());
    assert_eq!(create_topic(&second, "after", 2).await.error_code, 0);

    // The one that was down comes back and catches up.
    let id = leader.0;
    let node = &nodes[id as usize - 1];
    let back = Controller::start(options(node, id), Arc::new(switch.clone())).await.unwrap();
    switch.nodes.lock().unwrap().insert(id as u64, back.clone());
    wait_for_topic(&back, "after").await;
    for controller in rest.iter().chain([&back]) {
        controller.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_of_changes_is_one_for_all_nodes() {
    let switch = Switch::default();
    let nodes: Vec<Node> = (0..3).map(|_| Node::new()).collect();
    let mut controllers = Vec::new();
    for (node, id) in nodes.iter().zip(1..) {
        let controller = Controller::start(options(node, id), Arc::new(switch.clone())).await.unwrap();
        switch.nodes.lock().unwrap().insert(id as u64, controller.clone());
        controllers.push(controller);
    }
    register(&active(&controllers).await, 1).await;
    let entity = EntityData::default()
        .with_entity_type(StrBytes::from_static_str("client-id"))
        .with_entity_name(Some(StrBytes::from_static_str("builder")));
    let op = OpData::default().with_key(StrBytes::from_static_str("controller_mutation_rate")).with_value(1.0);
    let entry = EntryData::default().with_entity(vec![entity]).with_ops(vec![op]);
    let request = AlterClientQuotasRequest::default().with_entries(vec![entry]);
    controllers[0].alter_client_quotas(RequestOrigin::internal(), request).await.unwrap();
    let create = async |controller: &Controller, name: &'static str| {
        let origin = RequestOrigin { client_id: "builder".into(), principal: "User:ANONYMOUS".into(), api_version: 7 };
        let topic = CreatableTopic::default()
            .with_name(StrBytes::from_static_str(name).into())
            .with_num_partitions(15)
            .with_replication_factor(1);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]);
        let response = controller.create_topics(origin, request).await.unwrap().response;
        (response.topics[0].error_code, response.throttle_time_ms > 0)
    };
    // Eleven at once, and into debt: each node would let that through by itself.
    assert_eq!(create(&controllers[0], "a").await, (0, false));
    assert_eq!(create(&controllers[1], "b").await, (ErrorCode::ThrottlingQuotaExceeded.code(), true));
    assert_eq!(create(&controllers[2], "c").await, (ErrorCode::ThrottlingQuotaExceeded.code(), true));
    assert_eq!(create_topic(&controllers[1], "d", 15).await.error_code, 0, "the nodes themselves have none");
    for controller in &controllers {
        controller.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observer_has_what_the_controllers_have_and_asks_through_them() {
    let switch = Switch::default();
    let nodes: Vec<Node> = (0..3).map(|_| Node::new()).collect();
    let mut controllers = Vec::new();
    for (node, id) in nodes.iter().zip(1..) {
        let controller = Controller::start(options(node, id), Arc::new(switch.clone())).await.unwrap();
        switch.nodes.lock().unwrap().insert(id as u64, controller.clone());
        controllers.push(controller);
    }
    let address = |port| Endpoint { name: "C".into(), host: "x".into(), port, security_protocol: 0 };
    let observing = ControllerOptions {
        node_id: BrokerId(7),
        voters: Vec::new(),
        bootstrap: vec![address(9), address(1), address(2), address(3)],
        joining: None,
        ..nodes[0].options()
    };
    let observer = Controller::observe(&observing, Arc::new(switch.clone()));
    register(&observer, 7).await;
    assert_eq!(create_topic(&observer, "first", 3).await.error_code, 0);
    wait_for_topic(&observer, "first").await;
    observer.caught_up().await;
    assert_eq!(*observer.images().borrow().topics.by_name("first").unwrap().name, *"first");
    let quorum = observer.quorum().await.unwrap();
    assert_eq!(quorum.observers.iter().map(|observer| observer.id.0).collect::<Vec<_>>(), [7]);

    // Its controller goes: it finds the next one, and misses nothing.
    let leader = observer.leader().unwrap();
    switch.nodes.lock().unwrap().remove(&(leader.0 as u64));
    controllers[leader.0 as usize - 1].shutdown().await;
    assert_eq!(create_topic(&observer, "second", 1).await.error_code, 0);
    wait_for_topic(&observer, "second").await;

    // Another begins far behind.
    let late = Controller::observe(&ControllerOptions { node_id: BrokerId(8), ..observing }, Arc::new(switch.clone()));
    late.caught_up().await;
    assert_eq!(late.images().borrow().topics, observer.images().borrow().topics);
    for controller in controllers.iter().chain([&observer, &late]) {
        controller.shutdown().await;
    }
}
