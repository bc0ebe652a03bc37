//! What matters of `pjsip.conf` to an edge in front.

use crate::{Files, Note, Place, Section, Setting};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

/// How a transport speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// UDP, the default.
    Udp,
    /// TCP.
    Tcp,
    /// TLS.
    Tls,
    /// Web socket, plain or secure.
    Ws,
    /// A word that is not known.
    Other,
}

/// `type = transport`.
#[derive(Clone, Debug)]
pub struct Transport<'f> {
    /// Its section.
    pub section: &'f Section,
    /// How it speaks.
    pub protocol: Protocol,
    /// Where it listens.
    pub bind: SocketAddr,
}

impl Transport<'_> {
    /// Whether only this machine reaches it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.bind.ip().is_loopback()
    }
}

/// `type = endpoint`.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint<'f> {
    /// Its section.
    pub section: &'f Section,
}

/// Somebody who is known by his address, or whom Asterisk registers with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trunk {
    /// The endpoint, else the section.
    pub name: String,
    /// Addresses, networks and names of its hosts.
    pub hosts: Vec<String>,
    /// The `match` lines by which it is known.
    pub matches: Vec<(String, Place)>,
    /// Asterisk registers there.
    pub registers: bool,
}

/// The sections of `pjsip.conf` by what they are.
#[derive(Clone, Debug)]
pub struct Pjsip {
    files: Files,
}

impl Pjsip {
    /// Reads `directory/pjsip.conf` with its includes.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(directory: &Path) -> std::io::Result<Pjsip> {
        Ok(Pjsip { files: Files::read(directory, "pjsip.conf")? })
    }

    /// What could not be read.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        &self.files.notes
    }

    /// How many files were read.
    #[must_use]
    pub fn files(&self) -> usize {
        self.files.read
    }

    /// Sections of a type, templates left out.
    pub fn of_type<'f>(&'f self, kind: &str) -> impl Iterator<Item = &'f Section> {
        self.files.sections.iter().filter(move |section| {
            !section.template
                && section.value("type").is_some_and(|value| value.eq_ignore_ascii_case(kind))
        })
    }

    /// The transports.
    #[must_use]
    pub fn transports(&self) -> Vec<Transport<'_>> {
        let transport = |section| {
            let protocol = protocol(section);
            Transport { section, protocol, bind: bind(section, protocol) }
        };
        self.of_type("transport").map(transport).collect()
    }

    /// The endpoints.
    #[must_use]
    pub fn endpoints(&self) -> Vec<Endpoint<'_>> {
        self.of_type("endpoint").map(|section| Endpoint { section }).collect()
    }

    /// `type = global` or, where there is none, nothing.
    #[must_use]
    pub fn global(&self, name: &str) -> Option<&Setting> {
        self.of_type("global").find_map(|section| section.setting(name))
    }

    /// Names by which Asterisk is called: its domain aliases, and realms that look like names.
    #[must_use]
    pub fn domains(&self) -> Vec<String> {
        let aliases = self.of_type("domain_alias").map(|section| section.name.as_str());
        let realms = self.of_type("auth").filter_map(|section| section.value("realm"));
        let realms = realms.chain(self.global("default_realm").map(|realm| realm.value.as_str()));
        let mut domains: Vec<String> = aliases
            .chain(realms)
            .filter(|name| is_domain(name))
            .map(str::to_ascii_lowercase)
            .collect();
        domains.sort();
        domains.dedup();
        domains
    }

    /// The trunks, by `identify` and `registration` sections.
    #[must_use]
    pub fn trunks(&self) -> Vec<Trunk> {
        let mut trunks: Vec<Trunk> = Vec::new();
        for section in self.of_type("identify") {
            let name = section.value("endpoint").unwrap_or(&section.name);
            let trunk = trunk(&mut trunks, name);
            for (host, place) in section.values("match") {
                trunk.hosts.push(host.to_owned());
                trunk.matches.push((host.to_owned(), place.clone()));
            }
        }
        for section in self.of_type("registration") {
            let name = section.value("endpoint").unwrap_or(&section.name);
            let host = section.value("server_uri").and_then(host_of);
            let trunk = trunk(&mut trunks, name);
            trunk.registers = true;
            trunk.hosts.extend(host.map(str::to_owned));
        }
        for endpoint in self.endpoints() {
            if endpoint.section.value("outbound_auth").is_none() {
                continue;
            }
            let hosts = self.contacts_of(endpoint);
            trunk(&mut trunks, &endpoint.section.name).hosts.extend(hosts);
        }
        for trunk in &mut trunks {
            let mut seen = std::collections::BTreeSet::new();
            trunk.hosts.retain(|host| seen.insert(host.clone()));
        }
        trunks
    }

    /// Hosts of an endpoint's permanent contacts.
    fn contacts_of(&self, endpoint: Endpoint<'_>) -> Vec<String> {
        let aors: Vec<&str> = endpoint.section.values("aors").map(|(name, _)| name).collect();
        let aors = self.of_type("aor").filter(|aor| aors.contains(&aor.name.as_str()));
        let contacts = aors.flat_map(|aor| aor.values("contact"));
        contacts.filter_map(|(uri, _)| host_of(uri)).map(str::to_owned).collect()
    }

    /// Where a setting of a section should be written so that all of its kind have it: the outermost
    /// template of the same type that it is made of, else the section itself.
    #[must_use]
    pub fn home<'f>(&'f self, section: &'f Section) -> &'f Section {
        let mut home = section;
        for _ in 0..Files::DEPTH_MAX {
            let parent =
                home.parents.iter().filter_map(|at| self.files.sections.get(*at)).find(|parent| {
                    parent.template && parent.value("type") == section.value("type")
                });
            match parent {
                Some(parent) => home = parent,
                None => break,
            }
        }
        home
    }

    /// Users by which endpoints authenticate, with their algorithms.
    #[must_use]
    pub fn algorithms(&self) -> Vec<(&str, Vec<String>)> {
        let of = |section: &Section| {
            let mut words: Vec<String> = section
                .values("supported_algorithms_uas")
                .map(|(word, _)| word.to_ascii_uppercase())
                .collect();
            words.sort();
            words
        };
        // what Asterisk uses to call others is none of its users'
        let outbound: Vec<&str> = ["endpoint", "registration"]
            .into_iter()
            .flat_map(|kind| self.of_type(kind))
            .flat_map(|section| section.values("outbound_auth"))
            .map(|(name, _)| name)
            .collect();
        self.of_type("auth")
            .filter(|section| !outbound.contains(&section.name.as_str()))
            .map(|section| (section.name.as_str(), of(section)))
            .collect()
    }
}

