//! Scanners as they are installed, and datagrams of those that cannot be. Each runs against the
//! shipped policy and against one that does not know what tools look like.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Instant;

use super::*;

/// Tests of one tool, each with other arguments.
macro_rules! runs {
    ($($name:ident: $title:literal, $tool:literal, [$($argument:literal),*], $guesses:literal;)*) => {$(
        #[test]
        fn $name() {
            let guesses = all_policies($title, $tool, &[$($argument),*]);
            assert!(guesses <= $guesses, "{guesses} guesses came through");
        }
    )*};
}

runs! {
    svmap_options: "svmap -m OPTIONS", "svmap", ["-m", "OPTIONS"], 0;
    svmap_invite: "svmap -m INVITE", "svmap", ["-m", "INVITE"], 0;
    svmap_register: "svmap -m REGISTER", "svmap", ["-m", "REGISTER"], 0;
    svwar_register: "svwar -m REGISTER, 101 extensions",
        "svwar", ["--force", "-e", "6000-6100", "-m", "REGISTER"], 0;
    svwar_invite: "svwar -m INVITE, 101 extensions",
        "svwar", ["--force", "-e", "6000-6100", "-m", "INVITE"], 0;
    svwar_options: "svwar -m OPTIONS, 101 extensions",
        "svwar", ["--force", "-e", "6000-6100", "-m", "OPTIONS"], 0;
    svcrack_dictionary: "svcrack, dictionary", "svcrack", ["-u", "6001", "-d", "words.txt"], 5;
    svcrack_range: "svcrack, range", "svcrack", ["-u", "6001", "-r", "1-200"], 5;
    svcrack_reused_nonce: "svcrack, reused nonce", "svcrack", ["-n", "-u", "6001", "-r", "1-200"], 5;
    hydra: "hydra sip", "hydra", ["-I", "-l", "6001", "-P", "words.txt", "-t", "2"], 5;
    nmap: "nmap sip-methods, sip-enum-users", "nmap",
        ["-sU", "-p", "5060", "-n", "-Pn", "-e", "lo", "--script", "sip-methods,sip-enum-users"], 0;
}

/// Runs it against the shipped policy, one that does not know what tools look like, and one that
/// answers strangers at length, too: less than ten messages reach the PBX under any. The most
/// guesses at passwords among them.
fn all_policies(title: &str, tool: &'static str, arguments: &[&str]) -> usize {
    let shipped = run(&Stage::new(Mode::Edge), title, "shipped policy", tool, arguments);
    assert_eq!(shipped, (0, 0), "the shipped policy let it through");
    let answering = SWIFT.replace("policy: {", "policy: { proof: { amplify: true },");
    let lax = [("no signatures", SWIFT), ("and long answers", &answering)];
    let guesses = lax.map(|(name, policy)| {
        let stage = Plan::new(Mode::Edge).with(policy).start();
        let (arrived, guesses) = run(&stage, title, name, tool, arguments);
        assert!(arrived < 10, "{name}: {arrived} messages reached the PBX");
        guesses
    });
    guesses.into_iter().max().unwrap()
}

/// Runs it beside a phone; how many of its messages, and guesses among them, reached the PBX.
fn run(
    stage: &Stage,
    title: &str,
    policy: &str,
    tool: &'static str,
    arguments: &[&str],
) -> (usize, usize) {
    stage.pbx().listen_in();
    let alice = settled(stage, "6001");
    let host = stage.network.far(0).to_string();
    let words: String = (0..200).map(|n| format!("word{n}\n")).collect();
    std::fs::write(stage.directory.join("words.txt"), words).unwrap();
    let mut command = Command::new("timeout");
    command
        .args([if tool == "nmap" { "25" } else { "6" }, tool])
        .args(arguments)
        .current_dir(&stage.directory);
    command.env("BIND", &host).env("PYTHONPATH", concat!(env!("CARGO_MANIFEST_DIR"), "/scanners"));
    match tool {
        "nmap" => command.args(["-S", &host]).arg(stage.public().to_string()),
        "hydra" => command.arg(format!("sip://{}", stage.public())),
        _ => command.args(["-x", &host]).arg(stage.public().to_string()),
    };
    let (before, began) = (judged(stage), Instant::now());
    let mut child = Child::start(tool, &command, &stage.directory.join("tool.log"));
    child.wait();
    let took = began.elapsed().as_secs_f32();
    let sent = judged(stage);
    let since = |what: &String| before.get(what).copied().unwrap_or_default();
    let sent: BTreeMap<_, _> = sent
        .into_iter()
        .map(|(what, count)| (what.clone(), count - since(&what)))
        .filter(|(_, count)| *count > 0)
        .collect();
    assert!(!sent.is_empty(), "{tool} sent nothing: {}", child.output());
    works(stage, &alice);
    let own = alice.local().ip();
    let mut heard = stage.pbx().heard_at();
    heard.retain(|(_, m)| source_of(m).is_some_and(|source| source.ip() != own));
    let guess = |(_, message): &&(_, Message)| message.header("Authorization").is_some();
    let (arrived, guesses) = (heard.len(), heard.iter().filter(guess).count());
    // from the first of them to the last: until it was stopped
    let within = match (heard.first(), heard.last()) {
        (Some((first, _)), Some((last, _))) => last.saturating_sub(*first).as_millis(),
        _ => 0,
    };
    let all: usize = sent.values().sum();
    let became: Vec<_> = sent.iter().map(|(what, count)| format!("{count} {what}")).collect();
    report(
        "scanners",
        &format!(
            "{title:36} {policy:16} {all:4} sent, {arrived:2} reached the PBX, {guesses:2} guesses, within {within:4} ms, in {took:4.1} s: {}",
            became.join(", ")
        ),
    );
    (arrived, guesses)
}

