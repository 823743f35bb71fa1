//! Why a name was not found, in words.

use crate::names::ecs::EcsError;
use crate::names::lookup::LookupError;
use crate::names::{Candidate, Region, ResolveError};

use super::api::{ELSEWHERE, of_api};
use super::{ExitKind, Report};

/// Returns the report of a name.
pub(super) fn of_lookup(error: &LookupError, region: &str) -> Report {
    let whole = error.to_string();
    match error {
        LookupError::Api(error) => of_api(error),
        LookupError::Ecs(error) => of_ecs(error),
        LookupError::Denied { .. } => Report::new(ExitKind::AccessDenied, whole)
            .hint("allow `ec2:DescribeInstances` or `ssm:DescribeInstanceInformation`")
            .hint("use an id (`i-…` or `mi-…`): it needs neither"),
        LookupError::Resolve { error: ResolveError::Ambiguous { candidates, .. }, .. } => {
            let report = Report::new(ExitKind::Ambiguous, format!("{whole} in {region}"))
                .hint("use the id of the one that you mean");
            candidates.iter().fold(report, |report, one| report.detail(candidate_line(one)))
        }
        LookupError::Resolve { error: ResolveError::NotFound { near, other_case, name }, unseen } => {
            let mut report = Report::new(ExitKind::NotFound, format!("{whole} in {region}"));
            if let Some(other) = other_case {
                report = report.hint(format!("use `{other}`: it differs only in upper and lower case"));
            } else if let (None, Some((_, suffix))) = (near.first(), region_like_end(name)) {
                report =
                    report.hint(format!("use `--region {suffix}`: everything after `tag:` is key and value"));
            } else if !near.is_empty() {
                let near: Vec<String> = near.iter().map(|name| format!("`{name}`")).collect();
                report = report.hint(format!("did you mean {}?", near.join(", ")));
            }
            report.hint(match unseen {
                Some(error) => format!("the search was incomplete: {error}"),
                None => ELSEWHERE.to_owned(),
            })
        }
    }
}

/// A tag that ends like `NAME--REGION`: its author may have meant a region.
fn region_like_end(name: &str) -> Option<(&str, &str)> {
    let (start, suffix) = name.rsplit_once("--")?;
    (name.starts_with("tag:") && Region::parse(suffix).is_some()).then_some((start, suffix))
}

fn of_ecs(error: &EcsError) -> Report {
    let whole = error.to_string();
    match error {
        EcsError::NoSuchTask { .. } => Report::new(ExitKind::NotFound, whole).hint(ELSEWHERE),
        EcsError::NoSuchContainer { known, .. } => {
            Report::new(ExitKind::NotFound, whole).hint(format!("use one of {}", known.join(", ")))
        }
        EcsError::WhichContainer { known, .. } => {
            let report = Report::new(ExitKind::Ambiguous, whole)
                .hint("name the container: `ecs:CLUSTER/SERVICE/CONTAINER`");
            known.iter().fold(report, |report, name| report.detail(name))
        }
        EcsError::NothingRuns { .. } => Report::new(ExitKind::NotConnected, whole)
            .hint("check its desired count, and why its tasks do not start"),
        EcsError::NotRunning { .. } | EcsError::NoRuntimeId { .. } => {
            Report::new(ExitKind::NotConnected, whole).hint("try again: the task may still be starting")
        }
        EcsError::NoExecuteCommand { .. } => Report::new(ExitKind::NotConnected, whole)
            .hint("run `aws ecs update-service --enable-execute-command --force-new-deployment` for its service"),
        EcsError::NoAgent { .. } => Report::new(ExitKind::NotConnected, whole).hint(
            "check that the task's role allows `ssmmessages:*Channel` and its network has a route to Systems Manager",
        ),
    }
}

fn candidate_line(candidate: &Candidate) -> String {
    let shown = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let Candidate { id, name, address, state } = candidate;
    format!("{id}  {}  {}  {}", shown(name), shown(address), shown(state))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::ApiError;

    #[test]
    fn a_name_in_another_case_is_said_to_be_one() {
        let not_found = |name: &str, near: &[&str], other_case: Option<&str>| {
            let near = near.iter().map(|&name| name.into()).collect();
            let error =
                ResolveError::NotFound { name: name.into(), near, other_case: other_case.map(str::to_owned) };
            of_lookup(&LookupError::Resolve { error, unseen: None }, "eu-west-1").render()
        };
        let text = not_found("web-prod", &["Web-Prod"], Some("Web-Prod"));
        assert!(text.contains("hint: use `Web-Prod`: it differs only in upper and lower case\n"), "{text}");
        let text = not_found("tag:Name=web--eu-west-2", &[], None);
        assert!(text.contains("hint: use `--region eu-west-2`: everything after `tag:`"), "{text}");
    }

    fn denied(operation: &'static str) -> ApiError {
        ApiError::Service {
            operation,
            code: "UnauthorizedOperation".into(),
            message: "no".into(),
            status: 403,
        }
    }

    #[test]
    fn an_ambiguous_name_lists_its_candidates_before_the_cause() {
        let one = |id: &str, name: Option<&str>| Candidate {
            id: id.into(),
            name: name.map(str::to_owned),
            address: Some("10.0.0.1".into()),
            state: Some("running".into()),
        };
        let candidates = vec![one("i-1", Some("web\nfumidai: \u{202e}")), one("i-2", None)];
        let error = ResolveError::Ambiguous { name: "web".into(), candidates };
        let report = of_lookup(&LookupError::Resolve { error, unseen: None }, "eu-west-1");
        assert_eq!(report.exit(), ExitKind::Ambiguous);
        assert_eq!(
            report.render(),
            "  i-1  web fumidai: \\u{202e}  10.0.0.1  running\n  i-2  -  10.0.0.1  running\n\
             fumidai: 2 instances match \"web\" in eu-west-1\nfumidai: hint: use the id of the one that you mean\n"
        );
    }

    #[test]
    fn an_unknown_name_suggests_and_says_what_was_not_seen() {
        let error = ResolveError::NotFound {
            name: "wbe".into(),
            near: vec!["web".into(), "wb".into()],
            other_case: None,
        };
        let unseen = Some(Box::new(denied("DescribeInstances")));
        let report = of_lookup(&LookupError::Resolve { error, unseen }, "eu-west-1");
        assert_eq!(report.exit(), ExitKind::NotFound);
        assert_eq!(
            report.render(),
            "fumidai: no instance named \"wbe\" in eu-west-1\nfumidai: hint: did you mean `web`, `wb`?\n\
             fumidai: hint: the search was incomplete: UnauthorizedOperation when calling DescribeInstances: no\n"
        );
    }

    #[test]
    fn two_denied_calls_name_both_actions() {
        let [ec2, ssm] =
            ["DescribeInstances", "DescribeInstanceInformation"].map(|name| Box::new(denied(name)));
        let report = of_lookup(&LookupError::Denied { ec2, ssm }, "eu-west-1");
        assert_eq!(report.exit(), ExitKind::AccessDenied);
        for words in ["calling DescribeInstances", "calling DescribeInstanceInformation", "it needs neither"]
        {
            assert!(report.render().contains(words), "{}", report.render());
        }
    }
}
