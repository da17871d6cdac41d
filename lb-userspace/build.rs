//! Builds the kernel half from source, so that the daemon can embed it.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

#[path = "build/btf.rs"]
mod btf;

/// Where `cargo xtask setup` says which compiler and linker to use.
const TOOLCHAIN: &str = "target/tools/bpf-toolchain";
/// `skip` builds a daemon without its kernel half.
const SKIP: &str = "SLUICE_EBPF";
/// Another place for the toolchain file.
const ELSEWHERE: &str = "SLUICE_BPF_TOOLCHAIN";
const TARGET: &str = "bpfel-unknown-none";
/// The programs of lb-ebpf: those for packets, and the one for sockets.
const OBJECTS: [&str; 2] = ["sluice-ebpf", "sluice-sockmap"];

fn main() -> Result<()> {
    tell_cargo(&format!("rerun-if-env-changed={SKIP}"));
    tell_cargo(&format!("rerun-if-env-changed={ELSEWHERE}"));
    let out = PathBuf::from(cargo_says("OUT_DIR")?);

    let objects = match env::var(SKIP).as_deref() {
        Ok("skip") => OBJECTS.map(|_| Vec::new()),
        Ok("" | "build") | Err(_) => build(&out)?,
        Ok(other) => bail!("{SKIP}={other} is not known: it may be `skip` or `build`"),
    };

    for (name, object) in OBJECTS.iter().zip(objects) {
        let embedded = out.join(name);
        fs::write(&embedded, object)
            .with_context(|| format!("cannot write {}", embedded.display()))?;
    }
    Ok(())
}

fn build(out: &Path) -> Result<[Vec<u8>; 2]> {
    let crate_dir = PathBuf::from(cargo_says("CARGO_MANIFEST_DIR")?);
    let workspace = crate_dir
        .parent()
        .context("this crate is not in a workspace")?;
    watch(workspace);
    if cargo_says("CARGO_CFG_TARGET_ENDIAN")? != "little" {
        bail!("the kernel half is built for little-endian machines only; set {SKIP}=skip");
    }

    let toolchain = Toolchain::find(&crate_dir)?;
    let target_dir = out.join("ebpf");
    compile(&toolchain, &workspace.join("lb-ebpf"), &target_dir)?;

    let built = target_dir.join(TARGET).join("release");
    let [packets, sockets] = OBJECTS.map(|name| built.join(name));
    let read =
        |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let mut object = read(&packets)?;
    btf::mark_text(&mut object)
        .with_context(|| format!("unexpected type information in {}", packets.display()))?;
    Ok([object, read(&sockets)?])
}

fn watch(workspace: &Path) {
    let sources = [
        "lb-ebpf/src",
        "lb-ebpf/Cargo.toml",
        "lb-common/src",
        "lb-common/Cargo.toml",
    ];
    for path in sources.into_iter().chain(["Cargo.toml", "Cargo.lock"]) {
        tell_cargo(&format!(
            "rerun-if-changed={}",
            workspace.join(path).display()
        ));
    }
}

/// Runs the BPF compiler's own cargo on the kernel half.
fn compile(toolchain: &Toolchain, crate_dir: &Path, target_dir: &Path) -> Result<()> {
    let mut cargo = Command::new(&toolchain.cargo);
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_of_the_other_compiler) {
            cargo.env_remove(name);
        }
    }
    cargo
        .current_dir(crate_dir)
        .env("PATH", toolchain.search_path()?)
        .env("RUSTC", &toolchain.rustc)
        .env("RUSTC_BOOTSTRAP", &toolchain.bootstrap)
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            "-Ctarget-cpu=v3\x1f-Cdebuginfo=2\x1f-Clink-arg=--btf",
        )
        .args([
            "build",
            "--quiet",
            "--release",
            "--package",
            "lb-ebpf",
            "--target",
            TARGET,
        ])
        .args(["-Z", "build-std=core", "--target-dir"])
        .arg(target_dir);

    let output = cargo
        .output()
        .with_context(|| format!("cannot start {}", toolchain.cargo.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!(
            "the kernel half does not build with {}:\n{said}",
            toolchain.cargo.display()
        );
    }
    for line in said.lines() {
        tell_cargo(&format!("warning={line}"));
    }
    Ok(())
}

/// Whether a variable steers the cargo and rustc that build the daemon.
fn is_of_the_other_compiler(name: &str) -> bool {
    let about_downloads = ["CARGO_HOME", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR"];

    name.starts_with("RUST")
        || name.starts_with("CARGO") && !about_downloads.iter().any(|kept| name.starts_with(kept))
}

/// The compiler, cargo and linker that `cargo xtask setup` chose.
struct Toolchain {
    rustc: PathBuf,
    cargo: PathBuf,
    linker_dir: PathBuf,
    /// `1` where a stable compiler must accept unstable options, else `0`.
    bootstrap: String,
}

impl Toolchain {
    fn find(start: &Path) -> Result<Self> {
        let file = match env::var_os(ELSEWHERE) {
            Some(path) => PathBuf::from(path),
            None => start
                .ancestors()
                .map(|directory| directory.join(TOOLCHAIN))
                .find(|file| file.is_file())
                .with_context(missing)?,
        };
        tell_cargo(&format!("rerun-if-changed={}", file.display()));

        let text = fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}: {}", file.display(), missing()))?;
        Self::parse(&text).with_context(|| format!("{}: {}", file.display(), missing()))
    }

    fn parse(text: &str) -> Result<Self> {
        let value = |key: &str| {
            text.lines()
                .filter_map(|line| line.split_once('='))
                .find_map(|(name, value)| (name == key).then_some(value))
                .with_context(|| format!("no line begins with {key}="))
        };

        Ok(Self {
            rustc: value("RUSTC")?.into(),
            cargo: value("CARGO")?.into(),
            linker_dir: value("LINKER_DIR")?.into(),
            bootstrap: value("BOOTSTRAP")?.into(),
        })
    }

    /// The compiler's own directory comes first, so that no rustup proxy stands before it.
    fn search_path(&self) -> Result<OsString> {
        let own = self.rustc.parent().unwrap_or_else(|| Path::new("/usr/bin"));
        let rest = [Path::new("/usr/bin"), Path::new("/bin")];

        env::join_paths([own, self.linker_dir.as_path()].into_iter().chain(rest))
            .context("a path in the toolchain file contains a colon")
    }
}

fn missing() -> String {
    format!(
        "the kernel half needs a BPF toolchain: run `cargo xtask setup` first, \
         or build the daemon without it: {SKIP}=skip"
    )
}

fn cargo_says(name: &str) -> Result<String> {
    env::var(name).with_context(|| format!("cargo did not set {name}"))
}

fn tell_cargo(directive: &str) {
    println!("cargo::{directive}");
}
