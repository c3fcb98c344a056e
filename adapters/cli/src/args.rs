//! Values on the command line: durations and sizes with units.

use std::time::Duration;

/// Reads a duration such as `500ms`, `2.5s`, `1m` or `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
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
        Ok(Duration::ZERO) => Err("a duration must not be zero".into()),
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

/// Reads a header such as `Authorization: Bearer 4711`.
pub(crate) fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.trim().to_owned())),
        _ => Err(format!("'{text}' is no header like NAME:VALUE")),
    }
}

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
    use super::{Duration, duration, header, size};

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
        let pair = |name: &str, value: &str| Ok((name.to_owned(), value.to_owned()));
        assert_eq!(header("A: b:c "), pair("A", "b:c"));
        assert_eq!(header("A:"), pair("A", ""));
        for wrong in ["", "A", ":b"] {
            assert!(header(wrong).is_err(), "{wrong}");
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
