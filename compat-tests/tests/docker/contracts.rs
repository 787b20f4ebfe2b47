//! The start-up contracts of the Testcontainers modules, replayed: each starts the image with a waiting shell, puts a script
//! into the container once the published port is known, and waits for a line of the log.

use ottla_compat_tests::docker::{self, Container, round_trip};

/// What one module does. In the script `{address}` is the published address, `{host}` the container's host name.
struct Contract {
    name: &'static str,
    /// `--entrypoint`, where the module sets one.
    entrypoint: &'static str,
    /// `--user`, where the module sets one.
    user: &'static str,
    command: &'static [&'static str],
    environment: &'static [&'static str],
    script_path: &'static str,
    script: &'static str,
    port: u16,
    waits_for: &'static str,
}

const KRAFT: &[&str] = &[
    "KAFKA_LISTENERS=PLAINTEXT://0.0.0.0:9092,BROKER://0.0.0.0:9093,CONTROLLER://0.0.0.0:9094",
    "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP=BROKER:PLAINTEXT,PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "KAFKA_INTER_BROKER_LISTENER_NAME=BROKER",
    "KAFKA_PROCESS_ROLES=broker,controller",
    "KAFKA_CONTROLLER_LISTENER_NAMES=CONTROLLER",
    "KAFKA_CONTROLLER_QUORUM_VOTERS=1@localhost:9094",
    "KAFKA_NODE_ID=1",
    "CLUSTER_ID=4L6g3nShT-eMCtK--X86sw",
    "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR=1",
    "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS=1",
    "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR=1",
    "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR=1",
    "KAFKA_LOG_FLUSH_INTERVAL_MESSAGES=9223372036854775807",
    "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS=0",
];

const WITH_CONFLUENT_PORTS: &[&str] = &[
    "KAFKA_LISTENERS=PLAINTEXT://0.0.0.0:9093,BROKER://0.0.0.0:9092,CONTROLLER://0.0.0.0:9094",
    "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP=BROKER:PLAINTEXT,PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "KAFKA_INTER_BROKER_LISTENER_NAME=BROKER",
    "KAFKA_BROKER_ID=1",
    "KAFKA_NODE_ID=1",
    "KAFKA_PROCESS_ROLES=broker,controller",
    "KAFKA_CONTROLLER_LISTENER_NAMES=CONTROLLER",
    "KAFKA_CONTROLLER_QUORUM_VOTERS=1@localhost:9094",
    "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR=1",
    "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS=1",
    "KAFKA_LOG_FLUSH_INTERVAL_MESSAGES=9223372036854775807",
    "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS=0",
];

const OF_ZOOKEEPER_AGE: &[&str] = &[
    "KAFKA_LISTENERS=PLAINTEXT://0.0.0.0:9093,BROKER://0.0.0.0:9092",
    "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP=BROKER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "KAFKA_INTER_BROKER_LISTENER_NAME=BROKER",
    "KAFKA_BROKER_ID=1",
    "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR=1",
    "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS=1",
    "KAFKA_LOG_FLUSH_INTERVAL_MESSAGES=10000000",
    "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS=0",
    "KAFKA_CONFLUENT_SUPPORT_METRICS_ENABLE=false",
];

