//! The way to each of AWS's services that the target needs: name, connection, TLS, and whether AWS answers.

use std::io;
use std::time::SystemTime;

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use futures_util::future::join_all;
use http::Uri;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::aws::Aws;
use crate::clock;
use crate::reach::ReachError;
use crate::route::Wish;
use crate::transport::{ConnectError, ConnectFault, Connector, Io, TlsFault};

use super::DEADLINE;
use super::finding::{Component, Diagnosis, Finding, NetworkProblem, Outcome};

/// The longest head of an answer that is read.
const LONGEST_HEAD: usize = 16 << 10;
/// AWS refuses signatures that are off by more than five minutes.
const MOST_SKEW: i64 = 5 * 60;

/// Looks at all services side by side.
pub(super) async fn check(aws: &Aws, wish: &Wish) -> Vec<Finding> {
    let urls = match aws.service_urls(&services(wish)).await {
        Ok(urls) => urls,
        Err(error) => {
            let outcome = Outcome::failed(ReachError::from(error));
            return vec![Finding::new(Component::Credentials, "region", outcome)];
        }
    };
    let connector = aws.connector();
    let looks = urls.iter().map(|url| look(&connector, url));
    let looks: Vec<Look> = join_all(looks).await;
    let skew = looks.iter().find_map(|look| look.skew);
    let mut findings: Vec<Finding> = looks.into_iter().map(|look| look.finding).collect();
    findings.extend(skew.map(clock_finding));
    findings
}

/// The services that sessions need, and those of a bastion that is started.
fn services(wish: &Wish) -> Vec<&'static str> {
    let mut services = vec!["ssm", "ssmmessages", "sts"];
    if !wish.is_empty() {
        services.push("ec2");
    }
    if wish.is_guarded() {
        services.push("states");
    }
    if wish.task.is_some() {
        services.push("ecs");
    }
    services
}

struct Look {
    finding: Finding,
    /// AWS's clock minus this machine's, in seconds.
    skew: Option<i64>,
}

async fn look(connector: &Connector, url: &str) -> Look {
    let seen = timeout(DEADLINE, ask(connector, url)).await;
    let late = || {
        Err(Diagnosis::Network(NetworkProblem::Unreachable(format!(
            "no answer within {} s",
            DEADLINE.as_secs()
        ))))
    };
    let (outcome, skew) = match seen.unwrap_or_else(|_| late()) {
        Ok((text, skew)) => (Outcome::Good(text), skew),
        Err(diagnosis) => (Outcome::Broken(diagnosis), None),
    };
    Look { finding: Finding::new(Component::Network, url, outcome), skew }
}

/// Connects as a call does, and reads the answer to a plain request.
async fn ask(connector: &Connector, url: &str) -> Result<(String, Option<i64>), Diagnosis> {
    let uri: Uri =
        url.parse().map_err(|_| Diagnosis::Network(NetworkProblem::Unreachable("not a URL".to_owned())))?;
    let host = uri.host().unwrap_or_default().to_owned();
    let way = match connector.proxy(&uri) {
        Some(proxy) => format!("through the proxy {proxy}"),
        None => addresses(&uri).await?,
    };
    let stream = connector.connect(&uri).await.map_err(of_connect)?;
    let is_plain = uri.scheme_str() == Some("http");
    let stream =
        if is_plain { stream } else { connector.encrypt(&host, stream).await.map_err(of_connect)? };
    let head = head(stream, &host)
        .await
        .map_err(|error| Diagnosis::Network(NetworkProblem::Unreachable(error.to_string())))?;
    let answer = parse(&head).ok_or_else(|| {
        Diagnosis::Network(NetworkProblem::Unreachable("it does not speak HTTP".to_owned()))
    })?;
    if answer.leads_away {
        return Err(Diagnosis::Network(NetworkProblem::NotAws(answer.status)));
    }
    Ok((way, answer.date.map(|date| date - now())))
}

/// Resolves the host, and says whether the addresses are private.
async fn addresses(url: &Uri) -> Result<String, Diagnosis> {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = url.port_u16().unwrap_or(443);
    let found = lookup_host((host, port))
        .await
        .map_err(|error| Diagnosis::Network(NetworkProblem::Unresolved(error.to_string())))?;
    let found: Vec<std::net::SocketAddr> = found.collect();
    let first = found
        .first()
        .ok_or_else(|| Diagnosis::Network(NetworkProblem::Unresolved("it has no address".to_owned())))?;
    let is_private = match first.ip() {
        std::net::IpAddr::V4(address) => address.is_private() || address.is_loopback(),
        std::net::IpAddr::V6(address) => address.is_unique_local() || address.is_loopback(),
    };
    let kind = if is_private { "private" } else { "public" };
    Ok(format!("reached at {} ({kind})", first.ip()))
}

fn of_connect(error: ConnectError) -> Diagnosis {
    let text = error.to_string();
    Diagnosis::Network(match (&error, error.fault()) {
        (ConnectError::Tls(inner), _) if let Some(fault) = TlsFault::of(inner) => {
            NetworkProblem::Untrusted(text, fault)
        }
        (ConnectError::Setup(_), _) => NetworkProblem::Untrusted(text, TlsFault::Issuer),
        (_, ConnectFault::Network) => NetworkProblem::Unreachable(text),
        (_, fault) => NetworkProblem::Refused(text, fault),
    })
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
    })
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
        let answer = Answer { status: 404, date: Some(1_795_860_000), leads_away: false };
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
    fn a_clock_may_be_off_by_five_minutes() {
        assert!(matches!(clock_finding(-299).outcome, Outcome::Good(_)));
        assert!(matches!(
            clock_finding(301).outcome,
            Outcome::Broken(Diagnosis::Network(NetworkProblem::ClockOff(301)))
        ));
    }
}
