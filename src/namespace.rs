//! User namespaces: where this process stands, and how it gets a namespace of its own.
//!
//! An ordinary user becomes root of a new user namespace, in which mounting is allowed. If the
//! system has set aside subordinate ids for the user (subuid(5)), they are the ids 1 and up of that
//! namespace, written by the set-uid helpers newuidmap(1) and newgidmap(1); otherwise the namespace
//! has the single id 0, which is the user.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::OnceLock;

use plyfs_fs::{IdRange, Ids, Owners};
use plyfs_sys::process::{Fork, fork};
use rustix::mount::MountPropagationFlags;
use rustix::process::{Pid, WaitOptions, waitpid};
use rustix::thread::{CapabilitySet, UnshareFlags};

use crate::error::{CliError, Context, Result, reason};

/// `CGROUP2_SUPER_MAGIC` (statfs(2)).
const CGROUP2: u64 = 0x6367_7270;

/// Ids, as ranges.
pub(crate) type Ranges = Vec<Range<u32>>;

/// Whether this process may mount file systems in its mount namespace.
pub(crate) fn can_mount() -> bool {
    rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// A text that the kernel makes while it is read, and whose length it does not say: in few large reads.
pub(crate) fn proc_text(path: &str) -> std::io::Result<String> {
    let mut text = String::with_capacity(16 << 10);
    // Not of the file itself: that would ask for its length first.
    let mut file = fs::File::open(path)?.take(u64::MAX);
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// Whether this is the user namespace the system was started with.
pub(crate) fn is_initial() -> bool {
    // Without the file the kernel has no user namespaces, and this is the only one there is.
    proc_text("/proc/self/uid_map").map_or(true, |map| {
        map.split_whitespace().eq(["0", "0", "4294967295"])
    })
}

/// Whether a process of this user namespace may have no supplementary groups (user_namespaces(7)).
pub(crate) fn denies_groups() -> bool {
    proc_text("/proc/self/setgroups").is_ok_and(|text| text.trim() == "deny")
}

/// Whether control groups of this machine are of version 2 alone.
pub(crate) fn has_unified_cgroups() -> bool {
    rustix::fs::statfs("/sys/fs/cgroup").is_ok_and(|stat| stat.f_type as u64 == CGROUP2)
}

/// The superuser of the machine, not of a namespace.
pub(crate) fn is_real_root() -> bool {
    rustix::process::geteuid().is_root() && is_initial()
}

/// The user or group ids that have a name in this user namespace; `None` for all.
pub(crate) fn mapped_ids(file: &str) -> Option<Ranges> {
    let map = proc_text(file).ok()?;
    let ranges: Ranges = map
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().map(str::parse::<u32>);
            let (first, _, count) = (fields.next()?.ok()?, fields.next()?, fields.next()?.ok()?);
            Some(first..first.saturating_add(count))
        })
        .collect();
    let all = ranges.contains(&(0..u32::MAX));
    (!all).then_some(ranges)
}

/// The number of the mount namespace (namespaces(7)) that this command was started in, whichever it has
/// entered since; `None` if /proc does not tell.
pub(crate) fn mounts_of_caller() -> Option<u64> {
    static CALLER: OnceLock<Option<u64>> = OnceLock::new();
    let now = || fs::metadata("/proc/self/ns/mnt").ok().map(|ns| ns.ino());
    *CALLER.get_or_init(now)
}

/// Makes this process root of a new user namespace, with a mount namespace of its own.
///
/// It must have one thread. Mounts made outside from now on are still seen inside.
pub(crate) fn enter() -> Result {
    enter_as(0, 0)
}

/// As [`enter`], but with the caller's own ids in the namespace instead of root's. This process has all
/// capabilities there nevertheless.
pub(crate) fn enter_keeping_id() -> Result {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    enter_as(uid.as_raw(), gid.as_raw())
}

/// How owners of files in the store are shown in a namespace that keeps these ids: the ids of an image are
/// on disk those of a namespace in which the caller is root.
pub(crate) fn owners_keeping_id(uid: u32, gid: u32) -> Owners {
    let ids = |own: u32, overflow: &str| {
        let range = |stored, shown, count| IdRange {
            shown,
            stored,
            count,
        };
        let overflow = proc_text(overflow).ok();
        let overflow = overflow.and_then(|text| text.trim().parse().ok());
        Ids::Mapped {
            ranges: vec![
                range(own, 0, 1),
                range(0, 1, own),
                range(own + 1, own + 1, u32::MAX - own - 1),
            ],
            overflow: overflow.unwrap_or(65534),
        }
    };
    Owners {
        uids: ids(uid, "/proc/sys/kernel/overflowuid"),
        gids: ids(gid, "/proc/sys/kernel/overflowgid"),
    }
}

