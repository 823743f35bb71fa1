//! The least IAM policy for one session: what `explain --policy` prints.
//!
//! An unknown value becomes `*`. The statements are those of `contrib/iam`, narrowed to one target, its documents and one
//! region; `contrib/iam/README.md` gives the reason for each.

use serde::Serialize;
use serde_json::{Value, json};

use crate::aws::Caller;
use crate::config::{HostKeySource, KeyKind};
use crate::names::{Name, Target, TargetKind, TaskName};

use super::{KeySource, Wish};

/// What is to be allowed.
pub struct Needs<'a> {
    /// What the session is opened to.
    pub target: &'a Target,
    /// How it was named.
    pub name: &'a Name,
    /// The names of the documents that may be started.
    pub documents: Vec<&'a str>,
    /// The region; `None` is unknown.
    pub region: Option<&'a str>,
    /// Who calls; `None` is unknown.
    pub caller: Option<&'a Caller>,
    /// What is asked for about the bastion's life.
    pub wish: &'a Wish,
    /// Where host keys come from.
    pub key_sources: &'a [KeySource],
    /// The keys that are pushed.
    pub keys: Vec<PushedKey<'a>>,
    /// Access to the target is requested: the caller must not be allowed to start sessions itself.
    pub requests_access: bool,
    /// The database user that a token of RDS is signed for.
    pub db_user: Option<&'a str>,
}

/// A key that is pushed to a machine of the route.
pub struct PushedKey<'a> {
    /// The machine, as the user names it.
    pub machine: &'a str,
    /// Which key it is.
    pub kind: KeyKind,
    /// The machine is the target of the session.
    pub is_target: bool,
    /// How the machine is found.
    pub name: Name,
    /// The user that it is for; `None` is unknown.
    pub user: Option<&'a str>,
}

/// A policy document of IAM.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Policy {
    version: &'static str,
    statement: Vec<Statement>,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    sid: &'static str,
    effect: &'static str,
    action: Vec<&'static str>,
    resource: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<Value>,
}

impl Statement {
    fn allow(sid: &'static str, action: &[&'static str], resource: Vec<String>) -> Self {
        Self { sid, effect: "Allow", action: action.to_vec(), resource, condition: None }
    }

    fn only_if(self, condition: Value) -> Self {
        Self { condition: Some(condition), ..self }
    }
}

impl PushedKey<'_> {
    /// Returns the instance as a resource of EC2; one behind a hop may not be known.
    fn instance(&self) -> String {
        match &self.name {
            Name::Id(target) => format!("instance/{}", target.id()),
            Name::Container(_) | Name::Tag { .. } | Name::Address(_) | Name::Dns(_) | Name::Named(_) => {
                "instance/*".to_owned()
            }
        }
    }
}

/// A statement's name is unique in a policy.
const PUSH_SIDS: [&str; 4] = ["PushKey", "PushKey2", "PushKey3", "PushKey4"];

