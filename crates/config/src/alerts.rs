//! `alerts`: who is told what somebody should know (`docs/alerts.md`).

use crate::form::{Count, List, Maybe, Scalar, TIME, Time, Word};
use crate::keys::{Element, Form, Keys, Section};
use crate::out::{self, Out};
use crate::problem::Complaint;
use crate::read::beside;
use crate::table::Field;
use crate::value;
use std::path::PathBuf;
use std::time::Duration;

/// Most targets.
const TARGETS_MAX: usize = 16;
/// Ports of mail servers, by how the connection is protected.
const PORTS: [(AlertTls, u16); 3] =
    [(AlertTls::StartTls, 587), (AlertTls::Tls, 465), (AlertTls::Off, 25)];

/// Who is told, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alerts {
    /// The name of this edge in what is told.
    pub node: String,
    /// How long the first alert waits for others.
    pub gather: Duration,
    /// How long what was told is not told again.
    pub repeat: Duration,
    /// Messages to one target in an hour.
    pub per_hour: u32,
    /// How long before its end a certificate is told of.
    pub certificate: Duration,
    /// From how many percent on a table is told of.
    pub table: u32,
    /// Alerts that may wait for the thread that keeps them.
    pub queue: usize,
    /// Who is told.
    pub targets: Vec<AlertTarget>,
}

/// Somebody who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertTarget {
    /// A short word.
    pub name: String,
    /// How.
    pub to: AlertTo,
    /// Of webhooks: where; `{key}` stands for what is in `key_file`.
    pub url: Option<String>,
    /// The file of what stands for `{key}`.
    pub key_file: Option<PathBuf>,
    /// The file of a bearer token.
    pub token_file: Option<PathBuf>,
    /// Of mail: the server's name or address.
    pub server: Option<String>,
    /// Its port, where it is not the usual one.
    pub port: Option<u32>,
    /// How the connection to it is protected.
    pub tls: AlertTls,
    /// Whom it knows us as.
    pub user: Option<String>,
    /// The file of his password.
    pub password_file: Option<PathBuf>,
    /// Who sends.
    pub from: Option<String>,
    /// Who is told.
    pub recipients: Vec<String>,
    /// The file of the authorities that may have signed its certificate; `None`: the system's.
    pub authorities: Option<PathBuf>,
    /// What it is told, of [`Alerts::KINDS`].
    pub kinds: Vec<String>,
    /// How long an exchange may take.
    pub timeout: Duration,
}

/// How a target is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AlertTo {
    /// By our own JSON.
    #[default]
    Webhook,
    /// As Slack takes it.
    Slack,
    /// As ntfy takes it.
    Ntfy,
    /// By mail.
    Mail,
}

/// How a connection to a mail server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AlertTls {
    /// TLS after STARTTLS, or nothing is sent.
    #[default]
    StartTls,
    /// TLS from the first byte.
    Tls,
    /// Not at all.
    Off,
}

impl Alerts {
    /// What there is to be told.
    pub const KINDS: [&'static str; 9] = [
        "pbx_down",
        "campaign",
        "storm",
        "under_attack",
        "carrier_candidate",
        "honeytoken",
        "demoted",
        "certificate",
        "table_filling",
    ];
}

impl Default for Alerts {
    fn default() -> Self {
        Alerts {
            node: "ringfence".into(),
            gather: Duration::from_secs(10),
            repeat: Duration::from_secs(6 * 3_600),
            per_hour: 12,
            certificate: Duration::from_secs(21 * 86_400),
            table: 80,
            queue: 256,
            targets: Vec::new(),
        }
    }
}

impl Default for AlertTarget {
    fn default() -> Self {
        AlertTarget {
            name: String::new(),
            to: AlertTo::Webhook,
            url: None,
            key_file: None,
            token_file: None,
            server: None,
            port: None,
            tls: AlertTls::StartTls,
            user: None,
            password_file: None,
            from: None,
            recipients: Vec::new(),
            authorities: None,
            kinds: Alerts::KINDS.map(str::to_owned).to_vec(),
            timeout: Duration::from_secs(10),
        }
    }
}

