//! `name-addr` and `addr-spec` with header parameters: From, To, Contact, Route, Record-Route,
//! Path, Refer-To (RFC 3261 §20.10, §25.1).

use crate::block::{Block, find, has_none};
use crate::chars::{cut, not_identifier, offset_at, quoted_end, skip_lws, trim};
use crate::{Span, params};

/// One such value. A quoted display name may hold a URI; only what stands in the angle brackets
/// after it counts.
#[derive(Clone, Copy, Debug)]
pub struct NameAddr<'a> {
    /// As written, quotes included; empty when there is none.
    pub display_name: &'a [u8],
    /// The URI's bytes, without angle brackets.
    pub uri: &'a [u8],
    /// Where [`NameAddr::uri`] stands.
    pub uri_span: Span,
    /// Header parameters, from behind the first `;` after the address.
    pub params: &'a [u8],
    /// Offset of `params`.
    pub params_start: u16,
    /// Whether angle brackets were there.
    pub bracketed: bool,
}

impl<'a> NameAddr<'a> {
    /// Parses a value whose first byte stands at `offset` in the message.
    ///
    /// `None` when a quoted string or an angle bracket is not closed, when there is no address,
    /// or when something other than parameters follows the closing bracket. Without brackets the
    /// first `;` ends the address (RFC 3261 §20.10).
    #[must_use]
    pub fn parse(bytes: &'a [u8], offset: u16) -> Option<Self> {
        let opening = |block: Block| block.is(b'"') | block.is(b'<') | block.is(b';');
        let mut at = 0;
        loop {
            let Some(found) = find(bytes, at, opening) else {
                return Self::bare(bytes, offset, bytes.len());
            };
            match bytes.get(found) {
                Some(b'"') => at = quoted_end(bytes, found)?,
                Some(b'<') => return Self::bracketed(bytes, offset, found),
                _ => return Self::bare(bytes, offset, found),
            }
        }
    }

    /// A header parameter's value (quotes taken off), `Some(b"")` for a flag.
    #[must_use]
    pub fn param(&self, name: &[u8]) -> Option<&'a [u8]> {
        params::find::<b';'>(self.params, name).map(|param| param.value())
    }

    /// The span of a whole `name=value` (without its `;`).
    #[must_use]
    pub fn param_span(&self, name: &[u8]) -> Option<Span> {
        params::find::<b';'>(self.params, name).map(|param| Span {
            start: offset_at(self.params_start, param.start),
            end: offset_at(self.params_start, param.end),
        })
    }

    fn bracketed(bytes: &'a [u8], offset: u16, open: usize) -> Option<Self> {
        // they differ in one bit
        let close = find(bytes, open + 1, |block| block.is_but_for(b'<' ^ b'>', b'>'))?;
        if bytes.get(close) != Some(&b'>') {
            return None;
        }
        let (start, end) = trim(bytes, open + 1, close);
        let behind = skip_lws(bytes, close + 1);
        let params_start = match bytes.get(behind) {
            None => bytes.len(),
            Some(b';') => behind + 1,
            Some(_) => return None,
        };
        let (name_start, name_end) = trim(bytes, 0, open);
        Some(Self::of(bytes, offset, (name_start, name_end), (start, end), params_start, true))
    }

    fn bare(bytes: &'a [u8], offset: u16, end: usize) -> Option<Self> {
        let (start, uri_end) = trim(bytes, 0, end);
        let uri = cut(bytes, start, uri_end);
        if uri.is_empty() || !has_none(uri, |block| block.is(b'"') | block.is(b'>')) {
            return None;
        }
        let params_start = (end + 1).min(bytes.len());
        Some(Self::of(bytes, offset, (0, 0), (start, uri_end), params_start, false))
    }

    fn of(
        bytes: &'a [u8],
        offset: u16,
        name: (usize, usize),
        uri: (usize, usize),
        params: usize,
        bracketed: bool,
    ) -> Self {
        NameAddr {
            display_name: cut(bytes, name.0, name.1),
            uri: cut(bytes, uri.0, uri.1),
            uri_span: Span { start: offset_at(offset, uri.0), end: offset_at(offset, uri.1) },
            params: cut(bytes, params, bytes.len()),
            params_start: offset_at(offset, params),
            bracketed,
        }
    }

    /// The tags; `None` when quotes in the parameters are not closed or not around a whole
    /// value, or different readers cut a tag differently.
    pub(crate) fn tags(&self) -> Option<Tags<'a>> {
        // a tag and nothing else, as almost always
        if let Some(tag) = self.params.strip_prefix(b"tag=")
            && has_none(tag, |block| not_identifier(block) | block.is(b';'))
        {
            return Some(Tags { first: tag, several: false });
        }
        let (mut tag, mut several) = (None, false);
        for param in params::Params::<b';'>::new(self.params) {
            if !param.is_well_quoted() {
                return None;
            }
            if param.is(b"tag") {
                if !param.is_identifier() {
                    return None;
                }
                several |= tag.is_some();
                tag = tag.or(Some(param.value()));
            }
        }
        Some(Tags { first: tag.unwrap_or_default(), several })
    }
}

