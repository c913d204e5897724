//! JSON written where it goes.

use std::{fmt::Display, io::Write as _, net::IpAddr};

use crate::digits;

/// The name of a field, as it stands before its value. Ours, and so it needs no escape.
macro_rules! key {
    ($name:literal) => {
        concat!("\"", $name, "\":")
    };
}

pub(super) use key;

/// An object that is being written. Each of its fields ends with a comma, the last of which gives way to its end.
pub(super) struct Object<'o>(&'o mut Vec<u8>);

// Inlined, so that the lengths of keys and words are known where they are copied.
impl Object<'_> {
    /// Writes one with these fields, one at least.
    pub(super) fn write(out: &mut Vec<u8>, fields: impl FnOnce(&mut Object<'_>)) {
        out.push(b'{');
        fields(&mut Object(out));
        if let Some(comma) = out.last_mut() {
            *comma = b'}';
        }
    }

    /// A field whose value is written there.
    #[inline(always)]
    fn field(&mut self, key: &'static str, value: impl FnOnce(&mut Vec<u8>)) {
        self.0.extend_from_slice(key.as_bytes());
        value(self.0);
        self.0.push(b',');
    }

    #[inline(always)]
    pub(super) fn text(&mut self, key: &'static str, value: &str) {
        self.field(key, |out| write_text(out, value));
    }

    /// A text of ours, which needs no escape.
    #[inline(always)]
    pub(super) fn word(&mut self, key: &'static str, value: &str) {
        self.field(key, |out| quote(out, value));
    }

    pub(super) fn shown(&mut self, key: &'static str, value: impl Display) {
        self.field(key, |out| {
            let start = out.len();
            // Writing to memory cannot fail.
            let _ = write!(out, "\"{value}\"");
            if !is_plain(&out[start + 1..out.len() - 1]) {
                out.truncate(start);
                write_text(out, &value.to_string());
            }
        });
    }

    /// Of nobody: empty.
    pub(super) fn ip(&mut self, key: &'static str, value: Option<IpAddr>) {
        self.field(key, |out| {
            out.push(b'"');
            if let Some(ip) = value {
                digits::ip(out, ip);
            }
            out.push(b'"');
        });
    }

    #[inline(always)]
    pub(super) fn number(&mut self, key: &'static str, value: impl itoa::Integer) {
        self.field(key, |out| digits::decimal(out, value));
    }

    /// With six digits behind the point.
    pub(super) fn seconds(&mut self, key: &'static str, value: f64) {
        let micros = (value * 1e6).round() as u64;
        self.field(key, |out| {
            digits::decimal(out, micros / 1_000_000);
            // The leading one keeps the zeros behind it, and gives way to the point.
            let point = out.len();
            digits::decimal(out, 1_000_000 + micros % 1_000_000);
            out[point] = b'.';
        });
    }

    #[inline(always)]
    pub(super) fn flag(&mut self, key: &'static str, value: bool) {
        self.field(key, |out| out.extend_from_slice(if value { b"true" } else { b"false" }));
    }

    #[inline(always)]
    pub(super) fn null(&mut self, key: &'static str) {
        self.field(key, |out| out.extend_from_slice(b"null"));
    }

    #[inline(always)]
    pub(super) fn object(&mut self, key: &'static str, fields: impl FnOnce(&mut Object<'_>)) {
        self.field(key, |out| Object::write(out, fields));
    }
}

/// Whether it stands in a string as it is. There is no early way out, so that many bytes are looked at together.
fn is_plain(text: &[u8]) -> bool {
    text.iter().fold(true, |plain, byte| plain & (*byte >= b' ') & (*byte != b'"') & (*byte != b'\\'))
}

#[inline]
fn quote(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    if is_plain(text.as_bytes()) {
        quote(out, text);
    } else {
        // Writing to memory cannot fail.
        let _ = serde_json::to_writer(out, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_json() {
        let mut out = Vec::new();
        let hostile = "a\"b\\c\n\u{1}\u{7f}é";
        Object::write(&mut out, |object| {
            object.text(key!("plain"), "/ws");
            object.word(key!("word"), "info");
            object.text(key!("hostile"), hostile);
            object.shown(key!("shown"), hostile);
            object.ip(key!("ip"), None);
            object.number(key!("number"), u64::MAX);
            object.seconds(key!("seconds"), 12.000_345_6);
            object.seconds(key!("none"), 0.0);
            object.flag(key!("flag"), true);
            object.null(key!("null"));
            object.object(key!("object"), |object| object.text(key!("inner"), ""));
        });
        let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let expected = serde_json::json!({
            "plain": "/ws", "word": "info", "hostile": hostile, "shown": hostile, "ip": "", "number": u64::MAX, "seconds": 12.000_346,
            "none": 0.0, "flag": true, "null": null, "object": { "inner": "" },
        });
        assert_eq!(read, expected);
    }
}