/// Makes a user namespace in which the caller has these ids.
fn enter_as(inside_uid: u32, inside_gid: u32) -> Result {
    mounts_of_caller();
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let mapper = match subordinate_ids() {
        Some((uids, gids)) => Some(Mapper::start(
            segments(inside_uid, uid.as_raw(), &uids),
            segments(inside_gid, gid.as_raw(), &gids),
        )?),
        None => None,
    };
    let flags = UnshareFlags::NEWUSER | UnshareFlags::NEWNS;
    plyfs_sys::process::unshare(flags).map_err(|error| {
        CliError::new(format_args!(
            "cannot make a user namespace: {}; {}",
            reason(&error),
            remedy_for_refusal()
        ))
    })?;
    match mapper.map(Mapper::finish) {
        Some(Ok(())) => {}
        Some(Err(failure)) => {
            log::warn!("{failure}; going on with a single id");
            map_single((inside_uid, uid.as_raw()), (inside_gid, gid.as_raw()))?;
        }
        None => map_single((inside_uid, uid.as_raw()), (inside_gid, gid.as_raw()))?,
    }
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", slave).context("make mounts private")
}

/// Whether the system has set aside subordinate ids for this user.
pub(crate) fn has_subordinate_ids() -> bool {
    subordinate_ids().is_some()
}

/// The subordinate user and group ids of this user, if there are both.
fn subordinate_ids() -> Option<(Ranges, Ranges)> {
    let (_, uids, gids) = subordinate_ids_of_user();
    (!uids.is_empty() && !gids.is_empty()).then_some((uids, gids))
}

/// The name of this user, or the number, and the subordinate user and group ids.
pub(crate) fn subordinate_ids_of_user() -> (String, Ranges, Ranges) {
    let uid = rustix::process::geteuid().as_raw();
    let user = user_name(uid);
    let read = |file| {
        let content = fs::read_to_string(file).unwrap_or_default();
        parse_ranges(&content, user.as_deref(), uid)
    };
    let (uids, gids) = (read("/etc/subuid"), read("/etc/subgid"));
    (user.unwrap_or_else(|| uid.to_string()), uids, gids)
}

/// How a machine that refuses user namespaces is made to allow them: by what refuses them, if that can be seen.
pub(crate) fn remedy_for_refusal() -> String {
    remedy_by(|file| fs::read_to_string(file).ok())
}

fn remedy_by(read: impl Fn(&str) -> Option<String>) -> String {
    let refuses = |file: &str, value: &str| read(file).is_some_and(|text| text.trim() == value);
    let all = [
        (
            refuses("/proc/sys/user/max_user_namespaces", "0"),
            "sysctl user.max_user_namespaces=10000, as root",
        ),
        (
            refuses("/proc/sys/kernel/unprivileged_userns_clone", "0"),
            "sysctl kernel.unprivileged_userns_clone=1, as root",
        ),
        (
            refuses(
                "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
                "1",
            ),
            "load the AppArmor profile that \"make install\" installs (apparmor_parser -r \
             /etc/apparmor.d/plyfs, as root), or sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ];
    let seen: Vec<&str> = all
        .iter()
        .filter(|(seen, _)| *seen)
        .map(|(_, remedy)| *remedy)
        .collect();
    match seen.is_empty() {
        true => "see user.max_user_namespaces in sysctl(8), and whether a security module or a container's \
                 seccomp profile restricts user namespaces"
            .to_owned(),
        false => seen.join("; "),
    }
}

/// Lines of a map for newuidmap(1): the first id inside, the first outside, and how many. The caller's own
/// id is `inside`; the ranges are the others from 0 on.
fn segments(inside: u32, own: u32, ranges: &[Range<u32>]) -> Segments {
    let mut segments = Vec::new();
    let mut next = 0_u32;
    for range in ranges {
        let mut rest = range.clone();
        while !rest.is_empty() {
            if next == inside {
                next = next.saturating_add(1);
            }
            let room = if next < inside {
                inside - next
            } else {
                u32::MAX - next
            };
            let count = room.min(rest.end - rest.start);
            if count == 0 {
                break;
            }
            segments.push((next, rest.start, count));
            next = next.saturating_add(count);
            rest.start += count;
        }
    }
    segments.push((inside, own, 1));
    segments.sort_unstable();
    segments
}

type Segments = Vec<(u32, u32, u32)>;

/// Maps the one id that an ordinary user may map: inside and outside of the namespace.
fn map_single(uid: (u32, u32), gid: (u32, u32)) -> Result {
    // Before gid_map, which is refused otherwise (user_namespaces(7)).
    fs::write("/proc/self/setgroups", "deny").context("write /proc/self/setgroups")?;
    fs::write("/proc/self/uid_map", format!("{} {} 1", uid.0, uid.1))
        .context("write /proc/self/uid_map")?;
    fs::write("/proc/self/gid_map", format!("{} {} 1", gid.0, gid.1))
        .context("write /proc/self/gid_map")
}

/// A process outside the new namespace that writes its id maps, since a process inside may not.
struct Mapper {
    pid: Pid,
    /// Written to when the namespace is there.
    start: fs::File,
}

impl Mapper {
    fn start(uids: Segments, gids: Segments) -> Result<Self> {
        let target = rustix::process::getpid();
        let commands = [("newuidmap", uids), ("newgidmap", gids)];
        let flags = rustix::pipe::PipeFlags::CLOEXEC;
        let (wait, start) = rustix::pipe::pipe_with(flags).context("make a pipe")?;
        match fork().context("start a process")? {
            Fork::Parent(pid) => Ok(Self {
                pid,
                start: start.into(),
            }),
            Fork::Child => {
                drop(start);
                // Nothing comes if the parent gave up.
                let told = fs::File::from(wait).read(&mut [0]).is_ok_and(|n| n == 1);
                let run = |(program, map): &(&str, Segments)| run_mapper(program, target, map);
                let mapped = match told {
                    true => commands.iter().try_for_each(run),
                    false => Err(ErrorKind::Interrupted.into()),
                };
                std::process::exit(match mapped {
                    Ok(()) => 0,
                    Err(error) if error.kind() == ErrorKind::NotFound => MAPPER_MISSING,
                    _ => 1,
                });
            }
        }
    }

    fn finish(mut self) -> Result {
        self.start.write_all(b"x").context("start newuidmap")?;
        let status = waitpid(Some(self.pid), WaitOptions::empty()).context("wait for newuidmap")?;
        match status.and_then(|(_, status)| status.exit_status()) {
            Some(0) => Ok(()),
            Some(MAPPER_MISSING) => Err(CliError::new(
                "newuidmap and newgidmap, which map subordinate ids, are missing (package uidmap)",
            )),
            _ => Err(CliError::new(
                "newuidmap or newgidmap did not map subordinate ids",
            )),
        }
    }
}

/// Exit status of the helper process that says which of its failures it was.
const MAPPER_MISSING: i32 = 2;

/// Runs newuidmap(1) or newgidmap(1). They say themselves what they do not like.
fn run_mapper(program: &str, target: Pid, map: &Segments) -> std::io::Result<()> {
    let mut command = Command::new(program);
    command.arg(target.as_raw_nonzero().to_string());
    for (inside, outside, count) in map {
        command.args([inside, outside, count].map(ToString::to_string));
    }
    match command.status()?.success() {
        true => Ok(()),
        false => Err(ErrorKind::PermissionDenied.into()),
    }
}

/// The name of a user id in /etc/passwd.
fn user_name(uid: u32) -> Option<String> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, id) = (fields.next()?, fields.next()?, fields.next()?);
        (id.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// The lines of subuid(5) for a user, who is named or numbered there.
fn parse_ranges(content: &str, user: Option<&str>, uid: u32) -> Ranges {
    content
        .lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let (name, start, count) = (fields.next()?, fields.next()?, fields.next()?);
            let own = Some(name) == user || name.parse() == Ok(uid);
            let (start, count) = (start.parse::<u32>().ok()?, count.parse::<u32>().ok()?);
            (own && count > 0).then(|| start..start.saturating_add(count))
        })
        .collect()
}

