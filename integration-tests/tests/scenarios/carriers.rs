//! Carriers that are known by name: their addresses come from a real name server, and change.

use std::net::Ipv4Addr;

use integration_tests::{Mode, Nsd, PATIENCE, Plan, Stage, Ua, Way, ZONE, edge, wait_until};

edge!(
    a_carrier_that_moves_is_no_stranger_for_longer_than_its_ttl,
    a_dead_name_server_changes_nothing,
    a_start_without_name_servers_knows_what_was_known,
    a_trunk_with_digest_carries_calls_both_ways,
    a_trunk_by_its_address_needs_no_password,
    a_trunk_is_known_by_a_source_of_its_own,
    a_trunk_is_known_by_a_source_of_its_own_over_tcp,
    a_trunk_is_known_by_a_source_of_its_own_over_tls,
    a_dead_host_of_a_carrier_is_passed_over,
    a_trunk_has_its_limit_of_calls,
    headers_change_on_their_way_to_a_carrier_and_from_it,
    a_trunk_over_tls_carries_calls_both_ways,
    a_trunk_over_tcp_outlives_its_connection,
    a_carrier_that_shows_the_certificate_of_another_gets_no_call,
    a_carrier_that_wants_a_certificate_is_shown_one,
);

/// Strangers meet the edge's challenge, so whatever reaches the PBX came from the carrier.
const SUSPICIOUS: &str = "policy: { edge_challenge: { mode: always, realm: pbx.test } }";

/// A carrier with all kinds of records: its calls come from `host`.
fn records(host: Ipv4Addr) -> String {
    format!(
        "@ IN NAPTR 10 10 \"s\" \"SIP+D2U\" \"\" _sip._udp\n_sip._udp IN SRV 1 1 5060 sbc\n\
         sbc IN A {host}\n"
    )
}

/// An edge that knows its carrier by name, and who answers that name.
fn set_up(mode: Mode, host: impl Fn(&Stage) -> Ipv4Addr) -> (Stage, Nsd, Ua) {
    let mut stage = Plan::new(mode).scripted().start();
    let nsd = Nsd::start(stage.network.host(4), &stage.directory, &records(host(&stage)));
    let (zone, server) = (ZONE, nsd.address);
    stage.plan = stage.plan.clone().with(SUSPICIOUS).with(&format!(
        "trunks: [{{ name: carrier, hosts: [{zone}] }}]\naudit: {{ file: audit.log }}\n\
         resolver: {{ servers: [\"{server}\"], timeout: 500ms, attempts: 2 }}"
    ));
    let pbx = stage.scripted_pbx();
    stage.restart_edge();
    wait_until("the name is known", PATIENCE, || {
        stage.ringfence().metric("ringfence_names", &["state=\"current\""]) == 1.0
    });
    (stage, nsd, pbx)
}

/// Whether a request of `from` reaches the PBX, which answers 200.
fn passes(from: &Ua) -> bool {
    let code = from.transact(&from.request("OPTIONS", &from.uri("100"))).code();
    assert!(matches!(code, Some(200 | 401)), "{code:?}");
    code == Some(200)
}

fn a_carrier_that_moves_is_no_stranger_for_longer_than_its_ttl(mode: Mode) {
    let (stage, mut nsd, _pbx) = set_up(mode, |stage| stage.network.far(1));
    let phone = |n| stage.phone_at("carrier", stage.network.far(n), Way::UDP);
    let (old, new, stranger) = (phone(1), phone(2), phone(3));
    assert!(passes(&old) && !passes(&new) && !passes(&stranger));
    let changes = || stage.ringfence().metric("ringfence_name_changes_total", &[]);
    assert_eq!(changes(), 1.0);

    nsd.change(&records(stage.network.far(2)));
    // its TTL is a second; the rest is for a busy machine
    wait_until("the carrier's new address passes", PATIENCE / 2, || passes(&new));
    assert_eq!(changes(), 2.0);
    for _ in 0..20 {
        assert!(passes(&new), "no call is refused any more");
    }
    assert!(passes(&old), "calls that began there end there");
    assert!(!passes(&stranger));
    let log = stage.ringfence().log();
    assert!(log.contains("addresses changed"), "{log}");
    let (old, new) = (stage.network.far(1), stage.network.far(2));
    let told = [
        "\"event\":\"name_change\"",
        "\"names\":[\"carrier\"]",
        &format!("\"joined\":[\"{new}\"]"),
        &format!("\"left\":[\"{old}\"]"),
    ];
    wait_until("the audit stream tells it", PATIENCE, || {
        let audit = std::fs::read_to_string(stage.directory.join("audit.log")).unwrap();
        audit.lines().any(|line| told.iter().all(|part| line.contains(part)))
    });
}

