//! Carriers, as the PBX reaches them through the edge: its outbound proxy is this shard's inside
//! address, and what it sends to a trunk's host goes there from an outside listener. A target that
//! does not answer is passed over for the next (RFC 3263 §4.3), and asked until it lives again.

use crate::connections::Peer;
use crate::engine::{Arrival, Engine};
use crate::io::Target;
use crate::lots::Lots;
use crate::names::write_transport;
use crate::routing::{Hop, NO_PBX, Route};
use admission::Branch;
use admission::branch::{Binds, NO_SLOT};
use policy::{Policy, Reason, Time};
use std::borrow::Cow;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;
use wire::{Flow, HeaderName, Host, Message, NameAddr, Side, Span, Splice, Transport, Uri};

/// Targets of one host; the others are left out.
const TARGETS_MAX: usize = 64;
/// Targets in quarantine; of more the one that is asked next gives way.
const QUARANTINE_MAX: usize = 256;
/// When a target in quarantine is first asked whether it lives; twice as long after each failure, up
/// to the longest.
const ASK_AFTER: Duration = Duration::from_secs(10);
const ASK_AFTER_MAX: Duration = Duration::from_secs(320);
/// From-tag of that question.
const TAG: &[u8] = b"trunk";

/// The hosts of all trunks, and where they are reached.
#[derive(Debug)]
pub(crate) struct Trunks {
    hosts: Vec<TrunkHost>,
    /// Targets that failed, and for a while those that live again.
    quarantine: Vec<Failed>,
    lots: Lots,
}

/// A target that failed.
#[derive(Clone, Copy, Debug)]
struct Failed {
    target: Target,
    /// From one failure to the next question by OPTIONS.
    wait: Duration,
    /// When it is asked; once it lives, until when a failure is a further one.
    due: Time,
    lives: bool,
}

#[derive(Debug)]
struct TrunkHost {
    /// The trunk's place.
    trunk: usize,
    host: Box<str>,
    targets: Vec<Target>,
}

impl Trunks {
    pub(crate) fn new(policy: &Policy, secret: &[u8; 32]) -> Self {
        let (hosts, quarantine, lots) = (Vec::new(), Vec::new(), Lots::new(secret));
        let mut trunks = Trunks { hosts, quarantine, lots };
        trunks.configure(policy);
        trunks
    }

    /// Other hosts; what is known of those that stay is kept.
    pub(crate) fn configure(&mut self, policy: &Policy) {
        let old = std::mem::take(&mut self.hosts);
        let known = |host: &str| old.iter().find(|old| *old.host == *host);
        let trunks = policy.trunks.iter().enumerate();
        let hosts = trunks.flat_map(|(at, trunk)| trunk.hosts.iter().map(move |host| (at, host)));
        let hosts = hosts.map(|(trunk, host)| TrunkHost {
            trunk,
            host: host.clone(),
            targets: known(host).map(|old| old.targets.clone()).unwrap_or_default(),
        });
        self.hosts = hosts.collect();
        let hosts = &self.hosts;
        self.quarantine.retain(|it| hosts.iter().any(|host| host.targets.contains(&it.target)));
    }

    /// Where a host is reached from now on.
    pub(crate) fn learned(&mut self, host: &str, targets: &[Target]) {
        for known in self.hosts.iter_mut().filter(|known| *known.host == *host) {
            known.targets = targets.iter().take(TARGETS_MAX).copied().collect();
        }
    }

    /// Where a URI's host is reached, in the order in which it is tried (RFC 3263 §4.3) for what has
    /// this key; `None` when it is no trunk's, or asks for TLS and there is none.
    fn targets(&self, uri: &Uri<'_>, key: u64) -> Option<Vec<Target>> {
        let known = self.host(uri).filter(|_| uri.is_sip())?;
        let secure = |target: &&Target| !uri.is_sips() || target.transport == Transport::Tls;
        let mut targets: Vec<_> = known.targets.iter().filter(secure).copied().collect();
        self.lots.order(&mut targets, key);
        (!targets.is_empty() || !uri.is_sips()).then_some(targets)
    }

    /// The host that a URI names: one with its port before one with any, and none with another.
    fn host(&self, uri: &Uri<'_>) -> Option<&TrunkHost> {
        let port = |known: &TrunkHost| policy::Trunk::host_and_port(&known.host).1;
        let same = |known: &&TrunkHost| {
            let (host, _) = policy::Trunk::host_and_port(&known.host);
            Host::parse(host.as_bytes()).is_some_and(|host| host.matches(&without_dot(uri.host)))
        };
        let all = || self.hosts.iter().filter(same);
        let any = || all().find(|known| port(known).is_none() || uri.port.is_none());
        all().find(|known| port(known) == uri.port).or_else(any)
    }

