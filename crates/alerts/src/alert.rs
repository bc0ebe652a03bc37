//! What there is to tell, in words: what was seen, and what to do about it.

use admission::Alert as Seen;
use policy::{Policy, Time};
use std::path::Path;
use std::time::Duration;

/// Letters of a dialled number that are told.
const DIALLED_MAX: usize = 40;

/// Kinds of alerts, by which targets choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A PBX does not serve.
    PbxDown,
    /// A shape of requests became a campaign.
    Campaign,
    /// Known phones come back all at once.
    Storm,
    /// Strangers are challenged by the edge itself.
    UnderAttack,
    /// An unknown source calls one of our numbers.
    CarrierCandidate,
    /// A proven source asked for what never existed.
    Honeytoken,
    /// A signature met somebody authenticated.
    Demoted,
    /// A certificate is near its end.
    Certificate,
    /// A table is nearly full.
    TableFilling,
    /// Nothing: somebody tries whether he is told.
    Test,
}

/// How soon somebody should look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It can wait for the morning.
    Ticket,
    /// Worth waking someone.
    Page,
}

impl Severity {
    /// The word for it, as in the alerts for Prometheus.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Ticket => "ticket",
            Severity::Page => "page",
        }
    }
}

impl Kind {
    /// All that happen by themselves: not [`Kind::Test`].
    pub const ALL: [Kind; 9] = [
        Kind::PbxDown,
        Kind::Campaign,
        Kind::Storm,
        Kind::UnderAttack,
        Kind::CarrierCandidate,
        Kind::Honeytoken,
        Kind::Demoted,
        Kind::Certificate,
        Kind::TableFilling,
    ];

    /// Its word: the same in settings, audit lines, the event stream and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::PbxDown => "pbx_down",
            Kind::Campaign => "campaign",
            Kind::Storm => "storm",
            Kind::UnderAttack => "under_attack",
            Kind::CarrierCandidate => "carrier_candidate",
            Kind::Honeytoken => "honeytoken",
            Kind::Demoted => "demoted",
            Kind::Certificate => "certificate",
            Kind::TableFilling => "table_filling",
            Kind::Test => "test",
        }
    }

    /// How soon somebody should look.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Kind::PbxDown => Severity::Page,
            _ => Severity::Ticket,
        }
    }
}

/// Something that somebody should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// What kind of thing.
    pub kind: Kind,
    /// What it is about: of one kind and subject nothing is told twice for a while.
    pub subject: String,
    /// What was seen, in a sentence without a full stop.
    pub what: String,
    /// What to do about it.
    pub advice: String,
    /// It is over.
    pub ended: bool,
}

impl Alert {
    fn new(kind: Kind, subject: impl Into<String>, what: String, advice: String) -> Self {
        Alert { kind, subject: subject.into(), what, advice, ended: false }
    }

    fn over(kind: Kind, subject: impl Into<String>, what: String) -> Self {
        let advice = "Nothing is left to do".into();
        Alert { ended: true, ..Alert::new(kind, subject, what, advice) }
    }

