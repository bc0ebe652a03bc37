use crate::line::{Comments, Line, read};
use crate::{Files, Pjsip, Protocol};
use proptest::prelude::*;
use std::path::Path;

fn write(directory: &Path, name: &str, text: &str) {
    std::fs::create_dir_all(directory.join(name).parent().unwrap()).unwrap();
    std::fs::write(directory.join(name), text).unwrap();
}

fn pjsip(text: &str) -> Pjsip {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "pjsip.conf", text);
    Pjsip::read(directory.path()).unwrap()
}

#[test]
fn comments_go_and_escaped_semicolons_stay() {
    let mut comments = Comments::default();
    let mut strip = |line: &str| comments.strip(line);
    assert_eq!(strip("a=b ; c"), "a=b");
    assert_eq!(strip(r"proxy=sip:x\;lr ; c"), "proxy=sip:x;lr");
    assert_eq!(strip(";--- a line for the eye"), "");
    assert_eq!(strip("a=1 ;-- not --; b"), "a=1  b");
    assert_eq!(strip("a ;-- here ;-- and there"), "a");
    assert_eq!(strip("nothing --; still nothing"), "");
    assert_eq!(strip("and --; this"), "this");
}

#[test]
fn lines() {
    let setting = |name: &str, value: &str, more| {
        let (name, value) = (name.to_owned(), value.to_owned());
        Line::Setting { name, value, more }
    };
    assert_eq!(read("Bind = 0.0.0.0:5060"), setting("bind", "0.0.0.0:5060", false));
    assert_eq!(read("exten => 1,n"), setting("exten", "1,n", false));
    assert_eq!(read("allow += ulaw"), setting("allow", "ulaw", true));
    let section = |name: &str, template, append, parents: &[&str]| Line::Section {
        name: name.to_owned(),
        template,
        append,
        parents: parents.iter().map(ToString::to_string).collect(),
    };
    assert_eq!(read("[a]"), section("a", false, false, &[]));
    assert_eq!(read("[a](!)"), section("a", true, false, &[]));
    assert_eq!(read("[a](!, b,c)"), section("a", true, false, &["b", "c"]));
    assert_eq!(read("[a](+)"), section("a", false, true, &[]));
    let include = |pattern: &str, must| Line::Include { pattern: pattern.to_owned(), must };
    assert_eq!(read("#include \"users/*.conf\""), include("users/*.conf", true));
    assert_eq!(read("#tryinclude <x.conf>"), include("x.conf", false));
    assert_eq!(read("#exec /bin/true"), Line::Exec);
    for odd in ["[a", "nothing", "= x", "#define x"] {
        assert_eq!(read(odd), Line::Unknown, "{odd}");
    }
}

#[test]
fn templates_give_their_settings_with_their_places() {
    let pjsip = pjsip(
        "[base](!)\ntype=endpoint\ndirect_media=yes\n[phone](!,base)\nallow=ulaw\nallow+=alaw\n\
         [6001](phone)\ndirect_media=no\n[6002](phone)\n[6003](+)\nx=y\n[6002](+)\nmore=1\n",
    );
    let endpoints = pjsip.endpoints();
    assert_eq!(endpoints.len(), 2);
    let of = |name: &str| {
        endpoints.iter().find(|endpoint| endpoint.section.name == name).unwrap().section
    };
    assert_eq!(of("6001").is_on("direct_media"), Some(false));
    assert_eq!(of("6001").setting("direct_media").unwrap().place.line, 8);
    assert_eq!(of("6002").is_on("direct_media"), Some(true));
    assert_eq!(of("6002").setting("direct_media").unwrap().place.line, 3);
    assert_eq!(of("6002").value("allow"), Some("ulaw,alaw"));
    assert_eq!(of("6002").value("more"), Some("1"));
    assert_eq!(pjsip.home(of("6002")).name, "base", "where a line helps all of them");
    assert_eq!(pjsip.notes().len(), 1, "{:?}", pjsip.notes());
    assert_eq!(pjsip.notes()[0].place.line, 10);
}

#[test]
fn includes_are_followed_by_pattern_and_within_bounds() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    write(
        here,
        "pjsip.conf",
        "#include users/*.conf\n#tryinclude none.conf\n#include none.conf\n#include pjsip.conf\n",
    );
    for n in 1..=3 {
        write(here, &format!("users/{n}.conf"), &format!("[600{n}]\ntype=endpoint\n"));
    }
    let pjsip = Pjsip::read(here).unwrap();
    let names: Vec<_> = pjsip.endpoints().iter().map(|one| one.section.name.clone()).collect();
    assert_eq!(names[..3], ["6001", "6002", "6003"]);
    assert_eq!(pjsip.endpoints()[1].section.place.line, 1);
    assert!(pjsip.endpoints()[1].section.place.file.ends_with("users/2.conf"));
    let notes: Vec<_> = pjsip.notes().iter().map(|note| note.text.as_str()).collect();
    assert!(notes.iter().any(|note| note.ends_with("none.conf is not there")), "{notes:?}");
    assert!(notes.iter().any(|note| note.contains("too deeply")), "{notes:?}");
    assert!(Pjsip::read(&here.join("nowhere")).is_err());
}

