//! Which ids a command in a container runs with.
//!
//! An image says `user`, `uid`, `user:group` or any mixture (OCI image specification, config,
//! `User`); names are looked up in the texts of the image's own /etc/passwd and /etc/group.

use std::collections::HashSet;

use crate::error::{CliError, Result};

/// The largest id that a container may ask for, as in Podman and containerd. Above it `(uid_t) -1` means
/// "leave it as it is" to setresuid(2), and programs that take ids for signed numbers misread the rest.
const MAX_ID: u32 = i32::MAX as u32;

/// How many supplementary groups the kernel takes (`NGROUPS_MAX`, limits.h).
const MAX_GROUPS: usize = 65_536;

/// Ids of a process, and what goes with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups.
    pub(crate) groups: Vec<u32>,
    /// The home directory, `/` if it is not known.
    pub(crate) home: String,
    /// Whether passwd(5) has an entry for the user.
    pub(crate) has_account: bool,
}

/// Finds the ids that `user` means in the texts of passwd(5) and group(5).
///
/// # Errors
/// For a name that the texts do not have, for an id above 2^31-1, and for more groups than the kernel takes.
pub(crate) fn identify(user: &str, passwd: &str, group: &str) -> Result<Identity> {
    let (user, group_name) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let wanted = number(user).transpose()?;
    let entry = passwd
        .lines()
        .find_map(|line| Account::parse(line, user, wanted));
    let has_account = entry.is_some();
    let (uid, mut gid, home, name) = match (entry, wanted) {
        (Some(account), _) => (account.uid, account.gid, account.home, account.name),
        (None, Some(uid)) => (uid, 0, "/", ""),
        (None, None) => {
            return Err(CliError::new(format_args!(
                "the image has no user {user:?} in its /etc/passwd"
            )));
        }
    };
    let mut groups = match group_name {
        Some(wanted) => {
            gid = find_group(group, wanted)?;
            Vec::new()
        }
        None => groups_of(group, name),
    };
    // Without it in the list, giving the group up would pass by permissions that exclude it
    // (CVE-2022-2989).
    if !groups.contains(&gid) {
        groups.insert(0, gid);
    }
    if groups.len() > MAX_GROUPS {
        return Err(CliError::new(format_args!(
            "the user {user:?} is in {} groups of the image's /etc/group, and the kernel takes {MAX_GROUPS}; \
             choose one with --user {user}:GROUP",
            groups.len()
        )));
    }
    for id in [uid, gid].iter().chain(&groups) {
        require_small(*id)?;
    }
    let home = if home.is_empty() { "/" } else { home };
    Ok(Identity {
        uid,
        gid,
        groups,
        home: home.to_owned(),
        has_account,
    })
}

/// An id that is written as a number; `None` if the text is a name.
fn number(text: &str) -> Option<Result<u32>> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let id = text.parse().map_err(|_| too_large(text));
    Some(id.and_then(require_small))
}

/// An id that does not mean "leave it as it is" to setresuid(2) (CVE-2024-40635).
pub(crate) fn require_small(id: u32) -> Result<u32> {
    if id > MAX_ID {
        return Err(too_large(id));
    }
    Ok(id)
}

fn too_large(id: impl std::fmt::Display) -> CliError {
    CliError::new(format_args!(
        "the user or group id {id} is larger than {MAX_ID}; choose another with --user"
    ))
}

/// A line of passwd(5).
struct Account<'l> {
    name: &'l str,
    uid: u32,
    gid: u32,
    home: &'l str,
}

impl<'l> Account<'l> {
    /// Reads a line if it is about the user of this name or, if one is given, of this number. A number is
    /// never looked for among the names (CVE-2026-46680).
    fn parse(line: &'l str, user: &str, number: Option<u32>) -> Option<Self> {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, ..] = fields[..] else {
            return None;
        };
        let uid: u32 = uid.parse().ok()?;
        let is_meant = match number {
            Some(number) => uid == number,
            None => name == user,
        };
        is_meant.then_some(Self {
            name,
            uid,
            gid: gid.parse().ok()?,
            home,
        })
    }
}

fn find_group(group: &str, wanted: &str) -> Result<u32> {
    if let Some(gid) = number(wanted) {
        return gid;
    }
    let named = group.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
        (name == wanted).then(|| gid.parse().ok())?
    });
    named.ok_or_else(|| {
        CliError::new(format_args!(
            "the image has no group {wanted:?} in its /etc/group"
        ))
    })
}

/// The groups that group(5) lists a user in, each of them once.
fn groups_of(group: &str, user: &str) -> Vec<u32> {
    let member = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let [_, _, gid, members, ..] = fields[..] else {
            return None;
        };
        let listed = !user.is_empty() && members.split(',').any(|member| member == user);
        listed.then(|| gid.parse().ok())?
    };
    let mut seen = HashSet::new();
    let all = group.lines().filter_map(member);
    all.filter(|gid| seen.insert(*gid)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\nwww:x:33:34::/var/www:/bin/false\n\
         big:x:4294967295:0::/:/bin/sh\n77:x:0:0::/:/bin/sh\n";
    const GROUP: &str =
        "root:x:0:\nwww:x:34:\nadm:x:4:www,other\nvideo:x:44:other\nbig:x:4294967295:\n";

    fn ids(user: &str) -> (u32, u32, Vec<u32>, String) {
        let found = identify(user, PASSWD, GROUP).unwrap();
        (found.uid, found.gid, found.groups, found.home)
    }

    #[test]
    fn users_are_named_or_numbered() {
        assert_eq!(ids(""), (0, 0, vec![0], "/root".to_owned()));
        assert_eq!(ids("www"), (33, 34, vec![34, 4], "/var/www".to_owned()));
        assert_eq!(ids("33"), ids("www"));
        assert_eq!(ids("www:video"), (33, 44, vec![44], "/var/www".to_owned()));
        assert_eq!(ids("1000:1001"), (1000, 1001, vec![1001], "/".to_owned()));
        assert_eq!(ids("1000"), (1000, 0, vec![0], "/".to_owned()));
        assert_eq!(ids(":adm"), (0, 4, vec![4], "/root".to_owned()));
        assert_eq!(ids("2147483647").0, i32::MAX as u32);
        assert_eq!(ids("77").0, 77);
    }

    #[test]
    fn unknown_names_are_refused() {
        for user in ["unknown", "www:nogroup", "-1", "+5"] {
            let error = identify(user, PASSWD, GROUP).unwrap_err().to_string();
            assert!(error.contains("the image has no"), "{error}");
        }
    }

    /// CVE-2024-40635: `setresuid(-1)` changes nothing, so the program stays root.
    #[test]
    fn ids_above_two_to_the_31st_are_refused() {
        let wanted = [
            "4294967295",
            "2147483648",
            "0:4294967295",
            "big",
            "root:big",
            "99999999999999999999",
        ];
        for user in wanted {
            let error = identify(user, PASSWD, GROUP).unwrap_err().to_string();
            assert!(error.contains("larger than 2147483647"), "{user}: {error}");
        }
    }
}
