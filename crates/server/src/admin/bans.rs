//! Bans: seen, made and lifted.

use super::views::BanView;
use super::{Hall, Refusal};
use crate::desk::Desk;
use crate::status::Rules;
use admission::{Ban, BanId, BanKey, Learned, Origin};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderName, StatusCode};
use axum::response::IntoResponse;
use policy::{Network, Reason, Time};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;

/// Bans in one answer, where nothing is said and at most.
const LIMIT: usize = 1_000;
const LIMIT_MAX: usize = 10_000;
/// Longest ban and longest trust that an operator gives.
pub(super) const LONGEST: Duration = Duration::from_secs(366 * 86_400);
/// Longest reason, in characters.
const WHY_MAX: usize = 200;
/// Why somebody is banned whom a list names without a reason.
pub(super) const IMPORT_WHY: &str = "imported";
/// Says that there are more bans than the answer holds.
const TRUNCATED: HeaderName = HeaderName::from_static("x-ringfence-truncated");

/// What bans are asked for by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    All,
    Id(BanId),
    /// All that touch these addresses.
    Network(Network),
    /// A pair or a shape, as [`BanKey::text`] writes it.
    Key(String),
}

impl Wanted {
    pub(super) fn of(text: &str) -> Wanted {
        let text = text.trim();
        if let Ok(network) = config::network(text) {
            return Wanted::Network(as_source(network));
        }
        match text.parse() {
            Ok(id) => Wanted::Id(id),
            Err(()) => Wanted::Key(text.to_owned()),
        }
    }

    pub(super) fn is_met(&self, ban: &Ban) -> bool {
        match self {
            Wanted::All => true,
            Wanted::Id(id) => ban.id == *id,
            Wanted::Network(network) => ban.key.place().is_some_and(|place| touch(place, *network)),
            Wanted::Key(key) => ban.key.text() == *key,
        }
    }
}

/// An IPv6 address stands for its /64: nothing smaller is banned.
pub(super) fn as_source(network: Network) -> Network {
    let source = Network::source(network.address());
    if network.prefix() > source.prefix() { source } else { network }
}

fn touch(a: Network, b: Network) -> bool {
    a.contains(b.address()) || b.contains(a.address())
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Selection {
    key: Option<String>,
    limit: Option<usize>,
}

pub(super) async fn list(
    State(hall): State<Hall>,
    Query(Selection { key, limit }): Query<Selection>,
) -> Result<impl IntoResponse, Refusal> {
    let wanted = key.as_deref().map_or(Wanted::All, Wanted::of);
    if let Wanted::Key(key) = &wanted
        && !key.starts_with("aor:")
        && !key.starts_with("shape:")
    {
        let hint = "an address, a network, or the number or key of a ban";
        return Err(Refusal::wrong(format!("nothing can be banned as {key}")).hint(hint));
    }
    let limit = limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
    let (bans, more) = hall.status.desk.bans(limit, move |ban| wanted.is_met(ban)).await?;
    let rules = hall.status.rules();
    let views: Vec<BanView> = bans.iter().map(|ban| BanView::new(ban, &rules)).collect();
    Ok(([(TRUNCATED, more.to_string())], Json(views)))
}

/// What an operator bans.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    key: String,
    #[serde(rename = "for")]
    length: String,
    why: String,
}

pub(super) async fn add(
    State(hall): State<Hall>,
    body: Bytes,
) -> Result<impl IntoResponse, Refusal> {
    let wish: Wish = serde_json::from_slice(&body).map_err(|error| {
        let hint = r#"{"key":"198.51.100.7","for":"1h","why":"…"}"#;
        Refusal::wrong(format!("the body is no wish for a ban: {error}")).hint(hint)
    })?;
    let desk = &hall.status.desk;
    let ban = {
        let rules = hall.status.rules();
        imposed(&wish, desk.now(), desk.next_ban(), &rules)?
    };
    if let Some(place) = ban.key.place() {
        let ip = place.address();
        let trusted = desk
            .look_at(ip, move |now, engine| engine.gate().trusted_by(now, ip).map(str::to_owned));
        if let Some(name) = trusted.await? {
            return Err(trusted_by(&name));
        }
    }
    desk.tell(&Learned::Ban(Box::new(ban.clone()))).await?;
    let id = ban.id;
    let (taken, _) = desk.bans(1, move |held| held.id == id).await?;
    let taken = taken.first().ok_or_else(|| trusted_by("a network inside it"))?;
    Ok((StatusCode::CREATED, Json(BanView::new(taken, &hall.status.rules()))))
}

