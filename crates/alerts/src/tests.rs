mod books;
mod sinks;
mod told;
mod words;

use crate::{Alert, Kind, Pace};
use policy::Time;
use std::time::Duration;

fn at(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(seconds)
}

fn pace() -> Pace {
    Pace { gather: Duration::from_secs(10), repeat: Duration::from_secs(6 * 3_600), per_hour: 3 }
}

fn alert(kind: Kind, subject: &str) -> Alert {
    let what = format!("{} {subject}", kind.as_str());
    Alert { kind, subject: subject.into(), what, advice: "look".into(), ended: false }
}
