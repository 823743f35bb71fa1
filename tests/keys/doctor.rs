//! `fumidai doctor` tries the login with a key that is pushed.

use serde_json::Value;

use crate::desk::Desk;
use crate::network::Machine;
use crate::openssh::user;

/// Runs doctor; returns the exit code and the link `login`.
async fn login(desk: &Desk, target: &str) -> (Option<i32>, Value) {
    let finished = desk.run(&format!("fumidai doctor --json {target}")).finish().await;
    let links: Vec<Value> = serde_json::from_str(finished.text()).unwrap_or_else(|_| panic!("{finished:?}"));
    let login = links.iter().find(|link| link["component"] == "login");
    let login = login.unwrap_or_else(|| panic!("not tried: {links:#?}")).clone();
    (finished.status.code(), login)
}

#[tokio::test]
async fn a_key_that_is_accepted_is_a_good_link() {
    // The session through the hop needs a key for it too. With `push`, the user needs no key for this login.
    for (kind, target, pushes) in
        [("ephemeral", "bastion", 1), ("push", "bastion", 1), ("ephemeral", "appserver", 3)]
    {
        let desk = Desk::new(&format!("key = '{kind}'")).await;
        let (exit, login) = login(&desk, target).await;
        assert_eq!((exit, &login["status"]), (Some(0), &Value::from("ok")), "{login}");
        assert_eq!(login["detail"], format!("a key was pushed to `{}`, and accepted", user()));
        assert_eq!(desk.service.pushes().len(), pushes, "{kind} {target}");
    }
}

#[tokio::test]
async fn an_image_without_instance_connect_is_the_broken_link() {
    let desk = Desk::with("key = 'ephemeral'", &[Machine::App]).await;
    let (exit, login) = login(&desk, "bastion").await;
    assert_eq!(exit, Some(19));
    let detail = login["detail"].as_str().unwrap();
    assert!(detail.starts_with("the key was pushed, but"), "{login}");
    assert!(
        login["action"].as_str().unwrap().contains(&format!("check that the user `{}`", user())),
        "{login}"
    );
}

#[tokio::test]
async fn a_push_that_is_denied_is_the_broken_link() {
    let desk = Desk::new("key = 'ephemeral'").await;
    desk.service.refuse("AccessDeniedException");
    let (exit, login) = login(&desk, "bastion").await;
    assert_eq!(exit, Some(11));
    assert!(login["detail"].as_str().unwrap().starts_with("cannot push a key to"), "{login}");
    assert!(login["action"].as_str().unwrap().contains("fumidai explain bastion --policy"), "{login}");
}

#[tokio::test]
async fn a_host_without_a_key_gets_none() {
    let desk = Desk::new("").await;
    let finished = desk.run("fumidai doctor --json bastion").finish().await;
    assert!(!finished.text().contains("\"login\""), "{}", finished.text());
    assert!(desk.service.pushes().is_empty());
}

#[tokio::test]
async fn a_machine_whose_host_key_is_not_known_is_not_logged_in_to() {
    let desk = Desk::new("key = 'ephemeral'").await;
    desk.world.bench.write("known_hosts", "");
    let (exit, login) = login(&desk, "bastion").await;
    assert_eq!((exit, &login["status"]), (Some(0), &Value::from("unknown")), "{login}");
    assert!(login["detail"].as_str().unwrap().ends_with("; log in by ssh once"), "{login}");
    assert!(!desk.world.bastion.log().contains("Accepted"));
}
