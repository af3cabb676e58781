//! How far an import or a pull is, and how it ends when the user asks for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;
use plyfs_store::{Digest, Event, PlannedLayer, Progress};
use rustix::process::Signal;
use serde_json::json;

use super::interrupt::Interrupt;
use super::progress;
use crate::error::Result;
use crate::output;

/// Exit status after an interrupt from the terminal, as shells have it.
pub(crate) const INTERRUPTED: u8 = 130;

/// How it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Bars on a terminal, nothing elsewhere.
    Bars,
    /// Bars on a terminal, a line for each layer elsewhere.
    BarsOrLines,
    /// Nothing.
    Nothing,
    /// An object of JSON on a line for each event, on standard output.
    Json,
}

/// Shows how far an import is, and ends it when the user asks for that.
pub(crate) struct Watch {
    shown: Shown,
    interrupt: Interrupt,
    bars: MultiProgress,
    /// Those of the image that is being imported.
    layers: Mutex<Vec<(PlannedLayer, ProgressBar)>>,
    published: AtomicUsize,
}

impl Watch {
    pub(crate) fn start(shown: Shown) -> Result<Self> {
        let signals = [Signal::INT, Signal::TERM, Signal::HUP];
        Ok(Self {
            interrupt: Interrupt::listen(&signals, INTERRUPTED)?,
            bars: MultiProgress::with_draw_target(match shown {
                Shown::Bars | Shown::BarsOrLines => progress::target(),
                Shown::Nothing | Shown::Json => ProgressDrawTarget::hidden(),
            }),
            shown,
            layers: Mutex::default(),
            published: AtomicUsize::new(0),
        })
    }

    fn plan(&self, layers: &[PlannedLayer]) {
        let style = ProgressStyle::with_template(
            "{prefix:12} {bar:30} {decimal_bytes:>10} of {decimal_total_bytes:10} {decimal_bytes_per_sec:>12} {eta:>4} {msg}",
        );
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        let bars = layers.iter().map(|layer| {
            let bar = self.bars.add(ProgressBar::new(layer.size));
            bar.set_style(style.clone());
            bar.set_prefix(layer.diff_id.hex().chars().take(12).collect::<String>());
            if layer.present {
                bar.finish_with_message("is there");
            }
            (*layer, bar)
        });
        *self.layers.lock() = bars.collect();
        for layer in layers.iter().filter(|layer| layer.present) {
            self.tell(layer, "is there");
        }
    }

    fn bar(&self, layer: usize) -> Option<ProgressBar> {
        self.layers.lock().get(layer).map(|(_, bar)| bar.clone())
    }

    /// Set when the user asks for an end.
    pub(crate) fn asked(&self) -> Arc<AtomicBool> {
        self.interrupt.asked()
    }

    /// Tells of a layer where there are no bars.
    fn tell(&self, layer: &PlannedLayer, state: &str) {
        let name = layer.blob.unwrap_or(layer.diff_id);
        match self.shown {
            Shown::Json => {
                let event = json!({
                    "event": "layer", "state": state, "digest": name.to_string(),
                    "diff_id": layer.diff_id.to_string(), "size": layer.size,
                });
                // The command itself finds out when its reader is gone, at its end.
                drop(output::write(&format!("{event}\n")));
            }
            Shown::BarsOrLines if self.bars.is_hidden() => {
                let short: String = name.hex().chars().take(12).collect();
                output::complain(&format_args!(
                    "layer {short}: {state}, {}",
                    output::size(layer.size)
                ));
            }
            _ => {}
        }
    }

    /// Shows the blobs that are to be sent.
    pub(crate) fn plan_sending(&self, blobs: impl Iterator<Item = (Digest, u64)>) {
        let layer = |(digest, size)| PlannedLayer {
            diff_id: digest,
            blob: Some(digest),
            size,
            present: false,
        };
        self.plan(&blobs.map(layer).collect::<Vec<_>>());
    }

    /// So many bytes of a layer have been read or sent.
    pub(crate) fn moved(&self, layer: usize, bytes: u64) {
        if let Some(bar) = self.bar(layer) {
            bar.set_position(bytes);
        }
    }

    /// A layer is where it should be.
    pub(crate) fn settled(&self, layer: usize, how: &'static str) {
        if let Some((layer, bar)) = self.layers.lock().get(layer) {
            self.tell(layer, how);
            bar.finish_with_message(how);
        }
    }

    pub(crate) fn finish(&self) {
        let unpacked = self.published.load(Ordering::Relaxed);
        log::info!("{unpacked} layers were unpacked");
    }
}

impl Progress for Watch {
    fn event(&self, event: &Event<'_>) {
        match *event {
            Event::Planned { layers } => self.plan(layers),
            Event::Read { layer, bytes } => self.moved(layer, bytes),
            Event::Unpacked { layer } => {
                if let Some(bar) = self.bar(layer) {
                    bar.set_message("writing");
                }
            }
            Event::Published { layer } => {
                self.published.fetch_add(1, Ordering::Relaxed);
                self.settled(layer, "done");
            }
            _ => {}
        }
    }

    fn interrupted(&self) -> bool {
        self.interrupt.is_asked()
    }
}
