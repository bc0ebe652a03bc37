//! Dialogs as RFC 3261 §12 defines them: tags, CSeq, remote target, route set.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::message::{Message, uri_host_port, uri_of, uri_param};
use crate::rtp::{Rtp, media_of};
use crate::{Transport, Ua};

/// One side's state of a dialog.
#[derive(Debug)]
pub struct Dialog {
    /// Its Call-ID.
    pub call_id: String,
    /// This side's From value, with its tag.
    pub local: String,
    /// The other side's, with its tag.
    pub remote: String,
    /// Where the other side is.
    pub target: String,
    /// The proxies in between, nearest first.
    pub route_set: Vec<String>,
    cseq: AtomicU32,
}

impl Dialog {
    /// What a UAC makes of a response to its request (§12.1.2).
    #[must_use]
    pub fn of_response(request: &Message, response: &Message) -> Self {
        let target = response.header("Contact").map_or(request.uri(), uri_of).to_owned();
        Dialog {
            call_id: request.call_id().to_owned(),
            local: request.value("From").to_owned(),
            remote: response.value("To").to_owned(),
            target,
            route_set: response.all("Record-Route").into_iter().rev().map(str::to_owned).collect(),
            cseq: response.cseq().0.into(),
        }
    }

    /// What a UAS makes of a request and its own response (§12.1.1).
    #[must_use]
    pub fn of_request(request: &Message, response: &Message) -> Self {
        Dialog {
            call_id: request.call_id().to_owned(),
            local: response.value("To").to_owned(),
            remote: request.value("From").to_owned(),
            target: uri_of(request.value("Contact")).to_owned(),
            route_set: request.all("Record-Route").into_iter().map(str::to_owned).collect(),
            cseq: 1000.into(),
        }
    }

    /// A request in this dialog (§12.2.1.1).
    #[must_use]
    pub fn request(&self, ua: &Ua, method: &str) -> Message {
        let cseq = self.cseq.fetch_add(1, Ordering::Relaxed) + 1;
        let mut request = self.numbered(ua, method, cseq);
        if matches!(method, "INVITE" | "UPDATE" | "SUBSCRIBE" | "REFER") {
            request = request.with("Contact", ua.contact_value());
        }
        request
    }

    /// A request with this CSeq: an ACK has that of its INVITE.
    #[must_use]
    pub fn numbered(&self, ua: &Ua, method: &str, cseq: u32) -> Message {
        let mut request = Message::request(method, &self.target).with("Via", ua.via());
        for route in &self.route_set {
            request = request.with("Route", route.clone());
        }
        request
            .with("Max-Forwards", "70")
            .with("From", self.local.clone())
            .with("To", self.remote.clone())
            .with("Call-ID", self.call_id.clone())
            .with("CSeq", format!("{cseq} {method}"))
    }

    /// Where requests go: the first Route, else the remote target (§8.1.2).
    ///
    /// # Panics
    /// When that is no address, or a strict router.
    #[must_use]
    pub fn next_hop(&self) -> (SocketAddr, Transport) {
        let uri = self.route_set.first().map_or(self.target.as_str(), |route| uri_of(route));
        assert!(
            self.route_set.is_empty() || uri_param(uri, "lr").is_some(),
            "a strict router in the route set: {uri}"
        );
        let transport = match uri_param(uri, "transport").map(|t| t.to_ascii_lowercase()).as_deref()
        {
            Some("tcp") => Transport::Tcp,
            Some("tls") => Transport::Tls,
            _ if uri.starts_with("sips:") => Transport::Tls,
            _ => Transport::Udp,
        };
        let port = if transport == Transport::Tls { 5061 } else { 5060 };
        let host = uri_host_port(uri);
        let address = host.parse().or_else(|_| format!("{host}:{port}").parse());
        (address.unwrap_or_else(|_| panic!("the next hop is no address: {uri}")), transport)
    }
}

/// A user agent's side of an established dialog.
pub struct Leg<'u> {
    /// Whose.
    pub ua: &'u Ua,
    /// Its state.
    pub dialog: Dialog,
    /// Its media socket.
    pub rtp: Rtp,
    /// Where the other side wants its media.
    pub remote_media: Option<SocketAddr>,
    /// The session description last sent.
    pub description: String,
}

impl<'u> Leg<'u> {
    /// A dialog made by `request` and its answer `response`, whose sender is `ua`.
    #[must_use]
    pub fn new(ua: &'u Ua, dialog: Dialog, rtp: Rtp, remote: &Message, description: &str) -> Self {
        Leg {
            ua,
            dialog,
            rtp,
            remote_media: media_of(&remote.text()),
            description: description.to_owned(),
        }
    }

    /// A request in the dialog.
    #[must_use]
    pub fn request(&self, method: &str) -> Message {
        self.dialog.request(self.ua, method)
    }

    /// Sends a request to the dialog's next hop, which must be the server this phone knows, over
    /// the transport it knows it by: anything else would not pass its NAT.
    #[track_caller]
    pub fn send(&self, request: &Message) {
        let (hop, transport) = self.dialog.next_hop();
        assert_eq!(
            (hop, transport),
            (self.ua.server(), self.ua.transport()),
            "where {} goes",
            request.start
        );
        self.ua.send(request);
    }

    /// Sends a request in the dialog and waits for its final response.
    #[track_caller]
    pub fn transact(&self, request: &Message) -> Message {
        self.send(request);
        self.ua.final_response(request)
    }

    /// Sends the ACK for a 2xx to the INVITE with this CSeq.
    #[track_caller]
    pub fn acknowledge(&self, cseq: u32) {
        self.send(&self.dialog.numbered(self.ua, "ACK", cseq));
    }

    /// Sends the session description again, each line `from` replaced with `to`; the 200, ACKed.
    #[track_caller]
    pub fn reinvite(&mut self, from: &str, to: &str) -> Message {
        self.description = self.description.replace(from, to);
        let request = self.request("INVITE").with_body("application/sdp", self.description.clone());
        let answer = self.transact(&request).expect_code(200);
        self.acknowledge(request.cseq().0);
        answer
    }

    /// Waits for a request of this dialog.
    #[track_caller]
    pub fn wait_request(&self, method: &str) -> Message {
        let call_id = &self.dialog.call_id;
        self.ua.wait_for(&format!("a {method} in its dialog"), |m| {
            m.is(method) && m.call_id() == call_id
        })
    }

    /// Ends the call.
    #[track_caller]
    pub fn hang_up(self) {
        self.transact(&self.request("BYE")).expect_code(200);
    }

    /// Waits until the other side ends the call.
    #[track_caller]
    pub fn wait_hang_up(self) {
        let bye = self.wait_request("BYE");
        self.ua.answer(&bye, 200, "OK");
    }

    /// Sends audio until its own sound comes back.
    #[track_caller]
    pub fn hears_echo(&self) {
        let remote = self.remote_media.expect("the other side wants no media");
        self.rtp.echo(remote);
    }

    /// Sends audio until the other phone hears it.
    #[track_caller]
    pub fn is_heard_by(&self, other: &Leg<'_>) {
        self.rtp.reach(self.remote_media.unwrap(), &other.rtp);
    }
}
