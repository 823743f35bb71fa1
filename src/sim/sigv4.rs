//! Verifies Signature Version 4. It does not use the SDK's signer, because it tests that signer.
//!
//! The canonical request is rebuilt from the bytes on the wire: the path is encoded once more, the query is form-decoded
//! (a raw `+` is a space) and encoded again, headers are taken as signed.

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use hyper::HeaderMap;
use hyper::http::request::Parts;

use crate::sim::agent::message::sha256;

/// How far a signature's date may be from the service's clock.
const LONGEST_SKEW_S: u64 = 15 * 60;
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// A key pair that the simulator accepts. Never a real one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The access key's id.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// The token of temporary credentials.
    pub session_token: Option<String>,
}

/// The current credentials, those of approvals, and those that have expired.
#[derive(Clone, Debug)]
pub struct Keyring {
    current: Credentials,
    approved: Vec<Credentials>,
    expired: Vec<Credentials>,
}

impl Keyring {
    /// Makes a keyring of one key pair.
    pub fn new(current: Credentials) -> Self {
        Self { current, approved: Vec::new(), expired: Vec::new() }
    }

    /// Adds the credentials of an approval.
    pub fn approve(&mut self, credentials: Credentials) {
        self.approved.push(credentials);
    }

    /// Replaces the current credentials; the previous ones count as expired.
    pub fn rotate(&mut self, next: Credentials) {
        self.expired.push(std::mem::replace(&mut self.current, next));
    }

    /// Returns the current credentials.
    pub fn current(&self) -> &Credentials {
        &self.current
    }
}

/// A request, and the scope that its signature must have.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// Method, path, query and headers as on the wire.
    pub head: &'a Parts,
    /// The body.
    pub payload: &'a [u8],
    /// The service's signing name.
    pub service: &'a str,
    /// The region.
    pub region: &'a str,
}

/// Why a signature is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The request has no Authorization header.
    #[error("Missing Authentication Token")]
    Missing,
    /// The header lacks a part, or a header that must be signed is not.
    #[error("Authorization header is incomplete: {0}")]
    Incomplete(String),
    /// The access key or its token is unknown.
    #[error("The security token included in the request is invalid.")]
    Unknown,
    /// The credentials have expired.
    #[error("The security token included in the request is expired")]
    Expired,
    /// The scope's service, region or date is wrong.
    #[error("Credential should be scoped to {0}")]
    Scope(String),
    /// The date is too far from the service's clock.
    #[error("Signature expired: {0} is not within 15 minutes of the service's clock")]
    Skewed(String),
    /// The signature does not match.
    #[error(
        "The request signature we calculated does not match the signature you provided. \
         Check your AWS Secret Access Key and signing method."
    )]
    Mismatch,
}

impl SignatureError {
    /// Returns the error's name in the JSON protocol.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "MissingAuthenticationTokenException",
            Self::Incomplete(_) => "IncompleteSignatureException",
            Self::Unknown => "UnrecognizedClientException",
            Self::Expired => "ExpiredTokenException",
            Self::Scope(_) | Self::Skewed(_) | Self::Mismatch => "InvalidSignatureException",
        }
    }
}

struct Authorization<'a> {
    access_key_id: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    signed_headers: Vec<&'a str>,
    signature: &'a str,
}

/// Checks a request's signature at a Unix time in seconds, and returns the id of the key that signed it.
///
/// # Errors
/// Why the service would refuse it.
pub fn verify(request: Signed<'_>, keyring: &Keyring, unix_now: u64) -> Result<String, SignatureError> {
    let header = header(&request.head.headers, "authorization").ok_or(SignatureError::Missing)?;
    let authorization = parse(&header)?;
    let credentials = select(keyring, &authorization, &request.head.headers)?;
    check_scope(request, &authorization)?;
    check_signed_headers(&request.head.headers, &authorization)?;
    let stamp = self::header(&request.head.headers, "x-amz-date")
        .ok_or_else(|| SignatureError::Incomplete("x-amz-date".to_owned()))?;
    check_date(&stamp, authorization.date, unix_now)?;
    let canonical = canonical_request(request, &authorization.signed_headers);
    let scope =
        format!("{}/{}/{}/aws4_request", authorization.date, authorization.region, authorization.service);
    let to_sign = format!("{ALGORITHM}\n{stamp}\n{scope}\n{}", hex(&sha256(canonical.as_bytes())));
    let key = signing_key(&credentials.secret_access_key, &authorization);
    let expected = hex(&mac(&key, to_sign.as_bytes()));
    let key = credentials.access_key_id.clone();
    if expected == authorization.signature { Ok(key) } else { Err(SignatureError::Mismatch) }
}

