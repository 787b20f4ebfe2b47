#!/bin/sh
# Lays out the default image below a folder: rootfs.sh FOLDER ARCHITECTURE. Runs on Debian as root. The image has a shell
# (busybox, bash) for scripts of others, the start scripts and paths of three vendors' images, and one link to the broker's
# binary for every tool.
set -eu
root=$1 arch=$2
here=$(dirname "$0")

# Static programs of the image's architecture; nothing of it is run here.
packages=$(mktemp -d)
dpkg --add-architecture "$arch"
apt-get update -qq
(cd "$packages" && apt-get download -qq "busybox-static:$arch" "bash-static:$arch" && for deb in *.deb; do dpkg -x "$deb" .; done)
# Folders that scripts of others take for granted: Testcontainers puts its script into /usr/sbin.
mkdir -p "$root/bin" "$root/sbin" "$root/usr/bin" "$root/usr/sbin" "$root/usr/local/bin" "$root/usr/local/sbin" "$root/usr/share/doc" "$root/run"
cp "$(find "$packages" -path "*bin/busybox" -type f)" "$root/bin/busybox"
cp "$(find "$packages" -path "*bin/bash-static" -type f)" "$root/bin/bash"
for name in busybox-static bash-static; do
    mkdir -p "$root/usr/share/doc/$name" && cp "$packages/usr/share/doc/$name/copyright" "$root/usr/share/doc/$name/"
done
for applet in ash awk base64 basename cat chgrp chmod chown clear cp cut date dd df diff dirname du echo egrep env expand expr \
    false find free fuser getopt grep gunzip gzip head hostname id install ip kill less ln ls md5sum mkdir mktemp more mount mv \
    netstat nproc nslookup od pgrep pidof ping pkill printenv printf ps pwd readlink realpath rm rmdir sed seq sha256sum sleep \
    sort stat stty sync tail tar tee telnet test timeout top touch tr true uname uniq uptime usleep vi watch wc wget which whoami \
    xargs xxd yes zcat; do
    ln -s busybox "$root/bin/$applet"
done
# Not busybox's: that one prefers its own nc and others to what lies in PATH.
ln -s bash "$root/bin/sh"
ln -s /bin/env "$root/usr/bin/env"

cp -a "$here/rootfs/." "$root/"

# The tools under the names and in the folders of the three vendors, and the start scripts that are the binary itself.
for folder in opt/kafka/bin opt/bitnami/kafka/bin etc/kafka/docker; do mkdir -p "$root/$folder"; done
while read -r tool; do
    for link in "usr/bin/$tool" "usr/bin/$tool.sh" "opt/kafka/bin/$tool.sh" "opt/bitnami/kafka/bin/$tool.sh"; do
        ln -s /usr/bin/ottla "$root/$link"
    done
done < "$here/tools.txt"
for script in etc/kafka/docker/run etc/kafka/docker/launch etc/confluent/docker/launch opt/bitnami/scripts/kafka/run.sh \
    usr/bin/start-kafka.sh usr/bin/cub usr/bin/ub usr/bin/zookeeper-server-start usr/bin/zookeeper-server-start.sh \
    opt/kafka/bin/zookeeper-server-start.sh usr/bin/zookeeper-shell; do
    ln -s /usr/bin/ottla "$root/$script"
done

ln -s rpk "$root/usr/bin/redpanda"
for link in usr/bin/kafka-server-stop usr/bin/kafka-server-stop.sh opt/bitnami/kafka/bin/kafka-server-stop.sh; do
    ln -s /opt/kafka/bin/kafka-server-stop.sh "$root/$link"
done
ln -s /opt/kafka/config "$root/opt/bitnami/kafka/config"

# User 1000 as in Apache's and Confluent's images. Every user may write where data goes: a volume begins as a copy of it.
printf 'root:x:0:0:root:/root:/bin/bash\nappuser:x:1000:0:appuser:/home/appuser:/bin/bash\nnobody:x:65534:65534:nobody:/:/bin/false\n' > "$root/etc/passwd"
printf 'root:x:0:\nappuser:x:1000:\nnogroup:x:65534:\n' > "$root/etc/group"
printf 'hosts: files dns\n' > "$root/etc/nsswitch.conf"
mkdir -p "$root/root" "$root/tmp" "$root/home/appuser" "$root/var/lib/kafka/data" "$root/var/log/kafka" "$root/bitnami/kafka" "$root/kafka" \
    "$root/etc/kafka/secrets" "$root/mnt/shared/config" "$root/docker-entrypoint-initdb.d" "$root/etc/redpanda" "$root/var/lib/redpanda/data"
chmod 1777 "$root/tmp"
chmod 0777 "$root/var/lib/kafka/data" "$root/var/log/kafka" "$root/bitnami/kafka" "$root/kafka" "$root/home/appuser" "$root/etc/kafka" \
    "$root/etc/redpanda" "$root/var/lib/redpanda" "$root/var/lib/redpanda/data" \
    "$root/opt/kafka" "$root/opt/kafka/config" "$root/opt/kafka/config/kraft" "$root/etc/confluent/docker"
chmod 0666 "$root"/opt/kafka/config/*.properties "$root"/opt/kafka/config/kraft/*.properties
chmod 0777 "$root"/etc/confluent/docker/configure "$root"/etc/confluent/docker/ensure "$root"/etc/confluent/docker/run
