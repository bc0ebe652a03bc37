//! One question to a server, or one look at a file, within bounds.

use crate::format::{self, Decisions, Format};
use crate::kept::{Last, Mark};
use crate::{List, Place, Settings};
use policy::Time;
use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};
use ureq::Agent;

/// Redirects that are followed.
const REDIRECTS: u32 = 3;
/// How long a connection and the head of an answer may take.
const CONNECT: Duration = Duration::from_secs(10);
const HEAD: Duration = Duration::from_secs(20);
/// Batches of APIBAN's that are fetched at once: it allows five questions in two minutes.
const BATCHES: usize = 4;
/// When there are more.
pub(crate) const BATCHES_AGAIN: Duration = Duration::from_secs(150);
/// Longest key, in bytes.
const KEY_MAX: u64 = 4_096;

/// Why a list could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Wrong(String),
    #[error("{why}")]
    Busy {
        why: String,
        /// When the server wants to be asked again.
        after: Option<Duration>,
    },
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Failure::Wrong(why)
    }
}

/// What became of a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fetched {
    Fresh,
    Unchanged,
    /// Fresh, and there is more.
    More,
}

/// An answer, its body within bounds.
struct Answer {
    status: u16,
    mark: Mark,
    body: String,
}

/// Who asks. Proxies are those of the environment.
pub(crate) fn agent() -> Agent {
    Agent::config_builder()
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(HEAD))
        .max_redirects(REDIRECTS)
        .http_status_as_error(false)
        .user_agent(concat!("ringfence/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
}

/// Fetches a feed's list into `last`. What fails leaves it as it was.
pub(crate) fn fetch(
    agent: &Agent,
    settings: &Settings,
    last: &mut Last,
    now: Time,
) -> Result<Fetched, Failure> {
    let until = now + settings.ttl;
    match (&settings.place, settings.format) {
        (Place::File(path), _) => {
            let mark = Mark { modified: Some(modified(path)?), ..Mark::default() };
            if mark == last.mark && last.fetched.is_some() {
                last.list.renew(until);
                return Ok(Fetched::Unchanged);
            }
            let list = format::lines(&contents(path, settings.bytes)?, until, &settings.bounds)?;
            (last.list, last.mark) = (list, mark);
            Ok(Fetched::Fresh)
        }
        (Place::Url(url), Format::Lines) => {
            let answer = ask(agent, settings, &with_key(url, settings)?, &last.mark, None)?;
            if answer.status == 304 {
                last.list.renew(until);
                return Ok(Fetched::Unchanged);
            }
            last.list = format::lines(&answer.body, until, &settings.bounds)?;
            last.mark = answer.mark;
            Ok(Fetched::Fresh)
        }
        (Place::Url(url), Format::Apiban) => {
            apiban(agent, settings, &with_key(url, settings)?, last, until)
        }
        (Place::Url(url), Format::Crowdsec) => {
            // the first answer has all there is, the next ones what changed since
            let first = last.mark.next.is_none();
            let url = format!("{}/v1/decisions/stream?startup={first}", url.trim_end_matches('/'));
            let key = key(settings)?;
            let answer = ask(agent, settings, &url, &Mark::default(), Some(&key))?;
            let decisions = Decisions::read(&answer.body)?;
            if first {
                last.list = List::default();
            }
            decisions.apply(&mut last.list, now, settings.ttl, &settings.bounds);
            last.mark.next = Some("delta".into());
            Ok(Fetched::Fresh)
        }
    }
}

/// Fetches the next batches; what was fetched before one that fails stays.
fn apiban(
    agent: &Agent,
    settings: &Settings,
    url: &str,
    last: &mut Last,
    until: Time,
) -> Result<Fetched, Failure> {
    let mut fresh = Fetched::Unchanged;
    for _ in 0..BATCHES {
        let next = last.mark.next.as_ref().map_or_else(String::new, |next| format!("/{next}"));
        let url = format!("{}/banned{next}", url.trim_end_matches('/'));
        let (status, body) = match ask(agent, settings, &url, &Mark::default(), None) {
            Ok(answer) => (answer.status, answer.body),
            Err(failure) => return Err(failure),
        };
        let batch = format::apiban(status, &body, until, &settings.bounds)?;
        let Some(next) = batch.next else { return Ok(fresh) };
        last.list.extend(&batch.list, &settings.bounds);
        let same = last.mark.next.replace(next.clone()) == Some(next);
        fresh = Fetched::Fresh;
        if same {
            return Ok(fresh);
        }
    }
    Ok(Fetched::More)
}

fn ask(
    agent: &Agent,
    settings: &Settings,
    url: &str,
    mark: &Mark,
    key: Option<&str>,
) -> Result<Answer, Failure> {
    let mut request = agent.get(url);
    for (name, value) in [("If-None-Match", &mark.etag), ("If-Modified-Since", &mark.modified)] {
        if let Some(value) = value {
            request = request.header(name, value);
        }
    }
    let mut config = request
        .config()
        .timeout_global(Some(settings.timeout))
        .https_only(url.starts_with("https:"));
    if key.is_some() {
        // a key is for the server that was named
        config = config.max_redirects(0);
    }
    let mut request = config.build();
    if let Some(key) = key {
        request = request.header("X-Api-Key", key);
    }
    // what a failure says may hold the address with its key
    let failed = |error: ureq::Error| Failure::Wrong(said(error, url, settings));
    let mut response = request.call().map_err(failed)?;
    let status = response.status().as_u16();
    let header = |name: &str| {
        let value = response.headers().get(name).and_then(|value| value.to_str().ok());
        value.filter(|value| value.len() <= 1_024).map(str::to_owned)
    };
    let mark = Mark { etag: header("etag"), modified: header("last-modified"), next: None };
    let after = header("retry-after").and_then(|text| text.parse().ok()).map(Duration::from_secs);
    // APIBAN says with 400 that there is nothing new
    let wanted = matches!(status, 200 | 304) || settings.format == Format::Apiban && status == 400;
    if !wanted {
        return Err(Failure::Busy { why: format!("the server answers with {status}"), after });
    }
    let body = response.body_mut().with_config().limit(settings.bytes as u64).read_to_vec();
    let body = body.map_err(|error| match error {
        ureq::Error::BodyExceedsLimit(_) => too_long(settings.bytes),
        error => failed(error),
    })?;
    Ok(Answer { status, mark, body: String::from_utf8_lossy(&body).into_owned() })
}

fn said(error: ureq::Error, url: &str, settings: &Settings) -> String {
    let text = error.to_string();
    match (&settings.place, settings.key_file.is_some()) {
        (Place::Url(named), true) => text.replace(url, named),
        _ => text,
    }
}

fn too_long(bytes: usize) -> Failure {
    Failure::Wrong(format!("it is longer than {bytes} bytes"))
}

fn with_key(url: &str, settings: &Settings) -> Result<String, String> {
    if !url.contains("{key}") {
        return Ok(url.to_owned());
    }
    Ok(url.replace("{key}", &key(settings)?))
}

fn key(settings: &Settings) -> Result<String, String> {
    let path = settings.key_file.as_ref().ok_or("it has no key_file")?;
    let mut text = String::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(KEY_MAX).read_to_string(&mut text))
        .map_err(|error| format!("key_file {}: {error}", path.display()));
    read?;
    let key = text.trim();
    let sound = !key.is_empty()
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~+=".contains(&byte));
    sound.then(|| key.to_owned()).ok_or_else(|| format!("key_file {}: no key", path.display()))
}

fn modified(path: &Path) -> Result<String, String> {
    let about = std::fs::metadata(path).map_err(|error| error.to_string())?;
    let modified = about.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    Ok(format!("{:?} {}", modified.unwrap_or_default(), about.len()))
}

fn contents(path: &Path, most: usize) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| Failure::Wrong(error.to_string()))?;
    let read = file.take(most as u64 + 1).read_to_end(&mut bytes);
    match read.map_err(|error| Failure::Wrong(error.to_string()))? {
        read if read > most => Err(too_long(most)),
        _ => Ok(String::from_utf8_lossy(&bytes).into_owned()),
    }
}
