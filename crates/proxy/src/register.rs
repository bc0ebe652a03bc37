//! REGISTER (RFC 3261 §10, RFC 3327): the PBX is told a way back that it can use, and the phone
//! never notices.

use crate::Binding;
use crate::bindings::Registering;
use crate::engine::{Arrival, Engine};
use crate::exchange::ExchangeId;
use crate::io::Learned;
use crate::routing::{edit_contact_scheme, is_star};
use crate::token::{self, ContactToken, FlowToken, Raw, Token};
use policy::{Registration, Time};
use std::time::Duration;
use wire::uri::{aor, is_printable};
use wire::{
    Flow, HeaderName, Message, Method, NameAddr, ShardId, Span, Splice, Transport, Uri, Value,
    find_byte,
};

/// Expiry of a Contact when the 200 does not say (RFC 3261 §10.2.1.1).
const EXPIRES: u32 = 3_600;
/// Longest expiry believed.
const EXPIRES_MAX: u32 = 7 * 24 * 3_600;

/// A registration that its 200 confirmed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registered {
    /// Of one that asked for one Contact: where the 200 lists its URI, and its binding's key.
    bound: Option<(Span, u64)>,
}

impl Engine {
    /// The request: `Contact` becomes a token, or `Path` is added.
    pub(crate) fn edit_register<'a>(
        &mut self,
        now: Time,
        splice: &mut Splice<'_, 'a>,
        arrival: Arrival<'_, 'a>,
        pbx: usize,
        stripped: bool,
    ) {
        match self.registration_of(pbx) {
            Registration::ContactToken => self.edit_contacts(now, splice, arrival, pbx, stripped),
            Registration::Path => self.insert_path(splice, arrival, pbx),
        }
    }

    /// Whether each Contact of a REGISTER can be kept and called: it comes back as a Request-URI,
    /// so nothing may stand in it that ends one, and none may stay as it is, or the PBX would
    /// call it by itself.
    pub(crate) fn has_good_contacts(&self, message: &Message<'_>, pbx: usize) -> bool {
        let token = self.registration_of(pbx).is_token();
        if message.method() != Method::Register || !token {
            return true;
        }
        message.values(HeaderName::Contact).all(|value| {
            is_star(&value)
                || NameAddr::parse(value.bytes, value.span.start).is_some_and(|contact| {
                    is_printable(contact.uri) && Uri::parse(contact.uri).is_some()
                })
        })
    }

    fn registration_of(&self, pbx: usize) -> Registration {
        self.policy.pbx.get(pbx).map(|pbx| pbx.registration).unwrap_or_default()
    }

    fn transport_of(&self, pbx: usize) -> Transport {
        self.policy.pbx.get(pbx).map_or(Transport::Udp, |pbx| pbx.transport)
    }

    fn edit_contacts<'a>(
        &mut self,
        now: Time,
        splice: &mut Splice<'_, 'a>,
        arrival: Arrival<'_, 'a>,
        pbx: usize,
        stripped: bool,
    ) {
        let message = arrival.message;
        // only a REGISTER that may succeed leaves a trace
        let pending = !stripped && message.value(HeaderName::Authorization).is_some();
        let until = now + self.policy.timers.t1.saturating_mul(64);
        let mut uri = std::mem::take(&mut self.uri);
        let mut contacts = 0;
        for value in message.values(HeaderName::Contact) {
            contacts += 1;
            let Some(contact) = NameAddr::parse(value.bytes, value.span.start) else { continue };
            // `has_good_contacts` has read them
            if is_star(&value) || !has_sip_scheme(contact.uri) {
                continue;
            }
            let id = self.pbxs.id(pbx);
            let registering = registering(message, &contact, arrival.flow, id);
            let key = self.bindings.key_of(&registering);
            let token = self.bindings.token(key, self.shard, &registering, &self.tokens);
            if pending {
                self.bindings.pending(now, key, &token, &registering, until);
                self.asks = Some(key);
            }
            let home = self.home_of(&token);
            let token = token::text(&token);
            uri.clear();
            if !contact.bracketed {
                uri.push(b'<');
            }
            self.names.write_contact(&token, home, self.transport_of(pbx), &mut uri);
            if !contact.bracketed {
                uri.push(b'>');
            }
            splice.replace(contact.uri_span, &uri);
        }
        self.uri = uri;
        if contacts > 1 {
            self.asks = None;
        }
    }

    fn insert_path(&self, splice: &mut Splice<'_, '_>, arrival: Arrival<'_, '_>, pbx: usize) {
        let message = arrival.message;
        let token = FlowToken {
            key: 0,
            flow: arrival.flow,
            secure: false,
            pbx: self.pbxs.id(pbx),
            dialog: false,
        };
        let token = self.tokens.flow(&token, message.call_id());
        let transport = self.transport_of(pbx);
        let at = message
            .lines(HeaderName::Path)
            .next()
            .map_or(message.headers_end(), |(_, header)| header.line.start);
        splice.insert(at, |out| self.names.write_inside_route("Path", &token, transport, out));
        // Asterisk answers 420 to a Path that the client does not say it supports
        let supported = message
            .values(HeaderName::Supported)
            .any(|value| value.bytes.eq_ignore_ascii_case(b"path"));
        if !supported {
            splice.insert(message.headers_end(), |out| {
                out.extend_from_slice(b"Supported: path\r\n");
            });
        }
    }

    /// A 2xx: what this REGISTER asked for and the 200 lists is bound, and what it does not list
    /// is not. `None` where there is no exchange any more.
    pub(crate) fn on_registered(
        &mut self,
        now: Time,
        id: ExchangeId,
        arrival: Arrival<'_, '_>,
    ) -> Option<Registered> {
        let response = arrival.message;
        let exchange = self.exchanges.at(id)?;
        let (flow, asks) = (exchange.origin, exchange.asks);
        let pbx = self.pbxs.id(exchange.pbx);
        // a response has the Call-ID of its request (RFC 3261 §8.2.6.2)
        let call_id = response.call_id();
        let listed =
            asks.and_then(|key| Some((key, listed_as(response, &self.bindings.token_of(key)?)?)));
        if let Some((key, Listed { uri, seconds: Some(seconds) })) = listed {
            // one Contact, as almost always, and what is known of it is all that is needed
            let known = Registering { aor: b"", contact: b"", instance: b"", call_id, flow, pbx };
            self.bind(now, key, b"", &known, seconds);
            return Some(Registered { bound: Some((uri, key)) });
        }
        let exchange = self.exchanges.at(id)?;
        let kept = self.buffers.bytes(&exchange.request).to_vec();
        let limits = self.policy.limits.once_forwarded();
        let request = Message::parse(&kept, &limits).ok()?;
        self.bind_all(now, &request, response, flow, pbx);
        Some(Registered { bound: None })
    }

    /// Each Contact of a REGISTER is bound or not, as its 200 says.
    fn bind_all(
        &mut self,
        now: Time,
        request: &Message<'_>,
        response: &Message<'_>,
        flow: Flow,
        pbx: u32,
    ) {
        let call_id = response.call_id();
        for value in request.values(HeaderName::Contact) {
            let Some((_, token)) = own_token(&value) else { continue };
            let mut raw = Raw::default();
            let Some(Token::Contact(ContactToken { raw, key, contact, .. })) =
                self.tokens.open(token, call_id, &mut raw)
            else {
                continue;
            };
            match listed_as(response, token) {
                Some(Listed { seconds, .. }) => {
                    let seconds = seconds.or(request.expires()).unwrap_or(EXPIRES);
                    let aor = aor(request.to().uri);
                    let asked = Registering { aor, contact, instance: b"", call_id, flow, pbx };
                    self.bind(now, key, raw, &asked, seconds);
                }
                None => {
                    if self.bindings.remove(key) && self.shards > 1 {
                        self.out.learned(Learned::Unbound { key });
                    }
                }
            }
        }
    }

    /// A Contact is bound for so many seconds; the other shards hear of it.
    fn bind(
        &mut self,
        now: Time,
        key: u64,
        token: &[u8],
        registering: &Registering<'_>,
        seconds: u32,
    ) {
        let expires = now + Duration::from_secs(u64::from(seconds.min(EXPIRES_MAX)));
        self.bindings.confirmed(now, key, token, registering, expires);
        if let Some(connection) = registering.flow.connection {
            self.on_registered_over(connection);
        }
        if self.shards > 1
            && let Some(binding) = self.bindings.find(now, key)
        {
            self.out.learned(Learned::Bound { binding: binding.clone(), expires });
        }
    }

    /// The response: each phone sees its own Contacts, and no Path of ours (RFC 3327 §5.3 shows
    /// it to the UA; ours names an inside address).
    pub(crate) fn edit_registered<'a>(
        &self,
        now: Time,
        splice: &mut Splice<'_, 'a>,
        response: &Message<'a>,
        registered: &Registered,
    ) {
        for value in response.values(HeaderName::Contact) {
            if let Some((uri, key)) = registered.bound.filter(|(uri, _)| is_within(*uri, &value))
                && let Some(binding) = self.bindings.find(now, key)
            {
                splice.replace(uri, binding.uri());
                continue;
            }
            self.restore_contact(now, splice, &value);
        }
        for value in response.values(HeaderName::Path) {
            let ours = NameAddr::parse(value.bytes, value.span.start)
                .and_then(|address| Uri::parse(address.uri))
                .is_some_and(|uri| self.names.is_inside(&uri));
            if ours {
                splice.delete_value(&value);
            }
        }
    }

    /// A redirection by the PBX (RFC 3261 §21.3) to a phone, which it knows by our token.
    pub(crate) fn edit_redirection(&self, now: Time, splice: &mut Splice<'_, '_>, secure: bool) {
        for value in splice.message().values(HeaderName::Contact) {
            if !self.restore_contact(now, splice, &value) && secure {
                edit_contact_scheme(splice, &value, true);
            }
        }
    }

    /// A call that the PBX transfers to a phone (RFC 3515), likewise.
    pub(crate) fn edit_transfer(&self, now: Time, splice: &mut Splice<'_, '_>) {
        for value in splice.message().values(HeaderName::ReferTo) {
            self.restore_contact(now, splice, &value);
        }
    }

    /// Where an address is a token of ours the phone's own Contact takes its place: the token leads
    /// nowhere outside. Headers of the URI (`Replaces`) stay. Whether it is one.
    fn restore_contact(&self, now: Time, splice: &mut Splice<'_, '_>, value: &Value<'_>) -> bool {
        let Some((address, token)) = own_token(value) else { return false };
        let mut raw = Raw::default();
        let uri = match self.bindings.with_token(now, token) {
            Some(binding) => binding.uri(),
            None => match self.tokens.open(token, b"", &mut raw) {
                Some(Token::Contact(token)) => {
                    self.bindings.find(now, token.key).map_or(token.contact, Binding::uri)
                }
                _ => return false,
            },
        };
        if uri.is_empty() {
            return false;
        }
        let headers = address.uri.iter().position(|&byte| byte == b'?');
        splice.replace_with(address.uri_span, |out| {
            let brackets = if address.bracketed { [&b""[..]; 2] } else { [&b"<"[..], b">"] };
            out.extend_from_slice(brackets[0]);
            out.extend_from_slice(uri);
            out.extend_from_slice(headers.and_then(|at| address.uri.get(at..)).unwrap_or_default());
            out.extend_from_slice(brackets[1]);
        });
        true
    }

    /// The shard whose inside port stands in the Contact with a token: it stays the same as long
    /// as the token, wherever the phone moves.
    fn home_of(&self, token: &[u8]) -> ShardId {
        let home = ContactToken::read(token).map(|token| token.home);
        home.filter(|home| home.0 < self.shards).unwrap_or(self.shard)
    }
}

