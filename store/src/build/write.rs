//! Writing an image out.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::Serialize;

use super::ImageBuilder;
use super::image::Built;
use crate::error::Context;
use crate::oci::{Index, index_of};
use crate::store::{MARKER, read_document, to_json};
use crate::tar::{Entry, Writer};
use crate::{Digest, Result, limits};

impl ImageBuilder {
    /// Writes an OCI image layout, or adds the image to one that is there. Returns the digest of
    /// the manifest.
    ///
    /// An image of the same name is replaced in the index. This is for layouts of one's own: it is
    /// neither atomic nor locked, as the store is.
    ///
    /// # Errors
    /// If a layer cannot be encoded or a file not be written.
    pub fn write_oci(&self, dir: impl AsRef<Path>, name: Option<&str>) -> Result<Digest> {
        let dir = dir.as_ref();
        let built = self.build().context("build", dir)?;
        let blobs = dir.join("blobs/sha256");
        fs::create_dir_all(&blobs).context("create", &blobs)?;
        for (digest, bytes) in built.blobs() {
            let path = blobs.join(digest.hex());
            fs::write(&path, bytes).context("write", &path)?;
        }
        let marker = dir.join("oci-layout");
        fs::write(&marker, MARKER).context("write", &marker)?;
        let path = dir.join("index.json");
        let mut index = match path.exists() {
            true => index_of(&read_document(&path, limits::DOCUMENT_BYTES)?, "index.json")?,
            false => Index::empty(),
        };
        if name.is_some() {
            index.manifests.retain(|one| one.ref_name() != name);
        }
        index.manifests.push(built.descriptor(name));
        fs::write(&path, index.to_json()).context("write", &path)?;
        Ok(Digest::of(&built.manifest))
    }

    /// Writes an OCI image layout as an archive. Returns the digest of the manifest.
    ///
    /// # Errors
    /// As [`ImageBuilder::write_oci`].
    pub fn write_oci_archive(&self, file: impl AsRef<Path>, name: Option<&str>) -> Result<Digest> {
        let file = file.as_ref();
        let built = self.build().context("build", file)?;
        let index = to_json(&built.index(name));
        archive(file, |out| {
            append(out, "oci-layout", MARKER)?;
            append(out, "index.json", &index)?;
            append_blobs(out, &built)
        })?;
        Ok(Digest::of(&built.manifest))
    }

    /// Writes an archive as `docker save` does: layers as `ID/layer.tar`, uncompressed whatever
    /// compression they have otherwise. Returns the digest of the configuration, which is the id of
    /// the image there.
    ///
    /// # Errors
    /// As [`ImageBuilder::write_oci`].
    pub fn write_docker_archive(
        &self,
        file: impl AsRef<Path>,
        tag: Option<&str>,
    ) -> Result<Digest> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Item {
            config: String,
            repo_tags: Option<Vec<String>>,
            layers: Vec<String>,
        }
        let file = file.as_ref();
        let built = self.build().context("build", file)?;
        let id = Digest::of(&built.config);
        let config = format!("{}.json", id.hex());
        let layers = built.layers.iter();
        let layers: Vec<_> = layers
            .map(|one| format!("{}/layer.tar", one.diff_id.hex()))
            .collect();
        archive(file, |out| {
            for (at, (layer, name)) in built.layers.iter().zip(&layers).enumerate() {
                // The same layer twice is one member.
                if !layers.iter().take(at).any(|other| other == name) {
                    append(out, name, &layer.archive()?)?;
                }
            }
            append(out, &config, &built.config)?;
            let item = Item {
                config: config.clone(),
                repo_tags: tag.map(|tag| vec![tag.to_owned()]),
                layers: layers.clone(),
            };
            append(out, "manifest.json", &to_json(&[item]))
        })?;
        Ok(id)
    }
}

type Archive = Writer<BufWriter<File>>;

/// Writes an archive file.
fn archive(path: &Path, fill: impl FnOnce(&mut Archive) -> io::Result<()>) -> Result<()> {
    let file = File::create(path).context("create", path)?;
    let mut writer = Writer::new(BufWriter::new(file));
    let written = fill(&mut writer).and_then(|()| writer.finish()?.flush());
    written.context("write", path)
}

fn append(out: &mut Archive, name: &str, mut data: &[u8]) -> io::Result<()> {
    let entry = Entry::anonymous(name, data.len() as u64);
    out.append(&entry, &mut data)
}

/// Adds every blob once.
fn append_blobs(out: &mut Archive, built: &Built) -> io::Result<()> {
    let mut written = Vec::new();
    for (digest, bytes) in built.blobs() {
        if !written.contains(&digest) {
            append(out, &format!("blobs/sha256/{}", digest.hex()), bytes)?;
            written.push(digest);
        }
    }
    Ok(())
}
