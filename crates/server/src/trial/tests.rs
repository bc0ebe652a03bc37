use super::*;
use config::load_policy_str;
use std::path::Path;

/// Each line a test's own keys; the outcome of its only test.
fn outcome(policy: &str, test: &str) -> Outcome {
    let text = format!("{policy}\ntests:\n- name: it\n{test}");
    let loaded = load_policy_str(Path::new("p.yaml"), &text).unwrap_or_else(|e| panic!("{e}"));
    run(&loaded.policy, &loaded.tests[0])
}

const REGISTER: &str = "|\n      REGISTER sip:pbx SIP/2.0\n      \
    Via: SIP/2.0/UDP 203.0.113.66:5060;branch={branch}\n      Max-Forwards: 70\n      \
    From: <sip:1001@pbx>;tag=a{n}\n      To: <sip:1001@pbx>\n      Call-ID: {n}@x\n      \
    CSeq: {n} REGISTER\n      Contact: <sip:1001@203.0.113.66>\n";

#[test]
fn a_request_that_goes_on_is_accepted_and_answered_by_the_pbx() {
    let steps = format!(
        "  steps:\n  - expect: accept\n    pbx: 401\n    send: {REGISTER}  - expect: accept\n    \
         pbx: 200\n    wait: 1h\n    send: {REGISTER}      Authorization: {{credentials}}\n"
    );
    assert_eq!(outcome("", &steps).failure, None);
}

#[test]
fn what_is_otherwise_than_expected_is_told_with_its_line() {
    let steps = format!("  steps:\n  - wait: 1s\n  - expect: drop\n    send: {REGISTER}");
    let told = outcome("", &steps);
    assert_eq!(told.failure.unwrap(), "expected drop, is accept (clean)");
    assert_eq!(told.line, 6);
    let steps = format!("  expect: accept\n  rule: bad-user\n  send: {REGISTER}");
    let told = outcome("", &steps).failure.unwrap();
    assert_eq!(told, "expected the rule \"bad-user\" to decide, is none");
    let told = outcome("", "  steps:\n  - pbx: 200\n").failure.unwrap();
    assert_eq!(told, "no request has reached the PBX");
    let told = outcome("", "  steps:\n  - ack: true\n").failure.unwrap();
    assert_eq!(told, "nothing was answered that could be acknowledged");
    let test = "  expect: drop\n  reason: banned\n  send: hello\n";
    assert_eq!(outcome("", test).failure.unwrap(), "expected banned, is drop (malformed)");
}

#[test]
fn streams_are_framed_and_kept() {
    let steps = format!(
        "  transport: tcp\n  steps:\n  - repeat: 3\n    expect: accept\n    pbx: 401\n    send: {REGISTER}"
    );
    assert_eq!(outcome("", &steps).failure, None);
}

fn shipped(file: &str) -> config::LoadedPolicy {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config").join(file);
    config::load_policy(&file).unwrap_or_else(|invalid| panic!("{invalid}"))
}

#[test]
fn the_shipped_tests_pass() {
    for (file, tests) in
        [("policy-tests.yaml", 9), ("profiles/strict.yaml", 1), ("profiles/lenient.yaml", 1)]
    {
        let loaded = shipped(file);
        let outcomes: Vec<Outcome> =
            loaded.tests.iter().map(|trial| run(&loaded.policy, trial)).collect();
        assert!(outcomes.iter().all(|outcome| outcome.failure.is_none()), "{file}: {outcomes:?}");
        assert_eq!(outcomes.len(), tests, "{file}");
    }
}

/// What the shipped tests show is the gate's doing: where nothing acts they fail.
#[test]
fn the_shipped_tests_fail_where_nothing_acts() {
    let mut loaded = shipped("policy-tests.yaml");
    loaded.policy.admission.mode = policy::Mode::Observe;
    let outcomes = loaded.tests.iter().map(|trial| run(&loaded.policy, trial));
    let failed = outcomes.filter(|outcome| outcome.failure.is_some()).count();
    assert_eq!(failed, 6, "the attackers'");
}

/// The YAML of the pages about policies is what an operator copies: it loads, and its tests pass.
#[test]
fn the_tests_of_the_documentation_pass() {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/policy/tests.md");
    let text = std::fs::read_to_string(pages).unwrap();
    let blocks: Vec<&str> = text.split("```yaml\n").skip(1).collect();
    let mut seen = 0;
    for block in blocks {
        let yaml = block.split("```").next().unwrap();
        let loaded = load_policy_str(Path::new("tests.md"), yaml).unwrap();
        for trial in &loaded.tests {
            assert_eq!(run(&loaded.policy, trial).failure, None, "{}", trial.name);
            seen += 1;
        }
    }
    assert_eq!(seen, 3);
}

