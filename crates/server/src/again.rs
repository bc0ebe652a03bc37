//! What a new policy would have done to the requests that came last: those that are recorded are
//! judged again by both, by their rules and signatures. Evidence, bans and rates are not asked: what
//! came before the recording is not known.

use admission::{Gate, Judgement, Known, Refusal, Request, Verdict};
use policy::{Policy, Reason, Time, Who};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::sync::Arc;
use wire::{Flow, Message, ShardId};

/// Requests that are judged again, the youngest: a reload must not take long.
pub(crate) const REQUESTS: usize = 8_192;
/// Kinds of differences that are told.
const GROUPS: usize = 16;
/// Longest example, in characters.
const EXAMPLE: usize = 96;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) at: Time,
    pub(crate) flow: Flow,
    pub(crate) known: Known,
    pub(crate) bytes: Box<[u8]>,
}

/// What would have differed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct AgainView {
    /// Requests that were judged again.
    pub(crate) judged: usize,
    /// The oldest of them.
    pub(crate) since: Option<String>,
    /// How many would have been decided otherwise.
    pub(crate) differ: usize,
    pub(crate) groups: Vec<GroupView>,
}

/// Requests that would have been decided otherwise in the same way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct GroupView {
    /// What the old policy says.
    pub(crate) was: String,
    /// What the new policy says.
    pub(crate) is: String,
    /// The rule or signature that makes the difference.
    pub(crate) by: String,
    pub(crate) count: usize,
    /// How many of them came from where somebody had authenticated.
    pub(crate) known: usize,
    /// One's first line.
    pub(crate) example: String,
}

/// Judges them by the old and by the new policy.
pub(crate) fn judge(recorded: &[Recorded], old: &Arc<Policy>, new: &Arc<Policy>) -> AgainView {
    let gate = |policy: &Arc<Policy>| Gate::new(policy.clone(), ShardId(0), &[0; 32]);
    let (mut before, mut after) = (gate(old), gate(new));
    let mut view = AgainView {
        since: recorded.iter().map(|it| it.at).min().map(Time::utc),
        ..AgainView::default()
    };
    for it in recorded {
        let Ok(message) = Message::parse(&it.bytes, &new.limits) else { continue };
        // which PBX it was for is not kept, and its credentials are known to have passed or not
        let request = Request { flow: &it.flow, message: &message, dialog: false, pbx: 0 };
        let was = before.judge_again(it.at, &request, &it.known);
        let is = after.judge_again(it.at, &request, &it.known);
        view.judged += 1;
        if outcome(&was) != outcome(&is) {
            view.differ += 1;
            let by = if refusal(&is).is_some() { by(&is, new) } else { by(&was, old) };
            view.count(it, [word(&was), word(&is), by]);
        }
    }
    view.groups.sort_by_key(|group| std::cmp::Reverse((group.known, group.count)));
    view
}

impl AgainView {
    fn count(&mut self, it: &Recorded, [was, is, by]: [String; 3]) {
        let same = |group: &GroupView| (&group.was, &group.is, &group.by) == (&was, &is, &by);
        let place = self.groups.iter().position(same).unwrap_or(self.groups.len());
        if place == GROUPS {
            return;
        }
        if place == self.groups.len() {
            let line = it.bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
            let example = String::from_utf8_lossy(line).chars().take(EXAMPLE).collect();
            self.groups.push(GroupView { was, is, by, example, ..GroupView::default() });
        }
        let group = &mut self.groups[place];
        group.count += 1;
        group.known += usize::from(it.known.who >= Who::Known);
    }

    /// In words; with the examples' first lines, which belong into no log.
    pub(crate) fn text(&self, examples: bool) -> String {
        let AgainView { judged, differ, .. } = self;
        let Some(since) = &self.since else {
            return "no recorded request to try the rules and signatures on".into();
        };
        let mut text = format!(
            "judged again by rules and signatures: {differ} of the last {judged} requests (since \
             {since}) would be decided otherwise"
        );
        for GroupView { was, is, by, count, known, example } in &self.groups {
            let _ = write!(text, "\n  {count} {was} -> {is} by {}", by.escape_debug());
            if *known > 0 {
                let _ = write!(text, ", {known} of them from where somebody had authenticated");
            }
            if examples {
                let _ = write!(text, ": {}", example.escape_debug());
            }
        }
        text
    }
}

/// What becomes of it, or would if the rule did more than observe.
fn outcome(judgement: &Judgement) -> (Option<Refusal>, Option<Refusal>) {
    (refusal(judgement), judgement.would)
}

fn refusal(judgement: &Judgement) -> Option<Refusal> {
    match judgement.verdict {
        Verdict::Accept(_) => None,
        Verdict::Refuse(refusal) => Some(refusal),
    }
}

