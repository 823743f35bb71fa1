//! The pages about programs that run ssh: their settings, with the programs where they can be installed.

use std::fs;
use std::path::Path;

use fumidai::sim::SimConfig;
use serde_json::Value;

use crate::page::{Page, blocks};
use crate::run::{Finished, Run};
use crate::services::{digest, echo, noise};
use crate::tools::{from_venv, python, search_path, tool};

fn nothing(_: &mut SimConfig) {}

#[tokio::test]
async fn vs_code_starts_ssh_without_fumidai_in_its_path() {
    let page = Page::open("docs/with/vscode.md", nothing).await;
    let [install] = page.scripts();
    page.run(&install).finish().await.exits(0);
    let echo = echo().await;
    let port = crate::readme::free_port().await.port();
    // As Remote-SSH runs it: a script on the input of bash, and connections to the server's port by SOCKS.
    let line = format!("exec ssh -T -D {port} -o ConnectTimeout=15 dev bash");
    let mut bash = page.run_on_the_desktop(&line).start();
    bash.say(b"echo \"listening on $((6 * 7))\"\n").await;
    assert_eq!(bash.hear(16).await, b"listening on 42\n");
    let proxy = format!("127.0.0.1:{port}");
    let netcat = page.bench.run(&tool("nc")).args(["-N", "-X", "5", "-x", &proxy]);
    let netcat = netcat.args([&echo.ip().to_string(), &echo.port().to_string()]);
    let heard = netcat.input("to its server").finish().await.exits(0);
    assert_eq!(heard.text(), "to its server");
    bash.close_and_finish().await.exits(0).silent();
    assert_eq!(page.bench.simulator.sessions().len(), 1);
    page.bench.settle().await;
}

#[tokio::test]
async fn a_plain_port_of_sshd_serves_clients_that_start_no_proxy_command() {
    let page = Page::open("docs/with/jetbrains.md", nothing).await;
    let [install, forward] = page.scripts();
    page.run(&install).finish().await.exits(0);
    let named = page.run_on_the_desktop("ssh dev echo by name").finish().await.exits(0).silent();
    assert_eq!(named.text(), "by name\n");
    let forward = page.forward(&forward, 0).await;
    let line = format!("ssh -p {} 127.0.0.1 echo by port", page.local[0].port());
    let shell = page.run_on_the_desktop(&line).finish().await.exits(0).silent();
    assert_eq!(shell.text(), "by port\n");
    forward.end().await;
    page.bench.settle().await;
}

#[tokio::test]
async fn ansible_runs_all_tasks_of_a_host_in_one_session() {
    let page = Page::open("docs/with/ansible.md", nothing).await;
    let [install, tasks] = page.scripts();
    page.run(&install).finish().await.exits(0);
    page.write_files("ini");
    let ansible = from_venv("ansible");
    let path = [page.bench.path("bin"), page.bench.path("ssh"), ansible.parent().unwrap().to_owned()];
    let path: Vec<String> = path.iter().map(|folder| folder.display().to_string()).collect();
    let run = page.run(&tasks).env("PATH", format!("{}:{}", path.join(":"), search_path()));
    let run = run.env("ANSIBLE_PYTHON_INTERPRETER", python());
    let said = run.finish().await;
    assert!(said.status.success(), "{}{}", said.stderr, said.text());
    assert_eq!(said.text().matches("\"ping\": \"pong\"").count(), 4, "{}", said.text());
    assert_eq!(said.text().matches("| CHANGED | rc=0").count(), 4, "{}", said.text());
    assert_eq!(page.bench.simulator.sessions().len(), 4, "one session for each host");
    for socket in fs::read_dir(page.bench.path("home/.ansible/cp")).unwrap() {
        let line = format!("ssh -O exit -o ControlPath={} web-1", socket.unwrap().path().display());
        page.run(&line).finish().await.exits(0);
    }
    page.bench.settle().await;
}

