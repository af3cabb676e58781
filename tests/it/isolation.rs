//! What a program in a container can see and do, as amicontained(1) lists it: by `plyfs run` it is what it
//! is by `podman run` with crun for the same user, or less.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::support::shell::world;
use crate::support::tools::{By, Home};
use crate::support::world::World;
use crate::support::*;

/// Prints a line an item: its kind, its name, and its value. What can be read in /proc/fs is left out: it comes and
/// goes with the file systems that others mount on the machine.
const LISTING: &str = r#"
status() { while read -r name value; do case $name in
    CapInh:|CapPrm:|CapEff:|CapBnd:|CapAmb:|NoNewPrivs:|Seccomp:|Groups:|Umask:|Uid:|Gid:)
        echo "status ${name%:} $value";; esac; done </proc/$$/status; }
status
for name in cgroup ipc mnt net pid time user uts; do
    echo "namespace $name $(readlink /proc/$$/ns/$name)"
done
read -r pid comm state parent group session terminal rest </proc/$$/stat
echo "session ids $pid $parent $group $session"
echo "session terminal $terminal"
( : </dev/tty ) 2>/dev/null && echo "session tty opens" || echo "session tty none"
for fd in /proc/$$/fd/*; do fd=${fd##*/}; [ -e /proc/$$/fd/$fd ] && echo "descriptor $fd open"; done
env | while IFS='=' read -r name value; do echo "environment $name set"; done
find /dev | while read -r path; do
    echo "device $path $(stat -c '%F %t:%T %a %u:%g' $path) $(readlink $path)"
done
while read -r id parent device root at how rest; do
    flags=; for flag in ro nosuid nodev noexec; do
        case ,$how, in *,$flag,*) flags="$flags $flag";; esac; done
    echo "mount $at$flags"
done </proc/$$/mountinfo
find /proc /sys -maxdepth 4 -type f ! -path '/proc/[0-9]*' ! -path '/sys/devices/*' 2>/dev/null |
    while read -r path; do { true >>$path; } 2>/dev/null && echo "writable $path yes"; done
find /proc /sys -maxdepth 2 ! -path '/proc/[0-9]*' ! -path '/proc/fs/*' 2>/dev/null | while read -r path; do
    if [ -d $path ]; then
        [ -n "$(ls -A $path 2>/dev/null)" ] && echo "readable $path yes"
    else case $path in
        */kmsg|*/kcore) ;;
        *) [ $(head -c 1 $path 2>/dev/null | wc -c) != 0 ] && echo "readable $path yes";;
    esac; fi
done
head -c 1 /proc/kcore >/dev/null 2>&1 && [ -s /proc/kcore ] && echo "readable /proc/kcore yes"
for path in /proc/sys /proc/irq /proc/bus /proc/fs /sys /sys/fs/cgroup /dev /dev/shm /dev/mqueue \
    /dev/pts / /etc /proc/acpi /sys/firmware; do
    mkdir $path/new 2>/dev/null && echo "directory $path writable"
done
for kind in tmpfs proc sysfs; do
    mkdir -p /tmp/at; mount -t $kind none /tmp/at 2>/dev/null && echo "power mount-$kind yes"
done
hostname other 2>/dev/null && echo "power hostname yes"
mknod /tmp/device b 7 0 2>/dev/null && echo "power mknod yes"
chroot / true 2>/dev/null && echo "power chroot yes"
unshare -U true 2>/dev/null && echo "power user-namespace yes"
[ -e /keyring ] && echo "keyring session $(/keyring | od -An -t d4)"
:
"#;

/// Where plyfs gives more than Podman, or something else: an item, and the reason.
const ALLOWED: [(&str, &str, &str); 6] = [
    (
        "status",
        "Groups",
        "the primary group is among the supplementary ones, so that permissions which refuse it are not \
         lost by a change of groups (CVE-2022-36109)",
    ),
    (
        "mount",
        "/proc/interrupts",
        "Podman 4.3 does not cover it; /dev/null covers it, and has to open as a device",
    ),
    (
        "directory",
        "/",
        "its mode is the image's, and its owner may write; containers/storage makes it 0555",
    ),
    ("mount", "/run", READ_ONLY),
    ("mount", "/tmp", READ_ONLY),
    ("mount", "/var/tmp", READ_ONLY),
];

const READ_ONLY: &str = "with --read-only Podman has an empty directory in memory there; plyfs has one \
    that cannot be written to";

