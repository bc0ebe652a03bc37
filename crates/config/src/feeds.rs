//! `feeds`: lists of addresses that others keep (`docs/feeds.md`).

use crate::form::{Count, Maybe, Scalar, Size, TIME, Time, Truth, Word};
use crate::keys::{Element, Form as _, Keys, Section};
use crate::out::Out;
use crate::problem::Complaint;
use crate::read::beside;
use crate::table::Field;
use crate::value;
use policy::{FEEDS_MAX, FeedAction, Mode};
use std::path::PathBuf;
use std::time::Duration;

/// A feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feed {
    /// Its name in metrics, answers and the name of its file.
    pub name: String,
    /// Where it is; this or `file`.
    pub url: Option<String>,
    /// The file that it is; this or `url`.
    pub file: Option<PathBuf>,
    /// How it is written.
    pub format: FeedFormat,
    /// The file of the key that its server wants.
    pub key_file: Option<PathBuf>,
    /// What becomes of sources that it lists.
    pub action: FeedAction,
    /// Whether that is done, or only counted; [`Mode::Off`]: it is not fetched.
    pub mode: Mode,
    /// How often it is fetched.
    pub every: Duration,
    /// How long an entry lives that the list does not name again.
    pub ttl: Duration,
    /// How long a fetch may take.
    pub timeout: Duration,
    /// Longest answer, in bytes.
    pub bytes: usize,
    /// Most entries.
    pub entries: usize,
    /// The shortest prefix of an IPv4 network that is taken.
    pub widest_ipv4: u32,
    /// The shortest prefix of an IPv6 network that is taken.
    pub widest_ipv6: u32,
    /// Whether private, loopback, link-local and multicast addresses are taken.
    pub private: bool,
}

/// How a list is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FeedFormat {
    /// An address or network on each line.
    #[default]
    Lines,
    /// APIBAN's JSON.
    Apiban,
    /// Decisions of a CrowdSec local API.
    Crowdsec,
}

impl Default for Feed {
    fn default() -> Self {
        Feed {
            name: String::new(),
            url: None,
            file: None,
            format: FeedFormat::Lines,
            key_file: None,
            action: FeedAction::Weight,
            mode: Mode::Enforce,
            every: Duration::from_secs(3_600),
            ttl: Duration::from_secs(7 * 86_400),
            timeout: Duration::from_secs(60),
            bytes: 16 << 20,
            entries: 200_000,
            widest_ipv4: 16,
            widest_ipv6: 32,
            private: false,
        }
    }
}

const FORMATS: Word<FeedFormat> = Word(
    "format",
    &[
        ("lines", FeedFormat::Lines),
        ("apiban", FeedFormat::Apiban),
        ("crowdsec", FeedFormat::Crowdsec),
    ],
);
const ACTIONS: Word<FeedAction> =
    Word("action", &[("weight", FeedAction::Weight), ("ban", FeedAction::Ban)]);
const MODES: Word<Mode> =
    Word("mode", &[("enforce", Mode::Enforce), ("observe", Mode::Observe), ("off", Mode::Off)]);

