//! What the image does by itself.

use ottla_compat_tests::cache;
use ottla_compat_tests::docker::{self, Container, Network, docker, round_trip};

#[test]
fn without_a_setting_the_host_and_the_network_reach_it() {
    if docker::is_skipped() {
        return;
    }
    let _port = cache::lock("port-9092");
    let network = Network::create();
    let options = ["--network", &network.name, "--network-alias", "kafka", "--publish", "127.0.0.1:9092:9092"];
    let broker = Container::run(&options, &[]);
    broker.wait_healthy();
    round_trip("localhost:9092");
    // A container of the same network dials the broker's name, and is told an address that it can reach.
    let client = ["run", "--rm", "--network", &network.name, docker::image()];
    let listed = docker(&[&client[..], &["kafka-broker-api-versions.sh", "--bootstrap-server", "kafka:9092"]].concat());
    assert_eq!(listed.code, 0, "{listed}");
    let create = ["kafka-topics", "--bootstrap-server", "kafka:9092", "--create", "--topic", "from-a-sidecar"];
    let shell = create.join(" ");
    let created = docker(&[&client[..], &["/bin/sh", "-c", &shell]].concat());
    assert_eq!(created.code, 0, "{created}");
    let told = broker.logs();
    assert_eq!(told.matches("each client is told the address it came by").count(), 1, "{told}");
    assert_eq!(broker.stop(), 0);
    assert!(broker.logs().contains("shutdown is complete"), "{}", broker.logs());
}

#[test]
fn any_user_can_run_it_on_a_read_only_root() {
    if docker::is_skipped() {
        return;
    }
    for user in ["1000", "1001:1001", "12345:54321", "0"] {
        let broker = Container::run(&["--user", user, "--read-only", "--publish", "127.0.0.1::9092"], &[]);
        broker.wait_for("Kafka Server started");
        assert_eq!(broker.exec(&["ottla", "health"]).code, 0, "{user}");
        assert_eq!(broker.stop(), 0, "{user}");
    }
}

#[test]
fn usual_health_checks_say_what_is() {
    if docker::is_skipped() {
        return;
    }
    let environment = ["--env", "KAFKA_CREATE_TOPICS=orders:3:1,settings:1:1:compact"];
    let broker = Container::run(&environment, &[]);
    broker.wait_healthy();
    for check in [
        "kafka-topics.sh --bootstrap-server localhost:9092 --list | grep -q orders",
        "/opt/kafka/bin/kafka-topics.sh --bootstrap-server localhost:9092 --describe --topic settings | grep -q compact",
        "/opt/bitnami/kafka/bin/kafka-topics.sh --list --bootstrap-server localhost:9092",
        "kafka-topics --list --zookeeper zookeeper:2181 | grep -q orders",
        "echo sent | kafka-console-producer.sh --broker-list localhost:9092 --topic orders",
        "kafka-console-consumer --bootstrap-server localhost:9092 --topic orders --from-beginning --max-messages 1 | grep -q sent",
        "kafka-broker-api-versions --bootstrap-server localhost:9092",
        "kafka-cluster.sh cluster-id --bootstrap-server localhost:9092",
        "$KAFKA_HOME/bin/kafka-topics.sh --list --bootstrap-server localhost:9092",
        "nc -z localhost 9092",
        "nc -vz -w 2 localhost 9092",
        "! nc -z localhost 9999",
        "bash -c '</dev/tcp/localhost/9092'",
        "cub kafka-ready -b localhost:9092 1 10",
        "! cub kafka-ready -b localhost:9092 2 1",
    ] {
        let output = broker.exec(&["sh", "-c", check]);
        assert_eq!(output.code, 0, "{check}\n{output}");
    }
}

