//! Lists of bans as they are printed and read.

use super::{complain, said, show};
use crate::admin::feeds::{FeedView, Refreshing};
use crate::admin::lists::{Imported, ListView, ListedBan};
use crate::admin::trust::{Revoked, TrustView};
use crate::cli::{AlertsCommand, Exit, FeedsCommand, ListFormat, Reach, TrustCommand};
use crate::client::{Answer, Client, Unreached, encoded};
use ::alerts::{Tested, View};
use hyper::Method;
use policy::Network;
use serde_json::json;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

/// Longest list, in bytes.
const BYTES_MAX: u64 = 16 << 20;

/// A list from a file, or for `-` from standard input.
pub(super) fn read(file: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let read = match file == Path::new("-") {
        true => std::io::stdin().lock().take(BYTES_MAX + 1).read_to_string(&mut text)?,
        false => std::fs::File::open(file)?.take(BYTES_MAX + 1).read_to_string(&mut text)?,
    };
    if read as u64 > BYTES_MAX {
        return Err(std::io::Error::other("it is longer than 16 MiB: long lists are for `feeds`"));
    }
    Ok(text)
}

/// Prints what was exported.
pub(super) fn exported(format: ListFormat, reach: &Reach, answer: &Answer) -> ExitCode {
    let list: Result<ListView, _> = serde_json::from_value(answer.body.clone());
    match list {
        Ok(list) if answer.is_ok() && !reach.json => said(&text(format, &list)),
        _ => show(reach, answer, |list: ListView| text(format, &list)),
    }
}

fn text(format: ListFormat, list: &ListView) -> String {
    match format {
        ListFormat::Json => json(list),
        ListFormat::Plain => lines(list, |ban| ban.key.clone()),
        ListFormat::Cidr => {
            lines(list, |ban| network(ban).map_or_else(String::new, |it| it.cidr()))
        }
        ListFormat::Nft => nft(list),
    }
}

/// A ban a line, so that a refusal can name it.
fn json(list: &ListView) -> String {
    let line = |ban| serde_json::to_string(ban).ok().map(audit::visible);
    let bans: Vec<_> = list.bans.iter().filter_map(line).collect();
    let (version, exported, left_out) = (list.version, &list.exported, list.left_out);
    let head = format!("\"version\":{version},\"exported\":\"{exported}\",\"left_out\":{left_out}");
    format!("{{{head},\"bans\":[\n{}\n]}}\n", bans.join(",\n"))
}

fn lines(list: &ListView, line: impl Fn(&ListedBan) -> String) -> String {
    list.bans.iter().map(|ban| line(ban) + "\n").collect()
}

fn network(ban: &ListedBan) -> Option<Network> {
    config::network(&ban.key).ok()
}

/// A table of two sets; whoever loads it uses them in rules of his own.
fn nft(list: &ListView) -> String {
    let mut text = String::from("table inet ringfence_export {\n");
    for (set, kind, v4) in [("banned4", "ipv4_addr", true), ("banned6", "ipv6_addr", false)] {
        let _ = writeln!(text, "\tset {set} {{\n\t\ttype {kind}\n\t\tflags interval, timeout");
        // an address may lie in a banned network
        let _ = writeln!(text, "\t\tauto-merge");
        let own = |ban: &&ListedBan| {
            network(ban).is_some_and(|network| network.address().is_ipv4() == v4)
        };
        let elements: Vec<_> = list
            .bans
            .iter()
            .filter(own)
            .map(|ban| format!("\t\t\t{} timeout {}s", ban.key, ban.remaining_seconds))
            .collect();
        if !elements.is_empty() {
            let _ = writeln!(text, "\t\telements = {{\n{}\n\t\t}}", elements.join(",\n"));
        }
        let _ = writeln!(text, "\t}}");
    }
    text + "}\n"
}

/// Prints what became of a list: refused lines as a compiler would name them.
pub(super) fn imported(file: &Path, reach: &Reach, answer: &Answer) -> ExitCode {
    let result: Option<Imported> = serde_json::from_value(answer.body.clone()).ok();
    let Some(result) = result.filter(|_| answer.is_ok()) else {
        return show(reach, answer, |_: Imported| String::new());
    };
    let shown = if reach.json {
        show(reach, answer, |_: Imported| String::new())
    } else {
        for line in &result.refused_lines {
            let (text, why) = (line.text.escape_debug(), line.why.escape_debug());
            complain(&format!("{}:{}: {text}: {why}", file.display(), line.line));
        }
        let did = if result.dry_run { "would be banned" } else { "banned" };
        said(&format!("{} {did}, {} refused\n", result.taken, result.refused))
    };
    if result.refused > 0 { Exit::Config.into() } else { shown }
}

/// Feeds seen, and fetched.
pub(super) fn feeds(command: FeedsCommand) -> Result<ExitCode, Unreached> {
    match command {
        FeedsCommand::List { reach } => {
            let answer = Client::new(&reach)?.get("/api/v1/feeds")?;
            Ok(show(&reach, &answer, |feeds: Vec<FeedView>| match feeds.is_empty() {
                true => "there are no feeds\n".into(),
                false => feeds.iter().map(|feed| feed_line(feed) + "\n").collect(),
            }))
        }
        FeedsCommand::Refresh { name, reach } => {
            let client = Client::new(&reach)?;
            let wish = json!({ "name": name });
            let answer = client.ask(Method::POST, "/api/v1/feeds/refresh", Some(&wish))?;
            Ok(show(&reach, &answer, |it: Refreshing| {
                format!("fetching {}\n", it.refreshing.join(", "))
            }))
        }
    }
}