fn parse(header: &str) -> Result<Authorization<'_>, SignatureError> {
    let incomplete = |what: &str| SignatureError::Incomplete(what.to_owned());
    let parts = header.strip_prefix(ALGORITHM).ok_or_else(|| incomplete("algorithm"))?;
    let part = |name: &str| {
        let mut parts = parts.split(',').map(str::trim);
        parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('=')).ok_or_else(|| incomplete(name))
    };
    let credential: Vec<&str> = part("Credential")?.split('/').collect();
    let [access_key_id, date, region, service, "aws4_request"] = credential[..] else {
        return Err(incomplete("Credential"));
    };
    let signed_headers = part("SignedHeaders")?.split(';').collect();
    Ok(Authorization { access_key_id, date, region, service, signed_headers, signature: part("Signature")? })
}

fn select<'a>(
    keyring: &'a Keyring,
    authorization: &Authorization<'_>,
    headers: &HeaderMap,
) -> Result<&'a Credentials, SignatureError> {
    let token = header(headers, "x-amz-security-token");
    let matches = |credentials: &Credentials| {
        credentials.access_key_id == authorization.access_key_id && credentials.session_token == token
    };
    let valid = [&keyring.current].into_iter().chain(&keyring.approved).find(|one| matches(one));
    if let Some(valid) = valid {
        Ok(valid)
    } else if keyring.expired.iter().any(matches) {
        Err(SignatureError::Expired)
    } else {
        Err(SignatureError::Unknown)
    }
}

fn check_scope(request: Signed<'_>, authorization: &Authorization<'_>) -> Result<(), SignatureError> {
    if (authorization.service, authorization.region) == (request.service, request.region) {
        return Ok(());
    }
    Err(SignatureError::Scope(format!("service `{}` in region `{}`", request.service, request.region)))
}

fn check_signed_headers(
    headers: &HeaderMap,
    authorization: &Authorization<'_>,
) -> Result<(), SignatureError> {
    let is_signed = |name: &str| authorization.signed_headers.contains(&name);
    let must_be_signed = |name: &&str| *name == "host" || name.starts_with("x-amz-");
    let unsigned =
        headers.keys().map(|name| name.as_str()).filter(must_be_signed).find(|name| !is_signed(name));
    match unsigned {
        Some(name) => Err(SignatureError::Incomplete(format!("`{name}` must be signed"))),
        None => Ok(()),
    }
}

fn check_date(stamp: &str, scope_date: &str, unix_now: u64) -> Result<(), SignatureError> {
    if !stamp.starts_with(scope_date) {
        return Err(SignatureError::Scope("the date of the request".to_owned()));
    }
    match unix_seconds(stamp) {
        Some(signed) if signed.abs_diff(unix_now) <= LONGEST_SKEW_S => Ok(()),
        Some(_) | None => Err(SignatureError::Skewed(stamp.to_owned())),
    }
}

fn canonical_request(request: Signed<'_>, signed_headers: &[&str]) -> String {
    let uri = &request.head.uri;
    let (path, query) = (uri.path(), uri.query().unwrap_or_default());
    let mut headers = String::new();
    for name in signed_headers {
        let values: Vec<String> = all(&request.head.headers, name).collect();
        headers.push_str(&format!("{name}:{}\n", values.join(",")));
    }
    [
        request.head.method.as_str(),
        &encode(path.as_bytes(), true),
        &canonical_query(query),
        &headers,
        &signed_headers.join(";"),
        &hex(&sha256(request.payload)),
    ]
    .join("\n")
}

fn canonical_query(query: &str) -> String {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<(String, String)> = pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (encode(&form_decode(name), false), encode(&form_decode(value), false))
        })
        .collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn form_decode(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digit = |at: usize| tail.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        rest = tail;
        match (first, digit(0), digit(1)) {
            (b'+', _, _) => out.push(b' '),
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                rest = &tail[2..];
            }
            _ => out.push(*first),
        }
    }
    out
}

