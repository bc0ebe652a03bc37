//! The edge's own challenge: in the PBX's words, so that a phone cannot tell whose it is.

use crate::Learned;
use crate::offers::Offers;
use arrayvec::ArrayVec;
use policy::Time;
use wire::digest::Digest;
use wire::{HeaderName, Message};

/// Longest realm that is taken up.
const REALM_BYTES_MAX: usize = 128;
/// Challenges in a row by which another realm takes the place of one that was seen long enough. A
/// PBX with realms for several domains would otherwise be learned anew with each.
const STEADY: u8 = 8;

/// PBXs of which something is kept; of more, the one that came first is forgotten.
const PBXS_MAX: usize = 2 * policy::Pbx::MAX;

/// What was learned of how each PBX challenges, by [`policy::Pbx::id`].
#[derive(Debug, Default)]
pub(crate) struct PbxChallenges {
    all: Vec<Challenges>,
    /// What is known of one that has not challenged anybody.
    nothing: Challenges,
}

impl PbxChallenges {
    pub(crate) fn of(&self, pbx: u32) -> &Challenges {
        self.all.iter().find(|it| it.pbx == pbx).unwrap_or(&self.nothing)
    }

    pub(crate) fn of_mut(&mut self, pbx: u32) -> &mut Challenges {
        let at = self.all.iter().position(|it| it.pbx == pbx).unwrap_or_else(|| {
            if self.all.len() >= PBXS_MAX {
                self.all.remove(0);
            }
            self.all.push(Challenges { pbx, ..Challenges::default() });
            self.all.len() - 1
        });
        &mut self.all[at]
    }
}

/// What was learned of how a PBX challenges.
#[derive(Debug, Default)]
pub(crate) struct Challenges {
    /// Which.
    pbx: u32,
    known: Option<Known>,
    /// How often it was seen, less how often something else was.
    steady: u8,
    /// Nonces of the PBX, of that realm.
    pub(crate) offers: Offers,
}

/// What the edge's own challenge asks to be answered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ask<'n> {
    /// A nonce of the edge's own.
    Own(&'n [u8]),
    /// One of the PBX's, with a proof in `opaque`.
    Offer(&'n [u8], &'n [u8]),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    realm: ArrayVec<u8, REALM_BYTES_MAX>,
    algorithms: Algorithms,
}

/// Digest algorithms (RFC 8760) in order of preference, packed: a bit for each in the three lowest,
/// the first one's number in the two highest and the second's in the two below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Algorithms(u8);

const NAMES: [&str; 3] = ["MD5", "SHA-256", "SHA-512-256"];

impl Challenges {
    /// A 401 or 407 of the PBX. What other shards must know, if it is news.
    /// `on_nonce` hears of each nonce.
    pub(crate) fn on_challenge(
        &mut self,
        now: Time,
        message: &Message<'_>,
        on_nonce: impl FnMut(&[u8]),
    ) -> Option<Learned> {
        let (seen, nonce) = Known::read(message, on_nonce)?;
        let realm = seen.realm.clone();
        let news = self.on_known(seen);
        if self.known.as_ref().is_some_and(|known| known.realm == realm) {
            self.offers.learn(now, nonce);
        }
        news
    }

    fn on_known(&mut self, seen: Known) -> Option<Learned> {
        if self.known.as_ref() == Some(&seen) {
            self.steady = self.steady.saturating_add(1).min(STEADY);
            return None;
        }
        self.steady = self.steady.saturating_sub(1);
        if self.known.is_some() && self.steady > 0 {
            return None;
        }
        self.steady = 1;
        let (realm, algorithms) = (seen.realm.as_slice().into(), seen.algorithms.0);
        let news = Learned::Realm { pbx: self.pbx, realm, algorithms };
        self.know(seen);
        Some(news)
    }

    /// Another shard says what the PBX does.
    pub(crate) fn on_learned(&mut self, realm: &[u8], algorithms: u8) {
        let algorithms = Algorithms(algorithms);
        if let (Some(realm), Some(_)) = (checked(realm), algorithms.iter().next()) {
            self.know(Known { realm, algorithms });
            self.steady = 1;
        }
    }

