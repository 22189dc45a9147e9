#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What an administrator would write instead of an agent: waits for a request,
# makes the overlays with qemu-img, flushes them, switches QEMU in one
# transaction, adjusts both nodes of xenstore, answers. Nothing is checked,
# undone or recorded, and the stored configuration stays wrong.
#
#     shell-loop.sh FOLDER DOMID QMP-SOCKET VDEV,DEVID,IMAGE...
set -eu
folder=$1 domid=$2 socket=$3
shift 3

transaction() {
    perl -MIO::Socket::UNIX -e '
        my $qmp = IO::Socket::UNIX->new($ARGV[0]) or die "connect: $!";
        <$qmp>;
        print $qmp "{\"execute\":\"qmp_capabilities\"}\n";
        <$qmp>;
        print $qmp "$ARGV[1]\n";
        while (<$qmp>) { die $_ if /"error"/; last if /"return"/; }' "$socket" "$1"
}

round=0
xenstore-watch "$folder" | while read -r path; do
    case $path in
    */operation) request=${path%/operation} ;;
    *) continue ;;
    esac
    # The requester's own removal comes by this path as well.
    [ "$(xenstore-read "$path" 2>/dev/null)" = create ] || continue
    actions='' files=''
    for disk; do
        IFS=, read -r vdev devid image <<END
$disk
END
        if [ $round -gt 0 ]; then
            old=$image.shell$((round - 1)) node=$vdev-shell$((round - 1))
        else
            old=$image node=$vdev-qcow2
        fi
        new=$image.shell$round
        qemu-img create -q -f qcow2 -b "$old" -F qcow2 "$new"
        files="$files $new"
        actions="$actions,{\"type\":\"blockdev-snapshot-sync\",\"data\":{
            \"node-name\":\"$node\",\"snapshot-node-name\":\"$vdev-shell$round\",
            \"snapshot-file\":\"$new\",\"format\":\"qcow2\",\"mode\":\"existing\"}}"
    done
    # shellcheck disable=SC2086 # a list of files
    sync $files "${image%/*}"
    transaction "$(echo "{\"execute\":\"transaction\",\"arguments\":{\"actions\":[${actions#,}]}}" | tr -d '\n')"
    for disk; do
        IFS=, read -r vdev devid image <<END
$disk
END
        xenstore-write "/libxl/$domid/device/vbd/$devid/params" "qcow2:$image.shell$round" \
            "/local/domain/0/backend/qdisk/$domid/$devid/params" "qcow2:$image.shell$round"
    done
    round=$((round + 1))
    xenstore-write "$request/state" "done"
done
