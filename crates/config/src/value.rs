//! Single values: text to meaning, and back for `--print-effective`.

use crate::problem::Complaint;
use crate::table::nearest;
use policy::{Network, Registration};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use wire::Transport;

/// The ports of SIP (RFC 3261 §19.1.2) and DNS (RFC 1035 §4.2).
const SIP: u16 = 5060;
const DNS: u16 = 53;

/// Units of durations, largest first, in nanoseconds.
const DURATION_UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
];

/// Units of sizes in bytes, largest first.
const SIZE_UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

/// `30s`, `500ms`, `1h30m`, `1.5s`; a bare number is refused because its unit would be a guess.
pub(crate) fn duration(text: &str) -> Result<Duration, Complaint> {
    let bad = || Complaint::new(format!("\"{text}\" is no duration"));
    let text = text.trim();
    if text.parse::<f64>().is_ok() {
        return Err(
            bad().hint(format!("it needs a unit: {text}ms, {text}s, {text}m, {text}h or {text}d"))
        );
    }
    let mut rest = text;
    let mut nanos = 0u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let example = || bad().hint("write it as 500ms, 30s, 5m, 1h30m or 7d");
        let factor = DURATION_UNITS.iter().find(|(name, _)| *name == unit);
        let (_, factor) = factor.ok_or_else(example)?;
        let part = scaled(number, *factor).ok_or_else(example)?;
        nanos = nanos.checked_add(part).ok_or_else(|| bad().hint("it is too long"))?;
        rest = tail;
    }
    if text.is_empty() { Err(bad()) } else { Ok(Duration::from_nanos(nanos)) }
}

/// A decimal number times a factor, exactly, without rounding a fraction away.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') || (number.contains('.') && fraction.is_empty()) {
        return None;
    }
    let mut value = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    let mut step = factor;
    for digit in fraction.bytes() {
        step /= 10;
        value = value.checked_add(step.checked_mul(u64::from(digit.checked_sub(b'0')?))?)?;
    }
    Some(value)
}

/// The shortest text that [`duration`] reads as the same: in the largest unit that divides it.
pub(crate) fn print_duration(length: Duration) -> String {
    let nanos = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
    if nanos == 0 {
        return "0s".into();
    }
    for (unit, factor) in DURATION_UNITS {
        if nanos >= factor && nanos.is_multiple_of(factor) {
            return format!("{}{unit}", nanos / factor);
        }
    }
    format!("{}us", nanos / 1_000)
}

/// `64KiB`, `1.5MiB`, `65535` (bytes).
pub(crate) fn size(text: &str) -> Result<u64, Complaint> {
    let text = text.trim();
    let bad = || {
        let complaint = Complaint::new(format!("\"{text}\" is no size"));
        complaint.hint("write it as 65535, 64KiB, 1MiB or 2GiB")
    };
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim();
    let unit = if unit.is_empty() { "B" } else { unit };
    let factor = SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
    let (_, factor) = factor.ok_or_else(bad)?;
    scaled(number, *factor).ok_or_else(bad)
}

/// The size in the largest binary unit that divides it.
pub(crate) fn print_size(bytes: u64) -> String {
    for (unit, factor) in SIZE_UNITS {
        if unit.ends_with("iB") && bytes >= factor && bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    bytes.to_string()
}

/// A whole number; `_` may group its digits.
pub(crate) fn count(text: &str) -> Result<u64, Complaint> {
    let plain: String = text.chars().filter(|c| *c != '_').collect();
    plain.parse().map_err(|_| Complaint::new(format!("\"{text}\" is no whole number")))
}

/// An IP address with a port. Names are refused: what we listen on and who the PBX is must not
/// hang on a resolver's answer.
pub(crate) fn address(text: &str) -> Result<SocketAddr, Complaint> {
    address_of(text, SIP)
}

/// An IP address with a port, such as `usual`.
fn address_of(text: &str, usual: u16) -> Result<SocketAddr, Complaint> {
    let text = text.trim();
    if let Ok(address) = text.parse::<SocketAddr>() {
        if address.port() == 0 {
            let complaint = Complaint::new(format!("\"{text}\" has port 0"));
            let hint = format!("give the port that the other side will use, e.g. {usual}");
            return Err(complaint.hint(hint));
        }
        return Ok(address);
    }
    let bad = Complaint::new(format!("\"{text}\" is no address with a port"));
    Err(bad.hint(address_hint(text, usual)))
}

fn address_hint(text: &str, usual: u16) -> String {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        let example = SocketAddr::new(ip, usual);
        return match ip {
            IpAddr::V6(_) if text.starts_with('[') || !ends_like_port(bare) => {
                format!("it needs a port, e.g. \"{example}\"")
            }
            IpAddr::V6(_) => {
                let (host, port) = bare.rsplit_once(':').unwrap_or((bare, ""));
                format!(
                    "an IPv6 address stands in brackets before the port: \"[{host}]:{port}\", \
                     or \"{example}\" if all of it is the address"
                )
            }
            IpAddr::V4(_) => format!("it needs a port, e.g. \"{example}\""),
        };
    }
    if text.starts_with(':') || text.parse::<u16>().is_ok() {
        let port = text.trim_start_matches(':');
        return format!("it needs an IP address, e.g. \"0.0.0.0:{port}\" for all of IPv4");
    }
    match text.rsplit_once(':') {
        Some((host, port)) if host.parse::<IpAddr>().is_ok() => {
            format!("\"{port}\" is no port; ports are 1 to 65535")
        }
        Some((host, _)) if is_host(host) => {
            format!("\"{host}\" is a name; write its IP address")
        }
        _ => format!(
            "write an IP address and a port, e.g. \"203.0.113.1:{usual}\" or \"[2001:db8::1]:{usual}\""
        ),
    }
}

