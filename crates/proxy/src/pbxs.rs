//! Which PBX a request goes to.
//!
//! Inside a dialog always its own, which our token in the route set names. What comes from a
//! registered phone goes where that is registered; all else by the groups' rules. Within a group the
//! weighted rendezvous of Thaler and Ravishankar chooses among those of the best priority that live
//! and are not drained: nothing is remembered for it, all shards and machines agree, and when a PBX
//! goes only what was its own moves.

use crate::connections::Peer;
use crate::engine::{Arrival, Engine};
use crate::health::Health;
use crate::io::PbxState;
use admission::Key;
use policy::{Checks, Pbx, PbxGroup, Policy, Reason, Time};
use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;
use wire::{Flow, Host, Message, Method, NameAddr, Side, Transport, Uri};

/// How long a PBX that a reload reaches otherwise is heard from where it was: what phones' bindings
/// and its own transactions name there ends by then.
const HEARD_STILL: Duration = Duration::from_secs(3_700);

/// All PBXs, in the order of the policy.
#[derive(Debug)]
pub(crate) struct Pbxs {
    key: Key,
    all: Vec<Member>,
    /// Where those that stay were before a reload; at most [`Pbx::MAX`].
    former: Vec<Former>,
}

/// Where a PBX was.
#[derive(Clone, Copy, Debug)]
struct Former {
    id: u32,
    transport: Transport,
    address: SocketAddr,
    until: Time,
}

/// What is known of one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub(crate) id: u32,
    transport: Transport,
    address: SocketAddr,
    group: usize,
    priority: u16,
    weight: u16,
    /// It is asked by OPTIONS.
    checked: bool,
    pub(crate) health: Health,
    draining: bool,
    /// Requests sent to it, and those of them that failed, ever.
    requests: u64,
    failed: u64,
}

/// A set of PBXs by their place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PbxSet(u64);

impl PbxSet {
    pub(crate) fn insert(&mut self, pbx: usize) {
        self.0 |= 1u64.checked_shl(pbx as u32).unwrap_or_default();
    }

    pub(crate) fn contains(self, pbx: usize) -> bool {
        self.0 & 1u64.checked_shl(pbx as u32).unwrap_or_default() != 0
    }
}

