//! Against servers of the test's own that break, lie, or lead elsewhere.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use plyfs_registry::{
    Client, Credentials, Digest, Error, Name, Options, Places, Repository, Retry,
};

/// The heads of all requests that came.
type Heads = Arc<Mutex<Vec<String>>>;

/// Answers each request on a connection of its own with what the function makes of its number and head.
fn serve(answer: impl Fn(usize, &str) -> Vec<u8> + Send + 'static) -> (u16, Heads) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heads = Heads::default();
    let seen = heads.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream: TcpStream = stream.unwrap();
            let mut head = String::new();
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            let mut first = [0];
            // TLS is not spoken here.
            if lines.read(&mut first).unwrap_or(0) == 0 || !first[0].is_ascii_uppercase() {
                continue;
            }
            head.push(first[0].into());
            while lines.read_line(&mut head).unwrap_or(0) > 2 {}
            if head.starts_with("GET /v2/ ") {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    .ok();
                continue;
            }
            let mut all = seen.lock().unwrap();
            stream.write_all(&answer(all.len(), &head)).ok();
            all.push(head.to_ascii_lowercase());
        }
    });
    (port, heads)
}

fn repository(port: u16) -> Repository {
    let root = tempfile::tempdir().unwrap();
    let mut options = Options::new(Places::below(root.path()));
    options.credentials = Some(Credentials::password("ann", "hunter2"));
    options.retry = Retry {
        tries: 3,
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(5),
        idle: Duration::from_millis(300),
        ..Retry::default()
    };
    let name = Name::new(&format!("127.0.0.1:{port}"), "a").unwrap();
    Client::new(options)
        .unwrap()
        .pull(&name, "v1")
        .unwrap()
        .remove(0)
}

fn fetch(port: u16, size: u64) -> Result<Vec<u8>, Error> {
    let mut download = repository(port).blob(&Digest::sha256(b""), size, 0);
    let (mut all, mut buffer) = (Vec::new(), [0; 7]);
    loop {
        match download.read(&mut buffer)? {
            0 => return Ok(all),
            read => all.extend_from_slice(&buffer[..read]),
        }
    }
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut all = format!("HTTP/1.1 {status}\r\n{headers}Connection: close\r\n\r\n").into_bytes();
    all.extend_from_slice(body);
    all
}

const CONTENT: &[u8] = b"0123456789abcdefghij";

#[test]
fn a_download_that_breaks_goes_on_where_it_broke() {
    let (port, heads) = serve(|number, _| match number {
        0 => answer("200 OK", "Content-Length: 20\r\n", &CONTENT[..6]),
        1 => answer("503 Busy", "Content-Length: 0\r\nRetry-After: 0\r\n", b""),
        2 => answer(
            "206 Part",
            "Content-Length: 14\r\nContent-Range: bytes 6-19/20\r\n",
            &CONTENT[6..9],
        ),
        // The whole blob instead of the rest.
        _ => answer("200 OK", "Content-Length: 20\r\n", CONTENT),
    });
    assert_eq!(fetch(port, 20).unwrap(), CONTENT);
    let heads = heads.lock().unwrap();
    assert!(
        heads[1].contains("range: bytes=6-") && heads[3].contains("range: bytes=9-"),
        "{heads:?}"
    );
}

#[test]
fn lies_end_in_one_line_and_yield_no_more_than_the_size() {
    let lies = [
        answer("200 OK", "Content-Length: 21\r\n", b"0123456789abcdefghijk"),
        answer("200 OK", "Content-Length: 3\r\n", b"012"),
        answer(
            "206 Part",
            "Content-Length: 20\r\nContent-Range: bytes 1-20/21\r\n",
            CONTENT,
        ),
        answer(
            "200 OK",
            "Content-Length: 20\r\nContent-Encoding: gzip\r\n",
            CONTENT,
        ),
        b"no HTTP at all\r\n\r\n".to_vec(),
    ];
    for lie in lies {
        let (port, heads) = serve(move |_, _| lie.clone());
        let error = fetch(port, 20).unwrap_err().to_string();
        assert!(
            error.starts_with("cannot fetch blob sha256:") && error.ends_with("(tried 3 times)"),
            "{error}"
        );
        assert!(
            !error.contains('\n') && heads.lock().unwrap().len() == 3,
            "{error}"
        );
    }
    // Without a length, what is too much is not read.
    let (port, _) = serve(|_, _| answer("200 OK", "", b"0123456789abcdefghijkl"));
    assert_eq!(fetch(port, 20).unwrap(), CONTENT);
}

#[test]
fn no_authorization_follows_a_redirect_to_another_host() {
    let (elsewhere, there) = serve(|_, _| answer("200 OK", "Content-Length: 20\r\n", CONTENT));
    let (port, here) = serve(move |number, _| match number {
        0 => answer(
            "401 No",
            "Content-Length: 0\r\nWWW-Authenticate: Basic realm=\"x\"\r\n",
            b"",
        ),
        _ => answer(
            "307 There",
            &format!("Content-Length: 0\r\nLocation: http://127.0.0.1:{elsewhere}/x\r\n"),
            b"",
        ),
    });
    assert_eq!(fetch(port, 20).unwrap(), CONTENT);
    assert!(!here.lock().unwrap()[0].contains("authorization"));
    assert!(here.lock().unwrap()[1].contains("authorization: basic"));
    assert!(!there.lock().unwrap()[0].contains("authorization"));
}

#[test]
fn an_expired_token_is_renewed_in_the_middle_of_a_blob() {
    let port_of_realm = Arc::new(Mutex::new(0));
    let realm = port_of_realm.clone();
    let (port, heads) = serve(move |number, head| {
        let challenge = format!(
            "Content-Length: 0\r\nWWW-Authenticate: Bearer realm=\"http://127.0.0.1:{}/token\",service=\"s\"\r\n",
            realm.lock().unwrap()
        );
        if head.starts_with("GET /token?") {
            let token = format!(r#"{{"token":"t{number}","expires_in":300}}"#);
            let length = format!("Content-Length: {}\r\n", token.len());
            return answer("200 OK", &length, token.as_bytes());
        }
        match number {
            // The first request has no token, and the fourth one that has expired.
            0 | 3 => answer("401 No", &challenge, b""),
            2 => answer("200 OK", "Content-Length: 20\r\n", &CONTENT[..6]),
            _ => answer(
                "206 Part",
                "Content-Length: 14\r\nContent-Range: bytes 6-19/20\r\n",
                &CONTENT[6..],
            ),
        }
    });
    *port_of_realm.lock().unwrap() = port;
    assert_eq!(fetch(port, 20).unwrap(), CONTENT);
    let heads = heads.lock().unwrap();
    assert!(
        heads[1].contains("scope=repository%3aa%3apull")
            && heads[1].contains("authorization: basic"),
        "{heads:?}"
    );
    for (request, token) in [(2, "t1"), (3, "t1"), (5, "t4")] {
        assert!(
            heads[request].contains(&format!("authorization: bearer {token}\r\n")),
            "{heads:?}"
        );
    }
    assert_eq!(heads.len(), 6);
}
