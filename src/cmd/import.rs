//! `plyfs import`.

use std::fs::File;
use std::io::IsTerminal;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::Args;
use plyfs_store::{BlobError, Form, ImportRequest, Imported, Source, SourceError};

use super::pull::PullArgs;
use super::shared::ownership::{OwnershipArg, choose_ownership};
use super::shared::watch::{INTERRUPTED, Shown, Watch};
use crate::error::{CliError, Context, Result};
use crate::registry::TRANSPORT;
use crate::{output, storage};

/// Import an image: verify it and unpack its layers into the store
#[derive(Debug, Args)]
#[allow(
    rustdoc::broken_intra_doc_links,
    reason = "brackets of a usage, not of a link"
)]
pub(crate) struct ImportArgs {
    /// oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME:TAG] or docker://REF; - in the place of FILE, or alone,
    /// is standard input; of several images, @0 in the place of the name is the first, and @sha256:DIGEST the one
    /// with this digest
    pub(crate) source: String,
    /// Import all images of the source, each under its own names
    #[arg(long, conflicts_with = "name")]
    pub(crate) all: bool,
    /// The name of the image in the store, if not the one it brings along
    #[arg(long, value_name = "NAME[:TAG]")]
    pub(crate) name: Option<String>,
    /// Which of several platforms to take, as OS/ARCH[/VARIANT]
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// How to keep owners: as they are, or in extended attributes; as they are if ids allow it
    #[arg(long, value_enum, default_value = "auto", hide_possible_values = true)]
    pub(crate) ownership: OwnershipArg,
}

/// Imports an image and prints its name.
pub(crate) fn import(args: &ImportArgs, store: Option<&Path>) -> Result {
    if args.source.starts_with(TRANSPORT) {
        return from_registry(args, store);
    }
    let spooled = Spooled::of(&args.source)?;
    let mut sources = match &spooled {
        Some(spooled) => spooled.sources(),
        None => {
            let source = Source::parse(&args.source);
            vec![source.map_err(|error| no_source(&args.source, &error))?]
        }
    };
    let source = sources.remove(0);
    if let (true, Some(tag)) = (args.all, &source.tag) {
        return Err(CliError::new(format_args!(
            "--all imports every image: leave out \":{}\" behind the path",
            plyfs_store::escaped(tag)
        )));
    }
    let name = args.name.as_deref().map(str::parse).transpose();
    let platform = args.platform.as_deref().map(str::parse).transpose();
    // Before the namespace, in which the user would seem to be another.
    let location = storage::location(store)?;
    let ownership = choose_ownership(args.ownership)?;
    let mut request = ImportRequest {
        name: name.map_err(CliError::new)?,
        platform: platform.map_err(CliError::new)?,
        ..ImportRequest::new(source, ownership)
    };
    let watch = Watch::start(Shown::Bars)?;
    let import = |store: &plyfs_store::Store, request: &ImportRequest| {
        if args.all {
            store.import_all(request, &watch)
        } else {
            store.import(request, &watch).map(|one| vec![one])
        }
    };
    let mut is_of_no_kind = false;
    let imported = plyfs_store::Store::open(location).and_then(|store| {
        let mut imported = import(&store, &request);
        for source in sources {
            // It is an archive of another form.
            if is_of_another_kind(&imported) {
                request.source = source;
                imported = import(&store, &request);
                is_of_no_kind = is_of_another_kind(&imported);
            }
        }
        imported
    });
    watch.finish();
    match imported {
        Ok(imported) => {
            let line = |one: &Imported| format!("{}\n", one.name);
            output::write(&imported.iter().map(line).collect::<String>())
        }
        Err(plyfs_store::Error::Interrupted) => Err(CliError::new(
            "interrupted; the next import goes on from here",
        )
        .with_status(INTERRUPTED)),
        Err(error) if is_of_no_kind => {
            log::info!("{error}");
            Err(CliError::new(
                "standard input is no archive of an image, neither an OCI image layout nor of docker save, or it is \
                 cut off",
            ))
        }
        Err(error) => Err(match &spooled {
            Some(spooled) => spooled.failure(error),
            None => not_imported(error, &request.source.path),
        }),
    }
}

