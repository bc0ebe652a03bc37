//! The order that records ask for. `rsip-dns` keeps the order in which it is answered.

use crate::question::{Naptr, Srv};
use rand_core::RngCore;
use wire::Transport;

/// SRV records by priority, and within one by a lot weighted as RFC 2782 says. Those that say that
/// there is no such service, or that have no port, are left out.
#[must_use]
pub fn by_weight(mut records: Vec<Srv>, rng: &mut impl RngCore) -> Vec<Srv> {
    records.retain(|srv| !srv.target.is_empty() && srv.port != 0);
    // "place those with weight 0 at the beginning of the list": they have a small chance, too
    records.sort_by_key(|srv| (srv.priority, srv.weight));
    let mut ordered = Vec::with_capacity(records.len());
    while let Some(first) = records.first() {
        let priority = first.priority;
        let same = records.iter().take_while(|srv| srv.priority == priority);
        let sum: u64 = same.map(|srv| u64::from(srv.weight)).sum();
        let lot = rng.next_u64() % (sum + 1);
        let mut running = 0;
        let drawn = records.iter().position(|srv| {
            running += u64::from(srv.weight);
            running >= lot
        });
        ordered.push(records.remove(drawn.unwrap_or(0)));
    }
    ordered
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
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng;

    fn srv(priority: u16, weight: u16, target: &str) -> Srv {
        Srv { priority, weight, port: 5060, target: target.into() }
    }

    fn targets(records: &[Srv]) -> String {
        records.iter().map(|srv| &*srv.target).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn priorities_are_kept_and_weights_share() {
        let records =
            [srv(20, 9, "last"), srv(10, 60, "much"), srv(10, 20, "some"), srv(10, 0, "no")];
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mut first = std::collections::BTreeMap::<String, u32>::new();
        for _ in 0..8_000 {
            let ordered = by_weight(records.to_vec(), &mut rng);
            assert_eq!(&*ordered[3].target, "last");
            *first.entry(ordered[0].target.to_string()).or_default() += 1;
        }
        // of 81 lots: one falls on 0, sixty on "much", twenty on "some"
        assert!((5_700..6_150).contains(&first["much"]), "{first:?}");
        assert!((1_800..2_150).contains(&first["some"]), "{first:?}");
        assert!((50..160).contains(&first["no"]), "{first:?}");
    }

    #[test]
    fn the_same_seed_draws_the_same_lots() {
        let records: Vec<Srv> = (0..20).map(|n| srv(1, n * 7, &format!("t{n}"))).collect();
        let draw =
            |seed| targets(&by_weight(records.clone(), &mut ChaCha8Rng::seed_from_u64(seed)));
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn the_largest_numbers_overflow_nothing() {
        let records: Vec<Srv> = (0..1_000).map(|_| srv(65_535, 65_535, "t")).collect();
        assert_eq!(by_weight(records, &mut ChaCha8Rng::seed_from_u64(1)).len(), 1_000);
    }

    #[test]
    fn no_service_and_no_port_are_no_targets() {
        let records = vec![srv(0, 0, ""), Srv { port: 0, ..srv(0, 0, "t") }];
        assert_eq!(by_weight(records, &mut ChaCha8Rng::seed_from_u64(1)), []);
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
