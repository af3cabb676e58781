//! A listing: the names of one directory, in an order that readers can rely on.
//!
//! It is kept up to date by whatever changes a name, and every entry has a cookie that grows with
//! the order of entry and is never used again. A reader that continues after a cookie therefore
//! sees each name that was there all the time exactly once, whatever is made or removed meanwhile,
//! and `rm -r`, which removes what it has just been told, misses nothing.
//!
//! There is an entry for every name of every directory that was listed and is still known, so entries
//! are small, and names are shared with the nodes.

use std::ffi::OsStr;
use std::hash::{BuildHasher, RandomState};
use std::os::unix::ffi::OsStrExt;

use hashbrown::HashTable;

use crate::attr::FileKind;
use crate::layer::Name;
use crate::number::ObjectId;

/// Cookie of `.`; that of `..` follows, then those of the entries.
pub(crate) const DOT: u64 = 1;
pub(crate) const DOT_DOT: u64 = 2;

/// How many entries a reader takes from the listing at a time.
const BATCH: usize = 64;

/// What a listing knows of the object behind a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// Its number follows from this object.
    Object(ObjectId, FileKind),
    /// Only a lookup tells: it may be merged, or not be of the type it is on disk.
    Unresolved,
}

/// Where a name is found first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Source {
    /// Perhaps in the upper layer: it is looked for in all of them.
    #[default]
    Unknown,
    /// In the upper layer, with nothing of that name in the lower ones.
    Upper,
    /// In this lower layer, and in none above it.
    Lower(u16),
}

/// An entry, as it is kept.
#[derive(Debug)]
struct Item {
    cookie: u64,
    /// `None` if it was removed.
    name: Option<Name>,
    /// Says something together with `kind` only.
    object: ObjectId,
    /// `None` if only a lookup tells.
    kind: Option<FileKind>,
    source: Source,
}

impl Item {
    fn set(&mut self, known: Known, source: Source) {
        match known {
            Known::Object(object, kind) => (self.object, self.kind) = (object, Some(kind)),
            Known::Unresolved => self.kind = None,
        }
        self.source = source;
    }

    fn known(&self) -> Known {
        match self.kind {
            Some(kind) => Known::Object(self.object, kind),
            None => Known::Unresolved,
        }
    }
}

/// An entry, as readers get it.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) cookie: u64,
    pub(crate) name: Name,
    pub(crate) known: Known,
}

/// The names of one directory.
#[derive(Debug)]
pub(crate) struct Listing {
    /// In the order of their cookies. What was removed stays, without a name, until half are.
    items: Vec<Item>,
    /// The positions of those that have a name, by their names.
    positions: HashTable<u32>,
    /// Names may be picked to collide.
    hash: RandomState,
    next: u64,
}

