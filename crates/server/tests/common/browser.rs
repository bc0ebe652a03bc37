//! A real browser: headless Chromium, driven by the WebDriver protocol.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long the browser may take for one answer, and how often it is asked whether something is so.
const PATIENCE: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(50);
const TRIES: usize = 600;

/// A browser with one window; both it and its driver end with the test.
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    pub fn start() -> Browser {
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
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
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
    pub fn run(&self, script: &str) -> Value {
        self.ask("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until an expression is true of the page.
    pub fn until(&self, expression: &str) {
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
    pub fn press(&self, selector: &str) {
        let found = json!({ "using": "css selector", "value": selector });
        let element = self.ask("POST", "/element", &found);
        let id = element.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned();
        self.ask("POST", &format!("/element/{id}/click"), &json!({}));
    }

    /// Types into what has the focus.
    pub fn type_in(&self, text: &str) {
        let element = self.ask("GET", "/element/active", &Value::Null);
        let id = element.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned();
        self.ask("POST", &format!("/element/{id}/value"), &json!({ "text": text }));
    }

    /// Presses a key, wherever the focus is: a character, or one of WebDriver's numbers for others.
    pub fn key(&self, key: char) {
        let [down, up] = ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key }));
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": [down, up] });
        self.ask("POST", "/actions", &json!({ "actions": [keyboard] }));
    }

    /// Goes to a page.
    pub fn go(&self, url: &str) {
        self.ask("POST", "/url", &json!({ "url": url }));
    }

    /// The text that is shown by what a selector names.
    pub fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({})?.innerText ?? ''", json!(selector));
        self.run(&script).as_str().unwrap().to_owned()
    }

    /// Tells the browser something of the DevTools protocol.
    pub fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.ask("POST", "/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    /// Shows the page as on a screen of this size (in CSS pixels, each of `scale` real ones), by
    /// day or by night.
    pub fn look_like(&self, width: u32, height: u32, scale: u32, scheme: &str) {
        let screen = json!({
            "width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 500,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", &screen);
        self.devtools("Emulation.setScrollbarsHidden", &json!({ "hidden": true }));
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": [feature] }));
    }

    /// A picture of what is seen, as PNG.
    pub fn picture(&self) -> Vec<u8> {
        let data = self.ask("GET", "/screenshot", &Value::Null);
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD, data.as_str().unwrap())
            .unwrap()
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

pub fn until<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    for _ in 0..TRIES {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(AGAIN);
    }
    panic!("never: {what}")
}
