//! Who may read, and who may write.
//!
//! Whoever can open the Unix socket may do everything: its mode says who that is. Over TCP, writing
//! needs the token, and so does reading from another machine. A browser on this machine may be led
//! here by a stranger's page: without a token only a Host that is an address or `localhost` is
//! answered, so that no name of the stranger's can stand for us. Numbers alone, without addresses
//! (`/metrics`), are told to any Host. The dashboard's files, which are the same everywhere, are
//! given to everybody: what they show they ask of the API.

use super::{Hall, Refusal};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;
use telemetry::AdminAnswer;

/// How long whoever guesses at the token waits for the answer, on one of the few connections that
/// he may have.
const GUESS_PENALTY: Duration = Duration::from_secs(1);
/// Shortest token, in characters.
const TOKEN_MIN: usize = 16;
/// Longest refusal in plain text, in bytes.
const REFUSAL_MAX: usize = 4_096;
/// Longest token file that is read, in bytes.
const TOKEN_MAX: u64 = 4_096;

/// By which way a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Unix,
    Tcp(SocketAddr),
}

/// The token that opens the API over TCP.
#[derive(Clone)]
pub(crate) struct Token(Box<[u8]>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Reads the token's file: one line of text.
pub(crate) fn open_token(file: &Path) -> Result<Token, String> {
    use std::io::Read as _;
    let mut text = String::new();
    let read =
        std::fs::File::open(file).and_then(|file| file.take(TOKEN_MAX).read_to_string(&mut text));
    let said = |what: &str| format!("{}: {what}", file.display());
    read.map_err(|error| said(&error.to_string()))?;
    let readable =
        std::fs::metadata(file).is_ok_and(|about| about.permissions().mode() & 0o004 != 0);
    if readable {
        tracing::warn!(
            file = %file.display(),
            "Everybody on this machine can read the token: chmod o-r"
        );
    }
    let token = text.trim();
    if token.len() < TOKEN_MIN || token.contains(char::is_whitespace) {
        let hint = "head -c 32 /dev/urandom | base64 makes one";
        return Err(said(&format!(
            "a token is one word of at least {TOKEN_MIN} characters: {hint}"
        )));
    }
    Ok(Token(token.as_bytes().into()))
}

/// Lets a request in, or refuses it; and counts how it ended.
pub(super) async fn guard(State(hall): State<Hall>, request: Request, next: Next) -> Response {
    let telemetry = hall.status.telemetry.clone();
    let is_page = !request.uri().path().starts_with("/api/");
    let (head, body) = request.into_parts();
    let response = match admit(&hall, &head).await {
        Ok(()) => next.run(Request::from_parts(head, body)).await,
        Err(refusal) => refusal,
    };
    let response = in_json(response).await;
    let answer = match response.status() {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => AdminAnswer::Unauthorized,
        code if code.is_client_error() => AdminAnswer::Refused,
        code if code.is_server_error() => AdminAnswer::Failed,
        _ => AdminAnswer::Answered,
    };
    // a scraper's own requests say nothing
    if !is_page || answer == AdminAnswer::Unauthorized {
        telemetry.on_admin(answer);
    }
    response
}

/// What the framework refuses it refuses in plain text: here all refusals are alike.
async fn in_json(response: Response) -> Response {
    let kind = response.headers().get(header::CONTENT_TYPE);
    let is_json = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if !response.status().is_client_error() || is_json {
        return response;
    }
    let code = response.status();
    let text = axum::body::to_bytes(response.into_body(), REFUSAL_MAX).await.unwrap_or_default();
    let text = match text.is_empty() {
        true => code.canonical_reason().unwrap_or_default().into(),
        false => String::from_utf8_lossy(&text),
    };
    Refusal::new(code, text).into_response()
}

async fn admit(hall: &Hall, request: &Parts) -> Result<(), Response> {
    let way = request.extensions.get::<Way>().copied();
    let Some(Way::Tcp(peer)) = way else { return Ok(()) };
    let reads = matches!(request.method, Method::GET | Method::HEAD);
    let path = request.uri.path();
    if reads && (matches!(path, "/healthz" | "/readyz") || super::ui::is_ours(path)) {
        return Ok(());
    }
    let headers = &request.headers;
    match check(hall, headers) {
        Shown::Right => Ok(()),
        Shown::Wrong => {
            tracing::debug!(%peer, "A wrong token");
            tokio::time::sleep(GUESS_PENALTY).await;
            Err(unauthorized("the token is wrong"))
        }
        Shown::None if !reads => Err(unauthorized("writing needs the token, or the Unix socket")),
        Shown::None if !peer.ip().to_canonical().is_loopback() => {
            Err(unauthorized("reading from another machine needs the token"))
        }
        Shown::None if path != "/metrics" && !is_plain_host(headers) => {
            let text = "without a token the Host must be an address, or localhost";
            Err(Refusal::new(StatusCode::FORBIDDEN, text).into_response())
        }
        Shown::None => Ok(()),
    }
}

enum Shown {
    None,
    Wrong,
    Right,
}

fn check(hall: &Hall, headers: &HeaderMap) -> Shown {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Shown::None };
    let value = value.as_bytes();
    let is_bearer = value.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "));
    let token = hall.token.lock().unwrap_or_else(PoisonError::into_inner);
    match (&*token, value.get(7..)) {
        (Some(Token(token)), Some(shown))
            if is_bearer && admission::key::equal(token, shown.trim_ascii()) =>
        {
            Shown::Right
        }
        _ => Shown::Wrong,
    }
}

fn unauthorized(text: &str) -> Response {
    let refusal = Refusal::new(StatusCode::UNAUTHORIZED, text)
        .hint("Authorization: Bearer TOKEN, with the token of the file admin.token_file");
    ([(header::WWW_AUTHENTICATE, "Bearer realm=\"ringfence\"")], refusal).into_response()
}

/// Whether Host is an address or `localhost`.
fn is_plain_host(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else {
        // HTTP/1.0 has none, and no browser speaks it
        return true;
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_plain_hosts() {
        let of = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            is_plain_host(&headers)
        };
        for host in
            ["127.0.0.1:9060", "127.0.0.1", "[::1]:9060", "[::1]", "localhost:1", "Localhost"]
        {
            assert!(of(host), "{host}");
        }
        for host in ["evil.example", "evil.example:9060", "127.0.0.1.evil.example", "x:", "a@[::1]"]
        {
            assert!(!of(host), "{host}");
        }
    }

    #[test]
    fn a_token_is_one_long_word() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        assert!(open_token(&file).unwrap_err().contains("No such file"));
        for (text, good) in [
            ("0123456789abcdef\n", true),
            ("0123456789abcde\n", false),
            ("01234567 89abcdef", false),
        ] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(open_token(&file).is_ok(), good, "{text}");
        }
        assert_eq!(format!("{:?}", Token(b"secret"[..].into())), "Token(..)");
    }
}
