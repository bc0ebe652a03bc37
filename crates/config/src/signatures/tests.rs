#![allow(clippy::unwrap_used)]
use super::*;

fn read(when: &str) -> Result<Catalogue, Invalid> {
    let text =
        format!("signatures:\n  - id: it\n    what: it\n    verdict: note\n    when: {when}\n");
    load_signatures_str(Path::new("s.yaml"), &text)
}

fn condition_of(when: &str) -> Condition {
    let mut specs = read(when).unwrap_or_else(|invalid| panic!("{when}: {invalid}")).specs;
    specs.pop().unwrap().when
}

/// All problems, as they are printed.
fn problems(text: &str) -> String {
    load_signatures_str(Path::new("s.yaml"), text).unwrap_err().to_string()
}

fn words(list: &[&str]) -> Vec<Box<str>> {
    list.iter().map(|word| (*word).into()).collect()
}

#[test]
fn the_shipped_file_is_readable_and_says_what_people_need() {
    let catalogue = shipped_signatures().unwrap();
    assert!(catalogue.warnings.is_empty());
    assert!(catalogue.specs.len() > 20);
    for spec in &catalogue.specs {
        assert!(!spec.what.is_empty() && !spec.false_positives.is_empty(), "{}", spec.id);
        assert_eq!(spec.mode, Mode::Enforce);
    }
    let ids = catalogue.specs.iter().map(|spec| &spec.id);
    assert!(ids.eq(catalogue.signatures.list().iter().map(|signature| &signature.id)));
}

#[test]
fn every_key_becomes_its_condition() {
    use Condition as C;
    for (key, field) in TEXTS {
        let is = C::Text(field, Test::Is(words(&["x"])));
        assert_eq!(condition_of(&format!("{{ {key}: x }}")), is);
        assert_eq!(condition_of(&format!("{{ {key}: [x] }}")), is);
        for (way, test) in TESTS {
            let text = format!("{{ {key}: {{ {way}: [x, y] }} }}");
            assert_eq!(condition_of(&text), C::Text(field, test(words(&["x", "y"]))));
        }
    }
    for (key, peculiarity) in PECULIARITIES {
        let is = C::Peculiar(peculiarity);
        assert_eq!(condition_of(&format!("{{ {key}: true }}")), is);
        assert_eq!(condition_of(&format!("{{ {key}: false }}")), C::Not(Box::new(is)));
    }
    assert_eq!(PECULIARITIES.map(|(_, peculiarity)| peculiarity), Peculiarity::ALL);
    for (key, order) in ORDERS {
        let text = format!("{{ header_order: {{ {key}: [Via, To] }} }}");
        assert_eq!(condition_of(&text), C::HeaderOrder(order, words(&["Via", "To"])));
    }
    let header = C::Header("Subject".into(), Test::Ends(words(&["x"])));
    assert_eq!(condition_of("{ header: { Subject: { ends: x } } }"), header);
    assert_eq!(condition_of("{ present: Subject }"), C::Present("Subject".into()));
    let absent = C::Not(Box::new(C::Present("Subject".into())));
    assert_eq!(condition_of("{ absent: [Subject] }"), absent);
    assert_eq!(condition_of("{ padded: [To] }"), C::Padded("To".into()));
    let via = C::ViaParams(words(&["rport", "branch"]));
    assert_eq!(condition_of("{ via_params: [rport, branch] }"), via);
    assert_eq!(condition_of("{ transport: [udp] }"), C::Transport(words(&["udp"])));
    assert_eq!(condition_of("{ max_forwards: [20, 70] }"), C::MaxForwards(vec![20, 70]));
    let methods = MethodSet::of(&["INVITE", "BYE"]).unwrap();
    assert_eq!(condition_of("{ method: [BYE, INVITE] }"), C::Method(methods));
}

