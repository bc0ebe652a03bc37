use super::{Answer, Phone, Todo};
use crate::net::Outbox;
use crate::sip::{Msg, uri_of};
use crate::ua::Dialog;
use policy::Time;
use std::time::Duration;

/// How a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallState {
    /// Our INVITE is out.
    Calling,
    /// It rings at the other end.
    Ringing,
    /// It rings here.
    Incoming,
    /// Answered.
    Up,
    /// Over, and how.
    Over(Ending),
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By a BYE after it was up.
    HungUp,
    /// By this refusal; 487 when it was cancelled, 408 when nothing came.
    Refused(u16),
    /// Answered here, but no ACK came.
    Unacknowledged,
    /// The phone lost it.
    Lost,
}

/// One call.
#[derive(Clone, Debug)]
pub(super) struct Call {
    state: CallState,
    was_up: bool,
    outgoing: bool,
    dialog: Dialog,
    /// Outgoing: key of the INVITE's (or re-INVITE's) client transaction.
    client: Option<String>,
    /// Incoming: key of the server transaction and the INVITE.
    server: Option<(String, Msg)>,
    ack: Option<Msg>,
    /// A 200 waits for its ACK.
    ok: Option<(Msg, Time)>,
    cancel: bool,
    reinvites: u32,
}

impl Call {
    pub fn lost(&mut self) {
        if !matches!(self.state, CallState::Over(_)) {
            self.state = CallState::Over(Ending::Lost);
        }
        self.client = None;
        self.server = None;
        self.ok = None;
    }
}

impl Phone {
    /// Calls an extension; returns the call's number.
    pub fn call(&mut self, now: Time, user: &str, out: &mut Outbox) -> u32 {
        let to = format!("sip:{user}@{}", self.config.domain);
        let tag = self.rng.hex(8);
        let mut dialog = Dialog {
            call_id: self.rng.hex(20),
            local: format!("<{}>;tag={tag}", self.aor()),
            remote: format!("<{to}>"),
            target: to,
            routes: Vec::new(),
            cseq: 0,
        };
        let mut invite = dialog.request("INVITE", None);
        self.describe(&mut invite);
        if self.config.quirks.reuses_nonce {
            self.authorize(&mut invite);
        }
        let id = self.next_call;
        self.next_call += 1;
        let key = self.start(now, invite, None, out);
        self.add_call(id, dialog, true, CallState::Calling);
        if let Some(call) = self.calls.get_mut(&id) {
            call.client = Some(key);
        }
        let patience = self.config.patience;
        self.later(now + patience, Todo::GiveUp(id));
        id
    }

    fn add_call(&mut self, id: u32, dialog: Dialog, outgoing: bool, state: CallState) {
        let call = Call {
            state,
            was_up: false,
            outgoing,
            dialog,
            client: None,
            server: None,
            ack: None,
            ok: None,
            cancel: false,
            reinvites: 0,
        };
        self.calls.insert(id, call);
    }

    /// How a call stands; `None` for a number that never was.
    #[must_use]
    pub fn call_state(&self, id: u32) -> Option<CallState> {
        self.calls.get(&id).map(|call| call.state)
    }

    /// Whether a call was up once.
    #[must_use]
    pub fn was_up(&self, id: u32) -> bool {
        self.calls.get(&id).is_some_and(|call| call.was_up)
    }

    /// Re-INVITEs of a call that were answered with a 200.
    #[must_use]
    pub fn reinvites(&self, id: u32) -> u32 {
        self.calls.get(&id).map_or(0, |call| call.reinvites)
    }

    /// Calls that are not over.
    #[must_use]
    pub fn live_calls(&self) -> Vec<u32> {
        let live = |call: &&Call| !matches!(call.state, CallState::Over(_));
        self.calls.iter().filter(|(_, call)| live(call)).map(|(id, _)| *id).collect()
    }

    /// Calls that came in.
    #[must_use]
    pub fn incoming_calls(&self) -> Vec<u32> {
        self.calls.iter().filter(|(_, call)| !call.outgoing).map(|(id, _)| *id).collect()
    }

