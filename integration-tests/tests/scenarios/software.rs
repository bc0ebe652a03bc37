//! Phones that others wrote: sipp, baresip, PJSUA and linphone.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use integration_tests::*;

both!(
    sipp_registers,
    sipp_registers_over_tcp,
    sipp_registers_over_ipv6,
    sipp_calls,
    sipp_calls_over_ipv6
);

both!(
    baresip_calls_over_udp,
    baresip_calls_over_tcp,
    baresip_calls_over_tls,
    baresip_is_called_over_udp,
    baresip_is_called_over_tcp,
    baresip_is_called_over_tls,
);

pub(crate) fn sipp(stage: &Stage, scenario: &str, transport: &str, family: Family) {
    let scenario = format!("{}/sipp/{scenario}.xml", env!("CARGO_MANIFEST_DIR"));
    let users = stage.directory.join("users.csv");
    fs::write(
        &users,
        "SEQUENTIAL\n6001;[authentication username=6001 password=secret6001];pbx.test\n",
    )
    .unwrap();
    let media = stage.network.host(stage.next_host()).to_string();
    let (way, host) = match family {
        Family::V4 => (Way::UDP, media.as_str()),
        Family::V6 => (Way::UDP6, "::1"),
    };
    let mut command = Command::new("sipp");
    command
        .arg(stage.server(way).to_string())
        .args(["-sf", &scenario, "-inf", users.to_str().unwrap(), "-t", transport])
        .args(["-s", "100", "-i", host, "-mi", &media])
        .args(["-m", "20", "-r", "20", "-timeout", "30s", "-nostdin", "-trace_err"])
        .current_dir(&stage.directory);
    let mut sipp = Child::start("sipp", &command, &stage.directory.join("sipp.log"));
    assert_eq!(sipp.wait(), Some(0), "{}", sipp.output());
}

fn sipp_registers(mode: Mode) {
    sipp(&Stage::new(mode), "register", "u1", Family::V4);
}

fn sipp_registers_over_tcp(mode: Mode) {
    sipp(&Stage::new(mode), "register", "t1", Family::V4);
}

fn sipp_registers_over_ipv6(mode: Mode) {
    sipp(&Stage::new(mode), "register", "u1", Family::V6);
}

fn sipp_calls(mode: Mode) {
    let stage = Stage::new(mode);
    sipp(&stage, "call", "u1", Family::V4);
    stage.pbx().wait_idle();
}

fn sipp_calls_over_ipv6(mode: Mode) {
    let stage = Stage::new(mode);
    sipp(&stage, "call", "t1", Family::V6);
    stage.pbx().wait_idle();
}

/// A baresip with one account, told what to do over its `ctrl_tcp` interface.
pub(crate) struct Baresip {
    child: Child,
    control: SocketAddr,
}

impl Baresip {
    fn start(stage: &Stage, user: &str, way: Way) -> Self {
        let host = stage.network.host(stage.next_host());
        let home = stage.directory.join(format!("baresip-{user}"));
        fs::create_dir_all(&home).unwrap();
        fs::write(home.join("tone.wav"), wav()).unwrap();
        let control = SocketAddr::from((host, 4444));
        let configuration = format!(
            "sip_listen {host}:5060\nnet_interface {host}\nrtp_ports 33000-35000\n\
             ctrl_tcp_listen {control}\nmodule_path /usr/lib/baresip/modules\n\
             audio_source aufile,{}/tone.wav\n\
             module g711.so\nmodule aufile.so\n\
             module_app account.so\nmodule_app ctrl_tcp.so\nmodule_app menu.so\n",
            home.display()
        );
        fs::write(home.join("config"), configuration).unwrap();
        let (server, transport) = (stage.server(way), way.transport.name().to_lowercase());
        let account = format!(
            "<sip:{user}@pbx.test>;auth_user={user};auth_pass=secret{user};regint=300;\
             outbound=\"sip:{server};transport={transport}\";answermode=auto;audio_codecs=pcmu\n"
        );
        fs::write(home.join("accounts"), account).unwrap();
        let mut command = Command::new("baresip");
        command.arg("-f").arg(&home).arg("-v");
        let mut child = Child::start("baresip", &command, &home.join("log"));
        child.wait_for("control socket", |_| TcpStream::connect(control).is_ok());
        Baresip { child, control }
    }

