//! The same load on Ottla and on Apache Kafka, interleaved in one run, reported as ratios.
//!
//! `cargo run --release -p ottla-bench` takes about ten minutes. Machines are shared and noisy: only figures of one run are
//! compared, the order of the two brokers alternates, and the medians of the rounds are what counts. Both brokers answer
//! acks=all from the page cache (Kafka's own promise: `log.durability=replicated` here), else on their default settings.

mod durability;
mod load;
mod measure;
mod report;
mod scale;

use std::time::{Duration, Instant};

use clap::Parser;
use ottla_compat_tests::broker::{Broker, Target};
use ottla_compat_tests::{kafka, process, tool};

use measure::{Cpu, Sample};

/// Load Ottla and Apache Kafka side by side and print the ratios.
#[derive(Debug, Parser)]
struct Arguments {
    /// How often each broker is measured.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Megabytes (10^6) produced and consumed per record size and round.
    #[arg(long, default_value_t = 500)]
    megabytes: u64,
    /// Record sizes in bytes.
    #[arg(long, value_delimiter = ',', default_values_t = [1024, 100])]
    sizes: Vec<u64>,
    /// Messages of the end-to-end latency test.
    #[arg(long, default_value_t = 5000)]
    messages: u64,
    /// Seconds of rest before the idle CPU is read.
    #[arg(long, default_value_t = 10)]
    idle_seconds: u64,
    /// Only these brokers.
    #[arg(long, value_delimiter = ',', default_values_t = ["apache".to_owned(), "ottla".to_owned()])]
    targets: Vec<String>,
    /// Broker settings beside `num.partitions=4`. Apache Kafka takes no notice of keys that only Ottla has.
    #[arg(long, value_delimiter = ' ', default_values_t = ["log.durability=replicated".to_owned()])]
    set: Vec<String>,
    /// Measure instead what so many partitions cost a cluster of three nodes; 20000 takes minutes for Ottla.
    #[arg(long, value_name = "PARTITIONS")]
    scale: Option<usize>,
    /// Measure instead what it costs to have everything on the disk before it is acknowledged.
    #[arg(long)]
    durability: bool,
    /// Producers of the durability load, each with one request on its way.
    #[arg(long, default_value_t = 64)]
    producers: usize,
    /// Partitions that they write to.
    #[arg(long, default_value_t = 1000)]
    partitions: usize,
    /// Partitions in each request.
    #[arg(long, default_value_t = 4)]
    spread: usize,
    /// Bytes for each of them.
    #[arg(long, default_value_t = 16_384)]
    batch_bytes: usize,
    /// Seconds of load.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
}

fn main() -> Result<(), String> {
    let arguments = Arguments::parse();
    kafka::run_as_shipped();
    measure::touch_memory();
    if let Some(partitions) = arguments.scale {
        return scale::run(arguments.rounds, partitions, &arguments.targets);
    }
    if arguments.durability {
        let Arguments { producers, partitions, spread, batch_bytes, seconds, .. } = arguments;
        let load = load::Load { producers, partitions, spread, batch_bytes, seconds };
        return durability::run(arguments.rounds, load, &arguments.targets);
    }
    let mut samples = Vec::new();
    for round in 0..arguments.rounds {
        // A B, B A, A B: a drift of the machine falls on both.
        let mut order = [Target::Apache, Target::Ottla];
        if round % 2 == 1 {
            order.reverse();
        }
        for target in order.into_iter().filter(|target| arguments.targets.iter().any(|name| name == target.name())) {
            eprintln!("round {} of {}: {}", round + 1, arguments.rounds, target.name());
            let sample = measure_once(target, &arguments)?;
            eprintln!("{sample}");
            samples.push(sample);
        }
    }
    println!("{}", report::markdown(&samples));
    report::write_json(&samples)
}

