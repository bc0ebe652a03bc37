//! Both ways into a call.

use crate::message::{Message, param};
use crate::rtp::Rtp;
use crate::{Dialog, Leg, Ua, unique};

/// A session description that offers G.711 µ-law at this socket.
#[must_use]
pub fn offer(rtp: &Rtp) -> String {
    let (ip, port) = (rtp.local().ip(), rtp.local().port());
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n"
    )
}

/// A call this phone makes, until it is answered.
pub struct Call<'u> {
    /// Who calls.
    pub ua: &'u Ua,
    /// The INVITE that is on its way.
    pub invite: Message,
    rtp: Rtp,
}

impl<'u> Call<'u> {
    /// Sends an INVITE and nothing more, whatever comes back.
    #[must_use]
    pub fn send(ua: &'u Ua, invite: Message, rtp: Rtp) -> Self {
        ua.send(&invite);
        Call { ua, invite, rtp }
    }

    /// Sends an INVITE and, challenged, sends it again with credentials; once more when the first
    /// challenge was only too old.
    #[track_caller]
    pub(crate) fn place(ua: &'u Ua, invite: Message, rtp: Rtp) -> Self {
        let first = Call::send(ua, invite, rtp);
        let is_challenge = |m: &Message| matches!(m.code(), Some(401 | 407));
        let challenge = ua.wait_answer(&first.invite, "a challenge", is_challenge);
        first.acknowledge_refusal(&challenge);
        let again = ua.with_credentials(&first.invite, &challenge);
        let second = Call::send(ua, again, first.rtp);
        let Some(stale) = ua.stale_challenge(&second.invite) else { return second };
        second.acknowledge_refusal(&stale);
        let again = ua.with_credentials(&second.invite, &stale);
        Call::send(ua, again, second.rtp)
    }

    /// Waits for a provisional response.
    #[track_caller]
    pub fn wait(&self, code: u16) -> Message {
        self.ua.response_with(&self.invite, code)
    }

    /// Waits for the 200 and sends the ACK.
    #[track_caller]
    pub fn answered(self) -> Leg<'u> {
        let response = self.ua.final_response(&self.invite).expect_code(200);
        let cseq = self.invite.cseq().0;
        let leg = self.leg(&response);
        leg.acknowledge(cseq);
        leg
    }

    /// The dialog that `response` makes (a 2xx, or a provisional with a tag), nothing sent.
    #[must_use]
    pub fn leg(self, response: &Message) -> Leg<'u> {
        let dialog = Dialog::of_response(&self.invite, response);
        Leg::new(self.ua, dialog, self.rtp, response, &self.invite.text())
    }

    /// Early media: sends audio to where a provisional response's SDP says until it comes back.
    #[track_caller]
    pub fn hears_early_echo(&self, progress: &Message) {
        self.rtp.echo(crate::rtp::media_of(&progress.text()).expect("a session description"));
    }

    /// Waits for a refusal with this code, and ACKs it.
    #[track_caller]
    pub fn refused(&self, code: u16) -> Message {
        let response = self.ua.final_response(&self.invite).expect_code(code);
        self.acknowledge_refusal(&response);
        response
    }

    /// Cancels it: the 200 to the CANCEL. What became of the INVITE is to be waited for.
    #[track_caller]
    pub fn cancel(&self) {
        self.ua.transact(&self.cancellation()).expect_code(200);
    }

    /// The CANCEL for it (RFC 3261 §9.1).
    #[must_use]
    pub fn cancellation(&self) -> Message {
        self.hop_by_hop("CANCEL", self.invite.value("To"))
    }

    /// Sends the ACK for a final response that is no 2xx (§17.1.1.3).
    pub fn acknowledge_refusal(&self, response: &Message) {
        self.ua.send(&self.hop_by_hop("ACK", response.value("To")));
    }

    fn hop_by_hop(&self, method: &str, to: &str) -> Message {
        let invite = &self.invite;
        let mut request = Message::request(method, invite.uri()).with("Via", invite.value("Via"));
        for route in invite.fields("Route") {
            request = request.with("Route", route);
        }
        request
            .with("Max-Forwards", "70")
            .with("From", invite.value("From"))
            .with("To", to)
            .with("Call-ID", invite.call_id())
            .with("CSeq", format!("{} {method}", invite.cseq().0))
    }
}

/// A call to this user agent, until it answers.
pub struct Incoming<'u> {
    /// Who is called.
    pub ua: &'u Ua,
    /// The INVITE.
    pub invite: Message,
    rtp: Rtp,
}

impl<'u> Incoming<'u> {
    pub(crate) fn new(ua: &'u Ua, invite: Message) -> Self {
        Incoming { ua, invite, rtp: ua.rtp() }
    }

    /// Sends 180.
    pub fn ring(&self) -> Message {
        self.ua.answer(&self.invite, 180, "Ringing")
    }

    /// The 200 with a session description.
    #[must_use]
    pub fn acceptance(&self) -> Message {
        self.ua.response(&self.invite, 200, "OK").with_body("application/sdp", offer(&self.rtp))
    }

    /// Sends 200 and waits for its ACK.
    #[track_caller]
    pub fn accept(self) -> Leg<'u> {
        let response = self.acceptance();
        self.ua.respond(&response);
        self.acknowledged(&response)
    }

    /// Waits for the ACK to `response`, which was sent.
    #[track_caller]
    pub fn acknowledged(self, response: &Message) -> Leg<'u> {
        let tag = param(response.value("To"), "tag");
        self.ua.wait_for("the ACK to its 200", |m| {
            m.is("ACK") && m.call_id() == response.call_id() && param(m.value("To"), "tag") == tag
        });
        let dialog = Dialog::of_request(&self.invite, response);
        Leg::new(self.ua, dialog, self.rtp, &self.invite, &response.text())
    }

    /// Refuses with this code and waits for the ACK.
    #[track_caller]
    pub fn refuse(self, code: u16, phrase: &str) {
        self.ua.answer(&self.invite, code, phrase);
        self.wait_refusal_acknowledged();
    }

    /// Waits for the CANCEL, answers it with 200 and the INVITE with 487, and waits for the ACK.
    /// The CANCEL.
    #[track_caller]
    pub fn cancelled(self) -> Message {
        let cancel = self.ua.wait_for("the CANCEL of its call", |m| {
            m.is("CANCEL") && m.branch() == self.invite.branch()
        });
        self.ua.answer(&cancel, 200, "OK");
        self.refuse(487, "Request Terminated");
        cancel
    }

    /// Waits for the ACK to a refusal.
    #[track_caller]
    pub fn wait_refusal_acknowledged(&self) {
        let branch = self.invite.branch();
        self.ua.wait_for("the ACK to its refusal", |m| m.is("ACK") && m.branch() == branch);
    }

    /// A 200 with a To tag of its own, as a second branch of a forked INVITE would bring.
    #[must_use]
    pub fn forked_acceptance(&self) -> Message {
        let mut response = self.acceptance();
        let to = self.invite.value("To");
        response.set("To", format!("{to};tag=fork{}", unique()));
        response
    }
}
