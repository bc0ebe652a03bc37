//! The dashboard in a real browser: headless Chromium, driven by the WebDriver protocol.
#![allow(clippy::unwrap_used)] // a test that cannot go on ends

#[allow(dead_code)] // each file of tests uses a part of it
mod common;

use common::{Edge, Socket, answer, request};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const TOKEN: &str = "a-token-of-forty-two";
/// As much as a decision keeps of a User-Agent.
const SCRIPT: &str = "<img src=x onerror=ran=1><script>ran=1</script>";
/// How long the browser may take for one answer, and how often it is asked whether something is so.
const PATIENCE: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(50);
const TRIES: usize = 600;

/// A browser with one window; both it and its driver end with the test.
struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    fn start() -> Browser {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver: apt-get install chromium chromium-driver");
        let profile = tempfile::tempdir().unwrap();
        let session = String::new();
        let mut browser = Browser { driver, port, session, _profile: profile };
        let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        until("the driver listens", || listens().then_some(()));
        let profile = format!("--user-data-dir={}", browser._profile.path().display());
        let mut words = vec![profile.as_str()];
        words.extend(
            "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run".split(' '),
        );
        words.extend("--disable-background-networking --disable-component-update".split(' '));
        words.extend("--disable-sync --no-proxy-server --window-size=1280,900".split(' '));
        let wish = json!({ "capabilities": { "alwaysMatch": {
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "args": words },
        } } });
        let session = browser.ask("POST", "", &wish);
        browser.session = format!("/{}", session["sessionId"].as_str().unwrap());
        browser
    }

    /// Asks the driver for something of this session.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            stream,
            "{method} /session{}{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\
             \r\n{body}",
            self.session,
            body.len()
        )
        .unwrap();
        // the driver keeps the connection
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        let mut length = 0;
        reader.read_line(&mut line).unwrap();
        let status = line.clone();
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).unwrap();
            let (name, value) = line.split_once(':').unwrap_or_default();
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let body = String::from_utf8(body).unwrap();
        assert!(status.starts_with("HTTP/1.1 200"), "{path}: {body}");
        serde_json::from_str::<Value>(&body).unwrap()["value"].take()
    }

    /// What a script says.
    fn run(&self, script: &str) -> Value {
        self.ask("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until an expression is true of the page.
    fn until(&self, expression: &str) {
        let script = format!("return Boolean({expression})");
        for _ in 0..TRIES {
            if self.run(&script) == json!(true) {
                return;
            }
            std::thread::sleep(AGAIN);
        }
        panic!("never {expression} in\n{}", self.run("return document.body.innerText"));
    }

    /// Presses what a selector names, as a person does: it must be there to be pressed.
    fn press(&self, selector: &str) {
        let found = json!({ "using": "css selector", "value": selector });
        let element = self.ask("POST", "/element", &found);
        let id = element.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned();
        self.ask("POST", &format!("/element/{id}/click"), &json!({}));
    }

    /// Types into what has the focus.
    fn type_in(&self, text: &str) {
        let element = self.ask("GET", "/element/active", &Value::Null);
        let id = element.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned();
        self.ask("POST", &format!("/element/{id}/value"), &json!({ "text": text }));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.ask("DELETE", "", &Value::Null);
        }
        // It takes the browser with it.
        #[allow(unsafe_code)]
        // SAFETY: a plain system call; the child is ours and not yet waited for.
        let _ = unsafe { libc::kill(self.driver.id().try_into().unwrap(), libc::SIGTERM) };
        let _ = self.driver.wait();
    }
}

fn until<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    for _ in 0..TRIES {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(AGAIN);
    }
    panic!("never: {what}")
}

/// An edge whose API takes [`TOKEN`].
fn edge() -> (Edge, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, TOKEN).unwrap();
    let extra = format!("admin: {{ listen: \"{{ip}}:9060\", token_file: {} }}", token.display());
    (Edge::start(&extra), directory)
}

