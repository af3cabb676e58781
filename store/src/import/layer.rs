//! One layer on its way into the store.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use plyfs_format::names::Namespace;
use rustix::fs::{Mode, OFlags};

use super::job::Import;
use super::keep::{Keep, Keeper};
use super::layer_blob::LayerBlob;
use super::pipe::PipeInput;
use super::pipeline;
use super::pipeline::Streams;
use super::plan::{Body, Task};
use super::stream::{BlobStream, Input};
use crate::disk::{Content, discard, seal, size_error, tree_digest};
use crate::error::{Context, LayerFault, Result};
use crate::progress::Event;
use crate::tar::Reader;
use crate::unpack::{Policy, unpack};
use crate::values::{Digest, LayerFacts, LayerRecord, Ownership};

/// Where the work on a layer lies until it is published.
struct Work {
    blob: PathBuf,
    layer: PathBuf,
}

impl Import<'_> {
    /// Verifies the blob of a task, unpacks it if need be, and publishes what is new.
    pub(super) fn layer(&self, task: &Task) -> Result<LayerBlob> {
        let content = match &task.body {
            Body::Here(content) => content,
            Body::Elsewhere(size) => return self.fetched_layer(task, *size),
        };
        let number = task.layers.first().copied().unwrap_or_default();
        let blob = self.staging.path().join(format!("blob-{number}"));
        let (content, keeper) = keep(task, content, &blob)?;
        self.layer_from(task, (Input::Here(&content), keeper), &blob)
    }

    /// As [`Import::layer`], from a stream. Its blob, if it is to be kept, lies at `blob` afterwards.
    pub(super) fn layer_from(
        &self,
        task: &Task,
        (input, keeper): (Input<'_>, Option<Keeper<'_>>),
        blob: &Path,
    ) -> Result<LayerBlob> {
        let work = Work {
            blob: blob.to_owned(),
            layer: self.layer_in_work(task),
        };
        let watch = |bytes| {
            for &layer in &task.layers {
                self.progress.event(&Event::Read { layer, bytes });
            }
            !self.is_cancelled()
        };
        let stream = BlobStream::new(&task.label, &input, keeper, &watch);
        let limit = self.terms.limits.layer_bytes;
        let (streams, facts) = if task.unpack {
            let policy = prepare(&work.layer, self.terms.ownership, self.namespace)?;
            let wrote = |bytes| self.sync.wrote(bytes);
            let (streams, facts) = pipeline::run(stream, task, limit, &wrote, |input| {
                unpack_into(&work.layer, policy, self.terms.limits.layer_entries, input)
            })?;
            (streams, Some(facts))
        } else {
            (pipeline::verify(stream, task, limit)?, None)
        };
        for &layer in &task.layers {
            self.progress.event(&Event::Unpacked { layer });
        }
        let blob = streams.kept.unwrap_or(LayerBlob {
            digest: streams.blob,
            size: input.len(),
            format: task.format,
        });
        self.publish(task, &work, &streams, &blob.digest, facts)?;
        Ok(blob)
    }

    /// Removes what was unpacked of a task, so that it can begin again.
    pub(super) fn clear_layer(&self, task: &Task) -> Result<()> {
        let layer = self.layer_in_work(task);
        match layer.exists() {
            true => discard(&self.store.staging_dir(), &layer),
            false => Ok(()),
        }
    }

    /// Where a layer is unpacked.
    fn layer_in_work(&self, task: &Task) -> PathBuf {
        let number = task.layers.first().copied().unwrap_or_default();
        self.staging.path().join(format!("layer-{number}"))
    }

    /// Moves blob and layer to their places, after everything in them is on disk.
    fn publish(
        &self,
        task: &Task,
        work: &Work,
        streams: &Streams,
        blob: &Digest,
        facts: Option<LayerFacts>,
    ) -> Result<()> {
        if let Some(facts) = facts {
            if facts.xattrs_dropped > 0 {
                let (count, layer) = (facts.xattrs_dropped, &streams.diff_id);
                log::info!("layer {layer}: {count} extended attributes were not kept");
            }
            let mut record = LayerRecord {
                diff_id: streams.diff_id,
                size: streams.size,
                ownership: self.terms.ownership,
                trusted: Some(self.namespace == Namespace::Trusted),
                facts,
                tree: None,
                blobs: vec![*blob],
            };
            let watch = |_| !self.is_cancelled();
            record.tree = Some(tree_digest(&work.layer.join("diff"), &record, &watch)?);
            write_new(&work.layer.join("layer.json"), &seal(&record))?;
        }
        if task.unpack || task.keep != Keep::No {
            self.sync.sync().context("sync", self.store.path())?;
        }
        if task.keep != Keep::No {
            // Over one that another import has put there meanwhile: it is the same.
            self.store.put_blob(&work.blob, blob)?;
        }
        let published = task.unpack && self.publish_layer(&work.layer, &streams.diff_id)?;
        if published {
            return Ok(());
        }
        self.store
            .add_blob_to_layer(self.staging, &streams.diff_id, blob)
    }

    /// Moves a layer to its place; `false` if it is there already, since another import was faster.
    fn publish_layer(&self, layer: &Path, diff_id: &Digest) -> Result<bool> {
        use rustix::io::Errno;
        let place = self.store.layer_dir(diff_id);
        match rustix::fs::rename(layer, &place) {
            Ok(()) => Ok(true),
            // Another import may have been faster in replacing it, too; then it is replaced once more.
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR)
                if self.damaged.layers.contains(diff_id) =>
            {
                self.store.replace_layer(layer, diff_id)?;
                Ok(true)
            }
            Err(Errno::EXIST | Errno::NOTEMPTY) => Ok(false),
            Err(errno) => Err(errno).context("publish", &place),
        }
    }
}

