//! Requests of browsers.

use net::http::{CONTENT_MAX_BYTES, RequestError, parse};

use crate::input::Input;

pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let cut = usize::from(input.u16());
    let bytes = input.rest();
    let whole = parse(bytes);
    let front = parse(&bytes[..cut.min(bytes.len())]);
    match &whole {
        Ok(Some((request, length))) => {
            assert!(*length <= bytes.len() && request.content.len() <= CONTENT_MAX_BYTES);
            assert!(!request.path.contains('?') && request.path.bytes().all(|byte| byte > b' '));
            assert_eq!(parse(&bytes[..*length]), whole, "what follows does not matter");
            match front {
                Ok(None) => assert!(cut < *length),
                other => assert!(cut >= *length && other == whole, "{other:?}"),
            }
        }
        Ok(None) => assert_eq!(front, Ok(None), "more bytes never make less"),
        Err(error) => {
            assert!((400..600).contains(&error.status()));
            // Only where a head is too long does it matter how much of it has come.
            assert!(
                matches!(front, Ok(None)) || front == whole || *error == RequestError::HeadTooLong,
                "{front:?}, then {error:?}"
            );
        }
    }
}
