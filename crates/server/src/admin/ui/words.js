// What the edge's own words mean, for people who have not read docs/admission.md. Whatever a younger
// edge says that is not here stands for itself.

/// How challenges end, the best first.
export const OUTCOMES = {
  authenticated: "right password",
  refused: "wrong password",
  not_found: "asked for nobody",
  stale: "old nonce, may try again",
  abandoned: "is there, never came back",
  unreachable: "never came back",
  foreign: "somebody else's nonce",
  superseded: "ended otherwise, no fault",
};

/// What becomes of requests.
export const VERDICTS = {
  forward: "to the PBX",
  absorb: "taken in, nothing to forward",
  reject: "answered by the edge",
  drop: "no answer at all",
};

/// Why.
export const REASONS = {
  clean: "nothing spoke against it",
  retransmission: "came again",
  malformed: "is no SIP message",
  not_pbx: "inside, but not the PBX",
  stray_response: "answers nothing of ours",
  no_transaction: "belongs to nothing",
  unsupported_scheme: "neither sip: nor sips:",
  unsupported_version: "not SIP/2.0",
  too_many_hops: "its Max-Forwards is spent",
  loop: "was here before",
  merged: "came by two ways",
  bad_extension: "wants what we have not",
  bad_contact: "no address to call back",
  bad_token: "a token we did not make",
  flow_failed: "the phone is gone",
  no_route: "goes nowhere we know",
  overload: "a table is full",
  too_large: "it is too large for its way",
  pbx_unreachable: "the PBX does not answer",
  trunk_unreachable: "the trunk is not found",
  timeout: "no answer in time",
  draining: "the edge is ending",
  trunk_calls: "the trunk's calls are all used",
  trunk_rate: "too many calls a second",
  foreign_nonce: "somebody else's nonce",
  slow: "took too long",
  keep_alive: "keeps a way open",
  banned: "the source is banned",
  listed: "a feed lists the source",
  narrowed: "more than it may have open",
  pair_banned: "banned from this account",
  guarded: "the account's tries are used",
  tries_under_way: "other tries come first",
  campaign: "looks like a campaign",
  signature: "looks like a known tool",
  rule: "a rule of the policy",
  rate: "more than its rate",
  unproven: "must prove its address",
  honeytoken: "asked for a bait",
  amplification: "the answer is too long for it",
};

/// How it was seen that a source is where it says.
export const PROOFS = {
  handshake: "a TCP or TLS connection",
  ack_tag: "its ACK has a tag that only it was sent",
  opaque: "its credentials have a word that only it was sent",
  nonce: "its credentials have a nonce that only it was sent",
};

/// Whom a ban meets.
export const KINDS = {
  flow: "one account, over one connection or port",
  aor: "one account, from one source",
  address: "all from that address",
  network: "all from that network",
  campaign: "all that look alike",
};

/// Who found a ban necessary.
export const ORIGINS = {
  local: "the edge",
  operator: "an operator",
  feed: "a feed",
  peer: "another shard",
};

/// A word and what it means.
export const told = (words, word) => (words[word] ? `${word}: ${words[word]}` : word);
