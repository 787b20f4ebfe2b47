//! One node on its own: leads at once, remembers everything over a restart.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Instant;

use common::{Node, create_topic};
use ottla_protocol::BrokerId;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_voter_leads_within_milliseconds_and_restarts_as_quickly() {
    let node = Node::new();
    for life in 0..3 {
        let begun = Instant::now();
        let controller = node.start().await;
        let took = begun.elapsed();
        println!("life {life}: active after {took:?}");
        assert!(controller.is_active());
        assert!(took.as_millis() < 500, "{took:?}");
        let quorum = controller.quorum();
        assert_eq!(quorum.leader, Some(BrokerId(1)));
        assert_eq!(quorum.voters.len(), 1);
        assert_eq!(quorum.leader_epoch, life + 1);
        controller.shutdown().await;
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let node = Node::new();
    let controller = node.start().await;
    node.register(&controller).await;
    let created = create_topic(&controller, "orders", 3).await;
    assert_eq!(created.error_code, 0, "{created:?}");
    let before = controller.images().borrow().clone();
    assert!(before.topics.by_name("orders").is_some());
    controller.shutdown().await;
    let controller = node.start().await;
    let after = controller.images().borrow().clone();
    assert_eq!(after.topics, before.topics);
    assert_eq!(after.features, before.features);
    assert!(after.offset > before.offset);
    node.register(&controller).await;
    let again = create_topic(&controller, "orders", 3).await;
    assert_eq!(again.error_code, 36);
    assert_eq!(again.error_message.unwrap().as_str(), "Topic 'orders' already exists.");
    controller.shutdown().await;
}
