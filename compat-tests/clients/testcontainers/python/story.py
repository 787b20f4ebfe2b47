"""Starts the image that is named with Testcontainers for Python, as a test of a user would, and keeps it until stdin ends."""
import sys

from testcontainers.kafka import KafkaContainer

mode, image = sys.argv[1], sys.argv[2]
container = KafkaContainer(image)
if mode == "kraft":
    container = container.with_kraft()
with container as kafka:
    print("BOOTSTRAP", kafka.get_bootstrap_server(), flush=True)
    sys.stdin.read()
print("STOPPED", flush=True)
