//! `plyfs fsck`: what of the store is damaged, and repairing it.

use std::path::Path;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use plyfs_store::{CheckReport, CheckRequest, Event, Finding, Progress, Remedy, Source, Store};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::shared::interrupt::Interrupt;
use super::shared::progress;
use crate::error::{CliError, Result};
use crate::{output, storage};

/// Check the store for damage, and repair it
///
/// Reads every document, blob and record and every file of the unpacked layers, and compares them with their digests.
/// Repairs need a whole copy: the layer's blob, or the image given with --from. Files that were changed in a container
/// have no digest and are not checked.
///
/// Exit statuses are those of fsck(8): 0 if nothing is damaged; 1 if all that was damaged has been repaired; 4 if something
/// is damaged and was not repaired, and 5 if some of it was; 8 if the check could not be done; 16 for wrong arguments; 32
/// if a signal ended it.
#[derive(Debug, Args)]
#[allow(
    rustdoc::broken_intra_doc_links,
    reason = "brackets of a usage, not of a link"
)]
pub(crate) struct FsckArgs {
    /// Repair what can be repaired
    #[arg(short, long)]
    repair: bool,
    /// Take lost data from this image, named as for import: oci:DIR[:TAG], oci-archive:FILE[:TAG] or
    /// docker-archive:FILE[:NAME:TAG]
    #[arg(long, value_name = "SOURCE", requires = "repair")]
    from: Option<String>,
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
    /// Only this image, by name or digest, and what it needs
    image: Option<String>,
}

/// Exit statuses, those of fsck(8).
const REPAIRED: u8 = 1;
const NOT_REPAIRED: u8 = 4;
const FAILED: u8 = 8;
pub(crate) const USAGE: u8 = 16;
const CANCELLED: u8 = 32;

/// Checks the store and prints the damage.
pub(crate) fn fsck(args: &FsckArgs, store: Option<&Path>) -> Result {
    let source = args.from.as_deref().map(Source::parse).transpose();
    let source = source.map_err(|error| CliError::new(error).with_status(USAGE))?;
    let report = check(args, source, store).map_err(|failure| match failure.status() {
        1 => failure.with_status(FAILED),
        _ => failure,
    })?;
    match args.json {
        true => output::json(&listed(&report))?,
        false => print(&report, args.repair)?,
    }
    match status(&report) {
        0 => Ok(()),
        status => Err(CliError::silent(status)),
    }
}

fn check(args: &FsckArgs, source: Option<Source>, store: Option<&Path>) -> Result<CheckReport> {
    let location = storage::location(store)?;
    storage::enter_for_owners()?;
    let store = Store::open_existing(location)?;
    let request = CheckRequest {
        image: args.image.clone(),
        repair: args.repair,
        source,
        ownership: storage::ownership_here(),
    };
    let watch = Watch::start()?;
    let report = store.check(&request, &watch);
    watch.bar.finish_and_clear();
    report.map_err(|error| match error {
        plyfs_store::Error::Interrupted => CliError::new(
            "interrupted; what was repaired so far is whole, and the rest is as it was",
        )
        .with_status(CANCELLED),
        error => error.into(),
    })
}

fn status(report: &CheckReport) -> u8 {
    let repaired = report.findings.iter().any(Finding::is_repaired);
    let left = report.findings.iter().any(|finding| !finding.is_repaired());
    match (repaired, left) {
        (false, false) => 0,
        (true, false) => REPAIRED,
        (false, true) => NOT_REPAIRED,
        (true, true) => NOT_REPAIRED | REPAIRED,
    }
}

/// A line for each finding, and one for all.
fn print(report: &CheckReport, repair: bool) -> Result {
    let mut text = String::new();
    for finding in &report.findings {
        text.push_str(&format!("{} {}", finding.object, finding.fault));
        if repair || finding.remedy != Remedy::NotAsked {
            text.push_str(&format!("; {}", finding.remedy));
        }
        if !finding.users.is_empty() {
            text.push_str(&format!(" (needed by {})", finding.users.join(", ")));
        }
        text.push('\n');
    }
    let damaged = report.findings.len();
    let repaired = report
        .findings
        .iter()
        .filter(|one| one.is_repaired())
        .count();
    text.push_str(&format!(
        "checked {} images, {} containers, {} documents, {} blobs and {} layers: ",
        report.images, report.containers, report.documents, report.blobs, report.layers
    ));
    text.push_str(&match (damaged, repair) {
        (0, _) => "no damage\n".to_owned(),
        (damaged, true) => format!("{damaged} damaged, {repaired} repaired\n"),
        (damaged, false) => format!("{damaged} damaged; repair with \"plyfs fsck --repair\"\n"),
    });
    output::write(&text)
}

/// The same for programs.
fn listed(report: &CheckReport) -> Value {
    let finding = |one: &Finding| {
        json!({
            "object": one.object.kind(),
            "name": one.object.name(),
            "problem": one.fault.to_string(),
            "needed_by": one.users,
            "repaired": one.is_repaired(),
            "remedy": one.remedy.to_string(),
        })
    };
    json!({
        "images": report.images,
        "containers": report.containers,
        "documents": report.documents,
        "blobs": report.blobs,
        "layers": report.layers,
        "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

/// Shows how far the check is, and ends it when the user asks for that.
struct Watch {
    interrupt: Interrupt,
    bar: ProgressBar,
}

impl Watch {
    fn start() -> Result<Self> {
        let bar = ProgressBar::with_draw_target(None, progress::target());
        let style = ProgressStyle::with_template(
            "checking {bar:30} {decimal_bytes:>10} of {decimal_total_bytes:10}",
        );
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let interrupt = Interrupt::listen(&[Signal::INT, Signal::TERM], CANCELLED)?;
        Ok(Self { interrupt, bar })
    }
}

impl Progress for Watch {
    fn event(&self, event: &Event<'_>) {
        if let Event::Checked { bytes, total } = *event {
            self.bar.set_length(total.max(bytes));
            self.bar.set_position(bytes);
        }
    }

    fn interrupted(&self) -> bool {
        self.interrupt.is_asked()
    }
}
