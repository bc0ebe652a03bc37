/// Why the edge decided as it did: the closed list behind metric labels, the audit stream and
/// explanations. A reason names what was seen, never a guess about intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Nothing spoke against it.
    Clean,
    /// A retransmission; its first copy was judged.
    Retransmission,
    /// The bytes are no SIP message.
    Malformed,
    /// An inside message that no PBX sent.
    NotPbx,
    /// A response that belongs to no transaction of ours.
    StrayResponse,
    /// A CANCEL or ACK that belongs to nothing.
    NoTransaction,
    /// Request-URI scheme is neither sip nor sips (RFC 3261 §16.3 step 2).
    UnsupportedScheme,
    /// SIP version is not 2.0.
    UnsupportedVersion,
    /// Max-Forwards is spent (RFC 3261 §16.3 step 3).
    TooManyHops,
    /// The request has been here before, unchanged (RFC 3261 §16.3 step 4).
    Loop,
    /// An INVITE that is in passage already came again by another way (RFC 3261 §8.2.2.2).
    Merged,
    /// Proxy-Require names what we do not have (RFC 3261 §16.3 step 5).
    BadExtension,
    /// More bytes than a message may have, or than a datagram to the next hop holds (RFC 3261 §18.1.1).
    TooLarge,
    /// A REGISTER's Contact is no URI that could be called.
    BadContact,
    /// A token or Route of ours that we did not make.
    BadToken,
    /// A dead flow: the phone's connection is gone (RFC 5626 §5.3).
    FlowFailed,
    /// Nothing says where this goes.
    NoRoute,
    /// A table is full.
    Overload,
    /// The PBX does not answer.
    PbxUnreachable,
    /// Nobody knows where the trunk is: its name has not been resolved, or has no address.
    TrunkUnreachable,
    /// The other side did not answer in time.
    Timeout,
    /// The edge is draining and takes no new call.
    Draining,
    /// The trunk has as many calls as it may have at once.
    TrunkCalls,
    /// More calls of the trunk in a second than it may begin.
    TrunkRate,
    /// Credentials with a nonce that was never relayed to this source: stripped.
    ForeignNonce,
    /// A stream took longer than its budget.
    Slow,
    /// A keep-alive.
    KeepAlive,
    /// The source, its network or its shape is banned.
    Banned,
    /// A feed lists the source.
    Listed,
    /// The source is narrowed, and this is more than it may have in passage.
    Narrowed,
    /// This AOR is banned by this flow or at this source.
    PairBanned,
    /// Strangers have used up their tries on this AOR.
    Guarded,
    /// As many tries at this account as it has are with the PBX: one more waits.
    TriesUnderWay,
    /// Its shape is that of a campaign.
    Campaign,
    /// It looks like a tool.
    Signature,
    /// A rule of the policy; the event names it.
    Rule,
    /// More than a rate allows.
    Rate,
    /// Its source must prove its return path first.
    Unproven,
    /// It asked for what never existed.
    Honeytoken,
    /// The answer waits: it is longer than what an unproven source has sent.
    Amplification,
}

impl Reason {
    /// Every reason, for catalogues.
    pub const ALL: [Reason; 40] = [
        Reason::Clean,
        Reason::Retransmission,
        Reason::Malformed,
        Reason::NotPbx,
        Reason::StrayResponse,
        Reason::NoTransaction,
        Reason::UnsupportedScheme,
        Reason::UnsupportedVersion,
        Reason::TooManyHops,
        Reason::Loop,
        Reason::Merged,
        Reason::BadExtension,
        Reason::TooLarge,
        Reason::BadContact,
        Reason::BadToken,
        Reason::FlowFailed,
        Reason::NoRoute,
        Reason::Overload,
        Reason::PbxUnreachable,
        Reason::TrunkUnreachable,
        Reason::Timeout,
        Reason::Draining,
        Reason::TrunkCalls,
        Reason::TrunkRate,
        Reason::ForeignNonce,
        Reason::Slow,
        Reason::KeepAlive,
        Reason::Banned,
        Reason::Listed,
        Reason::Narrowed,
        Reason::PairBanned,
        Reason::Guarded,
        Reason::TriesUnderWay,
        Reason::Campaign,
        Reason::Signature,
        Reason::Rule,
        Reason::Rate,
        Reason::Unproven,
        Reason::Honeytoken,
        Reason::Amplification,
    ];

    /// The word that metrics, audit lines and docs use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Clean => "clean",
            Reason::Retransmission => "retransmission",
            Reason::Malformed => "malformed",
            Reason::NotPbx => "not_pbx",
            Reason::StrayResponse => "stray_response",
            Reason::NoTransaction => "no_transaction",
            Reason::UnsupportedScheme => "unsupported_scheme",
            Reason::UnsupportedVersion => "unsupported_version",
            Reason::TooManyHops => "too_many_hops",
            Reason::Loop => "loop",
            Reason::Merged => "merged",
            Reason::BadExtension => "bad_extension",
            Reason::TooLarge => "too_large",
            Reason::BadContact => "bad_contact",
            Reason::BadToken => "bad_token",
            Reason::FlowFailed => "flow_failed",
            Reason::NoRoute => "no_route",
            Reason::Overload => "overload",
            Reason::PbxUnreachable => "pbx_unreachable",
            Reason::TrunkUnreachable => "trunk_unreachable",
            Reason::Timeout => "timeout",
            Reason::Draining => "draining",
            Reason::TrunkCalls => "trunk_calls",
            Reason::TrunkRate => "trunk_rate",
            Reason::ForeignNonce => "foreign_nonce",
            Reason::Slow => "slow",
            Reason::KeepAlive => "keep_alive",
            Reason::Banned => "banned",
            Reason::Listed => "listed",
            Reason::Narrowed => "narrowed",
            Reason::PairBanned => "pair_banned",
            Reason::Guarded => "guarded",
            Reason::TriesUnderWay => "tries_under_way",
            Reason::Campaign => "campaign",
            Reason::Signature => "signature",
            Reason::Rule => "rule",
            Reason::Rate => "rate",
            Reason::Unproven => "unproven",
            Reason::Honeytoken => "honeytoken",
            Reason::Amplification => "amplification",
        }
    }
}
