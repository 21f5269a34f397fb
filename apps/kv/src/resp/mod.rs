//! The Redis serialization protocol, version 2: requests in, replies out.
//!
//! <https://redis.io/docs/latest/develop/reference/protocol-spec/>

mod inline;
mod number;
mod parser;
mod reply;

pub use number::{parse_i64, parse_u64};
pub use parser::{Fed, Parsed, Parser, ProtocolError, Refusal};
pub use reply::Reply;
