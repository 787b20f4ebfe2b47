#!/bin/bash
# Runs what it is given, and the broker without that.
if [ $# -eq 0 ]; then set -- /opt/bitnami/scripts/kafka/run.sh; fi
exec "$@"
