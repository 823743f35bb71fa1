//! Answers in HTTP that are not AWS's: of a captive portal, or of a proxy that blocks or opens the connection.

use std::fmt;

use http::header::{CONTENT_TYPE, HeaderMap, LOCATION};

/// The header that every answer of an AWS API has.
const REQUEST_ID: &str = "x-amzn-requestid";

/// The status with which a network asks for a login (RFC 6585).
const LOGIN_REQUIRED: u16 = 511;

/// An answer of another server than the one that was asked: log in to the network, or have the proxy changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignAnswer {
    /// The HTTP status.
    pub status: u16,
    /// Where it leads: untrusted text.
    pub location: Option<String>,
}

impl ForeignAnswer {
    /// Recognizes a redirect or a web page, which neither an AWS API nor a tunnel or a websocket answers with.
    pub fn of(status: u16, headers: &HeaderMap) -> Option<Self> {
        let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let location = text(LOCATION).filter(|_| (300..400).contains(&status));
        let is_page =
            text(CONTENT_TYPE).is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/html"));
        // A load balancer of AWS may answer a fault with a page.
        let is_page = (is_page && status < 500) || status == LOGIN_REQUIRED;
        let is_foreign = location.is_some() || is_page;
        (is_foreign && !headers.contains_key(REQUEST_ID))
            .then(|| Self { status, location: location.map(|location| location.into_owned()) })
    }
}

impl fmt::Display for ForeignAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            Some(location) => write!(f, "HTTP {} to {location}", self.status),
            None => write!(f, "HTTP {} with a web page", self.status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_and_web_pages_are_foreign_and_answers_of_aws_are_not() {
        let page = ("content-type", "Text/HTML; charset=utf-8");
        let to = ("location", "http://login.hotel.example/");
        for (status, headers, words) in [
            (302, &[to][..], Some("HTTP 302 to http://login.hotel.example/")),
            (307, &[to, page], Some("HTTP 307 to http://login.hotel.example/")),
            (200, &[page], Some("HTTP 200 with a web page")),
            (403, &[page], Some("HTTP 403 with a web page")),
            (511, &[], Some("HTTP 511 with a web page")),
            (502, &[to], None),
            (503, &[page], None),
            (200, &[("content-type", "application/x-amz-json-1.1")], None),
            (200, &[("content-type", "text/xml")], None),
            (400, &[page, ("x-amzn-RequestId", "1")], None),
            (200, &[to], None),
            (304, &[], None),
        ] {
            let headers = headers
                .iter()
                .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")));
            let answer = ForeignAnswer::of(status, &headers.collect());
            assert_eq!(answer.map(|answer| answer.to_string()).as_deref(), words, "{status}");
        }
    }
}
