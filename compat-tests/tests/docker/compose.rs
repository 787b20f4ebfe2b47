//! Compose files: those of this project, and those in circulation with only the image's name replaced.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use ottla_compat_tests::cache;
use ottla_compat_tests::docker::{self, docker, round_trip};
use ottla_compat_tests::process::{self, Output};

const LIMIT: Duration = Duration::from_secs(120);

/// A project of docker-compose, taken down with its volumes when dropped.
struct Project {
    name: String,
    file: String,
}

impl Project {
    fn up(file: &Path, services: &[&str]) -> Project {
        let project = Project { name: docker::fresh_name("compose"), file: file.display().to_string() };
        let output = project.compose(&[&["up", "-d"], services].concat());
        assert_eq!(output.code, 0, "{output}");
        project
    }

    fn compose(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("docker-compose");
        command.args(["--project-name", &self.name, "--file", &self.file]).args(arguments);
        process::run(command.env("OTTLA_IMAGE", docker::image()), b"", LIMIT)
    }

    /// The container of a service.
    fn container(&self, service: &str) -> String {
        self.compose(&["ps", "-q", service]).stdout.trim().to_owned()
    }

    fn exec(&self, service: &str, line: &str) -> Output {
        docker(&["exec", &self.container(service), "sh", "-c", line])
    }

