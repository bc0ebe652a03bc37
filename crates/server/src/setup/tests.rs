//! Every finding is provoked, and nothing is found where all is well.

use super::advice::{Severity, Wanted, advise};
use super::doctor::{judge, of_asterisk};
use super::facts::{
    Facts, Heard, Listening, PbxFacts, Reached, ask, ask_by_stream, connected, ends, sockets,
};
use super::init::{Plan, carrier, is_somebody};
use ::asterisk::Pjsip;
use config::{Config, Overrides};
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use wire::Transport;

const YAML: &str = "version: 1\nshards: 2\nlisten: [{ transport: udp, address: \"203.0.113.1:5060\" }]\n\
    inside: { pbx: [\"127.0.0.1:5070\"] }\n";
const NOW: u64 = 1_800_000_000;

fn config(yaml: &str) -> Config {
    let overrides = Overrides { shards: None, certificates_unread: true };
    config::load_str(Path::new("ringfence.yaml"), yaml, overrides).unwrap().config
}

fn pjsip(text: &str) -> Pjsip {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("pjsip.conf"), text).unwrap();
    Pjsip::read(directory.path()).unwrap()
}

fn heard(realm: &str, algorithm: &str) -> Heard {
    Heard { status: 401, challenges: vec![(realm.into(), algorithm.into())] }
}

fn listening(address: &str) -> Listening {
    Listening { protocol: "udp", address: address.parse().unwrap() }
}

fn answering(address: &str) -> PbxFacts {
    let heard = || heard("asterisk", "MD5");
    PbxFacts {
        place: address.into(),
        address: address.parse().unwrap(),
        transport: Transport::Udp,
        reached: Reached::Answered(heard()),
        users: Some((heard(), heard())),
    }
}

/// A machine on which all is well.
fn well() -> Facts {
    Facts {
        sockets: vec![listening("127.0.0.1:5070"), listening("203.0.113.1:5060")],
        pbx: vec![answering("127.0.0.1:5070")],
        rmem_max: Some(64 << 20),
        wmem_max: Some(64 << 20),
        files: Some(10_000_000),
        clock: (NOW, Some(true)),
        nftables: true,
        certificates: vec![(PathBuf::from("a.pem"), Ok(NOW + 90 * 86_400))],
        ..Facts::default()
    }
}

/// What is wrong: the findings' names and severities.
fn wrong(yaml: &str, facts: &Facts) -> Vec<(&'static str, Severity)> {
    let findings = judge(&config(yaml), facts);
    for finding in findings.iter().filter(|finding| finding.severity > Severity::Notice) {
        assert!(!finding.cure.is_empty(), "no cure: {finding:?}");
    }
    let bad = findings.iter().filter(|finding| finding.severity > Severity::Ok);
    bad.map(|finding| (finding.id, finding.severity)).collect()
}

#[test]
fn nothing_is_found_where_all_is_well() {
    assert_eq!(wrong(YAML, &well()), []);
}