impl Listing {
    /// Of a directory with nothing in it.
    pub(crate) fn new() -> Self {
        Self {
            items: Vec::new(),
            positions: HashTable::new(),
            hash: RandomState::new(),
            next: DOT_DOT + 1,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    pub(crate) fn names(&self) -> Vec<Name> {
        let items = self.items.iter();
        items.filter_map(|item| item.name.clone()).collect()
    }

    pub(crate) fn contains(&self, name: &OsStr) -> bool {
        self.find(name).is_some()
    }

    /// A name as it is kept, and where it is found first; `None` if there is no such name.
    pub(crate) fn get(&self, name: &OsStr) -> Option<(Name, Source)> {
        let item = self.items.get(self.find(name)?)?;
        Some((item.name.clone()?, item.source))
    }

    /// What is known of a name.
    pub(crate) fn known(&self, name: &OsStr) -> Option<Known> {
        Some(self.items.get(self.find(name)?)?.known())
    }

    /// Where a name is found first; `Unknown` also if there is no such name.
    pub(crate) fn source(&self, name: &OsStr) -> Source {
        let item = self.find(name).and_then(|at| self.items.get(at));
        item.map(|item| item.source).unwrap_or_default()
    }

    /// Adds a name, or says anew what is behind it, of which something is in the upper layer.
    pub(crate) fn insert(&mut self, name: &Name, known: Known) {
        self.insert_from(name, known, Source::Unknown);
    }

    /// Adds a name, or says anew what is behind it and where that is found first.
    pub(crate) fn insert_from(&mut self, name: &Name, known: Known, source: Source) {
        if let Some(at) = self.find(name) {
            self.items[at].set(known, source);
            return;
        }
        let cookie = self.next;
        self.next += 1;
        let mut item = Item {
            cookie,
            name: Some(name.clone()),
            object: ObjectId::default(),
            kind: None,
            source,
        };
        item.set(known, source);
        self.items.push(item);
        self.enter(self.items.len() - 1, name);
    }

    /// Says that something of a name is in the upper layer now.
    pub(crate) fn raise(&mut self, name: &OsStr) {
        if let Some(at) = self.find(name) {
            self.items[at].source = Source::Unknown;
        }
    }

    /// Says that a lower layer has the name of something in the upper one, too.
    pub(crate) fn cover(&mut self, name: &OsStr) {
        if let Some(at) = self.find(name)
            && self.items[at].source == Source::Upper
        {
            self.items[at].source = Source::Unknown;
        }
    }

    /// Says that only a lookup tells what is behind a name.
    pub(crate) fn unresolve(&mut self, name: &OsStr) {
        if let Some(at) = self.find(name) {
            self.items[at].kind = None;
        }
    }

    /// Takes over what another listing of the same directory says. What was in both keeps its place.
    pub(crate) fn renew(&mut self, now: Self) {
        if self.next == DOT_DOT + 1 {
            *self = now;
            return;
        }
        for name in self.names() {
            if !now.contains(&name) {
                self.remove(&name);
            }
        }
        for item in &now.items {
            if let Some(name) = &item.name {
                self.insert_from(name, item.known(), item.source);
            }
        }
    }

    pub(crate) fn remove(&mut self, name: &OsStr) {
        let Some(at) = self.leave(name) else { return };
        self.items[at].name = None;
        if self.items.len() > 2 * self.positions.len() + BATCH {
            self.items.retain(|item| item.name.is_some());
            self.number_anew();
        }
    }

    /// Gives an entry another name, in its place: whoever renames what a listing tells would be told of
    /// it again and again otherwise.
    pub(crate) fn rename(&mut self, from: &OsStr, to: &Name) {
        self.remove(to);
        if let Some(at) = self.leave(from) {
            self.items[at].name = Some(to.clone());
            self.items[at].source = Source::Unknown;
            self.enter(at, to);
        }
    }

    /// Gives back what was allocated for more.
    pub(crate) fn shrink(&mut self) {
        let (items, hash) = (&mut self.items, &self.hash);
        items.shrink_to_fit();
        self.positions.shrink_to_fit(|at| hash_at(hash, items, *at));
    }

    /// Up to [`BATCH`] entries after the cookie.
    pub(crate) fn after(&self, cookie: u64) -> Vec<Listed> {
        let start = self.items.partition_point(|item| item.cookie <= cookie);
        let rest = self.items.get(start..).unwrap_or_default();
        let listed = |item: &Item| {
            Some(Listed {
                cookie: item.cookie,
                name: item.name.clone()?,
                known: item.known(),
            })
        };
        rest.iter().filter_map(listed).take(BATCH).collect()
    }

    /// The position of a name.
    fn find(&self, name: &OsStr) -> Option<usize> {
        let hash = self.hash.hash_one(name.as_bytes());
        let is_it = |at: &u32| has_name(&self.items, *at, name);
        self.positions.find(hash, is_it).map(|at| *at as usize)
    }

    /// Makes a name that is not there yet be found.
    fn enter(&mut self, at: usize, name: &OsStr) {
        let (items, hash) = (&self.items, &self.hash);
        // Nobody has the memory for more.
        let at = u32::try_from(at).unwrap_or(u32::MAX);
        self.positions
            .insert_unique(hash.hash_one(name.as_bytes()), at, |at| {
                hash_at(hash, items, *at)
            });
    }

    /// Lets a name be found no more; returns its position.
    fn leave(&mut self, name: &OsStr) -> Option<usize> {
        let hash = self.hash.hash_one(name.as_bytes());
        let is_it = |at: &u32| has_name(&self.items, *at, name);
        let entry = self.positions.find_entry(hash, is_it).ok()?;
        Some(entry.remove().0 as usize)
    }

    fn number_anew(&mut self) {
        self.positions.clear();
        let names = self.names();
        for (at, name) in names.iter().enumerate() {
            self.enter(at, name);
        }
    }
}

fn has_name(items: &[Item], at: u32, name: &OsStr) -> bool {
    let item = items.get(at as usize);
    item.is_some_and(|item| item.name.as_deref() == Some(name))
}

fn hash_at(hash: &RandomState, items: &[Item], at: u32) -> u64 {
    let name = items.get(at as usize).and_then(|item| item.name.as_deref());
    hash.hash_one(name.unwrap_or_default().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::Device;
    use crate::number::Numbering;

    fn name(text: &str) -> Name {
        Name::from(OsStr::new(text))
    }

    fn known(ino: u64) -> Known {
        let object = Numbering::default().object(Device::default(), ino);
        Known::Object(object, FileKind::Regular)
    }

    fn names(items: &[Listed]) -> Vec<String> {
        let text = |item: &Listed| item.name.to_string_lossy().into_owned();
        items.iter().map(text).collect()
    }

    #[test]
    fn a_reader_misses_nothing_while_names_come_and_go() {
        let mut listing = Listing::new();
        for i in 0..1000 {
            listing.insert(&name(&format!("f{i}")), known(i));
        }
        let mut cookie = 0;
        let mut seen = Vec::new();
        loop {
            let batch = listing.after(cookie);
            let Some(last) = batch.last() else { break };
            cookie = last.cookie;
            for item in &batch {
                listing.remove(&item.name);
            }
            seen.extend(names(&batch));
            if seen.len() < 100 {
                listing.insert(&name("late"), known(5000));
            }
        }
        assert_eq!(seen.len(), 1001);
        assert!(listing.is_empty());
    }

    #[test]
    fn removed_names_do_not_pile_up() {
        let mut listing = Listing::new();
        for i in 0..10_000 {
            let name = name(&format!("f{i}"));
            listing.insert(&name, known(i));
            listing.remove(&name);
        }
        assert!(listing.items.len() <= BATCH + 1);
        assert!(listing.after(0).is_empty());
    }

    #[test]
    fn a_renamed_entry_keeps_its_place() {
        let mut listing = Listing::new();
        for (i, text) in ["a", "b", "c"].iter().enumerate() {
            listing.insert(&name(text), known(i as u64));
        }
        let first = listing.after(0)[0].cookie;
        listing.rename(OsStr::new("a"), &name("z"));
        assert_eq!(names(&listing.after(0)), ["z", "b", "c"]);
        assert_eq!(names(&listing.after(first)), ["b", "c"]);
        listing.rename(OsStr::new("z"), &name("c"));
        assert_eq!(names(&listing.after(0)), ["c", "b"]);
        assert!(!listing.contains(OsStr::new("z")));
    }

    #[test]
    fn what_is_renewed_keeps_its_place() {
        let listing = |texts: &[&str]| {
            let mut listing = Listing::new();
            for (i, text) in texts.iter().enumerate() {
                listing.insert(&name(text), known(i as u64));
            }
            listing
        };
        let mut kept = listing(&["a", "b", "c"]);
        let second = kept.after(0)[1].cookie;
        kept.renew(listing(&["d", "c", "a"]));
        assert_eq!(names(&kept.after(0)), ["a", "c", "d"]);
        assert_eq!(names(&kept.after(second)), ["c", "d"]);
        assert_eq!(kept.known(OsStr::new("c")), Some(known(1)));
        kept.renew(Listing::new());
        assert!(kept.is_empty());
    }

    #[test]
    fn a_name_that_comes_back_has_a_new_place() {
        let mut listing = Listing::new();
        listing.insert(&name("a"), known(1));
        listing.insert(&name("b"), known(2));
        listing.remove(OsStr::new("a"));
        listing.insert(&name("a"), known(3));
        assert_eq!(names(&listing.after(0)), ["b", "a"]);
        assert!(listing.contains(OsStr::new("a")));
    }
}
