//! The direction of dependencies: a crate names only crates of its own or an earlier layer.

use super::Finding;
use super::manifest::{Manifests, Package};

/// The layers, and how late they come. What is on the host comes last, side by side.
const LAYERS: &[(&str, usize)] =
    &[("drivers", 0), ("unikernel", 1), ("apps", 2), ("images", 3), ("scripts", 4), ("tests", 4)];

/// Crates that are not called like their folder, and why.
const OTHER_NAMES: &[(&str, &str)] = &[
    // The names of what people boot.
    ("images/node/image", "coterie-node"),
    ("images/pktgen/image", "coterie-pktgen"),
];

pub(super) fn check(manifests: &Manifests, findings: &mut Vec<Finding>) {
    for package in &manifests.packages {
        check_place(package, findings);
        check_direction(manifests, package, findings);
    }
}

/// The layer that a crate lies in.
fn rank(package: &Package) -> Option<usize> {
    let layer = package.folder.split('/').next()?;
    LAYERS.iter().find(|(name, _)| *name == layer).map(|(_, rank)| *rank)
}

fn check_place(package: &Package, findings: &mut Vec<Finding>) {
    let mut report = |advice: String| findings.push(Finding::new(&package.manifest, 1, advice));
    if rank(package).is_none() {
        report(
            "lies in no layer: move it into drivers, unikernel, apps, images, scripts or tests"
                .into(),
        );
    }
    let folder = package.folder.rsplit('/').next().unwrap_or_default();
    let is_other = OTHER_NAMES.contains(&(package.folder.as_str(), package.name.as_str()));
    if folder != package.name && !is_other {
        report(format!(
            "is called '{}': give the folder '{folder}' and the crate one name",
            package.name
        ));
    }
    if !package.is_member && !package.is_excluded {
        report(format!(
            "belongs to no workspace: add '{}' to 'members', or to 'exclude' with a reason, in Cargo.toml",
            package.folder
        ));
    }
}

fn check_direction(manifests: &Manifests, package: &Package, findings: &mut Vec<Finding>) {
    for dependency in &package.dependencies {
        let Some(named) = manifests.package(&dependency.name) else { continue };
        if rank(named) > rank(package) {
            let advice = format!(
                "'{}' names '{}' of a later layer ({}): move what it needs into its own layer",
                package.name, named.name, named.folder
            );
            findings.push(Finding::new(&package.manifest, dependency.line, advice));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_one, found};

    const ROOT: &str = "[workspace]\nexclude = [\"images\"]\n\
                        members = [\"drivers/pool\", \"apps/kv\", \"lib/x\"]\n";
    const POOL: (&str, &str) = ("drivers/pool/Cargo.toml", "[package]\nname = \"pool\"\n");

    fn check(files: &[(&str, &str)]) -> Vec<String> {
        let all: Vec<_> = [("Cargo.toml", ROOT)].iter().chain(files).copied().collect();
        found(&all, |_, manifests, findings| super::check(manifests, findings))
    }

    #[test]
    fn an_earlier_layer_may_be_named() {
        let kv = "[package]\nname = \"kv\"\n[dependencies]\npool.workspace = true\n";
        assert!(check(&[POOL, ("apps/kv/Cargo.toml", kv)]).is_empty());
    }

    #[test]
    fn a_later_layer_may_not_be_named_even_in_tests() {
        let kv = ("apps/kv/Cargo.toml", "[package]\nname = \"kv\"\n");
        for section in ["dependencies", "dev-dependencies"] {
            let pool = format!("[package]\nname = \"pool\"\n[{section}]\nkv.workspace = true\n");
            let found = check(&[("drivers/pool/Cargo.toml", &pool), kv]);
            assert_one(&found, "drivers/pool/Cargo.toml:4", "later layer (apps/kv)");
        }
    }

    #[test]
    fn a_crate_lies_in_a_layer() {
        let found = check(&[("lib/x/Cargo.toml", "[package]\nname = \"x\"\n")]);
        assert_one(&found, "lib/x/Cargo.toml:1", "no layer");
    }

    #[test]
    fn a_crate_is_called_like_its_folder() {
        let found = check(&[("drivers/pool/Cargo.toml", "[package]\nname = \"pond\"\n")]);
        assert_one(&found, "drivers/pool/Cargo.toml:1", "one name");
        let image = ("images/node/image/Cargo.toml", "[package]\nname = \"coterie-node\"\n");
        assert!(check(&[image]).is_empty());
    }

    #[test]
    fn a_crate_belongs_to_a_workspace() {
        let found = check(&[("drivers/new/Cargo.toml", "[package]\nname = \"new\"\n")]);
        assert_one(&found, "drivers/new/Cargo.toml:1", "'drivers/new'");
    }
}
