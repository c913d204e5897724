//! How many endpoints an upstream should have, and why, in words.
//!
//! Two things want endpoints: the sessions at their peak, and bringing back those of the largest part that can fail at
//! once before its clients give up. What operators forget is the second. Either must still hold when that part is gone.

use std::time::Duration;

/// Over the peak that was seen.
const GROWTH: f64 = 1.2;
/// An endpoint is not filled beyond this part of what it can hold.
const FILLED: f64 = 0.75;

/// What the advice is reckoned from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Need {
    /// Most sessions held at once lately.
    pub sessions: u32,
    /// What one endpoint can hold; `None`: not known.
    pub sessions_per_endpoint: Option<u32>,
    /// Handshakes per second that one endpoint has shown it can take; 0: not known.
    pub rate_per_endpoint: f64,
    /// Endpoints there are.
    pub endpoints: u32,
    /// Failure domains they are spread over. `None`: each endpoint is one.
    pub zones: Option<u32>,
    /// The sessions of one failure domain are back within this time. Default 2 min.
    pub within: Duration,
}

/// So many endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// At least one.
    pub replicas: u32,
    /// For the operator.
    pub reason: String,
}

/// `None` while neither what an endpoint can hold nor what it can take is known.
pub fn advise(need: &Need) -> Option<Advice> {
    let domains = need.zones.unwrap_or(need.endpoints).max(2);
    let loss = 1.0 / f64::from(domains);
    let sessions = f64::from(need.sessions);
    let lost = match need.zones {
        Some(zones) if zones > 1 => format!("one of {zones} zones lost"),
        _ => format!("one of {domains} endpoints lost"),
    };
    let held = need.sessions_per_endpoint.filter(|&each| each > 0).map(|each| {
        let replicas = up(GROWTH * sessions / (FILLED * f64::from(each)) / (1.0 - loss));
        let possible = u64::from(each) * u64::from(need.endpoints);
        let reason =
            format!("sessions: {} held, {} possible, {lost}", grouped(need.sessions.into()), grouped(possible));
        (replicas, reason)
    });
    let within = need.within.as_secs_f64().max(1.0);
    let brought_back = (need.rate_per_endpoint > 0.0).then(|| {
        let replicas = up(sessions * loss / (within * need.rate_per_endpoint) / (1.0 - loss));
        let back = grouped((sessions * loss) as u64);
        let reason = format!(
            "handshakes: {back} sessions back within {within:.0} s at {:.0}/s each, {lost}",
            need.rate_per_endpoint
        );
        (replicas, reason)
    });
    // The sessions are named where both ask for as many.
    let (replicas, reason) = brought_back.into_iter().chain(held).max_by_key(|&(replicas, _)| replicas)?;
    let noun = if replicas == 1 { "replica" } else { "replicas" };
    Some(Advice { replicas, reason: format!("{reason} -> {replicas} {noun}") })
}

/// Never a replica more for a rounding error.
fn up(replicas: f64) -> u32 {
    (replicas - 1e-9).ceil().max(1.0) as u32
}

/// `41,200`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEED: Need = Need {
        sessions: 1_000_000,
        sessions_per_endpoint: Some(60_000),
        rate_per_endpoint: 500.0,
        endpoints: 30,
        zones: Some(3),
        within: Duration::from_secs(120),
    };

    #[test]
    fn a_million_sessions_over_three_zones() {
        let advice = advise(&NEED).unwrap();
        assert_eq!(advice.replicas, 40);
        assert_eq!(advice.reason, "sessions: 1,000,000 held, 1,800,000 possible, one of 3 zones lost -> 40 replicas");
        assert_eq!(advise(&Need { sessions_per_endpoint: None, ..NEED }).unwrap().replicas, 9);
    }

    #[test]
    fn slow_handshakes_can_ask_for_more_than_the_sessions_do() {
        let advice = advise(&Need { rate_per_endpoint: 50.0, ..NEED }).unwrap();
        assert_eq!(advice.replicas, 84);
        assert!(advice.reason.starts_with("handshakes: 333,333 sessions back within 120 s at 50/s each"), "{advice:?}");
    }

    #[test]
    fn little_is_needed_for_little_and_nothing_is_said_without_knowledge() {
        let little = Need { sessions: 10, endpoints: 1, zones: None, ..NEED };
        assert_eq!(advise(&little).unwrap().replicas, 1);
        assert_eq!(advise(&Need { sessions_per_endpoint: None, rate_per_endpoint: 0.0, ..little }), None);
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
