//! The order that records ask for. `rsip-dns` keeps the order in which it is answered.

use crate::question::{Naptr, Srv};
use wire::Transport;

/// SRV records by priority; within one in an order that is the same each time, because the lots are
/// drawn with each call. Those that say that there is no such service, or that have no port, are left
/// out.
#[must_use]
pub fn by_priority(mut records: Vec<Srv>) -> Vec<Srv> {
    records.retain(|srv| !srv.target.is_empty() && srv.port != 0);
    records.sort_by(|a, b| {
        // of too many those of little weight are left out
        let weight = b.weight.cmp(&a.weight);
        a.priority
            .cmp(&b.priority)
            .then(weight)
            .then(a.target.cmp(&b.target))
            .then(a.port.cmp(&b.port))
    });
    records
}

/// NAPTR records that name a SIP service we speak, by order and preference, each with its
/// transport (RFC 3263 §4.1). With `secure` only TLS is left. Letter case means nothing.
#[must_use]
pub fn by_service(records: Vec<Naptr>, secure: bool) -> Vec<(Naptr, Transport)> {
    let mut known: Vec<(Naptr, Transport)> = records
        .into_iter()
        .filter(|naptr| naptr.flags.eq_ignore_ascii_case(b"s") && !naptr.replacement.is_empty())
        .filter_map(|naptr| service(&naptr.services).map(|transport| (naptr, transport)))
        .filter(|(_, transport)| !secure || *transport == Transport::Tls)
        .collect();
    known.sort_by_key(|(naptr, _)| (naptr.order, naptr.preference));
    known
}

fn service(services: &[u8]) -> Option<Transport> {
    [(&b"SIP+D2U"[..], Transport::Udp), (b"SIP+D2T", Transport::Tcp), (b"SIPS+D2T", Transport::Tls)]
        .into_iter()
        .find(|(name, _)| services.eq_ignore_ascii_case(name))
        .map(|(_, transport)| transport)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn srv(priority: u16, weight: u16, target: &str) -> Srv {
        Srv { priority, weight, port: 5060, target: target.into() }
    }

    fn targets(records: &[Srv]) -> String {
        records.iter().map(|srv| &*srv.target).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn priorities_are_kept_and_the_rest_has_an_order_of_its_own() {
        let mut records = vec![
            srv(20, 9, "last"),
            srv(10, 20, "b"),
            srv(10, 60, "much"),
            srv(10, 20, "a"),
            srv(10, 0, "no"),
        ];
        assert_eq!(targets(&by_priority(records.clone())), "much a b no last");
        records.reverse();
        assert_eq!(targets(&by_priority(records)), "much a b no last");
    }

    #[test]
    fn no_service_and_no_port_are_no_targets() {
        let records = vec![srv(0, 0, ""), Srv { port: 0, ..srv(0, 0, "t") }];
        assert_eq!(by_priority(records), []);
    }

    #[test]
    fn a_record_is_known_by_its_host_and_port() {
        assert_eq!(srv(1, 2, "sbc.example").id(), srv(3, 4, "SBC.example").id());
        assert_ne!(srv(1, 2, "a").id(), srv(1, 2, "b").id());
        assert_ne!(srv(1, 2, "a").id(), Srv { port: 5070, ..srv(1, 2, "a") }.id());
    }

    fn naptr(order: u16, preference: u16, flags: &str, services: &str) -> Naptr {
        Naptr {
            order,
            preference,
            flags: flags.as_bytes().into(),
            services: services.as_bytes().into(),
            replacement: format!("{order}.{preference}").into(),
        }
    }

    #[test]
    fn services_are_sorted_and_others_left_out() {
        let records = || {
            vec![
                naptr(90, 50, "s", "SIP+D2U"),
                naptr(50, 60, "S", "sip+d2t"),
                naptr(50, 50, "s", "SIPS+D2T"),
                naptr(10, 10, "u", "E2U+sip"),
                naptr(10, 20, "s", "SIP+D2S"),
                naptr(10, 30, "a", "SIP+D2U"),
                Naptr { replacement: "".into(), ..naptr(1, 1, "s", "SIP+D2U") },
            ]
        };
        let names = |secure| {
            let known = by_service(records(), secure);
            known
                .iter()
                .map(|(n, t)| format!("{} {}", n.replacement, t.as_param()))
                .collect::<Vec<_>>()
        };
        assert_eq!(names(false), ["50.50 tls", "50.60 tcp", "90.50 udp"]);
        assert_eq!(names(true), ["50.50 tls"]);
    }
}
