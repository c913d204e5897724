//! `rewrite`: what clients are told in place of their upstream's own close codes.

use tidegate_wire::CloseCode;
use toml::de::DeValue;

use crate::{
    convert::{noun, shorten},
    errors::Complaint,
    reader::Reader,
};

/// Most rules of one route: each Close of an upstream's is compared with them.
const MOST: usize = 32;

/// The rules, by the code that they are for.
pub(super) fn read(reader: &mut Reader<'_, '_>) -> Vec<(CloseCode, CloseCode)> {
    let Some(table) = reader.table("rewrite") else { return Vec::new() };
    if table.get_ref().len() > MOST {
        let complaint = Complaint::new(format!("`rewrite` has more than {MOST} rules"));
        reader.problems.at(table.span(), complaint);
        return Vec::new();
    }
    let mut rules = Vec::new();
    for (key, value) in table.get_ref().iter() {
        let mut tell = |span, complaint| reader.problems.at(span, complaint);
        let from = from(key.get_ref()).map_err(|complaint| tell(key.span(), complaint));
        let to = to(value.get_ref()).map_err(|complaint| tell(value.span(), complaint));
        match (from, to) {
            (Ok(from), Ok(to)) if from == to => {
                tell(value.span(), Complaint::new(format!("`rewrite` tells {from} as {to}: it changes nothing")));
            }
            (Ok(from), Ok(to)) => rules.push((from, to)),
            _ => {}
        }
    }
    // Whatever the order in the file, the same rules are the same policy.
    rules.sort();
    rules
}

/// A code that an upstream may send, written in one way only, so that no two rules are for the same.
fn from(key: &str) -> Result<CloseCode, Complaint> {
    let code = key.parse().map(CloseCode).ok().filter(|code| code.to_string() == key);
    code.filter(|code| code.is_sendable()).ok_or_else(|| {
        Complaint::new(format!("`rewrite` holds `{}`, which no upstream can close with", shorten(key)))
            .help("a code that may be sent is 1000 to 1003, 1007 to 1014 or 3000 to 4999")
    })
}

/// A code that a client may be told without its upstream having said it.
fn to(value: &DeValue<'_>) -> Result<CloseCode, Complaint> {
    let number = match value {
        DeValue::Integer(number) => number,
        DeValue::String(text) if text.parse::<u16>().is_ok() => {
            return Err(not_a_code(value).help(format!("without quotes: {text}")));
        }
        other => return Err(not_a_code(other)),
    };
    match u16::from_str_radix(number.as_str(), number.radix()) {
        Ok(1000) => Err(Complaint::new("`rewrite` to 1000: that is never said unless the upstream said it")
            .help("a client takes 1000 as proof that its upstream was done")),
        Ok(code @ (1001 | 1002 | 1007..=1009 | 1011..=1014 | 3000..=4999)) => Ok(CloseCode(code)),
        _ => Err(Complaint::new(format!("`rewrite` to {}: no client can be told that", shorten(&number.to_string())))
            .help("write one of 1001, 1002, 1007 to 1009, 1011 to 1014, or 3000 to 4999")),
    }
}

fn not_a_code(value: &DeValue<'_>) -> Complaint {
    Complaint::new(format!("`rewrite` must hold close codes, not {}", noun(value)))
}
