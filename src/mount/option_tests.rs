//! Tests of the table of options, of their values, and of the manual page that lists them.

use std::path::PathBuf;
use std::time::Duration;

use plyfs_fs::IdRange;
use plyfs_fuse::SuppressedRequest;

use super::*;

#[test]
fn separators_can_be_part_of_a_path() {
    let options = Options::parse(&[
        r"lowerdir=/a\:b:/c\,d:/e\\f,upperdir=/u\,\:",
        "workdir=/w,ro",
    ])
    .unwrap();
    let paths = ["/a:b", "/c,d", r"/e\f"].map(PathBuf::from);
    assert_eq!(options.lowers, paths);
    assert_eq!(options.upper, Some("/u,:".into()));
    assert_eq!(options.work, Some("/w".into()));
    assert!(options.read_only);
}

#[test]
fn the_last_of_two_opposites_holds() {
    let options = Options::parse(&["nosuid,suid,ro,rw,nodev"]).unwrap();
    let flags = options.mount_flags(MountFlags::NOSUID | MountFlags::NOATIME);
    assert_eq!(flags, MountFlags::NODEV | MountFlags::NOATIME);
    assert_eq!(options.flag_words(), ["suid", "nodev"]);
    let options = Options::parse(&["relatime"]).unwrap();
    let flags = options.mount_flags(MountFlags::NOATIME);
    assert_eq!(flags, MountFlags::RELATIME);
}

#[test]
fn what_is_said_goes_before_flags_that_hold_otherwise() {
    let both = MountFlags::NODEV | MountFlags::NOSUID;
    for (said, expected) in [
        ("", both),
        ("dev", MountFlags::NOSUID),
        ("suid,nodev", MountFlags::NODEV),
        ("dev,suid", MountFlags::empty()),
    ] {
        let mut options = Options::parse(&[said]).unwrap();
        options.set_unless_said(both);
        assert_eq!(options.mount_flags(MountFlags::empty()), expected, "{said}");
    }
    let run = Options::for_run(None).mount_flags(MountFlags::empty());
    assert_eq!(run, MountFlags::NODEV);
}

#[test]
fn what_is_wrong_is_named() {
    let message = |text: &str| Options::parse(&[text]).unwrap_err().to_string();
    assert!(message("lowerdi=/a").contains("lowerdir="));
    assert!(message("nonsense").contains("\"nonsense\""));
    assert!(message("metacopy").ends_with("needs a value: metacopy=on|off"));
    assert!(message("timeout=soon").contains("\"soon\""));
    assert!(message("timeout=-1").contains("\"-1\""));
    assert!(message("threads=many").contains("threads="));
    for text in [
        "lowerdir=",
        "lowerdir=/a:",
        "lowerdir=:/a",
        "lowerdir=/a:::/b",
    ] {
        assert!(message(text).contains("empty path"), "{text}");
    }
    assert!(message("lowerdir=/a::/b:/c").contains("::"));
    assert!(message("datadir+=/a,lowerdir+=/b").contains("before"));
    for text in ["lowerdir=/a,lowerdir+=/b", "lowerdir+=/a,lowerdir=/b"] {
        assert!(message(text).contains("not both"), "{text}");
    }
    assert!(message("redirect_dir=maybe").contains("nofollow"));
    assert!(message("metacopy=1").contains("\"1\""));
    assert!(message("backend=both").contains("auto, kernel or fuse"));
    assert!(message("xino=maybe").contains("auto"));
}

#[test]
fn ids_are_mapped_by_triples() {
    let options = Options::parse(&["uidmapping=:0:1000:1:1:100000:5,squash_to_gid=7"]).unwrap();
    let range = |stored, shown, count| IdRange {
        shown,
        stored,
        count,
    };
    let expected = vec![range(0, 1000, 1), range(1, 100_000, 5)];
    assert!(matches!(options.owners.uids, Ids::Mapped { ranges, .. } if ranges == expected));
    assert_eq!(options.owners.gids, Ids::Squashed(7));
    for text in ["uidmapping=0:1", "gidmapping=", "uidmapping=a:b:c"] {
        assert!(Options::parse(&[text]).is_err(), "{text}");
    }
}

