//! TLS on loopback.
#![allow(clippy::unwrap_used)]

mod rig;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rig::{PATIENCE, Rig, Seen};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use transport::{
    CertStore, CertificateFiles, ClientCertificates, Listener, Protocol, Settings, Shard, TlsFiles,
};
use wire::Transport;

type Client = StreamOwned<ClientConnection, TcpStream>;

/// A directory of one test's own.
struct Files(PathBuf);

impl Files {
    fn new(test: &str) -> Files {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(test);
        std::fs::create_dir_all(&directory).unwrap();
        Files(directory)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.0.join(name);
        std::fs::write(&file, text).unwrap();
        file
    }

    /// A fresh self-signed certificate in `name.pem` and its key in `name.key`.
    fn certify(&self, name: &str, hosts: &[&str]) -> (CertificateFiles, CertificateDer<'static>) {
        let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
        let made = rcgen::generate_simple_self_signed(hosts).unwrap();
        let certificate = self.write(&format!("{name}.pem"), &made.cert.pem());
        let key = self.write(&format!("{name}.key"), &made.signing_key.serialize_pem());
        (CertificateFiles { certificate, key }, made.cert.der().clone())
    }
}

fn store(certificates: Vec<CertificateFiles>, clients: ClientCertificates) -> Arc<CertStore> {
    CertStore::open(TlsFiles { certificates, clients }).unwrap()
}

fn tls(address: &str, store: &Arc<CertStore>) -> Listener {
    let protocol = Protocol::Tls(store.clone());
    Listener::new(protocol, address.parse().unwrap())
}

