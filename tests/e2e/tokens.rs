//! `fumidai token`, and the commands of forwards with their placeholders.

use std::fs;
use std::sync::{Arc, Mutex};

use fumidai::sim::ONLINE_TARGET;
use serde_json::Value;

use crate::bench::Bench;
use crate::postgres::Postgres;
use crate::run::Run;
use crate::services::echo;
use crate::stub::stub;
use crate::tools::aws_cli;

const PORT: u16 = 7777;
const HOST: &str = "orders.cluster-abc.eu-central-1.rds.amazonaws.com";

async fn bench() -> Bench {
    Bench::new().port(PORT, echo().await).start().await
}

/// A config file with one forward to a database, and further keys of it.
fn config(bench: &Bench, keys: &str) -> String {
    let text = format!(
        "[forwards.orders-db]\ntarget = '{ONLINE_TARGET}'\nlocal = '127.0.0.1:0'\nremote = '{HOST}:3306'\n{keys}"
    );
    bench.write("config.toml", text).to_str().unwrap().to_owned()
}

fn token(bench: &Bench, args: &[&str]) -> Run {
    bench.fumidai(["token"]).args(args)
}

#[tokio::test]
async fn a_token_is_for_the_databases_own_name() {
    let bench = bench().await;
    let config = config(&bench, "token = 'rds'\ndb_user = 'app'\n");
    let typed = token(&bench, &["rds", &format!("{HOST}:3306"), "--user", "app"]).finish().await.exits(0);
    let named = token(&bench, &["--config", &config, "rds", "orders-db"]).finish().await.exits(0);
    let begin = format!("{HOST}:3306/?Action=connect&DBUser=app&X-Amz-Algorithm=AWS4-HMAC-SHA256&");
    for finished in [typed, named] {
        let finished = finished.silent();
        assert!(finished.text().starts_with(&begin), "{}", finished.text());
        assert!(finished.text().contains("%2Feu-central-1%2Frds-db%2F"), "{}", finished.text());
        assert_eq!(finished.text().lines().count(), 1);
    }
    let other =
        token(&bench, &["--config", &config, "rds", "orders-db", "--user", "me"]).finish().await.exits(0);
    assert!(other.text().contains("DBUser=me&"), "{}", other.text());
    assert_eq!(bench.simulator.sessions().len(), 0, "no session is opened");
}

#[tokio::test]
async fn a_token_can_be_a_variable_of_a_command() {
    let bench = bench().await;
    let database = format!("{HOST}:5432");
    let show = "printf '%s' \"$PGPASSWORD\"; exit 7";
    let args = ["rds", &database, "--user", "app", "--exec", show, "--env", "PGPASSWORD"];
    let finished = token(&bench, &args).finish().await.exits(7).silent();
    assert!(finished.text().starts_with(&format!("{database}/?Action=connect&DBUser=app&")));
    let mysql = ["rds", &database, "--user", "app", "--exec", "true", "--env", "MYSQL_PWD"];
    let finished = token(&bench, &mysql).finish().await.exits(0);
    assert!(finished.stderr.starts_with("fumidai: warning: MySQL calls"), "{}", finished.stderr);
    token(&bench, &["rds", &database, "--user", "app", "--env", "A=B", "--exec", "true"])
        .finish()
        .await
        .exits(2);
}

#[tokio::test]
async fn a_cache_has_a_token_of_its_name() {
    let bench = bench().await;
    let finished = token(&bench, &["elasticache", "orders", "--user", "app", "--serverless"]);
    let finished = finished.finish().await.exits(0).silent();
    let begin = "orders/?Action=connect&ResourceType=ServerlessCache&User=app&X-Amz-Algorithm=";
    assert!(finished.text().starts_with(begin), "{}", finished.text());
}

#[tokio::test]
async fn what_is_missing_for_a_token_is_named() {
    let bench = bench().await;
    let config = config(&bench, "");
    for (args, cause) in [
        (vec!["rds", "db:1"], "a token is signed for a database user"),
        (vec!["rds", HOST], &*format!("`{HOST}` has no port, for which a token is signed too")),
        (vec!["rds", "db:mysql", "--user", "x"], "`mysql` is not a port of `db`"),
        (vec!["rds", "nodb"], "`nodb` is neither a forward of the config file nor HOST:PORT"),
        (
            vec!["--config", &config, "rds", "orders-db"],
            "forward `orders-db` has no `db_user` to sign a token for",
        ),
        (
            vec!["--config", &config, "rds", "order-db"],
            "`order-db` is neither a forward of the config file nor HOST:PORT",
        ),
    ] {
        let finished = token(&bench, &args).finish().await;
        assert_eq!(finished.cause(), cause);
        assert_eq!(finished.stderr.contains("did you mean `orders-db`?"), args.contains(&"order-db"));
    }
}

