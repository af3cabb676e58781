use std::collections::BTreeSet;

use std::path::{Path, PathBuf};

use plyfs_store::ImageConfiguration;

use super::*;
use crate::oci::options::ContainerOptions;
use crate::oci::user::Identity;
use crate::oci::volume::UserMount;
use crate::oci::words::{CapabilityWord, Ulimit};

fn image(config: &str) -> ImageConfiguration {
    let text = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{config},"rootfs":{{"type":"layers","diff_ids":[]}}}}"#
    );
    serde_json::from_str(&text).unwrap()
}

fn identity(uid: u32) -> Identity {
    Identity {
        uid,
        gid: uid,
        groups: vec![uid],
        home: "/home/x".to_owned(),
        has_account: true,
    }
}

fn configure(config: &str, options: &ContainerOptions, uid: u32, host: &Host) -> Spec {
    let image = image(config);
    let command = Command::new(&["true".into()], options, &image, "box").unwrap();
    configuration(&Request {
        image: &image,
        options,
        command: &command,
        identity: &identity(uid),
        hostname: "box",
        root: Path::new("/root/of/image"),
        read_only: options.read_only,
        terminal: false,
        environment: &options.env,
        directory: Path::new("/work"),
        files: &[(PathBuf::from("/s/hosts"), "/etc/hosts")],
        host,
    })
    .unwrap()
}

fn names(set: &Option<oci_spec::runtime::Capabilities>) -> BTreeSet<String> {
    let set = set.as_ref().unwrap();
    set.iter().map(ToString::to_string).collect()
}

#[test]
fn the_defaults_are_those_of_podman() {
    let spec = configure("{}", &ContainerOptions::default(), 0, &Host::default());
    let process = spec.process().as_ref().unwrap();
    let capabilities = process.capabilities().as_ref().unwrap();
    let expected: BTreeSet<String> = defaults::CAPABILITIES.map(str::to_owned).into();
    assert_eq!(names(capabilities.bounding()), expected);
    assert_eq!(names(capabilities.effective()), expected);
    assert!(names(capabilities.inheritable()).is_empty());
    assert!(names(capabilities.ambient()).is_empty());
    assert_eq!(process.cwd(), Path::new("/"));
    assert_eq!(process.user().umask(), Some(0o022));
    let linux = spec.linux().as_ref().unwrap();
    assert!(linux.seccomp().is_some());
    let masked = linux.masked_paths().as_ref().unwrap();
    assert!(masked.iter().any(|path| path == "/proc/kcore"));
    let kinds = linux.namespaces().as_ref().unwrap().iter();
    let kinds: Vec<_> = kinds.map(LinuxNamespace::typ).collect();
    assert!(kinds.contains(&LinuxNamespaceType::Cgroup));
    assert!(!kinds.contains(&LinuxNamespaceType::Network));
}

#[test]
fn another_user_has_no_capabilities_but_those_that_are_added() {
    let mut options = ContainerOptions {
        cap_add: vec!["NET_RAW".parse().unwrap()],
        cap_drop: vec!["CHOWN".parse().unwrap()],
        ..ContainerOptions::default()
    };
    let spec = configure("{}", &options, 1000, &Host::default());
    let process = spec.process().as_ref().unwrap();
    let capabilities = process.capabilities().as_ref().unwrap();
    let added = BTreeSet::from(["NET_RAW".to_owned()]);
    assert_eq!(names(capabilities.effective()), added);
    assert_eq!(names(capabilities.ambient()), added);
    assert!(names(capabilities.bounding()).contains("NET_RAW"));
    assert!(!names(capabilities.bounding()).contains("CHOWN"));
    options.cap_drop.push(CapabilityWord::All);
    let spec = configure("{}", &options, 0, &Host::default());
    let process = spec.process().as_ref().unwrap();
    let capabilities = process.capabilities().as_ref().unwrap();
    assert_eq!(names(capabilities.bounding()), added);
}

