//! Crates that are not ours: each has its few users, a reason, and one version.

use super::Finding;
use super::manifest::{Dependency, Manifests, Package};

/// Which crate may be named by which of ours. What is not in the table may be named by nobody: add a line,
/// and to the workspace's manifest the reason.
const ALLOWED: &[(&str, &str)] = &[
    // In the image. A protocol, format or device has one crate that knows it.
    ("bytes", "bft raft kv ledger net store node sim bench fuzz"),
    ("crc", "base"),
    ("ed25519-dalek", "crypto bench"),
    ("hermit-entry", "platform"),
    ("hermit-kernel", "platform"),
    ("heapless", "pool vswitch"),
    ("httparse", "net"),
    ("log", "platform"),
    ("rand_core", "base vswitch"), // The switch lies below `base`, and is a host program.
    ("rand_xoshiro", "base vswitch"),
    ("raw-cpuid", "platform"),
    ("serde", "shell vswitch xtask"),
    ("serde_json", "shell node vswitch xtask bench fuzz sim vm"),
    ("sha2", "crypto"),
    ("siphasher", "kv netio"),
    ("smoltcp", "net netio pktgen"),
    ("spin", "pool platform pktgen"),
    ("uart_16550", "platform"),
    ("virtio-drivers", "virtio platform"),
    ("x86_64", "platform"),
    ("zeroize", "crypto"),
    ("zerocopy", "virtio"),
    // On the host only.
    ("anyhow", "vswitch xtask sim vm"),
    ("curve25519-dalek", "crypto"),
    ("etherparse", "vswitch"),
    ("lexopt", "vswitch xtask sim vm"),
    ("libc", "vswitch xtask"),
    ("libfuzzer-sys", "fuzz"),
    ("nix", "vswitch xtask vm"),
    ("raft-rs", "bench"),
    ("redis", "xtask vm"),
    ("slog", "bench"),
    ("toml", "xtask"),
    ("ureq", "xtask vm"),
    ("vhost", "vswitch fuzz"),
    ("vm-memory", "vswitch fuzz"),
    ("vmm-sys-util", "vswitch fuzz"),
];

/// Crates that every crate may name, in its tests.
const ALLOWED_IN_TESTS: &[&str] = &["proptest"];

pub(super) fn check(manifests: &Manifests, findings: &mut Vec<Finding>) {
    check_users(ALLOWED, manifests, findings);
    check_shared(manifests, findings);
    for package in &manifests.packages {
        check_versions(manifests, package, findings);
    }
}

fn check_users(allowed: &[(&str, &str)], manifests: &Manifests, findings: &mut Vec<Finding>) {
    for package in &manifests.packages {
        for dependency in outside(manifests, package) {
            let name = dependency.name.as_str();
            if dependency.is_for_tests && ALLOWED_IN_TESTS.contains(&name) {
                continue;
            }
            let users =
                allowed.iter().find(|(outside, _)| *outside == name).map(|(_, users)| *users);
            let advice = match users {
                Some(users) if users.split(' ').any(|user| user == package.name) => continue,
                Some(users) => {
                    format!("only {} may name '{name}': go through it", users.replace(' ', ", "))
                }
                None => format!(
                    "nobody may name '{name}' yet: see the table in scripts/xtask/src/tidy/outside.rs"
                ),
            };
            findings.push(Finding::new(&package.manifest, dependency.line, advice));
        }
    }
}

fn outside<'a>(
    manifests: &'a Manifests,
    package: &'a Package,
) -> impl Iterator<Item = &'a Dependency> {
    package.dependencies.iter().filter(|dependency| !manifests.is_ours(&dependency.name))
}

/// The workspace's table gives a reason for each crate, and holds none that no member inherits.
fn check_shared(manifests: &Manifests, findings: &mut Vec<Finding>) {
    for shared in &manifests.shared {
        let mut report =
            |advice: String| findings.push(Finding::new("Cargo.toml", shared.line, advice));
        if !shared.has_reason {
            report(format!(
                "'{}' has no reason: say at the end of the line what it is for",
                shared.name
            ));
        }
        let inherits =
            |dependency: &Dependency| dependency.is_inherited && dependency.name == shared.name;
        if !manifests.packages.iter().any(|package| package.dependencies.iter().any(inherits)) {
            report(format!("no member names '{}': remove it", shared.name));
        }
    }
}