/// Whom operators trust for a time, and that taken back.
pub(super) fn trust(command: TrustCommand) -> Result<ExitCode, Unreached> {
    let line = |it: &TrustView| {
        let left = crate::top::length(it.remaining_seconds as f64);
        format!("{} until {} ({left})\n", it.network, it.until)
    };
    match command {
        TrustCommand::List { reach } => {
            let answer = Client::new(&reach)?.get("/api/v1/trust")?;
            Ok(show(&reach, &answer, |all: Vec<TrustView>| match all.is_empty() {
                true => "no operator trusts anybody for a time\n".into(),
                false => all.iter().map(line).collect(),
            }))
        }
        TrustCommand::Revoke { network, reach } => {
            let path = format!("/api/v1/trust/{}", encoded(&network));
            let answer = Client::new(&reach)?.ask(Method::DELETE, &path, None)?;
            Ok(show(&reach, &answer, |it: Revoked| {
                it.revoked.iter().map(|it| format!("{} is judged again\n", it.network)).collect()
            }))
        }
    }
}

/// Who is told of alerts, and tests.
pub(super) fn alerts(command: AlertsCommand) -> Result<ExitCode, Unreached> {
    match command {
        AlertsCommand::List { reach } => {
            let answer = Client::new(&reach)?.get("/api/v1/alerts")?;
            Ok(show(&reach, &answer, |targets: Vec<View>| match targets.is_empty() {
                true => "nobody is told of alerts: docs/alerts.md\n".into(),
                false => targets.iter().map(|target| target_line(target) + "\n").collect(),
            }))
        }
        AlertsCommand::Test { name, reach } => {
            let wish = json!({ "name": name });
            let client = Client::new(&reach)?;
            let answer = client.ask(Method::POST, "/api/v1/alerts/test", Some(&wish))?;
            let line = |it: &Tested| {
                let Tested { name, place, ok, said } = it;
                let took = if *ok { "took it" } else { "did NOT take it" };
                format!("{name} ({place}) {took}: {}\n", said.escape_debug())
            };
            let shown = show(&reach, &answer, |all: Vec<Tested>| all.iter().map(line).collect());
            let took = |it: &serde_json::Value| it["ok"] == true;
            let all = answer.body.as_array().is_some_and(|all| all.iter().all(took));
            Ok(if all { shown } else { Exit::Config.into() })
        }
    }
}

fn target_line(target: &View) -> String {
    let View { name, place, sent, waiting, failed, error, .. } = target;
    let mut text = format!("{name} ({place}): {sent} messages, {waiting} alerts wait");
    if let Some(error) = error {
        let _ = write!(text, "; {failed} tries failed, the last: {}", error.escape_debug());
    }
    text
}

/// A feed on a line.
pub(super) fn feed_line(feed: &FeedView) -> String {
    let age = feed.age_seconds.map_or_else(
        || "never fetched".to_owned(),
        |age| format!("{} old", crate::top::length(age as f64)),
    );
    let FeedView { name, action, mode, entries, .. } = feed;
    let mut text = format!("{name} ({action}, {mode}): {entries} entries, {age}");
    let hits = feed.hits.iter().filter(|(_, count)| **count > 0);
    for (hit, count) in hits {
        let _ = write!(text, ", {hit} {count}");
    }
    if let Some(error) = &feed.error {
        let _ = write!(text, "; {} fetches failed: {}", feed.failures, error.escape_debug());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> ListView {
        let ban = |key: &str, kind: &str, remaining_seconds| ListedBan {
            key: key.into(),
            kind: kind.into(),
            reason: "a \"reason\"\n".into(),
            origin: "local".into(),
            since: "s".into(),
            until: "u".into(),
            remaining_seconds,
        };
        ListView {
            version: 1,
            exported: "e".into(),
            left_out: 2,
            bans: vec![
                ban("198.51.100.7", "address", 60),
                ban("203.0.113.0/24", "network", 70),
                ban("2001:db8::/64", "address", 80),
            ],
        }
    }

    #[test]
    fn each_format_has_each_ban() {
        let list = list();
        assert_eq!(text(ListFormat::Plain, &list), "198.51.100.7\n203.0.113.0/24\n2001:db8::/64\n");
        assert_eq!(
            text(ListFormat::Cidr, &list),
            "198.51.100.7/32\n203.0.113.0/24\n2001:db8::/64\n"
        );
        let json = text(ListFormat::Json, &list);
        assert_eq!(json.lines().count(), 5, "{json}");
        let again: ListView = serde_json::from_str(&json).unwrap();
        assert_eq!((again.bans, again.left_out), (list.bans.clone(), 2));
        let nft = text(ListFormat::Nft, &list);
        assert!(
            nft.contains("\t\t\t198.51.100.7 timeout 60s,\n\t\t\t203.0.113.0/24 timeout 70s\n")
        );
        assert!(nft.contains("type ipv6_addr"), "{nft}");
        let none = text(ListFormat::Nft, &ListView { bans: Vec::new(), ..list });
        assert!(!none.contains("elements"), "{none}");
    }
}
