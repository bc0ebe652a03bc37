//! Registered bindings (RFC 3261 §10.3, RFC 5626): which flow reaches a phone's Contact now.

use crate::Binding;
use crate::io::Table;
use crate::token::{self, ContactToken, Raw, Text, Tokens};
use admission::Key;
use admission::key::address_bytes;
use policy::Time;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use wire::{Flow, ShardId};

/// Entries looked at for one to push out when the table is full.
const EVICTION_PROBES: usize = 16;

/// What a REGISTER says of one Contact.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registering<'a> {
    /// `user@host` of To.
    pub(crate) aor: &'a [u8],
    /// The Contact URI.
    pub(crate) contact: &'a [u8],
    /// `+sip.instance`, empty when there is none.
    pub(crate) instance: &'a [u8],
    /// Call-ID: a phone keeps it between registrations.
    pub(crate) call_id: &'a [u8],
    /// Where it came from.
    pub(crate) flow: Flow,
    /// The PBX that it goes to.
    pub(crate) pbx: u32,
}

#[derive(Debug)]
struct Entry {
    binding: Binding,
    /// When the registration ends, by the 200.
    expires: Time,
    /// Whether a 200 confirmed it. A pending entry only tells the way for the request that the
    /// PBX sends to a new contact before its 200.
    confirmed: bool,
}

/// The table, the same in all shards but for pending entries.
#[derive(Debug)]
pub(crate) struct Bindings {
    key: Key,
    entries: Vec<Option<Entry>>,
    index: HashMap<u64, u32, BuildHasherDefault<crate::hashed::Hashed>>,
    free: Vec<u32>,
    hand: usize,
    capacity: usize,
    evictions: u64,
}

impl Bindings {
    pub(crate) fn new(secret: &[u8; 32], capacity: usize) -> Self {
        Bindings {
            key: Key::derive(secret, "bindings"),
            entries: Vec::new(),
            index: HashMap::default(),
            free: Vec::new(),
            hand: 0,
            capacity,
            evictions: 0,
        }
    }