    /// Sends a command of its menu; a netstring of JSON.
    fn tell(&self, command: &str, params: &str) {
        use std::io::{Read, Write};
        let mut stream = TcpStream::connect(self.control).unwrap();
        let json = format!("{{\"command\":\"{command}\",\"params\":\"{params}\",\"token\":\"t\"}}");
        write!(stream, "{}:{json},", json.len()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.read(&mut [0; 4096]);
    }
}

fn baresip_calls(mode: Mode, way: Way) {
    baresip_calls_at(&Stage::new(mode), "6001", way);
}

pub(crate) fn baresip_calls_at(stage: &Stage, user: &str, way: Way) {
    let mut phone = Baresip::start(stage, user, way);
    wait_until("baresip is registered", PATIENCE, || stage.pbx().contacts(user).len() == 1);
    phone.tell("dial", "sip:100@pbx.test");
    wait_until("Asterisk hears it out", PATIENCE, || {
        let channels = stage.pbx().channels();
        channels.iter().any(|channel| channel.contains("Echo") && channel.contains("Up"))
    });
    phone.child.wait_for("established call", |output| output.contains("Call established"));
    phone.tell("hangup", "");
    stage.pbx().wait_idle();
}

fn baresip_is_called(mode: Mode, way: Way) {
    let stage = Stage::new(mode);
    let mut phone = Baresip::start(&stage, "6002", way);
    wait_until("baresip is registered", PATIENCE, || stage.pbx().contacts("6002").len() == 1);
    let alice = stage.phone("6001");
    let leg = alice.call("6002").answered();
    phone.child.wait_for("established call", |output| output.contains("Call established"));
    leg.hang_up();
    stage.pbx().wait_idle();
}

fn baresip_calls_over_udp(mode: Mode) {
    baresip_calls(mode, Way::UDP);
}

fn baresip_calls_over_tcp(mode: Mode) {
    baresip_calls(mode, Way::TCP);
}

fn baresip_calls_over_tls(mode: Mode) {
    baresip_calls(mode, Way::TLS);
}

fn baresip_is_called_over_udp(mode: Mode) {
    baresip_is_called(mode, Way::UDP);
}

fn baresip_is_called_over_tcp(mode: Mode) {
    baresip_is_called(mode, Way::TCP);
}

fn baresip_is_called_over_tls(mode: Mode) {
    baresip_is_called(mode, Way::TLS);
}

both!(
    pjsua_calls_over_udp,
    pjsua_calls_over_tcp,
    pjsua_calls_over_tls,
    pjsua_is_called_over_udp,
    pjsua_is_called_over_tcp,
    pjsua_is_called_over_tls,
);

/// A PJSUA2 phone; `None` where `install.sh` could not get it (no pip) and said so.
fn pjsua(stage: &Stage, user: &str, way: Way, what: &[&str]) -> Option<Child> {
    let library = pjsua_library();
    if !library.exists() {
        let known = library.with_extension("none").exists();
        assert!(known, "no PJSUA in {}: run install.sh", library.display());
        return None;
    }
    let mut command = Command::new("python3");
    command
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/pjsua/phone.py"))
        .args([user, &format!("secret{user}"), "pbx.test", &stage.server(way).to_string()])
        .arg(way.transport.name().to_lowercase())
        .arg(stage.network.host(stage.next_host()).to_string())
        .args(what)
        .env("PYTHONPATH", library);
    let log = stage.directory.join(format!("pjsua-{user}"));
    let mut phone = Child::start("pjsua", &command, &log);
    phone.wait_for("registration", |output| output.contains("registered 200"));
    Some(phone)
}

fn pjsua_calls(mode: Mode, way: Way) {
    pjsua_calls_at(&Stage::new(mode), "6001", way);
}

pub(crate) fn pjsua_calls_at(stage: &Stage, user: &str, way: Way) {
    let Some(mut phone) = pjsua(stage, user, way, &["call", "100"]) else { return };
    phone.wait_for("sound", |output| output.contains("\nheard"));
    assert_eq!(phone.wait(), Some(0), "{}", phone.output());
    assert_eq!(stage.pbx().contacts(user), Vec::<String>::new());
    stage.pbx().wait_idle();
}

fn pjsua_is_called(mode: Mode, way: Way) {
    let stage = Stage::new(mode);
    let Some(mut phone) = pjsua(&stage, "6002", way, &["answer"]) else { return };
    let alice = stage.phone("6001");
    let leg = alice.call("6002").answered();
    phone.wait_for("call", |output| output.contains("call CONFIRMED"));
    leg.hang_up();
    assert_eq!(phone.wait(), Some(0), "{}", phone.output());
    stage.pbx().wait_idle();
}

fn pjsua_calls_over_udp(mode: Mode) {
    pjsua_calls(mode, Way::UDP);
}

fn pjsua_calls_over_tcp(mode: Mode) {
    pjsua_calls(mode, Way::TCP);
}

fn pjsua_calls_over_tls(mode: Mode) {
    pjsua_calls(mode, Way::TLS);
}

fn pjsua_is_called_over_udp(mode: Mode) {
    pjsua_is_called(mode, Way::UDP);
}

fn pjsua_is_called_over_tcp(mode: Mode) {
    pjsua_is_called(mode, Way::TCP);
}

fn pjsua_is_called_over_tls(mode: Mode) {
    pjsua_is_called(mode, Way::TLS);
}

both!(linphone_calls_over_udp, linphone_calls_over_tcp);

/// A linphonec that registers, calls the echo and hangs up.
pub(crate) fn linphone_calls_at(stage: &Stage, user: &str, way: Way) {
    let host = stage.network.host(stage.next_host());
    let home = stage.directory.join(format!("linphone-{user}"));
    fs::create_dir_all(home.join(".local/share/linphone")).unwrap();
    let (server, transport) = (stage.server(way), way.transport.name().to_lowercase());
    let port = |of: Transport| if of == way.transport { "5060" } else { "0" };
    let (udp, tcp) = (port(Transport::Udp), port(Transport::Tcp));
    let settings = format!(
        "[sip]\nsip_port={udp}\nsip_tcp_port={tcp}\nsip_tls_port=0\nbind_address={host}\n\
         default_proxy=0\nregister_only_when_network_is_up=0\nuse_ipv6=0\n\
         [auth_info_0]\nusername={user}\npasswd=secret{user}\nrealm=asterisk\ndomain=pbx.test\n\
         [proxy_0]\nreg_proxy=sip:{server};transport={transport}\n\
         reg_route=sip:{server};transport={transport};lr\nreg_identity=sip:{user}@pbx.test\n\
         reg_expires=300\nreg_sendregister=1\npublish=0\n[video]\nenabled=0\n"
    );
    fs::write(home.join("rc"), settings).unwrap();
    let mut command = Command::new("linphonec");
    command.arg("-c").arg(home.join("rc")).env("HOME", &home);
    let mut phone = Child::start_reading("linphonec", &command, &home.join("log"));
    wait_until("linphone is registered", PATIENCE, || stage.pbx().contacts(user).len() == 1);
    phone.tell("soundcard use files");
    phone.tell("call 100");
    phone.wait_for("an answered call", |output| output.contains("connected"));
    phone.tell("terminate");
    phone.wait_for("the end of its call", |output| output.contains("ended (No error)"));
    phone.tell("quit");
    phone.wait();
    stage.pbx().wait_idle();
}

fn linphone_calls_over_udp(mode: Mode) {
    linphone_calls_at(&Stage::new(mode), "6001", Way::UDP);
}

fn linphone_calls_over_tcp(mode: Mode) {
    linphone_calls_at(&Stage::new(mode), "6001", Way::TCP);
}

/// A second of a square wave, 8 kHz, 16 bits, mono.
fn wav() -> Vec<u8> {
    let samples: Vec<u8> =
        (0..8000).flat_map(|i| if i / 10 % 2 == 0 { [0, 8] } else { [0, 248] }).collect();
    let mut file = b"RIFF".to_vec();
    file.extend((36 + samples.len() as u32).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    file.extend(8000u32.to_le_bytes());
    file.extend(16_000u32.to_le_bytes());
    file.extend(b"\x02\0\x10\0data");
    file.extend((samples.len() as u32).to_le_bytes());
    file.extend(samples);
    file
}
