"""A transactional client (librdkafka) of the checker in src/jepsen; history.rs describes the lines it writes.

Usage: work|final|raw BOOTSTRAP TOPIC KEYS PROCESS TRANSACTIONS SEED FILE
"""
import json
import os
import random
import sys
import threading
import time

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, Producer, TopicPartition

kind, bootstrap, topic, keys, process, transactions, seed, path = sys.argv[1:9]
keys = int(keys)
rng = random.Random(int(seed))
file = open(path, "a", buffering=1)
sender, reader, session, values = None, None, 0, 0
at_end = set()


def micros():
    return time.time_ns() // 1000


def consumer(isolation, start):
    made = Consumer({"bootstrap.servers": bootstrap, "group.id": process, "isolation.level": isolation, "enable.auto.commit": False,
                     "auto.offset.reset": "error", "fetch.wait.max.ms": 20, "enable.partition.eof": True, "reconnect.backoff.max.ms": 200})
    made.assign([TopicPartition(topic, key, start) for key in range(keys)])
    return made


def patiently(call, *arguments):
    """librdkafka can wait for ever once its broker has died under it: in `close`, and in `send_offsets_to_transaction`, both
    with nothing on its way to the broker. Life goes on without that client."""
    outcome = {}

    def run():
        try:
            outcome["value"] = call(*arguments)
        except KafkaException as error:
            outcome["error"] = error

    running = threading.Thread(target=run, daemon=True)
    running.start()
    running.join(40)
    if running.is_alive():
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{call} does not end"))
    if "error" in outcome:
        raise outcome["error"]
    return outcome["value"]


def forget(end):
    """Ends a client, or leaves it behind."""
    try:
        patiently(end)
    except KafkaException as error:
        print(f"{process}: {error}", file=sys.stderr)


def opened():
    global sender, reader, session
    if sender is None:
        sender = Producer({"bootstrap.servers": bootstrap, "transactional.id": process, "transaction.timeout.ms": 30000,
                           "linger.ms": 1, "reconnect.backoff.max.ms": 200, "socket.timeout.ms": 10000})
        patiently(sender.init_transactions, 30)
    if reader is None or rng.randrange(200) == 0:
        if reader is not None:
            forget(reader.close)
        session += 1
        reader = consumer("read_committed", OFFSET_BEGINNING if session == 1 else OFFSET_END)


def poll(ops, patience):
    found = {}
    message = reader.poll(patience)
    while message is not None:
        if message.error() is None:
            at_end.discard(message.partition())
            found.setdefault(message.partition(), []).append([message.offset(), message.value().decode()])
        elif message.error().code() == KafkaError._PARTITION_EOF:
            at_end.add(message.partition())
        elif message.error().code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            raise KafkaException(message.error())
        message = reader.poll(0)
    done = micros()
    ops.extend(["p", session, key, records, done] for key, records in sorted(found.items()))


def ended(end, retries=3):
    """A commit or abort that may be asked for again is: it is the same one."""
    for attempt in range(retries + 1):
        try:
            return patiently(end, 20)
        except KafkaException as error:
            if attempt == retries or not error.args[0].retriable():
                raise


def transaction(n):
    global sender, reader, values
    ops, asked, outcome = [], None, "fail"
    with_offset, aborts = rng.randrange(4) == 0, rng.randrange(10) == 0
    try:
        opened()
        sender.begin_transaction()
        for _ in range(rng.randrange(4) + 1):
            if rng.randrange(3) == 0:
                poll(ops, 0.02)
                continue
            op = ["s", rng.randrange(keys), f"{process}-{values}", None]
            values += 1
            ops.append(op)

            def delivered(error, message, op=op):
                if error is None:
                    op[3] = message.offset()
            sender.produce(topic, op[2], partition=op[1], on_delivery=delivered)
        if with_offset:
            offsets = [TopicPartition(topic, 0, n)]
            patiently(sender.send_offsets_to_transaction, offsets, reader.consumer_group_metadata(), 20)
        if aborts:
            sender.flush(20)
            ended(sender.abort_transaction)
        else:
            asked = micros()
            ended(sender.commit_transaction)
            outcome = "ok"
    except KafkaException as error:
        outcome = "fail" if asked is None else "info"
        print(f"{process}: {error}", file=sys.stderr)
        # A new producer of the same id ends what was open.
        last = [sender]
        sender = None
        forget(last.clear)
        if reader is not None and rng.randrange(3) == 0:
            forget(reader.close)
            reader = None
    entry = {"p": process, "f": "txn", "type": outcome, "commit": asked, "ops": ops}
    if with_offset:
        entry.update(group=process, n=n)
    file.write(json.dumps(entry, separators=(",", ":")) + "\n")


def read_all():
    global reader, session
    session += 1
    reader = consumer("read_uncommitted" if kind == "raw" else "read_committed", OFFSET_BEGINNING)
    ops = []
    # The end is the last stable offset for committed readers.
    while len(at_end) < keys:
        poll(ops, 0.2)
    file.write(json.dumps({"p": f"{process}-{kind}", "f": kind, "type": "ok", "commit": None, "ops": ops}, separators=(",", ":")) + "\n")
    offset = reader.committed([TopicPartition(topic, 0)], timeout=30)[0].offset
    file.write(json.dumps({"f": "offset", "group": process, "n": max(offset, -1)}) + "\n")
    forget(reader.close)


if kind == "work":
    for number in range(1, int(transactions) + 1):
        transaction(number)
else:
    read_all()
file.close()
# A thread that hangs in the library would keep the interpreter from ending.
sys.stderr.flush()
os._exit(0)
