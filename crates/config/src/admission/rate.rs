//! Rates: `5/min`, `30/s burst 60` (`docs/policy/rates.md`).

use crate::form;
use crate::keys::Form;
use crate::out::{self, Out};
use crate::problem::Complaint;
use crate::table::Field;
use crate::tree::Kind;
use crate::value::{self, print_duration};
use policy::Rate;
use std::time::Duration;

/// How a rate is written.
pub(super) const RATE: RateForm = RateForm;
/// Most that a rate or its burst may be.
const COUNT_MAX: u64 = 10_000_000;
/// Words for a time, beside durations.
const PER: [(&str, u64); 4] = [("s", 1), ("min", 60), ("h", 3_600), ("d", 86_400)];

/// A text, or a table with `rate` and `burst`.
#[derive(Clone, Copy, Debug)]
pub(super) struct RateForm;

impl Form<Rate> for RateForm {
    fn read(&self, field: &Field<'_>, value: &mut Rate) {
        if !matches!(field.node.kind, Kind::Table(_)) {
            if let Some(read) = field.parse(rate) {
                *value = read;
            }
            return;
        }
        let Some(mut table) = field.table() else { return };
        let read = table.need("rate", "e.g. rate: 30/s").and_then(|field| field.parse(rate));
        if let Some(read) = read {
            *value = read;
        }
        let burst = table.count("burst", 1..=COUNT_MAX, value.burst as usize);
        value.burst = u32::try_from(burst).unwrap_or(value.burst);
        table.finish();
    }

    fn print(&self, value: &Rate) -> Option<Out> {
        Some(Out::Text(print_rate(value)))
    }

    fn schema(&self, _: &Rate) -> Out {
        let text = form::pattern("^[0-9]+ */ *[0-9a-z.]+( +burst +[0-9]+)?$");
        let burst = Out::table([("type", out::text("integer"))]);
        let table = Out::table([
            ("type", out::text("object")),
            ("additionalProperties", Out::Truth(false)),
            ("required", out::texts(&["rate"])),
            ("properties", Out::table([("rate", text.clone()), ("burst", burst)])),
        ]);
        form::any_of(vec![text, table])
    }
}

/// `30/s burst 60`; without a burst, as many at once as the rate says.
pub(crate) fn rate(text: &str) -> Result<Rate, Complaint> {
    let bad = || {
        let complaint = Complaint::new(format!("\"{text}\" is no rate"));
        complaint.hint("write it as 5/min, 30/s, 1/30s or 30/s burst 60")
    };
    let (plain, burst) = match text.split_once("burst") {
        Some((plain, burst)) => (plain, Some(count(burst).ok_or_else(bad)?)),
        None => (text, None),
    };
    let (many, per) = plain.split_once('/').ok_or_else(bad)?;
    let many = count(many).ok_or_else(bad)?;
    let per = per.trim();
    let per = match PER.iter().find(|(word, _)| *word == per) {
        Some((_, seconds)) => Duration::from_secs(*seconds),
        None => value::duration(per).map_err(|_| bad())?,
    };
    if per < Duration::from_millis(1) || per > Duration::from_secs(86_400) {
        return Err(bad().hint("its time is between 1ms and 1d"));
    }
    Ok(Rate { count: many, per, burst: burst.unwrap_or(many) })
}

fn count(text: &str) -> Option<u32> {
    let count = value::count(text.trim()).ok()?;
    (1..=COUNT_MAX).contains(&count).then(|| u32::try_from(count).ok())?
}

/// The text that [`rate`] reads as the same.
pub(crate) fn print_rate(rate: &Rate) -> String {
    let Rate { count, per, burst } = rate;
    let word = PER.iter().find(|(_, seconds)| Duration::from_secs(*seconds) == *per);
    let per = word.map_or_else(|| print_duration(*per), |(word, _)| (*word).to_owned());
    if burst == count { format!("{count}/{per}") } else { format!("{count}/{per} burst {burst}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_people_say_them_and_printed_back() {
        for (text, many, seconds, burst) in [
            ("5/min", 5, 60, 5),
            ("30/s burst 60", 30, 1, 60),
            ("1/30s", 1, 30, 1),
            ("2/h burst 10", 2, 3_600, 10),
            ("100/d", 100, 86_400, 100),
        ] {
            let read = rate(text).unwrap();
            assert_eq!(read, Rate { count: many, per: Duration::from_secs(seconds), burst });
            assert_eq!(print_rate(&read), text);
        }
        assert_eq!(rate(" 50 / 1s  burst  200 ").unwrap(), rate("50/s burst 200").unwrap());
        assert_eq!(rate("1_000/s").unwrap().count, 1_000);
        for bad in ["", "5", "5/", "/s", "0/s", "5/fortnight", "5/s burst", "5/s burst 0", "-1/s"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
        assert!(rate("1/2d").unwrap_err().hint.unwrap().contains("1d"));
    }
}
