//! Profiles, rules and trust as they come out of YAML.

use super::profile::SHIPPED;
use crate::{Config, Invalid, Loaded, Overrides, load_str};
use policy::{Admission, Ceiling, ChallengeMode, LimitAnswer, LimitKey, Mode, Rate, Then};
use std::path::Path;
use std::time::Duration;

const BASE: &str = "version: 1\n\
    listen: [{ transport: udp, address: \"127.0.0.1:5060\" }]\n\
    inside: { pbx: [\"127.0.0.1:5070\"] }\n";

fn read(rest: &str) -> Result<Loaded, Invalid> {
    let overrides = Overrides { shards: Some(1), ..Overrides::default() };
    load_str(Path::new("ringfence.yaml"), &format!("{BASE}{rest}"), overrides)
}

fn config(rest: &str) -> Config {
    read(rest).unwrap_or_else(|invalid| panic!("{invalid}")).config
}

fn admission(rest: &str) -> Admission {
    config(rest).policy.admission
}

fn refused(rest: &str) -> String {
    match read(rest) {
        Ok(_) => panic!("it was read: {rest}"),
        Err(invalid) => invalid.to_string(),
    }
}

/// Without the signatures, which no default holds.
fn debug(mut admission: Admission) -> String {
    admission.signatures = policy::Signatures::default();
    format!("{admission:#?}")
}

#[test]
fn balanced_says_what_the_types_say() {
    assert_eq!(debug(admission("")), debug(Admission::default()));
    assert_eq!(debug(admission("policy: { profile: balanced }\n")), debug(Admission::default()));
}

/// A number that the file does not name would come from the types, unseen by who reads the file.
#[test]
fn balanced_names_every_key() {
    let (_, text) = SHIPPED[1];
    let paths = config("").settings();
    let mut seen = 0;
    for (path, _) in paths {
        let Some(path) = path.strip_prefix("policy.") else { continue };
        let mine = [
            "timers",
            "limits",
            "budgets",
            "overload",
            "answer_malformed",
            "source_header",
            "profile",
        ];
        let other = path.starts_with("capacities.") && !path.starts_with("capacities.gate.");
        if mine.iter().any(|part| path.starts_with(part)) || other || path.contains("rules[") {
            continue;
        }
        let key = path.split('[').next().unwrap().rsplit('.').next().unwrap();
        let named = |line: &str| line.trim_start().starts_with(&format!("{key}:"));
        assert!(text.lines().any(named), "{path}");
        seen += 1;
    }
    assert!(seen > 40, "{seen}");
}

#[test]
fn every_profile_reads_and_is_named() {
    let read = SHIPPED.map(|(name, _)| admission(&format!("policy: {{ profile: {name} }}\n")));
    for ((name, _), admission) in SHIPPED.iter().zip(&read) {
        assert_eq!(&*admission.profile, *name);
    }
    let [lenient, balanced, strict] = read;
    assert!(lenient.levels.ban > balanced.levels.ban && balanced.levels.ban > strict.levels.ban);
    assert!(lenient.patience.invite > balanced.patience.invite);
    assert_eq!(strict.edge_challenge.mode, ChallengeMode::Always);
    assert_eq!(strict.edge_challenge.lifetime, balanced.edge_challenge.lifetime);
    assert_eq!(config("policy: { profile: lenient }\n").signatures.at_most, Ceiling::Score);
    let names = |admission: &Admission| -> Vec<_> {
        admission.rules.iter().map(|rule| rule.name.clone()).collect()
    };
    assert_eq!(names(&lenient), names(&balanced));
    assert_eq!(names(&strict), names(&balanced));
}

