//! Unknown keys, and what was probably meant.

use toml::de::DeTable;

use crate::{
    convert::shorten,
    errors::{Complaint, Problems},
    keys::Section,
    sections::SECTIONS,
};

/// Reports every key of the table that none of the sections has.
pub(crate) fn report_unknown(table: &DeTable<'_>, sections: &[&'static Section], problems: &mut Problems) {
    for key in table.keys() {
        let name = key.get_ref().as_ref();
        if sections.iter().all(|section| section.key(name).is_none()) {
            problems.at(key.span(), unknown(name, sections));
        }
    }
}

/// Most words that one is compared with: ten thousand routes to upstreams that are not there are no reason to compare
/// each with ten thousand that are.
const MAX_CANDIDATES: usize = 1000;

/// The candidate that is a typing mistake away, if there is one.
pub(crate) fn nearest<'c>(name: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    // Distance is quadratic in length, and nothing known is so long.
    if name.len() > 64 {
        return None;
    }
    // A third of the letters: fewer misses `max_session`, more finds a word in every other.
    let far = name.chars().count() / 3 + 1;
    candidates
        .filter(|candidate| candidate.len().abs_diff(name.len()) <= 4 * far)
        .take(MAX_CANDIDATES)
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= far)
        .min()
        .map(|(_, candidate)| candidate)
}

fn unknown(name: &str, sections: &[&'static Section]) -> Complaint {
    if name.contains("verify") || name.contains("insecure") {
        return Complaint::new(format!("unknown key `{}` in {}", shorten(name), sections[0].title))
            .help("a certificate is always verified: name its authority with `ca`, its name with `server_name`");
    }
    let complaint = Complaint::new(format!("unknown key `{}` in {}", shorten(name), sections[0].title));
    let known = sections.iter().flat_map(|section| section.keys).map(|key| key.name);
    if let Some(near) = nearest(name, known) {
        return complaint.help(format!("did you mean `{near}`?"));
    }
    match SECTIONS.iter().find(|section| section.key(name).is_some()) {
        Some(home) => complaint.help(format!("`{name}` belongs to {}", home.title)),
        None => complaint,
    }
}
