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
        let quorum = controller.quorum().await.unwrap();
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

#[tokio::test]
async fn a_killed_node_has_everything_it_acknowledged() {
    let node = Node::new();
    let controller = node.start().await;
    node.register(&controller).await;
    for round in 0..20 {
        let name = format!("topic-{round}");
        assert_eq!(create_topic(&controller, &name, 1).await.error_code, 0);
        // What a kill leaves behind: the files as they are at this moment, nothing closed, nothing flushed.
        let copy = Node::new();
        let (from, to) = (node.dir.path().join("__cluster_metadata-0"), copy.dir.path().join("__cluster_metadata-0"));
        std::fs::create_dir(&to).unwrap();
        for file in std::fs::read_dir(from).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
        if round % 5 == 0 {
            let revived = copy.start().await;
            let images = revived.images();
            assert_eq!(images.borrow().topics.len(), round + 1);
            assert_eq!(images.borrow().topics, controller.images().borrow().topics);
            revived.shutdown().await;
        }
    }
    controller.shutdown().await;
}

#[tokio::test]
async fn snapshots_are_taken_by_bytes_and_the_log_behind_them_is_not_needed() {
    let mut node = Node::new();
    node.snapshot_bytes = 2_000;
    let controller = node.start().await;
    node.register(&controller).await;
    for round in 0..60 {
        assert_eq!(create_topic(&controller, &format!("topic-{round}"), 3).await.error_code, 0);
    }
    let is_checkpoint = |file: &std::fs::DirEntry| file.file_name().to_string_lossy().ends_with(".checkpoint");
    let dir = node.dir.path().join("__cluster_metadata-0");
    let checkpoints = || std::fs::read_dir(&dir).unwrap().map(Result::unwrap).filter(is_checkpoint).count();
    for _ in 0..200 {
        if checkpoints() == 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(checkpoints(), 1, "older snapshots go");
    let before = controller.images().borrow().clone();
    controller.shutdown().await;
    let controller = node.start().await;
    assert_eq!(controller.images().borrow().topics, before.topics);
    controller.shutdown().await;
}

#[tokio::test]
async fn many_requests_at_once_share_entries_and_keep_their_promises() {
    let node = Node::new();
    let controller = node.start().await;
    node.register(&controller).await;
    let before = controller.images().borrow().offset;
    let created = (0..200).map(|round| {
        let controller = controller.clone();
        // Every name is asked for twice: exactly one of the two is created.
        tokio::spawn(async move { create_topic(&controller, &format!("topic-{}", round / 2), 1).await.error_code })
    });
    let mut codes = Vec::new();
    for task in created.collect::<Vec<_>>() {
        codes.push(task.await.unwrap());
    }
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 100);
    assert_eq!(codes.iter().filter(|code| **code == 36).count(), 100);
    let image = controller.images().borrow().clone();
    assert_eq!(image.topics.len(), 100);
    println!("200 requests in {} entries", image.offset.0 - before.0);
    assert!(image.offset.0 - before.0 < 100);
    controller.shutdown().await;
}

#[tokio::test]
async fn a_lone_voter_that_lost_its_log_founds_no_new_cluster() {
    let node = Node::new();
    let controller = node.start().await;
    node.register(&controller).await;
    assert_eq!(create_topic(&controller, "orders", 1).await.error_code, 0);
    controller.shutdown().await;
    let dir = node.dir.path().join("__cluster_metadata-0");
    for file in std::fs::read_dir(&dir).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "raftlog") {
            std::fs::File::create(&path).unwrap();
        }
    }
    // Nor without its witness.
    std::fs::remove_file(node.dir.path().join("metadata-log-witness")).unwrap();
    let error = node.try_start().await.err().expect("must refuse");
    assert!(error.to_string().contains("the metadata log is lost"), "{error}");
}

#[tokio::test]
async fn a_metadata_log_that_was_removed_or_cut_short_is_refused() {
    let node = Node::new();
    let controller = node.start().await;
    node.register(&controller).await;
    create_topic(&controller, "orders", 3).await;
    controller.shutdown().await;
    let dir = node.dir.path().join("__cluster_metadata-0");
    let mut logs: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "raftlog"));
    let log = logs.last().unwrap();
    let whole = std::fs::read(log).unwrap();
    std::fs::write(log, &whole[..whole.len() / 2]).unwrap();
    let refused = node.try_start().await.err().unwrap().to_string();
    assert!(refused.contains("had been on the disk") && refused.contains("cut short"), "{refused}");
    std::fs::remove_dir_all(&dir).unwrap();
    let refused = node.try_start().await.err().unwrap().to_string();
    assert!(refused.contains("has no entry") && refused.contains("metadata-log-witness"), "{refused}");
}
