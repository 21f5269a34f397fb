//! The keys of the ledger's replicas: made once, when the cluster is, for the nodes that found it. Each
//! node's machine gets a file of its own, with its secret and everybody's public keys, that nobody else may
//! read; the form is described where it is read, in `images/node`. The public keys alone, by which anybody
//! can check what replicas have signed (`scripts/audit`), are in a file that may be passed on:
//!
//! ```toml
//! cluster = "00c0ffee00c0ffee"    # 16 hexadecimal digits
//! [members]
//! 1 = "…"                         # each member's number, and 64 hexadecimal digits
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use base::{ClusterId, NodeId};
use crypto::{KEY_BYTES, Keyring, SigningKey, VerifyingKey};
use node::Identity;
use serde::Deserialize;

use crate::toml_file;

/// The file of a node, in a cluster's folder.
pub fn path(folder: &Path, node: u16) -> PathBuf {
    folder.join("keys").join(format!("node-{node}"))
}

/// The file with everybody's public keys, in a cluster's folder.
pub fn public_path(folder: &Path) -> PathBuf {
    folder.join("keys").join("public")
}

/// Makes keys for the nodes 1 to `nodes` of the cluster with this identity. Those of an attempt that was
/// interrupted are replaced: no machine has had them.
///
/// # Errors
/// If there are no random numbers, or the files cannot be written.
pub(super) fn make(folder: &Path, cluster: &str, nodes: u16) -> anyhow::Result<()> {
    let keys = folder.join("keys");
    fs::create_dir_all(&keys).with_context(|| format!("{}", keys.display()))?;
    fs::set_permissions(&keys, Permissions::from_mode(0o700))?;
    let mut random = File::open("/dev/urandom")?;
    let mut public = nodes.to_le_bytes().to_vec();
    let mut listed = format!(
        "# The public keys of the ledger's replicas: there is no secret here.\n\
         cluster = \"{cluster}\"\n\n[members]\n"
    );
    for node in 1..=nodes {
        let path = path(folder, node);
        if path.exists() {
            fs::remove_file(&path)?;
        }
        let mut seed = [0; KEY_BYTES];
        random.read_exact(&mut seed)?;
        File::options().create_new(true).write(true).mode(0o600).open(&path)?.write_all(&seed)?;
        // Zeroised here; from now on the secret is in the file alone.
        let key = SigningKey::take(&mut seed);
        let bytes = key.verifying_key().to_bytes();
        public.extend(node.to_le_bytes());
        public.extend(bytes);
        writeln!(listed, "{node} = \"{}\"", to_hex(&bytes))?;
    }
    fs::write(public_path(folder), listed)?;
    for node in 1..=nodes {
        let mut file = File::options().append(true).open(path(folder, node))?;
        file.write_all(&public)?;
        file.sync_all()?;
    }
    Ok(())
}

/// What is needed to check what replicas have signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Public {
    /// Their cluster.
    pub cluster: ClusterId,
    /// Their keys.
    pub keyring: Keyring,
}

/// The form of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    cluster: Name,
    members: BTreeMap<Number, Key>,
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Name(ClusterId);

#[derive(PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
struct Number(NodeId);

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Key(VerifyingKey);

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Name, String> {
        let bytes = from_hex(&text).ok_or("a cluster's identity is 16 hexadecimal digits")?;
        Ok(Name(ClusterId(u64::from_be_bytes(bytes))))
    }
}

impl TryFrom<String> for Number {
    type Error = String;

    fn try_from(text: String) -> Result<Number, String> {
        let id: NodeId = text.parse().map_err(|error| format!("{error}"))?;
        // In one way only, so that none is there twice.
        if id.to_string() == text { Ok(Number(id)) } else { Err(format!("write it as {id}")) }
    }
}

impl TryFrom<String> for Key {
    type Error = String;

    fn try_from(text: String) -> Result<Key, String> {
        let bytes = from_hex(&text).ok_or("a public key is 64 hexadecimal digits")?;
        VerifyingKey::from_bytes(&bytes).map(Key).map_err(|error| format!("{error}"))
    }
}