#[test]
fn conditions_join() {
    use Condition as C;
    let (a, b) = (C::MaxForwards(vec![1]), C::Padded("To".into()));
    let all = C::All(vec![b.clone(), a.clone()]);
    assert_eq!(condition_of("{ max_forwards: 1, padded: To }"), all);
    let list = "[{ max_forwards: 1 }, { padded: To }]";
    let both = vec![a.clone(), b];
    assert_eq!(condition_of(&format!("{{ all: {list} }}")), C::All(both.clone()));
    assert_eq!(condition_of(&format!("{{ any: {list} }}")), C::Any(both.clone()));
    let least = format!("{{ at_least: 2, of: {list} }}");
    assert_eq!(condition_of(&least), C::AtLeast(2, both));
    assert_eq!(condition_of("{ not: { max_forwards: 1 } }"), C::Not(Box::new(a)));
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let text = r#"signatures:
  - id: Bad Id
    what: x
    verdict: ban
    when: { user_agnt: x }
  - what: x
    when: { method: invite, max_forwards: 300, from_tag: { matches: "(" } }
  - { id: a, what: x, verdict: note, when: { at_least: 3, of: [{ call_id: x }], any: [] } }
  - { id: b, what: x, verdict: note, when: {} }
"#;
    let problems = problems(text);
    for part in [
        "s.yaml:2:9: error: signatures[0].id: \"Bad Id\" is no id",
        "s.yaml:4:14: error: signatures[0].verdict: \"ban\" is no verdict",
        "did you mean \"user_agent\"?",
        "s.yaml:5:13: error: signatures[0].when.user_agnt: unknown key",
        "the key \"id\" is missing",
        "the key \"verdict\" is missing",
        "signatures[1].when.method: \"invite\" is no method",
        "methods have capital letters: INVITE",
        "signatures[1].when.max_forwards: \"300\" is no number from 0 to 255",
        "signatures[1].when.from_tag.matches: unclosed group",
        "signatures[2].when.at_least: at least 3 of 1 can't be",
        "signatures[2].when.any: the list is empty",
        "s.yaml:9:44: error: signatures[3].when: no conditions",
    ] {
        assert!(problems.contains(part), "{part}\n--\n{problems}");
    }
    assert_eq!(problems.matches("no conditions").count(), 1, "{problems}");
}

#[test]
fn what_shows_only_when_compiled_is_told_with_its_place_too() {
    let text = r#"signatures:
  - { id: a, what: x, verdict: note, when: { max_forwards: 1, call_id: x } }
  - id: b
    what: x
    verdict: note
    when:
      user_agent: x
      any:
        - from_tag: x
        - padded: [To, "no name"]
"#;
    let problems = problems(text);
    assert!(
        problems.contains("s.yaml:10:19: error: signatures[1].when.any[1].padded"),
        "{problems}"
    );
    assert!(problems.contains("\"no name\" is no header name"), "{problems}");
}

#[test]
fn ids_are_used_once() {
    let one = "  - { id: a, what: x, verdict: note, when: { padded: To } }\n";
    let problems = problems(&format!("signatures:\n{one}{one}"));
    assert!(problems.contains("\"a\" stands twice"), "{problems}");
}

#[test]
fn an_empty_catalogue_is_one() {
    let none = load_signatures_str(Path::new("s.yaml"), "signatures: []\n").unwrap();
    assert!(none.signatures.list().is_empty());
    assert!(load_signatures(Path::new("/nowhere/s.yaml")).is_err());
}

#[test]
fn verdicts_may_be_changed_before_they_are_compiled() {
    let problems = Problems::default();
    let file = Path::new(SHIPPED_NAME);
    let source = Source { file, text: SHIPPED_SIGNATURES, problems: &problems };
    let (specs, signatures) = signatures(source, |spec| spec.mode = Mode::Observe).unwrap();
    assert!(specs.iter().all(|spec| spec.mode == Mode::Observe));
    assert!(signatures.list().iter().all(|signature| signature.mode == Mode::Observe));
}
