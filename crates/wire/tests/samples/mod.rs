//! Messages as phones send them, and the edits of a proxy, for benchmarks and the allocation
//! test.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

use wire::{HeaderName, Message, NameAddr, Splice, Uri};

/// 1,0xx bytes.
pub const INVITE: &str = "INVITE sip:100@pbx.example.com;transport=udp SIP/2.0\r\n\
Via: SIP/2.0/UDP 192.168.1.23:5062;rport;branch=z9hG4bKPj8d1f5b9c0a7e4f3d9b2c\r\n\
Max-Forwards: 70\r\n\
From: \"Alice Liddell\" <sip:alice@pbx.example.com>;tag=3f9a1c77e0b24d5a\r\n\
To: <sip:100@pbx.example.com>\r\n\
Contact: <sip:alice@192.168.1.23:5062;ob>;+sip.instance=\"<urn:uuid:0000-01>\"\r\n\
Call-ID: 7b6c5d4e3f2a1908@192.168.1.23\r\n\
CSeq: 31862 INVITE\r\n\
Route: <sip:192.0.2.10;lr>\r\n\
Allow: PRACK, INVITE, ACK, BYE, CANCEL, UPDATE, INFO, SUBSCRIBE, NOTIFY, REFER, OPTIONS\r\n\
Supported: replaces, 100rel, timer, norefersub\r\n\
Session-Expires: 1800\r\n\
Min-SE: 90\r\n\
User-Agent: Desk Phone 7 (fw 2.12.3)\r\n\
Content-Type: application/sdp\r\n\
Content-Length: 285\r\n\
\r\n\
v=0\r\n\
o=- 3890845761 3890845761 IN IP4 192.168.1.23\r\n\
s=call\r\n\
c=IN IP4 192.168.1.23\r\n\
t=0 0\r\n\
m=audio 4000 RTP/AVP 9 0 8 101\r\n\
a=rtcp:4001 IN IP4 192.168.1.23\r\n\
a=sendrecv\r\n\
a=rtpmap:9 G722/8000\r\n\
a=rtpmap:0 PCMU/8000\r\n\
a=rtpmap:8 PCMA/8000\r\n\
a=rtpmap:101 telephone-event/8000\r\n\
a=fmtp:101 0-16\r\n";

pub const REGISTER: &str = "REGISTER sip:pbx.example.com SIP/2.0\r\n\
Via: SIP/2.0/UDP 192.168.1.23:5062;rport;branch=z9hG4bKPj8d1f5b9c0a7e4f3d9b2c\r\n\
Max-Forwards: 70\r\n\
From: \"Alice Liddell\" <sip:alice@pbx.example.com>;tag=3f9a1c77e0b24d5a\r\n\
To: \"Alice Liddell\" <sip:alice@pbx.example.com>\r\n\
Call-ID: 7b6c5d4e3f2a1908@192.168.1.23\r\n\
CSeq: 31862 REGISTER\r\n\
Contact: \"Alice Liddell\" <sip:alice@192.168.1.23:5062;ob>\r\n\
Authorization: Digest username=\"alice\", realm=\"asterisk\", nonce=\"1700000000/0123456789abcdef0123456789abcdef\", uri=\"sip:pbx.example.com\", response=\"0123456789abcdef0123456789abcdef\", algorithm=MD5, cnonce=\"abcdef\", opaque=\"0123456789abcdef\", qop=auth, nc=00000001\r\n\
Expires: 300\r\n\
Allow: PRACK, INVITE, ACK, BYE, CANCEL, UPDATE, INFO, SUBSCRIBE, NOTIFY, REFER, OPTIONS\r\n\
User-Agent: Desk Phone 7 (fw 2.12.3)\r\n\
Content-Length: 0\r\n\
\r\n";

/// As `bench/load`'s phones have it, before they are challenged: 11 header lines.
pub const FIRST_REGISTER: &str = "REGISTER sip:pbx.test SIP/2.0\r\n\
Via: SIP/2.0/UDP 192.168.3.15:5060;branch=z9hG4bK000004d2.1;rport\r\n\
Max-Forwards: 70\r\n\
From: \"Phone 783\" <sip:u783@pbx.test>;tag=f4d2\r\n\
To: <sip:u783@pbx.test>\r\n\
Call-ID: 1234@bench\r\n\
CSeq: 1 REGISTER\r\n\
Contact: <sip:u783@192.168.3.15:5060>\r\n\
User-Agent: Yealink SIP-T46S 66.85.0.5\r\n\
Allow: INVITE, INFO, PRACK, ACK, BYE, CANCEL, OPTIONS, NOTIFY, REGISTER, SUBSCRIBE, REFER, PUBLISH, UPDATE, MESSAGE\r\n\
Expires: 60\r\n\
Content-Length: 0\r\n\
\r\n";

/// What Asterisk answers to it, through an edge.
pub const CHALLENGE: &str = "SIP/2.0 401 Unauthorized\r\n\
Via: SIP/2.0/UDP 127.0.0.20:5080;rport=5080;received=127.0.0.20;branch=z9hG4bK0123456789abcdef0123\r\n\
Via: SIP/2.0/UDP 192.168.3.15:5060;branch=z9hG4bK000004d2.1;rport=5070;received=203.0.113.7\r\n\
Call-ID: 1234@bench\r\n\
From: \"Phone 783\" <sip:u783@pbx.test>;tag=f4d2\r\n\
To: <sip:u783@pbx.test>;tag=z9hG4bK000004d2.1\r\n\
CSeq: 1 REGISTER\r\n\
WWW-Authenticate: Digest realm=\"asterisk\",nonce=\"1700000000/8c0e1a7d2f5b4c3d9e6a1b2c3d4e5f60\",opaque=\"5f0c6a1b2c3d4e5f\",algorithm=MD5,qop=\"auth\"\r\n\
Server: Asterisk PBX 22.5.0\r\n\
Content-Length:  0\r\n\
\r\n";

/// What a proxy does with a REGISTER: a Via on top, rport and received, one hop less, its own
/// Contact.
pub fn forward(message: &Message<'_>, text: &mut Vec<u8>, out: &mut Vec<u8>) {
    let mut splice = Splice::new(message, text);
    let top = message.headers()[message.via_value().header].line.start;
    splice.insert(top, |text| {
        text.extend_from_slice(b"Via: SIP/2.0/UDP 127.0.0.1:5070;branch=z9hG4bK0123456789\r\n");
    });
    if let Some((None, span)) = message.via().rport {
        splice.replace(span, b"rport=5062;received=203.0.113.7");
    }
    if let Some((_, hops)) = message.lines(HeaderName::MaxForwards).next() {
        splice.replace(hops.value, b"69");
    }
    for value in message.values(HeaderName::Contact) {
        let contact = NameAddr::parse(value.bytes, value.span.start).unwrap();
        assert!(Uri::parse(contact.uri).unwrap().is_sip());
        splice.replace(contact.uri_span, b"sip:0123456789abcdef@127.0.0.1:5070");
    }
    splice.write(out).unwrap();
}
