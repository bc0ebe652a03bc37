//! The admin listener: `/metrics`, `/healthz`, `/readyz`.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;
use telemetry::Telemetry;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Admin connections at a time; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 64;
/// How long to wait when the system has no room for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the admin pages tell.
#[derive(Debug)]
pub(crate) struct Status {
    pub(crate) telemetry: Arc<Telemetry>,
    /// All shards serve.
    pub(crate) ready: AtomicBool,
    /// A drain has begun.
    pub(crate) draining: AtomicBool,
    /// Every shard answered when last asked.
    pub(crate) alive: AtomicBool,
}

/// Serves the admin pages until the runtime ends.
///
/// # Errors
/// When the listener fails.
pub(crate) async fn serve(listener: std::net::TcpListener, status: Arc<Status>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = Bounded {
        listener: TcpListener::from_std(listener)?,
        room: Arc::new(Semaphore::new(CONNECTIONS)),
    };
    let pages = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .with_state(status);
    axum::serve(listener, pages).await
}

async fn metrics(State(status): State<Arc<Status>>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, status.telemetry.render()).into_response()
}

/// Whether the process works; a supervisor restarts it when it does not.
async fn health(State(status): State<Arc<Status>>) -> Response {
    let ok = status.alive.load(Relaxed);
    answer(ok, &format!("{{\"alive\":{ok}}}\n"))
}

/// Whether calls can be sent here. A PBX that is down is told, but is no reason to send them to
/// nobody: the edge answers them with 503.
async fn readiness(State(status): State<Arc<Status>>) -> Response {
    let ready = status.ready.load(Relaxed);
    let draining = status.draining.load(Relaxed);
    let pbx_up = status.telemetry.is_pbx_up();
    let ok = ready && !draining;
    let body = format!("{{\"ready\":{ok},\"draining\":{draining},\"pbx_up\":{pbx_up}}}\n");
    answer(ok, &body)
}

fn answer(ok: bool, body: &str) -> Response {
    let code = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, [(header::CONTENT_TYPE, "application/json")], body.to_owned()).into_response()
}

/// A listener with a bound.
struct Bounded {
    listener: TcpListener,
    room: Arc<Semaphore>,
}

impl axum::serve::Listener for Bounded {
    type Io = Held;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Held, SocketAddr) {
        loop {
            // The semaphore is never closed; if it were, nobody would be let in.
            let permit = self.room.clone().acquire_owned().await;
            match (self.listener.accept().await, permit) {
                (Ok((stream, address)), Ok(permit)) => {
                    return (Held { stream, _permit: permit }, address);
                }
                _ => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that gives its place back when it ends.
struct Held {
    stream: TcpStream,
    _permit: OwnedSemaphorePermit,
}

impl AsyncRead for Held {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Held {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