/// Members inherit versions. What is no member cannot: it gives its reasons itself, and the same version.
fn check_versions(manifests: &Manifests, package: &Package, findings: &mut Vec<Finding>) {
    for dependency in outside(manifests, package) {
        let name = &dependency.name;
        let mut report = |advice: String| {
            findings.push(Finding::new(&package.manifest, dependency.line, advice))
        };
        if package.is_member {
            if !dependency.is_inherited {
                report(format!(
                    "'{name}' has a version of its own: put it into the workspace's table"
                ));
            }
            continue;
        }
        match manifests.shared.iter().find(|shared| shared.name == *name) {
            Some(shared) if shared.version != dependency.version => {
                report(format!(
                    "'{name}' has another version in the workspace's table: take that one"
                ));
            }
            None if !dependency.has_reason => {
                report(format!(
                    "'{name}' has no reason: say at the end of the line what it is for"
                ));
            }
            Some(_) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_one, found};

    const ROOT: &str = "[workspace]\nmembers = [\"unikernel/net\", \"apps/kv\"]\n\
                        [workspace.dependencies]\nsmoltcp = \"=0.14.0\" # TCP\n";
    const NET: (&str, &str) = (
        "unikernel/net/Cargo.toml",
        "[package]\nname = \"net\"\n[dependencies]\nsmoltcp.workspace = true\n",
    );

    fn check(files: &[(&str, &str)]) -> Vec<String> {
        found(files, |_, manifests, findings| super::check(manifests, findings))
    }

    #[test]
    fn a_user_in_the_table_may_name_it() {
        assert!(check(&[("Cargo.toml", ROOT), NET]).is_empty());
    }

    #[test]
    fn nobody_else_may_name_it() {
        let kv = "[package]\nname = \"kv\"\n[dependencies]\nsmoltcp.workspace = true\n";
        let found = check(&[("Cargo.toml", ROOT), NET, ("apps/kv/Cargo.toml", kv)]);
        assert_one(&found, "apps/kv/Cargo.toml:4", "only net, netio, pktgen may name 'smoltcp'");
    }

    #[test]
    fn what_is_not_in_the_table_may_not_be_named() {
        let root = format!("{ROOT}tokio = \"1\" # no\n");
        let kv = "[package]\nname = \"kv\"\n[dependencies]\ntokio.workspace = true\n";
        let found = check(&[("Cargo.toml", &root), NET, ("apps/kv/Cargo.toml", kv)]);
        assert_one(&found, "apps/kv/Cargo.toml:4", "nobody may name 'tokio'");
    }

    #[test]
    fn tests_may_name_what_only_tests_may() {
        let root = format!("{ROOT}proptest = \"1\" # tests\n");
        let check = |section| {
            let kv = format!("[package]\nname = \"kv\"\n[{section}]\nproptest.workspace = true\n");
            check(&[("Cargo.toml", &root), NET, ("apps/kv/Cargo.toml", &kv)])
        };
        assert!(check("dev-dependencies").is_empty());
        assert_one(&check("dependencies"), "apps/kv/Cargo.toml:4", "nobody may name");
    }

    #[test]
    fn the_shared_table_gives_reasons() {
        let found = check(&[("Cargo.toml", &ROOT.replace(" # TCP", "")), NET]);
        assert_one(&found, "Cargo.toml:4", "no reason");
    }

    #[test]
    fn the_shared_table_holds_nothing_unused() {
        let root = format!("{ROOT}heapless = \"0.9\" # perhaps one day\n");
        assert_one(&check(&[("Cargo.toml", &root), NET]), "Cargo.toml:5", "no member names");
    }

    #[test]
    fn members_have_no_versions_of_their_own() {
        let net = NET.1.replace(".workspace = true", " = \"0.13\"");
        let root = ROOT.replace("smoltcp = \"=0.14.0\" # TCP\n", "");
        let found = check(&[("Cargo.toml", &root), (NET.0, &net)]);
        assert_one(&found, "unikernel/net/Cargo.toml:4", "version of its own");
    }

    #[test]
    fn what_is_no_member_has_the_workspaces_version_or_a_reason() {
        let other = "[package]\nname = \"net\"\n[dependencies]\nsmoltcp = \"0.13\"\n";
        let found = check(&[("Cargo.toml", ROOT), NET, ("unikernel/copy/Cargo.toml", other)]);
        assert_one(&found, "unikernel/copy/Cargo.toml:4", "another version");
        let platform = "[package]\nname = \"platform\"\n[dependencies]\nx86_64 = \"0.15\"\n";
        let found =
            check(&[("Cargo.toml", ROOT), NET, ("unikernel/platform/Cargo.toml", platform)]);
        assert_one(&found, "unikernel/platform/Cargo.toml:4", "no reason");
    }
}
