//! Where the page is served.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

/// The port unless another is given.
const PORT: u16 = 8080;

/// The argument of `--web`: an address of this machine and a port, either of which may be left out.
/// Without an address it is that of the loopback interface, which no other machine reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(pub SocketAddr);

/// Words that are no [`Address`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "neither an address nor a port of this machine: give one like 127.0.0.1:8080, 0.0.0.0:8080 or 8080"
)]
pub struct AddressError;

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        if let Ok(address) = text.parse() {
            return Ok(Self(address));
        }
        if let Ok(ip) = text.trim_matches(['[', ']']).parse() {
            return Ok(Self(SocketAddr::new(ip, PORT)));
        }
        let port = match text.strip_prefix("localhost").unwrap_or(text) {
            "" if !text.is_empty() => PORT,
            port => port
                .strip_prefix(':')
                .unwrap_or(port)
                .parse()
                .map_err(|_| AddressError)?,
        };
        Ok(Self(SocketAddr::new(loopback, port)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_loopback_and_8080() {
        for (text, address) in [
            ("8081", "127.0.0.1:8081"),
            (":0", "127.0.0.1:0"),
            ("localhost", "127.0.0.1:8080"),
            ("localhost:99", "127.0.0.1:99"),
            ("0.0.0.0", "0.0.0.0:8080"),
            ("192.0.2.7:80", "192.0.2.7:80"),
            ("::1", "[::1]:8080"),
            ("[::1]", "[::1]:8080"),
            ("[::]:80", "[::]:80"),
        ] {
            let expected = address.parse().expect("an address");
            assert_eq!(text.parse(), Ok(Address(expected)), "{text}");
        }
        for text in [
            "",
            "/dev/ttyUSB0",
            "example.org:80",
            "localhostile",
            "127.0.0.1:70000",
            "65536",
            "-1",
        ] {
            assert_eq!(text.parse::<Address>(), Err(AddressError), "{text}");
        }
    }
}