fn a_dead_name_server_changes_nothing(mode: Mode) {
    let (stage, mut nsd, _pbx) = set_up(mode, |stage| stage.network.far(1));
    let carrier = stage.phone_at("carrier", stage.network.far(1), Way::UDP);
    assert!(passes(&carrier));
    nsd.stop();
    let names = |state: &str| stage.ringfence().metric("ringfence_names", &[state]);
    wait_until("its questions fail", PATIENCE, || names("state=\"stale\"") == 1.0);
    assert!(passes(&carrier));
    nsd.start_again();
    wait_until("they are answered again", PATIENCE * 3, || names("state=\"current\"") == 1.0);
    assert!(passes(&carrier));
    assert_eq!(stage.ringfence().metric("ringfence_name_changes_total", &[]), 1.0);
    let log = stage.ringfence().log();
    assert!(log.contains("A name cannot be resolved") && log.contains("resolved again"), "{log}");
}

fn a_start_without_name_servers_knows_what_was_known(mode: Mode) {
    let (mut stage, mut nsd, _pbx) = set_up(mode, |stage| stage.network.far(1));
    nsd.stop();
    stage.restart_edge();
    let phone = |n| stage.phone_at("carrier", stage.network.far(n), Way::UDP);
    let (carrier, stranger) = (phone(1), phone(2));
    assert!(passes(&carrier) && !passes(&stranger));
    let log = stage.ringfence().log();
    assert!(log.contains("addresses are recalled"), "{log}");
    let names = |state: &str| stage.ringfence().metric("ringfence_names", &[state]);
    wait_until("its questions fail", PATIENCE, || names("state=\"stale\"") == 1.0);
    assert!(passes(&carrier));
    nsd.start_again();
    wait_until("they are answered again", PATIENCE * 3, || names("state=\"current\"") == 1.0);
    assert!(passes(&carrier) && !passes(&stranger));
}

/// What the PBX is told of its trunk: it registers at the carrier as 6003, calls it with that
/// account, and knows its calls by the edge's header. All of it goes through the edge.
fn trunk_sections(stage: &Stage) -> String {
    let edge = format!("sip:{}\\;lr", stage.inside());
    format!(
        "[global](+)\nendpoint_identifier_order = header,ip,username,auth_username\n\
         [carrier]\ntype = registration\nserver_uri = sip:{ZONE}\nclient_uri = sip:6003@{ZONE}\n\
         contact_user = 100\noutbound_auth = carrier\noutbound_proxy = {edge}\nline = yes\n\
         endpoint = carrier\nretry_interval = 1\nforbidden_retry_interval = 1\n\
         auth_rejection_permanent = no\n\
         [carrier]\ntype = auth\nauth_type = digest\nusername = 6003\npassword = secret6003\n\
         [carrier]\ntype = aor\ncontact = sip:{ZONE}\n\
         [carrier]\ntype = endpoint\ncontext = phones\ndisallow = all\nallow = ulaw,alaw\n\
         direct_media = no\naors = carrier\noutbound_auth = carrier\noutbound_proxy = {edge}\n\
         from_user = 6003\nfrom_domain = {ZONE}\nidentify_by = header\n\
         [carrier]\ntype = identify\nendpoint = carrier\n\
         match_header = X-Ringfence-Trunk: carrier\n"
    )
}

/// A PBX behind the edge, its carrier's PBX, and the name server between them.
fn two_pbxs(mode: Mode, records: impl Fn(&Stage, &Stage) -> String) -> (Stage, Stage, Nsd) {
    two_pbxs_with(mode, "", records)
}

/// The same with more keys of the trunk; `@CARRIER@` is where the carrier's files are.
fn two_pbxs_with(
    mode: Mode,
    more: &str,
    records: impl Fn(&Stage, &Stage) -> String,
) -> (Stage, Stage, Nsd) {
    two_pbxs_of(Plan::new(mode), more, trunk_sections, records)
}

