//! What the build script does to type information, tried on objects made by hand.

#[path = "../build/btf.rs"]
mod btf;