    pub(crate) fn configure(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    /// The key of the binding that this Contact is or will be.
    ///
    /// The same AOR, Contact and instance is the same binding. Without an instance two phones may
    /// share AOR and Contact text behind different NATs (`6001@192.168.1.5` in two offices): then
    /// the Call-ID or the address decides, and the second gets a key with its address in it.
    pub(crate) fn key_of(&self, registering: &Registering<'_>) -> u64 {
        let Registering { aor, contact, instance, call_id, flow, .. } = registering;
        let key = self.key.hash(&[aor, contact, instance]).max(1);
        match self.entry(key) {
            Some(entry)
                if entry.confirmed
                    && instance.is_empty()
                    && entry.binding.call_id() != self.key.hash(&[call_id])
                    && entry.binding.flow().remote.ip() != flow.remote.ip() =>
            {
                self.key.hash(&[aor, contact, &address_bytes(flow.remote.ip())]).max(1)
            }
            _ => key,
        }
    }

    /// The token of the binding: the one it has, or a new one, at home in this shard.
    pub(crate) fn token(
        &self,
        key: u64,
        home: ShardId,
        registering: &Registering<'_>,
        tokens: &Tokens,
    ) -> Raw {
        // a mere claim does not lend its token, which has its own flow in it
        match self.entry(key).filter(|entry| entry.confirmed) {
            Some(entry) => entry.binding.raw().iter().copied().collect(),
            None => tokens.contact(key, home, &registering.flow, registering.contact),
        }
    }

    /// A REGISTER with credentials is on its way: remembers the flow of a binding that is not
    /// there yet. One that is there keeps its flow until the 200: whoever merely claims the same
    /// Contact does not move it.
    pub(crate) fn pending(
        &mut self,
        now: Time,
        key: u64,
        token: &[u8],
        registering: &Registering<'_>,
        until: Time,
    ) {
        if self.entry(key).is_some_and(|entry| entry.confirmed && entry.expires > now) {
            return;
        }
        self.update(now, key, token, registering, until, false);
    }

    /// The 200 lists the Contact: the binding is at this flow until `expires`.
    pub(crate) fn confirmed(
        &mut self,
        now: Time,
        key: u64,
        token: &[u8],
        registering: &Registering<'_>,
        expires: Time,
    ) {
        self.update(now, key, token, registering, expires, true);
    }

    /// Another shard confirmed it.
    pub(crate) fn learned(&mut self, now: Time, binding: Binding, expires: Time) {
        self.insert(now, Entry { binding, expires, confirmed: true });
    }

    /// The binding ended.
    pub(crate) fn remove(&mut self, key: u64) -> bool {
        let Some(slot) = self.index.remove(&key) else { return false };
        self.entries[slot as usize] = None;
        self.free.push(slot);
        true
    }

    /// A binding that a 200 confirmed and that has not expired.
    pub(crate) fn find(&self, now: Time, key: u64) -> Option<&Binding> {
        self.live(now, key).filter(|entry| entry.confirmed).map(|entry| &entry.binding)
    }

    /// The same, or what a REGISTER in passage claims: anybody may claim any Contact, so no more
    /// than an OPTIONS goes there.
    pub(crate) fn find_claimed(&self, now: Time, key: u64) -> Option<&Binding> {
        self.live(now, key).map(|entry| &entry.binding)
    }

    /// The live confirmed binding whose token this is. To know a token by heart is as good as to
    /// check it, and costs less.
    pub(crate) fn with_token(&self, now: Time, token: &[u8]) -> Option<&Binding> {
        let token = token::raw(token)?;
        let binding = self.find(now, ContactToken::read(&token)?.key)?;
        (binding.raw() == &token[..]).then_some(binding)
    }

    /// The token of a binding, confirmed or asked for.
    pub(crate) fn token_of(&self, key: u64) -> Option<Text> {
        self.entry(key).map(|entry| entry.binding.token())
    }

    fn live(&self, now: Time, key: u64) -> Option<&Entry> {
        self.entry(key).filter(|entry| entry.expires > now)
    }

    /// The key of a live confirmed binding for this AOR and Contact at this flow, 0 for none.
    pub(crate) fn key_at(&self, now: Time, registering: &Registering<'_>) -> u64 {
        let key = self.key_of(registering);
        match self.entry(key) {
            Some(entry)
                if entry.confirmed
                    && entry.expires > now
                    && entry.binding.flow() == registering.flow =>
            {
                key
            }
            _ => 0,
        }
    }

    /// Drops a few entries that have expired; called as time goes by, so that the table shrinks
    /// without a timer an entry.
    pub(crate) fn sweep(&mut self, now: Time, steps: usize) {
        for _ in 0..steps.min(self.entries.len()) {
            self.hand = (self.hand + 1) % self.entries.len();
            if let Some(entry) = &self.entries[self.hand]
                && entry.expires <= now
            {
                self.remove(entry.binding.key());
            }
        }
    }

    pub(crate) fn table(&self) -> Table {
        Table { entries: self.index.len(), capacity: self.capacity, evictions: self.evictions }
    }

    fn entry(&self, key: u64) -> Option<&Entry> {
        self.entries[*self.index.get(&key)? as usize].as_ref()
    }

    fn entry_mut(&mut self, key: u64) -> Option<&mut Entry> {
        self.entries[*self.index.get(&key)? as usize].as_mut()
    }

    fn update(
        &mut self,
        now: Time,
        key: u64,
        token: &[u8],
        registering: &Registering<'_>,
        expires: Time,
        confirmed: bool,
    ) {
        let Registering { contact, call_id, flow, pbx, .. } = *registering;
        let call_id = self.key.hash(&[call_id]);
        if let Some(entry) = self.entry_mut(key)
            && (contact.is_empty() || entry.binding.uri() == contact)
        {
            entry.confirmed |= confirmed;
            entry.expires = expires;
            let of = &entry.binding;
            if (of.call_id(), of.flow(), of.pbx()) != (call_id, flow, pbx) {
                entry.binding = of.moved(call_id, pbx, &flow);
            }
            return;
        }
        if contact.is_empty() {
            // the token had no room for it, and the table has forgotten it
            return;
        }
        let binding = Binding::new(token, call_id, pbx, &flow, contact);
        self.insert(now, Entry { binding, expires, confirmed });
    }

    fn insert(&mut self, now: Time, entry: Entry) {
        let key = entry.binding.key();
        if let Some(&slot) = self.index.get(&key) {
            self.entries[slot as usize] = Some(entry);
            return;
        }
        if self.index.len() >= self.capacity && !self.make_room(now, entry.confirmed) {
            self.evictions += 1;
            return;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            (self.entries.len() - 1) as u32
        });
        self.entries[slot as usize] = Some(entry);
        self.index.insert(key, slot);
    }

