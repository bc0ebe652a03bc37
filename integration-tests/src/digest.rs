//! Digest credentials as a phone computes them (RFC 3261 §22, RFC 7616, RFC 8760).

use md5::{Digest, Md5};
use sha2::Sha256;

use crate::unique;

/// The value of Authorization for one challenge; `nc` counts the uses of its nonce.
#[must_use]
pub fn credentials(
    challenge: &str,
    method: &str,
    uri: &str,
    user: &str,
    password: &str,
    nc: u32,
) -> String {
    let realm = auth_param(challenge, "realm").unwrap_or_default();
    let nonce = auth_param(challenge, "nonce").unwrap_or_default();
    let algorithm = auth_param(challenge, "algorithm").unwrap_or("MD5".into());
    let hash = |text: String| hash(&algorithm, &text);
    let secret = hash(format!("{user}:{realm}:{password}"));
    let request = hash(format!("{method}:{uri}"));
    let mut value = format!(
        "Digest username=\"{user}\",realm=\"{realm}\",nonce=\"{nonce}\",uri=\"{uri}\",algorithm={algorithm}"
    );
    if auth_param(challenge, "qop").is_some() {
        let cnonce = unique();
        let response = hash(format!("{secret}:{nonce}:{nc:08x}:{cnonce}:auth:{request}"));
        value += &format!(",qop=auth,nc={nc:08x},cnonce=\"{cnonce}\",response=\"{response}\"");
    } else {
        value += &format!(",response=\"{}\"", hash(format!("{secret}:{nonce}:{request}")));
    }
    if let Some(opaque) = auth_param(challenge, "opaque") {
        value += &format!(",opaque=\"{opaque}\"");
    }
    value
}

/// The challenge a phone answers: the first whose algorithm it knows.
pub(crate) fn pick<'a>(challenges: &[&'a str], md5_only: bool) -> Option<&'a str> {
    challenges.iter().copied().find(|challenge| {
        let algorithm = auth_param(challenge, "algorithm").unwrap_or("MD5".into());
        algorithm.eq_ignore_ascii_case("MD5")
            || (!md5_only && algorithm.eq_ignore_ascii_case("SHA-256"))
    })
}

/// A parameter of a challenge or of credentials.
#[must_use]
pub(crate) fn auth_param(value: &str, name: &str) -> Option<String> {
    let value = value.trim_start_matches("Digest").trim();
    value.split(',').find_map(|param| {
        let (n, v) = param.trim().split_once('=')?;
        n.trim().eq_ignore_ascii_case(name).then(|| v.trim().trim_matches('"').to_owned())
    })
}

fn hash(algorithm: &str, text: &str) -> String {
    if algorithm.eq_ignore_ascii_case("SHA-256") {
        hex(&Sha256::digest(text))
    } else {
        hex(&Md5::digest(text))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7616 §3.9.1's example, with its own cnonce left out of the comparison.
    #[test]
    fn hashes_as_the_rfc_does() {
        assert_eq!(
            hash("MD5", "Mufasa:http-auth@example.org:Circle of Life"),
            "3d78807defe7de2157e2b0b6573a855f"
        );
        let challenge =
            "Digest realm=\"a\",nonce=\"n\",opaque=\"o\",algorithm=SHA-256,qop=\"auth\"";
        let value = credentials(challenge, "REGISTER", "sip:a", "u", "p", 1);
        assert_eq!(auth_param(&value, "response").unwrap().len(), 64);
        assert_eq!(auth_param(&value, "opaque").as_deref(), Some("o"));
        assert_eq!(pick(&[challenge], true), None);
    }
}
