//! Debezium follows a PostgreSQL table under load: every change once, in the order of each row.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ottla_compat_tests::broker::{Broker, targets};
use ottla_compat_tests::connect::{self, ConnectCluster};
use ottla_compat_tests::postgres::Postgres;
use ottla_compat_tests::results::{self, Outcome};
use ottla_compat_tests::tool;
use ottla_compat_tests::toolchain::{self, Need};
use serde_json::{Value, json};

use crate::nemesis::{BUSY, Nemesis};

const STORY: &str = "every change of a PostgreSQL table under load, workers and broker killed";
/// Rows that were there before the connector: the snapshot.
const SNAPSHOT_ROWS: u64 = 50;

#[test]
fn every_change_of_a_table_whoever_dies() {
    if let Some(reason) = toolchain::missing(&[Need::Maven, Need::Java, Need::Postgres]) {
        println!("skipped: Debezium: {reason}");
        assert!(!toolchain::is_ci(), "skipped under CI: {reason}");
        return;
    }
    let _turn = crate::take_turns();
    let target = *targets().last().expect("a target");
    results::record("Debezium", STORY, target, Outcome::Failed);
    let mut nemesis = Nemesis::new();
    let postgres = Arc::new(Postgres::start().unwrap());
    postgres.sql("create table orders (id bigint primary key, version bigint not null, note text)").ok();
    postgres.sql("alter table orders replica identity full").ok();
    postgres
        .sql(&format!("insert into orders select n, 0, 'before' from generate_series(0, {}) n", SNAPSHOT_ROWS - 1))
        .ok();
    let mut broker = Broker::start(target, &BUSY).unwrap();
    let plugins = format!("plugin.path={}", connect::debezium().unwrap().display());
    let json_converter = [
        "key.converter=org.apache.kafka.connect.json.JsonConverter",
        "value.converter=org.apache.kafka.connect.json.JsonConverter",
        "key.converter.schemas.enable=false",
        "value.converter.schemas.enable=false",
    ];
    let mut more = vec![plugins.as_str()];
    more.extend(json_converter);
    let mut connect = ConnectCluster::start("debezium", &broker.bootstrap(), 2, &more);
    let config = json!({
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector", "tasks.max": "1",
        "database.hostname": "127.0.0.1", "database.port": postgres.port().to_string(), "database.user": "ottla",
        "database.password": "none", "database.dbname": "postgres", "topic.prefix": "shop", "plugin.name": "pgoutput",
        "table.include.list": "public.orders", "exactly.once.support": "required", "slot.name": "shop",
        "tombstones.on.delete": "true", "slot.max.retries": "60", "slot.retry.delay.ms": "500", "retriable.restart.connector.wait.ms": "1000",
        "topic.creation.default.replication.factor": "1", "topic.creation.default.partitions": "1",
    });
    connect.configure("orders", &config);
    connect.wait_running("orders", 1);
    let stop = Arc::new(AtomicBool::new(false));
    let load = thread::spawn({
        let (stop, postgres) = (Arc::clone(&stop), Arc::clone(&postgres));
        move || load(&postgres, &stop)
    });
    nemesis.strike(&mut broker, &mut connect, "orders");
    stop.store(true, Ordering::Relaxed);
    let expected = load.join().unwrap();
    // The last row tells that everything before it has come.
    postgres.sql("insert into orders values (999999999, 0, 'last')").ok();
    let deadline = Instant::now() + Duration::from_secs(150);
    let found = loop {
        let found = changes(&broker);
        if found.contains_key(&999_999_999) {
            break found;
        }
        assert!(
            Instant::now() < deadline,
            "{} rows so far\n{}\n--- broker\n{}",
            found.len(),
            connect.log(),
            broker.log()
        );
        thread::sleep(Duration::from_secs(1));
    };
    let mut total = 0;
    for (row, expected) in &expected {
        let found = found.get(row).cloned().unwrap_or_default();
        total += found.len();
        assert!(&found == expected, "row {row}: changed {expected:?}, captured {found:?}\n{}", connect.log());
    }
    assert_eq!(found.len(), expected.len() + 1, "rows");
    println!("{total} changes of {} rows captured, each once and in order", expected.len());
    connect.delete("orders");
    connect.workers.iter_mut().for_each(|worker| worker.stop());
    results::record("Debezium", STORY, target, Outcome::Passed);
}

/// Changes rows until told to stop; what each row went through, as [`changes`] tells it.
fn load(postgres: &Postgres, stop: &AtomicBool) -> BTreeMap<u64, Vec<String>> {
    let mut expected: BTreeMap<u64, Vec<String>> = (0..SNAPSHOT_ROWS).map(|row| (row, vec!["r0".into()])).collect();
    let mut next = SNAPSHOT_ROWS;
    while !stop.load(Ordering::Relaxed) {
        // A transaction inserts rows, changes others twice and deletes one.
        let mut sql = String::from("begin;\n");
        for row in next..next + 5 {
            sql.push_str(&format!("insert into orders values ({row}, 0, 'row {row}');\n"));
            expected.entry(row).or_default().push("c0".into());
        }
        for back in [7, 20, 21] {
            let row = next - back;
            let changes = expected.get_mut(&row).unwrap();
            if changes.last().unwrap().starts_with('d') {
                continue;
            }
            for _ in 0..2 {
                let version = changes.iter().filter(|change| change.starts_with('u')).count() as u64 + 1;
                sql.push_str(&format!("update orders set version = {version} where id = {row};\n"));
                changes.push(format!("u{version}"));
            }
        }
        let row = next - 30;
        let changes = expected.get_mut(&row).unwrap();
        if !changes.last().unwrap().starts_with('d') {
            let version = changes.last().unwrap()[1..].to_owned();
            sql.push_str(&format!("delete from orders where id = {row};\n"));
            changes.push(format!("d{version}"));
        }
        sql.push_str("commit;\n");
        postgres.sql(&sql).ok();
        next += 5;
        thread::sleep(Duration::from_millis(30));
    }
    expected
}

/// What the topic says of each row: the kind of change and the row's version, in the order of offsets.
fn changes(broker: &Broker) -> BTreeMap<u64, Vec<String>> {
    let arguments = format!(
        "--bootstrap-server {} --topic shop.public.orders --from-beginning --isolation-level read_committed --timeout-ms 5000",
        broker.bootstrap()
    );
    let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
    let read = tool::run("kafka-console-consumer", &arguments, b"");
    let mut found: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for line in read.stdout.lines() {
        // A tombstone follows a delete.
        let Ok(change @ Value::Object(_)) = serde_json::from_str::<Value>(line) else { continue };
        let operation = change["op"].as_str().unwrap();
        let row = if operation == "d" { &change["before"] } else { &change["after"] };
        let (id, version) = (row["id"].as_u64().unwrap(), row["version"].as_u64().unwrap());
        found.entry(id).or_default().push(format!("{operation}{version}"));
    }
    found
}