    /// What a gate tells; `None` for what is not worth a message. Signatures have the names that
    /// `policy` gives them.
    #[must_use]
    pub fn of_gate(seen: &Seen, policy: &Policy) -> Option<Self> {
        Some(match seen {
            Seen::Campaign { shape, sources } => Alert::new(
                Kind::Campaign,
                format!("{shape:016x}"),
                format!("{sources} sources try the same way in and fail: a campaign"),
                "Nothing has to be done: all who try like that are challenged first. `ringfence top` \
                 shows them; if they are phones of yours, `ringfence explain ADDRESS` says why they \
                 fail"
                    .into(),
            ),
            Seen::CarrierCandidate { source, dialled } => Alert::new(
                Kind::CarrierCandidate,
                source.to_string(),
                format!(
                    "{source} calls {}, one of our numbers, and never answers the challenge: a \
                     carrier whose address is new?",
                    cut(dialled)
                ),
                "If your carrier confirms the address, put it into `hosts` of its trunk and reload; \
                 if not, nothing has to be done: its calls do not come through"
                    .into(),
            ),
            Seen::Storm => Alert::new(
                Kind::Storm,
                "",
                "Many known phones come back all at once".into(),
                "Nothing has to be done if the line or the PBX was away: they are let in at an even \
                 pace. If neither was, look for what threw them out (`ringfence status`)"
                    .into(),
            ),
            Seen::Honeytoken { source } => Alert::new(
                Kind::Honeytoken,
                source.to_string(),
                format!("{source} asked for an account that never existed"),
                format!(
                    "It is banned by its evidence; `ringfence explain {source}` has it. If the \
                     address is one of yours, somebody in there looks for accounts: find the machine"
                ),
            ),
            Seen::Demoted { signature } => {
                let signatures = policy.admission.signatures.list();
                let id = signatures.get(usize::from(*signature)).map_or("?", |it| &it.id);
                Alert::new(
                    Kind::Demoted,
                    id,
                    format!(
                        "Signature {id} met somebody whose password is right, and is only counted \
                         from now on"
                    ),
                    format!(
                        "Find him with `ringfence top`: either his account is in wrong hands, then \
                         change its password, or the signature is wrong, then write `{id}: note` \
                         under `signatures: overrides:` and reload"
                    ),
                )
            }
            Seen::UnderAttack { began: true } => Alert::new(
                Kind::UnderAttack,
                "",
                "Too many strangers ask at once: the edge challenges them by itself".into(),
                "Nothing has to be done for your phones, they pass as before; if the line itself is \
                 full, your provider must filter"
                    .into(),
            ),
            Seen::UnderAttack { began: false } => {
                Alert::over(Kind::UnderAttack, "", "The attack of strangers is over".into())
            }
            // once in a ban's time for each source: what observing is for, and no news
            Seen::WouldBan(_) => return None,
        })
    }

    /// A PBX does not serve, or serves again.
    #[must_use]
    pub fn pbx(name: &str, up: bool) -> Self {
        match up {
            true => Alert::over(Kind::PbxDown, name, format!("PBX {name} serves again")),
            false => Alert::new(
                Kind::PbxDown,
                name,
                format!("PBX {name} does not serve"),
                "Look whether Asterisk runs and listens where `inside.pbx` says; `ringfence doctor` \
                 tries it. While no PBX serves, callers get 503"
                    .into(),
            ),
        }
    }

    /// A certificate ends at that time, or cannot be read; `Ok(None)`: it is good again.
    #[must_use]
    pub fn certificate(file: &Path, now: Time, ends: Result<Option<Time>, &str>) -> Self {
        let file = file.display().to_string();
        let advice = "Renew it; the edge takes it with a reload (by itself with `watch: true`), and \
                      no connection is lost";
        let what = match ends {
            Ok(None) => {
                let what = format!("The certificate {file} is good for long enough again");
                return Alert::over(Kind::Certificate, file, what);
            }
            Ok(Some(end)) if end <= now => {
                format!("The certificate {file} ended {}: phones over TLS stay outside", end.utc())
            }
            Ok(Some(end)) => {
                let days = end.since(now).as_secs() / 86_400;
                format!("The certificate {file} ends in {days} days, {}", end.utc())
            }
            Err(error) => format!("The certificate {file} cannot be read: {error}"),
        };
        Alert::new(Kind::Certificate, file, what, advice.into())
    }

    /// A table is so many percent full; `over`: less than it should worry anybody.
    #[must_use]
    pub fn table(table: &str, shard: usize, percent: u64, over: bool) -> Self {
        if over {
            let what = format!("Table {table} has room again: {percent} % are full at most");
            return Alert::over(Kind::TableFilling, table, what);
        }
        Alert::new(
            Kind::TableFilling,
            table,
            format!("Table {table} of shard {shard} is {percent} % full"),
            format!(
                "If that is honest growth, raise {table} in `policy.capacities` and reload; if it is \
                 an attack, `ringfence top` shows whose"
            ),
        )
    }

    /// Somebody tries whether he is told.
    #[must_use]
    pub fn test() -> Self {
        let advice = "Nothing has to be done: whoever reads this is told when there is something";
        Alert::new(Kind::Test, "", "This is a test, sent by an operator".into(), advice.into())
    }
}

/// Hostile text, cut and escaped.
fn cut(dialled: &[u8]) -> String {
    let most = dialled.get(..DIALLED_MAX).unwrap_or(dialled);
    most.escape_ascii().to_string()
}

/// How long something lasted, for people.
pub(crate) fn length(length: Duration) -> String {
    match length.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
