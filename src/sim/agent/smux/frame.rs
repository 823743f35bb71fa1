//! The smux frame: an eight-byte little-endian header, followed by data if the command is PSH.

use bytes::{BufMut, BytesMut};

/// The length of a header in bytes.
pub const HEADER_LENGTH: usize = 8;
/// The most data that the agent sends in one frame; it receives up to 65,535 bytes.
pub const MOST_DATA: usize = 32_768;

const VERSION: u8 = 1;

/// The command of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmuxCommand {
    /// Opens a stream.
    Syn,
    /// Closes a stream.
    Fin,
    /// Carries data of a stream.
    Psh,
    /// Keeps the session alive.
    Nop,
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SmuxHeader {
    /// The command.
    pub command: SmuxCommand,
    /// The length of the data; only that of a PSH is read.
    pub length: u16,
    /// The stream; 0 for a NOP.
    pub stream: u32,
}

/// A header that is not smux version 1; the session cannot continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("version {version} and command {command} are not smux version 1")]
pub struct ProtocolError {
    version: u8,
    command: u8,
}

impl SmuxCommand {
    fn code(self) -> u8 {
        match self {
            Self::Syn => 0,
            Self::Fin => 1,
            Self::Psh => 2,
            Self::Nop => 3,
        }
    }
}

impl SmuxHeader {
    /// Parses a header.
    ///
    /// # Errors
    /// The version is not 1, or the command is unknown.
    pub fn read(raw: [u8; HEADER_LENGTH]) -> Result<Self, ProtocolError> {
        let [version, command, length_low, length_high, stream @ ..] = raw;
        let error = ProtocolError { version, command };
        if version != VERSION {
            return Err(error);
        }
        let command = match command {
            0 => SmuxCommand::Syn,
            1 => SmuxCommand::Fin,
            2 => SmuxCommand::Psh,
            3 => SmuxCommand::Nop,
            4.. => return Err(error),
        };
        let length = u16::from_le_bytes([length_low, length_high]);
        Ok(Self { command, length, stream: u32::from_le_bytes(stream) })
    }
}

/// Appends a frame without data.
pub fn write(out: &mut BytesMut, command: SmuxCommand, stream: u32) {
    write_header(out, command, 0, stream);
}

/// Appends data of a stream in one or more frames.
pub fn write_data(out: &mut BytesMut, stream: u32, data: &[u8]) {
    for part in data.chunks(MOST_DATA) {
        write_header(out, SmuxCommand::Psh, part.len() as u16, stream);
        out.put_slice(part);
    }
}

fn write_header(out: &mut BytesMut, command: SmuxCommand, length: u16, stream: u32) {
    out.put_u8(VERSION);
    out.put_u8(command.code());
    out.put_u16_le(length);
    out.put_u32_le(stream);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        text.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    }

    fn written(write_it: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
        let mut out = BytesMut::new();
        write_it(&mut out);
        out.to_vec()
    }

    #[test]
    fn vector_5_the_four_frames() {
        assert_eq!(written(|out| write(out, SmuxCommand::Syn, 3)), hex("01 00 00 00 03 00 00 00"));
        assert_eq!(written(|out| write_data(out, 3, b"GET")), hex("01 02 03 00 03 00 00 00 47 45 54"));
        assert_eq!(written(|out| write(out, SmuxCommand::Fin, 3)), hex("01 01 00 00 03 00 00 00"));
        assert_eq!(written(|out| write(out, SmuxCommand::Nop, 0)), hex("01 03 00 00 00 00 00 00"));
    }

    #[test]
    fn vector_5_the_header_of_the_longest_push_and_the_rest_in_a_second() {
        let out = written(|out| write_data(out, 5, &[7; MOST_DATA + 1]));
        assert_eq!(out[..HEADER_LENGTH], hex("01 02 00 80 05 00 00 00"));
        assert_eq!(out[HEADER_LENGTH + MOST_DATA..], hex("01 02 01 00 05 00 00 00 07"));
    }

    #[test]
    fn headers_of_other_versions_or_commands_are_errors() {
        let read = |text| SmuxHeader::read(hex(text).try_into().unwrap());
        let header = SmuxHeader { command: SmuxCommand::Psh, length: 65_535, stream: 0x0403_0201 };
        assert_eq!(read("01 02 ff ff 01 02 03 04"), Ok(header));
        assert_eq!(read("02 02 00 00 03 00 00 00"), Err(ProtocolError { version: 2, command: 2 }));
        assert_eq!(read("01 04 00 00 03 00 00 00"), Err(ProtocolError { version: 1, command: 4 }));
    }
}
