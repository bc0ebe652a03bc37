//! The table: its sets, counters and chains.
//!
//! Read as `nft` prints it:
//!
//! ```text
//! chain prerouting {
//!     type filter hook prerouting priority raw; policy accept;
//!     ip daddr 203.0.113.1 udp dport 5060 goto banned_v4
//! }
//! chain banned_v4 {
//!     ip saddr @sources_v4 counter name "sources_v4" drop
//!     ip saddr @networks_v4 counter name "networks_v4" drop
//! }
//! ```

use super::TABLE;
use super::words::{self, msg, nfta};
use crate::drop_set::{Destination, Protocol, Set};
use crate::netlink::{APPEND, Attributes, CREATE, Messages, attribute, number};
use std::net::IpAddr;

/// `NF_INET_PRE_ROUTING`.
const PREROUTING: u32 = 0;
/// `NF_IP_PRI_RAW`: before connection tracking, which then never sees what is dropped.
const RAW: i32 = -300;
const ACCEPT: u32 = 1;
const DROP: u32 = 0;
/// `NFT_GOTO`.
const GOTO: i32 = -4;
/// How often expired elements are collected. A look-up never finds one.
const COLLECT_EVERY_MS: u32 = 10_000;
/// Type numbers by which `nft` prints keys.
const IPV4_ADDR: u32 = 7;
const IPV6_ADDR: u32 = 8;
const CHAIN: &str = "prerouting";
/// `NFT_REG_1`.
const REGISTER: u32 = 1;

/// A new table in place of the old one, if there is one.
pub(super) fn renew_table(out: &mut Messages) {
    let name = |out: &mut Attributes<'_>| {
        out.text(nfta::TABLE_NAME, TABLE);
    };
    // only what is there can be deleted
    words::push(out, msg::NEWTABLE, CREATE, name);
    words::push(out, msg::DELTABLE, 0, name);
    words::push(out, msg::NEWTABLE, CREATE, name);
}

/// No table.
pub(super) fn remove_table(out: &mut Messages) {
    words::push(out, msg::DELTABLE, 0, |out| {
        out.text(nfta::TABLE_NAME, TABLE);
    });
}

/// The sets and their counters.
pub(super) fn sets(out: &mut Messages, sizes: [u32; 4]) {
    for ((id, set), size) in (1..).zip(Set::ALL).zip(sizes) {
        let (key_type, key_length) = if set.is_v4() { (IPV4_ADDR, 4) } else { (IPV6_ADDR, 16) };
        let interval = if set.is_networks() { words::SET_INTERVAL } else { 0 };
        words::push(out, msg::NEWSET, CREATE, |out| {
            out.text(nfta::SET_TABLE, TABLE)
                .text(nfta::SET_NAME, set.as_str())
                .u32(nfta::SET_FLAGS, words::SET_TIMEOUT | interval)
                .u32(nfta::SET_KEY_TYPE, key_type)
                .u32(nfta::SET_KEY_LEN, key_length)
                .u32(nfta::SET_ID, id)
                .u32(nfta::SET_GC_INTERVAL, COLLECT_EVERY_MS)
                .nest(nfta::SET_DESC, |out| {
                    out.u32(nfta::SET_DESC_SIZE, size);
                });
        });
        words::push(out, msg::NEWOBJ, CREATE, |out| {
            out.text(nfta::OBJ_TABLE, TABLE)
                .text(nfta::OBJ_NAME, set.as_str())
                .u32(nfta::OBJ_TYPE, words::OBJECT_COUNTER)
                .nest(nfta::OBJ_DATA, |out| {
                    out.u64(nfta::COUNTER_BYTES, 0).u64(nfta::COUNTER_PACKETS, 0);
                });
        });
    }
}

/// The set and the packets of a counter, from the kernel's answer.
pub(super) fn counted(object: &[u8]) -> Option<(Set, u64)> {
    let name = attribute(object, nfta::OBJ_NAME)?.strip_suffix(b"\0")?;
    let set = Set::ALL.into_iter().find(|set| set.as_str().as_bytes() == name)?;
    let data = attribute(object, nfta::OBJ_DATA)?;
    Some((set, number::<8>(attribute(data, nfta::COUNTER_PACKETS)?)?))
}

