//! What a newcomer does, from `make run` to a policy that he has mended, in a real browser, with a
//! real Asterisk, a real scanner and somebody who guesses. `BLESS_SCREENSHOTS=1` takes the pictures
//! of the documentation.
#![allow(clippy::unwrap_used)] // a test that cannot go on ends

#[allow(dead_code)] // each file of tests uses a part of it
#[path = "common/browser.rs"]
mod browser;

use browser::{Browser, until};
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Where the guesser of `scripts/demo/guess.sh` sits.
const GUESSER: &str = "127.0.0.66";
/// Where the scanner is, and the phones: nobody told them to be elsewhere.
const HERE: &str = "127.0.0.1";
/// The shipped policy; only its shortest bans are longer than this test is on any machine.
const POLICY: &str = "profile: balanced\nbans: { pair_first: 10m }\n";

fn root() -> PathBuf {
    fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).unwrap()
}

/// `make run`, and all that it started; ends with the test.
struct Demonstration {
    script: Child,
    directory: tempfile::TempDir,
    ip: Ipv4Addr,
}

impl Demonstration {
    fn start() -> Demonstration {
        let [high, low] = (std::process::id() as u16).to_be_bytes();
        let ip = Ipv4Addr::new(127, 64 | (high & 0x3f), low, 200);
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("policy.yaml"), POLICY).unwrap();
        let said = File::create(directory.path().join("said")).unwrap();
        let script = Command::new(root().join("scripts/run-demo.sh"))
            .env("OUTSIDE", format!("{ip}:5060"))
            .env("RINGFENCE", env!("CARGO_BIN_EXE_ringfence"))
            .env("DEMO_DIR", directory.path())
            .stdin(Stdio::null())
            .stderr(said.try_clone().unwrap())
            .stdout(said)
            .spawn()
            .unwrap();
        Demonstration { script, directory, ip }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn said(&self) -> String {
        fs::read_to_string(self.file("said")).unwrap()
    }

    /// What follows a word in what `make run` prints.
    fn told(&self, word: &str) -> Option<String> {
        let said = self.said();
        let line = said.lines().find_map(|line| line.trim_start().strip_prefix(word))?;
        Some(line.trim().to_owned())
    }

    /// The attacker that `make run` prints, word for word, for as long as a newcomer has patience.
    fn scans(&self) {
        let words = self.told("An attacker that is known:").unwrap();
        assert!(words.starts_with("svcrack "), "{words}");
        let scan = Command::new("timeout")
            .arg("5")
            .args(words.split(' '))
            .current_dir(self.directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("svcrack: apt-get install sipvicious");
        assert!(!scan.success(), "it found no password");
    }

    /// A phone of the demonstration registers and calls, as `make run` says how.
    fn phone(&self, scenario: &str, words: &[&str]) {
        let outside = format!("{}:5060", self.ip);
        let accounts = format!(
            "SEQUENTIAL\n6001;[authentication username=6001 password=secret6001];{outside}\n"
        );
        fs::write(self.file("6001.csv"), accounts).unwrap();
        let done = Command::new("sipp")
            .arg(&outside)
            .arg("-sf")
            .arg(root().join("scripts/demo").join(scenario))
            .args("-inf 6001.csv -m 1 -nostdin -timeout 20 -timeout_error -i 127.0.0.1".split(' '))
            .args(words)
            .current_dir(self.directory.path())
            .output()
            .expect("sipp: apt-get install sip-tester");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    }
}

impl Drop for Demonstration {
    fn drop(&mut self) {
        #[allow(unsafe_code)]
        // SAFETY: a plain system call; the child is ours and not yet waited for.
        let _ = unsafe { libc::kill(self.script.id().try_into().unwrap(), libc::SIGTERM) };
        let _ = self.script.wait();
    }
}

/// Takes pictures for the documentation, when asked to.
struct Album(bool);

impl Album {
    fn take(&self, browser: &Browser, name: &str) {
        if self.0 {
            // there are no scrollbars in it
            browser.run("document.documentElement.style.scrollbarGutter = 'auto'");
            fs::write(root().join("docs").join(name), browser.picture()).unwrap();
        }
    }

