//! `GET /api/v1/explain/{subject}`: why something was done to an address, an AOR or a call, or what
//! is behind a ban; and how it is undone.

use super::bans::Wanted;
use super::sources::{self, BANS_MAX, Known};
use super::views::{DecisionView, ExplainedBan, Explanation, ListedView, RecordView, SourceJson};
use super::{Hall, Refusal};
use crate::desk::Desk;
use crate::status::Rules;
use admission::{Ban, BanKey};
use axum::Json;
use axum::extract::{Path, State};
use policy::{Network, Who};
use proxy::Decision;
use std::fmt::Write as _;
use std::net::IpAddr;
use wire::Uri;

/// Decisions that one explanation shows, the youngest.
const DECISIONS: usize = 32;

pub(super) async fn explain(
    State(hall): State<Hall>,
    Path(subject): Path<String>,
) -> Result<Json<Explanation>, Refusal> {
    let subject = subject.trim().to_owned();
    if subject.is_empty() {
        let hint = "an address, an AOR, a Call-ID, or the number or key of a ban";
        return Err(Refusal::wrong("nothing to explain").hint(hint));
    }
    let mut explanation = match Wanted::of(&subject) {
        Wanted::Network(network) => of_network(&hall, subject, network).await?,
        Wanted::Id(id) => of_bans(&hall, subject, Wanted::Id(id)).await?,
        Wanted::Key(key) if key.starts_with("aor:") || key.starts_with("shape:") => {
            of_bans(&hall, subject, Wanted::Key(key)).await?
        }
        Wanted::Key(_) | Wanted::All => of_text(&hall, subject).await?,
    };
    explanation.text = told(&explanation);
    Ok(Json(explanation))
}

async fn of_network(
    hall: &Hall,
    subject: String,
    network: Network,
) -> Result<Explanation, Refusal> {
    let desk = &hall.status.desk;
    let wanted = Wanted::Network(network);
    let (bans, _) = desk.bans(BANS_MAX, move |ban| wanted.is_met(ban)).await?;
    let is_here = move |ip: IpAddr| network.contains(ip);
    let decisions = desk.decisions(DECISIONS, move |it| is_here(it.event.flow.remote.ip())).await?;
    // trust may be in one address of a /64
    let ip = config::network(&subject).unwrap_or(network).address();
    let known = match network == Network::source(ip) {
        true => sources::known(hall, ip).await?,
        false => Known { view: None, trusted_by: None, listed: Vec::new(), evidence: Vec::new() },
    };
    let rules = hall.status.rules();
    let version = rules.policy.version;
    let is_stranger = known.view.as_ref().is_none_or(|it| it.who <= Who::Proven);
    let candidate = decisions.iter().find_map(|it| own_number(it, &rules));
    let evidence = known.evidence.iter().map(|it| RecordView::new(it, version, &rules));
    Ok(Explanation {
        subject,
        kind: "ip".into(),
        source: known.view.as_ref().map(SourceJson::new),
        candidate: candidate.filter(|_| is_stranger && known.trusted_by.is_none()),
        trusted_by: known.trusted_by,
        listed: known.listed.iter().map(ListedView::new).collect(),
        evidence: evidence.collect(),
        bans: bans.iter().map(|ban| ExplainedBan::new(ban, &rules)).collect(),
        decisions: decisions.iter().map(|it| DecisionView::new(it, &rules)).collect(),
        refusals: None,
        text: String::new(),
    })
}

/// The number of ours that a stranger called, with nothing about him that looks like a tool: he may be
/// a carrier that has moved.
fn own_number(decision: &Decision, rules: &Rules) -> Option<String> {
    let grounds = decision.event.grounds.as_ref()?;
    let is_plain = grounds.judged && grounds.who <= Who::Proven && grounds.signature == u16::MAX;
    let mut words = decision.line.split(|byte| *byte == b' ');
    let (method, uri) = (words.next()?, words.next()?);
    let dialled = Uri::parse(uri)?.user;
    let is_ours = admission::is_dialled(&rules.policy.admission.dids, dialled);
    (is_plain && method == b"INVITE" && is_ours)
        .then(|| String::from_utf8_lossy(dialled).into_owned())
}

