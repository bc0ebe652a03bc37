//! `name[=value]` lists parted by a delimiter: header parameters, URI parameters, challenges.

use crate::block::{Block, Lanes, Stops, find as find_byte, find_or_end, has_none};
use crate::chars::{cut, not_identifier, quoted_end, skip_lws, trim, unquoted};

/// One parameter. Offsets count from the first byte of the list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Param<'a> {
    list: &'a [u8],
    pub start: usize,
    name_end: usize,
    /// Where the value begins, behind the `=` if there is one.
    raw_start: usize,
    pub end: usize,
    has_value: bool,
    /// Whether there is a quote anywhere in it.
    quotes: bool,
}

impl<'a> Param<'a> {
    /// Trimmed; empty for an empty element.
    #[inline]
    pub fn name(&self) -> &'a [u8] {
        cut(self.list, self.start, self.name_end)
    }

    /// Trimmed, quotes still on; empty for a flag.
    #[inline]
    pub fn raw(&self) -> &'a [u8] {
        cut(self.list, self.raw_start, self.end)
    }

    /// The value without quotes; empty for a flag.
    #[inline]
    pub fn value(&self) -> &'a [u8] {
        if self.quotes { unquoted(self.raw()) } else { self.raw() }
    }

    /// Offsets of [`Param::value`].
    pub fn value_range(&self) -> (usize, usize) {
        let (raw, value) = (self.raw(), self.value());
        let start = self.raw_start + usize::from(value.len() != raw.len());
        (start, start + value.len())
    }

    #[inline]
    pub fn is(&self, name: &[u8]) -> bool {
        is_name(self.name(), name)
    }

    /// Whether quotes stand only around a whole value: nobody can then see its end elsewhere.
    #[inline]
    pub fn is_well_quoted(&self) -> bool {
        !self.quotes || self.is_quoted()
    }

    fn is_quoted(&self) -> bool {
        let raw = self.raw();
        raw.first() == Some(&b'"')
            && quoted_end(raw, 0) == Some(raw.len())
            && !self.name().contains(&b'"')
    }

    /// Whether its value is fit for a tag or a branch, see [`not_identifier`].
    pub fn is_identifier(&self) -> bool {
        has_none(self.raw(), not_identifier)
    }

    /// Takes white space off the ends of name and value.
    #[inline(never)]
    fn trim(&mut self) {
        self.end = trim(self.list, self.start, self.end).1;
        self.name_end = trim(self.list, self.start, self.name_end.min(self.end)).1;
        self.raw_start = trim(self.list, self.raw_start, self.end).0.min(self.end);
    }

    /// Nothing but white space between two delimiters.
    pub fn is_empty(&self) -> bool {
        self.start == self.name_end && !self.has_value
    }
}

/// Iterates over a list, empty elements included. An unterminated quoted string reaches to the
/// end.
pub(crate) struct Params<'a, const DELIMITER: u8> {
    bytes: &'a [u8],
    /// Where the next parameter begins.
    at: Option<usize>,
    stops: Stops<'a>,
}

/// What ends or divides a parameter, what ends what is quoted in it, and white space: most have
/// none, so there is nothing to trim.
#[inline]
fn stops<const DELIMITER: u8>(block: Block) -> Lanes {
    let dividers = block.is(DELIMITER) | block.is(b'=') | block.is_up_to(b' ');
    dividers | block.is(b'"') | block.is(b'\\')
}

impl<'a, const DELIMITER: u8> Params<'a, DELIMITER> {
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Params { bytes, at: (!bytes.is_empty()).then_some(0), stops: Stops::new(bytes) }
    }

    /// The list from the parameter on that begins at `at`.
    fn from(bytes: &'a [u8], at: usize) -> Self {
        let mut stops = Stops::new(bytes);
        stops.skip_to(at);
        Params { bytes, at: Some(at), stops }
    }

    /// Whether the last parameter was read.
    pub fn is_at_end(&self) -> bool {
        self.at.is_none()
    }

    /// Goes behind the quote that closes what was opened; `None` when there is none.
    #[inline]
    fn skip_quoted(&mut self) -> Option<()> {
        loop {
            match self.stops.next(stops::<DELIMITER>)? {
                (_, b'"') => return Some(()),
                (at, b'\\') => self.stops.skip_to(at + 2),
                _ => {}
            }
        }
    }
}

impl<'a, const DELIMITER: u8> Iterator for Params<'a, DELIMITER> {
    type Item = Param<'a>;

    #[inline]
    fn next(&mut self) -> Option<Param<'a>> {
        let start = skip_lws(self.bytes, self.at.take()?);
        let (mut equals, mut quotes, mut spaces) = (None, false, false);
        let mut end = self.bytes.len();
        while let Some((at, byte)) = self.stops.next(stops::<DELIMITER>) {
            if byte == DELIMITER {
                end = at;
                self.at = Some(at + 1);
                break;
            }
            match byte {
                b'=' => equals = equals.or(Some(at)),
                b'"' => {
                    quotes = true;
                    if self.skip_quoted().is_none() {
                        break;
                    }
                }
                // a backslash is one in a quoted string only
                _ => spaces |= at >= start,
            }
        }
        let mut param = Param {
            list: self.bytes,
            start: start.min(end),
            name_end: equals.unwrap_or(end),
            raw_start: equals.map_or(end, |equals| equals + 1),
            end,
            has_value: equals.is_some(),
            quotes,
        };
        if spaces {
            param.trim();
        }
        Some(param)
    }
}

