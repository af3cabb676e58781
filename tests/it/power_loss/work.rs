//! What is done on the mount while the power goes, and what may be found of it afterwards.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Result, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// How many files there are of each kind.
const FILES: usize = 24;
const DIRS: usize = 8;
/// Several blocks, so that a copy can be cut short.
const BLOCK: usize = 4096;

/// What may be found under a name; `None` if nothing may be.
type Content = Option<Vec<u8>>;

/// All that may be found. Files of which nothing was synced are not in it.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// More than one while a change is under way.
    pub files: BTreeMap<String, Vec<Content>>,
    /// Directories by the names that they may have.
    pub dirs: Vec<Vec<String>>,
    /// Pairs of names of one file.
    pub links: Vec<[String; 2]>,
    /// Changes that were made durable.
    pub synced: usize,
}

fn content(seed: usize) -> Vec<u8> {
    let length = [700, 5 * BLOCK, 40 * BLOCK + 123][seed % 3];
    let line = format!("lower file {seed}, whose bytes are no zeros. ");
    line.bytes().cycle().take(length).collect()
}

/// Makes the lower layer; returns what it shows. `linked` says that hard links stay one file.
pub fn make_lower(lower: &Path, linked: bool) -> Expected {
    let mut expected = Expected::default();
    let mut make = |name: String, seed: usize| {
        let path = lower.join(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content(seed)).unwrap();
        expected.files.insert(name, vec![Some(content(seed))]);
    };
    for i in 0..FILES {
        for kind in ["replaced", "written", "touched", "removed", "unwaited"] {
            make(format!("{kind}/f{i}"), i);
        }
        if linked {
            make(format!("linked/a{i}"), i);
        }
    }
    for i in 0..FILES {
        if linked {
            let [a, b] = [format!("linked/a{i}"), format!("linked/b{i}")];
            fs::hard_link(lower.join(&a), lower.join(&b)).unwrap();
            expected.links.push([a, b]);
        }
    }
    for i in 0..DIRS {
        for below in ["x", "y", "deep/z"] {
            let path = lower.join(format!("dir{i}")).join(below);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content(i)).unwrap();
        }
        expected.dirs.push(vec![format!("dir{i}")]);
    }
    expected
}

/// Changes files at random until `stop` is set.
pub struct Work<'w> {
    pub root: PathBuf,
    pub expected: &'w Mutex<Expected>,
    pub stop: &'w AtomicBool,
    pub random: fastrand::Rng,
}

