//! Tests of the files with credentials.

use std::os::unix::fs::symlink;

use super::super::pair::to_pair;
use super::*;

/// As `podman login` and `docker login` write them.
const AUTH_JSON: &str = r#"{
	"auths": {
		"quay.io": {"auth": "aG9zdDpwMQ=="},
		"quay.io/team": {"auth": "dGVhbTpwMg=="},
		"quay.io/team/app": {"auth": "YXBwOnAz"},
		"azure.io": {"auth": "MDAwMDAwMDA6", "identitytoken": "idtok"}
	}
}"#;

const DOCKER_CONFIG: &str = r#"{
	"auths": {
		"https://index.docker.io/v1/": {"auth": "aHViOnA0"},
		"https://old.io/v1/": {"auth": "b2xkOnA1"},
		"ghcr.io": {}
	},
	"HttpHeaders": {"User-Agent": "Docker-Client/19.03.12 (linux)"},
	"currentContext": "default"
}"#;

struct Files(tempfile::TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(root)
    }

    fn auth(&self) -> AuthFiles {
        AuthFiles::new(&Places::below(self.0.path()), Interrupt::never())
    }

    fn user(&self, repository: &str) -> Option<String> {
        match self.auth().find(repository).unwrap()? {
            Credentials::Password { user, .. } => Some(user),
            Credentials::Identity(token) => Some(format!("token {}", token.reveal())),
        }
    }

    fn document(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.0.path().join(name)).unwrap()).unwrap()
    }
}

#[test]
fn the_most_specific_namespace_wins() {
    let files = Files::new(&[
        ("runtime/containers/auth.json", AUTH_JSON),
        ("docker/config.json", DOCKER_CONFIG),
    ]);
    for (repository, user) in [
        ("quay.io/team/app/deep", Some("app")),
        ("quay.io/team/apple", Some("team")),
        ("quay.io/x", Some("host")),
        ("quay.io", Some("host")),
        ("azure.io/x", Some("token idtok")),
        ("docker.io/library/debian", Some("hub")),
        ("old.io/x", Some("old")),
        ("ghcr.io/x", None),
        ("quay.io.evil.com/x", None),
    ] {
        assert_eq!(files.user(repository).as_deref(), user, "{repository}");
    }
}

#[test]
fn one_file_can_be_the_only_one() {
    let files = Files::new(&[
        ("runtime/containers/auth.json", AUTH_JSON),
        ("mine.json", DOCKER_CONFIG),
    ]);
    let mut places = Places::below(files.0.path());
    places.auth_file = Some(files.0.path().join("mine.json"));
    let auth = AuthFiles::new(&places, Interrupt::never());
    assert!(auth.find("quay.io/x").unwrap().is_none());
    assert!(auth.find("docker.io/x").unwrap().is_some());
}

#[test]
fn damaged_files_are_named_without_their_secrets() {
    for text in [
        "{",
        "[]",
        r#"{"auths":{"a.io":{"auth":"hunter2!"}}}"#,
        r#"{"auths":{"a.io":{"auth":"aHVudGVy"}}}"#,
    ] {
        let files = Files::new(&[("config/containers/auth.json", text)]);
        let error = files.auth().find("a.io/x").unwrap_err().to_string();
        assert!(
            error.contains("auth.json") && !error.contains("hunter"),
            "{error}"
        );
    }
    let empty = Files::new(&[("config/containers/auth.json", "\n")]);
    assert!(empty.auth().find("a.io/x").unwrap().is_none());
}

#[test]
fn storing_and_removing_keep_the_rest_of_the_file() {
    let files = Files::new(&[(
        "runtime/containers/auth.json",
        r#"{"auths":{"https://a.io/v1/":{"auth":"eDp5"}},"other":[1]}"#,
    )]);
    let name = "runtime/containers/auth.json";
    let path = files
        .auth()
        .store("a.io", &Credentials::password("ann", "pw"))
        .unwrap();
    assert_eq!(path, files.0.path().join(name));
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert_eq!(
        files.document(name),
        json!({"auths": {"a.io": {"auth": "YW5uOnB3"}}, "other": [1]})
    );
    assert_eq!(files.user("a.io/x").as_deref(), Some("ann"));

    assert!(files.auth().remove("a.io").unwrap());
    assert!(!files.auth().remove("a.io").unwrap());
    assert_eq!(files.document(name), json!({"auths": {}, "other": [1]}));
    let entries = fs::read_dir(path.parent().unwrap()).unwrap().count();
    assert_eq!(entries, 1, "a temporary file stayed");
}

#[test]
fn a_link_to_the_file_stays_a_link() {
    let files = Files::new(&[("real.json", "{}"), ("runtime/containers/x", "")]);
    let link = files.0.path().join("runtime/containers/auth.json");
    symlink(files.0.path().join("real.json"), &link).unwrap();
    files
        .auth()
        .store("a.io/team", &Credentials::Identity(Secret::new("tk")))
        .unwrap();
    assert!(link.is_symlink());
    assert_eq!(
        files.document("real.json")["auths"]["a.io/team"]["identitytoken"],
        "tk"
    );
    assert_eq!(files.user("a.io/team/x").as_deref(), Some("token tk"));
}

#[test]
fn parallel_logins_lose_none() {
    let files = Files::new(&[]);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let auth = files.auth();
            scope.spawn(move || {
                auth.store(&format!("r{number}.io"), &Credentials::password("u", "p"))
                    .unwrap()
            });
        }
    });
    let auths = files.document("runtime/containers/auth.json")["auths"]
        .as_object()
        .unwrap()
        .len();
    assert_eq!(auths, 8);
}

#[test]
fn helpers_are_asked_for_their_host_or_for_all() {
    let config = r#"{"credHelpers": {"gcr.io": "gcloud"}, "credsStore": "all", "auths": {"x.io": {"auth": "eDp5"}}}"#;
    let files = Files::new(&[("docker/config.json", config)]);
    let dir = files.0.path().join("bin");
    fs::create_dir(&dir).unwrap();
    let mut places = Places::below(files.0.path());
    places.helpers = Some(dir.clone());
    for name in ["gcloud", "all"] {
        let script = format!(
            "#!/bin/sh\nread h\necho '{{\"Username\":\"{name} '$h'\",\"Secret\":\"s\"}}'\n"
        );
        let path = dir.join(format!("docker-credential-{name}"));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(&path)
            .unwrap();
        file.write_all(script.as_bytes()).unwrap();
    }
    let auth = AuthFiles::new(&places, Interrupt::never());
    for (repository, user) in [
        ("gcr.io/p/x", "gcloud gcr.io"),
        ("x.io/y", "x"),
        ("docker.io/library/x", "all https://index.docker.io/v1/"),
    ] {
        let found = loop {
            match auth.find(repository) {
                Err(error) if error.to_string().contains("Text file busy") => {}
                other => break other.unwrap().unwrap(),
            }
        };
        assert_eq!(to_pair(&found).0, user);
    }
}
