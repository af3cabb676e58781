//! Archives that hold an image: an index of where their members are.
//!
//! Nothing is unpacked. Members are looked up by name, links between them are followed inside the
//! archive only, and what they contain is read from the archive itself. An archive that is
//! compressed, or that comes through a pipe, is first written to the staging directory.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;

use crate::decode;
use crate::decode::{Decoder, Format};
use crate::disk::{Content, Staging};
use crate::error::{Context, Error, Result, SourceError};
use crate::tar::{Input, InputError, Kind, Reader};
use crate::values::limits;

/// How much of an archive is read at a time, in bytes.
const BUFFER: usize = 64 << 10;

/// An archive and where its members are.
#[derive(Debug)]
pub(crate) struct Archive {
    path: PathBuf,
    file: Arc<File>,
    members: HashMap<Vec<u8>, Member>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Member {
    /// Data: where it begins and how long it is, in bytes.
    File(u64, u64),
    /// Another name for the member of this name.
    Link(Vec<u8>),
    /// Two members of this name with different contents: readers would not agree on one.
    Twice,
}

/// Opens an archive and reads its headers.
pub(crate) fn open(
    path: &Path,
    staging: &Staging,
    interrupted: &dyn Fn() -> bool,
) -> Result<Archive> {
    let file = open_plain(path, staging, interrupted)?;
    let len = file.metadata().context("examine", path)?.len();
    let file = Arc::new(file);
    let content = Content::part(&file, 0, len);
    let members = index(content).map_err(|why| not_an_archive(path, &why))?;
    Ok(Archive {
        path: path.to_owned(),
        file,
        members,
    })
}

fn not_an_archive(path: &Path, why: &str) -> SourceError {
    SourceError::Kind {
        path: path.to_owned(),
        what: "an archive of an image",
        why: why.to_owned(),
    }
}

/// The archive as an uncompressed regular file.
fn open_plain(path: &Path, staging: &Staging, interrupted: &dyn Fn() -> bool) -> Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .open(path)
        .context("open", path)?;
    let metadata = file.metadata().context("examine", path)?;
    if metadata.is_dir() {
        return Err(not_an_archive(path, "it is a directory; oci: is for those").into());
    }
    let mut reader = BufReader::with_capacity(BUFFER, file);
    let start = decode::peek(&mut reader).context("read", path)?;
    let format = Format::of_magic(&start);
    if format == Format::Plain && metadata.is_file() {
        return Ok(reader.into_inner());
    }
    let copied = staging.path().join("archive");
    let mut out = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(&copied)
        .context("create", &copied)?;
    let mut decoder = Decoder::new(reader, format).context("decompress", path)?;
    copy(&mut decoder, &mut out, interrupted, path, &copied)?;
    Ok(out)
}

/// Copies all of it, telling errors of the one side from those of the other.
fn copy(
    from: &mut impl Read,
    to: &mut File,
    interrupted: &dyn Fn() -> bool,
    path: &Path,
    copied: &Path,
) -> Result<()> {
    let mut buffer = vec![0; 4 * BUFFER];
    loop {
        if interrupted() {
            return Err(Error::Interrupted);
        }
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.raw_os_error().is_some() => {
                return Err(error).context("read", path);
            }
            Err(error) => return Err(not_an_archive(path, &error.to_string()).into()),
        };
        let bytes = buffer.get(..count).unwrap_or_default();
        io::Write::write_all(to, bytes).context("write", copied)?;
    }
}

/// Reads all headers.
fn index(content: Content) -> std::result::Result<HashMap<Vec<u8>, Member>, String> {
    let mut reader = Reader::new(FileInput::new(content.clone()));
    let mut members = HashMap::new();
    for _ in 0..limits::ARCHIVE_MEMBERS {
        let Some(entry) = reader.next().map_err(|error| error.to_string())? else {
            return Ok(members);
        };
        let member = match entry.kind {
            Kind::File if !entry.sparse => Some(Member::File(reader.position(), entry.size)),
            Kind::Link => plain_path(b"", &entry.link).map(Member::Link),
            Kind::Symlink => plain_path(parent(&entry.path), &entry.link).map(Member::Link),
            _ => None,
        };
        // Names that lead out of the archive or are very long name nothing that is looked up.
        let name = plain_path(b"", &entry.path);
        if let (Some(name), Some(member)) = (name, member) {
            match members.entry(name) {
                Entry::Vacant(place) => drop(place.insert(member)),
                Entry::Occupied(mut place) => {
                    if !is_same(&content, place.get(), &member)? {
                        place.insert(Member::Twice);
                    }
                }
            }
        }
    }
    Err(format!(
        "it has more than {} members",
        limits::ARCHIVE_MEMBERS
    ))
}

