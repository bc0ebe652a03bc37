//! How lists are written.

use crate::{Bounds, List};
use policy::Time;
use serde::Deserialize;
use std::time::Duration;

/// A way to write a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// An address or a network at the start of each line, comments behind `#` or `;`. What VoIPBL
    /// and most others give.
    #[default]
    Lines,
    /// APIBAN's JSON: batches, each with the number of the next.
    Apiban,
    /// Decisions of a CrowdSec local API, as its bouncers get them.
    Crowdsec,
}

/// The list of lines in a text; each lives until then.
pub(crate) fn lines(text: &str, until: Time, bounds: &Bounds) -> Result<List, String> {
    let mut list = List::default();
    for line in text.lines() {
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split([' ', '\t', ',', '\r']).filter(|word| !word.is_empty());
        if let Some(word) = words.next() {
            list.add(word.trim_start_matches('\u{feff}'), until, bounds);
        }
    }
    if list.is_likely() {
        return Ok(list);
    }
    let (bad, good) = (list.refused().syntax, list.entries().len());
    Err(format!("it is no list: {bad} lines are no address, {good} are"))
}

/// One batch of APIBAN's: what it lists, and the number of the next; `None`: there is none yet.
#[derive(Debug, PartialEq)]
pub(crate) struct Batch {
    pub(crate) list: List,
    pub(crate) next: Option<String>,
}

/// Longest number of a batch, in bytes.
const NUMBER_MAX: usize = 64;

#[derive(Deserialize)]
#[serde(untagged)]
enum Texts {
    Many(Vec<String>),
    One(String),
}

#[derive(Deserialize)]
struct ApibanBatch {
    ipaddress: Texts,
    #[serde(rename = "ID")]
    id: Number,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Text(String),
    Number(u64),
}

/// A batch as `GET …/banned[/ID]` gives it. With status 400 and the number `none` there is nothing
/// new.
pub(crate) fn apiban(
    status: u16,
    text: &str,
    until: Time,
    bounds: &Bounds,
) -> Result<Batch, String> {
    let said: ApibanBatch = serde_json::from_str(text)
        .map_err(|error| format!("status {status}, and no answer of APIBAN's: {error}"))?;
    let number = match said.id {
        Number::Text(text) => text,
        Number::Number(number) => number.to_string(),
    };
    let addresses = match said.ipaddress {
        Texts::Many(texts) => texts,
        Texts::One(text) => vec![text],
    };
    match (status, number.as_str()) {
        (200 | 400, "none") => return Ok(Batch { list: List::default(), next: None }),
        (200, _) => {}
        _ => {
            let said = addresses.first().map(String::as_str).unwrap_or_default();
            return Err(format!("status {status}: {}", said.escape_debug()));
        }
    }
    let sound = number.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if number.is_empty() || number.len() > NUMBER_MAX || !sound {
        return Err("the number of its next batch is none".into());
    }
    let mut list = List::default();
    addresses.iter().for_each(|text| list.add(text.trim(), until, bounds));
    Ok(Batch { list, next: Some(number) })
}

/// What a CrowdSec local API says has changed.
#[derive(Debug, Deserialize)]
pub(crate) struct Decisions {
    #[serde(default)]
    new: Option<Vec<Decision>>,
    #[serde(default)]
    deleted: Option<Vec<Decision>>,
}

#[derive(Debug, Deserialize)]
struct Decision {
    #[serde(default)]
    origin: String,
    #[serde(rename = "type")]
    kind: String,
    scope: String,
    value: String,
    #[serde(default)]
    duration: String,
}

/// Origin that our own bans have there: they come back to nobody.
pub(crate) const OWN_ORIGIN: &str = "ringfence";

impl Decisions {
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| format!("no answer of CrowdSec's: {error}"))
    }

    /// Does to a list what the decisions say. A decision lives as long as it says, at most `ttl`.
    pub(crate) fn apply(&self, list: &mut List, now: Time, ttl: Duration, bounds: &Bounds) {
        let of_addresses = |it: &&Decision| {
            let scope =
                it.scope.eq_ignore_ascii_case("ip") || it.scope.eq_ignore_ascii_case("range");
            scope && it.kind.eq_ignore_ascii_case("ban") && it.origin != OWN_ORIGIN
        };
        for decision in self.deleted.iter().flatten().filter(of_addresses) {
            list.remove(&decision.value);
        }
        for decision in self.new.iter().flatten().filter(of_addresses) {
            let length = duration(&decision.duration).unwrap_or(ttl).min(ttl);
            list.add(&decision.value, now + length, bounds);
        }
    }
}