fn word(judgement: &Judgement) -> String {
    let said = |refusal: Refusal| match refusal {
        Refusal::Challenge => "challenge".to_owned(),
        Refusal::Drop => "drop".to_owned(),
        Refusal::Reject(status) => format!("reject {status}"),
    };
    match outcome(judgement) {
        (_, Some(would)) => format!("accept (observed: {})", said(would)),
        (Some(refusal), None) => said(refusal),
        (None, None) => "accept".to_owned(),
    }
}

/// What decided, by the name that the policy has for it.
fn by(judgement: &Judgement, policy: &Policy) -> String {
    let rules = &policy.admission.rules;
    let signatures = policy.admission.signatures.list();
    let signature = signatures.get(usize::from(judgement.signature));
    match (judgement.reason, rules.get(usize::from(judgement.rule)), signature) {
        (Reason::Signature, _, Some(signature)) => format!("signature {}", signature.id),
        (_, Some(rule), _) => format!("rule {}", rule.name),
        (_, None, Some(signature)) => format!("signature {}", signature.id),
        _ => "mode".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::{Mode, Then};
    use std::net::SocketAddr;

    fn recorded(user_agent: &str, dialled: &str, who: Who) -> Recorded {
        let text = format!(
            "INVITE sip:{dialled}@pbx.example.com SIP/2.0\r\n\
             Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
             From: <sip:6001@pbx.example.com>;tag=1\r\nTo: <sip:{dialled}@pbx.example.com>\r\n\
             Call-ID: a\r\nCSeq: 1 INVITE\r\nContact: <sip:6001@198.51.100.7>\r\n\
             User-Agent: {user_agent}\r\nContent-Length: 0\r\n\r\n"
        );
        let remote: SocketAddr = "198.51.100.7:5060".parse().unwrap();
        Recorded {
            at: Time::from_nanos(1_795_380_000_000_000_000),
            flow: Flow::udp(remote, remote),
            known: Known { who, at_home: false, credentials: false },
            bytes: text.into_bytes().into(),
        }
    }

    fn policy(change: impl FnOnce(&mut Policy)) -> Arc<Policy> {
        let mut policy = Policy::new(Vec::new(), "127.0.0.1:5080".parse().unwrap(), Vec::new());
        change(&mut policy);
        Arc::new(policy)
    }

    /// A rule of the default policy that drops what the dialled numbers say.
    fn dropping(mode: Mode) -> Arc<Policy> {
        policy(|policy| {
            let rules = &mut policy.admission.rules;
            let rule = rules.iter_mut().find(|rule| rule.when.dialled.is_some()).unwrap();
            rule.when.dialled.as_mut().unwrap().patterns = vec!["00972*".into()];
            (rule.then, rule.mode) = (Then::Drop, mode);
        })
    }

    #[test]
    fn what_a_rule_would_have_stopped_is_told_with_whom_it_meets() {
        let old = policy(|_| {});
        let requests = [
            recorded("x", "00972592", Who::Unproven),
            recorded("x", "00972593", Who::Proven),
            recorded("x", "5551", Who::Unproven),
        ];
        let view = judge(&requests, &old, &dropping(Mode::Enforce));
        assert_eq!((view.judged, view.differ, view.groups.len()), (3, 2, 1));
        let group = &view.groups[0];
        assert_eq!((group.was.as_str(), group.is.as_str(), group.count), ("accept", "drop", 2));
        assert!(group.by.starts_with("rule "), "{}", group.by);
        assert!(view.text(true).contains("2 accept -> drop by rule "), "{}", view.text(true));
        assert!(view.text(true).contains("INVITE sip:00972592@pbx.example.com SIP/2.0"));
        // and back
        let view = judge(&requests, &dropping(Mode::Enforce), &old);
        assert_eq!((view.groups[0].was.as_str(), view.groups[0].is.as_str()), ("drop", "accept"));
    }

    #[test]
    fn a_rule_that_observes_is_told_as_that() {
        let old = policy(|_| {});
        let view =
            judge(&[recorded("x", "00972592", Who::Unproven)], &old, &dropping(Mode::Observe));
        assert_eq!(view.groups[0].is, "accept (observed: drop)");
    }

    #[test]
    fn without_a_change_nothing_differs() {
        let old = policy(|_| {});
        let view = judge(&[recorded("x", "1", Who::Known)], &old, &old);
        assert_eq!((view.judged, view.differ), (1, 0));
        assert!(view.text(true).contains("0 of the last 1 requests"));
        assert!(judge(&[], &old, &old).text(true).starts_with("no recorded request"));
    }
}
