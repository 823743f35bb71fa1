//! `KnownHostsCommand` of ssh_config: a program that prints lines of known_hosts.
//!
//! As in OpenSSH, no shell reads the command; it is split by rules of its own, and each word but the first is expanded.

use std::io;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use futures_util::future::try_join;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::timeout;

/// The tokens that depend on the question; all others are expanded when ssh_config is read.
pub(super) const OPEN_TOKENS: [char; 5] = ['H', 'I', 'K', 'f', 't'];

/// The time for an answer: the login waits for it, and a session to a slow machine may be behind it.
const LIMIT: Duration = Duration::from_secs(120);

/// The most that the command may print: far more than a machine has keys.
const MOST_OUTPUT: u64 = 1024 * 1024;

/// What OpenSSH says for a token of the key when there is no key yet.
const NONE: &str = "NONE";

/// The command. Each argument may have the tokens of its question (`%H` and others), and `%%` for `%`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownHostsCommand {
    program: String,
    arguments: Vec<String>,
}

/// What the command is asked.
pub(super) struct Question<'a> {
    /// `%H`: the name in known_hosts.
    pub name: &'a str,
    /// The offered key; `None` asks which keys are known, before the key exchange.
    pub key: Option<OfferedKey>,
}

/// An offered key or certificate.
pub(super) struct OfferedKey {
    /// `%t`: its type.
    pub kind: String,
    /// `%f`: its fingerprint.
    pub fingerprint: String,
    /// `%K`: its bytes in base64.
    pub base64: String,
}

impl KnownHostsCommand {
    /// Splits a command, and expands its arguments with `expand`, which leaves the tokens of the question and `%%`. Returns `None` if
    /// it cannot be split or expanded, or its program is not an absolute path.
    pub(super) fn parse(text: &str, expand: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let mut words = split(text)?.into_iter();
        let program = words.next().filter(|program| Path::new(program).is_absolute())?;
        let arguments = words.map(|word| expand(&word)).collect::<Option<_>>()?;
        Some(Self { program, arguments })
    }

    /// Runs the command, and returns what it prints.
    ///
    /// # Errors
    /// Why it failed: the last line of its standard error that is not a hint, else its exit status.
    pub(super) async fn run(&self, question: &Question<'_>) -> Result<String, String> {
        let mut command = Command::new(&self.program);
        command.args(self.arguments.iter().map(|argument| question.expand(argument)));
        // The command may call AWS, and keeps the whole environment, as `ssh -G` does.
        let said = |what: &str| format!("`{}`: {what}", self.program);
        let output = timeout(LIMIT, output(command.stdin(Stdio::null()))).await;
        let output = output.map_err(|_| said(&format!("no answer within {} s", LIMIT.as_secs())))?;
        let output = output.map_err(|error| said(&error.to_string()))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(last_words(&said).map_or_else(|| output.status.to_string(), str::to_owned))
    }
}

/// Runs a command that prints little, and ends it if it prints much.
async fn output(command: &mut Command) -> io::Result<Output> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
    let (stdout, stderr) = try_join(bounded(child.stdout.take()), bounded(child.stderr.take())).await?;
    Ok(Output { status: child.wait().await?, stdout, stderr })
}

async fn bounded(pipe: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let Some(pipe) = pipe else { return Ok(bytes) };
    pipe.take(MOST_OUTPUT + 1).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > MOST_OUTPUT {
        return Err(io::Error::other(format!("it prints more than {} MiB", MOST_OUTPUT >> 20)));
    }
    Ok(bytes)
}

impl Question<'_> {
    fn expand(&self, argument: &str) -> String {
        let mut expanded = String::with_capacity(argument.len());
        let mut characters = argument.chars();
        while let Some(c) = characters.next() {
            match (c, characters.clone().next()) {
                ('%', Some(token)) => {
                    characters.next();
                    expanded.push_str(self.token(token));
                }
                (c, _) => expanded.push(c),
            }
        }
        expanded
    }

    fn token(&self, token: char) -> &str {
        let of_key = |value: fn(&OfferedKey) -> &String| self.key.as_ref().map_or(NONE, |key| value(key));
        match token {
            'H' => self.name,
            'I' if self.key.is_some() => "HOSTNAME",
            'I' => "ORDER",
            't' => of_key(|key| &key.kind),
            'f' => of_key(|key| &key.fingerprint),
            'K' => of_key(|key| &key.base64),
            _ => "%",
        }
    }
}