fn is_allowed(kind: &str, name: &str) -> bool {
    ALLOWED.iter().any(|(k, n, _)| (*k, *n) == (kind, name))
}

#[test]
fn a_container_is_as_closed_as_one_of_podman() {
    let test = this_test!();
    for tool in ["podman", "crun"] {
        if tools::hindrance(test, tool) {
            return;
        }
    }
    let Some(world) = world(test) else { return };
    let home = Home::new(By::Kernel);
    // A name with capital letters is none for Podman.
    succeed(
        Command::new("cp")
            .arg("-r")
            .arg(world.path("box"))
            .arg(home.path("box")),
    );
    let pull = "podman tag $(podman pull -q oci:box:test) localhost/box
        podman run --rm localhost/box true";
    let pulled = home.try_script(pull);
    if !pulled.status.success() {
        let said = text(&pulled.stderr);
        return skip(test, &format!("podman does not work here: {said}"));
    }
    let keyring = keyring_program(&world);
    let shared: Vec<&str> = keyring.iter().flat_map(|volume| ["-v", volume]).collect();
    let ours = |options: &[&str]| {
        let mut plyfs = world.plyfs(["run"]);
        plyfs.args(&shared).args(options);
        listing(plyfs.args(["box:test", "sh", "-c", LISTING]))
    };
    let theirs = |options: &[&str]| {
        let mut podman = home.command("podman");
        podman.args(["run", "--rm"]).args(&shared).args(options);
        listing(podman.args(["localhost/box", "sh", "-c", LISTING]))
    };
    let mut differences = Vec::new();
    for options in [
        &[][..],
        &["--user", "joe"],
        &["--read-only"],
        &["--cap-drop", "all"],
        &["--cap-add", "NET_RAW", "--user", "joe"],
        &["--security-opt", "no-new-privileges"],
    ] {
        let found = laxer(&ours(options), &theirs(options), &host());
        differences.extend(found.into_iter().map(|line| format!("{options:?}: {line}")));
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    // The comparison finds differences.
    let theirs = theirs(&[]);
    for (options, item) in [
        (["--cap-add", "SYS_ADMIN"], "status CapEff"),
        (["--security-opt", "seccomp=unconfined"], "status Seccomp"),
        (["--security-opt", "unmask=ALL"], "mount /proc/sys"),
        (["--security-opt", "unmask=ALL"], "readable /sys/firmware"),
        (["--security-opt", "unmask=ALL"], "readable /proc/keys"),
        (["--security-opt", "unmask=ALL"], "writable /proc/sys/"),
        (["-e", "SECRET"], "environment SECRET"),
    ] {
        let found = laxer(&ours(&options), &theirs, &host());
        assert!(
            found.iter().any(|line| line.starts_with(item)),
            "{options:?}: {found:?}"
        );
    }
}

/// Items by kind and name.
type Listing = BTreeMap<(String, String), String>;

/// What a command lists that is started with an open descriptor, a variable and a session keyring.
fn listing(command: &Command) -> Listing {
    let mut outer = Command::new("sh");
    outer.args(["-c", "exec 9</; exec \"$@\"", "sh"]);
    outer.arg(command.get_program()).args(command.get_args());
    if let Some(dir) = command.get_current_dir() {
        outer.current_dir(dir);
    }
    for (name, value) in command.get_envs() {
        outer.env(name, value.unwrap_or_default());
    }
    outer.env("SECRET", "of the caller").stdin(Stdio::null());
    let said = succeed(&mut outer);
    let items = said.lines().map(|line| {
        let mut words = line.splitn(3, ' ').map(str::to_owned);
        let mut word = || words.next().unwrap_or_default();
        ((word(), word()), word().trim().to_owned())
    });
    let items: Listing = items.collect();
    assert!(items.len() > 100, "{said}");
    items
}

/// The same of this process, as far as it is compared.
fn host() -> Listing {
    let mut all = Listing::new();
    for entry in fs::read_dir("/proc/self/ns").unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let link = fs::read_link(entry.path()).unwrap();
        all.insert(("namespace".into(), name), link.display().to_string());
    }
    all
}

