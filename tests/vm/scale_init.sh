#!/bin/busybox sh
# shellcheck shell=dash
# The only program of scale.sh's machines: runs the commands in /commands, one a line behind a label without blanks, and
# prints what each has to say.
busybox mkdir -p /proc /sys /dev /tmp
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs devtmpfs /dev
while read -r label command; do
    echo "run: $label $(busybox nproc)"
    # Into a file first: what is written to the serial line is slow, and takes the time of a CPU.
    TANDEM_OPTIONS=stats=exit busybox sh -c "exec /bin/$command" >/tmp/log 2>&1 </dev/null
    echo "status: $?" >>/tmp/log
    busybox cat /tmp/log
done </commands
busybox poweroff -f
