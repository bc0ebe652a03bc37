//! Keyed hashes. `SipHash` is a pseudo-random function: without the key nobody can aim at a
//! table's slot or make a text that checks. 80 bits of its 128-bit form authenticate tokens and
//! branches.

use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128, SipHasher24};
use std::fmt;
use std::hash::Hasher;
use std::net::IpAddr;
use wire::{ConnectionId, Flow};

/// Bytes of a message authentication code in tokens and branches.
pub const MAC_BYTES: usize = 10;

/// Bytes that are hashed in one piece: more than most Call-IDs and tags have together.
const GATHERED_MAX: usize = 192;

/// A 128-bit key for one purpose.
#[derive(Clone, Copy)]
pub struct Key([u8; 16]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// The key for `purpose`, derived from the edge's secret: keys for different purposes tell
    /// nothing about each other.
    #[must_use]
    pub fn derive(secret: &[u8; 32], purpose: &str) -> Self {
        let (mut low, mut high) = ([0; 16], [0; 16]);
        low.copy_from_slice(&secret[..16]);
        high.copy_from_slice(&secret[16..]);
        let inner = Key(low).mac128(&[purpose.as_bytes()]);
        Key(Key(high).mac128(&[&inner, purpose.as_bytes()]))
    }

    /// The key that stands for this one on the `day`-th day: keys rotate without being stored.
    #[must_use]
    pub(crate) fn of_day(&self, day: u64) -> Self {
        Key(self.mac128(&[b"day", &day.to_be_bytes()]))
    }

    /// A table key of 64 bits over `parts`, each told apart from its neighbours by its length.
    #[must_use]
    pub fn hash(&self, parts: &[&[u8]]) -> u64 {
        if let Some(whole) = gathered(parts, &mut [0; GATHERED_MAX]) {
            return self.hash_one(whole);
        }
        let mut hasher = SipHasher13::new_with_key(&self.0);
        write(parts, &mut hasher);
        hasher.finish()
    }

    /// A table key over one text: quicker, and not the same as [`Key::hash`] of it.
    #[must_use]
    pub fn hash_one(&self, text: &[u8]) -> u64 {
        SipHasher13::new_with_key(&self.0).hash(text)
    }

    /// A table key over two words that are keyed hashes, or with which nobody gains anything by
    /// meeting another's place: these need no more than to be mixed.
    #[must_use]
    pub fn mix(&self, a: u64, b: u64) -> u64 {
        let key = u128::from_le_bytes(self.0);
        let (low, high) = (key as u64, (key >> 64) as u64);
        let product = u128::from(a ^ low) * u128::from(b ^ high);
        (product as u64) ^ ((product >> 64) as u64)
    }

    /// A table key over a flow, from the keyed hash of its source, which nobody outside knows: what
    /// else tells its flows apart needs no more than to be mixed.
    #[must_use]
    pub(crate) fn hash_flow(&self, source: u64, flow: &Flow) -> u64 {
        let remote = address_number(flow.remote.ip());
        let connection = flow.connection.map_or(u64::MAX, ConnectionId::to_bits);
        let ports = u64::from(flow.remote.port()) << 16 | u64::from(flow.local.port());
        let hash = self.mix(source ^ remote as u64, connection);
        let hash = self.mix_address(hash, flow.local.ip());
        self.mix(hash, ports << 8 | flow.transport as u64)
    }

    /// A keyed hash that nobody outside knows, with an address mixed in.
    #[must_use]
    pub(crate) fn mix_address(&self, hash: u64, address: IpAddr) -> u64 {
        let number = address_number(address);
        self.mix(hash ^ (number >> 64) as u64, number as u64)
    }

    /// A message authentication code over `parts`.
    #[must_use]
    pub fn mac(&self, parts: &[&[u8]]) -> [u8; MAC_BYTES] {
        let mut mac = [0; MAC_BYTES];
        mac.copy_from_slice(&self.mac128(parts)[..MAC_BYTES]);
        mac
    }

    fn mac128(&self, parts: &[&[u8]]) -> [u8; 16] {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        if let Some(whole) = gathered(parts, &mut [0; GATHERED_MAX]) {
            return hasher.hash(whole).as_bytes();
        }
        write(parts, &mut hasher);
        hasher.finish128().as_bytes()
    }
}

/// The parts as they are hashed, each behind its length.
fn write(parts: &[&[u8]], hasher: &mut impl Hasher) {
    for part in parts {
        hasher.write_u32(part.len() as u32);
        hasher.write(part);
    }
}

/// The same in one piece, which is hashed quicker; `None` when there is no room for them.
fn gathered<'w>(parts: &[&[u8]], whole: &'w mut [u8; GATHERED_MAX]) -> Option<&'w [u8]> {
    let mut end = 0;
    for part in parts {
        let start = end;
        end = start + size_of::<u32>() + part.len();
        let (length, text) = whole.get_mut(start..end)?.split_first_chunk_mut()?;
        *length = (part.len() as u32).to_ne_bytes();
        text.copy_from_slice(part);
    }
    whole.get(..end)
}

/// An address as it enters a hash: an IPv4 address and its mapped IPv6 form are the same source.
#[must_use]
pub fn address_bytes(address: IpAddr) -> [u8; 16] {
    address_number(address).to_be_bytes()
}

/// The same as a number.
fn address_number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

/// Compares without telling by its duration where the first difference is.
#[must_use]
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |diff, (x, y)| diff | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_have_keys_of_their_own() {
        let secret = [7; 32];
        let (a, b) = (Key::derive(&secret, "a"), Key::derive(&secret, "b"));
        assert_ne!(a.hash(&[b"x"]), b.hash(&[b"x"]));
        assert_eq!(a.hash(&[b"x"]), Key::derive(&secret, "a").hash(&[b"x"]));
        assert_ne!(a.hash(&[b"x"]), Key::derive(&[8; 32], "a").hash(&[b"x"]));
    }

    #[test]
    fn either_half_of_the_secret_matters() {
        let mut low = [0; 32];
        low[0] = 1;
        let mut high = [0; 32];
        high[31] = 1;
        let of = |secret| Key::derive(&secret, "a").mac(&[b"x"]);
        assert_ne!(of(low), of([0; 32]));
        assert_ne!(of(high), of([0; 32]));
        assert_ne!(of(low), of(high));
    }

    #[test]
    fn a_hash_is_the_same_in_one_piece_and_in_many() {
        let key = Key::derive(&[1; 32], "t");
        for length in 0..GATHERED_MAX + 20 {
            let text: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let parts = [&text[..], b"y"];
            let (mut hash, mut mac) =
                (SipHasher13::new_with_key(&key.0), SipHasher24::new_with_key(&key.0));
            write(&parts, &mut hash);
            write(&parts, &mut mac);
            assert_eq!(key.hash(&parts), hash.finish(), "{length}");
            assert_eq!(key.mac128(&parts), mac.finish128().as_bytes(), "{length}");
        }
    }

    #[test]
    fn parts_do_not_run_together() {
        let key = Key::derive(&[1; 32], "t");
        assert_ne!(key.mac(&[b"ab", b"c"]), key.mac(&[b"a", b"bc"]));
        assert_ne!(key.hash(&[b"ab", b""]), key.hash(&[b"", b"ab"]));
    }
}
