//! From `accept` to a connection: limits and the TLS handshake, as a `tower` stack.

use crate::introduction::{self, Begin, NoHeader, Speaker};
use crate::{CertStore, Settings};
use std::collections::HashMap;
use std::future::{Future, ready};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::{TlsAcceptor, TlsStream};
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::util::BoxService;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};
use wire::{Flow, Transport};

/// The part of all connections that one source may have, however many phones have registered there.
const SHARE_OF_ONE: usize = 4;

/// A connection the kernel has made, before anything is known of it but its peer, or whom that peer
/// speaks for.
pub(crate) struct Accepted {
    pub stream: TcpStream,
    pub remote: SocketAddr,
    /// Somebody is known there, or it is the PBX: strangers leave it room.
    pub known: bool,
}

/// A connection that may be served.
pub(crate) struct Admitted {
    pub stream: ByteStream,
    /// Without its number yet.
    pub flow: Flow,
    /// Its place among all and among its source's, held as long as it lives.
    pub permit: Permit,
}

/// Why a connection is not served.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Too many connections in all.
    Full,
    /// Too many of this source.
    Source,
    /// Too many handshakes in progress.
    Handshakes,
    /// The handshake took too long.
    Slow,
    /// The handshake failed.
    Failed,
    /// A load balancer's, without a PROXY header.
    NotIntroduced,
}

/// A listener's way in.
pub(crate) type Stack = BoxService<Accepted, Admitted, Refused>;

/// What goes before it when the peer is a load balancer: its header is read.
pub(crate) type Introduction = BoxService<Accepted, Accepted, Refused>;

/// The limits that all listeners of a shard share.
pub(crate) struct Limits {
    connections: Arc<Semaphore>,
    /// Connections by source; no longer than there are connections.
    sources: Mutex<HashMap<IpAddr, Taken>>,
    per_source: usize,
    /// The most that one source has, phones that are registered and all.
    of_one: usize,
    handshakes: Arc<Semaphore>,
    /// Places among connections, and among handshakes, that strangers leave.
    reserve: usize,
    handshake: Duration,
}

/// What a source has.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    /// Connections.
    all: usize,
    /// Those of them over which no phone has registered.
    unregistered: usize,
}

impl Limits {
    pub(crate) fn new(settings: &Settings) -> Arc<Self> {
        let connections = settings.connections.min(Semaphore::MAX_PERMITS);
        let handshakes = settings.handshakes.clamp(1, Semaphore::MAX_PERMITS);
        Arc::new(Limits {
            connections: Arc::new(Semaphore::new(connections)),
            sources: Mutex::new(HashMap::new()),
            per_source: settings.connections_per_source,
            of_one: settings.connections_per_source.max(connections / SHARE_OF_ONE),
            handshakes: Arc::new(Semaphore::new(handshakes)),
            reserve: settings.reserve.min(handshakes / 2).min(connections / 2),
            handshake: settings.handshake,
        })
    }

    /// The way into a TCP listener, or with certificates into a TLS listener. Outermost first: a
    /// place among all and among the source's; a place among the handshakes, or none at once;
    /// the time budget; the handshake.
    pub(crate) fn stack(self: &Arc<Self>, certificates: Option<Arc<CertStore>>) -> Stack {
        match certificates {
            None => {
                let limits = self.clone();
                BoxService::new(Admission { limits, shakes_hands: false, inner: Plain })
            }
            Some(certificates) => BoxService::new(Admission {
                limits: self.clone(),
                shakes_hands: true,
                inner: ServiceBuilder::new()
                    .load_shed()
                    .layer(self.handshakes())
                    .timeout(self.handshake)
                    .service(Handshake { certificates }),
            }),
        }
    }

    /// The reading of a load balancer's header. A client's place is taken behind it, when it is
    /// known whose it is.
    pub(crate) fn introduction(&self) -> Introduction {
        let read = ServiceBuilder::new()
            .load_shed()
            .layer(self.handshakes())
            .timeout(self.handshake)
            .service_fn(introduce);
        BoxService::new(read.map_err(|error| reason(&error)))
    }

    fn handshakes(&self) -> GlobalConcurrencyLimitLayer {
        GlobalConcurrencyLimitLayer::with_semaphore(self.handshakes.clone())
    }

