//! An image with a program in it, made of what the machine has: bash and the libraries it needs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use plyfs_store::fixture::{Entry, Layer};

/// A layer with `/bin/bash` in it. An error says why there can be none here.
pub fn bash() -> Result<Layer, String> {
    let bash = ["/bin/bash", "/usr/bin/bash"];
    let bash = bash.iter().map(Path::new).find(|path| path.exists());
    let bash = bash.ok_or("there is no bash to put into an image")?;
    let mut layer = Layer::default();
    let mut made = BTreeSet::new();
    let mut add = |source: &Path, place: &Path| -> Result<(), String> {
        let content =
            std::fs::read(source).map_err(|error| format!("{}: {error}", source.display()))?;
        let parents = place.ancestors().skip(1).collect::<Vec<_>>();
        for parent in parents.into_iter().rev() {
            if made.insert(parent.to_owned()) {
                let name = parent.to_str().unwrap();
                layer.push(Entry::dir(if name.is_empty() { "." } else { name }));
            }
        }
        layer.push(Entry::file(place.to_str().unwrap(), content).mode(0o755));
        Ok(())
    };
    add(bash, Path::new("bin/bash"))?;
    for library in libraries(bash)? {
        add(&library, library.strip_prefix("/").unwrap())?;
    }
    Ok(layer)
}

/// The loader and the shared libraries of a program.
fn libraries(program: &Path) -> Result<BTreeSet<PathBuf>, String> {
    let output = Command::new("ldd").arg(program).output();
    let output = output.map_err(|error| format!("ldd cannot be run: {error}"))?;
    // A program that is linked statically makes it fail, and needs none.
    let said = String::from_utf8_lossy(&output.stdout);
    let words = said.split_whitespace();
    Ok(words
        .filter(|w| w.starts_with('/'))
        .map(PathBuf::from)
        .collect())
}
