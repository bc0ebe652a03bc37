//! The container files, as far as they can be held to the truth without Docker: that what they copy
//! and mount is there, that what they start is understood, that who needs no privilege has none.
#![allow(clippy::unwrap_used)] // a test that cannot go on ends

use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const BINARY: &str = "/usr/bin/ringfence";

fn root() -> PathBuf {
    fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).unwrap()
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn ringfence(words: &[String]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringfence")).args(words).output().unwrap()
}

fn understood(words: &[String]) {
    let output = ringfence(&[words, &["--help".to_owned()]].concat());
    assert_eq!(output.status.code(), Some(0), "ringfence {words:?}: {output:?}");
}

/// The instructions of a Dockerfile: one a line, without comments.
fn instructions(file: &str) -> Vec<(String, String)> {
    let text = read(file);
    let text: String =
        text.lines().filter(|line| !line.starts_with('#')).flat_map(|line| [line, "\n"]).collect();
    let split = |line: &str| {
        let (word, rest) = line.trim().split_once(' ')?;
        Some((word.to_owned(), rest.trim().to_owned()))
    };
    text.replace("\\\n", " ").lines().filter_map(split).collect()
}

/// The list of words that ends the last instruction of a name: `CMD ["run"]`.
fn words(instructions: &[(String, String)], name: &str) -> Vec<String> {
    let (_, rest) = instructions.iter().rfind(|(word, _)| word == name).unwrap();
    serde_json::from_str(&rest[rest.find('[').unwrap()..]).unwrap()
}

/// What the context of the build lets in.
fn let_in() -> Vec<String> {
    let text = read("docker/Dockerfile.dockerignore");
    assert!(text.lines().any(|line| line == "*"), "all else is left out");
    text.lines().filter_map(|line| line.strip_prefix('!')).map(str::to_owned).collect()
}

#[derive(Deserialize)]
struct Compose {
    services: BTreeMap<String, Service>,
    volumes: BTreeMap<String, Option<String>>,
}

#[derive(Deserialize)]
struct Service {
    network_mode: String,
    read_only: bool,
    cap_drop: Vec<String>,
    #[serde(default)]
    cap_add: Vec<String>,
    security_opt: Vec<String>,
    build: Option<Build>,
    #[serde(default)]
    volumes: Vec<String>,
    stop_grace_period: Option<String>,
}

#[derive(Deserialize)]
struct Build {
    context: String,
    dockerfile: Option<String>,
}

fn compose() -> Compose {
    serde_saphyr::from_str(&read("docker/compose.yaml")).unwrap()
}

impl Service {
    /// What is mounted, and where: `./ringfence` at `/etc/ringfence`.
    fn mounts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.volumes.iter().map(|volume| {
            let mut parts = volume.split(':');
            (parts.next().unwrap(), parts.next().unwrap())
        })
    }

    fn mounts_at(&self, place: &str) -> bool {
        self.mounts().any(|(_, at)| at == place)
    }
}

#[test]
fn what_the_build_reads_is_there_and_let_in() {
    let let_in = let_in();
    for path in &let_in {
        assert!(root().join(path).exists(), "docker/Dockerfile.dockerignore: {path}");
    }
    // cargo reads the manifests of all members
    let manifest = read("Cargo.toml");
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = ")).unwrap();
    let members: Vec<String> = serde_json::from_str(members).unwrap();
    let manifests = members.iter().map(|member| format!("{}/Cargo.toml", member.replace("/*", "")));
    let copied = ["Cargo.toml", "Cargo.lock", "docker/ringfence/ringfence.yaml"].map(str::to_owned);
    for path in manifests.chain(copied) {
        let seen = let_in.iter().any(|allowed| Path::new(&path).starts_with(allowed));
        assert!(seen, "{path} is not let in by docker/Dockerfile.dockerignore");
    }
    assert!(read("docker/Dockerfile").contains(" docker/ringfence/ringfence.yaml "));
    for (word, rest) in instructions("docker/asterisk/Dockerfile") {
        let mut files = rest.split(' ').filter(|word| !word.starts_with("--"));
        let source = files.next().unwrap_or_default();
        let there = root().join("docker/asterisk").join(source).exists();
        assert!(word != "COPY" || there, "docker/asterisk/Dockerfile: {source}");
    }
}

