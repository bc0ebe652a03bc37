//! What an onlooker who knows no secret of the edge can tell of its sources: what each was told,
//! what it gave back, and how many bytes went each way.

use crate::sip::{Msg, SipUri, auth_param, uri_of};
use policy::{Network, Reason, Time};
use proxy::Seats;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

/// Secrets remembered of one source.
const TOLD: usize = 512;

/// How long a proof or success is taken to last here: longer than any policy of a test says, so
/// that only what is wrong under all of them is called wrong.
const PROOF: Duration = Duration::from_secs(20 * 60);
const SUCCESS: Duration = Duration::from_secs(25 * 3_600);

/// The onlooker.
#[derive(Debug)]
pub struct Watch {
    sources: BTreeMap<Network, Seen>,
    /// Sources that share a place share what they paid: all together get no more than they sent.
    seats: Seats,
    /// By place, bytes that came from unproven sources, and that went there.
    bytes: BTreeMap<usize, (u64, u64)>,
    /// Requests that reached the PBX, ACK and CANCEL apart, by Call-ID: how many, and when the last.
    reached: BTreeMap<String, (u64, Time)>,
    /// What was decided about the requests of each address, ACKs apart, and how often.
    decided: BTreeMap<(IpAddr, Reason), u64>,
    /// Requests that went inside, by branch: when, until the PBX says something. One that is down never
    /// does.
    branches: BTreeMap<String, Option<Time>>,
    /// Nonces that the PBX made: all who are challenged in one second know the same.
    public: BTreeSet<String>,
    counts_only: bool,
}

/// One source.
#[derive(Debug, Default)]
struct Seen {
    told: VecDeque<String>,
    proven: Option<Time>,
    authenticated: Option<Time>,
}

impl Watch {
    /// Of an edge with this secret.
    pub fn new(secret: &[u8; 32]) -> Self {
        Watch {
            sources: BTreeMap::new(),
            seats: Seats::new(secret),
            bytes: BTreeMap::new(),
            reached: BTreeMap::new(),
            decided: BTreeMap::new(),
            branches: BTreeMap::new(),
            public: BTreeSet::new(),
            counts_only: false,
        }
    }

    /// Looks at no message from now on: for floods of more sources than it could remember.
    pub fn only_count(&mut self) {
        self.counts_only = true;
    }

    /// A datagram came from a source; one of nobody who is trusted is counted.
    pub fn on_datagram(&mut self, now: Time, source: IpAddr, trusted: bool, bytes: &[u8]) {
        if self.counts_only {
            return;
        }
        let seen = self.sources.entry(Network::source(source)).or_default();
        if !trusted {
            self.bytes.entry(self.seats.of(source)).or_default().0 += bytes.len() as u64;
        }
        // What nobody was told, nobody can give back.
        if seen.told.is_empty() {
            return;
        }
        if let Some(msg) = Msg::parse(bytes).filter(Msg::is_request) {
            let given = secrets(&msg, "Route", &["Authorization", "Proxy-Authorization"]);
            if given.iter().any(|secret| seen.told.contains(secret)) {
                seen.proven = Some(now);
            }
        }
    }

    /// A response came from inside.
    pub fn on_inside(&mut self, msg: &Msg) {
        for value in msg.values_of_lines("WWW-Authenticate") {
            self.public.extend(auth_param(&value, "nonce"));
        }
    }

    /// A connection of a source is complete.
    pub fn on_opened(&mut self, now: Time, source: IpAddr) {
        self.sources.entry(Network::source(source)).or_default().proven = Some(now);
    }

    /// A response leaves to a source, and is counted unless it is `free`: to somebody trusted, or
    /// on a stream.
    pub fn on_answer(&mut self, now: Time, to: IpAddr, free: bool, msg: &Msg, length: usize) {
        if self.counts_only {
            return;
        }
        let seen = self.sources.entry(Network::source(to)).or_default();
        for secret in secrets(msg, "Record-Route", &["WWW-Authenticate", "Proxy-Authenticate"]) {
            if !seen.told.contains(&secret) && !self.public.contains(&secret) {
                seen.told.push_back(secret);
            }
        }
        while seen.told.len() > TOLD {
            seen.told.pop_front();
        }
        // "a call that is accepted is told, once, whatever it costs"
        let accepted = (200..300).contains(&msg.status()) && msg.method() == "INVITE";
        if !free && !accepted && !seen.has_way_back(now) {
            self.bytes.entry(self.seats.of(to)).or_default().1 += length as u64;
        }
        if (200..300).contains(&msg.status()) && msg.method() != "OPTIONS" {
            seen.authenticated = Some(now);
        }
    }