#[tokio::test]
async fn a_name_behind_exec_is_not_a_command() {
    let bench = bench().await;
    let config = config(&bench, "exec = 'true'\n");
    let finished =
        bench.fumidai(["--config", &config, "forward", "--exec", "orders-db"]).finish().await.exits(2);
    assert_eq!(
        finished.cause(),
        "`--exec orders-db` takes `orders-db` as its command, and no forward is named"
    );
    assert!(finished.stderr.contains("`fumidai forward orders-db --exec`"), "{}", finished.stderr);
}

/// The whole way: the token of `exec` logs in to a server that checks whose it is, for which name, and when it was signed.
#[tokio::test]
async fn a_token_logs_in_to_a_real_database_through_a_forward() {
    let bench = Bench::new().start().await;
    let mut database = Postgres::start(&bench, HOST, 5432, "app user").await;
    let address = database.address;
    let through = Bench::new()
        .configure(|config| {
            config.hosts.insert((HOST.to_owned(), 5432), address);
        })
        .start()
        .await;
    let ask = "PGPASSWORD={token} psql \"host={host} hostaddr={local_host} port={local_port} dbname=postgres user='{db_user}'\" \
        -Atc 'select current_user'";
    let text = format!(
        "[forwards.db]\ntarget = '{ONLINE_TARGET}'\nlocal = '127.0.0.1:0'\nremote = '{HOST}:5432'\n\
         token = 'rds'\ndb_user = 'app user'\nexec = \"\"\"{ask}\"\"\"\n"
    );
    let config = through.write("config.toml", text);
    let forward =
        |name: &str| through.fumidai(["--config".as_ref(), config.as_os_str()]).args(["forward", name]);
    let finished = forward("db").args(["--exec"]).finish().await.exits(0);
    assert_eq!(finished.text(), "app user\n", "{}", finished.stderr);
    assert_eq!(database.verdict().await, "app user: welcome");
    // A token for another name, or for another user, is refused.
    for (place, user, verdict) in [
        ("other.example:5432", "app user", "app user: it is for other.example:5432"),
        (&*format!("{HOST}:5432"), "eve", "app user: it is for user eve"),
    ] {
        let token = token(&bench, &["rds", place, "--user", user]).finish().await.exits(0);
        let login =
            "psql \"host=127.0.0.1 port=$FUMIDAI_PORT dbname=postgres user='app user'\" -c 'select 1'";
        let run = forward("db").args(["--exec", login]).env("PGPASSWORD", token.text().trim());
        let refused = run.finish().await.exits(2);
        assert!(refused.stderr.contains("authentication failed"), "{}", refused.stderr);
        assert_eq!(database.verdict().await, verdict);
    }
    through.settle().await;
}

/// The parameters of a call in the query protocol.
fn parameters(request: &str) -> Vec<String> {
    let body = request.lines().last().unwrap_or_default();
    let mut pairs: Vec<String> = body.split('&').map(str::to_owned).collect();
    pairs.sort();
    pairs
}

#[tokio::test]
async fn redshift_is_asked_as_the_aws_cli_asks_it() {
    let bench = bench().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = seen.clone();
    let cluster = stub(move |request| {
        kept.lock().unwrap().push(parameters(request));
        let login = "<DbUser>IAM:app</DbUser><DbPassword>s3cret</DbPassword>";
        let result = format!("<GetClusterCredentialsResult>{login}</GetClusterCredentialsResult>");
        (200, format!("<GetClusterCredentialsResponse>{result}</GetClusterCredentialsResponse>"))
    });
    let cluster = format!("http://{}", cluster.await);
    let ours = token(&bench, &["redshift", "dwh", "--user", "app", "--database", "sales"]);
    ours.env("AWS_ENDPOINT_URL_REDSHIFT", &cluster).finish().await.exits(0);
    let theirs =
        bench.run(&aws_cli()).args(["--endpoint-url", &cluster, "redshift", "get-cluster-credentials"]);
    let named = ["--db-user", "app", "--cluster-identifier", "dwh", "--db-name", "sales"];
    theirs.args(named).finish().await.exits(0);
    let seen = seen.lock().unwrap();
    let [ours, theirs] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!(ours, theirs);
}

