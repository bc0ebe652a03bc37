//! Where a request goes (RFC 3261 §16.4, §16.5). From outside: to the PBX, whatever the request
//! says, so the edge relays for nobody. From the PBX: to the flow that a token names.

use crate::Binding;
use crate::bindings::Registering;
use crate::engine::{Arrival, Engine};
use crate::token::{ContactToken, FlowToken, Raw, Token};
use policy::{Reason, Time};
use wire::uri::{aor, is_printable};
use wire::{Flow, HeaderName, Message, Method, NameAddr, ShardId, Side, Span, Splice, Uri, Value};

/// The place of none.
pub(crate) const NO_PBX: usize = usize::MAX;

/// A request's way.
#[derive(Clone, Debug)]
pub(crate) enum Route {
    /// To one next hop.
    To(Hop),
    /// The edge itself is asked (OPTIONS by the PBX).
    Local,
    /// Another shard owns the flow.
    Shard(ShardId),
}

/// A next hop.
#[derive(Clone, Debug)]
pub(crate) struct Hop {
    /// Its side.
    pub(crate) side: Side,
    /// Its flow.
    pub(crate) flow: Flow,
    /// The PBX that it is, or that the request came from: its place in the policy.
    pub(crate) pbx: usize,
    /// Key of the binding that is called, 0 for none.
    pub(crate) key: u64,
    /// Whose Contact the Request-URI becomes, when it was a token of ours.
    pub(crate) bound: Option<Binding>,
    /// Whether the outside speaks `sips` here. The PBX is on loopback and hears `sip`: it would
    /// ask for TLS on its own side otherwise.
    pub(crate) secure: bool,
}

impl Engine {
    /// `pbx` is the one that a request from outside is for.
    pub(crate) fn route(
        &mut self,
        now: Time,
        arrival: Arrival<'_, '_>,
        pbx: Result<usize, Reason>,
    ) -> Result<Route, Reason> {
        match arrival.side {
            Side::Outside => self.route_inwards(now, arrival, pbx?),
            Side::Inside => self.route_outwards(now, arrival),
        }
    }

    fn route_inwards(
        &mut self,
        now: Time,
        arrival: Arrival<'_, '_>,
        pbx: usize,
    ) -> Result<Route, Reason> {
        let local = self.inside_for(now, &arrival.flow);
        let flow = self.flow_to(now, pbx, local).ok_or(Reason::PbxUnreachable)?;
        let secure = is_sips(arrival.message.request_uri());
        Ok(Route::To(Hop { side: Side::Inside, flow, pbx, key: 0, bound: None, secure }))
    }

    fn route_outwards(&mut self, now: Time, arrival: Arrival<'_, '_>) -> Result<Route, Reason> {
        let message = arrival.message;
        let uri = Uri::parse(message.request_uri());
        let mut raw = Raw::default();
        let inside = uri.as_ref().filter(|uri| self.names.is_inside(uri));
        let token =
            match inside.and_then(|uri| self.tokens.open(uri.user, message.call_id(), &mut raw)) {
                Some(token) => token,
                None => match arrival.route {
                    Some(token) => Token::Flow(token),
                    None if inside.is_none() => return self.route_to_trunk(now, arrival),
                    None if message.method() == Method::Options => return Ok(Route::Local),
                    None => return Err(Reason::BadToken),
                },
            };
        let (flow, key, bound, secure) = match token {
            Token::Contact(token) => {
                let binding = self.bound_by(now, &token, message.method())?;
                let secure = is_sips(binding.uri());
                (binding.flow(), token.key, Some(binding), secure)
            }
            Token::Flow(FlowToken { key, flow, secure, .. }) => {
                (self.dialog_flow(now, key, flow, message), key, None, secure)
            }
        };
        let owner = match flow.connection {
            Some(connection) => connection.shard(),
            None => Engine::shard_of(flow.remote.ip(), self.shards),
        };
        if owner != self.shard && owner.0 < self.shards && !arrival.handed {
            return Ok(Route::Shard(owner));
        }
        let is_lost = |id: wire::ConnectionId| !self.connections.is_open(id);
        let flow = match flow.connection.is_some_and(is_lost) {
            true => self.reconnect(now, &flow).ok_or(Reason::FlowFailed)?,
            false => flow,
        };
        let pbx = self.pbx_of(&arrival.flow, Some(message)).unwrap_or(NO_PBX);
        Ok(Route::To(Hop { side: Side::Outside, flow, pbx, key, bound, secure }))
    }

    /// The binding of a contact token: as it is known, or as the token itself has it.
    fn bound_by(
        &self,
        now: Time,
        token: &ContactToken<'_>,
        method: Method,
    ) -> Result<Binding, Reason> {
        if let Some(binding) = self.bindings.find(now, token.key) {
            return Ok(binding.clone());
        }
        match token.flow().filter(|_| !token.contact.is_empty()) {
            Some(flow) => Ok(Binding::new(token.raw, 0, 0, &flow, token.contact)),
            // the first qualify OPTIONS leaves before the 200 that confirms the binding
            None if method == Method::Options => {
                self.bindings.find_claimed(now, token.key).cloned().ok_or(Reason::FlowFailed)
            }
            None => Err(Reason::FlowFailed),
        }
    }

