//! JSON written where it goes.

use std::{fmt::Display, io::Write as _, net::IpAddr};

use crate::digits;

/// An object that is being written.
pub(super) struct Object<'o> {
    out: &'o mut Vec<u8>,
    is_empty: bool,
}

impl Object<'_> {
    /// Writes one with these fields.
    pub(super) fn write(out: &mut Vec<u8>, fields: impl FnOnce(&mut Object<'_>)) {
        out.push(b'{');
        fields(&mut Object { out, is_empty: true });
        out.push(b'}');
    }

    /// Begins a field. Names are ours, and need no escape.
    fn name(&mut self, name: &'static str) -> &mut Vec<u8> {
        let lead: &[u8] = if std::mem::take(&mut self.is_empty) { b"\"" } else { b",\"" };
        for part in [lead, name.as_bytes(), b"\":"] {
            self.out.extend_from_slice(part);
        }
        self.out
    }

    pub(super) fn text(&mut self, name: &'static str, value: &str) {
        write_text(self.name(name), value);
    }

    pub(super) fn shown(&mut self, name: &'static str, value: impl Display) {
        let out = self.name(name);
        let start = out.len();
        // Writing to memory cannot fail.
        let _ = write!(out, "\"{value}\"");
        if !is_plain(&out[start + 1..out.len() - 1]) {
            out.truncate(start);
            write_text(out, &value.to_string());
        }
    }

    /// Of nobody: empty.
    pub(super) fn ip(&mut self, name: &'static str, value: Option<IpAddr>) {
        let out = self.name(name);
        out.push(b'"');
        if let Some(ip) = value {
            digits::ip(out, ip);
        }
        out.push(b'"');
    }

    pub(super) fn number(&mut self, name: &'static str, value: impl itoa::Integer) {
        digits::decimal(self.name(name), value);
    }

    /// With six digits behind the point.
    pub(super) fn seconds(&mut self, name: &'static str, value: f64) {
        let micros = (value * 1e6).round() as u64;
        let out = self.name(name);
        digits::decimal(out, micros / 1_000_000);
        // The leading one keeps the zeros behind it, and gives way to the point.
        let point = out.len();
        digits::decimal(out, 1_000_000 + micros % 1_000_000);
        out[point] = b'.';
    }

    pub(super) fn flag(&mut self, name: &'static str, value: bool) {
        self.name(name).extend_from_slice(if value { b"true" } else { b"false" });
    }

    pub(super) fn null(&mut self, name: &'static str) {
        self.name(name).extend_from_slice(b"null");
    }

    pub(super) fn object(&mut self, name: &'static str, fields: impl FnOnce(&mut Object<'_>)) {
        Object::write(self.name(name), fields);
    }
}

/// Whether it stands in a string as it is. There is no early way out, so that many bytes are looked at together.
fn is_plain(text: &[u8]) -> bool {
    text.iter().fold(true, |plain, byte| plain & (*byte >= b' ') & (*byte != b'"') & (*byte != b'\\'))
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    if is_plain(text.as_bytes()) {
        for part in [b"\"", text.as_bytes(), b"\""] {
            out.extend_from_slice(part);
        }
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
            object.text("plain", "/ws");
            object.text("hostile", hostile);
            object.shown("shown", hostile);
            object.ip("ip", None);
            object.number("number", u64::MAX);
            object.seconds("seconds", 12.000_345_6);
            object.seconds("none", 0.0);
            object.flag("flag", true);
            object.null("null");
            object.object("object", |object| object.text("inner", ""));
            object.object("empty", |_| {});
        });
        let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let expected = serde_json::json!({
            "plain": "/ws", "hostile": hostile, "shown": hostile, "ip": "", "number": u64::MAX, "seconds": 12.000_346,
            "none": 0.0, "flag": true, "null": null, "object": { "inner": "" }, "empty": {},
        });
        assert_eq!(read, expected);
    }
}
