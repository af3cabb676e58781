//! Saving to archives: an OCI image layout in one, and what `docker save` writes.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use serde::Serialize;

use super::layout;
use super::parts::{Parts, copy_archive, copy_blob};
use super::target::{Directory, Unnamed};
use crate::disk::MARKER;
use crate::error::{Context, Result, SaveError};
use crate::oci::{Index, parse_config};
use crate::source::{Source, diff_ids};
use crate::tar::{Entry, Kind, Writer};
use crate::values::{Digest, ImageName, to_json};

type Archive<'a> = Writer<&'a mut BufWriter<File>>;

/// Writes an image layout as an archive.
pub(super) fn save_oci(parts: &Parts<'_>, target: &Source, out: Option<File>) -> Result<()> {
    let index = Index {
        manifests: vec![layout::named(parts, target)?],
        ..Index::empty()
    };
    archive(&target.path, out, |out| {
        // skopeo, as an ordinary user, cannot make directories that have no entry.
        for name in ["blobs/", "blobs/sha256/"] {
            let dir = Entry {
                kind: Kind::Dir,
                mode: 0o755,
                ..Entry::anonymous(name, 0)
            };
            append(out, &target.path, &dir, &mut std::io::empty())?;
        }
        add(out, &target.path, "oci-layout", MARKER)?;
        add(out, &target.path, "index.json", &index.to_json())?;
        let blob = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
        for (digest, bytes) in parts.documents() {
            add(out, &target.path, &blob(&digest), bytes)?;
        }
        for layer in parts.layers() {
            let entry = Entry::anonymous(&blob(&layer.digest), layer.size);
            copy_blob(parts, layer, |data| append(out, &target.path, &entry, data))?;
        }
        Ok(())
    })
}

/// Writes what `docker save` writes: layers uncompressed, a configuration, and a list of both.
pub(super) fn save_docker(parts: &Parts<'_>, target: &Source, out: Option<File>) -> Result<()> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Item {
        config: String,
        repo_tags: Option<Vec<String>>,
        layers: Vec<String>,
    }
    let config = parse_config(&parts.config_bytes, "the configuration of the image")?;
    let diff_ids = diff_ids(&config, "the configuration of the image")?;
    let name = |diff_id: &Digest| format!("{}.tar", diff_id.hex());
    let item = Item {
        config: format!("{}.json", parts.manifest.config.digest.hex()),
        repo_tags: repository(parts, target)?.map(|name| vec![name]),
        layers: diff_ids.iter().map(name).collect(),
    };
    archive(&target.path, out, |out| {
        for (at, (layer, diff_id)) in parts.manifest.layers.iter().zip(&diff_ids).enumerate() {
            // The same layer twice is one member.
            if diff_ids.iter().take(at).any(|earlier| earlier == diff_id) {
                continue;
            }
            let record = parts.store.layer_record(diff_id)?;
            let record = record.ok_or_else(|| SaveError::NotUnpacked(parts.name.clone()))?;
            let entry = Entry::anonymous(&name(diff_id), record.size);
            copy_archive(parts, layer, diff_id, |data| {
                append(out, &target.path, &entry, data)
            })?;
        }
        add(out, &target.path, &item.config, &parts.config_bytes)?;
        add(out, &target.path, "manifest.json", &to_json(&[&item]))
    })
}

/// The name that `docker load` is to give the image; none if the store has it under a name of an
/// older version that is not one for Docker.
fn repository(parts: &Parts<'_>, target: &Source) -> Result<Option<String>> {
    let name: Result<ImageName, _> = match &target.tag {
        Some(tag) => return Ok(Some(tag.parse::<ImageName>()?.into())),
        None => parts.name.as_str().parse(),
    };
    Ok(name.ok().map(String::from))
}

/// Makes an archive file, which is there when it is complete, or writes the archive to what is open.
fn archive(
    place: &Path,
    open: Option<File>,
    fill: impl FnOnce(&mut Archive<'_>) -> Result<()>,
) -> Result<()> {
    if let Some(open) = open {
        let mut out = BufWriter::with_capacity(crate::values::limits::BUFFER, open);
        let mut archive = Writer::new(&mut out);
        fill(&mut archive)?;
        archive.finish().map(drop).context("write", place)?;
        return out.flush().context("write", place);
    }
    let dir = Directory::open(place.parent().unwrap_or(place))?;
    let mut file = Unnamed::create(&dir, place.file_name().unwrap_or_default())?;
    file.write(|out| {
        let mut archive = Writer::new(out);
        fill(&mut archive)?;
        archive.finish().map(drop).context("write", place)
    })?;
    file.publish()
}

fn add(out: &mut Archive<'_>, place: &Path, name: &str, mut data: &[u8]) -> Result<()> {
    let entry = Entry::anonymous(name, data.len() as u64);
    append(out, place, &entry, &mut data)
}

fn append(out: &mut Archive<'_>, place: &Path, entry: &Entry, data: &mut dyn Read) -> Result<()> {
    out.append(entry, data).context("write", place)
}
