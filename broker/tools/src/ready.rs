//! `cub kafka-ready` and `ub kafka-ready`: Confluent's images wait with these for brokers before they start what needs them.

use std::process::ExitCode;
use std::time::Duration;

use super::{health, properties};

/// Runs `cub` or `ub`; `arguments` begin with what is asked.
pub fn run(arguments: &[String]) -> ExitCode {
    let Some((what, rest)) = arguments.split_first() else {
        eprintln!("usage: cub kafka-ready [-b HOST:PORT | -c FILE] BROKERS SECONDS");
        return ExitCode::FAILURE;
    };
    match what.as_str() {
        "kafka-ready" => kafka_ready(rest),
        "zk-ready" => {
            eprintln!("there is no ZooKeeper to wait for");
            ExitCode::SUCCESS
        }
        other => {
            eprintln!("cub: {other} is not built in, only kafka-ready is");
            ExitCode::FAILURE
        }
    }
}

/// What a line asks: bootstrap servers, a file that may name them, how many brokers, how many seconds.
#[derive(Debug, Default, PartialEq, Eq)]
struct Line {
    bootstrap: Option<String>,
    file: Option<String>,
    numbers: Vec<u64>,
}

fn read(arguments: &[String]) -> Line {
    let mut line = Line::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "-b" | "--bootstrap-servers" | "--bootstrap_broker_list" => line.bootstrap = rest.next().cloned(),
            "-c" | "--config" => line.file = rest.next().cloned(),
            "-s" | "--security-protocol" => {
                rest.next();
            }
            word => match word.parse() {
                Ok(number) => line.numbers.push(number),
                // `cub kafka-ready HOST:PORT 1 20`
                Err(_) if word.contains(':') => line.bootstrap = Some(word.to_owned()),
                Err(_) => {}
            },
        }
    }
    line
}

fn kafka_ready(arguments: &[String]) -> ExitCode {
    let line = read(arguments);
    let from_file = properties::load(line.file.as_deref()).ok().and_then(|mut file| file.remove("bootstrap.servers"));
    let bootstrap = line.bootstrap.or(from_file).unwrap_or_else(|| "localhost:9092".to_owned());
    let brokers = line.numbers.first().map_or(1, |count| usize::try_from(*count).unwrap_or(usize::MAX));
    let patience = Duration::from_secs(line.numbers.get(1).copied().unwrap_or(20));
    match health::wait_for_brokers(&bootstrap, brokers, patience) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{bootstrap}: {failure}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_programs_are_read() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let cub = read(&words("-b kafka:29092 3 40"));
        assert_eq!((cub.bootstrap.as_deref(), cub.numbers), (Some("kafka:29092"), vec![3, 40]));
        let ub = read(&words("1 20 -c /etc/kafka/client.properties -s PLAINTEXT"));
        assert_eq!((ub.file.as_deref(), ub.numbers), (Some("/etc/kafka/client.properties"), vec![1, 20]));
        assert_eq!(read(&words("broker:9092 1 20")).bootstrap.as_deref(), Some("broker:9092"));
    }
}
