//! smux version 1, sans-I/O: many byte streams on one session. Only its frames exist yet.

mod frame;

pub use self::frame::{Command, FrameHeader, HEADER_LENGTH, HeaderError};
