//! Evaluation of the policy's rules: what `when` says, of a request or of an outcome.

use policy::{BAD_USER, METHODS, Mode, NumberSet, Outcome, Rule, Then, When, Who};
use wire::{Message, Uri};

/// What a rule may ask of a request, or of a challenge that ended.
pub(crate) struct Facts<'r, 'a> {
    pub(crate) message: Option<&'r Message<'a>>,
    pub(crate) method: u8,
    pub(crate) who: Who,
    pub(crate) at_home: bool,
    pub(crate) credentials: bool,
    /// A To-tag that no Route of ours proves.
    pub(crate) dialog: bool,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) repeated: bool,
    pub(crate) dialled: &'r [u8],
}

/// The rules that requests can meet, by method and sender: most rules are for others.
#[derive(Debug)]
pub(crate) struct Concerns(Box<[Concern]>);

/// Of one method and one kind of sender, in the policy's order.
#[derive(Debug, Default)]
pub(crate) struct Concern {
    /// Those without a rate.
    pub(crate) plain: Vec<Concerned>,
    /// Those with a rate.
    pub(crate) limits: Vec<Concerned>,
}

/// A rule that a request may meet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Concerned {
    /// Its index in the policy.
    pub(crate) rule: u16,
    /// Whether it asks for more than method and sender.
    asks: bool,
    /// What a dialled number may begin with that it asks for.
    begins: Option<Begins>,
}

impl Concerned {
    /// Whether all parts of its `when` hold, of a request with that method and sender.
    pub(crate) fn holds(self, when: &When, facts: &Facts<'_, '_>) -> bool {
        !self.asks || self.begins.is_none_or(|it| it.has(facts.dialled)) && holds(when, facts)
    }
}

/// The characters, as bits, with which a number is written that may be one of a set: most that are dialled
/// begin otherwise.
#[derive(Clone, Copy, Debug)]
struct Begins(u128);

impl Begins {
    fn of(numbers: &NumberSet) -> Self {
        let may = |first: &u8| may_begin(numbers, *first);
        Begins((0..128).filter(may).fold(0, |all, first| all | 1 << first))
    }

    fn has(self, dialled: &[u8]) -> bool {
        dialled.first().is_some_and(|first| !first.is_ascii() || self.0 >> first & 1 == 1)
    }
}

impl Concerns {
    pub(crate) fn of_rules(rules: &[Rule]) -> Self {
        let mut all: Box<[Concern]> =
            (0..METHODS.len() * Who::ALL.len()).map(|_| Concern::default()).collect();
        for (index, rule) in (0..).zip(rules) {
            let (when, off) = (&rule.when, rule.mode == Mode::Off);
            if off || matches!(rule.then, Then::Weigh(_)) {
                continue;
            }
            for (method, who) in
                (0..METHODS.len() as u8).flat_map(|it| Who::ALL.map(|who| (it, who)))
            {
                if when.methods.has(method) && when.who.has(who) {
                    let concern = &mut all[place(method, who)];
                    let begins = when.dialled.as_ref().map(Begins::of);
                    let concerned = Concerned { rule: index, asks: asks_more(when), begins };
                    match rule.then {
                        Then::Limit { .. } => concern.limits.push(concerned),
                        _ => concern.plain.push(concerned),
                    }
                }
            }
        }
        Concerns(all)
    }

    pub(crate) fn of(&self, method: u8, who: Who) -> &Concern {
        &self.0[place(method, who)]
    }
}

/// Whether it asks for more than method and sender.
fn asks_more(when: &When) -> bool {
    let bare = When { methods: when.methods, who: when.who, ..When::default() };
    *when != bare
}

fn place(method: u8, who: Who) -> usize {
    usize::from(method) * Who::ALL.len() + who as usize
}

/// Whether all parts of `when` hold.
pub(crate) fn holds(when: &When, facts: &Facts<'_, '_>) -> bool {
    when.outcome == facts.outcome
        && when.methods.has(facts.method)
        && when.who.has(facts.who)
        && when.at_home.is_none_or(|at_home| at_home == facts.at_home)
        && when.credentials.is_none_or(|credentials| credentials == facts.credentials)
        && when.dialog.is_none_or(|dialog| dialog == facts.dialog)
        && when.repeated.is_none_or(|repeated| repeated == facts.repeated)
        && when.dialled.as_ref().is_none_or(|numbers| is_dialled(numbers, facts.dialled))
        && (!when.bad_user || has_bad_user(facts))
}

