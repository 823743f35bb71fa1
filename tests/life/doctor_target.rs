//! `fumidai doctor` on targets that are broken in AWS. Where an action can be typed, it is performed, and mends the link.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::doctor::{answering, examine, expect, first_broken};
use crate::tools::aws_cli;
use crate::world::{REGION, World, assert_contains, element, text};

const HOSTS: &str = "[hosts.web]\ntarget = 'SERVER'\n[hosts.db]\naddress = '10.0.0.115'\nport = 22\nvia = 'bastion'\n\
                     route = 'remote-host'\n[hosts.bastion]\ntarget = 'SERVER'\n";
const OTHER_REGION: &str = "us-east-1";

/// The statuses of a component.
fn statuses(links: &[Value], component: &str) -> Vec<String> {
    let of_component = links.iter().filter(|link| link["component"] == component);
    of_component.map(|link| link["status"].as_str().expect("a text").to_owned()).collect()
}

/// Types the command of an action, which is between backquotes.
fn perform(world: &World, links: &[Value], words: &str, variables: &[(&str, &str)]) {
    let link = links.iter().find(|link| link["action"].to_string().contains(words));
    let action = link.expect("an action")["action"].as_str().expect("a text");
    let command = action.split('`').find(|part| part.starts_with(words)).expect("a command");
    let mut words = command.split(' ');
    let program = match words.next() {
        Some("aws") => aws_cli(),
        Some("fumidai") => env!("CARGO_BIN_EXE_fumidai").into(),
        other => panic!("{other:?} is not a program of the tests"),
    };
    let mut run = world.program(Path::new(&program), &words.collect::<Vec<_>>());
    let output = run.envs(variables.iter().copied()).output().expect("it runs");
    assert!(output.status.success(), "{command}: {}", text(&output.stderr));
}

/// Gives the server an instance profile with a role that allows nothing.
fn give_profile(world: &World) {
    let iam = |form: &str| world.query("iam", "us-east-1", form);
    iam("Action=CreateRole&RoleName=web&AssumeRolePolicyDocument=%7B%22Statement%22%3A%5B%5D%7D");
    iam("Action=CreateInstanceProfile&InstanceProfileName=web");
    iam("Action=AddRoleToInstanceProfile&InstanceProfileName=web&RoleName=web");
    world.ec2(&format!(
        "Action=AssociateIamInstanceProfile&InstanceId={}&IamInstanceProfile.Name=web",
        world.server
    ));
}

/// Makes an interface endpoint in the VPC of the instances; returns its security group, which admits nothing.
fn endpoint(world: &World, service: &str) -> String {
    let subnet = world.ec2(&format!("Action=DescribeSubnets&SubnetId.1={}", world.subnet()));
    let (vpc, group) = (element(&subnet, "vpcId"), world.group(&format!("of-{service}")));
    world.ec2(&format!(
        "Action=CreateVpcEndpoint&VpcId={vpc}&ServiceName=com.amazonaws.{REGION}.{service}&VpcEndpointType=Interface\
         &PrivateDnsEnabled=true&SubnetId.1={}&SecurityGroupId.1={group}",
        world.subnet()
    ));
    group
}

fn open_https(world: &World, group: &str) {
    world.ec2(&format!(
        "Action=AuthorizeSecurityGroupIngress&GroupId={group}&IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=443\
         &IpPermissions.1.ToPort=443&IpPermissions.1.IpRanges.1.CidrIp=10.0.0.0/8"
    ));
}

#[test]
fn the_role_and_the_subnet_of_an_agent_that_never_connected_are_named_and_mended() {
    let world = World::new();
    world.configure(HOSTS);
    world.machine(json!({ "id": world.server, "agent_after": 1_000_000, "state": "running" }));
    give_profile(&world);
    let (exit, links) = examine(&world, &["web"], &[]);
    let broken = first_broken(&links);
    assert_contains(&broken, &["role", "role/web does not allow its agent", "ssm:UpdateInstanceInformation"]);
    assert_eq!(exit, 14, "{broken}");
    perform(&world, &links, "aws iam attach-role-policy", &[]);
    let (exit, links) = examine(&world, &["web"], &[]);
    let broken = first_broken(&links);
    assert_eq!(statuses(&links, "role"), ["ok"], "{links:#?}");
    assert_contains(&broken, &["subnet", "has no way to ssm and ssmmessages", "fumidai bastion setup web"]);
    assert_eq!(exit, 14, "{broken}");
    let group = endpoint(&world, "ssm");
    let (_, links) = examine(&world, &["web"], &[]);
    assert_contains(&first_broken(&links), &["for ssm has no security group that admits port 443", &group]);
    open_https(&world, &group);
    expect(&world, &["web"], &[], 14, &["subnet", "has no way to ssmmessages", "make interface endpoints"]);
    open_https(&world, &endpoint(&world, "ssmmessages"));
    expect(&world, &["web"], &[], 14, &["agent", "Systems Manager does not know it"]);
    let setup = world.run(&["bastion", "setup", "web"]);
    assert_contains(&text(&setup.stdout), &["not connected: by interface endpoints: vpce-"]);
    // The agent registers once its role and its way are there.
    world.machine(json!({ "id": world.server, "agent_after": 0 }));
    let (exit, links) = examine(&world, &["web"], &[]);
    assert_eq!((exit, statuses(&links, "agent")), (0, vec!["ok".to_owned()]), "{links:#?}");
    assert_contains(&links.iter().map(Value::to_string).collect::<String>(), &["the agent answers after"]);
}