/// By what a request is told from others when a PBX is chosen for it.
#[derive(Clone, Copy, Debug)]
enum Affinity<'a> {
    /// The user whose AOR it is.
    User(&'a [u8]),
    /// A call of nobody who registers here.
    Call(&'a [u8]),
}

impl Member {
    /// Whether it is asked by OPTIONS: for ever, or while it is in doubt.
    fn is_asked(&self) -> bool {
        self.checked || self.health.is_asked()
    }
}

impl Pbxs {
    pub(crate) fn new(policy: &Policy, secret: &[u8; 32]) -> Self {
        let key = Key::derive(secret, "pbx");
        let mut pbxs = Pbxs { key, all: Vec::new(), former: Vec::new() };
        pbxs.configure(Time::ZERO, policy);
        pbxs
    }

    /// Other PBXs; what is known of those that stay is kept.
    pub(crate) fn configure(&mut self, now: Time, policy: &Policy) {
        let old = std::mem::take(&mut self.all);
        let member = |pbx: &Pbx| {
            let known = old.iter().find(|old| old.id == pbx.id());
            Member {
                id: pbx.id(),
                transport: pbx.transport,
                address: pbx.address,
                group: pbx.group,
                priority: pbx.priority,
                weight: pbx.weight.max(1),
                checked: pbx.transport.is_reliable() || policy.group_size(pbx.group) > 1,
                health: known.map_or_else(Health::new, |known| known.health),
                draining: known.is_some_and(|known| known.draining),
                requests: known.map_or(0, |known| known.requests),
                failed: known.map_or(0, |known| known.failed),
            }
        };
        self.all = policy.pbx.iter().take(Pbx::MAX).map(member).collect();
        self.remember(now, &old);
    }

    /// Those that are reached otherwise than before are heard for a while where they were.
    fn remember(&mut self, now: Time, old: &[Member]) {
        let until = now + HEARD_STILL;
        for Member { id, transport, address, .. } in old.iter().copied() {
            let stays = self.all.iter().find(|member| member.id == id);
            if stays.is_some_and(|it| (it.transport, it.address) != (transport, address)) {
                let other =
                    |it: &Former| (it.id, it.transport, it.address) != (id, transport, address);
                self.former.retain(other);
                self.former.insert(0, Former { id, transport, address, until });
            }
        }
        let all = &self.all;
        self.former.retain(|it| it.until > now && all.iter().any(|member| member.id == it.id));
        self.former.truncate(Pbx::MAX);
    }

    /// The PBX that was there before a reload: a datagram's by its address, a connection's by its host.
    fn formerly(&self, now: Time, transport: Transport, remote: SocketAddr) -> Option<usize> {
        let same = |it: &&Former| match transport {
            Transport::Udp => it.address == remote,
            stream => it.transport == stream && it.address.ip() == remote.ip(),
        };
        let found = self.former.iter().filter(|it| it.until > now).find(same)?;
        self.with_id(found.id)
    }

    pub(crate) fn at(&mut self, pbx: usize) -> Option<&mut Member> {
        self.all.get_mut(pbx)
    }

    /// What [`Pbx::id`] is at this place; 0 for none.
    pub(crate) fn id(&self, pbx: usize) -> u32 {
        self.all.get(pbx).map_or(0, |member| member.id)
    }

    pub(crate) fn with_id(&self, id: u32) -> Option<usize> {
        self.all.iter().position(|member| member.id == id)
    }

    /// Whether its group has another.
    pub(crate) fn has_others(&self, pbx: usize) -> bool {
        let group = self.all.get(pbx).map(|member| member.group);
        self.all.iter().filter(|member| Some(member.group) == group).nth(1).is_some()
    }

    pub(crate) fn is_up(&self, pbx: usize) -> bool {
        self.all.get(pbx).is_some_and(|member| member.health.is_up())
    }

    /// Whether something new may go there.
    fn is_open(&self, pbx: usize) -> bool {
        self.all.get(pbx).is_some_and(|member| member.health.is_up() && !member.draining)
    }

    pub(crate) fn any_up(&self) -> bool {
        self.all.is_empty() || self.all.iter().any(|member| member.health.is_up())
    }

    pub(crate) fn on_heard(&mut self, now: Time, pbx: usize) {
        if let Some(member) = self.all.get_mut(pbx) {
            member.health.on_heard(now, member.checked);
        }
    }

    /// A request that went out at `since` has waited rather long for its answer. Who is asked all the
    /// time needs no doubt.
    pub(crate) fn on_doubt(&mut self, now: Time, pbx: usize, since: Time) {
        if let Some(member) = self.all.get_mut(pbx).filter(|member| !member.checked) {
            member.health.on_doubt(now, since);
        }
    }

    /// What became of a request. A stranger's says nothing of the PBX: whoever knows what a PBX ignores
    /// would take one after another down.
    pub(crate) fn on_outcome(
        &mut self,
        now: Time,
        pbx: usize,
        served: bool,
        stranger: bool,
        checks: &Checks,
    ) {
        if let Some(member) = self.all.get_mut(pbx) {
            member.failed += u64::from(!served);
            // one that stands alone is judged by its silence only
            if member.checked && !stranger {
                member.health.on_outcome(now, served, checks);
            }
        }
    }

    pub(crate) fn on_request(&mut self, pbx: usize) {
        if let Some(member) = self.all.get_mut(pbx) {
            member.requests += 1;
        }
    }

    /// An operator's order.
    pub(crate) fn drain(&mut self, id: u32, drained: bool) {
        for member in self.all.iter_mut().filter(|member| member.id == id) {
            member.draining = drained;
        }
    }

    /// The one of a group that something with this key goes to, and goes to next when it was tried
    /// at some: of the best priority that has any. Where none lives, one that is down: it may be
    /// back.
    fn choose(&self, group: usize, key: u64, tried: PbxSet) -> Result<usize, Reason> {
        let of_group =
            |&(at, member): &(usize, &Member)| member.group == group && !tried.contains(at);
        let open = |&(_, member): &(usize, &Member)| !member.draining;
        let up = |&(_, member): &(usize, &Member)| member.health.is_up();
        let all = || self.all.iter().enumerate().filter(of_group);
        let found = self
            .rendezvous(key, all().filter(open).filter(up))
            .or_else(|| self.rendezvous(key, all().filter(open)));
        found.ok_or(match all().next() {
            Some(_) => Reason::Draining,
            None => Reason::PbxUnreachable,
        })
    }

    fn rendezvous<'m>(
        &self,
        key: u64,
        members: impl Iterator<Item = (usize, &'m Member)> + Clone,
    ) -> Option<usize> {
        let best = members.clone().map(|(_, member)| member.priority).min()?;
        let mut members = members.filter(|(_, member)| member.priority == best);
        let first = members.next()?;
        let mut chosen = (first.0, f64::INFINITY);
        for (at, member) in std::iter::once(first).chain(members) {
            let hash = self.key.hash(&[&member.id.to_be_bytes(), &key.to_be_bytes()]);
            // the first event of a Poisson process of that rate: the earliest is each one's in
            // proportion to its weight
            let uniform = (hash as f64 + 1.0) / (u64::MAX as f64 + 2.0);
            let score = -uniform.ln() / f64::from(member.weight);
            if score < chosen.1 {
                chosen = (at, score);
            }
        }
        Some(chosen.0)
    }

    fn hash(&self, affinity: Affinity<'_>) -> u64 {
        match affinity {
            Affinity::User(user) => self.key.hash(&[b"user", user]),
            Affinity::Call(call_id) => self.key.hash(&[b"call", call_id]),
        }
    }

    /// When the next OPTIONS is due.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.all.iter().filter(|member| member.is_asked()).map(|member| member.health.due).min()
    }

    /// One that is to be asked now.
    pub(crate) fn poll_due(&mut self, now: Time, checks: &Checks) -> Option<usize> {
        let due = |member: &Member| member.is_asked() && member.health.due <= now;
        let at = self.all.iter().position(due)?;
        self.all[at].health.on_check(now, checks);
        Some(at)
    }

    pub(crate) fn states(&self) -> impl Iterator<Item = PbxState> {
        self.all.iter().map(|member| PbxState {
            id: member.id,
            up: member.health.is_up(),
            draining: member.draining,
            requests: member.requests,
            failed: member.failed,
        })
    }
}

