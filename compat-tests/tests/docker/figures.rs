//! Sizes, start times and idle memory of the images beside Apache Kafka's: the figures in `docker/README.md`.
//!
//! By hand (`OTTLA_DOCKER=dist`), as figures of the binary of the tests would say nothing; nothing is asserted. Apache Kafka's
//! image is made here of the same Debian, its Java runtime without a screen, and the jars of the release.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use ottla_compat_tests::docker::{self, Container, docker};
use ottla_compat_tests::{broker, kafka, process};

const APACHE: &str = "ottla-test:apache";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 231, 77, 2);
const SUBNET: &str = "10.231.77.0/24";
const STARTS: usize = 7;
const LIMIT: Duration = Duration::from_secs(60);
/// Until what a start left behind has been freed and compiled.
const IDLE: Duration = Duration::from_secs(20);

#[test]
fn figures_beside_apache_kafkas() {
    if docker::is_skipped() {
        return;
    }
    if !docker::is_dist() {
        println!("skipped: the binary of the tests is not the one that images ship (OTTLA_DOCKER=dist)");
        return;
    }
    make_apache_image();
    let network = docker::fresh_name("figures");
    assert_eq!(docker(&["network", "create", "--subnet", SUBNET, &network]).code, 0);
    println!("| Image | Size | Start to first answer, median of {STARTS} | Idle memory |");
    for (name, image) in
        [("default", docker::image()), ("scratch", docker::scratch_image()), ("Apache Kafka 4.3.1", APACHE)]
    {
        let size: f64 = docker(&["image", "inspect", "--format", "{{.Size}}", image]).stdout.trim().parse().unwrap();
        let mut starts: Vec<Duration> = (0..STARTS).map(|_| start(image, &network).1).collect();
        starts.sort();
        let (container, _) = start(image, &network);
        std::thread::sleep(IDLE);
        let resident = resident_bytes(&container);
        println!(
            "| {name} | {:.1} MB | {} ms | {:.1} MB |",
            size / 1e6,
            starts[STARTS / 2].as_millis(),
            resident as f64 / 1e6
        );
    }
    docker(&["network", "rm", &network]);
}

/// Runs a container; the time between the start of its first process and the first answer with the broker's metadata.
fn start(image: &str, network: &str) -> (Container, Duration) {
    let waiting = std::thread::spawn(|| {
        let address = SocketAddr::new(IpAddr::V4(ADDRESS), 9092);
        let deadline = Instant::now() + LIMIT;
        while !broker::answers(address) {
            assert!(Instant::now() < deadline, "no answer from {address}");
            std::thread::sleep(Duration::from_millis(1));
        }
        SystemTime::now()
    });
    let container = Container::run_image(image, &["--network", network, "--ip", &ADDRESS.to_string()], &[]);
    let answered = waiting.join().unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let began = container.state("{{.State.StartedAt}}");
    let nanos = process::run(Command::new("date").args(["+%s%N", "--date", &began]), b"", LIMIT).ok().stdout;
    let began = Duration::from_nanos(nanos.trim().parse().unwrap());
    (container, answered.saturating_sub(began))
}

fn resident_bytes(container: &Container) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", container.state("{{.State.Pid}}"))).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// As Kafka's own scripts start it: formatted, with a heap of one gigabyte and the G1 collector.
fn make_apache_image() {
    if docker(&["image", "inspect", APACHE]).code == 0 {
        return;
    }
    docker::image();
    let context = tempfile::tempdir().unwrap();
    let folder = context.path();
    let jars = kafka::libs().unwrap();
    process::run(Command::new("cp").arg("-r").arg(jars).arg(folder.join("libs")), b"", LIMIT).ok();
    let config = format!(
        "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@localhost:9093\n\
         controller.listener.names=CONTROLLER\nlisteners=PLAINTEXT://:9092,CONTROLLER://:9093\n\
         advertised.listeners=PLAINTEXT://{ADDRESS}:9092\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\nlog.dirs=/data\n\
         offsets.topic.replication.factor=1\n"
    );
    std::fs::write(folder.join("server.properties"), config).unwrap();
    let java = "java -Xmx1G -Xms1G -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -cp '/opt/kafka/libs/*'";
    let dockerfile = format!(
        "FROM {}\n\
         RUN apt-get update && apt-get install -y --no-install-recommends openjdk-17-jre-headless && rm -rf /var/lib/apt/lists/*\n\
         COPY libs /opt/kafka/libs\nCOPY server.properties /opt/kafka/\n\
         RUN {java} kafka.tools.StorageTool format -t b3R0bGEtY29tcGF0LXRlcw -c /opt/kafka/server.properties\n\
         CMD exec {java} kafka.Kafka /opt/kafka/server.properties\n",
        docker::BASE
    );
    std::fs::write(folder.join("Dockerfile"), dockerfile).unwrap();
    let mut build = docker::client();
    build.args(["build", "--quiet", "--network", "host", "--tag", APACHE, "."]).current_dir(folder);
    process::run(&mut build, b"", Duration::from_secs(600)).ok();
}
