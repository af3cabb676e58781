//! What programs that list directories want: names, or the attributes of what they name, too.
//!
//! Most look at what they list, and the kernel asks for the first entries of a directory with their attributes
//! (`FUSE_READDIRPLUS_AUTO`), which saves a request for each. To find(1), which goes by names, that is most of what a
//! listing costs, and for nothing. The daemon cannot see whether attributes are used, but it sees when they are asked
//! for. So now and then, in a directory without directories, one file is given a name that the kernel has to ask for
//! again: a probe.
//!
//! - A client that lists the next directory without having asked did not look at the file. If that happens
//!   [several times](ENOUGH) in a row, it is given the attributes of directories only, into which it goes.
//! - As soon as it asks for any file, it is given everything again, and [rarely](RARELY) a probe.

use parking_lot::Mutex;

/// In how many directories, one after the other, no file was looked at by a client that wants names alone.
const ENOUGH: u8 = 4;
/// How many directories there are between two probes for a client that looks at files: a probe costs it a request.
const RARELY: u8 = 64;
/// How many clients are remembered. Those of one place in the table push each other out, and then get everything.
const LISTERS: usize = 16;

/// What a client is given of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Given {
    /// Names and attributes.
    All,
    /// The same, with a probe if there is no directory in it.
    AllWithProbe,
    /// Names, and the attributes of directories.
    Directories,
}

/// The clients that list directories.
#[derive(Debug, Default)]
pub(super) struct Listers(Mutex<[Lister; LISTERS]>);

/// A thread that lists directories.
#[derive(Debug, Clone, Copy, Default)]
struct Lister {
    /// Its number; 0 for none.
    client: u32,
    /// Whether it was given a probe in the last directory, and has not asked for it.
    is_probed: bool,
    /// In how many directories in a row it did not ask for the probe.
    unused: u8,
    /// How many directories come before the next probe.
    until_probe: u8,
}

impl Lister {
    fn new(client: u32) -> Self {
        Self {
            client,
            // Who lists a single directory gets no probe.
            until_probe: 1,
            ..Self::default()
        }
    }
}

impl Listers {
    /// A client, by the number of its thread (0 where it has none here), begins to read a directory.
    pub(super) fn begins(&self, client: u32) -> Given {
        self.with(client, true, |lister| {
            if std::mem::take(&mut lister.is_probed) {
                lister.unused += 1;
            }
            if lister.unused >= ENOUGH {
                return Given::Directories;
            }
            match lister.until_probe.checked_sub(1) {
                None => Given::AllWithProbe,
                Some(left) => {
                    lister.until_probe = left;
                    Given::All
                }
            }
        })
        .unwrap_or(Given::All)
    }

    /// It was given a probe.
    pub(super) fn probes(&self, client: u32) {
        self.with(client, false, |lister| lister.is_probed = true);
    }

    /// It asks for something that is no directory.
    pub(super) fn looks(&self, client: u32) {
        self.with(client, false, |lister| {
            lister.is_probed = false;
            lister.unused = 0;
            lister.until_probe = RARELY;
        });
    }

    /// Calls `f` with what is known of a client. If that is nothing, it is remembered from now on or not.
    fn with<T>(&self, client: u32, remember: bool, f: impl FnOnce(&mut Lister) -> T) -> Option<T> {
        let mut listers = self.0.lock();
        let lister = listers.get_mut(client as usize % LISTERS)?;
        if client == 0 || (lister.client != client && !remember) {
            return None;
        }
        if lister.client != client {
            *lister = Lister::new(client);
        }
        Some(f(lister))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIND: u32 = 7;

    /// What a client that goes by names is given of its next directories.
    fn list(listers: &Listers, client: u32, directories: usize) -> Vec<Given> {
        let list = |_| {
            let given = listers.begins(client);
            if given == Given::AllWithProbe {
                listers.probes(client);
            }
            given
        };
        (0..directories).map(list).collect()
    }

    #[test]
    fn who_goes_by_names_is_soon_given_names_until_it_looks_at_a_file() {
        let listers = Listers::default();
        let given = list(&listers, FIND, 8);
        assert_eq!(given[0], Given::All);
        assert_eq!(given[1..5], [Given::AllWithProbe; 4]);
        assert_eq!(given[5..], [Given::Directories; 3]);
        listers.looks(FIND);
        let given = list(&listers, FIND, usize::from(RARELY) + 1);
        assert!(
            given[..usize::from(RARELY)]
                .iter()
                .all(|given| *given == Given::All)
        );
        assert_eq!(given[usize::from(RARELY)], Given::AllWithProbe);
    }

    #[test]
    fn who_looks_at_files_is_always_given_attributes() {
        let listers = Listers::default();
        for _ in 0..1000 {
            let given = list(&listers, FIND, 1);
            assert_ne!(given[0], Given::Directories);
            if given[0] == Given::AllWithProbe {
                listers.looks(FIND);
            }
        }
    }

    /// Clients of another namespace have no number here, and are no one client.
    #[test]
    fn clients_are_apart_and_those_without_a_number_get_everything() {
        let listers = Listers::default();
        assert_eq!(list(&listers, FIND, 6)[5], Given::Directories);
        assert_eq!(list(&listers, FIND + 1, 1), [Given::All]);
        assert_eq!(list(&listers, 0, 10), [Given::All; 10]);
        assert_eq!(list(&listers, FIND, 1), [Given::Directories]);
        listers.looks(FIND + LISTERS as u32);
        assert_eq!(list(&listers, FIND, 1), [Given::Directories]);
        assert_eq!(list(&listers, FIND + LISTERS as u32, 1), [Given::All]);
        assert_eq!(list(&listers, FIND, 1), [Given::All]);
    }
}
