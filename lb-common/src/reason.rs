//! Why the kernel half did something else than carry a segment or let it pass.

/// An index of the `REASONS` map.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A segment whose lengths contradict each other was dropped.
    BadLength,
    /// A segment at the end of its time to live was dropped.
    TimeToLive,
    /// A reset or a FIN that this host would have sent on a live flow was dropped.
    StrayEnd,
    /// A first fragment of a live flow, or a segment of one behind extension headers, was left to the
    /// host.
    NotPlain,
    /// The ring of events was full; what it would have told is found by looking.
    EventLost,
}

impl Reason {
    pub const COUNT: usize = 5;
    pub const ALL: [Self; Self::COUNT] = [
        Self::BadLength,
        Self::TimeToLive,
        Self::StrayEnd,
        Self::NotPlain,
        Self::EventLost,
    ];

    pub const fn label(self) -> &'static str {
        match self {
            Self::BadLength => "bad_length",
            Self::TimeToLive => "time_to_live",
            Self::StrayEnd => "stray_end",
            Self::NotPlain => "not_plain",
            Self::EventLost => "event_lost",
        }
    }
}
