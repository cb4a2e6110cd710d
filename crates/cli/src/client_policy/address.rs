//! Checks the addresses that computers are given.
//!
//! **Invariant:** what passes is `http` or `https`, a host name or address, and at most a port: nothing that Windows would
//! take for something else. It resolves nothing.

use std::net::{IpAddr, Ipv6Addr};

/// The longest name of a host (RFC 1035, section 2.3.4).
const MAX_HOST: usize = 253;

/// An address in the form in which computers are given it, without a slash at its end.
///
/// # Errors
/// With what is wrong and how to write it.
pub(super) fn checked(text: &str, option: &str) -> Result<String, String> {
    let wrong = |why: &str| {
        let shown: String = text.chars().filter(|c| !c.is_control()).take(120).collect();
        format!("{option}: {shown:?} {why}; write it like http://updates.example:8530")
    };
    let lower = text.get(..8).unwrap_or(text).to_ascii_lowercase();
    let (scheme, rest) = match (lower.strip_prefix("http://"), lower.strip_prefix("https://")) {
        (Some(_), _) => ("http", &text[7..]),
        (_, Some(_)) => ("https", &text[8..]),
        _ => return Err(wrong("does not begin with http:// or https://")),
    };
    let authority = rest.trim_end_matches('/');
    if authority.contains('@') {
        return Err(wrong("has a user name in it, which computers do not send"));
    }
    if authority.contains(['/', '?', '#']) {
        return Err(wrong("has a path, which Windows adds by itself"));
    }
    let (host, port) = split(authority).ok_or_else(|| wrong("has no valid port"))?;
    if !is_host(host) {
        return Err(wrong("has no valid host name (write names with other letters as xn--…)"));
    }
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    Ok(format!("{scheme}://{host}{port}"))
}

/// What is likely to be wrong with a valid address.
pub(super) fn doubt(url: &str) -> Option<String> {
    let (host, _) = split(url.split_once("://")?.1)?;
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    if host.eq_ignore_ascii_case("localhost") || address.is_some_and(|address| address.is_loopback()) {
        return Some(format!(
            "{url} means each computer itself; name this server with --url or in server.public_url"
        ));
    }
    if address.is_some_and(|address| address.is_unspecified()) {
        return Some(format!("{url} is no address that a computer can reach; name this server with --url"));
    }
    if address.is_none() && !host.contains('.') {
        return Some(format!(
            "{url} has no domain; computers outside of this one's domain will not find it. Use the full name with --url"
        ));
    }
    None
}

/// Host and port.
fn split(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = if authority.starts_with('[') {
        let end = authority.find(']')? + 1;
        (
            &authority[..end],
            authority[end..]
                .strip_prefix(':')
                .map_or_else(|| authority[end..].is_empty().then_some(None), |port| Some(Some(port)))?,
        )
    } else {
        match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    match port {
        None => Some((host, None)),
        Some(port) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            port.parse().ok().filter(|port| *port > 0).map(|port| (host, Some(port)))
        }
        Some(_) => None,
    }
}

/// A DNS name (underscores pass: Windows has such hosts) or an address.
pub(super) fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let numeric = host.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    if numeric {
        return host.parse::<std::net::Ipv4Addr>().is_ok();
    }
    !host.is_empty() && host.len() <= MAX_HOST && host.trim_end_matches('.').split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_as_windows_takes_them() {
        let table = [
            ("http://updates.example:8530", Some("http://updates.example:8530")),
            ("HTTPS://Updates.Example:8531/", Some("https://Updates.Example:8531")),
            ("http://10.0.0.5", Some("http://10.0.0.5")),
            ("http://[fd00::5]:8530", Some("http://[fd00::5]:8530")),
            ("http://srv_1:8530//", Some("http://srv_1:8530")),
            ("http://xn--bcher-kva.example", Some("http://xn--bcher-kva.example")),
            ("updates.example:8530", None),
            ("ftp://updates.example", None),
            ("http://", None),
            ("http://:8530", None),
            ("http://updates.example:", None),
            ("http://updates.example:0", None),
            ("http://updates.example:65536", None),
            ("http://updates.example:+80", None),
            ("http://updates.example/selfupdate", None),
            ("http://updates.example?x", None),
            ("http://user@updates.example", None),
            ("http://bücher.example", None),
            ("http://up dates.example", None),
            ("http://-a.example", None),
            ("http://a..example", None),
            ("http://999.1.1.1", None),
            ("http://[fd00::5", None),
            ("http://[fd00::5]8530", None),
            ("http://a'b.example", None),
            ("http://a\"b", None),
            ("http://a\nb", None),
            ("", None),
        ];
        for (text, wanted) in table {
            assert_eq!(checked(text, "--url").ok().as_deref(), wanted, "{text:?}");
        }
    }

    #[test]
    fn addresses_that_lead_nowhere_are_doubted() {
        for url in [
            "http://localhost:8530",
            "http://127.0.0.1",
            "http://[::1]:8530",
            "http://0.0.0.0:8530",
            "http://srv:8530",
        ] {
            assert!(doubt(url).is_some(), "{url}");
        }
        for url in ["http://updates.example:8530", "http://10.0.0.5:8530", "http://[fd00::5]"] {
            assert_eq!(doubt(url), None, "{url}");
        }
    }
}
