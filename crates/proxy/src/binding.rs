//! What is known of one registered Contact.

use std::sync::Arc;
use wire::Flow;

/// A registered Contact and the flow that reaches it (RFC 3261 §10, RFC 5626): written once, and
/// shared by all shards. A REGISTER that only prolongs it changes nothing here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Keyed hash of what makes the binding the same at its next REGISTER.
    pub key: u64,
    /// Hash of the Call-ID of its last REGISTER: the same phone keeps it.
    pub call_id: u64,
    /// What it is called on either side.
    pub contact: BoundContact,
    /// How it is reached now.
    pub flow: Flow,
    /// The PBX that it is registered at ([`policy::Pbx::id`]).
    pub pbx: u32,
}

/// A Contact by both its names; a copy shares them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundContact {
    text: Arc<[u8]>,
    /// Where the token ends and the URI begins.
    token_end: u32,
}

impl BoundContact {
    /// Of a binding that is new.
    #[must_use]
    pub fn new(token: &[u8], uri: &[u8]) -> Self {
        let text = token.iter().chain(uri).copied().collect();
        // no message has a longer one
        BoundContact { text, token_end: token.len() as u32 }
    }

    /// Its user towards the PBX: stable as long as the binding lives.
    #[must_use]
    pub fn token(&self) -> &[u8] {
        self.text.get(..self.token_end as usize).unwrap_or_default()
    }

    /// The phone's own Contact URI.
    #[must_use]
    pub fn uri(&self) -> &[u8] {
        self.text.get(self.token_end as usize..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_names_are_kept() {
        for (token, uri) in [("rf-1", "sip:6001@192.168.1.5"), ("", "sip:a@b"), ("rf-1", "")] {
            let contact = BoundContact::new(token.as_bytes(), uri.as_bytes());
            assert_eq!((contact.token(), contact.uri()), (token.as_bytes(), uri.as_bytes()));
        }
    }
}
