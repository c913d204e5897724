//! JSON Web Tokens (RFC 7519), by the `jsonwebtoken` crate with the cryptography that TLS has.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::{header, request::Parts};
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, Validation, decode, decode_header, errors::ErrorKind, jwk::JwkSet,
};
use rustls::pki_types::{SubjectPublicKeyInfoDer, pem::PemObject};
use serde::Deserialize;
use tidegate_config::{Fault, Jwt, JwtAlgorithm};
use x509_cert::spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use crate::{clock, files};

/// Shortest secret, in bytes: that of the shortest hash (RFC 7518 section 3.2).
const SHORTEST_SECRET: usize = 32;
/// Longest token that is looked at, in bytes: more than a request head has room for is none.
const LONGEST_TOKEN: usize = 8 << 10;

/// Keys, and what a token must be.
pub(crate) struct Verifier {
    /// With the names that tokens choose among them by.
    keys: Vec<(Option<String>, DecodingKey)>,
    validation: Validation,
    leeway: Duration,
}

#[derive(Deserialize)]
struct Claims {
    /// Required, but that is for the validation to say.
    exp: Option<f64>,
}

impl Verifier {
    /// Reads the file: a public key in PEM, a set of keys (RFC 7517), or a secret.
    ///
    /// # Errors
    /// It cannot be read, or does not fit the algorithm.
    pub(crate) fn load(jwt: &Jwt) -> Result<Self, Fault> {
        let wrong = |why: &str| jwt.key.fault(why);
        let algorithm = algorithm(jwt.algorithm);
        let data = files::read(&jwt.key)?;
        let (is_pem, is_set) = (data.starts_with(b"-----BEGIN"), data.trim_ascii_start().starts_with(b"{"));
        let keys = match algorithm.family() {
            _ if is_set => set(&data, algorithm).map_err(|why| wrong(&why))?,
            AlgorithmFamily::Hmac if is_pem => {
                return Err(wrong(
                    "a PEM file is no secret: whoever has the public key could sign; use another algorithm",
                ));
            }
            AlgorithmFamily::Hmac => {
                let secret = data.strip_suffix(b"\n").unwrap_or(&data);
                if secret.len() < SHORTEST_SECRET {
                    return Err(wrong("a secret has at least 32 bytes"));
                }
                vec![(None, DecodingKey::from_secret(secret))]
            }
            family if is_pem => {
                let key = SubjectPublicKeyInfoDer::from_pem_slice(&data);
                let key = key.map_err(|_| wrong("no public key (`BEGIN PUBLIC KEY`) in it"))?;
                if !is_key_of(algorithm, &key) {
                    return Err(wrong(&format!("it holds no key of {algorithm:?}")));
                }
                let make = match family {
                    AlgorithmFamily::Rsa => DecodingKey::from_rsa_der,
                    AlgorithmFamily::Ec => DecodingKey::from_ec_der,
                    _ => DecodingKey::from_ed_der,
                };
                vec![(None, make(&key))]
            }
            _ => return Err(wrong("neither a public key in PEM nor a set of keys (JWKS)")),
        };
        let mut validation = Validation::new(algorithm);
        validation.leeway = jwt.leeway.as_secs();
        validation.validate_nbf = true;
        // Without an audience of ours, a token that is for somebody is not for us.
        validation.aud = None;
        let mut required = vec!["exp"];
        if let Some(issuer) = &jwt.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        match &jwt.audience {
            Some(audience) => {
                validation.set_audience(&[audience]);
                required.push("aud");
            }
            None => validation.validate_aud = false,
        }
        validation.set_required_spec_claims(&required);
        Ok(Self { keys, validation, leeway: jwt.leeway })
    }

    /// When the token that the request brings ends to be good.
    ///
    /// # Errors
    /// It brings none, or says why the token is not good.
    pub(crate) fn check(&self, jwt: &Jwt, parts: &Parts) -> Result<Option<Instant>, Option<String>> {
        let token = token(jwt, parts).ok_or(None)?;
        let exp = self.verify(token).map_err(|fault| Some(fault.to_owned()))?;
        let ends = Duration::try_from_secs_f64(exp).ok().and_then(|exp| exp.checked_add(self.leeway));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // One that lasts longer than time can say does not end.
        Ok(ends.and_then(|ends| clock::now().checked_add(ends.saturating_sub(now))))
    }