#[test]
fn each_fault_of_the_machine_is_found() {
    use Severity::{Error, Notice, Warning};
    type Fault = (&'static str, Severity, fn(&mut Facts));
    let faults: [Fault; 17] = [
        ("pbx-answers", Error, |facts| facts.pbx[0].reached = Reached::Silent),
        ("pbx-exposed", Error, |facts| facts.sockets.push(listening("0.0.0.0:5070"))),
        ("pbx-exposed", Error, |facts| facts.sockets.push(listening("[::]:5070"))),
        ("enumeration", Warning, |facts| {
            facts.pbx[0].users = Some((heard("asterisk", "SHA-256"), heard("asterisk", "MD5")));
        }),
        ("sources-hidden", Error, |facts| facts.sources = vec!["172.17.0.1".parse().unwrap(); 3]),
        ("clock", Warning, |facts| facts.clock.1 = Some(false)),
        ("clock", Error, |facts| {
            facts.clock.0 = 1_000;
            facts.certificates.clear();
        }),
        ("file-limit", Warning, |facts| facts.files = Some(1_024)),
        ("receive-buffer", Warning, |facts| facts.rmem_max = Some(212_992)),
        ("send-buffer", Warning, |facts| facts.wmem_max = Some(212_992)),
        ("steering", Error, |facts| facts.steering = Some("not permitted".into())),
        ("nftables", Notice, |facts| facts.nftables = false),
        ("state", Warning, |facts| facts.state = Some("it is not there".into())),
        ("certificate", Warning, |facts| facts.certificates[0].1 = Ok(NOW + 5 * 86_400)),
        ("certificate", Error, |facts| facts.certificates[0].1 = Ok(NOW - 86_400)),
        ("listen-address", Error, |facts| facts.foreign = vec!["203.0.113.1".parse().unwrap()]),
        ("name", Warning, |facts| facts.unresolved = vec!["carrier.example".into()]),
    ];
    for (id, severity, fault) in faults {
        let mut facts = well();
        fault(&mut facts);
        assert_eq!(wrong(YAML, &facts), [(id, severity)]);
    }
    let yaml = format!("{YAML}\naudit: {{}}\n");
    assert_eq!(wrong(&yaml, &well()), []);
    let unwritable = Facts { audit: Some("it is not there".into()), ..well() };
    assert_eq!(wrong(&yaml, &unwritable), [("audit", Warning)]);
    let unreadable = Facts { certificates: vec![("a.pem".into(), Err("no PEM".into()))], ..well() };
    assert_eq!(wrong(YAML, &unreadable), [("certificate", Error)]);
}

#[test]
fn what_is_no_fault_is_not_found() {
    // several connections of one office, of one machine, or of many
    for sources in [
        &["198.51.100.7"; 3][..],
        &["127.0.0.1"; 3],
        &["10.0.0.1"; 2],
        &["10.0.0.1", "10.0.0.2", "10.0.0.3"],
    ] {
        let sources = sources.iter().map(|one| one.parse::<IpAddr>().unwrap()).collect();
        assert_eq!(wrong(YAML, &Facts { sources, ..well() }), []);
    }
    let steering = Some("not permitted".to_owned());
    let one_shard = YAML.replace("shards: 2", "shards: 1");
    assert_eq!(wrong(&one_shard, &Facts { steering, ..well() }), []);
}

#[test]
fn a_pbx_elsewhere_and_a_private_listener_are_told() {
    let elsewhere = "version: 1\nlisten: [{ transport: udp, address: \"10.0.0.1:5060\" }]\n\
        inside: { address: \"10.0.0.1:5080\", pbx: [\"10.0.0.2:5070\"] }\n";
    let expected = [("pbx-not-local", Severity::Warning), ("advertise", Severity::Notice)];
    assert_eq!(wrong(elsewhere, &well()), expected);
}

/// As `docs/asterisk.md` has it.
const GOOD: &str = "[udp]\ntype=transport\nprotocol=udp\nbind=127.0.0.1:5070\nexternal_media_address=203.0.113.1\n\
    [phone](!)\ntype=endpoint\ndirect_media=no\nrtp_symmetric=yes\n\
    [6001](phone)\nauth=6001\naors=6001\n[6001]\ntype=auth\nusername=6001\n[6001]\ntype=aor\nmax_contacts=1\n";

fn wanted(text: &str) -> Wanted {
    Wanted {
        pbx: "127.0.0.1:5070".parse().unwrap(),
        inside: "127.0.0.1:5080".parse().unwrap(),
        public: Some("203.0.113.1".parse().unwrap()),
        path: text.contains("rewrite_contact"),
    }
}

fn faults(text: &str) -> Vec<(&'static str, Severity, u32)> {
    advise(&pjsip(text), &wanted(text))
        .iter()
        .map(|one| (one.id, one.severity, one.place.line))
        .collect()
}

#[test]
fn each_fault_of_pjsip_conf_is_found_with_its_line() {
    use Severity::{Error, Notice, Warning};
    assert_eq!(faults(GOOD), []);
    let with = |old: &str, new: &str| faults(&GOOD.replacen(old, new, 1));
    let and = |more: &str| faults(&format!("{GOOD}{more}"));
    assert_eq!(with("127.0.0.1:5070", "0.0.0.0:5060"), [("pbx-exposed", Error, 4)]);
    assert_eq!(with("bind=127.0.0.1:5070\n", ""), [("pbx-exposed", Error, 1)]);
    assert_eq!(with("127.0.0.1:5070", "127.0.0.1:5090"), [("pbx-elsewhere", Warning, 4)]);
    assert_eq!(
        and("[tcp]\ntype=transport\nprotocol=tcp\nbind=0.0.0.0\n"),
        [("pbx-exposed", Error, 19)]
    );
    assert_eq!(with("external_media_address=203.0.113.1\n", ""), [("external-media", Warning, 1)]);
    assert_eq!(with("=203.0.113.1", "=203.0.113.9"), [("external-media", Warning, 5)]);
    assert_eq!(
        with("[phone]", "external_signaling_address=203.0.113.1\n[phone]"),
        [("external-signaling", Warning, 6)]
    );
    assert_eq!(with("[phone]", "local_net=10.0.0.0/8\n[phone]"), [("local-net", Warning, 6)]);
    assert_eq!(with("direct_media=no\n", ""), [("direct-media", Warning, 6)], "the template, once");
    assert_eq!(with("direct_media=no", "direct_media=yes"), [("direct-media", Warning, 8)]);
    assert_eq!(with("rtp_symmetric=yes\n", ""), [("rtp-symmetric", Warning, 6)]);
    assert_eq!(
        with("rtp_symmetric=yes\n", "rtp_symmetric=yes\ntransport=udp\n"),
        [("endpoint-transport", Warning, 10)]
    );
    let identify = |host: &str| and(&format!("[t]\ntype=identify\nendpoint=6001\nmatch={host}\n"));
    for host in ["127.0.0.1", "127.0.0.0/8", "localhost", "0.0.0.0/0", "::1"] {
        assert_eq!(identify(host), [("identify-localhost", Error, 22)], "{host}");
    }
    assert_eq!(identify("198.51.100.9"), [("identify-address", Warning, 22)]);
    assert_eq!(
        identify("127.0.0.9"),
        [("identify-address", Warning, 22)],
        "the edge's own address is another"
    );
    assert_eq!(
        and("[global]\ntype=global\nendpoint_identifier_order=ip,auth_username\n"),
        [("unidentified-requests", Warning, 21)]
    );
    assert_eq!(
        with("username=6001", "username=6001\nsupported_algorithms_uas=SHA-256"),
        [("enumeration", Warning, 16)]
    );
    assert_eq!(with("username=6001", "username=6001\nrealm=here"), [("enumeration", Warning, 16)]);
    assert_eq!(and("[anonymous](phone)\ncontext=guests\n"), [("guests", Warning, 19)]);
    assert_eq!(
        and("[anonymous]\ntype=endpoint\n"),
        [("guests", Warning, 19)],
        "what is to go needs no mending"
    );
    assert_eq!(
        and("[6001](+)\nrtp_symmetric=no\n"),
        [("rtp-symmetric", Warning, 20)],
        "the line that counts, not the template's"
    );
    assert_eq!(
        and("[c]\ntype=registration\nserver_uri=sip:c.example\nclient_uri=sip:1@c.example\n"),
        [("trunk-proxy", Warning, 19)]
    );
    let carrier = "[c](phone)\naors=c\n[c]\ntype=aor\ncontact=sip:c.example\n\
        [c]\ntype=identify\nendpoint=c\nmatch_header=X-Ringfence-Trunk: c\n";
    assert_eq!(and(carrier), [("trunk-proxy", Warning, 19)]);
    assert_eq!(
        and(&carrier.replace("aors=c", "aors=c\noutbound_proxy=sip:127.0.0.1:5080\\;lr")),
        []
    );
    let several =
        advise(&pjsip("[t]\ntype=identify\nmatch=127.0.0.1,192.0.2.1,192.0.2.2\n"), &wanted(""));
    let edits: Vec<_> = several.iter().map(|one| one.edit.told(&one.section)).collect();
    assert_eq!(
        edits,
        [
            "remove: match = 127.0.0.1",
            "match = 192.0.2.1  ->  match_header = X-Ringfence-Trunk: t",
            "remove: match = 192.0.2.2"
        ]
    );
    assert_eq!(
        with("max_contacts=1", "max_contacts=1\nqualify_frequency=20"),
        [("qualify", Notice, 16)]
    );
    let path = with("rtp_symmetric=yes\n", "rtp_symmetric=yes\nrewrite_contact=yes\n");
    assert_eq!(path, [("path", Error, 17), ("path", Warning, 10)]);
}

#[test]
fn what_asterisk_has_not_and_what_it_still_does_is_found() {
    let found = |text: &str, facts: &Facts| {
        let findings = of_asterisk(&config(YAML), &pjsip(text), facts);
        let bad = findings.into_iter().filter(|finding| finding.severity > Severity::Ok);
        bad.map(|finding| (finding.id, finding.severity)).collect::<Vec<_>>()
    };
    assert_eq!(found(GOOD, &well()), []);
    let no_transport = GOOD.replacen("type=transport", "type=nothing", 1);
    assert_eq!(found(&no_transport, &well()), [("pbx-answers", Severity::Error)]);
    let moved = GOOD.replacen("127.0.0.1:5070", "0.0.0.0:5062", 1);
    let mut facts = well();
    facts.sockets.push(listening("0.0.0.0:5062"));
    let twice = [("pbx-exposed", Severity::Error); 2];
    assert_eq!(found(&moved, &facts), twice, "the line, and the socket that is there now");
    assert_eq!(
        found(&format!("{GOOD}#include none.conf\n"), &well()),
        [("asterisk-unread", Severity::Notice)]
    );
}

#[test]
fn the_kernels_tables_are_read() {
    let proc = tempfile::tempdir().unwrap();
    std::fs::create_dir(proc.path().join("net")).unwrap();
    let write =
        |name: &str, text: &str| std::fs::write(proc.path().join("net").join(name), text).unwrap();
    let any = "00000000:0000";
    let local = u32::from_ne_bytes([127, 0, 0, 1]);
    let phone = u32::from_ne_bytes([10, 0, 0, 7]);
    write(
        "udp",
        &format!(
            "head\n 1: {local:08X}:13CE {any} 07 x\n 2: 00000000:13C4 {any} 07 x\n 3: {local:08X}:9999 {local:08X}:1 01 x\n"
        ),
    );
    write(
        "tcp",
        &format!(
            "head\n 1: 00000000:13C4 {any} 0A x\n 2: {local:08X}:13C4 {phone:08X}:C000 01 x\n"
        ),
    );
    write(
        "udp6",
        "head\n 1: 00000000000000000000000000000000:13CE 00000000000000000000000000000000:0000 07 x\nodd\n",
    );
    let told = |one: Listening| format!("{} {}", one.protocol, one.address);
    let seen: Vec<String> = sockets(proc.path()).into_iter().map(told).collect();
    assert_eq!(
        seen,
        ["tcp 0.0.0.0:5060", "udp 0.0.0.0:5060", "udp 127.0.0.1:5070", "udp [::]:5070"]
    );
    assert_eq!(
        connected(proc.path(), &config(YAML).policy),
        ["10.0.0.7".parse::<IpAddr>().unwrap()]
    );
}

#[test]
fn a_pbx_is_asked_and_a_silent_one_is_not_waited_for() {
    let pbx = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = pbx.local_addr().unwrap();
    let from = "127.0.0.1".parse().unwrap();
    let answering = std::thread::spawn(move || {
        let mut buffer = [0; 4_096];
        let (length, peer) = pbx.recv_from(&mut buffer).unwrap();
        let request = String::from_utf8(buffer[..length].to_vec()).unwrap();
        let head: String = request
            .lines()
            .filter(|line| {
                ["Via:", "From:", "To:", "Call-ID:", "CSeq:"]
                    .iter()
                    .any(|name| line.starts_with(name))
            })
            .map(|line| format!("{line}\r\n"))
            .collect();
        let answer = format!(
            "SIP/2.0 401 No\r\n{head}WWW-Authenticate: Digest realm=\"r\",nonce=\"n\",algorithm=md5\r\n\r\n"
        );
        pbx.send_to(answer.as_bytes(), peer).unwrap();
        request
    });
    assert_eq!(ask(from, address, "6001"), Some(heard("r", "MD5")));
    assert!(answering.join().unwrap().starts_with("OPTIONS sip:127.0.0.1:"));
    // its port is closed now
    assert_eq!(ask(from, address, "6001"), None);
}

#[test]
fn a_pbx_over_tcp_is_asked_over_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answering = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let answer = "SIP/2.0 401 No\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
            To: <sip:a@b>;tag=2\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\
            WWW-Authenticate: Digest realm=\"r\",nonce=\"n\",algorithm=MD5\r\nContent-Length: 0\r\n\r\n";
        // in two parts
        let (first, second) = answer.split_at(40);
        for part in [first, second] {
            reader.get_mut().write_all(part.as_bytes()).unwrap();
        }
        line
    });
    assert_eq!(ask_by_stream(address, "6001"), Some(heard("r", "MD5")));
    assert!(answering.join().unwrap().starts_with("OPTIONS sip:127.0.0.1:"));
    assert_eq!(ask_by_stream(address, "6001"), None, "nobody listens there any more");
}

