//! Writes the seeds of the unit tests to the corpus, where the fuzzer looks for them.

use std::io;
use std::path::Path;
use std::{fs, str};

fn main() -> io::Result<()> {
    for target in ["connack", "connect"] {
        let file = format!("../../lb-userspace/src/mqtt/{target}/seeds.hex");
        println!("cargo::rerun-if-changed={file}");

        let corpus = Path::new("corpus").join(target);
        fs::create_dir_all(&corpus)?;
        let seeds = fs::read_to_string(file)?;
        let packets = seeds
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        for (number, packet) in packets.enumerate() {
            fs::write(corpus.join(format!("seed-{number}")), bytes(packet)?)?;
        }
    }
    Ok(())
}

fn bytes(hex: &str) -> io::Result<Vec<u8>> {
    let byte = |pair| {
        let pair = str::from_utf8(pair).map_err(io::Error::other)?;
        u8::from_str_radix(pair, 16).map_err(io::Error::other)
    };
    hex.as_bytes().chunks(2).map(byte).collect()
}
