use super::{Pbx, Todo, reserialised};
use crate::net::{Conn, Outbox};
use crate::sip::{Msg, SipUri, uri_of};
use crate::ua::{Dialog, Path};
use policy::Time;
use std::time::Duration;

/// What dialled phones are given to answer.
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a call that the PBX made itself lasts.
const OWN_CALL: Duration = Duration::from_secs(20);

/// One side of a call.
#[derive(Clone, Debug, Default)]
pub(super) struct Leg {
    dialog: Dialog,
    state: State,
    /// As callee: the INVITE's server transaction and the INVITE.
    server: Option<(String, Msg)>,
    /// As caller: the INVITE's client transaction.
    client: Option<String>,
    /// As caller: the INVITE as sent, for its CANCEL.
    invite: Msg,
    /// As caller: the ACK, for repeated 200s.
    ack: Option<Msg>,
    /// As callee: the 200, repeated until the ACK comes or the time is up.
    ok: Option<(Msg, Time)>,
    /// The connection it goes by.
    stream: Option<Conn>,
    /// The caller's leg, or the legs dialled.
    peers: Vec<u64>,
    /// As caller of a contact with a Path: it is appended to the route set of a BYE.
    path: Vec<String>,
    /// A CANCEL waits for the first provisional response (§9.1).
    cancel: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Early,
    Up,
    /// A BYE is on its way, or a refusal.
    Over,
}

impl Pbx {
    pub(super) fn on_invite(
        &mut self,
        now: Time,
        key: &str,
        msg: &Msg,
        user: &str,
        path: Path,
        out: &mut Outbox,
    ) {
        let leg = self.callee_leg(key, msg, path);
        let extension = SipUri::parse(msg.uri()).unwrap_or_default().user;
        self.layer.respond(now, key, &Msg::response(msg, 100, "Trying", ""), out);
        if user == "guest" && !self.config.dids.contains(&extension) {
            return self.refuse(now, leg, 404, "Not Found", out);
        }
        match extension.as_str() {
            did if self.config.dids.contains(did) => {
                self.later(now + Duration::from_millis(5), Todo::Answer(leg));
            }
            // Echo: answered at once.
            "100" => self.later(now + Duration::from_millis(5), Todo::Answer(leg)),
            "101" => self.refuse(now, leg, 486, "Busy Here", out),
            // Rings for ever.
            "102" => self.progress(now, leg, 180, "Ringing", out),
            // Early media, then an answer.
            "103" => {
                self.progress(now, leg, 183, "Session Progress", out);
                self.later(now + Duration::from_secs(2), Todo::Answer(leg));
            }
            // Answers, and hangs up first.
            "104" => {
                self.later(now + Duration::from_millis(5), Todo::Answer(leg));
                self.later(now + Duration::from_secs(5), Todo::Hangup(leg));
            }
            other if self.config.accounts.contains_key(other) => {
                self.dial(now, leg, user, other, out);
            }
            _ => self.refuse(now, leg, 404, "Not Found", out),
        }
    }

    /// Calls a registered phone by itself; returns how many contacts it rings.
    pub fn originate(&mut self, now: Time, user: &str, out: &mut Outbox) -> usize {
        let contacts = self.dialable(now, user);
        let mut rung = 0;
        for contact in contacts {
            rung += usize::from(self.dial_contact(now, None, "100", &contact, out).is_some());
        }
        rung
    }

    fn callee_leg(&mut self, key: &str, msg: &Msg, path: Path) -> u64 {
        let source = self.source_of(path);
        let record_route = reserialised(&msg.values("Record-Route"));
        let mut target = uri_of(msg.value("Contact")).to_string();
        if self.config.rewrite_contact
            && record_route.is_empty()
            && let Some(mut uri) = SipUri::parse(&target)
        {
            (uri.host, uri.port) = (source.ip().to_string(), Some(source.port()));
            target = uri.reserialised();
        }
        let stream = match path {
            Path::Stream(conn) => Some(conn),
            Path::Udp { .. } => None,
        };
        let tag = self.rng.hex(8);
        let dialog = Dialog {
            call_id: msg.value("Call-ID").to_string(),
            local: format!("{};tag={tag}", msg.value("To")),
            remote: msg.value("From").to_string(),
            target,
            routes: record_route,
            cseq: 1_000,
        };
        let server = Some((key.to_string(), msg.clone()));
        self.add_leg(Leg { dialog, server, stream, ..Leg::default() })
    }