    /// A nonce is good in its realm only.
    fn know(&mut self, known: Known) {
        if self.known.as_ref().is_some_and(|old| old.realm != known.realm) {
            self.offers.forget();
        }
        self.known = Some(known);
    }

    /// Whether a challenge can be written; `realm` is the policy's.
    pub(crate) fn is_ready(&self, realm: Option<&str>) -> bool {
        realm.map_or(self.known.is_some(), |own| checked(own.as_bytes()).is_some())
    }

    /// Whether nonces of the PBX are good in the challenge's realm; `realm` is the policy's.
    pub(crate) fn may_offer(&self, realm: Option<&str>) -> bool {
        let known = self.known.as_ref().map(|known| known.realm.as_slice());
        realm.is_none_or(|own| known.is_none_or(|known| known == own.as_bytes()))
    }

    /// Appends the header lines of a challenge; `realm` is the policy's, if it has one. `false`, and nothing, while there is no realm. MD5 is not named: it is what an absent
    /// algorithm means (RFC 7616 §3.3), and each byte must be paid for by the request.
    pub(crate) fn write(
        &self,
        realm: Option<&str>,
        ask: Ask<'_>,
        stale: bool,
        out: &mut Vec<u8>,
    ) -> bool {
        let known = self.known.as_ref();
        let realm = match realm {
            Some(own) => checked(own.as_bytes()),
            None => known.map(|known| known.realm.clone()),
        };
        let Some(realm) = realm else { return false };
        let algorithms = known.map_or(Algorithms::MD5, |known| known.algorithms);
        for algorithm in algorithms.iter() {
            out.extend_from_slice(b"WWW-Authenticate: Digest realm=\"");
            out.extend_from_slice(&realm);
            out.extend_from_slice(b"\",nonce=\"");
            match ask {
                Ask::Own(nonce) => out.extend_from_slice(nonce),
                Ask::Offer(nonce, proof) => {
                    out.extend_from_slice(nonce);
                    out.extend_from_slice(b"\",opaque=\"");
                    out.extend_from_slice(proof);
                }
            }
            out.extend_from_slice(b"\",qop=\"auth\"");
            if algorithm > 0 {
                out.extend_from_slice(b",algorithm=");
                out.extend_from_slice(NAMES[algorithm].as_bytes());
            }
            if stale {
                out.extend_from_slice(b",stale=true");
            }
            out.extend_from_slice(b"\r\n");
        }
        true
    }
}

impl Known {
    /// The realm of the first Digest line that has one we can do, with its nonce, and the
    /// algorithms of all lines with that realm. Asterisk's realm is empty for a moment after its
    /// start.
    fn read<'a>(
        message: &Message<'a>,
        mut on_nonce: impl FnMut(&[u8]),
    ) -> Option<(Self, &'a [u8])> {
        let (mut realm, mut nonce): (&[u8], &[u8]) = (b"", b"");
        let mut algorithms = Algorithms::default();
        for name in [HeaderName::WwwAuthenticate, HeaderName::ProxyAuthenticate] {
            for (_, header) in message.lines(name) {
                let digest = message.digest(header);
                if digest.is_digest {
                    on_nonce(digest.nonce);
                }
                let Some(algorithm) = number(digest.algorithm) else { continue };
                if !digest.is_digest || checked(digest.realm).is_none() {
                    continue;
                }
                if realm.is_empty() {
                    (realm, nonce) = (digest.realm, digest.nonce);
                }
                if realm == digest.realm {
                    algorithms.push(algorithm);
                }
            }
        }
        Some((Known { realm: checked(realm)?, algorithms }, nonce))
    }
}

impl Algorithms {
    const MD5: Algorithms = Algorithms(1);

    fn push(&mut self, algorithm: usize) {
        match self.iter().count() {
            _ if self.0 >> algorithm & 1 == 1 => return,
            0 => self.0 |= (algorithm << 6) as u8,
            1 => self.0 |= (algorithm << 4) as u8,
            _ => {}
        }
        self.0 |= 1 << algorithm;
    }