impl AlertTarget {
    /// The port of its mail server.
    #[must_use]
    pub fn mail_port(&self) -> u16 {
        let usual = PORTS.iter().find(|(tls, _)| *tls == self.tls).map_or(25, |(_, port)| *port);
        self.port.and_then(|port| u16::try_from(port).ok()).unwrap_or(usual)
    }

    /// The files that are read each time it is told something.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        let files = [
            ("key_file", &self.key_file),
            ("token_file", &self.token_file),
            ("password_file", &self.password_file),
            ("authorities", &self.authorities),
        ];
        files.into_iter().filter_map(|(key, file)| Some((key, file.as_ref()?)))
    }
}

const TO: Word<AlertTo> = Word(
    "way to tell somebody",
    &[
        ("webhook", AlertTo::Webhook),
        ("slack", AlertTo::Slack),
        ("ntfy", AlertTo::Ntfy),
        ("mail", AlertTo::Mail),
    ],
);
const TLS: Word<AlertTls> = Word(
    "protection of mail",
    &[("starttls", AlertTls::StartTls), ("tls", AlertTls::Tls), ("off", AlertTls::Off)],
);
const NAME: Scalar<String> = Scalar(name, String::clone);
const KIND: Scalar<String> = Scalar(kind, String::clone);
const MAILBOX: Scalar<String> = Scalar(mailbox, String::clone);

impl Element for Alerts {
    fn keys(&mut self, keys: &mut impl Keys) {
        let Alerts { node, gather, repeat, per_hour, certificate, table, queue, targets } = self;
        keys.key("node", "The name of this edge in what is told", node, NAME);
        let minutes = Time(Duration::from_millis(100), Duration::from_secs(3_600));
        keys.key("gather", "How long the first alert waits for others", gather, minutes);
        let about = "How long what was told is not told again";
        keys.key("repeat", about, repeat, Time(Duration::from_secs(1), TIME.1));
        keys.key("per_hour", "Messages to one target in an hour", per_hour, Count(1, 3_600));
        let about = "How long before its end a certificate is told of";
        keys.key("certificate", about, certificate, Time(Duration::from_secs(3_600), TIME.1));
        let about = "From how many percent on a table is told of";
        keys.key("table", about, table, Count(20, 100));
        keys.key("queue", "Alerts that may wait to be kept", queue, Count(16, 1 << 16));
        keys.key("targets", "Who is told", targets, Targets);
    }

    fn check(&self, field: &Field<'_>) {
        if self.targets.is_empty() {
            let complaint = Complaint::new("nobody is told: there are no targets");
            field
                .warn(complaint.hint("targets: [{ name: ops, to: ntfy, url: … }], or alerts: off"));
        }
    }
}

impl Element for AlertTarget {
    fn keys(&mut self, keys: &mut impl Keys) {
        let path = || Maybe(Scalar(value::path, |path: &PathBuf| path.display().to_string()));
        let text = |read| Maybe(Scalar(read, String::clone));
        let it = self;
        keys.key("name", "A short word", &mut it.name, NAME);
        keys.key("to", "How it is told", &mut it.to, TO);
        let about = "Of webhooks: where; {key} stands for what is in key_file";
        keys.key("url", about, &mut it.url, text(url));
        keys.key("key_file", "The file of what stands for {key}", &mut it.key_file, path());
        keys.key("token_file", "The file of a bearer token", &mut it.token_file, path());
        keys.key("server", "Of mail: the server", &mut it.server, text(value::host));
        keys.key("port", "Its port", &mut it.port, Maybe(Count(1, 65_535)));
        keys.key("tls", "How the connection is protected", &mut it.tls, TLS);
        keys.key("user", "Whom it knows us as", &mut it.user, text(value::text));
        keys.key("password_file", "The file of his password", &mut it.password_file, path());
        keys.key("from", "Who sends", &mut it.from, Maybe(MAILBOX));
        keys.key("recipients", "Who is told", &mut it.recipients, List(MAILBOX));
        let about = "The file of the authorities that may have signed its certificate";
        keys.key("authorities", about, &mut it.authorities, path());
        keys.key("kinds", "What it is told", &mut it.kinds, List(KIND));
        let patience = Time(Duration::from_secs(1), Duration::from_secs(60));
        keys.key("timeout", "How long an exchange may take", &mut it.timeout, patience);
    }

