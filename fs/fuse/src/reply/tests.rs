#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use log::{LevelFilter, Log, Metadata, Record};
use parking_lot::Mutex;
use plyfs_fs::{Config, LowerLayer};

use super::*;

/// Keeps what this thread logs. Other tests log, too.
struct Kept;

static LINES: Mutex<Vec<(std::thread::ThreadId, String)>> = Mutex::new(Vec::new());

impl Log for Kept {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = format!("{} {}", record.level(), record.args());
        LINES.lock().push((std::thread::current().id(), line));
    }

    fn flush(&self) {}
}

/// The lines that this thread logs meanwhile.
fn logged(act: impl FnOnce()) -> Vec<String> {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Kept).unwrap();
        log::set_max_level(LevelFilter::Debug);
    });
    // Opening the overlay may have logged before.
    taken();
    act();
    taken()
}

/// The lines that this thread has logged since this was last called.
fn taken() -> Vec<String> {
    let this = std::thread::current().id();
    let mut lines = LINES.lock();
    let (mine, others) = lines.drain(..).partition(|(thread, _)| *thread == this);
    *lines = others;
    mine.into_iter().map(|(_, line)| line).collect()
}

/// An answer that goes nowhere.
struct Nowhere;

impl Refuse for Nowhere {
    fn refuse(self, _: fuser::Errno) {}
}

fn overlay() -> (tempfile::TempDir, Arc<Overlay>) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("a")).unwrap();
    std::fs::write(dir.path().join("a/b"), "").unwrap();
    let config = Config {
        lowers: vec![LowerLayer::new(dir.path().to_owned())],
        ..Config::default()
    };
    (dir, Arc::new(Overlay::open(&config).unwrap()))
}

fn pending(answers: &Arc<Answers>, operation: &'static str, node: u64) -> Pending<Nowhere> {
    Pending {
        answers: answers.clone(),
        unique: 12,
        operation,
        node,
        name: Some("x".into()),
        reply: Nowhere,
    }
}

#[test]
fn the_line_of_a_failing_request_has_operation_node_path_and_errno() {
    let (_dir, overlay) = overlay();
    let parent = overlay.lookup(overlay.root(), "a".as_ref()).unwrap();
    let file = overlay.lookup(parent.id, "b".as_ref()).unwrap();
    let answers = Arc::new(Answers::new(overlay, false));
    let id = file.id;
    assert_eq!(
        logged(|| pending(&answers, "setxattr", id).fail(Errno::OPNOTSUPP)),
        [format!(
            "DEBUG request 12: setxattr of \"x\" in node {id} (\"/a/b\"): \
             Operation not supported (os error 95)"
        )]
    );
    assert_eq!(
        logged(|| pending(&answers, "lookup", 1).finish(Ok(()), |_, ()| {})),
        ["DEBUG request 12: lookup of \"x\" in node 1 (\"/\"): done"]
    );
}

#[test]
fn the_line_names_where_plyfs_decided_on_an_error() {
    let (_dir, overlay) = overlay();
    let answers = Arc::new(Answers::new(overlay.clone(), true));
    let lines = logged(|| {
        let error = overlay.getattr(99).unwrap_err();
        pending(&answers, "getattr", 99).fail(error);
    });
    let [line] = &*lines else {
        panic!("{lines:?}");
    };
    assert!(line.contains("node 99: Stale file handle"), "{line}");
    assert!(
        line.contains("decided at ") && line.contains(".rs:"),
        "{line}"
    );
    // It belongs to that answer alone, and to no other error.
    let lines = logged(|| {
        overlay.getattr(99).unwrap_err();
        pending(&answers, "getattr", 1).fail(Errno::NOENT);
        pending(&answers, "getattr", 1).fail(Errno::STALE);
    });
    assert!(
        lines.iter().all(|line| !line.contains("decided")),
        "{lines:?}"
    );
}

#[test]
fn a_user_hears_once_of_errors_that_matter() {
    let (_dir, overlay) = overlay();
    let answers = |changing| Arc::new(Answers::new(overlay.clone(), changing));
    let warnings = |answers: &Arc<Answers>, error| {
        let lines = logged(|| {
            pending(answers, "read", 1).fail(error);
            pending(answers, "read", 1).fail(error);
        });
        lines.iter().filter(|line| line.starts_with("WARN")).count()
    };
    assert_eq!(warnings(&answers(false), Errno::IO), 1);
    assert_eq!(warnings(&answers(false), Errno::STALE), 1);
    assert_eq!(warnings(&answers(true), Errno::STALE), 0);
    assert_eq!(warnings(&answers(false), Errno::NOENT), 0);
}
