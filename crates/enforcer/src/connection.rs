//! One caller: bytes in, requests, answers out.

use crate::core::{Caller, Core};
use crate::serve::Clock;
use enforce::DropSet;
use enforce::frame::{Answer, FRAME_MAX, PREFACE, Request, parse_preface};
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How long a caller may take to say who he is, and to take what he is told.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the writer is told how things stand.
const STATUS_EVERY: Duration = Duration::from_secs(1);
/// Answers are handed over in pieces of this size.
const PIECE: usize = 64 << 10;

/// Serves a caller until he goes, and says why he did.
pub(crate) async fn serve<D: DropSet>(
    mut stream: UnixStream,
    caller: Caller,
    core: &Rc<RefCell<Core<D>>>,
    clock: Clock,
) -> String {
    let why = match converse(&mut stream, caller, core, clock).await {
        Ok(()) => "it has closed the connection".into(),
        Err(why) => why,
    };
    core.borrow_mut().on_gone(caller);
    why
}

async fn converse<D: DropSet>(
    stream: &mut UnixStream,
    caller: Caller,
    core: &Rc<RefCell<Core<D>>>,
    clock: Clock,
) -> Result<(), String> {
    let mut buffer = Vec::with_capacity(FRAME_MAX);
    let greeted = timeout(PATIENCE, greet(stream, &mut buffer)).await;
    greeted.map_err(|_| "it does not say who it is".to_owned())??;
    let mut status = interval(STATUS_EVERY);
    status.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let mut answers = Vec::new();
        while let Some((request, length)) =
            Request::parse(&buffer).map_err(|error| error.to_string())?
        {
            buffer.drain(..length);
            let done = core.borrow_mut().on_request(clock.now(), caller, request);
            answers.extend(done.map_err(|_| "another edge has taken over".to_owned())?);
        }
        write(stream, &answers).await?;
        tokio::select! {
            read = stream.read_buf(&mut buffer) => {
                if read.map_err(|error| error.to_string())? == 0 {
                    return Ok(());
                }
            }
            _ = status.tick() => {
                let status = {
                    let mut core = core.borrow_mut();
                    core.is_writer(caller).then(|| Answer::Status(core.status()))
                };
                write(stream, status.as_slice()).await?;
            }
        }
    }
}

async fn greet(stream: &mut UnixStream, buffer: &mut Vec<u8>) -> Result<(), String> {
    let broken = |error: io::Error| error.to_string();
    stream.write_all(&PREFACE).await.map_err(broken)?;
    loop {
        if stream.read_buf(buffer).await.map_err(broken)? == 0 {
            return Err("it has closed the connection".into());
        }
        if let Some(length) = parse_preface(buffer).map_err(|error| error.to_string())? {
            buffer.drain(..length);
            return Ok(());
        }
    }
}

async fn write(stream: &mut UnixStream, answers: &[Answer]) -> Result<(), String> {
    let mut out = Vec::new();
    for (at, answer) in answers.iter().enumerate() {
        answer.write(&mut out);
        if out.len() >= PIECE || at + 1 == answers.len() {
            let written = timeout(PATIENCE, stream.write_all(&out)).await;
            written
                .map_err(|_| "it takes nothing".to_owned())?
                .map_err(|error| error.to_string())?;
            out.clear();
        }
    }
    Ok(())
}
