//! What the verbs that talk to a running edge ask, and how they print the answer.

mod lists;

use crate::admin::lists::Import;
use crate::admin::status::{PbxView, StatusView};
use crate::admin::views::{BanView, ErrorView, Explanation};
use crate::cli::{BansCommand, Exit, PbxCommand, Reach, Running, print};
use crate::client::{Answer, Client, Unreached, encoded};
use crate::reloads::ReloadView;
use crate::reports::ReportView;
use crate::top;
use anstyle::{AnsiColor, Style};
use hyper::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

/// Headings.
const BOLD: Style = Style::new().bold();
/// What wants attention.
const LOUD: Style = AnsiColor::Red.on_default().bold();

/// Runs a verb.
pub(crate) fn run(running: Running) -> ExitCode {
    match talk(running) {
        Ok(exit) => exit,
        Err(unreached) => {
            complain(&unreached.to_string());
            Exit::Unreached.into()
        }
    }
}

fn talk(running: Running) -> Result<ExitCode, Unreached> {
    match running {
        Running::Bans { command } => bans(command),
        Running::Trust { command } => lists::trust(command),
        Running::Pbx { command } => pbx(command),
        Running::Feeds { command } => lists::feeds(command),
        Running::Alerts { command } => lists::alerts(command),
        Running::Explain { subject, reach } => {
            let path = format!("/api/v1/explain/{}", encoded(&subject));
            let answer = Client::new(&reach)?.get(&path)?;
            Ok(show(&reach, &answer, |it: Explanation| it.text))
        }
        Running::Top { reach } if reach.json => {
            complain("top is for people: `ringfence status --json` prints the same numbers");
            Ok(ExitCode::from(2))
        }
        Running::Top { reach } => Ok(top::run(&Client::new(&reach)?)),
        Running::Status { reach } => {
            let answer = Client::new(&reach)?.get("/api/v1/status")?;
            let serves = answer.body["alive"] == true && answer.body["draining"] == false;
            let exit = show(&reach, &answer, |it: StatusView| status(&it));
            Ok(if serves { exit } else { Exit::Config.into() })
        }
        Running::Reload { reach } => {
            let answer = Client::new(&reach)?.ask(Method::POST, "/api/v1/reload", None)?;
            Ok(reloaded(&reach, &answer))
        }
        Running::Drain { reach } => {
            let answer = Client::new(&reach)?.ask(Method::POST, "/api/v1/drain", None)?;
            Ok(show(&reach, &answer, |it: Value| {
                format!("draining; {} requests are in passage\n", it["unanswered"])
            }))
        }
        Running::PanicOpen { length, reach } => {
            let wish = json!({ "for": length });
            let client = Client::new(&reach)?;
            let answer = client.ask(Method::POST, "/api/v1/panic-open", Some(&wish))?;
            Ok(show(&reach, &answer, |it: Value| match it["panic_open_until"].as_str() {
                Some(until) => format!("{LOUD}everything passes{LOUD:#} until {until}\n"),
                None => "everything is judged again\n".into(),
            }))
        }
    }
}

fn pbx(command: PbxCommand) -> Result<ExitCode, Unreached> {
    let (name, drained, reach) = match command {
        PbxCommand::List { reach } => {
            let answer = Client::new(&reach)?.get("/api/v1/pbx")?;
            let text = |all: Vec<PbxView>| all.iter().map(pbx_line).collect();
            return Ok(show(&reach, &answer, text));
        }
        PbxCommand::Drain { name, reach } => (name, true, reach),
        PbxCommand::Undrain { name, reach } => (name, false, reach),
    };
    let path = format!("/api/v1/pbx/{}", encoded(&name));
    let wish = json!({ "drained": drained });
    let answer = Client::new(&reach)?.ask(Method::POST, &path, Some(&wish))?;
    Ok(show(&reach, &answer, |it: PbxView| pbx_line(&it)))
}

fn pbx_line(pbx: &PbxView) -> String {
    let state = match (pbx.up, pbx.requests) {
        // one that stands alone is not asked before something was sent to it
        (true, 0) => "counts as up".into(),
        (true, _) => "is up".into(),
        (false, _) => format!("is {LOUD}down{LOUD:#}"),
    };
    let drained = if pbx.draining { ", draining" } else { "" };
    let place = match pbx.name == pbx.address {
        true => format!("{}/{}", pbx.transport, pbx.address),
        false => format!("{} ({}/{})", pbx.name, pbx.transport, pbx.address),
    };
    let PbxView { group, requests, failed, .. } = pbx;
    format!(
        "PBX        {place} of {group} {state}{drained}; requests {requests}, failed {failed}\n"
    )
}