impl Engine {
    /// The PBX that a request from outside is for.
    pub(crate) fn pbx_for(&mut self, now: Time, arrival: Arrival<'_, '_>) -> Result<usize, Reason> {
        let tagged = self.is_tagged(arrival);
        if let ([PbxGroup { reach: None, .. }], [only]) =
            (&self.policy.groups[..], &self.pbxs.all[..])
        {
            return if only.draining && !tagged { Err(Reason::Draining) } else { Ok(0) };
        }
        if tagged && let Some(pbx) = self.dialog_pbx(arrival) {
            return Ok(pbx);
        }
        let registered = self.registered_pbx(now, arrival);
        if let Some(pbx) = registered.filter(|pbx| self.pbxs.is_open(*pbx)) {
            return Ok(pbx);
        }
        let group = registered.and_then(|pbx| self.policy.pbx.get(pbx)).map(|pbx| pbx.group);
        let group = group.or_else(|| self.group_of(now, arrival)).ok_or(Reason::NoRoute)?;
        let key = self.pbxs.hash(self.affinity(now, arrival));
        self.pbxs.choose(group, key, PbxSet::default())
    }

    /// The PBX that a request goes to after those that it was tried at.
    pub(crate) fn next_pbx(
        &self,
        request: &Message<'_>,
        from_trunk: bool,
        last: usize,
        tried: PbxSet,
    ) -> Option<usize> {
        let group = self.policy.pbx.get(last)?.group;
        let key = self.pbxs.hash(affinity(request, from_trunk));
        self.pbxs.choose(group, key, tried).ok().filter(|next| self.pbxs.is_up(*next))
    }

