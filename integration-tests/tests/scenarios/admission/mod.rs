//! How sources are judged (docs/admission.md): attackers, and all who must not be taken for one.

mod bans;
mod challenge;
mod forged;
mod forum;
mod headers;
mod honest;
mod reports;
mod scanners;

use integration_tests::*;

/// Patience in an eighth of its time; what tools look like is not known.
const SWIFT: &str = "policy: { signatures: { at_most: note }, \
                     patience: { invite: 1s, other: 4s } }";

/// The request a dialler sends: the forum's tool, byte for byte but for what it says about itself.
fn sipcli(from: &str, number: &str, source: std::net::SocketAddr, server: &str) -> Message {
    let (call_id, tag) = (format!("{}{}", unique(), unique()), &unique()[..8]);
    let (ip, media) = (source.ip(), 5073);
    let sdp = format!(
        "v=0\r\no=sipcli-Session 1189727098 1654538214 IN IP4 {ip}\r\ns=sipcli\r\nc=IN IP4 {ip}\r\n\
         t=0 0\r\nm=audio {media} RTP/AVP 18 0 8 101\r\na=fmtp:101 0-15\r\na=rtpmap:18 G729/8000\r\n\
         a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
         a=ptime:20\r\na=sendrecv\r\n"
    );
    Message::request("INVITE", &format!("sip:{number}@{server}"))
        .with("To", format!("{number}<sip:{number}@{server}>"))
        .with("From", format!("{from}<sip:{from}@{server}>;tag={tag}"))
        .with("Via", format!("SIP/2.0/UDP {source};branch=z9hG4bK-{call_id};rport"))
        .with("Call-ID", &call_id)
        .with("CSeq", "1 INVITE")
        .with("Contact", format!("<sip:{from}@{source}>"))
        .with("Max-Forwards", "70")
        .with("Allow", "INVITE, ACK, CANCEL, BYE")
        .with("User-Agent", "sipcli/v1.8")
        .with_body("application/sdp", sdp)
}

/// Waits until the edge has counted so many challenges that ended like this.
fn wait_outcomes(stage: &Stage, outcome: &str, count: usize) {
    wait_counted(stage, "ringfence_challenges_total", &format!("outcome=\"{outcome}\""), count);
}

/// Waits until the edge has counted so many: its shards tell their numbers now and then.
fn wait_counted(stage: &Stage, metric: &str, label: &str, least: usize) {
    wait_until(&format!("{metric} of {label} is at least {least}"), PATIENCE, || {
        stage.ringfence().metric(metric, &[label]) >= least as f64
    });
}

/// How many messages the edge dropped or refused for this reason.
fn refusals(stage: &Stage, reason: &str) -> f64 {
    let label = format!("reason=\"{reason}\"");
    stage.ringfence().metric("ringfence_requests_total", &[&label])
}

/// A phone that is set up and has called once.
fn settled(stage: &Stage, user: &str) -> Ua {
    let phone = stage.phone(user);
    phone.register();
    phone.call("100").answered().hang_up();
    phone
}

/// It still registers, calls and is called.
#[track_caller]
fn works(stage: &Stage, phone: &Ua) {
    phone.register();
    phone.call("100").answered().hang_up();
    stage.pbx().call(&phone.user);
    phone.incoming().accept().hang_up();
}
