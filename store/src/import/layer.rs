//! One layer on its way into the store.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use plyfs_format::names::Namespace;
use rustix::fs::{Mode, OFlags};

use super::keep::{Keep, Keeper};
use super::pipe::PipeInput;
use super::pipeline::{self, Streams};
use super::plan::Task;
use super::stream::BlobStream;
use super::{Import, LayerBlob};
use crate::blob::{Content, size_error};
use crate::error::Context;
use crate::layer::{LayerFacts, LayerFault, LayerRecord};
use crate::progress::Event;
use crate::store::to_json;
use crate::tar::Reader;
use crate::unpack::{Policy, unpack};
use crate::{Digest, Result};

/// Where the work on a layer lies until it is published.
struct Work {
    blob: PathBuf,
    layer: PathBuf,
}

impl Import<'_> {
    /// Verifies the blob of a task, unpacks it if need be, and publishes what is new.
    pub(super) fn layer(&self, task: &Task) -> Result<LayerBlob> {
        let number = task.layers.first().copied().unwrap_or_default();
        let work = Work {
            blob: self.staging.path().join(format!("blob-{number}")),
            layer: self.staging.path().join(format!("layer-{number}")),
        };
        let (content, keeper) = keep(task, &work.blob)?;
        let watch = |bytes| {
            for &layer in &task.layers {
                self.progress.event(&Event::Read { layer, bytes });
            }
            !self.is_cancelled()
        };
        let stream = BlobStream::new(&task.label, &content, keeper, &watch);
        let limit = self.request.limits.layer_bytes;
        let (streams, facts) = if task.unpack {
            let policy = self.prepare(&work.layer)?;
            let wrote = |bytes| self.sync.wrote(bytes);
            let (streams, facts) = pipeline::run(stream, task, limit, &wrote, |input| {
                self.unpack(&work.layer, policy, input)
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
            size: content.len(),
            format: task.format,
        });
        self.publish(task, &work, &streams, &blob.digest, facts)?;
        Ok(blob)
    }

    /// Makes the directory to unpack to, and gets the calling thread ready for it.
    fn prepare(&self, layer: &Path) -> Result<Policy> {
        // Modes in the archive are the modes on disk.
        plyfs_sys::thread::set_umask(0).context("set the file creation mask for", layer)?;
        let diff = layer.join("diff");
        for dir in [layer, &diff] {
            rustix::fs::mkdir(dir, Mode::RWXU).context("create", dir)?;
        }
        let stat = rustix::fs::stat(&diff).context("examine", &diff)?;
        Ok(Policy {
            ownership: self.request.ownership,
            namespace: self.namespace,
            creator: (stat.st_uid, stat.st_gid),
        })
    }

    fn unpack(
        &self,
        layer: &Path,
        policy: Policy,
        input: PipeInput,
    ) -> Result<LayerFacts, LayerFault> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(layer.join("diff"), flags, Mode::empty());
        let root = root.map_err(|errno| LayerFault::Entry {
            name: b".".to_vec(),
            fault: crate::EntryFault::system("open it")(errno),
        })?;
        unpack(
            &mut Reader::new(input),
            root,
            policy,
            self.request.limits.layer_entries,
        )
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
            let record = LayerRecord {
                diff_id: streams.diff_id,
                size: streams.size,
                ownership: self.request.ownership,
                trusted: Some(self.namespace == Namespace::Trusted),
                facts,
                blobs: vec![*blob],
            };
            write_new(&work.layer.join("layer.json"), &to_json(&record))?;
        }
        if task.unpack || task.keep != Keep::No {
            self.sync.sync().context("sync", self.store.path())?;
        }
        if task.keep != Keep::No {
            let place = self.store.blob_path(blob);
            // Over one that another import has put there meanwhile: it is the same.
            std::fs::rename(&work.blob, &place).context("publish", &place)?;
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
            Err(Errno::EXIST | Errno::NOTEMPTY) => Ok(false),
            Err(errno) => Err(errno).context("publish", &place),
        }
    }
}

/// Gets ready to keep a blob that the store does not have: where the file system can share the
/// data of two files, as a copy that is there at once and read from then on; otherwise by writing
/// it as it is read.
fn keep<'a>(task: &Task, place: &'a Path) -> Result<(Content, Option<Keeper<'a>>)> {
    if task.keep == Keep::No {
        return Ok((task.content.clone(), None));
    }
    let file = create_new(place)?;
    if task.keep == Keep::Compressed {
        let keeper = Keeper::compressed(file, place)?;
        return Ok((task.content.clone(), Some(keeper)));
    }
    let cloned = match task.content.as_whole_file() {
        Some(source) => rustix::fs::ioctl_ficlone(&file, source).is_ok(),
        None => false,
    };
    if !cloned {
        let keeper = Keeper::as_is(file, place);
        return Ok((task.content.clone(), Some(keeper)));
    }
    let len = file.metadata().context("examine", place)?.len();
    if len != task.content.len() {
        return Err(size_error(&task.label, task.content.len(), len).into());
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
