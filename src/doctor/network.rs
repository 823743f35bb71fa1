//! The way to each of AWS's services that the target needs: name, connection, TLS, and whether AWS answers.

use std::net::IpAddr;
use std::time::SystemTime;
use std::{fmt, io};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use futures_util::future::join_all;
use http::Uri;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::lookup_host;

use crate::aws::Aws;
use crate::clock;
use crate::names::Name;
use crate::reach::ReachError;
use crate::route::{Route, Wish};
use crate::transport::{ConnectError, ConnectFault, Connector, Io, Issuer};

use super::finding::{Component, Diagnosis, Finding, NetworkProblem, Outcome};
use super::limit::{Late, Limit};

/// The longest head of an answer that is read.
const LONGEST_HEAD: usize = 16 << 10;
/// The headers of AWS's answers that identify a request.
const REQUEST_IDS: [&str; 3] = ["x-amzn-requestid", "x-amz-request-id", "x-amz-id-2"];
/// AWS refuses signatures that are off by more than five minutes.
const MOST_SKEW: i64 = 5 * 60;

/// A service, by the first part of its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Service {
    label: &'static str,
    /// No session is opened without it.
    is_needed: bool,
}

impl Service {
    fn outcome(self, problem: NetworkProblem) -> Outcome {
        let diagnosis = Diagnosis::Network(problem);
        if self.is_needed { Outcome::Broken(diagnosis) } else { Outcome::Doubtful(diagnosis) }
    }
}

/// Looks at all services side by side.
pub(super) async fn check(aws: &Aws, route: Option<&Route>, wish: &Wish, limit: Limit) -> Vec<Finding> {
    let services = services(route, wish);
    let labels: Vec<&str> = services.iter().map(|service| service.label).collect();
    let urls = match limit.whole(aws.service_urls(&labels)).await {
        Ok(Ok(urls)) => urls,
        Err(late) => return vec![Finding::new(Component::Network, "", Outcome::late(late))],
        Ok(Err(error)) => {
            let outcome = Outcome::failed(ReachError::from(error));
            return vec![Finding::new(Component::Credentials, "region", outcome)];
        }
    };
    let connector = aws.connector();
    let looks = services.iter().zip(&urls).map(|(service, url)| look(&connector, *service, url, limit));
    let looks: Vec<Look> = join_all(looks).await;
    let skew = looks.iter().find_map(|look| look.skew);
    let mut findings: Vec<Finding> = looks.into_iter().map(|look| look.finding).collect();
    findings.extend(skew.map(clock_finding));
    findings
}

/// The services that sessions need, those that a name, a key or a container needs, and those of a bastion. STS only says whose
/// the credentials are: where it cannot be reached, sessions work.
fn services(route: Option<&Route>, wish: &Wish) -> Vec<Service> {
    let name = route.map(|route| route.entry.name());
    let is_looked_up = name.is_some_and(|name| !matches!(name, Name::Id(_) | Name::Container(_)));
    let is_container = matches!(name, Some(Name::Container(_)));
    let has_keys = route.is_some_and(|route| !route.pushed_keys(true).is_empty());
    let needed = [
        ("ssm", true),
        ("ssmmessages", true),
        ("ec2", is_looked_up || !wish.is_empty()),
        ("ec2-instance-connect", has_keys),
        ("ecs", is_container || wish.task.is_some()),
        ("states", wish.is_guarded()),
    ];
    let needed = needed.into_iter().filter(|(_, is_needed)| *is_needed);
    let needed = needed.map(|(label, is_needed)| Service { label, is_needed });
    needed.chain([Service { label: "sts", is_needed: false }]).collect()
}

struct Look {
    finding: Finding,
    /// AWS's clock minus this machine's, in seconds.
    skew: Option<i64>,
}

async fn look(connector: &Connector, service: Service, url: &str, limit: Limit) -> Look {
    let mut way = Way::default();
    let seen = limit.check(ask(connector, url, &mut way)).await;
    let (outcome, skew) = match seen {
        Ok(Ok(skew)) => (Outcome::Good(way.to_string()), skew),
        Ok(Err(problem)) => (service.outcome(way.explain(problem)), None),
        Err(late @ Late::Check(_)) => {
            (service.outcome(way.explain(NetworkProblem::Unreachable(late.to_string()))), None)
        }
        Err(late @ Late::Whole(_)) => (Outcome::late(late), None),
    };
    Look { finding: Finding::new(Component::Network, url, outcome), skew }
}

/// How far a look came.
#[derive(Debug, Default)]
struct Way {
    /// The proxy, without its password.
    proxy: Option<String>,
    /// The first address of the host, if no proxy resolves it.
    address: Option<IpAddr>,
    /// Who issued the certificate of the host.
    issuer: Option<Issuer>,
}

