//! The smux frame: an 8-byte header, little-endian unlike the data channel's, and up to 65,535 bytes of data.
//!
//! Owns the layout. Frames do not align with data channel messages, so a header may arrive in pieces.
//! Source: `frame.go` of xtaci/smux, version 1 of the protocol, vendored by the official client and the agent.

use std::fmt;

/// Bytes of a header.
pub const HEADER_LENGTH: usize = 8;
const VERSION: u8 = 1;

/// What a frame does to its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameCommand {
    /// Opens the stream.
    Syn,
    /// Closes the stream in both directions.
    Fin,
    /// Carries data.
    Psh,
    /// Keeps the session alive; stream 0.
    Nop,
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    pub command: FrameCommand,
    /// Bytes of data after the header.
    pub length: u16,
    /// The id of the stream.
    pub stream: u32,
}

/// The input is not smux version 1; the rest cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Another protocol version.
    Version(u8),
    /// A command that version 1 does not have.
    Command(u8),
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "smux version {version} instead of {VERSION}"),
            Self::Command(command) => write!(f, "unknown smux command {command}"),
        }
    }
}

impl std::error::Error for HeaderError {}

impl FrameHeader {
    /// Encodes the header.
    pub fn encode(self) -> [u8; HEADER_LENGTH] {
        let [l0, l1] = self.length.to_le_bytes();
        let [s0, s1, s2, s3] = self.stream.to_le_bytes();
        [VERSION, self.command as u8, l0, l1, s0, s1, s2, s3]
    }

    /// Parses a header.
    ///
    /// # Errors
    /// [`HeaderError`] if the input is not smux version 1.
    pub fn parse(bytes: [u8; HEADER_LENGTH]) -> Result<Self, HeaderError> {
        let [version, command, l0, l1, s0, s1, s2, s3] = bytes;
        if version != VERSION {
            return Err(HeaderError::Version(version));
        }
        let command = match command {
            0 => FrameCommand::Syn,
            1 => FrameCommand::Fin,
            2 => FrameCommand::Psh,
            3 => FrameCommand::Nop,
            other => return Err(HeaderError::Command(other)),
        };
        let (length, stream) = (u16::from_le_bytes([l0, l1]), u32::from_le_bytes([s0, s1, s2, s3]));
        Ok(Self { command, length, stream })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_have_the_golden_bytes() {
        let golden = [
            (FrameCommand::Syn, 0, 3, [1, 0, 0, 0, 3, 0, 0, 0]),
            (FrameCommand::Psh, 3, 3, [1, 2, 3, 0, 3, 0, 0, 0]),
            (FrameCommand::Fin, 0, 3, [1, 1, 0, 0, 3, 0, 0, 0]),
            (FrameCommand::Nop, 0, 0, [1, 3, 0, 0, 0, 0, 0, 0]),
            (FrameCommand::Psh, 32_768, 5, [1, 2, 0, 0x80, 5, 0, 0, 0]),
        ];
        for (command, length, stream, bytes) in golden {
            let header = FrameHeader { command, length, stream };
            assert_eq!(header.encode(), bytes);
            assert_eq!(FrameHeader::parse(bytes), Ok(header));
        }
    }

    #[test]
    fn other_protocols_are_refused() {
        assert_eq!(FrameHeader::parse([2, 0, 0, 0, 0, 0, 0, 0]), Err(HeaderError::Version(2)));
        assert_eq!(FrameHeader::parse([1, 4, 0, 0, 0, 0, 0, 0]), Err(HeaderError::Command(4)));
    }
}
