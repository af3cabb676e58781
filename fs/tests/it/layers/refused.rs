//! Stacks and changes that are refused.

use super::*;

#[test]
fn what_is_no_overlay_is_refused() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = |name: &str| {
        let path = tmp.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    };
    let open = |lower: &std::path::Path, upper: &std::path::Path, work: &std::path::Path| {
        Overlay::open(&Config {
            lowers: vec![LowerLayer::new(lower)],
            upper: Some(UpperLayer {
                path: upper.to_owned(),
                work: work.to_owned(),
                records: OverrideStatMode::None,
                marks: XattrTrust::Own,
                archive_names: false,
            }),
            ..Config::default()
        })
    };
    let (lower, upper, work) = (dir("lower"), dir("upper"), dir("work"));
    let overlap = |result| matches!(result, Err(MountError::Overlap { .. }));
    assert!(overlap(open(&lower, &upper, &dir("upper/work"))));
    assert!(overlap(open(&lower, &dir("work/upper"), &work)));
    assert!(overlap(open(&dir("upper/lower"), &upper, &work)));
    assert!(overlap(open(&upper, &upper, &work)));
    // The work directory is emptied: it must not be a layer, nor hold one.
    let kept = dir("lower/work").join("kept");
    std::fs::write(&kept, "").unwrap();
    assert!(overlap(open(&lower, &upper, &lower)));
    assert!(overlap(open(&dir("work/work/lower"), &upper, &work)));
    assert!(kept.exists());
    assert!(matches!(
        open(&tmp.path().join("missing"), &upper, &work),
        Err(MountError::Open { role: "lower", .. })
    ));
    let none = Overlay::open(&Config::default());
    assert!(matches!(none, Err(MountError::NoLower)));
    let opened = open(&lower, &upper, &work);
    assert!(opened.is_ok(), "{opened:?}");
    let second = open(&lower, &upper, &dir("work2"));
    assert!(matches!(
        second,
        Err(MountError::InUse { role: "upper", .. })
    ));
}

#[test]
fn lower_layers_that_overlap_are_refused() {
    let stack = Stack::new(3);
    let config = |paths: &[PathBuf]| Config {
        lowers: paths.iter().cloned().map(LowerLayer::new).collect(),
        ..Config::default()
    };
    fs::create_dir_all(stack.lower(1, "a/b")).unwrap();
    fs::create_dir_all(stack.lower(1, "a.b")).unwrap();
    let path = |layer, path| stack.lower(layer, path);
    for (paths, said) in [
        ([path(0, ""), path(1, ""), path(0, ".")], "given twice"),
        (
            [path(1, "a/b"), path(0, ""), path(1, "")],
            "inside the other",
        ),
        (
            [path(1, "a"), path(1, "a.b"), path(1, "a/b")],
            "inside the other",
        ),
    ] {
        let refused = Overlay::open(&config(&paths)).unwrap_err();
        assert!(refused.to_string().contains(said), "{refused}");
        assert_eq!(refused.errno(), Errno::LOOP);
    }
    // Wherever a path seems to lead.
    let link = path(2, "link");
    std::os::unix::fs::symlink(path(1, ""), &link).unwrap();
    let back = path(1, "a/..");
    for given in [link.join("a"), link, back.join("a/b"), back] {
        for paths in [[path(1, "a"), given.clone()], [given, path(1, "a")]] {
            let refused = Overlay::open(&config(&paths)).unwrap_err();
            assert_eq!(refused.errno(), Errno::LOOP, "{paths:?}");
        }
    }
    let apart = [path(1, "a"), path(1, "a.b"), path(0, "")];
    Overlay::open(&config(&apart)).unwrap();
}

/// Layers that overlap only after the mount, or whose paths do not show it.
#[test]
fn a_layer_that_is_met_inside_another_is_an_error() {
    let mut stack = Stack::new(2);
    put(&stack.lower(0, "d/own"), "own");
    put(&stack.lower(1, "below"), "below");
    stack.changes_below();
    stack.open();
    let root = |path: std::path::PathBuf| path.components().as_path().to_owned();
    let (other, work) = (root(stack.lower(1, "")), stack.work());
    let work = work.parent().unwrap();
    for (from, to, met) in [
        (&*other, stack.lower(0, "d/other"), "d/other"),
        (&*other, stack.upper("other"), "other"),
        (&*root(stack.upper("")), stack.lower(0, "upper"), "upper"),
        (work, stack.lower(1, "work"), "work"),
    ] {
        std::fs::rename(from, &to).unwrap();
        let found = stack.attr(met);
        let shown = stack.read("d/own");
        std::fs::rename(&to, from).unwrap();
        assert_eq!(found.unwrap_err(), Errno::LOOP, "{met}");
        assert_eq!(shown, "own", "{met}");
        stack.remount();
        stack.changes_below();
    }
}

#[test]
fn layers_inside_a_living_upper_layer_are_refused_where_an_index_is_kept() {
    let mut stack = Stack::new(1);
    stack.open();
    let tmp = tempfile::tempdir().unwrap();
    let dir = |name: &str| {
        let path = tmp.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    };
    let open = |lower: std::path::PathBuf, upper: std::path::PathBuf, index| {
        let mut config = stack.config();
        config.lowers = vec![LowerLayer::new(lower)];
        config.index = index;
        config.upper = config.upper.map(|known| UpperLayer {
            work: upper.with_extension("work"),
            path: upper,
            ..known
        });
        Overlay::open(&config).map(drop)
    };
    let inside = stack.upper("inside");
    std::fs::create_dir(&inside).unwrap();
    for name in ["upper.work", "other.work"] {
        dir(name);
    }
    let (lower, upper) = (dir("lower"), dir("upper"));
    let other = inside.join("other");
    for path in [&other, &other.with_extension("work")] {
        std::fs::create_dir(path).unwrap();
    }
    for (lower, upper) in [
        (inside, upper.clone()),
        (stack.upper(""), upper.clone()),
        (lower.clone(), other),
    ] {
        let refused = open(lower.clone(), upper.clone(), IndexUse::On);
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused, MountError::InUseAbove { .. }),
            "{refused}"
        );
        assert_eq!(refused.errno(), Errno::BUSY);
        // The kernel's overlay takes what is undefined then.
        open(lower, upper, IndexUse::Off).unwrap();
    }
    open(lower, upper, IndexUse::On).unwrap();
}

#[test]
fn a_lock_of_another_program_above_a_layer_refuses_no_index() {
    let stack = Stack::new(1);
    let above = stack.upper("").parent().unwrap().to_owned();
    let mut holder = std::process::Command::new("flock")
        .args(["--exclusive", "--no-fork"])
        .arg(&above)
        .args(["sh", "-c", "echo locked; exec sleep 60"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 7];
    let mut output = holder.stdout.take().unwrap();
    std::io::Read::read_exact(&mut output, &mut line).unwrap();
    let mut config = stack.config();
    config.index = IndexUse::On;
    let opened = Overlay::open(&config).map(drop);
    holder.kill().unwrap();
    holder.wait().unwrap();
    opened.unwrap();
}
