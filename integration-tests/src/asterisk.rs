//! A real Asterisk in the foreground, every file it writes in the stage's directory.

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::child::{Child, wait_until};
use crate::stage::{self, Family, Stage, Way};
use crate::{Message, PATIENCE, Transport, source_of, unique};

/// A running Asterisk.
pub struct Asterisk {
    address: SocketAddr,
    home: PathBuf,
    run: PathBuf,
    child: Option<Child>,
}

impl Asterisk {
    /// Writes the configuration for `stage` and starts it at `address`, its files in the directory
    /// `name`; it is ready when this returns.
    #[must_use]
    pub fn start(stage: &Stage, name: &str, address: SocketAddr) -> Self {
        let home = installed();
        let run = stage.directory.join(name);
        for directory in ["etc", "lib", "spool", "run", "log"] {
            fs::create_dir_all(run.join(directory)).unwrap();
        }
        write_configuration(&home, &run, stage, address);
        let mut asterisk = Asterisk { address, home, run, child: None };
        asterisk.resume();
        asterisk
    }

    /// Ends it; what it keeps in its database stays.
    pub fn stop(&mut self) {
        self.child = None;
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        if let Some(child) = &self.child {
            child.signal(rustix::process::Signal::KILL);
        }
        self.child = None;
    }

    /// Starts it again (or for the first time).
    pub fn resume(&mut self) {
        let mut command = Command::new(self.home.join("bin/asterisk"));
        command.arg("-C").arg(self.run.join("etc/asterisk.conf")).arg("-f");
        let mut child = Child::start("asterisk", &command, &self.run.join("log/console"));
        child.wait_for("'Asterisk Ready.'", |output| output.contains("Asterisk Ready."));
        self.child = Some(child);
        wait_until("Asterisk knows its realm", PATIENCE, || self.knows_its_realm());
    }

    /// It takes over the realm's default a moment after it says that it is ready; a challenge
    /// before that is of no use.
    fn knows_its_realm(&self) -> bool {
        self.challenges_as("asterisk")
    }

    /// Whether it challenges in this realm.
    #[must_use]
    pub fn challenges_as(&self, realm: &str) -> bool {
        self.ask(&unique()).contains(&format!("realm=\"{realm}\""))
    }