#[tokio::test]
async fn git_clones_and_pushes_and_rsync_copies_both_ways() {
    let page = Page::open("docs/with/git-rsync.md", nothing).await;
    let [install, clone, push, copy] = page.scripts();
    page.run(&install).finish().await.exits(0);
    let far = page.bench.path("far");
    let data = noise(7, 100_000);
    for folder in ["log/app", "backups", "git"] {
        fs::create_dir_all(far.join(folder)).unwrap();
    }
    fs::write(far.join("log/app/access"), &data).unwrap();
    let git = format!("git init -q --bare {}", far.join("git/app.git").display());
    page.run(&git).finish().await.exits(0);
    let here = |script: &str| {
        script
            .replace("/srv/git", &far.join("git").display().to_string())
            .replace("/var/", &format!("{}/", far.display()))
    };
    page.run(&here(&clone)).finish().await.exits(0);
    fs::write(page.work().join("app/picture"), &data).unwrap();
    let commit = "git -C app add . && git -C app -c user.name=a -c user.email=a@example.com commit -qm one";
    page.run(commit).finish().await.exits(0);
    page.run(&here(&push)).finish().await.exits(0);
    let shown = page.run(&format!("git -C {} show HEAD:picture", far.join("git/app.git").display()));
    assert_eq!(digest(&shown.finish().await.exits(0).stdout), digest(&data));
    page.run(&here(&copy)).finish().await.exits(0);
    assert_eq!(digest(&fs::read(far.join("backups/logs/access")).unwrap()), digest(&data));
    page.bench.settle().await;
}

#[tokio::test]
async fn terraforms_data_source_prints_a_token_and_its_bastion_is_a_port() {
    let page = Page::open("docs/with/terraform.md", nothing).await;
    let [] = page.scripts();
    page.write_files("hcl");
    let read = "import hcl2, json, sys\nfile = hcl2.load(open(sys.argv[1]))\n\
                source = next(one['external'] for one in file['data'] if 'external' in one)\n\
                print(json.dumps(source['orders']['program']))";
    let file = page.work().join("database.tf");
    let program = page.bench.run(&python()).args(["-c".as_ref(), read.as_ref(), file.as_os_str()]);
    let program = program.finish().await.exits(0);
    let program: Vec<String> = serde_json::from_slice(&program.stdout).unwrap();
    assert_eq!(program[..2], ["sh", "-c"]);
    let printed = page.run(&program[2].replace("\\\"", "\"")).finish().await.exits(0).silent();
    let printed: Value = serde_json::from_slice(&printed.stdout).unwrap();
    let token = printed["token"].as_str().unwrap();
    assert!(token.starts_with("orders.cluster-abc.") && token.contains("DBUser=orders"), "{token}");
    // What `--exec` runs stands in for Terraform, which cannot be installed from a package registry.
    let login = format!("ssh -p {} 127.0.0.1 echo at the bastion; exit 3", page.local[1].port());
    let line = format!("fumidai forward orders-db bastion-ssh --exec '{login}'");
    assert_eq!(page.run(&line).finish().await.exits(3).text(), "at the bastion\n");
    page.bench.settle().await;
}

#[tokio::test]
async fn the_ssh_config_that_replaces_the_plugins_works() {
    let page = Page::open("docs/from/aws-cli.md", nothing).await;
    let [] = page.scripts();
    let shell = page.run("ssh i-0123456789abcdef0 echo moved").finish().await.exits(0).silent();
    assert_eq!(shell.text(), "moved\n");
    page.bench.settle().await;
}

/// ssh's own reading of every ssh_config on the pages.
#[tokio::test]
async fn ssh_accepts_every_ssh_config_of_the_documentation() {
    let folder = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for path in pages() {
        let text = fs::read_to_string(&path).unwrap();
        for block in blocks(&text, "sshconfig") {
            let file = folder.path().join("config");
            fs::write(&file, block).unwrap();
            let ssh =
                Run::new(&tool("ssh")).args(["-G", "-F", &file.display().to_string(), "i-0123456789abcdef0"]);
            let Finished { status, stderr, .. } = ssh.finish().await;
            assert!(status.success(), "{}: {stderr}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 5, "{seen}");
}

/// Every page of the documentation.
fn pages() -> Vec<std::path::PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["", "docs", "docs/with", "docs/from", "docs/ja"];
    let files = folders.iter().flat_map(|folder| fs::read_dir(root.join(folder)).unwrap());
    let paths = files.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

#[test]
fn every_page_with_scripts_has_a_test_that_runs_them() {
    let tests = [include_str!("pages_ssh.rs"), include_str!("pages_forward.rs")].concat();
    for folder in ["docs/with", "docs/from"] {
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{folder}/{}", path.file_name().unwrap().display());
            let has_scripts = !blocks(&fs::read_to_string(&path).unwrap(), "sh").is_empty();
            assert!(!has_scripts || tests.contains(&format!("\"{name}\"")), "no test opens {name}");
        }
    }
}
