//! The pages about policies are held against what is read: their YAML loads, and there is a page
//! for each key.

use crate::keys::{Form as _, Section};
use crate::{Alerts, Overrides, load_policy, load_policy_str, load_str};
use std::path::{Path, PathBuf};

fn pages() -> Vec<(PathBuf, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/policy");
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|file| file.extension().is_some_and(|extension| extension == "md"))
        .collect();
    files.sort();
    files.into_iter().map(|file| (file.clone(), std::fs::read_to_string(file).unwrap())).collect()
}

fn name(file: &Path) -> &str {
    file.file_stem().unwrap().to_str().unwrap()
}

#[test]
fn the_yaml_of_every_page_is_a_policy() {
    for (file, text) in pages() {
        let blocks: Vec<&str> = text.split("```yaml\n").skip(1).collect();
        assert!(!blocks.is_empty(), "{} has no example", file.display());
        for block in blocks {
            let yaml = block.split("```").next().unwrap();
            let loaded = load_policy_str(&file, yaml);
            let loaded = loaded.unwrap_or_else(|invalid| panic!("{invalid}\n{yaml}"));
            assert_eq!(loaded.warnings, [], "{yaml}");
        }
    }
}

#[test]
fn every_key_has_its_page_and_every_page_is_listed() {
    let pages = pages();
    let page = |key: &str| pages.iter().find(|(file, _)| name(file) == key);
    let schema: serde_json::Value = serde_json::from_str(&crate::policy_schema()).unwrap();
    let engine = ["timers", "limits", "budgets", "answer_malformed", "source_header"];
    for (key, part) in schema["properties"].as_object().unwrap() {
        if engine.contains(&key.as_str()) {
            continue;
        }
        let (_, text) = page(key).unwrap_or_else(|| panic!("no page docs/policy/{key}.md"));
        let table = |part: &serde_json::Value| part["properties"].as_object().cloned();
        let inner = table(part).or_else(|| table(&part["anyOf"][1])).unwrap_or_default();
        for inner in inner.keys().filter(|_| key != "capacities") {
            assert!(text.contains(inner.as_str()), "docs/policy/{key}.md does not name {inner}");
        }
    }
    let (_, when) = page("when").unwrap();
    let rule = &schema["properties"]["rules"]["items"]["properties"];
    for key in rule["when"]["properties"].as_object().unwrap().keys() {
        assert!(when.contains(&format!("{key}:")), "docs/policy/when.md has no example of {key}");
    }
    let (_, index) = page("README").unwrap();
    for (file, _) in pages.iter().filter(|(file, _)| name(file) != "README") {
        let link = format!("({}.md)", name(file));
        assert!(index.contains(&link), "docs/policy/README.md does not list {link}");
    }
}

#[test]
fn the_page_of_alerts_has_what_is_read() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/alerts.md");
    let text = std::fs::read_to_string(&file).unwrap();
    let blocks: Vec<&str> = text.split("```yaml\n").skip(1).collect();
    assert!(blocks.len() > 1, "{} has no example", file.display());
    for block in blocks {
        let yaml = block.split("```").next().unwrap();
        let whole = format!(
            "version: 1\nlisten: [{{ transport: udp, address: \"0.0.0.0:5060\" }}]\n\
             inside: {{ pbx: [\"127.0.0.1:5070\"] }}\n{yaml}"
        );
        let loaded = load_str(&file, &whole, Overrides::default());
        let loaded = loaded.unwrap_or_else(|invalid| panic!("{invalid}\n{yaml}"));
        assert_eq!(loaded.warnings, [], "{yaml}");
        let alerts = loaded.config.alerts.unwrap();
        for (key, _) in Section.print(&alerts).unwrap().settings() {
            let key = key.rsplit('.').next().unwrap().split('[').next().unwrap();
            assert!(text.contains(&format!("`{key}`")), "docs/alerts.md does not name {key}");
        }
    }
    for kind in Alerts::KINDS {
        assert!(text.contains(&format!("`{kind}`")), "docs/alerts.md does not name {kind}");
    }
}

#[test]
fn the_tests_that_are_shipped_read() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/policy-tests.yaml");
    let loaded = load_policy(&file).unwrap_or_else(|invalid| panic!("{invalid}"));
    assert_eq!(loaded.warnings, []);
    assert!(loaded.tests.len() >= 8);
}
