//! What is read of a request once, for all steps of its judgement.

use super::Gate;
use crate::challenge::made_for;
use crate::ledger::{Flags, INVITE, Open};
use crate::offers::Offered;
use crate::proof::{Echo, is_own_nonce};
use crate::request::{REGISTER, dialled};
use crate::rules::user;
use crate::sources::{Passage, Score};
use crate::{BanId, Credentials, Proof, Refusal, Request, Ticket};
use policy::{Hits, Outcome, Reason, Time, Who};
use std::cell::OnceCell;
use std::net::IpAddr;
use wire::{Digest, Flow, HeaderName, Host, Message, Uri};

/// A request with what is known of it.
pub(super) struct Asked<'r, 'a> {
    pub(super) request: &'r Request<'r, 'a>,
    pub(super) ip: IpAddr,
    /// Key of its source.
    pub(super) source: u64,
    /// Key of (account, source).
    pub(super) pair: u64,
    pub(super) aor_uri: &'a [u8],
    pub(super) dialled: &'a [u8],
    pub(super) credentials: Credentials,
    /// It goes on with a challenge that is open.
    pub(super) answers: bool,
    /// It took a try at its account when that challenge was asked for.
    pub(super) counted: bool,
    /// It took one of those that are slowed here.
    pub(super) slowed: bool,
    pub(super) ticket: Ticket,
    pub(super) proof: Option<Proof>,
    pub(super) score: Score,
    pub(super) passage: Passage,
    pub(super) would: Option<Refusal>,
    /// The ban that spoke.
    pub(super) ban: Option<BanId>,
    /// Index of the rule that spoke last, and of the signature.
    pub(super) rule: u16,
    /// Signatures that it matches, as far as they are asked.
    pub(super) hits: Hits,
    /// A rule wants it challenged.
    pub(super) challenge: Option<(Reason, u16)>,
    /// Rules behind this one are not asked.
    pub(super) rules_end: usize,
    /// What a refusal at home would count on first, once it is asked for.
    pub(super) tried: OnceCell<u64>,
}

/// What the credentials of a request are and prove.
#[derive(Clone, Copy, Debug)]
pub(super) struct Classified<'a> {
    pub(super) credentials: Credentials,
    pub(super) proof: Option<Proof>,
    /// An old nonce of the edge's own: nobody's fault.
    pub(super) expired: bool,
    /// Whom they name.
    pub(super) username: &'a [u8],
    /// See [`Ticket::offered`].
    pub(super) offered: u64,
}

/// A domain of ours in lower case, where it tells AORs apart.
type Domain = arrayvec::ArrayVec<u8, 64>;

/// Whom a URI names.
enum Named<'a> {
    Sip { user: &'a [u8], domain: Domain },
    Other(&'a [u8]),
}

impl Named<'_> {
    /// Whether credentials of this name are for the AOR itself.
    fn is(&self, username: &[u8]) -> bool {
        matches!(self, Named::Sip { user, .. } if *user == username && !user.contains(&b'\\'))
    }
}

impl Classified<'_> {
    /// Of a request without credentials over that flow.
    pub(super) fn bare(flow: &Flow) -> Self {
        Classified {
            credentials: Credentials::Absent,
            proof: flow.transport.is_reliable().then_some(Proof::Handshake),
            expired: false,
            username: b"",
            offered: 0,
        }
    }
}

impl<'a> Asked<'_, 'a> {
    /// Whether it answers the edge's own challenge.
    pub(super) fn is_echo(&self) -> bool {
        self.credentials == Credentials::Echo || self.ticket.offered != 0
    }

    /// The AOR as it was written, for explanations.
    pub(super) fn aor_text(&self) -> &'a [u8] {
        let uri = self.aor_uri;
        let start = uri.iter().position(|b| *b == b':').map_or(0, |colon| colon + 1);
        let rest = uri.get(start..).unwrap_or_default();
        rest.split(|b| *b == b';' || *b == b'?').next().unwrap_or_default()
    }
}