fn bans(command: BansCommand) -> Result<ExitCode, Unreached> {
    match command {
        BansCommand::List { key, limit, reach } => {
            let mut path = format!("/api/v1/bans?limit={limit}");
            if let Some(key) = key {
                let _ = write!(path, "&key={}", encoded(&key));
            }
            let answer = Client::new(&reach)?.get(&path)?;
            let exit = show(&reach, &answer, |bans: Vec<BanView>| table(&bans));
            if answer.body.as_array().is_some_and(|bans| bans.len() >= limit as usize) {
                complain(&format!("there may be more than these {limit}: --limit"));
            }
            Ok(exit)
        }
        BansCommand::Show { key, pcap: Some(file), reach } => {
            let path = format!("/api/v1/bans/{}/pcap", encoded(&key));
            Ok(match Client::new(&reach)?.fetch(&path)? {
                Ok(capture) => save(&file, &capture),
                Err(answer) => show(&reach, &answer, |_: Value| String::new()),
            })
        }
        BansCommand::Show { key, pcap: None, reach } => {
            let path = format!("/api/v1/explain/{}", encoded(&key));
            let answer = Client::new(&reach)?.get(&path)?;
            let found = answer.body["bans"].as_array().is_some_and(|bans| !bans.is_empty());
            let exit = show(&reach, &answer, |it: Explanation| {
                let bans =
                    it.bans.iter().map(|ban| format!("{}\n  undo: {}\n", ban.text, ban.undo));
                bans.collect()
            });
            if !found && answer.is_ok() {
                complain(&format!("nothing is banned as {key}"));
                return Ok(Exit::Config.into());
            }
            Ok(exit)
        }
        BansCommand::Add { key, length, why, reach } => {
            let wish = json!({ "key": key, "for": length, "why": why });
            let client = Client::new(&reach)?;
            let answer = client.ask(Method::POST, "/api/v1/bans", Some(&wish))?;
            Ok(show(&reach, &answer, |it: BanView| {
                format!("{} is banned until {}: ban {}\n", it.key, it.until, it.id)
            }))
        }
        BansCommand::Export { format, reach } => {
            let answer = Client::new(&reach)?.get("/api/v1/bans/export")?;
            Ok(lists::exported(format, &reach, &answer))
        }
        BansCommand::Import { file, length, why, dry_run, reach } => {
            let text = match lists::read(&file) {
                Ok(text) => text,
                Err(error) => {
                    complain(&format!("{}: {error}", file.display()));
                    return Ok(Exit::Failed.into());
                }
            };
            let wish = json!(Import { text, length, why, dry_run });
            let client = Client::new(&reach)?;
            let answer = client.ask(Method::POST, "/api/v1/bans/import", Some(&wish))?;
            Ok(lists::imported(&file, &reach, &answer))
        }
        BansCommand::Lift { key, forgive, trust, reach } => {
            let mut path = format!("/api/v1/bans/{}?forgive={forgive}", encoded(&key));
            if let Some(trust) = trust {
                let _ = write!(path, "&trust={}", encoded(&trust));
            }
            let answer = Client::new(&reach)?.ask(Method::DELETE, &path, None)?;
            Ok(show(&reach, &answer, |it: Value| lifted(&it)))
        }
    }
}

/// Prints an answer: as it is with `--json`, else in words; a refusal to standard error.
fn show<T: DeserializeOwned>(
    reach: &Reach,
    answer: &Answer,
    words: impl FnOnce(T) -> String,
) -> ExitCode {
    if reach.json {
        let printed = print((audit::visible(answer.body.to_string()) + "\n").as_bytes());
        return if answer.is_ok() { printed } else { Exit::Config.into() };
    }
    if !answer.is_ok() {
        let ErrorView { error, hint } =
            serde_json::from_value(answer.body.clone()).unwrap_or_else(|_| ErrorView {
                error: format!("it answers with {}", answer.code),
                hint: None,
            });
        let hint = hint.map_or_else(String::new, |hint| format!("\n    hint: {hint}"));
        complain(&format!("{error}{hint}"));
        return Exit::Config.into();
    }
    match serde_json::from_value(answer.body.clone()) {
        Ok(it) => said(&words(it)),
        Err(error) => {
            complain(&format!("the edge is of another version: {error}"));
            Exit::Failed.into()
        }
    }
}

