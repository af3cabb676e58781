#!/bin/sh
# Builds the image of the real-image test: a Debian root with a compiler, in four layers that add,
# replace and remove files and make a directory opaque; as a gzip and a zstd OCI layout and as a
# docker-archive.
#
#   build.sh DIR
#
# Run as root. Needs mmdebstrap (or debootstrap), umoci, skopeo, setcap and setfattr. What is there
# already is not built again.
set -eu

out=$1
suite=${SUITE:-bookworm}
mirror=${MIRROR:-http://deb.debian.org/debian}
mkdir -p "$out"
cd "$out"

if ! [ -f base.tar ]; then
    # A directory is what newer mmdebstrap made of it when it had to guess.
    rm -rf base.tar base.tar.part
    if command -v mmdebstrap >/dev/null; then
        mmdebstrap --quiet --format=tar --variant=apt --include=ca-certificates "$suite" base.tar.part "$mirror"
    else
        rm -rf base
        debootstrap --variant=minbase --include=ca-certificates "$suite" base "$mirror" >/dev/null
        tar -C base --numeric-owner --xattrs -cf base.tar.part .
        rm -rf base
    fi
    mv base.tar.part base.tar
fi

# The second layer: packages, installed in the root they are for.
build() {
    rm -rf work gzip bundle
    umoci init --layout work
    umoci new --image work:test
    umoci raw add-layer --image work:test base.tar
    umoci unpack --image work:test bundle
    root=bundle/rootfs
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    mount -t proc proc "$root/proc"
    trap 'umount "$root/proc"' EXIT
    DEBIAN_FRONTEND=noninteractive chroot "$root" sh -ec '
        apt-get -qq update
        apt-get -qq install -y --no-install-recommends python3 git gcc g++ libc6-dev libcap2-bin >/dev/null
        apt-get -qq clean
    '
    umount "$root/proc"
    trap - EXIT
    umoci repack --image work:test --refresh-bundle bundle

    # The third layer: more data, and one of everything that a layer can hold.
    mkdir -p "$root/opt/data" "$root/opt/strange"
    for i in 1 2 3 4; do
        head -c 16000000 /dev/urandom >"$root/opt/data/random$i"
    done
    echo 'the third layer' >"$root/etc/motd"
    chmod 0600 "$root/etc/hostname" 2>/dev/null || echo box >"$root/etc/hostname"
    rm -rf "$root/usr/share/doc" "$root/usr/share/man"
    rm "$root/etc/issue"
    # What was a directory becomes a file, and the other way round.
    rm -rf "$root/usr/share/info" && echo 'a file now' >"$root/usr/share/info"
    rm "$root/etc/issue.net" && mkdir "$root/etc/issue.net" && echo x >"$root/etc/issue.net/f"
    (
        cd "$root/opt/strange"
        echo one >hard1 && ln hard1 hard2
        ln -s /etc/passwd absolute && ln -s ../data relative && ln -s nowhere dangling
        ln -s own own
        mkfifo -m 0621 fifo
        mknod null c 1 3 && mknod loop b 7 0
        mkdir -m 1777 sticky && mkdir -m 2755 setgid
        cp "$root_abs/usr/bin/env" setuid && chmod 4755 setuid
        cp "$root_abs/usr/bin/env" capable && setcap cap_net_raw+ep capable
        echo attributes >attributes && setfattr -n user.note -v 'some text' attributes
        mkdir "$(printf 'latin-\351')" && : >"$(printf 'new\nline')"
        : >"$(printf '%0255d' 0)"
        truncate -s 100M sparse
        echo owned >owned && chown 1234:5678 owned
        ln -s owned owned-link && chown -h 1234:5678 owned-link
        : >unreadable && chmod 0 unreadable
        touch -d '1969-07-20 20:17:40.5 UTC' old
        mkdir -p deep/1/2/3/4/5/6/7/8/9 && echo deep >deep/1/2/3/4/5/6/7/8/9/f
    )
    umoci repack --image work:test --refresh-bundle bundle

    # The fourth layer, by hand: an opaque directory, and whiteouts before and after what they name.
    rm -rf layer4 && mkdir -p layer4/usr/share/locale layer4/opt/data layer4/usr/lib/fourth layer4/etc
    : >layer4/usr/share/locale/.wh..wh..opq
    echo 'only this' >layer4/usr/share/locale/README
    : >layer4/opt/data/.wh.random2
    : >layer4/etc/.wh.motd
    echo 'in the fourth layer' >layer4/usr/lib/fourth/f
    chmod 0755 layer4/usr layer4/usr/share layer4/opt layer4/opt/data layer4/usr/lib layer4/etc
    tar -C layer4 --numeric-owner --owner=0 --group=0 -cf layer4.tar \
        usr opt/data/.wh.random2 etc
    umoci raw add-layer --image work:test layer4.tar
    umoci config --image work:test \
        --config.env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        --config.env GREETING='hello world' --config.cmd /bin/bash --config.workingdir /opt
    umoci gc --layout work
    rm -rf bundle layer4 layer4.tar
    mv work gzip
}

if ! [ -e gzip ]; then
    # For the subshell that works inside the root.
    root_abs=$PWD/bundle/rootfs
    build
fi
if ! [ -e zstd ]; then
    rm -rf zstd.part
    skopeo copy -q --dest-compress-format zstd --dest-compress oci:gzip:test dir:zstd.dir
    skopeo copy -q dir:zstd.dir oci:zstd.part:test
    rm -rf zstd.dir
    mv zstd.part zstd
fi
if ! [ -e docker.tar ]; then
    rm -f docker.tar.part
    skopeo copy -q oci:gzip:test docker-archive:docker.tar.part:real:test
    mv docker.tar.part docker.tar
fi
du -sh gzip zstd docker.tar
