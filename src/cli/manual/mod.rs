//! The sections of manual pages that the command line does not have: exit status, environment, files, examples
//! and other pages (man-pages(7)).

mod containers;
mod page;
mod registry;
mod store;

use page::Page;

/// All pages.
fn pages() -> impl Iterator<Item = &'static Page> {
    let local = containers::PAGES.iter().chain(&store::PAGES);
    local.chain(&registry::PAGES)
}

/// The page of a command, if it has these sections.
pub(crate) fn page(command: &str) -> Option<&'static Page> {
    pages().find(|page| page.command == command)
}

/// The examples of a command for its help; empty if it has none.
pub(crate) fn examples(command: &str) -> String {
    let examples = page(command).map_or(&[][..], |page| page.examples);
    let mut text = String::from("Examples:");
    for line in examples.iter().flat_map(|(_, lines)| lines.lines()) {
        text.push_str("\n  ");
        text.push_str(line);
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn sections_are_in_the_usual_order() {
        for page in pages() {
            let mut written = Vec::new();
            page.write(&mut written).unwrap();
            let written = String::from_utf8(written).unwrap();
            let titles = written.lines().filter_map(|line| line.strip_prefix(".SH "));
            let titles: Vec<&str> = titles.map(|title| title.trim_matches('"')).collect();
            let expected = [
                "EXIT STATUS",
                "ENVIRONMENT",
                "FILES",
                "EXAMPLES",
                "SEE ALSO",
            ];
            assert_eq!(titles, expected, "{}", page.command);
            for entries in [
                page.exit_status,
                page.environment,
                page.files,
                page.examples,
            ] {
                assert!(!entries.is_empty(), "{}", page.command);
            }
        }
    }

    #[test]
    fn every_example_can_be_parsed() {
        let mut parsed = 0;
        for line in pages()
            .flat_map(|page| page.examples)
            .flat_map(|(_, lines)| lines.lines())
            .filter(|line| line.starts_with("plyfs "))
        {
            let words = line.split_whitespace().take_while(|word| *word != "|");
            if let Err(error) = Cli::try_parse_from(words) {
                panic!("{line}: {error}");
            }
            parsed += 1;
        }
        assert!(parsed > 15, "{parsed}");
    }
}