    fn add_leg(&mut self, leg: Leg) -> u64 {
        let id = self.next_leg;
        self.next_leg += 1;
        self.legs.insert(id, leg);
        id
    }

    fn dial(&mut self, now: Time, caller: u64, from: &str, to: &str, out: &mut Outbox) {
        let mut dialled = Vec::new();
        for contact in self.dialable(now, to) {
            dialled.extend(self.dial_contact(now, Some(caller), from, &contact, out));
        }
        if dialled.is_empty() {
            return self.refuse(now, caller, 480, "Temporarily Unavailable", out);
        }
        if let Some(leg) = self.legs.get_mut(&caller) {
            leg.peers = dialled;
        }
        self.later(now + DIAL_TIMEOUT, Todo::NoAnswer(caller));
    }

    fn dial_contact(
        &mut self,
        now: Time,
        caller: Option<u64>,
        from: &str,
        contact: &super::Binding,
        out: &mut Outbox,
    ) -> Option<u64> {
        let tag = self.rng.hex(8);
        let mut dialog = Dialog {
            call_id: self.rng.hex(20),
            local: format!("<sip:{from}@127.0.0.1>;tag={tag}"),
            remote: format!("<{}>", contact.uri),
            target: contact.uri.clone(),
            routes: contact.path.clone(),
            cseq: 100,
        };
        let mut invite = dialog.request("INVITE", None);
        self.describe(&mut invite);
        let path = contact.path.clone();
        let mut leg = Leg { dialog, path, stream: contact.stream, ..Leg::default() };
        leg.peers.extend(caller);
        let path = self.path_to(contact.next_hop(), contact.stream)?;
        let via = self.via(path);
        invite.push_front("Via", &via);
        leg.invite = invite.clone();
        leg.client = Some(self.layer.send(now, invite, path, out));
        Some(self.add_leg(leg))
    }

    fn describe(&self, msg: &mut Msg) {
        msg.add("Contact", &format!("<sip:asterisk@{}>", self.config.addresses[0]));
        msg.add("Content-Type", "application/sdp");
        msg.body = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
                    m=audio 10000 RTP/AVP 0\r\n"
            .into();
    }

    /// A response in the caller's INVITE transaction.
    fn leg_response(&self, leg: &Leg, status: u16, reason: &str) -> Option<(String, Msg)> {
        let (key, invite) = leg.server.as_ref()?;
        let mut response = Msg::response(invite, status, reason, &leg.dialog.local_tag());
        let record_route = reserialised(&invite.values("Record-Route"));
        response.remove("Record-Route");
        if status < 300 {
            for (index, value) in record_route.iter().enumerate() {
                let at = invite.values("Via").len() + index;
                response.headers.insert(at, ("Record-Route".into(), value.clone()));
            }
        }
        Some((key.clone(), response))
    }

    fn progress(&mut self, now: Time, id: u64, status: u16, reason: &str, out: &mut Outbox) {
        let Some(leg) = self.legs.get(&id) else { return };
        if leg.state != State::Early {
            return;
        }
        if let Some((key, mut response)) = self.leg_response(leg, status, reason) {
            self.describe(&mut response);
            self.layer.respond(now, &key, &response, out);
        }
    }

    fn refuse(&mut self, now: Time, id: u64, status: u16, reason: &str, out: &mut Outbox) {
        let Some(leg) = self.legs.remove(&id) else { return };
        if let Some((key, mut response)) = self.leg_response(&leg, status, reason) {
            response.add("Reason", "Q.850;cause=17");
            self.layer.respond(now, &key, &response, out);
        }
    }

    fn answer_leg(&mut self, now: Time, id: u64, out: &mut Outbox) {
        let Some(leg) = self.legs.get(&id).filter(|leg| leg.state == State::Early) else { return };
        let Some((key, mut ok)) = self.leg_response(leg, 200, "OK") else { return };
        self.describe(&mut ok);
        if !self.layer.respond(now, &key, &ok, out) {
            self.legs.remove(&id);
            return;
        }
        self.counts.answered += 1;
        self.confirm_later(now, id, ok);
    }

