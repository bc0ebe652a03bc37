//! Sockets of the admin API and their bounds: connections, time, sizes.

use super::auth::Way;
use super::events::Stream;
use super::{Hall, presence, router};
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use config::Admin;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::HashMap;
use std::fs::Permissions;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt;
use tracing::{info, warn};

/// Connections of one kind (TCP, Unix) at a time; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 64;
/// Connections that one address may have, but for loopback, where proxies speak for many; further
/// ones are closed.
const CONNECTIONS_PER_ADDRESS: usize = 16;
/// How long to wait when the system has no room for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a request's head may take.
const HEAD: Duration = Duration::from_secs(10);
/// How long a connection may last: it carries one request.
const WHOLE: Duration = Duration::from_secs(120);
/// How long a reader may follow the event stream; browsers come again by themselves.
const STREAM: Duration = Duration::from_secs(3_600);
/// How long answers that are being written may take when the edge ends.
const LAST_ANSWERS: Duration = Duration::from_millis(500);
/// Largest head of a request, in bytes.
const HEAD_MAX: usize = 16 << 10;
/// Who may open the Unix socket: owner and group.
const SOCKET_MODE: u32 = 0o660;

/// The sockets, bound.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    tcp: Option<std::net::TcpListener>,
    unix: Option<(UnixListener, PathBuf)>,
}

/// Binds what the configuration names. A Unix socket that cannot be had is told, and done without:
/// where no state is kept, calls must pass all the same.
///
/// # Errors
/// When the TCP address cannot be bound, or another edge serves the Unix socket.
pub(crate) fn open(admin: &Admin) -> Result<Listeners, String> {
    let mut listeners = Listeners::default();
    if let Some(address) = admin.listen {
        let listener = std::net::TcpListener::bind(address)
            .map_err(|error| format!("admin.listen: {address} cannot be bound: {error}"))?;
        let address = listener.local_addr().unwrap_or(address);
        info!(%address, "Admin pages");
        listeners.tcp = Some(listener);
    }
    if let Some(path) = &admin.socket {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            let text = "is served by another process: is an edge running already?";
            return Err(format!("admin.socket: {} {text}", path.display()));
        }
        match bind_unix(path) {
            Ok(listener) => {
                info!(socket = %path.display(), "Admin socket");
                listeners.unix = Some((listener, path.clone()));
            }
            Err(error) => warn!(
                socket = %path.display(), %error,
                "The admin socket cannot be had: the command line needs --admin URL"
            ),
        }
    }
    Ok(listeners)
}

/// Bound under another name and moved into place when its mode is right. What an edge that died
/// left there goes.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let draft = presence::draft(path);
    let _ = std::fs::remove_file(&draft);
    let listener = UnixListener::bind(&draft)?;
    let placed = std::fs::set_permissions(&draft, Permissions::from_mode(SOCKET_MODE))
        .and_then(|()| std::fs::rename(&draft, path));
    if placed.is_err() {
        let _ = std::fs::remove_file(&draft);
    }
    placed.map(|()| listener)
}

impl Listeners {
    /// Serves on all of them until the runtime ends.
    pub(crate) fn serve(self, hall: &Hall) -> io::Result<Served> {
        let rooms = [0; 2].map(|_| Arc::new(Semaphore::new(CONNECTIONS)));
        let mut served = Served { socket: None, rooms: rooms.clone() };
        if let Some(listener) = self.tcp {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            tokio::spawn(serve_tcp(listener, router(hall.clone()), rooms[0].clone()));
        }
        if let Some((listener, path)) = self.unix {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::UnixListener::from_std(listener)?;
            tokio::spawn(serve_unix(listener, router(hall.clone()), rooms[1].clone()));
            served.socket = Some(path);
        }
        Ok(served)
    }
}

/// What is served; takes the Unix socket away at its end.
#[derive(Debug)]
pub(crate) struct Served {
    socket: Option<PathBuf>,
    rooms: [Arc<Semaphore>; 2],
}