    /// As [`Album::take`], on another screen.
    fn take_as(&self, browser: &Browser, name: &str, size: [u32; 3], scheme: &str) {
        if self.0 {
            let [width, height, scale] = size;
            browser.look_like(width, height, scale, scheme);
            browser.run("scrollTo(0, 0)");
            self.take(browser, name);
            browser.look_like(1280, 900, 1, "light");
        }
    }
}

#[test]
#[ignore = "needs Asterisk, Chromium, sipp and svcrack: integration-tests/run brings and runs it"]
fn a_newcomer_sees_understands_and_changes() {
    let album = Album(std::env::var_os("BLESS_SCREENSHOTS").is_some());
    let demonstration = Demonstration::start();
    let dashboard = until("make run tells where the dashboard is", || {
        assert!(!demonstration.said().contains("run: "), "{}", demonstration.said());
        demonstration.told("Dashboard:")
    });
    let url = dashboard.split(' ').next().unwrap();
    let token = dashboard.rsplit(' ').next().unwrap();

    // He opens the dashboard, and runs a scanner: it is known by its looks, and gets no answer at all.
    let browser = Browser::start();
    browser.look_like(1280, 900, 1, "light");
    browser.go(url);
    browser.until("document.querySelector('#state-title').textContent == 'Serving'");
    // events come each second: what is done from now on is seen
    let curve = "document.querySelector('#forwarded-spark .line')?.getAttribute('d')";
    browser.until(&format!("{curve}?.split('L').length > 3"));
    demonstration.scans();
    browser.until("document.querySelector('#reasons')?.textContent.includes('signature')");
    let feed = format!("#decisions [data-subject='{HERE}']");
    browser.until(&format!("document.querySelector(\"{feed}\")"));
    browser.press(&feed);
    browser.until(
        "document.querySelector('#explain-body').textContent.includes('scanner-user-agent')",
    );
    browser.press("#explain [data-close]");

    // A phone registers and calls from the same address all the same.
    demonstration.phone("register.xml", &["-p", "25061"]);
    demonstration.phone("call.xml", &["-p", "25062", "-s", "100"]);
    browser.until("Number(document.querySelector('#forwarded').textContent) > 3");

    // Somebody who looks like a phone guesses at a password. His ban appears by itself.
    let guesses = Command::new(root().join("scripts/demo/guess.sh"))
        .arg(format!("{}:5060", demonstration.ip))
        .output()
        .unwrap();
    let guesses = String::from_utf8(guesses.stdout).unwrap();
    assert!(guesses.contains("5 of 8 guesses were answered"), "{guesses}");
    browser.until("document.querySelector('#bans tbody tr')");
    assert!(browser.text("#bans tbody").contains(GUESSER));

    // The scanner comes again. Now it is at the address of a phone that is known, so that only its own
    // port is banned from that account, after five passwords; the phone calls on.
    demonstration.scans();
    let scanners = |what: &str| format!("#bans tr:has(th[title*='@{HERE}:']) {what}");
    browser.until(&format!("document.querySelector(\"{}\")", scanners("th")));
    demonstration.phone("call.xml", &["-p", "25064", "-s", "100"]);
    album.take_as(&browser, "dashboard.png", [1280, 1320, 1], "light");
    album.take_as(&browser, "dashboard-dark.png", [1280, 1320, 1], "dark");
    album.take_as(&browser, "dashboard-phone.png", [390, 844, 2], "light");

    // He reads why, and lifts it with the word that `make run` told.
    browser.press(&scanners("[data-action=explain]"));
    browser.until("document.querySelector('#explain-body .ban')");
    let why = browser.text("#explain-body");
    for part in ["refused: wrong password", "REGISTER", "6001@", "scanner-user-agent", "proven"] {
        assert!(why.contains(part), "no {part} in\n{why}");
    }
    let undone = browser.text("#explain").matches("ringfence bans lift").count();
    assert_eq!(undone, 1, "how it is undone is told once");
    album.take(&browser, "dashboard-explain.png");
    browser.press("#explain-acts [data-action=pcap]");
    browser.until("document.querySelector('#toast').textContent.includes('saved as a capture')");
    browser.press("#explain-acts [data-action=lift]");
    browser.press("#lift [data-mercy='forgive=true']");
    browser.until("document.querySelector('#unlock').open");
    browser.press("#token");
    browser.type_in(&format!("{token}\u{e007}"));
    browser.until("!document.querySelector('dialog[open]')");
    browser.until(&format!("!document.querySelector(\"{}\")", scanners("th")));
    assert!(browser.text("#bans tbody").contains(GUESSER), "the guesser's stays");

    // He changes the policy and makes a mistake, which changes nothing and is told where it is.
    let policy = demonstration.told("Policy:").unwrap();
    let policy = Path::new(policy.split(' ').next().unwrap()).to_owned();
    let wrong =
        "profile: strict\nrules:\n  - { name: night, when: { method: INVITE }, then: drop }\n";
    fs::write(&policy, wrong).unwrap();
    browser.until("document.querySelector('#reloads [data-tone=bad]')");
    let told = browser.text("#reloads pre");
    assert!(told.contains("policy.yaml:3"), "{told}");
    assert!(told.contains("did you mean \"methods\"?"), "{told}");
    assert!(browser.text("#policy").contains("balanced"), "the old one acts");
    browser.until("getComputedStyle(document.querySelector('#toast')).opacity == '0'");
    browser.run("document.querySelector('#reloads').scrollIntoView({ block: 'end' })");
    album.take(&browser, "dashboard-reload.png");

    // He mends it, and it acts.
    fs::write(&policy, "profile: strict\n").unwrap();
    browser.until("document.querySelector('#policy').textContent.includes('strict')");
    browser.until("document.querySelector('#reloads [data-tone=good]')");
    demonstration.phone("call.xml", &["-p", "25063", "-s", "100"]);
}
