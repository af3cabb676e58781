//! The graph of imports of a crate: which file names something that another file defines.
//!
//! Paths in `use`, in code and in the arguments of macros count. A re-export (`pub use`) is a door: what comes through
//! it counts at the file that defines it. Code under `#[cfg(test)]` does not count, and calls of methods are not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::Visit;

/// How many re-exports a name may go through, so that a circle of them ends.
const MAX_DOORS: usize = 16;

/// A `use` of one name.
struct Import {
    path: Vec<String>,
    /// The name it gets here, and none for `*`.
    name: Option<String>,
    is_door: bool,
}

/// A module, which is a file or a part of one.
struct Module {
    path: Vec<String>,
    file: PathBuf,
    items: BTreeSet<String>,
    children: BTreeMap<String, usize>,
    imports: Vec<Import>,
    /// Paths of more than one segment in code.
    mentions: BTreeSet<Vec<String>>,
}

/// Where a path leads.
enum Target {
    Module(usize),
    ItemOf(usize),
}

/// The modules of one crate.
pub struct Crate {
    modules: Vec<Module>,
}

/// One file names what another defines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// Relative to the folder of the crate's sources.
    pub from: PathBuf,
    pub to: PathBuf,
    /// As it is written.
    pub path: String,
}

impl Crate {
    /// Reads a crate from its `lib.rs` or `main.rs`.
    pub fn read(root: &Path) -> Self {
        let dir = root.parent().unwrap();
        let mut this = Crate {
            modules: Vec::new(),
        };
        this.read_file(dir, root, Vec::new());
        this
    }

    fn read_file(&mut self, dir: &Path, file: &Path, path: Vec<String>) -> usize {
        let text =
            fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let parsed =
            syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let name = file.file_name().unwrap().to_str().unwrap();
        let below = match name {
            "lib.rs" | "main.rs" | "mod.rs" => file.parent().unwrap().to_owned(),
            _ => file.with_extension(""),
        };
        self.read_module(dir, file, &below, path, &parsed.items)
    }

    /// Reads a module whose files of child modules are in `below`.
    fn read_module(
        &mut self,
        dir: &Path,
        file: &Path,
        below: &Path,
        path: Vec<String>,
        items: &[syn::Item],
    ) -> usize {
        let index = self.modules.len();
        self.modules.push(Module {
            path: path.clone(),
            file: file.strip_prefix(dir).unwrap().to_owned(),
            items: BTreeSet::new(),
            children: BTreeMap::new(),
            imports: Vec::new(),
            mentions: BTreeSet::new(),
        });
        let mut reader = Reader {
            module: &mut self.modules[index],
            nested: Vec::new(),
        };
        for item in items {
            reader.visit_item(item);
        }
        for module in reader.nested {
            let name = module.ident.to_string();
            let mut child_path = path.clone();
            child_path.push(name.clone());
            let child = match &module.content {
                Some((_, items)) => {
                    self.read_module(dir, file, &below.join(&name), child_path, items)
                }
                None => {
                    let flat = below.join(format!("{name}.rs"));
                    let nested = below.join(&name).join("mod.rs");
                    let child_file = if flat.exists() { flat } else { nested };
                    self.read_file(dir, &child_file, child_path)
                }
            };
            self.modules[index].children.insert(name, child);
        }
        index
    }

    fn parent(&self, index: usize) -> Option<usize> {
        let path = &self.modules[index].path;
        let parent = path.split_last()?.1;
        self.modules.iter().position(|module| module.path == parent)
    }

    fn resolve(&self, from: usize, path: &[String], doors: usize) -> Option<Target> {
        let (first, rest) = path.split_first()?;
        let start = match first.as_str() {
            "crate" => 0,
            "self" => from,
            "super" => self.parent(from)?,
            _ => return self.descend(from, path, doors, false),
        };
        self.descend(start, rest, doors, true)
    }

    /// Follows a path inside a module. A name that is not found is an item of it where that is `certain`, since
    /// macros define items that are not seen.
    fn descend(&self, from: usize, path: &[String], doors: usize, certain: bool) -> Option<Target> {
        let Some((name, rest)) = path.split_first() else {
            return Some(Target::Module(from));
        };
        let module = &self.modules[from];
        if name == "super" {
            return self.descend(self.parent(from)?, rest, doors, true);
        }
        if let Some(&child) = module.children.get(name) {
            return self.descend(child, rest, doors, true);
        }
        if module.items.contains(name) {
            return Some(Target::ItemOf(from));
        }
        if doors == MAX_DOORS {
            return None;
        }
        for import in &module.imports {
            if import.name.as_ref() != Some(name)
                || import.path.first() == Some(name) && import.path.len() == 1
            {
                continue;
            }
            return match self.resolve(from, &import.path, doors + 1)? {
                Target::Module(module) => self.descend(module, rest, doors + 1, true),
                item => Some(item),
            };
        }
        for import in module.imports.iter().filter(|import| import.name.is_none()) {
            let Some(Target::Module(target)) = self.resolve(from, &import.path, doors + 1) else {
                continue;
            };
            let found = self.descend(target, path, doors + 1, false);
            if found.is_some() {
                return found;
            }
        }
        certain.then_some(Target::ItemOf(from))
    }