/// Whether the last group of an IPv6 address was probably meant as a port: `::1:5060`.
fn ends_like_port(text: &str) -> bool {
    let last = text.rsplit(':').next().unwrap_or_default();
    last.len() == 4 && last.bytes().all(|b| b.is_ascii_digit())
}

/// As [`address`], and port 0 lets the system choose.
pub(crate) fn address_any_port(text: &str) -> Result<SocketAddr, Complaint> {
    match text.trim().parse::<SocketAddr>() {
        Ok(address) => Ok(address),
        Err(_) => address(text),
    }
}

/// `127.0.0.53`, or with a port other than 53 `127.0.0.53:5353`.
pub(crate) fn name_server(text: &str) -> Result<SocketAddr, Complaint> {
    let bare = text.trim().trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(ip) => Ok(SocketAddr::new(ip, DNS)),
        Err(_) => address_of(text, DNS),
    }
}

/// An IP address alone.
pub(crate) fn ip(text: &str) -> Result<IpAddr, Complaint> {
    let bare = text.trim().trim_start_matches('[').trim_end_matches(']');
    bare.parse().map_err(|_| {
        Complaint::new(format!("\"{text}\" is no address")).hint("without a port: 127.0.0.9")
    })
}

/// `203.0.113.0/24`, `2001:db8::/32`, or a single address.
pub(crate) fn network(text: &str) -> Result<Network, Complaint> {
    let bad = |hint: String| Complaint::new(format!("\"{text}\" is no network")).hint(hint);
    let example = "write it as 203.0.113.0/24, 2001:db8::/32 or a single address";
    let (ip, prefix) = match text.trim().split_once('/') {
        Some((ip, prefix)) => (ip, Some(prefix)),
        None => (text.trim(), None),
    };
    let ip: IpAddr = ip.parse().map_err(|_| bad(example.to_owned()))?;
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => most,
        Some(text) => text.parse().map_err(|_| bad(example.to_owned()))?,
    };
    if prefix > most {
        return Err(bad(format!("the prefix of this address has at most {most} bits")));
    }
    let network = Network::new(ip, prefix);
    if network.address() != ip {
        return Err(bad(format!("it has bits behind its prefix; did you mean {network}?")));
    }
    Ok(network)
}

/// `udp`, `tcp` or `tls`.
pub(crate) fn transport(text: &str) -> Result<Transport, Complaint> {
    one_of(
        text,
        "transport",
        &[("udp", Transport::Udp), ("tcp", Transport::Tcp), ("tls", Transport::Tls)],
    )
}

/// `contact-token` or `path`.
pub(crate) fn registration(text: &str) -> Result<Registration, Complaint> {
    one_of(
        text,
        "registration mode",
        &[("contact-token", Registration::ContactToken), ("path", Registration::Path)],
    )
}

/// `true` or `false`.
pub(crate) fn truth(text: &str) -> Result<bool, Complaint> {
    one_of(text, "truth value", &[("true", true), ("false", false)])
}

