//! What changes in a request on its way through (RFC 3261 §16.6): edits spliced into the original
//! bytes, everything else leaves as it came.

use crate::engine::{Arrival, Engine};
use crate::hygiene::tells_identity;
use crate::judge::Passage;
use crate::request::credentials;
use crate::routing::{Hop, edit_contact_schemes};
use crate::token::FlowToken;
use crate::trunks::host_port;
use policy::{HeaderRule, Reason, Time, Trunk, Who};
use std::io::Write as _;
use wire::decimal::{digits, write_address, write_ip};
use wire::{Flow, HeaderName, Message, Method, Side, Span, Splice, Transport};

/// Most bytes of a datagram: what the headers of IPv4 and UDP leave of 65,535.
const DATAGRAM_MAX: usize = 65_507;
/// Most bytes of a message (RFC 3261 §18.1.1).
const MESSAGE_MAX: usize = 65_535;

/// Max-Forwards for a request that has none (RFC 3261 §16.6 step 3).
const MAX_FORWARDS: u8 = 70;

impl Engine {
    /// The request as it goes on: edits spliced into the original bytes. Not when it would need too
    /// many, or does not fit the way that it goes.
    pub(crate) fn write_request(
        &mut self,
        now: Time,
        arrival: Arrival<'_, '_>,
        hop: &Hop,
        branch: &admission::Branch,
        passage: &Passage,
    ) -> Result<std::ops::Range<usize>, Reason> {
        let message = arrival.message;
        let mut text = std::mem::take(&mut self.text);
        let mut splice = Splice::new(message, &mut text);
        edit_top_via(&mut splice, arrival);
        self.edit_route(&mut splice, arrival, hop);
        self.insert_vias(now, &mut splice, arrival, hop, branch);
        edit_max_forwards(&mut splice);
        edit_content_length(&mut splice, hop.flow.transport);
        if arrival.side == Side::Outside {
            self.edit_source_header(now, &mut splice, arrival, passage);
            let strip = passage.credentials.are_stripped();
            self.edit_credentials(&mut splice, strip);
            if message.method() == Method::Register {
                self.edit_register(now, &mut splice, arrival, hop.pbx, strip);
            } else if arrival.flow.transport == Transport::Tls {
                edit_contact_schemes(&mut splice, false);
            }
        }
        if arrival.side == Side::Inside {
            if message.method() == Method::Register {
                self.edit_outside_contacts(&mut splice, &hop.flow);
            } else if message.method() == Method::Refer {
                self.edit_transfer(now, &mut splice);
            }
            if let Some(trunk) = self.trunk_outwards(now, message, &hop.flow)
                && let Some(trunk) = self.policy.trunks.get(trunk)
            {
                edit_for_trunk(&mut splice, trunk);
            }
        }
        if hop.side == Side::Outside && hop.secure {
            edit_contact_schemes(&mut splice, true);
        }
        let written = self.out.write(|out| splice.write(out));
        self.text = text;
        let range = written.map_err(|_| Reason::TooLarge)?;
        if fits(&hop.flow, range.len()) { Ok(range) } else { Err(Reason::TooLarge) }
    }

    /// Our Via on top, and Record-Routes where a dialog may start: two, because the sides differ,
    /// the one that faces the next hop above (RFC 5658).
    fn insert_vias(
        &self,
        now: Time,
        splice: &mut Splice<'_, '_>,
        arrival: Arrival<'_, '_>,
        hop: &Hop,
        branch: &admission::Branch,
    ) {
        let Hop { side, flow, pbx, key, secure, .. } = hop;
        let message = arrival.message;
        let line = |name| message.lines(name).next().map(|(_, header)| header.line.start);
        let via_at = line(HeaderName::Via).unwrap_or(message.headers_end());
        if starts_dialog(message) {
            let at = line(HeaderName::RecordRoute).map_or(via_at, |at| at.min(via_at));
            let (outside, key) = match side {
                Side::Outside => (flow, *key),
                Side::Inside => (&arrival.flow, self.binding_of(now, arrival)),
            };
            let inner = match side {
                Side::Outside => arrival.flow.transport,
                Side::Inside => flow.transport,
            };
            let pbx = self.pbxs.id(*pbx);
            let token = FlowToken { key, flow: *outside, secure: *secure, pbx, dialog: true };
            let token = self.tokens.flow(&token, message.call_id());
            splice.insert(at, |out| {
                let inside = |out: &mut Vec<u8>| {
                    self.names.write_inside_route("Record-Route", &token, inner, out);
                };
                if *side == Side::Inside {
                    inside(out);
                    self.names.write_outside_record_route(outside, *secure, out);
                } else {
                    self.names.write_outside_record_route(outside, *secure, out);
                    inside(out);
                }
            });
        }
        splice.insert(via_at, |out| {
            out.extend_from_slice(b"Via: SIP/2.0/");
            out.extend_from_slice(flow.transport.as_via().as_bytes());
            out.push(b' ');
            self.names.write_sent_by(*side, flow, out);
            out.extend_from_slice(b";branch=");
            out.extend_from_slice(&branch.text());
            out.extend_from_slice(alias(*side, flow));
            out.extend_from_slice(b"\r\n");
        });
    }