/// The quick start of Kafka's documentation and of a thousand blogs, on the files that Kafka ships.
#[test]
fn the_quick_start_of_the_documentation_runs() {
    if docker::is_skipped() {
        return;
    }
    let now = "kafka-storage.sh format --standalone -t $(kafka-storage.sh random-uuid) -c config/server.properties \
        && exec bin/kafka-server-start.sh config/server.properties";
    // As it was before 4.0, edited in place, and started in the background.
    let before = "echo num.partitions=3 >> config/kraft/server.properties \
        && bin/kafka-storage.sh format -t $(bin/kafka-storage.sh random-uuid) -c config/kraft/server.properties \
        && bin/kafka-server-start.sh -daemon config/kraft/server.properties \
        && tail -n +1 -F logs/kafkaServer.out";
    for (quick_start, partitions) in [(now, 1), (before, 3)] {
        let broker = Container::run(&["--workdir", "/opt/kafka"], &["sh", "-c", quick_start]);
        broker.wait_for("Kafka Server started");
        for step in [
            "bin/kafka-topics.sh --create --topic quickstart-events --bootstrap-server localhost:9092",
            "echo first | bin/kafka-console-producer.sh --topic quickstart-events --bootstrap-server localhost:9092 \
              --command-config config/producer.properties",
            "bin/kafka-console-consumer.sh --topic quickstart-events --from-beginning --bootstrap-server localhost:9092 \
              --command-config config/consumer.properties --max-messages 1 | grep -q first",
            &format!(
                "bin/kafka-topics.sh --describe --topic quickstart-events --bootstrap-server localhost:9092 \
                 | grep -q 'PartitionCount: {partitions}'"
            ),
            "bin/kafka-server-stop.sh",
        ] {
            let output = broker.exec(&["sh", "-c", step]);
            assert_eq!(output.code, 0, "{step}\n{output}\n{}", broker.logs());
        }
        // The container may be gone with the broker, its log stays.
        let is_complete = || broker.logs().contains("shutdown is complete");
        let came = (0..150).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(200));
            is_complete()
        });
        assert!(came, "{}", broker.logs());
    }
}

#[test]
fn redpandas_command_line_is_the_broker_and_its_tools() {
    if docker::is_skipped() {
        return;
    }
    let start = [
        "redpanda",
        "start",
        "--overprovisioned",
        "--smp",
        "1",
        "--kafka-addr=internal://0.0.0.0:29092,external://0.0.0.0:9092",
        "--advertise-kafka-addr=internal://localhost:29092,external://localhost:9092",
        "--check=false",
    ];
    let broker = Container::run(&[], &start);
    broker.wait_for("Successfully started Redpanda!");
    for check in [
        "rpk cluster health | grep -E 'Healthy:.+true'",
        "rpk topic create orders payments -p 3 -r 1 --brokers localhost:29092",
        "rpk topic list | grep -q payments",
        "rpk cluster info | grep -q 'Topic: orders'",
        "! rpk group list",
    ] {
        let output = broker.exec(&["sh", "-c", check]);
        assert_eq!(output.code, 0, "{check}\n{output}\n{}", broker.logs());
    }
    assert_eq!(broker.stop(), 0);
    let refused = Container::run(&[], &["redpanda", "start", "--set", "redpanda.enable_sasl=true"]);
    assert_ne!(refused.wait_exit(), 0);
    assert!(refused.logs().contains("asks for authentication"), "{}", refused.logs());
}

#[test]
fn security_that_is_not_built_stops_the_start() {
    if docker::is_skipped() {
        return;
    }
    for (variable, named) in [
        ("KAFKA_CLIENT_USERS=alice", "KAFKA_CLIENT_USERS"),
        ("KAFKA_SSL_KEYSTORE_FILENAME=k.jks", "KAFKA_SSL_KEYSTORE_FILENAME"),
        ("KAFKA_LISTENERS=SASL_SSL://:9092", "SASL_SSL"),
        (
            "KAFKA_AUTHORIZER_CLASS_NAME=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "authorizer.class.name",
        ),
    ] {
        let broker = Container::run(&["--env", variable], &[]);
        assert_ne!(broker.wait_exit(), 0, "{variable}");
        assert!(broker.logs().contains(named), "{variable}\n{}", broker.logs());
    }
}

