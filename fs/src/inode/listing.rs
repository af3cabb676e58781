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
use hashbrown::hash_table::Entry;

use crate::layer::object_id::ObjectId;
use crate::types::{FileKind, Name};

/// Cookie of `.`; that of `..` follows, then those of the entries.
pub(crate) const DOT: u64 = 1;
pub(crate) const DOT_DOT: u64 = 2;

/// How many entries a reader takes from the listing at a time.
const BATCH: usize = 64;

/// What a listing knows of the object behind a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryInfo {
    /// Its number follows from this object.
    Object(ObjectId, FileKind),
    /// Only a lookup tells: it may be merged, or not be of the type it is on disk.
    Unresolved,
}

/// Where a name is found first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum FirstLayer {
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
    /// Has a meaning together with `kind` only.
    object: ObjectId,
    /// `None` if only a lookup tells.
    kind: Option<FileKind>,
    source: FirstLayer,
}

impl Item {
    fn set(&mut self, known: EntryInfo, source: FirstLayer) {
        match known {
            EntryInfo::Object(object, kind) => (self.object, self.kind) = (object, Some(kind)),
            EntryInfo::Unresolved => self.kind = None,
        }
        self.source = source;
    }

    /// Whether it is known to be no directory.
    fn is_plain(&self) -> bool {
        self.kind.is_some_and(|kind| kind != FileKind::Directory)
    }

    fn known(&self) -> EntryInfo {
        match self.kind {
            Some(kind) => EntryInfo::Object(self.object, kind),
            None => EntryInfo::Unresolved,
        }
    }
}

/// Where an item is. The hash of its name is kept, so that a table that grows needs to look at no name.
#[derive(Debug, Clone, Copy)]
struct Position {
    at: u32,
    hash: u32,
}

impl Position {
    /// The hash as tables use it, of which they look at the highest and the lowest bits.
    fn spread(self) -> u64 {
        u64::from(self.hash) << 32 | u64::from(self.hash)
    }
}

/// An entry, as readers get it.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) cookie: u64,
    pub(crate) name: Name,
    pub(crate) known: EntryInfo,
}

/// The names of one directory.
#[derive(Debug)]
pub(crate) struct Listing {
    /// In the order of their cookies. What was removed stays, without a name, until half are.
    items: Vec<Item>,
    /// Where those are that have a name, by their names.
    positions: HashTable<Position>,
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
    pub(crate) fn get(&self, name: &OsStr) -> Option<(Name, FirstLayer)> {
        let item = self.items.get(self.find(name)?)?;
        Some((item.name.clone()?, item.source))
    }

    /// What is known of a name.
    pub(crate) fn known(&self, name: &OsStr) -> Option<EntryInfo> {
        Some(self.items.get(self.find(name)?)?.known())
    }

    /// Where a name is found first; `Unknown` also if there is no such name.
    pub(crate) fn source(&self, name: &OsStr) -> FirstLayer {
        let item = self.find(name).and_then(|at| self.items.get(at));
        item.map(|item| item.source).unwrap_or_default()
    }

    /// Adds a name, or updates what is behind it, of which something is in the upper layer.
    pub(crate) fn insert(&mut self, name: &Name, known: EntryInfo) {
        self.insert_from(name, known, FirstLayer::Unknown);
    }

    /// Adds a name, or updates what is behind it and where that is found first.
    pub(crate) fn insert_from(&mut self, name: &Name, known: EntryInfo, source: FirstLayer) {
        if let Err(at) = self.add_from(name, known, source)
            && let Some(item) = self.items.get_mut(at)
        {
            item.set(known, source);
        }
    }

    /// Adds a name that is not there yet. If it is, nothing changes.
    ///
    /// # Errors
    /// Where it is.
    pub(crate) fn add_from(
        &mut self,
        name: &Name,
        known: EntryInfo,
        source: FirstLayer,
    ) -> std::result::Result<(), usize> {
        let position = self.position(self.items.len(), name);
        let items = &self.items;
        let is_it = |other: &Position| is_named(items, position.hash, *other, name);
        let vacant = match self
            .positions
            .entry(position.spread(), is_it, |other| other.spread())
        {
            Entry::Occupied(known) => return Err(known.get().at as usize),
            Entry::Vacant(vacant) => vacant,
        };
        vacant.insert(position);
        let mut item = Item {
            cookie: self.next,
            name: Some(name.clone()),
            object: ObjectId::default(),
            kind: None,
            source,
        };
        item.set(known, source);
        self.next += 1;
        self.items.push(item);
        Ok(())
    }