    /// What only the edge may say is taken away from outside messages, and said.
    fn edit_source_header(
        &self,
        now: Time,
        splice: &mut Splice<'_, '_>,
        arrival: Arrival<'_, '_>,
        passage: &Passage,
    ) {
        let trunk = self.gate.trunk(now, arrival.flow.remote.ip());
        let ruled = trunk.and_then(|name| self.policy.trunks.iter().find(|it| *it.name == *name));
        let rules = ruled.map_or(&[][..], |trunk| &trunk.inwards);
        self.hidden.strip(splice, passage.who == Who::Trusted, rules);
        insert_lines(splice, rules);
        if let Some(trunk) = trunk {
            splice.insert(arrival.message.headers_end(), |out| {
                drop(write!(out, "X-Ringfence-Trunk: {trunk}\r\n"));
            });
        }
        let Some(name) = &self.policy.source_header else { return };
        let proof = passage.proof.map_or("none", admission::Proof::as_str);
        splice.insert(arrival.message.headers_end(), |out| {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            write_address(arrival.flow.remote, out);
            out.extend_from_slice(b";transport=");
            out.extend_from_slice(arrival.flow.transport.as_param().as_bytes());
            out.extend_from_slice(b";proof=");
            out.extend_from_slice(proof.as_bytes());
            if let Some(ticket) = &passage.ticket {
                out.extend_from_slice(b";aor-known=");
                out.extend_from_slice(if ticket.at_home { b"yes" } else { b"no" });
            }
            out.extend_from_slice(b"\r\n");
        });
    }

    /// Takes out credentials that do not answer a challenge of the PBX's to this source, and the
    /// edge's prefix of `opaque` from those that do. Those of another scheme than Digest are the
    /// PBX's to judge.
    fn edit_credentials(&self, splice: &mut Splice<'_, '_>, strip: bool) {
        for (index, digest) in credentials(splice.message()) {
            if digest.is_digest && strip {
                splice.delete_line(index);
            } else if let Some(span) = digest.opaque_span {
                match self.gate.opaque_prefix(digest.opaque) {
                    0 => {}
                    all if all == digest.opaque.len() => {
                        let message = splice.message();
                        // the PBX sent none, so it gets none
                        splice.delete(parameter(message, index, b"opaque", span));
                    }
                    prefix => {
                        let end = span.start.saturating_add(prefix as u16).min(span.end);
                        splice.delete(Span { start: span.start, end });
                    }
                }
            }
        }
    }
}

/// What a trunk's rules change in a request to it, and what its policy keeps from it.
fn edit_for_trunk(splice: &mut Splice<'_, '_>, trunk: &Trunk) {
    let message = splice.message();
    for (index, header) in message.headers().iter().enumerate() {
        let name = message.long_name(header);
        if trunk.outwards.iter().any(|rule| rule.removes(name))
            || tells_identity(message, header, trunk.identity)
        {
            splice.delete_line(index);
        }
    }
    insert_lines(splice, &trunk.outwards);
    // RFC 3323 §4.1.1.3: whoever is nobody is at no domain
    let from = message.values(HeaderName::From).next();
    if let (Some(domain), Some(value)) = (&trunk.from_domain, from)
        && let Some(span) = host_port(&value)
        && !message.slice(span).eq_ignore_ascii_case(b"anonymous.invalid")
    {
        splice.replace(span, domain.as_bytes());
    }
}

fn insert_lines(splice: &mut Splice<'_, '_>, rules: &[HeaderRule]) {
    let end = splice.message().headers_end();
    for (name, value) in rules.iter().filter_map(HeaderRule::line) {
        splice.insert(end, |out| drop(write!(out, "{name}: {value}\r\n")));
    }
}