    fn describe(&self, msg: &mut Msg) {
        msg.add("Contact", &format!("<{}>", self.contact()));
        msg.add("Content-Type", "application/sdp");
        let host = self.config.local.ip();
        msg.body = format!(
            "v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n\
             m=audio 4000 RTP/AVP 0\r\n"
        );
    }

    /// Remembers the transaction that followed a challenge.
    pub(super) fn on_retried(&mut self, old: &str, new: &str, cseq: u32) {
        for call in self.calls.values_mut() {
            if call.client.as_deref() == Some(old) {
                call.client = Some(new.to_string());
                call.dialog.cseq = call.dialog.cseq.max(cseq);
            }
        }
    }

    /// Gives up a call that is not answered (§9.1): the CANCEL waits for a provisional response.
    pub fn cancel(&mut self, now: Time, id: u32, out: &mut Outbox) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        if !matches!(call.state, CallState::Calling | CallState::Ringing) || call.cancel {
            return;
        }
        call.cancel = true;
        let Some(key) = call.client.clone() else { return };
        if self.layer.is_proceeding(&key) {
            self.send_cancel(now, id, out);
        }
        let give_up = self.config.timers.t1 * 70;
        self.later(now + give_up, Todo::Abandon(id));
    }

    fn send_cancel(&mut self, now: Time, id: u32, out: &mut Outbox) {
        let Some(invite) =
            self.calls.get(&id).and_then(|call| self.layer.request_of(call.client.as_deref()?))
        else {
            return;
        };
        let mut cancel = Msg::request("CANCEL", invite.uri());
        for route in invite.values("Route") {
            cancel.add("Route", &route);
        }
        for name in ["Max-Forwards", "From", "To", "Call-ID"] {
            cancel.add(name, invite.value(name));
        }
        cancel.add("CSeq", &format!("{} CANCEL", invite.cseq()));
        self.start(now, cancel, Some(invite.branch()), out);
    }

    pub(super) fn abandon(&mut self, id: u32) {
        if let Some(call) = self.calls.get_mut(&id)
            && matches!(call.state, CallState::Calling | CallState::Ringing)
        {
            call.state = CallState::Over(Ending::Refused(408));
        }
    }

    /// Hangs up a call that is up, cancels or declines one that is not.
    pub fn hang_up(&mut self, now: Time, id: u32, out: &mut Outbox) {
        match self.call_state(id) {
            Some(CallState::Calling | CallState::Ringing) => self.cancel(now, id, out),
            Some(CallState::Incoming) => self.decline_call(now, id, out),
            Some(CallState::Up) => self.bye(now, id, Ending::HungUp, out),
            Some(CallState::Over(_)) | None => {}
        }
    }

    fn bye(&mut self, now: Time, id: u32, ending: Ending, out: &mut Outbox) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.state = CallState::Over(ending);
        call.ok = None;
        let bye = call.dialog.request("BYE", None);
        let hop = call.dialog.next_hop();
        self.start_to(now, bye, None, Some(&hop), out);
    }

    /// A re-INVITE (hold) in a call that is up.
    pub fn reinvite(&mut self, now: Time, id: u32, out: &mut Outbox) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.state != CallState::Up || call.client.is_some() {
            return;
        }
        let mut invite = call.dialog.request("INVITE", None);
        let hop = call.dialog.next_hop();
        call.ack = None;
        self.describe(&mut invite);
        let key = self.start_to(now, invite, None, Some(&hop), out);
        if let Some(call) = self.calls.get_mut(&id) {
            call.client = Some(key);
        }
    }

    /// Keys pressed in a call that is up, faster than fingers are.
    pub fn press(&mut self, now: Time, id: u32, keys: u32, out: &mut Outbox) {
        for _ in 0..keys {
            let Some(call) = self.calls.get_mut(&id).filter(|call| call.state == CallState::Up)
            else {
                return;
            };
            let mut info = call.dialog.request("INFO", None);
            info.add("Content-Type", "application/dtmf-relay");
            info.body = "Signal=5\r\nDuration=160\r\n".into();
            let hop = call.dialog.next_hop();
            self.start_to(now, info, None, Some(&hop), out);
        }
    }

    pub(super) fn on_invite_response(&mut self, now: Time, key: &str, msg: &Msg, out: &mut Outbox) {
        let found = self.calls.iter().find(|(_, call)| {
            call.client.as_deref() == Some(key)
                || (call.outgoing
                    && call.dialog.call_id == msg.value("Call-ID")
                    && msg.status() / 100 == 2)
        });
        let Some(id) = found.map(|(id, _)| *id) else { return };
        let Some(call) = self.calls.get_mut(&id) else { return };
        match msg.status() {
            ..200 => {
                if call.state == CallState::Calling {
                    call.state = CallState::Ringing;
                }
                if call.cancel && !call.was_up && !self.layer.has_client(&cancel_key(key)) {
                    self.send_cancel(now, id, out);
                }
            }
            200..300 => self.on_answered(now, id, key, msg, out),
            status => {
                call.client = None;
                match call.state {
                    CallState::Calling | CallState::Ringing => {
                        call.state = CallState::Over(Ending::Refused(status));
                    }
                    // A refused re-INVITE ends the call when the dialog is not known (§12.2.1.2).
                    CallState::Up if matches!(status, 408 | 481) => {
                        self.bye(now, id, Ending::Lost, out);
                    }
                    _ => {}
                }
            }
        }
    }

    fn on_answered(&mut self, now: Time, id: u32, key: &str, msg: &Msg, out: &mut Outbox) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let mut fresh = false;
        if call.client.as_deref() == Some(key) && call.ack.is_none() {
            if !call.was_up {
                call.dialog.remote = msg.value("To").to_string();
                call.dialog.routes = msg.values("Record-Route");
                call.dialog.routes.reverse();
            } else {
                call.reinvites += 1;
            }
            call.dialog.target = uri_of(msg.value("Contact")).to_string();
            call.ack = Some(call.dialog.request("ACK", Some(msg.cseq())));
            call.client = None;
            fresh = true;
        }
        let Some(ack) = call.ack.clone().filter(|ack| ack.cseq() == msg.cseq()) else { return };
        let hop = call.dialog.next_hop();
        let early = matches!(call.state, CallState::Calling | CallState::Ringing);
        let cancelled = call.cancel;
        if early && fresh {
            call.state = CallState::Up;
            call.was_up = true;
        }
        self.start_to(now, ack, None, Some(&hop), out);
        if fresh && early && cancelled {
            // The 200 crossed our CANCEL.
            self.bye(now, id, Ending::HungUp, out);
        }
    }

    pub(super) fn on_bye_response(&mut self, _msg: &Msg) {}

    pub(super) fn on_invite(&mut self, now: Time, key: &str, msg: &Msg, out: &mut Outbox) {
        if self.config.answer == Answer::Busy || !self.live_calls().is_empty() {
            return self.answer(now, key, msg, 486, "Busy Here", out);
        }
        let tag = self.rng.hex(8);
        let dialog = Dialog {
            call_id: msg.value("Call-ID").to_string(),
            local: format!("{};tag={tag}", msg.value("To")),
            remote: msg.value("From").to_string(),
            target: uri_of(msg.value("Contact")).to_string(),
            routes: msg.values("Record-Route"),
            cseq: 2_000,
        };
        let id = self.next_call;
        self.next_call += 1;
        self.add_call(id, dialog, false, CallState::Incoming);
        if let Some(call) = self.calls.get_mut(&id) {
            call.server = Some((key.to_string(), msg.clone()));
        }
        let ringing = Msg::response(msg, 180, "Ringing", &tag);
        self.respond(now, key, &ringing, out);
        match self.config.answer {
            Answer::After(wait) => self.later(now + wait, Todo::Answer(id)),
            Answer::Decline => self.later(now + Duration::from_secs(1), Todo::Decline(id)),
            Answer::Busy | Answer::Ring => {}
        }
    }

    pub(super) fn on_reinvite(&mut self, now: Time, key: &str, msg: &Msg, out: &mut Outbox) {
        let found = self.calls.iter().find(|(_, call)| call.dialog.matches(msg));
        let live = |call: &Call| !matches!(call.state, CallState::Over(_));
        let Some(id) = found.filter(|(_, call)| live(call)).map(|(id, _)| *id) else {
            self.counts.strays += 1;
            return self.answer(now, key, msg, 481, "Call Does Not Exist", out);
        };
        if let Some(call) = self.calls.get_mut(&id) {
            call.server = Some((key.to_string(), msg.clone()));
        }
        self.send_ok(now, id, out);
    }

    pub(super) fn answer_call(&mut self, now: Time, id: u32, out: &mut Outbox) {
        if self.call_state(id) == Some(CallState::Incoming)
            && self.send_ok(now, id, out)
            && let Some(call) = self.calls.get_mut(&id)
        {
            call.state = CallState::Up;
            call.was_up = true;
        }
    }

    fn send_ok(&mut self, now: Time, id: u32, out: &mut Outbox) -> bool {
        let Some(call) = self.calls.get(&id) else { return false };
        let Some((key, invite)) = call.server.clone() else { return false };
        let mut ok = Msg::response(&invite, 200, "OK", &call.dialog.local_tag());
        self.describe(&mut ok);
        if !self.respond(now, &key, &ok, out) {
            return false;
        }
        let base = self.config.timers;
        if let Some(call) = self.calls.get_mut(&id) {
            call.ok = Some((ok, now + base.t1 * 64));
        }
        self.later(now + base.t1, Todo::Repeat(id, base.t1));
        true
    }

    pub(super) fn repeat_ok(&mut self, now: Time, id: u32, interval: Duration, out: &mut Outbox) {
        let Some(call) = self.calls.get(&id) else { return };
        let (Some((ok, until)), Some((key, _))) = (call.ok.clone(), call.server.clone()) else {
            return;
        };
        if now >= until {
            return self.bye(now, id, Ending::Unacknowledged, out);
        }
        self.respond(now, &key, &ok, out);
        let interval = (interval * 2).min(self.config.timers.t2);
        self.later((now + interval).min(until), Todo::Repeat(id, interval));
    }

    pub(super) fn decline_call(&mut self, now: Time, id: u32, out: &mut Outbox) {
        if self.call_state(id) == Some(CallState::Incoming) {
            self.refuse_call(now, id, 603, "Decline", out);
        }
    }

    fn refuse_call(&mut self, now: Time, id: u32, status: u16, reason: &str, out: &mut Outbox) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.state = CallState::Over(Ending::Refused(status));
        let tag = call.dialog.local_tag();
        if let Some((key, invite)) = call.server.take() {
            self.respond(now, &key, &Msg::response(&invite, status, reason, &tag), out);
        }
    }

    pub(super) fn on_ack(&mut self, msg: &Msg) {
        for call in self.calls.values_mut() {
            if call.dialog.matches(msg)
                && call.ok.as_ref().is_some_and(|(ok, _)| ok.cseq() == msg.cseq())
            {
                call.ok = None;
            }
        }
    }

    pub(super) fn on_cancel(&mut self, now: Time, key: &str, msg: &Msg, out: &mut Outbox) {
        let invite = format!("{}|{}|INVITE", msg.branch(), msg.sent_by());
        if !self.layer.has_server(&invite) {
            return self.answer(now, key, msg, 481, "No Such Call", out);
        }
        self.answer(now, key, msg, 200, "OK", out);
        let found = self.calls.iter().find(|(_, call)| {
            call.state == CallState::Incoming
                && call.server.as_ref().is_some_and(|(k, _)| *k == invite)
        });
        if let Some(id) = found.map(|(id, _)| *id) {
            self.refuse_call(now, id, 487, "Request Terminated", out);
        }
    }

    pub(super) fn on_bye(&mut self, now: Time, key: &str, msg: &Msg, out: &mut Outbox) {
        let found = self.calls.values_mut().find(|call| call.dialog.matches(msg));
        let Some(call) = found else {
            self.counts.strays += 1;
            return self.answer(now, key, msg, 481, "Call Does Not Exist", out);
        };
        if call.state == CallState::Up {
            call.state = CallState::Over(Ending::HungUp);
        }
        call.ok = None;
        self.answer(now, key, msg, 200, "OK", out);
    }

    pub(super) fn knows(&self, msg: &Msg) -> bool {
        self.calls.values().any(|call| call.dialog.matches(msg))
    }
}

fn cancel_key(invite: &str) -> String {
    format!("{}CANCEL", invite.trim_end_matches("INVITE"))
}
