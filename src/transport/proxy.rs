//! Which proxy a connection goes through: one rule for the API calls and the websocket, from the usual variables.
//!
//! A variable that cannot be read is an error. A connection without the proxy would be refused, or would go where it must
//! not go.

use std::ffi::{OsStr, OsString};
use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::Uri;
use http::header::HeaderValue;
use http::uri::Authority;
use thiserror::Error;

use super::no_proxy::NoProxy;

/// The variables; the first of a line that is set counts.
const HTTP: [&str; 2] = ["HTTP_PROXY", "http_proxy"];
const HTTPS: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
const ALL: [&str; 2] = ["ALL_PROXY", "all_proxy"];
const NO: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// A variable with its value, which may hold a password.
type Variable = (&'static str, OsString);

/// A variable that cannot be read: correct it. Its value is not shown, since it may hold a password.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("`{name}` in the environment {problem}")]
pub struct ProxySettingError {
    /// The variable's name.
    pub name: &'static str,
    /// What is wrong with its value.
    pub problem: ProxyProblem,
}

/// Why a value is not a proxy.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ProxyProblem {
    /// It has no host, or no port after a colon.
    #[error("must be a URL such as `http://proxy.example.com:3128`")]
    NotAUrl,
    /// It has quotes.
    #[error("has quotes: remove them")]
    Quotes,
    /// It has a character that a URL cannot have.
    #[error(
        "has the character {0:?}, which a URL cannot have: remove it, or write it as `%` and its code, such as `%5C` for `\\`"
    )]
    Character(char),
    /// Its scheme is not supported.
    #[error("must begin with `http://`, `https://`, `socks5://` or `socks5h://`")]
    Scheme,
}

/// How a client speaks to a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProxyKind {
    /// HTTP in clear text.
    Http,
    /// HTTP over TLS.
    Https,
    /// SOCKS 5; names are resolved on this machine.
    Socks5,
    /// SOCKS 5; the proxy resolves names.
    Socks5h,
}

/// A proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    pub(super) kind: ProxyKind,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) login: Option<ProxyLogin>,
}

/// A user's name and password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct ProxyLogin {
    pub user: String,
    pub password: String,
}

/// The proxies of a run.
#[derive(Debug, Default)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    direct: NoProxy,
}

impl Proxies {
    /// Reads the variables.
    ///
    /// # Errors
    /// The first variable that is used and cannot be read.
    pub fn new(variables: &[Variable]) -> Result<Self, ProxySettingError> {
        let read = |names| find(variables, names).or_else(|| find(variables, ALL)).map(read).transpose();
        let (http, https) = (read(HTTP)?, read(HTTPS)?);
        let list = find(variables, NO).map(|(_, value)| value.to_string_lossy());
        Ok(Self { http, https, direct: NoProxy::parse(&list.unwrap_or_default()) })
    }

    /// Returns the proxy for a URL, `http` or `https`.
    pub fn for_url(&self, url: &Uri) -> Option<&Proxy> {
        let is_https = url.scheme_str() == Some("https");
        let (proxy, default) = if is_https { (&self.https, 443) } else { (&self.http, 80) };
        let (host, port) = (url.host().unwrap_or_default(), url.port_u16().unwrap_or(default));
        proxy.as_ref().filter(|_| !self.direct.contains(host, port))
    }
}

impl Proxy {
    /// Returns true for an HTTP proxy, to which a request without TLS is sent with its whole URL.
    pub fn is_http(&self) -> bool {
        matches!(self.kind, ProxyKind::Http | ProxyKind::Https)
    }

    /// Returns the value of the header that logs in to an HTTP proxy.
    pub fn authorization(&self) -> Option<HeaderValue> {
        let ProxyLogin { user, password } = self.login.as_ref()?;
        let encoded = BASE64_STANDARD.encode(format!("{user}:{password}"));
        let mut value = HeaderValue::from_str(&format!("Basic {encoded}")).expect("base64 is printable");
        value.set_sensitive(true);
        Some(value)
    }

    /// Returns its URL without the login.
    pub(super) fn url(&self) -> Uri {
        self.to_string().parse().expect("a scheme, a host and a port that were read from a URL")
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.kind.scheme(), self.host, self.port)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

impl ProxyKind {
    const ALL: [Self; 4] = [Self::Http, Self::Https, Self::Socks5, Self::Socks5h];

    fn scheme(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks5 => "socks5",
            Self::Socks5h => "socks5h",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
            Self::Socks5 | Self::Socks5h => 1080,
        }
    }