/// Go's `3h59m57.1s`. `None` for what is none, or is over.
fn duration(text: &str) -> Option<Duration> {
    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|it: char| !it.is_ascii_digit() && it != '.')?;
        let number: f64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let unit = rest.find(|it: char| it.is_ascii_digit()).unwrap_or(rest.len());
        seconds += number
            * match rest.get(..unit)? {
                "h" => 3_600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "\u{b5}s" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = rest.get(unit..)?;
    }
    Duration::try_from_secs_f64(seconds).ok().filter(|length| !length.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds =
        Bounds { entries: 1_000, widest_ipv4: 16, widest_ipv6: 32, private: false };

    fn at(second: u64) -> Time {
        Time::ZERO + Duration::from_secs(second)
    }

    fn networks(list: &List) -> Vec<String> {
        list.entries().keys().map(ToString::to_string).collect()
    }

    #[test]
    fn lines_have_an_address_first_and_comments_behind() {
        // as VoIPBL gives it
        let text = "# Generated on Saturday\n1.2.3.4/32\n5.6.7.0/24\r\n\n8.8.8.8\tseen 12 times\n\
                    9.9.9.9,2026-11-28 ; why\n";
        let list = lines(text, at(1), &BOUNDS).unwrap();
        assert_eq!(networks(&list), ["1.2.3.4", "5.6.7.0/24", "8.8.8.8", "9.9.9.9"]);
        assert!(networks(&lines("# nobody\n", at(1), &BOUNDS).unwrap()).is_empty());
        let page = "<html>\n<head>\n<title>Sign in</title>\n</head></html>\n1.2.3.4";
        assert!(lines(page, at(1), &BOUNDS).unwrap_err().contains("no list"));
    }

    #[test]
    fn apiban_gives_batches_and_says_when_there_are_none() {
        let read = |status, text: &str| apiban(status, text, at(1), &BOUNDS);
        let batch = read(200, r#"{"ipaddress":["1.2.3.4","1.2.3.5"],"ID":"987654321"}"#).unwrap();
        assert_eq!(networks(&batch.list), ["1.2.3.4", "1.2.3.5"]);
        assert_eq!(batch.next.as_deref(), Some("987654321"));
        for nothing in [
            r#"{"ipaddress":["no new bans"],"ID":"none"}"#,
            r#"{"ipaddress":"no new bans","ID":"none"}"#,
        ] {
            let batch = read(400, nothing).unwrap();
            assert_eq!((batch.next, batch.list), (None, List::default()));
        }
        for (status, text, said) in [
            (403, r#"{"ipaddress":"none","ID":"unauthorized"}"#, "403: none"),
            (429, r#"{"ipaddress":"rate limit exceeded","ID":"unauthorized"}"#, "rate limit"),
            (200, r#"{"ipaddress":[],"ID":"../../x"}"#, "number"),
            (502, "<html>", "502"),
        ] {
            let error = read(status, text).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn crowdsecs_decisions_come_and_go_and_our_own_are_left() {
        let text = r#"{"deleted":[{"duration":"-18897h","id":1,"origin":"cscli","scenario":"x",
            "scope":"Ip","type":"ban","value":"5.6.7.8"}],
            "new":[{"duration":"3h59m57.5s","id":2,"origin":"crowdsec","scenario":"ssh-bf",
            "scope":"Ip","type":"ban","value":"1.2.3.4"},
            {"duration":"1h","id":3,"origin":"cscli","scenario":"x","scope":"Range","type":"ban",
            "value":"9.9.9.0/24"},
            {"duration":"1h","id":4,"origin":"cscli","scenario":"x","scope":"Ip","type":"captcha",
            "value":"9.9.8.1"},
            {"duration":"1h","id":5,"origin":"cscli","scenario":"x","scope":"Country","type":"ban",
            "value":"XX"},
            {"duration":"1h","id":6,"origin":"ringfence","scenario":"x","scope":"Ip","type":"ban",
            "value":"9.9.7.1"}]}"#;
        let mut list = List::default();
        list.add("5.6.7.8", at(9_999), &BOUNDS);
        let ttl = Duration::from_secs(3 * 3_600);
        Decisions::read(text).unwrap().apply(&mut list, at(0), ttl, &BOUNDS);
        let entries: Vec<_> =
            list.entries().iter().map(|(it, until)| (it.to_string(), *until)).collect();
        assert_eq!(
            entries,
            [("1.2.3.4".to_owned(), at(10_800)), ("9.9.9.0/24".to_owned(), at(3_600))]
        );
        let nothing = Decisions::read(r#"{"deleted":null,"new":null}"#).unwrap();
        nothing.apply(&mut list, at(1), ttl, &BOUNDS);
        assert_eq!(list.entries().len(), 2);
    }

    #[test]
    fn durations_are_gos() {
        let seconds = |text| duration(text).map(|it| it.as_secs_f64());
        assert_eq!(seconds("3h59m57.5s"), Some(14_397.5));
        assert_eq!(seconds("250ms"), Some(0.25));
        for none in ["", "-3h", "h", "3", "3x", "1e9s", "0s", "99999999999999999999999999h"] {
            assert_eq!(seconds(none), None, "{none}");
        }
    }
}
