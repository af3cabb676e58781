#!/usr/bin/env python3
"""Runs real programs on the kernel's overlay and on plyfs, in turn, and prints medians.

    benches/programs.py --plyfs target/release/plyfs [--rounds N] [--busy] [--dir DIR]
                        [--only NAME,..] [--variant NAME[@PROGRAM]:OPTIONS ...] [--csv FILE]

Root only. Every sample has a mount of its own with an empty upper directory; the variants take turns within a
round, in another order each round, so that other load on the machine meets all of them. `--busy` keeps a loop on
each processor meanwhile. The time is that of the program, without mounting and unmounting. A variant is what the
table calls it, another plyfs than that of `--plyfs` if need be, and mount options.
"""

import argparse
import csv
import os
import random
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time

VARIANTS = ["kernel:", "writeback=1:writeback=1", "writeback=0:writeback=0"]
SEED = 12


def run(*command, cwd=None):
    subprocess.run(command, check=True, cwd=cwd, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


def make_repository(at):
    """A repository of 1,000 files and two commits that differ in 400 of them."""
    rng = random.Random(SEED)
    run("git", "init", "-q", "-b", "main", at)
    git = ["git", "-C", at, "-c", "user.name=n", "-c", "user.email=e"]
    words = ["alpha", "beta", "gamma", "delta", "return", "struct", "if", "else"]
    text = lambda: " ".join(rng.choices(words, k=rng.randrange(40, 1200))).encode()
    for number in range(1000):
        write(f"{at}/d{number % 50}/f{number}.c", text())
    run(*git, "add", "."), run(*git, "commit", "-qm", "first")
    for number in range(0, 1000, 5):
        write(f"{at}/d{number % 50}/f{number}.c", text())
        os.remove(f"{at}/d{(number + 1) % 50}/f{number + 1}.c")
    run(*git, "add", "-A"), run(*git, "commit", "-qm", "second")
    run(*git, "gc", "-q")


def make_python(at, files=150):
    """The first modules of the standard library."""
    library = sysconfig.get_path("stdlib")
    names = sorted(name for name in os.listdir(library) if name.endswith(".py"))
    os.makedirs(at)
    for name in names[:files]:
        shutil.copy(os.path.join(library, name), at)


def make_c(at):
    """Forty small C files and a Makefile."""
    for number in range(40):
        body = f"#include <stdio.h>\n#include <stdlib.h>\nint f{number}(int x) {{ return printf(\"%d\", x + {number}); }}\n"
        write(f"{at}/f{number}.c", body.encode())
    main = "".join(f"int f{n}(int);\n" for n in range(40)) + "int main(void) { return f0(1) == 0; }\n"
    write(f"{at}/main.c", main.encode())
    write(f"{at}/Makefile", b"o := $(patsubst %.c,%.o,$(wildcard *.c))\nprogram: $(o)\n\tgcc -o $@ $^\n%.o: %.c\n\tgcc -O1 -c $<\n")


def make_tree(at, files=2000):
    """Small files in forty directories."""
    rng = random.Random(SEED)
    for number in range(files):
        write(f"{at}/d{number % 40}/s{number % 7}/f{number}", rng.randbytes(rng.randrange(200, 9000)))


def make_links(lower, files=2000):
    """Files with two names: both below `pairs`, or one below `links` and the other out of sight."""
    os.makedirs(f"{lower}/pairs"), os.makedirs(f"{lower}/links"), os.makedirs(f"{lower}.out")
    os.makedirs(f"{lower}/single")
    for number in range(files):
        write(f"{lower}/single/f{number}", b"x")
        for name, other in ((f"links/f{number}", f"{lower}.out/f{number}"), (f"pairs/a{number}", f"{lower}/pairs/b{number}")):
            write(f"{lower}/{name}", b"x")
            os.link(f"{lower}/{name}", other)


def make_names(lower):
    """A directory of 20,000 names, and 9,000 in 300 directories."""
    os.makedirs(f"{lower}/many")
    for number in range(20000):
        write(f"{lower}/many/name{number:05}", b"")
    for number in range(9000):
        write(f"{lower}/cold/d{number % 20}/s{number % 300}/f{number}", b"x")


def make_lower(lower):
    make_links(lower)
    make_names(lower)
    make_tree(f"{lower}/small", 182)
    make_repository(f"{lower}/repository")
    make_python(f"{lower}/python")
    make_c(f"{lower}/c")
    make_tree(f"{lower}/tree")
    with tarfile.open(f"{lower}/tree.tar", "w") as archive:
        archive.add(f"{lower}/tree", "tree")
    with open(f"{lower}/large", "wb") as file:
        for _ in range(64):
            file.write(os.urandom(1 << 20))


RANDOM_WRITES = """
import os, random
rng, page = random.Random(1), b"x" * 4096
fd = os.open("large", os.O_RDWR)
for _ in range(20000): os.pwrite(fd, page, rng.randrange(16384) * 4096)
os.close(fd)
"""
SMALL_WRITES = """
import os
fd, data = os.open("small", os.O_WRONLY | os.O_CREAT), b"x" * 128
for _ in range(50000): os.write(fd, data)
os.close(fd)
"""
LOG = """
for number in range(2000):
    with open("log", "a") as file: file.write("a line of a log, %d\\n" % number)
"""
SYNCS = """
import os
fd, page = os.open("synced", os.O_WRONLY | os.O_CREAT), b"x" * 4096
for _ in range(300): os.write(fd, page), os.fsync(fd)
os.close(fd)
"""
ATTRIBUTES = "import os\nfor root, _, names in os.walk('tree'):\n for n in names: os.utime(root + '/' + n)"


def stat_all(directory, times):
    return python(f"import os\nd = '{directory}/'\nnames = os.listdir(d)\nfor _ in range({times}):\n for n in names: os.stat(d + n)")


def python(text):
    return ["/usr/bin/python3", "-c", text]


# Name, what is run before and not measured, what is measured.
PROGRAMS = [
    ("git clone", None, ["git", "clone", "-q", "--no-hardlinks", "repository", "clone"]),
    ("git status", ["git", "clone", "-q", "--no-hardlinks", "repository", "clone"], ["git", "-C", "clone", "status"]),
    ("git checkout", ["git", "clone", "-q", "--no-hardlinks", "repository", "clone"],
     ["git", "-C", "clone", "checkout", "-q", "HEAD~1"]),
    ("compileall", None, ["/usr/bin/python3", "-m", "compileall", "-q", "python"]),
    ("gcc (make)", None, ["make", "-s", "-C", "c"]),
    ("tar x", None, ["tar", "xf", "tree.tar", "--one-top-level=new"]),
    ("cp -a", None, ["cp", "-a", "tree", "copy"]),
    ("rm -rf lower", None, ["rm", "-rf", "tree"]),
    ("rm -rf upper", ["cp", "-a", "tree", "copy"], ["rm", "-rf", "copy"]),
    ("touch 2000 files", None, python(ATTRIBUTES)),
    ("append to a log", None, python(LOG)),
    ("fsync of 4 KiB", None, python(SYNCS)),
    ("128-byte writes", None, python(SMALL_WRITES)),
    ("4 KiB random writes", ["sh", "-c", "printf x >>large"], python(RANDOM_WRITES)),
    ("stat names once", None, stat_all("single", 1)),
    ("stat hard links", None, stat_all("links", 1)),
    ("stat pairs of links", None, stat_all("pairs", 1)),
    ("stat again 20 times names once", None, stat_all("single", 20)),
    ("stat again 20 times hard links", None, stat_all("links", 20)),
    ("stat again 20 times pairs of links", None, stat_all("pairs", 20)),
    ("ls -f 20000 names", None, ["ls", "-f", "many"]),
    ("ls -f again", ["ls", "-f", "many"], ["ls", "-f", "many"]),
    ("ls -l 20000 names", None, ["ls", "-l", "many"]),
    ("find 9000 files", None, ["find", "cold"]),
    ("find again", ["find", "cold"], ["find", "cold"]),
    ("find -size 9000 files", None, ["find", "cold", "-size", "+1k"]),
    ("rm -r 182 files", None, ["rm", "-r", "small"]),
    ("cp -a 182 files", None, ["cp", "-a", "small", "copy"]),
    ("git init", None, ["git", "init", "-q", "new"]),
    ("ten mkdirs", None, ["sh", "-c", "for i in 0 1 2 3 4 5 6 7 8 9; do mkdir d$i; done"]),
    ("large copy", None, ["cp", "--reflink=never", "large", "larger"]),
]


class Mount:
    """A mount over the lower directory, in a directory of its own."""

    def __init__(self, plyfs, options, lower, base):
        self.dir = tempfile.mkdtemp(dir=base)
        for name in ("upper", "work", "merged"):
            os.mkdir(f"{self.dir}/{name}")
        layers = f"lowerdir={lower},upperdir={self.dir}/upper,workdir={self.dir}/work"
        self.merged = f"{self.dir}/merged"
        if plyfs is None:
            run("mount", "-t", "overlay", "overlay", "-o", layers, self.merged)
        elif os.path.basename(plyfs) == "fuse-overlayfs":
            run(plyfs, "-o", layers + (f",{options}" if options else ""), self.merged)
        else:
            more = f",{options}" if options else ""
            run(plyfs, "mount", "-o", f"{layers},backend=fuse{more}", self.merged)

    def end(self):
        for _ in range(100):
            if subprocess.run(["umount", self.merged], stderr=subprocess.DEVNULL).returncode == 0:
                break
            time.sleep(0.02)
        for _ in range(50):
            try:
                shutil.rmtree(self.dir)
                return
            except OSError:
                time.sleep(0.02)


def sample(variant, lower, base, program):
    _, before, measured = program
    os.sync()
    mount = Mount(*variant, lower, base)
    try:
        if before:
            run(*before, cwd=mount.merged)
        start = time.perf_counter()
        run(*measured, cwd=mount.merged)
        return time.perf_counter() - start
    finally:
        mount.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plyfs", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--dir", default="/tmp")
    parser.add_argument("--only", default="")
    parser.add_argument("--variant", action="append")
    parser.add_argument("--csv")
    arguments = parser.parse_args()
    variants = {}
    for text in arguments.variant or VARIANTS:
        name, _, options = text.partition(":")
        name, _, program = name.partition("@")
        variants[name] = (None, None) if name == "kernel" else (program or arguments.plyfs, options)
    only = [name for name in arguments.only.split(",") if name]
    programs = [program for program in PROGRAMS if not only or program[0] in only]
    base = tempfile.mkdtemp(dir=arguments.dir, prefix="programs.")
    # A worktree of the one who measures is not to say whose repository it is.
    os.environ.update(GIT_CONFIG_COUNT="1", GIT_CONFIG_KEY_0="safe.directory", GIT_CONFIG_VALUE_0="*")
    lower = f"{base}/lower"
    make_lower(lower)
    loops = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(os.cpu_count() if arguments.busy else 0)]
    samples = {(program[0], name): [] for program in programs for name in variants}
    load = [os.getloadavg()[0]]
    try:
        for turn in range(arguments.rounds):
            for program in programs:
                names = list(variants)
                names = names[turn % len(names):] + names[:turn % len(names)]
                for name in names:
                    samples[program[0], name].append(sample(variants[name], lower, base, program))
            load.append(os.getloadavg()[0])
    finally:
        for loop in loops:
            loop.kill()
        shutil.rmtree(base, ignore_errors=True)
    print(f"{arguments.rounds} rounds in {arguments.dir}, {'busy' if arguments.busy else 'not busy'}; "
          f"load average {min(load):.1f} to {max(load):.1f}")
    first = next(iter(variants))
    print(f"| milliseconds, median (least) | {' | '.join(variants)} | {' | '.join(f'{name} / {first}' for name in list(variants)[1:])} |")
    print("|---|" + "---:|" * (2 * len(variants) - 1))
    for program in programs:
        of = {name: samples[program[0], name] for name in variants}
        middle = {name: statistics.median(of[name]) for name in variants}
        cells = [f"{1000 * middle[name]:.1f} ({1000 * min(of[name]):.1f})" for name in variants]
        ratios = [f"{middle[name] / middle[first]:.2f}" for name in list(variants)[1:]]
        print(f"| {program[0]} | {' | '.join(cells + ratios)} |")
    if arguments.csv:
        with open(arguments.csv, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["directory", "machine", "program", "variant", "round", "seconds"])
            for (program, name), times in samples.items():
                for number, seconds in enumerate(times):
                    writer.writerow([arguments.dir, "busy" if arguments.busy else "quiet", program, name, number, f"{seconds:.6f}"])


if __name__ == "__main__":
    sys.exit(main())
