//! The search through the layers for what a name stands for.
//!
//! The layers are searched from the top. A whiteout ends the search with nothing, a file ends it
//! with that file, and a directory is joined with the directories of the same name below it, down
//! to the first that is opaque or no directory. A redirect on the way changes the name, or the path,
//! that is looked for in the layers below it; a file whose data was left below (metacopy) is searched
//! on for that.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use plyfs_sys::xattr::At;
use rustix::fs::Statx;

use crate::Overlay;
use crate::config::RedirectDir;
use crate::disk::calls::{stat_name, stat_of_absent};
use crate::error::{Errno, Result, decided};
use crate::inode::backing::Backing;
use crate::inode::dir::Names;
use crate::inode::listing::FirstLayer;
use crate::inode::node::Node;
use crate::layer::lower::Layer;
use crate::layer::lower_dir::{LowerDir, LowerFile};
use crate::layer::overlay_xattrs::{DirXattrs, FileXattrs};
use crate::layer::redirect::Redirect;
use crate::layer::upper::Upper;
use crate::layer::whiteout::is_whiteout;
use crate::ops::layer_entry::LayerEntry;
use crate::types::{FileKind, Name};

impl Overlay {
    /// Searches the layers for a name in a directory. `None` if no layer has it, or a whiteout hides
    /// it. `first` says where it is known to be found first.
    pub(super) fn lookup_layers(
        &self,
        parent: &Arc<Node>,
        names: &Names,
        name: &Name,
        first: FirstLayer,
    ) -> Result<Option<LayerEntry>> {
        let mut search = LayerLookup {
            overlay: self,
            way: Redirect::Name(name.clone()),
            redirected: false,
            lost: None,
            found: None,
            wants_data: false,
            stop: false,
        };
        let skipped = match first {
            FirstLayer::Unknown => {
                search.upper(parent, names, name)?;
                0
            }
            FirstLayer::Upper => {
                search.upper(parent, names, name)?;
                // Only what leads elsewhere, or nowhere, leads on.
                let leads = search.redirected || search.wants_data || search.lost.is_some();
                search.stop |= !leads;
                0
            }
            FirstLayer::Lower(first) => {
                let is_above = |lower: &Arc<LowerDir>| lower.layer < first;
                names.lowers.partition_point(is_above)
            }
        };
        if !search.stop {
            search.lowers(&names.lowers, skipped)?;
        }
        if search.wants_data {
            // A file without its data would read as zeros.
            log::error!("the data of {} is in no layer", name.display());
            return Err(decided(Errno::IO));
        }
        Ok(search.found)
    }
}

/// Where the search goes on below, if not by the same name; an error if that cannot be told.
type Turn = Option<Result<Redirect>>;

struct LayerLookup<'o> {
    overlay: &'o Overlay,
    /// What is looked for in the next layer.
    way: Redirect,
    /// Whether a redirect has led there.
    redirected: bool,
    /// Why it is not known what to look for.
    lost: Option<Errno>,
    found: Option<LayerEntry>,
    /// What was found is a metacopy, and its data was not found yet.
    wants_data: bool,
    stop: bool,
}

/// Whether a file may be a metacopy, whatever its directory says. The kernel does not mark a directory
/// impure for one that was copied up without its origin, and nothing does for one that was put there; its
/// data would read as zeros. Its records may take some blocks.
fn is_suspect(kind: FileKind, blocks: u64, size: u64) -> bool {
    const RECORDS: u64 = 16;
    kind == FileKind::Regular && size > 0 && blocks.saturating_sub(RECORDS) < size.div_ceil(512)
}

