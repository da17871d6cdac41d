//! The name of every map and program, once.

pub const ABOUT: &str = "ABOUT";
pub const BACKENDS: &str = "BACKENDS";
pub const CLIENTS: &str = "CLIENTS";
pub const LISTENERS: &str = "LISTENERS";

/// The maps that are pinned under the directory of the configuration.
pub const PINNED: [&str; 4] = [ABOUT, BACKENDS, CLIENTS, LISTENERS];

/// The program at the ingress of every interface.
pub const INGRESS: &str = "sluice_ingress";

/// The most backends, those no longer configured included.
pub const BACKENDS_CAPACITY: u32 = 4096;
/// The most addresses that are listened on.
pub const LISTENERS_CAPACITY: u32 = 1024;
