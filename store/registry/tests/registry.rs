//! Against Debian's docker-registry, on a free port of this machine.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]
#![allow(clippy::print_stderr, reason = "a test that is skipped says so")]

use std::io::{Cursor, Read};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use plyfs_registry::{
    BlobUpload, Cause, Client, Credentials, Digest, MANIFEST_TYPES, Mount, Name, Options, Places,
    Retry, Roots,
};

struct Server {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Starts a registry, or nothing where it is not installed. `auth` is more of its settings.
fn start(auth: impl Fn(&Path) -> String) -> Option<Server> {
    let dir = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let config = format!(
        "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n{}",
        dir.path().join("data").display(),
        auth(dir.path())
    );
    std::fs::write(dir.path().join("config.yml"), config).unwrap();
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(dir.path().join("config.yml"));
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(child) = child else {
        eprintln!("SKIPPED: docker-registry is not installed");
        return None;
    };
    let server = Server { child, port, dir };
    let end = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < end, "docker-registry does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    Some(server)
}

impl Server {
    fn options(&self) -> Options {
        let mut options = Options::new(Places::below(&self.dir.path().join("user")));
        options.retry = Retry {
            first_pause: Duration::from_millis(5),
            longest_pause: Duration::from_millis(20),
            idle: Duration::from_secs(2),
            ..Retry::default()
        };
        options
    }

    fn name(&self, path: &str) -> Name {
        Name::new(&format!("127.0.0.1:{}", self.port), path).unwrap()
    }
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count)
        .map(|number| (number * 7 + number / 251) as u8)
        .collect()
}

fn upload(client: &Client, name: &Name, content: &[u8], chunk: u64) -> Digest {
    let digest = Digest::sha256(content);
    let mut source = Cursor::new(content);
    let mut last = 0;
    let mut progress = |bytes| last = bytes;
    let mut blob = BlobUpload::new(&digest, content.len() as u64, &mut source, &mut progress);
    blob.chunk = chunk;
    client.push(name).unwrap().upload(blob).unwrap();
    assert_eq!(last, content.len() as u64);
    digest
}

/// Pushes and pulls blobs and a manifest, and mounts a blob.
fn round_trip(server: &Server, client: &Client) {
    let name = server.name("a/b");
    let content = bytes(300_000);
    let push = client.push(&name).unwrap();
    assert!(!push.has_blob(&Digest::sha256(&content)).unwrap());
    let digest = upload(client, &name, &content, 65_536);
    let config = upload(client, &name, b"{}", 65_536);
    assert!(push.has_blob(&digest).unwrap());
    let kind = MANIFEST_TYPES[0];
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{kind}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":2}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{digest}","size":300000}}]}}"#
    );
    let pushed = push.put_manifest("v1", kind, manifest.as_bytes()).unwrap();
    let pull = client.pull(&name, "v1").unwrap().remove(0);
    for reference in ["v1", pushed.as_str()] {
        let found = pull.manifest(reference, &MANIFEST_TYPES).unwrap();
        assert_eq!(
            (
                found.bytes.as_slice(),
                &found.digest,
                found.media_type.as_str()
            ),
            (manifest.as_bytes(), &pushed, kind)
        );
    }
    assert_eq!(
        pull.head_manifest("v1", &MANIFEST_TYPES).unwrap().digest,
        Some(pushed)
    );
    assert!(
        pull.manifest("none", &MANIFEST_TYPES)
            .unwrap_err()
            .is_not_found()
    );
    for offset in [0_usize, 1, 299_999, 300_000] {
        let mut read = Vec::new();
        std::io::Read::read_to_end(&mut pull.blob(&digest, 300_000, offset as u64), &mut read)
            .unwrap();
        assert!(read == content[offset..], "from {offset}");
    }
    let other = client.push(&server.name("c")).unwrap();
    assert!(matches!(
        other.mount_blob(&digest, "a/b").unwrap(),
        Mount::Mounted
    ));
    let Mount::Upload(session) = other.mount_blob(&Digest::sha256(b"new"), "a/b").unwrap() else {
        panic!("a blob that is not there was mounted");
    };
    let digest = Digest::sha256(b"new");
    let (mut source, mut progress) = (Cursor::new(b"new"), |_| {});
    let mut blob = BlobUpload::new(&digest, 3, &mut source, &mut progress);
    blob.session = Some(session);
    other.upload(blob).unwrap();
    assert!(other.has_blob(&digest).unwrap());
}

#[test]
fn images_go_to_a_plain_registry_and_back() {
    let Some(server) = start(|_| String::new()) else {
        return;
    };
    round_trip(&server, &Client::new(server.options()).unwrap());
}