/// Who a client is and whom it trusts.
#[derive(Default)]
struct Identity {
    trusts: Vec<CertificateDer<'static>>,
    shows: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl Identity {
    fn trusting(certificates: &[&CertificateDer<'static>]) -> Identity {
        let trusts = certificates.iter().map(|der| (*der).clone()).collect();
        Identity { trusts, shows: None }
    }

    fn config(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        for certificate in &self.trusts {
            roots.add(certificate.clone()).unwrap();
        }
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match &self.shows {
            Some((chain, key)) => {
                builder.with_client_auth_cert(chain.clone(), key.clone_key()).unwrap()
            }
            None => builder.with_no_client_auth(),
        })
    }

    fn dial(&self, to: SocketAddr, host: &str) -> Client {
        dial(&self.config(rustls::ALL_VERSIONS), to, host)
    }
}

fn dial(config: &Arc<ClientConfig>, to: SocketAddr, host: &str) -> Client {
    let tcp = TcpStream::connect(to).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = ServerName::try_from(host.to_string()).unwrap();
    StreamOwned::new(ClientConnection::new(config.clone(), name).unwrap(), tcp)
}

fn ask(client: &mut Client, text: &str) -> std::io::Result<String> {
    client.write_all(text.as_bytes())?;
    let mut bytes = vec![0; text.len() + 2];
    client.read_exact(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn shown(client: &Client) -> &CertificateDer<'static> {
    &client.conn.peer_certificates().unwrap()[0]
}

#[test]
fn both_versions_over_both_families() {
    let files = Files::new("versions");
    let (certificate, der) = files.certify("a", &["sip.example.com"]);
    let store = store(vec![certificate], ClientCertificates::Off);
    let listeners = [tls("127.0.0.1:0", &store), tls("[::1]:0", &store)];
    let rig = Rig::start(&Settings::default(), &listeners, 2);
    for to in &rig.outside {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let config = Identity::trusting(&[&der]).config(&[version]);
            let mut client = dial(&config, *to, "sip.example.com");
            let owner = proxy::Engine::shard_of(to.ip(), 2);
            assert_eq!(ask(&mut client, "echo").unwrap(), format!("{} echo", owner.0));
            assert_eq!(client.conn.protocol_version(), Some(version.version));
            let flow = rig.until(|seen| match seen {
                Seen::Opened { flow } => Some(flow),
                _ => None,
            });
            assert_eq!((flow.transport, flow.local), (Transport::Tls, *to));
        }
    }
}

#[test]
fn the_host_a_client_names_chooses_the_certificate() {
    let files = Files::new("sni");
    let (first, first_der) = files.certify("first", &["first.example.com", "10.0.0.1"]);
    let (wild, wild_der) = files.certify("wild", &["*.example.org"]);
    let (exact, exact_der) = files.certify("exact", &["Exact.example.org", "first.example.com"]);
    let store = store(vec![first, wild, exact], ClientCertificates::Off);
    let rig = Rig::start(&Settings::default(), &[tls("127.0.0.1:0", &store)], 1);
    let identity = Identity::trusting(&[&first_der, &wild_der, &exact_der]);
    for (host, expected) in [
        ("first.example.com", &first_der),
        ("phone.example.org", &wild_der),
        ("exact.example.org", &exact_der),
        // A name that is an address is not sent (RFC 6066 §3).
        ("10.0.0.1", &first_der),
    ] {
        let mut client = identity.dial(rig.outside[0], host);
        assert_eq!(ask(&mut client, "echo").unwrap(), "0 echo", "{host}");
        assert_eq!(shown(&client), expected, "{host}");
    }
    // Two labels are not one; who names a stranger is shown the default, and judges for itself.
    for stranger in ["a.b.example.org", "example.org", "other.example.net"] {
        let mut client = identity.dial(rig.outside[0], stranger);
        assert!(ask(&mut client, "echo").is_err());
        assert_eq!(client.conn.peer_certificates().map(|all| &all[0]), None, "{stranger}");
    }
}

#[test]
fn a_reload_shows_the_new_and_keeps_connections() {
    let files = Files::new("reload");
    let (certificate, old) = files.certify("a", &["sip.example.com"]);
    let store = store(vec![certificate.clone()], ClientCertificates::Off);
    let rig = Rig::start(&Settings::default(), &[tls("127.0.0.1:0", &store)], 1);
    let mut before = Identity::trusting(&[&old]).dial(rig.outside[0], "sip.example.com");
    ask(&mut before, "echo").unwrap();

    let (_, new) = files.certify("a", &["sip.example.com"]);
    store.reload().unwrap();
    let mut after = Identity::trusting(&[&new]).dial(rig.outside[0], "sip.example.com");
    assert_eq!(ask(&mut after, "echo").unwrap(), "0 echo");
    assert_eq!(shown(&after), &new);

    // A certificate that does not fit its key, half a file, none at all: the new one stays.
    let (other, _) = files.certify("b", &["sip.example.com"]);
    let key = std::fs::read_to_string(&certificate.key).unwrap();
    files.write("a.key", &std::fs::read_to_string(&other.key).unwrap());
    let text = store.reload().unwrap_err().to_string();
    assert!(text.contains("a.key cannot serve the certificate"), "{text}");
    files.write("a.key", "-----BEGIN PRIVATE KEY-----\nMIG");
    let text = store.reload().unwrap_err().to_string();
    assert!(text.contains("a.key is not well-formed PEM"), "{text}");
    files.write("a.key", &key);
    files.write("a.pem", "no certificate\n");
    let text = store.reload().unwrap_err().to_string();
    assert!(text.contains("a.pem holds no certificate"), "{text}");
    std::fs::remove_file(&certificate.certificate).unwrap();
    let text = store.reload().unwrap_err().to_string();
    assert!(text.contains("cannot read") && text.contains("a.pem"), "{text}");

    let mut still = Identity::trusting(&[&new]).dial(rig.outside[0], "sip.example.com");
    assert_eq!(ask(&mut still, "echo").unwrap(), "0 echo");
    assert_eq!(ask(&mut before, "echo").unwrap(), "0 echo");
}

/// An authority in `ca.pem`, and a client with a certificate of it.
fn authority(files: &Files, name: &str) -> (PathBuf, Identity) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let ca = files.write(&format!("{name}-ca.pem"), &params.self_signed(&key).unwrap().pem());
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let client = CertificateParams::new(vec!["phone".into()]).unwrap();
    let certificate = client.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    (ca, Identity { trusts: Vec::new(), shows: Some((vec![certificate.der().clone()], key)) })
}