/// What `tag` parameters a From or To has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tags<'a> {
    /// Empty when there is none.
    pub first: &'a [u8],
    pub several: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> NameAddr<'_> {
        NameAddr::parse(text.as_bytes(), 100).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn only_the_bracketed_uri_counts() {
        for (text, uri, tag) in [
            (r#""x <sip:evil@a>" <sip:real@b>;tag=1"#, "sip:real@b", "1"),
            (r#""x \" <sip:evil@a>;tag=2" <sip:real@b>;tag=1"#, "sip:real@b", "1"),
            (r#""x \\" <sip:real@b;tag=u>;x="<sip:evil@a>;tag=3";tag=1"#, "sip:real@b;tag=u", "1"),
            ("Bell, Alexander <sip:real@b>;tag=1", "sip:real@b", "1"),
            ("<sip:real@b>", "sip:real@b", ""),
            (" \"\" < sip:real@b > ; tag = 1 ", "sip:real@b", "1"),
            ("caller<sip:real@b>;tag=1:[2]/3", "sip:real@b", "1:[2]/3"),
            ("sip:real@b ;\r\n tag = 1", "sip:real@b", "1"),
            ("sip:real@b;x=\"<sip:evil@a>\";tag=1", "sip:real@b", "1"),
        ] {
            let parsed = parse(text);
            assert_eq!(parsed.uri, uri.as_bytes(), "{text}");
            let tags = Tags { first: tag.as_bytes(), several: false };
            assert_eq!(parsed.tags(), Some(tags), "{text}");
            let span =
                usize::from(parsed.uri_span.start - 100)..usize::from(parsed.uri_span.end - 100);
            assert_eq!(&text[span], uri);
            if let Some(span) = parsed.param_span(b"tag") {
                let span = usize::from(span.start - 100)..usize::from(span.end - 100);
                assert!(text[span.clone()].starts_with("tag"), "{}", &text[span]);
            }
        }
    }

    #[test]
    fn display_names() {
        assert_eq!(parse(r#""a \" b" <sip:x@y>"#).display_name, br#""a \" b""#);
        assert_eq!(parse("a b <sip:x@y>").display_name, b"a b");
        assert_eq!(parse("<sip:x@y>").display_name, b"");
        assert!(!parse("sip:x@y").bracketed);
    }

    #[test]
    fn refused() {
        for text in [
            "",
            ";tag=1",
            "\"Mr. J. User <sip:j.user@example.com>",
            "<sip:a@b",
            "<sip:a@b> <sip:c@d>",
            "<sip:a<b>",
            "<sip:a@b> x;tag=1",
            "\"x\" sip:a@b",
        ] {
            assert!(NameAddr::parse(text.as_bytes(), 0).is_none(), "{text}");
        }
        for params in ["x=\"1;tag=2", "tag=\"1\"", "tag=1 2", "tag=1\"2\"", "tag=1<2", "tag=1,2"] {
            assert_eq!(parse(&format!("<sip:a@b>;{params}")).tags(), None, "{params}");
        }
    }

    #[test]
    fn the_first_of_several_tags_counts() {
        let tags = Tags { first: b"1", several: true };
        assert_eq!(parse("<sip:a@b>;tag=1;tag=2").tags(), Some(tags));
    }
}