fn has_bad_user(facts: &Facts<'_, '_>) -> bool {
    let Some(message) = facts.message else { return false };
    [facts.dialled, user(message.from().uri), user(message.to().uri)].into_iter().any(is_bad_user)
}

/// User of a URI; of a `tel` and the like all behind the scheme.
#[inline]
pub(crate) fn user(uri: &[u8]) -> &[u8] {
    policy::plain_user(uri).unwrap_or_else(|| parsed_user(uri))
}

/// The same of any URI. Apart, so that what most ask for stays small.
#[inline(never)]
fn parsed_user(uri: &[u8]) -> &[u8] {
    match Uri::parse(uri) {
        Some(parsed) if parsed.is_sip() => parsed.user,
        Some(parsed) => uri.get(parsed.scheme.len() + 1..).unwrap_or_default(),
        None => uri,
    }
}

fn is_bad_user(mut text: &[u8]) -> bool {
    if !text.iter().any(|byte| MARKS[usize::from(*byte)]) || is_name(text) {
        return false;
    }
    while let [first, rest @ ..] = text {
        // what none of them begins with is most of what there is
        if BEGINS_BAD[usize::from(*first)] && BAD_USER.iter().any(|bad| begins(text, bad)) {
            return true;
        }
        text = rest;
    }
    false
}

/// Whether it is a name like o'brien: letters on both sides of its only apostrophe (which RFC 3261 §25.1
/// lets a user part have), and nothing else that a query or a shell could be made of.
fn is_name(text: &[u8]) -> bool {
    let letter = |byte: &u8| byte.is_ascii_alphabetic() || !byte.is_ascii();
    let plain =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"._".contains(byte) || !byte.is_ascii();
    let mut parts = text.split(|byte| *byte == b'\'');
    let (Some(before), Some(behind), None) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    before.last().is_some_and(letter)
        && behind.first().is_some_and(letter)
        && before.iter().chain(behind).all(plain)
}

/// Whether the text begins so, letter case ignored.
fn begins(text: &[u8], with: &str) -> bool {
    let mut pairs = text.iter().zip(with.as_bytes());
    text.len() >= with.len() && pairs.all(|(a, b)| a.eq_ignore_ascii_case(b))
}

/// Bytes that something of [`BAD_USER`] begins with: most of what there is are others.
const BEGINS_BAD: [bool; 256] = {
    let (mut table, mut at) = ([false; 256], 0);
    while at < BAD_USER.len() {
        let first = BAD_USER[at].as_bytes()[0];
        table[first.to_ascii_lowercase() as usize] = true;
        table[first.to_ascii_uppercase() as usize] = true;
        at += 1;
    }
    table
};

/// Bytes of [`BAD_USER`] but for letters and digits: nothing of it is without one.
const MARKS: [bool; 256] = {
    let (mut table, mut at) = ([false; 256], 0);
    while at < BAD_USER.len() {
        let (bad, mut place, mut marks) = (BAD_USER[at].as_bytes(), 0, 0);
        while place < bad.len() {
            if !bad[place].is_ascii_alphanumeric() {
                table[bad[place] as usize] = true;
                marks += 1;
            }
            place += 1;
        }
        assert!(marks > 0);
        at += 1;
    }
    table
};

/// What callers put before a number, and before an international one.
const PREFIXES: [&[u8]; 11] =
    [b"0", b"00", b"000", b"9", b"90", b"900", b"9900", b"9999", b"011", b"0011", b"+"];
/// Most bytes of prefixes that are taken off.
const PREFIX_MAX: usize = 16;
/// Most digits that are compared.
const DIGITS_MAX: usize = 32;