    /// Numbers in [`NAMES`], in order. Whatever the bits are, each at most once.
    fn iter(self) -> ArrayVecIter {
        let mut order: ArrayVec<usize, 3> = ArrayVec::new();
        let said = [usize::from(self.0 >> 6), usize::from(self.0 >> 4 & 3)];
        for algorithm in said.into_iter().chain(0..NAMES.len()) {
            if algorithm < NAMES.len()
                && self.0 >> algorithm & 1 == 1
                && !order.contains(&algorithm)
            {
                order.push(algorithm);
            }
        }
        order.into_iter()
    }
}

type ArrayVecIter = arrayvec::IntoIter<usize, 3>;

/// Realm and algorithm that a digest is made for, as far as they can be told apart here.
pub(crate) fn made_for<'a>(digest: &Digest<'a>) -> (&'a [u8], u8) {
    (digest.realm, number(digest.algorithm).map_or(u8::MAX, |number| number as u8))
}

fn number(algorithm: &[u8]) -> Option<usize> {
    if algorithm.is_empty() {
        return Some(0);
    }
    NAMES.iter().position(|name| name.as_bytes().eq_ignore_ascii_case(algorithm))
}

/// A realm that can stand in a quoted string as it is.
fn checked(realm: &[u8]) -> Option<ArrayVec<u8, REALM_BYTES_MAX>> {
    let plain = |byte: &u8| *byte >= b' ' && !matches!(byte, b'"' | b'\\' | 0x7f);
    if realm.is_empty() || !realm.iter().all(plain) {
        return None;
    }
    ArrayVec::try_from(realm).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Limits;

    fn challenge(lines: &[&str]) -> String {
        let mut text =
            "SIP/2.0 401 Unauthorized\r\nVia: SIP/2.0/UDP h\r\nFrom: <sip:a@b>;tag=1\r\n\
             To: <sip:a@b>;tag=2\r\nCall-ID: x\r\nCSeq: 1 REGISTER\r\n"
                .to_owned();
        for line in lines {
            text += &format!("WWW-Authenticate: {line}\r\n");
        }
        text + "Content-Length: 0\r\n\r\n"
    }

    fn see(challenges: &mut Challenges, lines: &[&str]) -> Option<Learned> {
        let text = challenge(lines);
        challenges.on_challenge(
            Time::ZERO,
            &Message::parse(text.as_bytes(), &Limits::default()).unwrap(),
            |_| {},
        )
    }

    fn written(challenges: &Challenges, realm: Option<&str>, stale: bool) -> String {
        let mut out = Vec::new();
        assert_eq!(challenges.write(realm, Ask::Own(b"rfn0"), stale, &mut out), !out.is_empty());
        String::from_utf8(out).unwrap()
    }

    const ASTERISK: &str =
        r#"Digest realm="asterisk",nonce="1/f",opaque="e",algorithm=MD5,qop="auth""#;

    #[test]
    fn it_challenges_as_the_pbx_does() {
        let mut challenges = Challenges::default();
        assert_eq!(written(&challenges, None, false), "");
        let news = see(&mut challenges, &[ASTERISK]);
        assert_eq!(
            news,
            Some(Learned::Realm { pbx: 0, realm: b"asterisk".as_slice().into(), algorithms: 1 })
        );
        assert_eq!(see(&mut challenges, &[ASTERISK]), None, "no news");
        assert_eq!(
            written(&challenges, None, false),
            "WWW-Authenticate: Digest realm=\"asterisk\",nonce=\"rfn0\",qop=\"auth\"\r\n"
        );
        assert_eq!(
            written(&challenges, Some("example.com"), true),
            "WWW-Authenticate: Digest realm=\"example.com\",nonce=\"rfn0\",qop=\"auth\",stale=true\r\n"
        );
    }

    #[test]
    fn it_offers_a_nonce_of_the_realm_it_asks_for() {
        let mut challenges = Challenges::default();
        see(&mut challenges, &[ASTERISK]);
        see(&mut challenges, &[ASTERISK]);
        see(&mut challenges, &["Digest realm=\"other\",nonce=\"2/f\""]);
        assert_eq!(challenges.offers.offer(Time::ZERO), Some(&b"1/f"[..]));
        let mut out = Vec::new();
        assert!(challenges.write(None, Ask::Offer(b"1/f", b"rfo0"), false, &mut out));
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "WWW-Authenticate: Digest realm=\"asterisk\",nonce=\"1/f\",opaque=\"rfo0\",qop=\"auth\"\r\n"
        );
        assert!(challenges.may_offer(None) && challenges.may_offer(Some("asterisk")));
        assert!(!challenges.may_offer(Some("other")));
        challenges.on_learned(b"other", 1);
        assert_eq!(challenges.offers.offer(Time::ZERO), None);
    }

    #[test]
    fn several_algorithms_keep_their_order_in_all_shards() {
        let names = ["MD5", "sha-256", "\"SHA-512-256\""];
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let lines = order.map(|at| {
                format!("Digest realm=\"r\", nonce=\"n\", algorithm={}, qop=\"auth\"", names[at])
            });
            let lines: Vec<_> = lines.iter().map(String::as_str).collect();
            let mut here = Challenges::default();
            let Some(Learned::Realm { realm, algorithms, .. }) = see(&mut here, &lines) else {
                panic!("no news")
            };
            let mut there = Challenges::default();
            there.on_learned(&realm, algorithms);
            assert_eq!(here.known, there.known);
            let text = written(&there, None, false);
            let of = |line: &str| {
                line.split("algorithm=").nth(1).map_or(0, |name| number(name.as_bytes()).unwrap())
            };
            assert_eq!(text.lines().map(of).collect::<Vec<_>>(), order);
        }
    }

    #[test]
    fn what_cannot_be_learned_from_is_left() {
        let long = format!("Digest realm=\"{}\", nonce=\"n\"", "r".repeat(129));
        for line in [
            "Digest realm=\"\", nonce=\"n\"",
            "Digest realm=\"a\\\"b\", nonce=\"n\"",
            "Digest realm=\"a\x01b\", nonce=\"n\"",
            "Digest realm=\"r\", nonce=\"n\", algorithm=MD5-sess",
            "Basic realm=\"r\"",
            "Digest nonce=\"n\"",
            &long,
        ] {
            let mut challenges = Challenges::default();
            let text = challenge(&[line]);
            if let Ok(message) = Message::parse(text.as_bytes(), &Limits::default()) {
                assert_eq!(challenges.on_challenge(Time::ZERO, &message, |_| {}), None, "{line}");
            }
            assert_eq!(written(&challenges, None, false), "", "{line}");
        }
        let mut challenges = Challenges::default();
        challenges.on_learned(b"a\"b", 1);
        challenges.on_learned(b"r", 0);
        assert_eq!(written(&challenges, None, false), "");
        assert_eq!(written(&challenges, Some("a\"\r\nb"), false), "");
        // one that can stands beside one that cannot
        let lines =
            ["Digest realm=\"r\",nonce=\"n\",algorithm=X", "Digest realm=\"r\",nonce=\"n\""];
        assert!(see(&mut challenges, &lines).is_some());
    }

    #[test]
    fn a_realm_that_changes_is_followed_and_a_passing_one_is_not() {
        let other = "Digest realm=\"other\", nonce=\"n\"";
        let mut challenges = Challenges::default();
        let mut news = 0;
        for _ in 0..1_000 {
            news += usize::from(see(&mut challenges, &[ASTERISK]).is_some());
            news += usize::from(see(&mut challenges, &[ASTERISK]).is_some());
            news += usize::from(see(&mut challenges, &[other]).is_some());
        }
        assert_eq!(news, 1, "two realms in use are not learned anew each time");
        assert!(written(&challenges, None, false).contains("asterisk"));
        let until = (1..100).find(|_| see(&mut challenges, &[other]).is_some());
        assert!(until.is_some_and(|n| n <= usize::from(STEADY)));
        assert!(written(&challenges, None, false).contains("other"));
    }
}
