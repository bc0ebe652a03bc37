//! The edge's own challenge: what is written into it, the nonces of the PBX's that it offers, and
//! what the PBX says of those.

use super::Gate;
use super::asked::Asked;
use crate::challenge::{Ask, made_for};
use crate::{Effect, Learned, Memory, Request, Ticket};
use policy::{ChallengeMode, Time};
use wire::{Flow, HeaderName, Message};

impl Gate {
    /// The prefix that a relayed challenge's `opaque` gets for this flow; `None` when the policy
    /// wants none.
    #[must_use]
    pub fn opaque(&mut self, now: Time, flow: &Flow) -> Option<arrayvec::ArrayVec<u8, 32>> {
        let wanted = self.policy.admission.proof.opaque;
        wanted.then(|| self.proofs.opaque(now, flow.remote.ip()))
    }

    /// How many bytes at the front of an `opaque` from outside are such a prefix.
    #[must_use]
    pub fn opaque_prefix(&self, opaque: &[u8]) -> usize {
        crate::proof::opaque_prefix(opaque)
    }

    /// Appends the header lines of the edge's own challenge: one `WWW-Authenticate` for each
    /// algorithm that the PBX was seen to use, with `stale=true` when the request had credentials.
    /// `false` when the realm is not known yet: then there is no challenge.
    pub fn write_challenge(
        &mut self,
        now: Time,
        request: &Request<'_, '_>,
        out: &mut Vec<u8>,
    ) -> bool {
        let names = [HeaderName::Authorization, HeaderName::ProxyAuthorization];
        let stale = names.iter().any(|name| request.message.lines(*name).next().is_some());
        let proof = self.opaque(now, request.flow);
        let realm = self.policy.admission.edge_challenge.realm.as_deref();
        let challenges = self.challenges.of(request.pbx);
        let proof = proof.filter(|_| challenges.may_offer(realm));
        // whoever leaves out `opaque` has come with credentials, and gets on with our own nonce
        if let (Some(proof), Some(nonce), false) = (proof, challenges.offers.offer(now), stale) {
            return challenges.write(realm, Ask::Offer(nonce, &proof), stale, out);
        }
        let nonce = self.proofs.nonce(now, request.flow.remote.ip());
        challenges.write(realm, Ask::Own(&nonce), stale, out)
    }

    /// Whoever drives this gate asks [`Gate::wants_probe`] for each challenge.
    #[must_use]
    pub fn with_probes(mut self) -> Self {
        self.probes = true;
        self
    }

    /// Whether that PBX should be asked for a challenge, now that the edge challenges: there is no
    /// nonce of the PBX's to offer, or not for long. Whoever asks says so by [`Gate::on_probe`].
    #[must_use]
    pub fn wants_probe(&self, now: Time, pbx: u32) -> bool {
        let rules = &self.policy.admission;
        let challenges = self.challenges.of(pbx);
        rules.proof.opaque
            && challenges.may_offer(rules.edge_challenge.realm.as_deref())
            && challenges.offers.wants_probe(now)
    }

    /// The PBX is asked for a challenge.
    pub fn on_probe(&mut self, now: Time, pbx: u32) {
        self.challenges.of_mut(pbx).offers.on_probe(now);
    }

    /// What the PBX answered to that.
    pub fn on_probed(&mut self, now: Time, pbx: u32, answer: &Message<'_>) {
        let challenges = self.challenges.of_mut(pbx);
        let learned = match answer.status() {
            401 | 407 => challenges.on_challenge(now, answer, |_| {}),
            _ => None,
        };
        challenges.offers.on_probed(now);
        if let Some(learned) = learned {
            self.on_realm_seen(learned);
        }
    }

    /// Whether a datagram's challenge is better left to its retransmission: that PBX was asked for a
    /// nonce less than T1 ago.
    #[must_use]
    pub fn awaits_nonce(&self, now: Time, pbx: u32) -> bool {
        self.challenges.of(pbx).offers.is_awaited(now)
    }

    /// Whether credentials with a nonce that the edge offered were refused for what the edge
    /// offered: the PBX finds the nonce stale, or wants another realm or algorithm of this user.
    /// Then the client is to try again, and not to ask its user.
    #[must_use]
    pub fn was_offered_amiss(&self, ticket: &Ticket, challenge: &Message<'_>) -> bool {
        if ticket.offered == 0 {
            return false;
        }
        let mut meant = false;
        for name in [HeaderName::WwwAuthenticate, HeaderName::ProxyAuthenticate] {
            for (_, header) in challenge.lines(name) {
                let digest = challenge.digest(header);
                if digest.stale.is_some_and(|(stale, _)| stale) {
                    return true;
                }
                let (realm, algorithm) = made_for(&digest);
                meant |= self.names.hash(&[realm, &[algorithm]]).max(1) == ticket.offered;
            }
        }
        !meant
    }

    /// Whether the edge's own challenge can be written at all.
    pub(super) fn can_challenge(&self, asked: &Asked<'_, '_>) -> bool {
        let rules = &self.policy.admission.edge_challenge;
        let challenges = self.challenges.of(asked.request.pbx);
        rules.mode != ChallengeMode::Off && challenges.is_ready(rules.realm.as_deref())
    }

    /// Whether the realm is not known yet, but will be before a datagram comes again.
    pub(super) fn may_learn(&self, asked: &Asked<'_, '_>) -> bool {
        let mode = self.policy.admission.edge_challenge.mode;
        let datagram = !asked.request.flow.transport.is_reliable();
        let pbx = asked.request.pbx;
        let offers = &self.challenges.of(pbx).offers;
        self.probes
            && datagram
            && mode != ChallengeMode::Off
            && (self.wants_probe(self.clock, pbx) || offers.is_awaited(self.clock))
    }

    /// The PBX challenges in another way than was known.
    pub(super) fn on_realm_seen(&mut self, learned: Learned) {
        if let Learned::Realm { pbx, realm, algorithms } = &learned {
            let (pbx, realm, algorithms) = (*pbx, realm.clone(), *algorithms);
            self.say(Effect::Remember(Memory::Realm { pbx, realm, algorithms }));
        }
        self.learn_out(learned);
    }
}
