//! /etc/resolv.conf, /etc/hosts and /etc/hostname of a container: copies that it may change, of which no
//! path leads to the files of this machine.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};
use crate::oci::options::{ContainerOptions, Network};
use crate::oci::words::{AddedHost, Dns};
use crate::runtime::root::Root;

/// Writes the files into a directory; each with its place in the container. One whose place is a link of the
/// image to the root or into a system directory is left out, with a warning.
pub(crate) fn write(
    dir: &Path,
    root: &Root,
    options: &ContainerOptions,
    hostname: &str,
) -> Result<Vec<(PathBuf, &'static str)>> {
    // Those of the machine are about a network that the container does not have.
    let has_network = options.network == Network::Host;
    let machine = |path: &str| {
        let text = has_network.then(|| std::fs::read_to_string(path));
        text.and_then(Result::ok).unwrap_or_default()
    };
    let mut files = vec![("/etc/hostname", "hostname", format!("{hostname}\n"))];
    let base = machine("/etc/hosts");
    files.push((
        "/etc/hosts",
        "hosts",
        hosts(&base, &options.add_host, hostname),
    ));
    let base = machine("/etc/resolv.conf");
    if let Some(text) = resolv_conf(&base, &options.dns) {
        files.push(("/etc/resolv.conf", "resolv.conf", text));
    }
    let mut written = Vec::new();
    for (place, name, text) in files {
        if let Err(error) = root.check_place(Path::new(place)) {
            log::warn!("the container gets no {place} from plyfs: {error}");
            continue;
        }
        let path = dir.join(name);
        let action = format!("write {}", path.display());
        std::fs::write(&path, text).context(&action)?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(&path, mode).context(action)?;
        written.push((path, place));
    }
    Ok(written)
}

/// hosts(5): what the user adds, what the machine has, and the name of the container.
fn hosts(base: &str, added: &[AddedHost], hostname: &str) -> String {
    let mut text = String::new();
    for AddedHost { name, address } in added {
        let address = address.map_or_else(|| "127.0.0.1".to_owned(), |one| one.to_string());
        text.push_str(&format!("{address}\t{name}\n"));
    }
    text.push_str(base);
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    let mut names = base
        .lines()
        .flat_map(|line| line.split_whitespace().skip(1));
    if !names.any(|name| name == "localhost") {
        text.push_str("127.0.0.1\tlocalhost\n::1\tlocalhost\n");
    }
    text.push_str(&format!("127.0.0.1\t{hostname}\n"));
    text
}

/// resolv.conf(5): that of the machine, with the user's servers instead of its own; `None` to leave that of
/// the image.
fn resolv_conf(base: &str, dns: &[Dns]) -> Option<String> {
    let servers: Vec<IpAddr> = dns
        .iter()
        .filter_map(|one| match one {
            Dns::None => None,
            Dns::Server(address) => Some(*address),
        })
        .collect();
    if dns.contains(&Dns::None) || (base.is_empty() && servers.is_empty()) {
        return None;
    }
    if servers.is_empty() {
        return Some(base.to_owned());
    }
    let is_server = |line: &&str| line.trim_start().starts_with("nameserver");
    let others = base.lines().filter(|line| !is_server(line));
    let mut text: String = others.map(|line| format!("{line}\n")).collect();
    for server in servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_what_is_added_and_the_container() {
        let added = ["db:10.0.0.1", "me:host-gateway"].map(|text| text.parse().unwrap());
        assert_eq!(
            hosts("127.0.0.1 localhost", &added, "box"),
            "10.0.0.1\tdb\n127.0.0.1\tme\n127.0.0.1 localhost\n127.0.0.1\tbox\n"
        );
        assert_eq!(
            hosts("", &[], "box"),
            "127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.0.1\tbox\n"
        );
    }

    #[test]
    fn name_servers_replace_those_of_the_machine() {
        let base = "search example.org\nnameserver 10.0.0.2\n";
        let server = Dns::Server("9.9.9.9".parse().unwrap());
        let expected = "search example.org\nnameserver 9.9.9.9\n";
        assert_eq!(resolv_conf(base, &[server]).unwrap(), expected);
        assert_eq!(resolv_conf(base, &[]).unwrap(), base);
        assert_eq!(resolv_conf(base, &[Dns::None]), None);
        assert_eq!(resolv_conf("", &[]), None);
    }
}