/// The same by a plan, with what its PBX is told; `@SOURCE@` is an address of nobody's.
fn two_pbxs_of(
    plan: Plan,
    more: &str,
    sections: impl Fn(&Stage) -> String,
    records: impl Fn(&Stage, &Stage) -> String,
) -> (Stage, Stage, Nsd) {
    let carrier = Plan::new(Mode::Direct).keeping_contacts();
    let (stage, carrier, nsd) = beside(plan, carrier, more, records);
    stage.pbx().add_trunk(&sections(&stage));
    wait_until("the trunk is registered", PATIENCE * 2, || is_registered(&stage));
    (stage, carrier, nsd)
}

fn is_registered(stage: &Stage) -> bool {
    stage.pbx().cli("pjsip show registrations").contains(" Registered")
}

/// Both, and the name server; the PBX knows nothing of its trunk yet.
fn beside(
    plan: Plan,
    carrier: Plan,
    more: &str,
    records: impl Fn(&Stage, &Stage) -> String,
) -> (Stage, Stage, Nsd) {
    let carrier = carrier.start();
    let mut stage = plan.start();
    let nsd = Nsd::start(stage.network.host(4), &stage.directory, &records(&stage, &carrier));
    let (zone, server) = (ZONE, nsd.address);
    let more = more.replace("@CARRIER@", &carrier.directory.display().to_string());
    let more = more.replace("@SOURCE@", &source(&stage).to_string());
    stage.plan = stage.plan.clone().with(&format!(
        "trunks: [{{ name: carrier, hosts: [{zone}]{more} }}]\n\
         resolver: {{ servers: [\"{server}\"], timeout: 500ms, attempts: 2 }}"
    ));
    stage.restart_edge();
    wait_until("the name is known", PATIENCE, || {
        stage.ringfence().metric("ringfence_names", &["state=\"current\""]) == 1.0
    });
    (stage, carrier, nsd)
}

/// Whether this PBX has a call up over that endpoint.
fn is_up(stage: &Stage, endpoint: &str) -> bool {
    let up =
        |line: &String| line.starts_with(&format!("PJSIP/{endpoint}-")) && line.contains("!Up!");
    stage.pbx().channels().iter().any(up)
}

fn a_trunk_with_digest_carries_calls_both_ways(mode: Mode) {
    let (stage, carrier, _nsd) = two_pbxs(mode, |_, carrier| records(carrier.public()));
    // the carrier sees the edge, and the account's own line
    let contacts = carrier.pbx().contacts("6003");
    let edge = format!("sip:100@{}", stage.server(Way::UDP));
    assert!(
        matches!(&contacts[..], [contact] if contact.starts_with(&edge) && contact.contains("line=")),
        "{contacts:?}"
    );

    let _ = stage.pbx().cli("channel originate PJSIP/100@carrier extension 100@phones");
    wait_until("the PBX's call is answered by the carrier", PATIENCE, || {
        is_up(&stage, "carrier") && is_up(&carrier, "6003")
    });
    stage.pbx().hang_up_all();
    carrier.pbx().wait_idle();
    stage.pbx().wait_idle();

    carrier.pbx().call("6003");
    wait_until("the carrier's call is answered by the PBX", PATIENCE, || {
        is_up(&carrier, "6003") && is_up(&stage, "carrier")
    });
    carrier.pbx().hang_up_all();
    stage.pbx().wait_idle();
}

/// A dead host stands first in the carrier's SRV records.
fn a_dead_host_of_a_carrier_is_passed_over(mode: Mode) {
    let (stage, carrier, _nsd) = two_pbxs(mode, |stage, carrier| {
        format!(
            "_sip._udp IN SRV 1 1 5060 dead\n_sip._udp IN SRV 2 1 5060 sbc\ndead IN A {}\nsbc IN A {}\n",
            stage.network.far(9),
            carrier.public()
        )
    });
    let _ = stage.pbx().cli("channel originate PJSIP/100@carrier extension 100@phones");
    wait_until("the call is answered by the second host", PATIENCE * 2, || {
        is_up(&stage, "carrier") && is_up(&carrier, "6003")
    });
    stage.pbx().hang_up_all();
    carrier.pbx().wait_idle();
}

