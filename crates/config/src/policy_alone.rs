//! A policy without the rest of a configuration: for tests, comparisons and profiles.

use crate::admission::SignatureChoice;
use crate::admission::profile::SHIPPED;
use crate::effective;
use crate::policy_file::{self, PolicyFile};
use crate::problem::{Complaint, Invalid, Place, Problem, Problems, Source};
use crate::read::{Overrides, read};
use crate::table::Field;
use crate::tree::{self, Kind, Node};
use crate::trial::Trial;
use policy::{Listener, Pbx, Policy};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use wire::Transport;

/// A policy that stands alone.
#[derive(Clone, Debug)]
pub struct LoadedPolicy {
    /// The policy. What a policy file does not say (listeners, PBX) is made up; of a whole
    /// configuration it is what that says.
    pub policy: Policy,
    /// Where its signatures come from.
    pub signatures: SignatureChoice,
    /// Its tests.
    pub tests: Vec<Trial>,
    /// Problems, all of them warnings.
    pub warnings: Vec<Problem>,
}

impl LoadedPolicy {
    /// Every setting with its value, by its YAML path and in the order of `--print-effective`.
    #[must_use]
    pub fn settings(&self) -> Vec<(String, String)> {
        effective::policy(&self.policy, &self.signatures).settings()
    }

    /// All of it as YAML.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        effective::policy(&self.policy, &self.signatures).to_yaml()
    }
}

/// Reads the policy of a policy file, of a whole configuration, or the profile of that name.
///
/// # Errors
/// [`Invalid`] with every problem found when at least one is an error.
pub fn load_policy(file: &Path) -> Result<LoadedPolicy, Invalid> {
    if let Some((_, text)) = SHIPPED.iter().find(|(name, _)| Path::new(name) == file) {
        return load_policy_str(file, text);
    }
    match std::fs::read_to_string(file) {
        Ok(text) => load_policy_str(file, &text),
        Err(error) => {
            let problems = Problems::default();
            let source = Source { file, text: "", problems: &problems };
            let complaint = Complaint::new(format!("cannot be read: {error}"));
            let known = SHIPPED.map(|(name, _)| name).join(", ");
            let hint = format!("a policy, a whole configuration, or a profile: {known}");
            source.error(Place::default(), "", complaint.hint(hint));
            Err(Invalid { problems: problems.finish().0 })
        }
    }
}

/// As [`load_policy`] with the text at hand; `file` names it.
///
/// # Errors
/// As [`load_policy`].
pub fn load_policy_str(file: &Path, text: &str) -> Result<LoadedPolicy, Invalid> {
    let problems = Problems::default();
    let source = Source { file, text, problems: &problems };
    let loaded = tree::parse(source).and_then(|node| {
        if is_configuration(&node) {
            let overrides = Overrides { certificates_unread: true, ..Overrides::default() };
            let (config, tests) = read(&Field::root(source, &node), overrides)?;
            return Some((config.policy, config.signatures, tests));
        }
        let mut file = match node.kind {
            Kind::Null => policy_file::unsaid(&problems),
            _ => policy_file::inline(&Field::root(source, &node)),
        };
        let tests = std::mem::take(&mut file.trials);
        let signatures = file.signatures.clone();
        Some((stand_in(file), signatures, tests))
    });
    let (problems, failed) = problems.finish();
    match loaded {
        Some((policy, signatures, tests)) if !failed => {
            Ok(LoadedPolicy { policy, signatures, tests, warnings: problems })
        }
        _ => Err(Invalid { problems }),
    }
}

fn is_configuration(node: &Node) -> bool {
    let Kind::Table(entries) = &node.kind else { return false };
    entries.iter().any(|(key, _)| key.name == "listen" || key.name == "inside")
}

/// The policy for an edge that nobody reaches.
fn stand_in(file: PolicyFile) -> Policy {
    let outside = |port| SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), port));
    let listener =
        |transport, port| Listener { transport, address: outside(port), advertise: None };
    let listeners = vec![
        listener(Transport::Udp, 5060),
        listener(Transport::Tcp, 5060),
        listener(Transport::Tls, 5061),
    ];
    let inside = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let pbx = Pbx::new(inside(5070));
    file.into_policy(listeners, inside(5080), vec![pbx], Vec::new())
}
