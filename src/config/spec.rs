//! `-L` and `-D` in OpenSSH's grammar, and the ends of a forward as one text each.
//!
//! `[BIND:]PORT:HOST:HOSTPORT`, with `[BIND:]PORT:HOSTPORT` for a port of the target itself, a path (with a `/` in it) in
//! the place of `[BIND:]PORT` for a unix socket, fields with colons in brackets.

use thiserror::Error;

use super::forward::{LocalEnd, RemoteEnd};

/// The argument of `-L`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalForward {
    /// Where to listen.
    pub local: LocalEnd,
    /// What to connect to.
    pub remote: RemoteEnd,
}

/// Why a text is not a forward.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SpecError {
    /// Another form.
    #[error("the form is `[BIND:]PORT:HOST:HOSTPORT`, `[BIND:]PORT:HOSTPORT` or `SOCKET:HOST:HOSTPORT`")]
    Local,
    /// Another form.
    #[error("the form is `[BIND:]PORT`")]
    Dynamic,
    /// The remote end is a socket: the agent connects to TCP only.
    #[error("a remote unix socket cannot be reached: the agent connects to TCP ports only")]
    RemoteSocket,
    /// A port that cannot be connected to.
    #[error("the remote port must be from 1 to 65535")]
    RemotePort,
    /// A port that cannot be listened on.
    #[error("the port to listen on must be from 0 to 65535")]
    LocalPort,
}

/// Reads the argument of `-L`.
///
/// # Errors
/// [`SpecError`]
pub fn local_forward(text: &str) -> Result<LocalForward, SpecError> {
    let fields = fields(text).ok_or(SpecError::Local)?;
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    match fields.as_slice() {
        [local, port] if is_path(local) => forward(socket(local), None, port),
        [local, host, port] if is_path(local) => forward(socket(local), Some(host), port),
        [port, target_port] => forward(tcp(None, port)?, None, target_port),
        [bind, port, target_port] if !is_number(bind) && is_number(port) => {
            forward(tcp(Some(bind), port)?, None, target_port)
        }
        [port, host, target_port] => forward(tcp(None, port)?, Some(host), target_port),
        [bind, port, host, target_port] => forward(tcp(Some(bind), port)?, Some(host), target_port),
        _ => Err(SpecError::Local),
    }
}

/// Reads the argument of `-D`.
///
/// # Errors
/// [`SpecError`]
pub fn dynamic_forward(text: &str) -> Result<LocalEnd, SpecError> {
    let fields = fields(text).ok_or(SpecError::Dynamic)?;
    match fields.as_slice() {
        [port] => tcp(None, port).map_err(|_| SpecError::Dynamic),
        [bind, port] => tcp(Some(bind), port).map_err(|_| SpecError::Dynamic),
        _ => Err(SpecError::Dynamic),
    }
}

fn forward(local: LocalEnd, host: Option<&str>, port: &str) -> Result<LocalForward, SpecError> {
    if is_path(port) || host.is_some_and(is_path) {
        return Err(SpecError::RemoteSocket);
    }
    if host
        .is_some_and(|host| host.is_empty() || host.contains(|c: char| c.is_whitespace() || "[]".contains(c)))
    {
        return Err(SpecError::Local);
    }
    if !is_number(port) {
        return Err(SpecError::Local);
    }
    let port = port.parse().ok().filter(|port| *port > 0).ok_or(SpecError::RemotePort)?;
    Ok(LocalForward { local, remote: RemoteEnd { host: host.map(str::to_owned), port } })
}

fn tcp(bind: Option<&str>, port: &str) -> Result<LocalEnd, SpecError> {
    if !is_number(port) || bind.is_some_and(|bind| bind.contains(char::is_whitespace)) {
        return Err(SpecError::Local);
    }
    let port = port.parse().map_err(|_| SpecError::LocalPort)?;
    Ok(LocalEnd::Tcp { bind: bind.map(str::to_owned), port })
}

fn socket(path: &str) -> LocalEnd {
    LocalEnd::Socket(path.into())
}

fn is_path(field: &str) -> bool {
    field.contains('/')
}

fn is_number(field: &str) -> bool {
    !field.is_empty() && field.bytes().all(|byte| byte.is_ascii_digit())
}

/// Splits at colons as OpenSSH does: a field in brackets is used literally, and a backslash makes the next character part
/// of its field.
fn fields(text: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = Some(text);
    while let Some(text) = rest {
        let (field, after) = if text.starts_with('[') { bracketed(text)? } else { plain(text)? };
        fields.push(field);
        rest = after;
    }
    Some(fields)
}

