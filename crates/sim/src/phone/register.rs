use super::{Phone, Todo};
use crate::net::Outbox;
use crate::sip::{Msg, param, uri_of};
use policy::Time;
use std::time::Duration;

/// How a phone's registration stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Registration {
    call_id: String,
    tag: String,
    cseq: u32,
    wanted: bool,
    in_passage: bool,
    /// Until when the last 200 granted it.
    until: Option<Time>,
    failures: u32,
}

impl Registration {
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }
}

impl Phone {
    /// Registers, and refreshes from then on by itself.
    pub fn register(&mut self, now: Time, out: &mut Outbox) {
        self.registration.wanted = true;
        let expires = self.config.expires.as_secs();
        self.send_register(now, expires, out);
        let keeps_alive = self.timers.iter().any(|(_, todo)| *todo == Todo::KeepAlive);
        if !keeps_alive && !self.config.keep_alive.is_zero() {
            self.later(now + self.config.keep_alive, Todo::KeepAlive);
        }
    }

    /// Takes its registration back, and stops refreshing.
    pub fn unregister(&mut self, now: Time, out: &mut Outbox) {
        self.registration.wanted = false;
        self.timers.retain(|(_, todo)| *todo != Todo::Register);
        self.send_register(now, 0, out);
    }

    /// Whether the last REGISTER was granted and has not run out.
    #[must_use]
    pub fn is_registered(&self, now: Time) -> bool {
        self.registration.until.is_some_and(|until| until > now)
    }

    fn send_register(&mut self, now: Time, expires: u64, out: &mut Outbox) {
        self.timers.retain(|(_, todo)| *todo != Todo::Register);
        let wanted = self.registration.wanted;
        if self.registration.in_passage && wanted {
            // One at a time (§10.2); look again soon.
            self.later(now + Duration::from_secs(2), Todo::Register);
            return;
        }
        if self.registration.call_id.is_empty() {
            (self.registration.call_id, self.registration.tag) =
                (self.rng.hex(20), self.rng.hex(8));
        }
        self.registration.in_passage = true;
        self.registration.cseq += 1;
        let Phone { registration: Registration { call_id, tag, cseq, .. }, .. } = self;
        let (call_id, tag, cseq) = (call_id.clone(), tag.clone(), *cseq);
        let aor = self.aor();
        let mut request = Msg::request("REGISTER", &format!("sip:{}", self.config.domain));
        request
            .add("Max-Forwards", "70")
            .add("From", &format!("<{aor}>;tag={tag}"))
            .add("To", &format!("<{aor}>"))
            .add("Call-ID", &call_id)
            .add("CSeq", &format!("{cseq} REGISTER"))
            .add("Contact", &format!("<{}>", self.contact()))
            .add("Expires", &expires.to_string());
        if !self.config.quirks.no_user_agent {
            request.add("User-Agent", "Sim Phone");
        }
        if self.config.quirks.reuses_nonce {
            self.authorize(&mut request);
        }
        self.start(now, request, None, out);
    }

    pub(super) fn on_register_response(&mut self, now: Time, msg: &Msg, request: &Msg) {
        let status = msg.status();
        if status < 200 {
            return;
        }
        self.registration.in_passage = false;
        self.registration.cseq = self.registration.cseq.max(request.cseq());
        if request.value("Expires") == "0" {
            if status == 200 {
                self.registration.until = None;
            }
            return;
        }
        // "The phone finds its own Contact in the 200": others are of other devices.
        let own = request.values("Contact").first().map(|c| uri_of(c).to_string());
        let granted = msg
            .values("Contact")
            .into_iter()
            .filter(|contact| Some(uri_of(contact)) == own.as_deref())
            .find_map(|contact| param(&contact, "expires")?.parse::<u64>().ok());
        // A phone that was rewritten by its PBX takes the only one there is.
        let contacts = msg.values("Contact");
        let only = contacts.first().filter(|_| contacts.len() == 1);
        let only = only.and_then(|contact| param(contact, "expires")?.parse::<u64>().ok());
        self.counts.contact_missing += u64::from(status == 200 && granted.is_none());
        match (status, granted.or(only)) {
            (200, Some(granted)) => {
                self.counts.registered += 1;
                self.registration.failures = 0;
                self.registration.until = Some(now + Duration::from_secs(granted));
                let early = self.rng.below(granted / 4 + 1) + granted / 4;
                self.register_again(now + Duration::from_secs(granted.saturating_sub(early)));
            }
            (200, None) => {
                self.register_again(now + Duration::from_secs(30));
            }
            (status, _) => {
                *self.counts.register_failures.entry(status).or_default() += 1;
                self.registration.failures += 1;
                let after = msg.value("Retry-After").parse().map(Duration::from_secs);
                let after = after.unwrap_or(self.config.retry);
                let wait = after + self.rng.up_to(after / 2);
                self.register_again(now + wait);
            }
        }
    }

    fn register_again(&mut self, at: Time) {
        if self.registration.wanted {
            self.timers.retain(|(_, todo)| *todo != Todo::Register);
            self.later(at, Todo::Register);
        }
    }
}