#[test]
fn each_of_several_pbxs_is_looked_at() {
    let yaml = YAML.replace(
        "[\"127.0.0.1:5070\"]",
        "[{ address: \"127.0.0.1:5070\" }, { address: \"127.0.0.1:5071\", name: west, transport: tcp }]",
    );
    let west = PbxFacts {
        place: "west (tcp/127.0.0.1:5071)".into(),
        transport: Transport::Tcp,
        ..answering("127.0.0.1:5071")
    };
    let facts = |west: PbxFacts| Facts { pbx: vec![answering("127.0.0.1:5070"), west], ..well() };
    assert_eq!(wrong(&yaml, &facts(west.clone())), []);
    let silent = facts(PbxFacts { reached: Reached::Silent, users: None, ..west.clone() });
    assert_eq!(wrong(&yaml, &silent), [("pbx-answers", Severity::Error)]);
    let told = judge(&config(&yaml), &silent);
    let told = told.iter().find(|finding| finding.severity == Severity::Error).unwrap();
    assert!(told.what.contains("west (tcp/127.0.0.1:5071) does not answer"), "{told:?}");
    assert!(told.cure.contains("tcp transport to 127.0.0.1:5071"), "{told:?}");
    let users = Some((heard("asterisk", "SHA-256"), heard("asterisk", "MD5")));
    let apart = facts(PbxFacts { users, ..west.clone() });
    assert_eq!(wrong(&yaml, &apart), [("enumeration", Severity::Warning)]);
    let tls =
        PbxFacts { transport: Transport::Tls, reached: Reached::Connects, users: None, ..west };
    assert_eq!(wrong(&yaml, &facts(tls)), []);
    // the files of this machine's Asterisk are those of the one that binds there
    let mine = "[t]\ntype = transport\nprotocol = tcp\nbind = 127.0.0.1:5071\n";
    let findings = of_asterisk(&config(&yaml), &pjsip(mine), &facts(answering("127.0.0.1:5071")));
    let answers = |finding: &&super::doctor::Finding| finding.id == "pbx-answers";
    assert_eq!(findings.iter().find(answers), None, "it needs no UDP");
}