/// Whether a URI that can be read is a `sip` or `sips` one.
fn has_sip_scheme(uri: &[u8]) -> bool {
    let begins = |scheme: &[u8]| {
        uri.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    begins(b"sip:") || begins(b"sips:")
}

fn registering<'a>(
    message: &Message<'a>,
    contact: &NameAddr<'a>,
    flow: Flow,
    pbx: u32,
) -> Registering<'a> {
    Registering {
        aor: aor(message.to().uri),
        contact: contact.uri,
        instance: contact.param(b"+sip.instance").unwrap_or_default(),
        call_id: message.call_id(),
        flow,
        pbx,
    }
}

/// The address of a Contact value and what stands where a token of ours would be: between the scheme
/// and the host.
fn own_token<'a>(value: &Value<'a>) -> Option<(NameAddr<'a>, &'a [u8])> {
    let address = NameAddr::parse(value.bytes, value.span.start)?;
    let (scheme, host) = (find_byte(b':', address.uri)?, find_byte(b'@', address.uri)?);
    Some((address, address.uri.get(scheme + 1..host)?))
}

/// How a 200 lists a Contact of ours.
struct Listed {
    /// Where its URI stands.
    uri: Span,
    /// For how long it is bound, if the 200 says that.
    seconds: Option<u32>,
}

/// How a 200 lists the Contact with that token, if it does.
fn listed_as(response: &Message<'_>, token: &[u8]) -> Option<Listed> {
    response.values(HeaderName::Contact).find_map(|value| {
        let (address, listed) = own_token(&value)?;
        let seconds = || address.param(b"expires").and_then(number).or(response.expires());
        (listed == token).then(|| Listed { uri: address.uri_span, seconds: seconds() })
    })
}

/// Whether a span is of this value.
fn is_within(span: Span, value: &Value<'_>) -> bool {
    value.span.start <= span.start && span.end <= value.span.end
}

/// delta-seconds (RFC 3261 §25.1); a larger one than fits is as long as can be.
fn number(text: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(text).ok()?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u32::MAX))
}