#[test]
fn a_volume_keeps_its_cluster_and_its_data() {
    if docker::is_skipped() {
        return;
    }
    let volume = docker::fresh_name("volume");
    let mount = format!("{volume}:/bitnami/kafka");
    let first = Container::run(&["--volume", &mount, "--env", "KAFKA_CFG_NUM_PARTITIONS=2"], &[]);
    first.wait_for("data in /bitnami/kafka/data");
    let create = ["kafka-topics.sh", "--bootstrap-server", "localhost:9092", "--create", "--topic", "kept"];
    assert_eq!(first.exec(&create).code, 0);
    assert_eq!(first.stop(), 0);
    let options = ["--volume", &mount, "--env", "KAFKA_KRAFT_CLUSTER_ID=AAAAAAAAAAAAAAAAAAAAAA"];
    let second = Container::run(&options, &[]);
    second.wait_for("Kafka Server started");
    assert!(second.logs().contains("cluster id of its own"), "{}", second.logs());
    let described = second.exec(&["kafka-topics.sh", "--bootstrap-server", "localhost:9092", "--describe"]).stdout;
    assert!(described.contains("PartitionCount: 2"), "{described}");
    drop((first, second));
    docker(&["volume", "rm", &volume]);
}

#[test]
fn a_folder_of_somebody_else_is_explained() {
    if docker::is_skipped() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mount = format!("{}:/var/lib/kafka/data", folder.path().display());
    let broker = Container::run(&["--volume", &mount], &[]);
    assert_ne!(broker.wait_exit(), 0);
    assert!(broker.logs().contains("runs as user 1000; give it the folder"), "{}", broker.logs());
}

#[test]
fn an_image_derived_by_env_lines_and_mounted_files_are_honoured() {
    if docker::is_skipped() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let dockerfile = format!("FROM {}\nENV KAFKA_NUM_PARTITIONS=4\n", docker::image());
    std::fs::write(folder.path().join("Dockerfile"), dockerfile).unwrap();
    let derived = format!("{}:latest", docker::fresh_name("derived"));
    let built = docker(&["build", "--quiet", "--tag", &derived, &folder.path().display().to_string()]);
    assert_eq!(built.code, 0, "{built}");
    let config = folder.path().join("config");
    std::fs::create_dir(&config).unwrap();
    std::fs::write(config.join("server.properties"), "num.partitions=3\nlog.retention.hours=5\n").unwrap();
    let mount = format!("{}:/mnt/shared/config", config.display());
    let broker = Container::run_image(&derived, &["--volume", &mount], &["/etc/kafka/docker/run", "KAFKA_NODE_ID=9"]);
    broker.wait_for("Kafka Server started");
    assert!(broker.logs().contains("(node 9,"), "{}", broker.logs());
    let properties = broker.exec(&["ottla", "properties"]).stdout;
    for line in ["num.partitions=4", "log.retention.hours=5", "offsets.topic.replication.factor=1"] {
        assert!(properties.lines().any(|given| given == line), "{line}\n{properties}");
    }
    drop(broker);
    docker(&["rmi", &derived]);
}

#[test]
fn the_binary_alone_is_a_broker_and_its_tools() {
    if docker::is_skipped() {
        return;
    }
    let options = ["--read-only", "--publish", "127.0.0.1::9092", "--env", "KAFKA_CREATE_TOPICS=orders:3:1"];
    let broker = Container::run_image(docker::scratch_image(), &options, &[]);
    broker.wait_healthy();
    // The number of the published port is another one, so clients of the host are told an address of the container.
    let listed = broker.exec(&["/ottla", "topics", "--bootstrap-server", "localhost:9092", "--list"]);
    assert_eq!(listed.stdout, "orders\n", "{listed}");
    assert_eq!(broker.stop(), 0);
}

/// The promise of the README, which is about the binary that users get.
#[test]
fn the_images_are_small() {
    const MEGABYTE: u64 = 1_000_000;
    if docker::is_skipped() {
        return;
    }
    if !docker::is_dist() {
        println!("skipped: the binary of the tests is not the one that images ship (OTTLA_DOCKER=dist)");
        return;
    }
    for (image, limit) in [(docker::image(), 25 * MEGABYTE), (docker::scratch_image(), 15 * MEGABYTE)] {
        let inspected = docker(&["image", "inspect", "--format", "{{.Size}}", image]);
        let size: u64 = inspected.stdout.trim().parse().unwrap();
        println!("{image}: {size} bytes");
        assert!(size <= limit, "{image} has {size} bytes, more than {limit}");
    }
}