const CONTRACTS: &[Contract] = &[
    Contract {
        name: "Java KafkaContainer",
        entrypoint: "sh",
        user: "",
        command: &[
            "-c",
            "while [ ! -f /tmp/testcontainers_start.sh ]; do sleep 0.1; done; /tmp/testcontainers_start.sh",
        ],
        environment: KRAFT,
        script_path: "/tmp/testcontainers_start.sh",
        script: "#!/bin/bash\nexport KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://{address},BROKER://{host}:9093\n/etc/kafka/docker/run \n",
        port: 9092,
        waits_for: "Transitioning from RECOVERY to RUNNING",
    },
    Contract {
        name: "Java ConfluentKafkaContainer",
        entrypoint: "sh",
        user: "",
        command: &[
            "-c",
            "while [ ! -f /tmp/testcontainers_start.sh ]; do sleep 0.1; done; /tmp/testcontainers_start.sh",
        ],
        environment: KRAFT,
        script_path: "/tmp/testcontainers_start.sh",
        script: "#!/bin/bash\nexport KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://{address},BROKER://{host}:9093\n/etc/confluent/docker/run \n",
        port: 9092,
        waits_for: "Transitioning from RECOVERY to RUNNING",
    },
    Contract {
        name: ".NET, Apache's image",
        entrypoint: "/bin/sh",
        user: "",
        command: &["-c", "while [ ! -f /testcontainers.sh ]; do sleep 0.1; done; /testcontainers.sh"],
        environment: KRAFT,
        script_path: "/testcontainers.sh",
        script: "#!/bin/bash\nexport KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://{address},BROKER://{host}:9093\nexec /etc/kafka/docker/run\n",
        port: 9092,
        waits_for: "Transitioning from RECOVERY to RUNNING",
    },
    Contract {
        name: ".NET, Confluent's image with ZooKeeper",
        entrypoint: "/bin/sh",
        user: "",
        command: &["-c", "while [ ! -f /testcontainers.sh ]; do sleep 0.1; done; /testcontainers.sh"],
        environment: OF_ZOOKEEPER_AGE,
        script_path: "/testcontainers.sh",
        script: "#!/bin/bash\necho 'clientPort=2181' > zookeeper.properties\necho 'dataDir=/var/lib/zookeeper/data' >> zookeeper.properties\nzookeeper-server-start zookeeper.properties &\nexport KAFKA_ZOOKEEPER_CONNECT=localhost:2181\nexport KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://{address},BROKER://{host}:9092\necho '' > /etc/confluent/docker/ensure\nexec /etc/confluent/docker/run\n",
        port: 9093,
        waits_for: "[KafkaServer id=1] started",
    },
    Contract {
        name: "Go",
        entrypoint: "sh",
        user: "",
        command: &[
            "-c",
            "while [ ! -f /usr/sbin/testcontainers_start.sh ]; do sleep 0.1; done; bash /usr/sbin/testcontainers_start.sh",
        ],
        environment: WITH_CONFLUENT_PORTS,
        script_path: "/usr/sbin/testcontainers_start.sh",
        script: "#!/bin/bash\nsource /etc/confluent/docker/bash-config\nexport KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://{address},BROKER://{host}:9092\necho Starting Kafka KRaft mode\nsed -i '/KAFKA_ZOOKEEPER_CONNECT/d' /etc/confluent/docker/configure\necho 'kafka-storage format --ignore-formatted -t \"$(kafka-storage random-uuid)\" -c /etc/kafka/kafka.properties' >> /etc/confluent/docker/configure\necho '' > /etc/confluent/docker/ensure\n/etc/confluent/docker/configure\n/etc/confluent/docker/launch",
        port: 9093,
        waits_for: "Transitioning from RECOVERY to RUNNING",
    },
    Contract {
        name: "Rust",
        entrypoint: "bash",
        user: "",
        command: &[
            "-c",
            "while [ ! -f /opt/kafka/testcontainers_start.sh ]; do sleep 0.1; done; chmod 755 /opt/kafka/testcontainers_start.sh 2>/dev/null; /opt/kafka/testcontainers_start.sh",
        ],
        environment: KRAFT,
        script_path: "/opt/kafka/testcontainers_start.sh",
        script: "#!/usr/bin/env bash\nexport KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://{address},BROKER://localhost:9093\n/etc/kafka/docker/run \n",
        port: 9092,
        waits_for: "Kafka Server started",
    },
    Contract {
        name: "Python, KRaft",
        entrypoint: "",
        user: "",
        command: &["sh", "-c", "while [ ! -f /tc-start.sh ]; do sleep 0.1; done; sh /tc-start.sh"],
        environment: WITH_CONFLUENT_PORTS,
        script_path: "/tc-start.sh",
        script: "#!/bin/bash\nsed -i '/KAFKA_ZOOKEEPER_CONNECT/d' /etc/confluent/docker/configure\necho 'kafka-storage format --ignore-formatted -t MkU3OEVBNTcwNTJENDM2Qk -c /etc/kafka/kafka.properties' >> /etc/confluent/docker/configure\nexport KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://{address},BROKER://$(hostname -i):9092\n. /etc/confluent/docker/bash-config\n/etc/confluent/docker/configure\n/etc/confluent/docker/launch",
        port: 9093,
        waits_for: "Kafka Server started",
    },
    Contract {
        name: "Python, ZooKeeper",
        entrypoint: "",
        user: "",
        command: &["sh", "-c", "while [ ! -f /tc-start.sh ]; do sleep 0.1; done; sh /tc-start.sh"],
        environment: OF_ZOOKEEPER_AGE,
        script_path: "/tc-start.sh",
        script: "#!/bin/bash\necho 'clientPort=2181' > zookeeper.properties\nzookeeper-server-start zookeeper.properties &\nexport KAFKA_ZOOKEEPER_CONNECT='localhost:2181'\nexport KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://{address},BROKER://$(hostname -i):9092\n. /etc/confluent/docker/bash-config\n/etc/confluent/docker/configure\n/etc/confluent/docker/launch",
        port: 9093,
        waits_for: "[KafkaServer id=1] started",
    },
    Contract {
        name: "Java RedpandaContainer",
        entrypoint: "bash",
        user: "root:root",
        command: &[
            "-c",
            "until grep -q '# Injected by testcontainers' /etc/redpanda/redpanda.yaml; do sleep 0.1; done; exec /entrypoint.sh redpanda start --mode=dev-container --smp=1 --memory=1G",
        ],
        environment: &[],
        script_path: "/etc/redpanda/redpanda.yaml",
        script: "# Injected by testcontainers\nredpanda:\n  admin:\n    address: 0.0.0.0\n    port: 9644\n\n  kafka_api:\n    - address: 0.0.0.0\n      name: external\n      port: 9092\n      authentication_method: none\n\n    # for the registry\n    - address: 0.0.0.0\n      name: internal\n      port: 9093\n      authentication_method: none\n\n  advertised_kafka_api:\n    - address: localhost\n      name: external\n      port: {port}\n    - address: 127.0.0.1\n      name: internal\n      port: 9093\n\nschema_registry:\n  schema_registry_api:\n  - address: \"0.0.0.0\"\n    name: main\n    port: 8081\n    authentication_method: none\n",
        port: 9092,
        waits_for: "Successfully started Redpanda!",
    },
    Contract {
        name: "Python RedpandaContainer",
        entrypoint: "sh",
        user: "",
        command: &[
            "-c",
            "while [ ! -f /var/lib/redpanda/tc-start.sh ]; do sleep 0.1; done; sh /var/lib/redpanda/tc-start.sh",
        ],
        environment: &[],
        script_path: "/var/lib/redpanda/tc-start.sh",
        script: "#!/bin/bash\n/usr/bin/rpk redpanda start --mode dev-container --smp 1 --memory 1G --kafka-addr PLAINTEXT://0.0.0.0:29092,OUTSIDE://0.0.0.0:9092  --advertise-kafka-addr PLAINTEXT://127.0.0.1:29092,OUTSIDE://{address}",
        port: 9092,
        waits_for: "Started Kafka API server",
    },
];

#[test]
fn every_module_starts_the_image_as_it_starts_kafkas() {
    if docker::is_skipped() {
        return;
    }
    for contract in CONTRACTS {
        println!("{}", contract.name);
        replay(contract);
    }
}

fn replay(contract: &Contract) {
    let port = format!("127.0.0.1::{}", contract.port);
    let mut options = vec!["--publish", &port];
    for variable in contract.environment {
        options.extend(["--env", variable]);
    }
    if !contract.entrypoint.is_empty() {
        options.extend(["--entrypoint", contract.entrypoint]);
    }
    if !contract.user.is_empty() {
        options.extend(["--user", contract.user]);
    }
    let container = Container::run(&options, contract.command);
    let address = container.address(contract.port);
    let script = contract
        .script
        .replace("{address}", &address)
        .replace("{port}", address.rsplit(':').next().unwrap_or_default())
        .replace("{host}", &container.state("{{.Config.Hostname}}"));
    container.put(contract.script_path, &script);
    container.wait_for(contract.waits_for);
    round_trip(&address);
}