impl Way {
    /// A private address that does not answer is an endpoint of a VPC that this machine is not in.
    fn explain(&self, problem: NetworkProblem) -> NetworkProblem {
        match (problem, self.address.filter(is_private)) {
            (NetworkProblem::Unreachable(error), Some(address)) if !address.is_loopback() => {
                NetworkProblem::PrivateUnreachable { address: address.to_string(), error }
            }
            (problem, _) => problem,
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.proxy, self.address) {
            (Some(proxy), _) => write!(f, "reached through the proxy {proxy}")?,
            (None, Some(address)) if is_private(&address) => write!(f, "reached at {address} (private)")?,
            (None, Some(address)) => write!(f, "reached at {address} (public)")?,
            (None, None) => write!(f, "reached")?,
        }
        match self.issuer.as_ref().filter(|issuer| !issuer.is_amazon()) {
            Some(issuer) => write!(f, "; its certificate is issued by {issuer}, not by Amazon"),
            None => Ok(()),
        }
    }
}

fn is_private(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_private() || address.is_loopback(),
        IpAddr::V6(address) => address.is_unique_local() || address.is_loopback(),
    }
}

/// Connects as a call does, and reads the answer to a plain request. Returns the difference of the clocks.
async fn ask(connector: &Connector, url: &str, way: &mut Way) -> Result<Option<i64>, NetworkProblem> {
    let unreachable = |text: &str| NetworkProblem::Unreachable(text.to_owned());
    let uri: Uri = url.parse().map_err(|_| unreachable("not a URL"))?;
    let host = uri.host().unwrap_or_default().to_owned();
    way.proxy = connector.proxy(&uri).map(ToString::to_string);
    if way.proxy.is_none() {
        way.address = Some(resolve(&uri).await?);
    }
    let stream = connector.connect(&uri).await.map_err(|error| of_connect(error, way))?;
    let stream = if uri.scheme_str() == Some("http") {
        stream
    } else {
        let (stream, issuer) = connector.encrypt_and_tell(&host, stream).await;
        way.issuer = issuer;
        stream.map_err(|error| of_connect(error, way))?
    };
    let head = head(stream, &host).await.map_err(|error| unreachable(&error.to_string()))?;
    let answer = parse(&head).ok_or_else(|| unreachable("it does not speak HTTP"))?;
    if answer.leads_away || answer.is_page {
        return Err(NetworkProblem::NotAws(answer.status));
    }
    Ok(answer.date.map(|date| date - now()))
}

/// Returns the first address of the host.
async fn resolve(url: &Uri) -> Result<IpAddr, NetworkProblem> {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = url.port_u16().unwrap_or(443);
    let found = lookup_host((host, port)).await;
    let mut found = found.map_err(|error| NetworkProblem::Unresolved(error.to_string()))?;
    let first = found.next().ok_or_else(|| NetworkProblem::Unresolved("it has no address".to_owned()))?;
    Ok(first.ip())
}

fn of_connect(error: ConnectError, way: &Way) -> NetworkProblem {
    let (text, tls_fault) = (error.to_string(), error.tls_fault());
    if let Some(fault) = tls_fault {
        let issuer = way.issuer.as_ref().map(ToString::to_string);
        return NetworkProblem::Untrusted { error: text, issuer, fault };
    }
    if matches!(error, ConnectError::Setup(_)) {
        return NetworkProblem::NoRoots(text);
    }
    match error.fault() {
        ConnectFault::Network => NetworkProblem::Unreachable(text),
        ConnectFault::Portal => NetworkProblem::Portal(text),
        ConnectFault::Login | ConnectFault::LoginScheme | ConnectFault::Forbidden | ConnectFault::Proxy => {
            NetworkProblem::Proxy { proxy: way.proxy.clone().unwrap_or_default(), error }
        }
    }
}

async fn head(mut stream: Box<dyn Io>, host: &str) -> io::Result<Vec<u8>> {
    let request = format!("GET /ping HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while head.len() < LONGEST_HEAD && !head.windows(4).any(|four| four == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    Ok(head)
}

/// The head of an answer.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    /// Its date in Unix seconds.
    date: Option<i64>,
    /// It leads to another site, as a captive portal does; AWS's services lead to AWS's pages only.
    leads_away: bool,
    /// It is a page for a browser, and has no request id of AWS.
    is_page: bool,
}

