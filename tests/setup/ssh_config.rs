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
        ("i-0123", &["proxycommand fumidai connect '%h' %p", "serveralivecountmax 30"][..]),
        ("mi-0123--eu-west-1", &["proxycommand fumidai connect '%h' %p"]),
        ("ecs:Prod/api", &["proxycommand fumidai connect '%n' %p"]),
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
    assert_eq!((code, words.lines().count()), (Some(0), 4), "{words}");
    assert!(words.lines().last().is_some_and(|line| line.contains("but ssh reads `/")), "{words}");
    let file = home.path(".ssh/config").display().to_string();
    let found = options(&home, &file, "web");
    for line in ["proxycommand fumidai connect web %p", "user ec2-user", "compression yes"] {
        assert!(has(&found, line), "{line} in {found}");
    }
    let again = end(&home.fumidai("ssh-config --install"));
    assert_eq!(again.0, Some(0));
    assert!(again.1.starts_with("fumidai: already installed\nfumidai: warning: `HOME` is "), "{again:?}");
    assert_eq!(end(&home.fumidai("ssh-config --uninstall -q")), (Some(0), String::new()));
    assert_eq!(home.read(".ssh/config"), own);
    assert_eq!(fs::read_dir(home.path(".ssh")).unwrap().count(), 1);
}

/// What everybody tries first: a host of one's own with an id as its `HostName`.
#[test]
fn a_host_whose_hostname_is_an_id_goes_through_fumidai_too() {
    let home = Home::new();
    let own = "Host bastion\n    HostName i-0123\n    User me\nHost other\n    HostName i-0456\n    ProxyCommand mine\n\
               Host region\n    HostName i-0789--eu-west-1\n";
    home.write(".ssh/config", own);
    assert_eq!(home.fumidai("ssh-config --install").status.code(), Some(0));
    let file = home.path(".ssh/config").display().to_string();
    let found = options(&home, &file, "bastion");
    for line in
        ["proxycommand fumidai connect '%h' %p", "hostname i-0123", "user me", "serveralivecountmax 30"]
    {
        assert!(has(&found, line), "{line} in {found}");
    }
    assert!(has(&options(&home, &file, "other"), "proxycommand mine"));
    for host in ["region", "i-0789--eu-west-1"] {
        let found = options(&home, &file, host);
        assert!(found.contains("\nknownhostscommand /bin/sh -c '"), "{host}: {found}");
    }
    assert!(!options(&home, &file, "www.example.com").contains("proxycommand"));
}

/// What the installed command prints for an id with a region.
#[test]
fn the_host_key_of_an_id_is_found_with_a_region() {
    let home = Home::new();
    let text = stdout(&home.fumidai("ssh-config"));
    let command = text.lines().find_map(|line| line.trim().strip_prefix("KnownHostsCommand "));
    let command = command.expect("a line").replace("%H", "\"$NAME\"");
    home.write("id", "");
    let keygen =
        home.command("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", "key"]).output().unwrap();
    assert!(keygen.status.success(), "{}", stderr(&keygen));
    let key = home.read("key.pub").split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    home.write(".ssh/known_hosts", &format!("i-0123 {key}\n[i-0123]:2222 {key}\n@revoked i-0456 {key}\n"));
    for (name, expected) in [
        ("i-0123--eu-west-1", format!("i-0123--eu-west-1 {key}\n")),
        ("[i-0123--eu-west-1]:2222", format!("[i-0123--eu-west-1]:2222 {key}\n")),
        ("i-0456--eu-west-1", format!("@revoked i-0456--eu-west-1 {key}\n")),
        ("i-0789--eu-west-1", String::new()),
    ] {
        // ssh-keygen, like ssh, finds the file by the password file's home folder.
        let script = command.replace("ssh-keygen -F", "ssh-keygen -f .ssh/known_hosts -F");
        let output = home.command("sh").args(["-c", &script]).env("NAME", name).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(stdout(&output), expected, "{name}: {}", stderr(&output));
    }
}

#[test]
fn given_flags_are_installed_or_refused() {
    let home = Home::new();
    home.config("[hosts.web]\ntarget = 'i-0123'");
    let words = "ssh-config --profile prod --region eu-west-1 --resume-window 2h --linger 5 --document Mine";
    let text = stdout(&home.fumidai(words));
    let command = "ProxyCommand fumidai --profile prod --region eu-west-1 --resume-window 7200 --linger 5 --document Mine \
                   connect web %p";
    assert!(text.contains(command), "{text}");
    for (flag, cause) in [
        ("--via web", "`--via` cannot be written for every host"),
        (
            "--endpoint-url http://me:s3cret@host",
            "a password of `--endpoint-url` must not be in an ssh_config",
        ),
    ] {
        let (code, words) = end(&home.fumidai(&format!("ssh-config --install {flag}")));
        assert_eq!(code, Some(2), "{words}");
        assert!(words.starts_with(&format!("fumidai: {cause}\nfumidai: hint: ")), "{words}");
        assert!(!home.path(".ssh").exists());
    }
}

