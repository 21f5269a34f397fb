//! The keys of the ledger's replicas: made once, when the cluster is, for the nodes that found it. Each
//! node's machine gets a file of its own, with its secret and everybody's public keys, that nobody else may
//! read; the form is described where it is read, in `images/node`.

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use crypto::{KEY_BYTES, SigningKey};

/// The file of a node, in a cluster's folder.
pub fn path(folder: &Path, node: u16) -> PathBuf {
    folder.join("keys").join(format!("node-{node}"))
}

/// Makes keys for the nodes 1 to `nodes`. Those of an attempt that was interrupted are replaced: no machine
/// has had them.
///
/// # Errors
/// If there are no random numbers, or the files cannot be written.
pub(super) fn make(folder: &Path, nodes: u16) -> anyhow::Result<()> {
    let keys = folder.join("keys");
    fs::create_dir_all(&keys).with_context(|| format!("{}", keys.display()))?;
    fs::set_permissions(&keys, Permissions::from_mode(0o700))?;
    let mut random = File::open("/dev/urandom")?;
    let mut public = nodes.to_le_bytes().to_vec();
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
        public.extend(node.to_le_bytes());
        public.extend(key.verifying_key().to_bytes());
    }
    for node in 1..=nodes {
        let mut file = File::options().append(true).open(path(folder, node))?;
        file.write_all(&public)?;
        file.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each has a secret of its own that nobody else may read, and all have the same public keys.
    #[test]
    fn every_node_has_its_own_file() {
        let folder = std::env::temp_dir().join(format!("coterie-keys-{}", std::process::id()));
        make(&folder, 4).unwrap();
        let before = fs::read(path(&folder, 1)).unwrap();
        make(&folder, 4).unwrap();
        let files: Vec<Vec<u8>> =
            (1..=4).map(|node| fs::read(path(&folder, node)).unwrap()).collect();
        assert_ne!(before[..KEY_BYTES], files[0][..KEY_BYTES], "made anew");
        for (place, file) in files.iter().enumerate() {
            let mode = fs::metadata(path(&folder, place as u16 + 1)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            assert_eq!(file.len(), KEY_BYTES + 2 + 4 * (2 + KEY_BYTES));
            assert_eq!(file[KEY_BYTES..], files[0][KEY_BYTES..]);
            assert!(files[..place].iter().all(|other| other[..KEY_BYTES] != file[..KEY_BYTES]));
            let mut seed: [u8; KEY_BYTES] = file[..KEY_BYTES].try_into().unwrap();
            let public = SigningKey::take(&mut seed).verifying_key().to_bytes();
            let listed = KEY_BYTES + 2 + place * (2 + KEY_BYTES) + 2;
            assert_eq!(file[listed..listed + KEY_BYTES], public);
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
