//! The files that the lines name as `$/NAME`.

use std::path::Path;

use ottla_compat_tests::broker::Broker;

use super::SIDES;

pub fn write(folder: &Path, broker: &Broker) {
    let put = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    put("client.properties", "client.id=given\n");
    put("reader.properties", "parse.key=true\nkey.separator==\n");
    put("formatter.properties", "print.key=true\nprint.partition=true\n");
    put("topic.properties", "max.message.bytes=500000\n");
    put("offsets.csv", "native,0,2\nnative,1,1\n");
    put("payload.txt", "one;two;three");
    put("wrong.json", "{\"partitions\": [");
    put("offsets.json", r#"{"partitions":[{"topic":"native","partition":0,"offset":1}],"version":1}"#);
    let twice = r#"{"topic":"native","partition":0,"offset":1}"#;
    put("twice.json", &format!(r#"{{"partitions":[{twice},{twice}],"version":1}}"#));
    put("election.json", r#"{"partitions":[{"topic":"native","partition":0},{"topic":"native","partition":1}]}"#);
    put("topics.json", r#"{"topics":[{"topic":"native"}],"version":1}"#);
    put("absent-topics.json", r#"{"topics":[{"topic":"absent"}],"version":1}"#);
    let plan = |partitions: &str| format!(r#"{{"version":1,"partitions":[{partitions}]}}"#);
    let on_one = r#"{"topic":"native","partition":0,"replicas":[1]}"#;
    put("reassign.json", &plan(on_one));
    put("reassign-twice.json", &plan(&format!("{on_one},{on_one}")));
    put("reassign-77.json", &plan(r#"{"topic":"native","partition":0,"replicas":[77]}"#));
    put("reassign-absent.json", &plan(r#"{"topic":"absent","partition":0,"replicas":[1]}"#));
    let dir = broker.data_dir().display().to_string();
    put(
        "reassign-dirs.json",
        &plan(&format!(r#"{{"topic":"native","partition":1,"replicas":[1],"log_dirs":["{dir}"]}}"#)),
    );
    for side in SIDES {
        let logs = folder.join(format!("logs-{side}"));
        put(
            &format!("server-{side}.properties"),
            &format!(
                "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@localhost:9093\n\
                 controller.listener.names=CONTROLLER\nlisteners=PLAINTEXT://:9092,CONTROLLER://:9093\nlog.dirs={}\n",
                logs.display()
            ),
        );
    }
}