/// Whether `dialled` is a number of the set: as it is, and less any combination of prefixes, as
/// that rest stands and as an international number `00…`.
pub fn is_dialled(numbers: &NumberSet, dialled: &[u8]) -> bool {
    if !dialled.first().is_some_and(|first| may_begin(numbers, *first)) {
        return false;
    }
    let mut digits = arrayvec::ArrayVec::<u8, DIGITS_MAX>::new();
    let written = dialled.split(|b| *b == b';').next().unwrap_or_default();
    for byte in written.iter().filter(|b| !matches!(b, b'-' | b'.' | b'(' | b')')) {
        if digits.try_push(*byte).is_err() {
            break;
        }
    }
    // a bit for each place where a rest may begin; prefixes only lead forward
    let mut places = 1u32;
    for at in 0..PREFIX_MAX.min(digits.len()) {
        if places >> at & 1 == 0 {
            continue;
        }
        let rest = &digits[at..];
        if is_in(numbers, b"", rest) || at > 0 && is_in(numbers, b"00", rest) {
            return true;
        }
        if !matches!(rest, [b'0' | b'9' | b'+', ..]) {
            continue;
        }
        for prefix in PREFIXES.iter().filter(|prefix| rest.starts_with(prefix)) {
            places |= 1 << (at + prefix.len()).min(31);
        }
    }
    false
}

/// Whether a number that is written with this first may be one of the set.
fn may_begin(numbers: &NumberSet, first: u8) -> bool {
    matches!(first, b'0' | b'9' | b'+' | b'-' | b'.' | b'(' | b')')
        || numbers
            .patterns
            .iter()
            .filter_map(|pattern| pattern.as_bytes().first())
            .any(|begin| *begin == first || matches!(begin, b'*' | b'x' | b'X'))
}

