#!/bin/sh
# Makes the base image of docker/Dockerfile out of Debian's packages, for machines that reach those and no image registry:
#
#   docker/local-bases.sh                                                as root, with docker and debootstrap installed
#   docker/build-binary.sh amd64 docker/bin/ottla-amd64
#   DOCKER_BUILDKIT=1 docker build -f docker/Dockerfile --build-arg DEBIAN_IMAGE=ottla-base/debian \
#       --build-arg BINARY=prebuilt -t ottla .
#
# With a folder as argument the new system is kept there and taken again the next time.
set -eu
folder=${1:-}
image=ottla-base/debian
if [ -z "$folder" ]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
fi
if [ ! -e "$folder/debian/etc/debian_version" ]; then
    debootstrap --variant=minbase --include=ca-certificates bookworm "$folder/debian"
fi
tar -C "$folder/debian" -c . | docker import - "$image"