fn trusted_by(name: &str) -> Refusal {
    Refusal::new(StatusCode::CONFLICT, format!("trusted by the policy ({name}): nothing bans it"))
        .hint("trust.networks, admin.networks and trunks' addresses are trusted, and our own")
}

/// Nobody bans or trusts half the world by one word.
pub(super) fn refuse_wide(network: Network, what: &str) -> Result<(), Refusal> {
    let least = if network.address().is_ipv4() { 8 } else { 16 };
    if network.prefix() >= least {
        return Ok(());
    }
    let text = format!("{network} is too much of the world to {what} by one word");
    Err(Refusal::wrong(text).hint(format!("at least /{least}")))
}

/// A reason that fits on a line.
pub(super) fn why(text: &str) -> Result<&str, Refusal> {
    let why = text.trim();
    if why.is_empty() || why.chars().count() > WHY_MAX || why.chars().any(char::is_control) {
        let text = format!("why: a line of at most {WHY_MAX} characters that says why");
        return Err(Refusal::wrong(text));
    }
    Ok(why)
}

/// The bans that are meant.
async fn met(desk: &Desk, wanted: &Wanted) -> Result<Vec<Ban>, Refusal> {
    let wanted = wanted.clone();
    Ok(desk.bans(LIMIT_MAX, move |ban| wanted.is_met(ban)).await?.0)
}

