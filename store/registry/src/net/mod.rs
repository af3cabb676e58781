//! Requests over HTTP: agents by host, redirects, and errors without secrets in them.

mod http_date;
mod resolver;
mod response;
mod tls;
mod transport;
mod url;

use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use ureq::http::HeaderValue;
use ureq::http::header::{AUTHORIZATION, CONTENT_LENGTH, LOCATION};
use ureq::http::{Request as HttpRequest, Response as HttpResponse};
use ureq::tls::Certificate;
use ureq::unversioned::transport::{ConnectProxyConnector, Connector as _, RustlsConnector};
use ureq::{Agent, AsSendBody, Proxy, SendBody, Timeout};

use crate::config::Places;
use crate::error::{Cause, Error, Failure};
use crate::retry::{Interrupt, Retry};
use crate::secret::Secret;

pub(crate) use response::Response;
pub(crate) use url::{Url, escape};

/// How many redirects are followed.
const MOST_REDIRECTS: usize = 10;
/// The most bytes that the headers of an answer may have; ureq allows 128 of them.
const LARGEST_HEADERS: usize = 64 << 10;
/// The buffers of a connection, each way.
const BUFFER: usize = 64 << 10;
/// Who asks.
const USER_AGENT: &str = concat!("plyfs/", env!("CARGO_PKG_VERSION"));

/// The methods that registries know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Head,
    Post,
    Patch,
    Put,
}

/// What an upload reads its bytes from; it goes back after a try that failed.
pub trait Source: Read + Seek {}

impl<S: Read + Seek + ?Sized> Source for S {}

/// The body of a request.
pub(crate) enum Body<'a> {
    /// None: for requests that have none.
    None,
    /// Bytes, or no bytes.
    Bytes(&'a [u8]),
    /// Part of a file. The callback counts the bytes that went out.
    Part {
        source: &'a mut dyn Source,
        start: u64,
        length: u64,
        sent: &'a mut dyn FnMut(u64),
    },
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// Sent to the host of the address, and to no other.
    pub(crate) authorization: Option<Secret>,
    /// Whether certificates are not verified.
    pub(crate) insecure: bool,
    /// How long the answer may take, if longer than a connection may be idle.
    pub(crate) patience: Option<Duration>,
}

impl Request {
    /// A request without headers.
    pub(crate) fn new(method: Method, url: Url, insecure: bool) -> Self {
        Self {
            method,
            url,
            headers: Vec::new(),
            authorization: None,
            insecure,
            patience: None,
        }
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// What an agent depends on.
#[derive(Clone, PartialEq, Eq, Hash)]
struct AgentKey {
    https: bool,
    host: String,
    insecure: bool,
}

/// The network. Nothing of it is made before the first request.
#[derive(Debug)]
pub(crate) struct Net {
    places: Places,
    retry: Retry,
    interrupt: Interrupt,
    agents: Mutex<HashMap<AgentKey, Agent>>,
    roots: OnceLock<Vec<Certificate<'static>>>,
}

impl std::fmt::Debug for AgentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.host)
    }
}

impl Net {
    pub(crate) fn new(places: Places, retry: Retry, interrupt: Interrupt) -> Self {
        Self {
            places,
            retry,
            interrupt,
            agents: Mutex::default(),
            roots: OnceLock::new(),
        }
    }

