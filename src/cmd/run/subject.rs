//! What `plyfs run` runs in: a container that is there, a new one, or the image itself.

use std::ffi::OsString;

use plyfs_store::{
    Container, ContainerError, ContainerName, Image, LiveKind, LiveRequest, Store,
    TemporaryContainer,
};

use super::args::RunArgs;
use crate::error::{CliError, NOT_FOUND, Result};
use crate::image_mount::{self, Subject};
use crate::oci::Command;
use crate::oci::options::ContainerOptions;
use crate::storage;

/// What was chosen.
pub(super) struct Chosen {
    pub(super) subject: Subject,
    pub(super) image: Image,
    /// The words of the command line that are the command.
    words: Vec<OsString>,
    /// The first of them, if it looks like an image.
    like_image: Option<OsString>,
    /// Goes when this is dropped.
    temporary: Option<TemporaryContainer>,
}

/// Chooses by the arguments. A container that is to be kept is made last, so that none is left over by
/// arguments that make no sense.
pub(super) fn choose(store: &Store, args: &RunArgs) -> Result<Chosen> {
    let options = &args.container_options;
    if let Some(name) = &args.container
        && let Some(container) =
            image_mount::find_container(store, &name.parse().map_err(CliError::new)?)?
    {
        return with_existing(store, args, container);
    }
    let name = args.image.as_ref().map(|name| name.to_string_lossy());
    let Some(name) = name else {
        // Says which containers there are.
        image_mount::container(store, args.container.as_deref(), None)?;
        return Err(CliError::new("an image is needed"));
    };
    let image = args
        .needed
        .image(store, &name)
        .map_err(|error| match &args.container {
            Some(container) => CliError::new(format_args!(
                "there is no container \"{container}\", and to make it: {error}"
            ))
            .with_status(error.status()),
            None => error,
        })?;
    let words = args.command.clone();
    // Before anything is made.
    Command::new(&words, options, &image.config, image.name.as_str())?;
    if args.ro {
        return Ok(Chosen {
            subject: Subject::image_of(store, image.clone())?,
            image,
            words,
            like_image: None,
            temporary: None,
        });
    }
    let wanted = args.container.as_deref().or(args.name.as_deref());
    if args.keep || args.container.is_some() {
        let (container, made) = image_mount::container(store, wanted, Some(image.clone()))?;
        if !made && args.name.is_some() {
            return Err(CliError::new(ContainerError::Exists(container.record.name)));
        }
        return Ok(Chosen {
            subject: Subject::Container(Box::new(container)),
            image,
            words,
            like_image: None,
            temporary: None,
        });
    }
    let wanted: Option<ContainerName> =
        wanted.map(str::parse).transpose().map_err(CliError::new)?;
    let ownership = storage::ownership_here();
    let temporary = store.temporary_container(wanted.as_ref(), &image, ownership)?;
    Ok(Chosen {
        subject: Subject::Container(Box::new(Container::clone(&temporary))),
        image,
        words,
        like_image: None,
        temporary: Some(temporary),
    })
}

/// A container that is there goes on with the image that it was made of. If the first word names an image of
/// the store it is taken for that, and must be the same. The name of its image may have been removed since: the
/// same command line goes on in the container then. Any other word begins the command.
fn with_existing(store: &Store, args: &RunArgs, container: Container) -> Result<Chosen> {
    let image = store.container_image(&container.record)?;
    let mut words = args.command.clone();
    let mut like_image = None;
    if let Some(first) = &args.image {
        let name = first.to_string_lossy();
        match store.image(&name) {
            Ok(named) if named.manifest_digest == image.manifest_digest => {}
            Ok(_) => return Err(image_mount::another_image(&container, "run")),
            Err(error) if has_lost(&container, &name, &error) => {}
            Err(error) => {
                let is_like = image_mount::is_unknown_image(&error)
                    && looks_like(&name, container.record.image.as_str());
                like_image = is_like.then(|| first.clone());
                words.insert(0, first.clone());
            }
        }
    }
    Ok(Chosen {
        subject: Subject::Container(Box::new(container)),
        image,
        words,
        like_image,
        temporary: None,
    })
}

/// Whether a name was that of a container's image, which has lost it. `error` is why no image has the name.
fn has_lost(container: &Container, name: &str, error: &plyfs_store::Error) -> bool {
    let record = &container.record;
    let has_lost = image_mount::is_unknown_image(error) && record.image.is_meant_by(name);
    if has_lost {
        log::info!(
            "the container {} continues, though its image has lost the name {name}",
            record.name
        );
    }
    has_lost
}

/// Whether a word is more like the name of an image than like a program: it has a tag, or the repository of the image.
fn looks_like(word: &str, image: &str) -> bool {
    let repository = image
        .rsplit_once(':')
        .map_or(image, |(repository, _)| repository);
    let name = repository.rsplit('/').next();
    word.contains(':') || word == repository || Some(word) == name
}

impl Chosen {
    /// Adds to a failure that the program is not there why the first word was taken for it.
    pub(super) fn explain(&self, failure: CliError) -> CliError {
        let (Some(word), Some(container)) = (&self.like_image, self.container_name()) else {
            return failure;
        };
        if failure.status() != NOT_FOUND || failure.is_silent() {
            return failure;
        }
        CliError::new(format_args!(
            "{failure}; there is no image {} either, and the container {container} needs none: leave it away",
            word.display()
        ))
        .with_status(NOT_FOUND)
    }

    pub(super) fn command(&self, options: &ContainerOptions) -> Result<Command> {
        Command::new(
            &self.words,
            options,
            &self.image.config,
            self.image.name.as_str(),
        )
    }

    pub(super) fn container_name(&self) -> Option<&ContainerName> {
        match &self.subject {
            Subject::Container(container) => Some(&container.record.name),
            Subject::Image(..) => None,
        }
    }

    /// The container, if it is there afterwards and could be committed.
    pub(super) fn kept(&self) -> Option<&Container> {
        match &self.subject {
            Subject::Container(container) if self.temporary.is_none() => Some(container),
            _ => None,
        }
    }

    pub(super) fn hostname(&self, options: &ContainerOptions) -> String {
        let name = self.container_name().map_or("plyfs", ContainerName::as_str);
        let chosen = options.hostname.as_deref().unwrap_or(name);
        // As much as sethostname(2) takes.
        chosen.chars().take(64).collect()
    }

    /// What other commands can know of it.
    pub(super) fn live(&self, command: &Command) -> LiveRequest {
        let config = self.image.config.config().as_ref();
        let request = match &self.subject {
            Subject::Container(container) => {
                let temporary = self.temporary.is_some();
                LiveRequest::of_container(LiveKind::Run, container, temporary)
            }
            Subject::Image(image, _) => LiveRequest::of_image(LiveKind::Run, image),
        };
        LiveRequest {
            command: command.arguments.clone(),
            stop_signal: config.and_then(|config| config.stop_signal().clone()),
            ..request
        }
    }
}
