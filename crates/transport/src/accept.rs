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

/// A connection the kernel has made, before anything is known of it but its peer, or whom that peer
/// speaks for.
pub(crate) struct Accepted {
    pub stream: TcpStream,
    pub remote: SocketAddr,
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
    sources: Mutex<HashMap<IpAddr, usize>>,
    per_source: usize,
    handshakes: GlobalConcurrencyLimitLayer,
    handshake: Duration,
}

impl Limits {
    pub(crate) fn new(settings: &Settings) -> Arc<Self> {
        let connections = settings.connections.min(Semaphore::MAX_PERMITS);
        let handshakes = settings.handshakes.clamp(1, Semaphore::MAX_PERMITS);
        Arc::new(Limits {
            connections: Arc::new(Semaphore::new(connections)),
            sources: Mutex::new(HashMap::new()),
            per_source: settings.connections_per_source,
            handshakes: GlobalConcurrencyLimitLayer::new(handshakes),
            handshake: settings.handshake,
        })
    }

    /// The way into a TCP listener, or with certificates into a TLS listener. Outermost first: a
    /// place among all and among the source's; a place among the handshakes, or none at once;
    /// the time budget; the handshake.
    pub(crate) fn stack(self: &Arc<Self>, certificates: Option<Arc<CertStore>>) -> Stack {
        match certificates {
            None => BoxService::new(Admission { limits: self.clone(), inner: Plain }),
            Some(certificates) => BoxService::new(Admission {
                limits: self.clone(),
                inner: ServiceBuilder::new()
                    .load_shed()
                    .layer(self.handshakes.clone())
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
            .layer(self.handshakes.clone())
            .timeout(self.handshake)
            .service_fn(introduce);
        BoxService::new(read.map_err(|error| reason(&error)))
    }

    fn admit(self: &Arc<Self>, remote: IpAddr) -> Result<Permit, Refused> {
        let place = self.connections.clone().try_acquire_owned().map_err(|_| Refused::Full)?;
        let source = source_of(remote);
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if sources.get(&source).copied().unwrap_or(0) >= self.per_source {
            return Err(Refused::Source);
        }
        *sources.entry(source).or_default() += 1;
        Ok(Permit { _place: place, source, limits: self.clone() })
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
    limits: Arc<Limits>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut sources = self.limits.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = sources.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                sources.remove(&self.source);
            }
        }
    }
}

type Outcome<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// The outermost layer: takes a place before anything else is done, and hands it on with the
/// connection.
struct Admission<S> {
    limits: Arc<Limits>,
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
        let remote = accepted.remote;
        let permit = match self.limits.admit(remote.ip()) {
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
        let settings =
            Settings { connections: 3, connections_per_source: 2, ..Settings::default() };
        let limits = Limits::new(&settings);
        let one: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::ffff:0:0:1".parse().unwrap();
        let other: IpAddr = "2001:db8:0:1::1".parse().unwrap();

        let first = limits.admit(one).unwrap();
        let _second = limits.admit(neighbour).unwrap();
        assert!(matches!(limits.admit(one), Err(Refused::Source)));
        let third = limits.admit(other).unwrap();
        assert!(matches!(limits.admit("192.0.2.1".parse().unwrap()), Err(Refused::Full)));
        drop(first);
        let _again = limits.admit(one).unwrap();
        drop(third);
        assert_eq!(limits.sources.lock().unwrap().len(), 1);
    }
}