    /// Where a dialog's phone is: at its binding's flow, or where it came back in mid-dialog, or
    /// where the dialog began; the first of them that is not known to be gone.
    fn dialog_flow(&self, now: Time, key: u64, began: Flow, message: &Message<'_>) -> Flow {
        let bound = self.bindings.find(now, key).map(Binding::flow);
        let moved = self.moves.find(&began, message.call_id());
        let gone = |flow: &Flow| {
            flow.connection.is_some_and(|connection| {
                connection.shard() == self.shard && !self.connections.is_open(connection)
            })
        };
        [bound, moved].into_iter().flatten().find(|flow| !gone(flow)).unwrap_or(began)
    }

    /// The flow token in the first Route that we wrote: one of the message's own call, or of none.
    pub(crate) fn own_route(&self, message: &Message<'_>) -> Option<FlowToken> {
        let user = message.values(HeaderName::Route).find_map(|value| {
            let address = NameAddr::parse(value.bytes, value.span.start)?;
            let uri = Uri::parse(address.uri)?;
            self.names.is_inside(&uri).then_some(uri.user)
        })?;
        match self.tokens.open(user, message.call_id(), &mut Raw::default())? {
            Token::Flow(token) => Some(token),
            Token::Contact(_) => None,
        }
    }

    /// Takes our own Routes away, all of them: Asterisk sends ours twice in some set-ups, and
    /// whoever leaves one there calls himself. Undoes strict routing, and writes the
    /// Request-URI that the route asks for (RFC 3261 §16.4, §16.6 step 2).
    pub(crate) fn edit_route<'a>(
        &self,
        splice: &mut Splice<'_, 'a>,
        arrival: Arrival<'_, 'a>,
        hop: &Hop,
    ) {
        let message = arrival.message;
        for value in message.values(HeaderName::Route) {
            if !self.is_own_route(&value, arrival) {
                break;
            }
            splice.delete_value(&value);
        }
        if let Some(binding) = &hop.bound {
            splice.replace(message.request_uri_span(), binding.uri());
            return;
        }
        // "The proxy MUST inspect the Request-URI of the request. If the Request-URI of the
        // request contains a value this proxy previously placed into a Record-Route header field,
        // the proxy MUST replace the Request-URI in the request with the last value from the
        // Route header field, and remove that value from the Route header field."
        if self.is_record_route(message, arrival)
            && let Some(last) = message.values(HeaderName::Route).last()
            && !self.is_own_route(&last, arrival)
            && let Some(address) = NameAddr::parse(last.bytes, last.span.start)
            && is_printable(address.uri)
        {
            splice.replace(message.request_uri_span(), address.uri);
            splice.delete_value(&last);
            return;
        }
        let sips = hop.side == Side::Outside && hop.secure;
        edit_scheme(splice, message.request_uri(), message.request_uri_span(), sips);
    }

    fn is_record_route(&self, message: &Message<'_>, arrival: Arrival<'_, '_>) -> bool {
        !message.to_tag().is_empty()
            && Uri::parse(message.request_uri()).is_some_and(|uri| {
                uri.param(b"lr").is_some()
                    && !uri.user.is_empty()
                    && self.names.is_ours(&uri, arrival.flow.local)
            })
    }

    fn is_own_route(&self, value: &Value<'_>, arrival: Arrival<'_, '_>) -> bool {
        NameAddr::parse(value.bytes, value.span.start)
            .and_then(|address| Uri::parse(address.uri))
            .is_some_and(|uri| self.names.is_ours(&uri, arrival.flow.local))
    }

    /// Key of the binding that an outside request comes from, 0 when it is not known: its From
    /// and Contact as registered, over the flow that is registered.
    pub(crate) fn binding_of(&self, now: Time, arrival: Arrival<'_, '_>) -> u64 {
        let message = arrival.message;
        let Some(contact) = message
            .values(HeaderName::Contact)
            .next()
            .and_then(|value| NameAddr::parse(value.bytes, value.span.start))
        else {
            return 0;
        };
        let instance = contact.param(b"+sip.instance").unwrap_or_default();
        let registering = Registering {
            aor: aor(message.from().uri),
            contact: contact.uri,
            instance,
            call_id: message.call_id(),
            flow: arrival.flow,
            pbx: 0,
        };
        self.bindings.key_at(now, &registering)
    }
}

/// Whether a URI's scheme is `sips`.
fn is_sips(uri: &[u8]) -> bool {
    uri.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"sips:"))
}

/// Makes a `sip` URI a `sips` one or the reverse; another scheme stays.
fn edit_scheme(splice: &mut Splice<'_, '_>, uri: &[u8], span: Span, sips: bool) {
    let is_sip = uri.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"sip:"));
    if sips && is_sip {
        splice.replace(Span { start: span.start, end: span.start + 3 }, b"sips");
    } else if !sips && is_sips(uri) {
        splice.replace(Span { start: span.start, end: span.start + 4 }, b"sip");
    }
}

/// Makes the Contacts of a message `sips` or `sip`, so that both sides see the scheme that they
/// speak (RFC 3261 §8.1.1.8, §12.1.1).
pub(crate) fn edit_contact_schemes(splice: &mut Splice<'_, '_>, sips: bool) {
    let message = splice.message();
    for value in message.values(HeaderName::Contact) {
        edit_contact_scheme(splice, &value, sips);
    }
}

/// Likewise one of them.
pub(crate) fn edit_contact_scheme(splice: &mut Splice<'_, '_>, value: &Value<'_>, sips: bool) {
    if let Some(contact) = NameAddr::parse(value.bytes, value.span.start) {
        edit_scheme(splice, contact.uri, contact.uri_span, sips);
    }
}

/// Whether a Contact of a REGISTER is `*`.
pub(crate) fn is_star(value: &Value<'_>) -> bool {
    value.bytes == b"*"
}