fn trunk<'t>(trunks: &'t mut Vec<Trunk>, name: &str) -> &'t mut Trunk {
    let at = trunks.iter().position(|trunk| trunk.name == name).unwrap_or_else(|| {
        let (hosts, matches) = (Vec::new(), Vec::new());
        trunks.push(Trunk { name: name.to_owned(), hosts, matches, registers: false });
        trunks.len() - 1
    });
    &mut trunks[at]
}

fn protocol(section: &Section) -> Protocol {
    match section.value("protocol").unwrap_or("udp").to_ascii_lowercase().as_str() {
        "udp" => Protocol::Udp,
        "tcp" => Protocol::Tcp,
        "tls" => Protocol::Tls,
        "ws" | "wss" => Protocol::Ws,
        _ => Protocol::Other,
    }
}

/// `bind`, without which PJSIP takes every address; without a port the protocol's own.
fn bind(section: &Section, protocol: Protocol) -> SocketAddr {
    let port = if protocol == Protocol::Tls { 5061 } else { 5060 };
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let Some(text) = section.value("bind") else { return SocketAddr::new(any, port) };
    let ip = text.trim_matches(['[', ']']).parse::<IpAddr>();
    text.parse::<SocketAddr>().unwrap_or_else(|_| SocketAddr::new(ip.unwrap_or(any), port))
}

/// The host of `sip:user@host:port;…`.
fn host_of(uri: &str) -> Option<&str> {
    let rest = uri.strip_prefix("sips:").or_else(|| uri.strip_prefix("sip:"))?;
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let host = match rest.strip_prefix('[') {
        Some(v6) => v6.split(']').next()?,
        None => rest.split([':', ';', '?', '\\']).next()?,
    };
    (!host.is_empty()).then_some(host)
}

fn is_domain(name: &str) -> bool {
    name.contains('.')
        && name.parse::<IpAddr>().is_err()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
}
