"""Lists what the layers of the one image in an OCI layout hold: a line an entry, sorted by name.

It leaves out times, since two builds run at two times, and the contents of files that hold times: logs, and
a cache of ldconfig. It lists all other properties of an entry: type, mode, owner, size, hash, target, device,
and attributes. It leaves out the attributes of the kernel's overlay and the unchanged copies that Podman puts
into layers: they change no file. It treats an opaque directory and whiteouts of all that it hides as equal:
tools that look at an upper directory write the one, tools that compare trees write the other.
"""

import gzip
import hashlib
import json
import posixpath
import sys
import tarfile

VOLATILE = ("var/log/", "var/cache/ldconfig/")
OF_OVERLAYS = "SCHILY.xattr.user.overlay."
OPAQUE = ".wh..wh..opq"


def blob(layout, digest):
    return open(f"{layout}/blobs/sha256/{digest.split(':')[1]}", "rb")


def contents(archive, entry):
    if not entry.isreg():
        return "-"
    if entry.name.startswith(VOLATILE):
        return "changes"
    data = archive.extractfile(entry).read()
    return f"{entry.size} {hashlib.sha256(data).hexdigest()}"


def described(archive, entry):
    attributes = {
        name: value
        for name, value in entry.pax_headers.items()
        if name.startswith("SCHILY.xattr.") and not name.startswith(OF_OVERLAYS)
    }
    device = f"{entry.devmajor},{entry.devminor}" if entry.isdev() else "-"
    return (
        f"{entry.type.decode()} {entry.mode & 0o7777:o} {entry.uid}:{entry.gid} "
        f"{contents(archive, entry)} {entry.linkname!r} {device} {sorted(attributes.items())!r}"
    )


def read(archive):
    """What a layer adds, and what it hides; a directory that is opaque is in the third."""
    added, hidden, opaque = {}, set(), set()
    for entry in archive:
        entry.name = entry.name.removeprefix("./").rstrip("/")
        parent, name = posixpath.split(entry.name)
        if name == OPAQUE:
            opaque.add(parent)
        elif name.startswith(".wh."):
            hidden.add(posixpath.join(parent, name[4:]))
        else:
            added[entry.name] = described(archive, entry)
    return added, hidden, opaque


def above(path):
    while path := posixpath.dirname(path):
        yield path


def hidden_by(tree, added, hidden, opaque):
    """Whiteouts of what is below, one for all of a directory."""
    gone = {path for path in tree if any(dir in opaque for dir in above(path)) and path not in added}
    gone |= {path for path in hidden if path in tree and path not in added}
    return {path for path in gone if not any(dir in gone for dir in above(path))}


def main(layout):
    index = json.load(open(f"{layout}/index.json"))
    manifest = json.load(blob(layout, index["manifests"][0]["digest"]))
    tree = {}
    for number, layer in enumerate(manifest["layers"]):
        data = blob(layout, layer["digest"])
        if layer["mediaType"].endswith("gzip"):
            data = gzip.open(data)
        with tarfile.open(fileobj=data, mode="r|", errors="surrogateescape") as archive:
            added, hidden, opaque = read(archive)
        gone = hidden_by(tree, added, hidden, opaque)
        news = {path: what for path, what in added.items() if tree.get(path) != what}
        lines = {**news, **{path: "is hidden" for path in gone}}
        for path, what in sorted(lines.items()):
            line = f"/{number}/{path} {what}".replace("\n", "\\n")
            print(line.encode("utf-8", "backslashreplace").decode())
        left = {
            path: what
            for path, what in tree.items()
            if path not in gone and not any(dir in gone for dir in above(path))
        }
        tree = {**left, **added}


main(sys.argv[1])
