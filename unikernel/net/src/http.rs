//! HTTP/1.1, the server's side, as bytes (RFC 9112). It knows no route.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write;

/// The longest request line and header fields.
const HEAD_MAX_BYTES: usize = 8 * 1024;
/// How many header fields are looked at.
const FIELDS_MAX: usize = 64;
/// The longest content of a request.
pub const CONTENT_MAX_BYTES: usize = 64 * 1024;

/// What a client asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// Such as `GET`.
    pub method: String,
    /// The part of the target before `?`.
    pub path: String,
    /// The part of the target behind `?`, if there is one.
    pub query: Option<String>,
    /// The content.
    pub content: Vec<u8>,
    /// The header fields whose names begin with `coterie-`, in lower case.
    pub fields: Vec<(String, String)>,
    /// Whether the connection stays open after the response.
    pub keep_alive: bool,
}

/// Why a request is refused. The connection is closed after the response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestError {
    /// It is not HTTP.
    Malformed,
    /// Its head is too long.
    HeadTooLong,
    /// Its content is too long.
    ContentTooLong,
    /// Its content is coded in a way that is not supported.
    TransferCoding,
    /// It is of another major version.
    Version,
}

impl RequestError {
    /// The status code of the response.
    pub fn status(self) -> u16 {
        match self {
            RequestError::Malformed => 400,
            RequestError::ContentTooLong => 413,
            RequestError::HeadTooLong => 431,
            RequestError::TransferCoding => 501,
            RequestError::Version => 505,
        }
    }
}

impl core::fmt::Display for RequestError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            RequestError::Malformed => f.write_str("this is not a request of HTTP/1.1"),
            RequestError::HeadTooLong => {
                write!(
                    f,
                    "a request's head has at most {HEAD_MAX_BYTES} bytes and {FIELDS_MAX} fields"
                )
            }
            RequestError::ContentTooLong => {
                write!(f, "a request's content has at most {CONTENT_MAX_BYTES} bytes")
            }
            RequestError::TransferCoding => {
                f.write_str("transfer codings are not supported: send Content-Length")
            }
            RequestError::Version => f.write_str("HTTP/1.0 and HTTP/1.1 are supported"),
        }
    }
}

impl core::error::Error for RequestError {}

/// Takes a whole request off the front of `bytes`; answers it and how many bytes it had, or `None` if more
/// bytes must come first.
///
/// # Errors
/// If no request can come of these bytes.
pub fn parse(bytes: &[u8]) -> Result<Option<(Request, usize)>, RequestError> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut head = httparse::Request::new(&mut fields);
    let length = match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_MAX_BYTES => return Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Err(RequestError::HeadTooLong);
        }
        Err(httparse::Error::Version) => return Err(RequestError::Version),
        Err(_) => return Err(RequestError::Malformed),
    };
    if length > HEAD_MAX_BYTES {
        return Err(RequestError::HeadTooLong);
    }
    let content_length = content_length(head.headers)?;
    let Some(content) = bytes.get(length..length + content_length) else { return Ok(None) };
    let (Some(method), Some(target)) = (head.method, head.path) else {
        return Err(RequestError::Malformed);
    };
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_string())),
        None => (target, None),
    };
    let request = Request {
        method: method.to_string(),
        path: path.to_string(),
        query,
        content: content.to_vec(),
        fields: own_fields(head.headers),
        keep_alive: keeps_alive(head.headers, head.version),
    };
    Ok(Some((request, length + content_length)))
}