/// Reads a field in brackets, and what follows the colon behind it.
fn bracketed(text: &str) -> Option<(String, Option<&str>)> {
    let (field, after) = text.strip_prefix('[')?.split_once(']')?;
    let after = if after.is_empty() { None } else { Some(after.strip_prefix(':')?) };
    Some((field.to_owned(), after))
}

fn plain(text: &str) -> Option<(String, Option<&str>)> {
    let mut field = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            ':' => return Some((field, Some(&text[at + 1..]))),
            '\\' => field.push(chars.next()?.1),
            c => field.push(c),
        }
    }
    Some((field, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(bind: Option<&str>, port: u16) -> LocalEnd {
        LocalEnd::Tcp { bind: bind.map(str::to_owned), port }
    }

    fn remote(host: Option<&str>, port: u16) -> RemoteEnd {
        RemoteEnd { host: host.map(str::to_owned), port }
    }

    #[test]
    fn opensshs_forms_are_parsed() {
        for (text, near, far) in [
            ("13306:db:3306", local(None, 13306), remote(Some("db"), 3306)),
            ("127.0.0.1:0:db:3306", local(Some("127.0.0.1"), 0), remote(Some("db"), 3306)),
            (":80:db:3306", local(Some(""), 80), remote(Some("db"), 3306)),
            ("*:80:db:3306", local(Some("*"), 80), remote(Some("db"), 3306)),
            ("[::1]:80:[fd00::1]:3306", local(Some("::1"), 80), remote(Some("fd00::1"), 3306)),
            ("127.0.0.1:0:[10.0.0.9]:80", local(Some("127.0.0.1"), 0), remote(Some("10.0.0.9"), 80)),
            ("[127.0.0.1]:0:[db]:80", local(Some("127.0.0.1"), 0), remote(Some("db"), 80)),
            ("[8080]:[db]:[80]", local(None, 8080), remote(Some("db"), 80)),
            ("[*]:80:db:1", local(Some("*"), 80), remote(Some("db"), 1)),
            ("[fe80::1%lo]:80:1", local(Some("fe80::1%lo"), 80), remote(None, 1)),
            ("80:fd00\\:\\:1:3306", local(None, 80), remote(Some("fd00::1"), 3306)),
            ("[/tmp/a:b]:db:1", LocalEnd::Socket("/tmp/a:b".into()), remote(Some("db"), 1)),
            ("/tmp/a\\:b:db:1", LocalEnd::Socket("/tmp/a:b".into()), remote(Some("db"), 1)),
            ("8080:80", local(None, 8080), remote(None, 80)),
            ("localhost:8080:80", local(Some("localhost"), 8080), remote(None, 80)),
            ("/tmp/db.sock:db:3306", LocalEnd::Socket("/tmp/db.sock".into()), remote(Some("db"), 3306)),
            ("./db.sock:3306", LocalEnd::Socket("./db.sock".into()), remote(None, 3306)),
        ] {
            assert_eq!(local_forward(text), Ok(LocalForward { local: near, remote: far }), "{text}");
        }
    }

    #[test]
    fn another_form_is_refused_with_its_cause() {
        for (text, error) in [
            ("", SpecError::Local),
            ("80", SpecError::Local),
            ("a:b:c", SpecError::Local),
            ("80:db:http", SpecError::Local),
            ("80::3306", SpecError::Local),
            ("1:2:3:4:5", SpecError::Local),
            ("[::1:80:db:1", SpecError::Local),
            ("[::1]80:db:1", SpecError::Local),
            ("80:[]:1", SpecError::Local),
            ("80:[db:1", SpecError::Local),
            ("80:db]:1", SpecError::Local),
            ("80:db:1\\", SpecError::Local),
            ("80:db:0", SpecError::RemotePort),
            ("80:db:65536", SpecError::RemotePort),
            ("65536:db:1", SpecError::LocalPort),
            ("80:/run/db.sock", SpecError::RemoteSocket),
            ("80:d b:1", SpecError::Local),
        ] {
            assert_eq!(local_forward(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_proxy_has_a_local_end_only() {
        assert_eq!(dynamic_forward("1080"), Ok(local(None, 1080)));
        assert_eq!(dynamic_forward("[::1]:0"), Ok(local(Some("::1"), 0)));
        assert_eq!(dynamic_forward("[127.0.0.1]:0"), Ok(local(Some("127.0.0.1"), 0)));
        assert_eq!(dynamic_forward("*:1080"), Ok(local(Some("*"), 1080)));
        for text in ["", "a", "1:2:3", "/tmp/x", "65536"] {
            assert_eq!(dynamic_forward(text), Err(SpecError::Dynamic), "{text}");
        }
    }
}
