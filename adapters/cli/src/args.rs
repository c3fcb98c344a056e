//! Values on the command line: durations and sizes with units.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;
use std::{fmt, io};

/// Reads a duration such as `500ms`, `2.5s`, `1m` or `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match duration_or_zero(text)? {
        Duration::ZERO => Err("a duration must not be zero".into()),
        duration => Ok(duration),
    }
}

/// Reads a duration as [`duration`] does, or `0s`.
pub(crate) fn duration_or_zero(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is no duration like 500ms, 2.5s, 1m or 1h");
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let seconds = match unit {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3_600.0,
        _ => return Err(wrong()),
    };
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if duration > LONGEST => Err("a duration is at most a year".into()),
        Ok(duration) => Ok(duration),
        Err(_) => Err(wrong()),
    }
}

/// Reads a size such as `4096`, `64KiB`, `16MiB` or `1GB`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is no size like 4096, 64KiB, 16MiB or 1GB");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    match number.checked_mul(factor) {
        Some(0) => Err("a size must not be zero".into()),
        Some(size) => Ok(size),
        None => Err(wrong()),
    }
}

/// Takes a header such as `Authorization: Bearer 4711` apart; `None` if it is none.
pub(crate) fn header(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once(':')?;
    (!name.is_empty()).then_some((name, value.trim()))
}

/// Where a server listens: a port of the loopback, or a host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listen {
    host: String,
    port: u16,
}

impl Listen {
    /// Reads `9001`, `localhost:9001`, `0.0.0.0:9001` or `[::]:9001`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no address like 9001, localhost:9001 or [::1]:9001");
        let (host, port) = text.rsplit_once(':').unwrap_or((LOOPBACK, text));
        let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| is_port).ok_or_else(wrong)?;
        // Only brackets keep the colons of an address from the port's.
        let host = match host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
        {
            Some(address) => address,
            None if host.contains(':') => return Err(wrong()),
            None => host,
        };
        if host.is_empty() {
            return Err(wrong());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }

    /// Looks the host up. Addresses of IPv4 come first: one of them is what most people mean by
    /// `localhost`.
    pub(crate) fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let found = (&*self.host, self.port).to_socket_addrs()?;
        let mut addresses: Vec<_> = found.collect();
        addresses.sort_by_key(SocketAddr::is_ipv6);
        if addresses.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the name has no address",
            ));
        }
        Ok(addresses)
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

const LOOPBACK: &str = "127.0.0.1";

/// Far enough for everybody, and near enough for every clock to add it.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3_600);

/// Splits a number from its unit.
fn split(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::{Duration, Listen, duration, duration_or_zero, header, size};

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2.5s"), Ok(Duration::from_millis(2_500)));
        assert_eq!(duration("1m"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("1 h"), Ok(Duration::from_secs(3_600)));
        for wrong in [
            "",
            "5",
            "s",
            "-1s",
            "0s",
            "1.2.3s",
            "1d",
            "1e3s",
            "99999999999999999999h",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn headers_have_a_name() {
        assert_eq!(header("A: b:c "), Some(("A", "b:c")));
        assert_eq!(header("A:"), Some(("A", "")));
        for wrong in ["", "A", ":b"] {
            assert_eq!(header(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_duration_may_be_zero_where_it_says_so() {
        assert_eq!(duration_or_zero("0s"), Ok(Duration::ZERO));
        assert_eq!(duration_or_zero("0.00ms"), Ok(Duration::ZERO));
        assert_eq!(duration_or_zero("1.5s"), Ok(Duration::from_millis(1_500)));
        for wrong in ["0", "0x", "-0s", ""] {
            assert!(duration_or_zero(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_address_to_listen_on_is_a_port_or_has_one() {
        let shown = |text| Listen::parse(text).map(|listen| listen.to_string());
        for (text, address) in [
            ("9001", "127.0.0.1:9001"),
            ("0", "127.0.0.1:0"),
            ("localhost:9001", "localhost:9001"),
            ("[::1]:9001", "[::1]:9001"),
            ("0.0.0.0:80", "0.0.0.0:80"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(address));
        }
        for wrong in [
            "", "nowhere", ":9001", "::1:9001", "a:", "a:+1", "65536", "[]:1",
        ] {
            assert!(shown(wrong).is_err(), "{wrong}");
        }
        for text in ["localhost:9001", "9001"] {
            let addresses = Listen::parse(text).unwrap().addresses().unwrap();
            assert_eq!(addresses[0].to_string(), "127.0.0.1:9001");
        }
    }

    #[test]
    fn sizes_may_have_units() {
        assert_eq!(size("4096"), Ok(4_096));
        assert_eq!(size("16MiB"), Ok(16 << 20));
        assert_eq!(size("1 GB"), Ok(1_000_000_000));
        for wrong in [
            "",
            "MiB",
            "-1",
            "0",
            "1.5MiB",
            "1mib",
            "99999999999999999999",
            "20000000000GiB",
        ] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