    fn is_tagged(&self, arrival: Arrival<'_, '_>) -> bool {
        let alone = matches!(arrival.message.method(), Method::Register | Method::Publish);
        !alone && !arrival.message.to_tag().is_empty()
    }

    /// The PBX of a dialog: our token in its route set names it; without one, the Contact that it
    /// gave stands in the Request-URI.
    fn dialog_pbx(&self, arrival: Arrival<'_, '_>) -> Option<usize> {
        if let Some(pbx) = arrival.route.and_then(|token| self.pbxs.with_id(token.pbx)) {
            return Some(pbx);
        }
        let uri = Uri::parse(arrival.message.request_uri())?;
        let Host::Address(ip) = uri.host else { return None };
        let port = uri.port.unwrap_or(5060);
        self.policy.pbx.iter().position(|pbx| pbx.address == SocketAddr::new(ip, port))
    }

    /// The PBX that the sender's phone is registered at. A REGISTER goes where it belongs, also when
    /// it has been elsewhere meanwhile, but for one that ends a registration.
    fn registered_pbx(&self, now: Time, arrival: Arrival<'_, '_>) -> Option<usize> {
        let message = arrival.message;
        if message.method() == Method::Register && !ends_registration(message) {
            return None;
        }
        let key = self.binding_of(now, arrival);
        let binding = self.bindings.find(now, key).filter(|_| key != 0)?;
        self.pbxs.with_id(binding.pbx())
    }

    /// The first group of which a rule names the request, else the one without rules.
    fn group_of(&self, now: Time, arrival: Arrival<'_, '_>) -> Option<usize> {
        let groups = &self.policy.groups;
        if let [PbxGroup { reach: None, .. }] = &groups[..] {
            return Some(0);
        }
        let uri = Uri::parse(arrival.message.request_uri());
        let trunk = self.gate.trunk(now, arrival.flow.remote.ip());
        let Flow { transport, local, .. } = arrival.flow;
        let listener = self.policy.listener_of(transport, local);
        let ruled = groups.iter().position(|group| {
            group.reach.as_ref().is_some_and(|reach| {
                trunk.is_some_and(|trunk| reach.trunks.iter().any(|name| **name == *trunk))
                    || listener.is_some_and(|listener| reach.listeners.contains(&listener))
                    || uri.as_ref().is_some_and(|uri| {
                        reach.domains.iter().any(|domain| {
                            Host::parse(domain.as_bytes())
                                .is_some_and(|host| host.matches(&uri.host))
                        }) || admission::is_dialled(&reach.dids, uri.user)
                    })
            })
        });
        ruled.or_else(|| groups.iter().position(|group| group.reach.is_none()))
    }

    fn affinity<'a>(&self, now: Time, arrival: Arrival<'_, 'a>) -> Affinity<'a> {
        affinity(arrival.message, self.gate.trunk(now, arrival.flow.remote.ip()).is_some())
    }

    /// Our address towards the PBX for what came by a flow: its trunk may have one of its own.
    pub(crate) fn inside_for(&self, now: Time, flow: &Flow) -> SocketAddr {
        let inside = self.names.inside();
        if !self.names.has_sources() {
            return inside;
        }
        let trunk = self.trunk_inwards(now, flow).and_then(|at| self.policy.trunks.get(at));
        match trunk.and_then(|trunk| trunk.source) {
            Some(source) => SocketAddr::new(source, inside.port()),
            None => inside,
        }
    }

    /// The flow towards a PBX from an address of ours; a connection is opened if there is none.
    pub(crate) fn flow_to(&mut self, now: Time, pbx: usize, local: SocketAddr) -> Option<Flow> {
        let policy = self.policy.clone();
        let Pbx { transport, address, host, .. } = policy.pbx.get(pbx)?;
        if *transport == Transport::Udp {
            return Some(Flow::udp(local, *address));
        }
        let (transport, remote, name) = (*transport, *address, Cow::Borrowed(&**host));
        self.connect(now, &Peer { side: Side::Inside, transport, local, remote, name })
    }

