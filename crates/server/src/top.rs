//! `ringfence top`: the edge on a terminal, second by second.

mod draw;
#[cfg(test)]
mod tests;

use crate::admin::status::StatusView;
use crate::admin::views::{BanView, Explanation, SourceJson};
use crate::cli::Exit;
use crate::client::{Client, encoded};
use draw::draw;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::crossterm::terminal;
use serde::de::DeserializeOwned;
use std::io::{IsTerminal, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How often the edge is asked.
const EVERY: Duration = Duration::from_secs(1);
/// Sources and bans that are fetched: more than a screen has lines.
const ROWS: usize = 100;

/// What is on the screen.
#[derive(Clone, Debug, Default)]
pub(super) struct Screen {
    status: StatusView,
    /// The one before, for rates.
    before: Option<StatusView>,
    sources: Vec<SourceJson>,
    bans: Vec<BanView>,
    on_bans: bool,
    /// The row that is chosen, in the list that is looked at.
    chosen: usize,
    /// What is chosen, explained; and how far it is scrolled.
    explained: Option<(String, u16)>,
    stopped: bool,
    /// Why the last question got no answer.
    trouble: Option<String>,
}

/// What a key asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wish {
    Nothing,
    End,
    Explain(String),
}

/// Shows the edge until a key ends it.
pub(crate) fn run(client: &Client) -> ExitCode {
    let mut screen = Screen::default();
    screen.refresh(client);
    if let Some(trouble) = screen.trouble {
        let _ = writeln!(std::io::stderr().lock(), "{trouble}");
        return Exit::Unreached.into();
    }
    if !std::io::stdout().is_terminal() || terminal::size().is_err() {
        let text = "top needs a terminal; `ringfence status --json` is for scripts";
        let _ = writeln!(std::io::stderr().lock(), "{text}");
        return Exit::Failed.into();
    }
    let mut terminal = match ratatui::try_init() {
        Ok(terminal) => terminal,
        Err(_) => return Exit::Failed.into(),
    };
    let shown = show(client, &mut screen, &mut terminal);
    ratatui::restore();
    if shown.is_ok() { Exit::Ok.into() } else { Exit::Failed.into() }
}

#[allow(clippy::disallowed_methods)] // a person looks at this clock: no message passes here
fn show(
    client: &Client,
    screen: &mut Screen,
    terminal: &mut ratatui::DefaultTerminal,
) -> std::io::Result<()> {
    let mut due = Instant::now() + EVERY;
    loop {
        terminal.draw(|frame| draw(frame, screen))?;
        if event::poll(due.saturating_duration_since(Instant::now()))?
            && let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
        {
            let control = key.modifiers.contains(KeyModifiers::CONTROL);
            match screen.on_key(key.code, control) {
                Wish::Nothing => {}
                Wish::End => return Ok(()),
                Wish::Explain(key) => screen.explain(client, &key),
            }
        }
        if Instant::now() >= due {
            due = Instant::now() + EVERY;
            if !screen.stopped {
                screen.refresh(client);
            }
        }
    }
}

impl Screen {
    fn refresh(&mut self, client: &Client) {
        let asked = ask(client, "/api/v1/status").and_then(|status| {
            let sources = ask(client, &format!("/api/v1/sources?limit={ROWS}"))?;
            let bans = ask(client, &format!("/api/v1/bans?limit={ROWS}"))?;
            Ok((status, sources, bans))
        });
        match asked {
            Ok((status, sources, bans)) => self.take(status, sources, bans),
            Err(trouble) => self.trouble = Some(trouble),
        }
    }

    fn take(&mut self, status: StatusView, sources: Vec<SourceJson>, bans: Vec<BanView>) {
        let before = std::mem::replace(&mut self.status, status);
        // rates over a restart would be nonsense
        self.before = (before.started == self.status.started).then_some(before);
        (self.sources, self.bans, self.trouble) = (sources, bans, None);
        self.choose(self.chosen);
    }

    fn explain(&mut self, client: &Client, key: &str) {
        match ask(client, &format!("/api/v1/explain/{}", encoded(key))) {
            Ok(Explanation { text, .. }) => self.explained = Some((text, 0)),
            Err(trouble) => self.trouble = Some(trouble),
        }
    }

    fn rows(&self) -> usize {
        if self.on_bans { self.bans.len() } else { self.sources.len() }
    }

    fn choose(&mut self, row: usize) {
        self.chosen = row.min(self.rows().saturating_sub(1));
    }

    fn on_key(&mut self, key: KeyCode, control: bool) -> Wish {
        if key == KeyCode::Char('q') || control && key == KeyCode::Char('c') {
            return Wish::End;
        }
        if let Some((text, from)) = &mut self.explained {
            let last = u16::try_from(text.lines().count().saturating_sub(1)).unwrap_or(u16::MAX);
            match key {
                KeyCode::Esc | KeyCode::Enter => self.explained = None,
                KeyCode::Down => *from = from.saturating_add(1).min(last),
                KeyCode::Up => *from = from.saturating_sub(1),
                KeyCode::PageDown => *from = from.saturating_add(10).min(last),
                KeyCode::PageUp => *from = from.saturating_sub(10),
                _ => {}
            }
            return Wish::Nothing;
        }
        match key {
            KeyCode::Esc => return Wish::End,
            KeyCode::Char(' ') => self.stopped = !self.stopped,
            KeyCode::Tab | KeyCode::BackTab => {
                self.on_bans = !self.on_bans;
                self.choose(0);
            }
            KeyCode::Down => self.choose(self.chosen + 1),
            KeyCode::Up => self.choose(self.chosen.saturating_sub(1)),
            KeyCode::Enter => {
                let key = match self.on_bans {
                    true => self.bans.get(self.chosen).map(|ban| ban.id.clone()),
                    false => self.sources.get(self.chosen).map(|source| source.source.clone()),
                };
                return key.map_or(Wish::Nothing, Wish::Explain);
            }
            _ => {}
        }
        Wish::Nothing
    }
}

fn ask<T: DeserializeOwned>(client: &Client, path: &str) -> Result<T, String> {
    let answer = client.get(path).map_err(|unreached| unreached.to_string())?;
    if !answer.is_ok() {
        let error = answer.body["error"].as_str().unwrap_or("no reason given");
        return Err(format!("{path}: {} ({error})", answer.code));
    }
    serde_json::from_value(answer.body).map_err(|error| format!("{path}: {error}"))
}

/// A length as people say it, in its two largest units: `3 d 4 h`.
pub(crate) fn length(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let first = units.iter().position(|(size, _)| whole >= *size).unwrap_or(3);
    let mut left = whole;
    let mut said = Vec::new();
    for (size, unit) in units.iter().skip(first).take(2) {
        if left >= *size || said.is_empty() {
            said.push(format!("{} {unit}", left / size));
        }
        left %= size;
    }
    said.join(" ")
}