/// Returns the last line that is not a hint of fumidai, without fumidai's name.
fn last_words(text: &str) -> Option<&str> {
    let is_hint = |line: &&str| line.starts_with("fumidai: hint: ");
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty() && !is_hint(line))?;
    Some(line.strip_prefix("fumidai: ").unwrap_or(line))
}

/// Splits a command as OpenSSH does (`argv_split`): quotes of both kinds, and a backslash before a quote, a backslash or
/// a space.
fn split(text: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        let escaped = characters.peek().copied().filter(|next| c == '\\' && is_escaped(*next, quote));
        match (c, escaped, quote) {
            (_, Some(next), _) => {
                characters.next();
                word.get_or_insert_default().push(next);
            }
            (' ' | '\t', None, None) => words.extend(word.take()),
            ('\'' | '"', None, None) => {
                word.get_or_insert_default();
                quote = Some(c);
            }
            (c, None, Some(open)) if c == open => quote = None,
            (c, None, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

fn is_escaped(next: char, quote: Option<char>) -> bool {
    matches!(next, '\'' | '"' | '\\') || (next == ' ' && quote.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Option<Vec<String>> {
        split(text)
    }

    #[test]
    fn a_command_is_split_as_openssh_splits_it() {
        for (text, expected) in [
            ("/a b  c\td", Some(vec!["/a", "b", "c", "d"])),
            (r#"/a 'b c' "d'e" f"g h"i"#, Some(vec!["/a", "b c", "d'e", "fg hi"])),
            (r#"/a "\"x\\" 'it'\''s' b\ c \n"#, Some(vec!["/a", "\"x\\", "it's", "b c", r"\n"])),
            ("/a '' \"\"", Some(vec!["/a", "", ""])),
            ("", Some(vec![])),
            ("/a 'b", None),
        ] {
            let expected = expected.map(|all| all.into_iter().map(str::to_owned).collect());
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[test]
    fn open_tokens_are_expanded_for_each_question() {
        let key = || OfferedKey { kind: "T".into(), fingerprint: "F".into(), base64: "K".into() };
        let expand = |text: &str, key| Question { name: "web", key }.expand(text);
        assert_eq!(expand("%H:%I:%t:%f:%K:%%H:%", Some(key())), "web:HOSTNAME:T:F:K:%H:%");
        assert_eq!(expand("%H:%I:%t:%f:%K", None), "web:ORDER:NONE:NONE:NONE");
    }

    #[test]
    fn a_program_without_a_whole_path_is_refused() {
        let parse = |text| KnownHostsCommand::parse(text, |word| Some(word.to_owned()));
        assert!(parse("/bin/keys %H").is_some());
        assert!(parse("keys %H").is_none() && parse("").is_none() && parse("/a 'b").is_none());
        assert!(KnownHostsCommand::parse("/bin/keys %Z", |_| None).is_none());
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn what_it_prints_counts_only_if_it_succeeds() {
        let run = async |script: &str| {
            let command = KnownHostsCommand {
                program: "/bin/sh".into(),
                arguments: vec!["-c".into(), script.into(), "sh".into(), "%H".into()],
            };
            command.run(&Question { name: "web", key: None }).await
        };
        assert_eq!(run("echo $1 key").await.as_deref(), Ok("web key\n"));
        let failing =
            "echo key; echo first >&2; echo 'fumidai: denied' >&2; echo 'fumidai: hint: x' >&2; exit 11";
        assert_eq!(run(failing).await, Err("denied".to_owned()));
        assert_eq!(run("exit 3").await, Err("exit status: 3".to_owned()));
        let much = Err("`/bin/sh`: it prints more than 1 MiB".to_owned());
        assert_eq!(run("exec cat /dev/zero").await, much);
        assert_eq!(run("exec cat /dev/zero >&2").await, much);
        let most = run("head -c 1048576 /dev/zero").await.map(|text| text.len());
        assert_eq!(most, Ok(1_048_576));
    }
}
