//! Stock client libraries: the same programs against Apache Kafka and against Ottla.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use ottla_compat_tests::clients::Client;
use ottla_compat_tests::story::story;

/// Runs one of the client's stories. A client prints only what every right broker makes it print.
#[track_caller]
fn client_story(client: Client, name: &str) {
    story(client.name(), name, client.needs(), |s| {
        let prefix = format!("{client:?}-{name}").to_lowercase();
        let output = client.run(name, &s.broker.bootstrap(), &prefix);
        assert!(output.code == 0, "{output}");
        s.note(name, &output.stdout);
    });
}

macro_rules! stories {
    ($module:ident, $client:ident: $($story:ident)+) => {
        mod $module {
            $(#[test]
            fn $story() {
                super::client_story(super::Client::$client, stringify!($story));
            })+
        }
    };
}

stories!(java, Java: codecs group cooperative group848 positions admin transactions);
stories!(confluent_python, ConfluentPython: codecs group cooperative group848 positions admin transactions);
stories!(kafka_python, KafkaPython: codecs group positions admin transactions);
stories!(aiokafka, AioKafka: codecs group positions admin transactions);
stories!(kafkajs, KafkaJs: codecs group positions admin transactions);
stories!(franz_go, FranzGo: codecs group positions admin transactions);
stories!(sarama, Sarama: codecs group positions admin transactions);
stories!(segmentio, SegmentioGo: codecs group positions admin);
stories!(rust_rdkafka, RustRdkafka: codecs group positions admin transactions);
