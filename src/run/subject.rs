//! What `plyfs run` runs in: a container that is there, a new one, or the image itself.

use plyfs_store::{
    Container, ContainerError, ContainerName, Image, LiveKind, LiveRequest, Store,
    TemporaryContainer,
};

use super::RunArgs;
use crate::failure::{Failure, Outcome};
use crate::oci::Command;
use crate::oci::options::ContainerOptions;
use crate::stack::{self, Subject};
use crate::storage;

/// What was chosen.
pub(super) struct Chosen {
    pub(super) subject: Subject,
    pub(super) image: Image,
    /// The words of the command line that are the command.
    words: Vec<std::ffi::OsString>,
    /// Goes when this is dropped.
    temporary: Option<TemporaryContainer>,
}

/// Chooses by the arguments. A container that is to be kept is made last, so that none is left over by
/// arguments that make no sense.
pub(super) fn choose(store: &Store, args: &RunArgs) -> Outcome<Chosen> {
    let options = &args.container_options;
    if let Some(name) = &args.container
        && let Some(container) = stack::find_container(store, &name.parse().map_err(Failure::new)?)?
    {
        return with_existing(store, args, container);
    }
    let name = args.image.as_ref().map(|name| name.to_string_lossy());
    let Some(name) = name else {
        // Says which containers there are.
        stack::container(store, args.container.as_deref(), None)?;
        return Err(Failure::new("an image is needed"));
    };
    let image = store.image(&name).map_err(|error| match &args.container {
        Some(container) => Failure::new(format_args!(
            "there is no container \"{container}\", and to make it: {error}"
        )),
        None => error.into(),
    })?;
    let words = args.command.clone();
    // Before anything is made.
    Command::new(&words, options, &image.config, image.name.as_str())?;
    if args.ro {
        return Ok(Chosen {
            subject: Subject::image_of(store, image.clone())?,
            image,
            words,
            temporary: None,
        });
    }
    let wanted = args.container.as_deref().or(args.name.as_deref());
    if args.keep || args.container.is_some() {
        let (container, made) = stack::container(store, wanted, Some(&name))?;
        if !made && args.name.is_some() {
            return Err(Failure::new(ContainerError::Exists(container.record.name)));
        }
        return Ok(Chosen {
            subject: Subject::Container(Box::new(container)),
            image,
            words,
            temporary: None,
        });
    }
    let wanted: Option<ContainerName> = wanted.map(str::parse).transpose().map_err(Failure::new)?;
    let ownership = storage::ownership_here();
    let temporary = store.temporary_container(wanted.as_ref(), &image, ownership)?;
    Ok(Chosen {
        subject: Subject::Container(Box::new(Container::clone(&temporary))),
        image,
        words,
        temporary: Some(temporary),
    })
}

/// A container that is there goes on with the image that it was made of. If the first word names an image of
/// the store it is taken for that, and must be the same; otherwise it begins the command.
fn with_existing(store: &Store, args: &RunArgs, container: Container) -> Outcome<Chosen> {
    let image = store.container_image(&container.record)?;
    let mut words = args.command.clone();
    if let Some(first) = &args.image {
        match store.image(&first.to_string_lossy()) {
            Ok(named) if named.manifest_digest == image.manifest_digest => {}
            Ok(_) => return Err(stack::another_image(&container, "run")),
            Err(_) => words.insert(0, first.clone()),
        }
    }
    Ok(Chosen {
        subject: Subject::Container(Box::new(container)),
        image,
        words,
        temporary: None,
    })
}

impl Chosen {
    pub(super) fn command(&self, options: &ContainerOptions) -> Outcome<Command> {
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
