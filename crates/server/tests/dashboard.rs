//! The dashboard in a real browser: headless Chromium, driven by the WebDriver protocol.
#![allow(clippy::unwrap_used)] // a test that cannot go on ends

#[path = "common/browser.rs"]
#[allow(dead_code)] // as above
mod browser;
#[allow(dead_code)] // each file of tests uses a part of it
mod common;

use browser::{Browser, until};
use common::{Edge, Socket, answer, request};
use serde_json::{Value, json};
use std::net::Ipv4Addr;

const TOKEN: &str = "a-token-of-forty-two";
/// As much as a decision keeps of a User-Agent.
const SCRIPT: &str = "<img src=x onerror=ran=1><script>ran=1</script>";

/// An edge whose API takes [`TOKEN`].
fn edge() -> (Edge, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, TOKEN).unwrap();
    (Edge::start(&admin(&directory)), directory)
}

fn admin(directory: &tempfile::TempDir) -> String {
    let token = directory.path().join("token");
    format!("admin: {{ listen: \"{{ip}}:9060\", token_file: {} }}", token.display())
}

#[test]
#[ignore = "needs chromium and chromium-driver: integration-tests/run brings and runs it"]
fn hostile_text_stays_text_and_a_ban_is_seen_explained_and_lifted() {
    let (edge, directory) = edge();
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

    // He bans by hand. What he writes wrong is told where he writes it.
    browser.press("#ban-add");
    browser.type_in("127.0.0.300");
    browser.press("#ban-why");
    browser.type_in(&format!("{SCRIPT}\u{e007}"));
    browser.until("document.querySelector('#ban-wrong').textContent.includes('network')");
    browser.run("document.querySelector('#ban-key').value = '127.0.0.99'");
    browser.press("#ban-form [type=submit]");
    browser.until("document.querySelector('#bans tbody tr code')?.textContent == '127.0.0.99'");
    let bans = edge.ask("GET", "/api/v1/bans", "").1;
    assert_eq!((&bans[0]["reason"], &bans[0]["origin"]), (&json!(SCRIPT), &json!("operator")));

    // Panic is loud, and ended here.
    edge.ask("POST", "/api/v1/panic-open", r#"{"for":"10m"}"#);
    browser.until("document.querySelector('#state-title').textContent == 'EVERYTHING PASSES'");
    browser.press("#panic-end");
    browser.until("document.querySelector('#state-title').textContent == 'Serving'");

    // A mistake in the file is told whole.
    edge.configure("sharsd: 7");
    edge.ask("POST", "/api/v1/reload", "");
    browser.until("document.querySelector('#reloads pre')?.textContent.includes('did you mean')");

    // Who only observes is marked, trunks are there, and a drain is asked about twice.
    edge.configure(&format!(
        "{}\ntrunks: [{{ name: carrier, hosts: [\"127.0.0.9\"] }}]\n\
         policy: {{ rules: [{{ name: no-options, when: {{ methods: OPTIONS }}, then: drop, mode: observe }}] }}",
        admin(&directory)
    ));
    edge.ask("POST", "/api/v1/reload", "");
    browser.until("document.querySelector('#rules')?.textContent.includes('observes: would drop')");
    browser.until("document.querySelector('#trunks')?.textContent.includes('1 of 1 targets')");
    browser.press("#drain");
    browser.press("#drain-form [type=submit]");
    // with nothing in passage it has ended before the page asks again
    browser.until(
        "['Draining', 'Not reached'].includes(document.querySelector('#state-title').textContent)",
    );

    assert_eq!(browser.run("return window.ran ?? null"), Value::Null, "nothing of his ran");
    let made = "return document.querySelectorAll('main img, main script, #explain img').length";
    assert_eq!(browser.run(made), json!(0), "and nothing of his is markup");
    let log = browser.ask("POST", "/se/log", &json!({ "type": "browser" }));
    let lines: Vec<&str> =
        log.as_array().unwrap().iter().filter_map(|it| it["message"].as_str()).collect();
    // a refused token, a wrong wish and an edge that has ended are told there, and are all that is
    let told = |line: &&str| [" 401 ", " 400 ", "net::ERR_"].iter().any(|it| line.contains(it));
    assert!(lines.iter().all(told), "{lines:?}");
}

/// Texts that are hard to read on what is behind them: contrast below 4.5 (WCAG 2.2, 1.4.3).
const FAINT: &str = "
    const brush = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const mixed = (colours) => {
      brush.clearRect(0, 0, 1, 1);
      for (const colour of colours) { brush.fillStyle = colour; brush.fillRect(0, 0, 1, 1); }
      return [...brush.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const light = (rgb) => {
      const [r, g, b] = rgb.map((it) => it / 255).map((it) => it <= 0.04045 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4);
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const faint = [];
    for (const element of document.querySelectorAll('body *')) {
      const own = [...element.childNodes].filter((it) => it.nodeType == 3 && it.data.trim());
      if (!own.length || !element.checkVisibility() || element.closest('.unseen, .skip, .toast')) continue;
      const behind = [];
      for (let it = element; it; it = it.parentElement) behind.unshift(getComputedStyle(it).backgroundColor);
      const [one, other] = [light(mixed(behind)), light(mixed([...behind, getComputedStyle(element).color]))];
      const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
      if (contrast < 4.5) faint.push(`${contrast.toFixed(2)}: ${own[0].data.trim()} (${element.className || element.tagName})`);
    }
    return faint";

// WebDriver's keys.
const TAB: char = '\u{e004}';
const ENTER: char = '\u{e007}';
const ESCAPE: char = '\u{e00c}';

#[test]
#[ignore = "needs chromium and chromium-driver: integration-tests/run brings and runs it"]
fn small_screens_the_night_keys_and_screen_readers_are_served() {
    let (edge, _directory) = edge();
    let browser = Browser::start();
    browser.go(&format!("http://{}:9060/", edge.ip));
    browser.until("document.querySelector('#state-title').textContent == 'Serving'");
    let wish = json!({ "key": "2001:db8:ffff:ffff::/64", "for": "1h", "why": "rang at night" });
    assert_eq!(edge.ask("POST", "/api/v1/bans", &wish.to_string()).0, 201);
    let stranger = Socket::bind(Ipv4Addr::new(127, 0, 0, 77), 0);
    let long = "as-long-as-it-gets".repeat(12);
    until("the page shows a decision", || {
        let text = request("OPTIONS", stranger.address(), &format!("{long}{}", branch()), "UDP");
        stranger.send(
            (edge.ip, 5060),
            &text.replace("User-Agent: Phone", &format!("User-Agent: {long}")),
        );
        browser.run("return document.querySelector('#decisions tbody tr') && true").as_bool()
    });
    browser.until("document.querySelector('#bans tbody tr')");

    // Nothing is wider than the screen, and all can be read, by day and by night.
    for scheme in ["light", "dark"] {
        for width in [320, 390, 768, 1280] {
            browser.look_like(width, 900, 1, scheme);
            let wide = browser.run("return document.documentElement.scrollWidth - innerWidth");
            assert!(wide.as_i64().unwrap() <= 0, "{width}: {wide} too wide");
            assert_eq!(browser.run(FAINT), json!([]), "{scheme}, {width}");
        }
    }

    // All that is pressed, written into or read as a whole has a name.
    let tree = browser.devtools("Accessibility.getFullAXTree", &json!({}));
    let named = ["button", "link", "textbox", "searchbox", "combobox", "table", "region", "dialog"];
    let mut met = Vec::new();
    for node in tree["nodes"].as_array().unwrap() {
        let role = node["role"]["value"].as_str().unwrap_or_default();
        if named.contains(&role) && node["ignored"] == false {
            let name = node["name"]["value"].as_str().unwrap_or_default();
            assert!(!name.trim().is_empty(), "{node}");
            met.push(role);
        }
    }
    for role in ["button", "searchbox", "table", "region"] {
        assert!(met.contains(&role), "no {role} in {met:?}");
    }

    // Without a mouse: each stop can be seen, and a dialog gives the focus back.
    let focus =
        |what: &str| browser.run(&format!("const it = document.activeElement; return {what}"));
    browser.key(TAB);
    assert_eq!(focus("it.className"), json!("skip"));
    let mut stops = 1;
    while focus("it.id") != json!("subject") {
        browser.key(TAB);
        stops += 1;
        assert!(stops < 10, "the search is not reached: {}", focus("it.outerHTML"));
        assert_ne!(focus("getComputedStyle(it).outlineStyle"), json!("none"));
    }
    browser.type_in("2001:db8:ffff:ffff::/64");
    browser.key(ENTER);
    browser.until("document.querySelector('#explain-body .ban')");
    assert_eq!(focus("it.closest('dialog')?.id"), json!("explain"));
    assert_eq!(browser.run(FAINT), json!([]), "the explanation");
    browser.key(ESCAPE);
    browser.until("!document.querySelector('dialog[open]')");
    assert_eq!(focus("it.id"), json!("subject"));
    browser.look_like(390, 844, 2, "dark");
    browser.press("#ban-add");
    let high = "return document.querySelector('#ban').getBoundingClientRect().bottom - innerHeight";
    assert!(browser.run(high).as_f64().unwrap() <= 0.0, "a dialog fits a phone");
    assert_eq!(browser.run(FAINT), json!([]), "a dialog by night");
}

/// A number that was not given yet.
fn branch() -> usize {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}
