//! The user's root certificates: which file, and its contents.

use std::path::{Path, PathBuf};

use crate::transport::Bundle;

use super::AwsOptions;
use super::error::ApiError;
use super::files::Profile;

/// Reads the bundle that `AWS_CA_BUNDLE` names, else the profile, else `REQUESTS_CA_BUNDLE`: botocore's order.
///
/// # Errors
/// [`ApiError::Bundle`] if it cannot be used.
pub(super) fn choose(options: &AwsOptions, profile: &Profile) -> Result<Option<Bundle>, ApiError> {
    let of_profile = || profile.get("ca_bundle").filter(|path| !path.is_empty()).map(PathBuf::from);
    let path = options.ca_bundle.clone().or_else(of_profile).or_else(|| options.usual_ca_bundle.clone());
    path.map(|path| read(&in_home(&path, options.home.as_deref()))).transpose()
}

/// Replaces a leading `~`.
fn in_home(path: &Path, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        (_, _) => path.to_owned(),
    }
}

fn read(path: &Path) -> Result<Bundle, ApiError> {
    let refused =
        |error: &dyn std::fmt::Display| ApiError::Bundle { file: path.to_owned(), cause: error.to_string() };
    let pem = std::fs::read(path).map_err(|error| refused(&error))?;
    Bundle::parse(&pem).map_err(|error| refused(&error))
}