async fn of_bans(hall: &Hall, subject: String, wanted: Wanted) -> Result<Explanation, Refusal> {
    let (bans, _) = hall.status.desk.bans(BANS_MAX, move |ban| wanted.is_met(ban)).await?;
    let rules = hall.status.rules();
    Ok(Explanation {
        subject,
        kind: "ban".into(),
        bans: bans.iter().map(|ban| ExplainedBan::new(ban, &rules)).collect(),
        ..Explanation::default()
    })
}

/// An AOR or a Call-ID.
async fn of_text(hall: &Hall, subject: String) -> Result<Explanation, Refusal> {
    let desk = &hall.status.desk;
    let text = subject.strip_prefix("sips:").or_else(|| subject.strip_prefix("sip:"));
    let text = text.unwrap_or(&subject);
    // what is known as an AOR has no port; a Call-ID looks like none that has one
    let bare = std::str::from_utf8(proxy::without_port(text.as_bytes())).unwrap_or(text);
    let text = if text.contains('@') { bare } else { text }.to_owned();
    let bytes = text.clone().into_bytes();
    let decisions = desk.decisions(DECISIONS, move |it| it.names(&bytes)).await?;
    let (bans, refusals) = match text.contains('@') {
        true => of_aor(desk, text).await?,
        false => (Vec::new(), 0.0),
    };
    let rules = hall.status.rules();
    Ok(Explanation {
        subject,
        kind: "text".into(),
        bans: bans.iter().map(|ban| ExplainedBan::new(ban, &rules)).collect(),
        decisions: decisions.iter().map(|it| DecisionView::new(it, &rules)).collect(),
        refusals: (refusals > 0.0).then_some(refusals),
        ..Explanation::default()
    })
}

/// Bans of this AOR, and refusals of strangers on it: every shard is told of those, so the first
/// that is asked knows.
async fn of_aor(desk: &Desk, aor: String) -> Result<(Vec<Ban>, f32), Refusal> {
    let look = move |now, engine: &proxy::Engine| {
        let hash = engine.gate().hash_of(aor.as_bytes());
        (hash, engine.gate().refusals_of(now, hash).0)
    };
    let (hash, refusals) = desk.look(0, look).await?;
    let is_of = move |ban: &Ban| match ban.key {
        BanKey::AorFlow { aor, .. } | BanKey::AorSource { aor, .. } => aor == hash,
        _ => false,
    };
    Ok((desk.bans(BANS_MAX, is_of).await?.0, refusals))
}

/// The explanation in words, for a terminal. What a peer wrote keeps no control characters.
fn told(it: &Explanation) -> String {
    let mut text = String::new();
    let _ = told_source(it, &mut text);
    for ban in &it.bans {
        let _ =
            writeln!(text, "{}\n  undo: {}, or for a while with --trust 24h", ban.text, ban.undo);
    }
    if let Some(refusals) = it.refusals {
        let _ = writeln!(text, "{refusals:.1} refusals of strangers on this AOR");
    }
    if !it.decisions.is_empty() {
        let _ = writeln!(text, "last decisions, the youngest first:");
    }
    for decision in &it.decisions {
        let _ = told_decision(decision, &mut text);
    }
    let _ = told_cure(it, &mut text);
    if text.is_empty() {
        let _ = writeln!(
            text,
            "nothing is known of {}: no ban, no evidence, none of the last decisions",
            it.subject.escape_debug()
        );
        let bare = |one: char| one.is_alphanumeric() || matches!(one, '+' | '_');
        if !it.subject.is_empty() && it.subject.chars().all(bare) {
            let _ = writeln!(
                text,
                "    hint: an account is asked for with its domain: {}@pbx.example.com",
                it.subject
            );
        }
    }
    text
}