#[test]
fn transports_and_where_they_listen() {
    let pjsip = pjsip(
        "[udp]\ntype=transport\nprotocol=udp\nbind=0.0.0.0\n\
         [tls]\ntype=transport\nprotocol=tls\nbind=[::]:5071\n\
         [inner]\ntype=transport\nbind=127.0.0.1:5070\n[ws]\ntype=transport\nprotocol=wss\n",
    );
    let seen: Vec<_> = pjsip
        .transports()
        .iter()
        .map(|one| (one.protocol, one.bind.to_string(), one.is_local()))
        .collect();
    let expected = [
        (Protocol::Udp, "0.0.0.0:5060".to_owned(), false),
        (Protocol::Tls, "[::]:5071".to_owned(), false),
        (Protocol::Udp, "127.0.0.1:5070".to_owned(), true),
        (Protocol::Ws, "0.0.0.0:5060".to_owned(), false),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn trunks_domains_and_algorithms() {
    let pjsip = pjsip(
        "[global]\ntype=global\ndefault_realm=pbx.example.com\n[voip.example.org]\ntype=domain_alias\n\
         [carrier]\ntype=identify\nendpoint=out\nmatch=198.51.100.0/24,sip.carrier.example\nmatch=127.0.0.1\n\
         [out]\ntype=endpoint\noutbound_auth=out-auth\naors=out\n[out]\ntype=aor\ncontact=sip:198.51.100.9:5060\n\
         [out-auth]\ntype=auth\nusername=me\n\
         [reg]\ntype=registration\nserver_uri=sip:reg.carrier.example:5060\\;transport=tcp\n\
         [6001]\ntype=auth\nusername=6001\nsupported_algorithms_uas=SHA-256, md5\n[6002]\ntype=auth\nrealm=asterisk\n",
    );
    let trunks = pjsip.trunks();
    assert_eq!(trunks.len(), 2, "{trunks:?}");
    assert_eq!((trunks[0].name.as_str(), trunks[0].registers), ("out", false));
    let hosts = ["198.51.100.0/24", "sip.carrier.example", "127.0.0.1", "198.51.100.9"];
    assert_eq!(trunks[0].hosts, hosts);
    assert_eq!(trunks[0].matches.len(), 3);
    assert_eq!(
        (trunks[1].registers, trunks[1].hosts.as_slice()),
        (true, &["reg.carrier.example".to_owned()][..])
    );
    assert_eq!(pjsip.domains(), ["pbx.example.com", "voip.example.org"]);
    let algorithms = pjsip.algorithms();
    assert_eq!(algorithms.len(), 2, "{algorithms:?}");
    assert_eq!(algorithms[0], ("6001", vec!["MD5".to_owned(), "SHA-256".to_owned()]));
}

proptest! {
    #[test]
    fn any_text_is_read_to_its_end(lines in prop::collection::vec("[ -~]{0,20}", 0..30)) {
        let text = lines.join("\n");
        let read = pjsip(&text);
        prop_assert!(read.endpoints().len() <= lines.len());
        let _ = (read.trunks(), read.domains(), read.algorithms(), read.transports());
    }

    #[test]
    fn sections_of_any_making_are_read(
        words in prop::collection::vec("(\\[[ab]\\](\\([!+ab,]{0,4}\\))?|type=endpoint|x\\+=1|;--|--;|#include [ab]\\*)", 0..40),
    ) {
        let read = pjsip(&words.join("\n"));
        for endpoint in read.endpoints() {
            let _ = read.home(endpoint.section);
        }
    }
}

#[test]
fn settings_are_bounded() {
    let mut text = String::from("[a](!)\n");
    for n in 0..2_000 {
        text += &format!("s{n}=1\n");
    }
    for n in 0..2_000 {
        text += &format!("[b{n}](a)\n");
    }
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "pjsip.conf", &text);
    let files = Files::read(directory.path(), "pjsip.conf").unwrap();
    let settings: usize = files.sections.iter().map(|section| section.settings.len()).sum();
    assert!(settings <= Files::SETTINGS_MAX + 10_000, "{settings}");
    assert_eq!(files.notes.len(), 1);
}