impl Needs<'_> {
    /// Writes the policy.
    pub fn policy(&self) -> Policy {
        let mut statement = if self.requests_access { self.request_access() } else { vec![self.start()] };
        statement.extend(self.own_sessions());
        statement.extend(self.look_up());
        statement.extend(self.life());
        statement.extend(self.host_keys());
        statement.extend(self.push_keys());
        statement.extend(self.look_up_keys());
        statement.extend(self.log_in_to_database());
        Policy { version: "2012-10-17", statement }
    }

    /// With the condition, a request without a document is judged by the account's default one.
    fn start(&self) -> Statement {
        let documents = self.documents.iter().map(|name| self.document(name));
        let resources = [self.target()].into_iter().chain(documents).collect();
        Statement::allow("StartSession", &["ssm:StartSession"], resources)
            .only_if(json!({ "BoolIfExists": { "ssm:SessionDocumentAccessCheck": "true" } }))
    }

    /// An approval brings credentials of its own for StartSession.
    fn request_access(&self) -> Vec<Statement> {
        let requests = self.arn("ssm", self.account(), "opsitem/*");
        vec![
            Statement::allow("RequestAccess", &["ssm:StartAccessRequest"], vec![self.target()]),
            Statement::allow("UseApproval", &["ssm:GetAccessToken"], vec![requests]),
        ]
    }

    /// A database is known to IAM by a resource id that its name does not tell.
    fn log_in_to_database(&self) -> Option<Statement> {
        let user = self.arn("rds-db", self.account(), &format!("dbuser:*/{}", self.db_user?));
        Some(Statement::allow("LogInToDatabase", &["rds-db:connect"], vec![user]))
    }

    /// A user's sessions begin with the user's name; those of anybody else are known by a tag, which `OpenDataChannel`
    /// does not know.
    fn own_sessions(&self) -> Vec<Statement> {
        const KEEP: [&str; 2] = ["ssm:ResumeSession", "ssm:TerminateSession"];
        const OPEN: &str = "ssmmessages:OpenDataChannel";
        let sessions = |pattern: &str| vec![self.arn("ssm", self.account(), &format!("session/{pattern}"))];
        if self.caller.is_some_and(is_user) {
            let own = sessions("${aws:username}-*");
            return vec![Statement::allow("KeepAndEndOwnSessions", &[KEEP[0], KEEP[1], OPEN], own)];
        }
        let own =
            json!({ "StringEquals": { "ssm:resourceTag/aws:ssmmessages:session-id": "${aws:userid}" } });
        vec![
            Statement::allow("KeepAndEndOwnSessions", &KEEP, sessions("*")).only_if(own),
            Statement::allow("OpenStreams", &[OPEN], sessions("*")),
        ]
    }

    fn look_up(&self) -> Option<Statement> {
        let actions = self.name.lookup_actions();
        if actions.is_empty() {
            return None;
        }
        let anything = vec!["*".to_owned()];
        let Name::Container(name) = self.name else {
            return Some(Statement::allow("LookUpInstances", actions, anything));
        };
        let cluster = self.arn("ecs", self.account(), &format!("cluster/{}", name.cluster));
        let of_cluster = json!({ "ArnLike": { "ecs:cluster": cluster } });
        let sid = match name.tasks {
            TaskName::Service(_) => "LookUpContainers",
            TaskName::Task(_) => "LookUpContainer",
        };
        Some(Statement::allow(sid, actions, anything).only_if(of_cluster))
    }

    /// A key may be pushed for these users only.
    fn push_keys(&self) -> Vec<Statement> {
        let push = |(number, key): (usize, &PushedKey<'_>)| {
            let instance = key.instance();
            let instance =
                if key.is_target { self.target() } else { self.arn("ec2", self.account(), &instance) };
            let sid = PUSH_SIDS.get(number).copied().unwrap_or("PushKeys");
            let push = Statement::allow(sid, &["ec2-instance-connect:SendSSHPublicKey"], vec![instance]);
            match key.user {
                Some(user) => push.only_if(json!({ "StringEquals": { "ec2:osuser": user } })),
                None => push,
            }
        };
        self.keys.iter().enumerate().map(push).collect()
    }

    /// A machine behind a hop is looked up to find its instance.
    fn look_up_keys(&self) -> Option<Statement> {
        let is_known = self.name.lookup_actions().contains(&"ec2:DescribeInstances");
        let behind = self.keys.iter().filter(|key| !key.is_target && !is_known);
        let actions = behind.map(|key| key.name.lookup_actions()).find(|actions| !actions.is_empty())?;
        Some(Statement::allow("LookUpInstancesOfKeys", actions, vec!["*".to_owned()]))
    }

    /// What starting, watching and lending need.
    fn life(&self) -> Vec<Statement> {
        if self.wish.is_empty() {
            return Vec::new();
        }
        let mut look = vec!["ssm:DescribeSessions"];
        let is_instance = self.target.kind() == TargetKind::Instance && self.wish.task.is_none();
        if is_instance && self.name.lookup_actions().is_empty() {
            look.push("ec2:DescribeInstances");
        }
        if !self.wish.loans.is_empty() {
            look.extend(["ec2:DescribeNetworkInterfaces", "ec2:DescribeSecurityGroups"]);
        }
        let mut statements = vec![Statement::allow("LookAtBastion", &look, vec!["*".to_owned()])];
        statements.push(Statement::allow("LookAtAgent", &["ssm:GetConnectionStatus"], vec![self.target()]));
        statements.extend(self.wish.task.as_ref().map(|task| self.look_up_task(&task.cluster)));
        statements.extend(self.guardian());
        statements
    }

    fn look_up_task(&self, cluster: &str) -> Statement {
        let cluster = match cluster.starts_with("arn:") {
            true => cluster.to_owned(),
            false => self.arn("ecs", self.account(), &format!("cluster/{cluster}")),
        };
        let of_cluster = json!({ "ArnLike": { "ecs:cluster": cluster } });
        let actions = ["ecs:ListTasks", "ecs:DescribeTasks"];
        Statement::allow("LookUpTask", &actions, vec!["*".to_owned()]).only_if(of_cluster)
    }

    /// A policy cannot look into the input of an execution: the guardian's role decides what it may change.
    fn guardian(&self) -> Vec<Statement> {
        let Some(name) = &self.wish.guardian else {
            let start = Statement::allow("StartBastion", &["ec2:StartInstances"], vec![self.target()]);
            return if self.wish.start { vec![start] } else { Vec::new() };
        };
        let machine = match name.starts_with("arn:") {
            true => name.clone(),
            false => self.arn("states", self.account(), &format!("stateMachine:{name}")),
        };
        let executions = machine.replacen(":stateMachine:", ":execution:", 1) + ":*";
        let mut actions = vec!["states:ListExecutions"];
        if self.wish.start || self.wish.always || !self.wish.loans.is_empty() {
            actions.insert(0, "states:StartExecution");
        }
        vec![
            Statement::allow("UseGuardian", &actions, vec![machine]),
            Statement::allow("LookAtLives", &["states:DescribeExecution"], vec![executions]),
        ]
    }

    /// What the sources of host keys need; a session needs nothing more.
    fn host_keys(&self) -> Vec<Statement> {
        let (mut consoles, mut parameters, mut actions) = (Vec::new(), Vec::new(), Vec::new());
        for KeySource { source, name } in self.key_sources {
            match source {
                HostKeySource::Session => {}
                HostKeySource::Console => {
                    consoles.push(self.console(name.as_ref()));
                    actions.extend(name.iter().flat_map(|name| name.lookup_actions()).copied());
                }
                HostKeySource::Parameter(parameter) => parameters.push(self.parameter(parameter)),
            }
        }
        actions.dedup();
        let allowed = |sid, actions: &[&'static str], resources: Vec<String>| {
            let is_needed = !actions.is_empty() && !resources.is_empty();
            is_needed.then(|| Statement::allow(sid, actions, resources))
        };
        let statements = [
            allowed("ReadConsole", &["ec2:GetConsoleOutput"], consoles),
            allowed("ReadHostKeys", &["ssm:GetParameter"], parameters),
            allowed("LookUpHostKeys", &actions, vec!["*".to_owned()]),
        ];
        statements.into_iter().flatten().collect()
    }

    fn console(&self, name: Option<&Name>) -> String {
        match name {
            None => self.target(),
            Some(Name::Id(target)) => self.arn("ec2", self.account(), &format!("instance/{}", target.id())),
            Some(_) => self.arn("ec2", self.account(), "instance/*"),
        }
    }

    fn parameter(&self, name: &str) -> String {
        match name.starts_with("arn:") {
            true => name.to_owned(),
            false => {
                let name = name.trim_start_matches('/');
                self.arn("ssm", self.account(), &format!("parameter/{name}"))
            }
        }
    }

    fn target(&self) -> String {
        let id = self.target.id();
        match self.target.kind() {
            TargetKind::Instance => self.arn("ec2", self.account(), &format!("instance/{id}")),
            TargetKind::ManagedInstance => self.arn("ssm", self.account(), &format!("managed-instance/{id}")),
            TargetKind::SageMakerNode => {
                self.arn("sagemaker", self.account(), &format!("cluster/{}", sagemaker_cluster(id)))
            }
            TargetKind::Container => self.arn("ecs", self.account(), &format!("task/{}", task(id))),
        }
    }

    /// AWS's own documents are in no account.
    fn document(&self, name: &str) -> String {
        match name {
            arn if arn.starts_with("arn:") => arn.to_owned(),
            own if own.starts_with("AWS-") => self.arn("ssm", "", &format!("document/{own}")),
            other => self.arn("ssm", self.account(), &format!("document/{other}")),
        }
    }

    fn arn(&self, service: &str, account: &str, resource: &str) -> String {
        let region = self.region.unwrap_or("*");
        format!("arn:{}:{service}:{region}:{account}:{resource}", partition(region))
    }

    fn account(&self) -> &str {
        self.caller.map_or("*", |caller| &caller.account)
    }
}

