//! One message to one target, within bounds of time.

use crate::book::Digest;
use crate::{Protection, Severity, Shape, Target, Way, text};
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Mailboxes, MessageBuilder};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{
    Certificate, CertificateStore, Tls, TlsParameters, TlsParametersBuilder,
};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Message, SmtpTransport, Transport as _};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::error::Error as _;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;
use ureq::tls::{RootCerts, TlsConfig};

/// Longest secret, in bytes.
const SECRET_MAX: u64 = 4_096;
/// What of an answer is told.
const ANSWER_MAX: u64 = 200;

/// Why a message was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub(crate) struct Failure {
    pub(crate) why: String,
    /// When the server wants to be asked again.
    pub(crate) after: Option<Duration>,
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Failure { why, after: None }
    }
}

/// Sends, and says what was answered.
pub(crate) fn send(node: &str, target: &Target, digest: &Digest) -> Result<String, Failure> {
    match &target.way {
        Way::Http { shape, url, key_file, token_file } => {
            let key = key_file.as_deref().map(|file| secret("key_file", file)).transpose()?;
            let token = token_file.as_deref().map(|file| secret("token_file", file)).transpose()?;
            let full = key.as_ref().map_or_else(|| url.clone(), |key| url.replace("{key}", key));
            let sent = post(node, target, *shape, &full, token.as_deref(), digest);
            // what a failure says may hold the address with its key
            sent.map_err(|failure| match key {
                Some(key) => Failure { why: failure.why.replace(&*key, "{key}"), ..failure },
                None => failure,
            })
        }
        Way::Mail { .. } => mail(node, target, digest),
    }
}

fn post(
    node: &str,
    target: &Target,
    shape: Shape,
    url: &str,
    token: Option<&str>,
    digest: &Digest,
) -> Result<String, Failure> {
    let believed = match &target.authorities {
        Some(file) => authorities(file)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    let believed: Vec<_> =
        believed.iter().map(|der| ureq::tls::Certificate::from_der(der).to_owned()).collect();
    let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&believed));
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(target.timeout))
        // what it is told is for nobody else
        .max_redirects(0)
        .http_status_as_error(false)
        .https_only(url.starts_with("https:"))
        .user_agent(concat!("ringfence/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls.build())
        .build()
        .into();
    let mut request = agent.post(url);
    if let Some(token) = token {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    let (kind, body) = match shape {
        Shape::Json => ("application/json", text::json(node, digest).to_string()),
        Shape::Slack => ("application/json", text::slack(node, digest).to_string()),
        Shape::Ntfy => {
            let (priority, tags) = match text::severity(digest) {
                Severity::Page => ("high", "rotating_light"),
                Severity::Ticket => ("default", "shield"),
            };
            let title = text::title(node, digest);
            let title = title.replace(|one: char| !one.is_ascii() || one.is_control(), "?");
            request = request.header("Title", title).header("Priority", priority);
            request = request.header("Tags", tags);
            ("text/plain; charset=utf-8", text::ntfy(digest))
        }
    };
    let sent = request.header("Content-Type", kind).send(body);
    let mut answer = sent.map_err(|error| error.to_string())?;
    let status = answer.status();
    if status.is_success() {
        return Ok(format!("it answers with {}", status.as_u16()));
    }
    let after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
    let after = after.and_then(|text| text.parse().ok()).map(Duration::from_secs);
    let mut said = Vec::new();
    // as much as there is of it: the status says what matters
    let _ = answer.body_mut().as_reader().take(ANSWER_MAX).read_to_end(&mut said);
    let said = String::from_utf8_lossy(&said);
    let why = format!("it answers with {}: {}", status.as_u16(), said.trim().escape_debug());
    Err(Failure { why: why.trim_end_matches([':', ' ']).to_owned(), after })
}

fn mail(node: &str, target: &Target, digest: &Digest) -> Result<String, Failure> {
    let Way::Mail { host, port, protection, login, from, recipients } = &target.way else {
        return Err("it is no mail server".to_owned().into());
    };
    let message = message(node, digest, from, recipients)?;
    let mut server = SmtpTransport::builder_dangerous(host.as_str())
        .port(*port)
        .timeout(Some(target.timeout))
        .tls(match protection {
            Protection::Off => Tls::None,
            Protection::Tls => Tls::Wrapper(parameters(host, target.authorities.as_deref())?),
            Protection::StartTls => Tls::Required(parameters(host, target.authorities.as_deref())?),
        });
    // as what we present ourselves: a name with a domain, else the address that lettre takes
    if node.contains('.') {
        server = server.hello_name(ClientId::Domain(node.to_owned()));
    }
    if let Some((user, file)) = login {
        let password = secret("password_file", file)?;
        server = server.credentials(Credentials::new(user.clone(), password));
    }
    let answer = server.build().send(&message).map_err(|error| chain(&error))?;
    let said: String = answer.first_line().unwrap_or_default().chars().take(100).collect();
    Ok(format!("it answers with {}: {}", answer.code(), said.escape_debug()))
}

fn message(
    node: &str,
    digest: &Digest,
    from: &str,
    recipients: &[String],
) -> Result<Message, String> {
    let mailbox = |text: &str| {
        text.parse::<Mailbox>().map_err(|error| format!("{}: {error}", text.escape_debug()))
    };
    let to = recipients.iter().map(|text| mailbox(text)).collect::<Result<Mailboxes, _>>()?;
    let builder: MessageBuilder = Message::builder().from(mailbox(from)?);
    let subject = text::title(node, digest).replace(char::is_control, " ");
    builder
        .mailbox(lettre::message::header::To::from(to))
        .subject(format!("[ringfence] {subject}"))
        .date(std::time::UNIX_EPOCH + digest.at.since(policy::Time::ZERO))
        .header(ContentType::TEXT_PLAIN)
        .body(text::mail(digest))
        .map_err(|error| error.to_string())
}

/// What is believed of a server: signed by one of those authorities, or by one of the system's.
fn parameters(host: &str, file: Option<&Path>) -> Result<TlsParameters, String> {
    let mut builder: TlsParametersBuilder = TlsParameters::builder(host.to_owned());
    if let Some(file) = file {
        builder = builder.certificate_store(CertificateStore::None);
        for der in authorities(file)? {
            let root = Certificate::from_der(der.to_vec()).map_err(|error| error.to_string())?;
            builder = builder.add_root_certificate(root);
        }
    }
    builder.build().map_err(|error| chain(&error))
}

fn authorities(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("authorities {}: {error}", file.display());
    let all = CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))?;
    let all = all.collect::<Result<Vec<_>, _>>().map_err(|error| wrong(&error))?;
    if all.is_empty() { Err(wrong(&"no certificate in PEM")) } else { Ok(all) }
}

/// A secret from its file: one line.
fn secret(key: &str, file: &Path) -> Result<String, String> {
    let mut text = String::new();
    let read =
        std::fs::File::open(file).and_then(|open| open.take(SECRET_MAX).read_to_string(&mut text));
    read.map_err(|error| format!("{key} {}: {error}", file.display()))?;
    let secret = text.trim();
    let sound = !secret.is_empty() && secret.chars().all(|one| !one.is_control());
    sound.then(|| secret.to_owned()).ok_or_else(|| format!("{key} {}: no secret", file.display()))
}

/// An error with what caused it: lettre's own words say little.
fn chain(error: &lettre::transport::smtp::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text.escape_debug().to_string()
}
