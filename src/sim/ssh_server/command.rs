//! A command of the built-in ssh server: a shell, and pipes between it and an ssh channel.

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use russh::server::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};

/// The exit status of a command that could not be run or was killed.
pub(super) const NOT_RUN: u32 = 255;

/// Builds a shell that runs a command, or commands from its standard input.
pub(super) fn shell(command: Option<&str>, directory: &Path, environment: &[(String, String)]) -> Command {
    let mut shell = Command::new("sh");
    shell.args(command.into_iter().flat_map(|command| ["-c", command]));
    shell.current_dir(directory).envs(environment.iter().map(|(name, value)| (name, value)));
    shell.kill_on_drop(true);
    shell
}

/// Runs a command with pipes until it exits or the channel is closed.
pub(super) async fn serve(mut command: Command, channel: Channel<Msg>) {
    let (mut reader, writer) = channel.split();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let status = match command.spawn() {
        Ok(mut child) => {
            let input = child.stdin.take();
            tokio::select! {
                status = run(&mut child, &writer) => status,
                () = feed(&mut reader, input) => return,
            }
        }
        Err(error) => {
            let _ = writer.extended_data_bytes(1, format!("sh: {error}\n")).await;
            NOT_RUN
        }
    };
    finish(&writer, status).await;
}

/// Sends the exit status and closes the channel; both fail if the client has closed it.
pub(super) async fn finish(writer: &ChannelWriteHalf<Msg>, status: u32) {
    let _ = writer.exit_status(status).await;
    let _ = writer.eof().await;
    let _ = writer.close().await;
}

/// Returns the exit status that is sent to the client.
pub(super) fn exit_status(status: io::Result<ExitStatus>) -> u32 {
    status.ok().and_then(|status| status.code()).and_then(|code| u32::try_from(code).ok()).unwrap_or(NOT_RUN)
}

async fn run(child: &mut Child, writer: &ChannelWriteHalf<Msg>) -> u32 {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let copy_out = async {
        if let Some(mut stdout) = stdout {
            let _ = tokio::io::copy(&mut stdout, &mut writer.make_writer()).await;
        }
    };
    let copy_err = async {
        if let Some(mut stderr) = stderr {
            let _ = tokio::io::copy(&mut stderr, &mut writer.make_writer_ext(Some(1))).await;
        }
    };
    let ((), (), status) = tokio::join!(copy_out, copy_err, child.wait());
    exit_status(status)
}

/// Passes on the client's input until the channel is closed.
async fn feed(reader: &mut ChannelReadHalf, mut input: Option<ChildStdin>) {
    while let Some(message) = reader.wait().await {
        #[expect(clippy::wildcard_enum_match_arm, reason = "other requests need no answer")]
        match message {
            ChannelMsg::Data { data } => {
                let failed = match &mut input {
                    Some(pipe) => pipe.write_all(&data).await.is_err(),
                    None => false,
                };
                if failed {
                    input = None;
                }
            }
            ChannelMsg::Eof => input = None,
            ChannelMsg::Close => return,
            _ => {}
        }
    }
}
