//! The overlay against a model of it in memory, without a mount: random changes of random layers, by
//! one thread with everything compared, and by many at once.
//!
//! `PLYFS_MODEL_SEED` and `PLYFS_MODEL_ROUNDS` choose other programs and more of them.

use std::collections::BTreeMap;

use crate::support::*;
use fastrand::Rng;
use plyfs_fs::types::{FileKind, SetAttr};
use plyfs_fs::{Errno, IndexUse, RedirectDir};
use rustix::fs::RenameFlags;

/// What the tree is to be: paths, and what is there. A directory is there before what is in it.
type Model = BTreeMap<String, Entry>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Dir,
    File(Vec<u8>),
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn random_path(rng: &mut Rng) -> String {
    let depth = rng.usize(1..=3);
    let parts: Vec<_> = (0..depth)
        .map(|_| NAMES[rng.usize(..NAMES.len())])
        .collect();
    parts.join("/")
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn is_dir(model: &Model, path: &str) -> bool {
    path.is_empty() || model.get(path) == Some(&Entry::Dir)
}

fn below(model: &Model, path: &str) -> Vec<String> {
    let prefix = format!("{path}/");
    let names = model.keys().filter(|name| name.starts_with(&prefix));
    names.cloned().collect()
}

fn remove_tree(model: &mut Model, path: &str) {
    for name in below(model, path) {
        model.remove(&name);
    }
    model.remove(path);
}

fn move_tree(model: &mut Model, from: &str, to: &str) {
    let names = below(model, from);
    for name in names.into_iter().chain([from.to_owned()]) {
        let entry = model.remove(&name).unwrap();
        model.insert(format!("{to}{}", &name[from.len()..]), entry);
    }
}

/// Puts something random into a lower layer, and on top of the model of what lies below.
fn fill_layer(stack: &Stack, layer: usize, model: &mut Model, rng: &mut Rng) {
    for _ in 0..rng.usize(3..12) {
        let path = random_path(rng);
        let on_disk = stack.lower(layer, &path);
        let above = parent(&path).split('/').filter(|part| !part.is_empty());
        let mut upto = String::new();
        // What is no directory in this layer stays what it is.
        let fits = above.clone().all(|part| {
            upto = format!("{upto}/{part}").trim_start_matches('/').to_owned();
            let dir = stack.lower(layer, &upto);
            dir.is_dir() || std::fs::symlink_metadata(&dir).is_err()
        });
        if !fits || std::fs::symlink_metadata(&on_disk).is_ok() {
            continue;
        }
        std::fs::create_dir_all(on_disk.parent().unwrap()).unwrap();
        let mut upto = String::new();
        for part in above {
            upto = format!("{upto}/{part}").trim_start_matches('/').to_owned();
            if !is_dir(model, &upto) {
                remove_tree(model, &upto);
                model.insert(upto.clone(), Entry::Dir);
            }
        }
        match rng.usize(..6) {
            0 => {
                whiteout(&on_disk);
                remove_tree(model, &path);
            }
            1 => {
                make_opaque(&on_disk);
                remove_tree(model, &path);
                model.insert(path, Entry::Dir);
            }
            2 => {
                std::fs::create_dir(&on_disk).unwrap();
                if !is_dir(model, &path) {
                    model.insert(path, Entry::Dir);
                }
            }
            _ => {
                let data = random_data(rng);
                std::fs::write(&on_disk, &data).unwrap();
                remove_tree(model, &path);
                model.insert(path, Entry::File(data));
            }
        }
    }
}

fn random_data(rng: &mut Rng) -> Vec<u8> {
    let length = [0, 1, 100, 5000][rng.usize(..4)];
    (0..length).map(|_| rng.u8(b'a'..=b'z')).collect()
}

/// The tree as the overlay shows it.
fn shown(stack: &Stack) -> Model {
    let mut model = Model::new();
    let mut left = vec![String::new()];
    while let Some(dir) = left.pop() {
        for name in stack.list(&dir) {
            let path = format!("{dir}/{name}").trim_start_matches('/').to_owned();
            let attr = stack.attr(&path).unwrap();
            assert_eq!(stack.listed_ino(&dir, &name), attr.ino, "{path}");
            if attr.kind == FileKind::Directory {
                left.push(path.clone());
                model.insert(path, Entry::Dir);
            } else {
                let data = stack.read(&path).into_bytes();
                assert_eq!(attr.size, data.len() as u64, "{path}");
                model.insert(path, Entry::File(data));
            }
        }
    }
    model
}

/// What a rename does to the model, or the error it must give.
fn rename(model: &mut Model, from: &str, to: &str, flags: RenameFlags) -> Result<(), Errno> {
    if !is_dir(model, parent(from)) || !is_dir(model, parent(to)) {
        return Err(Errno::NOENT);
    }
    let source = model.get(from).ok_or(Errno::NOENT)?.clone();
    let target = model.get(to).cloned();
    match (&target, flags) {
        (Some(_), RenameFlags::NOREPLACE) => return Err(Errno::EXIST),
        (None, RenameFlags::EXCHANGE) => return Err(Errno::NOENT),
        _ if from == to => return Ok(()),
        _ => {}
    }
    let is_below = |path: &str, dir: &str| path.starts_with(&format!("{dir}/"));
    if is_below(to, from) {
        return Err(Errno::INVAL);
    }
    if flags == RenameFlags::EXCHANGE {
        if is_below(from, to) {
            return Err(Errno::INVAL);
        }
        move_tree(model, from, "\u{1}");
        move_tree(model, to, from);
        move_tree(model, "\u{1}", to);
        return Ok(());
    }
    match (&source, &target) {
        (Entry::Dir, Some(Entry::File(_))) => return Err(Errno::NOTDIR),
        (Entry::File(_), Some(Entry::Dir)) if is_below(from, to) => return Err(Errno::ISDIR),
        (Entry::File(_), Some(Entry::Dir)) => return Err(Errno::ISDIR),
        (Entry::Dir, Some(Entry::Dir)) if !below(model, to).is_empty() => {
            return Err(Errno::NOTEMPTY);
        }
        _ => {}
    }
    model.remove(to);
    move_tree(model, from, to);
    Ok(())
}

/// One change of both; the results must agree.
fn step(stack: &Stack, model: &mut Model, rng: &mut Rng) -> String {
    let path = random_path(rng);
    let fits = is_dir(model, parent(&path));
    let there = model.get(&path).cloned();
    let kind = rng.usize(..9);
    let said = format!("{kind} {path}");
    match kind {
        0 | 1 => {
            let data = random_data(rng);
            let expected = match (fits, there) {
                (false, _) => None,
                (true, Some(_)) => Some(Err(Errno::EXIST)),
                (true, None) => Some(Ok(())),
            };
            let made = stack.create(&path, str::from_utf8(&data).unwrap());
            if let Some(expected) = expected {
                assert_eq!(made, expected, "{said}");
            }
            if made.is_ok() {
                model.insert(path, Entry::File(data));
            }
        }
        2 => {
            let made = stack.mkdir(&path);
            assert_eq!(made.is_ok(), fits && there.is_none(), "{said}: {made:?}");
            if made.is_ok() {
                model.insert(path, Entry::Dir);
            }
        }
        3 => {
            if let Some(Entry::File(data)) = model.get_mut(&path).filter(|_| fits) {
                let (offset, text) = (rng.usize(..=data.len()), "written");
                stack.write(&path, offset as u64, text).unwrap();
                data.resize(data.len().max(offset + text.len()), 0);
                data[offset..offset + text.len()].copy_from_slice(text.as_bytes());
            }
        }
        4 => {
            if let Some(Entry::File(data)) = model.get_mut(&path).filter(|_| fits) {
                let size = rng.usize(..=data.len() + 10);
                let set = SetAttr {
                    size: Some(size as u64),
                    ..SetAttr::default()
                };
                stack.setattr(&path, set).unwrap();
                data.resize(size, 0);
            }
        }
        5 => {
            let removed = stack.unlink(&path);
            let is_file = matches!(there, Some(Entry::File(_)));
            assert_eq!(removed.is_ok(), fits && is_file, "{said}: {removed:?}");
            if removed.is_ok() {
                model.remove(&path);
            }
        }
        6 => {
            let removed = stack.rmdir(&path);
            let empty = there == Some(Entry::Dir) && below(model, &path).is_empty();
            assert_eq!(removed.is_ok(), fits && empty, "{said}: {removed:?}");
            if removed.is_ok() {
                model.remove(&path);
            }
        }
        7 => {
            if there.is_some() && fits {
                stack
                    .chmod(&path, if rng.bool() { 0o755 } else { 0o700 })
                    .unwrap();
            }
        }
        _ => {
            let to = random_path(rng);
            let flags = [
                RenameFlags::empty(),
                RenameFlags::NOREPLACE,
                RenameFlags::EXCHANGE,
            ];
            let flags = flags[rng.usize(..3)];
            let said = format!("{said} to {to} {flags:?}");
            let renamed = stack.rename_with(&path, &to, flags);
            let mut after = model.clone();
            let expected = rename(&mut after, &path, &to, flags);
            assert_eq!(
                renamed.is_ok(),
                expected.is_ok(),
                "{said}: {renamed:?} {expected:?}"
            );
            *model = after;
            return said;
        }
    }
    said
}

fn number(variable: &str, default: u64) -> u64 {
    let value = std::env::var(variable).ok();
    value.map_or(default, |value| value.parse().unwrap())
}

#[test]
fn random_changes_agree_with_a_model() {
    let (first, rounds) = (
        number("PLYFS_MODEL_SEED", 1),
        number("PLYFS_MODEL_ROUNDS", 60),
    );
    for seed in first..first + rounds {
        let mut rng = Rng::with_seed(seed);
        let layers = rng.usize(1..=4);
        let mut stack = Stack::new(layers);
        let mut model = Model::new();
        for layer in (0..layers).rev() {
            fill_layer(&stack, layer, &mut model, &mut rng);
        }
        let redirects = [RedirectDir::On, RedirectDir::Follow];
        stack.redirect_dir = redirects[rng.usize(..2)];
        stack.metacopy = rng.bool();
        stack.index = [IndexUse::Auto, IndexUse::Off][rng.usize(..2)];
        stack.open();
        assert_eq!(shown(&stack), model, "seed {seed}: the layers");
        let mut done = Vec::new();
        for _ in 0..rng.usize(10..60) {
            done.push(step(&stack, &mut model, &mut rng));
            if rng.usize(..8) == 0 {
                stack.remount();
                done.push("remount".to_owned());
            }
        }
        assert_eq!(shown(&stack), model, "seed {seed}: {done:#?}");
        stack.remount();
        assert_eq!(shown(&stack), model, "seed {seed}, remounted: {done:#?}");
    }
}

/// Many threads, each with a directory of its own in one stack, all of which share the table of nodes,
/// the cache of descriptors, the work directory and the parent; and some that look at everything.
#[test]
fn threads_do_not_disturb_each_other() {
    const THREADS: usize = 4;
    let mut stack = Stack::new(2);
    for thread in 0..THREADS {
        for name in ["a/x", "b/y", "c"] {
            put(&stack.lower(1, &format!("t{thread}/{name}")), "lower");
            put(
                &stack.lower(0, &format!("shared/{thread}-{}", name.replace('/', "-"))),
                "s",
            );
        }
    }
    stack.redirect_dir = RedirectDir::On;
    stack.metacopy = true;
    stack.open();
    let stack = &stack;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let mut rng = Rng::with_seed(thread as u64);
                let own = |name: &str| format!("t{thread}/{name}");
                for i in 0..150 {
                    let file = own(&format!("f{i}"));
                    stack.create(&file, "new").unwrap();
                    stack.write(&own("a/x"), 0, &format!("{i:05}")).unwrap();
                    assert_eq!(stack.read(&own("a/x")), format!("{i:05}"));
                    // To where others are busy, and back.
                    let away = format!("shared/{thread}-{i}");
                    stack.rename(&file, &away).unwrap();
                    assert_eq!(stack.read(&away), "new");
                    let (from, to) = if i % 2 == 0 {
                        ("b", "moved")
                    } else {
                        ("moved", "b")
                    };
                    stack.rename(&own(from), &own(to)).unwrap();
                    assert_eq!(stack.read(&own(&format!("{to}/y"))), "lower");
                    if rng.bool() {
                        stack.unlink(&away).unwrap();
                    }
                }
            });
        }
        scope.spawn(move || {
            for _ in 0..200 {
                for thread in 0..THREADS {
                    let names = stack.list(&format!("t{thread}"));
                    assert!(names.contains(&"a".to_owned()), "{names:?}");
                }
                let shared = stack.list("shared");
                let originals = shared.iter().filter(|name| name.ends_with("-c")).count();
                assert_eq!(originals, THREADS);
            }
        });
    });
    assert_eq!(stack.fs().known_nodes(), 1);
}