#[test]
fn the_whole_path_is_written_if_it_is_asked_for() {
    let home = Home::new();
    let text = stdout(&home.fumidai("ssh-config --whole-path"));
    let program = fs::canonicalize(FUMIDAI).unwrap();
    assert!(text.contains(&format!("ProxyCommand {} connect '%h' %p\n", program.display())), "{text}");
}

#[test]
fn an_empty_home_gets_an_ssh_config() {
    let home = Home::new();
    assert_eq!(home.fumidai("ssh-config --install").status.code(), Some(0));
    let file = home.path(".ssh/config").display().to_string();
    assert!(has(&options(&home, &file, "i-0123"), "proxycommand fumidai connect '%h' %p"));
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
    assert!(stderr(&output).contains("fumidai: no region is configured"), "{output:?}");
}

#[test]
fn nothing_that_a_config_file_holds_breaks_other_hosts() {
    for user in
        ["#a", "a#b", "=a", "~a", "a,b", "!a", "(a)", "a;b", "a&b", "%h", "ä", r"CORP\me", "*", "a=b", "<x>"]
    {
        let home = Home::new();
        let text = format!("[hosts.web]\nuser = '{user}'\ntarget = 'tag:Name=a *'\n[hosts.z]\nuser = 'me'\n");
        home.config(&text);
        home.write("printed", &stdout(&home.fumidai("ssh-config")));
        let found = options(&home, "printed", "web");
        assert!(has(&found, &format!("user {user}")) && has(&found, "hostkeyalias web"), "{user}: {found}");
        assert!(has(&options(&home, "printed", "z"), "user me"), "{user}");
    }
}

#[test]
fn a_config_path_that_no_line_can_hold_is_refused() {
    let home = Home::new();
    home.write("a\nHost *", "");
    let output = home.command(FUMIDAI).args(["--config", "a\nHost *", "ssh-config"]).output().unwrap();
    let (code, words) = end(&output);
    assert_eq!((code, stdout(&output).as_str()), (Some(1), ""), "{words}");
    assert!(words.starts_with("fumidai: an ssh_config cannot hold the path `"), "{words}");
    assert_eq!(words.lines().count(), 2, "{words}");
}

/// An old ssh passes any typed name on; the shell must not act on it.
#[test]
fn a_typed_name_is_one_word_of_the_shell() {
    let home = Home::new();
    home.write("printed", &stdout(&home.fumidai("ssh-config")));
    for name in ["i-$(touch${IFS}seen)", "tag:a=b;touch seen", "ecs:a/b|touch seen"] {
        let line = if name.starts_with("i-") { "i-* mi-*" } else { "ecs:* " };
        let block =
            home.read("printed").split("Host ").find(|block| block.starts_with(line)).unwrap().to_owned();
        let command =
            block.lines().find_map(|line| line.trim().strip_prefix("ProxyCommand ")).unwrap().to_owned();
        let command = command.replace("%h", name).replace("%n", name).replace("%p", "22");
        home.command("sh").args(["-c", &command.replace("fumidai", "echo")]).status().unwrap();
        assert!(!home.path("seen").exists(), "{name}");
    }
}

#[test]
fn a_config_file_that_others_can_change_is_refused() {
    let home = Home::new();
    home.config(HOSTS);
    let config = home.command("sh").args(["-c", "find . -name config.toml"]).output().unwrap();
    let config = home.path(stdout(&config).trim());
    let allow =
        |path: &std::path::Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    allow(&config, 0o666);
    let (code, words) = end(&home.fumidai("connect web"));
    assert_eq!(code, Some(3), "{words}");
    assert!(words.contains("can be written by other users\nfumidai: hint: run `chmod go-w "), "{words}");
    allow(&config, 0o600);
    allow(config.parent().unwrap(), 0o777);
    let (code, words) = end(&home.fumidai("forward web -L 0:7"));
    assert_eq!(code, Some(3), "{words}");
    allow(config.parent().unwrap(), 0o755);
    assert_eq!(home.fumidai("ssh-config").status.code(), Some(0));
}
