//! What other programs make of what the edge tells them.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;

use super::*;

one_shard!(
    audit_lines_are_read_by_fail2ban,
    what_is_judged_is_shown_by_sngrep,
    what_is_judged_is_decoded_by_tshark_from_udp,
    what_is_judged_is_decoded_by_tshark_from_tcp
);

/// What a program of the machine's says.
#[track_caller]
fn said(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Lines that the shipped filter takes in that mode, and those that it does not.
fn fail2ban(log: &Path, mode: &str) -> (usize, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let filter = root.join("config/fail2ban/ringfence.conf").canonicalize().unwrap();
    let filter = format!("{}[mode={mode}]", filter.display());
    let told = said("fail2ban-regex", &["--print-all-matched", log.to_str().unwrap(), &filter]);
    let (_, rest) = told.split_once("Lines: ").unwrap_or_else(|| panic!("{told}"));
    let matched = rest.split(", ").find_map(|part| part.trim().strip_suffix(" matched"));
    (matched.unwrap().parse().unwrap(), told.clone())
}

/// fail2ban takes the ban and its evidence, each with its address, and nothing else: not what a
/// forged datagram would cause, and not what a peer writes.
fn audit_lines_are_read_by_fail2ban(mode: Mode) {
    let audit = "\naudit: { file: audit.log, format: fail2ban, rate: 1000, accepted: true }\n";
    let stage = Plan::new(mode).with(&format!("{SWIFT}{audit}")).start();
    let host = stage.network.far(0);
    let stranger = stage.stranger(3);
    stranger.send_bytes(b"OPTIONS sip:ban source=192.0.2.1 kind=address SIP/2.0\r\n\r\n");
    let phone = stage.phone_at("6001", host, Way::UDP);
    bans::earn_a_ban(&stage, &phone);
    let log = stage.directory.join("audit.log");
    let read = || std::fs::read_to_string(&log).unwrap_or_default();
    wait_until("the ban has its line", PATIENCE, || read().contains(" ban source="));
    let (bans, told) = fail2ban(&log, "ban");
    assert_eq!(bans, 1, "{told}");
    assert!(told.contains(&format!("ban source={host} kind=address")), "{told}");
    let (evidence, told) = fail2ban(&log, "evidence");
    assert_eq!(evidence, 3, "{told}");
    assert!(told.contains(&format!("evidence source={host} outcome=abandoned")), "{told}");
    assert!(read().contains(" drop source="), "{}", read());
    assert!(!read().contains("192.0.2.1"), "{}", read());
}

/// A request that strangers have no use for.
fn notify(stranger: &Stranger) -> Message {
    Message::request("NOTIFY", "sip:100@pbx.test")
        .with("Via", format!("SIP/2.0/UDP {};branch=z9hG4bK1", stranger.local()))
        .with("From", "<sip:100@pbx.test>;tag=1")
        .with("To", "<sip:100@pbx.test>")
        .with("Call-ID", "judged")
        .with("CSeq", "1 NOTIFY")
        .with("Max-Forwards", "70")
}

/// sngrep as a capture server: it gets the message from whom it came, and its verdict beside it, as
/// tshark reads the file that it writes.
fn what_is_judged_is_shown_by_sngrep(mode: Mode) {
    let network = Network::claim();
    let server = format!("{}:{}", network.host(9), network.port(9));
    let hep = format!("\nhep: {{ address: \"{server}\", node: edge }}\n");
    let stage = Plan::new(mode).with(&format!("{SWIFT}{hep}")).start();
    let file = stage.directory.join("hep.pcap");
    let mut command = Command::new("sngrep");
    command.args(["-N", "-q", "-F", "-L", &format!("udp:{server}"), "-O"]).arg(&file);
    let mut sngrep = Child::start("sngrep", &command, &stage.directory.join("sngrep.log"));
    sngrep.wait_for("its file", |_| file.exists());
    let stranger = stage.stranger(3);
    let request = notify(&stranger);
    let fields = ["ip.src", "udp.srcport", "ip.dst", "sip.Method", "sip.Call-ID", "data.text"];
    let read = || {
        let mut words = vec!["-r", file.to_str().unwrap(), "-o", "data.show_as_text:TRUE"];
        words.extend(["-T", "fields", "-E", "separator=|"]);
        words.extend(fields.iter().flat_map(|field| ["-e", *field]));
        said("tshark", &words)
    };
    wait_until("both are in its file", PATIENCE, || {
        stranger.send(&request);
        read().contains("stranger-methods")
    });
    let told = read();
    let (source, edge) = (stranger.local(), stage.server(Way::UDP).ip());
    let sip = format!("{}|{}|{edge}|NOTIFY|judged|", source.ip(), source.port());
    assert!(told.contains(&sip), "no {sip} in\n{told}");
    assert!(told.contains("\"verdict\":\"reject\""), "{told}");
}

fn what_is_judged_is_decoded_by_tshark_from_udp(mode: Mode) {
    let server = |address: SocketAddr| UdpSocket::bind(address).unwrap();
    is_decoded_by_tshark(mode, "udp", server);
}

fn what_is_judged_is_decoded_by_tshark_from_tcp(mode: Mode) {
    // nobody accepts: the system takes the connection and what comes by it
    let server = |address: SocketAddr| TcpListener::bind(address).unwrap();
    is_decoded_by_tshark(mode, "tcp", server);
}

/// tshark on the wire, with the dissector that is shipped: every field of both packets, the message
/// read by its own SIP dissector, the verdict by that for JSON.
fn is_decoded_by_tshark<S>(mode: Mode, transport: &str, server: impl Fn(SocketAddr) -> S) {
    let network = Network::claim();
    let address = SocketAddr::from((network.host(9), network.port(9)));
    let _server = server(address);
    let hep = format!(
        "\nhep: {{ address: \"{address}\", transport: {transport}, node: edge, agent: 77 }}\n"
    );
    let stage = Plan::new(mode).with(&format!("{SWIFT}{hep}")).start();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/wireshark/hep.lua");
    let fields = [
        "hep.source",
        "hep.source_port",
        "hep.destination",
        "hep.destination_port",
        "hep.family",
        "hep.protocol",
        "hep.payload_type",
        "hep.agent",
        "hep.node",
        "hep.correlation",
        "sip.Method",
        "sip.Call-ID",
        "hep.malformed",
        "json.value.string",
    ];
    let mut command = Command::new("tshark");
    command.args(["-n", "-l", "-i", "lo", "-f", &format!("host {}", address.ip())]);
    command.args(["-X", &format!("lua_script:{}", script.display()), "-Y", "hep"]);
    command.args(["-T", "fields", "-E", "separator=|"]);
    command.args(fields.iter().flat_map(|field| ["-e", *field]));
    let mut tshark = Child::start("tshark", &command, &stage.directory.join("tshark.log"));
    tshark.wait_for("capture", |told| told.contains("Capture started."));
    let (stranger, edge) = (stage.stranger(3), stage.server(Way::UDP));
    let request = notify(&stranger);
    let source = stranger.local();
    let (from, to) = (source.ip(), edge.ip());
    let ends = format!("{from}|{}|{to}|{}|2|17", source.port(), edge.port());
    let sip = format!("{ends}|1|77|edge|judged|NOTIFY|judged||\n");
    // event, reason, rule, verdict, who: what is JSON has no order
    let verdict = "decision,rule,stranger-methods,reject,unproven";
    let log = format!("{ends}|100|77|edge|judged||||{verdict}\n");
    tshark.wait_for("message with its verdict", |told| {
        stranger.send(&request);
        told.contains(&sip) && told.contains(&log)
    });
}
