//! A log without its partition.metadata belongs to nobody: it is moved aside, as Kafka does, and the partition begins anew.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::PathBuf;

use common::Broker;

fn strays(data: &std::path::Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_string_lossy().ends_with("-stray")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_or_empty_beside_records() {
    for is_empty in [false, true] {
        let broker = Broker::start().await;
        broker.create_topic("t", 1).await;
        broker.create_topic("other", 1).await;
        for name in ["t", "t", "other"] {
            broker.produce(name, 0, &["a record"]).await;
        }
        let Broker { server, dir } = broker;
        server.shutdown().await;
        let data = dir.path().join("data");
        let file = data.join("t-0/partition.metadata");
        if is_empty {
            std::fs::write(&file, b"").unwrap();
        } else {
            std::fs::remove_file(&file).unwrap();
        }
        let records = std::fs::read(data.join("t-0/00000000000000000000.log")).unwrap();
        assert!(!records.is_empty());

        let settings = common::settings(dir.path(), &[]);
        let server = ottla::server::Server::start(settings, ottla::telemetry::Loggers::default()).await.unwrap();
        let broker = Broker { server, dir };
        let produced = broker.produce("t", 0, &["another record"]).await;
        assert_eq!((produced.error_code, produced.base_offset), (0, 0), "the partition begins anew");
        assert_eq!(broker.produce("other", 0, &["x"]).await.base_offset, 1, "nobody else is touched");
        let [stray] = &strays(&data)[..] else { panic!("{:?}", strays(&data)) };
        assert!(stray.file_name().unwrap().to_string_lossy().starts_with("t-0."), "{stray:?}");
        assert_eq!(std::fs::read(stray.join("00000000000000000000.log")).unwrap(), records, "every byte is kept");
        broker.server.shutdown().await;
    }
}