    fn check(&self, field: &Field<'_>) {
        let wrong = |text: &str, hint: &str| field.error(Complaint::new(text).hint(hint));
        if self.name.is_empty() {
            wrong("a target has no name", "e.g. name: ops");
        }
        if self.kinds.is_empty() {
            wrong("it would be told nothing", "leave kinds away: then it is told all");
        }
        match self.to {
            AlertTo::Mail => self.check_mail(field),
            _ => self.check_webhook(field),
        }
    }
}

impl AlertTarget {
    fn check_webhook(&self, field: &Field<'_>) {
        let wrong = |text: &str, hint: &str| field.error(Complaint::new(text).hint(hint));
        let Some(url) = &self.url else {
            return wrong("it is nowhere", "name its url");
        };
        let of_mail = [
            ("server", self.server.is_some()),
            ("port", self.port.is_some()),
            ("tls", self.tls != AlertTls::default()),
            ("user", self.user.is_some()),
            ("password_file", self.password_file.is_some()),
            ("from", self.from.is_some()),
            ("recipients", !self.recipients.is_empty()),
        ];
        let said = of_mail.iter().filter(|(_, said)| *said);
        for field in said.filter_map(|(key, _)| field.below(key)) {
            let complaint = Complaint::new("only a target with to: mail has this");
            field.error(complaint.hint("set to: mail, or remove the key"));
        }
        if url.contains("{key}") != self.key_file.is_some() {
            wrong(
                "url and key_file do not belong together",
                "{key} in the url stands for its content",
            );
        } else if self.to == AlertTo::Slack && self.key_file.is_none() {
            let hint = "url: \"https://hooks.slack.com/services/{key}\", the rest in key_file";
            wrong("the address of such a hook is a secret, and secrets stand in files", hint);
        }
        let secret = self.key_file.is_some() || self.token_file.is_some();
        if secret && url.starts_with("http:") && !is_near(url) {
            let complaint = Complaint::new("whoever is on the way reads its secret");
            field.warn(complaint.hint("write https://, where there is one"));
        }
    }

    fn check_mail(&self, field: &Field<'_>) {
        let wrong = |text: &str, hint: &str| field.error(Complaint::new(text).hint(hint));
        for key in ["url", "key_file", "token_file"] {
            if let Some(field) = field.below(key) {
                let complaint = Complaint::new("a target with to: mail has no such thing");
                field.error(complaint.hint("server, user, password_file, from, recipients"));
            }
        }
        if self.server.is_none() || self.from.is_none() || self.recipients.is_empty() {
            let hint = "e.g. server: mail.example.com, from: edge@example.com, recipients: [ops@example.com]";
            wrong("mail wants server, from and recipients", hint);
        }
        if self.user.is_some() != self.password_file.is_some() {
            wrong("user and password_file belong together", "or leave both away");
        }
        if self.tls == AlertTls::Off && self.authorities.is_some() {
            wrong("without TLS there is no certificate", "remove authorities, or tls: off");
        }
        let near =
            self.server.as_deref().is_some_and(|server| is_near(&format!("http://{server}")));
        if self.tls == AlertTls::Off && self.user.is_some() && !near {
            let hint = "tls: starttls (the default), or tls: tls";
            wrong("a password would be sent for everybody on the way to read", hint);
        }
    }
}

