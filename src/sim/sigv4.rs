//! Signature Version 4, the checking side: written by hand, apart from the SDK's signer that it is there to check.
//!
//! It rebuilds the canonical request from what arrived on the wire: the path is encoded once more, the query is
//! form-decoded (a raw `+` is a space) and encoded again, headers are taken as signed.

use aws_lc_rs::hmac::{self, HMAC_SHA256};

use crate::sim::agent::frame::sha256;

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

/// The credentials in force and those that have expired.
#[derive(Clone, Debug)]
pub struct Keyring {
    current: Credentials,
    expired: Vec<Credentials>,
}

impl Keyring {
    /// Accepts these credentials.
    pub fn new(current: Credentials) -> Self {
        Self { current, expired: Vec::new() }
    }

    /// Accepts these from now on; the ones before are answered as expired.
    pub fn rotate(&mut self, next: Credentials) {
        self.expired.push(std::mem::replace(&mut self.current, next));
    }

    /// Returns the credentials in force.
    pub fn current(&self) -> &Credentials {
        &self.current
    }
}

/// A request as it came, and what its signature must be for.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// The method.
    pub method: &'a str,
    /// Path and query exactly as on the wire.
    pub target: &'a str,
    /// The headers in the order of the wire.
    pub headers: &'a [(String, String)],
    /// The body.
    pub payload: &'a [u8],
    /// The service's signing name.
    pub service: &'a str,
    /// The region.
    pub region: &'a str,
}

/// Why a signature is refused; [`Refusal::code`] is the service's name for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no Authorization header.
    #[error("Missing Authentication Token")]
    Missing,
    /// The header lacks a part, or a header that must be signed is not.
    #[error("Authorization header is incomplete: {0}")]
    Incomplete(String),
    /// The access key or its token is not known.
    #[error("The security token included in the request is invalid.")]
    Unknown,
    /// The credentials were good once.
    #[error("The security token included in the request is expired")]
    Expired,
    /// The scope's service, region or date is wrong.
    #[error("Credential should be scoped to {0}")]
    Scope(String),
    /// The date is too far from the clock.
    #[error("Signature expired: {0} is not within 15 minutes of the service's clock")]
    Skewed(String),
    /// The signature is another one.
    #[error(
        "The request signature we calculated does not match the signature you provided. \
         Check your AWS Secret Access Key and signing method."
    )]
    Mismatch,
}

impl Refusal {
    /// Returns the error's name in an API answer.
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

/// Checks a request's signature at a Unix time in seconds.
///
/// # Errors
/// What is wrong with it, in the service's own words.
pub fn verify(request: Signed<'_>, keyring: &Keyring, unix_now: u64) -> Result<(), Refusal> {
    let header = header(request.headers, "authorization").ok_or(Refusal::Missing)?;
    let authorization = parse(&header)?;
    let credentials = select(keyring, &authorization, request.headers)?;
    check_scope(request, &authorization)?;
    check_signed_headers(request.headers, &authorization)?;
    let stamp = self::header(request.headers, "x-amz-date")
        .ok_or_else(|| Refusal::Incomplete("x-amz-date".to_owned()))?;
    check_date(&stamp, authorization.date, unix_now)?;
    let canonical = canonical_request(request, &authorization.signed_headers);
    let scope =
        format!("{}/{}/{}/aws4_request", authorization.date, authorization.region, authorization.service);
    let to_sign = format!("{ALGORITHM}\n{stamp}\n{scope}\n{}", hex(&sha256(canonical.as_bytes())));
    let key = signing_key(&credentials.secret_access_key, &authorization);
    let expected = hex(&mac(&key, to_sign.as_bytes()));
    if expected == authorization.signature { Ok(()) } else { Err(Refusal::Mismatch) }
}

fn parse(header: &str) -> Result<Authorization<'_>, Refusal> {
    let incomplete = |what: &str| Refusal::Incomplete(what.to_owned());
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
    headers: &[(String, String)],
) -> Result<&'a Credentials, Refusal> {
    let token = header(headers, "x-amz-security-token");
    let is_it = |credentials: &Credentials| {
        credentials.access_key_id == authorization.access_key_id && credentials.session_token == token
    };
    if is_it(&keyring.current) {
        Ok(&keyring.current)
    } else if keyring.expired.iter().any(is_it) {
        Err(Refusal::Expired)
    } else {
        Err(Refusal::Unknown)
    }
}

