//! How long functions are.

use std::path::Path;

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::Visit;

/// A function of the program, and how many lines it has from its name to its last brace.
pub struct Function {
    pub name: String,
    pub lines: usize,
}

#[derive(Default)]
struct Reader(Vec<Function>);

impl Reader {
    fn add(&mut self, name: &syn::Ident, start: Span, end: Span) {
        self.0.push(Function {
            name: name.to_string(),
            lines: end.end().line - start.start().line + 1,
        });
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.add(
            &function.sig.ident,
            function.sig.span(),
            function.block.span(),
        );
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.add(
            &function.sig.ident,
            function.sig.span(),
            function.block.span(),
        );
        syn::visit::visit_impl_item_fn(self, function);
    }
}

/// The functions of a file.
pub fn functions(file: &Path) -> Vec<Function> {
    let text = std::fs::read_to_string(file).unwrap();
    let parsed =
        syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut reader = Reader::default();
    reader.visit_file(&parsed);
    reader.0
}
