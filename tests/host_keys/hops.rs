//! Built-in hops: keys from a source, and `KnownHostsCommand` of ssh_config.

use fumidai::sim::ONLINE_TARGET;

use crate::openssh::script;
use crate::run::Run;
use crate::services::echo;
use crate::world::{PARAMETER, World};

/// A world with the hop `web`, and an echo behind it that is reached by the sshd of the hop.
async fn world(source: Option<&str>) -> (World, u16) {
    let world = World::new("session").await;
    let echo = echo().await;
    let source = source.map(|source| format!("host_keys = '{source}'\n")).unwrap_or_default();
    world.config(&format!(
        "[hosts.web]\ntarget = '{ONLINE_TARGET}'\n{source}\
         [hosts.echo]\naddress = '{}'\nvia = 'web'\nroute = 'ssh'\n",
        echo.ip()
    ));
    world.use_fumidai("").await;
    (world, echo.port())
}

fn connect(world: &World, port: u16) -> Run {
    world.fumidai(["connect", "echo", &port.to_string()]).input("hello")
}

#[tokio::test]
async fn a_hop_is_trusted_by_its_source_alone() {
    let parameter = format!("parameter:{PARAMETER}");
    for (source, sessions) in [("console", 1), ("session", 2), (parameter.as_str(), 1)] {
        let (world, port) = world(Some(source)).await;
        let heard = connect(&world, port).finish().await.exits(0).silent();
        assert_eq!((heard.text(), world.sessions()), ("hello", sessions), "{source}");
        connect(&world, port).finish().await.exits(0).silent();
        assert_eq!(world.sessions(), sessions + 1, "{source}");
        world.swap_key().await;
        let refused = connect(&world, port).finish().await.exits(19);
        let cause = format!("the host key of `{ONLINE_TARGET}` has changed: ED25519 {}", world.fingerprint());
        assert!(refused.cause().starts_with(&cause) && refused.text().is_empty(), "{}", refused.cause());
        world.use_host_keys(&["rsa"]).await;
        let refused = connect(&world, port).finish().await.exits(19);
        let cause = format!("the host key of `{ONLINE_TARGET}` has changed: RSA SHA256:");
        assert!(refused.cause().starts_with(&cause) && refused.text().is_empty(), "{}", refused.cause());
        if source == "session" {
            world.forget();
            assert_eq!(
                connect(&world, port).finish().await.exits(0).silent().text(),
                "hello",
                "an RSA key alone"
            );
        }
        assert!(!world.bench.path("known_hosts").exists());
        world.bench.settle().await;
    }
}

/// The hop `inner` is the same sshd, as the agent of the first hop reaches it.
async fn second_hop(source: &str) -> (World, u16) {
    let (world, port) = world(None).await;
    let sshd = world.sshd.address;
    world.config(&format!(
        "[hosts.web]\ntarget = '{ONLINE_TARGET}'\n\
         [hosts.inner]\ntarget = '{ONLINE_TARGET}'\naddress = '{}'\nport = {}\nvia = 'web'\nhost_keys = '{source}'\n\
         [hosts.echo]\naddress = '127.0.0.1'\nvia = 'inner'\nroute = 'ssh'\n",
        sshd.ip(),
        sshd.port()
    ));
    (world, port)
}

#[tokio::test]
async fn a_later_hop_is_trusted_by_a_source_that_is_not_the_session() {
    for source in ["console".to_owned(), format!("parameter:{PARAMETER}")] {
        let (world, port) = second_hop(&source).await;
        let heard = connect(&world, port).finish().await.exits(0).silent();
        assert_eq!((heard.text(), world.sessions()), ("hello", 1), "{source}");
        world.swap_key().await;
        let refused = connect(&world, port).finish().await.exits(19);
        let new = format!("has changed: ED25519 {}, but ", world.fingerprint());
        assert!(refused.cause().contains(&new), "{}", refused.cause());
        world.use_host_keys(&["ecdsa"]).await;
        let refused = connect(&world, port).finish().await.exits(19);
        assert!(refused.cause().contains(" has changed: ECDSA SHA256:"), "{}", refused.cause());
        world.bench.settle().await;
    }
    let (world, port) = second_hop("session").await;
    let refused = connect(&world, port).finish().await.exits(3);
    assert!(refused.cause().contains("it is behind hop `web`"), "{}", refused.cause());
    assert_eq!((refused.text(), world.sessions()), ("", 0));
}

