//! A command of the built-in ssh server on a pseudo-terminal.

use std::io;

use pty_process::{OwnedReadPty, OwnedWritePty, Size};
use russh::server::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::sim::ssh_server::command::{NOT_RUN, exit_status, finish};

/// The terminal that a client has requested.
#[derive(Clone, Debug)]
pub(super) struct Terminal {
    /// The value of `TERM`.
    pub name: String,
    pub columns: u32,
    pub rows: u32,
}

/// Runs a command on a new pseudo-terminal until it exits or the channel is closed.
pub(super) async fn serve(command: Command, terminal: Terminal, channel: Channel<Msg>) {
    let (mut reader, writer) = channel.split();
    let status = match spawn(command, &terminal) {
        Ok((output, input, mut child)) => tokio::select! {
            status = run(&mut child, output, &writer) => status,
            () = feed(&mut reader, input) => return,
        },
        Err(error) => {
            let _ = writer.extended_data_bytes(1, format!("sh: {error}\n")).await;
            NOT_RUN
        }
    };
    finish(&writer, status).await;
}

fn spawn(mut command: Command, terminal: &Terminal) -> io::Result<(OwnedReadPty, OwnedWritePty, Child)> {
    let (pty, slave) = pty_process::open().map_err(io::Error::other)?;
    pty.resize(size(terminal.columns, terminal.rows)).map_err(io::Error::other)?;
    command.env("TERM", &terminal.name);
    let child = pty_process::Command::from(command).spawn(slave).map_err(io::Error::other)?;
    let (output, input) = pty.into_split();
    Ok((output, input, child))
}

async fn run(child: &mut Child, mut output: OwnedReadPty, writer: &ChannelWriteHalf<Msg>) -> u32 {
    // On Linux, reading ends with EIO once the last process has closed the terminal.
    let mut out = writer.make_writer();
    let copy = tokio::io::copy(&mut output, &mut out);
    let (_, status) = tokio::join!(copy, child.wait());
    exit_status(status)
}

/// Passes on the client's input and window sizes until the channel is closed.
async fn feed(reader: &mut ChannelReadHalf, mut input: OwnedWritePty) {
    while let Some(message) = reader.wait().await {
        // A failure means that the command has exited, which `run` reports. EOF does not close a terminal.
        #[expect(clippy::wildcard_enum_match_arm, reason = "other requests need no answer")]
        match message {
            ChannelMsg::Data { data } => {
                let _ = input.write_all(&data).await;
            }
            ChannelMsg::WindowChange { col_width, row_height, .. } => {
                let _ = input.resize(size(col_width, row_height));
            }
            ChannelMsg::Close => return,
            _ => {}
        }
    }
}

fn size(columns: u32, rows: u32) -> Size {
    let cells = |count| u16::try_from(count).unwrap_or(u16::MAX);
    Size::new(cells(rows), cells(columns))
}