#[test]
fn client_certificates_are_requested_or_required() {
    let files = Files::new("clients");
    let (certificate, der) = files.certify("a", &["sip.example.com"]);
    let (ca, mut ours) = authority(&files, "ours");
    let (_, mut foreign) = authority(&files, "foreign");
    let nobody = Identity::trusting(&[&der]);
    ours.trusts.push(der.clone());
    foreign.trusts.push(der);
    let off = ClientCertificates::Off;
    let request = ClientCertificates::Request { ca: ca.clone() };
    let require = ClientCertificates::Require { ca };
    let store = store(vec![certificate.clone()], off.clone());
    let rig = Rig::start(&Settings::default(), &[tls("127.0.0.1:0", &store)], 1);
    for (clients, expected) in
        [(off, [true, true, true]), (request, [true, true, false]), (require, [false, true, false])]
    {
        let certificates = vec![certificate.clone()];
        store.replace(TlsFiles { certificates, clients: clients.clone() }).unwrap();
        for (identity, expected) in [&nobody, &ours, &foreign].into_iter().zip(expected) {
            let mut client = identity.dial(rig.outside[0], "sip.example.com");
            assert_eq!(ask(&mut client, "echo").is_ok(), expected, "{clients:?}");
        }
    }
    rig.until_count(|c| c.handshake_failed.value(), |n| n == 3);

    let ca = files.write("empty-ca.pem", "");
    let certificates = vec![certificate];
    let clients = ClientCertificates::Require { ca };
    let error = store.replace(TlsFiles { certificates, clients }).unwrap_err();
    assert!(error.to_string().contains("empty-ca.pem holds no certificate"), "{error}");
}

#[test]
fn clients_that_vanish_hurt_nothing() {
    let files = Files::new("vanish");
    let (certificate, der) = files.certify("a", &["sip.example.com"]);
    let store = store(vec![certificate], ClientCertificates::Off);
    let rig = Rig::start(&Settings::default(), &[tls("127.0.0.1:0", &store)], 2);
    let config = Identity::trusting(&[&der]).config(rustls::ALL_VERSIONS);
    let mut faithful = dial(&config, rig.outside[0], "sip.example.com");
    ask(&mut faithful, "echo").unwrap();
    for round in 0..4 {
        let mut clients: Vec<_> =
            (0..200).map(|_| dial(&config, rig.outside[0], "sip.example.com")).collect();
        for client in &mut clients {
            ask(client, "echo").unwrap();
        }
        for (n, client) in clients.into_iter().enumerate() {
            if n % 2 == round % 2 {
                // Not even a FIN.
                let socket = socket2::SockRef::from(&client.sock);
                socket.set_linger(Some(Duration::ZERO)).unwrap();
            }
            // No close_notify: rustls sends it only when it is told to.
            drop(client);
        }
        rig.until_count(|c| c.connections.value(), |n| n == 1);
        ask(&mut faithful, "echo").unwrap();
    }
    let by_peer = rig.until_count(|c| c.closed_by_peer.value(), |n| n == 400);
    let failed = rig.until_count(|c| c.closed_failed.value(), |n| n == 400);
    assert_eq!(by_peer + failed, 800);
}

