//! A layer that has to be fetched first.

use super::job::Import;
use super::keep::Keep;
use super::layer_blob::LayerBlob;
use super::plan::{Body, Task};
use super::stream::Input;
use crate::decode::{Format, MAGIC};
use crate::disk::{Download, size_error};
use crate::error::{BlobError, Error, Result};

impl Import<'_> {
    /// Fetches the blob of a task, and unpacks it while it comes. What came of it before is not fetched again, unless
    /// it turns out to be wrong.
    pub(super) fn fetched_layer(&self, task: &Task, size: u64) -> Result<LayerBlob> {
        let Some((digest, remote)) = task.digest.zip(self.found.files.remote()) else {
            let blob = task.label.clone();
            return Err(BlobError::Missing { blob }.into());
        };
        let go_on = || !self.is_cancelled();
        let download = self.store.download(remote, (digest, size), &go_on)?;
        // Another pull may have had it, and this one waited.
        if let Some(content) = self.whole_blob(&digest)? {
            download.remove();
            if content.len() != size {
                return Err(size_error(&task.label, size, content.len()).into());
            }
            return self.layer(&Task {
                format: content.format(&task.label)?,
                body: Body::Here(content),
                keep: Keep::No,
                unpack: task.unpack && self.whole_record(&task.diff_id)?.is_none(),
                ..task.clone()
            });
        }
        let mut resumed = download.here() > 0;
        loop {
            match self.unpack_download(task, &download) {
                Err(error) if is_of_content(&error) && resumed => {
                    // A crash may have kept the length of the file and not its content.
                    log::info!("what was here of {digest} is damaged, and fetched again: {error}");
                    download.restart()?;
                    self.clear_layer(task)?;
                    resumed = false;
                }
                Err(error) if is_of_content(&error) => {
                    download.remove();
                    return Err(error);
                }
                other => return other,
            }
        }
    }

    fn unpack_download(&self, task: &Task, download: &Download) -> Result<LayerBlob> {
        let task = Task {
            format: Format::of_magic(&download.start::<MAGIC>()?),
            ..task.clone()
        };
        self.layer_from(&task, (Input::Coming(download), None), download.path())
    }
}

/// Whether the bytes of the blob are at fault, and not what brings or takes them.
fn is_of_content(error: &Error) -> bool {
    match error {
        Error::Blob(_) | Error::Layer(_) => error.errno().is_none(),
        _ => false,
    }
}
