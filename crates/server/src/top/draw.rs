//! The screen, made for 80 columns and 24 lines and more.

use super::{Screen, length};
use crate::admin::views::{BanView, SourceJson};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Row, Table, TableState, Wrap};
use std::collections::BTreeMap;

const KEYS: &str = "q end  Tab sources/bans  up/down choose  Enter explain  space stop";
const EXPLAINED_KEYS: &str = "Escape back  up/down scroll  q end";
/// What the funnel shows, in its order.
const FUNNEL: [&str; 6] =
    ["issued", "authenticated", "refused", "stale", "abandoned", "unreachable"];
const VERDICTS: [&str; 4] = ["forward", "absorb", "reject", "drop"];
/// Lines of the panels above the lists, borders included.
const PANELS: u16 = 8;
/// Lines that a list wants: borders, head, two rows.
const LIST: u16 = 5;

fn loud() -> Style {
    Style::new().fg(Color::Red).add_modifier(Modifier::BOLD)
}

fn quiet() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

pub(super) fn draw(frame: &mut Frame<'_>, screen: &Screen) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(2), Constraint::Min(1), Constraint::Length(1)])
            .areas(frame.area());
    draw_head(frame, screen, head);
    if let Some((text, from)) = &screen.explained {
        let lines: Vec<Line<'_>> = text.lines().map(Line::raw).collect();
        let block = Block::bordered().title(" Explained ");
        let paragraph = Paragraph::new(lines).wrap(Wrap { trim: false }).scroll((*from, 0));
        frame.render_widget(paragraph.block(block), body);
        frame.render_widget(Line::styled(EXPLAINED_KEYS, quiet()), foot);
        return;
    }
    // where there is little room, the list that is chosen has it
    let above = if body.height >= PANELS + LIST { PANELS } else { 0 };
    let [some, none] = [Constraint::Fill(1), Constraint::Length(0)];
    let lists = match (body.height - above >= 2 * LIST, screen.on_bans) {
        (true, _) => [Constraint::Fill(3), Constraint::Fill(2)],
        (false, false) => [some, none],
        (false, true) => [none, some],
    };
    let [panels, sources, bans] =
        Layout::vertical([Constraint::Length(above), lists[0], lists[1]]).areas(body);
    let [verdicts, funnel, shards] = Layout::horizontal([Constraint::Fill(1); 3]).areas(panels);
    draw_verdicts(frame, screen, verdicts);
    draw_funnel(frame, screen, funnel);
    draw_shards(frame, screen, shards);
    draw_sources(frame, screen, sources);
    draw_bans(frame, screen, bans);
    let foot_line = match &screen.trouble {
        Some(trouble) => Line::styled(trouble.lines().next().unwrap_or_default(), loud()),
        None => Line::styled(KEYS, quiet()),
    };
    frame.render_widget(foot_line, foot);
}

fn draw_head(frame: &mut Frame<'_>, screen: &Screen, area: Rect) {
    let it = &screen.status;
    let mut first = vec![
        Span::styled(format!("ringfence {}", it.version), Modifier::BOLD),
        Span::raw(format!("  up {}", length(it.uptime_seconds))),
    ];
    let mut say = |loudly: bool, text: String| {
        first.push(Span::styled(format!("  {text}"), if loudly { loud() } else { Style::new() }));
    };
    for pbx in &it.pbx {
        let state = if pbx.up { "up" } else { "DOWN" };
        let drained = if pbx.draining { ", draining" } else { "" };
        say(!pbx.up, format!("PBX {} {state}{drained}", pbx.name));
    }
    if let Some(until) = &it.panic_open_until {
        say(true, format!("PANIC OPEN until {until}"));
    }
    if it.draining {
        say(true, "DRAINING".into());
    }
    if it.shards_under_attack > 0 {
        say(true, "UNDER ATTACK".into());
    }
    if !matches!(it.shed.as_str(), "" | "none") {
        say(true, format!("OVERLOAD: {} SHED", it.shed.to_uppercase()));
    }
    if screen.stopped {
        say(true, "STOPPED".into());
    }
    let policy = &it.policy;
    let second = format!("policy {} ({}, {})", policy.version, policy.profile, policy.mode);
    frame.render_widget(Paragraph::new(vec![Line::from(first), Line::raw(second)]), area);
}

