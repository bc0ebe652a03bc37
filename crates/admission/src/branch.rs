//! The branch of the Via that the edge writes (RFC 3261 §8.1.1.7, §16.6 step 8).
//!
//! Asterisk (`chan_pjsip`) answers with a To-tag that *is* the top Via branch, so towards the PBX
//! this text is also the tag that a client echoes in its ACK. It therefore carries 80 bits that
//! nobody can know beforehand, a keyed hash over Call-ID, From-tag, source address and time, and
//! can be checked without any stored state: an ACK that holds it proves that its sender received
//! what was sent to that address.
//!
//! ```text
//! z9hG4bK | base32( shard 1 | slot 4 | generation 2 | minute 1 | loop hash 4 | mac 10 )
//! ```
//!
//! Slot and generation name the transaction, so a response is matched without a search; the loop
//! hash tells a loop from a spiral (§16.3 step 4).

use crate::base32;
use crate::key::{Key, MAC_BYTES, address_bytes, equal};
use policy::Time;
use std::net::IpAddr;
use wire::ShardId;

/// RFC 3261 §8.1.1.7.
const MAGIC: &[u8; 7] = b"z9hG4bK";
const HEAD_BYTES: usize = 12;
const BYTES: usize = HEAD_BYTES + MAC_BYTES;
const DIGITS: usize = base32::digits(BYTES);
/// Length of a branch's text.
pub const TEXT_BYTES: usize = MAGIC.len() + DIGITS;
/// Minutes for which an echo is still a proof: the longest INVITE transaction (Timer C and the
/// 64·T1 behind it) and a reserve.
const PROOF_MINUTES: u8 = 10;

/// Slot of a message forwarded without a transaction (ACK of a 2xx).
pub const NO_SLOT: u32 = u32::MAX;

/// The key that makes branches.
#[derive(Clone, Copy, Debug)]
pub struct BranchKey(Key);

/// What a branch says. Equality of two values is equality of the whole texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch([u8; BYTES]);

/// What the hash in a branch binds it to.
#[derive(Clone, Copy, Debug)]
pub struct Binds<'a> {
    /// Call-ID.
    pub call_id: &'a [u8],
    /// From-tag.
    pub from_tag: &'a [u8],
    /// Source address of the request. Its port may change between a request and the ACK.
    pub source: IpAddr,
}

impl BranchKey {
    /// From the edge's secret.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        BranchKey(Key::derive(secret, "branch"))
    }

    /// Makes a branch for the transaction in `slot`.
    #[must_use]
    pub fn make(
        &self,
        now: Time,
        shard: ShardId,
        slot: u32,
        generation: u16,
        loop_hash: u32,
        binds: &Binds<'_>,
    ) -> Branch {
        let mut bytes = [0; BYTES];
        bytes[0] = shard.0;
        bytes[1..5].copy_from_slice(&slot.to_be_bytes());
        bytes[5..7].copy_from_slice(&generation.to_be_bytes());
        bytes[7] = minute(now);
        bytes[8..12].copy_from_slice(&loop_hash.to_be_bytes());
        let mac = self.mac(&bytes[..HEAD_BYTES], now.as_secs() / 60, binds);
        bytes[HEAD_BYTES..].copy_from_slice(&mac);
        Branch(bytes)
    }

    /// Whether we made `branch` for this Call-ID, From-tag and source, not long ago.
    #[must_use]
    pub fn is_proof(&self, now: Time, branch: &Branch, binds: &Binds<'_>) -> bool {
        let age = minute(now).wrapping_sub(branch.0[7]);
        if age > PROOF_MINUTES {
            return false;
        }
        let made = (now.as_secs() / 60).saturating_sub(u64::from(age));
        equal(&self.mac(&branch.0[..HEAD_BYTES], made, binds), &branch.0[HEAD_BYTES..])
    }

    fn mac(&self, head: &[u8], minutes: u64, binds: &Binds<'_>) -> [u8; MAC_BYTES] {
        let source = address_bytes(binds.source);
        self.0.mac(&[head, &minutes.to_be_bytes(), &source, binds.call_id, binds.from_tag])
    }
}

