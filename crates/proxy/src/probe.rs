//! The edge's own request to the PBX, which fetches a challenge with a fresh nonce.

use crate::engine::{Arrival, Engine};
use admission::Branch;
use admission::branch::{Binds, NO_SLOT};
use policy::Time;
use std::io::Write as _;
use wire::{Flow, Method, Side};

/// From-tag of a probe.
const TAG: &[u8] = b"probe";

impl Engine {
    /// Asks the PBX for a challenge. Nothing is kept, nothing retransmitted: the branch binds the
    /// Call-ID, so that the answer is known by itself.
    pub(crate) fn send_probe(&mut self, now: Time) {
        let Some(pbx) = self.policy.pbx.first().map(|pbx| pbx.address) else { return };
        let inside = self.names.inside();
        let second = now.as_secs().to_be_bytes();
        let call_id = format!("{:016x}", self.hash.hash(&[TAG, &second]));
        let binds = Binds { call_id: call_id.as_bytes(), from_tag: TAG, source: inside.ip() };
        let branch = self.branches.make(now, self.shard, NO_SLOT, 0, 0, &binds).text();
        let (branch, tag) = (String::from_utf8_lossy(&branch), String::from_utf8_lossy(TAG));
        let written = self.out.write(|out| {
            write!(
                out,
                "OPTIONS sip:{pbx} SIP/2.0\r\nVia: SIP/2.0/UDP {inside};branch={branch}\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:ringfence@{inside}>;tag={tag}\r\n\
                 To: <sip:ringfence@{pbx}>\r\nCall-ID: {call_id}\r\nCSeq: 1 OPTIONS\r\n\
                 Content-Length: 0\r\n\r\n"
            )
        });
        if let Ok(range) = written {
            self.out.send(Side::Inside, &Flow::udp(inside, pbx), range);
            self.gate.on_probe(now);
        }
    }

    /// Whether a response answers such a request.
    pub(crate) fn is_probe(&self, now: Time, arrival: Arrival<'_, '_>, branch: &Branch) -> bool {
        let message = arrival.message;
        let source = self.names.inside().ip();
        let binds = Binds { call_id: message.call_id(), from_tag: message.from_tag(), source };
        arrival.side == Side::Inside
            && branch.slot() == NO_SLOT
            && message.cseq().method == Method::Options
            && message.from_tag() == TAG
            && self.branches.is_proof(now, branch, &binds)
    }
}
