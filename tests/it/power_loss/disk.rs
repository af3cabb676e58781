//! A disk that can lose its power: a file of a FUSE file system of its own, for a loop device.
//!
//! The server sees each write and each flush of the device. What was flushed is safe; of what was written
//! after the last flush any part may be on the disk, in any order, as in one with a cache of its own. A
//! copy of the image of a running file system is neither of one moment nor does it lose anything.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, LockOwner, OpenFlags,
    ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyWrite, Request, WriteFlags,
};
use rustix::mount::{MountFlags, UnmountFlags};

/// What is on the disk as a whole or not at all, in bytes.
const BLOCK: usize = 4096;
const DISK: INodeNo = INodeNo(2);

type Blocks = BTreeMap<u64, Arc<[u8]>>;
type Tell = Box<dyn FnOnce(Left) + Send>;

#[derive(Default)]
struct State {
    size: u64,
    /// What is read.
    now: Blocks,
    /// What was there at the last flush.
    safe: Blocks,
    /// The blocks written since, in this order, as they were after each write.
    written: Vec<(u64, Arc<[u8]>)>,
    flushes: u64,
    /// After how many more writes the power goes, and who is to be told what the disk holds then.
    loss: Option<(u64, Tell)>,
}

/// What a disk holds when the power goes.
pub struct Left {
    size: u64,
    safe: Blocks,
    written: Vec<(u64, Arc<[u8]>)>,
}

impl State {
    fn lose_power(&mut self) {
        let left = Left {
            size: self.size,
            safe: self.safe.clone(),
            written: self.written.clone(),
        };
        if let Some((_, tell)) = self.loss.take() {
            tell(left);
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let (mut at, mut data) = (offset, data);
        while !data.is_empty() {
            let (number, inside) = (at / BLOCK as u64, (at % BLOCK as u64) as usize);
            let length = data.len().min(BLOCK - inside);
            let mut block = self.block(number);
            block[inside..inside + length].copy_from_slice(&data[..length]);
            let block: Arc<[u8]> = block.into();
            self.now.insert(number, block.clone());
            self.written.push((number, block));
            (at, data) = (at + length as u64, &data[length..]);
        }
        match &mut self.loss {
            Some((0, _)) => self.lose_power(),
            Some((writes, _)) => *writes -= 1,
            None => {}
        }
    }

    fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let end = self.size.min(offset + length as u64);
        let mut data = Vec::new();
        let mut at = offset;
        while at < end {
            let inside = (at % BLOCK as u64) as usize;
            let length = ((end - at) as usize).min(BLOCK - inside);
            data.extend_from_slice(&self.block(at / BLOCK as u64)[inside..inside + length]);
            at += length as u64;
        }
        data
    }

    fn block(&self, number: u64) -> Vec<u8> {
        let block = self.now.get(&number);
        block.map_or_else(|| vec![0; BLOCK], |block| block.to_vec())
    }

    fn flush(&mut self) {
        self.safe.extend(self.written.drain(..));
        self.flushes += 1;
    }
}

/// The disk, as a file at [`Disk::path`].
pub struct Disk {
    state: Arc<Mutex<State>>,
    mounted: PathBuf,
}

impl Disk {
    /// A disk with the content of an image, in a directory to be made.
    pub fn of(image: &Path, mounted: PathBuf) -> Self {
        let mut state = State {
            size: fs::metadata(image).unwrap().len(),
            ..State::default()
        };
        let file = File::open(image).unwrap();
        let mut many = vec![0; 256 * BLOCK];
        let zeros = [0; BLOCK];
        for start in (0..state.size).step_by(many.len()) {
            let length = file.read_at(&mut many, start).unwrap();
            for (number, block) in (start / BLOCK as u64..).zip(many[..length].chunks(BLOCK)) {
                if block != zeros {
                    state.now.insert(number, block.into());
                }
            }
        }
        state.safe = state.now.clone();
        let state = Arc::new(Mutex::new(state));
        fs::create_dir(&mounted).unwrap();
        let device = File::options()
            .read(true)
            .write(true)
            .open("/dev/fuse")
            .unwrap();
        let options = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0,allow_other",
            device.as_raw_fd()
        );
        let options = CString::new(options).unwrap();
        rustix::mount::mount("disk", &mounted, "fuse", MountFlags::empty(), &*options).unwrap();
        let server = Server(state.clone());
        let session = fuser::Session::from_fd(
            server,
            device.into(),
            fuser::SessionACL::All,
            fuser::Config::default(),
        );
        let session = session.unwrap();
        // It ends when the last user of the mount is gone.
        std::thread::spawn(move || session.run());
        Self { state, mounted }
    }

    pub fn path(&self) -> PathBuf {
        self.mounted.join("disk")
    }

    /// How often the device was told to make safe what was written.
    pub fn flushes(&self) -> u64 {
        self.state.lock().unwrap().flushes
    }

    /// What is on the disk when it has been written to so many times more, or after a while. `observe` is
    /// called at that very moment, by the thread that serves the disk.
    pub fn lose_power<T: Send + 'static>(
        &self,
        writes: u64,
        observe: impl FnOnce() -> T + Send + 'static,
    ) -> (Left, T) {
        let (tell, told) = std::sync::mpsc::channel();
        let at_that_moment = move |left| tell.send((left, observe())).unwrap();
        self.state.lock().unwrap().loss = Some((writes, Box::new(at_that_moment)));
        if let Ok(told) = told.recv_timeout(Duration::from_secs(3)) {
            return told;
        }
        self.state.lock().unwrap().lose_power();
        told.recv().unwrap()
    }
}

impl Left {
    /// Writes an image of what may be found when the power comes back. Returns how many of the writes
    /// after the last flush are in it, and how many there were. In turns none of them are in it, all, the
    /// first, and any.
    pub fn write_image(
        self,
        round: u64,
        random: &mut fastrand::Rng,
        image: &Path,
    ) -> (usize, usize) {
        let (mut found, written) = (self.safe, self.written);
        let all = written.len();
        let kept: Vec<_> = match round % 4 {
            0 => Vec::new(),
            1 => written,
            2 => written.into_iter().take(random.usize(..=all)).collect(),
            _ => written.into_iter().filter(|_| random.bool()).collect(),
        };
        let count = kept.len();
        found.extend(kept);
        let file = File::create(image).unwrap();
        file.set_len(self.size).unwrap();
        for (number, block) in found {
            file.write_all_at(&block, number * BLOCK as u64).unwrap();
        }
        (count, all)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let gone = rustix::mount::unmount(&self.mounted, UnmountFlags::DETACH);
        assert!(gone.is_ok() || std::thread::panicking());
    }
}

struct Server(Arc<Mutex<State>>);

impl Server {
    fn attr(&self, ino: INodeNo) -> FileAttr {
        let (kind, size) = match ino {
            DISK => (FileType::RegularFile, self.0.lock().unwrap().size),
            _ => (FileType::Directory, 0),
        };
        FileAttr {
            ino,
            size,
            blocks: size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm: 0o700,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: BLOCK as u32,
            flags: 0,
        }
    }
}

const ALWAYS: Duration = Duration::from_secs(1 << 20);

impl Filesystem for Server {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match name.to_str() {
            Some("disk") => reply.entry(&ALWAYS, &self.attr(DISK), Generation(0)),
            _ => reply.error(fuser::Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&ALWAYS, &self.attr(ino));
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let data = self.0.lock().unwrap().read(offset, size as usize);
        reply.data(&data);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.0.lock().unwrap().write(offset, data);
        reply.written(data.len() as u32);
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.0.lock().unwrap().flush();
        reply.ok();
    }
}
