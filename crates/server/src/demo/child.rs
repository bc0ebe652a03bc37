//! The edge: this same program, as `run`, with a configuration of its own.

use serde_json::Value;
use std::cell::RefCell;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Where everything is looked for first, so that a newcomer finds it where the documents say.
const EDGE_PORT: u16 = 5060;
const ADMIN_PORT: u16 = 9060;
/// Plays that may run side by side.
const NETS: u8 = 64;
/// How often it is asked whether it serves, and how long between.
const QUESTIONS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(50);
/// Lines of the edge's log that wait.
const LINES: usize = 256;

/// Addresses on loopback that are free.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) edge: SocketAddr,
    pub(super) inside: SocketAddr,
    pub(super) pbx: SocketAddr,
    pub(super) admin: SocketAddr,
    /// The players have addresses in 127.`net`.0.0/16: another play may run beside this one.
    pub(super) net: u8,
}

impl Ports {
    pub(super) fn choose() -> io::Result<Ports> {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let free = |port| -> io::Result<(UdpSocket, TcpListener, SocketAddr)> {
            let udp = UdpSocket::bind(at(port))?;
            let address = udp.local_addr()?;
            Ok((udp, TcpListener::bind(address)?, address))
        };
        let any = || (0..8).find_map(|_| free(0).ok()).ok_or(io::Error::other("no port is free"));
        let preferred = |port| free(port).or_else(|_| any());
        // all are held until all are chosen, so that they differ
        let (edge, inside, pbx, admin) =
            (preferred(EDGE_PORT)?, any()?, any()?, preferred(ADMIN_PORT)?);
        let is_free =
            |net: &u8| UdpSocket::bind((Ipv4Addr::new(127, *net, 1, 1), EDGE_PORT)).is_ok();
        let net = (0..NETS).find(is_free).ok_or(io::Error::other("other plays are everywhere"))?;
        Ok(Ports { edge: edge.2, inside: inside.2, pbx: pbx.2, admin: admin.2, net })
    }

    fn yaml(&self, state: &Path) -> String {
        let Ports { edge, inside, pbx, admin, .. } = self;
        let state = Value::from(state.display().to_string());
        format!(
            "version: 1\n\
             listen:\n  - {{ transport: udp, address: \"{edge}\" }}\n  - {{ transport: tcp, address: \"{edge}\" }}\n\
             inside: {{ address: \"{inside}\", pbx: [\"{pbx}\"] }}\n\
             domains: [demo.example]\nshards: 1\nadmin: {{ listen: \"{admin}\" }}\n\
             log: {{ format: json, level: info }}\nstate_dir: {state}\ndrain_timeout: 1s\n\
             policy: {{ profile: balanced, honeytokens: [admin] }}\n"
        )
    }
}

/// The edge's process.
#[derive(Debug)]
pub(super) struct Child {
    process: RefCell<std::process::Child>,
    directory: tempfile::TempDir,
    log: mpsc::Receiver<String>,
}

/// The edge ends when the play does, however that ended.
#[allow(unsafe_code)] // for one system call
fn end_with_us(command: &mut Command) {
    let ask = || {
        // SAFETY: a plain system call that allocates nothing, as between fork and exec it must be.
        match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: see above; it touches nothing of ours.
    unsafe { command.pre_exec(ask) };
}

impl Child {
    /// Starts it and waits until it serves.
    pub(super) fn start(ports: Ports) -> io::Result<Child> {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("ringfence.yaml");
        std::fs::write(&file, ports.yaml(directory.path()))?;
        let mut command = Command::new(std::env::current_exe()?);
        end_with_us(&mut command);
        let mut process = command
            .arg("run")
            .arg("--config")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let (sender, log) = mpsc::sync_channel(LINES);
        if let Some(stderr) = process.stderr.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    // who does not listen misses news, and holds nothing up
                    let _ = sender.try_send(line);
                }
            });
        }
        let child = Child { process: RefCell::new(process), directory, log };
        for _ in 0..QUESTIONS {
            if serves(ports.admin) {
                return Ok(child);
            }
            if !child.is_alive() {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        let said: Vec<String> = child.log.try_iter().collect();
        let _ = child.end();
        Err(io::Error::other(said.last().cloned().unwrap_or_default()))
    }

    pub(super) fn id(&self) -> u32 {
        self.process.borrow().id()
    }

    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn is_alive(&self) -> bool {
        matches!(self.process.borrow_mut().try_wait(), Ok(None))
    }

    /// What it logged since about bans, for people.
    pub(super) fn news(&self) -> Vec<String> {
        self.log.try_iter().filter_map(|line| told(&line)).collect()
    }

    /// Lets it drain, and waits until it has ended.
    pub(super) fn end(self) -> io::Result<()> {
        let mut process = self.process.into_inner();
        if matches!(process.try_wait(), Ok(None)) {
            transport::terminate(process.id())?;
        }
        process.wait().map(drop)
    }
}

/// A line of the log about a ban.
fn told(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    let word = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
    // of an account the log has only the hash
    let key = word("key");
    let whom = match key.split_once(" at ") {
        Some((_, place)) if word("kind") == "aor" => format!("one account at {place}"),
        _ => key.clone(),
    };
    match line["message"].as_str()? {
        "Banned" => Some(format!("BANNED {whom} for {} s: {}", line["seconds"], word("why"))),
        "Ban lifted" => Some(format!("the ban of {whom} has ended")),
        _ => None,
    }
}

/// Whether its admin page says that it is ready.
fn serves(admin: SocketAddr) -> bool {
    let ask = || -> io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&admin, PAUSE)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(4_096).read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.lines().next().is_some_and(|line| line.contains(" 200 ")))
}