#[test]
fn a_profile_of_ones_own_starts_from_another_and_is_started_from() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("ours.yaml", "profile: strict\nstorm: 7\nbans: { first: 2h }\ntimers: { t1: 250ms }\n");
    write("policy.yaml", "profile: ours.yaml\nbans: { factor: 2 }\n");
    let file = directory.path().join("ringfence.yaml");
    let text = format!("{BASE}policy: policy.yaml\n");
    let policy = load_str(&file, &text, Overrides::default()).unwrap().config.policy;
    let admission = policy.admission;
    assert_eq!(admission.edge_challenge.mode, ChallengeMode::Always);
    assert_eq!(admission.storm, 7);
    assert_eq!((admission.bans.first, admission.bans.factor), (Duration::from_secs(7_200), 2));
    assert_eq!(policy.timers.t1, Duration::from_millis(250));
    assert!(admission.profile.ends_with("ours.yaml"), "{}", admission.profile);

    write("a.yaml", "profile: b.yaml\n");
    write("b.yaml", "profile: a.yaml\n");
    let invalid = load_str(&file, &format!("{BASE}policy: a.yaml\n"), Overrides::default());
    assert!(invalid.unwrap_err().to_string().contains("start from itself"));
}

#[test]
fn a_rule_changes_the_profiles_rule_of_its_name_in_place() {
    let admission = admission(
        "policy:\n  rules:\n  - { name: bad-user, mode: off }\n  - name: no-messages\n    \
         when: { methods: [message, INFO], who: strangers, at_home: false }\n    then: reject 405\n  \
         - { name: proven-rate, then: { limit: { per: aor, rate: { rate: 5/min, burst: 9 }, answer: retry } } }\n",
    );
    let of = |name: &str| admission.rules.iter().position(|rule| &*rule.name == name).unwrap();
    let default = Admission::default();
    let place = |name: &str| default.rules.iter().position(|rule| &*rule.name == name).unwrap();
    // One new rule stands in front, the others stay where they were.
    assert_eq!(of("no-messages"), 0);
    assert_eq!(of("bad-user"), place("bad-user") + 1);
    assert_eq!(of("proven-rate"), place("proven-rate") + 1);
    let rule = |name: &str| &admission.rules[of(name)];
    assert_eq!(rule("bad-user").mode, Mode::Off);
    assert!(rule("bad-user").when.bad_user, "what is not said stays");
    assert_eq!(rule("bad-user").then, Then::Drop);
    assert_eq!(rule("no-messages").then, Then::Reject(405));
    assert_eq!(rule("no-messages").when.methods.names().collect::<Vec<_>>(), ["INFO", "MESSAGE"]);
    assert_eq!(rule("no-messages").when.at_home, Some(false));
    let rate = Rate { count: 5, per: Duration::from_secs(60), burst: 9 };
    let limit = Then::Limit { per: LimitKey::Aor, rate, answer: LimitAnswer::Retry };
    assert_eq!(rule("proven-rate").then, limit);
    assert_eq!(rule("proven-rate").when, default.rules[place("proven-rate")].when);
}

#[test]
fn operators_and_trunks_are_trusted_under_their_names_once() {
    let text = "admin: { networks: [203.0.113.128/25, \"2001:db8::/48\"] }\n\
        trunks: [{ name: carrier, hosts: [198.51.100.7, \"192.0.2.0/24\", \"[2001:db8:1::9]:5080\", Sip.Carrier.Example., \"Sbc.Example.:5080\"], dids: [+49301234xx] }]\n\
        policy: { dids: [49301234xx, 4940*], trust: { hosts: [_sip._udp.a.example, { host: b.example, name: home }], networks: [10.1.0.0/16, { network: 10.2.0.0/16, name: office }] } }\n";
    let first = config(text);
    let networks = &first.policy.admission.trust.networks;
    let named: Vec<String> =
        networks.iter().map(|(network, name)| format!("{name} {network}")).collect();
    assert_eq!(
        named,
        [
            "trusted 10.1.0.0/16",
            "office 10.2.0.0/16",
            "admin 203.0.113.128/25",
            "admin 2001:db8::/48",
            "carrier 198.51.100.7",
            "carrier 192.0.2.0/24",
            "carrier 2001:db8:1::9",
        ]
    );
    let hosts = &first.policy.admission.trust.hosts;
    let named: Vec<String> = hosts.iter().map(|(host, name)| format!("{name} {host}")).collect();
    assert_eq!(
        named,
        [
            "trusted _sip._udp.a.example",
            "home b.example",
            "carrier sip.carrier.example",
            "carrier sbc.example:5080"
        ]
    );
    assert_eq!(first.policy.admission.dids.patterns, ["49301234xx".into(), "4940*".into()]);
    let overrides = Overrides { shards: Some(1), ..Overrides::default() };
    let second = load_str(Path::new("ringfence.yaml"), &first.to_yaml(), overrides).unwrap().config;
    assert_eq!(format!("{first:?}"), format!("{second:?}"));
}

