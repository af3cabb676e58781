//! Extended attributes of a name below a directory, or of an `O_PATH` descriptor.
//!
//! The classic calls take a path or a descriptor opened for reading. A file the overlay holds is
//! neither: it is a directory descriptor and a name, or an `O_PATH` descriptor, and may be a
//! symbolic link, a device or unreadable. Linux 6.13 has calls for the first (`xattrat`).
//! For `O_PATH` descriptors, and on older kernels, `/proc/self/fd/N` leads to exactly the object of a
//! descriptor, so `/proc/self/fd/N/NAME` is a name below it; neither follows a link at its end with
//! the `l` calls. That takes four times as long, and `/proc` must be mounted (proc_pid_fd(5)).

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::{Result, xattrat};

/// The longest value or list of names the kernel has (xattr(7)), in bytes.
pub const MAX_SIZE: usize = 65536;

/// Which file an attribute belongs to.
#[derive(Debug, Clone, Copy)]
pub enum At<'a> {
    /// The object of the descriptor itself, which may be an `O_PATH` one.
    Fd(BorrowedFd<'a>),
    /// The name below the directory, not followed if it is a symbolic link.
    Name(BorrowedFd<'a>, &'a [u8]),
}

/// Reads an attribute into `buffer` and returns its length.
///
/// # Errors
/// `NODATA` if there is no such attribute, `RANGE` if the buffer is too small, which one without any
/// room is, and those of getxattr(2).
pub fn get(at: At<'_>, name: &CStr, buffer: &mut [u8]) -> Result<usize> {
    if buffer.is_empty() {
        // The calls would say how long the value is, and their wrappers differ in what they make of it.
        return Err(Errno::RANGE);
    }
    with_way(at, |way| match way {
        Way::Below(dir, path) => xattrat::get(dir, path, name, &mut *buffer),
        Way::Path(path) => rustix::fs::lgetxattr(path, name, &mut *buffer),
        Way::Open(fd) => rustix::fs::fgetxattr(fd, name, &mut *buffer),
        Way::Link(path) => rustix::fs::getxattr(path, name, &mut *buffer),
    })
}

/// Reads an attribute of any length.
///
/// # Errors
/// Those of getxattr(2).
pub fn get_long(at: At<'_>, name: &CStr) -> Result<Vec<u8>> {
    grow(|buffer| get(at, name, buffer))
}

