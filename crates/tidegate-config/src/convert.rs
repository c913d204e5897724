//! TOML values to typed ones, within a key's bounds.

use std::time::Duration;

use toml::de::DeValue;

use crate::{
    choices::{Choices, spellings},
    errors::Complaint,
    keys::{Key, Kind, either},
    units,
};

/// `None`: off, which only a key that allows it can be.
pub(crate) fn duration(key: &Key, value: &DeValue<'_>) -> Result<Option<Duration>, Complaint> {
    let Kind::Duration { least, most, off } = key.kind else { unreachable!("`{}` is no duration", key.name) };
    let text = match value {
        DeValue::String(text) => text,
        DeValue::Integer(number) => {
            return Err(mismatch(key, value).help(format!("durations are strings with a unit: \"{number}s\"")));
        }
        other => return Err(mismatch(key, other).help("durations are strings with a unit: \"5s\"")),
    };
    if text == "off" {
        return if off { Ok(None) } else { Err(Complaint::new(format!("`{}` cannot be \"off\"", key.name))) };
    }
    let duration = units::duration(text).ok_or_else(|| {
        Complaint::new(format!("`{}` must be {}, not \"{}\"", key.name, key.kind.expects(), shorten(text)))
            .help("a duration is a whole number and one of ms, s, m, h: \"250ms\", \"90s\"")
    })?;
    let complaint = within(key, duration, least, most);
    match complaint {
        Err(complaint) if off && duration.is_zero() => Err(complaint.help("to switch it off write \"off\"")),
        other => other.map(Some),
    }
}

/// Bytes.
pub(crate) fn size(key: &Key, value: &DeValue<'_>) -> Result<u64, Complaint> {
    let Kind::Size { least, most } = key.kind else { unreachable!("`{}` is no size", key.name) };
    let size = match value {
        DeValue::String(text) => units::size(text).ok_or_else(|| {
            Complaint::new(format!("`{}` must be {}, not \"{}\"", key.name, key.kind.expects(), shorten(text)))
                .help("a size is a whole number and one of B, KiB, MiB, GiB: \"64KiB\"")
        })?,
        other => integer(key, other)?,
    };
    within(key, size, least, most)
}

pub(crate) fn count(key: &Key, value: &DeValue<'_>) -> Result<u32, Complaint> {
    let Kind::Count { least, most } = key.kind else { unreachable!("`{}` is no count", key.name) };
    let count = integer(key, value)?;
    within(key, count, least, most).map(|count| u32::try_from(count).expect("counts are bounded by u32"))
}

/// A second; `None`: off.
pub(crate) fn rate(key: &Key, value: &DeValue<'_>) -> Result<Option<u32>, Complaint> {
    let Kind::Rate { most } = key.kind else { unreachable!("`{}` is no rate", key.name) };
    match value {
        DeValue::String(text) if text == "off" => Ok(None),
        DeValue::String(text) => {
            let rate = units::rate(text).ok_or_else(|| {
                Complaint::new(format!("`{}` must be {}, not \"{}\"", key.name, key.kind.expects(), shorten(text)))
                    .help("a rate is a whole number a second: \"100/s\"")
            })?;
            within(key, rate, 1, most).map(|rate| Some(u32::try_from(rate).expect("rates are bounded by u32")))
        }
        DeValue::Integer(number) => Err(mismatch(key, value).help(format!("rates are strings: \"{number}/s\""))),
        other => Err(mismatch(key, other)),
    }
}

/// Bytes a second; `None`: off.
pub(crate) fn byte_rate(key: &Key, value: &DeValue<'_>) -> Result<Option<u64>, Complaint> {
    let Kind::ByteRate { most } = key.kind else { unreachable!("`{}` is no rate of bytes", key.name) };
    match value {
        DeValue::String(text) if text == "off" => Ok(None),
        DeValue::String(text) => {
            let rate = units::byte_rate(text).ok_or_else(|| {
                Complaint::new(format!("`{}` must be {}, not \"{}\"", key.name, key.kind.expects(), shorten(text)))
                    .help("a whole number and one of B, KiB, MiB, GiB, a second: \"64MiB/s\"")
            })?;
            within(key, rate, 1, most).map(Some)
        }
        DeValue::Integer(number) => Err(mismatch(key, value).help(format!("rates are strings: \"{number}B/s\""))),
        other => Err(mismatch(key, other)),
    }
}