#[test]
fn signatures_are_capped_and_single_ones_set() {
    let choice = config(
        "policy: { profile: lenient, signatures: { overrides: { zmap: drop, hydra: off, viproy: observe } } }\n",
    )
    .signatures;
    let apply = |id| choice.apply(id, Ceiling::Fast, Mode::Enforce);
    assert_eq!(apply("other"), (Ceiling::Score, Mode::Enforce));
    assert_eq!(apply("zmap"), (Ceiling::Drop, Mode::Enforce));
    assert_eq!(apply("hydra").1, Mode::Off);
    assert_eq!(apply("viproy"), (Ceiling::Score, Mode::Observe));
}

#[test]
fn trust_in_everybody_is_warned_of() {
    let loaded = read("policy: { trust: { networks: [0.0.0.0/0, 10.0.0.0/8] } }\n").unwrap();
    let said: Vec<&str> = loaded.warnings.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(said, ["policy.trust.networks[0]"]);
}

#[test]
fn mistakes_are_answered_with_what_was_meant() {
    for (bad, said) in [
        ("profile: balnced", "did you mean \"balanced\"?"),
        ("edge_challenge: allways", "did you mean \"always\"?"),
        ("mode: off", "\"off\" is no mode"),
        ("levels: { ban: 1 }", "do not ascend"),
        ("bans: { first: 2d }", "first (2d) is longer than longest (1d)"),
        ("patience: { invite: 8 }", "it needs a unit"),
        ("guard: { rate: 5/fortnight }", "is no rate"),
        ("strip_headers: [Via]", "Via cannot be removed"),
        ("strip_headers: [C*]", "is no header name"),
        ("strip_headers: [Co*]", "Contact cannot be removed"),
        ("dids: [+49abc]", "is no number"),
        ("honeytokens: [\"sip:a@b\"]", "without sip:"),
        ("trust: { networks: [203.0.113.1/24] }", "did you mean 203.0.113.0/24"),
        ("campaign: { sources: 1 }", "not between 2 and 64"),
        ("signatures: { overrides: { zmpa: off } }", "did you mean \"zmap\"?"),
        ("signatures: { file: no.yaml }", "no.yaml cannot be read"),
        ("rules: [{ name: x, when: {}, then: dorp }]", "\"dorp\" is no action"),
        ("rules: [{ name: bad-usr, mode: off }]", "rule \"bad-user\" meant?"),
        ("rules: [{ name: X, when: {}, then: drop }]", "lower-case letters"),
        ("rules: [{ name: x, when: {}, then: reject 200 }]", "400 to 699"),
        ("rules: [{ name: x, when: {}, then: { weigh: 1 } }]", "only outcomes weigh"),
        ("rules: [{ name: x, when: { outcome: refused }, then: drop }]", "can only weigh"),
        ("rules: [{ name: x, when: { repeated: true }, then: drop }]", "needs an \"outcome\""),
        ("rules: [{ name: x, when: { who: trusted }, then: drop }]", "are not judged"),
        ("rules: [{ name: x, when: { methods: [] }, then: drop }]", "holds for nothing"),
        ("rules: [{ name: x, when: { methods: [INVIET] }, then: drop }]", "\"INVITE\"?"),
        ("rules: [{ name: x, then: drop }]", "the key \"when\" is missing"),
        ("rules: [{ name: bad-user }, { name: bad-user }]", "stands here already"),
        ("rules: [{ name: x, when: {}, then: { reject: 405, weigh: 1 } }]", "2 actions stand"),
        (
            "rules: [{ name: x, when: {}, then: { limit: { per: ip, rate: 1/s, answer: drop } } }]",
            "source",
        ),
    ] {
        let text = refused(&format!("policy:\n  {bad}\n"));
        assert!(text.contains(said), "{bad}: {text}");
        assert!(text.contains("ringfence.yaml:5:"), "{bad}: {text}");
        assert!(text.contains("policy."), "{bad}: {text}");
    }
}
