//! Which set-id bits a change leaves to a file.

use crate::types::{Caller, S_ISGID, S_ISUID, S_IXGRP};

/// The mode a regular file has after a change by a caller without privileges: no set-uid, and no
/// set-gid where that lets others act as the group, or if who changes it is not in the group
/// (`setattr_should_drop_suidgid` of the kernel).
pub(crate) fn without_set_id(mode: u32, in_group: impl FnOnce() -> bool) -> u32 {
    let mode = mode & !S_ISUID;
    if mode & S_ISGID != 0 && (mode & S_IXGRP != 0 || !in_group()) {
        mode & !S_ISGID
    } else {
        mode
    }
}

/// Whether a caller may leave the set-gid bit to a file of a group.
pub(crate) fn may_keep_set_gid(caller: &Caller, gid: u32) -> bool {
    caller.uid == 0 || is_in_group(caller, gid)
}

/// Whether the caller is in a group. The protocol tells only its first; the others are read from
/// `/proc`, and a caller that cannot be seen there is in none.
pub(crate) fn is_in_group(caller: &Caller, gid: u32) -> bool {
    if caller.gid == gid {
        return true;
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", caller.pid));
    status.is_ok_and(|status| {
        status
            .lines()
            .find_map(|line| line.strip_prefix("Groups:"))
            .is_some_and(|groups| {
                groups
                    .split_whitespace()
                    .any(|group| group.parse() == Ok(gid))
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_gid_without_group_execution_is_kept_by_the_group() {
        let (inside, outside) = (|| true, || false);
        assert_eq!(without_set_id(0o6755, inside), 0o755);
        assert_eq!(without_set_id(0o6745, inside), 0o2745);
        assert_eq!(without_set_id(0o6745, outside), 0o745);
        assert_eq!(without_set_id(0o1777, outside), 0o1777);
    }
}