    /// Whether the caller wants an end.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupt.is_set()
    }

    /// Sends a request and follows redirects, from https only to https. The authorization stays with its host.
    pub(crate) fn send(&self, request: &Request, body: &mut Body<'_>) -> Result<Response, Failure> {
        let mut request = request.clone();
        for _ in 0..=MOST_REDIRECTS {
            let response = self.send_once(&request, body)?;
            let is_redirect = matches!(response.status, 301 | 302 | 303 | 307 | 308);
            if !is_redirect || !matches!(request.method, Method::Get | Method::Head) {
                return Ok(response);
            }
            let location = response
                .header(LOCATION.as_str())
                .and_then(|location| request.url.join(location));
            let next =
                location.ok_or_else(|| Cause::Protocol("a redirect leads nowhere".into()))?;
            if request.url.is_https() && !next.is_https() {
                return Err(
                    Cause::Protocol(format!("a redirect leads from https to {next}")).into(),
                );
            }
            if !next.same_origin(&request.url) {
                request.authorization = None;
            }
            request.url = next;
        }
        Err(Cause::Protocol(format!("more than {MOST_REDIRECTS} redirects")).into())
    }

    /// Sends a request and returns the answer, redirects too.
    fn send_once(&self, request: &Request, body: &mut Body<'_>) -> Result<Response, Failure> {
        if self.is_interrupted() {
            return Err(Cause::Interrupted.into());
        }
        let agent = self.agent(&request.url, request.insecure)?;
        let mut unreadable = None;
        let answer = self.run(&agent, request, body, &mut unreadable);
        if let Some(error) = unreadable {
            return Err(Cause::Source(error).into());
        }
        let (parts, body) = answer?.into_parts();
        Ok(Response {
            status: parts.status.as_u16(),
            url: request.url.clone(),
            headers: parts.headers,
            body: body.into_reader(),
        })
    }

    /// Runs a request. An error of the source of its body is put aside, since ureq mixes it with those of sockets.
    fn run(
        &self,
        agent: &Agent,
        request: &Request,
        body: &mut Body<'_>,
        unreadable: &mut Option<io::Error>,
    ) -> Result<HttpResponse<ureq::Body>, Failure> {
        let (parts, ()) = http_request(request, body)?.into_parts();
        let answer = match body {
            Body::None => execute(agent, request, HttpRequest::from_parts(parts, ())),
            Body::Bytes(bytes) => {
                let mut bytes = *bytes;
                let body = SendBody::from_reader(&mut bytes);
                execute(agent, request, HttpRequest::from_parts(parts, body))
            }
            Body::Part {
                source,
                start,
                length,
                sent,
            } => {
                source
                    .seek(SeekFrom::Start(*start))
                    .map_err(Cause::Source)?;
                let mut part = PartReader {
                    source: &mut **source,
                    left: *length,
                    sent: &mut **sent,
                    error: unreadable,
                };
                let body = SendBody::from_reader(&mut part);
                execute(agent, request, HttpRequest::from_parts(parts, body))
            }
        };
        answer.map_err(|error| self.failure(error))
    }

    /// The agent for the host of an address, which keeps its connections.
    fn agent(&self, url: &Url, insecure: bool) -> Result<Agent, Failure> {
        let key = AgentKey {
            https: url.is_https(),
            host: url.host().to_owned(),
            insecure,
        };
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = agents.get(&key) {
            return Ok(agent.clone());
        }
        let agent = self.new_agent(url, insecure)?;
        agents.insert(key, agent.clone());
        Ok(agent)
    }

    /// Makes an agent.
    fn new_agent(&self, url: &Url, insecure: bool) -> Result<Agent, Failure> {
        let mut builder = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(self.proxy(url)?)
            .user_agent(USER_AGENT)
            .accept_encoding("identity")
            .max_response_header_size(LARGEST_HEADERS)
            .input_buffer_size(BUFFER)
            .output_buffer_size(BUFFER)
            .timeout_resolve(Some(self.retry.connect))
            .timeout_connect(Some(self.retry.connect))
            // Each byte starts this again, and the time for all headers is bounded.
            .timeout_per_read(Some(self.retry.idle))
            .timeout_recv_response(Some(self.retry.idle * 2))
            .timeout_per_write(Some(self.retry.idle));
        if url.is_https() {
            let tls = tls::config(&self.places, self.roots()?, url.host(), insecure)?;
            builder = builder.tls_config(tls);
        }
        let tcp = transport::TcpConnector {
            interrupt: self.interrupt.clone(),
        };
        let connector =
            ().chain(ConnectProxyConnector::default())
                .chain(tcp)
                .chain(RustlsConnector::default());
        let resolver = resolver::Resolver {
            interrupt: self.interrupt.clone(),
        };
        Ok(Agent::with_parts(builder.build(), connector, resolver))
    }

    /// The proxy for an address. It is reached by CONNECT, for plain HTTP too.
    fn proxy(&self, url: &Url) -> Result<Option<Proxy>, Failure> {
        let Some(address) = self.places.proxies.proxy_for(url.is_https(), url.host()) else {
            return Ok(None);
        };
        // The address may hold a password, so that no error shows it.
        let unusable = || {
            Cause::broken("the proxy that the environment names is no http:// or https:// address")
        };
        let proxy = Proxy::new(address).map_err(|_| unusable())?;
        match proxy.protocol() {
            ureq::ProxyProtocol::Http | ureq::ProxyProtocol::Https => Ok(Some(proxy)),
            _ => Err(unusable().into()),
        }
    }

    /// The authorities for all hosts, read once.
    fn roots(&self) -> Result<&[Certificate<'static>], Error> {
        if let Some(roots) = self.roots.get() {
            return Ok(roots);
        }
        let roots = tls::roots(&self.places)?;
        Ok(self.roots.get_or_init(|| roots))
    }
}