/// The carrier has no password: it is its address, which its name says.
fn a_trunk_by_its_address_needs_no_password(mode: Mode) {
    let (stage, _carrier, mut nsd) = two_pbxs(mode, |_, carrier| records(carrier.public()));
    let phone = |n| stage.phone_at("carrier", stage.network.far(n), Way::UDP);
    let (one, other) = (phone(1), phone(2));
    let challenged = |phone: &Ua| {
        let invite = phone.request("INVITE", &phone.uri("100"));
        let code = phone.transact(&invite).code();
        code == Some(401)
    };
    assert!(challenged(&one) && challenged(&other), "strangers are asked who they are");
    nsd.change(&records(stage.network.far(1)));
    wait_until("the carrier's new address passes", PATIENCE, || passes(&one));
    for _ in 0..3 {
        let call = one.invite("100");
        call.answered().hang_up();
    }
    assert!(challenged(&other));
}

/// An address of nobody's.
fn source(stage: &Stage) -> Ipv4Addr {
    stage.network.host(9)
}

/// What a PBX is told that knows its trunk by the address that its requests come from, and nothing
/// else.
fn sections_by_source(stage: &Stage) -> String {
    let matched = format!("match = {}\n", source(stage));
    trunk_sections(stage)
        .replace("[global](+)\nendpoint_identifier_order = header,ip,username,auth_username\n", "")
        .replace("identify_by = header\n", "identify_by = ip\n")
        .replace("match_header = X-Ringfence-Trunk: carrier\n", &matched)
        .replace("line = yes\nendpoint = carrier\n", "")
}

fn known_by_source(plan: Plan, transport: &str) {
    // to where it is reached over TLS, the PBX sends over the connections that are open
    let sections = |stage: &Stage| match transport {
        "TLS" => sections_by_source(stage).replace("\\;lr", "\\;transport=tls\\;lr"),
        _ => sections_by_source(stage),
    };
    let (stage, carrier, mut nsd) =
        two_pbxs_of(plan, ", source: @SOURCE@", sections, |_, carrier| records(carrier.public()));
    stage.pbx().listen_in();
    calls_go_both_ways(&stage, &carrier);
    // the carrier is somewhere else now, where the test speaks for it
    nsd.change(&records(stage.network.far(1)));
    let phone = |n| stage.phone_at("carrier", stage.network.far(n), Way::UDP);
    let (one, stranger) = (phone(1), phone(2));
    wait_until("the carrier's new address passes", PATIENCE, || passes(&one));
    let mut leg = one.invite("100").answered();
    leg.hears_echo();
    assert_eq!(leg.reinvite("sendrecv", "sendonly").code(), Some(200));
    leg.hang_up();
    let leg = one.invite("100").answered();
    stage.pbx().hang_up_all();
    leg.wait_hang_up();
    let ringing = one.invite("102");
    ringing.wait(180);
    ringing.cancel();
    ringing.refused(487);
    stage.pbx().wait_idle();
    let invite = stranger.request("INVITE", &stranger.uri("100"));
    assert_eq!(stranger.transact(&invite).code(), Some(401), "it comes from where all others do");
    let log = stage.pbx().log();
    let from = |ip: &dyn std::fmt::Display| log.contains(&format!(" from {transport}:{ip}:"));
    assert!(from(&source(&stage)) && from(&stage.inside().ip()));
}

fn a_trunk_is_known_by_a_source_of_its_own(mode: Mode) {
    known_by_source(Plan::new(mode), "UDP");
}

fn a_trunk_is_known_by_a_source_of_its_own_over_tcp(mode: Mode) {
    const TCP: &str = "  pbx: [{ name: one, address: \"@PBX@:5070\", transport: tcp }]\n";
    known_by_source(Plan::new(mode).inside(TCP), "TCP");
}

fn a_trunk_is_known_by_a_source_of_its_own_over_tls(mode: Mode) {
    const TLS: &str = "  pbx: [{ name: one, address: \"@PBX@:5071\", transport: tls, host: pbx.test, authorities: @CERT@ }]\n";
    known_by_source(Plan::new(mode).inside(TLS), "TLS");
}

