//! How long a client may be silent, as its CONNECT and its broker say.

use std::time::Duration;

use crate::config::Limits;
use crate::mqtt::connack::First;
use crate::mqtt::connect::Connect;

/// In seconds; what the backend says counts [MQTT5-3.2.2-21].
pub(super) fn keep_alive(connect: &Connect, first: &First) -> u16 {
    let server = match first {
        First::Connack(connack) => connack.server_keep_alive,
        First::Auth => None,
    };
    server.unwrap_or_else(|| connect.keep_alive())
}

/// How long a client may be silent; `None` is for ever [MQTT-3.1.2-24].
pub(super) fn limit(keep_alive: u16, limits: &Limits) -> Option<Duration> {
    if keep_alive == 0 {
        return limits.idle_without_keep_alive;
    }
    // Whole seconds, as the kernel counts them.
    let seconds = u64::from(keep_alive) + u64::from(keep_alive / 2);
    Some(Duration::from_secs(seconds) + limits.idle_margin)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::limit;
    use crate::config::check::check;

    // [MQTT-3.1.2-24]
    #[test]
    fn is_one_and_a_half_times_the_keep_alive_and_a_margin() {
        let minimal = include_str!("../../../conf/minimal.toml");
        let mut limits = check(minimal).unwrap().limits;
        let seconds = |keep_alive| limit(keep_alive, &limits).map(|limit| limit.as_secs());

        assert_eq!(seconds(1), Some(6));
        assert_eq!(seconds(60), Some(95));
        assert_eq!(seconds(u16::MAX), Some(65_535 + 32_767 + 5));
        assert_eq!(seconds(0), Some(24 * 60 * 60));
        limits.idle_without_keep_alive = None;
        limits.idle_margin = Duration::ZERO;
        assert_eq!(limit(0, &limits), None);
        assert_eq!(limit(2, &limits), Some(Duration::from_secs(3)));
    }
}
