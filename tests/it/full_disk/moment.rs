//! One command on a disk that fills up at one moment.

use super::*;

/// One task on a disk of its own.
pub(super) struct Moment<'a> {
    pub(super) task: Task,
    pub(super) sources: &'a Sources,
    pub(super) disk: Disk,
}

impl Moment<'_> {
    fn path(&self) -> std::path::PathBuf {
        self.disk.path()
    }

    fn command(&self) -> Command {
        self.task.command(self.sources, &self.path())
    }

    fn on<const N: usize>(&self, arguments: [&str; N]) -> Command {
        on(&self.path(), arguments)
    }

    /// Gets the store into the state in which the task has something to do.
    fn prepare(&self) {
        if self.task == Task::Repair {
            let layers = self.path().join("store/layers/sha256");
            for layer in names(&layers) {
                for large in ["diff/d-a/large", "diff/d-base/large"] {
                    let file = layers.join(&layer).join(large);
                    if file.exists() {
                        let mut bytes = fs::read(&file).unwrap();
                        bytes[1000] ^= 1;
                        fs::write(&file, bytes).unwrap();
                    }
                }
            }
        }
    }

    pub(super) fn measure(&self) -> Need {
        self.prepare();
        self.disk.sync();
        let (bytes, inodes, start) = (self.disk.free(), self.disk.free_inodes(), Instant::now());
        let (mut least_bytes, mut least_inodes) = (bytes, inodes);
        let mut child = self.command().stdout(Stdio::piped()).spawn().unwrap();
        while child.try_wait().unwrap().is_none() {
            least_bytes = least_bytes.min(self.disk.free());
            least_inodes = least_inodes.min(self.disk.free_inodes());
            std::thread::sleep(Duration::from_micros(200));
        }
        let time = start.elapsed();
        let output = child.wait_with_output().unwrap();
        assert!(self.is_done(&output), "{}", text(&output.stdout));
        self.end_mount();
        Need {
            // More than was seen at some moment.
            bytes: (bytes - least_bytes) * 5 / 4 + (16 << 10),
            inodes: (inodes - least_inodes) * 5 / 4 + 4,
            time,
        }
    }

    fn end_mount(&self) {
        let at = self.sources.path("mnt");
        if is_mounted(&at) {
            succeed(plyfs(["umount"]).arg(at));
        }
    }

    /// Fills the disk while the task runs, and looks at what it leaves. Whether it succeeded is returned.
    pub(super) fn pass(&self, filling: Filling) -> bool {
        self.prepare();
        let before = Before::of(&self.path());
        let output = run(&mut self.command(), &self.disk, filling);
        let done = self.is_done(&output);
        self.end_mount();
        self.said(&output, done);
        self.is_whole(&before, done);
        self.removals_free_space(done);
        self.disk.give_back();
        if !done {
            // Nothing left behind is in the way.
            self.again();
        }
        self.all_goes();
        done
    }

    /// Whether a command did all that it was to do.
    fn is_done(&self, output: &Output) -> bool {
        match output.status.code().unwrap() {
            0 => true,
            // Damage was found, and all of it repaired.
            1 => self.task == Task::Repair,
            _ => false,
        }
    }

    fn said(&self, output: &Output, done: bool) {
        let stderr = text(&output.stderr);
        // A mount works without a record that others can list it by.
        let is_warning = self.task == Task::MakeContainer && stderr.lines().count() == 1;
        if done && is_warning {
            assert!(stderr.contains("cannot keep a live record: "), "{stderr}");
            return;
        }
        if done {
            assert_eq!(stderr, "");
            return;
        }
        assert!(!self.task.frees(), "{stderr}");
        if self.task == Task::Repair && output.status.code().unwrap() & 4 != 0 {
            // The report says it of each object.
            let stdout = text(&output.stdout);
            assert!(stdout.contains("No space left on device"), "{stdout}");
            assert_eq!(stderr, "");
            return;
        }
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        let full = stderr.contains("No space left on device");
        assert!(stderr.starts_with("plyfs: ") && full, "{stderr}");
    }

    fn check(&self, healthy: bool) {
        let output = self.on(["fsck"]).output().unwrap();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.success(), healthy, "{stdout}{stderr}");
        let staging = names(&self.path().join("store/staging"));
        assert_eq!(staging, [""; 0]);
    }

    fn is_whole(&self, before: &Before, done: bool) {
        let at = self.path();
        self.check(self.task != Task::Repair || done);
        let mut now = images(&at);
        let mut expected = before.images.clone();
        if done && self.task == Task::RemoveImage {
            expected.remove("a:test");
        }
        if let Some(image) = self.task.image().filter(|_| done) {
            let digest = now.remove(image).unwrap();
            assert_ne!(Some(&digest), expected.remove(image).as_ref());
        }
        assert_eq!(now, expected);
        self.containers_are(before, done);
        self.layout_is(before, done);
        if done && let Some(source) = self.task.saved(&at) {
            let other = tempfile::tempdir().unwrap();
            let mut import = plyfs(["--store".as_ref(), other.path().as_os_str()]);
            import.args(["import", "--name", "saved", "--ownership", "override"]);
            succeed(import.arg(source));
        }
        if !done {
            for name in ["new", "new.oci", "new.docker"] {
                assert!(!at.join(name).exists(), "{name}");
            }
        }
    }

    fn containers_are(&self, before: &Before, done: bool) {
        let mut now = facts(&self.path().join("store/containers"));
        let mut expected = before.containers.clone();
        for tree in [&mut now, &mut expected] {
            // Its time is that of the last container made.
            tree.remove(&b""[..]);
            // To commit is to look at an overlay, which prepares it.
            tree.retain(|path, _| !path.windows(5).any(|part| part == b"/work"));
            for facts in tree.values_mut() {
                let of_overlay = |name: &[u8]| name.starts_with(b"trusted.overlay.");
                facts.xattrs.retain(|name, _| !of_overlay(name));
            }
        }
        match (self.task, done) {
            (Task::Remove, true) => expected.retain(|path, _| !path.starts_with(b"box")),
            (Task::MakeContainer, true) => now.retain(|path, _| !path.starts_with(b"new")),
            _ => {}
        }
        assert_same(&now, &expected);
    }

    /// What was in a layout stays; what came is whole.
    fn layout_is(&self, before: &Before, done: bool) {
        let mut now = facts(&self.path().join("out"));
        let mut expected = before.out.clone();
        for facts in now.values_mut().chain(expected.values_mut()) {
            if facts.kind == "directory" {
                facts.mtime = (0, 0);
            }
        }
        for (path, facts) in &now {
            let name = String::from_utf8_lossy(path);
            if let Some(digest) = name.strip_prefix("blobs/sha256/") {
                assert_eq!(plyfs_store::Digest::of(&facts.content).hex(), digest);
            }
        }
        if self.task == Task::SaveIntoLayout {
            now.retain(|path, _| expected.contains_key(path));
            if done {
                for tree in [&mut now, &mut expected] {
                    tree.remove(&b"index.json"[..]);
                }
            }
        }
        assert_same(&now, &expected);
    }

    /// With the disk still full.
    fn removals_free_space(&self, done: bool) {
        self.disk.take_all();
        let freed = |arguments: [&str; 2], least: u64| {
            self.disk.sync();
            let full = self.disk.free();
            succeed(&mut self.on(arguments));
            self.disk.sync();
            let free = self.disk.free();
            assert!(free >= full + least, "{arguments:?}: {full} {free}");
        };
        freed(["rm", "other"], 600_000);
        self.disk.take_all();
        let is_there = self.task != Task::CommitAgain || !done;
        freed(["rmi", "b:test"], if is_there { 400_000 } else { 1 });
        self.disk.take_all();
        succeed(&mut self.on(["prune"]));
        self.check(self.task != Task::Repair || done);
    }

    fn again(&self) {
        if self.task == Task::CommitAgain {
            return;
        }
        let output = self.command().output().unwrap();
        assert!(self.is_done(&output), "{}", text(&output.stderr));
        self.end_mount();
        self.check(true);
    }

    fn all_goes(&self) {
        // A document that no image leads to stays for an hour: another tool may be about to name it.
        let blobs = self.path().join("store/blobs/sha256");
        let old = std::time::SystemTime::now() - Duration::from_secs(2 * 60 * 60);
        for blob in names(&blobs) {
            let file = fs::File::options().write(true).open(blobs.join(blob));
            file.unwrap().set_modified(old).unwrap();
        }
        succeed(&mut self.on(["rm", "--all"]));
        for image in images(&self.path()).keys() {
            succeed(&mut self.on(["rmi", image]));
        }
        for dir in ["blobs/sha256", "layers/sha256", "containers", "staging"] {
            let left = names(&self.path().join("store").join(dir));
            assert_eq!(left, [""; 0], "{dir}");
        }
    }
}
