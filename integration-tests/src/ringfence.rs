//! The edge under test: the binary, as a user starts it.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output};

use rustix::process::Signal;

use crate::PATIENCE;
use crate::child::{Child, wait_until};
use crate::stage::{DOMAIN, Mode, Stage, Way};

/// A running `ringfence run`.
pub struct Ringfence {
    child: Child,
    /// Its configuration file.
    pub configuration: PathBuf,
    admin: SocketAddr,
}

impl Ringfence {
    /// Writes the configuration for `stage` and starts it; it listens when this returns.
    #[must_use]
    pub fn start(stage: &Stage) -> Self {
        let configuration = stage.directory.join("ringfence.yaml");
        let admin = SocketAddr::from((stage.network.host(3), 9060));
        fs::write(&configuration, yaml(stage, admin)).unwrap();
        let mut command = Command::new(binary());
        command.arg("run").arg("--config").arg(&configuration).current_dir(&stage.directory);
        let mut child = Child::start("ringfence", &command, &stage.directory.join("ringfence.log"));
        child.wait_for("listening socket for the admin interface", |_| {
            TcpStream::connect(admin).is_ok()
        });
        let edge = Ringfence { child, configuration, admin };
        wait_until("ringfence is ready", PATIENCE, || edge.is_ready());
        edge
    }

    /// What `GET /readyz` says.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.fetch("/readyz").starts_with("HTTP/1.1 200")
    }

    /// A page of the admin interface with its head.
    #[must_use]
    pub fn fetch(&self, path: &str) -> String {
        use std::io::{Read, Write};
        let Ok(mut stream) = TcpStream::connect(self.admin) else { return String::new() };
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let _ = write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.admin
        );
        let mut page = Vec::new();
        let _ = stream.read_to_end(&mut page);
        String::from_utf8_lossy(&page).into_owned()
    }

    /// Sum of a metric's samples whose labels contain all of `labels` (`reason="banned"`).
    #[must_use]
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let page = self.fetch("/metrics");
        let samples = page.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        });
        let values = samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.fold(0.0, |sum, value| sum + value)
    }

    /// Writes other lines after the common ones of its configuration, and asks it to read it again.
    pub fn change(&self, from: &str, to: &str) {
        let text = fs::read_to_string(&self.configuration).unwrap();
        assert!(text.contains(from), "no {from:?} in\n{text}");
        fs::write(&self.configuration, text.replace(from, to)).unwrap();
        self.reload();
    }

    /// Asks it to read its configuration again.
    pub fn reload(&self) {
        self.child.signal(Signal::HUP);
    }

    /// What its command line says to `words`; it must succeed.
    #[track_caller]
    #[must_use]
    pub fn command(&self, words: &[&str]) -> String {
        let output = self.output(words);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ringfence {words:?}: {complaint}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Exit code of its command line with `words`, and what it says.
    #[must_use]
    pub fn try_command(&self, words: &[&str]) -> (Option<i32>, String) {
        let output = self.output(words);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    }

    fn output(&self, words: &[&str]) -> Output {
        let mut command = Command::new(binary());
        command.args(words).arg("--config").arg(&self.configuration).output().unwrap()
    }

    /// Asks it to drain.
    pub fn drain(&self) {
        self.child.signal(Signal::TERM);
    }

    /// Waits for it to end by itself; its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait()
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.child.is_running()
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> String {
        self.child.output()
    }
}

/// `RINGFENCE`, or the binary this build made.
fn binary() -> PathBuf {
    let built = || {
        let exe = std::env::current_exe().unwrap();
        exe.ancestors().nth(2).unwrap().join("ringfence")
    };
    let binary = std::env::var_os("RINGFENCE").map_or_else(built, PathBuf::from);
    assert!(binary.exists(), "{} is not built: cargo build -p ringfence", binary.display());
    binary
}

fn yaml(stage: &Stage, admin: SocketAddr) -> String {
    let mut tls = format!("certificate: {0}/cert.pem, key: {0}/key.pem", stage.directory.display());
    if stage.plan.wants_certificate {
        tls += &format!(", client_certificates: {}/client.pem", stage.directory.display());
    }
    let mut text = "version: 1\nlisten:\n".to_owned();
    let from = match stage.plan.balanced {
        true => format!(", advertise: {0}, proxy_protocol: {{ from: [{0}] }}", stage.balancer()),
        false => String::new(),
    };
    for (udp, secure) in [(Way::UDP, Way::TLS), (Way::UDP6, Way::TLS6)] {
        let (plain, secure) = (stage.server(udp), stage.server(secure));
        text += &format!("  - {{ transport: udp, address: \"{plain}\" }}\n");
        text += &format!("  - {{ transport: tcp, address: \"{plain}\"{from} }}\n");
        text += &format!("  - {{ transport: tls, address: \"{secure}\", {tls}{from} }}\n");
    }
    let registration = if stage.plan.path { "path" } else { "contact-token" };
    let (inside, pbx) = (stage.inside(), stage.pbx_address());
    text += &format!("inside:\n  address: \"{inside}\"\n");
    text += &match stage.plan.inside {
        None => format!("  pbx: [{{ address: \"{pbx}\", registration: {registration} }}]\n"),
        Some(lines) => lines
            .replace("@PBX@", &pbx.ip().to_string())
            .replace("@OTHER@", &stage.other_address().ip().to_string())
            .replace("@CERT@", &stage.directory.join("cert.pem").display().to_string()),
    };
    let shards = if stage.plan.mode == Mode::EdgeOfFour { 4 } else { 1 };
    text += &format!("shards: {shards}\ndomains: [{DOMAIN}]\nadmin: {{ listen: \"{admin}\" }}\n");
    text += "state_dir: state\nlog: { format: text, level: info }\n";
    text + &stage.plan.extra
}
