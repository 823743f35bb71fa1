//! A stub that plays STS and StartSession, and keeps what it was asked.
//!
//! moto plays no second factor: it takes any code. Here the questions are what is looked at.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// One request: the key that signed it, and its body.
#[derive(Clone, Debug)]
pub struct Request {
    pub action: String,
    pub key: String,
    pub region: String,
    pub body: String,
}

impl Request {
    /// A field of a query-style call.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.body.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }
}

pub struct Stub {
    url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Stub {
    /// Starts; codes other than `424242` are wrong.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = requests.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let kept = kept.clone();
                thread::spawn(move || serve(&stream, &kept));
            }
        });
        Self { url, requests }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn requests(&self, action: &str) -> Vec<Request> {
        self.requests.lock().unwrap().iter().filter(|request| request.action == action).cloned().collect()
    }
}

fn serve(stream: &TcpStream, kept: &Mutex<Vec<Request>>) {
    let Some(request) = read(stream) else { return };
    let (status, body) = answer(&request);
    kept.lock().unwrap().push(request);
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    let mut stream = stream;
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let (mut length, mut target, mut signed) = (0, String::new(), String::new());
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut bearer = None;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            if line.trim_end().is_empty() {
                break;
            }
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "x-amz-target" => target = value.to_owned(),
            "authorization" => signed = value.to_owned(),
            "x-amz-sso_bearer_token" => bearer = Some(value.to_owned()),
            _ => {}
        }
    }
    if let Some(key) = bearer.filter(|_| first.starts_with("GET /federation/credentials?")) {
        let (action, region, body) = ("GetRoleCredentials".to_owned(), String::new(), first);
        return Some(Request { action, key, region, body });
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).ok()?;
    let scope: Vec<&str> = signed.split("Credential=").nth(1)?.split('/').collect();
    let action = match target.rsplit_once('.') {
        Some((_, action)) => action.to_owned(),
        None => body.split('&').find_map(|pair| pair.strip_prefix("Action="))?.to_owned(),
    };
    Some(Request { action, key: (*scope.first()?).to_owned(), region: (*scope.get(2)?).to_owned(), body })
}

fn answer(request: &Request) -> (&'static str, String) {
    match (request.action.as_str(), request.field("TokenCode")) {
        ("AssumeRole", None | Some("424242")) => ("200 OK", assumed()),
        ("AssumeRole", Some(_)) => ("403 Forbidden", WRONG_CODE.to_owned()),
        ("StartSession", None) if request.body.contains("i-0fa4") => ("200 OK", FAR.to_owned()),
        ("StartSession", None) if request.key.ends_with("EXPIRED") => ("400 Bad Request", EXPIRED.to_owned()),
        ("GetRoleCredentials", None) if request.key == "logged-in" => ("200 OK", ROLE.to_owned()),
        ("GetRoleCredentials", None) => ("401 Unauthorized", "{}".to_owned()),
        ("GetCallerIdentity", None) => ("200 OK", CALLER.to_owned()),
        ("TerminateSession", None) => ("200 OK", r#"{"SessionId":"s-1"}"#.to_owned()),
        (_, _) => {
            ("400 Bad Request", r#"{"__type":"TargetNotConnected","message":"not connected"}"#.to_owned())
        }
    }
}

/// A session whose stream is at a host that is not dialled: it is ended at once.
const FAR: &str = r#"{"SessionId":"s-1","TokenValue":"t","StreamUrl":"wss://far.example/s-1"}"#;

const ROLE: &str = r#"{"roleCredentials":{"accessKeyId":"ASIALOGIN","secretAccessKey":"s","sessionToken":"t","expiration":32503680000000}}"#;

const EXPIRED: &str =
    r#"{"__type":"ExpiredTokenException","message":"The security token included in the request is expired"}"#;

const CALLER: &str = "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
    <GetCallerIdentityResult><Arn>arn:aws:iam::123456789012:user/alice</Arn><UserId>AIDA1</UserId>\
    <Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>";

const WRONG_CODE: &str = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>\
    <Message>MultiFactorAuthentication failed with invalid MFA one time pass code.</Message></Error></ErrorResponse>";

fn assumed() -> String {
    let credentials = "<Credentials><AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>s</SecretAccessKey>\
        <SessionToken>t</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration></Credentials>";
    let user = "<AssumedRoleUser><AssumedRoleId>A:b</AssumedRoleId><Arn>arn:aws:sts::1:assumed-role/a/b</Arn></AssumedRoleUser>";
    let result = format!("<AssumeRoleResult>{user}{credentials}</AssumeRoleResult>");
    format!(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">{result}</AssumeRoleResponse>"
    )
}