/// What is laxer in the first one.
fn laxer(ours: &Listing, theirs: &Listing, host: &Listing) -> Vec<String> {
    let mut found = Vec::new();
    for ((kind, name), value) in ours {
        let key = (kind.clone(), name.clone());
        let other = theirs.get(&key).map(String::as_str);
        let is_fine = match (kind.as_str(), name.as_str()) {
            ("status", name) if name.starts_with("Cap") => {
                let set = |text: &str| u64::from_str_radix(text, 16).unwrap();
                set(value) & !set(other.unwrap()) == 0
            }
            ("status", "NoNewPrivs" | "Seccomp") => value.as_str() >= other.unwrap(),
            ("namespace", _) => {
                let outside = host.get(&key).map(String::as_str);
                other == outside || Some(value.as_str()) != outside
            }
            // Compared by what holds at a place.
            ("mount", _) => true,
            // Refused, or another one than that of the caller.
            ("keyring", _) => value == "-1" || *value != session_keyring(),
            // crun gives standard input, which is /dev/null here, to the user of the container.
            ("device", _) => other.map(without_owner) == Some(without_owner(value)),
            _ => other == Some(value),
        };
        if !is_fine && !is_allowed(kind, name) {
            found.push(format!("{kind} {name}: {value:?} and not {other:?}"));
        }
    }
    let places = |listing: &Listing| -> BTreeSet<String> {
        let mounts = listing.keys().filter(|(kind, _)| kind == "mount");
        mounts.map(|(_, place)| place.clone()).collect()
    };
    for place in places(ours).union(&places(theirs)) {
        let (own, other) = (restrictions(ours, place), restrictions(theirs, place));
        if !own.is_superset(&other) && !is_allowed("mount", place) {
            found.push(format!("mount {place}: {own:?} and not {other:?}"));
        }
    }
    found
}

/// Type, number and mode of a file, and where a link leads.
fn without_owner(value: &str) -> String {
    let owners = ["0:0", "65534:65534", "1000:1001"];
    let words = value.split(' ').filter(|word| !owners.contains(word));
    words.collect::<Vec<_>>().join(" ")
}

/// The flags of the mount that a path is on.
fn restrictions<'l>(listing: &'l Listing, path: &str) -> BTreeSet<&'l str> {
    let mut above = std::path::Path::new(path).ancestors();
    let flags = above.find_map(|dir| {
        let key = ("mount".to_owned(), dir.to_str().unwrap().to_owned());
        listing.get(&key)
    });
    flags.unwrap().split_whitespace().collect()
}

/// A program that prints the four bytes that keyctl(2) gives for its session keyring, to be mounted in a
/// container. Only for one architecture.
fn keyring_program(world: &World) -> Option<String> {
    if std::env::consts::ARCH != "x86_64" {
        return None;
    }
    let code = [
        0xb8, 0xfa, 0, 0, 0, // mov eax, SYS_keyctl
        0x31, 0xff, // xor edi, edi (KEYCTL_GET_KEYRING_ID)
        0x48, 0xc7, 0xc6, 0xfd, 0xff, 0xff, 0xff, // mov rsi, KEY_SPEC_SESSION_KEYRING
        0x31, 0xd2, // xor edx, edx
        0x0f, 0x05, // syscall
        0x50, // push rax
        0xb8, 1, 0, 0, 0, // mov eax, SYS_write
        0xbf, 1, 0, 0, 0, // mov edi, 1
        0x48, 0x89, 0xe6, // mov rsi, rsp
        0xba, 4, 0, 0, 0, // mov edx, 4
        0x0f, 0x05, // syscall
        0xb8, 60, 0, 0, 0, // mov eax, SYS_exit
        0x31, 0xff, // xor edi, edi
        0x0f, 0x05, // syscall
    ];
    const AT: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    elf.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for word in [AT + HEADERS, 64, 0] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    elf.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    let size = HEADERS + code.len() as u64;
    for word in [0, AT, AT, size, size, 0x1000] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(code);
    let path = world.path("keyring");
    fs::write(&path, elf).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    Some(format!("{}:/keyring:ro", path.display()))
}

/// The number of this process's session keyring, as /proc/keys has it.
fn session_keyring() -> String {
    let keys = fs::read_to_string("/proc/keys").unwrap_or_default();
    let sessions = keys.lines().filter(|line| line.contains("keyring   _ses"));
    let ids = sessions.filter_map(|line| {
        let id = line.split_whitespace().next()?;
        i32::from_str_radix(id, 16).ok()
    });
    ids.map(|id| id.to_string()).next().unwrap_or_default()
}
