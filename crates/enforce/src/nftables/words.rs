//! The numbers of `linux/netfilter/nf_tables.h` that are used here, under its names.

use crate::netlink::{Attributes, Messages};

/// `NFPROTO_INET`: the family of our table.
const INET: u8 = 1;
/// `NFNL_SUBSYS_NFTABLES`.
const SUBSYSTEM: u16 = 10;
/// Bytes of `nfgenmsg`, the subsystem's head of each message.
pub(super) const HEAD: usize = 4;

/// Kinds of messages.
pub(super) mod msg {
    pub(crate) const BATCH_BEGIN: u16 = 0x10;
    pub(crate) const BATCH_END: u16 = 0x11;
    pub(crate) const NEWTABLE: u16 = 0x0a00;
    pub(crate) const GETTABLE: u16 = 0x0a01;
    pub(crate) const DELTABLE: u16 = 0x0a02;
    pub(crate) const NEWCHAIN: u16 = 0x0a03;
    pub(crate) const NEWRULE: u16 = 0x0a06;
    pub(crate) const GETRULE: u16 = 0x0a07;
    pub(crate) const NEWSET: u16 = 0x0a09;
    pub(crate) const NEWSETELEM: u16 = 0x0a0c;
    pub(crate) const GETSETELEM: u16 = 0x0a0d;
    pub(crate) const DELSETELEM: u16 = 0x0a0e;
    pub(crate) const GETGEN: u16 = 0x0a10;
    pub(crate) const NEWOBJ: u16 = 0x0a12;
    pub(crate) const GETOBJ: u16 = 0x0a13;
}

/// Kinds of attributes.
pub(super) mod nfta {
    pub(crate) const TABLE_NAME: u16 = 1;
    pub(crate) const TABLE_HANDLE: u16 = 4;
    pub(crate) const CHAIN_TABLE: u16 = 1;
    pub(crate) const CHAIN_NAME: u16 = 3;
    pub(crate) const CHAIN_HOOK: u16 = 4;
    pub(crate) const CHAIN_POLICY: u16 = 5;
    pub(crate) const CHAIN_TYPE: u16 = 7;
    pub(crate) const HOOK_HOOKNUM: u16 = 1;
    pub(crate) const HOOK_PRIORITY: u16 = 2;
    pub(crate) const RULE_TABLE: u16 = 1;
    pub(crate) const RULE_CHAIN: u16 = 2;
    pub(crate) const RULE_HANDLE: u16 = 3;
    pub(crate) const RULE_EXPRESSIONS: u16 = 4;
    pub(crate) const LIST_ELEM: u16 = 1;
    pub(crate) const EXPR_NAME: u16 = 1;
    pub(crate) const EXPR_DATA: u16 = 2;
    pub(crate) const SET_TABLE: u16 = 1;
    pub(crate) const SET_NAME: u16 = 2;
    pub(crate) const SET_FLAGS: u16 = 3;
    pub(crate) const SET_KEY_TYPE: u16 = 4;
    pub(crate) const SET_KEY_LEN: u16 = 5;
    pub(crate) const SET_DESC: u16 = 9;
    pub(crate) const SET_ID: u16 = 10;
    pub(crate) const SET_GC_INTERVAL: u16 = 12;
    pub(crate) const SET_DESC_SIZE: u16 = 1;
    pub(crate) const SET_ELEM_LIST_TABLE: u16 = 1;
    pub(crate) const SET_ELEM_LIST_SET: u16 = 2;
    pub(crate) const SET_ELEM_LIST_ELEMENTS: u16 = 3;
    pub(crate) const SET_ELEM_KEY: u16 = 1;
    pub(crate) const SET_ELEM_FLAGS: u16 = 3;
    pub(crate) const SET_ELEM_TIMEOUT: u16 = 4;
    pub(crate) const SET_ELEM_EXPIRATION: u16 = 5;
    pub(crate) const OBJ_TABLE: u16 = 1;
    pub(crate) const OBJ_NAME: u16 = 2;
    pub(crate) const OBJ_TYPE: u16 = 3;
    pub(crate) const OBJ_DATA: u16 = 4;
    pub(crate) const COUNTER_BYTES: u16 = 1;
    pub(crate) const COUNTER_PACKETS: u16 = 2;
    pub(crate) const GEN_ID: u16 = 1;
    pub(crate) const DATA_VALUE: u16 = 1;
    pub(crate) const DATA_VERDICT: u16 = 2;
    pub(crate) const VERDICT_CODE: u16 = 1;
    pub(crate) const VERDICT_CHAIN: u16 = 2;
}

/// `NFT_OBJECT_COUNTER`.
pub(super) const OBJECT_COUNTER: u32 = 1;
/// `NFT_SET_INTERVAL`.
pub(super) const SET_INTERVAL: u32 = 0x4;
/// `NFT_SET_TIMEOUT`.
pub(super) const SET_TIMEOUT: u32 = 0x10;
/// `NFT_SET_ELEM_INTERVAL_END`.
pub(super) const INTERVAL_END: u32 = 1;

/// Adds a message about our family.
pub(super) fn push(
    messages: &mut Messages,
    kind: u16,
    flags: u16,
    attributes: impl FnOnce(&mut Attributes<'_>),
) {
    messages.push(kind, flags, &[INET, 0, 0, 0], attributes);
}

/// Begins or ends a transaction.
pub(super) fn batch(messages: &mut Messages, kind: u16, flags: u16) {
    let [high, low] = SUBSYSTEM.to_be_bytes();
    messages.push(kind, flags, &[0, 0, high, low], |_| {});
}