#[test]
fn a_registry_with_passwords_takes_the_right_one_only() {
    // The bcrypt hash of "right", made by htpasswd -nbB.
    let auth = |dir: &Path| {
        let made = Command::new("htpasswd")
            .args(["-nbB", "ann", "right"])
            .output()
            .expect("htpasswd");
        std::fs::write(dir.join("htpasswd"), made.stdout).unwrap();
        format!(
            "auth:\n  htpasswd:\n    realm: test\n    path: {}\n",
            dir.join("htpasswd").display()
        )
    };
    if Command::new("htpasswd")
        .stdin(Stdio::null())
        .output()
        .is_err()
    {
        eprintln!("SKIPPED: htpasswd (apache2-utils) is not installed");
        return;
    }
    let Some(server) = start(auth) else { return };
    let mut options = server.options();
    let nothing = Client::new(options.clone()).unwrap();
    let error = nothing
        .push(&server.name("a"))
        .unwrap()
        .has_blob(&Digest::sha256(b""))
        .unwrap_err();
    assert!(
        matches!(error.cause(), Some(Cause::NoCredentials { .. })),
        "{error}"
    );
    let host = format!("127.0.0.1:{}", server.port);
    nothing
        .check_login(&host, &Credentials::password("ann", "right"))
        .unwrap();
    let error = nothing
        .check_login(&host, &Credentials::password("ann", "wrong"))
        .unwrap_err();
    assert!(
        matches!(error.cause(), Some(Cause::Denied { .. })),
        "{error}"
    );
    assert!(
        !error.to_string().contains("wrong") && !error.to_string().contains('\n'),
        "{error}"
    );
    options.credentials = Some(Credentials::password("ann", "right"));
    round_trip(&server, &Client::new(options).unwrap());
}

#[test]
fn tls_needs_the_certificate_in_certs_d_or_the_roots() {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let tls = |dir: &Path| {
        std::fs::write(dir.join("cert.pem"), &cert).unwrap();
        std::fs::write(dir.join("key.pem"), &key).unwrap();
        let dir = dir.display();
        format!("  tls:\n    certificate: {dir}/cert.pem\n    key: {dir}/key.pem\n")
    };
    let Some(server) = start(tls) else { return };
    let digest = Digest::sha256(b"");
    let ask = |options: Options| {
        let client = Client::new(options).unwrap();
        client.push(&server.name("a")).unwrap().has_blob(&digest)
    };
    // Plain HTTP does not take the place of a certificate that is not accepted.
    let error = ask(server.options()).unwrap_err();
    assert!(
        matches!(error.cause(), Some(Cause::Certificate(_))),
        "{error}"
    );
    let mut unverified = server.options();
    unverified.tls_verify = Some(false);
    assert!(!ask(unverified).unwrap());
    let mut roots = server.options();
    roots.places.roots = Roots::File(server.dir.path().join("cert.pem"));
    assert!(!ask(roots).unwrap());
    let certs = server
        .dir
        .path()
        .join(format!("user/etc/docker/certs.d/127.0.0.1:{}", server.port));
    std::fs::create_dir_all(&certs).unwrap();
    std::fs::write(certs.join("ca.crt"), &cert).unwrap();
    round_trip(&server, &Client::new(server.options()).unwrap());
}

/// A proxy that cuts its first connections after so many bytes to the server. Returns its port and how many came.
fn cutter(to: u16, cuts: usize, after: usize) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let cut = Arc::new(AtomicUsize::new(0));
    let done = cut.clone();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, done) = (client.unwrap(), done.clone());
            let server = TcpStream::connect(("127.0.0.1", to)).unwrap();
            let (mut from, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut back).ok());
            std::thread::spawn(move || {
                let is_cut = done.load(Ordering::SeqCst) < cuts;
                let limit = if is_cut { after as u64 } else { u64::MAX };
                let copied = std::io::copy(&mut (&client).take(limit), &mut &server).unwrap_or(0);
                if copied == limit {
                    done.fetch_add(1, Ordering::SeqCst);
                }
                server.shutdown(Shutdown::Both).ok();
                client.shutdown(Shutdown::Both).ok();
            });
        }
    });
    (port, cut)
}

#[test]
fn an_upload_that_breaks_ends_right() {
    let Some(server) = start(|_| String::new()) else {
        return;
    };
    let (port, cut) = cutter(server.port, 3, 100_000);
    let client = Client::new(server.options()).unwrap();
    let name = Name::new(&format!("127.0.0.1:{port}"), "a").unwrap();
    let content = bytes(1_000_000);
    let digest = upload(&client, &name, &content, 65_536);
    assert_eq!(cut.load(Ordering::SeqCst), 3);
    let mut read = Vec::new();
    let mut blob = client.pull(&name, "x").unwrap()[0].blob(&digest, 1_000_000, 0);
    Read::read_to_end(&mut blob, &mut read).unwrap();
    assert!(read == content);
}