#[test]
fn a_certificates_end_is_read() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut wanted = rcgen::CertificateParams::new(vec!["pbx.example.com".to_owned()]).unwrap();
    wanted.not_after = rcgen::date_time_ymd(2031, 2, 3);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.pem");
    std::fs::write(&file, wanted.self_signed(&key).unwrap().pem()).unwrap();
    assert_eq!(ends(&file), Ok(1_927_843_200));
    std::fs::write(&file, "no PEM").unwrap();
    assert!(ends(&file).is_err());
}

/// A bare Asterisk on a public address, with trunks.
const BARE: &str = "[global]\ntype=global\ndefault_realm=pbx.example.com\n\
    [udp]\ntype=transport\nprotocol=udp\nbind=0.0.0.0:5060\nexternal_signaling_address=203.0.113.5\n\
    [tls]\ntype=transport\nprotocol=tls\nbind=0.0.0.0:5061\ncert_file=/etc/a.pem\npriv_key_file=/etc/a.key\n\
    [6001]\ntype=endpoint\nauth=6001\naors=6001\n[6001]\ntype=auth\nusername=6001\n[6001]\ntype=aor\n\
    [carrier]\ntype=identify\nendpoint=out\nmatch=198.51.100.0/24\n";

#[test]
fn init_writes_a_configuration_that_is_valid() {
    for (text, listeners, trunks) in [(BARE, 2, 1), ("", 2, 0), (GOOD, 2, 0)] {
        let pjsip = pjsip(text);
        let plan = Plan::new(&pjsip, None);
        let yaml = plan.yaml();
        let config = config(&yaml);
        assert_eq!(
            (config.policy.listeners.len(), config.trunks.len()),
            (listeners, trunks),
            "{yaml}"
        );
        assert_eq!(config.policy.pbx[0].address, "127.0.0.1:5070".parse().unwrap());
        assert!(yaml.lines().count() < 40, "short enough to be read: {yaml}");
    }
}