/// Whether so many bytes can go by a flow at all. What is longer than a datagram comes over streams
/// only, and is lost without a word where the next hop has none (RFC 3261 §18.1.1); a stream's other end
/// takes what a message may have, and might close for more, with all that goes on there.
pub(crate) fn fits(flow: &Flow, bytes: usize) -> bool {
    bytes <= if flow.transport.is_reliable() { MESSAGE_MAX } else { DATAGRAM_MAX }
}

/// The whole parameter `name` of a line of credentials or of a challenge, whose value is `value`,
/// with the comma that parts it.
pub(crate) fn parameter(message: &Message<'_>, index: usize, name: &[u8], value: Span) -> Span {
    let Some(header) = message.headers().get(index) else { return value };
    let line = message.slice(header.value);
    let base = usize::from(header.value.start);
    let (start, end) = (usize::from(value.start) - base, usize::from(value.end) - base);
    let before = line.get(..start).unwrap_or_default();
    let quoted = before.last() == Some(&b'"');
    let end = if quoted { (end + 1).min(line.len()) } else { end };
    match before.iter().rposition(|&byte| byte == b',') {
        Some(comma) => Span { start: (base + comma) as u16, end: (base + end) as u16 },
        None => {
            // the first one: what is left begins behind the comma that follows
            let name = before.windows(name.len()).rposition(|word| word.eq_ignore_ascii_case(name));
            let rest = line.get(end..).unwrap_or_default();
            let behind = rest.iter().position(|byte| !matches!(byte, b',' | b' ' | b'\t'));
            let end = end + behind.unwrap_or(rest.len());
            Span { start: (base + name.unwrap_or(start)) as u16, end: (base + end) as u16 }
        }
    }
}

/// RFC 5923 §6: a carrier may send its own requests on the connection that the edge has opened.
pub(crate) fn alias(side: Side, flow: &Flow) -> &'static [u8] {
    let opened = flow.connection.is_some_and(wire::ConnectionId::is_opened);
    if side == Side::Outside && opened { b";alias" } else { b"" }
}

/// Methods that start a dialog (RFC 3261 §12, RFC 6665, RFC 3515), outside of one.
fn starts_dialog(message: &Message<'_>) -> bool {
    message.to_tag().is_empty()
        && matches!(
            message.method(),
            Method::Invite | Method::Subscribe | Method::Refer | Method::Notify
        )
}

/// RFC 3261 §18.2.1 and RFC 3581 §4: what the next hops and the way back need to know of the
/// source. A `received` that the client wrote itself is taken out.
fn edit_top_via(splice: &mut Splice<'_, '_>, arrival: Arrival<'_, '_>) {
    let (via, remote) = (arrival.message.via(), arrival.flow.remote);
    if let Some((_, span)) = via.received {
        let before = &arrival.message.bytes()[..usize::from(span.start)];
        let from = before.iter().rposition(|&byte| byte == b';').unwrap_or(before.len());
        splice.delete(wire::Span { start: from as u16, end: span.end });
    }
    if let Some((_, span)) = via.rport {
        let mut port = arrayvec::ArrayVec::<u8, 12>::new();
        port.extend(b"rport=".iter().copied().chain(digits(remote.port().into())));
        splice.replace(span, &port);
    }
    if via.rport.is_some() || via.host != wire::Host::Address(remote.ip()) {
        splice.insert(via.end, |out| {
            out.extend_from_slice(b";received=");
            write_ip(remote.ip(), out);
        });
    }
}

fn edit_max_forwards(splice: &mut Splice<'_, '_>) {
    let message = splice.message();
    match message.max_forwards() {
        Some(hops) => {
            if let Some((_, header)) = message.lines(HeaderName::MaxForwards).next() {
                splice.replace(header.value, &digits(hops.saturating_sub(1).into()));
            }
        }
        None => splice.insert(message.headers_end(), |out| {
            drop(write!(out, "Max-Forwards: {MAX_FORWARDS}\r\n"));
        }),
    }
}

/// Streams need Content-Length (RFC 3261 §18.3); a datagram may have come without.
pub(crate) fn edit_content_length(splice: &mut Splice<'_, '_>, transport: Transport) {
    let message = splice.message();
    if transport.is_reliable() && message.value(HeaderName::ContentLength).is_none() {
        splice.insert(message.headers_end(), |out| {
            drop(write!(out, "Content-Length: {}\r\n", message.body().len()));
        });
    }
}
