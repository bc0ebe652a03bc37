//! Which calls must complete, and whether they did.

use super::Run;
use policy::Time;
use sim::{Answer, CallState, Ending};
use std::time::Duration;

/// After a disturbance of one phone, or of all, until calls have to complete again.
pub const PHONE_SETTLES: Duration = Duration::from_secs(140);
pub const ALL_SETTLE: Duration = Duration::from_secs(220);
/// No call may take longer to be up or over.
const CALL_MAX: Duration = Duration::from_secs(300);

pub struct Tracked {
    pub phone: usize,
    pub call: u32,
    pub extension: String,
    pub started: Time,
    /// Nothing disturbed it, so it must complete.
    pub sure: bool,
    pub cancelled: bool,
}

impl Run {
    /// Whether a call to it has one outcome only.
    pub(super) fn is_sure_to_answer(&self, extension: &str) -> bool {
        let now = self.now();
        if extension.len() == 3 {
            return true;
        }
        let mut devices = self.phones.iter().filter(|phone| phone.user == extension);
        let (Some(device), None) = (devices.next(), devices.next()) else { return false };
        let phone = self.scene.phone(device.id);
        let caller_too = self
            .calls
            .iter()
            .any(|call| self.phones[call.phone].user == extension && self.is_open(call));
        !device.away
            && now >= device.steady_from
            && phone.is_registered(now)
            && phone.live_calls().is_empty()
            && matches!(phone.config.answer, Answer::After(_))
            && !caller_too
            && !self.calls.iter().any(|call| call.extension == extension && self.is_open(call))
    }

    pub(super) fn is_open(&self, call: &Tracked) -> bool {
        let state = self.scene.phone(self.phones[call.phone].id).call_state(call.call);
        matches!(state, Some(CallState::Calling | CallState::Ringing | CallState::Up))
    }

    pub(super) fn unsure(&mut self, which: impl Fn(&Tracked) -> bool) {
        for call in &mut self.calls {
            if which(call) {
                call.sure = false;
            }
        }
    }

    /// A phone is disturbed: its calls need not complete.
    pub(super) fn disturb(&mut self, index: usize) {
        let user = self.phones[index].user.clone();
        self.phones[index].steady_from = self.now() + PHONE_SETTLES;
        self.unsure(|call| call.phone == index || call.extension == user);
    }

    pub(super) fn disturb_all(&mut self, length: Duration) {
        self.calm_from = self.calm_from.max(self.now() + length + ALL_SETTLE);
        self.unsure(|_| true);
    }

    pub(super) fn cancelled(&mut self, which: impl Fn(&Tracked) -> bool) {
        for call in &mut self.calls {
            if which(call) {
                call.cancelled = true;
            }
        }
    }

    pub(super) fn check(&mut self) {
        assert_eq!(self.scene.violations(), Vec::<String>::new());
        for phone in &self.phones {
            let counts = &self.scene.phone(phone.id).counts;
            assert_eq!(counts.contact_missing, 0, "{} misses its Contact", phone.user);
            assert_eq!(counts.strange_uri, 0, "{} gets foreign Request-URIs", phone.user);
            // A memory of two nonces forgets what it has just sent.
            let refused = if self.cramped { 0 } else { counts.refused };
            assert_eq!(refused, 0, "{} is asked for its password", phone.user);
        }
        let now = self.now();
        for call in std::mem::take(&mut self.calls) {
            let phone = self.scene.phone(self.phones[call.phone].id);
            let (state, was_up) = (phone.call_state(call.call), phone.was_up(call.call));
            match state {
                Some(CallState::Calling | CallState::Ringing) => {
                    let waited = now.since(call.started);
                    // A clock jump stops nobody's watch but ours.
                    assert!(
                        waited < CALL_MAX || !call.sure,
                        "call to {} takes {waited:?}",
                        call.extension
                    );
                    self.calls.push(call);
                }
                Some(state) => self.check_outcome(&call, state, was_up),
                None => unreachable!("a call that never was"),
            }
        }
    }

    pub(super) fn check_outcome(&mut self, call: &Tracked, state: CallState, was_up: bool) {
        if !call.sure {
            return;
        }
        let refused = match state {
            CallState::Over(Ending::Refused(status)) => status,
            _ => 0,
        };
        let right = match call.extension.as_str() {
            "101" => refused == 486 || call.cancelled,
            "102" => refused == 487,
            "999" => refused == 404 || call.cancelled,
            _ => was_up || call.cancelled,
        };
        let phone = &self.scene.phone(self.phones[call.phone].id);
        assert!(
            right,
            "call {} of {} to {} (from {}) came to {state:?}: {:?}",
            call.call, phone.config.name, call.extension, call.started, phone.config
        );
        self.checked += u64::from(!call.cancelled);
    }
}
