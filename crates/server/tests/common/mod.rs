//! A running edge, a PBX of a few lines, and phones of fewer.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Duration;

/// How long anything may take before the test gives up. No test waits this long to pass.
const PATIENCE: Duration = Duration::from_secs(20);

/// An address in 127.0.0.0/8 that no other test, and no other run of the tests, has.
fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [high, low] = (std::process::id() as u16).to_be_bytes();
    Ipv4Addr::new(127, 64 | (high & 0x3f), low, NEXT.fetch_add(1, Relaxed))
}

/// An edge under test.
pub struct Edge {
    child: Child,
    directory: tempfile::TempDir,
    manager: UnixDatagram,
    pub ip: Ipv4Addr,
    pub pbx: Socket,
}

/// A UDP socket that gives up, and what came to it: what is repeated, because the machine is slow, is
/// heard once.
pub struct Socket(pub UdpSocket, Mutex<HashSet<String>>);

impl Socket {
    pub fn bind(ip: Ipv4Addr, port: u16) -> Self {
        let socket = UdpSocket::bind((ip, port)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Socket(socket, Mutex::default())
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub fn send(&self, to: impl std::net::ToSocketAddrs, text: &str) {
        self.0.send_to(text.as_bytes(), to).unwrap();
    }

    pub fn receive(&self) -> (String, SocketAddr) {
        let mut buffer = [0; 65_535];
        loop {
            let (length, from) = self.0.recv_from(&mut buffer).expect("nothing came");
            let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
            if self.1.lock().unwrap().insert(text.clone()) {
                return (text, from);
            }
        }
    }
}

impl Socket {
    /// Receives until a message holds `text`, past others.
    pub fn receive_with(&self, text: &str) -> String {
        loop {
            let (message, _) = self.receive();
            if message.contains(text) {
                return message;
            }
        }
    }
}

impl Edge {
    /// The least configuration, with a line for another listener and `extra` lines; `{ip}` in
    /// them is the edge's address. It is read again when a test says so, unless `extra` says whether
    /// it is watched.
    fn yaml(ip: Ipv4Addr, state: &str, listen: &str, extra: &str) -> String {
        format!(
            "version: 1\n\
             listen:\n  - {{ transport: udp, address: \"{ip}:5060\" }}\n  \
             - {{ transport: tcp, address: \"{ip}:5060\" }}\n\
             {listen}\n\
             inside: {{ address: \"{ip}:5080\", pbx: [\"{ip}:5070\"] }}\n\
             {}\n\
             state_dir: {state}\n{}\n{}\n",
            if extra.contains("admin:") { "" } else { "admin: { listen: \"{ip}:9060\" }" },
            extra,
            if extra.contains("watch:") { "" } else { "watch: false" }
        )
        .replace("{ip}", &ip.to_string())
    }

    /// Starts an edge and returns when it says that it is ready.
    pub fn start(extra: &str) -> Edge {
        Edge::start_with("", extra, &[])
    }

    /// As [`Edge::start`] with another listener.
    pub fn start_listening(listen: &str) -> Edge {
        Edge::start_with(listen, "", &[])
    }

    /// As [`Edge::start`] with environment variables.
    pub fn start_in(environment: &[(&str, &str)]) -> Edge {
        Edge::start_with("", "", environment)
    }

    /// As [`Edge::start`] with another listener and environment variables.
    pub fn start_with(listen: &str, extra: &str, environment: &[(&str, &str)]) -> Edge {
        let ip = own_address();
        let directory = tempfile::tempdir().unwrap();
        let manager = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        let file = directory.path().join("ringfence.yaml");
        let state = directory.path().join("state");
        std::fs::write(&file, Edge::yaml(ip, state.to_str().unwrap(), listen, extra)).unwrap();
        let pbx = Socket::bind(ip, 5070);
        let child = spawn(&file, environment);
        let edge = Edge { child, directory, manager, ip, pbx };
        edge.await_state("READY=1");
        edge
    }

    /// Starts it again after its end, from the same files.
    pub fn restart(&mut self) {
        self.child = spawn(&self.file(), &[]);
        self.await_state("READY=1");
    }

    pub fn file(&self) -> PathBuf {
        self.directory.path().join("ringfence.yaml")
    }

    /// Writes another configuration of the same edge.
    pub fn configure(&self, extra: &str) {
        let state = self.directory.path().join("state");
        let yaml = Edge::yaml(self.ip, state.to_str().unwrap(), "", extra);
        std::fs::write(self.file(), yaml).unwrap();
    }

    /// What the edge logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    /// Waits until the edge has logged that.
    pub fn await_log(&self, text: &str) {
        for _ in 0..1_000 {
            if self.log().contains(text) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("no {text:?} in\n{}", self.log());
    }

    /// Waits until the service manager is told `state`.
    pub fn await_state(&self, state: &str) {
        let mut buffer = [0; 4096];
        loop {
            let length = match self.manager.recv(&mut buffer) {
                Ok(length) => length,
                Err(error) => panic!("no {state}: {error}\n{}", self.log()),
            };
            let text = std::str::from_utf8(&buffer[..length]).unwrap();
            if text.lines().any(|line| line == state) {
                return;
            }
        }
    }

    pub fn signal(&self, signal: i32) {
        let pid = libc::pid_t::try_from(self.child.id()).unwrap();
        // SAFETY: a plain system call; the child is ours and not yet waited for.
        #[allow(unsafe_code)]
        let result = unsafe { libc::kill(pid, signal) };
        assert_eq!(result, 0);
    }

    /// Reloads and waits until that is over.
    pub fn reload(&self) {
        self.signal(libc::SIGHUP);
        self.await_state("RELOADING=1");
        self.await_state("READY=1");
    }

    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// An admin page: status line, headers, body.
    pub fn page(&self, path: &str) -> String {
        let mut stream = TcpStream::connect((self.ip, 9060)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.ip)
            .unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        page
    }

    /// The admin socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("state").join("admin.sock")
    }

    /// A request to the admin API over the Unix socket: status code and JSON.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        answered(stream, &format!("{method} {path} HTTP/1.1\r\nHost: x\r\n"), body)
    }

    /// The same over TCP, with header lines.
    pub fn ask_tcp(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> (u16, serde_json::Value) {
        let stream = TcpStream::connect((self.ip, 9060)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        answered(stream, &format!("{method} {path} HTTP/1.1\r\n{headers}"), body)
    }

    /// Runs the command line against this edge: exit code, standard output, standard error.
    pub fn command(&self, words: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_ringfence"))
            .args(words)
            .arg("--config")
            .arg(self.file())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// Waits until the metrics have `line`.
    pub fn await_metric(&self, line: &str) {
        let end = std::iter::repeat_n(Duration::from_millis(20), 1_000);
        for pause in end {
            if self.page("/metrics").lines().any(|found| found == line) {
                return;
            }
            std::thread::sleep(pause);
        }
        panic!("no metric {line} in\n{}", self.page("/metrics"));
    }
}

/// Writes a request and reads its answer.
fn answered(mut stream: impl Read + Write, head: &str, body: &str) -> (u16, serde_json::Value) {
    let length = body.len();
    write!(stream, "{head}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}")))
}

#[allow(dead_code)] // not each file of tests counts
impl Edge {
    /// Waits until the metric of that name and these labels has at least `least`.
    pub fn await_metric_at_least(&self, name: &str, least: u64) {
        let value = |line: &str| {
            let (found, value) = line.rsplit_once(' ')?;
            (found == name).then(|| value.parse::<u64>().ok()).flatten()
        };
        for _ in 0..1_000 {
            if self.page("/metrics").lines().filter_map(value).any(|value| value >= least) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{name} is not {least} in\n{}", self.page("/metrics"));
    }
}

/// Starts the binary; its log and the service manager's socket lie beside its configuration.
fn spawn(file: &Path, environment: &[(&str, &str)]) -> Child {
    let log = std::fs::File::create(file.with_file_name("log")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(["run", "--config"])
        .arg(file)
        .env("NOTIFY_SOCKET", file.with_file_name("notify"))
        .envs(environment.iter().copied())
        .stderr(log)
        .spawn()
        .unwrap()
}

impl Drop for Edge {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request of a phone at `from`.
pub fn request(method: &str, from: SocketAddr, branch: &str, transport: &str) -> String {
    format!(
        "{method} sip:bob@pbx.example.com SIP/2.0\r\n\
         Via: SIP/2.0/{transport} {from};branch=z9hG4bK{branch};rport\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:alice@pbx.example.com>;tag=a\r\n\
         To: <sip:bob@pbx.example.com>\r\n\
         Call-ID: {branch}@test\r\n\
         CSeq: 1 {method}\r\n\
         Contact: <sip:alice@{from}>\r\n\
         User-Agent: Phone, which says as much of itself as others do\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// The PBX's answer to a request as it got it.
pub fn answer(request: &str, status: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for line in request.lines() {
        let name = line.split(':').next().unwrap_or_default();
        match name {
            "Via" | "From" | "Call-ID" | "CSeq" | "Record-Route" => text += &format!("{line}\r\n"),
            "To" => text += &format!("{line};tag=pbx\r\n"),
            _ => {}
        }
    }
    text + "Content-Length: 0\r\n\r\n"
}

/// An address of nobody else's: that of the edge, with another first part.
pub fn stranger(edge: &Edge) -> Ipv4Addr {
    let [_, a, b, c] = edge.ip.octets();
    Ipv4Addr::new(127, a ^ 0x40 | 0x80, b, c)
}

/// Calls, hears the challenge, acknowledges it, and never answers.
pub fn abandon(edge: &Edge, caller: &Socket, n: usize) {
    let invite = request("INVITE", caller.address(), &format!("i{n}"), "UDP");
    caller.send((edge.ip, 5060), &invite);
    let (got, from) = edge.pbx.receive();
    let challenge = answer(&got, "401 Unauthorized").replace(
        "Content-Length",
        "WWW-Authenticate: Digest realm=\"asterisk\",nonce=\"1/2\",opaque=\"3\",qop=\"auth\"\r\nContent-Length",
    );
    edge.pbx.send(from, &challenge);
    caller.receive_with(" 401 ");
    edge.pbx.receive_with("ACK ");
    let ack = invite
        .replace("INVITE", "ACK")
        .replace("To: <sip:bob@pbx.example.com>", "To: <sip:bob@pbx.example.com>;tag=pbx");
    caller.send((edge.ip, 5060), &ack);
    edge.await_metric(&format!("ringfence_challenges_total{{outcome=\"abandoned\"}} {}", n + 1));
}
