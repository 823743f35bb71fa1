//! The way to AWS and through it: a configuration as what the layers below take.

use std::time::Duration;

use tokio::time::Instant;

use crate::aws::{self, Aws, Human};
use crate::config::{AwsSettings, Config};
use crate::session;

use super::prompt::ask_code;
use super::report::Report;

/// The way to AWS, with somebody to ask for the code of a second factor.
pub(super) async fn open_aws(config: &Config) -> Result<Aws, Report> {
    let aws = Aws::new(aws_settings(&config.aws)).await.map_err(|error| Report::of_api(&error, None))?;
    Ok(aws.with_human(Human::asked_by(ask_code())))
}

fn aws_settings(config: &AwsSettings) -> aws::Settings {
    aws::Settings {
        profile: config.profile.clone(),
        profile_goes_first: config.profile_overrides_keys,
        region: config.region.clone(),
        ssm_endpoint: config.ssm_endpoint().map(str::to_owned),
        ec2_endpoint: config.ec2_endpoint().map(str::to_owned),
        ecs_endpoint: config.ecs_endpoint().map(str::to_owned),
        sts_endpoint: config.sts_endpoint().map(str::to_owned),
        stream_endpoint: config.endpoints.ssmmessages.clone(),
        any_endpoint: config.endpoints.any.clone(),
        ca_bundle: config.ca_bundle.clone(),
        cli_cache: config.cli_cache.clone(),
    }
}

/// How sessions are opened and kept; who has not said how long to linger gets the command's own.
pub(super) fn session_settings(config: &Config, began: Instant, linger: Duration) -> session::Settings {
    let Config { session: config, cache_dir, .. } = config;
    session::Settings {
        began,
        connect_timeout: config.connect_timeout,
        resume_window: config.resume_window,
        keepalive: config.keepalive,
        linger: config.linger.unwrap_or(linger),
        max_payload: config.max_payload.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
        cache_dir: cache_dir.clone(),
        for_remote_host: false,
    }
}