    /// Pushes out an expired or pending entry near the hand, or, for a confirmed newcomer, the one
    /// there that ends first.
    fn make_room(&mut self, now: Time, confirmed: bool) -> bool {
        let mut first: Option<(Time, u64)> = None;
        for _ in 0..EVICTION_PROBES.min(self.entries.len()) {
            self.hand = (self.hand + 1) % self.entries.len();
            let Some(entry) = &self.entries[self.hand] else { continue };
            let key = entry.binding.key();
            if entry.expires <= now || !entry.confirmed {
                self.evictions += u64::from(entry.expires > now);
                return self.remove(key);
            }
            if first.is_none_or(|(expires, _)| entry.expires < expires) {
                first = Some((entry.expires, key));
            }
        }
        match first {
            Some((_, key)) if confirmed => {
                self.evictions += 1;
                self.remove(key)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn registering<'a>(call_id: &'a [u8], remote: &str) -> Registering<'a> {
        Registering {
            aor: b"6001@pbx",
            contact: b"sip:6001@192.168.1.5",
            instance: b"",
            call_id,
            flow: Flow::udp(
                "203.0.113.1:5060".parse().expect("local"),
                remote.parse().expect("remote"),
            ),
            pbx: 0,
        }
    }

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    fn confirm(bindings: &mut Bindings, registering: &Registering<'_>, until: u64) -> u64 {
        let key = bindings.key_of(registering);
        bindings.confirmed(at(0), key, &token(key, registering), registering, at(until));
        key
    }

    fn token(key: u64, registering: &Registering<'_>) -> Raw {
        let Registering { flow, contact, .. } = registering;
        Tokens::new(&[1; 32]).contact(key, ShardId(0), flow, contact)
    }

    #[test]
    fn a_phone_that_moves_keeps_its_binding() {
        let mut bindings = Bindings::new(&[1; 32], 10);
        let key = confirm(&mut bindings, &registering(b"c1", "198.51.100.1:1024"), 60);
        let new_port = registering(b"c1", "198.51.100.1:2048");
        let rebooted = registering(b"c2", "198.51.100.1:4096");
        let new_address = registering(b"c1", "198.51.100.9:1024");
        for moved in [new_port, rebooted, new_address] {
            assert_eq!(bindings.key_of(&moved), key);
        }
        let twin = registering(b"c3", "198.51.100.77:1024");
        assert_ne!(bindings.key_of(&twin), key, "the same private address in another office");
        let with_instance = Registering { instance: b"urn:uuid:1", ..twin };
        let instance_key = confirm(&mut bindings, &with_instance, 60);
        let elsewhere =
            Registering { instance: b"urn:uuid:1", ..registering(b"c9", "192.0.2.1:1") };
        assert_eq!(bindings.key_of(&elsewhere), instance_key);
    }

    #[test]
    fn a_claim_does_not_move_a_confirmed_binding() {
        let mut bindings = Bindings::new(&[1; 32], 10);
        let phone = registering(b"c1", "198.51.100.1:1024");
        let key = confirm(&mut bindings, &phone, 60);
        let thief = registering(b"c1", "192.0.2.66:1024");
        let claimed = bindings.key_of(&thief);
        bindings.pending(at(1), claimed, &token(claimed, &thief), &thief, at(32));
        assert_eq!(bindings.find(at(1), key).map(Binding::flow), Some(phone.flow));
        assert_eq!(bindings.key_at(at(1), &phone), key);
        assert_eq!(bindings.key_at(at(1), &thief), 0);
    }

    #[test]
    fn bindings_expire() {
        let mut bindings = Bindings::new(&[1; 32], 10);
        let key = confirm(&mut bindings, &registering(b"c1", "198.51.100.1:1024"), 60);
        assert!(bindings.find(at(59), key).is_some());
        assert!(bindings.find(at(60), key).is_none());
        bindings.sweep(at(61), 10);
        assert_eq!(bindings.table().entries, 0);
    }

    #[test]
    fn a_full_table_lets_pending_go_first() {
        let mut bindings = Bindings::new(&[1; 32], 4);
        let names: Vec<Vec<u8>> = (0..20u8).map(|n| vec![b'a' + n]).collect();
        let nth = |n: usize| Registering { aor: &names[n], ..registering(b"c", "198.51.100.1:1") };
        for n in 0..3 {
            confirm(&mut bindings, &nth(n), 100 + n as u64);
        }
        for n in 3..10 {
            let key = bindings.key_of(&nth(n));
            bindings.pending(at(0), key, &token(key, &nth(n)), &nth(n), at(32));
        }
        assert_eq!(bindings.table().entries, 4);
        assert!((0..3).all(|n| bindings.find(at(0), bindings.key_of(&nth(n))).is_some()));
        for n in 10..14 {
            confirm(&mut bindings, &nth(n), 500);
        }
        assert_eq!(bindings.table().entries, 4);
        assert!(bindings.find(at(0), bindings.key_of(&nth(13))).is_some());
        assert!(bindings.table().evictions >= 9);
    }
}
