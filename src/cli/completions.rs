//! Names of images and containers in completions. The parser knows which words are names, but not the names in the
//! store.

use clap::Command;
use clap_complete::Shell;

/// The commands whose first word names an image, a container, or either.
const IMAGES: &str = "run bundle history save export rmi mount tag";
const CONTAINERS: &str = "exec stop kill rm commit diff";
const BOTH: &str = "inspect umount unmount";

/// Lists the names in the first column of a table.
const LIST_IMAGES: &str = "plyfs images 2>/dev/null | awk 'NR > 1 && !/^ / { print $1 }'";
const LIST_CONTAINERS: &str = "plyfs ps 2>/dev/null | awk 'NR > 1 && !/^ / { print $1 }'";

/// Adds names to a script that the parser has generated.
pub(super) fn add(shell: Shell, script: &str, command: &Command) -> String {
    match shell {
        Shell::Bash => script.to_owned() + &bash(command),
        Shell::Zsh => zsh(script),
        Shell::Fish => script.to_owned() + &fish(),
        _ => script.to_owned(),
    }
}

fn bash(command: &Command) -> String {
    let cases = |commands: &str| commands.replace(' ', "|");
    let (images, containers, both) = (cases(IMAGES), cases(CONTAINERS), cases(BOTH));
    let with_value = options_with_value(command).join("|");
    // Names and sources have colons, and options equals signs, at which bash begins a new word.
    format!(
        r#"
# Names for a word that may have colons; what comes before the last one is a word of its own to bash.
_plyfs_offer() {{
    local prefix= word IFS=$'\n'
    [[ $typed == *:* && $COMP_WORDBREAKS == *:* ]] && prefix=${{typed%"${{typed##*:}}"}}
    for word in $(compgen -W "$1" -- "$typed"); do
        COMPREPLY+=("${{word#"$prefix"}}")
    done
}}

# The path in a source of an image, oci:DIR or oci-archive:FILE; without a prefix, those there are.
_plyfs_source() {{
    local kind=-f path before=${{typed%%:*}}: IFS=$'\n'
    case $typed in
        oci:*) kind=-d ;;
        oci-archive:* | docker-archive:*) ;;
        *)
            compopt -o nospace 2>/dev/null
            _plyfs_offer $'oci:\noci-archive:\ndocker-archive:'
            return ;;
    esac
    compopt -o filenames 2>/dev/null
    [[ $COMP_WORDBREAKS == *:* ]] && before=
    for path in $(compgen $kind -- "${{typed#*:}}"); do
        COMPREPLY+=("$before$path")
    done
}}

_plyfs_with_names() {{
    local typed=${{COMP_LINE:0:COMP_POINT}} cur=$2 prev=$3 word command= skip=
    typed=${{typed##* }}
    if [[ $cur == = ]]; then
        cur=
    elif [[ $prev == = ]]; then
        prev=${{COMP_WORDS[COMP_CWORD-2]}}
    fi
    [[ $typed == --*=* ]] && typed=${{typed#*=}}
    _plyfs "$1" "$cur" "$prev"
    [[ $typed == -* ]] && return
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case $skip$word in
            --store) skip=: ;;
            :* | -*) skip= ;;
            *) command=$word; break ;;
        esac
    done
    case "$command $prev" in
        "run --container" | "mount --container")
            COMPREPLY=()
            _plyfs_offer "$({LIST_CONTAINERS})"
            return ;;
        "fsck --from")
            COMPREPLY=()
            _plyfs_source
            return ;;
        {with_value}) return ;;
    esac
    case $command in
        {images}) _plyfs_offer "$({LIST_IMAGES})" ;;
        {containers}) _plyfs_offer "$({LIST_CONTAINERS})" ;;
        {both}) _plyfs_offer "$({LIST_IMAGES}; {LIST_CONTAINERS})" ;;
    esac
    case $command in
        import | save | export) _plyfs_source ;;
    esac
}}

complete -F _plyfs_with_names -o bashdefault -o default plyfs
"#
    )
}

/// Each option behind which comes a value, after its command, as patterns of bash.
fn options_with_value(command: &Command) -> Vec<String> {
    let mut cli = command.clone();
    cli.build();
    let mut patterns = Vec::new();
    for command in cli.get_subcommands() {
        let names = std::iter::once(command.get_name()).chain(command.get_all_aliases());
        for name in names {
            for option in command.get_opts().filter(|option| takes_next_word(option)) {
                let longs = option.get_long_and_visible_aliases().unwrap_or_default();
                patterns.extend(longs.iter().map(|long| format!("\"{name} --{long}\"")));
                let short = option.get_short();
                patterns.extend(short.map(|short| format!("\"{name} -{short}\"")));
            }
        }
    }
    patterns
}

/// Whether an option takes the next word as its value. An option whose value may be left out does not.
fn takes_next_word(option: &clap::Arg) -> bool {
    let values = option.get_num_args();
    values.is_none_or(|values| values.min_values() > 0)
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
