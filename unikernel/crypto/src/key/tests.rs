//! Published vectors, and the properties that certificates rest on.

use curve25519_dalek::scalar::Scalar;
use ed25519_dalek::hazmat::ExpandedSecretKey;
use proptest::prelude::*;
use sha2::{Digest as _, Sha512};

use super::*;
use crate::digest::Digest;

fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    assert_eq!(hex.len(), 2 * N);
    core::array::from_fn(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
}

fn signature(r: &str, s: &str) -> Signature {
    let mut signature = [0; SIGNATURE_BYTES];
    signature[..32].copy_from_slice(&bytes::<32>(r));
    signature[32..].copy_from_slice(&bytes::<32>(s));
    Signature(signature)
}

/// RFC 8032, section 7.1: secret key, public key, message, and the halves of the signature.
const RFC_8032: [[&str; 5]; 4] = [
    [
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155",
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ],
    [
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da",
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ],
    [
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac",
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ],
    [
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
         2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589",
        "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ],
];

#[test]
fn rfc_8032_vectors_are_signed_and_verified() {
    for [secret, public, message, r, s] in RFC_8032 {
        let key = SigningKey::take(&mut bytes(secret));
        let expected = signature(r, s);
        assert_eq!(key.verifying_key().to_bytes(), bytes(public));
        let message: Vec<u8> = (0..message.len() / 2)
            .map(|at| u8::from_str_radix(&message[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        assert_eq!(key.0.sign(&message).to_bytes(), expected.0);
        let key = VerifyingKey::from_bytes(&bytes(public)).unwrap();
        assert_eq!(verify_bytes(&key.0, &message, &expected), Ok(()));
    }
}

/// The ten vectors of "Taming the many EdDSAs": message, public key, and the halves of the signature.
const TAMING: [[&str; 4]; 10] = [
    [
        "8c93255d71dcab10e8f379c26200f3c7bd5f09d9bc3068d3ef4edeb4853022b6",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "0000000000000000000000000000000000000000000000000000000000000000",
    ],
    [
        "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
    ],
    [
        "aebf3f2601a0c8c5d39cc7d8911642f740b78168218da8471772b35f9d35b9ab",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "8c4bd45aecaca5b24fb97bc10ac27ac8751a7dfe1baff8b953ec9f5833ca260e",
    ],
    [
        "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "9046a64750444938de19f227bb80485e92b83fdb4b6506c160484c016cc1852f",
        "87909e14428a7a1d62e9f22f3d3ad7802db02eb2e688b6c52fcd6648a98bd009",
    ],
    [
        "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "160a1cb0dc9c0258cd0a7d23e94d8fa878bcb1925f2c64246b2dee1796bed512",
        "5ec6bc982a269b723e0668e540911a9a6a58921d6925e434ab10aa7940551a09",
    ],
    [
        "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "21122a84e0b5fca4052f5b1235c80a537878b38f3142356b2c2384ebad4668b7",
        "e40bc836dac0f71076f9abe3a53f9c03c1ceeeddb658d0030494ace586687405",
    ],
    [
        "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
        "442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623",
        "e96f66be976d82e60150baecff9906684aebb1ef181f67a7189ac78ea23b6c0e",
        "547f7690a0e2ddcd04d87dbc3490dc19b3b3052f7ff0538cb68afb369ba3a514",
    ],
    [
        "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
        "442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623",
        "8ce5b96c8f26d0ab6c47958c9e68b937104cd36e13c33566acd2fe8d38aa1942",
        "7e71f98a473474f2f13f06f97c20d58cc3f54b8bd0d272f42b695dd7e89a8c22",
    ],
    [
        "fdaebc429f4a735932a160da1301080c13280eea8bc280d1b392c6b9e6ba3a5a",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "454d370c8d9fc323a41450f8d513eafeb5b0697390c1e505a0d4ddc71f566607",
    ],
    [
        "84b698d39be126ff55fe45079e6c8bf64a0d7db6994560b4e96b7021eb39c1a1",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "084d5b99c2a9463d9c8bd5026916996984eeec87ddf1d3be329006ace1b37b09",
    ],
];

/// Of these `verify_strict` takes only the fourth, whose equation holds without the cofactor although key and
/// `R` have parts of small order; and that key is not admitted here, nor is any other of them but one, whose
/// signatures are out of range.
#[test]
fn edge_cases_are_refused_by_their_key_or_by_themselves() {
    let mut taken = Vec::new();
    let mut admitted = Vec::new();
    for (number, [message, key, r, s]) in (0..).zip(TAMING) {
        let raw = ed25519_dalek::VerifyingKey::from_bytes(&bytes(key)).unwrap();
        let (message, signature) = (bytes::<32>(message), signature(r, s));
        if raw.verify_strict(&message, &dalek(&signature)).is_ok() {
            taken.push(number);
        }
        match VerifyingKey::from_bytes(&bytes(key)) {
            Ok(key) => {
                admitted.push(number);
                assert_eq!(verify_bytes(&key.0, &message, &signature), Err(SignatureError));
            }
            Err(error) => assert_eq!(error, KeyError::Weak),
        }
    }
    assert_eq!((taken, admitted), (vec![3], vec![6, 7]));
}

fn dalek(signature: &Signature) -> ed25519_dalek::Signature {
    ed25519_dalek::Signature::from_bytes(&signature.0)
}

/// With its secret anybody can make a signature whose `R` is the neutral element: `s` is then the secret
/// times the hash. The equation holds, and it is refused nevertheless.
#[test]
fn a_signature_whose_r_is_of_small_order_is_refused() {
    let seed = [0x17; 32];
    let key = SigningKey::take(&mut { seed }).verifying_key();
    let (r, message) = (crate::small_order::SMALL_ORDER[0], b"whatever");
    let hash = Sha512::new().chain_update(r).chain_update(key.to_bytes()).chain_update(message);
    let secret = ExpandedSecretKey::from(&seed).scalar;
    let s = Scalar::from_bytes_mod_order_wide(&hash.finalize().into()) * secret;
    let mut signature = Signature([0; SIGNATURE_BYTES]);
    signature.0[..32].copy_from_slice(&r);
    signature.0[32..].copy_from_slice(&s.to_bytes());
    assert!(key.0.verify(message, &dalek(&signature)).is_ok(), "the equation holds");
    assert!(key.0.verify_strict(message, &dalek(&signature)).is_err());
    assert_eq!(verify_bytes(&key.0, message, &signature), Err(SignatureError));
}

#[test]
fn the_points_of_small_order_are_those_of_the_paper() {
    let mut ours = crate::small_order::SMALL_ORDER;
    let mut theirs: [[u8; 32]; 8] = core::array::from_fn(|at| bytes(SMALL_ORDER[at]));
    ours.sort();
    theirs.sort();
    assert_eq!(ours, theirs);
}

/// All fourteen encodings of the eight points of small order (table 6 of the same paper).
const SMALL_ORDER: [&str; 14] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

#[test]
fn keys_of_small_order_are_not_admitted_however_they_are_written() {
    let weak = SMALL_ORDER[..8].iter().map(|key| VerifyingKey::from_bytes(&bytes(key)));
    assert!(weak.into_iter().all(|key| key == Err(KeyError::Weak)));
    let other = SMALL_ORDER[8..].iter().map(|key| VerifyingKey::from_bytes(&bytes(key)));
    assert!(other.into_iter().all(|key| key == Err(KeyError::Malformed)));
    let no_point = "0200000000000000000000000000000000000000000000000000000000000000";
    assert_eq!(VerifyingKey::from_bytes(&bytes(no_point)), Err(KeyError::Malformed));
}

/// Such an `R` cancels out of a batch with a chance of one in eight, which is why there are no batches: here
/// the equation holds with the cofactor, and must not be enough.
#[test]
fn a_signature_that_holds_with_the_cofactor_only_is_refused() {
    let [message, key, r, s] = TAMING[4];
    let key = ed25519_dalek::VerifyingKey::from_bytes(&bytes(key)).unwrap();
    assert_eq!(verify_bytes(&key, &bytes::<32>(message), &signature(r, s)), Err(SignatureError));
}

#[test]
fn a_seed_is_gone_once_it_is_taken_and_is_never_shown() {
    let mut seed = [0xa5; 32];
    let key = SigningKey::take(&mut seed);
    assert_eq!(seed, [0; 32]);
    let shown = format!("{key:?}");
    assert!(!shown.contains("a5a5") && shown.len() < 40, "{shown}");
}

fn statement() -> impl Strategy<Value = Statement> {
    (any::<[u8; 32]>(), any::<u8>(), any::<u64>(), any::<u64>(), any::<[u8; 32]>()).prop_map(
        |(group, phase, view, sequence, digest)| Statement {
            protocol: *b"test\0\0\0\x01",
            group: Digest(group),
            phase,
            view,
            sequence,
            digest: Digest(digest),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is changed, of the statement or of the signature, it is no longer a signature.
    #[test]
    fn every_bit_is_signed(seed in any::<[u8; 32]>(), one in statement(), bit in 0..8 * Statement::BYTES) {
        let key = SigningKey::take(&mut { seed });
        let signature = key.sign(&one);
        let public = key.verifying_key();
        prop_assert_eq!(key.sign(&one), signature);
        prop_assert_eq!(public.verify(&one, &signature), Ok(()));
        let mut message = one.to_bytes();
        message[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(verify_bytes(&public.0, &message, &signature), Err(SignatureError));
        prop_assert!(public.0.verify_strict(&one.to_bytes(), &dalek(&signature)).is_ok());
        let mut damaged = signature;
        damaged.0[bit / 8 % SIGNATURE_BYTES] ^= 1 << (bit % 8);
        prop_assert_eq!(public.verify(&one, &damaged), Err(SignatureError));
    }

    #[test]
    fn no_bytes_make_it_panic(
        key in any::<[u8; 32]>(),
        message in statement(),
        half in any::<[[u8; 32]; 2]>(),
    ) {
        let mut signature = Signature([0; SIGNATURE_BYTES]);
        signature.0[..32].copy_from_slice(&half[0]);
        signature.0[32..].copy_from_slice(&half[1]);
        let public = SigningKey::take(&mut { key }).verifying_key();
        prop_assert_eq!(public.verify(&message, &signature), Err(SignatureError));
        if let Ok(admitted) = VerifyingKey::from_bytes(&key) {
            prop_assert_eq!(admitted.to_bytes(), key);
            prop_assert_eq!(admitted.verify(&message, &signature), Err(SignatureError));
        }
    }
}