    /// The PBX that an inside message came from. A connection that it opened says so by the port
    /// that its Via names, where several are on one machine.
    pub(crate) fn pbx_of(&self, flow: &Flow, message: Option<&Message<'_>>) -> Option<usize> {
        let all = &self.policy.pbx;
        let exactly = all
            .iter()
            .position(|pbx| pbx.transport == flow.transport && pbx.address == flow.remote);
        let formerly = || self.pbxs.formerly(self.clock, flow.transport, flow.remote);
        if exactly.is_some() || !flow.transport.is_reliable() {
            let by_address = || all.iter().position(|pbx| pbx.address == flow.remote);
            return exactly.or_else(by_address).or_else(formerly);
        }
        let on_host =
            |pbx: &Pbx| pbx.transport == flow.transport && pbx.address.ip() == flow.remote.ip();
        let port = message.filter(|it| it.is_request()).and_then(|it| it.via().port);
        let named = all.iter().position(|pbx| on_host(pbx) && Some(pbx.address.port()) == port);
        named.or_else(|| all.iter().position(on_host)).or_else(formerly)
    }

    /// Whether what comes by this inside flow is a PBX's: it stands in the policy, or did until a
    /// while ago.
    pub(crate) fn is_pbxs(&self, now: Time, flow: &Flow) -> bool {
        let known = match flow.transport {
            Transport::Udp => self.policy.is_pbx(flow.remote),
            _ => self.policy.is_pbx_host(flow.remote.ip()),
        };
        known || self.pbxs.formerly(now, flow.transport, flow.remote).is_some()
    }
}

/// Calls of trunks are spread one by one. All else of one user goes to one PBX, however its hosts
/// are written.
fn affinity<'a>(message: &Message<'a>, from_trunk: bool) -> Affinity<'a> {
    let from = match message.method() {
        Method::Register => message.to(),
        _ => message.from(),
    };
    match Uri::parse(from.uri).map(|uri| uri.user) {
        Some(user) if !from_trunk && !user.is_empty() => Affinity::User(user),
        _ => Affinity::Call(message.call_id()),
    }
}