#[test]
fn a_stopped_instance_is_started_by_the_printed_command() {
    let world = World::new();
    world.configure("[hosts.down]\ntarget = 'BASTION'\nstop_grace = '10m'\n");
    let (exit, links) = examine(&world, &["down"], &[]);
    assert_contains(&first_broken(&links), &["machine", "the instance is stopped"]);
    assert_eq!(exit, 14, "{links:#?}");
    perform(&world, &links, "fumidai bastion start down", &[]);
    let (exit, links) = examine(&world, &["down"], &[]);
    assert_eq!((exit, statuses(&links, "machine")), (0, vec!["ok".to_owned()]), "{links:#?}");
}

#[test]
fn a_bastion_that_runs_without_a_session_is_stopped_by_the_printed_command() {
    let world = World::new();
    world.configure("[hosts.bastion]\ntarget = 'BASTION'\nstart = true\nstop_grace = '10m'\n");
    world.succeed(&["bastion", "start", "bastion"]);
    let lives = |links: &[Value]| {
        let lives = links.iter().filter(|link| link["component"] == "leftovers" && link["target"] == "lives");
        lives.cloned().collect::<Vec<_>>()
    };
    let (exit, links) = examine(&world, &["bastion"], &[]);
    let [unused] = &lives(&links)[..] else { panic!("{links:#?}") };
    assert_eq!((exit, unused["status"].as_str()), (0, Some("warning")), "{links:#?}");
    assert_contains(
        &unused.to_string(),
        &["the machine is running for its life", "no session is open to it"],
    );
    perform(&world, std::slice::from_ref(unused), "fumidai bastion stop", &[]);
    world.until_over();
    let (_, links) = examine(&world, &["bastion"], &[]);
    assert_eq!(lives(&links), [Value::Null; 0], "{links:#?}");
}

#[test]
fn an_agent_that_is_lost_or_reaches_one_service_only_is_told_apart() {
    let world = World::new();
    world.configure(HOSTS);
    let server = || json!({ "id": world.server });
    let set = |name: &str, value: Value| {
        let mut given = server();
        given[name] = value;
        world.machine(given);
    };
    set("messages", false.into());
    set("ping", "Online".into());
    expect(&world, &["web"], &[], 14, &["agent", "reaches `ssm`", "no connection to `ssmmessages`"]);
    set("ping", "ConnectionLost".into());
    expect(&world, &["web"], &[], 14, &["agent", "has lost its connection", " s ago", "amazon-ssm-agent"]);
    set("messages", true.into());
    set("ping", Value::Null);
    set("agent_version", "3.1.1080.0".into());
    expect(&world, &["db"], &[], 15, &["agent", "3.1.1080.0", "cannot connect to other hosts", "3.1.1188.0"]);
    let (exit, links) = examine(&world, &["web"], &[]);
    assert_eq!((exit, statuses(&links, "agent")), (0, vec!["ok".to_owned()]), "an old agent is enough");
    set("agent_version", "3.3.40.0".into());
    let (_, links) = examine(&world, &["db"], &[]);
    assert_eq!(statuses(&links, "agent"), ["ok"], "{links:#?}");
}

#[test]
fn a_machine_of_another_region_is_found_there() {
    let world = World::new();
    let run = "Action=RunInstances&ImageId=ami-12c6146b&MinCount=1&MaxCount=1\
               &TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=Name&TagSpecification.1.Tag.1.Value=far";
    let id = element(&world.query("ec2", OTHER_REGION, run), "instanceId");
    world.configure(&format!("[hosts.web]\ntarget = '{id}'\n"));
    let there = format!("in {OTHER_REGION} ({id})");
    let region = format!("--region {OTHER_REGION}");
    expect(&world, &["web"], &[], 12, &["machine", "not in eu-central-1", &there, &region]);
    expect(&world, &["far"], &[], 12, &["name", "not in eu-central-1", &there, "use `far--us-east-1`"]);
    // The name that is printed.
    let (_, links) = examine(&world, &["web--us-east-1"], &[]);
    assert_eq!(
        (statuses(&links, "name"), statuses(&links, "machine")),
        (vec!["ok".into()], vec!["ok".into()])
    );
    expect(
        &world,
        &["i-0aaaaaaaaaaaaaaaa"],
        &[],
        12,
        &["machine", "nor in the 1 other region that has answered", "--profile"],
    );
    expect(&world, &["nowhere"], &[], 12, &["name", "nowhere"]);
}