/// A word of a closed list.
pub(crate) fn one_of<T: Copy>(
    text: &str,
    what: &str,
    words: &[(&'static str, T)],
) -> Result<T, Complaint> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let near = nearest(text, &known).unwrap_or_default();
    let complaint = Complaint::new(format!("\"{text}\" is no {what}"));
    Err(complaint.hint(format!("did you mean \"{near}\"? Known: {}", known.join(", "))))
}

/// A path; relative ones are completed by who reads the file.
pub(crate) fn path(text: &str) -> Result<PathBuf, Complaint> {
    if text.trim().is_empty() {
        return Err(Complaint::new("the path is empty"));
    }
    Ok(PathBuf::from(text))
}

/// Any text.
pub(crate) fn text(text: &str) -> Result<String, Complaint> {
    Ok(text.to_owned())
}

/// A trunk's name: it stands in a header field.
pub(crate) fn trunk_name(text: &str) -> Result<String, Complaint> {
    if text.is_empty() || text.len() > 64 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let complaint = Complaint::new(format!("\"{text}\" is no name of a trunk"));
        return Err(complaint.hint("one word of at most 64 letters, e.g. carrier"));
    }
    Ok(text.to_owned())
}

/// A domain name or an IP address, in lower case.
pub(crate) fn host(text: &str) -> Result<String, Complaint> {
    let plain = text.trim_start_matches('[').trim_end_matches(']');
    if plain.parse::<Ipv6Addr>().is_ok() {
        return Ok(format!("[{plain}]").to_lowercase());
    }
    if is_host(text) {
        return Ok(text.to_lowercase());
    }
    let complaint = Complaint::new(format!("\"{text}\" is no host name"));
    Err(match text {
        _ if text.starts_with("sip:") || text.starts_with("sips:") => {
            complaint.hint("only the host, without sip: and without a user")
        }
        _ if text.contains('@') => complaint.hint("only what stands behind the @"),
        _ if text.contains(':') => complaint.hint("without a port"),
        _ => complaint,
    })
}

/// As [`host_and_port`], or an IP network.
pub(crate) fn host_or_network(text: &str) -> Result<String, Complaint> {
    if text.contains('/') { Ok(network(text)?.to_string()) } else { host_and_port(text) }
}

/// As [`host`] without a last dot, with an optional port. SRV records say their own.
pub(crate) fn host_and_port(text: &str) -> Result<String, Complaint> {
    let (name, port) = match policy::Trunk::host_and_port(text) {
        (name, Some(port)) if port > 0 => (host(name)?, Some(port)),
        _ => (host(text)?, None),
    };
    let name = name.trim_end_matches('.');
    match port {
        Some(_) if name.starts_with('_') => {
            let complaint = Complaint::new(format!("the SRV records of {name} say their ports"));
            Err(complaint.hint("without a port; or a host with it"))
        }
        Some(port) => Ok(format!("{name}:{port}")),
        None => Ok(name.to_owned()),
    }
}

/// The network that a host stands for, if it is no name.
pub(crate) fn network_of(host: &str) -> Option<Network> {
    let (host, _) = policy::Trunk::host_and_port(host);
    network(host.trim_start_matches('[').trim_end_matches(']')).ok()
}

/// A host with an optional port, as a Via names it (RFC 3261 §25.1 sent-by).
pub(crate) fn sent_by(text: &str) -> Result<String, Complaint> {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') && !name.contains(':') => (name, Some(port)),
        Some((name, port)) if name.ends_with(']') => (name, Some(port)),
        _ => (text, None),
    };
    if port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0)) || port.is_none() {
        let name = host(name)?;
        return Ok(port.map_or_else(|| name.clone(), |port| format!("{name}:{port}")));
    }
    let complaint = Complaint::new(format!("\"{text}\" is no host with an optional port"));
    Err(complaint.hint("e.g. \"pbx.example.com\" or \"203.0.113.1:5061\""))
}

fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    !text.is_empty() && text.len() <= 253 && text.trim_end_matches('.').split('.').all(label)
}

/// A header name (RFC 3261 §25.1 token), or `off`.
pub(crate) fn header_name(text: &str) -> Result<Option<String>, Complaint> {
    if text == "off" || text == "false" {
        return Ok(None);
    }
    let token = |b: u8| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b);
    if text.is_empty() || text.len() > 64 || !text.bytes().all(token) {
        let complaint = Complaint::new(format!("\"{text}\" is no header name"));
        return Err(complaint.hint("at most 64 letters, digits and -, e.g. X-Ringfence-Source"));
    }
    Ok(Some(text.to_owned()))
}