impl LayerLookup<'_> {
    /// Looks at the name in the upper layer.
    fn upper(&mut self, parent: &Arc<Node>, names: &Names, name: &Name) -> Result<()> {
        let overlay = self.overlay;
        let Some(upper) = overlay.upper.as_ref().filter(|_| parent.in_upper()) else {
            return Ok(());
        };
        let dir = overlay.upper_dir(parent)?;
        if upper.layer.is_archive_name(name) {
            self.stop = true;
            return Ok(());
        }
        let Some(stat) = overlay.upper_stat(dir.as_fd(), name)? else {
            self.stop = upper.layer.has_archive_whiteout(dir.as_fd(), name)?;
            return Ok(());
        };
        self.stop = true;
        if is_whiteout(&stat) {
            return Ok(());
        }
        let at = At::Name(dir.as_fd(), name.as_bytes());
        let mut found = overlay.found_upper(at, &stat)?;
        let is_dir = found.attr.kind.is_dir();
        if is_dir && overlay.is_layer(at, &stat) {
            return Err(Errno::LOOP);
        }
        // Nearly every object has no xattrs of an overlay, so each system call to read them needs a reason.
        if is_dir && (!names.lowers.is_empty() || overlay.is_impure(parent, dir.as_fd())) {
            self.upper_dir_xattrs(upper, dir.as_fd(), name, &mut found)?;
        } else if !is_dir
            && (overlay.metacopy
                || is_suspect(found.attr.kind, found.attr.blocks, found.attr.size)
                || overlay.is_impure(parent, dir.as_fd()))
        {
            self.upper_file_xattrs(at, &mut found)?;
        }
        self.found = Some(found);
        Ok(())
    }

    /// Follows what the xattrs of an upper directory say of those below it.
    fn upper_dir_xattrs(
        &mut self,
        upper: &Upper,
        dir: BorrowedFd<'_>,
        name: &Name,
        found: &mut LayerEntry,
    ) -> Result<()> {
        let at = At::Name(dir, name.as_bytes());
        let mut xattrs = DirXattrs::read(at, self.overlay.namespace, upper.layer.marks)?;
        xattrs.opaque |= upper.layer.is_archive_opaque(dir, name)?;
        self.stop = xattrs.opaque;
        if !xattrs.opaque {
            self.turn(xattrs.redirect.clone());
            found.redirect = xattrs.redirect.and_then(Result::ok);
        }
        Ok(())
    }

    /// Follows what the xattrs of an upper file say of the file that it is a copy of.
    fn upper_file_xattrs(&mut self, at: At<'_>, found: &mut LayerEntry) -> Result<()> {
        let overlay = self.overlay;
        let xattrs = FileXattrs::read(at, overlay.namespace)?;
        if let Some(origin) = &xattrs.origin {
            let number = overlay.origins.object(origin, &overlay.ino_mapper);
            found.number = number.unwrap_or(found.object);
            overlay.find_indexed(found, origin)?;
        }
        if xattrs.metacopy && found.attr.kind == FileKind::Regular {
            self.stop = false;
            self.wants_data = true;
            self.turn(xattrs.redirect.clone());
            found.redirect = xattrs.redirect.and_then(Result::ok);
        }
        Ok(())
    }

    /// Goes on by a redirect in the layers below.
    fn turn(&mut self, redirect: Turn) {
        match redirect {
            Some(Ok(redirect)) => {
                self.way = redirect;
                self.redirected = true;
            }
            Some(Err(errno)) => self.lost = Some(errno),
            None => {}
        }
    }

    /// Searches the lower layers, beginning in one of the lower directories of the parent.
    fn lowers(&mut self, own: &[Arc<LowerDir>], first: usize) -> Result<()> {
        let overlay = self.overlay;
        let mut next = first;
        let mut from_roots = false;
        while !self.stop {
            if !from_roots && matches!(self.way, Redirect::Path(_)) {
                // On in the next layer, from its root.
                next = match next.checked_sub(1).and_then(|last| own.get(last)) {
                    Some(last) => usize::from(last.layer) + 1,
                    None => 0,
                };
                from_roots = true;
            }
            let bases = if from_roots { &overlay.roots } else { own };
            let Some(base) = bases.get(next) else { break };
            self.layer(base)?;
            next += 1;
        }
        if self.wants_data {
            self.data_layers()?;
        }
        Ok(())
    }

    /// Follows the way from a directory of one layer.
    fn layer(&mut self, base: &Arc<LowerDir>) -> Result<()> {
        if let Some(errno) = self.lost {
            return Err(errno);
        }
        let names = match &self.way {
            Redirect::Name(name) => {
                let name = name.clone();
                let (_, redirect) = self.look(base, &name, true)?;
                self.turn(redirect);
                return Ok(());
            }
            Redirect::Path(names) => names.clone(),
        };
        let mut dir = base.clone();
        let mut way = Vec::with_capacity(names.len());
        let mut turned = false;
        for (i, name) in names.iter().enumerate() {
            let is_end = i + 1 == names.len();
            let (found, redirect) = self.look(&dir, name, is_end)?;
            turned |= redirect.is_some();
            match redirect {
                Some(Ok(Redirect::Path(path))) => {
                    way = path.to_vec();
                    // An opaque directory above does not hide what a path leads to.
                    self.stop = false;
                }
                Some(Ok(Redirect::Name(name))) => way.push(name),
                lost @ Some(Err(_)) => {
                    self.turn(lost);
                    return Ok(());
                }
                None => way.push(name.clone()),
            }
            let Some(found) = found else {
                way.extend_from_slice(&names[i + 1..]);
                break;
            };
            dir = found;
        }
        if turned {
            self.turn(Some(Ok(Redirect::Path(way.into()))));
        }
        Ok(())
    }

    /// Looks at one name in a lower directory, which `is_end` says is the end of the way. Returns the
    /// directory of that name, and the redirect of what is there.
    fn look(
        &mut self,
        dir: &Arc<LowerDir>,
        name: &Name,
        is_end: bool,
    ) -> Result<(Option<Arc<LowerDir>>, Turn)> {
        let overlay = self.overlay;
        let fd = dir.open(&overlay.lowers, &overlay.fds)?;
        let layer = &overlay.lowers[usize::from(dir.layer)];
        if layer.is_archive_name(name) {
            return Ok((None, None));
        }
        let at = At::Name(fd.as_fd(), name.as_bytes());
        let Some(stat) = self.stat_visible(dir, layer, (fd.as_fd(), name))? else {
            return Ok((None, None));
        };
        let kind =
            FileKind::from_mode(u32::from(stat.stx_mode)).ok_or_else(|| decided(Errno::IO))?;
        let unfit = is_end && self.wants_data && kind != FileKind::Regular;
        if unfit || (!kind.is_dir() && (!is_end || self.is_dir())) {
            // Below a directory, a file is hidden with everything under it.
            self.stop = true;
            return Ok((None, None));
        }
        if is_end && self.redirected && overlay.redirect_dir == RedirectDir::NoFollow {
            return Err(Errno::PERM);
        }
        if !kind.is_dir() {
            let redirect = self.take_file(dir, name, at, &stat, layer)?;
            return Ok((None, redirect));
        }
        // What is mounted inside a layer would not be met without the mount.
        if !layer.is_mounted_inside(&stat) && overlay.is_layer(at, &stat) {
            log::debug!(
                "{} is the root of a layer: overlapping layers",
                name.display()
            );
            return Err(Errno::LOOP);
        }
        let mut xattrs = if overlay.reads_overlay_xattrs(dir.layer) {
            DirXattrs::read(at, overlay.namespace, layer.marks)?
        } else {
            DirXattrs::default()
        };
        xattrs.opaque |= layer.is_archive_opaque(fd.as_fd(), name)?;
        let child = LowerDir::child(dir, name, &xattrs);
        if is_end {
            self.take_dir(&child, at, &stat, layer)?;
        }
        // Opaque hides what is below, also below a redirect that it has from another time.
        self.stop |= xattrs.opaque;
        let redirect = xattrs.redirect.filter(|_| !xattrs.opaque);
        Ok((Some(child), redirect))
    }

    /// The stat of a name in a lower directory, if it is there and no whiteout. A whiteout ends the lookup.
    fn stat_visible(
        &mut self,
        dir: &Arc<LowerDir>,
        layer: &Layer,
        (fd, name): (BorrowedFd<'_>, &Name),
    ) -> Result<Option<Statx>> {
        let stat = match stat_name(fd, name.as_bytes()) {
            // A redirect may name what cannot be.
            Err(Errno::NAMETOOLONG) if self.redirected => None,
            stat => stat_of_absent(stat)?,
        };
        let Some(stat) = stat else {
            self.stop |= layer.has_archive_whiteout(fd, name)?;
            return Ok(None);
        };
        if self
            .overlay
            .hides(dir, At::Name(fd, name.as_bytes()), &stat)?
        {
            self.stop = true;
            return Ok(None);
        }
        Ok(Some(stat))
    }

    fn is_dir(&self) -> bool {
        self.found
            .as_ref()
            .is_some_and(|found| found.attr.kind.is_dir())
    }

    fn take_dir(
        &mut self,
        child: &Arc<LowerDir>,
        at: At<'_>,
        stat: &Statx,
        layer: &Layer,
    ) -> Result<()> {
        let object = self.overlay.object_of(stat);
        if let Some(found) = &mut self.found {
            if found.lowers.is_empty() {
                found.number = object;
            }
            found.lowers.push(child.clone());
            return Ok(());
        }
        let backing = Backing::Lower(child.clone());
        self.found = Some(LayerEntry {
            lowers: vec![child.clone()],
            ..self.overlay.found_alone(backing, at, stat, layer.records)?
        });
        Ok(())
    }

    /// Takes a file as what was looked for, or as the data of it. Returns where to go on.
    fn take_file(
        &mut self,
        dir: &Arc<LowerDir>,
        name: &Name,
        at: At<'_>,
        stat: &Statx,
        layer: &Layer,
    ) -> Result<Turn> {
        let overlay = self.overlay;
        if self.found.is_none() {
            let backing = Backing::Lower(dir.clone());
            let mut found = overlay.found_alone(backing, at, stat, layer.records)?;
            found.is_mounted_inside = layer.is_mounted_inside(stat);
            // The index knows one file for all paths to an inode. The kernel's overlay sees no such path twice.
            if stat.stx_nlink > 1 && !found.is_mounted_inside {
                self.wants_data = overlay.replace_by_indexed(&mut found, at, stat)?;
            }
            self.found = Some(found);
        }
        let kind =
            FileKind::from_mode(u32::from(stat.stx_mode)).ok_or_else(|| decided(Errno::IO))?;
        let may_be_metacopy = kind == FileKind::Regular
            && (dir.impure || overlay.metacopy || is_suspect(kind, stat.stx_blocks, stat.stx_size))
            && overlay.reads_overlay_xattrs(dir.layer);
        let xattrs = if may_be_metacopy {
            FileXattrs::read(at, overlay.namespace)?
        } else {
            FileXattrs::default()
        };
        if xattrs.metacopy {
            self.wants_data = true;
            return Ok(xattrs.redirect);
        }
        if self.wants_data
            && let Some(found) = &mut self.found
        {
            found.data = Some(LowerFile {
                dir: dir.clone(),
                name: name.clone(),
            });
            self.wants_data = false;
        }
        self.stop = true;
        Ok(None)
    }

    /// Looks for the data of a metacopy in the layers that hold nothing but data.
    fn data_layers(&mut self) -> Result<()> {
        if let Some(errno) = self.lost {
            return Err(errno);
        }
        let overlay = self.overlay;
        let Redirect::Path(names) = &self.way else {
            return Ok(());
        };
        let Some((name, above)) = names.split_last() else {
            return Ok(());
        };
        let file_in = |root: &Arc<LowerDir>| {
            let none = DirXattrs::default();
            let child = |dir: Arc<LowerDir>, name| LowerDir::child(&dir, name, &none);
            LowerFile {
                dir: above.iter().fold(root.clone(), child),
                name: name.clone(),
            }
        };
        let mut data = None;
        for root in &overlay.data_roots {
            let file = file_in(root);
            let fd = match file.dir.open(&overlay.lowers, &overlay.fds) {
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                other => other?,
            };
            let stat = stat_of_absent(stat_name(fd.as_fd(), name.as_bytes()))?;
            let kind = stat.and_then(|stat| FileKind::from_mode(u32::from(stat.stx_mode)));
            if kind == Some(FileKind::Regular) {
                data = Some(file);
                break;
            }
        }
        // Without a data file the metadata is still valid; only reading fails.
        let data = data.or_else(|| overlay.data_roots.first().map(file_in));
        if let (Some(found), Some(data)) = (&mut self.found, data) {
            found.data = Some(data);
            self.wants_data = false;
        }
        Ok(())
    }
}