/// What the edge decided about all that came from outside so far: how often, by verdict and reason.
fn judged(stage: &Stage) -> BTreeMap<String, usize> {
    let page = stage.ringfence().fetch("/metrics");
    let mut judged = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("ringfence_requests_total{")) {
        let label = |name: &str| {
            let value = line.split_once(&format!("{name}=\""))?.1.split_once('"')?.0;
            Some(value.to_owned())
        };
        let what = ["verdict", "reason"].map(|name| label(name).unwrap_or_default()).join(" ");
        let count = line.rsplit(' ').next().and_then(|count| count.parse::<usize>().ok());
        *judged.entry(what).or_default() += count.unwrap_or_default();
    }
    judged
}

/// None is answered, none reaches the PBX.
#[test]
fn datagrams_of_tools() {
    let stage = Stage::new(Mode::Edge);
    stage.pbx().listen_in();
    let alice = settled(&stage, "6001");
    let text = include_str!("../../../scanners/datagrams.txt");
    let mut failed = Vec::new();
    for (n, tool) in text.split("\n=== ").skip(1).enumerate() {
        let (name, datagram) = tool.split_once('\n').unwrap();
        let scanner = stage.stranger(n as u16);
        let datagram = datagram
            .replace("@SERVER@", &stage.public().to_string())
            .replace("@SOURCE@", &scanner.local().to_string())
            .replace("@HOST@", &scanner.local().ip().to_string());
        let datagram = datagram.trim_end_matches('\n').to_owned() + "\n\n";
        match name {
            "shadowserver_bare" => scanner.send_bytes(b"OPTIONS"),
            name if name.ends_with("-lf") => scanner.send_bytes(datagram.as_bytes()),
            _ => scanner.send_bytes(datagram.replace('\n', "\r\n").as_bytes()),
        }
        works_quickly(&alice);
        let (arrived, answers) = (stage.pbx().heard_from(scanner.local().ip()), scanner.take_all());
        report(
            "scanners",
            &format!(
                "{name:36} shipped policy   {:4} reached the PBX, {} answers",
                arrived.len(),
                answers.len()
            ),
        );
        if !arrived.is_empty() || !answers.is_empty() {
            failed.push(name);
        }
    }
    assert_eq!(failed, Vec::<&str>::new(), "let through or answered");
    works(&stage, &alice);
}

fn works_quickly(phone: &Ua) {
    phone.register();
}

/// What admins and carriers watch with is answered.
#[test]
fn sipsak_is_answered() {
    let stage = Stage::new(Mode::Edge);
    let (host, log) = (stage.network.far(0), stage.directory.join("sipsak.log"));
    let mut command = Command::new("sipsak");
    command.args(["-v", "-k", &host.to_string(), "-s", &format!("sip:100@{}", stage.public())]);
    let mut sipsak = Child::start("sipsak", &command, &log);
    sipsak.wait();
    assert!(sipsak.output().contains("SIP/2.0 401"), "{}", sipsak.output());
}

edge!(one_guess_each);

/// Five hundred addresses, one guess each at one AOR: few come through, and its own phone works all
/// the while.
fn one_guess_each(mode: Mode) {
    let stage = Plan::new(mode).with(SWIFT).start();
    stage.pbx().listen_in();
    let alice = settled(&stage, "6001");
    for n in 0..500 {
        let guesser = Guesser::new(&stage, n);
        guesser.guess("6001", &format!("word{n}"));
        if n % 100 == 99 {
            works(&stage, &alice);
        }
    }
    let own = alice.local().ip();
    let guesses = stage
        .pbx()
        .heard()
        .iter()
        .filter(|m| {
            source_of(m).is_some_and(|source| source.ip() != own)
                && m.header("Authorization").is_some()
        })
        .count();
    report(
        "scanners",
        &format!(
            "{mode:?}, 500 addresses, one guess each at one AOR: {guesses} guesses came through"
        ),
    );
    assert!(guesses <= 25, "{guesses} guesses came through");
    works(&stage, &alice);
}

/// An address that tries a password.
struct Guesser(Stranger);

impl Guesser {
    fn new(stage: &Stage, n: u16) -> Self {
        Guesser(stage.stranger(n))
    }

    /// One REGISTER, and once more with a password.
    fn guess(&self, user: &str, password: &str) {
        let Guesser(host) = self;
        let wait = std::time::Duration::from_millis(20);
        let mut request = Message::request("REGISTER", "sip:pbx.test")
            .with("Via", format!("SIP/2.0/UDP {};branch=z9hG4bK{};rport", host.local(), unique()))
            .with("Max-Forwards", "70")
            .with("From", format!("<sip:{user}@pbx.test>;tag={}", unique()))
            .with("To", format!("<sip:{user}@pbx.test>"))
            .with("Call-ID", unique())
            .with("CSeq", "1 REGISTER")
            .with(
                "User-Agent",
                "Ringfence test phone, and as long a name as it takes for an answer at once: "
                    .repeat(3),
            )
            .with("Contact", format!("<sip:{user}@{}>", host.local()))
            .with("Expires", "300");
        host.send(&request);
        let Some(challenge) = host.receive(wait).filter(|m| m.code() == Some(401)) else { return };
        request
            .set("Via", format!("SIP/2.0/UDP {};branch=z9hG4bK{};rport", host.local(), unique()));
        request.set("CSeq", "2 REGISTER");
        let value = credentials(
            challenge.value("WWW-Authenticate"),
            "REGISTER",
            "sip:pbx.test",
            user,
            password,
            1,
        );
        host.send(&request.with("Authorization", value));
        let _ = host.receive(wait);
    }
}