/// The chains and their rules.
pub(super) fn chains(out: &mut Messages, destinations: &[Destination]) {
    for v4 in [true, false] {
        chain(out, banned(v4), |_| {});
    }
    chain(out, CHAIN, |out| {
        out.text(nfta::CHAIN_TYPE, "filter").u32(nfta::CHAIN_POLICY, ACCEPT).nest(
            nfta::CHAIN_HOOK,
            |out| {
                out.u32(nfta::HOOK_HOOKNUM, PREROUTING)
                    .bytes(nfta::HOOK_PRIORITY, &RAW.to_be_bytes());
            },
        );
    });
    for set in Set::ALL {
        let is_wildcard =
            |at: &Destination| at.address.is_unspecified() && at.address.is_ipv4() == set.is_v4();
        let wildcard = destinations.iter().any(is_wildcard);
        rule(out, banned(set.is_v4()), |rule| rule.drop_those_of(set, wildcard));
    }
    for destination in destinations {
        rule(out, CHAIN, |rule| rule.goto_for(destination));
    }
}

/// The chain that looks for the source.
fn banned(v4: bool) -> &'static str {
    if v4 { "banned_v4" } else { "banned_v6" }
}

fn chain(out: &mut Messages, name: &str, more: impl FnOnce(&mut Attributes<'_>)) {
    words::push(out, msg::NEWCHAIN, CREATE, |out| {
        out.text(nfta::CHAIN_TABLE, TABLE).text(nfta::CHAIN_NAME, name);
        more(out);
    });
}

fn rule(out: &mut Messages, chain: &str, write: impl FnOnce(&mut Rule<'_, '_>)) {
    words::push(out, msg::NEWRULE, CREATE | APPEND, |out| {
        out.text(nfta::RULE_TABLE, TABLE)
            .text(nfta::RULE_CHAIN, chain)
            .nest(nfta::RULE_EXPRESSIONS, |out| write(&mut Rule(out)));
    });
}

/// Where in a packet something stands (`NFT_PAYLOAD_*`, offset, length).
type Place = (u32, u32, u32);
const SADDR_V4: Place = (1, 12, 4);
const DADDR_V4: Place = (1, 16, 4);
const SADDR_V6: Place = (1, 8, 16);
const DADDR_V6: Place = (1, 24, 16);
const DPORT: Place = (2, 2, 2);

/// `NFT_META_NFPROTO` and the values of a packet's family.
const NFPROTO: u32 = 15;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
/// `NFT_META_L4PROTO`.
const L4PROTO: u32 = 16;
const UDP: u8 = 17;
const TCP: u8 = 6;
/// `NFT_CMP_*`.
const EQUAL: u32 = 0;
const AT_MOST: u32 = 3;
const AT_LEAST: u32 = 5;

/// The expressions of a rule. Each works on one register.
struct Rule<'r, 'm>(&'r mut Attributes<'m>);

impl Rule<'_, '_> {
    /// `ip saddr @sources_v4 counter name "sources_v4" drop`. With a wildcard among our addresses
    /// only what is for this machine itself is dropped; only banned packets pay for asking.
    fn drop_those_of(&mut self, set: Set, wildcard: bool) {
        // the chain is reached by packets of its family only, yet nft prints `ip saddr` by this
        self.family(set.is_v4());
        self.payload(if set.is_v4() { SADDR_V4 } else { SADDR_V6 });
        if set == Set::SourcesV6 {
            self.keep_64_bits();
        }
        self.lookup(set.as_str());
        if wildcard {
            self.for_this_machine();
        }
        self.count(set.as_str());
        self.verdict(|out| {
            out.u32(nfta::VERDICT_CODE, DROP);
        });
    }

    /// `ip daddr 203.0.113.1 udp dport 10000-20000 goto banned_v4`
    fn goto_for(&mut self, destination: &Destination) {
        let v4 = destination.address.is_ipv4();
        self.family(v4);
        match destination.address {
            ip if ip.is_unspecified() => {}
            IpAddr::V4(ip) => {
                self.payload(DADDR_V4);
                self.compare(EQUAL, &ip.octets());
            }
            IpAddr::V6(ip) => {
                self.payload(DADDR_V6);
                self.compare(EQUAL, &ip.octets());
            }
        }
        self.meta(L4PROTO);
        self.compare(
            EQUAL,
            &[match destination.protocol {
                Protocol::Udp => UDP,
                Protocol::Tcp => TCP,
            }],
        );
        self.payload(DPORT);
        let (first, last) = (destination.ports.start(), destination.ports.end());
        if first == last {
            self.compare(EQUAL, &first.to_be_bytes());
        } else {
            self.compare(AT_LEAST, &first.to_be_bytes());
            self.compare(AT_MOST, &last.to_be_bytes());
        }
        self.verdict(|out| {
            out.bytes(nfta::VERDICT_CODE, &GOTO.to_be_bytes())
                .text(nfta::VERDICT_CHAIN, banned(v4));
        });
    }

    fn family(&mut self, v4: bool) {
        self.meta(NFPROTO);
        self.compare(EQUAL, &[if v4 { NFPROTO_IPV4 } else { NFPROTO_IPV6 }]);
    }

    fn expression(&mut self, name: &str, data: impl FnOnce(&mut Attributes<'_>)) {
        self.0.nest(nfta::LIST_ELEM, |out| {
            out.text(nfta::EXPR_NAME, name).nest(nfta::EXPR_DATA, data);
        });
    }

    /// `NFTA_META_KEY`, `NFTA_META_DREG`.
    fn meta(&mut self, key: u32) {
        self.expression("meta", |out| {
            out.u32(2, key).u32(1, REGISTER);
        });
    }

    /// `NFTA_CMP_SREG`, `NFTA_CMP_OP`, `NFTA_CMP_DATA`.
    fn compare(&mut self, how: u32, value: &[u8]) {
        self.expression("cmp", |out| {
            out.u32(1, REGISTER).u32(2, how).nest(3, |out| {
                out.bytes(nfta::DATA_VALUE, value);
            });
        });
    }

    /// `NFTA_PAYLOAD_DREG`, `_BASE`, `_OFFSET`, `_LEN`.
    fn payload(&mut self, (base, offset, length): Place) {
        self.expression("payload", |out| {
            out.u32(1, REGISTER).u32(2, base).u32(3, offset).u32(4, length);
        });
    }

    /// The network half of an IPv6 address: `NFTA_BITWISE_SREG`, `_DREG`, `_LEN`, `_MASK`, `_XOR`.
    fn keep_64_bits(&mut self) {
        self.expression("bitwise", |out| {
            let value = |bytes: u128| {
                move |out: &mut Attributes<'_>| {
                    out.bytes(nfta::DATA_VALUE, &bytes.to_be_bytes());
                }
            };
            let (mask, xor) = (value(u128::MAX << 64), value(0));
            out.u32(1, REGISTER).u32(2, REGISTER).u32(3, 16).nest(4, mask).nest(5, xor);
        });
    }

    /// `NFTA_LOOKUP_SREG`, `NFTA_LOOKUP_SET`.
    fn lookup(&mut self, set: &str) {
        self.expression("lookup", |out| {
            out.u32(2, REGISTER).text(1, set);
        });
    }

    /// `fib daddr type local`: `NFTA_FIB_FLAGS`, `NFTA_FIB_RESULT`, `NFTA_FIB_DREG`.
    fn for_this_machine(&mut self) {
        const DADDR: u32 = 1 << 1;
        const ADDRTYPE: u32 = 3;
        const RTN_LOCAL: u32 = 2;
        self.expression("fib", |out| {
            out.u32(3, DADDR).u32(2, ADDRTYPE).u32(1, REGISTER);
        });
        self.compare(EQUAL, &RTN_LOCAL.to_ne_bytes());
    }

    /// `NFTA_OBJREF_IMM_TYPE`, `NFTA_OBJREF_IMM_NAME`.
    fn count(&mut self, counter: &str) {
        self.expression("objref", |out| {
            out.u32(1, words::OBJECT_COUNTER).text(2, counter);
        });
    }

    /// `NFTA_IMMEDIATE_DREG` (the verdict's), `NFTA_IMMEDIATE_DATA`.
    fn verdict(&mut self, verdict: impl FnOnce(&mut Attributes<'_>)) {
        self.expression("immediate", |out| {
            out.u32(1, 0).nest(2, |out| {
                out.nest(nfta::DATA_VERDICT, verdict);
            });
        });
    }
}