    /// Asks it for OPTIONS, around the edge; the answer.
    fn ask(&self, call_id: &str) -> String {
        let socket = UdpSocket::bind((self.address.ip(), 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let local = socket.local_addr().unwrap();
        let request = Message::request("OPTIONS", "sip:pbx.test")
            .with("Via", format!("SIP/2.0/UDP {local};branch=z9hG4bK{};rport", unique()))
            .with("From", format!("<sip:6001@pbx.test>;tag={}", unique()))
            .with("To", "<sip:pbx.test>")
            .with("Call-ID", call_id)
            .with("CSeq", "1 OPTIONS")
            .with("Max-Forwards", "1");
        let mut answer = [0; 4096];
        let _ = socket.send_to(&request.bytes(), self.address);
        let length = socket.recv(&mut answer).unwrap_or(0);
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }

    /// A command for its CLI; what it prints.
    #[must_use]
    pub fn cli(&self, command: &str) -> String {
        let output = Command::new(self.home.join("bin/asterisk"))
            .arg("-C")
            .arg(self.run.join("etc/asterisk.conf"))
            .args(["-rx", command])
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Starts a call to an account's phone; whoever answers hears an echo.
    pub fn call(&self, user: &str) {
        let _ = self.cli(&format!("channel originate PJSIP/{user} extension 100@phones"));
    }

    /// From now on it has a trunk, too: more sections of `pjsip.conf`.
    pub fn add_trunk(&self, sections: &str) {
        fs::write(self.run.join("etc/trunk.conf"), sections).unwrap();
        let _ = self.cli("module reload res_pjsip.so");
    }

    /// URIs of an account's Contacts.
    #[must_use]
    pub fn contacts(&self, user: &str) -> Vec<String> {
        let prefix = format!("{user}/");
        (self.cli("pjsip show contacts").split_whitespace())
            .filter_map(|word| word.strip_prefix(&prefix).map(str::to_owned))
            .collect()
    }

    /// The channels it has.
    #[must_use]
    pub fn channels(&self) -> Vec<String> {
        let all = self.cli("core show channels concise");
        all.lines().filter(|line| line.starts_with("PJSIP/")).map(str::to_owned).collect()
    }

    /// Ends all its calls.
    pub fn hang_up_all(&self) {
        let _ = self.cli("channel request hangup all");
    }

    /// Whether an account's only Contact answered its last qualify OPTIONS.
    #[must_use]
    pub fn is_reachable(&self, user: &str) -> Option<bool> {
        let contacts = self.cli("pjsip show contacts");
        let line = contacts.lines().find(|line| line.contains(&format!(" {user}/")))?;
        match line {
            line if line.contains(" Avail ") => Some(true),
            line if line.contains(" Unavail ") => Some(false),
            _ => None,
        }
    }

    /// Waits until no call is left.
    pub fn wait_idle(&self) {
        wait_until("no channel is left in Asterisk", PATIENCE, || self.channels().is_empty());
    }

    /// Waits until its full log says `text`.
    pub fn wait_logged(&self, text: &str) {
        wait_until(&format!("Asterisk logs {text:?}"), PATIENCE, || self.log().contains(text));
    }

    /// From now on its log holds every message it receives: for [`Asterisk::heard`].
    pub fn listen_in(&self) {
        let _ = self.cli("pjsip set logger on");
    }

    /// Every request it received since [`Asterisk::listen_in`], up to this moment; what UDP repeated,
    /// because the machine was slow, once.
    #[must_use]
    pub fn heard(&self) -> Vec<Message> {
        self.heard_at().into_iter().map(|(_, message)| message).collect()
    }

    /// The same, each with its time of day.
    #[must_use]
    pub fn heard_at(&self) -> Vec<(Duration, Message)> {
        let marker = unique();
        self.ask(&marker);
        self.wait_logged(&marker);
        let log = self.log().replace("\r\n", "\n");
        let mut before = "";
        let mut heard = Vec::new();
        for rest in log.split("<--- Received SIP request ") {
            let at = time_of_day(std::mem::replace(&mut before, rest));
            let text = rest.split_once(" --->\n").and_then(|(_, text)| text.split("\n[2").next());
            let message = text.map(|text| Message::parse(text.replace('\n', "\r\n").as_bytes()));
            if let (Some(at), Some(Ok(message))) = (at, message) {
                heard.push((at, message));
            }
        }
        let mut known = HashSet::new();
        heard.retain(|(_, message)| {
            let transaction = format!("{} {}", message.method(), message.branch());
            message.call_id() != marker && known.insert(transaction)
        });
        heard
    }

    /// What it heard from an address outside.
    #[must_use]
    pub fn heard_from(&self, host: IpAddr) -> Vec<Message> {
        let from = |m: &Message| source_of(m).is_some_and(|source| source.ip() == host);
        self.heard().into_iter().filter(from).collect()
    }

    /// Its full log.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.run.join("log/full")).unwrap_or_default())
            .into_owned()
    }
}

/// When the last line of a log began: `[2026-11-29 11:08:37.123] …`.
fn time_of_day(log: &str) -> Option<Duration> {
    let line = log.rsplit('\n').next()?.strip_prefix('[')?;
    let time = line.split_once(']')?.0.split_once(' ')?.1;
    let mut parts = time.split([':', '.']).map(|part| part.parse::<u64>().ok());
    let mut next = || parts.next().flatten();
    let seconds = next()? * 3_600 + next()? * 60 + next()?;
    Some(Duration::from_secs(seconds) + Duration::from_millis(next()?))
}

/// `RINGFENCE_ASTERISK`, or `asterisk` in the target directory; installed if it is not there yet.
fn installed() -> PathBuf {
    let home = std::env::var_os("RINGFENCE_ASTERISK")
        .map_or(stage::target().join("asterisk"), PathBuf::from);
    if !home.join("version").exists() {
        let script = stage::home().join("asterisk/install-asterisk.sh");
        let output = Command::new(script).arg(&home).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "Asterisk cannot be installed:\n{said}");
    }
    home
}

fn write_configuration(home: &Path, run: &Path, stage: &Stage, inside: SocketAddr) {
    let templates = stage::home().join("asterisk/conf");
    let etc = run.join("etc");
    let marks = marks(home, run, stage, inside);
    let fill = |from: &str, to: &str| {
        let mut text = fs::read_to_string(templates.join(from)).unwrap();
        for (mark, value) in &marks {
            text = text.replace(&format!("@{mark}@"), value);
        }
        fs::write(etc.join(to), text).unwrap();
    };
    for file in ["asterisk.conf", "rtp.conf", "accounts.conf"] {
        fill(&format!("{file}.in"), file);
    }
    for file in ["modules.conf", "logger.conf", "extensions.conf", "pjsip_notify.conf"] {
        fill(file, file);
    }
    fill(if stage.is_edge() { "pjsip-edge.conf.in" } else { "pjsip-direct.conf.in" }, "pjsip.conf");
    if stage.plan.office {
        let mut accounts = fs::read_to_string(etc.join("accounts.conf")).unwrap();
        for user in 6301..6361 {
            accounts += &format!(
                "[{user}](phone)\nauth = {user}\naors = {user}\n\
                 [{user}](digest)\nusername = {user}\npassword = secret{user}\n[{user}](single)\n"
            );
        }
        fs::write(etc.join("accounts.conf"), accounts).unwrap();
    }
    for line in fs::read_to_string(templates.join("quiet.conf")).unwrap().lines() {
        let mut words = line.split_whitespace();
        if let Some(file) = words.next().filter(|file| *file != ";") {
            fs::write(etc.join(file), words.collect::<Vec<_>>().join("\n") + "\n").unwrap();
        }
    }
}

fn marks(
    home: &Path,
    run: &Path,
    stage: &Stage,
    inside: SocketAddr,
) -> Vec<(&'static str, String)> {
    let v6 = |transport| stage.server(Way { transport, family: Family::V6 }).port().to_string();
    let yes = |on: bool| if on { "yes" } else { "no" }.to_owned();
    let path = |path: PathBuf| path.display().to_string();
    let clients = match stage.plan.wants_certificate {
        true => format!(
            "verify_client = yes\nrequire_client_cert = yes\nca_list_file = {}",
            path(stage.directory.join("client.pem"))
        ),
        false => String::new(),
    };
    vec![
        ("RUN", path(run.to_owned())),
        ("NAME", "test".into()),
        ("MODDIR", fs::read_to_string(home.join("moddir")).unwrap().trim().to_owned()),
        ("DATADIR", path(home.join("root/usr/share/asterisk"))),
        ("ADDR", inside.ip().to_string()),
        ("PORT", inside.port().to_string()),
        ("PORTTLS", (inside.port() + 1).to_string()),
        ("PUBLIC", stage.public().to_string()),
        ("PORT6", v6(Transport::Tcp)),
        ("PORT6TLS", v6(Transport::Tls)),
        ("CERT", path(stage.directory.join("cert.pem"))),
        ("KEY", path(stage.directory.join("key.pem"))),
        ("CLIENTS", clients),
        ("QUALIFY", stage.plan.qualify.to_string()),
        ("PATH", yes(stage.plan.path && stage.is_edge())),
        ("NONCE", stage.plan.nonce_life.to_string()),
        ("REWRITE", yes(stage.plan.rewrite)),
        ("RTPLO", "30500".into()),
        ("RTPHI", "32699".into()),
    ]
}
