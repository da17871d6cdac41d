//! The value of every key that a file leaves out; `conf/sluice.toml` shows the same.

use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::time::Duration;

use super::health::OnDead;
use super::why::Why;
use super::{
    Attach, Balance, Clean, DataPath, KernelMode, LogFormat, ProxyProtocol, StickyClients, Tier,
};
use crate::mqtt::Version;
use crate::mqtt::not_me::NotMe;

pub const THREADS: Option<NonZeroUsize> = None;
pub const CONTROL: &str = "/run/sluice/control.sock";
pub const LOG: &str = "info";
pub const LOG_FORMAT: LogFormat = LogFormat::Text;
pub const WATCH_CONFIG: bool = false;
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(600);

pub const MODE: KernelMode = KernelMode::Auto;
pub const ATTACH: Attach = Attach::Auto;
pub const PINS: &str = "/sys/fs/bpf/sluice";
pub const CLIENTS_CAPACITY: u32 = 1 << 20;
pub const STICKY_CAPACITY: u32 = 1 << 18;

pub const CONNECT_PACKET_BYTES: usize = 64 * 1024;
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
pub const SOCKMAP_QUEUE_BYTES: u32 = 1 << 20;
pub const PENDING_BYTES: usize = 64 << 20;

pub const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);
pub const IDLE_MARGIN: Duration = Duration::from_secs(5);
pub const IDLE_WITHOUT_KEEP_ALIVE: Option<Duration> = Some(Duration::from_secs(24 * 60 * 60));

pub const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];
pub const DATAPATH: DataPath = DataPath::Auto;

pub const CLEAN: Clean = Clean::Any;

/// Most brokers do not expect one.
pub const PROXY_PROTOCOL: ProxyProtocol = ProxyProtocol::None;
pub const BALANCE: Balance = Balance::ClientId;
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
pub const CONNACK_TIMEOUT: Duration = Duration::from_secs(10);
pub const ATTEMPTS: NonZeroUsize = NonZeroUsize::new(3).expect("3 is not 0");
pub const DNS_INTERVAL: Duration = Duration::from_secs(30);
pub const RETRY_ON: &[NotMe] = &NotMe::ALL;
pub const LOAD_BOUND: Option<NonZeroU16> = None;
pub const SLOW_START: Duration = Duration::ZERO;

pub const STICKY_CLIENTS: StickyClients = StickyClients::Persistent;
pub const EXPIRE: Duration = Duration::from_secs(24 * 3600);
pub const HOLD: Duration = Duration::from_secs(30);

pub const WEIGHT: u16 = 1;
pub const TIER: Tier = Tier::Primary;
pub const INTERVAL: Duration = Duration::from_secs(5);
pub const FAST_INTERVAL: Duration = Duration::from_secs(1);
pub const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
pub const JITTER_PERCENT: u32 = 10;
pub const FALL: NonZeroU32 = NonZeroU32::new(3).expect("3 is not 0");
pub const RISE: NonZeroU32 = NonZeroU32::new(2).expect("2 is not 0");
pub const CHECK_VERSION: Version = Version::V3_1_1;
/// The page of `http` without a preset.
pub const PATH: &str = "/";
pub const STATUS: &[u16] = &[200];
pub const MAX_FAILS: Option<NonZeroU32> = NonZeroU32::new(3);
pub const FAIL_TIMEOUT: Duration = Duration::from_secs(10);
pub const FAIL_ON: &[Why] = &[
    Why::Unreachable,
    Why::Silent,
    Why::NotMe(NotMe::Unavailable),
];
pub const ON_DEAD: OnDead = OnDead::Reset;
pub const RESETS_PER_SECOND: NonZeroU32 = NonZeroU32::new(500).expect("500 is not 0");
