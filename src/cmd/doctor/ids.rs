//! Subordinate ids: whether a user namespace has as many ids as images use.

use std::fs;
use std::ops::Range;

use super::probe::Probe;
use crate::error::reason;
use crate::namespace::{self, Ranges};

/// How many ids make up a namespace in which all usual owners have their own: 0 to 65535.
const ENOUGH: u32 = 1 << 16;

/// Where distributions begin to give out subordinate ids (login.defs(5), `SUB_UID_MIN`).
const FIRST: u32 = 100_000;

/// What the system has set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    /// How many subordinate user and group ids this user has.
    uids: u32,
    gids: u32,
    /// Whether newuidmap(1) and newgidmap(1) can be run.
    has_helpers: bool,
    /// How many ids the namespace got.
    mapped: u32,
}

/// Whether a namespace that this process has entered has enough ids. `helpers` says whether newuidmap(1) and
/// newgidmap(1) can be run; `owner` is who entered it.
pub(super) fn probe(helpers: bool, owner: &Owner) -> Probe {
    let count = |ranges: &Ranges| ranges.iter().map(|range| range.end - range.start).sum();
    let mapped = namespace::mapped_ids("/proc/self/uid_map");
    let found = Found {
        uids: count(&owner.uids),
        gids: count(&owner.gids),
        has_helpers: helpers,
        mapped: mapped.map_or(u32::MAX, |ranges| count(&ranges)),
    };
    let read = |file| fs::read_to_string(file).unwrap_or_default();
    let taken = read("/etc/subuid") + "\n" + &read("/etc/subgid");
    let tried = judge(found);
    let remedy = remedy(found, owner, &taken, &read("/etc/passwd"));
    Probe::new(
        ("subordinate_ids", "subordinate ids"),
        tried,
        "files in images have their real owners",
        &remedy,
    )
}

/// Who has subordinate ids.
pub(super) struct Owner {
    name: String,
    uids: Ranges,
    gids: Ranges,
}

impl Owner {
    /// The user of this process, who must not be in a new namespace yet.
    pub(super) fn current() -> Self {
        let (name, uids, gids) = namespace::subordinate_ids_of_user();
        Self { name, uids, gids }
    }
}

fn judge(found: Found) -> Result<(), String> {
    match found.mapped {
        ENOUGH.. => Ok(()),
        0 | 1 => Err("there is a single id in a user namespace".to_owned()),
        few => Err(format!(
            "there are only {few} ids in a user namespace, and images use {ENOUGH}"
        )),
    }
}

/// What is to be done, and nothing that is done already.
fn remedy(found: Found, owner: &Owner, taken: &str, passwd: &str) -> String {
    let mut steps = Vec::new();
    // The user's own id is one of those in the namespace.
    let lacks = |count: u32| count < ENOUGH - 1;
    let mut options = String::new();
    let free = free_range(taken, passwd);
    for (count, option) in [(found.uids, "--add-subuids"), (found.gids, "--add-subgids")] {
        if let Some(free) = free.as_ref().filter(|_| lacks(count)) {
            options += &format!(" {option} {}-{}", free.start, free.end - 1);
        }
    }
    if !options.is_empty() {
        steps.push(format!("usermod{options} {}, as root", owner.name));
    }
    if !found.has_helpers {
        steps.push("install the package uidmap (shadow-utils)".to_owned());
    }
    match steps.is_empty() {
        true => "see what newuidmap(1) and newgidmap(1) say of \"plyfs unshare true\"".to_owned(),
        false => steps.join("; "),
    }
}

/// As many ids as are enough that no user has, as owner or as subordinate ids: `taken` are the lines of subuid(5) and
/// subgid(5), `passwd` those of passwd(5).
fn free_range(taken: &str, passwd: &str) -> Option<Range<u32>> {
    let number = |field: Option<&str>| field?.trim().parse::<u32>().ok();
    let subordinate = taken.lines().filter_map(|line| {
        let mut fields = line.split(':').skip(1);
        let (start, count) = (number(fields.next())?, number(fields.next())?);
        start.checked_add(count)
    });
    let own = passwd
        .lines()
        .filter_map(|line| number(line.split(':').nth(2))?.checked_add(1));
    // Ids of 65536 and more may be given by a directory service; those near the end are no one's.
    let end = subordinate.chain(own).filter(|end| *end < 1 << 31).max();
    let start = end.unwrap_or(0).max(FIRST);
    start.checked_add(ENOUGH).map(|end| start..end)
}

/// Whether the programs that map subordinate ids can do so.
pub(super) fn mappers() -> Result<(), String> {
    set_uid("newuidmap").and_then(|()| set_uid("newgidmap"))
}

/// Whether a program is in the path, and may do what its caller may not.
pub(super) fn set_uid(program: &str) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|dir| dir.join(program));
    let place = places.find(|place| place.is_file());
    let place = place.ok_or_else(|| format!("{program} is not in the PATH"))?;
    let mode = place.metadata().map_err(|error| reason(&error))?;
    let mut capability = [0; 64];
    let capable = rustix::fs::getxattr(&place, "security.capability", &mut capability[..]);
    match mode.permissions().mode() & 0o4000 != 0 || capable.is_ok() {
        true => Ok(()),
        false => Err(format!("{} is not set-uid root", place.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner {
            name: "alice".to_owned(),
            uids: Vec::new(),
            gids: Vec::new(),
        }
    }

    const NONE: Found = Found {
        uids: 0,
        gids: 0,
        has_helpers: true,
        mapped: 1,
    };

    #[test]
    fn ranges_of_others_are_not_proposed() {
        let taken = "bob:100000:65536\ncarol:165536:65536\n";
        let said = remedy(NONE, &owner(), taken, "bob:x:1000:1000::/:/bin/sh\n");
        assert_eq!(
            said,
            "usermod --add-subuids 231072-296607 --add-subgids 231072-296607 alice, as root"
        );
        // Not the ids of a user either.
        let said = remedy(NONE, &owner(), "", "dave:x:500000:1::/:/bin/sh\n");
        assert!(said.contains("500001-565536"), "{said}");
        assert_eq!(free_range("", ""), Some(100_000..165_536));
    }

    #[test]
    fn only_what_is_missing_is_proposed() {
        let enough = Found {
            uids: 65536,
            gids: 65536,
            has_helpers: false,
            mapped: 1,
        };
        let said = remedy(enough, &owner(), "alice:100000:65536", "");
        assert_eq!(said, "install the package uidmap (shadow-utils)");
        let no_groups = Found {
            gids: 0,
            has_helpers: true,
            ..enough
        };
        let said = remedy(no_groups, &owner(), "alice:100000:65536", "");
        assert_eq!(said, "usermod --add-subgids 165536-231071 alice, as root");
    }

    #[test]
    fn ten_ids_are_not_enough() {
        for (mapped, ok) in [(1, false), (11, false), (65536, true), (u32::MAX, true)] {
            let judged = judge(Found { mapped, ..NONE });
            assert_eq!(judged.is_ok(), ok, "{mapped}");
        }
        let few = judge(Found { mapped: 11, ..NONE }).unwrap_err();
        assert!(few.contains("only 11 ids"), "{few}");
    }
}
