//! What is known of one registered Contact.

use crate::packed::{self, Reader};
use crate::token::{self, ContactToken, Text};
use std::fmt;
use triomphe::ThinArc;
use wire::Flow;

/// A registered Contact and the flow that reaches it (RFC 3261 §10, RFC 5626): written once, in one
/// piece, and shared by all shards; a copy is a reference. A REGISTER that only prolongs it changes
/// nothing here.
///
/// ```text
/// head | contact token | flow | Contact URI, where the token has no room for it
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Binding(ThinArc<Head, u8>);

#[derive(Clone, Copy, PartialEq, Eq)]
struct Head {
    call_id: u64,
    pbx: u32,
    token_end: u8,
    flow_end: u8,
}

impl Binding {
    /// The binding that a contact token stands for, at `flow`; `uri` is the phone's own Contact.
    pub(crate) fn new(token: &[u8], call_id: u64, pbx: u32, flow: &Flow, uri: &[u8]) -> Self {
        debug_assert!(ContactToken::read(token).is_some(), "a contact token");
        let flow = packed::flow(flow);
        let in_token = ContactToken::read(token).is_some_and(|token| token.contact == uri);
        let behind = if in_token { &[][..] } else { uri };
        // neither a token nor a flow is longer
        const { assert!(token::RAW_BYTES_MAX + packed::FLOW_BYTES_MAX <= u8::MAX as usize) };
        let (token_end, flow_end) = (token.len() as u8, (token.len() + flow.len()) as u8);
        let head = Head { call_id, pbx, token_end, flow_end };
        Binding(ThinArc::from_header_and_slice(head, &[token, &flow, behind].concat()))
    }

    /// The same, somewhere else.
    pub(crate) fn moved(&self, call_id: u64, pbx: u32, flow: &Flow) -> Self {
        Binding::new(self.raw(), call_id, pbx, flow, self.uri())
    }

    /// Keyed hash of what makes the binding the same at its next REGISTER.
    #[must_use]
    pub fn key(&self) -> u64 {
        ContactToken::read(self.raw()).map_or(0, |token| token.key)
    }

    /// Hash of the Call-ID of its last REGISTER: the same phone keeps it.
    #[must_use]
    pub fn call_id(&self) -> u64 {
        self.head().call_id
    }

    /// The PBX that it is registered at ([`policy::Pbx::id`]).
    #[must_use]
    pub fn pbx(&self) -> u32 {
        self.head().pbx
    }

    /// How it is reached now.
    #[must_use]
    pub fn flow(&self) -> Flow {
        let Head { token_end, flow_end, .. } = *self.head();
        let packed = self.bytes(token_end.into()..flow_end.into());
        Reader(packed).flow().expect("what `packed::flow` wrote")
    }

    /// Its user towards the PBX: stable as long as the binding lives.
    pub(crate) fn token(&self) -> Text {
        token::text(self.raw())
    }

    /// The token before base64url.
    pub(crate) fn raw(&self) -> &[u8] {
        self.bytes(0..self.head().token_end.into())
    }

    /// The phone's own Contact URI.
    #[must_use]
    pub fn uri(&self) -> &[u8] {
        match self.bytes(self.head().flow_end.into()..self.0.slice.len()) {
            [] => ContactToken::read(self.raw()).map_or(&[], |token| token.contact),
            behind => behind,
        }
    }

    fn head(&self) -> &Head {
        &self.0.header.header
    }

    fn bytes(&self, range: std::ops::Range<usize>) -> &[u8] {
        self.0.slice.get(range).unwrap_or_default()
    }
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Binding")
            .field("key", &self.key())
            .field("flow", &self.flow())
            .field("pbx", &self.pbx())
            .field("uri", &String::from_utf8_lossy(self.uri()))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packed::tests::flows;
    use crate::token::Tokens;
    use wire::ShardId;

    #[test]
    fn all_that_is_written_is_read() {
        let tokens = Tokens::new(&[9; 32]);
        let long = [b'x'; 300];
        for first in flows() {
            for uri in [&b"sip:6001@192.168.1.5"[..], b"", &long] {
                let token = tokens.contact(77, ShardId(3), &first, uri);
                for flow in flows() {
                    let binding = Binding::new(&token, 5, 9, &first, uri).moved(6, 8, &flow);
                    assert_eq!((binding.key(), binding.call_id(), binding.pbx()), (77, 6, 8));
                    assert_eq!((binding.raw(), binding.uri()), (&token[..], uri));
                    assert_eq!(binding.flow(), flow);
                    assert_eq!(token::raw(&binding.token()), Some(token.clone()));
                }
            }
        }
    }

    #[test]
    fn the_uri_of_another_token_is_not_taken_for_this_one() {
        let tokens = Tokens::new(&[9; 32]);
        let [flow, ..] = flows()[..] else { panic!("some") };
        let token = tokens.contact(77, ShardId(3), &flow, b"sip:a@b");
        assert_eq!(Binding::new(&token, 0, 0, &flow, b"sip:b@a").uri(), b"sip:b@a");
    }

    #[test]
    fn a_phone_fits_into_a_cache_lines_pair() {
        let tokens = Tokens::new(&[9; 32]);
        let [flow, ..] = flows()[..] else { panic!("some") };
        let uri = b"sip:user01234@198.51.100.200:15071;ob";
        let token = tokens.contact(77, ShardId(3), &flow, uri);
        // counted, length, head, and what was written
        assert!(
            8 + 8 + size_of::<Head>() + Binding::new(&token, 0, 0, &flow, uri).0.slice.len() <= 120
        );
    }
}