/// By the agent of the hop, and through the sshd of a hop that has a source of its own.
#[tokio::test]
async fn ssh_trusts_a_machine_behind_a_hop_by_its_source() {
    let parameter = format!("parameter:{PARAMETER}");
    for (of_hop, source) in [("", "console"), ("host_keys = 'session'\n", parameter.as_str())] {
        let (world, _) = world(None).await;
        let (sshd, route) = (world.sshd.address, if of_hop.is_empty() { "remote-host" } else { "ssh" });
        world.config(&format!(
            "[hosts.web]\ntarget = '{ONLINE_TARGET}'\n{of_hop}[hosts.inner]\ntarget = '{ONLINE_TARGET}'\naddress = '{}'\n\
             port = {}\nvia = 'web'\nroute = '{route}'\nhost_keys = '{source}'\n",
            sshd.ip(),
            sshd.port()
        ));
        world.use_fumidai("").await;
        let answer = world.ssh(["inner", "echo in"]).finish().await.exits(0).silent();
        assert_eq!(answer.text(), "in\n", "{source}");
        assert!(!world.bench.path("known_hosts").exists());
        world.forget();
        world.use_host_keys(&["ecdsa"]).await;
        let refused = world.ssh(["inner", "echo in"]).finish().await.exits(255);
        assert!(refused.stderr.contains("` has changed: E"), "{source}: {}", refused.stderr);
        assert_eq!(refused.text(), "");
        world.bench.settle().await;
    }
}

#[tokio::test]
async fn a_forward_trusts_each_of_its_hops_by_the_source() {
    let (world, port) = world(None).await;
    let keys = "host_keys = 'console'\n";
    world.config(&format!(
        "[hosts.first]\ntarget = '{ONLINE_TARGET}'\n{keys}[hosts.second]\ntarget = '{ONLINE_TARGET}'\n\
         address = '127.0.0.1'\nport = {}\nvia = 'first'\nroute = 'ssh'\n{keys}",
        world.sshd.address.port()
    ));
    let listen = format!("0:127.0.0.1:{port}");
    let forward = || world.fumidai(["forward", "-q", "second", "-L", &listen, "--eager", "--exec", "true"]);
    forward().finish().await.exits(0);
    assert_eq!(world.ec2.calls("GetConsoleOutput"), 1, "both hops are the same instance");
    world.swap_key().await;
    let refused = forward().finish().await.exits(19);
    assert!(refused.cause().contains("has changed"), "{}", refused.cause());
    world.bench.settle().await;
}

#[tokio::test]
async fn a_key_that_known_hosts_revokes_is_refused_all_the_same() {
    let (world, port) = world(Some("console")).await;
    world.config(&format!(
        "[hosts.web]\ntarget = '{ONLINE_TARGET}'\nhost_keys = 'console'\n\
         [hosts.echo]\naddress = '127.0.0.1'\nvia = 'web'\nroute = 'ssh'\n"
    ));
    world.bench.write("known_hosts", format!("@revoked * {}\n", world.key()));
    let own = format!("Host web\n    UserKnownHostsFile {}\n", world.bench.path("known_hosts").display());
    world.use_fumidai(&own).await;
    let refused = connect(&world, port).finish().await.exits(19);
    assert!(refused.cause().contains("is revoked"), "{}", refused.cause());
    world.bench.settle().await;
}

#[tokio::test]
async fn the_known_hosts_command_of_ssh_config_is_run() {
    let (world, port) = world(None).await;
    let (command, log) = (world.bench.path("keys.sh"), world.bench.path("asked"));
    let run = |keys: &str| format!("echo \"$@\" >> {}\n{keys}", log.display());
    let own = format!("Host web\n    KnownHostsCommand {} %H 'a b' %I %t %K %n\n", command.display());
    world.use_fumidai(&format!("{own}    StrictHostKeyChecking yes\n")).await;
    script(&command, &run(&format!("echo \"$1 {}\"", world.key())));
    let heard = connect(&world, port).finish().await.exits(0).silent();
    assert_eq!(heard.text(), "hello");
    let asked = std::fs::read_to_string(&log).unwrap();
    let bytes = world.key().split(' ').nth(1).unwrap().to_owned();
    let expected = format!(
        "{ONLINE_TARGET} a b ORDER NONE NONE web\n{ONLINE_TARGET} a b HOSTNAME ssh-ed25519 {bytes} web\n"
    );
    assert_eq!(asked, expected);
    let other = world.make_key("other", "ed25519").await;
    script(&command, &run(&format!("echo \"$1 {other}\"")));
    let refused = connect(&world, port).finish().await.exits(19);
    assert!(refused.cause().ends_with("but KnownHostsCommand:1 lists another key"), "{}", refused.cause());
    script(&command, &run("echo 'no keys today' >&2; exit 7"));
    let failed = connect(&world, port).finish().await.exits(19);
    assert_eq!(failed.cause(), "`KnownHostsCommand` of `web` failed: no keys today");
    script(&command, &run(""));
    let unknown = connect(&world, port).finish().await.exits(19);
    assert!(unknown.cause().contains("is not known"), "{}", unknown.cause());
    world.bench.settle().await;
}