/// One call at once: neither side has a second one until the first has ended.
fn a_trunk_has_its_limit_of_calls(mode: Mode) {
    let limit = ", limits: { calls: 1 }";
    let (stage, carrier, _nsd) = two_pbxs_with(mode, limit, |_, carrier| records(carrier.public()));
    let edge = stage.ringfence();
    let calls = || edge.metric("ringfence_trunk_calls", &["trunk=\"carrier\""]);
    let refused = || edge.metric("ringfence_trunk_refused_total", &["limit=\"calls\""]);
    let call = || {
        let _ = stage.pbx().cli("channel originate PJSIP/100@carrier extension 100@phones");
    };
    call();
    wait_until("the call is answered", PATIENCE, || is_up(&stage, "carrier"));
    wait_until("it is counted, though it was challenged first", PATIENCE, || calls() == 1.0);
    call();
    wait_until("the PBX's second call is refused", PATIENCE, || refused() >= 1.0);
    let before = refused();
    carrier.pbx().call("6003");
    wait_until("the carrier's call is refused", PATIENCE, || refused() > before);
    wait_until("one call is left", PATIENCE, || {
        (stage.pbx().channels().len(), carrier.pbx().channels().len()) == (1, 1)
    });
    stage.pbx().hang_up_all();
    carrier.pbx().wait_idle();
    wait_until("it counts no more", PATIENCE, || calls() == 0.0);
    carrier.pbx().call("6003");
    wait_until("the carrier's call is answered by the PBX", PATIENCE, || is_up(&stage, "carrier"));
    carrier.pbx().hang_up_all();
    stage.pbx().wait_idle();
    wait_until("the carrier serves", PATIENCE, || {
        edge.metric("ringfence_trunk_targets", &["state=\"serving\""]) == 1.0
    });
}

fn headers_change_on_their_way_to_a_carrier_and_from_it(mode: Mode) {
    let rules = ", from_domain: sbc.example, headers: { inwards: [{ add: X-Route, to: carrier }, { remove: User-Agent }], \
                 outwards: [{ set: User-Agent, to: Our PBX }, { add: X-Account, to: \"4711\" }] }";
    let (stage, carrier, _nsd) = two_pbxs_with(mode, rules, |_, carrier| records(carrier.public()));
    stage.pbx().listen_in();
    carrier.pbx().listen_in();
    let invites = |stage: &Stage| {
        let heard = stage.pbx().heard();
        heard.into_iter().filter(|message| message.method() == "INVITE").collect::<Vec<_>>()
    };
    let _ = stage.pbx().cli("channel originate PJSIP/100@carrier extension 100@phones");
    wait_until("the call is answered", PATIENCE, || is_up(&stage, "carrier"));
    let invites_there = invites(&carrier);
    assert!(invites_there.len() >= 2, "one, and one with credentials");
    for invite in &invites_there {
        assert_eq!(invite.header("User-Agent"), Some("Our PBX"));
        assert_eq!(invite.header("X-Account"), Some("4711"));
        assert!(invite.value("From").contains("@sbc.example>"), "{}", invite.value("From"));
    }
    stage.pbx().hang_up_all();
    carrier.pbx().wait_idle();
    carrier.pbx().call("6003");
    wait_until("the call is answered", PATIENCE, || is_up(&stage, "carrier"));
    let [invite] = &invites(&stage)[..] else { panic!("one call") };
    assert_eq!(invite.header("X-Route"), Some("carrier"));
    assert_eq!(invite.header("User-Agent"), None);
    carrier.pbx().hang_up_all();
    stage.pbx().wait_idle();
}

/// Calls both ways over a trunk that has its registration.
fn calls_go_both_ways(stage: &Stage, carrier: &Stage) {
    let _ = stage.pbx().cli("channel originate PJSIP/100@carrier extension 100@phones");
    wait_until("the PBX's call is answered by the carrier", PATIENCE, || {
        is_up(stage, "carrier") && is_up(carrier, "6003")
    });
    stage.pbx().hang_up_all();
    carrier.pbx().wait_idle();
    stage.pbx().wait_idle();
    carrier.pbx().call("6003");
    wait_until("the carrier's call is answered by the PBX", PATIENCE, || {
        is_up(carrier, "6003") && is_up(stage, "carrier")
    });
    carrier.pbx().hang_up_all();
    stage.pbx().wait_idle();
}

/// Its certificate is for the domain that its SRV records are of, not for their host.
fn a_trunk_over_tls_carries_calls_both_ways(mode: Mode) {
    let tls = ", transports: [tls], tls: { authorities: @CARRIER@/cert.pem }";
    let (stage, carrier, _nsd) = two_pbxs_with(mode, tls, |_, carrier| {
        format!("_sips._tcp IN SRV 1 1 5061 sbc\nsbc IN A {}\n", carrier.public())
    });
    let contacts = carrier.pbx().contacts("6003");
    let edge = format!("sip:100@{};transport=tls", stage.server(Way::TLS));
    // the list is cut there
    assert!(matches!(&contacts[..], [contact] if contact.starts_with(&edge)), "{contacts:?}");
    calls_go_both_ways(&stage, &carrier);
    let events = |event: &str| stage.ringfence().metric("ringfence_transport_total", &[event]);
    assert!(events("event=\"connected\"") >= 1.0);
    assert_eq!(events("event=\"connect_failed\""), 0.0);
}

