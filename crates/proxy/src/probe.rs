//! The edge's own requests to a PBX: one fetches a challenge with a fresh nonce, the other asks
//! whether it serves.

use crate::engine::{Arrival, Engine};
use crate::names::write_transport;
use admission::Branch;
use admission::branch::{Binds, NO_SLOT};
use policy::Time;
use std::io::Write as _;
use wire::{Flow, Method, Side};

/// From-tag of the one that fetches a challenge.
pub(crate) const PROBE: &[u8] = b"probe";
/// From-tag of the one that asks whether the PBX serves.
pub(crate) const CHECK: &[u8] = b"check";

impl Engine {
    /// Asks a PBX for a challenge.
    pub(crate) fn send_probe(&mut self, now: Time, pbx: usize) {
        if self.ask_pbx(now, pbx, PROBE) {
            let id = self.pbxs.id(pbx);
            self.gate.on_probe(now, id);
        }
    }

    /// Asks those PBXs that are due whether they serve.
    pub(crate) fn check_pbxs(&mut self, now: Time) {
        let checks = self.policy.checks;
        while let Some(pbx) = self.pbxs.poll_due(now, &checks) {
            self.ask_pbx(now, pbx, CHECK);
        }
    }

    /// Sends an OPTIONS. Nothing is kept, nothing retransmitted: the branch binds the Call-ID, so
    /// that the answer is known by itself.
    fn ask_pbx(&mut self, now: Time, pbx: usize, tag: &[u8]) -> bool {
        let inside = self.names.inside();
        let Some(flow) = self.flow_to(now, pbx, inside) else { return false };
        let Flow { remote, transport, .. } = flow;
        let mut param = Vec::new();
        write_transport(transport, &mut param);
        let param = String::from_utf8_lossy(&param);
        let via = transport.as_via();
        let second = now.as_secs().to_be_bytes();
        let id = self.pbxs.id(pbx).to_be_bytes();
        let call_id = format!("{:016x}", self.hash.hash(&[tag, &second, &id]));
        let binds = Binds { call_id: call_id.as_bytes(), from_tag: tag, source: inside.ip() };
        let branch = self.branches.make(now, self.shard, NO_SLOT, 0, 0, &binds).text();
        let (branch, tag) = (String::from_utf8_lossy(&branch), String::from_utf8_lossy(tag));
        let written = self.out.write(|out| {
            write!(
                out,
                "OPTIONS sip:{remote}{param} SIP/2.0\r\nVia: SIP/2.0/{via} {inside};branch={branch}\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:ringfence@{inside}>;tag={tag}\r\n\
                 To: <sip:ringfence@{remote}>\r\nCall-ID: {call_id}\r\nCSeq: 1 OPTIONS\r\n\
                 Content-Length: 0\r\n\r\n"
            )
        });
        let Ok(range) = written else { return false };
        self.out.send(Side::Inside, &flow, range);
        true
    }

    /// Takes the answer to such a request; `false` for any other response.
    pub(crate) fn on_pbx_answer(
        &mut self,
        now: Time,
        arrival: Arrival<'_, '_>,
        branch: &Branch,
    ) -> bool {
        let message = arrival.message;
        let asked = [PROBE, CHECK].contains(&message.from_tag());
        if !asked || !self.is_asked(now, arrival, branch) {
            return false;
        }
        let Some(pbx) = self.pbx_of(&arrival.flow, None) else { return true };
        if message.from_tag() == PROBE {
            let id = self.pbxs.id(pbx);
            self.gate.on_probed(now, id, message);
        } else if message.status() >= 200 {
            let (checks, serves) = (self.policy.checks, message.status() != 503);
            if let Some(member) = self.pbxs.at(pbx) {
                member.health.on_checked(now, serves, &checks);
            }
        }
        true
    }

    fn is_asked(&self, now: Time, arrival: Arrival<'_, '_>, branch: &Branch) -> bool {
        let message = arrival.message;
        let source = self.names.inside().ip();
        let binds = Binds { call_id: message.call_id(), from_tag: message.from_tag(), source };
        arrival.side == Side::Inside
            && branch.slot() == NO_SLOT
            && message.cseq().method == Method::Options
            && self.branches.is_proof(now, branch, &binds)
    }
}
