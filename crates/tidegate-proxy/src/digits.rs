//! Numbers and addresses written where they go: a handshake writes a dozen, and `fmt` costs more than their digits.

use std::{io::Write as _, net::IpAddr};

pub(crate) fn decimal(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

pub(crate) fn ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            let [first, rest @ ..] = ip.octets();
            decimal(out, first);
            for octet in rest {
                out.push(b'.');
                decimal(out, octet);
            }
        }
        // Writing to memory cannot fail.
        IpAddr::V6(ip) => _ = write!(out, "{ip}"),
    }
}

/// Eight hexadecimal digits.
pub(crate) fn hex(value: u32) -> [u8; 8] {
    std::array::from_fn(|i| b"0123456789abcdef"[(value >> (28 - 4 * i)) as usize & 15])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_as_fmt_writes_them() {
        for address in ["0.0.0.0", "127.0.0.1", "255.10.100.9", "::", "2001:db8::1", "::ffff:1.2.3.4"] {
            let mut out = Vec::new();
            ip(&mut out, address.parse().unwrap());
            assert_eq!(String::from_utf8(out).unwrap(), address);
        }
        for id in [0, 0x2a, 0xdead_beef, u32::MAX] {
            assert_eq!(hex(id), format!("{id:08x}").as_bytes());
        }
    }
}
