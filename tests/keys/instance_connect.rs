//! A stub of EC2 Instance Connect: it writes each key where the sshd of the instance reads it, or refuses it.
//!
//! Each key has a file, whose time is that of its last push. The sshd of a test reads no file that is older than 60 seconds.

use std::collections::HashMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    pub instance: String,
    pub user: String,
    pub line: String,
}

#[derive(Default)]
struct State {
    /// The folder of each instance.
    folders: HashMap<String, PathBuf>,
    pushes: Vec<Push>,
    refusal: Option<&'static str>,
}

/// The running stub.
#[derive(Clone)]
pub struct InstanceConnect {
    pub url: String,
    state: Arc<Mutex<State>>,
}

impl InstanceConnect {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state: Arc<Mutex<State>> = Arc::default();
        let kept = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = kept.clone();
                thread::spawn(move || answer(&stream, &state));
            }
        });
        Self { url, state }
    }

    /// Serves an instance whose sshd reads the files in `pushed-USER` of a folder.
    pub fn serve(&self, instance: &str, folder: PathBuf) {
        self.state.lock().unwrap().folders.insert(instance.to_owned(), folder);
    }

    /// Refuses every key with this error.
    pub fn refuse(&self, code: &'static str) {
        self.state.lock().unwrap().refusal = Some(code);
    }

    pub fn pushes(&self) -> Vec<Push> {
        self.state.lock().unwrap().pushes.clone()
    }
}

fn answer(mut stream: &TcpStream, state: &Mutex<State>) {
    let Some((target, body)) = read(stream) else { return };
    let (status, answer) = match target.as_str() {
        // `fumidai doctor` asks endpoints for `/ping`.
        "" => ("200 OK", json!("healthy")),
        "AWSEC2InstanceConnectService.SendSSHPublicKey" => take(&body, &mut state.lock().unwrap()),
        other => panic!("{other} is not served"),
    };
    let answer = answer.to_string();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", answer.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(answer.as_bytes()));
}

fn take(body: &Value, state: &mut State) -> (&'static str, Value) {
    if let Some(code) = state.refusal {
        return ("400 Bad Request", json!({ "__type": code, "message": "the stub refuses" }));
    }
    let text = |name: &str| body[name].as_str().unwrap().to_owned();
    let push =
        Push { instance: text("InstanceId"), user: text("InstanceOSUser"), line: text("SSHPublicKey") };
    let Some(folder) = state.folders.get(&push.instance) else {
        return ("400 Bad Request", json!({ "__type": "EC2InstanceNotFoundException", "message": "no" }));
    };
    let folder = folder.join(format!("pushed-{}", push.user));
    fs::create_dir_all(&folder).unwrap();
    let mut digest = DefaultHasher::new();
    push.line.hash(&mut digest);
    fs::write(folder.join(format!("{:x}", digest.finish())), format!("{}\n", push.line)).unwrap();
    state.pushes.push(push);
    ("200 OK", json!({ "RequestId": "r-1", "Success": true }))
}

fn read(stream: &TcpStream) -> Option<(String, Value)> {
    let mut reader = BufReader::new(stream);
    let (mut length, mut target) = (0, String::new());
    reader.read_line(&mut String::new()).ok()?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "x-amz-target" => target = value.to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((target, serde_json::from_slice(&body).unwrap_or_default()))
}