/// Whether a REGISTER takes its Contacts away (RFC 3261 §10.2.2).
fn ends_registration(message: &Message<'_>) -> bool {
    message.expires() == Some(0)
        || message.values(wire::HeaderName::Contact).next().is_some_and(|value| {
            let contact = NameAddr::parse(value.bytes, value.span.start);
            contact.and_then(|contact| contact.param(b"expires")) == Some(b"0")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pbxs(members: &[(&str, u16, u16)]) -> Pbxs {
        let pbx = |(name, priority, weight): &(&str, u16, u16)| Pbx {
            name: (*name).into(),
            priority: *priority,
            weight: *weight,
            ..Pbx::new(([127, 0, 0, 1], 5070).into())
        };
        let pbx = members.iter().map(pbx).collect();
        Pbxs::new(&Policy::new(Vec::new(), ([127, 0, 0, 1], 5080).into(), pbx), &[7; 32])
    }

    fn shares(pbxs: &Pbxs, count: u64) -> Vec<usize> {
        let mut shares = vec![0; pbxs.all.len()];
        for key in 0..count {
            shares[pbxs.choose(0, key, PbxSet::default()).expect("one")] += 1;
        }
        shares
    }

    #[test]
    fn each_has_its_share_by_weight() {
        let shares = shares(&pbxs(&[("a", 0, 1), ("b", 0, 3)]), 10_000);
        assert!((2_350..2_650).contains(&shares[0]), "{shares:?}");
    }

    #[test]
    fn only_the_best_priority_that_lives_gets_something() {
        let mut pbxs = pbxs(&[("spare", 10, 1), ("a", 0, 1), ("b", 0, 1)]);
        assert_eq!(shares(&pbxs, 100)[0], 0);
        for pbx in [1, 2] {
            assert!(pbxs.at(pbx).expect("there").health.on_silence(Time::FOREVER));
        }
        assert_eq!(shares(&pbxs, 100), [100, 0, 0]);
    }

    #[test]
    fn when_one_goes_only_what_was_its_own_moves() {
        let mut pbxs = pbxs(&[("a", 0, 1), ("b", 0, 1), ("c", 0, 1)]);
        let before: Vec<_> = (0..300).map(|key| pbxs.choose(0, key, PbxSet::default())).collect();
        pbxs.drain(pbxs.id(1), true);
        for (key, before) in (0..).zip(before) {
            let now = pbxs.choose(0, key, PbxSet::default());
            assert!(now == before || before == Ok(1), "{key}");
            assert_ne!(now, Ok(1));
        }
    }

    #[test]
    fn one_that_was_tried_is_tried_no_more_and_the_drained_take_nothing() {
        let mut pbxs = pbxs(&[("a", 0, 1), ("b", 0, 1)]);
        let mut tried = PbxSet::default();
        let first = pbxs.choose(0, 1, tried).expect("one");
        tried.insert(first);
        let second = pbxs.choose(0, 1, tried).expect("the other");
        assert_ne!(first, second);
        tried.insert(second);
        assert_eq!(pbxs.choose(0, 1, tried), Err(Reason::PbxUnreachable));
        pbxs.drain(pbxs.id(0), true);
        pbxs.drain(pbxs.id(1), true);
        assert_eq!(pbxs.choose(0, 1, PbxSet::default()), Err(Reason::Draining));
    }

    #[test]
    fn what_is_known_stays_over_a_reload_by_name() {
        let mut one = pbxs(&[("a", 0, 1), ("b", 0, 1)]);
        one.drain(one.id(0), true);
        let pbx = ["b", "a"]
            .map(|name| Pbx { name: name.into(), ..Pbx::new(([127, 0, 0, 2], 5070).into()) });
        let policy = |pbx| Policy::new(Vec::new(), ([127, 0, 0, 1], 5080).into(), pbx);
        one.configure(Time::ZERO, &policy(pbx.into()));
        assert_eq!(one.states().map(|it| it.draining).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn who_was_elsewhere_is_heard_there_for_a_while() {
        let at = |octet| SocketAddr::from(([127, 0, 0, octet], 5070));
        let pbx = |name: &str, transport, octet| Pbx {
            name: name.into(),
            transport,
            ..Pbx::new(at(octet))
        };
        let policy = |pbx| Policy::new(Vec::new(), ([127, 0, 0, 1], 5080).into(), pbx);
        let was = vec![
            pbx("gone", Transport::Udp, 2),
            pbx("moved", Transport::Udp, 3),
            pbx("stream", Transport::Tcp, 4),
            pbx("same", Transport::Udp, 5),
        ];
        let mut pbxs = Pbxs::new(&policy(was), &[7; 32]);
        let is = vec![
            pbx("same", Transport::Udp, 5),
            pbx("stream", Transport::Udp, 4),
            pbx("moved", Transport::Udp, 9),
        ];
        let now = Time::ZERO + Duration::from_secs(1_000);
        pbxs.configure(now, &policy(is.clone()));
        let port = |octet| SocketAddr::from(([127, 0, 0, octet], 40_000));
        let heard = |pbxs: &Pbxs, now| {
            [
                (Transport::Udp, at(2)),
                (Transport::Udp, at(3)),
                (Transport::Tcp, port(4)),
                (Transport::Udp, at(5)),
            ]
            .map(|(transport, remote)| pbxs.formerly(now, transport, remote))
        };
        assert_eq!(heard(&pbxs, now), [None, Some(2), Some(1), None]);
        assert_eq!(pbxs.formerly(now, Transport::Udp, port(3)), None, "another port is another");
        assert_eq!(pbxs.formerly(now, Transport::Tls, port(4)), None);
        // it is bounded, however often it is reloaded, and ends
        for _ in 0..100 {
            pbxs.configure(now, &policy(vec![pbx("moved", Transport::Udp, 3)]));
            pbxs.configure(now, &policy(is.clone()));
        }
        assert!(pbxs.former.len() <= Pbx::MAX);
        assert_eq!(heard(&pbxs, now)[1], Some(2));
        assert_eq!(heard(&pbxs, now + HEARD_STILL), [None; 4]);
    }
}