/// Makes the directory to unpack to, and gets the calling thread ready for it.
fn prepare(layer: &Path, ownership: Ownership, namespace: Namespace) -> Result<Policy> {
    // Modes in the archive are the modes on disk.
    plyfs_sys::thread::set_umask(0).context("set the file creation mask for", layer)?;
    let diff = layer.join("diff");
    for dir in [layer, &diff] {
        rustix::fs::mkdir(dir, Mode::RWXU).context("create", dir)?;
    }
    let stat = rustix::fs::stat(&diff).context("examine", &diff)?;
    Ok(Policy {
        ownership,
        namespace,
        creator: (stat.st_uid, stat.st_gid),
    })
}

fn unpack_into(
    layer: &Path,
    policy: Policy,
    max_entries: u64,
    input: PipeInput,
) -> Result<LayerFacts, LayerFault> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rustix::fs::open(layer.join("diff"), flags, Mode::empty());
    let root = root.map_err(|errno| LayerFault::Entry {
        name: b".".to_vec(),
        fault: crate::EntryFault::system("open it")(errno),
    })?;
    unpack(&mut Reader::new(input), root, policy, max_entries)
}

/// A layer to unpack beside the one in the store, to compare the two.
pub(crate) struct Again<'a> {
    /// What its blob is called in errors.
    pub(crate) label: &'a str,
    pub(crate) content: &'a Content,
    pub(crate) diff_id: Digest,
    pub(crate) ownership: Ownership,
    pub(crate) namespace: Namespace,
    pub(crate) limits: crate::Limits,
}

impl Again<'_> {
    /// Unpacks to a directory that does not exist yet. Returns what is known of the layer; its only blob is the one
    /// that was read.
    ///
    /// `watch` gets how many more bytes were read, and says whether to go on.
    pub(crate) fn unpack(
        &self,
        layer: &Path,
        watch: &(dyn Fn(u64) -> bool + Sync),
    ) -> Result<LayerRecord> {
        let task = Task {
            layers: Vec::new(),
            diff_id: self.diff_id,
            label: self.label.to_owned(),
            digest: None,
            format: self.content.format(self.label)?,
            body: Body::Here(self.content.clone()),
            unpack: true,
            keep: Keep::No,
        };
        let go_on = |_| watch(0);
        let input = Input::Here(self.content);
        let stream = BlobStream::new(&task.label, &input, None, &go_on);
        let policy = prepare(layer, self.ownership, self.namespace)?;
        let (streams, facts) =
            pipeline::run(stream, &task, self.limits.layer_bytes, &|_| {}, |input| {
                unpack_into(layer, policy, self.limits.layer_entries, input)
            })?;
        let mut record = LayerRecord {
            diff_id: streams.diff_id,
            size: streams.size,
            ownership: self.ownership,
            trusted: Some(self.namespace == Namespace::Trusted),
            facts,
            tree: None,
            blobs: vec![streams.blob],
        };
        record.tree = Some(tree_digest(&layer.join("diff"), &record, watch)?);
        Ok(record)
    }
}

/// Gets ready to keep a blob that the store does not have: where the file system can share the
/// data of two files, as a copy that is there at once and read from then on; otherwise by writing
/// it as it is read.
fn keep<'a>(
    task: &Task,
    content: &Content,
    place: &'a Path,
) -> Result<(Content, Option<Keeper<'a>>)> {
    if task.keep == Keep::No {
        return Ok((content.clone(), None));
    }
    let file = create_new(place)?;
    if task.keep == Keep::Compressed {
        let keeper = Keeper::compressed(file, place)?;
        return Ok((content.clone(), Some(keeper)));
    }
    let cloned = match content.as_whole_file() {
        Some(source) => rustix::fs::ioctl_ficlone(&file, source).is_ok(),
        None => false,
    };
    if !cloned {
        let keeper = Keeper::as_is(file, place);
        return Ok((content.clone(), Some(keeper)));
    }
    let len = file.metadata().context("examine", place)?.len();
    if len != content.len() {
        return Err(size_error(&task.label, content.len(), len).into());
    }
    Ok((Content::whole(file, len), None))
}

fn create_new(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .context("create", path)
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    create_new(path)?.write_all(bytes).context("write", path)
}
