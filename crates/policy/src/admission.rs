//! The rules by which sources are judged. `docs/admission.md` says what each means; the defaults
//! are the profile `balanced`.

use crate::{MethodSet, Network, Signatures};
use std::time::Duration;

/// Everything the gate is told.
#[derive(Clone, Debug)]
pub struct Admission {
    /// `Observe` lets everything pass that the gate would stop, and explains it.
    pub mode: Mode,
    /// Name of the profile that the rest started from.
    pub profile: Box<str>,
    /// The edge's own challenge.
    pub edge_challenge: EdgeChallenge,
    /// Whom nothing bans, and how long a success is worth something.
    pub trust: TrustRules,
    /// Proofs of a return path.
    pub proof: ProofRules,
    /// How long a challenge may stay unanswered.
    pub patience: Patience,
    /// How fast evidence fades.
    pub half_life: HalfLife,
    /// Evidence at which something is done.
    pub levels: Levels,
    /// How long bans last.
    pub bans: BanRules,
    /// What a source that is not known may have in passage, and what a narrowed one may.
    pub narrow: NarrowRules,
    /// The per-AOR guard.
    pub guard: GuardRules,
    /// Campaigns.
    pub campaign: CampaignRules,
    /// Registrations a second of known phones that are called a storm.
    pub storm: u32,
    /// How fast one call's messages are when nobody is to look at them: key presses and keep-alives
    /// of a call that is held and resumed are far below that.
    pub dialog_rate: Rate,
    /// Our numbers: a call to one from an unknown address may be a carrier that moved.
    pub dids: NumberSet,
    /// AORs (`user` or `user@host`) and numbers that never exist.
    pub honeytokens: Vec<Box<str>>,
    /// Headers removed from everything that comes from outside and is not of a trunk.
    pub strip_headers: Vec<Box<str>>,
    /// Rules, in order.
    pub rules: Vec<Rule>,
    /// What tools look like.
    pub signatures: Signatures,
    /// Bounds of the gate's tables, per shard.
    pub capacities: GateCapacities,
}

/// Whether something acts or only says what it would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It acts.
    #[default]
    Enforce,
    /// It counts and explains.
    Observe,
    /// It is not looked at.
    Off,
}

/// When the edge challenges by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChallengeMode {
    /// Never.
    Off,
    /// When too many challenges of unproven sources are open, and sources of whom something
    /// speaks.
    #[default]
    UnderAttack,
    /// Every unproven source.
    Always,
}

/// The edge's own challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeChallenge {
    /// When.
    pub mode: ChallengeMode,
    /// The realm; `None`: as learned from the PBX's challenges (nothing is challenged before).
    pub realm: Option<Box<str>>,
    /// How long its nonce is good.
    pub lifetime: Duration,
    /// Open entries of unproven sources, of one shard, above which `UnderAttack` begins; it ends
    /// below half.
    pub open: u32,
}

/// The trust oracle's lists, and the trust that is earned.
#[derive(Clone, Debug, PartialEq)]
pub struct TrustRules {
    /// How long after a success an AOR is at home at a source.
    pub window: Duration,
    /// Networks that nothing bans, each with a name: `admin`, a trunk's, or as configured.
    pub networks: Vec<(Network, Box<str>)>,
    /// Host names and names of SRV records whose addresses nothing bans, each with a name likewise.
    /// Which addresses these are is learned while the edge runs.
    pub hosts: Vec<(Box<str>, Box<str>)>,
    /// Whether the PBX's and the listeners' own addresses are trusted, too. Off only for
    /// demonstrations on one machine.
    pub own_addresses: bool,
}

/// Proofs of a return path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProofRules {
    /// How long a datagram's proof counts for its source.
    pub lifetime: Duration,
    /// Whether relayed challenges carry a proof in `opaque`.
    pub opaque: bool,
    /// Whether an unproven datagram's answer may be longer than what came; if not it waits for
    /// repeated requests to pay for it.
    pub amplify: bool,
}

/// How long a challenge may stay unanswered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// INVITE.
    pub invite: Duration,
    /// All else.
    pub other: Duration,
}

