//! The environment of the programs that a login runs beside ssh.

use tokio::process::Command;

/// The variables that hold AWS credentials, or by which a process can get them.
const SECRETS: [&str; 10] = [
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECRET_KEY",
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
];

/// Takes AWS credentials out of the environment of a program that does not call AWS. `ssh -G` keeps them, since a command
/// of `Match exec` may call AWS.
pub(super) fn without_secrets(command: &mut Command) {
    for name in SECRETS {
        command.env_remove(name);
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_child_gets_the_environment_without_credentials() {
        let mut outer = Command::new("/bin/sh");
        outer.arg("-c").arg("env").env("OTHER", "kept");
        for name in SECRETS {
            outer.env(name, "secret");
        }
        without_secrets(&mut outer);
        let output = outer.output().await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("OTHER=kept") && text.contains("PATH=") && !text.contains("secret"), "{text}");
    }
}