#[test]
fn variables_of_the_image_never_come_from_the_caller() {
    let options = ContainerOptions {
        env: vec!["A=user".to_owned()],
        ..ContainerOptions::default()
    };
    let config = r#"{"Env":["A=image","SECRET","PATH=/x","*","=y"]}"#;
    let spec = configure(config, &options, 0, &Host::default());
    let process = spec.process().as_ref().unwrap();
    let environment = process.env().as_ref().unwrap();
    let expected = [
        "PATH=/x",
        "HOME=/home/x",
        "HOSTNAME=box",
        "container=plyfs",
        "A=user",
    ];
    assert_eq!(environment, &expected);
}

#[test]
fn mounts_of_the_user_come_last_and_outer_ones_first() {
    let options = ContainerOptions {
        volumes: ["./a:/x/y/z:ro", "/b:/x", "/hosts:/etc/hosts"]
            .map(|text| UserMount::volume(text).unwrap())
            .into(),
        ..ContainerOptions::default()
    };
    let spec = configure("{}", &options, 0, &Host::default());
    let mounts = spec.mounts().as_ref().unwrap();
    let places: Vec<_> = mounts
        .iter()
        .map(|mount| mount.destination().to_str().unwrap())
        .collect();
    assert_eq!(places[places.len() - 3..], ["/x", "/etc/hosts", "/x/y/z"]);
    assert_eq!(
        places
            .iter()
            .filter(|place| **place == "/etc/hosts")
            .count(),
        1
    );
    let source = mounts.last().unwrap().source().as_deref();
    assert_eq!(source, Some(Path::new("/work/a")));
}

#[test]
fn the_machine_s_network_in_a_user_namespace_has_the_machine_s_sys() {
    let inside = Host {
        in_user_namespace: true,
        ..Host::default()
    };
    let sys = |options: &ContainerOptions| {
        let spec = configure("{}", options, 0, &inside);
        let mounts = spec.mounts().clone().unwrap();
        let sys = mounts
            .into_iter()
            .find(|mount| mount.destination() == Path::new("/sys"));
        sys.unwrap().typ().clone().unwrap()
    };
    let mut options = ContainerOptions::default();
    assert_eq!(sys(&options), "bind");
    options.network = Network::None;
    assert_eq!(sys(&options), "sysfs");
}

#[test]
fn paths_are_masked_and_unmasked() {
    let options = ContainerOptions {
        security_opt: [
            "mask=/proc/x",
            "unmask=/proc/kcore:/proc/sys",
            "seccomp=unconfined",
        ]
        .map(|text| text.parse().unwrap())
        .into(),
        ulimit: vec!["nofile=5".parse::<Ulimit>().unwrap()],
        ..ContainerOptions::default()
    };
    let spec = configure("{}", &options, 0, &Host::default());
    let linux = spec.linux().as_ref().unwrap();
    let masked = linux.masked_paths().as_ref().unwrap();
    assert!(masked.iter().any(|path| path == "/proc/x"));
    assert!(!masked.iter().any(|path| path == "/proc/kcore"));
    let read_only = linux.readonly_paths().as_ref().unwrap();
    assert!(!read_only.iter().any(|path| path == "/proc/sys"));
    assert!(linux.seccomp().is_none());
}

#[test]
fn an_entrypoint_is_a_program_or_a_list() {
    let arguments = |entrypoint: &str| {
        let options = ContainerOptions {
            entrypoint: Some(entrypoint.into()),
            ..ContainerOptions::default()
        };
        let config = r#"{"Entrypoint":["image"],"Cmd":["x"]}"#;
        Command::new(&["a".into()], &options, &image(config), "box").map(|found| found.arguments)
    };
    assert_eq!(arguments("sh").unwrap(), ["sh", "a"]);
    assert_eq!(arguments("").unwrap(), ["a"]);
    assert_eq!(arguments(r#"["sh","-c"]"#).unwrap(), ["sh", "-c", "a"]);
    assert!(arguments("[sh").is_err());
}