    fn verify(&self, token: &str) -> Result<f64, &'static str> {
        if token.len() > LONGEST_TOKEN {
            return Err("too long");
        }
        let named = decode_header(token).map_err(|_| "not a token")?.kid;
        let key = match (&named, &self.keys[..]) {
            (_, [(None, only)]) => only,
            (None, [(_, only)]) => only,
            (Some(name), keys) => {
                let found = keys.iter().find(|(key, _)| key.as_ref() == Some(name));
                found.map(|(_, key)| key).ok_or("unknown key")?
            }
            (None, _) => return Err("which key is not said"),
        };
        let claims = decode::<Claims>(token, key, &self.validation).map_err(|error| match error.kind() {
            ErrorKind::ExpiredSignature => "expired",
            ErrorKind::ImmatureSignature => "not valid yet",
            ErrorKind::InvalidIssuer => "of another issuer",
            ErrorKind::InvalidAudience => "for another audience",
            ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => "of another algorithm",
            ErrorKind::MissingRequiredClaim(_) => "a claim is missing",
            ErrorKind::InvalidSignature => "not signed with our key",
            _ => "not a token",
        })?;
        claims.claims.exp.ok_or("a claim is missing")
    }
}

/// The first of: `Authorization`, the cookie, the query.
fn token<'p>(jwt: &Jwt, parts: &'p Parts) -> Option<&'p str> {
    let authorization = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer =
        authorization.and_then(|value| value.split_once(' ')).filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"));
    let of_query = |name: &String| {
        let pairs = parts.uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| key == name).map(|(_, value)| value).next()
    };
    bearer
        .map(|(_, token)| token.trim())
        .or_else(|| jwt.cookie.as_deref().and_then(|name| cookie(&parts.headers, name)))
        .or_else(|| jwt.query.as_ref().and_then(of_query))
        .filter(|token| !token.is_empty())
}

/// The value of a cookie (RFC 6265 section 5.4).
fn cookie<'h>(headers: &'h http::HeaderMap, name: &str) -> Option<&'h str> {
    let fields = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.trim_matches('"')).next()
}

/// Whether a public key is of the kind that an algorithm signs with (RFC 3279, RFC 5480, RFC 8410): with another one
/// nobody would come in.
fn is_key_of(algorithm: Algorithm, key: &SubjectPublicKeyInfoDer<'_>) -> bool {
    const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
    const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
    const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
    const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
    const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
    let Ok(info) = SubjectPublicKeyInfoRef::try_from(key.as_ref()) else { return false };
    let kind = info.algorithm.oid;
    let curve = info.algorithm.parameters_oid().ok();
    match algorithm {
        Algorithm::ES256 => (kind, curve) == (EC, Some(P256)),
        Algorithm::ES384 => (kind, curve) == (EC, Some(P384)),
        Algorithm::EdDSA => kind == ED25519,
        _ => kind == RSA,
    }
}

/// The keys of a set that are of this algorithm.
fn set(data: &[u8], algorithm: Algorithm) -> Result<Vec<(Option<String>, DecodingKey)>, String> {
    let set: JwkSet = serde_json::from_slice(data).map_err(|error| format!("no set of keys (JWKS): {error}"))?;
    let mut keys = Vec::new();
    for jwk in &set.keys {
        let Ok(key) = DecodingKey::from_jwk(jwk) else { continue };
        let is_ours = jwk.common.key_algorithm.is_none_or(|named| named.to_string() == format!("{algorithm:?}"));
        if key.family() == algorithm.family() && is_ours {
            keys.push((jwk.common.key_id.clone(), key));
        }
    }
    if keys.is_empty() { Err(format!("no key of {algorithm:?} in it")) } else { Ok(keys) }
}

const fn algorithm(named: JwtAlgorithm) -> Algorithm {
    match named {
        JwtAlgorithm::Hs256 => Algorithm::HS256,
        JwtAlgorithm::Hs384 => Algorithm::HS384,
        JwtAlgorithm::Hs512 => Algorithm::HS512,
        JwtAlgorithm::Rs256 => Algorithm::RS256,
        JwtAlgorithm::Rs384 => Algorithm::RS384,
        JwtAlgorithm::Rs512 => Algorithm::RS512,
        JwtAlgorithm::Ps256 => Algorithm::PS256,
        JwtAlgorithm::Es256 => Algorithm::ES256,
        JwtAlgorithm::Es384 => Algorithm::ES384,
        JwtAlgorithm::EdDsa => Algorithm::EdDSA,
    }
}