fn parse(head: &[u8]) -> Option<Answer> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    response.parse(head).ok()?;
    let header = |name: &str| {
        let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok()
    };
    let date = header("date").and_then(|text| DateTime::from_str(text, Format::HttpDate).ok());
    let is_of_aws = |to: &str| to.contains("aws.amazon.com") || to.contains("amazonaws.com");
    Some(Answer {
        status: response.code?,
        date: date.map(|date| date.secs()),
        leads_away: header("location").is_some_and(|to| !is_of_aws(to)),
        is_page: header("content-type").is_some_and(is_html)
            && REQUEST_IDS.iter().all(|id| header(id).is_none())
            && !header("location").is_some_and(is_of_aws)
            && !header("server").is_some_and(is_front_of_aws),
    })
}

/// The type of a page is followed by parameters.
fn is_html(content_type: &str) -> bool {
    content_type.split(';').next().is_some_and(|one| one.trim().eq_ignore_ascii_case("text/html"))
}

/// The load balancers of AWS answer with pages of their own while a service fails.
fn is_front_of_aws(server: &str) -> bool {
    server.starts_with("awselb/") || server == "CloudFront"
}

fn clock_finding(skew: i64) -> Finding {
    let outcome = match skew.abs() {
        off if off > MOST_SKEW => Outcome::Broken(Diagnosis::Network(NetworkProblem::ClockOff(skew))),
        off => Outcome::Good(format!("{off} s from AWS's")),
    };
    Finding::new(Component::Clock, "this machine", outcome)
}

fn now() -> i64 {
    let now = clock::wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.as_secs().try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_date_of_an_answer_are_parsed() {
        let head = b"HTTP/1.1 404 Not Found\r\nDate: Sat, 28 Nov 2026 10:00:00 GMT\r\n\r\n";
        let answer = Answer { status: 404, date: Some(1_795_860_000), leads_away: false, is_page: false };
        assert_eq!(parse(head), Some(answer));
        let leads_away = |to: &str| {
            let head = format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\n\r\n");
            parse(head.as_bytes()).map(|answer| answer.leads_away)
        };
        assert_eq!(leads_away("http://login.hotel.example/"), Some(true));
        assert_eq!(leads_away("https://aws.amazon.com/iam"), Some(false));
        assert_eq!(parse(b"SSH-2.0-x\r\n"), None);
    }

    #[test]
    fn a_page_is_of_aws_only_with_the_id_of_a_request() {
        let is_page = |headers: &str| {
            let head = format!("HTTP/1.1 200 OK\r\n{headers}\r\n");
            parse(head.as_bytes()).map(|answer| answer.is_page)
        };
        for page in ["Content-Type: text/html\r\n", "content-type: TEXT/HTML ; charset=utf-8\r\n"] {
            assert_eq!(is_page(page), Some(true), "{page}");
            for id in REQUEST_IDS {
                assert_eq!(is_page(&format!("{page}{id}: 1\r\n")), Some(false), "{id}");
            }
        }
        for aws in ["Server: awselb/2.0\r\n", "Location: https://aws.amazon.com/iam\r\n"] {
            assert_eq!(is_page(&format!("Content-Type: text/html\r\n{aws}")), Some(false), "{aws}");
        }
        for other in ["", "Content-Type: text/plain\r\n", "Content-Type: application/x-amz-json-1.1\r\n"] {
            assert_eq!(is_page(other), Some(false), "{other}");
        }
    }

    #[test]
    fn a_private_address_that_does_not_answer_is_told_apart() {
        let problem = |address: &str| {
            let way = Way { address: address.parse().ok(), ..Way::default() };
            way.explain(NetworkProblem::Unreachable("timed out".to_owned()))
        };
        assert!(matches!(problem("10.0.0.9"), NetworkProblem::PrivateUnreachable { .. }));
        for other in ["203.0.113.9", "127.0.0.1"] {
            assert!(matches!(problem(other), NetworkProblem::Unreachable(_)), "{other}");
        }
    }

    #[test]
    fn a_good_way_names_an_issuer_that_is_not_amazon() {
        let issuer = |organization: &str| Issuer { organization: Some(organization.into()), name: None };
        let way = |organization| Way {
            address: "203.0.113.9".parse().ok(),
            issuer: Some(issuer(organization)),
            proxy: None,
        };
        assert_eq!(way("Amazon").to_string(), "reached at 203.0.113.9 (public)");
        let inspected = way("Example").to_string();
        assert!(inspected.ends_with("its certificate is issued by Example, not by Amazon"), "{inspected}");
    }

    #[test]
    fn a_clock_may_be_off_by_five_minutes() {
        assert!(matches!(clock_finding(-299).outcome, Outcome::Good(_)));
        assert!(matches!(
            clock_finding(301).outcome,
            Outcome::Broken(Diagnosis::Network(NetworkProblem::ClockOff(301)))
        ));
    }
}