fn measure_once(target: Target, arguments: &Arguments) -> Result<Sample, String> {
    let mut sample = Sample::new(target);
    let settings: Vec<&str> =
        std::iter::once("num.partitions=4").chain(arguments.set.iter().map(String::as_str)).collect();
    let mut broker = Broker::start(target, &settings)?;
    // Started a second time on its own data: the first start creates files and warms the page cache of the binary.
    broker.stop();
    let started = Instant::now();
    broker.restart()?;
    sample.set("start_ms", started.elapsed().as_secs_f64() * 1000.0);

    let cpu = Cpu::of(&broker);
    std::thread::sleep(Duration::from_secs(arguments.idle_seconds));
    sample.set("idle_cpu_percent", cpu.since(&broker).seconds / arguments.idle_seconds as f64 * 100.0);
    sample.set("idle_rss_mib", broker.resident_bytes() as f64 / f64::from(1 << 20));

    for &size in &arguments.sizes {
        let topic = format!("load-{size}");
        let records = arguments.megabytes * 1_000_000 / size;
        // The JVM broker compiles its hot loops first; both get the same warm-up.
        produce(&broker, &format!("warm-{size}"), records, size)?;
        measure::touch_for_load(arguments.megabytes);
        let cpu = Cpu::of(&broker);
        let output = produce(&broker, &topic, records, size)?;
        let gigabytes = (records * size) as f64 / 1e9;
        let spent = cpu.since(&broker);
        sample.set(&format!("produce_{size}_cpu_s_per_gb"), spent.seconds / gigabytes);
        sample.set(&format!("produce_{size}_user_s_per_gb"), spent.user_seconds / gigabytes);
        let figures = measure::producer_figures(&output).ok_or_else(|| format!("no figures in:\n{output}"))?;
        sample.set(&format!("produce_{size}_mb_s"), figures.megabytes_per_second);
        sample.set(&format!("produce_{size}_p50_ms"), figures.p50_ms);
        sample.set(&format!("produce_{size}_p99_ms"), figures.p99_ms);

        let cpu = Cpu::of(&broker);
        let output = consume(&broker, &topic, records)?;
        let spent = cpu.since(&broker);
        sample.set(&format!("fetch_{size}_cpu_s_per_gb"), spent.seconds / gigabytes);
        let rate = measure::consumer_rate(&output).ok_or_else(|| format!("no figures in:\n{output}"))?;
        sample.set(&format!("fetch_{size}_mb_s"), rate);
    }

    let output = run(
        "kafka-e2e-latency",
        &format!(
            "--bootstrap-server {} --topic latency --num-records {} --producer-acks all --record-size 100",
            broker.bootstrap(),
            arguments.messages
        ),
    )?;
    let (p50, p99) = measure::end_to_end(&output).ok_or_else(|| format!("no figures in:\n{output}"))?;
    sample.set("end_to_end_p50_ms", p50);
    sample.set("end_to_end_p99_ms", p99);
    sample.set("loaded_rss_mib", broker.resident_bytes() as f64 / f64::from(1 << 20));
    broker.stop();
    Ok(sample)
}

fn produce(broker: &Broker, topic: &str, records: u64, size: u64) -> Result<process::Output, String> {
    run(
        "kafka-producer-perf-test",
        &format!(
            "--topic {topic} --num-records {records} --record-size {size} --throughput -1 --bootstrap-server {} \
             --command-property acks=all",
            broker.bootstrap()
        ),
    )
}

fn consume(broker: &Broker, topic: &str, records: u64) -> Result<process::Output, String> {
    run(
        "kafka-consumer-perf-test",
        &format!(
            "--bootstrap-server {} --topic {topic} --num-records {records} --group bench-{topic} --timeout 60000 \
             --hide-header",
            broker.bootstrap()
        ),
    )
}

/// Runs a tool of Kafka's to its end, at most ten minutes.
fn run(name: &str, line: &str) -> Result<process::Output, String> {
    let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let output = tool::start(name, &arguments, b"")?.wait(Duration::from_secs(600));
    if output.code == 0 { Ok(output) } else { Err(format!("{name} {line}\n{output}")) }
}