fn told_source(it: &Explanation, text: &mut String) -> std::fmt::Result {
    if let Some(name) = &it.trusted_by {
        writeln!(text, "{} is trusted ({name}): nothing judges or bans it", it.subject)?;
    }
    for ListedView { feed, action, result, until } in &it.listed {
        let subject = &it.subject;
        writeln!(
            text,
            "{subject} is listed by the feed {feed} ({action}): {result}, until {until}"
        )?;
        if result == "dropped" {
            writeln!(text, "  undo: ringfence bans lift {subject} --trust 24h, or trust.networks")?;
        }
    }
    if let Some(number) = &it.candidate {
        let (subject, number) = (&it.subject, number.escape_debug());
        writeln!(text, "{subject} called {number}, a number of yours: a carrier that moved?")?;
        writeln!(text, "  what it abandons there weighs nothing; if it is yours, name it in")?;
        writeln!(text, "  trust.networks, or as a host of its trunk")?;
    }
    let Some(source) = &it.source else { return Ok(()) };
    write!(text, "source {} is {}", source.source, source.who)?;
    if let Some(proof) = &source.proof {
        write!(text, ", its return path proven by {proof}")?;
    }
    writeln!(text, "; score {:.2}, in the long memory {:.2}", source.score, source.long_score)?;
    let (invites, others) = (source.open_invites, source.open_others);
    if invites + others > 0 {
        writeln!(text, "  open challenges: {invites} of INVITEs, {others} others")?;
    }
    // where a ban tells its evidence it is not told twice
    if it.bans.iter().any(|ban| !ban.ban.evidence.is_empty()) {
        return Ok(());
    }
    for record in &it.evidence {
        let RecordView { at, method, outcome, weight, aor, .. } = record;
        let aor = aor.escape_debug();
        writeln!(text, "  {at} {method} {outcome}, weight {weight:.2}, as \"{aor}\"")?;
    }
    Ok(())
}

/// How that which no ban keeps out is let through, where the youngest decision refused it.
fn told_cure(it: &Explanation, text: &mut String) -> std::fmt::Result {
    let Some(last) = it.decisions.first().filter(|last| last.ban.is_none()) else { return Ok(()) };
    if !matches!(last.verdict.as_str(), "drop" | "reject") {
        return Ok(());
    }
    let policy = match (&last.signature, &last.rule) {
        (Some(signature), _) => format!("signatures: {{ overrides: {{ {signature}: note }} }}"),
        (None, Some(rule)) => format!("rules: [{{ name: {rule}, mode: observe }}]"),
        (None, None) => return Ok(()),
    };
    let source = last.source.parse().map_or_else(
        |_| last.source.clone(),
        |source: std::net::SocketAddr| source.ip().to_string(),
    );
    writeln!(text, "to let it pass: ringfence bans lift {source} --trust 24h, or in the policy:")?;
    writeln!(text, "    {}", policy.escape_debug())
}

fn told_decision(it: &DecisionView, text: &mut String) -> std::fmt::Result {
    write!(text, "  {} {}/{} {}", it.at, it.source, it.transport, it.verdict)?;
    if let Some(status) = it.status {
        write!(text, " {status}")?;
    }
    write!(text, " ({})", it.reason)?;
    for (name, value) in [
        ("rule", &it.rule),
        ("signature", &it.signature),
        ("ban", &it.ban),
        ("who", &it.who),
        ("would", &it.would),
        ("detail", &it.detail),
    ] {
        if let Some(value) = value {
            write!(text, ", {name} {}", value.escape_debug())?;
        }
    }
    writeln!(text, "\n    {}", it.line.escape_debug())?;
    if !it.call_id.is_empty() {
        let (call_id, aor) = (it.call_id.escape_debug(), it.aor.escape_debug());
        writeln!(text, "    Call-ID {call_id}, AOR {aor}")?;
    }
    Ok(())
}
