//! The eight points of small order, as the curve's points are written (RFC 8032, section 5.1.2): 32 bytes of
//! y, and the sign of x in the last bit. K. Chalkias and others, "Taming the many EdDSAs", 2020, table 6, has
//! six more; those are not in canonical form.

use crate::key::KEY_BYTES;

type Point = [u8; KEY_BYTES];

/// All of them, in canonical form.
pub(crate) const SMALL_ORDER: [Point; 8] = [
    ONE,
    MINUS_ONE,
    ZERO,
    other_sign(ZERO),
    EIGHTH,
    other_sign(EIGHTH),
    OTHER_EIGHTH,
    other_sign(OTHER_EIGHTH),
];

/// Order 4.
const ZERO: Point = [0; KEY_BYTES];

/// Order 1.
const ONE: Point = {
    let mut bytes = ZERO;
    bytes[0] = 1;
    bytes
};

/// Order 2: 2^255 - 20.
const MINUS_ONE: Point = {
    let mut bytes = [0xff; KEY_BYTES];
    (bytes[0], bytes[KEY_BYTES - 1]) = (0xec, 0x7f);
    bytes
};

/// Order 8.
const EIGHTH: Point = [
    0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
    0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
];

/// Order 8, too: the negative of the other.
const OTHER_EIGHTH: Point = [
    0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
    0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
];

const fn other_sign(mut point: Point) -> Point {
    point[KEY_BYTES - 1] ^= 0x80;
    point
}
