//! Starts the image that is named with Testcontainers for Rust, as a test of a user would, and keeps it until stdin ends.

use std::io::Read;

use testcontainers_modules::kafka::apache::{KAFKA_PORT, Kafka};
use testcontainers_modules::testcontainers::ImageExt;
use testcontainers_modules::testcontainers::runners::SyncRunner;

fn main() {
    let image = std::env::args().nth(2).expect("an image is named");
    let (name, tag) = image.rsplit_once(':').expect("an image has a tag");
    let container = Kafka::default().with_name(name).with_tag(tag).start().expect("the container starts");
    let port = container.get_host_port_ipv4(KAFKA_PORT).expect("the port is published");
    println!("BOOTSTRAP 127.0.0.1:{port}");
    std::io::stdin().read_to_end(&mut Vec::new()).ok();
    container.rm().expect("the container is removed");
    println!("STOPPED");
}