/// Half-lives of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HalfLife {
    /// Of a source's burst.
    pub short: Duration,
    /// Of a source's low and slow.
    pub long: Duration,
    /// Of refusals of (AOR, flow) and (AOR, source).
    pub pair: Duration,
}

/// Evidence at which something is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Levels {
    /// A source is listed.
    pub watch: f32,
    /// It is narrowed.
    pub narrow: f32,
    /// It is banned by its short memory.
    pub ban: f32,
    /// It, or (AOR, source), is banned by its long memory.
    pub ban_long: f32,
    /// (AOR, flow) or (AOR, source) is banned.
    pub pair: f32,
}

/// How long bans last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BanRules {
    /// The first of a source or network.
    pub first: Duration,
    /// Each next is so many times as long.
    pub factor: u32,
    /// No longer than this.
    pub longest: Duration,
    /// The first of a pair.
    pub pair_first: Duration,
    /// The longest of a pair.
    pub pair_longest: Duration,
    /// Time without evidence that forgives one repetition.
    pub forgive: Duration,
    /// Banned sources that ban their network.
    pub network: u32,
}

/// Open challenges and slow paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NarrowRules {
    /// Open INVITE challenges of a source that is not known.
    pub invites: u32,
    /// Open other challenges of such a source.
    pub others: u32,
    /// The same for a request that proves nothing: beyond it the edge challenges by itself.
    pub others_unproven: u32,
    /// Open challenges of a narrowed one.
    pub narrowed: u32,
    /// Logins whose credentials the PBX has not judged: of all accounts that are not at home at one
    /// source, and of one that is over all its flows.
    pub tries: u32,
    /// Tries that a narrowed known source has for AORs that are not at home there.
    pub strange_aor: Rate,
    /// Tries at a home whose pair would be banned.
    pub home_aor: Rate,
}

/// The per-AOR guard.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GuardRules {
    /// Refusals by strangers, in short memory, that raise it.
    pub refusals: f32,
    /// What strangers may try then.
    pub rate: Rate,
}

/// Campaigns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CampaignRules {
    /// Sources that fail under one shape.
    pub sources: u32,
    /// How long after its last sign it lasts.
    pub lifetime: Duration,
}

/// So many in so long, with a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In how long.
    pub per: Duration,
    /// At once; at least 1.
    pub burst: u32,
}

impl Rate {
    /// `count` in `per`, as many at once.
    #[must_use]
    pub const fn new(count: u32, per: Duration) -> Self {
        Rate { count, per, burst: count }
    }

    /// The part of it that each of so many has, so that all together have no more.
    #[must_use]
    pub fn share(self, of: u8) -> Self {
        let of = u32::from(of.max(1));
        Rate { per: self.per.saturating_mul(of), burst: (self.burst / of).max(1), ..self }
    }
}

/// What is known of the sender of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// Its address may be forged.
    Unproven,
    /// Its return path is proven.
    Proven,
    /// Somebody authenticated from there.
    Known,
    /// The trust oracle says so.
    Trusted,
}

impl Who {
    /// All, in order.
    pub const ALL: [Who; 4] = [Who::Unproven, Who::Proven, Who::Known, Who::Trusted];

    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Who::Unproven => "unproven",
            Who::Proven => "proven",
            Who::Known => "known",
            Who::Trusted => "trusted",
        }
    }
}

/// A set of [`Who`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WhoSet(u8);

impl WhoSet {
    /// Whoever is judged: all but the trusted.
    pub const JUDGED: WhoSet = WhoSet(0b0111);
    /// Strangers: unproven and proven.
    pub const STRANGERS: WhoSet = WhoSet(0b0011);

    /// These.
    #[must_use]
    pub fn of(who: &[Who]) -> Self {
        WhoSet(who.iter().fold(0, |set, who| set | 1 << *who as u8))
    }

    /// Whether it is in.
    #[must_use]
    pub fn has(self, who: Who) -> bool {
        self.0 >> who as u8 & 1 == 1
    }

    /// Its members.
    pub fn iter(self) -> impl Iterator<Item = Who> {
        Who::ALL.into_iter().filter(move |who| self.has(*who))
    }
}

