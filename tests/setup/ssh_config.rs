//! `fumidai ssh-config`, as ssh itself reads it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::run::{FUMIDAI, Home, end, stderr, stdout};

const HOSTS: &str = "[hosts.web]\ntarget = 'tag:Name=web'\nuser = 'ec2-user'\nprofile = 'prod'\nregion = 'eu-west-1'\n\
    [hosts.db]\ntarget = 'i-0456'\nport = 2222\nprofile = 'test'\nregion = 'us-east-2'\nresume_window = '2h'\n";

/// What ssh makes of a host with this file.
fn options(home: &Home, file: &str, host: &str) -> String {
    let output = home.command("ssh").args(["-F", file, "-G", host]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output)
}

fn has(options: &str, line: &str) -> bool {
    options.lines().any(|found| found == line)
}

#[test]
fn ssh_goes_through_fumidai_for_ids_and_hosts_and_nothing_else() {
    let home = Home::new();
    home.config(HOSTS);
    home.write("printed", &stdout(&home.fumidai("ssh-config")));
    for (host, lines) in [
        ("i-0123", &["proxycommand fumidai connect %h %p", "serveralivecountmax 30"][..]),
        ("mi-0123--eu-west-1", &["proxycommand fumidai connect %h %p"]),
        ("ecs:Prod/api", &["proxycommand fumidai connect %n %p"]),
        ("web", &["proxycommand fumidai connect web %p", "user ec2-user", "hostkeyalias web", "port 22"]),
        (
            "db",
            &[
                "proxycommand fumidai connect db %p",
                "port 2222",
                "hostkeyalias i-0456",
                "serveralivecountmax 240",
            ],
        ),
    ] {
        let options = options(&home, "printed", host);
        assert!(has(&options, "serveraliveinterval 30"), "{host}: {options}");
        for line in lines {
            assert!(has(&options, line), "{host}: {line} in {options}");
        }
    }
    let other = options(&home, "printed", "www.example.com");
    assert!(!other.contains("proxycommand") && has(&other, "serveraliveinterval 0"), "{other}");
}

#[test]
fn installed_it_works_before_the_users_own_lines_and_is_taken_away_whole() {
    let home = Home::new();
    home.config(HOSTS);
    let own = "Host web\n    User me\n    Compression yes\n";
    home.write(".ssh/config", own);
    let (code, words) = end(&home.fumidai("ssh-config --install"));
    assert_eq!((code, words.lines().count()), (Some(0), 3), "{words}");
    let file = home.path(".ssh/config").display().to_string();
    let found = options(&home, &file, "web");
    for line in ["proxycommand fumidai connect web %p", "user ec2-user", "compression yes"] {
        assert!(has(&found, line), "{line} in {found}");
    }
    let again = end(&home.fumidai("ssh-config --install"));
    assert_eq!(again, (Some(0), "fumidai: already installed\n".into()));
    assert_eq!(end(&home.fumidai("ssh-config --uninstall -q")), (Some(0), String::new()));
    assert_eq!(home.read(".ssh/config"), own);
    assert_eq!(fs::read_dir(home.path(".ssh")).unwrap().count(), 1);
}

#[test]
fn an_empty_home_gets_an_ssh_config() {
    let home = Home::new();
    assert_eq!(home.fumidai("ssh-config --install").status.code(), Some(0));
    let file = home.path(".ssh/config").display().to_string();
    assert!(has(&options(&home, &file, "i-0123"), "proxycommand fumidai connect %h %p"));
    for (name, mode) in [(".ssh", 0o700), (".ssh/config", 0o600), (".ssh/fumidai.config", 0o600)] {
        let found = fs::metadata(home.path(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{name}");
    }
}

#[test]
fn a_file_that_somebody_else_wrote_is_not_replaced() {
    let home = Home::new();
    home.write(".ssh/fumidai.config", "Host mine\n");
    let (code, words) = end(&home.fumidai("ssh-config --install"));
    assert_eq!(code, Some(1));
    assert!(words.contains("is not a file that `fumidai ssh-config` wrote\nfumidai: hint: "), "{words}");
    assert!(!home.path(".ssh/config").exists());
}

/// ssh hands the line to a shell: what runs is seen by what it says.
#[test]
fn a_program_that_is_not_found_by_name_is_called_by_its_quoted_path() {
    let home = Home::new();
    let place = home.path("my tools/it's 100%h");
    fs::create_dir_all(&place).unwrap();
    let program = place.join("fumidai");
    fs::hard_link(FUMIDAI, &program).or_else(|_| fs::copy(FUMIDAI, &program).map(drop)).unwrap();
    home.write("other.toml", "[hosts.app]\nstart = true\n");
    let mut command = home.command(program.to_str().unwrap());
    let text =
        command.env("PATH", "/usr/bin:/bin").args(["--config", "other.toml", "ssh-config"]).output().unwrap();
    home.write("printed", &stdout(&text));
    let output =
        home.command("ssh").env("PATH", "/usr/bin:/bin").args(["-F", "printed", "app"]).output().unwrap();
    assert!(stderr(&output).contains("fumidai: `start` of host `app` is not implemented"), "{output:?}");
}
