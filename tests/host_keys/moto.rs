//! moto: its fixed console output, which has no keys, and its parameters.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;

use crate::tools::python;
use crate::world::World;

/// moto's server, stopped when dropped.
struct Moto {
    child: Child,
    address: SocketAddr,
}

impl Moto {
    fn start() -> Self {
        let mut child = Command::new(python().with_file_name("moto_server"))
            .args(["-H", "127.0.0.1", "-p", "0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = loop {
            let line = lines.next().expect("moto prints its address").unwrap();
            if let Some(address) = line.split("Running on http://").nth(1) {
                break address.trim().parse().unwrap();
            }
        };
        // Drain the log, so that the pipe does not fill.
        thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    fn call(&self, service: &str, headers: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let scope = format!("AKID/20260101/eu-central-1/{service}/aws4_request");
        let request = format!(
            "POST / HTTP/1.1\r\nhost: {service}.eu-central-1.amazonaws.com\r\nconnection: close\r\n\
             authorization: AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0\r\n\
             {headers}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{body}: {answer}");
        answer
    }

    /// Runs an instance, and returns its id.
    fn run_instance(&self) -> String {
        let form = "content-type: application/x-www-form-urlencoded\r\n";
        let body = "Action=RunInstances&Version=2016-11-15&ImageId=ami-12c6146b&MinCount=1&MaxCount=1";
        let answer = self.call("ec2", form, body);
        let (_, rest) = answer.split_once("<instanceId>").unwrap();
        rest.split('<').next().unwrap().to_owned()
    }

    fn put_parameter(&self, name: &str, value: &str) {
        let json = "content-type: application/x-amz-json-1.1\r\nx-amz-target: AmazonSSM.PutParameter\r\n";
        let body = serde_json::json!({ "Name": name, "Value": value, "Type": "String" });
        self.call("ssm", json, &body.to_string());
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn moto_has_parameters_with_keys_and_a_console_without() {
    let (moto, world) = (Moto::start(), World::new("console").await);
    let id = moto.run_instance();
    moto.put_parameter("/keys/moto", &world.key());
    let url = format!("http://{}", moto.address);
    let run = |args: &[&str]| {
        let run = world.fumidai(["host-keys", &id]).args(args);
        run.env("AWS_ENDPOINT_URL_EC2", &url).env("AWS_ENDPOINT_URL_SSM", &url)
    };
    let printed = run(&["--source", "parameter:/keys/moto"]).finish().await.exits(0).silent();
    assert_eq!(printed.text(), format!("{id} {}\n", world.key()));
    let unknown = run(&["--source", "parameter:/keys/none", "--renew"]).finish().await.exits(3);
    assert_eq!(unknown.cause(), "no parameter `/keys/none` in eu-central-1");
    let nothing = run(&["--source", "console"]).finish().await.exits(19);
    assert_eq!(nothing.cause(), format!("the console output of {id} has no host keys"));
}