    /// The place of the trunk whose host a Request-URI names, if that is reached at `remote`.
    pub(crate) fn named(&self, uri: &[u8], remote: SocketAddr) -> Option<usize> {
        let known = self.host(&Uri::parse(uri)?)?;
        known.targets.iter().any(|target| target.remote == remote).then_some(known.trunk)
    }

    /// How many of a trunk's targets among those that `counts` serve, and are in quarantine.
    pub(crate) fn targets_of(
        &self,
        trunk: usize,
        counts: impl Fn(SocketAddr) -> bool,
    ) -> [usize; 2] {
        let hosts = self.hosts.iter().filter(|host| host.trunk == trunk);
        let targets = hosts.flat_map(|host| &host.targets).filter(|it| counts(it.remote));
        targets.fold([0, 0], |[up, down], target| match self.is_down(target) {
            true => [up, down + 1],
            false => [up + 1, down],
        })
    }

    /// Where each host is reached, and whether the target answered last.
    pub(crate) fn reached(&self) -> impl Iterator<Item = (&str, SocketAddr, bool)> {
        self.hosts.iter().flat_map(|host| {
            let up = |target: &Target| (&*host.host, target.remote, !self.is_down(target));
            host.targets.iter().map(up)
        })
    }

    /// Whether a trunk is reached there.
    pub(crate) fn has(&self, remote: SocketAddr) -> bool {
        self.find(|target| target.remote == remote).is_some()
    }

    /// The first of all targets that is such a one, and the host that it is of.
    fn find(&self, is: impl Fn(&Target) -> bool) -> Option<(&TrunkHost, Target)> {
        let all = self.hosts.iter().flat_map(|host| host.targets.iter().map(move |it| (host, it)));
        all.map(|(host, target)| (host, *target)).find(|(_, target)| is(target))
    }

    /// The target to try first, and after one that failed the next (RFC 3263 §4.3). One in
    /// quarantine is tried when no other is left.
    fn choose(&self, targets: &[Target], failed: Option<Target>) -> Option<Target> {
        let place = |failed: Target| targets.iter().position(|it| *it == failed);
        let rest = match failed.map(place) {
            None => targets,
            Some(at) => targets.get(at? + 1..)?,
        };
        rest.iter().find(|target| !self.is_down(target)).or(rest.first()).copied()
    }

    fn is_down(&self, target: &Target) -> bool {
        self.quarantine.iter().any(|it| it.target == *target && !it.lives)
    }

    fn fail(&mut self, now: Time, target: Target) {
        self.quarantine.retain(|it| !it.lives || it.due > now);
        if let Some(known) = self.quarantine.iter_mut().find(|it| it.target == target) {
            if std::mem::replace(&mut known.lives, false) {
                known.put_off(now);
            }
            return;
        }
        if self.quarantine.len() >= QUARANTINE_MAX {
            let all = self.quarantine.iter().enumerate();
            // one that lives gives way first
            let next = all.min_by_key(|(_, it)| (!it.lives, it.due)).map(|(at, _)| at);
            next.map(|at| self.quarantine.swap_remove(at));
        }
        self.quarantine.push(Failed {
            target,
            wait: ASK_AFTER,
            due: now + ASK_AFTER,
            lives: false,
        });
    }

    /// When a target in quarantine is to be asked.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.quarantine.iter().filter(|it| !it.lives).map(|it| it.due).min()
    }

    fn poll_due(&mut self, now: Time) -> Option<Target> {
        let due = self.quarantine.iter_mut().find(|it| !it.lives && it.due <= now)?;
        due.put_off(now);
        Some(due.target)
    }

    fn on_lives(&mut self, now: Time, transport: Transport, remote: SocketAddr) {
        for it in &mut self.quarantine {
            if (it.target.transport, it.target.remote) == (transport, remote) && !it.lives {
                (it.lives, it.due) = (true, now + it.wait + ASK_AFTER_MAX);
            }
        }
    }
}

impl Failed {
    fn put_off(&mut self, now: Time) {
        self.wait = (self.wait * 2).min(ASK_AFTER_MAX);
        self.due = now + self.wait;
    }
}