impl Element for Feed {
    fn keys(&mut self, keys: &mut impl Keys) {
        let path = || Maybe(Scalar(value::path, |path: &PathBuf| path.display().to_string()));
        let it = self;
        keys.key("name", "A short word", &mut it.name, Scalar(name, String::clone));
        keys.key("url", "Where it is", &mut it.url, Maybe(Scalar(url, String::clone)));
        keys.key("file", "The file that it is", &mut it.file, path());
        keys.key("format", "How it is written", &mut it.format, FORMATS);
        keys.key("key_file", "The file of its server's key", &mut it.key_file, path());
        keys.key("action", "What becomes of listed sources", &mut it.action, ACTIONS);
        keys.key("mode", "Whether it acts", &mut it.mode, MODES);
        let pauses = Time(Duration::from_secs(5), TIME.1);
        keys.key("every", "How often it is fetched", &mut it.every, pauses);
        let about = "How long an entry lives that the list does not name again";
        keys.key("ttl", about, &mut it.ttl, Time(Duration::from_secs(1), TIME.1));
        let patience = Time(Duration::from_secs(1), Duration::from_secs(600));
        keys.key("timeout", "How long a fetch may take", &mut it.timeout, patience);
        keys.key("bytes", "Longest answer", &mut it.bytes, Size(1 << 10, 256 << 20));
        keys.key("entries", "Most entries", &mut it.entries, Count(1, 1 << 20));
        let about = "Shortest prefix of an IPv4 network that is taken";
        keys.key("widest_ipv4", about, &mut it.widest_ipv4, Count(8, 32));
        let about = "Shortest prefix of an IPv6 network that is taken";
        keys.key("widest_ipv6", about, &mut it.widest_ipv6, Count(16, 64));
        let about = "Whether private, loopback, link-local and multicast addresses are taken";
        keys.key("private", about, &mut it.private, Truth);
    }

    fn check(&self, field: &Field<'_>) {
        let wrong = |text: &str, hint: &str| field.error(Complaint::new(text).hint(hint));
        if self.name.is_empty() {
            wrong("a feed has no name", "e.g. name: voipbl");
        }
        let served = self.format != FeedFormat::Lines;
        match (&self.url, &self.file) {
            (None, None) => wrong("a feed is nowhere", "name its url, or its file"),
            (Some(_), Some(_)) => wrong("a feed is at two places", "url or file, not both"),
            (None, Some(_)) if served => wrong("such a feed is no file", "name its url"),
            _ => {}
        }
        let url = self.url.as_deref().unwrap_or_default();
        let wants_key = url.contains("{key}") || self.format == FeedFormat::Crowdsec;
        if wants_key != self.key_file.is_some() {
            let hint = "{key} in the url stands for what is in key_file; crowdsec wants a key, too";
            wrong("url and key_file do not belong together", hint);
        }
        if self.format == FeedFormat::Apiban && !wants_key {
            wrong("APIBAN wants a key", "url: \"https://apiban.org/api/{key}\", with key_file");
        }
        let near = ["http://127.", "http://[::1]", "http://localhost"];
        if url.starts_with("http:") && !near.iter().any(|near| url.starts_with(near)) {
            let complaint = Complaint::new("whoever is on the way can change this list");
            field.warn(complaint.hint("write https://, where there is one"));
        }
    }
}

/// A CrowdSec local API that is told of our bans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Crowdsec {
    /// Where it listens.
    pub url: String,
    /// The name that it knows us by.
    pub machine: String,
    /// The file of our password there.
    pub password_file: PathBuf,
}

impl Element for Crowdsec {
    fn keys(&mut self, keys: &mut impl Keys) {
        let Crowdsec { url: at, machine, password_file } = self;
        keys.key("url", "Where its local API listens", at, Scalar(url, String::clone));
        let about = "The name that `cscli machines add` gave us";
        keys.key("machine", about, machine, Scalar(value::trunk_name, String::clone));
        let path = Scalar(value::path, |path: &PathBuf| path.display().to_string());
        keys.key("password_file", "The file of our password", password_file, path);
    }

    fn check(&self, field: &Field<'_>) {
        let no_file = self.password_file.as_os_str().is_empty();
        if self.url.is_empty() || self.machine.is_empty() || no_file {
            let complaint = Complaint::new("crowdsec wants url, machine and password_file");
            field.error(complaint.hint("cscli machines add ringfence --auto -f - prints them"));
        }
    }
}

/// `off`, or a table; off when nothing is said.
pub(crate) fn read_crowdsec(field: &Field<'_>) -> Option<Crowdsec> {
    if field.is_word("off") {
        return None;
    }
    let mut crowdsec = Crowdsec::default();
    Section.read(field, &mut crowdsec);
    let file = std::mem::take(&mut crowdsec.password_file);
    Some(Crowdsec { password_file: beside(field.source.file, file), ..crowdsec })
}