impl Work<'_> {
    pub fn run(mut self) {
        let mut step = 0;
        while !self.stop.load(Ordering::Relaxed) {
            self.change(step)
                .unwrap_or_else(|error| panic!("step {step}: {error}"));
            step += 1;
        }
    }

    fn change(&mut self, step: usize) -> Result<()> {
        let file = self.random.usize(..FILES);
        match self.random.u8(..8) {
            0 => self.replace(&format!("replaced/f{file}"), step),
            1 => self.replace(&format!("replaced/new{}", step % FILES), step),
            2 => self.write(&format!("written/f{file}"), step),
            3 => self.touch(&format!("touched/f{file}"), step),
            4 => self.remove(&format!("removed/f{file}")),
            5 => self.rename(step),
            6 => self.write_unwaited(&format!("unwaited/f{file}")),
            _ if self.expected.lock().unwrap().links.is_empty() => {
                // Nothing syncs this file; a crash may leave any part of it.
                let name = format!("unsynced{}", step % FILES);
                fs::write(self.root.join(name), content(step))
            }
            _ => self.write(&format!("linked/a{file}"), step),
        }
    }

    /// From here on both what was and what is to be may be found.
    fn begin(&self, name: &str, new: &Content) {
        let mut expected = self.expected.lock().unwrap();
        let may_be = expected.files.entry(name.to_owned());
        may_be.or_insert_with(|| vec![None]).push(new.clone());
    }

    /// From here on nothing else may be found.
    fn end(&self, name: &str, new: Content) {
        let mut expected = self.expected.lock().unwrap();
        expected.files.insert(name.to_owned(), vec![new]);
        expected.synced += 1;
    }

    /// As programs do that want the old or the new.
    fn replace(&self, name: &str, step: usize) -> Result<()> {
        let new = Some(content(step));
        let beside = self.root.join(format!("{name}.tmp"));
        let mut file = File::create(&beside)?;
        file.write_all(&content(step))?;
        file.sync_all()?;
        self.begin(name, &new);
        fs::rename(&beside, self.root.join(name))?;
        self.sync_dir(Path::new(name).parent().unwrap())?;
        self.end(name, new);
        Ok(())
    }

    /// Writes a block in the middle, which copies the rest up.
    fn write(&self, name: &str, step: usize) -> Result<()> {
        let path = self.root.join(name);
        let mut new = fs::read(&path)?;
        let block = step % new.len().div_ceil(BLOCK);
        let start = block * BLOCK;
        let end = new.len().min(start + BLOCK);
        let line = format!("written in step {step}. ");
        let data: Vec<u8> = line.bytes().cycle().take(end - start).collect();
        new[start..end].copy_from_slice(&data);
        let new = Some(new);
        self.begin(name, &new);
        let file = File::options().write(true).open(path)?;
        file.write_all_at(&data, start as u64)?;
        file.sync_all()?;
        self.end(name, new);
        Ok(())
    }

    /// Copies up without a sync: the content is that of the lower file at any time.
    fn touch(&self, name: &str, step: usize) -> Result<()> {
        let mode = 0o600 | (step as u32 & 0o77);
        fs::set_permissions(self.root.join(name), PermissionsExt::from_mode(mode))
    }

    /// Copies up without a sync, too, but needs the data now. Once, since of more blocks
    /// than one any might be found.
    fn write_unwaited(&self, name: &str) -> Result<()> {
        let path = self.root.join(name);
        let mut new = fs::read(&path)?;
        if new[0] == b'!' {
            return Ok(());
        }
        // A copy without data, where there are such.
        self.touch(name, 0)?;
        new[0] = b'!';
        self.begin(name, &Some(new));
        let file = File::options().write(true).open(path)?;
        file.write_all_at(b"!", 0)
    }

    fn remove(&self, name: &str) -> Result<()> {
        if !self.root.join(name).exists() {
            return Ok(());
        }
        self.begin(name, &None);
        fs::remove_file(self.root.join(name))?;
        self.sync_dir(Path::new("removed"))?;
        self.end(name, None);
        Ok(())
    }

    fn rename(&self, step: usize) -> Result<()> {
        let number = step % DIRS;
        let new = format!("moved{number}-{step}");
        let old = {
            let mut expected = self.expected.lock().unwrap();
            let names = &mut expected.dirs[number];
            names.push(new.clone());
            names[0].clone()
        };
        fs::rename(self.root.join(old), self.root.join(&new))?;
        self.sync_dir(Path::new(""))?;
        let mut expected = self.expected.lock().unwrap();
        expected.dirs[number] = vec![new];
        expected.synced += 1;
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        File::open(self.root.join(dir))?.sync_all()
    }
}

impl Expected {
    /// Fails with all that is there and should not be, or the other way round.
    pub fn check(&self, root: &Path, who: &str) {
        let mut wrong = Vec::new();
        for (name, may_be) in &self.files {
            let found = match fs::read(root.join(name)) {
                Ok(data) => Some(data),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                Err(error) => {
                    wrong.push(format!("{name}: {error}"));
                    continue;
                }
            };
            if !may_be.contains(&found) {
                wrong.push(format!("{name}: {}", explain(&found, may_be)));
            }
        }
        for [one, other] in &self.links {
            if fs::read(root.join(one)).unwrap() != fs::read(root.join(other)).unwrap() {
                wrong.push(format!("{one} and {other} are two files"));
            }
        }
        for (number, names) in self.dirs.iter().enumerate() {
            let is_one = |name: &String| {
                *name == format!("dir{number}") || name.starts_with(&format!("moved{number}-"))
            };
            let found: Vec<_> = names_in(root).into_iter().filter(is_one).collect();
            if found.len() != 1 || !names.contains(&found[0]) {
                wrong.push(format!("directory {number} is {found:?}, not of {names:?}"));
                continue;
            }
            for below in ["x", "y", "deep/z"] {
                let path = root.join(&found[0]).join(below);
                if fs::read(path).ok() != Some(content(number)) {
                    wrong.push(format!("{}/{below} is not what it was", found[0]));
                }
            }
        }
        assert!(
            wrong.is_empty(),
            "{who}, of {} changes that were synced:\n{}",
            self.synced,
            wrong.join("\n")
        );
    }
}

pub fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn explain(found: &Content, may_be: &[Content]) -> String {
    let brief = |content: &Content| match content {
        None => "nothing".to_owned(),
        Some(data) => format!(
            "{} bytes, {} of them zeros, {:?}...",
            data.len(),
            data.iter().filter(|byte| **byte == 0).count(),
            String::from_utf8_lossy(&data[..data.len().min(40)])
        ),
    };
    let may_be: Vec<_> = may_be.iter().map(brief).collect();
    format!("{}, and not {}", brief(found), may_be.join(" or "))
}