/// Reads an attribute of any length; `None` if there is none, or the file system has none at all.
///
/// # Errors
/// Those of getxattr(2) but for `NODATA` and `OPNOTSUPP`.
pub fn get_all(at: At<'_>, name: &CStr) -> Result<Option<Vec<u8>>> {
    match get_long(at, name) {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Lists the names of all attributes, each ended by a NUL; empty where the file system has none.
///
/// # Errors
/// Those of listxattr(2) but for `OPNOTSUPP`.
pub fn list(at: At<'_>) -> Result<Vec<u8>> {
    let list = |buffer: &mut [u8]| {
        with_way(at, |way| match way {
            Way::Below(dir, path) => xattrat::list(dir, path, &mut *buffer),
            Way::Path(path) => rustix::fs::llistxattr(path, &mut *buffer),
            Way::Open(fd) => rustix::fs::flistxattr(fd, &mut *buffer),
            Way::Link(path) => rustix::fs::listxattr(path, &mut *buffer),
        })
    };
    match grow(list) {
        Err(Errno::OPNOTSUPP) => Ok(Vec::new()),
        other => other,
    }
}

/// Sets an attribute.
///
/// # Errors
/// Those of setxattr(2).
pub fn set(at: At<'_>, name: &CStr, value: &[u8], flags: XattrFlags) -> Result<()> {
    with_way(at, |way| match way {
        Way::Below(dir, path) => xattrat::set(dir, path, name, value, flags),
        Way::Path(path) => rustix::fs::lsetxattr(path, name, value, flags),
        Way::Open(fd) => rustix::fs::fsetxattr(fd, name, value, flags),
        Way::Link(path) => rustix::fs::setxattr(path, name, value, flags),
    })
}

/// Removes an attribute.
///
/// # Errors
/// `NODATA` if there is no such attribute, and those of removexattr(2).
pub fn remove(at: At<'_>, name: &CStr) -> Result<()> {
    with_way(at, |way| match way {
        Way::Below(dir, path) => xattrat::remove(dir, path, name),
        Way::Path(path) => rustix::fs::lremovexattr(path, name),
        Way::Open(fd) => rustix::fs::fremovexattr(fd, name),
        Way::Link(path) => rustix::fs::removexattr(path, name),
    })
}

/// Calls `read` with a buffer that grows until the answer fits.
fn grow(mut read: impl FnMut(&mut [u8]) -> Result<usize>) -> Result<Vec<u8>> {
    let mut small = [0; 256];
    match read(&mut small) {
        Ok(len) => return Ok(small[..len].to_vec()),
        Err(Errno::RANGE) => {}
        Err(error) => return Err(error),
    }
    let mut buffer = vec![0; MAX_SIZE];
    let len = read(&mut buffer)?;
    buffer.truncate(len);
    Ok(buffer)
}

/// Room for `/proc/self/fd/`, ten digits, a slash, a name of 255 bytes and a NUL.
const PATH_ROOM: usize = 14 + 10 + 1 + 255 + 1;

/// How a file is reached.
#[derive(Debug, Clone, Copy)]
enum Way<'a> {
    /// A name below a directory.
    Below(BorrowedFd<'a>, &'a CStr),
    /// A path that is not followed if it ends at a symbolic link.
    Path(&'a CStr),
    /// A file that is open, which `O_PATH` descriptors are not (open(2)).
    Open(BorrowedFd<'a>),
    /// A path that is followed: it ends at the link of a descriptor.
    Link(&'a CStr),
}

fn with_way<T>(at: At<'_>, mut f: impl FnMut(Way<'_>) -> Result<T>) -> Result<T> {
    let mut room = [0; PATH_ROOM];
    match at {
        At::Name(dir, name) if xattrat::are_there() => {
            f(Way::Below(dir, write(&mut room, [name])?))
        }
        At::Name(dir, name) => f(Way::Path(write_path(&mut room, dir, Some(name))?)),
        At::Fd(fd) => match f(Way::Open(fd)) {
            Err(Errno::BADF) => f(Way::Link(write_path(&mut room, fd, None)?)),
            other => other,
        },
    }
}

fn write_path<'r>(
    room: &'r mut [u8; PATH_ROOM],
    fd: BorrowedFd<'_>,
    name: Option<&[u8]>,
) -> Result<&'r CStr> {
    let mut digits = [0; 10];
    let digits = decimal(fd.as_raw_fd().unsigned_abs(), &mut digits);
    let link: &[u8] = b"/proc/self/fd/";
    match name {
        Some(name) => write(room, [link, digits, b"/", name]),
        None => write(room, [link, digits]),
    }
}

/// The parts, one after the other.
fn write<'r, const N: usize>(room: &'r mut [u8; PATH_ROOM], parts: [&[u8]; N]) -> Result<&'r CStr> {
    let mut len = 0;
    for part in parts.into_iter().chain([&b"\0"[..]]) {
        let end = len + part.len();
        let place = room.get_mut(len..end).ok_or(Errno::NAMETOOLONG)?;
        place.copy_from_slice(part);
        len = end;
    }
    CStr::from_bytes_with_nul(&room[..len]).map_err(|_| Errno::INVAL)
}