    /// A place for a connection. One of a stranger leaves what is reserved.
    fn admit(self: &Arc<Self>, remote: IpAddr, known: bool) -> Result<Permit, Refused> {
        if !known && self.connections.available_permits() <= self.reserve {
            return Err(Refused::Full);
        }
        let place = self.connections.clone().try_acquire_owned().map_err(|_| Refused::Full)?;
        let source = source_of(remote);
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = sources.get(&source).copied().unwrap_or_default();
        if taken.unregistered >= self.per_source || taken.all >= self.of_one {
            return Err(Refused::Source);
        }
        let taken = sources.entry(source).or_default();
        taken.all += 1;
        taken.unregistered += 1;
        Ok(Permit { _place: place, source, registered: false, limits: self.clone() })
    }
}

/// An IPv4 address, or an IPv6 /64: what one subscriber has.
fn source_of(remote: IpAddr) -> IpAddr {
    match remote.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// A connection's place; given back when dropped.
pub(crate) struct Permit {
    _place: OwnedSemaphorePermit,
    source: IpAddr,
    registered: bool,
    limits: Arc<Limits>,
}

impl Permit {
    /// A phone has registered over the connection: a whole office may sit behind one address, and
    /// when its router starts anew, each phone opens another connection before the old one is known
    /// to be dead.
    pub(crate) fn on_registered(&mut self) {
        if !std::mem::replace(&mut self.registered, true) {
            self.change(|taken| taken.unregistered -= 1);
        }
    }

    fn change(&self, change: impl FnOnce(&mut Taken)) {
        let mut sources = self.limits.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = sources.get_mut(&self.source) {
            change(taken);
            if taken.all == 0 {
                sources.remove(&self.source);
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let unregistered = usize::from(!self.registered);
        self.change(|taken| {
            taken.all -= 1;
            taken.unregistered -= unregistered;
        });
    }
}

type Outcome<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// The outermost layer: takes a place before anything else is done, and hands it on with the
/// connection.
struct Admission<S> {
    limits: Arc<Limits>,
    /// Whether a place among the handshakes is taken, too.
    shakes_hands: bool,
    inner: S,
}

impl<S> Service<Accepted> for Admission<S>
where
    S: Service<Accepted, Response = (ByteStream, Transport), Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = Admitted;
    type Error = Refused;
    type Future = Outcome<Admitted, Refused>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.inner.poll_ready(cx).map_err(|_| Refused::Failed)
    }

    fn call(&mut self, accepted: Accepted) -> Self::Future {
        let Accepted { remote, known, .. } = accepted;
        let limits = &self.limits;
        // its own place was taken by `poll_ready`
        if self.shakes_hands && !known && limits.handshakes.available_permits() < limits.reserve {
            return Box::pin(ready(Err(Refused::Handshakes)));
        }
        let permit = match limits.admit(remote.ip(), known) {
            Ok(permit) => permit,
            Err(refused) => return Box::pin(ready(Err(refused))),
        };
        let Ok(local) = accepted.stream.local_addr() else {
            return Box::pin(ready(Err(Refused::Failed)));
        };
        let opening = self.inner.call(accepted);
        Box::pin(async move {
            let (stream, transport) = opening.await.map_err(|error| reason(&error))?;
            let flow = Flow { transport, local, remote, connection: None };
            Ok(Admitted { stream, flow, permit })
        })
    }
}

fn reason(error: &BoxError) -> Refused {
    if error.is::<tower::load_shed::error::Overloaded>() {
        Refused::Handshakes
    } else if error.is::<tower::timeout::error::Elapsed>() {
        Refused::Slow
    } else if error.is::<NoHeader>() {
        Refused::NotIntroduced
    } else {
        Refused::Failed
    }
}

/// Reads the header of a load balancer, and not a byte behind it.
async fn introduce(mut accepted: Accepted) -> Result<Accepted, BoxError> {
    let mut header = Vec::new();
    loop {
        match introduction::read(&header)? {
            Begin::Needs(more) => {
                let from = header.len();
                header.resize(from + more, 0);
                let rest = header.get_mut(from..).unwrap_or_default();
                // one that ends here has not said for whom it speaks
                accepted.stream.read_exact(rest).await.map_err(|_| NoHeader)?;
            }
            Begin::Header(Speaker::Itself) => return Ok(accepted),
            Begin::Header(Speaker::Client(remote)) => return Ok(Accepted { remote, ..accepted }),
        }
    }
}

/// TCP is ready as it is.
struct Plain;

impl Service<Accepted> for Plain {
    type Response = (ByteStream, Transport);
    type Error = BoxError;
    type Future = std::future::Ready<Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, accepted: Accepted) -> Self::Future {
        close_gently(&accepted.stream);
        ready(Ok((ByteStream::Tcp(accepted.stream), Transport::Tcp)))
    }
}

