//! The other end of the admin API: how the command line reaches a running edge.

use crate::admin::presence;
use crate::cli::{DEFAULT_CONFIG, Reach};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Runtime;

/// How long the edge may take: a reload runs the policy's tests.
const PATIENCE: Duration = Duration::from_secs(130);
/// Longest answer, in bytes.
const ANSWER_MAX: usize = 256 << 20;
/// Running edges that are named when the one in question is not reached.
const OTHERS_MAX: usize = 4;
/// What a path keeps as it is.
const PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b':').remove(b'/').remove(b'@');

/// Where an edge is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Unix(PathBuf),
    Http(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Unix(path) => write!(f, "{}", path.display()),
            Place::Http(authority) => write!(f, "http://{authority}"),
        }
    }
}

impl Place {
    /// Why nobody was reached there, for people.
    fn why(&self, error: &Failure) -> String {
        match (self, kind(error)) {
            (Place::Unix(_), Some(ErrorKind::NotFound)) => "there is no such socket".into(),
            (Place::Unix(_), Some(ErrorKind::ConnectionRefused)) => {
                "an edge that has died left its socket there, and none listens".into()
            }
            _ => error.to_string(),
        }
    }

    /// What may help.
    fn hint(&self, error: &Failure) -> String {
        const RUNNING: &str = "is it running, and does --config name its configuration?";
        let Place::Unix(own) = self else {
            return "is it running, with this as its admin.listen?".into();
        };
        if kind(error) == Some(ErrorKind::PermissionDenied) {
            return "root, the edge's user and the members of its group may ask it".into();
        }
        let mut others = presence::sockets();
        others.retain(|other| other != own);
        // the nearest first
        others.sort_by_key(|other| {
            let shared = own.iter().zip(other).take_while(|(one, two)| one == two);
            std::cmp::Reverse(shared.count())
        });
        let others = others.iter().take(OTHERS_MAX);
        let others: Vec<_> = others.map(|it| format!("--admin unix:{}", it.display())).collect();
        match &others[..] {
            [] => RUNNING.into(),
            _ => format!(
                "one that was started with another configuration, or before admin.socket or \
                 state_dir changed, is reached by {}",
                others.join(" or ")
            ),
        }
    }
}

/// What the system said, if it was the system.
fn kind(error: &Failure) -> Option<ErrorKind> {
    error.downcast_ref::<std::io::Error>().map(std::io::Error::kind)
}

/// An edge that can be asked.
#[derive(Debug)]
pub(crate) struct Client {
    place: Place,
    token: Option<String>,
    runtime: Runtime,
}

/// No edge was reached.
#[derive(Debug)]
pub(crate) struct Unreached(String);

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What it answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn is_ok(&self) -> bool {
        (200..300).contains(&self.code)
    }
}

/// `text` as a part of a path.
pub(crate) fn encoded(text: &str) -> impl fmt::Display {
    utf8_percent_encode(text, PLAIN)
}

