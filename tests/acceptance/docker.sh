#!/bin/sh
# Starts a Docker daemon in the given directory, with the given storage driver, and works with images and
# containers. Run it as root in a mount namespace of its own, or below rootlesskit. The directory
# holds base.tar (an archive of base:test), a context, and bin/fuse-overlayfs.
set -eu
dir=$1 driver=$2
cd "$dir"
if [ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ]; then
    mount -t cgroup2 none /sys/fs/cgroup
fi
export PATH="$dir/bin:/usr/sbin:/usr/bin:/sbin:/bin" DOCKER_HOST="unix://$dir/docker.sock" HOME="$dir"
export DOCKER_BUILDKIT=0 DOCKER_CONFIG="$dir/config"
docker=/usr/bin/docker
rootless=
if [ -n "${ROOTLESSKIT_STATE_DIR:-}" ]; then
    rootless=--rootless
    # Links to those of the machine's daemon.
    rm -f /run/docker /run/containerd /run/xtables.lock
fi
dockerd $rootless --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/pid" --host "$DOCKER_HOST" \
    --storage-driver "$driver" --iptables=false --ip6tables=false --bridge=none >"$dir/log" 2>&1 &
daemon=$!
finish() {
    kill "$daemon" 2>/dev/null || :
    wait "$daemon" || :
    # What the daemon has mounted for itself.
    umount "$dir/data/$driver" 2>/dev/null || :
}
trap finish EXIT
waited=0
until $docker info >/dev/null 2>&1; do
    waited=$((waited + 1))
    if [ $waited -gt 150 ] || ! kill -0 "$daemon"; then
        tail -n 5 "$dir/log" >&2
        exit 77
    fi
    sleep 0.2
done
$docker load -q -i base.tar
run="$docker run --network host --rm"
$run base:test true || exit 77
$run base:test grep ' / / ' /proc/self/mountinfo >kind

for name in one two; do
    $docker run -d --network host --name $name base:test sleep 1000 >/dev/null
done
$docker exec one sh -ec '
    echo one >/etc/motd; rm /etc/issue; mkdir /opt/new; echo x >/opt/new/f
    rm -rf /usr/share/doc/apt; mkdir /usr/share/doc/apt; echo x >/usr/share/doc/apt/x
    mv /usr/share/doc/bash /usr/share/doc/moved; chmod 0600 /etc/profile
    touch /var/lib/owned; chown 33:34 /var/lib/owned; mkfifo /var/lib/fifo'
$docker exec two sh -ec 'ls /opt /usr/share/doc/apt; cat /etc/motd; echo two >/opt/two'
# How `docker diff` lists a replaced directory depends on how the storage driver finds changes.
$docker diff one | sort | grep -v doc/apt
$docker diff two | sort
$docker commit one one >/dev/null
$docker restart -t 0 one >/dev/null
$docker exec one cat /etc/motd
$docker rm -f one two >/dev/null
$run one sh -c '
    cat /etc/motd; ls /opt /usr/share/doc/apt; ls /etc/issue || echo deleted
    stat -c "%n %h %u:%g %a %F" /etc/profile /var/lib/*' 2>/dev/null
$run --read-only base:test sh -c 'touch /etc/x 2>/dev/null || echo refused'
$docker save -o one.tar one
$docker rmi one >/dev/null
$docker load -q -i one.tar
$run one cat /etc/motd

$docker build --network host -q -t built context >/dev/null
$docker build --network host -t built context | grep -c 'Using cache'
$docker save -o built.tar built
$docker system prune -af >/dev/null
ls "data/$driver"