/// Each of AWS's partitions has regions with names of their own.
fn partition(region: &str) -> &'static str {
    let prefixes = [
        ("cn-", "aws-cn"),
        ("us-gov-", "aws-us-gov"),
        ("us-iso-", "aws-iso"),
        ("us-isob-", "aws-iso-b"),
        ("eu-isoe-", "aws-iso-e"),
        ("us-isof-", "aws-iso-f"),
        ("eusc-", "aws-eusc"),
    ];
    prefixes.into_iter().find(|(prefix, _)| region.starts_with(prefix)).map_or("aws", |(_, name)| name)
}

fn is_user(caller: &Caller) -> bool {
    let is_user = |resource: &str| resource.starts_with("user/");
    caller.arn.split(':').nth(2) == Some("iam") && caller.arn.split(':').nth(5).is_some_and(is_user)
}

/// `CLUSTER/TASK` of `ecs:CLUSTER_TASK_RUNTIME`; only a cluster's name may have `_` in it.
fn task(id: &str) -> String {
    let mut parts = id.strip_prefix("ecs:").unwrap_or(id).rsplitn(3, '_').skip(1);
    let (task, cluster) = (parts.next(), parts.next());
    format!("{}/{}", cluster.unwrap_or("*"), task.unwrap_or("*"))
}