    /// By how many bytes the answers to unproven sources of one place exceed what came from them.
    #[must_use]
    pub fn excess(&self, source: IpAddr) -> Option<u64> {
        let (came, went) = self.bytes.get(&self.seats.of(source))?;
        went.checked_sub(*came).filter(|excess| *excess > 0)
    }

    /// Whether a source ever gave back what only it was told, or had a connection.
    #[must_use]
    pub fn was_proven(&self, source: &Network) -> bool {
        self.sources.get(source).is_some_and(|seen| seen.proven.is_some())
    }

    /// Whether any source in a network was.
    #[must_use]
    pub fn was_any_proven(&self, network: &Network) -> bool {
        let within = |source: &Network| network.contains(source.address());
        self.sources.iter().any(|(source, seen)| within(source) && seen.proven.is_some())
    }

    /// A request goes inside.
    pub fn on_forwarded(&mut self, now: Time, msg: &Msg) {
        if !matches!(msg.method(), "ACK" | "CANCEL") {
            self.branches.entry(msg.branch()).or_insert(Some(now));
        }
    }

    /// The PBX answers one.
    pub fn on_answered(&mut self, msg: &Msg) {
        if let Some(sent) = self.branches.get_mut(&msg.branch()).and_then(Option::take) {
            let reached = self.reached.entry(msg.value("Call-ID").to_string()).or_default();
            *reached = (reached.0 + 1, reached.1.max(sent));
        }
    }

    /// It was decided about a request, no ACK, from outside.
    pub fn on_decided(&mut self, source: IpAddr, reason: Reason) {
        if !self.counts_only {
            *self.decided.entry((source, reason)).or_default() += 1;
        }
    }

    /// Why requests from these addresses were decided about as they were, and how often.
    pub fn reasons(&self, sources: impl Iterator<Item = IpAddr>) -> BTreeMap<Reason, u64> {
        let mut sum = BTreeMap::new();
        for source in sources {
            let of = Reason::ALL.map(|reason| (reason, self.decided.get(&(source, reason))));
            for (reason, count) in of {
                if let Some(count) = count {
                    *sum.entry(reason).or_default() += count;
                }
            }
        }
        sum
    }

    /// How many requests of these calls reached the PBX, and when the last one went there.
    pub fn leaked<'c>(&self, calls: impl Iterator<Item = &'c str>) -> (u64, Option<Time>) {
        calls
            .filter_map(|call| self.reached.get(call))
            .fold((0, None), |(sum, last), (n, at)| (sum + n, last.max(Some(*at))))
    }
}

impl Seen {
    fn has_way_back(&self, now: Time) -> bool {
        self.proven.is_some_and(|at| now.since(at) <= PROOF)
            || self.authenticated.is_some_and(|at| now.since(at) <= SUCCESS)
    }
}

/// What stands in a message that can only be known to whom it was told: the To-tag, the user
/// parts of routes, `opaque` and `nonce`.
fn secrets(msg: &Msg, routes: &str, challenges: &[&str]) -> Vec<String> {
    let mut found = vec![msg.to_tag()];
    for route in msg.values(routes) {
        found.extend(SipUri::parse(uri_of(&route)).map(|uri| uri.user));
    }
    for value in challenges.iter().flat_map(|name| msg.values_of_lines(name)) {
        found.extend(["opaque", "nonce"].into_iter().filter_map(|name| auth_param(&value, name)));
    }
    found.retain(|secret| secret.len() > 4);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever is trusted gets more than it sent; that is not at the cost of who shares its place.
    #[test]
    fn bytes_of_the_trusted_are_nobodys() {
        let now = Time::ZERO + Duration::from_secs(1_000);
        let mut watch = Watch::new(&[7; 32]);
        let source = IpAddr::from([198, 51, 100, 1]);
        let text = b"SIP/2.0 401 No\r\nTo: <sip:1@x>;tag=abcdef\r\nCSeq: 1 OPTIONS\r\n\r\n";
        let answer = Msg::parse(text).expect("a response");
        watch.on_datagram(now, source, true, b"x");
        watch.on_answer(now, source, true, &answer, 500);
        assert_eq!(watch.excess(source), None);
        watch.on_datagram(now, source, false, &[b'x'; 400]);
        watch.on_answer(now, source, false, &answer, 401);
        assert_eq!(watch.excess(source), Some(1));
    }
}