/// From 0 to 1.
pub(crate) fn share(key: &Key, value: &DeValue<'_>) -> Result<f64, Complaint> {
    let number = match value {
        DeValue::Float(float) => float.as_str().parse::<f64>().ok(),
        DeValue::Integer(_) => integer(key, value).ok().and_then(|number| u8::try_from(number).ok()).map(f64::from),
        other => return Err(mismatch(key, other)),
    };
    // Written so that NaN is outside, too.
    number
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| Complaint::new(format!("`{}` must be {}", key.name, key.kind.expects())))
}

pub(crate) fn flag(key: &Key, value: &DeValue<'_>) -> Result<bool, Complaint> {
    match value {
        DeValue::Boolean(flag) => Ok(*flag),
        DeValue::String(text) if text == "true" || text == "false" => {
            Err(mismatch(key, value).help(format!("without quotes: {text}")))
        }
        other => Err(mismatch(key, other)),
    }
}

pub(crate) fn choice<T: Copy>(key: &Key, value: &DeValue<'_>, choices: &Choices<T>) -> Result<T, Complaint> {
    let (written, other_quoting) = match value {
        DeValue::String(text) => (format!("\"{text}\""), text.to_string()),
        DeValue::Integer(number) => (number.to_string(), format!("\"{number}\"")),
        other => return Err(mismatch(key, other)),
    };
    let find = |written: &str| choices.iter().find(|(spelling, _)| *spelling == written);
    if let Some((_, choice)) = find(&written) {
        return Ok(*choice);
    }
    let spellings = spellings(choices);
    let complaint = Complaint::new(format!("`{}` must be {}, not {}", key.name, either(&spellings), shorten(&written)));
    if let Some((spelling, _)) = find(&other_quoting) {
        return Err(complaint.help(format!("write {spelling}")));
    }
    match crate::suggest::nearest(&written, spellings.into_iter()) {
        None => Err(complaint),
        Some(near) => Err(complaint.help(format!("did you mean {near}?"))),
    }
}

pub(crate) fn text<'v>(key: &Key, value: &'v DeValue<'_>) -> Result<&'v str, Complaint> {
    value.as_str().ok_or_else(|| mismatch(key, value))
}

/// One string of an array of strings.
pub(crate) fn element<'v>(key: &Key, value: &'v DeValue<'_>) -> Result<&'v str, Complaint> {
    value.as_str().ok_or_else(|| Complaint::new(format!("`{}` must hold strings, not {}", key.name, noun(value))))
}

/// The value has another type than the key.
pub(crate) fn mismatch(key: &Key, value: &DeValue<'_>) -> Complaint {
    Complaint::new(format!("`{}` must be {}, not {}", key.name, key.kind.expects(), noun(value)))
}

/// What the value is, with an article.
pub(crate) fn noun(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// As much of a foreign text as an error message can bear.
pub(crate) fn shorten(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}

fn integer(key: &Key, value: &DeValue<'_>) -> Result<u64, Complaint> {
    match value {
        DeValue::Integer(number) => {
            u64::from_str_radix(number.as_str(), number.radix()).map_err(|_| out_of_bounds(key))
        }
        DeValue::String(text) if text.parse::<u64>().is_ok() => {
            Err(mismatch(key, value).help(format!("without quotes: {text}")))
        }
        other => Err(mismatch(key, other)),
    }
}

fn within<T: PartialOrd>(key: &Key, value: T, least: T, most: T) -> Result<T, Complaint> {
    if value < least || value > most { Err(out_of_bounds(key)) } else { Ok(value) }
}

fn out_of_bounds(key: &Key) -> Complaint {
    let bounds = key.kind.bounds().unwrap_or_else(|| key.kind.expects());
    Complaint::new(format!("`{}` is out of bounds: {bounds}", key.name))
}
