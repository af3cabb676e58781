//! Progress of a long command, on a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use plyfs_store::{Event, Progress};

/// Where progress is shown: on standard error, if that is a terminal.
pub(crate) fn target() -> ProgressDrawTarget {
    if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    }
}

/// A line of progress on standard error, removed at the end. It is not shown if standard error is no terminal.
#[derive(Debug)]
pub(crate) struct Line(ProgressBar);

impl Line {
    /// A line that begins with what is done.
    pub(crate) fn new(what: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(None, target());
        let style = ProgressStyle::with_template("{prefix} {spinner} {decimal_bytes:>10} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.set_prefix(what);
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        Self(bar)
    }

    /// Counts more bytes.
    pub(crate) fn add(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// What comes after the bytes.
    pub(crate) fn step(&self, what: &'static str) {
        self.0.set_message(what);
    }
}

impl Progress for Line {
    fn event(&self, event: &Event<'_>) {
        if let Event::Saved { bytes, total } = *event {
            self.0.set_position(bytes);
            if self.0.message().is_empty() {
                self.0
                    .set_message(format!("of {}", crate::output::size(total)));
            }
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