/// Writes a file that is not there yet: what an operator collects is not written over.
fn save(file: &Path, bytes: &[u8]) -> ExitCode {
    let opened = std::fs::File::options().write(true).create_new(true).open(file);
    match opened.and_then(|mut opened| opened.write_all(bytes)) {
        Ok(()) => said(&format!("{}: {} bytes\n", file.display(), bytes.len())),
        Err(error) => {
            complain(&format!("{}: {error}", file.display()));
            Exit::Failed.into()
        }
    }
}

/// Prints words; with their colours only where a terminal reads them.
fn said(words: &str) -> ExitCode {
    match anstream::stdout().lock().write_all(words.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Exit::Failed.into(),
        _ => Exit::Ok.into(),
    }
}

/// To standard error; what a terminal would act on is shown instead.
fn complain(text: &str) {
    let mut shown = String::with_capacity(text.len());
    for one in text.chars() {
        let is_unseen = one.is_control() || one.escape_debug().nth(1) == Some('u');
        match is_unseen && !matches!(one, '\n' | '\t') {
            true => shown.extend(one.escape_debug()),
            false => shown.push(one),
        }
    }
    // There is nobody left to tell that nobody can be told.
    let _ = writeln!(std::io::stderr().lock(), "{shown}");
}

fn table(bans: &[BanView]) -> String {
    if bans.is_empty() {
        return "nothing is banned\n".into();
    }
    let head = ["ID", "KIND", "KEY", "UNTIL", "ORIGIN", "REASON"].map(str::to_owned);
    let rows = bans.iter().map(|ban| {
        let mut reason = ban.reason.escape_debug().to_string();
        // its key has the account by a hash only
        if let Some(last) = ban.evidence.last().filter(|_| ban.key.starts_with("aor:")) {
            let _ = write!(reason, " ({})", last.aor.escape_debug());
        }
        let BanView { id, kind, key, until, origin, .. } = ban.clone();
        [id, kind, key, until, origin, reason]
    });
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for (n, row) in rows.iter().enumerate() {
        let style = if n == 0 { BOLD } else { Style::new() };
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        let _ = writeln!(text, "{style}{}{style:#}", line.trim_end());
    }
    text
}

fn lifted(it: &Value) -> String {
    let mut text = String::new();
    for ban in it["lifted"].as_array().into_iter().flatten() {
        let (id, key) = (ban["id"].as_str(), ban["key"].as_str());
        let _ = writeln!(text, "lifted {}: {}", id.unwrap_or("?"), key.unwrap_or("?"));
    }
    if let Some(until) = it["trusted_until"].as_str() {
        let _ = writeln!(text, "trusted until {until}: nothing judges or bans it");
    }
    text
}

fn reloaded(reach: &Reach, answer: &Answer) -> ExitCode {
    let refused = answer.code == 422;
    if reach.json || !refused {
        return show(reach, answer, |it: ReloadView| format!("{}\n", it.text));
    }
    complain(answer.body["text"].as_str().unwrap_or_default());
    complain("refused: nothing has changed");
    Exit::Config.into()
}

/// Tables that are meant to be full: what is new in them takes the place of what is oldest.
const RINGS: [&str; 3] = ["decisions", "recorded_bytes", "templates"];

