//! Which host each service's calls go to: a private endpoint, a FIPS or dual-stack name. The names of AWS are read from what
//! a proxy is asked for, which lets nothing pass.
//!
//! No call of fumidai goes to KMS: sessions of ports are not encrypted by it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fumidai::sim::ONLINE_TARGET;

use super::{ECHO, carries};
use crate::bench::Bench;
use crate::run::Run;
use crate::services::echo;
use crate::stub::stub;
use crate::wiretap::Proxy;

/// The services with private endpoints, their names in AWS's settings, and a command that calls each.
const CALLS: [(&str, &str, &[&str]); 3] = [
    ("ssm", "SSM", &["connect", ONLINE_TARGET]),
    ("ec2", "EC2", &["connect", "tag:Name=web"]),
    ("sts", "STS", &["explain", ONLINE_TARGET]),
];

/// A private endpoint: it refuses every call, and counts them.
struct Endpoint {
    url: String,
    count: Arc<AtomicUsize>,
}

impl Endpoint {
    async fn start() -> Self {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        let refuse = move |_: &str| {
            counted.fetch_add(1, Ordering::Relaxed);
            (400, r#"{"__type":"AccessDeniedException","message":"a private endpoint"}"#.to_owned())
        };
        Self { url: format!("http://{}", stub(refuse).await), count }
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

/// A command without any endpoint of the simulator; what it asks of AWS goes to a proxy that refuses.
fn bare(bench: &Bench, args: &[&str], proxy: SocketAddr) -> Run {
    let environment = bench.simulator.environment();
    let endpoints = environment.iter().filter(|(name, _)| name.starts_with("AWS_ENDPOINT_URL"));
    let run = endpoints.fold(bench.fumidai(args), |run, (name, _)| run.without(name));
    run.env("HTTPS_PROXY", format!("http://{proxy}"))
}

/// The hosts that a proxy was asked for.
fn asked(proxy: &Proxy) -> BTreeSet<String> {
    proxy.requests().into_iter().map(|(to, _)| to.trim_end_matches(":443").to_owned()).collect()
}

#[tokio::test]
async fn each_services_calls_go_to_its_private_endpoint_unless_endpoints_are_ignored() {
    let bench = Bench::new().start().await;
    for (service, variable, args) in CALLS {
        let endpoint = Endpoint::start().await;
        let (own, section) = (format!("AWS_ENDPOINT_URL_{variable}"), &endpoint.url);
        let profile = format!(
            "[profile work]\nservices = private\n[services private]\n{service} =\n  endpoint_url = {section}\n"
        );
        let file = bench.write(&format!("{service}.config"), profile);
        let by_variable = |run: Run| run.env(&own, &endpoint.url);
        let by_section = |run: Run| run.env("AWS_CONFIG_FILE", &file).env("AWS_PROFILE", "work");
        for set in [&by_variable as &dyn Fn(Run) -> Run, &by_section] {
            let (before, proxy) = (endpoint.count(), Proxy::start("none", "none").await);
            set(bare(&bench, args, proxy.address)).finish().await;
            assert!(endpoint.count() > before, "{service}");
            let usual = format!("{service}.eu-central-1.amazonaws.com");
            assert!(!asked(&proxy).contains(&usual), "{:?}", proxy.requests());
            let before = endpoint.count();
            let ignoring = set(bare(&bench, args, proxy.address));
            ignoring.env("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true").finish().await;
            assert_eq!(endpoint.count(), before, "{service}");
            assert!(asked(&proxy).contains(&usual), "{:?}", proxy.requests());
        }
    }
}

#[tokio::test]
async fn the_stream_of_a_private_endpoint_is_accepted_by_variable_and_by_section() {
    let named = |config: &mut fumidai::sim::SimConfig| config.hostname = "localhost".to_owned();
    let bench = Bench::new().port(ECHO, echo().await).configure(named).start().await;
    let (address, stream) = (bench.simulator.address(), bench.simulator.endpoint());
    let profile = format!(
        "[profile work]\nservices = private\n[services private]\nssmmessages =\n  endpoint_url = {stream}\n"
    );
    let file = bench.write("services.config", profile);
    let run = || {
        let run = bench.connect(ECHO, &[]).without("AWS_ENDPOINT_URL_SSMMESSAGES");
        run.env("AWS_ENDPOINT_URL_SSM", format!("http://{address}"))
    };
    let with_section = || run().env("AWS_CONFIG_FILE", &file).env("AWS_PROFILE", "work");
    carries(&bench, [run().env("AWS_ENDPOINT_URL_SSMMESSAGES", &stream), with_section()]).await;
    // Without the setting, and with an endpoint for the API that is not ignored.
    let ignoring = with_section().env("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true");
    let ignoring = ignoring.env("FUMIDAI_ENDPOINT_URL", format!("http://{address}"));
    for refused in [run(), ignoring] {
        let finished = refused.finish().await.exits(1);
        assert_eq!(finished.cause(), "the service gave a `ws://` stream URL for host `localhost`");
    }
    bench.settle().await;
}

#[tokio::test]
async fn fips_and_dual_stack_names_are_dialled_in_each_partition() {
    let bench = Bench::new().start().await;
    for (region, fips, dual_stack, names) in [
        (
            "eu-central-1",
            "",
            "",
            ["ssm.eu-central-1.amazonaws.com", "ssmmessages.eu-central-1.amazonaws.com"],
        ),
        (
            "us-east-1",
            "true",
            "",
            ["ssm-fips.us-east-1.amazonaws.com", "ssmmessages-fips.us-east-1.amazonaws.com"],
        ),
        ("us-east-1", "", "true", ["ssm.us-east-1.api.aws", "ssmmessages.us-east-1.api.aws"]),
        ("us-east-1", "true", "true", ["ssm-fips.us-east-1.api.aws", "ssmmessages-fips.us-east-1.api.aws"]),
        (
            "us-gov-west-1",
            "true",
            "",
            ["ssm.us-gov-west-1.amazonaws.com", "ssmmessages.us-gov-west-1.amazonaws.com"],
        ),
        ("us-gov-west-1", "", "true", ["ssm.us-gov-west-1.api.aws", "ssmmessages.us-gov-west-1.api.aws"]),
        (
            "cn-north-1",
            "",
            "",
            ["ssm.cn-north-1.amazonaws.com.cn", "ssmmessages.cn-north-1.amazonaws.com.cn"],
        ),
        (
            "cn-north-1",
            "",
            "true",
            [
                "ssm.cn-north-1.api.amazonwebservices.com.cn",
                "ssmmessages.cn-north-1.api.amazonwebservices.com.cn",
            ],
        ),
    ] {
        let run = |args: &[&str], proxy: &Proxy| {
            let run = bare(&bench, args, proxy.address).env("AWS_REGION", region);
            run.env("AWS_USE_FIPS_ENDPOINT", fips).env("AWS_USE_DUALSTACK_ENDPOINT", dual_stack)
        };
        let proxy = Proxy::start("none", "none").await;
        run(&["connect", ONLINE_TARGET], &proxy).finish().await.exits(1);
        assert_eq!(asked(&proxy), BTreeSet::from([names[0].to_owned()]), "{region} {fips} {dual_stack}");
        // doctor asks for each service that the target needs.
        let proxy = Proxy::start("none", "none").await;
        run(&["doctor", ONLINE_TARGET], &proxy).finish().await.exits(1);
        let sts = names[0].replacen("ssm", "sts", 1);
        let all = names.into_iter().map(str::to_owned).chain([sts]).collect();
        assert_eq!(asked(&proxy), all, "{region} {fips} {dual_stack}");
    }
}