/// The options of the manual page with the values they take: what stands in the line after `.TP`.
fn documented() -> Vec<(String, String)> {
    let mut lines = include_str!("../../docs/man/mount.plyfs.8").lines();
    let mut documented = Vec::new();
    while lines.any(|line| line == ".TP") {
        let line = lines.next().unwrap_or_default();
        let words = line.split_once(' ').map_or("", |(_, words)| words);
        if let Some((name, values)) = words.split_once("= ") {
            let values = values.split("\\f").next().unwrap_or_default();
            documented.push((format!("{name}="), values.to_owned()));
            continue;
        }
        let words = words.split([' ', ',', '"']).filter(|word| !word.is_empty());
        documented.extend(words.map(|word| (word.to_owned(), String::new())));
    }
    documented
}

#[test]
fn the_table_and_the_manual_agree() {
    let documented = documented();
    for row in &TABLE {
        let pair = (row.name.to_owned(), row.values.to_owned());
        assert!(documented.contains(&pair), "{pair:?}");
    }
    for (name, _) in documented.iter().filter(|(name, _)| name.ends_with('=')) {
        let is_of_helper = ["image=", "container=", "store="].contains(&name.as_str());
        assert!(is_of_helper || Options::knows(name), "{name}");
    }
}

#[test]
fn every_value_in_the_table_is_taken() {
    for row in TABLE.iter().filter(|row| row.values.contains('|')) {
        for value in row.values.split('|') {
            let option = format!("{}{value}", row.name);
            assert!(Options::parse(&[&option]).is_ok(), "{option}");
        }
        let wrong = format!("{}plyfs", row.name);
        let message = Options::parse(&[&wrong]).unwrap_err().to_string();
        assert!(message.contains(row.name), "{message}");
    }
    for row in &TABLE {
        for value in row.without_effect {
            let option = format!("{}{value}", row.name);
            let options = Options::parse(&[&option]).unwrap();
            assert_eq!(options.for_kernel_only(), None, "{option}");
        }
    }
}

#[test]
fn layers_of_data_come_after_the_others() {
    let options = Options::parse(&["lowerdir=/a:/b::/c::/d"]).unwrap();
    assert_eq!(options.lowers, ["/a", "/b"].map(PathBuf::from));
    assert_eq!(options.data, ["/c", "/d"].map(PathBuf::from));
    let options = Options::parse(&["lowerdir+=/a,lowerdir+=/b:b,datadir+=/c"]).unwrap();
    assert_eq!(options.lowers, ["/a", "/b:b"].map(PathBuf::from));
    assert_eq!(options.data, [PathBuf::from("/c")]);
}

#[test]
fn values_are_read() {
    let options =
        Options::parse(&["timeout=0.5,writeback=0,threads=3,polling=0,fsname=x y,subtype=s"])
            .unwrap();
    assert_eq!(options.timeout, Some(Duration::from_millis(500)));
    assert_eq!(options.writeback, Some(false));
    assert_eq!(options.threads, Some(3));
    assert_eq!(options.polling, Some(false));
    assert_eq!(options.source.as_deref(), Some("x y"));
    assert_eq!(options.subtype.as_deref(), Some("s"));
    let options = Options::parse(&["backend=kernel,xino=off,xino=on,nfs_export=off"]).unwrap();
    assert_eq!(options.backend, Some(BackendChoice::Kernel));
    let told = [("xino", "on"), ("nfs_export", "off")];
    assert_eq!(
        options.kernel,
        told.map(|(name, value)| (name.into(), value.into()))
    );
    assert_eq!(options.for_kernel_only(), None);
    let options = Options::parse(&["send=open:flush"]).unwrap();
    assert_eq!(
        options.sent,
        [SuppressedRequest::Flush, SuppressedRequest::Open]
            .into_iter()
            .collect()
    );
    assert!(Options::parse(&["send=open:close"]).is_err());
    let options = Options::parse(&["verity=require"]).unwrap();
    assert_eq!(options.for_kernel_only().as_deref(), Some("verity=require"));
    assert_eq!(Options::parse(&[""]).unwrap(), Options::default());
}