    fn of_scheme(scheme: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.scheme().eq_ignore_ascii_case(scheme))
    }
}

impl ProxyLogin {
    /// Splits `USER:PASSWORD`.
    fn parse(text: &str) -> Self {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        Self { user: decode(user), password: decode(password) }
    }
}

fn find<'a>(variables: &'a [Variable], names: [&str; 2]) -> Option<&'a Variable> {
    names.iter().find_map(|name| variables.iter().find(|(known, value)| known == name && !value.is_empty()))
}

fn read((name, value): &Variable) -> Result<Proxy, ProxySettingError> {
    parse(value).map_err(|problem| ProxySettingError { name, problem })
}

fn parse(value: &OsStr) -> Result<Proxy, ProxyProblem> {
    let text = value.to_str().ok_or(ProxyProblem::NotAUrl)?;
    check_characters(text)?;
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    let kind = ProxyKind::of_scheme(scheme).ok_or(ProxyProblem::Scheme)?;
    // A password may have a raw `@`: the last one ends it.
    let (login, place) = match rest.rsplit_once('@') {
        Some((login, place)) => (Some(ProxyLogin::parse(login)), place),
        None => (None, rest),
    };
    let (host, port) = host_and_port(place).ok_or(ProxyProblem::NotAUrl)?;
    Ok(Proxy { kind, host, port: port.unwrap_or(kind.default_port()), login })
}

fn check_characters(text: &str) -> Result<(), ProxyProblem> {
    let is_wrong = |c: &char| !c.is_ascii_graphic() || "\"\\<>^`{|}".contains(*c);
    match text.chars().find(is_wrong) {
        Some('"') => Err(ProxyProblem::Quotes),
        _ if text.starts_with('\'') => Err(ProxyProblem::Quotes),
        Some(c) => Err(ProxyProblem::Character(c)),
        None => Ok(()),
    }
}

/// Splits `HOST:PORT/PATH`; the path has no meaning for a proxy.
fn host_and_port(place: &str) -> Option<(String, Option<u16>)> {
    let end = place.find(['/', '?', '#']).unwrap_or(place.len());
    let authority: Authority = place[..end].parse().ok()?;
    let (host, port) = (authority.host(), authority.port_u16());
    let has_colon = authority.as_str().len() > host.len();
    let is_whole = !host.is_empty() && has_colon == port.is_some() && !place[end..].starts_with("//");
    is_whole.then(|| (host.to_owned(), port))
}

/// Decodes `%41`; a `%` without a code stays.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let code = escape(rest);
        bytes.push(code.unwrap_or(byte));
        rest = if code.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns the byte that an escape at the start of a text stands for.