    /// Records that the upper layer now has something of a name.
    pub(crate) fn raise(&mut self, name: &OsStr) {
        if let Some(at) = self.find(name) {
            self.items[at].source = FirstLayer::Unknown;
        }
    }

    /// Records that a lower layer has the name of something in the upper one, too.
    pub(crate) fn cover(&mut self, name: &OsStr) {
        if let Some(at) = self.find(name)
            && self.items[at].source == FirstLayer::Upper
        {
            self.items[at].source = FirstLayer::Unknown;
        }
    }

    /// Forgets what is behind a name: only a lookup tells.
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
            self.number_again();
        }
    }

    /// Gives an entry another name, in its place: a program that renames what a listing names would read of
    /// it again and again otherwise.
    pub(crate) fn rename(&mut self, from: &OsStr, to: &Name) {
        self.remove(to);
        if let Some(at) = self.leave(from) {
            self.items[at].name = Some(to.clone());
            self.items[at].source = FirstLayer::Unknown;
            self.enter(at, to);
        }
    }

    /// Ends the making of a listing that was not read yet: directories and what only a lookup tells come first,
    /// and what was allocated for more is given back.
    ///
    /// A reader that wants to know more of names than what they are may be of directories alone, to go down into
    /// them. It then gets them at once, and learns of the others in less time.
    pub(crate) fn complete(&mut self) {
        if !self.items.is_sorted_by_key(Item::is_plain) {
            self.put_directories_first();
        }
        self.items.shrink_to_fit();
        self.positions.shrink_to_fit(|position| position.spread());
    }

    fn put_directories_first(&mut self) {
        let items = std::mem::take(&mut self.items);
        let is_plain: Vec<bool> = items.iter().map(Item::is_plain).collect();
        let mut next_dir = 0;
        let mut next_plain = is_plain.iter().filter(|is_plain| !**is_plain).count() as u32;
        let moved: Vec<u32> = is_plain
            .iter()
            .map(|is_plain| {
                let next = match is_plain {
                    true => &mut next_plain,
                    false => &mut next_dir,
                };
                *next += 1;
                *next - 1
            })
            .collect();
        for position in self.positions.iter_mut() {
            if let Some(at) = moved.get(position.at as usize) {
                position.at = *at;
            }
        }
        let (plain, mut dirs): (Vec<_>, Vec<_>) = items.into_iter().partition(Item::is_plain);
        dirs.extend(plain);
        for (item, cookie) in dirs.iter_mut().zip(DOT_DOT + 1..) {
            item.cookie = cookie;
        }
        self.items = dirs;
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

    /// What a name is known by that is at some place.
    fn position(&self, at: usize, name: &OsStr) -> Position {
        Position {
            // There is no memory for more.
            at: u32::try_from(at).unwrap_or(u32::MAX),
            hash: self.hash.hash_one(name.as_bytes()) as u32,
        }
    }

    /// Where a name is.
    fn find(&self, name: &OsStr) -> Option<usize> {
        let position = self.position(0, name);
        let is_it = |other: &Position| is_named(&self.items, position.hash, *other, name);
        let found = self.positions.find(position.spread(), is_it)?;
        Some(found.at as usize)
    }

    /// Makes a name that is not there yet be found.
    fn enter(&mut self, at: usize, name: &OsStr) {
        let position = self.position(at, name);
        self.positions
            .insert_unique(position.spread(), position, |other| other.spread());
    }

    /// Lets a name be found no more; returns where it is.
    fn leave(&mut self, name: &OsStr) -> Option<usize> {
        let position = self.position(0, name);
        let is_it = |other: &Position| is_named(&self.items, position.hash, *other, name);
        let entry = self.positions.find_entry(position.spread(), is_it).ok()?;
        Some(entry.remove().0.at as usize)
    }

    fn number_again(&mut self) {
        self.positions.clear();
        let names = self.names();
        for (at, name) in names.iter().enumerate() {
            self.enter(at, name);
        }
    }
}

/// Whether the item at a position has this name, of this hash.
fn is_named(items: &[Item], hash: u32, at: Position, name: &OsStr) -> bool {
    let item = items.get(at.at as usize).filter(|_| at.hash == hash);
    item.is_some_and(|item| item.name.as_deref() == Some(name))
}

#[cfg(test)]
mod tests;