/// How a challenge ended (`docs/admission.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The credentials were right.
    Authenticated,
    /// They were wrong.
    Refused,
    /// The nonce was too old: the entry goes on.
    Stale,
    /// Proven, and nothing came.
    Abandoned,
    /// Not proven, and nothing came.
    Unreachable,
    /// The nonce was not relayed to this source: the entry goes on.
    Foreign,
    /// Given up properly, or ended by something that says nothing of the source.
    Superseded,
    /// 403 or 404 to an INVITE that nobody challenged.
    NotFound,
}

impl Outcome {
    /// All.
    pub const ALL: [Outcome; 8] = [
        Outcome::Authenticated,
        Outcome::Refused,
        Outcome::Stale,
        Outcome::Abandoned,
        Outcome::Unreachable,
        Outcome::Foreign,
        Outcome::Superseded,
        Outcome::NotFound,
    ];

    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Authenticated => "authenticated",
            Outcome::Refused => "refused",
            Outcome::Stale => "stale",
            Outcome::Abandoned => "abandoned",
            Outcome::Unreachable => "unreachable",
            Outcome::Foreign => "foreign",
            Outcome::Superseded => "superseded",
            Outcome::NotFound => "not_found",
        }
    }
}

/// One rule. A rule *with* `outcome` weighs how a challenge ended; one without looks at a request.
/// All parts of `when` must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// What events and explanations call it; unique.
    pub name: Box<str>,
    /// When it holds.
    pub when: When,
    /// What is done then.
    pub then: Then,
    /// Whether it acts.
    pub mode: Mode,
}

/// When a rule holds. A part that is `None` says nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct When {
    /// The request's method.
    pub methods: MethodSet,
    /// What is known of its sender.
    pub who: WhoSet,
    /// Whether its AOR is at home at its source.
    pub at_home: Option<bool>,
    /// Whether it has credentials that pass.
    pub credentials: Option<bool>,
    /// Whether it claims to be inside a dialog (a To-tag) that is not proven by a Route of ours.
    pub dialog: Option<bool>,
    /// How its challenge ended: makes it a rule on outcomes.
    pub outcome: Option<Outcome>,
    /// For outcomes: whether this AOR had this outcome at this source before.
    pub repeated: Option<bool>,
    /// The Request-URI's user is a number of these, however it is prefixed.
    pub dialled: Option<NumberSet>,
    /// The user part of Request-URI, From or To has one of [`BAD_USER`].
    pub bad_user: bool,
}

impl Default for When {
    fn default() -> Self {
        When {
            methods: MethodSet::ALL,
            who: WhoSet::JUDGED,
            at_home: None,
            credentials: None,
            dialog: None,
            outcome: None,
            repeated: None,
            dialled: None,
            bad_user: false,
        }
    }
}

/// What no user part of a phone holds: SQL, shell, template characters, also escaped. (`;` is
/// legal in telephone-subscriber parameters and not here; one apostrophe between letters is a name's,
/// as in o'brien.)
pub const BAD_USER: [&str; 15] = [
    "'",
    "%27",
    "--",
    "\\",
    "%24",
    "$(",
    "${",
    "%60",
    "`",
    "==",
    " union ",
    "union%20",
    "select ",
    "select%20",
    "%00",
];

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Then {
    /// The request passes, later request rules are not asked.
    Accept,
    /// It is counted.
    Note,
    /// The outcome of its challenge weighs twice.
    Score,
    /// The outcome of its challenge weighs three times.
    Fast,
    /// It is dropped in silence.
    Drop,
    /// It is answered with this status, statelessly.
    Reject(u16),
    /// The edge challenges it.
    Challenge,
    /// More than this of them get `answer`.
    Limit {
        /// What has a budget of its own.
        per: LimitKey,
        /// How much.
        rate: Rate,
        /// What is done with more.
        answer: LimitAnswer,
    },
    /// An outcome weighs so much on its source.
    Weigh(f32),
}

