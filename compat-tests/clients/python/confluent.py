"""What an application does with confluent-kafka (librdkafka). Usage: STORY BOOTSTRAP PREFIX."""
import sys
import time
import zlib

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic)

START_MS = 1_700_000_000_000
story, bootstrap, prefix = sys.argv[1:4]
admin = AdminClient({"bootstrap.servers": bootstrap})


def create(name, partitions):
    topic = f"{prefix}-{name}"
    for future in admin.create_topics([NewTopic(topic, partitions, 1)]).values():
        future.result()
    return topic


def producer(**more):
    return Producer({"bootstrap.servers": bootstrap, **{key.replace("_", "."): value for key, value in more.items()}})


def consumer(group, **more):
    config = {"bootstrap.servers": bootstrap, "group.id": f"{prefix}-{group}", "auto.offset.reset": "earliest",
              "enable.auto.commit": False}
    config.update({key.replace("_", "."): value for key, value in more.items() if value is not None})
    return Consumer(config)


def produce(topic, partitions, count):
    sender = producer()
    for i in range(count):
        sender.produce(topic, f"value {i}", f"k{i}", partition=i % partitions, timestamp=START_MS + i * 1000)
    assert sender.flush(30) == 0


def take(member, into, wait=0.1):
    message = member.poll(wait)
    if message is not None and message.error() is None:
        into.append((message.partition(), message.offset(), message.value()))


def until(condition, members, values):
    deadline = time.time() + 60
    while not condition():
        assert time.time() < deadline, "waited in vain"
        for member in members:
            take(member, values)


def settle(topic, end):
    """A producer without acknowledgements is done when the broker has its records, not when it has sent them."""
    reader = consumer("settle")
    deadline = time.time() + 60
    while reader.get_watermark_offsets(TopicPartition(topic, 0), timeout=20)[1] != end:
        assert time.time() < deadline, "waited in vain"
        time.sleep(0.02)
    reader.close()


def codecs():
    topic = create("codecs", 1)
    sent = 0
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:
        for acks in ["0", "1", "all"]:
            offsets = []
            sender = producer(compression_type=codec, acks=acks, linger_ms=20, enable_idempotence=acks == "all")
            for i in range(20):
                key = None if i % 5 == 3 else f"key-{i}"
                value = None if i % 7 == 0 else codec + " value " * i
                headers = [("twice", f"a{i}"), ("twice", "b"), ("none", None)]
                sender.produce(topic, value, key, partition=0, timestamp=START_MS + sent, headers=headers,
                               on_delivery=lambda error, message: offsets.append((error, message.offset())))
                sent += 1
            assert sender.flush(30) == 0
            assert all(error is None for error, _ in offsets), offsets
            settle(topic, sent)
            print(codec, "acks", acks, "delivered", len(offsets))
    reader = consumer("codecs")
    reader.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    total, seen = 0, 0
    while seen < sent:
        message = reader.poll(10)
        assert message is not None and message.error() is None, message and message.error()
        line = (message.offset(), message.key(), message.value(), message.timestamp()[1], message.headers())
        total = zlib.crc32(repr(line).encode(), total)
        seen += 1
    reader.close()
    print("consumed", seen, "checksum", total)


def group(**more):
    topic = create("group", 4)
    values = []
    config = {"session_timeout_ms": 6000, "heartbeat_interval_ms": 300, **more}
    first = consumer("group", **config)
    first.subscribe([topic])
    until(lambda: len(first.assignment()) == 4, [first], values)
    print("one member owns 4")
    second = consumer("group", **config)
    second.subscribe([topic])
    until(lambda: len(first.assignment()) == 2 and len(second.assignment()) == 2, [first, second], values)
    print("two members own 2 and 2")
    produce(topic, 4, 40)
    until(lambda: len(values) >= 40, [first, second], values)
    print("consumed", len(values), "distinct", len(set(values)))
    first.commit(asynchronous=False)
    second.commit(asynchronous=False)
    second.close()
    until(lambda: len(first.assignment()) == 4, [first], values)
    print("after the second left, the first owns 4")
    produce(topic, 4, 8)
    until(lambda: len(values) >= 48, [first], values)
    first.commit(asynchronous=False)
    partitions = [TopicPartition(topic, partition) for partition in range(4)]
    print("consumed", len(values), "committed in all", sum(p.offset for p in first.committed(partitions, timeout=20)))
    first.close()


