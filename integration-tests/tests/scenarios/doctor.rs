//! `ringfence doctor` beside a running Asterisk: what it says of a good set-up, and of one with a fault.

use integration_tests::*;
use serde_json::Value;

one_shard!(
    finds_nothing_wrong,
    finds_a_pbx_that_is_down,
    finds_a_trunk_that_is_everybody,
    finds_a_transport_that_is_elsewhere,
);

/// What it says of the machine that the tests run on and of its DNS, whatever that is.
const OF_THE_MACHINE: [&str; 7] =
    ["clock", "file-limit", "receive-buffer", "send-buffer", "steering", "nftables", "name"];

/// What is wrong on every stage, on purpose: the accounts 6201 and 6202 have algorithms of their own.
const OF_THE_STAGE: [(&str, &str); 2] = [("enumeration", "warning"), ("enumeration", "warning")];

/// What it finds on a stage.
struct Findings {
    code: Option<i32>,
    /// Name and severity of what is not as it should be, in the order of their names; without the machine's.
    wrong: Vec<(String, String)>,
    all: Vec<Value>,
}

impl Findings {
    fn of(stage: &Stage) -> Self {
        let etc = stage.directory.join("asterisk/etc").display().to_string();
        let (code, text) = stage.ringfence().try_command(&["doctor", "--json", "--asterisk", &etc]);
        let mut said: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(said["ok"], code == Some(0), "{text}");
        let Value::Array(all) = said["findings"].take() else { panic!("{text}") };
        let word = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
        let told = all.iter().map(|it| (word(it, "id"), word(it, "severity")));
        let is_wrong = |(id, severity): &(String, String)| {
            severity != "ok" && !OF_THE_MACHINE.contains(&id.as_str())
        };
        let mut wrong: Vec<_> = told.filter(is_wrong).collect();
        wrong.sort();
        Findings { code, wrong, all }
    }

    /// Nothing is wrong but what always is.
    #[track_caller]
    fn are_good(&self) {
        self.are(0, &[]);
    }

    /// The exit code, and what is wrong beside what always is.
    #[track_caller]
    fn are(&self, code: i32, more: &[(&str, &str)]) {
        let mut wanted: Vec<_> = OF_THE_STAGE.iter().chain(more).copied().collect();
        wanted.sort_unstable();
        let wrong = self.wrong.iter().map(|(id, severity)| (id.as_str(), severity.as_str()));
        assert_eq!(wrong.collect::<Vec<_>>(), wanted, "{:#?}", self.all);
        assert_eq!(self.code, Some(code));
    }

    /// Something it says of `id`, with that severity.
    #[track_caller]
    fn one(&self, id: &str, severity: &str) -> &Value {
        let is_it = |it: &&Value| it["id"] == id && it["severity"] == severity;
        self.all.iter().find(is_it).unwrap_or_else(|| panic!("no {id}: {:#?}", self.all))
    }
}

fn finds_nothing_wrong(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    alice.register();
    let findings = Findings::of(&stage);
    findings.are_good();
    let pbx = stage.pbx_address();
    for (id, what) in [
        ("pbx-answers", format!("the PBX at {pbx} answered OPTIONS with 401")),
        ("pbx-exposed", "the PBX's port listens on loopback only".to_owned()),
        (
            "enumeration",
            format!("{pbx}: a user who exists and one who does not get the same challenge"),
        ),
    ] {
        assert_eq!(findings.one(id, "ok")["what"], what);
    }
    // and whoever is asked has come to no harm
    alice.register();
    alice.call("100").answered().hang_up();
}

fn finds_a_pbx_that_is_down(mode: Mode) {
    let mut stage = Stage::new(mode);
    stage.pbx_mut().stop();
    let findings = Findings::of(&stage);
    findings.are(1, &[("pbx-answers", "error")]);
    let (found, pbx) = (findings.one("pbx-answers", "error"), stage.pbx_address());
    assert_eq!(found["what"], format!("the PBX at {pbx} does not answer OPTIONS"));
    assert_eq!(
        found["cure"],
        format!("start it, and bind its udp transport to {pbx} (in pjsip.conf: bind = {pbx})")
    );
    // as a person reads it
    let (code, text) = stage.ringfence().try_command(&["doctor", "--asterisk", "nowhere"]);
    assert_eq!(code, Some(1));
    assert!(text.starts_with(&format!("error    pbx-answers          the PBX at {pbx}")), "{text}");
    stage.pbx_mut().resume();
    Findings::of(&stage).are_good();
}

/// What it warns of happens: phones are taken for the trunk.
fn finds_a_trunk_that_is_everybody(mode: Mode) {
    const GOOD: &str = "[carrier]\ntype = endpoint\ncontext = phones\ndirect_media = no\nrtp_symmetric = yes\naors = carrier\n\
                        [carrier]\ntype = aor\n\
                        [carrier]\ntype = identify\nendpoint = carrier\nmatch_header = X-Ringfence-Trunk: carrier\n";
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let answered = || alice.transact(&alice.registration(300)).code();
    stage.pbx().add_trunk(&format!("{GOOD}match = 127.0.0.0/8\n"));
    wait_until("phones are refused", PATIENCE, || answered() == Some(404));
    let findings = Findings::of(&stage);
    findings.are(1, &[("identify-localhost", "error")]);
    let found = findings.one("identify-localhost", "error");
    assert!(found["what"].as_str().unwrap().contains("every phone's registration gets 404"));
    assert_eq!(found["cure"], "remove: match = 127.0.0.0/8");
    assert!(found["place"].as_str().unwrap().ends_with("/etc/trunk.conf:13"), "{found}");
    // so cured
    stage.pbx().add_trunk(GOOD);
    wait_until("phones are asked for their password", PATIENCE, || answered() == Some(401));
    Findings::of(&stage).are_good();
    alice.register();
}

/// Where the edge looks for it nobody is, and the line that says otherwise is named.
fn finds_a_transport_that_is_elsewhere(mode: Mode) {
    let stage = Stage::new(mode);
    let (pbx, other) = (stage.pbx_address(), stage.other_address());
    stage.ringfence().change(&pbx.to_string(), &other.to_string());
    let findings = Findings::of(&stage);
    findings.are(1, &[("pbx-answers", "error"), ("pbx-elsewhere", "warning")]);
    let found = findings.one("pbx-elsewhere", "warning");
    assert_eq!(found["cure"], format!("bind = {pbx}  ->  bind = {other}"));
    assert!(found["place"].as_str().unwrap().contains("/etc/pjsip.conf:"), "{found}");
}
