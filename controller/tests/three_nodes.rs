//! Three controllers over a transport in memory: one leads, all have the same image, and another takes over.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::{Node, create_topic, register};
use ottla_controller::{Controller, ControllerOptions, RequestOrigin, Transport, VoterInfo, VoterNode};
use ottla_protocol::messages::CreateTopicsRequest;
use ottla_protocol::{BrokerId, ErrorCode};
use uuid::Uuid;

#[derive(Clone, Default)]
struct Switch {
    nodes: Arc<Mutex<HashMap<u64, Controller>>>,
}

impl Transport for Switch {
    fn call(
        &self,
        target: u64,
        _node: VoterNode,
        message: Bytes,
    ) -> Pin<Box<dyn Future<Output = io::Result<Bytes>> + Send>> {
        let controller = self.nodes.lock().unwrap().get(&target).cloned();
        Box::pin(async move {
            let controller = controller.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionRefused))?;
            controller.receive_raft(&message).await
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
        assert_eq!(controller.quorum().voters.len(), 3);
    }
    let leader = first.quorum().leader.unwrap();
    let follower = controllers.iter().find(|controller| !controller.is_active()).unwrap();
    let refused = follower.create_topics(RequestOrigin::internal(), CreateTopicsRequest::default()).await;
    assert_eq!(refused.unwrap_err(), ErrorCode::NotController);

    switch.nodes.lock().unwrap().remove(&(leader.0 as u64));
    first.shutdown().await;
    let rest: Vec<Controller> = switch.nodes.lock().unwrap().values().cloned().collect();
    let second = active(&rest).await;
    assert!(second.quorum().leader_epoch > 1);
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