/// The decimal digits of `number`, written at the end of `digits`.
fn decimal(mut number: u32, digits: &mut [u8; 10]) -> &[u8] {
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[start..];
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::fd::AsFd;

    use rustix::fs::{Mode, OFlags};

    use super::*;

    const NAME: &CStr = c"user.plyfs.test";

    #[test]
    fn a_name_and_an_o_path_descriptor_reach_the_same_file() {
        let tmp = tempfile::tempdir().unwrap();
        fs::write(tmp.path().join("f"), "x").unwrap();
        let dir = File::open(tmp.path()).unwrap();
        let named = At::Name(dir.as_fd(), b"f");
        match set(named, NAME, b"value", XattrFlags::empty()) {
            Err(Errno::OPNOTSUPP) => {
                eprintln!(
                    "SKIPPED xattr: {} has no user.* attributes",
                    tmp.path().display()
                );
                return;
            }
            other => other.unwrap(),
        }
        let file = rustix::fs::openat(&dir, "f", OFlags::PATH, Mode::empty()).unwrap();
        let opened = At::Fd(file.as_fd());
        assert_eq!(get_all(opened, NAME).unwrap().unwrap(), b"value");
        let readable = File::open(tmp.path().join("f")).unwrap();
        assert_eq!(
            get_all(At::Fd(readable.as_fd()), NAME).unwrap().unwrap(),
            b"value"
        );
        assert_eq!(get(opened, NAME, &mut [0; 9]).unwrap(), 5);
        assert_eq!(get(opened, NAME, &mut [0; 2]), Err(Errno::RANGE));
        assert!(list(opened).unwrap().starts_with(b"user.plyfs.test\0"));

        let large = vec![7; 2000];
        set(opened, NAME, &large, XattrFlags::REPLACE).unwrap();
        assert_eq!(get_all(named, NAME).unwrap().unwrap(), large);

        remove(named, NAME).unwrap();
        assert_eq!(get_all(opened, NAME).unwrap(), None);
        assert_eq!(remove(opened, NAME), Err(Errno::NODATA));
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let tmp = tempfile::tempdir().unwrap();
        fs::write(tmp.path().join("f"), "x").unwrap();
        std::os::unix::fs::symlink("f", tmp.path().join("l")).unwrap();
        let dir = File::open(tmp.path()).unwrap();
        let link = At::Name(dir.as_fd(), b"l");
        // user.* attributes are refused on symbolic links, so success would mean it was followed.
        assert!(set(link, NAME, b"v", XattrFlags::empty()).is_err());
        let opened =
            rustix::fs::openat(&dir, "l", OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).unwrap();
        assert!(set(At::Fd(opened.as_fd()), NAME, b"v", XattrFlags::empty()).is_err());
    }

    /// The classic calls, of a name by way of the link of its directory.
    fn classic<T>(dir: &File, name: &[u8], f: impl FnOnce(&CStr) -> Result<T>) -> Result<T> {
        f(write_path(&mut [0; PATH_ROOM], dir.as_fd(), Some(name))?)
    }

    #[test]
    fn the_calls_of_linux_6_13_say_what_the_classic_ones_say() {
        if !xattrat::are_there() {
            eprintln!("SKIPPED xattr: the kernel has no getxattrat(2), or it is filtered");
            return;
        }
        let tmp = tempfile::tempdir().unwrap();
        fs::write(tmp.path().join("f"), "x").unwrap();
        fs::create_dir(tmp.path().join("d")).unwrap();
        std::os::unix::fs::symlink("f", tmp.path().join("l")).unwrap();
        let dir = File::open(tmp.path()).unwrap();
        let names: [&[u8]; 6] = [b"f", b"d", b"l", b".", b"missing", &[b'n'; 256]];
        for value in [&b""[..], b"value", &[7; 2000]] {
            for name in names {
                let at = At::Name(dir.as_fd(), name);
                let none = XattrFlags::empty();
                let way =
                    |value| classic(&dir, name, |p| rustix::fs::lsetxattr(p, NAME, value, none));
                assert_eq!(set(at, NAME, value, none), way(value));
                let mut buffers = [[0; 2500], [0; 2500]];
                let [new, old] = &mut buffers;
                for room in [1, 3, 2500] {
                    assert_eq!(
                        get(at, NAME, &mut new[..room]),
                        classic(&dir, name, |p| rustix::fs::lgetxattr(
                            p,
                            NAME,
                            &mut old[..room]
                        )),
                    );
                    assert_eq!(
                        with_way(at, |way| match way {
                            Way::Below(dir, path) => xattrat::list(dir, path, &mut new[..room]),
                            _ => Err(Errno::NOSYS),
                        }),
                        classic(&dir, name, |p| rustix::fs::llistxattr(p, &mut old[..room])),
                    );
                    assert_eq!(new, old);
                }
                let removed = remove(at, NAME);
                assert_eq!(way(b"again"), set(at, NAME, b"again", XattrFlags::empty()));
                assert_eq!(
                    removed,
                    classic(&dir, name, |p| rustix::fs::lremovexattr(p, NAME))
                );
                let gone = classic(&dir, name, |p| rustix::fs::lremovexattr(p, NAME));
                assert_eq!(remove(at, NAME), gone);
            }
        }
    }

    #[test]
    fn a_name_that_is_too_long_is_refused() {
        let dir = File::open("/").unwrap();
        let name = [b'n'; 256];
        assert_eq!(
            get_all(At::Name(dir.as_fd(), &name), NAME),
            Err(Errno::NAMETOOLONG)
        );
    }

    #[test]
    fn digits_are_right() {
        let mut digits = [0; 10];
        for number in [0, 7, 10, 1234, u32::MAX] {
            assert_eq!(
                decimal(number, &mut digits),
                number.to_string().as_bytes(),
                "{number}"
            );
        }
    }
}