    /// Keeps a 200 to be repeated "until the ACK" (§13.3.1.4).
    fn confirm_later(&mut self, now: Time, id: u64, ok: Msg) {
        let timers = self.config.timers;
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.state = State::Up;
            leg.ok = Some((ok, now + timers.t1 * 64));
        }
        self.later(now + timers.t1, Todo::Repeat(id, timers.t1));
    }

    pub(super) fn on_ack(&mut self, _now: Time, msg: &Msg, _out: &mut Outbox) {
        for leg in self.legs.values_mut() {
            if leg.dialog.matches(msg)
                && leg.ok.as_ref().is_some_and(|(ok, _)| ok.cseq() == msg.cseq())
            {
                leg.ok = None;
            }
        }
    }

    pub(super) fn on_cancel(&mut self, now: Time, key: &str, msg: &Msg, out: &mut Outbox) {
        let invite = format!("{}|{}|INVITE", msg.branch(), msg.sent_by());
        let found = self.legs.iter().find(|(_, leg)| {
            leg.state == State::Early && leg.server.as_ref().is_some_and(|(k, _)| *k == invite)
        });
        let id = found.map(|(id, _)| *id);
        match id {
            Some(id) => {
                self.answer(now, key, msg, 200, "OK", out);
                let peers = self.legs.get(&id).map(|leg| leg.peers.clone()).unwrap_or_default();
                self.refuse(now, id, 487, "Request Terminated", out);
                for peer in peers {
                    self.give_up(now, peer, out);
                }
            }
            None if self.layer.has_server(&invite) => self.answer(now, key, msg, 200, "OK", out),
            None => self.answer(now, key, msg, 481, "No Such Call", out),
        }
    }

    /// Ends a leg from this side, as its state needs it.
    fn give_up(&mut self, now: Time, id: u64, out: &mut Outbox) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        match (leg.state, leg.client.clone()) {
            (State::Up, _) => self.bye(now, id, out),
            (State::Early, Some(client)) => {
                leg.cancel = true;
                if self.layer.is_proceeding(&client) {
                    self.cancel(now, id, out);
                }
            }
            (State::Early, None) => self.refuse(now, id, 480, "Temporarily Unavailable", out),
            (State::Over, _) => {}
        }
    }

    fn cancel(&mut self, now: Time, id: u64, out: &mut Outbox) {
        let Some(leg) = self.legs.get(&id) else { return };
        let mut cancel = Msg::request("CANCEL", leg.invite.uri());
        cancel.add("Via", &leg.invite.top_via().unwrap_or_default());
        for route in leg.invite.values("Route") {
            cancel.add("Route", &route);
        }
        for name in ["Max-Forwards", "From", "To", "Call-ID"] {
            cancel.add(name, leg.invite.value(name));
        }
        cancel.add("CSeq", &format!("{} CANCEL", leg.invite.cseq()));
        cancel.add("Reason", "Q.850;cause=127");
        let hop = leg.dialog.next_hop();
        if let Some(path) = self.path_to(&hop, leg.stream) {
            self.layer.send(now, cancel, path, out);
        }
    }

    fn bye(&mut self, now: Time, id: u64, out: &mut Outbox) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.state = State::Over;
        leg.ok = None;
        let mut bye = leg.dialog.request("BYE", None);
        // "With Path, Asterisk appends the Path's Route behind the Record-Route set (BYE, seen;
        // ACK not)".
        for route in &leg.path {
            let behind = bye.values("Route").len();
            bye.headers.insert(behind, ("Route".into(), route.clone()));
        }
        let (hop, stream) = (leg.dialog.next_hop(), leg.stream);
        leg.client = None;
        match self.send(now, bye, &hop, stream, out) {
            Some(key) => {
                if let Some(leg) = self.legs.get_mut(&id) {
                    leg.client = Some(key);
                }
            }
            None => {
                self.legs.remove(&id);
            }
        }
    }

    pub(super) fn on_in_dialog(&mut self, now: Time, key: &str, msg: &Msg, out: &mut Outbox) {
        let found = self.legs.iter().find(|(_, leg)| leg.dialog.matches(msg)).map(|(id, _)| *id);
        let Some(id) = found else {
            self.counts.strays += 1;
            return self.answer(now, key, msg, 481, "Call/Transaction Does Not Exist", out);
        };
        match msg.method() {
            "BYE" => {
                self.answer(now, key, msg, 200, "OK", out);
                let peers = self.legs.remove(&id).map(|leg| leg.peers).unwrap_or_default();
                for peer in peers {
                    self.give_up(now, peer, out);
                }
            }
            "INVITE" => {
                let Some(leg) = self.legs.get_mut(&id) else { return };
                leg.server = Some((key.to_string(), msg.clone()));
                if let Some((key, mut ok)) =
                    self.legs.get(&id).and_then(|leg| self.leg_response(leg, 200, "OK"))
                {
                    self.describe(&mut ok);
                    self.layer.respond(now, &key, &ok, out);
                    self.confirm_later(now, id, ok);
                }
            }
            _ => self.answer(now, key, msg, 200, "OK", out),
        }
    }

    pub(super) fn on_leg_response(&mut self, now: Time, key: &str, msg: &Msg, out: &mut Outbox) {
        let found = self.legs.iter().find(|(_, leg)| leg.client.as_deref() == Some(key));
        let Some(id) = found.map(|(id, _)| *id) else { return };
        if msg.method() == "BYE" {
            if msg.status() >= 200 {
                self.legs.remove(&id);
            }
            return;
        }
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let peer = leg.peers.first().copied();
        match msg.status() {
            ..200 => {
                if std::mem::take(&mut leg.cancel) {
                    return self.cancel(now, id, out);
                }
                if let Some(peer) = peer.filter(|_| msg.status() > 100) {
                    self.progress(now, peer, 180, "Ringing", out);
                }
            }
            200..300 => self.on_leg_answered(now, id, msg, out),
            status => {
                self.legs.remove(&id);
                let Some(peer) = peer else { return };
                let Some(caller) = self.legs.get_mut(&peer) else { return };
                caller.peers.retain(|p| *p != id);
                if caller.peers.is_empty() {
                    let reason = msg.start.splitn(3, ' ').nth(2).unwrap_or("Failed");
                    let status = if status == 487 { 480 } else { status };
                    self.refuse(now, peer, status, reason, out);
                }
            }
        }
    }

    fn on_leg_answered(&mut self, now: Time, id: u64, msg: &Msg, out: &mut Outbox) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if leg.ack.is_none() {
            leg.dialog.remote = msg.value("To").to_string();
            leg.dialog.target = uri_of(msg.value("Contact")).to_string();
            let mut routes = reserialised(&msg.values("Record-Route"));
            routes.reverse();
            leg.dialog.routes = routes;
        }
        let ack = leg.ack.clone().unwrap_or_else(|| leg.dialog.request("ACK", Some(msg.cseq())));
        let first = leg.ack.replace(ack.clone()).is_none();
        let (hop, stream) = (leg.dialog.next_hop(), leg.stream);
        let (cancelled, peer) = (leg.cancel, leg.peers.first().copied());
        if first {
            leg.state = State::Up;
        }
        self.send(now, ack, &hop, stream, out);
        if !first {
            return;
        }
        let Some(peer) = peer else {
            self.later(now + OWN_CALL, Todo::Hangup(id));
            return;
        };
        let others = match self.legs.get_mut(&peer) {
            Some(caller) if caller.state == State::Early && !cancelled => {
                let others = caller.peers.iter().copied().filter(|p| *p != id).collect();
                caller.peers = vec![id];
                others
            }
            // The caller has gone, or another phone was faster.
            _ => vec![id],
        };
        for other in others {
            if let Some(leg) = self.legs.get_mut(&other) {
                leg.peers.clear();
            }
            self.give_up(now, other, out);
        }
        self.answer_leg(now, peer, out);
    }

    pub(super) fn on_todo(&mut self, now: Time, todo: Todo, out: &mut Outbox) {
        match todo {
            Todo::Answer(id) => self.answer_leg(now, id, out),
            Todo::Repeat(id, interval) => {
                let Some(leg) = self.legs.get(&id) else { return };
                let Some((ok, until)) = leg.ok.clone() else { return };
                if now >= until {
                    self.counts.unacknowledged += 1;
                    let peers = leg.peers.clone();
                    self.bye(now, id, out);
                    for peer in peers {
                        self.give_up(now, peer, out);
                    }
                    return;
                }
                if let Some((key, _)) = &leg.server {
                    self.layer.respond(now, &key.clone(), &ok, out);
                }
                let interval = (interval * 2).min(self.config.timers.t2);
                self.later((now + interval).min(until), Todo::Repeat(id, interval));
            }
            Todo::NoAnswer(id) => {
                let Some(leg) = self.legs.get(&id).filter(|leg| leg.state == State::Early) else {
                    return;
                };
                let peers = leg.peers.clone();
                self.refuse(now, id, 480, "No Answer", out);
                for peer in peers {
                    self.give_up(now, peer, out);
                }
            }
            Todo::Qualify(aor, uri) => self.qualify(now, &aor, &uri, out),
            Todo::Hangup(id) => {
                let live = self.legs.get(&id).is_some_and(|leg| leg.state == State::Up);
                if live {
                    self.bye(now, id, out);
                }
            }
        }
    }
}
