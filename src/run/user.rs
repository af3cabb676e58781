//! Which ids a command in a container runs with.
//!
//! An image says `user`, `uid`, `user:group` or any mixture (OCI image specification, config,
//! `User`); names are looked up in the image's own /etc/passwd and /etc/group. This is read when the
//! container's root is already the root, so that no link in it leads elsewhere.

use std::io;

use crate::failure::{Failure, Outcome, reason};

/// Ids of a process, and what goes with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups.
    pub(crate) groups: Vec<u32>,
    /// The home directory, `/` if it is not known.
    pub(crate) home: String,
}

/// Looks up what `User` says in the files of the present root.
pub(crate) fn look_up(user: &str) -> Outcome<Identity> {
    let read = |path: &str| match std::fs::read(path) {
        // The names of people may be in any encoding.
        Ok(text) => Ok(String::from_utf8_lossy(&text).into_owned()),
        // An image may do without.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(Failure::new(format_args!(
            "cannot read {path} in the container: {}",
            reason(&error)
        ))),
    };
    identify(user, &read("/etc/passwd")?, &read("/etc/group")?)
}

fn identify(user: &str, passwd: &str, group: &str) -> Outcome<Identity> {
    let (user, group_name) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let entry = passwd.lines().find_map(|line| Account::parse(line, user));
    let (uid, mut gid, home, name) = match (entry, user.parse()) {
        (Some(account), _) => (account.uid, account.gid, account.home, account.name),
        (None, Ok(uid)) => (uid, 0, "/", ""),
        (None, Err(_)) => {
            return Err(Failure::new(format_args!(
                "the image has no user {user:?} in its /etc/passwd"
            )));
        }
    };
    let groups = match group_name {
        Some(wanted) => {
            gid = find_group(group, wanted)?;
            Vec::new()
        }
        None => groups_of(group, name),
    };
    let home = if home.is_empty() { "/" } else { home };
    Ok(Identity {
        uid,
        gid,
        groups,
        home: home.to_owned(),
    })
}

/// A line of passwd(5).
struct Account<'l> {
    name: &'l str,
    uid: u32,
    gid: u32,
    home: &'l str,
}

impl<'l> Account<'l> {
    /// Reads a line if it is about this user, who is named or numbered.
    fn parse(line: &'l str, user: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, ..] = fields[..] else {
            return None;
        };
        (name == user || uid == user).then_some(Self {
            name,
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
            home,
        })
    }
}

fn find_group(group: &str, wanted: &str) -> Outcome<u32> {
    let named = group.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
        (name == wanted).then(|| gid.parse().ok())?
    });
    named.or_else(|| wanted.parse().ok()).ok_or_else(|| {
        Failure::new(format_args!(
            "the image has no group {wanted:?} in its /etc/group"
        ))
    })
}

/// The groups that group(5) lists a user in.
fn groups_of(group: &str, user: &str) -> Vec<u32> {
    let member = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let [_, _, gid, members, ..] = fields[..] else {
            return None;
        };
        let listed = !user.is_empty() && members.split(',').any(|member| member == user);
        listed.then(|| gid.parse().ok())?
    };
    group.lines().filter_map(member).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nbroken\nwww:x:33:34::/var/www:/bin/false\n";
    const GROUP: &str = "root:x:0:\nwww:x:34:\nadm:x:4:www,other\nvideo:x:44:other\n";

    fn ids(user: &str) -> (u32, u32, Vec<u32>, String) {
        let found = identify(user, PASSWD, GROUP).unwrap();
        (found.uid, found.gid, found.groups, found.home)
    }

    #[test]
    fn users_are_named_or_numbered() {
        assert_eq!(ids(""), (0, 0, vec![], "/root".to_owned()));
        assert_eq!(ids("www"), (33, 34, vec![4], "/var/www".to_owned()));
        assert_eq!(ids("33"), ids("www"));
        assert_eq!(ids("www:video"), (33, 44, vec![], "/var/www".to_owned()));
        assert_eq!(ids("1000:1001"), (1000, 1001, vec![], "/".to_owned()));
        assert_eq!(ids("1000"), (1000, 0, vec![], "/".to_owned()));
        assert_eq!(ids(":adm"), (0, 4, vec![], "/root".to_owned()));
    }

    #[test]
    fn unknown_names_are_refused() {
        for user in ["nobody", "www:nogroup"] {
            let error = identify(user, PASSWD, GROUP).unwrap_err().to_string();
            assert!(error.contains("\"no"), "{error}");
        }
    }
}
