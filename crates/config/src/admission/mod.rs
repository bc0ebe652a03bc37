//! How sources are judged, element by element: one file here, one page in `docs/policy`.

mod bans;
mod campaign;
mod capacities;
mod edge_challenge;
mod evidence;
mod guard;
mod headers;
mod narrow;
mod numbers;
mod patience;
pub(crate) mod profile;
mod proof;
pub(crate) mod rate;
mod rule;
pub(crate) mod signatures;
#[cfg(test)]
mod tests;
mod trust;
mod when;

pub(crate) use numbers::number;
pub use signatures::{Override, SignatureChoice};
pub(crate) use trust::{trust, trust_host};
pub(crate) use when::WHO;

use crate::form::{Count, List, Word};
use crate::keys::{Keys, Section};
use policy::{Admission, Mode};

/// Whether something acts.
const MODE: Word<Mode> =
    Word("mode", &[("enforce", Mode::Enforce), ("observe", Mode::Observe), ("off", Mode::Off)]);
/// Whether the gate acts at all.
const WHOLE_MODE: Word<Mode> =
    Word("mode", &[("enforce", Mode::Enforce), ("observe", Mode::Observe)]);

/// The policy's keys about admission. The capacities stand with the engine's.
pub(crate) fn keys(admission: &mut Admission, choice: &mut SignatureChoice, keys: &mut impl Keys) {
    let Admission {
        mode,
        profile,
        edge_challenge,
        trust,
        proof,
        patience,
        half_life,
        levels,
        bans,
        narrow,
        guard,
        campaign,
        storm,
        dialog_rate,
        dids,
        honeytokens,
        strip_headers,
        rules,
        signatures: _,
        capacities: _,
    } = admission;
    keys.key("profile", "The policy that this one starts from", profile, profile::Name);
    keys.key("mode", "observe: say what would be done, and do nothing", mode, WHOLE_MODE);
    let about = "When the edge challenges by itself";
    keys.key("edge_challenge", about, edge_challenge, edge_challenge::ShortOrTable);
    keys.key("trust", "Whom nothing bans", trust, Section);
    keys.key("proof", "How a source shows that its address is not forged", proof, Section);
    let about = "How long a challenge may stay unanswered";
    keys.key("patience", about, patience, Section);
    keys.key("half_life", "How fast evidence fades", half_life, Section);
    keys.key("levels", "Evidence at which something is done", levels, Section);
    keys.key("bans", "How long bans last", bans, Section);
    keys.key("narrow", "What strangers may have in passage", narrow, Section);
    keys.key("guard", "Protects one account against many addresses", guard, Section);
    keys.key("campaign", "Many addresses with one shape of message", campaign, Section);
    let about = "Registrations a second of known phones that are called a storm";
    keys.key("storm", about, storm, Count(1, 1_000_000));
    let about = "What one call may send unjudged; more is judged as all else";
    keys.key("dialog_rate", about, dialog_rate, rate::RATE);
    keys.key("dids", "Our own numbers; x is any digit", dids, numbers::Numbers);
    let about = "Accounts and numbers that never exist";
    keys.key("honeytokens", about, honeytokens, List(numbers::HONEYTOKEN));
    let about = "Headers removed from what comes from outside";
    keys.key("strip_headers", about, strip_headers, List(headers::STRIPPED));
    keys.key("signatures", "What tools look like", choice, Section);
    keys.key("rules", "What is done when", rules, rule::Rules);
}
