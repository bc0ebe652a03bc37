//! The dashboard for Grafana and the alerts for Prometheus, against a real Prometheus that scrapes
//! an edge, and one that scrapes `ringfence demo`: what they ask for is there.
#![allow(clippy::unwrap_used)] // a test that cannot go on ends

#[allow(dead_code)] // each file of tests uses a part of it
mod common;

use common::{Edge, Socket, answer, request};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);
const AGAIN: Duration = Duration::from_millis(200);
const TRIES: usize = 300;

/// A file of `config/`.
fn ours(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config").join(name)
}

/// A program of the package `prometheus`: from PROMETHEUS, the directory, or from the machine.
fn program(name: &str) -> Command {
    let directory = std::env::var_os("PROMETHEUS").map(PathBuf::from).unwrap_or_default();
    Command::new(directory.join(name))
}

/// A Prometheus that scrapes an edge each second; ends with the test.
struct Prometheus {
    child: Child,
    port: u16,
    _directory: tempfile::TempDir,
}

impl Prometheus {
    /// `admin` is the edge's admin address.
    fn start(admin: &str) -> Prometheus {
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let file = directory.path().join("prometheus.yml");
        let shipped = std::fs::read_to_string(ours("prometheus/prometheus.yml")).unwrap();
        let rules = ours("prometheus/ringfence.rules.yml");
        let mut text = shipped.clone();
        for (from, to) in [
            ("scrape_interval: 15s", "scrape_interval: 1s".to_owned()),
            ("127.0.0.1:9060", admin.to_owned()),
            ("[ringfence.rules.yml]", format!("[{}]", rules.display())),
        ] {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, &to);
        }
        std::fs::write(&file, format!("global: {{ evaluation_interval: 1s }}\n{text}")).unwrap();
        let child = program("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(directory.path().join("log")).unwrap())
            .spawn()
            .expect("prometheus: integration-tests/install.sh brings it");
        let prometheus = Prometheus { child, port, _directory: directory };
        // it listens before it can answer
        let is_ready = || prometheus.ask("/-/ready").is_ok_and(|text| is_ok(&text));
        for _ in 0..TRIES {
            if is_ready() {
                return prometheus;
            }
            std::thread::sleep(AGAIN);
        }
        panic!("prometheus is not ready");
    }

    fn ask(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }

    fn get(&self, path: &str) -> Value {
        let text = self.ask(path).unwrap();
        assert!(is_ok(&text), "{path}: {text}");
        serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// Whether an expression has a value that is a number, now.
    fn has_data(&self, expression: &str) -> bool {
        let query = utf8_percent_encode(expression, NON_ALPHANUMERIC);
        let found = self.get(&format!("/api/v1/query?query={query}"));
        let series = found["data"]["result"].as_array().unwrap();
        series.iter().any(|it| it["value"][1].as_str().is_some_and(|value| value != "NaN"))
    }
}

fn is_ok(answer: &str) -> bool {
    answer.lines().next().is_some_and(|status| status.contains(" 200 "))
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running `ringfence demo`; ends with the test, and its edge with it.
struct Demo {
    child: Child,
    /// Its edge's admin address.
    admin: String,
}

impl Demo {
    fn start() -> Demo {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
        let mut child = command.arg("demo").stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let told = lines.find_map(|line| Some(line.split_once("dashboard  http://")?.1.to_owned()));
        let admin = told.unwrap().trim_end_matches('/').to_owned();
        // a play whose words nobody reads ends
        std::thread::spawn(move || lines.for_each(drop));
        Demo { child, admin }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // SAFETY: no memory is passed; the child is ours and not yet waited for.
        #[allow(unsafe_code)]
        let signalled = unsafe { libc::kill(self.child.id().try_into().unwrap(), libc::SIGTERM) };
        // it takes its edge and its files with it
        let ended = (signalled == 0).then(|| self.child.wait());
        assert!(
            ended.is_some_and(|it| it.is_ok_and(|it| it.success())) || std::thread::panicking()
        );
    }
}

/// What is compared, without the comparison: an alert that does not fire says nothing of whether
/// its numbers exist.
fn left(expression: &str) -> &str {
    let ends = [" > ", " < ", " == "].iter().filter_map(|mark| expression.rfind(mark));
    // one within brackets belongs to what is compared
    let outside = |at: &usize| {
        let rest = &expression[*at..];
        rest.matches(')').count() == rest.matches('(').count()
    };
    ends.filter(outside).max().map_or(expression, |at| &expression[..at])
}

/// The queries of the dashboard, with the panel that each is of.
fn dashboard() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(ours("grafana/ringfence.json")).unwrap();
    let board: Value = serde_json::from_str(&text).unwrap();
    let mut queries = Vec::new();
    for panel in board["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        if panel["type"] == "row" {
            continue;
        }
        assert!(!panel["description"].as_str().unwrap().is_empty(), "{title} says what it shows");
        for target in panel["targets"].as_array().unwrap() {
            queries.push((title.to_owned(), target["expr"].as_str().unwrap().to_owned()));
        }
    }
    for note in board["annotations"]["list"].as_array().unwrap() {
        let name = note["name"].as_str().unwrap().to_owned();
        queries.push((name, left(note["expr"].as_str().unwrap()).to_owned()));
    }
    assert!(queries.len() > 30);
    // what Grafana puts in
    let put = |text: String| {
        let text = text.replace("$__rate_interval", "1m").replace("$__range", "1m");
        text.replace("$instance", ".*")
    };
    queries.into_iter().map(|(title, query)| (title, put(query))).collect()
}