    /// All edges between different files.
    pub fn edges(&self) -> Vec<Edge> {
        let mut found = BTreeSet::new();
        for (index, module) in self.modules.iter().enumerate() {
            let imports = module
                .imports
                .iter()
                .filter(|import| !import.is_door)
                .map(|import| &import.path);
            for path in imports.chain(&module.mentions) {
                let target = match self.resolve(index, path, 0) {
                    Some(Target::Module(target) | Target::ItemOf(target)) => target,
                    None => continue,
                };
                let to = &self.modules[target].file;
                if *to != module.file {
                    found.insert(Edge {
                        from: module.file.clone(),
                        to: to.clone(),
                        path: path.join("::"),
                    });
                }
            }
        }
        found.into_iter().collect()
    }
}

/// Whether an item is for tests alone.
fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<syn::Ident>()
                .is_ok_and(|ident| ident == "test")
    })
}

/// Collects what a module defines and names.
struct Reader<'a> {
    module: &'a mut Module,
    nested: Vec<syn::ItemMod>,
}

impl Reader<'_> {
    fn import(&mut self, tree: &syn::UseTree, path: &[String], is_door: bool) {
        let longer = |ident: &syn::Ident| {
            let mut longer = path.to_vec();
            if ident != "self" || path.is_empty() {
                longer.push(ident.to_string());
            }
            longer
        };
        let (path, name) = match tree {
            syn::UseTree::Path(part) => {
                return self.import(&part.tree, &longer(&part.ident), is_door);
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(tree, path, is_door);
                }
                return;
            }
            syn::UseTree::Name(part) => {
                let path = longer(&part.ident);
                let name = path.last().cloned();
                (path, name)
            }
            syn::UseTree::Rename(part) => (longer(&part.ident), Some(part.rename.to_string())),
            syn::UseTree::Glob(_) => (path.to_vec(), None),
        };
        self.module.imports.push(Import {
            path,
            name,
            is_door,
        });
    }

    /// Paths in what a macro is given.
    fn mention_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) if colons == 2 && !path.is_empty() => {
                    path.push(ident.to_string())
                }
                TokenTree::Ident(ident) => {
                    self.mention(std::mem::take(&mut path));
                    path.push(ident.to_string());
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    colons += 1;
                    continue;
                }
                TokenTree::Group(group) => {
                    self.mention(std::mem::take(&mut path));
                    self.mention_tokens(group.stream());
                }
                _ => self.mention(std::mem::take(&mut path)),
            }
            colons = 0;
        }
        self.mention(path);
    }

    fn mention(&mut self, path: Vec<String>) {
        if path.len() > 1 {
            self.module.mentions.insert(path);
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        use syn::Item;
        let (name, attributes) = match item {
            Item::Const(item) => (Some(&item.ident), &item.attrs),
            Item::Enum(item) => (Some(&item.ident), &item.attrs),
            Item::Fn(item) => (Some(&item.sig.ident), &item.attrs),
            Item::Macro(item) => (item.ident.as_ref(), &item.attrs),
            Item::Static(item) => (Some(&item.ident), &item.attrs),
            Item::Struct(item) => (Some(&item.ident), &item.attrs),
            Item::Trait(item) => (Some(&item.ident), &item.attrs),
            Item::Type(item) => (Some(&item.ident), &item.attrs),
            Item::Union(item) => (Some(&item.ident), &item.attrs),
            Item::Impl(item) => (None, &item.attrs),
            Item::Mod(item) => (None, &item.attrs),
            Item::Use(item) => (None, &item.attrs),
            _ => return,
        };
        if is_for_tests(attributes) {
            return;
        }
        if let Some(name) = name {
            self.module.items.insert(name.to_string());
        }
        match item {
            Item::Mod(module) => self.nested.push(module.clone()),
            _ => syn::visit::visit_item(self, item),
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !is_for_tests(&function.attrs) {
            syn::visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let is_door = !matches!(item.vis, syn::Visibility::Inherited);
        self.import(&item.tree, &[], is_door);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string());
        self.mention(segments.collect());
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        self.mention_tokens(called.tokens.clone());
        syn::visit::visit_macro(self, called);
    }

    fn visit_meta_list(&mut self, list: &'ast syn::MetaList) {
        self.mention_tokens(list.tokens.clone());
    }
}