pub(crate) fn print_crowdsec(crowdsec: Option<&Crowdsec>) -> Out {
    crowdsec.and_then(|it| Section.print(it)).unwrap_or_else(|| crate::out::text("off"))
}

/// A word that is a file's name, too.
fn name(text: &str) -> Result<String, Complaint> {
    let sound = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.is_empty() || text.len() > 32 || !text.bytes().all(sound) {
        let complaint = Complaint::new(format!("\"{text}\" is no name of a feed"));
        return Err(complaint.hint("small letters, digits and -, at most 32, e.g. voipbl"));
    }
    Ok(text.to_owned())
}

fn url(text: &str) -> Result<String, Complaint> {
    value::web_address(text, "list", "e.g. https://example.com/list.txt")
}

/// The list of feeds.
pub(crate) fn read(field: &Field<'_>) -> Vec<Feed> {
    let mut feeds: Vec<Feed> = Vec::new();
    for element in field.list() {
        let mut feed = Feed::default();
        Section.read(&element, &mut feed);
        for path in [&mut feed.file, &mut feed.key_file].into_iter().flatten() {
            *path = beside(element.source.file, std::mem::take(path));
        }
        if feeds.iter().any(|known| known.name == feed.name) {
            element.error(Complaint::new(format!("two feeds are called \"{}\"", feed.name)));
        }
        feeds.push(feed);
    }
    if feeds.len() > FEEDS_MAX {
        field.error(Complaint::new(format!("more than {FEEDS_MAX} feeds")));
    }
    feeds
}

pub(crate) fn print(feeds: &[Feed]) -> Out {
    Out::List(feeds.iter().filter_map(|feed| Section.print(feed)).collect())
}

#[cfg(test)]
mod tests {
    use crate::{Overrides, load_str};
    use std::path::Path;

    fn said(feed: &str) -> String {
        let text = format!(
            "version: 1\nlisten: [{{ transport: udp, address: \"192.0.2.1:5060\" }}]\n\
             inside: {{ pbx: [\"127.0.0.1:5070\"] }}\nfeeds:\n{feed}"
        );
        match load_str(Path::new("/etc/x/ringfence.yaml"), &text, Overrides::default()) {
            Ok(loaded) => loaded.warnings.iter().map(ToString::to_string).collect(),
            Err(invalid) => invalid.problems.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_feed_is_at_one_place_and_has_the_key_that_it_wants() {
        for (feed, wanted) in [
            ("  - { name: a, url: \"https://example.com/list\" }", ""),
            ("  - { name: a, file: list.txt, action: ban, mode: observe }", ""),
            ("  - { name: a, url: \"http://example.com/l\" }", "on the way"),
            ("  - { name: a }", "nowhere"),
            ("  - { name: a, url: \"https://a/\", file: b }", "two places"),
            ("  - { name: a, url: \"ftp://a/\" }", "no address of a list"),
            ("  - { name: A/B, file: b }", "no name of a feed"),
            ("  - { name: a, url: \"https://a/{key}\" }", "belong together"),
            (
                "  - { name: a, url: \"https://apiban.org/api\", format: apiban }",
                "APIBAN wants a key",
            ),
            ("  - { name: a, url: \"https://a/\", format: crowdsec }", "belong together"),
            ("  - { name: a, file: b }\n  - { name: a, file: c }", "two feeds"),
            ("  - { name: a, file: b, acton: ban }", "action"),
            ("  - { name: a, file: b, widest_ipv4: 4 }", "not between"),
        ] {
            let said = said(feed);
            match wanted {
                "" => assert_eq!(said, "", "{feed}"),
                _ => assert!(said.contains(wanted), "{feed}: {said}"),
            }
        }
    }
}
