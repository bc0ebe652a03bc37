//! `ringfence demo`: a real edge between phones and attackers that this program plays.
//!
//! The edge is a process of its own with a configuration of its own, as an operator would run it. The
//! PBX, the phones and the attackers are the simulator's actors ([`cast`]) on sockets in 127.0.0.0/8
//! ([`street`]). What is told comes from the actors, and from the edge's own log.

mod cast;
mod child;
mod street;

use crate::cli::Exit;
use crate::clock::Clock;
use cast::Cast;
use child::{Child, Ports};
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;
use street::Street;

/// Between two lines about how it goes.
const REPORT: Duration = Duration::from_secs(5);
/// The longest that the network may stay silent before the clock is looked at.
const BREATH: Duration = Duration::from_millis(200);

/// Plays until it is stopped, or for `length`.
pub(crate) fn demo(length: Option<Duration>) -> ExitCode {
    let started = Ports::choose().and_then(|ports| Child::start(ports).map(|child| (ports, child)));
    let (ports, child) = match started {
        Ok(started) => started,
        Err(error) => return failed(&format!("the edge did not start: {error}")),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let played = match runtime {
        Ok(runtime) => runtime.block_on(play(ports, &child, length)),
        Err(error) => Err(error),
    };
    let ended = child.end();
    match played.and(ended) {
        Ok(()) => Exit::Ok.into(),
        Err(error) => failed(&error.to_string()),
    }
}

fn failed(text: &str) -> ExitCode {
    // There is nobody left to tell that nobody can be told.
    let _ = writeln!(io::stderr().lock(), "demo: {text}");
    Exit::Failed.into()
}

/// A reader that has gone ends it.
fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

fn introduction(ports: &Ports, child: &Child) -> String {
    let Ports { edge, admin, .. } = ports;
    format!(
        "\
A Ringfence edge, and around it a play: the PBX is SIMULATED, and so are the phones and the
attackers. All of it stays on this machine, in 127.0.0.0/8.

  edge       {edge}, udp and tcp; process {}, its files in {}
  dashboard  http://{admin}/
  terminal   ringfence top --admin http://{admin}; likewise bans list, explain 127.0.66.4
  yourself   register as 6009, password secret-6009, at {edge}, and call 100
  to end     Ctrl-C
",
        child.id(),
        child.directory().display()
    )
}

async fn play(ports: Ports, child: &Child, length: Option<Duration>) -> io::Result<()> {
    say(&introduction(&ports, child))?;
    let clock = Clock::new();
    let began = clock.now();
    let mut street = Street::new();
    let mut cast = Cast::new(began, &ports);
    for address in cast.addresses() {
        street.open(address)?;
    }
    let mut ends = std::pin::pin!(stopped());
    let mut reported = began;
    let mut result = Ok(());
    loop {
        let now = clock.now();
        cast.act(now, &mut street);
        for news in child.news() {
            say(&format!("      {news}"))?;
        }
        if now.since(reported) >= REPORT {
            reported = now;
            say(&cast.line(now))?;
        }
        if length.is_some_and(|length| now.since(began) >= length) {
            break;
        }
        if !child.is_alive() {
            result = Err(io::Error::other("the edge has ended by itself"));
            break;
        }
        let due = cast.deadline().map_or(BREATH, |due| due.since(now).min(BREATH));
        tokio::select! {
            () = &mut ends => break,
            Some(datagram) = street.receive() => cast.deliver(clock.now(), datagram, &mut street),
            () = tokio::time::sleep(due) => {}
        }
    }
    say(&cast.summary())?;
    result
}

/// Ctrl-C, or SIGTERM.
async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