/// `CLUSTER-ID` of `sagemaker-cluster:CLUSTER-ID_GROUP-i-…`.
fn sagemaker_cluster(id: &str) -> &str {
    let node = id.split_once(':').map_or(id, |(_, node)| node);
    node.split_once('_').map_or("*", |(cluster, _)| cluster)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment, Flags};
    use crate::names::Destination;
    use crate::route::{REMOTE_HOST_DOCUMENT, Route, SSH_DOCUMENT};

    fn target(id: &str) -> Target {
        let destination: Destination = id.parse().expect(id);
        let Name::Id(target) = destination.name() else { panic!("{id}") };
        target.clone()
    }

    fn policy(named: &str, id: &str, documents: &[&str], region: Option<&str>, arn: Option<&str>) -> Value {
        policy_of((&wish("[hosts.h]"), &[]), named, id, documents, region, arn)
    }

    /// The wishes for the host `h`.
    fn wish(text: &str) -> Wish {
        Wish::of(&route(text))
    }

    /// The route to the host `h`.
    fn route(text: &str) -> Route {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("config.toml");
        std::fs::write(&file, text).expect("a file");
        let flags = Flags { config_file: Some(file), ..Flags::default() };
        let config = Config::resolve(flags, &Environment::default()).expect(text);
        Route::new("h", None, &config).expect("a route")
    }

    fn policy_of(
        (wish, sources): (&Wish, &[KeySource]),
        named: &str,
        id: &str,
        documents: &[&str],
        region: Option<&str>,
        arn: Option<&str>,
    ) -> Value {
        let destination: Destination = named.parse().expect(named);
        let caller = arn.map(|arn| Caller { account: "123456789012".into(), arn: arn.into() });
        let needs = Needs {
            target: &target(id),
            name: destination.name(),
            documents: documents.to_vec(),
            region,
            caller: caller.as_ref(),
            wish,
            key_sources: sources,
            keys: Vec::new(),
            requests_access: false,
            db_user: None,
        };
        serde_json::to_value(needs.policy()).expect("JSON")
    }

    fn actions(policy: &Value) -> Vec<&str> {
        let statements = policy["Statement"].as_array().expect("statements");
        let actions = statements.iter().filter_map(|statement| statement["Action"].as_array()).flatten();
        actions.filter_map(Value::as_str).collect()
    }

    #[test]
    fn who_requests_access_may_not_start_sessions() {
        let (target, wish) = (target("mi-0123"), wish("[hosts.h]"));
        let destination: Destination = "mi-0123".parse().expect("an id");
        let needs = Needs {
            target: &target,
            name: destination.name(),
            documents: vec![SSH_DOCUMENT],
            region: Some("eu-west-1"),
            caller: None,
            wish: &wish,
            key_sources: &[],
            keys: Vec::new(),
            requests_access: true,
            db_user: Some("orders"),
        };
        let policy = serde_json::to_value(needs.policy()).expect("JSON");
        let statements = policy["Statement"].as_array().expect("statements");
        let resources = |action: &str| {
            let found = statements.iter().find(|one| one["Action"] == json!([action]));
            found.map_or(Value::Null, |one| one["Resource"][0].clone())
        };
        assert_eq!(resources("ssm:StartAccessRequest"), "arn:aws:ssm:eu-west-1:*:managed-instance/mi-0123");
        assert_eq!(resources("ssm:GetAccessToken"), "arn:aws:ssm:eu-west-1:*:opsitem/*");
        assert_eq!(resources("rds-db:connect"), "arn:aws:rds-db:eu-west-1:*:dbuser:*/orders");
        assert!(!actions(&policy).contains(&"ssm:StartSession"));
    }

    #[test]
    fn an_id_by_a_user_needs_two_statements() {
        let user = Some("arn:aws:iam::123456789012:user/team/alice");
        let policy = policy("i-0123", "i-0123", &[SSH_DOCUMENT], Some("eu-west-1"), user);
        let expected = json!({
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Sid": "StartSession",
                    "Effect": "Allow",
                    "Action": ["ssm:StartSession"],
                    "Resource": [
                        "arn:aws:ec2:eu-west-1:123456789012:instance/i-0123",
                        "arn:aws:ssm:eu-west-1::document/AWS-StartSSHSession",
                    ],
                    "Condition": { "BoolIfExists": { "ssm:SessionDocumentAccessCheck": "true" } },
                },
                {
                    "Sid": "KeepAndEndOwnSessions",
                    "Effect": "Allow",
                    "Action": ["ssm:ResumeSession", "ssm:TerminateSession", "ssmmessages:OpenDataChannel"],
                    "Resource": ["arn:aws:ssm:eu-west-1:123456789012:session/${aws:username}-*"],
                },
            ],
        });
        assert_eq!(policy, expected);
    }

    #[test]
    fn a_role_and_whoever_is_unknown_are_known_by_the_sessions_tag() {
        let role = Some("arn:aws:sts::123456789012:assumed-role/ops/alice");
        for (arn, account) in [(role, "123456789012"), (None, "*")] {
            let policy = policy("i-0123", "i-0123", &[SSH_DOCUMENT], Some("eu-west-1"), arn);
            let sessions = format!("arn:aws:ssm:eu-west-1:{account}:session/*");
            let (keep, open) = (&policy["Statement"][1], &policy["Statement"][2]);
            assert_eq!(keep["Action"], json!(["ssm:ResumeSession", "ssm:TerminateSession"]));
            let tag = &keep["Condition"]["StringEquals"]["ssm:resourceTag/aws:ssmmessages:session-id"];
            assert_eq!((tag, &keep["Resource"]), (&json!("${aws:userid}"), &json!([sessions])));
            assert_eq!(open["Action"], json!(["ssmmessages:OpenDataChannel"]));
            assert_eq!(open["Condition"], Value::Null);
        }
    }

    #[test]
    fn every_kind_of_target_document_and_partition_has_its_arn() {
        let task = "ecs:my_cluster_0123456789abcdef0123456789abcdef_0123-456";
        for (id, document, region, target_arn, document_arn) in [
            (
                "mi-0123",
                "Mine",
                None,
                "arn:aws:ssm:*:*:managed-instance/mi-0123",
                "arn:aws:ssm:*:*:document/Mine",
            ),
            (
                task,
                SSH_DOCUMENT,
                Some("us-gov-west-1"),
                "arn:aws-us-gov:ecs:us-gov-west-1:*:task/my_cluster/0123456789abcdef0123456789abcdef",
                "arn:aws-us-gov:ssm:us-gov-west-1::document/AWS-StartSSHSession",
            ),
            (
                "sagemaker-cluster:abc123_workers-i-0123",
                SSH_DOCUMENT,
                Some("us-east-1"),
                "arn:aws:sagemaker:us-east-1:*:cluster/abc123",
                "arn:aws:ssm:us-east-1::document/AWS-StartSSHSession",
            ),
            (
                "i-0123",
                "arn:aws-cn:ssm:cn-north-1:1:document/Shared",
                Some("cn-north-1"),
                "arn:aws-cn:ec2:cn-north-1:*:instance/i-0123",
                "arn:aws-cn:ssm:cn-north-1:1:document/Shared",
            ),
        ] {
            let policy = policy(id, id, &[document], region, None);
            assert_eq!(policy["Statement"][0]["Resource"], json!([target_arn, document_arn]));
        }
    }

    #[test]
    fn a_life_needs_the_guardian_and_no_change_of_ec2() {
        let of = |text: &str| {
            policy_of((&wish(text), &[]), "i-0123", "i-0123", &[SSH_DOCUMENT], Some("eu-west-1"), None)
        };
        let life = of("[hosts.h]\nstart = true\nsecurity_group = 'sg-1'");
        let found = actions(&life);
        for action in [
            "states:StartExecution",
            "states:DescribeExecution",
            "ssm:GetConnectionStatus",
            "ec2:DescribeSecurityGroups",
        ] {
            assert!(found.contains(&action), "{action}");
        }
        assert!(
            found
                .iter()
                .filter(|action| action.starts_with("ec2:"))
                .all(|action| action.contains("Describe"))
        );
        let machine = "arn:aws:states:eu-west-1:*:stateMachine:fumidai-guardian";
        let executions = "arn:aws:states:eu-west-1:*:execution:fumidai-guardian:*";
        let statements = life["Statement"].as_array().expect("statements");
        let resources: Vec<&Value> = statements.iter().rev().take(2).map(|one| &one["Resource"]).collect();
        assert_eq!(resources, [&json!([executions]), &json!([machine])]);
        let none = of("[hosts.h]\nstart = true\nguardian = 'none'");
        assert!(actions(&none).contains(&"ec2:StartInstances"));
        assert!(!actions(&of("[hosts.h]")).iter().any(|action| action.starts_with("states:")));
    }

    #[test]
    fn a_source_of_host_keys_needs_its_call() {
        let of = |text: &str| {
            let route = route(text);
            let asked = (&Wish::of(&route), &KeySource::of(&route)[..]);
            policy_of(asked, "i-0123", "i-0123", &[SSH_DOCUMENT], Some("eu-west-1"), None)["Statement"]
                .clone()
        };
        let behind = "[hosts.b]\ntarget = 'i-0123'\nhost_keys = 'console'\n[hosts.h]\nvia = 'b'\n";
        for (text, expected) in [
            ("[hosts.h]\nhost_keys = 'session'", vec![]),
            (
                "[hosts.h]\nhost_keys = 'console'",
                vec![("ec2:GetConsoleOutput", vec!["arn:aws:ec2:eu-west-1:*:instance/i-0123"])],
            ),
            (
                "[hosts.h]\nhost_keys = 'parameter:/keys/h'",
                vec![("ssm:GetParameter", vec!["arn:aws:ssm:eu-west-1:*:parameter/keys/h"])],
            ),
            (
                &format!("{behind}address = '10.0.0.9'\nhost_keys = 'console'"),
                vec![
                    (
                        "ec2:GetConsoleOutput",
                        vec!["arn:aws:ec2:eu-west-1:*:instance/i-0123", "arn:aws:ec2:eu-west-1:*:instance/*"],
                    ),
                    ("ec2:DescribeInstances", vec!["*"]),
                ],
            ),
            (
                &format!("{behind}target = 'i-0456'\nhost_keys = 'parameter:arn:aws:ssm:x:1:parameter/k'"),
                vec![
                    ("ec2:GetConsoleOutput", vec!["arn:aws:ec2:eu-west-1:*:instance/i-0123"]),
                    ("ssm:GetParameter", vec!["arn:aws:ssm:x:1:parameter/k"]),
                ],
            ),
        ] {
            let statements = of(text);
            let statements = statements.as_array().expect("statements").iter().skip(3);
            let found: Vec<(Value, Value)> =
                statements.map(|one| (one["Action"][0].clone(), one["Resource"].clone())).collect();
            let expected: Vec<(Value, Value)> =
                expected.into_iter().map(|(action, all)| (json!(action), json!(all))).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_pushed_key_is_for_one_user() {
        let text = "[hosts.h]\ntarget = 'i-0123'\nkey = 'ephemeral'\nuser = 'jump'\n[hosts.app]\nvia = 'h'\n\
                    address = '10.0.0.115'\nkey = 'push'";
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("config.toml");
        std::fs::write(&file, text).expect("a file");
        let flags = Flags { config_file: Some(file), ..Flags::default() };
        let config = Config::resolve(flags, &Environment::default()).expect(text);
        let route = Route::new("me@app", None, &config).expect("a route");
        let (target, wish) = (target("i-0123"), Wish::of(&route));
        let needs = Needs {
            target: &target,
            name: route.entry.name(),
            documents: vec![SSH_DOCUMENT],
            region: Some("eu-west-1"),
            caller: None,
            wish: &wish,
            key_sources: &[],
            keys: route.pushed_keys(true),
            requests_access: false,
            db_user: None,
        };
        let policy = serde_json::to_value(needs.policy()).expect("JSON");
        let statements = policy["Statement"].as_array().expect("statements");
        let pushes: Vec<&Value> = statements
            .iter()
            .filter(|one| one["Action"] == json!(["ec2-instance-connect:SendSSHPublicKey"]))
            .collect();
        let shown = |number: usize| (&pushes[number]["Resource"][0], &pushes[number]["Condition"]);
        let condition = |user: &str| json!({ "StringEquals": { "ec2:osuser": user } });
        assert_eq!(shown(0), (&json!("arn:aws:ec2:eu-west-1:*:instance/i-0123"), &condition("jump")));
        assert_eq!(shown(1), (&json!("arn:aws:ec2:eu-west-1:*:instance/*"), &condition("me")));
        assert!(actions(&policy).contains(&"ec2:DescribeInstances"));
    }

    #[test]
    fn only_a_name_needs_looking_up() {
        let of = |named: &str| policy(named, "i-0123", &[REMOTE_HOST_DOCUMENT], Some("eu-west-1"), None);
        assert!(actions(&of("i-0123")).iter().all(|action| action.starts_with("ssm")));
        assert!(!actions(&of("i-0123")).contains(&"ssm:DescribeInstanceInformation"));
        for (named, needed) in [
            ("web", &["ec2:DescribeInstances", "ssm:DescribeInstanceInformation"][..]),
            ("10.0.0.1", &["ec2:DescribeInstances", "ssm:DescribeInstanceInformation"]),
            ("ecs:prod/web", &["ecs:ListTasks", "ecs:DescribeTasks"]),
            ("ecs:prod/0123456789abcdef0123456789abcdef/web", &["ecs:DescribeTasks"]),
        ] {
            let policy = of(named);
            let last = policy["Statement"].as_array().and_then(|all| all.last()).expect("statements");
            assert_eq!(last["Action"], json!(needed), "{named}");
        }
        let cluster = &of("ecs:prod/web")["Statement"][3]["Condition"]["ArnLike"]["ecs:cluster"];
        assert_eq!(cluster, "arn:aws:ecs:eu-west-1:*:cluster/prod");
    }
}