impl Gate {
    /// Reads a request and looks its sender up.
    pub(super) fn ask<'r, 'a>(
        &mut self,
        now: Time,
        request: &'r Request<'r, 'a>,
        classified: Classified<'_>,
    ) -> Asked<'r, 'a> {
        let message = request.message;
        let ip = request.flow.remote.ip();
        let source = self.sources.key_of(ip);
        let method = policy::method_index(message.method());
        let from = if method == REGISTER { message.to() } else { message.from() };
        let named = self.named(from.uri);
        let aor = self.aor_named(&named);
        let uri = message.request_uri();
        let dialled = dialled(uri);
        let passes = classified.credentials == Credentials::Relayed;
        let account = match classified.username {
            // most phones log in by the name that they register
            username if passes && !username.is_empty() && !named.is(username) => {
                self.account_of(username, &named)
            }
            _ => aor,
        };
        let pair = self.pairs.at_source(account, source);
        let entry = self.entry_of(source, message, method);
        // the look-ups stand together, so that memory is waited for once
        let rules = &self.policy.admission;
        let open = if passes { self.ledger.find(entry) } else { None };
        let (who, proof, score, passage) = self.sender(now, request, source);
        let is_home = |pair: u64| {
            let pair = self.pairs.find(pair);
            pair.is_some_and(|pair| pair.is_home(now, rules.trust.window))
        };
        let own = is_home(pair);
        // home to another account under this AOR: good for all but a try at the AOR's own
        let other = !own && account == aor && is_home(self.pairs.at_source(!aor, source));
        let at_home = own || other && !passes;
        let tagged = !message.to_tag().is_empty();
        // a challenge is answered once: what comes while the PBX is busy with it is one more try
        let unanswered =
            |open: &Open| !open.flags.has(Flags::FOLLOWS) && !open.flags.has(Flags::ANSWERED);
        let answers = passes && classified.offered == 0 && open.is_some_and(unanswered);
        let took = |flag| answers && open.is_some_and(|open| open.flags.has(flag));
        let (guarded, slowed) = (took(Flags::GUARDED), took(Flags::SLOWED));
        Asked {
            request,
            ip,
            source,
            pair,
            aor_uri: from.uri,
            dialled,
            credentials: classified.credentials,
            answers,
            counted: guarded && account == aor && !other,
            slowed,
            proof,
            score,
            passage,
            would: None,
            ban: None,
            rule: u16::MAX,
            hits: Hits::new(),
            challenge: None,
            rules_end: usize::MAX,
            tried: OnceCell::new(),
            ticket: Ticket {
                pbx: request.pbx,
                entry,
                aor,
                account,
                shape: 0,
                face: 0,
                who,
                method,
                factor: 1,
                raised_by: u16::MAX,
                signature: u16::MAX,
                numbers: self.numbers,
                credentials: passes,
                at_home,
                honeytoken: false,
                candidate: false,
                judged: true,
                tagged,
                proof: classified.proof,
                guarded: false,
                slowed: false,
                tried: 0,
                tried_over_all: 0,
                passing: 0,
                offered: if passes { classified.offered } else { 0 },
            },
        }
    }

    fn sender(
        &self,
        now: Time,
        request: &Request<'_, '_>,
        source: u64,
    ) -> (Who, Option<Proof>, Score, Passage) {
        let rules = &self.policy.admission;
        let stream = request.flow.transport.is_reliable();
        let least = if stream { Who::Proven } else { Who::Unproven };
        let proof = stream.then_some(Proof::Handshake);
        let lifetime = rules.proof.lifetime;
        let stranger = (least, proof, Score::default(), Passage::default());
        self.sources.find(source).map_or(stranger, |it| {
            let who = it.who(now, &rules.trust, lifetime).max(least);
            let proof = proof.or_else(|| it.proof(now, lifetime));
            (who, proof, it.score(now, &rules.half_life), it.passage(now, lifetime))
        })
    }

    /// What the credentials are, and what they prove. `Relayed` when all of them are.
    pub(super) fn classify<'a>(&mut self, now: Time, request: &Request<'_, 'a>) -> Classified<'a> {
        let none = Classified::bare(request.flow);
        let names = [HeaderName::Authorization, HeaderName::ProxyAuthorization];
        if names.iter().all(|name| request.message.value(*name).is_none()) {
            return none;
        }
        names.iter().fold(none, |all, name| self.classify_lines(now, request, *name, all))
    }