/// Pulls, as `plyfs pull` does.
fn from_registry(args: &ImportArgs, store: Option<&Path>) -> Result {
    if args.all {
        return Err(CliError::new(
            "--all imports every image of a directory or file: a reference names one",
        ));
    }
    super::pull::pull(
        &PullArgs {
            name: args.name.clone(),
            platform: args.platform.clone(),
            ownership: args.ownership,
            ..PullArgs::of(&args.source)
        },
        store,
    )
}

/// Whether a source is something else than it was taken for.
fn is_of_another_kind<T>(imported: &plyfs_store::Result<T>) -> bool {
    use plyfs_store::Error;
    matches!(imported, Err(Error::Source(SourceError::Kind { .. })))
}

/// An archive that came through standard input, in a temporary file: it may have to be read twice.
struct Spooled {
    /// Called `-`, in a directory of its own: no name of an image follows from that.
    path: PathBuf,
    _dir: tempfile::TempDir,
    /// Its form, if that was said.
    form: Option<Form>,
    tag: Option<String>,
}

impl Spooled {
    /// Reads standard input if this source names it: as `-`, or as `-` in the place of a path.
    fn of(source: &str) -> Result<Option<Self>> {
        let parsed = Source::parse(source).ok();
        let parsed = parsed.filter(|parsed| parsed.path == Path::new("-"));
        if parsed.is_none() && source != "-" {
            return Ok(None);
        }
        let (form, tag) = parsed.map_or((None, None), |parsed| (Some(parsed.form), parsed.tag));
        if form == Some(Form::Oci) {
            return Err(CliError::new(
                "a directory cannot be read from standard input; give oci-archive:- or docker-archive:-",
            ));
        }
        let mut stdin = std::io::stdin().lock();
        if stdin.is_terminal() {
            return Err(CliError::new(
                "an archive is not read from a terminal: redirect standard input",
            ));
        }
        let dir = tempfile::tempdir().context("make a temporary directory")?;
        let path = dir.path().join("-");
        let mut file = File::create_new(&path).context("make a temporary file")?;
        std::io::copy(&mut stdin, &mut file).context("copy standard input to a temporary file")?;
        Ok(Some(Self {
            path,
            _dir: dir,
            form,
            tag,
        }))
    }

    /// What it may be.
    fn sources(&self) -> Vec<Source> {
        let forms = match self.form {
            Some(form) => vec![form],
            None => vec![Form::OciArchive, Form::DockerArchive],
        };
        let source = |form| Source {
            form,
            path: self.path.clone(),
            tag: self.tag.clone(),
        };
        forms.into_iter().map(source).collect()
    }

    /// Why it was not imported. The temporary file is nothing that the caller knows.
    fn failure(&self, error: plyfs_store::Error) -> CliError {
        use plyfs_store::Error;
        let is_nameless = matches!(
            error,
            Error::Source(SourceError::NoName(_) | SourceError::BadName { .. })
        );
        let failure = not_imported(error, &self.path).to_string();
        let path = plyfs_store::escaped(self.path.as_os_str().as_bytes()).to_string();
        let said = failure.replace(&path, "standard input");
        match is_nameless {
            true => CliError::new(format_args!("{said} with --name")),
            false => CliError::new(said),
        }
    }
}

/// What was given in place of a source.
fn no_source(text: &str, error: &SourceError) -> CliError {
    match text.split_once("://") {
        Some((transport, _)) => CliError::new(format_args!(
            "images come from directories, files and registries (docker://REF), not from {}://; \
             \"skopeo copy {} oci:DIR:TAG\" may fetch it for \"plyfs import oci:DIR:TAG\"",
            plyfs_store::escaped(transport),
            plyfs_store::escaped(text)
        )),
        None => CliError::new(error),
    }
}

/// Why an image was not imported, with a remedy if the error itself has none.
fn not_imported(error: plyfs_store::Error, path: &Path) -> CliError {
    use plyfs_store::Error;
    let path = path.as_os_str().as_bytes();
    let path = plyfs_store::escaped(path);
    match error {
        Error::Blob(
            BlobError::Missing { .. } | BlobError::Size { .. } | BlobError::Corrupt { .. },
        ) => CliError::new(format_args!(
            "{error}; the image in {path} is damaged or not complete: fetch it again"
        )),
        // What is no failure of this machine.
        Error::Layer(_) if error.errno().is_none() => CliError::new(format_args!(
            "{error}; the image in {path} is refused: fetch or build it again"
        )),
        error => error.into(),
    }
}
