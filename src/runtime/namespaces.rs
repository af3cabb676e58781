//! The namespaces of a process, as /proc shows them (namespaces(7)).

use std::path::Path;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_named() {
        for (link, (kind, _)) in of("self").unwrap().iter().zip(KINDS) {
            assert!(link.starts_with(&format!("{kind}:[")), "{link}");
        }
    }
}