#[test]
fn the_image_starts_and_asks_what_the_binary_understands() {
    let image = instructions("docker/Dockerfile");
    assert_eq!(words(&image, "ENTRYPOINT"), [BINARY]);
    understood(&words(&image, "CMD"));
    let health = words(&image, "HEALTHCHECK");
    assert_eq!(health[0], BINARY);
    understood(&health[1..]);
    let (_, user) = image.iter().rfind(|(word, _)| word == "USER").unwrap();
    assert_eq!(user, "65532:65532");
}

#[test]
fn its_configuration_is_good_and_what_it_writes_has_a_place() {
    let file = root().join("docker/ringfence/ringfence.yaml");
    let check = ["check", "--print-effective", "--config", file.to_str().unwrap()];
    let output = ringfence(&check.map(str::to_owned));
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let effective = String::from_utf8(output.stdout).unwrap();
    let image = instructions("docker/Dockerfile");
    let places = words(&image, "VOLUME");
    for place in &places {
        let ours = |(word, rest): &(String, String)| {
            word == "COPY"
                && rest.contains("--chown=65532:65532")
                && rest.ends_with(&format!(" {place}/"))
        };
        assert!(image.iter().any(ours), "{place} does not belong to the image's user");
    }
    let compose = compose();
    for key in ["state_dir: ", "socket: /run/ringfence/"] {
        let line = effective.lines().find(|line| line.trim().starts_with(key)).unwrap();
        let path = line.trim().split_once(": ").unwrap().1;
        let place = places.iter().find(|place| path.starts_with(place.as_str()));
        let place = place.unwrap_or_else(|| panic!("{path} is on no volume of the image's"));
        assert!(compose.services["ringfence"].mounts_at(place), "{place} is not mounted");
    }
    // both sides of the helper's socket, and the configuration that both read
    for place in ["/run/ringfence-enforcer", "/etc/ringfence"] {
        for service in ["ringfence", "enforcer"] {
            assert!(compose.services[service].mounts_at(place), "{service}: {place}");
        }
    }
    let seconds = |text: &str| text.trim().strip_suffix('s').unwrap().parse::<u32>().unwrap();
    let drain = effective.lines().find_map(|line| line.strip_prefix("drain_timeout: ")).unwrap();
    let grace = compose.services["ringfence"].stop_grace_period.as_deref().unwrap();
    assert!(seconds(grace) > seconds(drain), "{grace} is no longer than a drain of {drain}");
}

#[test]
fn nobody_has_a_privilege_but_the_helper() {
    for (name, service) in compose().services {
        assert!(service.read_only, "{name}");
        assert_eq!(service.network_mode, "host", "{name}: source addresses must be seen");
        assert_eq!(service.cap_drop, ["ALL"], "{name}");
        assert_eq!(service.security_opt, ["no-new-privileges:true"], "{name}");
        let added: &[&str] = if name == "enforcer" { &["NET_ADMIN"] } else { &[] };
        assert_eq!(service.cap_add, added, "{name}");
    }
}

#[test]
fn what_compose_mounts_and_builds_is_there() {
    let directory = root().join("docker");
    let Compose { services, volumes } = compose();
    for (name, service) in &services {
        for (what, _) in service.mounts() {
            let there = if what.starts_with('.') {
                directory.join(what).exists()
            } else {
                volumes.contains_key(what)
            };
            assert!(there, "{name}: {what}");
        }
        if let Some(Build { context, dockerfile }) = &service.build {
            let file = directory.join(context).join(dockerfile.as_deref().unwrap_or("Dockerfile"));
            assert!(file.exists(), "{name}: {}", file.display());
        }
    }
    for volume in volumes.keys() {
        let used =
            services.values().any(|service| service.mounts().any(|(what, _)| what == volume));
        assert!(used, "nobody mounts {volume}");
    }
}
