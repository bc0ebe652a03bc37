use super::{Pbx, Todo};
use crate::net::{Conn, Outbox};
use crate::sip::{Msg, SipUri, param, uri_of};
use crate::ua::Path;
use policy::Time;
use std::time::Duration;

/// Bounds of what a registration is granted, in seconds.
const EXPIRES_MIN: u64 = 60;
const EXPIRES_MAX: u64 = 7_200;
/// An answer to OPTIONS counts within this time.
const QUALIFY_TIMEOUT: Duration = Duration::from_secs(3);

/// A registered contact.
#[derive(Clone, Debug)]
pub(super) struct Binding {
    /// Its URI, rewritten if so set.
    pub uri: String,
    /// What the phone wrote.
    written: String,
    /// Path of the REGISTER, in order.
    pub path: Vec<String>,
    /// The connection it came by.
    pub stream: Option<Conn>,
    expires: Time,
    /// By the last OPTIONS; `None` while the first is on its way.
    pub available: Option<bool>,
    probe: Option<(String, Time)>,
}

impl Binding {
    /// Where requests for it go.
    pub fn next_hop(&self) -> &str {
        self.path.first().map_or(&self.uri, |path| uri_of(path))
    }
}

impl Pbx {
    pub(super) fn on_register(
        &mut self,
        now: Time,
        key: &str,
        msg: &Msg,
        user: &str,
        path: Path,
        out: &mut Outbox,
    ) {
        let aor = SipUri::parse(uri_of(msg.value("To"))).unwrap_or_default().user;
        if aor != user {
            return self.answer(now, key, msg, 404, "Not Found", out);
        }
        let route = msg.values("Path");
        let supported = msg.values("Supported").iter().any(|tag| tag == "path");
        let allowed = supported && self.config.support_path;
        if !route.is_empty() && !allowed {
            // "Path without Supported: path -> 420 Bad Extension".
            let mut response = Msg::response(msg, 420, "Bad Extension", "u");
            response.add("Unsupported", "path");
            self.layer.respond(now, key, &response, out);
            return;
        }
        self.bindings.entry(aor.clone()).or_default().retain(|b| b.expires > now);
        let mut fresh = Vec::new();
        for contact in msg.values("Contact") {
            fresh.extend(self.bind(now, &aor, msg, &contact, path, &route));
        }
        // "The first qualify OPTIONS to the new contact leaves before the 200 OK".
        for uri in fresh {
            if !self.config.qualify.is_zero() {
                self.qualify(now, &aor, &uri, out);
            }
        }
        let tag = self.rng.hex(8);
        let mut response = Msg::response(msg, 200, "OK", &tag);
        for binding in &self.bindings[&aor] {
            // "`expires=` is one second less than granted".
            let left = binding.expires.since(now).as_secs().saturating_sub(1);
            response.add("Contact", &format!("<{}>;expires={left}", binding.uri));
        }
        for value in &route {
            response.add("Path", value);
        }
        self.layer.respond(now, key, &response, out);
    }

    /// Enters one Contact; returns its URI when it is new.
    fn bind(
        &mut self,
        now: Time,
        aor: &str,
        msg: &Msg,
        contact: &str,
        path: Path,
        route: &[String],
    ) -> Option<String> {
        let wanted = param(contact, "expires")
            .or_else(|| msg.header("Expires").map(str::to_string))
            .and_then(|expires| expires.parse::<u64>().ok())
            .unwrap_or(3_600);
        let source = self.source_of(path);
        let rewrite = self.config.rewrite_contact;
        let max_contacts = self.config.max_contacts;
        let bindings = self.bindings.entry(aor.to_string()).or_default();
        if contact == "*" {
            bindings.clear();
            return None;
        }
        let written = uri_of(contact).to_string();
        let mut uri = SipUri::parse(&written)?;
        if rewrite {
            (uri.host, uri.port) = (source.ip().to_string(), Some(source.port()));
            uri.params.retain(|param| !param.starts_with("transport"));
        }
        let uri = if rewrite { uri.reserialised() } else { written.clone() };
        let known = bindings.iter().position(|b| b.uri == uri || b.written == written);
        if wanted == 0 {
            known.map(|index| bindings.remove(index));
            return None;
        }
        let stream = match path {
            Path::Stream(conn) => Some(conn),
            Path::Udp { .. } => None,
        };
        let expires = now + Duration::from_secs(wanted.clamp(EXPIRES_MIN, EXPIRES_MAX));
        let moved = known.is_none_or(|index| bindings[index].uri != uri);
        let available = known.and_then(|index| bindings[index].available);
        if let Some(index) = known {
            bindings.remove(index);
        } else if bindings.len() >= max_contacts {
            bindings.remove(0);
        }
        let path = route.to_vec();
        let probe = None;
        bindings.push(Binding {
            uri: uri.clone(),
            written,
            path,
            stream,
            expires,
            available,
            probe,
        });
        moved.then_some(uri)
    }

    pub(super) fn qualify(&mut self, now: Time, aor: &str, uri: &str, out: &mut Outbox) {
        let next = now + self.config.qualify;
        self.timers
            .retain(|(_, todo)| !matches!(todo, Todo::Qualify(a, u) if a == aor && u == uri));
        let Some(binding) = self
            .bindings
            .get(aor)
            .and_then(|b| b.iter().find(|b| b.uri == uri && b.expires > now))
            .cloned()
        else {
            return;
        };
        let mut options = Msg::request("OPTIONS", uri);
        for route in &binding.path {
            options.add("Route", route);
        }
        let local = self.config.addresses[0];
        let tag = self.rng.hex(8);
        options
            .add("Max-Forwards", "70")
            .add("From", &format!("<sip:asterisk@{local}>;tag={tag}"))
            .add("To", &format!("<{uri}>"))
            .add("Contact", &format!("<sip:asterisk@{local}>"))
            .add("Call-ID", &self.rng.hex(20))
            .add("CSeq", "1 OPTIONS");
        let key = self.send(now, options, binding.next_hop(), binding.stream, out);
        let bindings = self.bindings.get_mut(aor).into_iter().flatten();
        for binding in bindings.filter(|b| b.uri == uri) {
            binding.probe = key.clone().map(|key| (key, now + QUALIFY_TIMEOUT));
        }
        self.later(next, Todo::Qualify(aor.to_string(), uri.to_string()));
    }

    /// "Any answer within 3 s makes the contact Avail".
    pub(super) fn on_qualified(&mut self, key: &str, answered: bool) {
        self.counts.qualified += u64::from(answered);
        for binding in self.bindings.values_mut().flatten() {
            if binding.probe.as_ref().is_some_and(|(probe, _)| probe == key) {
                binding.available = Some(answered);
            }
        }
    }

    /// Contacts of an AOR that may be dialled.
    pub(super) fn dialable(&self, now: Time, aor: &str) -> Vec<Binding> {
        let bindings = self.bindings.get(aor).map(Vec::as_slice).unwrap_or_default();
        let usable = |b: &&Binding| b.expires > now && b.available != Some(false);
        bindings.iter().filter(usable).cloned().collect()
    }
}