impl Client {
    /// The edge that the command line means.
    pub(crate) fn new(reach: &Reach) -> Result<Self, Unreached> {
        let place = match &reach.admin {
            Some(url) => place(url).map_err(Unreached)?,
            // where nothing is configured yet, an edge may run with the defaults
            None if reach.config != Path::new(DEFAULT_CONFIG) || reach.config.exists() => {
                let file = reach.config.display();
                std::fs::File::open(&reach.config).map_err(|error| {
                    let hint =
                        "--config names the configuration of the running edge, --admin its address";
                    Unreached(format!("{file}: {error}\n    hint: {hint}"))
                })?;
                of_config(&reach.config)?
            }
            None => of_config(&reach.config)?,
        };
        let read = |file: &PathBuf| {
            let text = std::fs::read_to_string(file);
            text.map_err(|error| Unreached(format!("{}: {error}", file.display())))
        };
        let token = reach.token_file.as_ref().map(read).transpose()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Unreached(error.to_string()))?;
        Ok(Client { place, token: token.map(|token| token.trim().to_owned()), runtime })
    }

    pub(crate) fn get(&self, path: &str) -> Result<Answer, Unreached> {
        self.ask(Method::GET, path, None)
    }

    /// Asks, and waits for the answer.
    pub(crate) fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Unreached> {
        self.wait(async {
            let (code, body) = self.exchange(method, path, body).await?;
            Ok(Answer { code, body: read(code, &body)? })
        })
    }

    /// What is at a path, if it is no JSON; what is in its place, if it is.
    pub(crate) fn fetch(&self, path: &str) -> Result<Result<Bytes, Answer>, Unreached> {
        self.wait(async {
            let (code, body) = self.exchange(Method::GET, path, None).await?;
            match code {
                200 => Ok(Ok(body)),
                _ => Ok(Err(Answer { code, body: read(code, &body)? })),
            }
        })
    }

    fn wait<T>(&self, asked: impl Future<Output = Result<T, Failure>>) -> Result<T, Unreached> {
        self.runtime.block_on(async {
            let asked = tokio::time::timeout(PATIENCE, asked).await;
            asked.unwrap_or_else(|_| Err("it does not answer".into())).map_err(|error| {
                let (what, hint) = (self.place.why(&error), self.place.hint(&error));
                Unreached(format!("no edge is reached at {}: {what}\n    hint: {hint}", self.place))
            })
        })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Bytes), Failure> {
        let authority = match &self.place {
            Place::Unix(_) => "localhost",
            Place::Http(authority) => authority,
        };
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut request = Request::builder().method(method).uri(path);
        request = request.header(header::HOST, authority);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::from(body)))?;
        match &self.place {
            Place::Unix(path) => send(UnixStream::connect(path).await?, request).await,
            Place::Http(authority) => {
                send(TcpStream::connect(authority.as_str()).await?, request).await
            }
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<(u16, Bytes), Failure> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let code = response.status().as_u16();
    let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await?.to_bytes();
    connection.abort();
    Ok((code, body))
}

fn read(code: u16, body: &[u8]) -> Result<Value, Failure> {
    let read = serde_json::from_slice(body);
    Ok(read.map_err(|_| format!("what answers there (with {code}) is no edge"))?)
}

/// The socket that a configuration names.
fn of_config(file: &Path) -> Result<Place, Unreached> {
    let socket = config::admin_socket(file).ok_or_else(|| {
        let file = file.display();
        Unreached(format!("{file} switches the admin socket off: use --admin URL"))
    })?;
    Ok(Place::Unix(socket))
}

/// `http://HOST:PORT` or `unix:PATH`.
fn place(url: &str) -> Result<Place, String> {
    if let Some(path) = url.strip_prefix("unix:") {
        return Ok(Place::Unix(path.into()));
    }
    let Some(rest) = url.strip_prefix("http://") else {
        return Err(format!("--admin {url}: write http://HOST:PORT, or unix:PATH"));
    };
    let authority = rest.trim_end_matches('/');
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if authority.contains(['/', '@', '?']) || !has_port {
        return Err(format!("--admin {url}: write http://HOST:PORT, without a path"));
    }
    Ok(Place::Http(authority.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_addresses_and_sockets() {
        let http = |text: &str| Ok(Place::Http(text.into()));
        assert_eq!(place("http://127.0.0.1:9060/"), http("127.0.0.1:9060"));
        assert_eq!(place("http://[::1]:9060"), http("[::1]:9060"));
        assert_eq!(place("unix:/run/x.sock"), Ok(Place::Unix("/run/x.sock".into())));
        for wrong in
            ["https://h:1", "h:1", "http://h", "http://:1", "http://h:1/api", "http://u@h:1"]
        {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn subjects_survive_the_path() {
        let subject = "a b?c#d%e\u{e9}@x/24";
        assert_eq!(encoded(subject).to_string(), "a%20b%3Fc%23d%25e%C3%A9@x/24");
    }
}