/// An address of the web; `what` is there, as an error names it. No password stands in it.
pub(crate) fn web_address(text: &str, what: &str, hint: &str) -> Result<String, Complaint> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split(['/', '?']).next()).unwrap_or_default();
    let sound = text.bytes().all(|byte| byte.is_ascii_graphic()) && text.len() <= 2_048;
    if host.is_empty() || host.contains(['@', '{']) || !sound {
        return Err(Complaint::new(format!("\"{text}\" is no address of a {what}")).hint(hint));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn durations_need_a_unit_and_keep_every_digit() {
        let ok = |text: &str| duration(text).unwrap();
        assert_eq!(ok("500ms"), Duration::from_millis(500));
        assert_eq!(ok("30s"), Duration::from_secs(30));
        assert_eq!(ok("1h30m"), Duration::from_secs(5_400));
        assert_eq!(ok("1.5s"), Duration::from_millis(1_500));
        assert_eq!(ok("0.000001s"), Duration::from_micros(1));
        assert_eq!(ok("7d"), Duration::from_secs(604_800));
        assert!(duration("30").unwrap_err().hint.unwrap().contains("30s"));
        for bad in ["", "s", "1x", "-1s", "1..5s", "1.s", ".5s", "99999999999999d", "1s 2", "１s"]
        {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_printed_is_read_back() {
        for nanos in [0u64, 1_000, 1_500_000, 500_000_000, 181_000_000_000, 86_400_000_000_000] {
            let length = Duration::from_nanos(nanos);
            assert_eq!(duration(&print_duration(length)).unwrap(), length);
        }
        for bytes in [0, 1, 1023, 1024, 65_535, 65_536, 3 << 29, 1 << 30] {
            assert_eq!(size(&print_size(bytes)).unwrap(), bytes);
        }
        assert_eq!(print_size(65_536), "64KiB");
        assert_eq!(print_duration(Duration::from_millis(1_500)), "1500ms");
    }

    #[test]
    fn an_address_without_its_parts_is_told_what_it_lacks() {
        let hint = |text: &str| address(text).unwrap_err().hint.unwrap();
        assert!(hint("203.0.113.1").contains("needs a port, e.g. \"203.0.113.1:5060\""));
        assert!(hint("2001:db8::1").contains("\"[2001:db8::1]:5060\""));
        assert!(hint("[2001:db8::1]").contains("\"[2001:db8::1]:5060\""));
        assert!(hint("::1:5060").contains("\"[::1]:5060\""));
        assert!(hint("5060").contains("\"0.0.0.0:5060\""));
        assert!(hint(":5060").contains("\"0.0.0.0:5060\""));
        assert!(hint("pbx.example.com:5060").contains("is a name"));
        assert!(hint("203.0.113.1:99999").contains("is no port"));
        assert!(hint("203.0.113.1:0").contains("5060"));
        assert_eq!(address("[::1]:5060").unwrap(), "[::1]:5060".parse().unwrap());
        let hint = |text: &str| name_server(text).unwrap_err().hint.unwrap();
        assert!(hint("203.0.113.1/24").contains("\"203.0.113.1:53\""));
        assert!(hint("203.0.113.1:0").ends_with("53"));
    }

    #[test]
    fn networks_have_no_bits_behind_their_prefix() {
        assert_eq!(network("203.0.113.0/24").unwrap().to_string(), "203.0.113.0/24");
        assert_eq!(network("::1").unwrap().to_string(), "::1");
        assert!(network("203.0.113.7/24").unwrap_err().hint.unwrap().contains("203.0.113.0/24"));
        assert!(network("203.0.113.0/33").is_err());
        assert!(network("x/8").is_err());
        let network = network("10.0.0.0/8").unwrap();
        assert!(network.contains("10.255.0.1".parse().unwrap()));
        assert!(network.contains("::ffff:10.1.1.1".parse().unwrap()));
        assert!(!network.contains("11.0.0.1".parse().unwrap()));
        assert!(!network.contains("::1".parse().unwrap()));
    }

    #[test]
    fn hosts_and_sent_by_values() {
        assert_eq!(host("PBX.Example.com").unwrap(), "pbx.example.com");
        assert_eq!(host("2001:DB8::1").unwrap(), "[2001:db8::1]");
        assert!(host("sip:a@b").is_err());
        assert!(host("a b").is_err());
        assert!(host("a..b").is_err());
        assert_eq!(sent_by("pbx.example.com:5061").unwrap(), "pbx.example.com:5061");
        assert_eq!(sent_by("pbx.example.com").unwrap(), "pbx.example.com");
        assert_eq!(sent_by("[2001:db8::1]:5061").unwrap(), "[2001:db8::1]:5061");
        assert_eq!(sent_by("[2001:db8::1]").unwrap(), "[2001:db8::1]");
        assert_eq!(sent_by("2001:db8::1").unwrap(), "[2001:db8::1]");
        assert!(sent_by("pbx.example.com:0").is_err());
        assert!(sent_by("pbx.example.com:sip").is_err());
    }

    #[test]
    fn header_names_are_tokens() {
        assert_eq!(header_name("off").unwrap(), None);
        assert_eq!(header_name("X-Source").unwrap().as_deref(), Some("X-Source"));
        assert!(header_name("X Source").is_err());
        assert!(header_name("X:\r\nEvil").is_err());
    }
}