    /// The same with what the lines of that name say.
    fn classify_lines<'a>(
        &mut self,
        now: Time,
        request: &Request<'_, 'a>,
        name: HeaderName,
        mut all: Classified<'a>,
    ) -> Classified<'a> {
        let ip = request.flow.remote.ip();
        let lifetime = self.policy.admission.proof.lifetime;
        for (_, header) in request.message.lines(name) {
            let digest = request.message.digest(header);
            if !digest.is_digest {
                continue;
            }
            let echo = self.proofs.check_opaque(now, digest.opaque, ip, lifetime);
            if echo == Echo::Fresh {
                all.proof = all.proof.or(Some(Proof::Opaque));
            }
            let mut one = self.classify_nonce(now, request, &digest, echo == Echo::Fresh, &mut all);
            // a PBX takes the line, or the parameter, that suits it: who names two accounts is
            // challenged anew
            let other = all.credentials != Credentials::Absent && all.username != digest.username;
            if other || digest.is_ambiguous {
                one = Credentials::Foreign;
            }
            all.username = digest.username;
            all.credentials = match (all.credentials, one) {
                (Credentials::Foreign, _) | (_, Credentials::Foreign) => Credentials::Foreign,
                (Credentials::Echo, _) | (_, Credentials::Echo) => Credentials::Echo,
                (_, one) => one,
            };
        }
        all
    }

    fn classify_nonce(
        &mut self,
        now: Time,
        request: &Request<'_, '_>,
        digest: &Digest<'_>,
        echoes: bool,
        all: &mut Classified<'_>,
    ) -> Credentials {
        let (nonce, ip, pbx) = (digest.nonce, request.flow.remote.ip(), request.pbx);
        if !is_own_nonce(nonce) {
            if self.nonces.was_relayed(now, nonce, pbx, ip) {
                return Credentials::Relayed;
            }
            return match self.challenges.of(pbx).offers.check(now, nonce) {
                Offered::Fresh if echoes => {
                    // its sender is there: from now on it is as one that was relayed
                    self.nonces.relayed(now, nonce, pbx, ip);
                    let (realm, algorithm) = made_for(digest);
                    all.offered = self.names.hash(&[realm, &[algorithm]]).max(1);
                    Credentials::Relayed
                }
                Offered::Expired => {
                    all.expired = true;
                    Credentials::Foreign
                }
                _ => {
                    // he comes from another PBX that does not serve now, or is back where he belongs
                    all.expired |= self.is_of_another(now, nonce, pbx, ip);
                    Credentials::Foreign
                }
            };
        }
        let lifetime = self.policy.admission.edge_challenge.lifetime;
        match self.proofs.check_nonce(now, nonce, ip, lifetime) {
            Echo::Fresh => {
                // of a stream, too: that its peer can answer is more than that it is there
                all.proof = Some(Proof::Nonce);
                Credentials::Echo
            }
            Echo::Expired => {
                all.expired = true;
                Credentials::Foreign
            }
            Echo::NotOurs => Credentials::Foreign,
        }
    }

    /// Whether this source has a nonce from another PBX.
    fn is_of_another(&mut self, now: Time, nonce: &[u8], pbx: u32, ip: IpAddr) -> bool {
        let Gate { policy, nonces, challenges, .. } = self;
        policy.pbx.iter().map(policy::Pbx::id).filter(|other| *other != pbx).any(|other| {
            nonces.was_relayed(now, nonce, other, ip)
                || challenges.of(other).offers.check(now, nonce) == Offered::Fresh
        })
    }

    /// Key of a ledger entry.
    pub(super) fn entry_of(&self, source: u64, message: &Message<'_>, method: u8) -> u64 {
        let [call, tag] =
            [message.call_id(), message.from_tag()].map(|id| self.entries.hash_one(id));
        self.entries.mix(source ^ u64::from(method), self.entries.mix(call, tag))
    }

    /// Hash of an AOR: user and host without parameters, port and the host's letter case. Of hosts
    /// only our domains tell AORs apart: to a PBX of one domain, `alice@a` and `alice@b` are one.
    pub(super) fn aor_of(&self, uri: &[u8]) -> u64 {
        self.aor_named(&self.named(uri))
    }

    fn aor_named(&self, named: &Named<'_>) -> u64 {
        match named {
            Named::Sip { user, domain } => self.account(user, domain),
            Named::Other(uri) => self.names.hash(&[uri]),
        }
    }

    /// Hash of a user of ours, or of one of that domain.
    fn account(&self, user: &[u8], domain: &[u8]) -> u64 {
        let user = self.names.hash_one(user);
        match domain {
            [] => user,
            domain => self.names.mix(user, self.names.hash_one(domain)),
        }
    }

    fn named<'a>(&self, uri: &'a [u8]) -> Named<'a> {
        // where no host tells AORs apart, a user that reads as it is written says all
        if self.policy.domains.len() < 2
            && let Some(user) = policy::plain_user(uri)
        {
            return Named::Sip { user, domain: Domain::new() };
        }
        let Some(parsed) = Uri::parse(uri).filter(Uri::is_sip) else { return Named::Other(uri) };
        let user = parsed.user.split(|b| *b == b';').next().unwrap_or_default();
        Named::Sip { user, domain: self.domain_of(&parsed) }
    }

    /// The same for the user that credentials name, in the domain of the AOR that they come with.
    fn account_of(&self, username: &[u8], named: &Named<'_>) -> u64 {
        let domain = match named {
            Named::Sip { domain, .. } => &domain[..],
            Named::Other(_) => b"",
        };
        if !username.contains(&b'\\') {
            return self.account(username, domain);
        }
        // some PBXs undo escapes: `\a\b` is nobody but `ab`
        let mut bytes = username.iter();
        let plain = std::iter::from_fn(|| match bytes.next()? {
            b'\\' => bytes.next(),
            byte => Some(byte),
        });
        let plain: arrayvec::ArrayVec<u8, 128> = plain.take(128).copied().collect();
        self.account(&plain, domain)
    }

    fn domain_of(&self, parsed: &Uri<'_>) -> Domain {
        let mut host = Domain::new();
        if let Host::Name(name) = parsed.host
            && self.policy.domains.len() > 1
            && self.policy.is_domain(name)
        {
            host.extend(name.iter().take(64).map(u8::to_ascii_lowercase));
        }
        host
    }

    /// Whether it speaks of what never existed.
    pub(super) fn asks_for_honeytoken(&self, asked: &Asked<'_, '_>) -> bool {
        !self.policy.admission.honeytokens.is_empty()
            && (self.is_honeytoken(user(asked.aor_uri), asked.aor_uri)
                || self.is_honeytoken(asked.dialled, asked.request.message.request_uri()))
    }

    /// Whether this user, or `user@host`, never exists.
    fn is_honeytoken(&self, user: &[u8], uri: &[u8]) -> bool {
        self.policy.admission.honeytokens.iter().any(|token| {
            let token = token.as_bytes();
            let Some(at) = token.iter().position(|b| *b == b'@') else {
                return !user.is_empty() && user == token;
            };
            let host = Host::parse(&token[at + 1..]);
            let parsed = Uri::parse(uri).filter(Uri::is_sip);
            parsed.is_some_and(|uri| {
                uri.user == &token[..at] && host.is_some_and(|host| host.matches(&uri.host))
            })
        })
    }

    /// Counts what came in place of an answer to a challenge, and lets that be open for longer.
    pub(super) fn on_credentials(&mut self, now: Time, asked: &mut Asked<'_, '_>, expired: bool) {
        let entry = asked.ticket.entry;
        if let Some(proof) = asked.ticket.proof {
            self.prove_entry(now, entry, proof);
        }
        match asked.credentials {
            Credentials::Absent => {}
            Credentials::Relayed => {
                self.begin_try(now, asked);
                if let Some(open) = self.ledger.find_mut(entry) {
                    open.flags.set(Flags::ANSWERED, true);
                    open.flags.take(&asked.ticket);
                }
            }
            Credentials::Echo => self.ledger.restart(now, entry),
            Credentials::Foreign if expired => {
                self.count(Outcome::Stale);
                self.ledger.restart(now, entry);
            }
            Credentials::Foreign => {
                self.count(Outcome::Foreign);
                self.ledger.restart(now, entry);
                self.on_foreign(now, asked);
            }
        }
    }

    /// Whether a stranger calls one of our numbers.
    pub(super) fn is_candidate(&self, asked: &Asked<'_, '_>) -> bool {
        asked.ticket.method == INVITE
            && asked.ticket.who <= Who::Proven
            && asked.ticket.signature == u16::MAX
            && crate::rules::is_dialled(&self.policy.admission.dids, asked.dialled)
    }
}
