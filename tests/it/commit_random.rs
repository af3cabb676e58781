//! `plyfs commit` after random changes: the image shows what the container showed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::support::container::{mounted, shown, world};
use crate::support::manifest::assert_same;
use crate::support::world::World;
use crate::support::*;

/// How many containers, how many changes in each mount of one, and how often each is mounted.
const CONTAINERS: u64 = 8;
const CHANGES: usize = 40;
const MOUNTS: u64 = 2;

/// Numbers that are the same every time (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit as u64).unwrap()
    }

    fn pick<'p>(&mut self, paths: &'p [PathBuf]) -> &'p Path {
        &paths[self.below(paths.len())]
    }
}

/// Everything below a directory, itself not counted: all of it, and the directories.
fn paths(root: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut all, mut dirs) = (Vec::new(), vec![root.to_owned()]);
    let mut next = 0;
    while let Some(dir) = dirs.get(next).cloned() {
        next += 1;
        let mut entries: Vec<PathBuf> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        entries.sort();
        for path in entries {
            if path.symlink_metadata().unwrap().is_dir() {
                dirs.push(path.clone());
            }
            all.push(path);
        }
    }
    (all, dirs)
}

/// Makes one change, if it is possible.
fn change(root: &Path, numbers: &mut Numbers) {
    let (all, dirs) = paths(root);
    if all.is_empty() {
        return fs::write(root.join("first"), "first").unwrap();
    }
    let path = numbers.pick(&all).to_owned();
    let place = numbers.pick(&dirs).join(format!("n{}", numbers.below(12)));
    let is_dir = path.symlink_metadata().unwrap().is_dir();
    let is_file = path.symlink_metadata().unwrap().is_file();
    let made = match numbers.below(12) {
        0 | 1 => fs::rename(&path, &place),
        2 => {
            // Over another of the names there are.
            let target = numbers.pick(&all);
            fs::rename(&path, target)
        }
        3 if is_dir => fs::remove_dir_all(&path),
        3 | 4 if !is_dir => fs::remove_file(&path),
        5 => fs::create_dir(&place),
        6 => fs::write(&place, format!("new {}", numbers.below(100))),
        7 if is_file => fs::write(&path, format!("written {}", numbers.below(100))),
        8 if !path.is_symlink() => {
            let mode = 0o700 | u32::try_from(numbers.below(0o100)).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))
        }
        9 if is_file => fs::hard_link(&path, &place),
        10 => symlink("n1", &place),
        11 if is_dir => {
            // A directory in the place of one that was there.
            fs::remove_dir_all(&path).and_then(|()| fs::create_dir(&path))
        }
        _ => Ok(()),
    };
    // Over a directory that is not empty, into itself, or where there is something already.
    drop(made);
}

fn commit_and_compare(world: &World, container: &str, image: &str) {
    let before = shown(world, &["--container", container]);
    succeed(&mut world.plyfs(["commit", container, image]));
    let after = shown(world, &["--ro", image]);
    let tree = |text: &str| text.split_once('\n').unwrap().1.to_owned();
    assert_same(&tree(&before), &tree(&after));
    assert_same(&before, &shown(world, &["--container", container]));
    // What was listed as changed is all that differs: an image of nothing but that is the same.
    let listed = succeed(&mut world.plyfs(["diff", container]));
    assert!(
        listed.lines().all(|line| line.as_bytes()[1] == b' '),
        "{listed}"
    );
}

#[test]
fn random_changes_survive_a_commit() {
    inside(this_test!(), || {
        let world = world();
        for seed in 0..CONTAINERS {
            let mut numbers = Numbers(seed);
            let mut image = "box:test".to_owned();
            // A second round stands on the image that the first made.
            for round in 0..2 {
                let container = format!("c{seed}-{round}");
                for mount in 0..MOUNTS {
                    let made = ["--container", &container, &image];
                    let what = if mount == 0 { &made[..] } else { &made[..2] };
                    mounted(&world, what, |at| {
                        for _ in 0..CHANGES {
                            change(at, &mut numbers);
                        }
                    });
                }
                image = format!("made:{seed}-{round}");
                println!("container {container}");
                commit_and_compare(&world, &container, &image);
            }
        }
    });
}
