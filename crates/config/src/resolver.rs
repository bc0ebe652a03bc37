//! `resolver`: how names are resolved (`docs/names.md`).

use crate::form::{Count, List, Scalar, TIME, Time};
use crate::keys::{Element, Keys};
use crate::model::ResolverSettings;
use crate::problem::Complaint;
use crate::table::Field;
use crate::value;
use std::net::SocketAddr;
use std::time::Duration;

/// No answer is waited for longer.
const PATIENCE_MAX: Duration = Duration::from_secs(30);
const SERVERS: List<SocketAddr> = List(Scalar(value::name_server, |server| server.to_string()));

impl Element for ResolverSettings {
    fn keys(&mut self, keys: &mut impl Keys) {
        let ResolverSettings {
            servers,
            timeout,
            attempts,
            questions,
            ttl_least,
            ttl_most,
            grace,
            recall,
            names,
            addresses,
        } = self;
        keys.key("servers", "Name servers; none: those of the system", servers, SERVERS);
        let patience = Time(Duration::from_millis(1), PATIENCE_MAX);
        keys.key("timeout", "For one try of a question", timeout, patience);
        keys.key("attempts", "Tries of a question", attempts, Count(1, 10));
        keys.key("questions", "Questions at a time", questions, Count(1, 256));
        keys.key("ttl_least", "A shorter TTL counts as this long", ttl_least, TIME);
        keys.key("ttl_most", "A longer TTL counts as this long", ttl_most, TIME);
        let about = "How long an address that its name has left is trusted still";
        keys.key("grace", about, grace, Time(Duration::ZERO, TIME.1));
        let about =
            "How long what a name stood for last is good after a restart, until it is answered";
        keys.key("recall", about, recall, Time(Duration::ZERO, TIME.1));
        keys.key("names", "Names that may be watched", names, Count(1, 4_096));
        keys.key("addresses", "Addresses that one name may have", addresses, Count(1, 1_024));
    }

    fn check(&self, field: &Field<'_>) {
        if self.ttl_most < self.ttl_least {
            field.error(Complaint::new("ttl_most is shorter than ttl_least"));
        }
    }
}