/// An edge with a group for each kind of rule, PBXs over UDP, TCP and TLS among them.
const GROUPS: &str = r#"version: 1
listen:
  - { transport: udp, address: "203.0.113.1:5060" }
  - { transport: udp, address: "203.0.113.2:5060" }
inside:
  pbx:
    - { name: first, address: "127.0.0.1:5070" }
    - { name: spare, address: "127.0.0.1:5071", priority: 1 }
  groups:
    - { name: numbers, pbx: [{ name: by-number, address: "127.0.0.2:5070" }], for: { dids: ["4940123xx"] } }
    - { name: offices, pbx: [{ name: by-domain, address: "127.0.0.3:5070", transport: tcp }], for: { domains: [office.example] } }
    - { name: lines, pbx: [{ name: by-listener, address: "127.0.0.4:5071", transport: tls }], for: { listeners: ["203.0.113.2:5060"] } }
    - { name: carriers, pbx: [{ name: by-trunk, address: "127.0.0.5:5070" }], for: { trunks: [carrier] } }
trunks: [{ name: carrier, hosts: [198.51.100.0/24], source: 127.0.0.9 }]
policy:
  tests:
"#;

/// Each with its own keys; what became of it.
fn outcomes(config: &str, tests: &[String]) -> Vec<Option<String>> {
    let tests: String = tests.iter().map(|it| format!("  - name: it\n{it}")).collect();
    let text = format!("{config}{tests}");
    let loaded = load_policy_str(Path::new("c.yaml"), &text).unwrap_or_else(|e| panic!("{e}"));
    loaded.tests.iter().map(|trial| run(&loaded.policy, trial).failure).collect()
}

/// A call to that, by this sender.
fn invite(uri: &str, from: &str) -> String {
    format!(
        "|\n      INVITE {uri} SIP/2.0\n      Via: SIP/2.0/UDP {from};branch={{branch}}\n      \
         Max-Forwards: 70\n      From: <sip:1001@pbx>;tag=a{{n}}\n      To: <{uri}>\n      \
         Call-ID: {{n}}@x\n      CSeq: {{n}} INVITE\n      Contact: <sip:1001@{from}>\n      \
         User-Agent: Snom\n      Allow: INVITE, ACK, BYE, CANCEL\n"
    )
}

#[test]
fn a_request_goes_where_the_edges_groups_send_it() {
    let (phone, carrier) = ("203.0.113.66:5060", "198.51.100.7:5060");
    let step = |uri, from, to: &str, at: &str| {
        format!(
            "    steps:\n    - expect: accept\n      from: {from}\n{to}      at: {at}\n      pbx: 401\n      \
             send: {}    - expect: absorb\n      from: {from}\n{to}      ack: true\n",
            invite(uri, from).replace("\n      ", "\n        ")
        )
    };
    let second = "      to: 203.0.113.2:5060\n";
    let tests = [
        step("sip:100@pbx", phone, "", "first"),
        step("sip:494012345@pbx", phone, second, "by-number"),
        step("sip:100@Office.example", phone, "", "by-domain"),
        step("sip:100@pbx", phone, second, "by-listener"),
        step("sip:100@pbx", carrier, "", "by-trunk"),
    ];
    assert_eq!(outcomes(GROUPS, &tests), vec![None; tests.len()]);
    let wrong = [
        step("sip:100@pbx", phone, "", "spare"),
        step("sip:100@pbx", phone, "      to: 203.0.113.3:5060\n", "first"),
    ];
    let told: Vec<_> = outcomes(GROUPS, &wrong).into_iter().map(Option::unwrap).collect();
    assert_eq!(
        told,
        [
            "expected that it goes to the PBX \"spare\", is first",
            "nothing listens at 203.0.113.3:5060 over udp"
        ]
    );
}

/// PBXs that answer when they are asked whether they serve: time that goes by takes none of them down.
#[test]
fn the_pbxs_of_a_test_are_alive() {
    let phone = "203.0.113.66:5060";
    let send = invite("sip:100@office.example", phone).replace("\n      ", "\n        ");
    let call =
        format!("    - expect: accept\n      at: by-domain\n      pbx: 401\n      send: {send}");
    let test = format!("    steps:\n{call}    - ack: true\n      wait: 1h\n{call}");
    assert_eq!(outcomes(GROUPS, &[test]), [None]);
}