/// A name may end in a dot, which says nothing here.
fn without_dot(host: Host<'_>) -> Host<'_> {
    match host {
        Host::Name(name) => Host::Name(name.strip_suffix(b".").unwrap_or(name)),
        address @ Host::Address(_) => address,
    }
}

impl Engine {
    /// The way of a request of the PBX's that names neither a phone nor a dialog of ours: a call
    /// or a registration at a trunk's host.
    pub(crate) fn route_to_trunk(
        &mut self,
        now: Time,
        arrival: Arrival<'_, '_>,
    ) -> Result<Route, Reason> {
        let uri = Uri::parse(arrival.message.request_uri()).ok_or(Reason::NoRoute)?;
        let key = self.trunks.lots.key(arrival.message.call_id());
        let targets = self.trunks.targets(&uri, key).ok_or(Reason::NoRoute)?;
        let target = self.trunks.choose(&targets, None).ok_or(Reason::TrunkUnreachable)?;
        let owner = Engine::shard_of(target.remote.ip(), self.shards);
        if owner != self.shard && !arrival.handed {
            return Ok(Route::Shard(owner));
        }
        let flow = self.flow_to_target(now, &target).ok_or(Reason::Overload)?;
        let pbx = self.pbx_of(&arrival.flow, Some(arrival.message)).unwrap_or(NO_PBX);
        let side = Side::Outside;
        Ok(Route::To(Hop { side, flow, pbx, key: 0, bound: None, secure: uri.is_sips() }))
    }

    /// The flow to a target: over a stream one that is open, else one that is opened now. Whom its
    /// certificate must name is its domain (RFC 5922 §7.1).
    fn flow_to_target(&mut self, now: Time, target: &Target) -> Option<Flow> {
        let Target { transport, local, remote, .. } = *target;
        if transport == Transport::Udp {
            return Some(Flow::udp(local, remote));
        }
        let (host, _) = self.trunks.find(|it| it == target)?;
        let name = Cow::Owned(policy::Trunk::domain(&host.host).to_owned());
        self.connect(now, &Peer { side: Side::Outside, transport, local, remote, name })
    }

    /// A connection that led to a trunk is gone, or one of the carrier's own: its dialogs go on over
    /// another one to where that trunk is reached.
    pub(crate) fn reconnect(&mut self, now: Time, lost: &Flow) -> Option<Flow> {
        let exact = |it: &Target| it.transport == lost.transport && it.remote == lost.remote;
        let same =
            |it: &Target| it.transport == lost.transport && it.remote.ip() == lost.remote.ip();
        let (_, target) = self.trunks.find(exact).or_else(|| self.trunks.find(same))?;
        self.flow_to_target(now, &target)
    }

    /// The flow to the next target of a trunk, when one failed: that is in quarantine from now on.
    pub(crate) fn next_target(
        &mut self,
        now: Time,
        request: &Message<'_>,
        failed: &Flow,
    ) -> Option<Flow> {
        let uri = Uri::parse(request.request_uri());
        let key = self.trunks.lots.key(request.call_id());
        let mut targets = uri.and_then(|uri| self.trunks.targets(&uri, key)).unwrap_or_default();
        // our outside Record-Route stays, and names both
        targets.retain(|it| (it.transport, it.local) == (failed.transport, failed.local));
        let failed = *targets.iter().find(|target| target.remote == failed.remote)?;
        let next = self.trunks.choose(&targets, Some(failed));
        self.trunks.fail(now, failed);
        self.flow_to_target(now, &next?)
    }

    /// Asks the targets in quarantine that are due whether they live. Nothing is kept: the branch
    /// binds the Call-ID, so that the answer is known by itself.
    pub(crate) fn ask_trunks(&mut self, now: Time) {
        while let Some(target) = self.trunks.poll_due(now) {
            let Target { transport, local, remote, .. } = target;
            let Some(flow) = self.flow_to_target(now, &target) else { continue };
            let second = now.as_secs().to_be_bytes();
            let to = remote.to_string();
            let call_id = format!("{:016x}", self.hash.hash(&[TAG, &second, to.as_bytes()]));
            let binds = Binds { call_id: call_id.as_bytes(), from_tag: TAG, source: local.ip() };
            let branch = self.branches.make(now, self.shard, NO_SLOT, 0, 0, &binds).text();
            let branch = String::from_utf8_lossy(&branch).into_owned();
            let written = self.out.write(|out| {
                let via = transport.as_via();
                write!(out, "OPTIONS sip:{remote} SIP/2.0\r\nVia: SIP/2.0/{via} ")?;
                self.names.write_sent_by(Side::Outside, &flow, out);
                write!(
                    out,
                    ";branch={branch};rport\r\nMax-Forwards: 70\r\n\
                     From: <sip:ringfence@{local}>;tag=trunk\r\nTo: <sip:{remote}>\r\n\
                     Call-ID: {call_id}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
                )
            });
            if let Ok(range) = written {
                self.out.send(Side::Outside, &flow, range);
            }
        }
    }

    /// Whether a response answers such a question. Whatever it is, but a 503, its sender lives.
    pub(crate) fn on_trunk_answer(
        &mut self,
        now: Time,
        arrival: Arrival<'_, '_>,
        branch: &Branch,
    ) -> bool {
        let message = arrival.message;
        let Flow { local, remote, .. } = arrival.flow;
        let binds =
            Binds { call_id: message.call_id(), from_tag: message.from_tag(), source: local.ip() };
        let asked = arrival.side == Side::Outside
            && branch.slot() == NO_SLOT
            && message.from_tag() == TAG
            && self.branches.is_proof(now, branch, &binds);
        if asked && message.status() != 503 {
            let transport = arrival.flow.transport;
            self.trunks.on_lives(now, transport, remote);
        }
        asked
    }

    /// A REGISTER of the PBX's: its Contact names the outside listener, because the carrier calls
    /// it there. User and parameters stay, `line` among them, but for the transport, which is that of
    /// the carrier.
    pub(crate) fn edit_outside_contacts(&self, splice: &mut Splice<'_, '_>, flow: &Flow) {
        let mut name = Vec::new();
        self.names.write_sent_by(Side::Outside, flow, &mut name);
        write_transport(flow.transport, &mut name);
        for value in splice.message().values(HeaderName::Contact) {
            if let Some(span) = host_port(&value) {
                if let Some(transport) = transport_behind(&value, span) {
                    splice.replace(transport, b"");
                }
                splice.replace(span, &name);
            }
        }
    }

    /// The answer to it: the PBX finds the Contact that it sent.
    pub(crate) fn edit_inside_contacts(
        &self,
        splice: &mut Splice<'_, '_>,
        arrival: Arrival<'_, '_>,
        pbx: usize,
    ) {
        let Some(pbx) = self.policy.pbx.get(pbx) else { return };
        let mut name = Vec::new();
        // writing to a Vec does not fail
        drop(write!(name, "{}", pbx.address));
        write_transport(pbx.transport, &mut name);
        for value in splice.message().values(HeaderName::Contact) {
            let address = NameAddr::parse(value.bytes, value.span.start);
            let uri = address.and_then(|address| Uri::parse(address.uri));
            if uri.is_some_and(|uri| self.names.is_ours(&uri, arrival.flow.local))
                && let Some(span) = host_port(&value)
            {
                if let Some(transport) = transport_behind(&value, span) {
                    splice.replace(transport, b"");
                }
                splice.replace(span, &name);
            }
        }
    }
}

/// Where the URI of a Contact says behind host and port by which transport it is reached.
fn transport_behind(value: &wire::Value<'_>, host_port: Span) -> Option<Span> {
    const TRANSPORT: &[u8] = b";transport=";
    let address = NameAddr::parse(value.bytes, value.span.start)?;
    let behind = usize::from(host_port.end - address.uri_span.start);
    let params = address.uri.get(behind..)?.split(|byte| *byte == b'?').next()?;
    let same = |window: &[u8]| window.eq_ignore_ascii_case(TRANSPORT);
    let at = params.windows(TRANSPORT.len()).position(same)?;
    let rest = params.get(at + 1..)?;
    let length = rest.iter().position(|byte| *byte == b';').unwrap_or(rest.len());
    let start = host_port.end + at as u16;
    Some(Span { start, end: start + 1 + length as u16 })
}

/// Where host and port stand in an address with a SIP URI.
pub(crate) fn host_port(value: &wire::Value<'_>) -> Option<Span> {
    let address = NameAddr::parse(value.bytes, value.span.start)?;
    let uri = Uri::parse(address.uri).filter(Uri::is_sip)?;
    let sign = address.uri.iter().position(|byte| *byte == b'@');
    let at = sign.unwrap_or(uri.scheme.len());
    let rest = address.uri.get(at + 1..)?;
    let length = rest.iter().position(|byte| matches!(byte, b';' | b'?')).unwrap_or(rest.len());
    let start = address.uri_span.start + u16::try_from(at + 1).ok()?;
    Some(Span { start, end: start + u16::try_from(length).ok()? })
}