/// The carrier starts anew: calls go on over another connection.
fn a_trunk_over_tcp_outlives_its_connection(mode: Mode) {
    let (stage, mut carrier, _nsd) = two_pbxs_with(mode, ", transports: [tcp]", |_, carrier| {
        format!("_sip._tcp IN SRV 1 1 5060 sbc\nsbc IN A {}\n", carrier.public())
    });
    calls_go_both_ways(&stage, &carrier);
    carrier.pbx_mut().stop();
    carrier.pbx_mut().resume();
    // what the edge asks a target that failed, it asks every ten seconds
    wait_until("a call is answered again", PATIENCE * 2, || {
        if stage.pbx().channels().is_empty() {
            let _ = stage.pbx().cli("channel originate PJSIP/100@carrier extension 100@phones");
        }
        is_up(&stage, "carrier") && is_up(&carrier, "6003")
    });
    stage.pbx().hang_up_all();
    carrier.pbx().wait_idle();
}

fn a_carrier_that_shows_the_certificate_of_another_gets_no_call(mode: Mode) {
    let carrier = Plan::new(Mode::Direct).keeping_contacts().start();
    let mut stage = Stage::new(mode);
    let records = format!("_sips._tcp.other IN SRV 1 1 5061 sbc\nsbc IN A {}\n", carrier.public());
    let nsd = Nsd::start(stage.network.host(4), &stage.directory, &records);
    let (zone, server, files) = (format!("other.{ZONE}"), nsd.address, carrier.directory.display());
    stage.plan = stage.plan.clone().with(&format!(
        "trunks: [{{ name: carrier, hosts: [{zone}], transports: [tls], \
         tls: {{ authorities: {files}/cert.pem }} }}]\n\
         resolver: {{ servers: [\"{server}\"], timeout: 500ms, attempts: 2 }}"
    ));
    stage.restart_edge();
    let edge = stage.ringfence();
    wait_until("the name is known", PATIENCE, || {
        edge.metric("ringfence_names", &["state=\"current\""]) == 1.0
    });
    carrier.pbx().listen_in();
    stage.pbx().add_trunk(&trunk_sections(&stage).replace(ZONE, &zone));
    wait_until("its certificate is not believed", PATIENCE, || {
        edge.metric("ringfence_transport_total", &["event=\"connect_failed\""]) >= 1.0
    });
    wait_until("it is in quarantine", PATIENCE, || {
        edge.metric("ringfence_trunk_targets", &["state=\"quarantined\""]) == 1.0
    });
    assert_eq!(carrier.pbx().heard(), []);
    assert!(!stage.pbx().cli("pjsip show registrations").contains(" Registered"));
}

/// Without one, nothing goes there; with it, from the reload on, all does.
fn a_carrier_that_wants_a_certificate_is_shown_one(mode: Mode) {
    let carrier = Plan::new(Mode::Direct).keeping_contacts().wanting_certificate();
    let tls = ", transports: [tls], tls: { authorities: @CARRIER@/cert.pem }";
    let (stage, carrier, _nsd) = beside(Plan::new(mode), carrier, tls, |_, carrier| {
        format!("_sips._tcp IN SRV 1 1 5061 sbc\nsbc IN A {}\n", carrier.public())
    });
    carrier.pbx().listen_in();
    stage.pbx().add_trunk(&trunk_sections(&stage));
    let edge = stage.ringfence();
    wait_until("it is in quarantine", PATIENCE * 2, || {
        edge.metric("ringfence_trunk_targets", &["state=\"quarantined\""]) == 1.0
    });
    assert!(!is_registered(&stage));
    assert_eq!(carrier.pbx().heard(), []);

    let files = carrier.directory.display();
    let authorities = format!("authorities: {files}/cert.pem");
    let more = format!("certificate: {files}/client.pem, key: {files}/client-key.pem");
    edge.change(&authorities, &format!("{authorities}, {more}"));
    wait_until("the trunk is registered", PATIENCE * 2, || is_registered(&stage));
    calls_go_both_ways(&stage, &carrier);
}
