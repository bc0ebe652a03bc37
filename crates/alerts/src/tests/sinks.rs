//! Servers of the tests' own: one for HTTP, one for mail.

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a server was sent.
pub(super) struct Sink<T> {
    pub(super) address: SocketAddr,
    /// The certificate that signs itself, in PEM, where there is TLS.
    pub(super) authority: String,
    taken: Receiver<T>,
}

impl<T> Sink<T> {
    pub(super) fn next(&self) -> T {
        self.taken.recv_timeout(PATIENCE).expect("nothing was sent")
    }

    pub(super) fn is_empty(&self) -> bool {
        self.taken.try_recv().is_err()
    }
}

/// A request: its first line, its headers in small letters, its body.
pub(super) struct Posted {
    pub(super) line: String,
    pub(super) headers: Vec<String>,
    pub(super) body: String,
}

impl Posted {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let value =
            |line: &'_ String| line.strip_prefix(name).is_some_and(|it| it.starts_with(':'));
        let line = self.headers.iter().find(|line| value(line))?;
        line.split_once(": ").map(|(_, value)| value)
    }
}

/// Answers with these lines, the last one again and again.
pub(super) fn http(answers: &'static [&'static str], tls: bool) -> Sink<Posted> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (config, authority) = server_config();
    let (tell, taken) = sync_channel(64);
    std::thread::spawn(move || {
        let mut answers = answers.iter().copied();
        let mut answer = "";
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            answer = answers.next().unwrap_or(answer);
            match tls {
                true => {
                    let connection = ServerConnection::new(config.clone()).unwrap();
                    exchange(&mut StreamOwned::new(connection, stream), answer, &tell);
                }
                false => exchange(&mut { stream }, answer, &tell),
            }
        }
    });
    Sink { address, authority, taken }
}

fn exchange(stream: &mut (impl Read + Write), answer: &str, tell: &SyncSender<Posted>) {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).is_err() || line.is_empty() {
            return;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let line = lines.remove(0);
    let small = |line: &String| {
        let (name, value) = line.split_once(':').unwrap();
        format!("{}: {}", name.to_lowercase(), value.trim())
    };
    let headers: Vec<String> = lines.iter().map(small).collect();
    let mut posted = Posted { line, headers, body: String::new() };
    let length: usize = posted.header("content-length").unwrap().parse().unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    posted.body = String::from_utf8(body).unwrap();
    let text = format!("HTTP/1.1 {answer}\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
    let _ = reader.get_mut().write_all(text.as_bytes());
    let _ = reader.get_mut().flush();
    let _ = tell.send(posted);
}

/// How a mail server begins to speak.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    Plain,
    StartTls,
    Tls,
}

/// A mail: each line that a client said, `DATA` and what it stood for among them.
pub(super) struct Mailed(pub(super) Vec<String>);

impl Mailed {
    pub(super) fn has(&self, wanted: &str) -> bool {
        self.0.iter().any(|line| line.contains(wanted))
    }
}

pub(super) fn smtp(speaks: Speaks) -> Sink<Mailed> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (config, authority) = server_config();
    let (tell, taken) = sync_channel(64);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            let mut said = Vec::new();
            serve(stream, speaks, &config, &mut said);
            let _ = tell.send(Mailed(said));
        }
    });
    Sink { address, authority, taken }
}

fn serve(
    mut stream: TcpStream,
    speaks: Speaks,
    config: &Arc<ServerConfig>,
    said: &mut Vec<String>,
) {
    let connection = || ServerConnection::new(config.clone()).unwrap();
    match speaks {
        Speaks::Plain => dialog(&mut stream, "250 AUTH PLAIN", true, said),
        Speaks::Tls => {
            dialog(&mut StreamOwned::new(connection(), stream), "250 AUTH PLAIN", true, said);
        }
        Speaks::StartTls => {
            dialog(&mut stream, "250 STARTTLS", true, said);
            if said.last().is_some_and(|line| line == "STARTTLS") {
                let mut stream = StreamOwned::new(connection(), stream);
                dialog(&mut stream, "250 AUTH PLAIN", false, said);
            }
        }
    }
}

/// Until the client has gone, or begins with TLS.
fn dialog(stream: &mut (impl Read + Write), offers: &str, greets: bool, said: &mut Vec<String>) {
    let mut reader = BufReader::new(stream);
    let answer = |reader: &mut BufReader<_>, text: &str| {
        let stream: &mut _ = reader.get_mut();
        say(stream, text)
    };
    if greets && !answer(&mut reader, "220 sink ESMTP") {
        return;
    }
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let line = line.trim_end().to_owned();
        said.push(line.clone());
        let word = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let text = match &*word {
            "EHLO" => format!("250-sink\r\n{offers}"),
            "AUTH" => "235 well".into(),
            "MAIL" | "RCPT" => "250 well".into(),
            "STARTTLS" => "220 go".into(),
            "DATA" => "354 go".into(),
            "QUIT" => "221 bye".into(),
            _ => "500 what".into(),
        };
        if !answer(&mut reader, &text) || word == "STARTTLS" || word == "QUIT" {
            return;
        }
        if word == "DATA" {
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 {
                    return;
                }
                match line.trim_end() {
                    "." => break,
                    line => said.push(line.to_owned()),
                }
            }
            if !answer(&mut reader, "250 taken") {
                return;
            }
        }
    }
}

fn say(stream: &mut impl Write, text: &str) -> bool {
    stream.write_all(format!("{text}\r\n").as_bytes()).and_then(|()| stream.flush()).is_ok()
}

fn server_config() -> (Arc<ServerConfig>, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    (Arc::new(config), certificate.pem())
}
