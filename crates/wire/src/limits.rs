//! How much of everything a message may have. Each bound has a name, a default and, where it is
//! met, a [`crate::Malformed`] reason that becomes a metric label.

/// Bounds for one message. All are inclusive maxima.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Whole message in bytes, start line to the last byte of the body. At most 65,535.
    pub message_bytes: usize,
    /// Start line in bytes, without its line end.
    pub start_line_bytes: usize,
    /// All header lines together in bytes.
    pub header_bytes: usize,
    /// Header lines. At most [`Limits::HEADER_LINES_MAX`].
    pub header_lines: usize,
    /// One header line in bytes, folded continuation lines included.
    pub header_line_bytes: usize,
    /// Via values (a proof of a loop long before Max-Forwards ends it).
    pub via_values: usize,
    /// Body in bytes.
    pub body_bytes: usize,
}

impl Limits {
    /// What [`Limits::header_lines`] can be set to at most. A parsed message has room for as many more,
    /// of whoever forwards it.
    pub const HEADER_LINES_MAX: usize = 128;

    /// The bounds of a message that was within these when it came, once it was forwarded: it has grown
    /// by a Via and by other lines since, and must be read again all the same.
    #[must_use]
    pub fn once_forwarded(self) -> Limits {
        let most = usize::from(u16::MAX);
        Limits {
            message_bytes: most,
            start_line_bytes: most,
            header_bytes: most,
            header_lines: 2 * Limits::HEADER_LINES_MAX,
            header_line_bytes: most,
            via_values: self.via_values.saturating_add(1),
            ..self
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            message_bytes: 65_535,
            start_line_bytes: 2_048,
            header_bytes: 16_384,
            header_lines: Limits::HEADER_LINES_MAX,
            header_line_bytes: 8_192,
            via_values: 70,
            body_bytes: 65_535,
        }
    }
}
