//! Names of images and containers in completions: the parser knows which words are names, and not which there are.

use clap_complete::Shell;

/// The commands whose first word names an image, a container, or either.
const IMAGES: &str = "run bundle history save export rmi mount";
const CONTAINERS: &str = "exec stop kill rm commit diff";
const BOTH: &str = "inspect umount unmount";

/// Lists the names in the first column of a table.
const LIST_IMAGES: &str = "plyfs images 2>/dev/null | awk 'NR > 1 && !/^ / { print $1 }'";
const LIST_CONTAINERS: &str = "plyfs ps 2>/dev/null | awk 'NR > 1 && !/^ / { print $1 }'";

/// Adds names to a script that the parser has generated.
pub(super) fn add(shell: Shell, script: &str) -> String {
    match shell {
        Shell::Bash => script.to_owned() + &bash(),
        Shell::Zsh => zsh(script),
        Shell::Fish => script.to_owned() + &fish(),
        _ => script.to_owned(),
    }
}

fn bash() -> String {
    let cases = |commands: &str| commands.replace(' ', "|");
    let (images, containers, both) = (cases(IMAGES), cases(CONTAINERS), cases(BOTH));
    // Names have colons, at which bash begins a new word.
    format!(
        r#"
_plyfs_with_names() {{
    _plyfs "$@"
    local typed=${{COMP_LINE:0:COMP_POINT}} word names= prefix=
    typed=${{typed##* }}
    [[ $typed == -* ]] && return
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case $word in
            {images}) names=$({LIST_IMAGES}); break ;;
            {containers}) names=$({LIST_CONTAINERS}); break ;;
            {both}) names=$({LIST_IMAGES}; {LIST_CONTAINERS}); break ;;
        esac
    done
    [[ -n $names ]] || return
    [[ $typed == *:* && $COMP_WORDBREAKS == *:* ]] && prefix=${{typed%"${{typed##*:}}"}}
    local IFS=$'\n'
    for word in $(compgen -W "$names" -- "$typed"); do
        COMPREPLY+=("${{word#"$prefix"}}")
    done
}}

complete -F _plyfs_with_names -o bashdefault -o default plyfs
"#
    )
}

/// Arguments are described by what they are called, and completed as files.
fn zsh(script: &str) -> String {
    let mut out = String::with_capacity(script.len());
    for line in script.lines() {
        let names = match line.trim_start().trim_start_matches(['\'', '*', ':']) {
            // A new one.
            new if new.starts_with("image -- The name of") => None,
            image if image.starts_with("image -- ") || image.starts_with("images -- ") => {
                Some("_plyfs_images")
            }
            container if container.starts_with("container -- ") => Some("_plyfs_containers"),
            containers if containers.starts_with("containers -- ") => Some("_plyfs_containers"),
            _ => None,
        };
        out += &match names {
            Some(names) => line.replace(":_default'", &format!(":{names}'")),
            None => line.to_owned(),
        };
        out.push('\n');
    }
    let functions = format!(
        "(( $+functions[_plyfs_images] )) ||\n_plyfs_images() {{\n    \
         local -a names=(${{(f)\"$({LIST_IMAGES})\"}})\n    compadd -a names\n}}\n\n\
         (( $+functions[_plyfs_containers] )) ||\n_plyfs_containers() {{\n    \
         local -a names=(${{(f)\"$({LIST_CONTAINERS})\"}})\n    compadd -a names\n}}\n\n"
    );
    // Before the end, which calls the first function.
    match out.rfind("\nif [ \"$funcstack[1]\"") {
        Some(end) => out.insert_str(end + 1, &functions),
        None => out += &functions,
    }
    out
}

fn fish() -> String {
    let mut out = String::new();
    for (commands, lists) in [
        (IMAGES, &[LIST_IMAGES][..]),
        (CONTAINERS, &[LIST_CONTAINERS]),
        (BOTH, &[LIST_IMAGES, LIST_CONTAINERS]),
    ] {
        for list in lists {
            let list = list.replace('\'', "\"").replace('$', "\\$");
            out += &format!(
                "complete -c plyfs -n '__fish_seen_subcommand_from {commands}' -f -a '({list})'\n"
            );
        }
    }
    out
}