/// The TLS handshake, with the certificates of this moment.
struct Handshake {
    certificates: Arc<CertStore>,
}

impl Service<Accepted> for Handshake {
    type Response = (ByteStream, Transport);
    type Error = BoxError;
    type Future = Outcome<Self::Response, BoxError>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, accepted: Accepted) -> Self::Future {
        close_gently(&accepted.stream);
        let handshake = TlsAcceptor::from(self.certificates.config()).accept(accepted.stream);
        Box::pin(async move {
            let stream = handshake.await?;
            Ok((ByteStream::Tls(Box::new(stream.into())), Transport::Tls))
        })
    }
}

/// An accepted socket inherits from its listener that it is reset when dropped, so that refusing
/// one leaves nothing behind. One that gets this far is closed in order: its last bytes arrive.
fn close_gently(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(None);
}

/// The bytes of a connection, through TLS or not.
pub(crate) enum ByteStream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl ByteStream {
    /// Has the connection reset when it is dropped: what the kernel holds for a peer that does
    /// not read is freed at once.
    pub(crate) fn reset_on_drop(&self) {
        let tcp = match self {
            ByteStream::Tcp(tcp) => tcp,
            ByteStream::Tls(tls) => tls.get_ref().0,
        };
        let _ = socket2::SockRef::from(tcp).set_linger(Some(Duration::ZERO));
    }
}

impl AsyncRead for ByteStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ByteStream::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            ByteStream::Tls(tls) => Pin::new(tls.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for ByteStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            ByteStream::Tcp(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            ByteStream::Tls(tls) => Pin::new(tls.as_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ByteStream::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            ByteStream::Tls(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ByteStream::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            ByteStream::Tls(tls) => Pin::new(tls.as_mut()).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_by_source_and_given_back() {
        let settings = Settings {
            connections: 3,
            connections_per_source: 2,
            reserve: 0,
            ..Settings::default()
        };
        let limits = Limits::new(&settings);
        let one: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::ffff:0:0:1".parse().unwrap();
        let other: IpAddr = "2001:db8:0:1::1".parse().unwrap();

        let first = limits.admit(one, false).unwrap();
        let _second = limits.admit(neighbour, false).unwrap();
        assert!(matches!(limits.admit(one, true), Err(Refused::Source)));
        let third = limits.admit(other, false).unwrap();
        assert!(matches!(limits.admit("192.0.2.1".parse().unwrap(), true), Err(Refused::Full)));
        drop(first);
        let _again = limits.admit(one, false).unwrap();
        drop(third);
        assert_eq!(limits.sources.lock().unwrap().len(), 1);
    }

    #[test]
    fn strangers_leave_room_for_who_is_known() {
        let settings = Settings { connections: 5, reserve: 2, ..Settings::default() };
        let limits = Limits::new(&settings);
        let admit = |last: u8, known| limits.admit([192, 0, 2, last].into(), known);
        let strangers: Vec<_> = (1..=3).map(|n| admit(n, false).unwrap()).collect();
        assert!(matches!(admit(4, false), Err(Refused::Full)));
        let _known = [admit(5, true).unwrap(), admit(5, true).unwrap()];
        assert!(matches!(admit(5, true), Err(Refused::Full)));
        drop(strangers);
        let _stranger = admit(4, false).unwrap();
        assert!(matches!(admit(4, false), Err(Refused::Full)));
    }

    #[test]
    fn a_source_has_as_many_as_it_has_phones() {
        let settings =
            Settings { connections: 40, connections_per_source: 3, ..Settings::default() };
        let limits = Limits::new(&settings);
        let office: IpAddr = "192.0.2.1".parse().unwrap();
        let mut phones: Vec<_> = (0..3).map(|_| limits.admit(office, true).unwrap()).collect();
        assert!(matches!(limits.admit(office, true), Err(Refused::Source)));
        for phone in &mut phones {
            phone.on_registered();
            phone.on_registered();
        }
        phones.extend((0..3).map(|_| limits.admit(office, true).unwrap()));
        assert!(matches!(limits.admit(office, true), Err(Refused::Source)));
        phones.iter_mut().for_each(Permit::on_registered);
        // but never all there are
        while phones.len() < 10 {
            let mut phone = limits.admit(office, true).unwrap();
            phone.on_registered();
            phones.push(phone);
        }
        assert!(matches!(limits.admit(office, true), Err(Refused::Source)));
        drop(phones);
        assert!(limits.sources.lock().unwrap().is_empty());
    }
}