#[test]
#[ignore = "needs chromium and chromium-driver: integration-tests/run brings and runs it"]
fn hostile_text_stays_text_and_a_ban_is_seen_explained_and_lifted() {
    let (edge, _directory) = edge();
    let browser = Browser::start();
    browser.ask("POST", "/url", &json!({ "url": format!("http://{}:9060/", edge.ip) }));
    browser.until("document.querySelector('#state-title').textContent == 'Serving'");
    let why = format!("rang at night {SCRIPT}");
    let wish = json!({ "key": "127.0.0.66", "for": "1h", "why": why }).to_string();

    // Whoever attacks writes what he likes. It is shown, as text.
    let stranger = Socket::bind(Ipv4Addr::new(127, 0, 0, 66), 0);
    let hostile = request("OPTIONS", stranger.address(), "hostile", "UDP")
        .replace("User-Agent: Phone", &format!("User-Agent: {SCRIPT} Phone"))
        .replace("From: <", "From: \"<script>ran=1</script>\" <");
    // the stream tells what comes once it is followed: the first may be too early
    until("the page shows the decision", || {
        stranger.send((edge.ip, 5060), &hostile.replace("hostile", &format!("p{}", branch())));
        let script = "return document.querySelector('#decisions tbody .agent')?.textContent";
        browser.run(script).as_str().filter(|agent| agent.contains(SCRIPT)).map(|_| ())
    });
    let (text, from) = edge.pbx.receive();
    edge.pbx.send(from, &answer(&text, "200 OK"));

    // A ban appears by itself, and is explained.
    assert_eq!(edge.ask("POST", "/api/v1/bans", &wish).0, 201);
    browser.until("document.querySelector('#bans tbody tr')");
    let row = browser.run("return document.querySelector('#bans tbody tr').textContent");
    assert!(row.as_str().unwrap().contains(&why), "{row}");
    browser.press("#bans [data-action=explain]");
    browser.until("document.querySelector('#explain-body .ban')");
    let told = browser.run("return document.querySelector('#explain-body').textContent");
    assert!(told.as_str().unwrap().contains(&why) && told.as_str().unwrap().contains("operator"));
    assert!(told.as_str().unwrap().contains(SCRIPT), "{told}");

    // Nobody lifts it without the token.
    browser.press("#explain-acts [data-action=lift]");
    browser.press("#lift [data-mercy='trust=24h']");
    browser.until("document.querySelector('#unlock').open");
    browser.press("#token");
    browser.type_in("not-the-token-at-all\u{e007}");
    browser.until("document.querySelector('#unlock-wrong').textContent.includes('not know')");
    assert_eq!(edge.ask("GET", "/api/v1/bans", "").1.as_array().unwrap().len(), 1);
    browser.run("document.querySelector('#token').value = ''");
    browser.press("#token");
    browser.type_in(&format!("{TOKEN}\u{e007}"));
    browser.until("document.querySelector('#toast').textContent.includes('trusted until')");
    browser.until("!document.querySelector('dialog[open]')");
    browser.until("!document.querySelector('#bans tbody tr')");
    assert_eq!(edge.ask("GET", "/api/v1/bans", "").1, json!([]));
    assert_eq!(edge.ask("POST", "/api/v1/bans", &wish).0, 409, "he is trusted now");

    // Panic is loud, and ended here.
    edge.ask("POST", "/api/v1/panic-open", r#"{"for":"10m"}"#);
    browser.until("document.querySelector('#state-title').textContent == 'EVERYTHING PASSES'");
    browser.press("#panic-end");
    browser.until("document.querySelector('#state-title').textContent == 'Serving'");

    // A mistake in the file is told whole.
    edge.configure("sharsd: 7");
    edge.ask("POST", "/api/v1/reload", "");
    browser.until("document.querySelector('#reloads pre')?.textContent.includes('did you mean')");

    assert_eq!(browser.run("return window.ran ?? null"), Value::Null, "nothing of his ran");
    let made = "return document.querySelectorAll('main img, main script, #explain img').length";
    assert_eq!(browser.run(made), json!(0), "and nothing of his is markup");
    let log = browser.ask("POST", "/se/log", &json!({ "type": "browser" }));
    let lines: Vec<&str> =
        log.as_array().unwrap().iter().filter_map(|it| it["message"].as_str()).collect();
    // a refused token is told there as an error, and is all that is
    assert!(lines.iter().all(|line| line.contains(" 401 ")), "{lines:?}");
}

/// A number that was not given yet.
fn branch() -> usize {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}
