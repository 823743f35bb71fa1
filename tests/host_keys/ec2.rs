//! A stub that plays EC2: console outputs that a test sets, instances by address, and denials.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use fumidai::sim::ONLINE_TARGET;

/// What the console shows.
#[derive(Clone, Debug, Default)]
pub struct Console {
    /// The latest output; `None` is none.
    pub latest: Option<String>,
    /// The output from the last start.
    pub posted: Option<String>,
    /// The instance type has no latest output.
    pub has_no_latest: bool,
}

/// The running stub.
pub struct Ec2 {
    pub url: String,
    console: Arc<Mutex<Console>>,
    denied: Arc<Mutex<Vec<&'static str>>>,
    calls: Arc<Mutex<Vec<String>>>,
}

impl Ec2 {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (console, calls) = (Arc::<Mutex<Console>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let denied = Arc::<Mutex<Vec<&'static str>>>::default();
        let (shown, refused, kept) = (console.clone(), denied.clone(), calls.clone());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let Some(body) = read(&stream) else { continue };
                let is_denied =
                    refused.lock().unwrap().iter().any(|one| parameter(&body, "Action") == Some(one));
                let (status, text) = match is_denied {
                    true => error(403, "UnauthorizedOperation"),
                    false => answer(&body, &shown.lock().unwrap()),
                };
                kept.lock().unwrap().push(body);
                let length = text.len();
                let head =
                    format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
                let _ = (&stream).write_all((head + &text).as_bytes());
            }
        });
        Self { url, console, denied, calls }
    }

    /// Shows these lines of keys on the console, as cloud-init prints them.
    pub fn show(&self, keys: &str) {
        self.set(Console { latest: Some(output(keys)), ..Console::default() });
    }

    pub fn set(&self, console: Console) {
        *self.console.lock().unwrap() = console;
    }

    /// Denies an action to everybody.
    pub fn deny(&self, action: &'static str) {
        self.denied.lock().unwrap().push(action);
    }

    /// The number of calls of an action.
    pub fn calls(&self, action: &str) -> usize {
        let calls = self.calls.lock().unwrap();
        calls.iter().filter(|body| parameter(body, "Action") == Some(action)).count()
    }
}

/// A console output with keys, behind the prefix of `logger`.
pub fn output(keys: &str) -> String {
    let prefix = "<14>Jul  6 07:30:24 ec2: ";
    let lines: String = keys.lines().map(|key| format!("{prefix}{key} root@ip-10-0-0-1\r\n")).collect();
    format!(
        "[    0.000000] Linux version 6.1\r\n{prefix}-----BEGIN SSH HOST KEY FINGERPRINTS-----\r\n\
         {prefix}-----END SSH HOST KEY FINGERPRINTS-----\r\n{prefix}-----BEGIN SSH HOST KEY KEYS-----\r\n{lines}\
         {prefix}-----END SSH HOST KEY KEYS-----\r\n\r\nip-10-0-0-1 login: "
    )
}

fn read(stream: &TcpStream) -> Option<String> {
    let (mut reader, mut length) = (BufReader::new(stream), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    String::from_utf8(body).ok()
}

fn parameter<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    body.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

fn answer(body: &str, console: &Console) -> (u16, String) {
    match parameter(body, "Action") {
        Some("GetConsoleOutput") => console_output(body, console),
        Some("DescribeInstances") => (200, instances()),
        _ => error(400, "InvalidAction"),
    }
}

fn console_output(body: &str, console: &Console) -> (u16, String) {
    let is_latest = parameter(body, "Latest") == Some("true");
    if is_latest && console.has_no_latest {
        return error(400, "UnsupportedOperation");
    }
    assert_eq!(parameter(body, "InstanceId"), Some(ONLINE_TARGET));
    let text = if is_latest { &console.latest } else { &console.posted };
    let output = text.as_ref().map(|text| format!("<output>{}</output>", STANDARD.encode(text)));
    (200, format!("<GetConsoleOutputResponse>{}</GetConsoleOutputResponse>", output.unwrap_or_default()))
}

fn error(status: u16, code: &str) -> (u16, String) {
    let error = format!("<Error><Code>{code}</Code><Message>no</Message></Error>");
    (status, format!("<Response><Errors>{error}</Errors><RequestID>1</RequestID></Response>"))
}

/// The only instance has this address.
pub const ADDRESS: &str = "10.0.0.115";

fn instances() -> String {
    let item = format!(
        "<item><instanceId>{ONLINE_TARGET}</instanceId><instanceState><code>16</code><name>running</name></instanceState>\
         <privateIpAddress>{ADDRESS}</privateIpAddress></item>"
    );
    let set = format!("<reservationSet><item><instancesSet>{item}</instancesSet></item></reservationSet>");
    format!("<DescribeInstancesResponse>{set}</DescribeInstancesResponse>")
}