    fn wait_healthy(&self, service: &str) {
        let id = self.container(service);
        let deadline = Instant::now() + LIMIT;
        let status = || docker(&["inspect", "--format", "{{.State.Health.Status}}", &id]).stdout.trim().to_owned();
        while status() != "healthy" {
            assert!(Instant::now() < deadline, "{service} is {}:\n{}", status(), self.logs());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn logs(&self) -> String {
        self.compose(&["logs", "--no-color"]).stdout
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        self.compose(&["down", "--volumes", "--timeout", "2"]);
    }
}

fn ours(name: &str) -> std::path::PathBuf {
    cache::workspace().join("docker").join(name)
}

#[test]
fn one_broker_with_declared_topics() {
    if docker::is_skipped() {
        return;
    }
    let _port = cache::lock("port-9092");
    let project = Project::up(&ours("compose.yaml"), &[]);
    project.wait_healthy("kafka");
    let topics = project.exec("kafka", "kafka-topics --bootstrap-server kafka:9092 --list");
    assert_eq!(topics.stdout, "orders\nsettings\n", "{topics}");
}

/// The same file as text, with names and anchors resolved: whatever is wrong in one is told here, also of images that are not there.
#[test]
fn every_file_is_one_that_compose_reads() {
    if docker::is_skipped() {
        return;
    }
    for name in ["compose.yaml", "compose.cluster.yaml", "compose.roles.yaml", "compose.stack.yaml"] {
        let file = ours(name).display().to_string();
        let mut command = Command::new("docker-compose");
        command.args(["--file", &file, "config", "--services"]).env("OTTLA_IMAGE", docker::image());
        let read = process::run(&mut command, b"", LIMIT);
        assert_eq!(read.code, 0, "{name}: {read}");
    }
}

#[test]
fn the_broker_of_the_stack_comes_up() {
    if docker::is_skipped() {
        return;
    }
    // The other images of the file belong to their vendors and are not there; the file itself has to be right.
    let _port = cache::lock("port-9092");
    let project = Project::up(&ours("compose.stack.yaml"), &["kafka"]);
    project.wait_healthy("kafka");
}

fn replicated(project: &Project, service: &str, broker: &str) {
    let create = format!(
        "kafka-topics --bootstrap-server {broker}:9092 --create --topic t --partitions 3 --replication-factor 3"
    );
    let created = project.exec(service, &create);
    assert_eq!(created.code, 0, "{created}\n{}", project.logs());
    let send = format!("echo hello | kafka-console-producer --bootstrap-server {broker}:9092 --topic t");
    let sent = project.exec(service, &send);
    assert_eq!(sent.code, 0, "{sent}\n{}", project.logs());
    let read = format!(
        "kafka-console-consumer --bootstrap-server {broker}:9092 --topic t --group g --from-beginning --max-messages 1"
    );
    let read = project.exec(service, &read);
    assert_eq!(read.stdout, "hello\n", "{read}\n{}", project.logs());
}

#[test]
fn three_nodes() {
    if docker::is_skipped() {
        return;
    }
    let _ports = cache::lock("port-19092");
    let project = Project::up(&ours("compose.cluster.yaml"), &[]);
    for service in ["kafka-1", "kafka-2", "kafka-3"] {
        project.wait_healthy(service);
    }
    replicated(&project, "kafka-2", "kafka-1");
}

#[test]
fn three_controllers_and_three_brokers() {
    if docker::is_skipped() {
        return;
    }
    let _ports = cache::lock("port-19092");
    let project = Project::up(&ours("compose.roles.yaml"), &[]);
    for service in ["controller-1", "controller-2", "controller-3", "broker-1", "broker-2", "broker-3"] {
        project.wait_healthy(service);
    }
    replicated(&project, "broker-2", "broker-1");
}

/// Files that people have, as short as they get. `image: @` stands for ours; every one has a service `kafka` and an init job.
const IN_CIRCULATION: &[(&str, &str, &str)] = &[
    (
        "apache/kafka",
        "broker:19092",
        r#"
services:
  kafka:
    image: @
    hostname: broker
    networks: {default: {aliases: [broker]}}
    ports: ["9092"]
    environment:
      KAFKA_NODE_ID: 1
      KAFKA_LISTENER_SECURITY_PROTOCOL_MAP: "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PLAINTEXT_HOST:PLAINTEXT"
      KAFKA_ADVERTISED_LISTENERS: "PLAINTEXT_HOST://localhost:9092,PLAINTEXT://broker:19092"
      KAFKA_PROCESS_ROLES: "broker,controller"
      KAFKA_CONTROLLER_QUORUM_VOTERS: "1@broker:29093"
      KAFKA_LISTENERS: "CONTROLLER://:29093,PLAINTEXT_HOST://:9092,PLAINTEXT://:19092"
      KAFKA_INTER_BROKER_LISTENER_NAME: PLAINTEXT
      KAFKA_CONTROLLER_LISTENER_NAMES: CONTROLLER
      CLUSTER_ID: 4L6g3nShT-eMCtK--X86sw
      KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR: 1
      KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS: 0
      KAFKA_TRANSACTION_STATE_LOG_MIN_ISR: 1
      KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR: 1
      KAFKA_LOG_DIRS: /tmp/kraft-combined-logs
      KAFKA_HEAP_OPTS: -Xmx512m
    healthcheck:
      test: /opt/kafka/bin/kafka-topics.sh --bootstrap-server broker:19092 --list
      interval: 1s
      retries: 90
"#,
    ),
    (
        "confluentinc/cp-kafka",
        "broker:29092",
        r#"
services:
  kafka:
    image: @
    hostname: broker
    networks: {default: {aliases: [broker]}}
    environment:
      KAFKA_NODE_ID: 1
      KAFKA_LISTENER_SECURITY_PROTOCOL_MAP: 'CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PLAINTEXT_HOST:PLAINTEXT'
      KAFKA_ADVERTISED_LISTENERS: 'PLAINTEXT://broker:29092,PLAINTEXT_HOST://localhost:9092'
      KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR: 1
      KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS: 0
      KAFKA_TRANSACTION_STATE_LOG_MIN_ISR: 1
      KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR: 1
      KAFKA_JMX_PORT: 9101
      KAFKA_JMX_HOSTNAME: localhost
      KAFKA_CONFLUENT_SUPPORT_METRICS_ENABLE: 'false'
      KAFKA_PROCESS_ROLES: 'broker,controller'
      KAFKA_CONTROLLER_QUORUM_VOTERS: '1@broker:29093'
      KAFKA_LISTENERS: 'PLAINTEXT://broker:29092,CONTROLLER://broker:29093,PLAINTEXT_HOST://0.0.0.0:9092'
      KAFKA_INTER_BROKER_LISTENER_NAME: 'PLAINTEXT'
      KAFKA_CONTROLLER_LISTENER_NAMES: 'CONTROLLER'
      KAFKA_LOG_DIRS: '/tmp/kraft-combined-logs'
      CLUSTER_ID: 'MkU3OEVBNTcwNTJENDM2Qk'
    command: /etc/confluent/docker/run
    healthcheck:
      test: ["CMD-SHELL", "nc -z localhost 9092 && cub kafka-ready -b broker:29092 1 5"]
      interval: 1s
      retries: 90
"#,
    ),
    (
        "bitnami/kafka",
        "kafka:9092",
        r#"
services:
  kafka:
    image: @
    hostname: kafka
    volumes: ["kafka_data:/bitnami/kafka"]
    environment:
      - KAFKA_CFG_NODE_ID=0
      - KAFKA_CFG_PROCESS_ROLES=controller,broker
      - KAFKA_CFG_CONTROLLER_QUORUM_VOTERS=0@kafka:9093
      - KAFKA_CFG_LISTENERS=PLAINTEXT://:9092,CONTROLLER://:9093,EXTERNAL://:9094
      - KAFKA_CFG_ADVERTISED_LISTENERS=PLAINTEXT://:9092,EXTERNAL://localhost:9094
      - KAFKA_CFG_LISTENER_SECURITY_PROTOCOL_MAP=CONTROLLER:PLAINTEXT,EXTERNAL:PLAINTEXT,PLAINTEXT:PLAINTEXT
      - KAFKA_CFG_CONTROLLER_LISTENER_NAMES=CONTROLLER
      - ALLOW_PLAINTEXT_LISTENER=yes
      - KAFKA_ENABLE_KRAFT=yes
      - KAFKA_KRAFT_CLUSTER_ID=abcdefghijklmnopqrstuv
    healthcheck:
      test: ["CMD", "kafka-topics.sh", "--bootstrap-server", "kafka:9092", "--list"]
      interval: 1s
      retries: 90
volumes:
  kafka_data: {}
"#,
    ),
    (
        "of ZooKeeper's age",
        "kafka:19092",
        r#"
version: '2.1'
services:
  kafka:
    image: @
    hostname: kafka
    environment:
      KAFKA_ADVERTISED_LISTENERS: INTERNAL://kafka:19092,EXTERNAL://${DOCKER_HOST_IP:-127.0.0.1}:9092,DOCKER://host.docker.internal:29092
      KAFKA_LISTENER_SECURITY_PROTOCOL_MAP: INTERNAL:PLAINTEXT,EXTERNAL:PLAINTEXT,DOCKER:PLAINTEXT
      KAFKA_INTER_BROKER_LISTENER_NAME: INTERNAL
      KAFKA_ZOOKEEPER_CONNECT: "zoo1:2181"
      KAFKA_BROKER_ID: 1
      KAFKA_LOG4J_LOGGERS: "kafka.controller=INFO,kafka.producer.async.DefaultEventHandler=INFO,state.change.logger=INFO"
      KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR: 1
      KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR: 1
      KAFKA_TRANSACTION_STATE_LOG_MIN_ISR: 1
      KAFKA_JMX_PORT: 9999
      KAFKA_JMX_HOSTNAME: ${DOCKER_HOST_IP:-127.0.0.1}
      KAFKA_AUTHORIZER_CLASS_NAME: kafka.security.authorizer.AclAuthorizer
      KAFKA_ALLOW_EVERYONE_IF_NO_ACL_FOUND: "true"
"#,
    ),
    (
        "wurstmeister/kafka",
        "kafka:9092",
        r#"
version: '2.1'
services:
  kafka:
    image: @
    hostname: kafka
    command: start-kafka.sh
    environment:
      KAFKA_ADVERTISED_HOST_NAME: kafka
      KAFKA_CREATE_TOPICS: "Topic1:1:1,Topic2:1:1:compact"
      KAFKA_ZOOKEEPER_CONNECT: zookeeper:2181
"#,
    ),
    (
        "redpandadata/redpanda",
        "redpanda-0:9092",
        r#"
services:
  kafka:
    image: @
    hostname: redpanda-0
    networks: {default: {aliases: [redpanda-0]}}
    command:
      - redpanda
      - start
      - --kafka-addr internal://0.0.0.0:9092,external://0.0.0.0:19092
      - --advertise-kafka-addr internal://redpanda-0:9092,external://localhost:19092
      - --pandaproxy-addr internal://0.0.0.0:8082,external://0.0.0.0:18082
      - --mode dev-container
      - --smp 1
      - --default-log-level=info
    volumes: ["data:/var/lib/redpanda/data"]
    healthcheck:
      test: ["CMD-SHELL", "rpk cluster health | grep -E 'Healthy:.+true' || exit 1"]
      interval: 1s
      retries: 90
volumes:
  data: {}
"#,
    ),
    ("what ours needs", "kafka:9092", "services:\n  kafka:\n    image: @\n    ports: [\"9092\"]\n"),
];

#[test]
fn files_in_circulation_come_up_with_only_the_image_replaced() {
    if docker::is_skipped() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, broker, text) in IN_CIRCULATION {
        println!("{name}");
        // The usual second service: the same image makes topics once the first is healthy.
        let init = format!(
            "  init:\n    image: @\n    depends_on: {{kafka: {{condition: service_healthy}}}}\n    entrypoint: [\"/bin/sh\", \"-c\"]\n    \
             command: [\"kafka-topics.sh --create --if-not-exists --topic made --bootstrap-server {broker} && sleep 600\"]\n"
        );
        let (services, volumes) = text.split_once("\nvolumes:\n").unwrap_or((text, ""));
        let volumes = if volumes.is_empty() { String::new() } else { format!("volumes:\n{volumes}") };
        let file = folder.path().join("docker-compose.yml");
        std::fs::write(
            &file,
            format!("{}\n{init}{volumes}", services.trim_end())
                .replace("image: @", &format!("image: {}", docker::image())),
        )
        .unwrap();
        let project = Project::up(&file, &[]);
        project.wait_healthy("kafka");
        let line = format!("until kafka-topics --bootstrap-server {broker} --list | grep -q made; do sleep 0.1; done");
        let made = project.exec("init", &line);
        assert_eq!(made.code, 0, "{name}: {made}\n{}", project.logs());
    }
}

#[test]
fn a_container_on_the_hosts_network_is_reached_as_a_program_is() {
    if docker::is_skipped() {
        return;
    }
    let port = {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap().port()
    };
    let listeners = format!("KAFKA_LISTENERS=PLAINTEXT://127.0.0.1:{port}");
    let broker = docker::Container::run(&["--network", "host", "--env", &listeners], &[]);
    broker.wait_for("Kafka Server started");
    round_trip(&format!("127.0.0.1:{port}"));
}
