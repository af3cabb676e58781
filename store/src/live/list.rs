//! What is live in a store.

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::entry::{LiveEntry, Unfinished};
use super::file::{
    LOOK, LOOKS, file_name, open_if_there, open_or_make, read_record, remove_if_stale,
};
use super::process::{Namespaces, ProcessId};
use super::record::{LiveRecord, LiveRequest};
use crate::container::generated_name;
use crate::disk::Store;
use crate::error::{ContainerError, Context, Result};
use crate::values::{ContainerName, Timestamp};

impl Store {
    /// Makes known that this process serves a mount or attends to a container, until what is returned is
    /// dropped. A container must be locked ([`Container::lock`](crate::Container::lock)) before, and until after.
    ///
    /// # Errors
    /// `ROFS`, `ACCESS` and the like if nothing can be written to the store, which is no reason not to
    /// mount; those of reading `/proc`.
    pub fn register(&self, what: LiveRequest) -> Result<LiveEntry> {
        let path = self.live_dir();
        let dir = open_or_make(&path)?;
        let mut record = LiveRecord {
            id: generated_name(0),
            process: ProcessId::own()?,
            namespace: Namespaces::own()?,
            started: Timestamp::now().to_rfc3339(),
            init: None,
            what,
        };
        let mut looks = 0;
        for attempt in 0..1000 {
            record.id = match &record.what.container {
                // The record of a process that is ending is in the way no longer than that takes.
                Some(name) if looks < LOOKS => name.clone(),
                _ => generated_name(attempt),
            };
            let is_container = record.what.container.as_ref() == Some(&record.id);
            if !is_container && self.containers_dir().join(record.id.as_str()).exists() {
                continue;
            }
            let unfinished = Unfinished::create(&dir, &path, &record)?;
            let place = file_name(&record.id);
            let none = AtFlags::empty();
            let linked = rustix::fs::linkat(&dir, &unfinished.name, &dir, &place, none);
            let unlinked = rustix::fs::unlinkat(&dir, &unfinished.name, none);
            match linked {
                Ok(()) => {
                    if let Err(errno) = unlinked
                        && errno != Errno::NOENT
                    {
                        log::debug!("cannot remove {}: {errno}", unfinished.name);
                    }
                    return Ok(LiveEntry {
                        record,
                        dir,
                        path,
                        file: unfinished.file,
                        owner: rustix::process::getpid(),
                    });
                }
                // Another process listed, and removed it before it was locked.
                Err(Errno::NOENT) => {}
                Err(Errno::EXIST) => {
                    if !remove_if_stale(&dir, &path, &place)? && is_container {
                        looks += 1;
                        std::thread::sleep(LOOK);
                    }
                }
                Err(errno) => return Err(errno).context("create", &path.join(place)),
            }
        }
        Err(ContainerError::NoFreeName.into())
    }