/// Whether it is on this machine.
fn is_near(url: &str) -> bool {
    ["http://127.", "http://[::1]", "http://localhost"].iter().any(|near| url.starts_with(near))
}

/// A list of targets.
#[derive(Clone, Copy, Debug)]
struct Targets;

impl Form<Vec<AlertTarget>> for Targets {
    fn read(&self, field: &Field<'_>, value: &mut Vec<AlertTarget>) {
        value.clear();
        for element in field.list() {
            let mut target = AlertTarget::default();
            Section.read(&element, &mut target);
            let AlertTarget { key_file, token_file, password_file, authorities, .. } = &mut target;
            for path in [key_file, token_file, password_file, authorities].into_iter().flatten() {
                *path = beside(element.source.file, std::mem::take(path));
            }
            if value.iter().any(|known| known.name == target.name) {
                let text = format!("two targets are called \"{}\"", target.name);
                element.error(Complaint::new(text));
            }
            value.push(target);
        }
        if value.len() > TARGETS_MAX {
            field.error(Complaint::new(format!("more than {TARGETS_MAX} targets")));
        }
    }

    fn print(&self, value: &Vec<AlertTarget>) -> Option<Out> {
        Some(Out::List(value.iter().filter_map(|target| Section.print(target)).collect()))
    }

    fn schema(&self, _: &Vec<AlertTarget>) -> Out {
        let items = Section.schema(&AlertTarget::default());
        Out::table([("type", out::text("array")), ("items", items)])
    }
}

/// One word, that can be a host's name, too.
fn name(text: &str) -> Result<String, Complaint> {
    let plain = !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_graphic());
    let complaint = || Complaint::new(format!("\"{text}\" is no name here"));
    if plain { Ok(text.to_owned()) } else { Err(complaint().hint("one word, e.g. edge-1")) }
}

fn kind(text: &str) -> Result<String, Complaint> {
    let words = Alerts::KINDS.map(|kind| (kind, kind));
    value::one_of(text, "kind of alert", &words).map(str::to_owned)
}

/// `ops@example.com`, or with a name `Operators <ops@example.com>`.
fn mailbox(text: &str) -> Result<String, Complaint> {
    let address = match text.split_once('<') {
        Some((_, rest)) => rest.strip_suffix('>').unwrap_or_default(),
        None => text,
    };
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic());
    let sound = address.split_once('@').is_some_and(|(user, host)| {
        plain(user) && value::host(host).is_ok() && !user.contains(['<', '>', '"', ','])
    });
    if !sound || text.len() > 254 || text.chars().any(char::is_control) {
        let complaint = Complaint::new(format!("\"{text}\" is no mail address"));
        return Err(complaint.hint("e.g. ops@example.com, or \"Operators <ops@example.com>\""));
    }
    Ok(text.to_owned())
}

fn url(text: &str) -> Result<String, Complaint> {
    value::web_address(
        text,
        "webhook",
        "e.g. https://ntfy.example.com/edge; secrets stand in files",
    )
}

/// `off`, or a table; off when nothing is said.
pub(crate) fn read(field: &Field<'_>) -> Option<Alerts> {
    if field.is_word("off") {
        return None;
    }
    let mut alerts = Alerts::default();
    Section.read(field, &mut alerts);
    Some(alerts)
}

pub(crate) fn print(alerts: Option<&Alerts>) -> Out {
    alerts.and_then(|it| Section.print(it)).unwrap_or_else(|| out::text("off"))
}

#[cfg(test)]
mod tests {
    use crate::{AlertTo, Config, Overrides, load_str};
    use std::path::Path;

    fn load(targets: &str) -> Result<(Config, String), String> {
        let text = format!(
            "version: 1\nlisten: [{{ transport: udp, address: \"192.0.2.1:5060\" }}]\n\
             inside: {{ pbx: [\"127.0.0.1:5070\"] }}\nalerts:\n  targets:\n{targets}"
        );
        match load_str(Path::new("/etc/x/ringfence.yaml"), &text, Overrides::default()) {
            Ok(loaded) => {
                let warnings = loaded.warnings.iter().map(ToString::to_string).collect();
                Ok((loaded.config, warnings))
            }
            Err(invalid) => Err(invalid.problems.iter().map(ToString::to_string).collect()),
        }
    }