/// What has a budget of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKey {
    /// All that the rule meets together, in a shard.
    All,
    /// Each network.
    Network,
    /// Each source.
    Source,
    /// Each flow.
    Flow,
    /// Each AOR.
    Aor,
}

/// What is done with what is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitAnswer {
    /// Dropped in silence: a UDP client repeats it, and is paced.
    Drop,
    /// 503 with Retry-After, jittered.
    Retry,
    /// The edge's own challenge where it is not off, else dropped.
    Challenge,
    /// UDP is dropped, streams get 503.
    Pace,
}

/// Numbers by pattern: digits, `x` for any digit, `*` at the end for any rest. A dialled number is
/// compared as it is and less the prefixes that callers put before an international number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumberSet {
    /// The patterns.
    pub patterns: Vec<Box<str>>,
}

/// Bounds of the gate's tables, per shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateCapacities {
    /// Open ledger entries.
    pub ledger: usize,
    /// Sources of which something is known.
    pub sources: usize,
    /// Pairs (AOR, source) and (AOR, flow): homes and refusals.
    pub pairs: usize,
    /// AORs of which strangers were refused.
    pub aors: usize,
    /// Networks with banned sources.
    pub networks: usize,
    /// Shapes of messages.
    pub shapes: usize,
    /// Bans.
    pub bans: usize,
    /// Rate buckets.
    pub rates: usize,
    /// Sources whose evidence is kept for explanations.
    pub chains: usize,
    /// Pairs and accounts whose credentials are with the PBX.
    pub tries: usize,
    /// Strangers whose requests are with the PBX.
    pub passing: usize,
}

impl Default for GateCapacities {
    fn default() -> Self {
        GateCapacities {
            ledger: 1 << 16,
            sources: 1 << 20,
            pairs: 1 << 18,
            aors: 1 << 16,
            networks: 1 << 15,
            shapes: 1 << 14,
            bans: 1 << 18,
            rates: 1 << 18,
            chains: 4_096,
            tries: 1 << 14,
            passing: 1 << 14,
        }
    }
}

impl Default for Admission {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        let hours = |n: u64| Duration::from_secs(3_600 * n);
        Admission {
            mode: Mode::Enforce,
            profile: "balanced".into(),
            edge_challenge: EdgeChallenge {
                mode: ChallengeMode::UnderAttack,
                realm: None,
                lifetime: minutes(2),
                open: 1_000,
            },
            trust: TrustRules {
                window: hours(24),
                networks: Vec::new(),
                hosts: Vec::new(),
                own_addresses: true,
            },
            proof: ProofRules { lifetime: minutes(10), opaque: true, amplify: false },
            patience: Patience { invite: Duration::from_secs(8), other: Duration::from_secs(32) },
            half_life: HalfLife { short: minutes(10), long: hours(24 * 7), pair: hours(1) },
            levels: Levels { watch: 1.0, narrow: 1.5, ban: 2.5, ban_long: 12.0, pair: 4.5 },
            bans: BanRules {
                first: minutes(10),
                factor: 4,
                longest: hours(24),
                pair_first: minutes(1),
                pair_longest: hours(1),
                forgive: hours(24),
                network: 5,
            },
            narrow: NarrowRules {
                invites: 3,
                others: 64,
                others_unproven: 8,
                narrowed: 1,
                tries: 64,
                strange_aor: Rate::new(1, minutes(1)),
                home_aor: Rate::new(1, Duration::from_secs(30)),
            },
            guard: GuardRules { refusals: 10.0, rate: Rate::new(1, Duration::from_secs(30)) },
            campaign: CampaignRules { sources: 5, lifetime: hours(24) },
            storm: 20,
            dialog_rate: Rate { count: 50, per: Duration::from_secs(1), burst: 200 },
            dids: NumberSet::default(),
            honeytokens: Vec::new(),
            strip_headers: [
                "P-Asserted-Identity",
                "P-Preferred-Identity",
                "Remote-Party-ID",
                "X-Ringfence-*",
            ]
            .map(Into::into)
            .to_vec(),
            rules: crate::balanced::rules(),
            signatures: Signatures::default(),
            capacities: GateCapacities::default(),
        }
    }
}
