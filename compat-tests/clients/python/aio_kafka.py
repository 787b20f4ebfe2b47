"""What an application does with aiokafka. Usage: STORY BOOTSTRAP PREFIX."""
import asyncio
import logging
import sys
import time
import zlib

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.structs import OffsetAndMetadata

logging.disable(logging.CRITICAL)
START_MS = 1_700_000_000_000
story, bootstrap, prefix = sys.argv[1:4]


async def create(name, partitions):
    topic = f"{prefix}-{name}"
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, partitions, 1)])
    await admin.close()
    return topic


async def consumer(*topics, group=None, **more):
    member = AIOKafkaConsumer(*topics, bootstrap_servers=bootstrap, group_id=group and f"{prefix}-{group}",
                              auto_offset_reset="earliest", enable_auto_commit=False, **more)
    await member.start()
    return member


async def produce(topic, partitions, count):
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as sender:
        for i in range(count):
            await sender.send_and_wait(topic, b"value %d" % i, b"k%d" % i, partition=i % partitions,
                                       timestamp_ms=START_MS + i * 1000)


async def records(reader, wait_ms=200):
    return [record for batch in (await reader.getmany(timeout_ms=wait_ms)).values() for record in batch]


async def settle(topic, end):
    """A producer without acknowledgements is done when the broker has its records, not when it has sent them."""
    reader = await consumer()
    partition = TopicPartition(topic, 0)
    deadline = time.time() + 60
    while (await reader.end_offsets([partition]))[partition] != end:
        assert time.time() < deadline, "waited in vain"
        await asyncio.sleep(0.02)
    await reader.stop()


async def codecs():
    topic = await create("codecs", 1)
    sent = 0
    for codec in [None, "gzip", "snappy", "lz4", "zstd"]:
        for acks in [0, 1, "all"]:
            sender = AIOKafkaProducer(bootstrap_servers=bootstrap, compression_type=codec, acks=acks, linger_ms=20,
                                      enable_idempotence=acks == "all")
            await sender.start()
            futures = []
            for i in range(20):
                key = None if i % 5 == 3 else b"key-%d" % i
                value = None if i % 7 == 0 else b"value " * i
                headers = [("twice", b"a%d" % i), ("twice", b"b")]
                futures.append(await sender.send(topic, value, key, 0, START_MS + sent, headers))
                sent += 1
            await sender.flush()
            last = await futures[-1]
            print(codec, "acks", acks, "last offset", last and last.offset)
            await sender.stop()
            await settle(topic, sent)
    reader = await consumer()
    reader.assign([TopicPartition(topic, 0)])
    total, seen = 0, 0
    deadline = time.time() + 60
    while seen < sent and time.time() < deadline:
        for record in await records(reader):
            line = (record.offset, record.key, record.value, record.timestamp, record.headers)
            total = zlib.crc32(repr(line).encode(), total)
            seen += 1
    await reader.stop()
    print("consumed", seen, "checksum", total)


async def group():
    topic = await create("group", 4)
    values = []

    async def until(condition, *members):
        deadline = time.time() + 60
        while not condition():
            assert time.time() < deadline, "waited in vain"
            for member in members:
                values.extend((record.partition, record.offset) for record in await records(member, 100))

    first = await consumer(topic, group="group", heartbeat_interval_ms=300, session_timeout_ms=6000)
    await until(lambda: len(first.assignment()) == 4, first)
    print("one member owns 4")
    second = await consumer(topic, group="group", heartbeat_interval_ms=300, session_timeout_ms=6000)
    await until(lambda: len(first.assignment()) == 2 and len(second.assignment()) == 2, first, second)
    print("two members own 2 and 2")
    await produce(topic, 4, 40)
    await until(lambda: len(values) >= 40, first, second)
    print("consumed", len(values), "distinct", len(set(values)))
    await first.commit()
    await second.commit()
    await second.stop()
    await until(lambda: len(first.assignment()) == 4, first)
    print("after the second left, the first owns 4")
    await produce(topic, 4, 8)
    await until(lambda: len(values) >= 48, first)
    await first.commit()
    committed = [await first.committed(TopicPartition(topic, partition)) for partition in range(4)]
    print("consumed", len(values), "committed in all", sum(committed))
    await first.stop()