fn draw_verdicts(frame: &mut Frame<'_>, screen: &Screen, area: Rect) {
    let before = screen.before.as_ref().map(|it| &it.verdicts);
    let seconds = screen.seconds();
    let mut lines = counts(&VERDICTS, &screen.status.verdicts, before, seconds);
    let most = screen.status.refused.iter().max_by_key(|(_, count)| **count);
    if let Some((reason, count)) = most {
        lines.push(Line::raw(format!("mostly {reason} {count}")));
    }
    let block = Block::bordered().title(" Requests  per s ");
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn draw_funnel(frame: &mut Frame<'_>, screen: &Screen, area: Rect) {
    let before = screen.before.as_ref().map(|it| &it.challenges);
    let lines = counts(&FUNNEL, &screen.status.challenges, before, screen.seconds());
    let block = Block::bordered().title(" Challenges  per s ");
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

/// A line each: name, count, and how many a second.
fn counts<'s>(
    names: &[&'s str],
    counts: &BTreeMap<String, u64>,
    before: Option<&BTreeMap<String, u64>>,
    seconds: f64,
) -> Vec<Line<'s>> {
    let count =
        |counts: &BTreeMap<String, u64>, name: &str| counts.get(name).copied().unwrap_or_default();
    let line = |name: &&'s str| {
        let now = count(counts, name);
        let then = before.map_or(now, |before| count(before, name));
        let rate = now.saturating_sub(then) as f64 / seconds;
        Line::raw(format!("{name:<13}{now:>6}{rate:>5.0}"))
    };
    names.iter().map(line).collect()
}

fn draw_shards(frame: &mut Frame<'_>, screen: &Screen, area: Rect) {
    let seconds = screen.seconds();
    let rate = |shard: usize, now: u64| {
        let before = screen.before.as_ref().and_then(|it| it.shards.get(shard));
        before.map_or(0.0, |before| now.saturating_sub(before.inputs) as f64 / seconds)
    };
    let line = |it: &crate::admin::status::ShardView| {
        let (shard, requests) = (it.shard, it.requests);
        Line::raw(format!("{shard:>2} {requests:>11}{:>9.0}", rate(shard, it.inputs)))
    };
    let mut lines: Vec<_> = screen.status.shards.iter().map(line).collect();
    // there is room for six
    lines.truncate(usize::from(PANELS) - 2);
    let block = Block::bordered().title(" Shard requests in/s ");
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn draw_sources(frame: &mut Frame<'_>, screen: &Screen, area: Rect) {
    let row = |it: &SourceJson| {
        let proof = it.proof.clone().unwrap_or_else(|| "-".into());
        let open = format!("{}+{}", it.open_invites, it.open_others);
        let score = format!("{:.2}", it.score);
        let long = format!("{:.2}", it.long_score);
        Row::new([it.source.clone(), it.who.clone(), score, long, open, proof])
    };
    let widths = [
        Constraint::Min(20),
        Constraint::Length(9),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(10),
    ];
    let table = Table::new(screen.sources.iter().map(row), widths)
        .header(head(["Source", "Who", "Score", "Long", "Open", "Proof"]))
        .row_highlight_style(Modifier::REVERSED)
        .block(Block::bordered().title(" Sources by score "));
    let chosen = (!screen.on_bans && !screen.sources.is_empty()).then_some(screen.chosen);
    frame.render_stateful_widget(table, area, &mut TableState::new().with_selected(chosen));
}

fn draw_bans(frame: &mut Frame<'_>, screen: &Screen, area: Rect) {
    let row = |it: &BanView| {
        let reason = it.reason.escape_debug().to_string();
        Row::new([it.id.clone(), it.key.clone(), it.until.clone(), it.origin.clone(), reason])
    };
    let widths = [
        Constraint::Length(7),
        Constraint::Min(20),
        Constraint::Length(20),
        Constraint::Length(8),
        Constraint::Length(18),
    ];
    let table = Table::new(screen.bans.iter().map(row), widths)
        .header(head(["Id", "Banned", "Until", "Origin", "Reason"]))
        .row_highlight_style(Modifier::REVERSED)
        .block(Block::bordered().title(format!(" Bans: {} ", screen.status.bans)));
    let chosen = (screen.on_bans && !screen.bans.is_empty()).then_some(screen.chosen);
    frame.render_stateful_widget(table, area, &mut TableState::new().with_selected(chosen));
}

fn head<const N: usize>(names: [&'static str; N]) -> Row<'static> {
    Row::new(names).style(Modifier::BOLD)
}

impl Screen {
    /// Between the two answers that rates are made of.
    fn seconds(&self) -> f64 {
        let before = self.before.as_ref().map(|it| it.uptime_seconds);
        before.map_or(1.0, |before| (self.status.uptime_seconds - before).max(0.001))
    }
}
