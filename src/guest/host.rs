//! What a configuration needs to know of this machine and of the image, looked up.

use std::path::PathBuf;

use crate::error::{CliError, Context, Result};
use crate::namespace;
use crate::oci::Host;
use crate::oci::words::env_file;

/// The group that terminals belong to.
const TTY: u32 = 5;

/// The variables of `--env-file` and `--env`, with the values that the caller has for those without one.
pub(crate) fn environment(files: &[PathBuf], given: &[String]) -> Result<Vec<String>> {
    let mut pairs = Vec::new();
    for path in files {
        let shown = path.display();
        let text = std::fs::read_to_string(path).context(format_args!("read {shown}"))?;
        let read = env_file(&text);
        pairs.extend(read.map_err(|why| CliError::new(format_args!("{shown}: {why}")))?);
    }
    pairs.extend(given.iter().cloned());
    let mut all = Vec::new();
    for pair in pairs {
        if pair.contains('=') {
            all.push(pair);
        } else if let Some(value) = std::env::var_os(&pair) {
            let value = value.into_string().map_err(|_| {
                CliError::new(format_args!(
                    "the variable {pair} is not UTF-8; set it with -e"
                ))
            })?;
            all.push(format!("{pair}={value}"));
        }
    }
    Ok(all)
}

/// What kind of terminal it is.
pub(crate) fn term() -> String {
    let term = std::env::var("TERM").unwrap_or_default();
    match term.as_str() {
        "" => "TERM=xterm".to_owned(),
        term => format!("TERM={term}"),
    }
}

/// Looks at the machine.
pub(crate) fn examine() -> Host {
    let groups = namespace::mapped_ids("/proc/self/gid_map");
    Host {
        in_user_namespace: !namespace::is_initial(),
        unified_cgroups: namespace::has_unified_cgroups(),
        has_tty_group: groups.is_none_or(|ranges| ranges.iter().any(|range| range.contains(&TTY))),
        denies_groups: namespace::denies_groups(),
        masked: thermal_files(),
        mappings: None,
    }
}

/// Files that show how busy each processor is, by its heat.
fn thermal_files() -> Vec<String> {
    let processors = std::fs::read_dir("/sys/devices/system/cpu")
        .into_iter()
        .flatten();
    let paths = processors.filter_map(|entry| Some(entry.ok()?.path().join("thermal_throttle")));
    let there = paths.filter(|path: &PathBuf| path.exists());
    there
        .map(|path| path.to_string_lossy().into_owned())
        .collect()
}
