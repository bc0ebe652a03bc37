//! A message in the words of whoever takes it.

use crate::alert::{Severity, length};
use crate::book::{Digest, Item};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;

/// Bytes of a text for ntfy, which makes a file of more than 4096.
const NTFY_MAX: usize = 3_800;
/// Bytes of a text for Slack, which cuts what is much longer.
const SLACK_MAX: usize = 12_000;
/// Bytes of a mail's text.
const MAIL_MAX: usize = 64 << 10;

/// How soon somebody should look.
pub(crate) fn severity(digest: &Digest) -> Severity {
    let open = digest.items.iter().filter(|item| !item.alert.ended);
    open.map(|item| item.alert.kind.severity()).max().unwrap_or(Severity::Ticket)
}

/// A line that says the most urgent.
pub(crate) fn title(node: &str, digest: &Digest) -> String {
    let more = digest.items.len().saturating_sub(1) as u64 + left_out(digest);
    let first = digest.items.first().map_or("", |item| &item.alert.what);
    match more {
        0 => format!("{node}: {first}"),
        more => format!("{node}: {first}, and {more} more"),
    }
}

fn left_out(digest: &Digest) -> u64 {
    digest.left_out.iter().map(|(_, count)| count).sum()
}

/// For ntfy: what was seen, and what to do.
pub(crate) fn ntfy(digest: &Digest) -> String {
    plain(digest, NTFY_MAX)
}

/// For a mail.
pub(crate) fn mail(digest: &Digest) -> String {
    plain(digest, MAIL_MAX)
}

fn plain(digest: &Digest, most: usize) -> String {
    paragraphs(digest, most, |item| {
        let Item { alert, .. } = item;
        format!("{}{}\n  {}.\n", alert.what, times(item), alert.advice)
    })
}

/// For Slack, in its own marks.
pub(crate) fn slack(node: &str, digest: &Digest) -> Value {
    let text = paragraphs(digest, SLACK_MAX, |item| {
        let Item { alert, .. } = item;
        format!("*{}*{}\n{}.\n", escaped(&alert.what), times(item), escaped(&alert.advice))
    });
    // who takes the same shape may show `text` only
    json!({ "text": format!("{}\n{text}", escaped(node)) })
}

/// What would be a mark, a link or a mention is text (docs.slack.dev: escaping text).
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // an emphasis cannot be escaped: it is broken by a space of no width
            '*' | '_' | '~' => out.extend([one, '\u{200b}']),
            _ => out.push(one),
        }
    }
    out
}

/// As many as have room, and how many have none.
fn paragraphs(digest: &Digest, most: usize, of: impl Fn(&Item) -> String) -> String {
    let (mut text, mut without) = (String::new(), left_out(digest));
    for item in &digest.items {
        let paragraph = of(item);
        if text.len() + paragraph.len() > most {
            without += 1;
            continue;
        }
        text += &paragraph;
    }
    if without > 0 {
        let kinds: Vec<_> = digest
            .left_out
            .iter()
            .map(|(kind, count)| format!("{count} {}", kind.as_str()))
            .collect();
        let kinds =
            if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
        let _ = writeln!(text, "{without} more{kinds}: `ringfence top` shows what goes on");
    }
    text
}

/// How often and how long, if that says something.
fn times(item: &Item) -> String {
    let lasted = item.last.since(item.first);
    match item.count {
        1 => String::new(),
        count if lasted < Duration::from_secs(1) => format!(" ({count} times)"),
        count => format!(" ({count} times in {})", length(lasted)),
    }
}

/// Our own JSON (docs/alerts.md).
pub(crate) fn json(node: &str, digest: &Digest) -> Value {
    let alerts: Vec<Value> = digest
        .items
        .iter()
        .map(|Item { alert, first, last, count }| {
            json!({
                "alert": alert.kind.as_str(),
                "severity": alert.kind.severity().as_str(),
                "subject": alert.subject,
                "what": alert.what,
                "advice": alert.advice,
                "ended": alert.ended,
                "first": first.utc(),
                "last": last.utc(),
                "count": count,
            })
        })
        .collect();
    let left_out: serde_json::Map<String, Value> = digest
        .left_out
        .iter()
        .map(|(kind, count)| (kind.as_str().to_owned(), json!(count)))
        .collect();
    json!({
        "version": 1,
        "node": node,
        "at": digest.at.utc(),
        "severity": severity(digest).as_str(),
        "title": title(node, digest),
        "alerts": alerts,
        "left_out": left_out,
    })
}