impl Served {
    /// Lets the answers that are being written go out: that to an order to drain, for one.
    pub(crate) async fn finish(self) {
        let all = u32::try_from(CONNECTIONS).unwrap_or(u32::MAX);
        let empty = async {
            for room in &self.rooms {
                let _ = room.acquire_many(all).await;
            }
        };
        // Who follows the event stream does not end by itself.
        let _ = tokio::time::timeout(LAST_ANSWERS, empty).await;
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(path) = &self.socket {
            // Somebody else may have taken it away.
            let _ = std::fs::remove_file(path);
        }
    }
}

async fn serve_unix(listener: tokio::net::UnixListener, router: Router, room: Arc<Semaphore>) {
    loop {
        let accepted = listener.accept().await;
        // The semaphore is never closed.
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        match accepted {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, Way::Unix, router.clone(), permit));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn serve_tcp(listener: tokio::net::TcpListener, router: Router, room: Arc<Semaphore>) {
    let addresses = Addresses::default();
    loop {
        let accepted = listener.accept().await;
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        match accepted {
            Ok((stream, peer)) => {
                let Some(place) = addresses.enter(peer) else { continue };
                let router = router.clone();
                tokio::spawn(async move {
                    connection(stream, Way::Tcp(peer), router, permit).await;
                    drop(place);
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    way: Way,
    router: Router,
    _permit: OwnedSemaphorePermit,
) {
    let follows = Stream::default();
    let service = {
        let follows = follows.clone();
        hyper::service::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(way);
            request.extensions_mut().insert(follows.clone());
            router.clone().oneshot(request.map(Body::new))
        })
    };
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served);
    // What went wrong with a connection concerns its client, who knows.
    if tokio::time::timeout(WHOLE, &mut served).await.is_err() && follows.is_followed() {
        let _ = tokio::time::timeout(STREAM, served).await;
    }
}

/// How many connections each address has.
#[derive(Clone, Debug, Default)]
struct Addresses(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A connection's place among those of its address.
struct Place(Addresses, IpAddr);

impl Addresses {
    fn enter(&self, peer: SocketAddr) -> Option<Place> {
        let ip = peer.ip().to_canonical();
        let most = if ip.is_loopback() { CONNECTIONS } else { CONNECTIONS_PER_ADDRESS };
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(ip).or_default();
        (*count < most).then(|| {
            *count += 1;
            Place(self.clone(), ip)
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_places_and_gives_them_back() {
        let addresses = Addresses::default();
        let peer = |text: &str| text.parse::<SocketAddr>().unwrap();
        let mut places: Vec<Place> = (0..CONNECTIONS_PER_ADDRESS)
            .filter_map(|_| addresses.enter(peer("192.0.2.1:1")))
            .collect();
        assert_eq!(places.len(), CONNECTIONS_PER_ADDRESS);
        assert!(addresses.enter(peer("[::ffff:192.0.2.1]:2")).is_none(), "the same address");
        assert!(addresses.enter(peer("192.0.2.2:1")).is_some());
        places.pop();
        assert!(addresses.enter(peer("192.0.2.1:3")).is_some());
        places.clear();
        assert!(addresses.0.lock().unwrap().is_empty(), "nothing stays of who has gone");
    }

    #[test]
    fn a_socket_has_its_mode_and_takes_the_place_of_a_dead_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new").join("admin.sock");
        let admin = Admin {
            socket: Some(path.clone()),
            listen: None,
            token_file: None,
            networks: Vec::new(),
        };
        drop(open(&admin).unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, SOCKET_MODE);
        let kept = open(&admin).unwrap();
        assert!(kept.unix.is_some(), "the one before is dead");
        assert!(open(&admin).unwrap_err().contains("served by another process"));
        let names: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(names.len(), 1, "no draft stays: {names:?}");
    }
}
