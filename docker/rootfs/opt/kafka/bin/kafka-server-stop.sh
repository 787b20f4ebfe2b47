#!/bin/sh
# Ends the broker of this container with SIGTERM, as Kafka's script of this name does.
found=1
for process in /proc/[0-9]*; do
    [ "$(readlink "$process/exe" 2>/dev/null)" = /usr/bin/ottla ] || continue
    case "$(tr '\0' ' ' <"$process/cmdline" 2>/dev/null)" in
    *kafka-server-start* | *docker/run* | *docker/launch* | *start-kafka* | "/usr/bin/ottla start "* | "ottla start "* | *" container "*)
        kill -s TERM "${process#/proc/}" && found=0
        ;;
    esac
done
[ "$found" = 0 ] || echo "No kafka server to stop"
exit "$found"