fn is_in(numbers: &NumberSet, before: &[u8], rest: &[u8]) -> bool {
    numbers.patterns.iter().any(|pattern| {
        let (pattern, open) = match pattern.as_bytes() {
            [head @ .., b'*'] => (head, true),
            all => (all, false),
        };
        // `+` in a pattern is what `00` is in a number
        let (plus, pattern): (&[u8], _) = match pattern {
            [b'+', rest @ ..] => (b"00", rest),
            all => (b"", all),
        };
        // most differ in the first digit
        let first = [plus, pattern].into_iter().find_map(<[u8]>::first);
        let digit = [before, rest].into_iter().find_map(<[u8]>::first);
        if let (Some(first), Some(digit)) = (first, digit)
            && first != digit
            && !matches!(first, b'x' | b'X')
        {
            return false;
        }
        let (wanted, length) = (plus.len() + pattern.len(), before.len() + rest.len());
        (length == wanted || open && length > wanted)
            && plus.iter().chain(pattern).zip(before.iter().chain(rest)).all(|(wanted, digit)| {
                match wanted {
                    b'x' | b'X' => digit.is_ascii_digit(),
                    wanted => wanted == digit,
                }
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(patterns: &[&str]) -> NumberSet {
        NumberSet { patterns: patterns.iter().map(|it| (*it).into()).collect() }
    }

    #[test]
    fn numbers_are_met_however_prefixed() {
        let israel = set(&["00972*"]);
        for number in [
            "00972595123456",
            "+972595123456",
            "000972595123456",
            "900972595123456",
            "9011972595123456",
            "0011972595123456",
            "99999900972595",
            "9+972-595.123",
            "9972595123456",
            "00972",
            "00972595;phone-context=+1",
        ] {
            assert!(is_dialled(&israel, number.as_bytes()), "{number}");
        }
        for number in ["", "101", "972101", "0049301234", "00973", "alice", "0097", "*97", "+"] {
            assert!(!is_dialled(&israel, number.as_bytes()), "{number}");
        }
    }

    #[test]
    fn patterns_have_digits_and_ends() {
        let dids = set(&["+4930123x", "0301239xx"]);
        for (number, met) in [
            ("+49301235", true),
            ("+493012355", false),
            ("+4930123a", false),
            ("030123911", true),
            ("00301239", false),
            ("+49301235;phone-context=+1", true),
            (";+49301235", false),
        ] {
            assert_eq!(is_dialled(&dids, number.as_bytes()), met, "{number}");
        }
    }

    #[test]
    fn any_text_is_bounded() {
        let numbers = set(&["00972*"]);
        for byte in [b'0', b'9', b'+', b'-', b'x'] {
            assert!(!is_dialled(&numbers, &[byte; 4_000]));
        }
    }

    fn facts<'r, 'a>(message: Option<&'r Message<'a>>, dialled: &'r [u8]) -> Facts<'r, 'a> {
        Facts {
            message,
            method: 0,
            who: Who::Proven,
            at_home: false,
            credentials: false,
            dialog: false,
            outcome: None,
            repeated: false,
            dialled,
        }
    }

    #[test]
    fn all_parts_of_when_must_hold() {
        let is = facts(None, b"100");
        let any = When::default();
        assert!(holds(&any, &is));
        for at in [false, true] {
            let parts = [
                When { at_home: Some(at), ..any.clone() },
                When { credentials: Some(at), ..any.clone() },
                When { dialog: Some(at), ..any.clone() },
                When { repeated: Some(at), ..any.clone() },
                When { dialled: Some(set(&[["100", "200"][usize::from(at)]])), ..any.clone() },
                When { outcome: [None, Some(Outcome::Refused)][usize::from(at)], ..any.clone() },
            ];
            for when in parts {
                assert_eq!(holds(&when, &is), !at, "{when:?}");
            }
        }
    }

    #[test]
    fn a_bad_user_is_seen_wherever_it_stands() {
        let cases = [("sip:a", "sip:b", "c", false), ("sip:'x@h", "sip:b", "c", true)];
        let others = [("sip:a", "tel:'x", "c", true), ("sip:a", "sip:b", "'x", true)];
        for (from, to, dialled, bad) in cases.into_iter().chain(others) {
            let text = format!(
                "INVITE sip:c SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKa\r\nFrom: <{from}>;tag=f\r\n\
                 To: <{to}>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
            );
            let message = Message::parse(text.as_bytes(), &wire::Limits::default()).unwrap();
            assert_eq!(has_bad_user(&facts(Some(&message), dialled.as_bytes())), bad, "{text}");
        }
    }

    #[test]
    fn a_rule_that_is_off_or_weighs_concerns_no_request() {
        let rule = |mode, outcome, then| Rule {
            name: "it".into(),
            when: When { outcome, ..When::default() },
            then,
            mode,
        };
        for (rule, concerned) in [
            (rule(Mode::Enforce, None, Then::Note), true),
            (rule(Mode::Observe, None, Then::Drop), true),
            (rule(Mode::Off, None, Then::Drop), false),
            (rule(Mode::Enforce, Some(Outcome::Refused), Then::Weigh(1.0)), false),
        ] {
            let all = Concerns::of_rules(std::slice::from_ref(&rule));
            let plain = &all.of(0, Who::Proven).plain;
            let holds = plain.iter().any(|it| it.holds(&rule.when, &facts(None, b"")));
            assert_eq!(holds, concerned, "{rule:?}");
        }
    }

    #[test]
    fn the_user_of_another_scheme_is_all_behind_it() {
        for (uri, is) in [("sip:a@h", "a"), ("tel:+4930", "+4930"), ("TEL:112", "112"), ("x", "x")]
        {
            assert_eq!(user(uri.as_bytes()), is.as_bytes(), "{uri}");
        }
    }

    #[test]
    fn bad_users() {
        for user in [
            "a'or'b",
            "a'",
            "'a",
            "a'or 1",
            "a'1",
            "a'b-c",
            "1%27",
            "x--",
            "a\\b",
            "${jndi",
            "%24x",
            "`id`",
            "a UNION b",
            "1%20UNION%20x",
            "Select%20x",
            "$(id)",
            "%00",
        ] {
            assert!(is_bad_user(user.as_bytes()), "{user}");
        }
        for user in [
            "alice",
            "o'brien",
            "Anna.D'Angelo",
            "+49-30-123;phone-context=x",
            "a.b_c",
            "",
            "a-b",
            "john%20doe",
            "$5(a)",
            "union-select",
            "selected",
        ] {
            assert!(!is_bad_user(user.as_bytes()), "{user}");
        }
    }
}
