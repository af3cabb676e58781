//! Documents of images: index, manifest and configuration of a layout, and `manifest.json` and `repositories`
//! of an archive as `docker save` writes it.
//!
//! The input has sections that begin with `=== NAME`. A document without a section is a good one. Digests and
//! sizes that depend on other documents are written `@LAYER@`, `@LAYER_SIZE@`, `@DIFF@`, `@CONFIG@`,
//! `@CONFIG_SIZE@`, `@MANIFEST@`, `@MANIFEST_SIZE@`; `@CONFIG_HEX@` is a file name.

use std::fs;

use plyfs_store::{Digest, ImportRequest, Ownership, Silent, Source, Store};

use crate::archive::{of_files, of_lines};
use crate::check_message;
use crate::lines::Line;
use crate::unpack::check_whole;
use crate::world::World;

pub(crate) const WORDS: &[&str] = &[
    ":",
    "0",
    "\\u001b[2J",
    "/../",
    "@OUT@",
    "@LAYER@",
    "@CONFIG@",
    "\"schemaVersion\":2",
    "\"mediaType\":\"application/vnd.oci.image.index.v1+json\"",
    "\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"}",
    "\"size\":",
    "\"layers\":[]",
    "\"annotations\":{\"org.opencontainers.image.ref.name\":\"x\"}",
    "\"urls\":[\"file:///\"]",
    "\"data\":\"e30=\"",
    "\n=== index\n",
    "\n=== manifest\n",
    "\n=== config\n",
    "\n=== docker\n",
    "\n=== repositories\n",
];

const INDEX: &str = r#"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"@MANIFEST@","size":@MANIFEST_SIZE@,"annotations":{"org.opencontainers.image.ref.name":"test:1"}}]}"#;
const MANIFEST: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"@CONFIG@","size":@CONFIG_SIZE@},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"@LAYER@","size":@LAYER_SIZE@}]}"#;
const CONFIG: &str = r#"{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["@DIFF@"]}}"#;
const DOCKER: &str =
    r#"[{"Config":"@CONFIG_HEX@.json","RepoTags":["test:1"],"Layers":["layer.tar"]}]"#;

pub(crate) fn run(data: &[u8]) {
    let world = World::new();
    let layer = of_lines(&[Line {
        kind: b'f',
        path: b"file".to_vec(),
        rest: b"data".to_vec(),
    }]);
    let documents = Documents::new(data, &layer);
    let source = match documents.docker.is_some() {
        true => write_docker(&world, &documents, &layer),
        false => write_layout(&world, &documents, &layer),
    };
    let store = Store::open(world.path("store")).unwrap();
    let index = fs::read(world.path("store/index.json")).unwrap();
    let ownership = Ownership::Override;
    let request = ImportRequest::new(Source::parse(&source).unwrap(), ownership);
    let imported = store.import(&request, &Silent);
    match imported {
        Err(error) => {
            check_message(&error.to_string());
            assert_eq!(fs::read(world.path("store/index.json")).unwrap(), index);
        }
        Ok(imported) => {
            let image = store.image(imported.name.as_str()).unwrap();
            assert_eq!(image.manifest_digest, imported.manifest_digest);
            assert_eq!(store.images().unwrap().len(), 1);
            store.usage().unwrap();
            check_whole(&store, ownership);
            save(&world, &store, imported.name.as_str());
        }
    }
    // All of them, under their own names.
    if let Err(error) = store.import_all(&request, &Silent) {
        check_message(&error.to_string());
    }
    check_whole(&store, ownership);
    world.check(&["store", "source", "saved"]);
    world.check_staging("store");
}

/// What was accepted can be saved, and imported again as the same image.
fn save(world: &World, store: &Store, name: &str) {
    let target = format!("oci-archive:{}:again:1", world.path("saved").display());
    let target = Source::parse(&target).unwrap();
    let saved = store.save(name, &target).unwrap();
    let request = ImportRequest::new(target, Ownership::Override);
    let again = store.import(&request, &Silent).unwrap();
    assert_eq!(again.manifest_digest, saved.manifest_digest);
}

struct Documents {
    index: Vec<u8>,
    manifest: Vec<u8>,
    config: Vec<u8>,
    docker: Option<Vec<u8>>,
    repositories: Vec<u8>,
}

impl Documents {
    fn new(data: &[u8], layer: &[u8]) -> Self {
        let sections = sections(data);
        let section = |name: &str| {
            let found = sections.iter().find(|(found, _)| found == name);
            found.map(|(_, text)| text.clone())
        };
        let mut known = Known::default();
        known.add("LAYER", layer);
        known.add("DIFF", layer);
        let config = section("config").unwrap_or_else(|| CONFIG.into());
        let config = known.fill(config);
        known.add("CONFIG", &config);
        let manifest = section("manifest").unwrap_or_else(|| MANIFEST.into());
        let manifest = known.fill(manifest);
        known.add("MANIFEST", &manifest);
        let repositories = section("repositories");
        // The one means that there is the other.
        let docker = section("docker").or(repositories.is_some().then(|| DOCKER.into()));
        Self {
            index: known.fill(section("index").unwrap_or_else(|| INDEX.into())),
            docker: docker.map(|docker| known.fill(docker)),
            repositories: known.fill(repositories.unwrap_or_default()),
            manifest,
            config,
        }
    }
}

/// The sections of an input. What precedes the first is passed over.
fn sections(data: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<(String, Vec<u8>)> = Vec::new();
    for line in data.split(|&byte| byte == b'\n') {
        match (line.strip_prefix(b"=== "), found.last_mut()) {
            (Some(name), _) => found.push((String::from_utf8_lossy(name).into_owned(), Vec::new())),
            (None, Some((_, text))) => text.extend_from_slice(line),
            (None, None) => {}
        }
    }
    found
}

/// What stands for digests and sizes.
#[derive(Default)]
struct Known(Vec<(String, String)>);

impl Known {
    fn add(&mut self, name: &str, document: &[u8]) {
        let digest = Digest::of(document);
        self.0.push((format!("@{name}@"), digest.to_string()));
        self.0.push((format!("@{name}_HEX@"), digest.hex()));
        self.0
            .push((format!("@{name}_SIZE@"), document.len().to_string()));
    }

    fn fill(&self, text: Vec<u8>) -> Vec<u8> {
        // Bytes that are no UTF-8 stay, as characters of their own.
        let Ok(mut text) = String::from_utf8(text.clone()) else {
            return text;
        };
        for (mark, value) in &self.0 {
            text = text.replace(mark, value);
        }
        text.into_bytes()
    }
}

fn write_layout(world: &World, documents: &Documents, layer: &[u8]) -> String {
    let dir = world.path("source");
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    for blob in [layer, &documents.config, &documents.manifest] {
        fs::write(blobs.join(Digest::of(blob).hex()), blob).unwrap();
    }
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    fs::write(dir.join("index.json"), &documents.index).unwrap();
    format!("oci:{}", dir.display())
}

fn write_docker(world: &World, documents: &Documents, layer: &[u8]) -> String {
    let config = format!("{}.json", Digest::of(&documents.config).hex());
    let archive = of_files(&[
        ("layer.tar", layer),
        (&config, &documents.config),
        (
            "manifest.json",
            documents.docker.as_deref().unwrap_or_default(),
        ),
        ("repositories", &documents.repositories),
    ]);
    let path = world.path("source");
    fs::write(&path, archive).unwrap();
    format!("docker-archive:{}", path.display())
}
