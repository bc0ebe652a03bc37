//! Both ways with a real CrowdSec: its decisions as a feed, our bans as its alerts.
//! `scripts/crowdsec.sh` fetches it; where there is none this says so, and in CI it fails.
#![allow(clippy::unwrap_used)] // a test that cannot go on ends
#![allow(clippy::disallowed_methods)] // here the test drives, by the machine's clock

use feeds::{Bounds, Fetcher, Format, Place, Push, PushSettings, Pusher, Settings, Snapshot, View};
use policy::{Network, Time};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long anything may take before the test gives up. No test waits this long to pass.
const PATIENCE: Duration = Duration::from_secs(30);

/// One of CrowdSec's programs: with the library it came with, else the machine's.
fn program(name: &str) -> Option<Command> {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/crowdsec/usr");
    let path = fetched.join("bin").join(name);
    if path.exists() {
        let mut program = Command::new(path);
        program.env("LD_LIBRARY_PATH", fetched.join("lib"));
        return Some(program);
    }
    let path = Path::new("/usr/bin").join(name);
    path.exists().then(|| Command::new(path))
}

/// A local API on loopback, with all that it has in a directory of its own.
struct Crowdsec {
    child: Child,
    directory: tempfile::TempDir,
    url: String,
}

impl Crowdsec {
    fn start() -> Option<Crowdsec> {
        let Some(mut daemon) = program("crowdsec") else {
            assert!(std::env::var_os("CI").is_none(), "scripts/crowdsec.sh did not fetch it");
            eprintln!("no CrowdSec here (scripts/crowdsec.sh fetches it): nothing is tested");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let at = directory.path().display();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        file("hub/.index.json", "{}");
        file("plugins/none", "");
        file("notifications/none", "");
        file("simulation.yaml", "simulation: false\n");
        file("console.yaml", "share_manual_decisions: false\n");
        file(
            "profiles.yaml",
            "name: none\nfilters: [\"false\"]\ndecisions: [{ type: ban, duration: 4h }]\n",
        );
        file("local.yaml", &format!("url: http://{address}\nlogin: us\npassword: our-password\n"));
        file(
            "config.yaml",
            &format!(
                "common: {{ daemonize: false, log_media: stdout, log_level: info }}\n\
                 config_paths: {{ config_dir: {at}, data_dir: {at}, hub_dir: {at}/hub, \
                 index_path: {at}/hub/.index.json, simulation_path: {at}/simulation.yaml, \
                 notification_dir: {at}/notifications, plugin_dir: {at}/plugins }}\n\
                 crowdsec_service: {{ enable: false }}\n\
                 cscli: {{ output: raw }}\n\
                 db_config: {{ type: sqlite, db_path: {at}/crowdsec.db }}\n\
                 api:\n  client: {{ credentials_path: {at}/local.yaml }}\n  \
                 server: {{ log_level: info, listen_uri: \"{address}\", \
                 profiles_path: {at}/profiles.yaml, console_path: {at}/console.yaml }}\n"
            ),
        );
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let config = directory.path().join("config.yaml");
        cscli(&config, &["machines", "add", "us", "--password", "our-password", "-f", "/dev/null"]);
        cscli(&config, &["bouncers", "add", "edge", "-k", "our-key"]);
        let child = daemon
            .arg("-c")
            .arg(&config)
            .arg("-no-cs")
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let crowdsec = Crowdsec { child, directory, url: format!("http://{address}") };
        for _ in 0..1_500 {
            if TcpStream::connect(address).is_ok() {
                return Some(crowdsec);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it does not listen:\n{}", crowdsec.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    fn cscli(&self, words: &[&str]) -> String {
        cscli(&self.directory.path().join("config.yaml"), words)
    }

    /// All decisions, asked for as a bouncer does.
    fn decisions(&self) -> String {
        let host = self.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let path = "/v1/decisions";
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nX-Api-Key: our-key\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn secret(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Crowdsec {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn cscli(config: &Path, words: &[&str]) -> String {
    let output = program("cscli")
        .unwrap()
        .arg("-c")
        .arg(config)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn now() -> Time {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Time::from_nanos(now.as_nanos() as u64)
}

fn networks(view: &View) -> Vec<String> {
    view.entries.iter().map(|(network, _)| network.to_string()).collect()
}

#[test]
fn its_decisions_come_and_go() {
    let Some(crowdsec) = Crowdsec::start() else { return };
    crowdsec.cscli(&["decisions", "add", "-i", "5.5.5.5", "-d", "1h"]);
    crowdsec.cscli(&["decisions", "add", "-r", "6.6.6.0/24", "-d", "2h"]);
    crowdsec.cscli(&["decisions", "add", "-i", "7.7.7.7", "-d", "1h", "-t", "captcha"]);
    let (sender, snapshots): (SyncSender<Snapshot>, Receiver<Snapshot>) = sync_channel(64);
    let ear = move |snapshot| drop(sender.send(snapshot));
    let kept = crowdsec.directory.path().join("feeds");
    let fetcher = Fetcher::start(kept, [7; 32], now, ear).unwrap();
    fetcher.configure(vec![Settings {
        name: "crowdsec".into(),
        place: Place::Url(crowdsec.url.clone()),
        format: Format::Crowdsec,
        key_file: Some(crowdsec.secret("key", "our-key\n")),
        every: Duration::from_secs(86_400),
        ttl: Duration::from_secs(86_400),
        timeout: Duration::from_secs(20),
        bytes: 1 << 20,
        bounds: Bounds { entries: 1_000, widest_ipv4: 16, widest_ipv6: 32, private: false },
    }]);
    let next = || snapshots.recv_timeout(PATIENCE).expect("it says something").remove(0);
    assert!(next().entries.is_empty(), "nothing is known yet");
    let view = next();
    assert_eq!(networks(&view), ["5.5.5.5", "6.6.6.0/24"], "{view:?}\n{}", crowdsec.log());
    let left = view.entries[1].1.since(now());
    assert!(left > Duration::from_secs(3_600) && left <= Duration::from_secs(7_200), "{left:?}");

    crowdsec.cscli(&["decisions", "delete", "-i", "5.5.5.5"]);
    crowdsec.cscli(&["decisions", "add", "-i", "8.8.8.8", "-d", "1h"]);
    fetcher.refresh(None);
    assert_eq!(networks(&next()), ["6.6.6.0/24", "8.8.8.8"]);
}

#[test]
fn our_bans_become_its_decisions() {
    let Some(crowdsec) = Crowdsec::start() else { return };
    let settings = PushSettings {
        url: crowdsec.url.clone(),
        machine: "us".into(),
        password_file: crowdsec.secret("password", "our-password\n"),
    };
    let pusher = Pusher::start(settings, now).unwrap();
    for (network, minutes) in [("5.5.5.5", 10), ("6.6.6.0/24", 20), ("2a00:1:2:3::/64", 30)] {
        let network: Network = network.parse().unwrap();
        let until = now() + Duration::from_secs(minutes * 60);
        pusher.push(Push { network, why: "abandoned-invite".into(), until, evidence: 3 });
    }
    for _ in 0..1_500 {
        let told = pusher.counts().pushed.load(std::sync::atomic::Ordering::Relaxed);
        if told == 3 {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // as its bouncers see it
    let list = crowdsec.decisions();
    for wanted in ["5.5.5.5", "6.6.6.0/24", "2a00:1:2:3::/64", "ringfence/abandoned-invite"] {
        assert!(list.contains(wanted), "{wanted} in {list}\n{}", crowdsec.log());
    }
    let left = [("\"duration\":\"9m", 1), ("\"duration\":\"19m", 1), ("\"duration\":\"29m", 1)];
    for (text, times) in left {
        assert_eq!(list.matches(text).count(), times, "{text} in {list}");
    }
    assert_eq!(list.matches("\"origin\":\"ringfence\"").count(), 3, "{list}");
}
