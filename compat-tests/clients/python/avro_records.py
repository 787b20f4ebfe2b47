"""Avro records through confluent-kafka's serializers and a schema registry. Usage: produce|consume BOOTSTRAP TOPIC REGISTRY COUNT."""
import sys
import time

from confluent_kafka import Consumer, Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

kind, bootstrap, topic, registry, count = sys.argv[1:6]
count = int(count)
context = SerializationContext(topic, MessageField.VALUE)
SCHEMAS = 4


def schema(version):
    extra = "".join(f', {{"name": "extra{n}", "type": "int", "default": {n}}}' for n in range(version))
    return '{"type": "record", "name": "Order", "fields": [{"name": "id", "type": "long"}, {"name": "note", "type": "string"}' + extra + "]}"


def value(n):
    return {"id": n, "note": f"note {n}", **{f"extra{k}": n + k for k in range(n % SCHEMAS)}}


client = SchemaRegistryClient({"url": registry})
if kind == "produce":
    producer = Producer({"bootstrap.servers": bootstrap, "reconnect.backoff.max.ms": 200})
    failed = []
    for n in range(count):
        # A new client each time registers again: the registry writes and reads back its own write.
        serializer = AvroSerializer(SchemaRegistryClient({"url": registry}), schema(n % SCHEMAS))
        producer.produce(topic, serializer(value(n), context), partition=0, on_delivery=lambda error, _: error and failed.append(error))
        if n == 10:
            print("producing", flush=True)
    assert producer.flush(60) == 0 and not failed, failed
    print("produced", count)
else:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "avro", "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    deserializer = AvroDeserializer(client)
    found, deadline = [], time.time() + 60
    while len(found) < count and time.time() < deadline:
        message = consumer.poll(1)
        if message is not None and message.error() is None:
            found.append(deserializer(message.value(), context))
    assert found == [value(n) for n in range(count)], found[:5]
    print("consumed", len(found))
    consumer.close()
