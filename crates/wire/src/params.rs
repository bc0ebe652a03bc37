//! `name[=value]` lists parted by a delimiter: header parameters, URI parameters, challenges.

use crate::chars::{cut, end_of, is_divider, is_identifier, quoted_end, trim, unquoted};

/// One parameter. Offsets count from the first byte of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Param<'a> {
    /// Trimmed; empty for an empty element.
    pub name: &'a [u8],
    /// Trimmed, quotes still on.
    pub raw: Option<&'a [u8]>,
    /// Offset of `raw`.
    pub raw_start: usize,
    pub start: usize,
    pub end: usize,
    /// Whether there is a quote anywhere in it.
    quotes: bool,
}

impl<'a> Param<'a> {
    /// The value without quotes; empty for a flag.
    pub fn value(&self) -> &'a [u8] {
        unquoted(self.raw.unwrap_or_default())
    }

    /// Offsets of [`Param::value`].
    pub fn value_range(&self) -> (usize, usize) {
        let raw = self.raw.unwrap_or_default();
        let quote = usize::from(unquoted(raw).len() != raw.len());
        let start = self.raw_start + quote;
        (start, start + unquoted(raw).len())
    }

    pub fn is(&self, name: &[u8]) -> bool {
        // most write it so; comparing without letter case costs more
        self.name == name || self.name.eq_ignore_ascii_case(name)
    }

    /// Whether quotes stand only around a whole value: nobody can then see its end elsewhere.
    pub fn is_well_quoted(&self) -> bool {
        let raw = self.raw.unwrap_or_default();
        !self.quotes
            || raw.first() == Some(&b'"')
                && quoted_end(raw, 0) == Some(raw.len())
                && !self.name.contains(&b'"')
    }

    /// Whether its value is fit for a tag or a branch: RFC 3261 §25.1 has `token`, real phones
    /// write most of what is printable; white space, quotes, backslashes, angle brackets, commas
    /// and bytes above ASCII are cut at different places by different readers.
    pub fn is_identifier(&self) -> bool {
        self.raw.unwrap_or_default().iter().all(|byte| is_identifier(*byte))
    }

    /// Nothing but white space between two delimiters.
    pub fn is_empty(&self) -> bool {
        self.name.is_empty() && self.raw.is_none()
    }
}

/// Iterates over a list, empty elements included. An unterminated quoted string reaches to the
/// end.
pub(crate) struct Params<'a> {
    bytes: &'a [u8],
    delimiter: u8,
    at: Option<usize>,
}

impl<'a> Params<'a> {
    pub fn new(bytes: &'a [u8], delimiter: u8) -> Self {
        Params { bytes, delimiter, at: (!bytes.is_empty()).then_some(0) }
    }
}

impl<'a> Iterator for Params<'a> {
    type Item = Param<'a>;

    fn next(&mut self) -> Option<Param<'a>> {
        let begin = self.at?;
        let bytes = self.bytes;
        let (mut equals, mut quotes) = (None, false);
        let mut at = begin;
        loop {
            at = end_of(bytes, at, |byte| !is_divider(byte));
            match bytes.get(at) {
                None => {
                    self.at = None;
                    break;
                }
                Some(&byte) if byte == self.delimiter => {
                    self.at = Some(at + 1);
                    break;
                }
                Some(b'=') if equals.is_none() => equals = Some(at),
                Some(b'"') => {
                    quotes = true;
                    at = quoted_end(bytes, at).unwrap_or(bytes.len());
                    continue;
                }
                Some(_) => {}
            }
            at += 1;
        }
        let (start, end) = trim(bytes, begin, at);
        let name_end = trim(bytes, start, equals.unwrap_or(end)).1;
        let (raw_start, raw_end) = trim(bytes, equals.map_or(end, |equals| equals + 1), end);
        Some(Param {
            name: cut(bytes, start, name_end),
            raw: equals.map(|_| cut(bytes, raw_start, raw_end)),
            raw_start,
            start,
            end,
            quotes,
        })
    }
}

/// First parameter of that name.
pub(crate) fn find<'a>(list: &'a [u8], delimiter: u8, name: &[u8]) -> Option<Param<'a>> {
    Params::new(list, delimiter).find(|param| param.is(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delimiters_in_quotes_do_not_part() {
        let list = br#" a = "x;\";y" ; b;; c=1"#;
        let names: Vec<_> = Params::new(list, b';').map(|p| (p.name, p.raw)).collect();
        assert_eq!(
            names,
            [(&b"a"[..], Some(&br#""x;\";y""#[..])), (b"b", None), (b"", None), (b"c", Some(b"1"))]
        );
        let a = find(list, b';', b"A").unwrap();
        assert_eq!(a.value(), br#"x;\";y"#);
        let (start, end) = a.value_range();
        assert_eq!(&list[start..end], a.value());
    }

    #[test]
    fn unterminated_quote_reaches_to_the_end() {
        let all: Vec<_> = Params::new(b"a=\"x;b=1", b';').collect();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].value(), b"\"x;b=1");
        assert!(!all[0].is_well_quoted());
        for (list, well) in [
            (&b"a=\"x\""[..], true),
            (b"a = \"\"", true),
            (b"a=x", true),
            (b"a", true),
            (b"a\"b=1\"", false),
            (b"a=b\"c\"", false),
            (b"a=\"b\"c", false),
            (b"a=\"b\"\"c\"", false),
            (b"\"a\"=\"b\"", false),
        ] {
            let param = Params::new(list, b';').next().unwrap();
            assert_eq!(param.is_well_quoted(), well, "{}", list.escape_ascii());
        }
    }
}