#[test]
fn init_says_how_to_go_on_with_the_file_that_it_wrote() {
    let pjsip = pjsip(BARE);
    let told = |output: &str| Plan::new(&pjsip, None).told(&pjsip, &[], Path::new(output));
    for output in ["-", "/etc/ringfence/ringfence.yaml"] {
        assert!(
            told(output)
                .ends_with("ringfence check && systemctl start ringfence && ringfence doctor\n")
        );
    }
    let elsewhere = told("edge.yaml");
    assert!(
        elsewhere.contains("ringfence check edge.yaml && ringfence run edge.yaml\n"),
        "{elsewhere}"
    );
    assert!(elsewhere.ends_with("ringfence doctor edge.yaml\n"), "{elsewhere}");
}

#[test]
fn init_trusts_neither_this_machine_nor_everybody() {
    for host in
        ["198.51.100.9", "198.51.100.0/24", "10.0.0.0/8", "2001:db8::/32", "sip.carrier.example"]
    {
        assert!(is_somebody(host), "{host}");
    }
    for host in [
        "127.0.0.9",
        "127.0.0.0/8",
        "::1",
        "localhost",
        "0.0.0.0/0",
        "0.0.0.0",
        "128.0.0.0/1",
        "::/0",
        "1.2.3.4/x",
    ] {
        assert!(!is_somebody(host), "{host}");
    }
    let text = "[all]\ntype=identify\nendpoint=all\nmatch=0.0.0.0/0\n";
    let yaml = Plan::new(&pjsip(text), None).yaml();
    assert_eq!(config(&yaml).trunks.len(), 0, "{yaml}");
}