#[tokio::test]
async fn redshift_gives_a_user_and_a_password() {
    let bench = bench().await;
    let cluster = stub(|request| {
        assert!(request.contains("Action=GetClusterCredentials"), "{request}");
        assert!(request.contains("ClusterIdentifier=dwh&DbUser=app&DbName=sales"), "{request}");
        let login = "<DbUser>IAM:app</DbUser><DbPassword>s3cret</DbPassword>";
        let result = format!("<GetClusterCredentialsResult>{login}</GetClusterCredentialsResult>");
        (200, format!("<GetClusterCredentialsResponse>{result}</GetClusterCredentialsResponse>"))
    });
    let cluster = format!("http://{}", cluster.await);
    let args = ["redshift", "dwh", "--user", "app", "--database", "sales"];
    let finished = token(&bench, &args).env("AWS_ENDPOINT_URL_REDSHIFT", &cluster).finish().await.exits(0);
    assert_eq!((finished.text(), &*finished.stderr), ("s3cret\n", "fumidai: log in as `IAM:app`\n"));
    let json = token(&bench, &args).args(["--json"]).env("AWS_ENDPOINT_URL_REDSHIFT", &cluster);
    let login: Value = serde_json::from_str(json.finish().await.exits(0).silent().text()).unwrap();
    assert_eq!((&login["user"], &login["password"]), (&"IAM:app".into(), &"s3cret".into()));
    let workgroup = stub(|request| {
        assert!(request.contains("RedshiftServerless.GetCredentials"), "{request}");
        (200, r#"{"dbUser":"IAMR:ops","dbPassword":"other"}"#.to_owned())
    });
    let workgroup = format!("http://{}", workgroup.await);
    let finished = token(&bench, &["redshift", "wg", "--serverless"]);
    let finished = finished.env("AWS_ENDPOINT_URL_REDSHIFT_SERVERLESS", &workgroup).finish().await.exits(0);
    assert_eq!((finished.text(), &*finished.stderr), ("other\n", "fumidai: log in as `IAMR:ops`\n"));
}

#[tokio::test]
async fn a_forwards_own_command_gets_its_placeholders() {
    let bench = bench().await;
    let keys = "token = 'rds'\ndb_user = 'app user'\n\
        exec = '''printf '%s\\n' \"{host}\" \"{port}\" \"{local_host}\" \"{local_port}\" \"{db_user}\" \"{token}\" '{{}}' \"$HOME\"; \
        tr '\\0' ' ' < /proc/$$/cmdline > \"$HOME/argv\"'''\n";
    let config = config(&bench, keys);
    let run = bench.fumidai(["--config", &config, "forward", "orders-db", "--exec"]);
    let finished = run.finish().await.exits(0);
    let lines: Vec<&str> = finished.text().lines().collect();
    let [host, port, local_host, local_port, user, token, braces, home] = lines[..] else {
        panic!("{lines:?}")
    };
    assert_eq!((host, port, local_host, user, braces), (HOST, "3306", "127.0.0.1", "app user", "{}"));
    assert!(local_port.parse::<u16>().is_ok(), "{local_port}");
    assert!(token.starts_with(&format!("{HOST}:3306/?Action=connect&DBUser=app%20user&")), "{token}");
    assert_eq!(home, bench.path("home").to_str().unwrap());
    let argv = fs::read_to_string(bench.path("home/argv")).unwrap();
    assert!(argv.contains("FUMIDAI_EXEC_TOKEN") && !argv.contains("X-Amz-"), "{argv}");
}

#[tokio::test]
async fn an_unknown_placeholder_and_a_missing_key_are_errors_of_the_file() {
    let bench = bench().await;
    for (keys, cause) in [
        ("exec = 'psql {hots}'\n", "unknown placeholder `{hots}`"),
        ("exec = 'psql {token}'\n", "needs `token`"),
        ("exec = 'psql {db_user}'\n", "needs `db_user`"),
        ("token = 'rds'\n", "needs `db_user`"),
        ("token = 'password'\n", "must be `rds`"),
    ] {
        let config = config(&bench, keys);
        let run = bench.fumidai(["--config", &config, "forward", "orders-db", "--exec"]);
        let finished = run.finish().await.exits(3);
        assert!(finished.cause().contains(cause), "{keys}: {}", finished.cause());
    }
    let config = config(&bench, "");
    let run = bench.fumidai(["--config", &config, "forward", "orders-db", "--exec"]);
    assert_eq!(
        run.finish().await.exits(2).cause(),
        "`--exec` without a command needs one forward with `exec`"
    );
}