async def positions():
    topic = await create("positions", 1)
    await produce(topic, 1, 30)
    partition = TopicPartition(topic, 0)
    reader = await consumer(group="positions")
    print("committed before", await reader.committed(partition))
    reader.assign([partition])
    reader.seek(partition, 10)
    print("at 10", (await reader.getone()).value)
    await reader.seek_to_beginning(partition)
    print("at the beginning", (await reader.getone()).value)
    await reader.seek_to_end(partition)
    print("position at the end", await reader.position(partition))
    print("for a time", (await reader.offsets_for_times({partition: START_MS + 20_500}))[partition].offset)
    print("for a late time", (await reader.offsets_for_times({partition: START_MS + 99_999_000}))[partition])
    print("beginning", (await reader.beginning_offsets([partition]))[partition],
          "end", (await reader.end_offsets([partition]))[partition])
    await reader.commit({partition: (15, "a note")})
    committed = await reader.committed(partition)
    print("committed", committed, "lag", 30 - committed)
    reader.seek(partition, 1000)
    print("out of range falls back to", (await reader.getone()).offset)
    await reader.stop()


async def attempt(title, step):
    try:
        answer = await step
        errors = [topic[1:3] for topic in getattr(answer, "topic_errors", [])]
        print(title, errors or "no error")
    except Exception as error:
        print(title, type(error).__name__)


async def admin():
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    topic = f"{prefix}-admin"
    await attempt("create", client.create_topics([NewTopic(topic, 3, 1, topic_configs={"retention.ms": "60000"})]))
    await attempt("create again", client.create_topics([NewTopic(topic, 3, 1)]))
    # Apache Kafka lists a topic a moment after it was created.
    for _ in range(50):
        if topic in await client.list_topics():
            break
        await asyncio.sleep(0.1)
    print("listed", topic in await client.list_topics())
    print("partitions", len((await client.describe_topics([topic]))[0]["partitions"]))
    await attempt("grow", client.create_partitions({topic: NewPartitions(5)}))
    await attempt("alter", client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": "120000"})]))
    # A broker may learn of the change a moment after it was made.
    retention = None
    for _ in range(50):
        described = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        retention = [row[1] for row in described[0].resources[0][4] if row[0] == "retention.ms"]
        if retention == ["120000"]:
            break
        await asyncio.sleep(0.1)
    print("retention", retention)
    await produce(topic, 1, 10)
    await attempt("delete records", client.delete_records({TopicPartition(topic, 0): _before(5)}))
    reader = await consumer(group="admin")
    reader.assign([TopicPartition(topic, 0)])
    await reader.commit({TopicPartition(topic, 0): 7})
    await reader.stop()
    name = f"{prefix}-admin"
    print("groups", name in [row[0] for row in await client.list_consumer_groups()])
    await attempt("describe the group", client.describe_consumer_groups([name]))
    print("offset of the group", (await client.list_consumer_group_offsets(name))[TopicPartition(topic, 0)].offset)
    await attempt("delete", client.delete_topics([topic]))
    await client.close()


def _before(offset):
    from aiokafka.admin import RecordsToDelete
    return RecordsToDelete(before_offset=offset)


async def transactions():
    topic = await create("txn", 1)
    partition = TopicPartition(topic, 0)
    sender = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=f"{prefix}-txn")
    await sender.start()
    for attempt_number in range(4):
        await sender.begin_transaction()
        for i in range(3):
            await sender.send_and_wait(topic, b"round %d record %d" % (attempt_number, i), partition=0)
        await sender.send_offsets_to_transaction({partition: attempt_number + 1}, f"{prefix}-txn-group")
        if attempt_number % 2 == 0:
            await sender.commit_transaction()
        else:
            await sender.abort_transaction()
    await sender.stop()
    reader = await consumer(group="txn-group")
    print("offset of the group", await reader.committed(partition))
    await reader.stop()
    for isolation in ["read_committed", "read_uncommitted"]:
        reader = await consumer(isolation_level=isolation)
        reader.assign([partition])
        end = (await reader.end_offsets([partition]))[partition]
        await reader.seek_to_beginning(partition)
        found = []
        deadline = time.time() + 30
        while await reader.position(partition) < end and time.time() < deadline:
            found.extend((record.offset, record.value) for record in await records(reader))
        print(isolation, found)
        await reader.stop()


asyncio.run({"codecs": codecs, "group": group, "positions": positions, "admin": admin, "transactions": transactions}[story]())