/// Whether two members are the same. Builders append blobs that several images share once more.
fn is_same(content: &Content, one: &Member, other: &Member) -> std::result::Result<bool, String> {
    let (&Member::File(start, len), &Member::File(second, second_len)) = (one, other) else {
        return Ok(one == other && *one != Member::Twice);
    };
    if len != second_len {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; BUFFER], vec![0; BUFFER]);
    let mut done = 0;
    while done < len {
        let count = usize::try_from(len - done).map_or(BUFFER, |rest| rest.min(BUFFER));
        let (left, right) = (left.get_mut(..count), right.get_mut(..count));
        let (Some(left), Some(right)) = (left, right) else {
            return Ok(false);
        };
        for (buffer, from) in [(&mut *left, start), (&mut *right, second)] {
            read_exact(content, from + done, buffer)?;
        }
        if left != right {
            return Ok(false);
        }
        done += count as u64;
    }
    Ok(true)
}

/// Fills a buffer from a place in the archive.
fn read_exact(
    content: &Content,
    mut at: u64,
    mut buffer: &mut [u8],
) -> std::result::Result<(), String> {
    while !buffer.is_empty() {
        match content.read_at(at, buffer) {
            Ok(0) => return Err("it ends in the middle of a member".to_owned()),
            Ok(count) => {
                at += count as u64;
                buffer = buffer.get_mut(count..).unwrap_or_default();
            }
            Err(errno) => return Err(errno.to_string()),
        }
    }
    Ok(())
}

/// The directory part of a name.
fn parent(path: &[u8]) -> &[u8] {
    let slash = path.iter().rposition(|&byte| byte == b'/');
    slash
        .and_then(|slash| path.get(..slash))
        .unwrap_or_default()
}

/// A path below `base` without `.` and `..`; `None` if it leads out of the archive or is too long.
fn plain_path(base: &[u8], path: &[u8]) -> Option<Vec<u8>> {
    if path.len() > limits::ARCHIVE_NAME {
        return None;
    }
    let base = if path.starts_with(b"/") { b"" } else { base };
    let mut components: Vec<&[u8]> = Vec::new();
    for component in base
        .split(|&byte| byte == b'/')
        .chain(path.split(|&byte| byte == b'/'))
    {
        match component {
            b"" | b"." => {}
            b".." => drop(components.pop()?),
            name => components.push(name),
        }
    }
    (!components.is_empty()).then(|| components.join(&b'/'))
}

impl Archive {
    /// A member by its name; links lead to other members.
    pub(super) fn open(&self, name: &str) -> Result<Option<Content>> {
        let Some(mut name) = plain_path(b"", name.as_bytes()) else {
            return Ok(None);
        };
        for _ in 0..limits::ARCHIVE_LINKS {
            match self.members.get(&name) {
                None => return Ok(None),
                Some(Member::File(start, len)) => {
                    return Ok(Some(Content::part(&self.file, *start, *len)));
                }
                Some(Member::Link(target)) => name.clone_from(target),
                Some(Member::Twice) => {
                    let name = String::from_utf8_lossy(&name).into_owned();
                    let why = format!("it holds \"{}\" twice", crate::values::escaped(&name));
                    return Err(not_an_archive(&self.path, &why).into());
                }
            }
        }
        Err(not_an_archive(&self.path, "links in it lead in a circle").into())
    }
}

/// A file as the input of an archive reader: what is passed over is not read.
struct FileInput {
    content: Content,
    buffer: Vec<u8>,
    /// What of the buffer is filled and not yet taken.
    ready: std::ops::Range<usize>,
    /// Where in the file the end of what is ready is.
    position: u64,
}

impl FileInput {
    fn new(content: Content) -> Self {
        Self {
            content,
            // Headers lie far apart: between them is the data of layers.
            buffer: vec![0; 4096],
            ready: 0..0,
            position: 0,
        }
    }
}

impl Input for FileInput {
    fn fill(&mut self) -> std::result::Result<&[u8], InputError> {
        if self.ready.is_empty() {
            let read = self.content.read_at(self.position, &mut self.buffer);
            let count = read.map_err(InputError::Io)?;
            self.position += count as u64;
            self.ready = 0..count;
        }
        Ok(self.buffer.get(self.ready.clone()).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.ready.start = (self.ready.start + count).min(self.ready.end);
    }

    fn skip(&mut self, count: u64) -> std::result::Result<u64, InputError> {
        let ready = self.ready.len() as u64;
        if count <= ready {
            self.consume(usize::try_from(count).unwrap_or(usize::MAX));
            return Ok(count);
        }
        self.ready = 0..0;
        let left = self.content.len().saturating_sub(self.position);
        let jump = (count - ready).min(left);
        self.position += jump;
        Ok(ready + jump)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_in_the_archive() {
        for (base, path, plain) in [
            ("", "a/b", Some("a/b")),
            ("", "./a//b/", Some("a/b")),
            ("", "/a", Some("a")),
            ("d", "x", Some("d/x")),
            ("d", "../e/layer.tar", Some("e/layer.tar")),
            ("d", "/e", Some("e")),
            ("d", "../../e", None),
            ("", "..", None),
            ("", "a/../..", None),
            ("", ".", None),
            ("", "", None),
        ] {
            let found = plain_path(base.as_bytes(), path.as_bytes());
            assert_eq!(found.as_deref(), plain.map(str::as_bytes), "{base} {path}");
        }
    }
}
