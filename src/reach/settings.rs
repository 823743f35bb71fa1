//! A configuration as the settings of the layers below.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::aws::files::{AwsFiles, FilePath, FilePaths};
use crate::aws::{self, ApiError, Aws, Prompts};
use crate::config::{AccessRequest, AwsSettings, Config, SessionSettings};
use crate::names::cache::Scope;
use crate::session;
use crate::transport::Proxies;

use super::ReachError;

/// Opens the clients of AWS for a configuration. The user is asked by `prompts`.
///
/// # Errors
/// The settings cannot be used.
pub fn open_aws(config: &Config, prompts: Prompts) -> Result<Aws, ReachError> {
    let proxies = Proxies::new(&config.aws.proxies).map_err(ApiError::from)?;
    let aws = Aws::new(aws_settings(&config.aws, proxies))?;
    Ok(aws.with_prompts(prompts))
}

fn aws_settings(config: &AwsSettings, proxies: Proxies) -> aws::AwsOptions {
    aws::AwsOptions {
        profile: config.profile.clone(),
        profile_overrides_keys: config.profile_overrides_keys,
        region: config.region.clone(),
        ssm_endpoint: config.ssm_endpoint().map(str::to_owned),
        ec2_endpoint: config.ec2_endpoint().map(str::to_owned),
        instance_connect_endpoint: config.instance_connect_endpoint().map(str::to_owned),
        ecs_endpoint: config.ecs_endpoint().map(str::to_owned),
        sfn_endpoint: config.sfn_endpoint().map(str::to_owned),
        sts_endpoint: config.sts_endpoint().map(str::to_owned),
        stream_endpoint: config.endpoints.ssmmessages.clone(),
        roles_endpoint: config.endpoints.sts.clone(),
        any_endpoint: config.endpoints.any.clone(),
        cloudformation_endpoint: config.cloudformation_endpoint().map(str::to_owned),
        cloudtrail_endpoint: config.cloudtrail_endpoint().map(str::to_owned),
        redshift_endpoint: config.redshift_endpoint().map(str::to_owned),
        redshift_serverless_endpoint: config.redshift_serverless_endpoint().map(str::to_owned),
        iam_endpoint: config.iam_endpoint().map(str::to_owned),
        ignores_endpoints: config.ignores_endpoints,
        ca_bundle: config.ca_bundle.clone(),
        usual_ca_bundle: config.usual_ca_bundle.clone(),
        proxies: Arc::new(proxies),
        files: file_paths(config),
        home: config.home.clone(),
        cli_cache: config.cli_cache.clone(),
    }
}

/// Returns the profiles of AWS's files.
pub fn profile_names(config: &Config) -> Vec<String> {
    AwsFiles::read(&file_paths(&config.aws)).profile_names().map(str::to_owned).collect()
}

/// Returns where AWS's files are: where a variable says, else in the home folder.
fn file_paths(config: &AwsSettings) -> FilePaths {
    let find = |named: &Option<PathBuf>, name: &str| match named {
        Some(path) => Some(FilePath { path: path.clone(), is_named: true }),
        None => {
            let home = config.home.as_ref()?;
            Some(FilePath { path: home.join(".aws").join(name), is_named: false })
        }
    };
    FilePaths {
        config: find(&config.config_file, "config"),
        credentials: find(&config.credentials_file, "credentials"),
    }
}

/// Returns the settings of a session; `linger` is the command's default.
pub fn session_settings(config: &Config, began: Instant, linger: Duration) -> session::SessionOptions {
    let Config { session: config, cache_dir, .. } = config;
    session::SessionOptions {
        began,
        connect_timeout: config.connect_timeout,
        resume_window: config.resume_window,
        keepalive: config.keepalive,
        linger: config.linger.unwrap_or(linger),
        max_payload: config.max_payload.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
        cache_dir: cache_dir.clone(),
        for_remote_host: false,
        access_request: access_request(config),
    }
}

fn access_request(config: &SessionSettings) -> Option<session::AccessRequest> {
    let known = match &config.access_request {
        AccessRequest::Off => return None,
        AccessRequest::New => None,
        AccessRequest::Known(id) => Some(id.clone()),
    };
    Some(session::AccessRequest { known, patience: config.access_request_timeout })
}

/// Returns where a name has one meaning: for this configuration, region and key.
pub(super) fn cache_scope(config: &Config, region: &str, access_key_id: &str) -> Scope {
    let aws = &config.aws;
    let endpoint = |url: Option<&str>| url.unwrap_or_default().to_owned();
    Scope {
        folder: config.cache_dir.clone(),
        profile: aws.profile.clone().unwrap_or_else(|| "default".to_owned()),
        region: region.to_owned(),
        endpoints: [endpoint(aws.ec2_endpoint()), endpoint(aws.ssm_endpoint())],
        access_key_id: access_key_id.to_owned(),
    }
}