/// The fields that mean something to the services of a node.
fn own_fields(fields: &[httparse::Header<'_>]) -> Vec<(String, String)> {
    let own = fields.iter().filter_map(|field| {
        let name = field.name.to_ascii_lowercase();
        let value = core::str::from_utf8(field.value).ok()?.trim().to_string();
        name.starts_with("coterie-").then_some((name, value))
    });
    own.collect()
}

fn field<'a>(fields: &'a [httparse::Header<'a>], name: &str) -> Option<&'a str> {
    let field = fields.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
    core::str::from_utf8(field.value).ok().map(str::trim)
}

fn content_length(fields: &[httparse::Header<'_>]) -> Result<usize, RequestError> {
    if field(fields, "transfer-encoding").is_some() {
        return Err(RequestError::TransferCoding);
    }
    let is_length =
        |field: &&httparse::Header<'_>| field.name.eq_ignore_ascii_case("content-length");
    match fields.iter().filter(is_length).count() {
        0 => return Ok(0),
        1 => {}
        // Two lengths are an attempt to smuggle a request (RFC 9112, section 6.3).
        _ => return Err(RequestError::Malformed),
    }
    let digits = field(fields, "content-length").ok_or(RequestError::Malformed)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(RequestError::Malformed);
    }
    let length = digits.parse::<usize>().unwrap_or(usize::MAX);
    if length > CONTENT_MAX_BYTES { Err(RequestError::ContentTooLong) } else { Ok(length) }
}

fn keeps_alive(fields: &[httparse::Header<'_>], version: Option<u8>) -> bool {
    let connection = field(fields, "connection").unwrap_or("");
    let says =
        |word: &str| connection.split(',').any(|part| part.trim().eq_ignore_ascii_case(word));
    if version == Some(0) { says("keep-alive") } else { !says("close") }
}

/// What a client is answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The media type of the content.
    pub content_type: &'static str,
    /// The content.
    pub content: String,
    /// Further header fields, each with its end of line; the methods that are allowed, for instance.
    pub fields: &'static str,
}

impl Response {
    /// A response with plain text, which ends with a line end.
    pub fn text(status: u16, text: &str) -> Response {
        let content = alloc::format!("{text}\n");
        Response { status, content_type: "text/plain; charset=utf-8", content, fields: "" }
    }

    /// The response as bytes. Only its head if `is_head`.
    pub fn encode(&self, keep_alive: bool, is_head: bool) -> Vec<u8> {
        let mut head = String::new();
        let connection = if keep_alive { "keep-alive" } else { "close" };
        let (status, reason) = (self.status, reason(self.status));
        let (content_type, length, fields) = (self.content_type, self.content.len(), self.fields);
        // Writing to a string does not fail.
        let _ = write!(
            head,
            "HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\
             Connection: {connection}\r\n{fields}\r\n"
        );
        if !is_head {
            head.push_str(&self.content);
        }
        head.into_bytes()
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "Status",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &[u8] = b"POST /v1/x?y=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET";

    #[test]
    fn a_request_is_taken_off_the_front() {
        let (request, length) = parse(GOOD).unwrap().unwrap();
        assert_eq!(length, GOOD.len() - 3);
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v1/x"));
        assert_eq!(request.query.as_deref(), Some("y=1"));
        assert_eq!(request.content, b"hello");
        assert!(request.keep_alive);
        for cut in 0..length {
            assert_eq!(parse(&GOOD[..cut]), Ok(None), "cut at {cut}");
        }
    }

    #[test]
    fn connections_stay_open_by_version_and_wish() {
        let keeps = |text: &str| parse(text.as_bytes()).unwrap().unwrap().0.keep_alive;
        assert!(keeps("GET / HTTP/1.1\r\n\r\n"));
        assert!(!keeps("GET / HTTP/1.1\r\nConnection: close\r\n\r\n"));
        assert!(!keeps("GET / HTTP/1.0\r\n\r\n"));
        assert!(keeps("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
    }

    #[test]
    fn nonsense_is_refused_with_its_status() {
        let status = |bytes: &[u8]| parse(bytes).unwrap_err().status();
        assert_eq!(status(b"\x16\x03\x01\x02\x00"), 400);
        assert_eq!(status(b"GET / HTTP/2.0\r\n\r\n"), 505);
        assert_eq!(status(b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"), 400);
        assert_eq!(
            status(b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
            400
        );
        assert_eq!(status(b"GET / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n"), 413);
        assert_eq!(status(b"GET / HTTP/1.1\r\nContent-Length: 65537\r\n\r\n"), 413);
        assert_eq!(status(b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"), 501);
        let long = [b"GET /".to_vec(), vec![b'a'; HEAD_MAX_BYTES]].concat();
        assert_eq!(status(&long), 431);
    }

    #[test]
    fn a_response_says_how_long_it_is() {
        let text = |is_head| {
            String::from_utf8(Response::text(404, "no such page").encode(false, is_head)).unwrap()
        };
        assert_eq!(
            text(false),
            "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: 13\r\nConnection: close\r\n\r\nno such page\n"
        );
        assert!(text(true).ends_with("\r\n\r\n"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn no_change_makes_it_panic(position in 0..GOOD.len(), byte in any::<u8>()) {
            let mut bytes = GOOD.to_vec();
            bytes[position] = byte;
            let _ = parse(&bytes);
        }
    }
}
