//! From the configuration to what the helper may do.

use config::{Config, Enforce};
use enforce::{Bounds, Destination, Exempt, Protocol};
use policy::Network;
use std::path::Path;
use wire::Transport;

/// What the helper may do.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) enforce: Enforce,
    pub(crate) destinations: Vec<Destination>,
    pub(crate) exempt: Exempt,
    pub(crate) bounds: Bounds,
    pub(crate) json: bool,
    pub(crate) level: String,
}

impl Plan {
    /// Reads the configuration; certificates are none of our business.
    pub(crate) fn read(file: &Path) -> Result<Self, String> {
        let overrides =
            config::Overrides { certificates_unread: true, ..config::Overrides::default() };
        let loaded = config::load_with(file, overrides).map_err(|invalid| invalid.to_string())?;
        Plan::new(&loaded.config)
            .ok_or_else(|| format!("{}: enforce is off: nothing to do\n    hint: enforce: {{}} switches it on, docs/enforce.md", file.display()))
    }

    fn new(config: &Config) -> Option<Self> {
        let enforce = config.enforce.clone()?;
        let Enforce { sources, networks, widest_ipv4, widest_ipv6, .. } = enforce;
        let prefix = |length: u32| u8::try_from(length).unwrap_or(u8::MAX);
        let bounds = Bounds {
            sources,
            networks,
            widest_v4: prefix(widest_ipv4),
            widest_v6: prefix(widest_ipv6),
        };
        Some(Plan {
            destinations: destinations(config, &enforce),
            exempt: exempt(config),
            bounds,
            json: config.log.format == config::LogFormat::Json,
            level: config.log.level.clone(),
            enforce,
        })
    }
}

/// The listeners' ports, and the media's on their addresses.
fn destinations(config: &Config, enforce: &Enforce) -> Vec<Destination> {
    let mut all: Vec<Destination> = Vec::new();
    let mut add = |destination: Destination| {
        if !all.contains(&destination) {
            all.push(destination);
        }
    };
    for listen in &config.listen {
        let address = listen.listener.address;
        let protocol = match listen.listener.transport {
            Transport::Udp => Protocol::Udp,
            Transport::Tcp | Transport::Tls => Protocol::Tcp,
        };
        add(Destination {
            protocol,
            address: address.ip(),
            ports: address.port()..=address.port(),
        });
    }
    for listen in &config.listen {
        for ports in &enforce.media {
            let address = listen.listener.address.ip();
            add(Destination { protocol: Protocol::Udp, address, ports: ports.clone() });
        }
    }
    all
}

/// Whom the trust oracle covers by configuration; and the PBX, our own addresses and the load
/// balancers in any case: what a balancer's address sends is others' as well.
fn exempt(config: &Config) -> Exempt {
    let policy = &config.policy;
    let addresses = policy.pbx.iter().map(|pbx| pbx.address.ip());
    let addresses = addresses.chain([policy.inside.ip()]);
    let addresses = addresses.chain(policy.listeners.iter().map(|at| at.address.ip()));
    let addresses = addresses.filter(|ip| !ip.is_unspecified()).map(Network::host);
    let networks = policy.admission.trust.networks.iter().map(|(network, _)| *network);
    let balancers = config.listen.iter().flat_map(|listen| &listen.balancers).copied();
    Exempt::new(addresses.chain(networks).chain(balancers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> Option<Plan> {
        let overrides =
            config::Overrides { certificates_unread: true, ..config::Overrides::default() };
        let text = format!("version: 1\n{text}");
        Plan::new(&config::load_str(Path::new("r.yaml"), &text, overrides).unwrap().config)
    }

    const BASE: &str = "listen: [{ transport: udp, address: \"192.0.2.1:5060\" }, \
        { transport: tcp, address: \"192.0.2.1:5060\", proxy_protocol: { from: [10.9.0.0/24] } }, { transport: tls, address: \"[::]:5061\" }]\n\
        inside: { address: \"10.0.0.1:5080\", pbx: [\"10.0.0.2:5060\"] }\n\
        trunks: [{ name: carrier, hosts: [203.0.113.0/28] }]\n\
        admin: { networks: [198.51.100.0/24] }\n";

    #[test]
    fn only_our_ports_and_addresses_are_destinations() {
        let plan = plan(&format!("{BASE}enforce: {{ media: [\"10000-20000\"] }}\n")).unwrap();
        let all: Vec<_> = plan.destinations.iter().map(ToString::to_string).collect();
        assert_eq!(
            all,
            [
                "udp 192.0.2.1 port 5060",
                "tcp 192.0.2.1 port 5060",
                "tcp :: port 5061",
                "udp 192.0.2.1 ports 10000-20000",
                "udp :: ports 10000-20000",
            ]
        );
    }

    #[test]
    fn whom_the_configuration_trusts_is_exempt() {
        let plan = plan(&format!("{BASE}enforce: {{}}\n")).unwrap();
        for (text, prefix, exempt) in [
            ("192.0.2.1", 32, true),
            ("10.0.0.1", 32, true),
            ("10.0.0.2", 32, true),
            ("203.0.113.9", 32, true),
            ("198.51.100.200", 32, true),
            ("10.9.0.7", 32, true),
            ("10.0.0.3", 32, false),
            ("2001:db8::", 64, false),
        ] {
            let network = Network::new(text.parse().unwrap(), prefix);
            assert_eq!(plan.exempt.covers(network), exempt, "{text}");
        }
    }

    #[test]
    fn without_enforce_there_is_no_plan() {
        assert!(plan(BASE).is_none());
        assert!(plan(&format!("{BASE}enforce: off\n")).is_none());
    }
}