/// What the alerts compare, with the name of each, as Prometheus loaded them.
fn alerts(prometheus: &Prometheus) -> Vec<(String, String)> {
    let groups = prometheus.get("/api/v1/rules")["data"]["groups"].take();
    let rules: Vec<&Value> = groups
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
        .collect();
    assert!(rules.len() > 10, "{groups}");
    let mut queries = Vec::new();
    for rule in rules {
        let name = rule["name"].as_str().unwrap();
        let runbook = rule["annotations"]["runbook"].as_str().unwrap_or_default();
        assert!(runbook.len() > 40 && runbook.ends_with('.'), "{name} says what to do: {runbook}");
        assert!(["page", "ticket"].contains(&rule["labels"]["severity"].as_str().unwrap()));
        let expression = rule["query"].as_str().unwrap();
        let asked = left(expression);
        assert_ne!(asked, expression, "{name} compares something");
        queries.push((name.to_owned(), asked.to_owned()));
    }
    queries
}

/// A little of everything that happens at an edge.
fn happen(edge: &Edge, round: u8) {
    let stranger = Socket::bind(Ipv4Addr::new(127, 0, 7, round), 0);
    let branch = format!("round{round}");
    let options = request("OPTIONS", stranger.address(), &branch, "UDP");
    stranger.send((edge.ip, 5060), &options);
    let arrived = edge.pbx.receive_with(&branch);
    edge.pbx.send((edge.ip, 5080), &answer(&arrived, "401 Unauthorized"));
    stranger.receive_with("401 Unauthorized");
    let scanner = request("INVITE", stranger.address(), "scan", "UDP")
        .replace("User-Agent: Phone", "User-Agent: sipcli/v1.8 no Phone");
    stranger.send((edge.ip, 5060), &scanner);
    // the PBX asks for somebody who is not there
    edge.pbx.send((edge.ip, 5080), &request("OPTIONS", edge.pbx.address(), &branch, "UDP"));
}

#[test]
#[ignore = "needs prometheus: integration-tests/run brings and runs it"]
fn what_the_dashboard_and_the_alerts_ask_for_is_there() {
    let edge = Edge::start("");
    let ban = r#"{"key":"127.0.0.66","for":"1h","why":"rang at night"}"#;
    assert_eq!(edge.ask("POST", "/api/v1/bans", ban).0, 201);
    let prometheus = Prometheus::start(&format!("{}:9060", edge.ip));
    let mut queries = dashboard();
    queries.extend(alerts(&prometheus));
    for round in 1..=u8::MAX {
        happen(&edge, round);
        queries.retain(|(_, query)| !prometheus.has_data(query));
        if queries.is_empty() {
            break;
        }
        std::thread::sleep(AGAIN);
    }
    assert!(queries.is_empty(), "no data for {queries:#?}\n{}", edge.page("/metrics"));
    // the rules were judged, too, and nothing is wrong with this edge
    let groups = prometheus.get("/api/v1/rules")["data"]["groups"].take();
    for rule in groups[0]["rules"].as_array().unwrap() {
        assert_eq!(rule["health"], "ok", "{rule}");
        assert_ne!(rule["state"], "firing", "{rule}");
    }
}

#[test]
#[ignore = "needs prometheus: integration-tests/run brings and runs it"]
fn in_the_demo_all_of_it_finds_data() {
    let demo = Demo::start();
    let prometheus = Prometheus::start(&demo.admin);
    let mut queries = dashboard();
    queries.extend(alerts(&prometheus));
    for _ in 0..TRIES {
        queries.retain(|(_, query)| !prometheus.has_data(query));
        if queries.is_empty() {
            return;
        }
        std::thread::sleep(AGAIN);
    }
    panic!("no data for {queries:#?}");
}

#[test]
#[ignore = "needs prometheus: integration-tests/run brings and runs it"]
fn alerts_fire_when_they_should() {
    for words in [["check", "rules", "ringfence.rules.yml"], ["test", "rules", "rules.test.yml"]] {
        let done = program("promtool")
            .args(words)
            .current_dir(ours("prometheus"))
            .output()
            .expect("promtool: integration-tests/install.sh brings it");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}