/// Gives this process a mount namespace of its own, without a user namespace.
pub(crate) fn enter_mounts_only() -> Result {
    mounts_of_caller();
    plyfs_sys::process::unshare(UnshareFlags::NEWNS).context("make a mount namespace")?;
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", slave).context("make mounts private")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_ids_and_subordinate_ids_fill_a_map() {
        let ranges = [100_000..100_010, 200_000..200_005];
        assert_eq!(
            segments(0, 1000, &ranges),
            [(0, 1000, 1), (1, 100_000, 10), (11, 200_000, 5)]
        );
        assert_eq!(
            segments(4, 1000, &ranges),
            [
                (0, 100_000, 4),
                (4, 1000, 1),
                (5, 100_004, 6),
                (11, 200_000, 5)
            ]
        );
        assert_eq!(
            segments(1000, 1000, &ranges),
            [(0, 100_000, 10), (10, 200_000, 5), (1000, 1000, 1)]
        );
    }

    #[test]
    fn what_refuses_user_namespaces_is_named() {
        let with = |file: &'static str, value: &'static str| {
            remedy_by(move |asked| (asked == file).then(|| format!("{value}\n")))
        };
        let apparmor = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
        assert!(with(apparmor, "1").contains("apparmor_parser -r"));
        let clone = "/proc/sys/kernel/unprivileged_userns_clone";
        assert_eq!(
            with(clone, "0"),
            "sysctl kernel.unprivileged_userns_clone=1, as root"
        );
        let most = "/proc/sys/user/max_user_namespaces";
        assert!(with(most, "0").starts_with("sysctl user.max_user_namespaces="));
        for (file, value) in [(apparmor, "0"), (clone, "1"), (most, "1000")] {
            assert!(with(file, value).contains("security module"));
        }
    }

    #[test]
    fn subordinate_ids_are_found_by_name_and_number() {
        let content =
            "root:1:2\nalice:100000:65536\n1001:300000:10\nalice:200000:5\nbroken\nbob:x:1\n";
        assert_eq!(
            parse_ranges(content, Some("alice"), 1000),
            [100_000..165_536, 200_000..200_005]
        );
        let numbered = parse_ranges(content, None, 1001);
        assert_eq!((numbered.len(), &numbered[0]), (1, &(300_000..300_010)));
        assert!(parse_ranges(content, Some("carol"), 1002).is_empty());
    }
}