impl Public {
    /// Reads the file with everybody's public keys.
    ///
    /// # Errors
    /// If it cannot be read, or is none: with the line, if it is one line.
    pub fn read(path: &Path) -> anyhow::Result<Public> {
        let listed: Listed = toml_file::read(path)?;
        let members = listed.members.into_iter().map(|(Number(id), Key(key))| (id, key)).collect();
        let cluster = listed.cluster.0;
        let keyring = Keyring::new(cluster, Identity::EPOCH, members)
            .with_context(|| format!("{}", path.display()))?;
        Ok(Public { cluster, keyring })
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// So many bytes, as exactly two digits each.
fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |character: u8| char::from(character).to_digit(16);
    let digits = text.bytes().map(digit).collect::<Option<Vec<u32>>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|two| (two[0] << 4 | two[1]) as u8).collect();
    if digits.len() == 2 * N { bytes.try_into().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "00c0ffee00c0ffee";

    /// A folder, gone when the test is over.
    struct Scene(PathBuf);

    impl Scene {
        fn new(name: &str) -> Scene {
            let process = std::process::id();
            Scene(std::env::temp_dir().join(format!("coterie-keys-{name}-{process}")))
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// Each has a secret of its own that nobody else may read, and all have the same public keys.
    #[test]
    fn every_node_has_its_own_file() {
        let scene = Scene::new("own");
        let folder = &scene.0;
        make(folder, CLUSTER, 4).unwrap();
        let before = fs::read(path(folder, 1)).unwrap();
        make(folder, CLUSTER, 4).unwrap();
        let files: Vec<Vec<u8>> =
            (1..=4).map(|node| fs::read(path(folder, node)).unwrap()).collect();
        assert_ne!(before[..KEY_BYTES], files[0][..KEY_BYTES], "made anew");
        for (place, file) in files.iter().enumerate() {
            let mode = fs::metadata(path(folder, place as u16 + 1)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            assert_eq!(file.len(), KEY_BYTES + 2 + 4 * (2 + KEY_BYTES));
            assert_eq!(file[KEY_BYTES..], files[0][KEY_BYTES..]);
            assert!(files[..place].iter().all(|other| other[..KEY_BYTES] != file[..KEY_BYTES]));
            let mut seed: [u8; KEY_BYTES] = file[..KEY_BYTES].try_into().unwrap();
            let public = SigningKey::take(&mut seed).verifying_key().to_bytes();
            let listed = KEY_BYTES + 2 + place * (2 + KEY_BYTES) + 2;
            assert_eq!(file[listed..listed + KEY_BYTES], public);
        }
    }

    /// The public file has the keys of all, and no secret of anybody.
    #[test]
    fn the_public_file_is_everybodys() {
        let scene = Scene::new("public");
        make(&scene.0, CLUSTER, 32).unwrap();
        let text = fs::read_to_string(public_path(&scene.0)).unwrap();
        let public = Public::read(&public_path(&scene.0)).unwrap();
        assert_eq!((public.cluster, public.keyring.size()), (ClusterId(0xc0ffee00c0ffee), 32));
        for node in 1..=32 {
            let file = fs::read(path(&scene.0, node)).unwrap();
            let mut seed: [u8; KEY_BYTES] = file[..KEY_BYTES].try_into().unwrap();
            assert!(!text.contains(&to_hex(&seed)));
            let slot = public.keyring.slot(NodeId::new(node).unwrap()).unwrap();
            let key = SigningKey::take(&mut seed).verifying_key();
            assert_eq!(public.keyring.key(slot), Some(&key));
        }
    }

    #[test]
    fn what_is_no_list_of_keys_is_refused() {
        let scene = Scene::new("refused");
        make(&scene.0, CLUSTER, 2).unwrap();
        let path = public_path(&scene.0);
        let good = fs::read_to_string(&path).unwrap();
        let key = good.lines().last().unwrap().split('"').nth(1).unwrap();
        for (from, to, reason) in [
            (CLUSTER, "c0ffee", ":2: a cluster's identity is 16"),
            ("1 = ", "0 = ", ":5: a node number is"),
            ("1 = ", "02 = ", ":5: write it as 2"),
            ("1 = ", "2 = ", ":6: duplicate key"),
            (key, &key[1..], ":6: a public key is 64"),
            (key, &"+1".repeat(KEY_BYTES), ":6: a public key is 64"),
            (key, &"00".repeat(KEY_BYTES), ":6: "),
            ("[members]", "colour = 1\n[members]", ":4: unknown field"),
            ("[members]", "", ""),
        ] {
            fs::write(&path, good.replacen(from, to, 1)).unwrap();
            let error = format!("{:#}", Public::read(&path).unwrap_err());
            assert!(error.contains(reason), "'{from}' became '{to}': {error}");
        }
    }
}
