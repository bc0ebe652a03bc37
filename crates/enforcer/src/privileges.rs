//! What the process may do, and who its callers are.

use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};
use std::io;

/// Keeps `CAP_NET_ADMIN` and gives everything else away, for this thread and those it will start.
pub(crate) fn keep_net_admin() -> io::Result<()> {
    let only = CapabilitySet::NET_ADMIN;
    let sets =
        CapabilitySets { effective: only, permitted: only, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets)?;
    set_no_new_privs(true)?;
    Ok(())
}

/// The numbers of users, given by name or number. Names stand in `/etc/passwd`: the helper asks no
/// directory service who may command it.
pub(crate) fn users(names: &[String]) -> Result<Vec<u32>, String> {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    names.iter().map(|name| user(&passwd, name)).collect()
}

fn user(passwd: &str, name: &str) -> Result<u32, String> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let number = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    number.ok_or_else(|| format!("--user {name}: there is no such user in /etc/passwd"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_or_number() {
        let passwd = "root:x:0:0:root:/:/bin/sh\nringfence:x:987:986::/:/usr/sbin/nologin\nbad\n";
        assert_eq!(user(passwd, "ringfence"), Ok(987));
        assert_eq!(user(passwd, "1000"), Ok(1000));
        assert!(user(passwd, "ring").is_err_and(|text| text.contains("no such user")));
        assert!(user(passwd, "bad").is_err());
    }
}
