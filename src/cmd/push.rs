//! `plyfs push`.

use std::path::{Path, PathBuf};

use clap::Args;
use plyfs_registry::{BlobUpload, Digest, Error, Mount, Name, Repository};
use plyfs_store::{Outgoing, OutgoingBlob, Store};

use super::shared::watch::{INTERRUPTED, Shown, Watch};
use crate::error::{CliError, Context, Result};
use crate::registry::{RegistryArgs, RegistryName, unknown_registry};
use crate::{output, storage};

/// Push an image to a registry
///
/// Blobs that the registry has are not sent: those of the repository are left out, and those that came from another
/// repository of the registry are mounted there. The image keeps its digest.
#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// The image, by name or digest
    pub(crate) image: String,
    /// Where to push it, if not where its name says
    #[arg(value_name = "[docker://]REF")]
    pub(crate) destination: Option<String>,
    /// Write the digest of the image to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) digestfile: Option<PathBuf>,
    /// Print nothing
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
}

impl PushArgs {
    /// A push with nothing out of the ordinary.
    pub(crate) fn of(image: &str, destination: &str) -> Self {
        Self {
            image: image.to_owned(),
            destination: Some(destination.to_owned()),
            digestfile: None,
            quiet: false,
            registry: RegistryArgs::default(),
        }
    }
}

/// Pushes an image and prints its digest.
pub(crate) fn push(args: &PushArgs, store: Option<&Path>) -> Result {
    let store = storage::open_existing(store)?;
    let image = store.outgoing(&args.image)?;
    let to = args.destination.as_deref().unwrap_or(image.name.as_str());
    let name = RegistryName::parse(to)?;
    if name.digest().is_some() {
        return Err(CliError::new(
            "an image is not pushed to a digest, which follows from what is in it; leave out the @ and all behind it",
        ));
    }
    let watch = Watch::start(match args.quiet {
        true => Shown::Nothing,
        false => Shown::BarsOrLines,
    })?;
    let client = args.registry.connect(watch.asked())?;
    let repositories = name.repositories(&client)?;
    let repository = repositories.into_iter().next();
    let repository = repository.ok_or_else(unknown_registry)?;
    let target = client.push(&repository).map_err(CliError::new)?;
    let sending = Sending {
        store: &store,
        image: &image,
        name: &repository,
        target: &target,
        watch: &watch,
    };
    sending.run(&name.target())?;
    let digest = image.digest.to_string();
    if let Some(file) = &args.digestfile {
        std::fs::write(file, &digest).context(format_args!("write {}", file.display()))?;
    }
    match args.quiet {
        true => Ok(()),
        false => output::write(&format!("{digest}\n")),
    }
}

/// An image on its way.
struct Sending<'a> {
    store: &'a Store,
    image: &'a Outgoing,
    name: &'a Name,
    target: &'a Repository,
    watch: &'a Watch,
}

impl Sending<'_> {
    fn run(&self, tag: &str) -> Result {
        self.watch
            .plan_sending(self.image.blobs.iter().map(|blob| (blob.digest, blob.size)));
        for (at, blob) in self.image.blobs.iter().enumerate() {
            let how = self.send(at, blob)?;
            self.watch.settled(at, how);
        }
        let put = self
            .target
            .put_manifest(tag, &self.image.media_type, &self.image.manifest);
        put.map_err(failed)?;
        let blobs = self.image.blobs.iter().map(|blob| &blob.digest);
        if let Err(error) = self.store.add_origin(&self.name.to_string(), blobs) {
            log::info!("{error}");
        }
        Ok(())
    }

    /// Brings one blob there, and returns how.
    fn send(&self, at: usize, blob: &OutgoingBlob) -> Result<&'static str> {
        let digest: Digest = blob.digest.to_string().parse().map_err(failed)?;
        if self.target.has_blob(&digest).map_err(failed)? {
            return Ok("is there");
        }
        let mut session = None;
        if let Some(from) = self.origin(blob) {
            match self.target.mount_blob(&digest, &from) {
                Ok(Mount::Mounted) => return Ok("mounted"),
                Ok(Mount::Upload(begun)) => session = Some(begun),
                Err(Error::Interrupted) => return Err(failed(Error::Interrupted)),
                // Some registries do not mount; sending it remains.
                Err(error) => log::info!("{error}"),
            }
        }
        let mut reader = blob.open(self.watch)?;
        let mut progress = |bytes| self.watch.moved(at, bytes);
        let mut upload = BlobUpload::new(&digest, blob.size, &mut reader, &mut progress);
        upload.session = session;
        self.target.upload(upload).map_err(failed)?;
        Ok("done")
    }

    /// Another repository of the same registry that has a blob, by its path there.
    fn origin(&self, blob: &OutgoingBlob) -> Option<String> {
        let origins = self.store.origins(&blob.digest);
        origins.into_iter().find_map(|origin| {
            let name = Name::parse(&origin).ok()?;
            let is_other = name.host() == self.name.host() && name.path() != self.name.path();
            is_other.then(|| name.path().to_owned())
        })
    }
}

fn failed(error: Error) -> CliError {
    match error {
        Error::Interrupted => CliError::new("interrupted; the next push sends what is missing")
            .with_status(INTERRUPTED),
        error => CliError::new(error),
    }
}