impl Branch {
    /// Reads a branch or a tag; `None` when it is none of our form. What it says is to be
    /// believed only after comparison with the stored one, or [`BranchKey::is_proof`].
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; BYTES];
        base32::decode(text.strip_prefix(MAGIC)?, &mut bytes)?;
        Some(Branch(bytes))
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> [u8; TEXT_BYTES] {
        let mut text = [0; TEXT_BYTES];
        let (magic, digits) = text.split_at_mut(MAGIC.len());
        magic.copy_from_slice(MAGIC);
        base32::encode(&self.0, digits);
        text
    }

    /// The shard that made it.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        ShardId(self.0[0])
    }

    /// The transaction's slot.
    #[must_use]
    pub fn slot(&self) -> u32 {
        u32::from_be_bytes([self.0[1], self.0[2], self.0[3], self.0[4]])
    }

    /// The loop hash of the request it was made for.
    #[must_use]
    pub fn loop_hash(&self) -> u32 {
        u32::from_be_bytes([self.0[8], self.0[9], self.0[10], self.0[11]])
    }
}

fn minute(now: Time) -> u8 {
    (now.as_secs() / 60) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn binds(call_id: &[u8]) -> Binds<'_> {
        Binds { call_id, from_tag: b"tag", source: IpAddr::from([198, 51, 100, 7]) }
    }

    #[test]
    fn text_round_trip() {
        let key = BranchKey::new(&[3; 32]);
        for slot in [0, 1, 0x00ab_cdef, NO_SLOT] {
            let branch = key.make(Time::ZERO, ShardId(3), slot, 77, 0xdead_beef, &binds(b"a@b"));
            let text = branch.text();
            assert_eq!(Branch::parse(&text), Some(branch));
            assert_eq!(Branch::parse(&text.to_ascii_uppercase()), None, "the cookie has its case");
            assert_eq!(
                (branch.slot(), branch.shard(), branch.loop_hash()),
                (slot, ShardId(3), 0xdead_beef)
            );
        }
        assert_eq!(Branch::parse(b"z9hG4bK776asdhds"), None);
        assert_eq!(Branch::parse(b""), None);
    }

    #[test]
    fn an_echo_is_a_proof_for_its_source_and_call_only() {
        let key = BranchKey::new(&[3; 32]);
        let now = Time::ZERO + Duration::from_secs(1_000_000);
        let branch = key.make(now, ShardId(0), 1, 1, 0, &binds(b"call"));
        assert!(key.is_proof(now, &branch, &binds(b"call")));
        assert!(!key.is_proof(now, &branch, &binds(b"other")));
        let elsewhere = Binds { source: IpAddr::from([198, 51, 100, 8]), ..binds(b"call") };
        assert!(!key.is_proof(now, &branch, &elsewhere));
        assert!(!BranchKey::new(&[4; 32]).is_proof(now, &branch, &binds(b"call")));
    }

    #[test]
    fn a_proof_grows_old() {
        let key = BranchKey::new(&[3; 32]);
        let now = Time::ZERO + Duration::from_secs(60 * 300 - 1);
        let branch = key.make(now, ShardId(0), 1, 1, 0, &binds(b"call"));
        assert!(key.is_proof(now + Duration::from_secs(61), &branch, &binds(b"call")));
        assert!(!key.is_proof(now + Duration::from_secs(60 * 12), &branch, &binds(b"call")));
        assert!(!key.is_proof(now + Duration::from_secs(60 * 256), &branch, &binds(b"call")));
    }

    #[test]
    fn any_changed_digit_fails() {
        let key = BranchKey::new(&[3; 32]);
        let branch = key.make(Time::ZERO, ShardId(0), 1, 1, 0, &binds(b"call"));
        // the last digit holds four padding bits that are not read
        for at in MAGIC.len()..TEXT_BYTES - 1 {
            let mut text = branch.text();
            text[at] = if text[at] == b'0' { b'1' } else { b'0' };
            let changed = Branch::parse(&text).expect("still of our form");
            assert!(!key.is_proof(Time::ZERO, &changed, &binds(b"call")), "digit {at}");
        }
    }
}