/// One parameter of a list of quoted values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QuotedParam<'a> {
    /// Trimmed; empty for an empty element.
    pub name: &'a [u8],
    /// Without quotes; empty for a flag.
    pub value: &'a [u8],
    /// Offset of the value in the list.
    pub value_start: usize,
}

impl QuotedParam<'_> {
    #[inline]
    pub fn is(&self, name: &[u8]) -> bool {
        is_name(self.name, name)
    }
}

/// [`Params`] for lists of quoted values, as challenges and credentials are: what is written as all
/// write it, `name="value"` or `name=value`, is looked at with fewer stops.
pub(crate) struct QuotedParams<'a> {
    list: &'a [u8],
    /// From where the next parameter begins.
    rest: Option<&'a [u8]>,
}

impl<'a> QuotedParams<'a> {
    pub fn new(list: &'a [u8]) -> Self {
        QuotedParams { list, rest: (!list.is_empty()).then_some(list) }
    }

    /// The parameter that `rest` begins with, if it is written as all write it, and what is behind its
    /// comma.
    #[inline(always)]
    fn plain(&self, rest: &'a [u8]) -> Option<(QuotedParam<'a>, Option<&'a [u8]>)> {
        let text = rest.strip_prefix(b" ").unwrap_or(rest);
        let name_end = Block::first(stops::<b','>(Block::at(text, 0))).filter(|end| *end > 0)?;
        let (name, rest) = text.split_at_checked(name_end)?;
        let raw = rest.strip_prefix(b"=")?;
        let (value_start, value, rest) = if let Some(quoted) = raw.strip_prefix(b"\"") {
            let close = find_byte(quoted, 0, |block| block.is(b'"') | block.is(b'\\'))?;
            let (value, rest) = quoted.split_at_checked(close)?;
            (self.list.len() - quoted.len(), value, rest.strip_prefix(b"\"")?)
        } else {
            let ends = |block: Block| {
                block.is(b',') | block.is_up_to(b' ') | block.is(b'"') | block.is(b'\\')
            };
            let (value, rest) = raw.split_at_checked(find_or_end(raw, 0, ends))?;
            (self.list.len() - raw.len(), value, rest)
        };
        let next = match rest {
            [] => None,
            [b',', next @ ..] => Some(next),
            _ => return None,
        };
        Some((QuotedParam { name, value, value_start }, next))
    }

    /// Any parameter. Apart, so that the loop around it stays small.
    #[inline(never)]
    fn any(&mut self, at: usize) -> Option<QuotedParam<'a>> {
        let mut all = Params::<b','>::from(self.list, at);
        let param = all.next()?;
        self.rest = all.at.and_then(|at| self.list.get(at..));
        let (value_start, _) = param.value_range();
        Some(QuotedParam { name: param.name(), value: param.value(), value_start })
    }
}

impl<'a> Iterator for QuotedParams<'a> {
    type Item = QuotedParam<'a>;

    // a call costs a third of what it does
    #[inline(always)]
    fn next(&mut self) -> Option<QuotedParam<'a>> {
        let rest = self.rest.take()?;
        if let Some((param, next)) = self.plain(rest) {
            self.rest = next;
            return Some(param);
        }
        self.any(self.list.len() - rest.len())
    }
}

/// Whether a name is that one, which is written in lower case.
#[inline]
fn is_name(written: &[u8], name: &[u8]) -> bool {
    // most write it so; comparing without letter case costs more
    written == name || written.eq_ignore_ascii_case(name)
}

/// First parameter of that name.
pub(crate) fn find<'a, const DELIMITER: u8>(list: &'a [u8], name: &[u8]) -> Option<Param<'a>> {
    Params::<DELIMITER>::new(list).find(|param| param.is(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delimiters_in_quotes_do_not_part() {
        let list = br#" a = "x;\";y" ; b;; c=1"#;
        let names: Vec<_> = Params::<b';'>::new(list).map(|p| (p.name(), p.raw())).collect();
        assert_eq!(
            names,
            [(&b"a"[..], &br#""x;\";y""#[..]), (b"b", b""), (b"", b""), (b"c", b"1")]
        );
        let a = find::<b';'>(list, b"A").unwrap();
        assert_eq!(a.value(), br#"x;\";y"#);
        let (start, end) = a.value_range();
        assert_eq!(&list[start..end], a.value());
    }

    /// Names, values, and where these stand.
    type Read<'a> = Vec<(&'a [u8], &'a [u8], usize)>;

    fn quoted(list: &[u8]) -> Read<'_> {
        QuotedParams::new(list).map(|it| (it.name, it.value, it.value_start)).collect()
    }

    fn all(list: &[u8]) -> Read<'_> {
        Params::<b','>::new(list).map(|it| (it.name(), it.value(), it.value_range().0)).collect()
    }

    proptest::proptest! {
        #[test]
        fn quoted_lists_are_read_as_all_lists_are(list in "[ab=, \"\\\\\t\r\n/;]{0,60}") {
            let list = list.as_bytes();
            proptest::prop_assert_eq!(quoted(list), all(list));
        }

        #[test]
        fn credentials_are_read_as_all_lists_are(
            list in "(, ?[a-c]{1,20}=(\"[a-z,;= \\\\]{0,40}\"|[a-z0-9=]{0,20}) ?){0,6}"
        ) {
            let list = list.as_bytes();
            proptest::prop_assert_eq!(quoted(list), all(list));
        }
    }

    #[test]
    fn unterminated_quote_reaches_to_the_end() {
        let all: Vec<_> = Params::<b';'>::new(b"a=\"x;b=1").collect();
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
            let param = Params::<b';'>::new(list).next().unwrap();
            assert_eq!(param.is_well_quoted(), well, "{}", list.escape_ascii());
        }
    }
}
