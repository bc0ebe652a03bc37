//! Digest access authentication with MD5 and qop=auth (RFC 2617 as RFC 3261 §22 uses it).

use md5::{Digest, Md5};
use std::fmt::Write as _;

/// What a client answers a challenge with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    /// Realm.
    pub realm: String,
    /// Nonce.
    pub nonce: String,
    /// Opaque, to be returned.
    pub opaque: String,
    /// Times the nonce was used.
    pub count: u32,
}

impl Challenge {
    /// Reads a `WWW-Authenticate` value; `None` when it is no Digest with MD5.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        use crate::sip::auth_param;
        let algorithm = auth_param(value, "algorithm").unwrap_or_else(|| "MD5".into());
        if !algorithm.eq_ignore_ascii_case("MD5") {
            return None;
        }
        Some(Challenge {
            realm: auth_param(value, "realm")?,
            nonce: auth_param(value, "nonce")?,
            opaque: auth_param(value, "opaque").unwrap_or_default(),
            count: 0,
        })
    }

    /// The `Authorization` value for a request.
    /// `client` tells one client's cnonce from another's.
    pub fn answer(
        &mut self,
        client: &str,
        user: &str,
        password: &str,
        method: &str,
        uri: &str,
    ) -> String {
        self.count += 1;
        let nc = format!("{:08x}", self.count);
        let cnonce = &md5_hex(client)[..8];
        let response = response(user, &self.realm, password, method, uri, &self.nonce, &nc, cnonce);
        let mut value = format!(
            "Digest username=\"{user}\", realm=\"{}\", nonce=\"{}\", uri=\"{uri}\", \
             response=\"{response}\", algorithm=MD5, cnonce=\"{cnonce}\", qop=auth, nc={nc}",
            self.realm, self.nonce
        );
        if !self.opaque.is_empty() {
            let _ = write!(value, ", opaque=\"{}\"", self.opaque);
        }
        value
    }
}

/// Hexadecimal MD5.
#[must_use]
pub fn md5_hex(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The `response` of a digest.
#[must_use]
#[allow(clippy::too_many_arguments, reason = "the eight things that RFC 2617 §3.2.2 hashes")]
pub fn response(
    user: &str,
    realm: &str,
    password: &str,
    method: &str,
    uri: &str,
    nonce: &str,
    nc: &str,
    cnonce: &str,
) -> String {
    let secret = md5_hex(&format!("{user}:{realm}:{password}"));
    let what = md5_hex(&format!("{method}:{uri}"));
    md5_hex(&format!("{secret}:{nonce}:{nc}:{cnonce}:auth:{what}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_example_of_rfc_2617() {
        let response = super::response(
            "Mufasa",
            "testrealm@host.com",
            "Circle Of Life",
            "GET",
            "/dir/index.html",
            "dcd98b7102dd2f0e8b11d0f600bfb0c093",
            "00000001",
            "0a4f113b",
        );
        assert_eq!(response, "6629fae49393a05397450978507c4ef1");
    }
}
