//! Durations, sizes and rates as they are written: `"250ms"`, `"64KiB"`, `"100/s"`.

use std::time::Duration;

/// The longest duration any key takes: ten years. Long enough for everybody, and no deadline overflows.
pub(crate) const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The largest size any key takes: 1 TiB, in bytes.
pub(crate) const LARGEST: u64 = 1 << 40;

/// Milliseconds in each unit, largest first, so that writing finds the shortest form.
const DURATIONS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Bytes in each unit, largest first.
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// `"250ms"`, `"5s"`, `"10m"`, `"1h"`: a whole number and its unit. `None`: anything else.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    scaled(text, &DURATIONS).map(Duration::from_millis)
}

/// `"64KiB"`, `"1MiB"`, `"2GiB"`, `"100B"`, in bytes. `None`: anything else.
pub(crate) fn size(text: &str) -> Option<u64> {
    scaled(text, &SIZES)
}

/// `"100/s"`. `None`: anything else.
pub(crate) fn rate(text: &str) -> Option<u64> {
    number(text.strip_suffix("/s")?)
}

/// `"64MiB/s"`, in bytes. `None`: anything else.
pub(crate) fn byte_rate(text: &str) -> Option<u64> {
    size(text.strip_suffix("/s")?)
}

/// A duration in its largest whole unit, which [`duration`] reads back.
pub(crate) fn write_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    // "0s" reads better than "0h".
    if millis == 0 { "0s".to_owned() } else { write_scaled(millis, &DURATIONS) }
}

/// A size in its largest whole unit, which [`size`] reads back.
pub(crate) fn write_size(bytes: u64) -> String {
    write_scaled(bytes, &SIZES)
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (_, scale) = units.iter().find(|(unit, _)| *unit == &text[digits..])?;
    number(&text[..digits])?.checked_mul(*scale)
}

fn write_scaled(value: u64, units: &[(&str, u64)]) -> String {
    let (unit, scale) = units.iter().find(|(_, scale)| value.is_multiple_of(*scale)).unwrap_or(&units[units.len() - 1]);
    format!("{}{unit}", value / scale)
}

/// Digits only: `str::parse` would also take a sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let check = |text, expected| assert_eq!(duration(text), expected, "{text}");
        check("0s", Some(Duration::ZERO));
        check("250ms", Some(Duration::from_millis(250)));
        check("10m", Some(Duration::from_secs(600)));
        check("1h", Some(Duration::from_secs(3600)));
        for wrong in ["", "5", "s", "+5s", "-5s", "5 s", "5S", "1.5s", "1h30m", "5s ", "99999999999999999999s"] {
            check(wrong, None);
        }
    }

    #[test]
    fn sizes() {
        let check = |text, expected| assert_eq!(size(text), expected, "{text}");
        check("64KiB", Some(65_536));
        check("1GiB", Some(1 << 30));
        check("7B", Some(7));
        for wrong in ["64", "64KB", "64K", "KiB", "18446744073709551615GiB"] {
            check(wrong, None);
        }
    }

    #[test]
    fn rates() {
        assert_eq!(rate("100/s"), Some(100));
        for wrong in ["100", "/s", "100/m", "+1/s"] {
            assert_eq!(rate(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn written_as_read() {
        for text in ["0s", "250ms", "90s", "1h"] {
            assert_eq!(write_duration(duration(text).unwrap()), text);
        }
        assert_eq!(write_size(64 << 20), "64MiB");
        assert_eq!(write_size(1500), "1500B");
    }
}