    /// What is live in this store, whatever namespace it is in, the oldest first. Stale records are
    /// removed.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn live(&self) -> Result<Vec<LiveRecord>> {
        let path = self.live_dir();
        let Some(dir) = open_if_there(&path)? else {
            return Ok(Vec::new());
        };
        let mut live = Vec::new();
        for entry in std::fs::read_dir(&path).context("list", &path)? {
            let name = entry.context("list", &path)?.file_name();
            // A name that is no text is none of ours.
            let Some(name) = name.to_str() else { continue };
            match read_record(&dir, &path, name) {
                Ok(record) => live.extend(record),
                Err(error) => log::warn!("a live record is passed over: {error}"),
            }
        }
        live.sort_by(|a, b| (&a.started, &a.id).cmp(&(&b.started, &b.id)));
        Ok(live)
    }

    /// What is live and called so, by its id or its container. A container has one record at most.
    ///
    /// # Errors
    /// As [`Store::live`].
    pub fn live_of(&self, name: &str) -> Result<Option<LiveRecord>> {
        let mut live = self.live()?.into_iter();
        Ok(live.find(|record| record.is_called(name)))
    }

    /// Whether something live has this id that is not in `containers/`: an image, or a container that goes
    /// with its process. No other container can be called so meanwhile.
    pub(crate) fn is_live_id(&self, name: &ContainerName) -> bool {
        let path = self.live_dir();
        let Ok(Some(dir)) = open_if_there(&path) else {
            return false;
        };
        match read_record(&dir, &path, &file_name(name)) {
            Ok(Some(record)) => record.what.temporary || record.what.container.is_none(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    use std::path::PathBuf;
    use std::sync::atomic::Ordering;

    use super::super::record::LiveKind;
    use super::*;
    use crate::values::{Digest, to_json};

    fn store(tmp: &tempfile::TempDir) -> Store {
        Store::open(tmp.path().join("store")).unwrap()
    }

    fn mount(container: Option<&str>) -> LiveRequest {
        LiveRequest {
            container: container.map(|name| name.parse().unwrap()),
            target: Some("/mnt".into()),
            ..LiveRequest::of(
                LiveKind::Mount,
                &"image:1".parse().unwrap(),
                Digest::of(b""),
            )
        }
    }

    fn files(store: &Store) -> usize {
        std::fs::read_dir(store.live_dir()).unwrap().count()
    }

    #[test]
    fn a_record_is_there_as_long_as_its_entry() {
        let tmp = tempfile::tempdir().unwrap();
        let store = store(&tmp);
        let entry = store.register(mount(Some("c"))).unwrap();
        let live = store.live_of("c").unwrap().unwrap();
        assert_eq!(&live, entry.record());
        assert_eq!(live.id.as_str(), "c");
        assert_eq!(live.process, ProcessId::own().unwrap());
        assert!(live.open_process().is_some() && live.open_init().is_none());
        assert_eq!(files(&store), 1);
        drop(entry);
        assert!(store.live().unwrap().is_empty());
        assert_eq!(files(&store), 0);
    }

    #[test]
    fn what_a_killed_process_left_is_removed() {
        let tmp = tempfile::tempdir().unwrap();
        let store = store(&tmp);
        let entry = store.register(mount(Some("c"))).unwrap();
        let copy = to_json(entry.record());
        drop(entry);
        for name in ["c.json", ".new-1-0", "broken.json"] {
            let content = if name == "broken.json" {
                b"{"
            } else {
                &copy[..]
            };
            std::fs::write(store.live_dir().join(name), content).unwrap();
        }
        // A record in the way is removed as well, if it is stale.
        let entry = store.register(mount(Some("c"))).unwrap();
        assert_eq!(entry.record().id.as_str(), "c");
        assert_eq!(store.live().unwrap(), [entry.record().clone()]);
        assert_eq!(files(&store), 1);
    }

    #[test]
    fn an_update_is_seen_and_keeps_the_lock() {
        let tmp = tempfile::tempdir().unwrap();
        let store = store(&tmp);
        let mut entry = store.register(mount(None)).unwrap();
        let id = entry.record().id.clone();
        let init = ProcessId { pid: 1, start: 0 };
        entry.update(|record| record.init = Some(init)).unwrap();
        let live = store.live().unwrap();
        assert_eq!(live.len(), 1);
        assert_eq!((live[0].init, &live[0].id), (Some(init), &id));
        assert!(store.is_live_id(&id));
        assert_eq!(files(&store), 1);
    }

    #[test]
    fn an_id_that_is_taken_is_not_given_again() {
        let tmp = tempfile::tempdir().unwrap();
        let store = store(&tmp);
        let first = store.register(mount(Some("c"))).unwrap();
        let second = store.register(mount(Some("c"))).unwrap();
        assert_ne!(first.record().id, second.record().id);
        assert!(second.record().is_called("c"));
        assert_eq!(store.live().unwrap().len(), 2);
    }

    #[test]
    fn a_path_that_is_no_text_is_kept() {
        let tmp = tempfile::tempdir().unwrap();
        let store = store(&tmp);
        let target = PathBuf::from(OsString::from_vec(b"/m\xff".to_vec()));
        let what = LiveRequest {
            target: Some(target.clone()),
            ..mount(None)
        };
        let _entry = store.register(what).unwrap();
        assert_eq!(store.live().unwrap()[0].what.target, Some(target));
    }

    #[test]
    fn a_store_without_the_directory_gets_one() {
        let tmp = tempfile::tempdir().unwrap();
        let store = store(&tmp);
        std::fs::remove_dir(store.live_dir()).unwrap();
        assert!(store.live().unwrap().is_empty());
        let entry = store.register(mount(None)).unwrap();
        let mode = rustix::fs::stat(store.live_dir()).unwrap().st_mode;
        assert_eq!(mode & 0o7777, 0o700);
        drop(entry);
    }

    /// Listing removes what is not locked; a record must not be among that while it is made or changed.
    #[test]
    fn listing_loses_no_record_that_changes() {
        let tmp = tempfile::tempdir().unwrap();
        let store = store(&tmp);
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    store.live().unwrap();
                }
            });
            for _ in 0..200 {
                let mut entry = store.register(mount(Some("c"))).unwrap();
                entry.update(|record| record.init = None).unwrap();
                assert!(
                    store
                        .live_dir()
                        .join(file_name(&entry.record().id))
                        .exists()
                );
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