#[test]
fn an_advertised_address_is_the_public_one() {
    let yaml =
        YAML.replace("203.0.113.1:5060\"", "10.0.0.1:5060\", advertise: \"203.0.113.1:5060\"");
    let text = GOOD.replace("external_media_address=203.0.113.1\n", "");
    let findings = of_asterisk(&config(&yaml), &pjsip(&text), &well());
    assert!(findings.iter().any(|finding| finding.id == "external-media"), "{findings:?}");
}

#[test]
fn init_tells_what_it_found_and_every_line_to_change() {
    let pjsip = pjsip(BARE);
    let plan = Plan::new(&pjsip, None);
    let yaml = plan.yaml();
    for line in [
        "  - { transport: tls, address: \"0.0.0.0:5061\", certificate: \"/etc/a.pem\", key: \"/etc/a.key\" }",
        "domains: [pbx.example.com]",
        "  - name: \"out\"",
        "    hosts: [\"198.51.100.0/24\"]",
    ] {
        assert!(yaml.lines().any(|one| one == line), "{line}: {yaml}");
    }
    let advice = advise(&pjsip, &plan.wanted());
    let told = plan.told(&pjsip, &advice, Path::new("x.yaml"));
    for part in [
        "pjsip.conf:7:\n    bind = 0.0.0.0:5060  ->  bind = 127.0.0.1:5070\n",
        "pjsip.conf:8:\n    remove: external_signaling_address = 203.0.113.5\n",
        "pjsip.conf:9:\n    remove the section [tls]\n",
        "add to [6001]: direct_media = no",
        "add to [udp]: external_media_address = 203.0.113.5",
        "Public address: 203.0.113.5",
        "pjsip.conf:27:\n    match = 198.51.100.0/24  ->  match_header = X-Ringfence-Trunk: out\n",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn carriers_are_written_as_the_configuration_takes_them() {
    for (asterisks, ours) in [
        ("198.51.100.0/255.255.255.0", "198.51.100.0/24"),
        ("198.51.100.9/255.255.255.255", "198.51.100.9"),
        ("198.51.100.9/255.0.255.0", "198.51.100.9/255.0.255.0"),
        ("sip.carrier.example:5060", "sip.carrier.example"),
        ("198.51.100.9:5080", "198.51.100.9"),
        ("[2001:db8::1]:5060", "2001:db8::1"),
        ("2001:db8::/48", "2001:db8::/48"),
        ("sip.carrier.example", "sip.carrier.example"),
    ] {
        assert_eq!(carrier(asterisks), ours);
    }
}