impl Net {
    /// Why ureq failed. Its own messages may hold addresses with signatures, so that none of them is shown.
    fn failure(&self, error: ureq::Error) -> Failure {
        use ureq::Error as E;
        if self.is_interrupted() {
            return Cause::Interrupted.into();
        }
        let cause = match error {
            E::Io(error) => return self.io_failure(error),
            E::Rustls(error) => tls_cause(&error),
            E::Timeout(Timeout::Connect | Timeout::Resolve) => {
                Cause::broken(format!("no connection within {:?}", self.retry.connect))
            }
            E::Timeout(_) => Cause::Stalled(self.retry.idle),
            E::HostNotFound => Cause::UnknownHost,
            E::ConnectProxyFailed(why) => Cause::broken(why),
            E::Protocol(error) => Cause::Protocol(format!("the answer is not HTTP: {error}")),
            E::LargeResponseHeader(..) => Cause::Protocol(format!(
                "the headers are larger than {LARGEST_HEADERS} bytes"
            )),
            E::Http(_) | E::BadUri(_) => Cause::Protocol("the address is not valid".into()),
            E::Tls(why) => Cause::Tls(why.into()),
            _ => Cause::broken("the request failed"),
        };
        cause.into()
    }

    /// Why reading an answer failed.
    pub(crate) fn io_failure(&self, error: io::Error) -> Failure {
        if self.is_interrupted() {
            return Cause::Interrupted.into();
        }
        let inner = error.get_ref();
        if let Some(tls) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return tls_cause(tls).into();
        }
        if inner.is_some_and(|inner| inner.is::<ureq::Error>()) {
            return self.failure(ureq::Error::from(error));
        }
        Failure::from(Cause::Connection {
            what: format!("the connection failed: {error}"),
            errno: error.raw_os_error(),
        })
    }
}

/// Has an agent run a request. Settings of one request keep ureq from using the TLS settings it has ready, so that
/// most have none.
fn execute<B: AsSendBody>(
    agent: &Agent,
    request: &Request,
    http: HttpRequest<B>,
) -> Result<HttpResponse<ureq::Body>, ureq::Error> {
    let Some(patience) = request.patience else {
        return agent.run(http);
    };
    let patient = agent
        .configure_request(http)
        .timeout_per_read(Some(patience));
    agent.run(patient.timeout_recv_response(Some(patience)).build())
}

/// What an error of TLS means.
fn tls_cause(error: &rustls::Error) -> Cause {
    match error {
        rustls::Error::InvalidCertificate(why) => Cause::Certificate(why.to_string()),
        // What a server without TLS answers.
        rustls::Error::InvalidMessage(_) => Cause::Tls("the server does not speak TLS".into()),
        other => Cause::Tls(other.to_string()),
    }
}

/// A request in ureq's form, without its body.
fn http_request(request: &Request, body: &Body<'_>) -> Result<HttpRequest<()>, Failure> {
    let invalid = || Cause::Protocol("the address or a header is not valid".into());
    let uri = request.url.to_uri().ok_or_else(invalid)?;
    let mut builder = HttpRequest::builder()
        .method(request.method.name())
        .uri(uri);
    for (name, value) in &request.headers {
        builder = builder.header(*name, value);
    }
    if let Some(secret) = &request.authorization {
        let mut value = HeaderValue::from_str(secret.reveal()).map_err(|_| invalid())?;
        value.set_sensitive(true);
        builder = builder.header(AUTHORIZATION, value);
    }
    builder = match body {
        Body::None => builder,
        Body::Bytes(bytes) => builder.header(CONTENT_LENGTH, bytes.len()),
        Body::Part { length, .. } => builder.header(CONTENT_LENGTH, *length),
    };
    builder.body(()).map_err(|_| invalid().into())
}

impl Method {
    fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Put => "PUT",
        }
    }
}

/// Reads the part of a source that a request sends, and keeps its error. A source that ends too early is an error,
/// since ureq would wait for the rest for ever.
struct PartReader<'a> {
    source: &'a mut dyn Source,
    left: u64,
    sent: &'a mut dyn FnMut(u64),
    error: &'a mut Option<io::Error>,
}

impl Read for PartReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let error = match self.source.read(&mut buffer[..most]) {
            Ok(0) => io::ErrorKind::UnexpectedEof.into(),
            Ok(read) => {
                self.left -= read as u64;
                (self.sent)(read as u64);
                return Ok(read);
            }
            Err(error) => error,
        };
        *self.error = Some(error);
        Err(io::Error::other("the source failed"))
    }
}