def positions():
    topic = create("positions", 1)
    produce(topic, 1, 30)
    reader = consumer("positions")
    print("committed before", reader.committed([TopicPartition(topic, 0)], timeout=20)[0].offset)
    reader.assign([TopicPartition(topic, 0, 10)])
    print("at 10", reader.poll(20).value())
    reader.seek(TopicPartition(topic, 0, OFFSET_BEGINNING))
    print("at the beginning", reader.poll(20).value())
    print("watermarks", reader.get_watermark_offsets(TopicPartition(topic, 0), timeout=20))
    times = [TopicPartition(topic, 0, START_MS + 20_500), TopicPartition(topic, 0, START_MS + 99_999_000)]
    print("for times", [p.offset for p in reader.offsets_for_times(times[:1], timeout=20)],
          [p.offset for p in reader.offsets_for_times(times[1:], timeout=20)])
    reader.commit(offsets=[TopicPartition(topic, 0, 15, "a note")], asynchronous=False)
    committed = reader.committed([TopicPartition(topic, 0)], timeout=20)[0]
    print("committed", committed.offset, committed.metadata, "lag", 30 - committed.offset)
    reader.seek(TopicPartition(topic, 0, 1000))
    print("out of range falls back to", reader.poll(20).offset())
    reader.assign([TopicPartition(topic, 0, OFFSET_END)])
    print("nothing at the end", reader.poll(1))
    reader.close()


def attempt(title, futures):
    for future in futures.values():
        try:
            print(title, future.result())
        except KafkaException as error:
            print(title, error.args[0].name(), error.args[0].str())


def admin_story():
    topic = f"{prefix}-admin"
    attempt("create", admin.create_topics([NewTopic(topic, 3, 1, config={"retention.ms": "60000"})]))
    attempt("create again", admin.create_topics([NewTopic(topic, 3, 1)]))
    attempt("bad replication", admin.create_topics([NewTopic(topic + "-r", 1, 5)]))
    attempt("bad config", admin.create_topics([NewTopic(topic + "-c", 1, 1, config={"no.such": "1"})]))
    print("partitions", len(admin.list_topics(topic, timeout=20).topics[topic].partitions))
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    retention = lambda: list(admin.describe_configs([resource]).values())[0].result()["retention.ms"].value
    print("retention", retention())
    change = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[
        ConfigEntry("retention.ms", "120000", incremental_operation=AlterConfigOpType.SET)])
    for future in admin.incremental_alter_configs([change]).values():
        future.result()
    # A broker may learn of the change a moment after it was made.
    for _ in range(50):
        if retention() == "120000":
            break
        time.sleep(0.1)
    print("retention", retention())
    attempt("grow", admin.create_partitions([NewPartitions(topic, 5)]))
    attempt("shrink", admin.create_partitions([NewPartitions(topic, 2)]))
    produce(topic, 1, 10)
    deleted = admin.delete_records([TopicPartition(topic, 0, 5)])
    print("low watermark", [future.result().low_watermark for future in deleted.values()])
    reader = consumer("admin")
    reader.commit(offsets=[TopicPartition(topic, 0, 7)], asynchronous=False)
    reader.close()
    name = f"{prefix}-admin"
    print("listed", any(g.group_id == name for g in admin.list_consumer_groups().result().valid))
    described = admin.describe_consumer_groups([name])[name].result()
    print("group", described.state.name, len(described.members))
    attempt("delete the group", admin.delete_consumer_groups([name]))
    attempt("delete the group again", admin.delete_consumer_groups([name]))
    print("nodes", len(admin.describe_cluster().result().nodes))
    attempt("delete", admin.delete_topics([topic]))
    attempt("delete an absent topic", admin.delete_topics([topic + "-absent"]))


def transactions():
    topic = create("txn", 1)
    source = create("txn-source", 1)
    reader = consumer("txn")
    reader.assign([TopicPartition(source, 0, 0)])
    sender = producer(transactional_id=f"{prefix}-txn")
    sender.init_transactions(30)
    for attempt_number in range(4):
        sender.begin_transaction()
        for i in range(3):
            sender.produce(topic, f"round {attempt_number} record {i}", partition=0)
        # What is still queued at an abort is dropped unsent.
        sender.flush(30)
        offset = [TopicPartition(source, 0, attempt_number + 1)]
        sender.send_offsets_to_transaction(offset, reader.consumer_group_metadata(), 30)
        if attempt_number % 2 == 0:
            sender.commit_transaction(30)
        else:
            sender.abort_transaction(30)
    print("offset of the group", reader.committed([TopicPartition(source, 0)], timeout=20)[0].offset)
    reader.close()
    for isolation in ["read_committed", "read_uncommitted"]:
        reader = consumer("txn-read", isolation_level=isolation, enable_partition_eof=True)
        reader.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
        values = []
        while True:
            message = reader.poll(20)
            if message is None or message.error():
                break
            values.append((message.offset(), message.value()))
        print(isolation, values)
        reader.close()


{"codecs": codecs, "group": group, "positions": positions, "admin": admin_story, "transactions": transactions,
 "cooperative": lambda: group(partition_assignment_strategy="cooperative-sticky"),
 "group848": lambda: group(session_timeout_ms=None, heartbeat_interval_ms=None, group_protocol="consumer")}[story]()