fn encode(bytes: &[u8], keep_slashes: bool) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(*byte))
            }
            b'/' if keep_slashes => out.push('/'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn signing_key(secret: &str, authorization: &Authorization<'_>) -> Vec<u8> {
    let parts = [authorization.date, authorization.region, authorization.service, "aws4_request"];
    parts.iter().fold(format!("AWS4{secret}").into_bytes(), |key, part| mac(&key, part.as_bytes()))
}

fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(HMAC_SHA256, key), message).as_ref().to_vec()
}

/// Writes bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the first value of a header, trimmed and with runs of spaces made one.
pub fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    all(headers, name).next()
}

fn all<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = String> + 'a {
    let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    values.map(|value| value.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Reads `20230102T030405Z`.
fn unix_seconds(stamp: &str) -> Option<u64> {
    let number = |from: usize, to: usize| stamp.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(9, 11)?, number(11, 13)?, number(13, 15)?);
    // Days of the civil calendar since 1970, counted from 1 March so that leap days come last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    u64::try_from(days * 86_400 + hour * 3600 + minute * 60 + second).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_440_938_160;

    /// The example of AWS's documentation (IAM ListUsers, 2015-08-30).
    fn example() -> Vec<(&'static str, String)> {
        let signature = "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7";
        [
            ("Content-Type", "application/x-www-form-urlencoded; charset=utf-8"),
            ("Host", "iam.amazonaws.com"),
            ("X-Amz-Date", "20150830T123600Z"),
            (
                "Authorization",
                &format!(
                    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
                     SignedHeaders=content-type;host;x-amz-date, Signature={signature}"
                ),
            ),
        ]
        .map(|(name, value)| (name, value.to_owned()))
        .to_vec()
    }

    fn keyring() -> Keyring {
        Keyring::new(Credentials {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: None,
        })
    }

    fn check(headers: &[(&str, String)], keyring: &Keyring, now: u64) -> Result<(), SignatureError> {
        let target = "/?Version=2010-05-08&Action=ListUsers";
        let request = hyper::Request::get(target);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
        let (head, ()) = request.body(()).unwrap().into_parts();
        verify(Signed { head: &head, payload: b"", service: "iam", region: "us-east-1" }, keyring, now)
            .map(drop)
    }

    #[test]
    fn the_documented_example_verifies() {
        assert_eq!(check(&example(), &keyring(), NOW), Ok(()));
    }

    #[test]
    fn a_changed_request_is_refused_with_the_reason() {
        let mut other_host = example();
        other_host[1].1 = "iam.amazonaws.com:443".to_owned();
        assert_eq!(check(&other_host, &keyring(), NOW), Err(SignatureError::Mismatch));
        assert_eq!(check(&example()[..3], &keyring(), NOW), Err(SignatureError::Missing));
        assert!(matches!(check(&example(), &keyring(), NOW + 901), Err(SignatureError::Skewed(_))));
        let mut unsigned = example();
        unsigned.push(("X-Amz-Target", "x".to_owned()));
        assert!(matches!(check(&unsigned, &keyring(), NOW), Err(SignatureError::Incomplete(_))));
        let mut token = example();
        token.push(("X-Amz-Security-Token", "x".to_owned()));
        assert_eq!(check(&token, &keyring(), NOW), Err(SignatureError::Unknown));
    }

    #[test]
    fn rotated_credentials_are_expired() {
        let mut keyring = keyring();
        keyring.rotate(Credentials { access_key_id: "AKIDNEXT".to_owned(), ..keyring.current().clone() });
        assert_eq!(check(&example(), &keyring, NOW), Err(SignatureError::Expired));
    }

    #[test]
    fn a_query_is_form_decoded_and_a_path_encoded_again() {
        assert_eq!(
            canonical_query("role=publish_subscribe&cell-number=AAEA+b/c=="),
            "cell-number=AAEA%20b%2Fc%3D%3D&role=publish_subscribe"
        );
        assert_eq!(canonical_query("a=%2B"), "a=%2B");
        assert_eq!(encode(b"/v1/data-channel/alice@x-0=1%20", true), "/v1/data-channel/alice%40x-0%3D1%2520");
    }

    #[test]
    fn stamps_become_unix_seconds() {
        assert_eq!(unix_seconds("20150830T123600Z"), Some(NOW));
        assert_eq!(unix_seconds("19700101T000000Z"), Some(0));
        assert_eq!(unix_seconds("20000229T000000Z"), Some(951_782_400));
        assert_eq!(unix_seconds("nonsense"), None);
    }
}