fn check_scope(request: Signed<'_>, authorization: &Authorization<'_>) -> Result<(), Refusal> {
    if (authorization.service, authorization.region) == (request.service, request.region) {
        return Ok(());
    }
    Err(Refusal::Scope(format!("service `{}` in region `{}`", request.service, request.region)))
}

fn check_signed_headers(
    headers: &[(String, String)],
    authorization: &Authorization<'_>,
) -> Result<(), Refusal> {
    let is_signed = |name: &str| authorization.signed_headers.contains(&name);
    let names = headers.iter().map(|(name, _)| name.to_ascii_lowercase());
    let unsigned =
        names.filter(|name| name == "host" || name.starts_with("x-amz-")).find(|name| !is_signed(name));
    match unsigned {
        Some(name) => Err(Refusal::Incomplete(format!("`{name}` must be signed"))),
        None => Ok(()),
    }
}

fn check_date(stamp: &str, scope_date: &str, unix_now: u64) -> Result<(), Refusal> {
    if !stamp.starts_with(scope_date) {
        return Err(Refusal::Scope("the date of the request".to_owned()));
    }
    match unix_seconds(stamp) {
        Some(signed) if signed.abs_diff(unix_now) <= LONGEST_SKEW_S => Ok(()),
        Some(_) | None => Err(Refusal::Skewed(stamp.to_owned())),
    }
}

fn canonical_request(request: Signed<'_>, signed_headers: &[&str]) -> String {
    let (path, query) = request.target.split_once('?').unwrap_or((request.target, ""));
    let mut headers = String::new();
    for name in signed_headers {
        let values: Vec<String> = all(request.headers, name).collect();
        headers.push_str(&format!("{name}:{}\n", values.join(",")));
    }
    [
        request.method,
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
pub fn header(headers: &[(String, String)], name: &str) -> Option<String> {
    all(headers, name).next()
}

fn all<'a>(headers: &'a [(String, String)], name: &'a str) -> impl Iterator<Item = String> + 'a {
    let matching = headers.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name));
    matching.map(|(_, value)| value.split_whitespace().collect::<Vec<_>>().join(" "))
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

    /// The example of AWS's own documentation (IAM ListUsers, 2015-08-30).
    fn example() -> Vec<(String, String)> {
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
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    fn keyring() -> Keyring {
        Keyring::new(Credentials {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: None,
        })
    }

    fn check(headers: &[(String, String)], keyring: &Keyring, now: u64) -> Result<(), Refusal> {
        let target = "/?Version=2010-05-08&Action=ListUsers";
        let request =
            Signed { method: "GET", target, headers, payload: b"", service: "iam", region: "us-east-1" };
        verify(request, keyring, now)
    }

    #[test]
    fn the_documented_example_verifies() {
        assert_eq!(check(&example(), &keyring(), NOW), Ok(()));
    }

    #[test]
    fn anything_changed_is_refused_by_its_name() {
        let mut other_host = example();
        other_host[1].1 = "iam.amazonaws.com:443".to_owned();
        assert_eq!(check(&other_host, &keyring(), NOW), Err(Refusal::Mismatch));
        assert_eq!(check(&example()[..3], &keyring(), NOW), Err(Refusal::Missing));
        assert!(matches!(check(&example(), &keyring(), NOW + 901), Err(Refusal::Skewed(_))));
        let mut unsigned = example();
        unsigned.push(("X-Amz-Target".to_owned(), "x".to_owned()));
        assert!(matches!(check(&unsigned, &keyring(), NOW), Err(Refusal::Incomplete(_))));
        let mut token = example();
        token.push(("X-Amz-Security-Token".to_owned(), "x".to_owned()));
        assert_eq!(check(&token, &keyring(), NOW), Err(Refusal::Unknown));
    }

    #[test]
    fn rotated_credentials_are_expired() {
        let mut keyring = keyring();
        keyring.rotate(Credentials { access_key_id: "AKIDNEXT".to_owned(), ..keyring.current().clone() });
        assert_eq!(check(&example(), &keyring, NOW), Err(Refusal::Expired));
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