/// The ban that is wished for.
fn imposed(wish: &Wish, now: Time, id: BanId, rules: &Rules) -> Result<Ban, Refusal> {
    let network = config::network(&wish.key).map_err(Refusal::wrong)?;
    let network = as_source(network);
    let length = config::duration(&wish.length).map_err(Refusal::wrong)?;
    if length.is_zero() || length > LONGEST {
        return Err(Refusal::wrong("a ban lasts more than nothing and at most a year"));
    }
    let why = self::why(&wish.why)?;
    refuse_wide(network, "ban")?;
    let source = network == Network::source(network.address());
    Ok(Ban {
        id,
        key: if source { BanKey::Source(network) } else { BanKey::Network(network) },
        why: why.into(),
        reason: Reason::Banned,
        proof: None,
        since: now,
        until: now + length,
        narrowed: false,
        policy_version: rules.policy.version,
        score: 0.0,
        origin: Origin::Operator,
        evidence: Vec::new(),
    })
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Mercy {
    #[serde(default)]
    forgive: bool,
    trust: Option<String>,
}

/// What was lifted.
#[derive(Debug, Serialize)]
pub(super) struct Lifted {
    lifted: Vec<BanView>,
    /// Until when nothing bans these addresses.
    trusted_until: Option<String>,
}

pub(super) async fn lift(
    State(hall): State<Hall>,
    Path(key): Path<String>,
    Query(Mercy { forgive, trust }): Query<Mercy>,
) -> Result<Json<Lifted>, Refusal> {
    let desk = &hall.status.desk;
    let trust = trust.map(|text| config::duration(&text)).transpose().map_err(Refusal::wrong)?;
    if trust.is_some_and(|length| length.is_zero() || length > LONGEST) {
        return Err(Refusal::wrong("trust lasts more than nothing and at most a year"));
    }
    let until = trust.map(|length| desk.now() + length);
    let wanted = Wanted::of(&key);
    let mut wanted = wanted;
    let mut bans = met(desk, &wanted).await?;
    // mercy is for addresses: it reaches all that keeps them out
    if let [ban] = &bans[..]
        && (forgive || until.is_some())
        && let Some(network) = ban.key.place()
    {
        wanted = Wanted::Network(network);
        bans = met(desk, &wanted).await?;
    }
    if let (Wanted::Network(network), Some(_)) = (&wanted, until) {
        refuse_wide(*network, "trust")?;
    }
    if bans.is_empty() && (until.is_none() || !matches!(wanted, Wanted::Network(_))) {
        return Err(Refusal::new(StatusCode::NOT_FOUND, format!("nothing is banned as {key}"))
            .hint("`bans list` shows what is; who is on a feed's list is let in by --trust"));
    }
    for order in orders(&wanted, &bans, until, forgive) {
        desk.tell(&order).await?;
    }
    // orders are followed in order: when all have looked nobody has them any more
    desk.look_all(|_, _| ()).await?;
    hall.status.feeds.nudge();
    let rules = hall.status.rules();
    let lifted = bans.iter().map(|ban| BanView::new(ban, &rules)).collect();
    hall.status.reports.note(
        desk.now(),
        "operator_lift",
        json!({
            "key": key,
            "bans": bans.iter().map(|ban| ban.id.to_string()).collect::<Vec<_>>(),
            "forgive": forgive,
            "trusted_until": super::views::moment(until),
        }),
        &rules.policy,
    );
    tracing::info!(%key, bans = bans.len(), forgive, trust = ?trust, "An operator lifts");
    Ok(Json(Lifted { lifted, trusted_until: super::views::moment(until) }))
}

/// What lifts them: an address or a network with all that is banned in and around it; what was
/// named in another way, one by one.
fn orders(wanted: &Wanted, bans: &[Ban], trust: Option<Time>, forgive: bool) -> Vec<Learned> {
    let lift = |network| Learned::Lift { network, trust, forgive };
    if let Wanted::Network(network) = wanted {
        return vec![lift(*network)];
    }
    let mut orders = Vec::new();
    for ban in bans {
        orders.push(match (ban.key, ban.key.place()) {
            (_, Some(network)) if trust.is_some() => lift(network),
            (key, _) => Learned::Unban { key, forgive },
        });
    }
    orders
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Flow;

    fn network(text: &str) -> Network {
        config::network(text).unwrap()
    }

    fn ban(key: BanKey) -> Ban {
        Ban {
            id: BanId(7),
            key,
            why: "test".into(),
            reason: Reason::Banned,
            proof: None,
            since: Time::ZERO,
            until: Time::FOREVER,
            narrowed: false,
            policy_version: 1,
            score: 3.0,
            origin: Origin::Local,
            evidence: Vec::new(),
        }
    }

    #[test]
    fn bans_are_found_by_address_number_and_key() {
        let remote = "198.51.100.7:5060".parse().unwrap();
        let flow = BanKey::AorFlow { aor: 0xabc, flow: Flow::udp(remote, remote) };
        let pair = BanKey::AorSource { aor: 0xabc, source: network("198.51.100.7") };
        let around = BanKey::Network(network("198.51.100.0/24"));
        let v6 = BanKey::Source(network("2001:db8::/64"));
        let campaign = BanKey::Campaign(0xf00);
        let met = |text: &str, key| Wanted::of(text).is_met(&ban(key));
        for key in [flow, pair, around] {
            assert!(met("198.51.100.7", key) && met("198.51.100.0/25", key), "{key:?}");
            assert!(!met("203.0.113.1", key), "{key:?}");
        }
        assert!(met("198.51.100.9", around) && !met("198.51.100.9", pair));
        assert!(met("2001:db8::1:2:3:4", v6) && !met("2001:db8:1::", v6));
        assert!(!met("198.51.100.7", campaign), "a shape is banned nowhere");
        for key in [flow, pair, around, v6, campaign] {
            assert!(met(&key.text(), key), "{}", key.text());
            assert!(met("0-7", key) && !met("0-8", key));
        }
        assert_eq!(flow.text(), "aor:0000000000000abc@198.51.100.7:5060/udp");
        assert_eq!(pair.text(), "aor:0000000000000abc@198.51.100.7");
    }

    #[test]
    fn addresses_are_lifted_by_network_and_pairs_one_by_one() {
        let pair = BanKey::AorSource { aor: 1, source: network("198.51.100.7") };
        let bans = [ban(pair), ban(BanKey::Campaign(2))];
        let by = |text: &str, trust| orders(&Wanted::of(text), &bans, trust, true);
        let lift = |trust| Learned::Lift { network: network("198.51.100.7"), trust, forgive: true };
        assert_eq!(by("198.51.100.7", None), [lift(None)]);
        let unban = |key| Learned::Unban { key, forgive: true };
        assert_eq!(by("0-7", None), [unban(pair), unban(BanKey::Campaign(2))]);
        let until = Some(Time::FOREVER);
        assert_eq!(by("0-7", until), [lift(until), unban(BanKey::Campaign(2))]);
    }
}
