//! `enforce`: banned sources are dropped in the kernel (`docs/enforce.md`).

use crate::form::{Count, List, Scalar, Word};
use crate::keys::{Element, Keys};
use crate::problem::Complaint;
use crate::value;
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// What the edge and its helper know about the kernel's drop sets. The helper reads the same file,
/// which the edge cannot write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enforce {
    /// Where the helper listens.
    pub socket: PathBuf,
    /// UDP ports of media on the listeners' addresses, from which banned sources are dropped, too.
    pub media: Vec<RangeInclusive<u16>>,
    /// What becomes of the kernel's sets when the helper ends.
    pub on_stop: OnStop,
    /// Most banned sources in the kernel.
    pub sources: usize,
    /// Most banned networks of other lengths.
    pub networks: usize,
    /// The shortest prefix of a banned IPv4 network.
    pub widest_ipv4: u32,
    /// The shortest prefix of a banned IPv6 network.
    pub widest_ipv6: u32,
    /// Bans and lifts that may wait for the helper's client.
    pub queue: usize,
}

/// What becomes of the kernel's sets when the helper ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStop {
    /// They go.
    #[default]
    Remove,
    /// They stay until each ban has run out.
    Keep,
}

impl Default for Enforce {
    fn default() -> Self {
        Enforce {
            socket: "/run/ringfence-enforcer/socket".into(),
            media: Vec::new(),
            on_stop: OnStop::Remove,
            sources: 1 << 17,
            networks: 1_024,
            widest_ipv4: 16,
            widest_ipv6: 32,
            queue: 1 << 16,
        }
    }
}

const ON_STOP: Word<OnStop> =
    Word("way to stop", &[("remove", OnStop::Remove), ("keep", OnStop::Keep)]);
/// Most ranges of media ports: each is a rule that every packet passes.
const MEDIA_MAX: usize = 16;

impl Element for Enforce {
    fn keys(&mut self, keys: &mut impl Keys) {
        let Enforce { socket, media, on_stop, sources, networks, widest_ipv4, widest_ipv6, queue } =
            self;
        let path = Scalar(value::path, |path: &PathBuf| path.display().to_string());
        keys.key("socket", "Where the helper listens", socket, path);
        let about = "UDP ports of media on the listeners' addresses";
        keys.key("media", about, media, List(Scalar(ports, print_ports)));
        keys.key("on_stop", "What becomes of the kernel's sets", on_stop, ON_STOP);
        keys.key("sources", "Most banned sources in the kernel", sources, Count(16, 1 << 20));
        // an interval set of the kernel is built anew with each change
        keys.key("networks", "Most banned networks in the kernel", networks, Count(16, 1 << 16));
        let about = "Shortest prefix of a banned IPv4 network";
        keys.key("widest_ipv4", about, widest_ipv4, Count(8, 32));
        let about = "Shortest prefix of a banned IPv6 network";
        keys.key("widest_ipv6", about, widest_ipv6, Count(16, 64));
        keys.key("queue", "Bans and lifts on their way", queue, Count(1_024, 1 << 20));
    }

    fn check(&self, field: &crate::table::Field<'_>) {
        if self.media.len() > MEDIA_MAX {
            let text = format!("media has more than {MEDIA_MAX} ranges");
            field.error(Complaint::new(text).hint("join neighbours, e.g. \"10000-20000\""));
        }
    }
}

/// `10000-20000`, or one port.
fn ports(text: &str) -> Result<RangeInclusive<u16>, Complaint> {
    let bad = || {
        let complaint = Complaint::new(format!("\"{text}\" is no range of ports"));
        complaint.hint("write it as \"10000-20000\", from the lower to the higher")
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
    let (first, last) = (port(first).ok_or_else(bad)?, port(last).ok_or_else(bad)?);
    if first <= last { Ok(first..=last) } else { Err(bad()) }
}

fn print_ports(ports: &RangeInclusive<u16>) -> String {
    match (ports.start(), ports.end()) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    }
}
