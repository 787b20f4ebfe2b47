#!/bin/bash
# The entry point of Redpanda's images: what it is given is a command of rpk.
exec /usr/bin/rpk "$@"