#[test]
fn what_is_no_handshake_is_counted_and_left() {
    let files = Files::new("garbage");
    let (certificate, der) = files.certify("a", &["sip.example.com"]);
    let store = store(vec![certificate], ClientCertificates::Off);
    let settings = Settings { handshakes: 2, ..Settings::default() };
    let rig = Rig::start(&settings, &[tls("127.0.0.1:0", &store)], 1);
    for bytes in [b"OPTIONS sip:a SIP/2.0\r\n\r\n".as_slice(), &[0x16, 3, 1, 255, 255], b""] {
        let mut scanner = TcpStream::connect(rig.outside[0]).unwrap();
        scanner.write_all(bytes).unwrap();
        // it may have been refused by now
        let _ = scanner.shutdown(std::net::Shutdown::Write);
        let _ = scanner.read_to_end(&mut Vec::new());
    }
    rig.until_count(|c| c.handshake_failed.value(), |n| n == 3);

    let silent: Vec<_> = (0..2).map(|_| TcpStream::connect(rig.outside[0]).unwrap()).collect();
    rig.until_count(|c| c.opening.value(), |n| n == 2);
    let mut third = rig::dial([127, 0, 0, 1].into(), rig.outside[0]);
    assert!(third.read(&mut [0]).is_err());
    rig.until_count(|c| c.refused_handshakes.value(), |n| n == 1);
    drop(silent);
    rig.until_count(|c| c.opening.value(), |n| n == 0);
    let mut client = Identity::trusting(&[&der]).dial(rig.outside[0], "sip.example.com");
    assert_eq!(ask(&mut client, "echo").unwrap(), "0 echo");
}

#[test]
fn strangers_in_a_handshake_leave_room_for_who_is_known() {
    let files = Files::new("reserve");
    let (certificate, der) = files.certify("a", &["sip.example.com"]);
    let store = store(vec![certificate], ClientCertificates::Off);
    let settings = Settings { handshakes: 4, reserve: 2, ..Settings::default() };
    let rig = Rig::start(&settings, &[tls("127.0.0.1:0", &store)], 1);
    let stranger = |n| rig::dial([127, 0, 0, n].into(), rig.outside[0]);
    let silent = [stranger(2), stranger(3)];
    rig.until_count(|c| c.opening.value(), |n| n == 2);
    assert!(stranger(4).read(&mut [0]).is_err());
    rig.until_count(|c| c.refused_handshakes.value(), |n| n == 1);
    // somebody is known at 127.0.0.1
    let mut client = Identity::trusting(&[&der]).dial(rig.outside[0], "sip.example.com");
    assert_eq!(ask(&mut client, "echo").unwrap(), "0 echo");
    drop(silent);
}

#[tokio::test(start_paused = true)]
async fn a_handshake_has_its_time_and_no_more() {
    let files = Files::new("slow");
    let (certificate, _) = files.certify("a", &["sip.example.com"]);
    let store = store(vec![certificate], ClientCertificates::Off);
    let settings = Settings::default();
    let inside = ["127.0.0.1:0".parse().unwrap()];
    let listeners = [tls("127.0.0.1:0", &store)];
    let sockets = transport::bind(&settings, &listeners, &inside).unwrap().pop().unwrap();
    let mut slow = TcpStream::connect(sockets.outside().unwrap()[0]).unwrap();
    // A beginning that is well-formed, and nothing more.
    slow.write_all(&[0x16, 3, 1, 0, 200, 1]).unwrap();
    let mut shard = Shard::new(&settings, sockets, Arc::default()).unwrap();

    let early = settings.handshake - Duration::from_millis(10);
    let nothing = tokio::time::timeout(early, shard.ready(rig::is_known)).await;
    assert!(nothing.is_err());
    assert_eq!((shard.counters().opening.value(), shard.counters().handshake_slow.value()), (1, 0));
    let nothing = tokio::time::timeout(Duration::from_secs(1), shard.ready(rig::is_known)).await;
    assert!(nothing.is_err());
    assert_eq!((shard.counters().opening.value(), shard.counters().handshake_slow.value()), (0, 1));
    slow.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(matches!(slow.read(&mut [0]), Ok(0)));
}
