//! What the gate decides, carried out: challenges of the edge's own, `opaque`, bans, answers that
//! must be paid for, and what a dialog's Route is worth.

mod dialog;
mod edge;
mod evasion;
mod overload;
mod silence;
mod verdicts;
