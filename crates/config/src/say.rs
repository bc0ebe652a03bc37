//! Single values as people say them outside of files: on the command line, in a request.

use crate::problem::Complaint;
use crate::value;
use policy::Network;
use std::time::Duration;

/// A duration as the file has it: `1h`, `90s`, `1h30m`.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn duration(text: &str) -> Result<Duration, String> {
    value::duration(text).map_err(said)
}

/// A network as the file has it: `203.0.113.0/24`, or a single address.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn network(text: &str) -> Result<Network, String> {
    value::network(text).map_err(said)
}

fn said(Complaint { message, hint }: Complaint) -> String {
    match hint {
        Some(hint) => format!("{message}: {hint}"),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_one_sentence() {
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5_400)));
        assert!(duration("90").unwrap_err().contains("it needs a unit: 90ms, 90s"));
        assert_eq!(network("203.0.113.7").unwrap().to_string(), "203.0.113.7");
        assert!(network("net").unwrap_err().contains("write it as 203.0.113.0/24"));
    }
}
