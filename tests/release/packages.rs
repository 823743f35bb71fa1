//! The packages and archives: what they name exists, and what they contain starts.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{TARGETS, VERSION, manifest, read, root, run};

const FUMIDAI: &str = env!("CARGO_BIN_EXE_fumidai");

/// Sources of the deb's assets.
fn deb_sources() -> BTreeSet<String> {
    let manifest = manifest();
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array().unwrap();
    assets.iter().map(|asset| asset[0].as_str().unwrap().to_owned()).collect()
}

/// Sources of the rpm's assets.
fn rpm_sources() -> BTreeSet<String> {
    let manifest = manifest();
    let assets = manifest["package"]["metadata"]["generate-rpm"]["assets"].as_array().unwrap();
    assets.iter().map(|asset| asset["source"].as_str().unwrap().to_owned()).collect()
}

/// Whether a path is there; a `*` in its last part stands for anything.
fn exists(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let Some((start, end)) = name.split_once('*') else { return path.is_file() };
    let files = fs::read_dir(path.parent().unwrap()).into_iter().flatten().map(|entry| entry.unwrap());
    let mut names = files.filter(|file| file.path().is_file()).map(|file| file.file_name());
    names.any(|name| name.to_string_lossy().starts_with(start) && name.to_string_lossy().ends_with(end))
}

#[test]
fn every_packaged_path_exists() {
    let share = tempfile::tempdir().unwrap();
    run(Command::new("contrib/package").arg(share.path()).arg(FUMIDAI));
    for source in &deb_sources() | &rpm_sources() {
        let path = match source.strip_prefix("target/share/") {
            Some(made) => share.path().join(made),
            None if source == "target/release/fumidai" => continue,
            None => root().join(&source),
        };
        assert!(exists(&path), "{source}");
    }
    let copyright = &manifest()["package"]["metadata"]["deb"]["license-file"][0];
    assert!(root().join(copyright.as_str().unwrap()).is_file());
}

#[test]
fn deb_and_rpm_have_the_same_files() {
    let mut rpm = rpm_sources();
    assert!(rpm.remove("LICENSE-*"), "the deb's copyright file has the licenses");
    assert_eq!(deb_sources(), rpm);
}

#[test]
fn an_archive_has_what_the_manifests_take_out_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let target = TARGETS[5];
    run(Command::new("contrib/packages/archive").args([target, FUMIDAI]).arg(folder.path()));
    let name = format!("fumidai-{VERSION}-{target}");
    run(Command::new("tar")
        .arg("-xzf")
        .arg(folder.path().join(format!("{name}.tar.gz")))
        .arg("-C")
        .arg(folder.path()));
    let unpacked = folder.path().join(name);
    let version = run(Command::new(unpacked.join("fumidai")).arg("-V"));
    assert_eq!(String::from_utf8_lossy(&version.stdout), format!("fumidai {VERSION}\n"));
    for quoted in read("contrib/packages/homebrew/fumidai.rb").split('"').skip(1).step_by(2) {
        if quoted.starts_with("share/") {
            assert!(exists(&unpacked.join(quoted)), "{quoted}");
        }
    }
    for file in ["LICENSE-MIT", "LICENSE-APACHE", "README.md", "systemd/fumidai-forward@.service"] {
        assert!(unpacked.join(file).is_file(), "{file}");
    }
}

#[cfg(target_os = "linux")]
mod deb {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::{ready, starts};

    #[test]
    fn the_deb_is_made_unpacked_and_started() {
        if !ready("cargo-deb", starts(env!("CARGO"), &["deb"])) || !ready("dpkg-deb", starts("dpkg-deb", &[]))
        {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        run(Command::new("contrib/packages/linux").args(["deb", FUMIDAI]).arg(folder.path()).arg("--fast"));
        let mut debs = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let deb = debs.next().unwrap();

        let field = |name: &str| {
            let output = run(Command::new("dpkg-deb").arg("--field").arg(&deb).arg(name));
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        assert_eq!((field("Package"), field("Version")), ("fumidai".to_owned(), format!("{VERSION}-1")));
        assert_eq!(field("Recommends"), "openssh-client");

        let root = folder.path().join("root");
        run(Command::new("dpkg-deb").arg("--extract").arg(&deb).arg(&root));
        let program = root.join("usr/bin/fumidai");
        assert_eq!(program.metadata().unwrap().permissions().mode() & 0o777, 0o755);
        let mut version = Command::new(&program);
        let version = run(version.env_clear().env("HOME", folder.path()).arg("-V"));
        assert_eq!(String::from_utf8_lossy(&version.stdout), format!("fumidai {VERSION}\n"));
        let mut config = Command::new(&program);
        let config =
            run(config.env_clear().env("HOME", folder.path()).env("PATH", "/usr/bin:/bin").arg("ssh-config"));
        assert!(String::from_utf8_lossy(&config.stdout).contains("ProxyCommand"));

        for file in [
            "share/man/man1/fumidai.1.gz",
            "share/man/man1/fumidai-connect.1.gz",
            "share/bash-completion/completions/fumidai",
            "share/zsh/vendor-completions/_fumidai",
            "share/fish/vendor_completions.d/fumidai.fish",
            "share/doc/fumidai/copyright",
            "share/doc/fumidai/changelog.Debian.gz",
            "share/doc/fumidai/examples/ssh_config",
            "share/doc/fumidai/examples/iam/connect.json",
            "lib/systemd/user/fumidai-forward@.service",
            "lib/systemd/user/fumidai-forward-all.service",
        ] {
            assert!(root.join("usr").join(file).is_file(), "/usr/{file} is not in the deb");
        }
    }
}