fn status(it: &StatusView) -> String {
    let mut text = String::new();
    let up = crate::top::length(it.uptime_seconds);
    let state = match () {
        () if it.draining => format!("{LOUD}draining{LOUD:#}"),
        () if !it.alive => format!("{LOUD}a shard does not answer{LOUD:#}"),
        () => "serving".into(),
    };
    let _ = writeln!(text, "{BOLD}ringfence {}{BOLD:#}: {state}, up {up}", it.version);
    if let Some(until) = &it.panic_open_until {
        let _ = writeln!(text, "{LOUD}PANIC OPEN until {until}: everything passes{LOUD:#}");
    }
    let policy = &it.policy;
    let _ = writeln!(
        text,
        "policy     version {} ({}, {}) of {}",
        policy.version, policy.profile, policy.mode, policy.file
    );
    text.extend(it.pbx.iter().map(pbx_line));
    let kernel = match it.kernel_up {
        true => "drops banned sources",
        false => "no helper is there: the edge itself drops banned sources",
    };
    let _ = writeln!(text, "kernel     {kernel}");
    if it.state_up {
        let _ = writeln!(text, "state      bans and trust outlive a restart");
    } else {
        let _ = writeln!(
            text,
            "state      {LOUD}not written{LOUD:#}: a restart forgets bans and trust"
        );
    }
    for report in &it.reports {
        let ReportView { kind, target, error, .. } = report;
        let _ = match error {
            None => writeln!(text, "{kind:<10} to {target}"),
            Some(why) => writeln!(text, "{kind:<10} {LOUD}fails{LOUD:#} to {target}: {why}"),
        };
    }
    let line = |text: &mut String, name: &str, counts: &std::collections::BTreeMap<String, u64>| {
        let counts = counts.iter().filter(|(_, count)| **count > 0);
        let counts: Vec<_> = counts.map(|(name, count)| format!("{name} {count}")).collect();
        let counts = if counts.is_empty() { "none".into() } else { counts.join(", ") };
        let _ = writeln!(text, "{name:<10} {counts}");
    };
    line(&mut text, "requests", &it.verdicts);
    line(&mut text, "refused", &it.refused);
    line(&mut text, "challenges", &it.challenges);
    let _ = writeln!(text, "bans       {}", it.bans);
    for feed in &it.feeds {
        let _ = writeln!(text, "feed       {}", lists::feed_line(feed));
    }
    let attack = match it.shards_under_attack {
        0 => String::new(),
        count => format!(", {LOUD}{count} under attack{LOUD:#}"),
    };
    let shed = match it.shed.as_str() {
        "" | "none" => String::new(),
        stage => format!(", {LOUD}overloaded: {stage} are shed{LOUD:#}"),
    };
    let _ = writeln!(
        text,
        "shards     {}{attack}{shed}; unanswered {}",
        it.shards.len(),
        it.unanswered
    );
    let full = it.tables.iter().filter(|table| table.entries * 10 >= table.capacity * 9);
    for table in full.filter(|table| table.capacity > 0 && !RINGS.contains(&&*table.table)) {
        let (name, entries, capacity) = (&table.table, table.entries, table.capacity);
        let _ = writeln!(
            text,
            "table      {LOUD}{name} is nearly full{LOUD:#}: {entries} of {capacity}"
        );
    }
    if let Some(reload) = it.reloads.first() {
        let lines = reload.text.replace('\n', "\n           ");
        let _ = writeln!(
            text,
            "reload     {} by {} at {}: {lines}",
            reload.result, reload.cause, reload.at
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::status::TableView;

    fn ban(id: &str, reason: &str) -> BanView {
        BanView {
            id: id.into(),
            key: "198.51.100.7".into(),
            kind: "address".into(),
            reason: reason.into(),
            proof: None,
            since: "2026-11-22T20:40:08Z".into(),
            until: "2026-11-22T20:50:08Z".into(),
            evidence: Vec::new(),
            origin: "local".into(),
            kernel: false,
        }
    }

    #[test]
    fn a_list_is_a_table_and_hostile_text_stays_on_its_line() {
        let text = table(&[ban("0-1", "abandoned"), ban("255-10", "a\nb\u{1b}[2J")]);
        let plain = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(
            plain,
            "ID      KIND     KEY           UNTIL                 ORIGIN  REASON\n\
             0-1     address  198.51.100.7  2026-11-22T20:50:08Z  local   abandoned\n\
             255-10  address  198.51.100.7  2026-11-22T20:50:08Z  local   a\\nb\\u{1b}[2J\n"
        );
        assert_eq!(table(&[]), "nothing is banned\n");
    }

    #[test]
    fn a_pbx_is_up_only_when_something_was_sent_to_it() {
        let line = |up, draining, requests| {
            let (name, group) = ("east".into(), "default".into());
            let pbx = PbxView { name, group, up, draining, requests, ..PbxView::default() };
            let line = anstream::adapter::strip_str(&pbx_line(&pbx)).to_string();
            line.split_once("default ").unwrap().1.to_owned()
        };
        assert_eq!(line(true, false, 0), "counts as up; requests 0, failed 0\n");
        assert_eq!(line(true, true, 2), "is up, draining; requests 2, failed 0\n");
        assert_eq!(line(false, true, 2), "is down, draining; requests 2, failed 0\n");
    }

    #[test]
    fn a_status_says_loudly_what_is_wrong() {
        let mut it = StatusView { version: "1".into(), alive: true, ..StatusView::default() };
        assert!(status(&it).contains("serving, up 0 s"));
        it.panic_open_until = Some("2026-11-22T20:40:08Z".into());
        assert!(status(&it).contains("PANIC OPEN until 2026-11-22T20:40:08Z"));
        it.alive = false;
        assert!(status(&it).contains("a shard does not answer"));
        let full = |name: &str| TableView {
            table: name.into(),
            entries: 9,
            capacity: 10,
            ..TableView::default()
        };
        it.tables = RINGS.map(full).into();
        assert!(!status(&it).contains("full"), "rings are");
        it.tables.push(full("bindings"));
        assert!(status(&it).contains("bindings is nearly full"));
    }
}