    #[test]
    fn a_target_has_what_its_kind_wants_and_its_secrets_in_files() {
        let mail =
            "to: mail, server: mail.example.com, from: a@example.com, recipients: [b@c.example]";
        for (target, wanted) in [
            ("name: a, url: \"https://example.com/hook\"".to_owned(), ""),
            ("name: a, to: ntfy, url: \"https://ntfy.sh/x\", token_file: t".into(), ""),
            ("name: a".into(), "nowhere"),
            ("name: a, url: \"https://u:p@example.com/\"".into(), "secrets stand in files"),
            ("name: a, url: \"https://example.com/{key}\"".into(), "belong together"),
            ("name: a, url: \"https://example.com/\", key_file: k".into(), "belong together"),
            (
                "name: a, to: slack, url: \"https://hooks.slack.com/services/T/B/x\"".into(),
                "is a secret",
            ),
            ("name: a, to: slack, url: \"https://h.example/{key}\", key_file: k".into(), ""),
            ("name: a, url: \"http://h.example/{key}\", key_file: k".into(), "on the way"),
            ("name: a, url: \"http://127.0.0.1:1/{key}\", key_file: k".into(), ""),
            (
                "name: a, url: \"https://h.example/\", server: b".into(),
                "only a target with to: mail",
            ),
            ("name: a, url: \"https://h.example/\", kinds: [campain]".into(), "\"campaign\"?"),
            ("name: a, url: \"https://h.example/\", kinds: []".into(), "told nothing"),
            (format!("name: a, {mail}"), ""),
            (format!("name: a, {mail}, url: \"https://h.example/\""), "has no such thing"),
            (format!("name: a, {mail}, user: u"), "belong together"),
            (format!("name: a, {mail}, user: u, password_file: p"), ""),
            (
                format!("name: a, {mail}, user: u, password_file: p, tls: off"),
                "everybody on the way",
            ),
            (format!("name: a, {mail}, tls: off"), ""),
            (format!("name: a, {mail}, tls: off, authorities: ca.pem"), "no certificate"),
            ("name: a, to: mail, server: b".into(), "wants server, from and recipients"),
            (mail.replace("b@c.example", "b").replace("to:", "name: a, to:"), "no mail address"),
            ("url: \"https://h.example/\"".into(), "no name"),
            ("name: a, url: \"https://h.example/\", tokn_file: x".into(), "token_file"),
        ] {
            let said = match load(&format!("    - {{ {target} }}\n")) {
                Ok((_, warnings)) => warnings,
                Err(problems) => problems,
            };
            match wanted {
                "" => assert_eq!(said, "", "{target}"),
                _ => assert!(said.contains(wanted), "{target}: {said}"),
            }
        }
        let two = "    - { name: a, url: \"https://h.example/\" }\n".repeat(2);
        assert!(load(&two).unwrap_err().contains("two targets"));
    }

    #[test]
    fn files_lie_beside_the_configuration_and_ports_follow_the_protection() {
        let (config, _) = load(
            "    - { name: a, to: mail, server: m.example, tls: tls, from: a@b.example, recipients: [c@d.example], user: u, password_file: p }\n\
             \x20   - { name: b, to: mail, server: m.example, tls: off, from: a@b.example, recipients: [c@d.example], port: 2525 }\n",
        )
        .unwrap();
        let targets = config.alerts.unwrap().targets;
        assert_eq!(targets[0].to, AlertTo::Mail);
        let files: Vec<_> = targets[0].files().collect();
        assert_eq!(files, [("password_file", &"/etc/x/p".into())]);
        assert_eq!((targets[0].mail_port(), targets[1].mail_port()), (465, 2525));
    }
}
