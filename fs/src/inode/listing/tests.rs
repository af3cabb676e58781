use super::*;
use crate::layer::object_id::InoMapper;
use crate::types::Device;

fn name(text: &str) -> Name {
    Name::from(OsStr::new(text))
}

fn known(ino: u64) -> EntryInfo {
    let object = InoMapper::default().object(Device::default(), ino);
    EntryInfo::Object(object, FileKind::Regular)
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
fn directories_come_first_and_every_name_is_found() {
    let mut listing = Listing::new();
    let dir = |ino| match known(ino) {
        EntryInfo::Object(object, _) => EntryInfo::Object(object, FileKind::Directory),
        unresolved => unresolved,
    };
    for i in 0..100 {
        let known = match i % 3 {
            0 => known(i),
            1 => dir(i),
            _ => EntryInfo::Unresolved,
        };
        assert!(
            listing
                .add_from(&name(&format!("n{i}")), known, FirstLayer::Upper)
                .is_ok()
        );
    }
    assert_eq!(
        listing.add_from(&name("n7"), known(1), FirstLayer::Upper),
        Err(7)
    );
    listing.complete();
    let mut all = listing.after(0);
    all.extend(listing.after(all[all.len() - 1].cookie));
    assert_eq!(all.len(), 100);
    assert!(all.is_sorted_by_key(|item| item.cookie));
    let is_file = |item: &Listed| matches!(item.known, EntryInfo::Object(_, FileKind::Regular));
    assert!(all.is_sorted_by_key(is_file));
    for i in 0..100 {
        let name = name(&format!("n{i}"));
        let item = all.iter().find(|item| item.name == name).unwrap();
        assert_eq!(listing.known(&name), Some(item.known));
        assert_eq!(listing.get(&name), Some((name.clone(), FirstLayer::Upper)));
        listing.remove(&name);
        assert!(!listing.contains(&name));
    }
    assert!(listing.after(0).is_empty());
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
