//! Why bytes are refused: a closed list.

macro_rules! malformed {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)*) => {
        /// Why bytes are no SIP message that we take. Each is the sender's fault; the label is
        /// the metric label.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
        pub enum Malformed {
            $($(#[$doc])* #[error($label)] $name,)*
        }

        impl Malformed {
            /// Every reason, for catalogues.
            pub const ALL: &[Malformed] = &[$(Malformed::$name,)*];

            /// The label: `snake_case`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Malformed::$name => $label,)*
                }
            }
        }
    };
}

malformed! {
    /// Nothing but line ends.
    Empty = "empty",
    /// More bytes than [`crate::Limits::message_bytes`].
    TooLong = "too_long",
    /// The first line is neither Request-Line nor Status-Line (RFC 3261 §7.1, §7.2).
    StartLine = "start_line",
    /// Longer than [`crate::Limits::start_line_bytes`].
    StartLineTooLong = "start_line_too_long",
    /// White space, quotes or angle brackets in the Request-URI, no scheme, or a SIP URI without
    /// a readable host (RFC 3261 §7.1, §25.1).
    RequestUri = "request_uri",
    /// Status code is not three digits from 100 to 699.
    Status = "status",
    /// `SIP/x.y`, but not 2.0: to be answered with 505 (RFC 3261 §21.5.6).
    UnsupportedVersion = "unsupported_version",
    /// The bytes end before the empty line.
    HeadUnfinished = "head_unfinished",
    /// Header lines together longer than [`crate::Limits::header_bytes`].
    HeadersTooLong = "headers_too_long",
    /// A header line longer than [`crate::Limits::header_line_bytes`].
    HeaderLineTooLong = "header_line_too_long",
    /// More lines than [`crate::Limits::header_lines`].
    TooManyHeaders = "too_many_headers",
    /// A header line without a colon or with a name that is no token, or white space in front of
    /// the first one.
    HeaderName = "header_name",
    /// A folded line of nothing but white space: the end of the head for some readers.
    EmptyFold = "empty_fold",
    /// CR without LF in the head.
    BareCr = "bare_cr",
    /// LF without CR in the head.
    BareLf = "bare_lf",
    /// NUL in the head, not as a quoted pair.
    Nul = "nul",
    /// A second line of a header that may stand once.
    DuplicateHeader = "duplicate_header",
    /// No Via.
    ViaMissing = "via_missing",
    /// No From.
    FromMissing = "from_missing",
    /// No To.
    ToMissing = "to_missing",
    /// No Call-ID.
    CallIdMissing = "call_id_missing",
    /// No CSeq.
    CSeqMissing = "cseq_missing",
    /// The top Via can't be read.
    Via = "via",
    /// More Via values than [`crate::Limits::via_values`].
    TooManyVias = "too_many_vias",
    /// From can't be read.
    From = "from",
    /// To can't be read.
    To = "to",
    /// Call-ID is empty or has white space or control characters in it.
    CallId = "call_id",
    /// CSeq can't be read, or its number is 2³¹ or more (RFC 3261 §8.1.1.5).
    CSeq = "cseq",
    /// CSeq names another method than the Request-Line.
    CSeqMethod = "cseq_method",
    /// Max-Forwards is not a number up to 255.
    MaxForwards = "max_forwards",
    /// Content-Length is no number.
    ContentLength = "content_length",
    /// No Content-Length on a stream (RFC 3261 §18.3).
    ContentLengthMissing = "content_length_missing",
    /// Content-Length is larger than what is there.
    BodyUnfinished = "body_unfinished",
    /// Body longer than [`crate::Limits::body_bytes`].
    BodyTooLong = "body_too_long",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_unique_and_snake_case() {
        let labels: std::collections::BTreeSet<_> =
            Malformed::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(labels.len(), Malformed::ALL.len());
        for reason in Malformed::ALL {
            assert!(reason.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
            assert_eq!(reason.to_string(), reason.as_str());
        }
    }
}
