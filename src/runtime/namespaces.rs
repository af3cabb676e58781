//! The namespaces of a process, as /proc shows them (namespaces(7)).

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::thread::UnshareFlags;

/// Each kind by its name in /proc/PID/ns, in the order of [`of`].
pub(crate) const KINDS: [(&str, UnshareFlags); 7] = [
    ("user", UnshareFlags::NEWUSER),
    ("mnt", UnshareFlags::NEWNS),
    ("pid", UnshareFlags::NEWPID),
    ("ipc", UnshareFlags::NEWIPC),
    ("uts", UnshareFlags::NEWUTS),
    ("cgroup", UnshareFlags::NEWCGROUP),
    ("net", UnshareFlags::NEWNET),
];

/// The namespaces of a process, which is a name in /proc: `mnt:[4026531841]` and so on, a kind each.
///
/// # Errors
/// Those of readlink(2): `NotFound` if there is no such process, `PermissionDenied` if the caller may not
/// look into it.
pub(crate) fn of(process: &str) -> std::io::Result<Vec<String>> {
    let dir = Path::new("/proc").join(process).join("ns");
    let link = |kind: &str| {
        let link = std::fs::read_link(dir.join(kind))?;
        Ok(link.to_string_lossy().into_owned())
    };
    KINDS.iter().map(|(kind, _)| link(kind)).collect()
}

/// A namespace that is held open.
pub(crate) struct Namespace {
    pub(crate) kind: UnshareFlags,
    pub(crate) fd: OwnedFd,
}

/// The namespaces that a process is in now, opened, with their names as those of [`of`]. What is entered by the
/// descriptors is what was named, whatever the process does meanwhile.
///
/// # Errors
/// Those of open(2), as for [`of`].
pub(crate) fn open(process: &str) -> rustix::io::Result<Vec<(Namespace, String)>> {
    let dir = Path::new("/proc").join(process).join("ns");
    let open = |(name, kind): &(&str, UnshareFlags)| {
        let fd = rustix::fs::open(dir.join(name), OFlags::CLOEXEC, Mode::empty())?;
        let link = rustix::fs::readlink(super::root::proc_path(&fd), Vec::new())?;
        let namespace = Namespace { kind: *kind, fd };
        Ok((namespace, link.to_string_lossy().into_owned()))
    };
    KINDS.iter().map(open).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_named() {
        for (link, (kind, _)) in of("self").unwrap().iter().zip(KINDS) {
            assert!(link.starts_with(&format!("{kind}:[")), "{link}");
        }
    }

    #[test]
    fn an_open_namespace_has_the_name_of_its_link() {
        let opened = open("self").unwrap().into_iter();
        let names: Vec<String> = opened.map(|(_, name)| name).collect();
        assert_eq!(names, of("self").unwrap());
    }
}