#[test]
fn a_denied_call_names_its_action_and_ends_nothing() {
    let world = World::new();
    world.configure(HOSTS);
    for action in
        ["DescribeInstances", "DescribeInstanceInformation", "GetConnectionStatus", "DescribeSessions"]
    {
        world.fault(action, "AccessDeniedException", None);
        let (exit, links) = examine(&world, &["web"], &[]);
        let unknown = links.iter().filter(|link| link["status"] == "unknown").map(Value::to_string);
        let unknown: String = unknown.collect();
        if action != "DescribeInstanceInformation" {
            assert_contains(&unknown, &["AccessDeniedException when calling", action]);
        }
        assert_eq!((exit, statuses(&links, "session")), (0, vec!["ok".to_owned()]), "{action}: {links:#?}");
        world.no_fault();
    }
}

/// STS of the account knows the caller as a user without policies; this one is a session of the role `ops`.
fn sts_of_role() -> String {
    const BODY: &str = "<GetCallerIdentityResponse><GetCallerIdentityResult>\
        <Arn>arn:aws:sts::123456789012:assumed-role/ops/alice</Arn><UserId>A:alice</UserId><Account>123456789012</Account>\
        </GetCallerIdentityResult></GetCallerIdentityResponse>";
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    answering(answer.leak())
}

#[test]
fn what_iam_denies_the_caller_is_named_before_it_is_needed() {
    let world = World::new();
    world.configure(HOSTS);
    let iam = |form: &str| world.query("iam", "us-east-1", form);
    iam("Action=CreateRole&RoleName=ops&AssumeRolePolicyDocument=%7B%22Statement%22%3A%5B%5D%7D");
    let policy = |actions: &str| {
        format!(
            "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%5B{actions}%5D%2C%22Resource%22%3A%22*%22%7D%5D%7D"
        )
    };
    let attach = |name: &str, actions: &str| {
        iam(&format!("Action=CreatePolicy&PolicyName={name}&PolicyDocument={}", policy(actions)));
        iam(&format!(
            "Action=AttachRolePolicy&RoleName=ops&PolicyArn=arn:aws:iam::123456789012:policy/{name}"
        ));
    };
    attach("start", "%22ssm:StartSession%22%2C%22ssm:TerminateSession%22");
    let sts = sts_of_role();
    let variables = [("AWS_ENDPOINT_URL_STS", sts.as_str())];
    let (exit, links) = examine(&world, &["web"], &variables);
    let found = links.iter().find(|link| link["component"] == "permissions").expect("a link");
    assert_eq!((exit, &found["status"]), (0, &json!("warning")), "a warning ends nothing: {found}");
    assert_contains(
        &found.to_string(),
        &["role/ops", "denies ssm:ResumeSession", "fumidai explain web --policy"],
    );
    attach("resume", "%22ssm:ResumeSession%22");
    let (_, links) = examine(&world, &["web"], &variables);
    assert_eq!(statuses(&links, "permissions"), ["ok"], "{links:#?}");
    world.fault("SimulatePrincipalPolicy", "AccessDenied", None);
    let (exit, links) = examine(&world, &["web"], &variables);
    assert_eq!((exit, statuses(&links, "permissions")), (0, vec!["unknown".to_owned()]), "{links:#?}");
}

#[test]
fn a_session_of_a_process_that_was_killed_is_ended_by_the_printed_command() {
    let world = World::new();
    world.configure(HOSTS);
    drop(world.stay(&["web"]));
    // The simulator lists sessions for the caller that its own STS names.
    let sts = world.simulator.endpoint();
    let variables = [("AWS_ENDPOINT_URL_STS", sts.as_str())];
    let (exit, links) = examine(&world, &["web"], &variables);
    assert_eq!((exit, statuses(&links, "leftovers")), (0, vec!["warning".to_owned()]), "{links:#?}");
    perform(&world, &links, "fumidai sessions end --leaked", &variables);
    let (_, links) = examine(&world, &["web"], &variables);
    assert_eq!(statuses(&links, "leftovers"), ["ok"], "{links:#?}");
    assert!(world.simulator.open_sessions().is_empty());
}

#[test]
fn a_socket_that_nothing_listens_on_and_earlier_failures_are_shown() {
    let world = World::new();
    let socket = world.path("db.sock");
    world.configure(&format!(
        "{HOSTS}[forwards.db]\ntarget = 'web'\nlocal = '{}'\nremote = '10.0.0.115:22'\n",
        socket.display()
    ));
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("a socket"));
    world.fault("StartSession", "AccessDeniedException", Some(1));
    assert_eq!(world.refuse(&["connect", "web"]).0, 11);
    let (_, links) = examine(&world, &["web"], &[]);
    let all: String = links.iter().map(Value::to_string).collect();
    assert_contains(
        &all,
        &["nothing listens on", "db.sock", "AccessDeniedException when calling StartSession"],
    );
    assert_eq!(statuses(&links, "log"), ["noted"], "{links:#?}");
    let removed = Command::new("rm").arg(&socket).status().expect("rm runs");
    assert!(removed.success());
    let (_, links) = examine(&world, &["web"], &[]);
    assert!(!links.iter().map(Value::to_string).collect::<String>().contains("db.sock"), "{links:#?}");
}