fn escape(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = *text else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Result<Proxy, ProxyProblem> {
        parse(OsStr::new(text))
    }

    fn proxies(variables: &[(&'static str, &str)]) -> Result<Proxies, ProxySettingError> {
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.into())).collect();
        Proxies::new(&variables)
    }

    #[test]
    fn a_proxy_is_read_with_its_login() {
        for (text, url, login) in [
            ("proxy", "http://proxy:80", None),
            ("proxy:3128", "http://proxy:3128", None),
            ("http://a:b@proxy:3128/", "http://proxy:3128", Some(("a", "b"))),
            ("http://a:p@ss/w#d@proxy:1", "http://proxy:1", Some(("a", "p@ss/w#d"))),
            ("http://a:it's@proxy:1", "http://proxy:1", Some(("a", "it's"))),
            ("HTTPS://a%40b:%5Cx%@[::1]:2", "https://[::1]:2", Some(("a@b", "\\x%"))),
            ("http://CORP%5Calice:x@proxy", "http://proxy:80", Some(("CORP\\alice", "x"))),
            ("http://alice@proxy", "http://proxy:80", Some(("alice", ""))),
            ("socks5://proxy:1", "socks5://proxy:1", None),
            ("socks5h://proxy", "socks5h://proxy:1080", None),
        ] {
            let proxy = parsed(text).expect(text);
            let login =
                login.map(|(user, password)| ProxyLogin { user: user.into(), password: password.into() });
            assert_eq!((proxy.to_string().as_str(), proxy.url().port_u16()), (url, Some(proxy.port)));
            assert!(proxy.login == login, "{text}");
        }
    }

    #[test]
    fn a_value_that_is_not_a_proxy_is_an_error_without_the_value() {
        let character = |c: char| ProxyProblem::Character(c);
        for (text, problem) in [
            ("\"http://proxy\"", ProxyProblem::Quotes),
            ("'http://me:s3cret@proxy'", ProxyProblem::Quotes),
            (" http://me:s3cret@proxy", character(' ')),
            ("http://proxy\r", character('\r')),
            ("http://CORP\\alice:s3cret@proxy", character('\\')),
            ("http://prüxy", character('ü')),
            ("http://", ProxyProblem::NotAUrl),
            ("http//proxy:3128", ProxyProblem::NotAUrl),
            ("http:/proxy:3128", ProxyProblem::NotAUrl),
            ("http://proxy:port", ProxyProblem::NotAUrl),
            ("http://proxy:", ProxyProblem::NotAUrl),
            ("http://proxy:99999", ProxyProblem::NotAUrl),
            ("http://me:s3cret@", ProxyProblem::NotAUrl),
            ("ftp://proxy", ProxyProblem::Scheme),
            ("socks4://proxy", ProxyProblem::Scheme),
        ] {
            let error = proxies(&[("https_proxy", text)]).expect_err(text);
            assert_eq!(error, ProxySettingError { name: "https_proxy", problem });
            let words = error.to_string();
            assert!(words.starts_with("`https_proxy` ") && !words.contains("s3cret"), "{words}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn bytes_that_are_not_text_are_not_a_proxy() {
        use std::os::unix::ffi::OsStringExt;

        let value = OsString::from_vec(b"http://proxy\xff".to_vec());
        assert_eq!(parse(&value).err(), Some(ProxyProblem::NotAUrl));
    }

    #[test]
    fn the_proxy_of_the_scheme_is_used_else_that_for_all() {
        let found = proxies(&[("ALL_PROXY", "all"), ("https_proxy", "lower"), ("HTTPS_PROXY", "upper")]);
        let found = found.expect("valid");
        let host = |url: &'static str| found.for_url(&Uri::from_static(url)).map(|proxy| proxy.host.as_str());
        assert_eq!(host("https://aws.example/"), Some("upper"));
        assert_eq!(host("http://aws.example/"), Some("all"));
        assert!(proxies(&[]).expect("valid").for_url(&Uri::from_static("https://a")).is_none());
        assert!(proxies(&[("HTTPS_PROXY", "")]).expect("valid").https.is_none());
    }

    #[test]
    fn a_variable_that_is_not_used_may_hold_anything() {
        let all = ("ALL_PROXY", "socks://127.0.0.1");
        assert!(proxies(&[all, ("HTTP_PROXY", "a"), ("HTTPS_PROXY", "b")]).is_ok());
        assert_eq!(proxies(&[all, ("HTTP_PROXY", "a")]).err().map(|error| error.name), Some("ALL_PROXY"));
    }

    #[test]
    fn hosts_and_ports_of_no_proxy_are_reached_directly() {
        let found = proxies(&[("ALL_PROXY", "p"), ("no_proxy", "a.example:443,b.example:8443,10.0.0.0/8")]);
        let found = found.expect("valid");
        for (url, is_direct) in [
            ("https://a.example/", true),
            ("http://a.example/", false),
            ("https://b.example/", false),
            ("https://x.b.example:8443/", true),
            ("http://10.1.2.3:99/", true),
            ("http://11.1.2.3/", false),
        ] {
            assert_eq!(found.for_url(&Uri::from_static(url)).is_none(), is_direct, "{url}");
        }
    }

    /// URLs of all characters that a proxy may have.
    const ANY: &str = r"(http|https|socks5h?)://[a-z:@\[\]0-9.%/?#~!$&'()*+,;=_-]{0,20}";

    proptest! {
        #[test]
        fn what_is_read_has_a_url_that_reads_the_same(text in ANY) {
            if let Ok(proxy) = parsed(&text) {
                let url = proxy.url();
                prop_assert_eq!(url.host(), Some(proxy.host.as_str()));
                let again = parsed(&proxy.to_string()).expect("its own text");
                prop_assert_eq!((again.kind, again.host, again.port), (proxy.kind, proxy.host, proxy.port));
            }
        }
    }

    #[test]
    fn debug_hides_the_password() {
        let text = format!("{:?}", proxies(&[("ALL_PROXY", "http://me:s3cret@proxy")]));
        assert!(text.contains("http://proxy:80") && !text.contains("s3cret"), "{text}");
    }
}
