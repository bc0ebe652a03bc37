//! Just enough SIP scanning for a load generator.
use md5::{Digest, Md5};

pub fn line_end(b: &[u8], from: usize) -> (usize, usize) {
    let mut i = from;
    while i < b.len() && b[i] != b'\n' {
        i += 1;
    }
    let end = if i > from && b[i - 1] == b'\r' { i - 1 } else { i };
    (end, (i + 1).min(b.len()))
}

/// Iterator over (name, value, whole line) of the header part.
pub struct Headers<'a> {
    b: &'a [u8],
    pos: usize,
}

pub fn headers(b: &[u8]) -> Headers<'_> {
    let (_, next) = line_end(b, 0);
    Headers { b, pos: next }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], &'a [u8], &'a [u8]);
    fn next(&mut self) -> Option<Self::Item> {
        if self.pos >= self.b.len() {
            return None;
        }
        let (e, n) = line_end(self.b, self.pos);
        if e == self.pos {
            self.pos = self.b.len();
            return None;
        }
        let line = &self.b[self.pos..e];
        self.pos = n;
        let c = line.iter().position(|&x| x == b':').unwrap_or(line.len());
        let name = trim(&line[..c]);
        let val = if c < line.len() { trim(&line[c + 1..]) } else { &[][..] };
        Some((name, val, line))
    }
}

pub fn trim(mut s: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', r @ ..] = s {
        s = r;
    }
    while let [r @ .., b' ' | b'\t'] = s {
        s = r;
    }
    s
}

pub fn is(name: &[u8], long: &str, short: &str) -> bool {
    name.eq_ignore_ascii_case(long.as_bytes())
        || (!short.is_empty() && name.eq_ignore_ascii_case(short.as_bytes()))
}

pub fn num(b: &[u8]) -> u64 {
    let mut n = 0u64;
    for &c in b {
        if !c.is_ascii_digit() {
            break;
        }
        n = n * 10 + (c - b'0') as u64;
    }
    n
}

pub fn find(h: &[u8], n: &[u8]) -> Option<usize> {
    h.windows(n.len()).position(|w| w == n)
}

/// Value of a `name="..."` or `name=...` parameter.
pub fn param<'a>(v: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let pat = format!("{name}=");
    let mut from = 0;
    while let Some(p) = find(&v[from..], pat.as_bytes()) {
        let at = from + p;
        if at == 0 || matches!(v[at - 1], b' ' | b',' | b';' | b'\t') {
            let r = &v[at + pat.len()..];
            if r.first() == Some(&b'"') {
                let e = r[1..].iter().position(|&c| c == b'"')?;
                return Some(&r[1..1 + e]);
            }
            let e =
                r.iter().position(|&c| matches!(c, b',' | b';' | b' ' | b'>')).unwrap_or(r.len());
            return Some(&r[..e]);
        }
        from = at + pat.len();
    }
    None
}

/// Length of the first whole message in a stream buffer, if it is all there.
pub fn frame(b: &[u8]) -> Option<usize> {
    let h = find(b, b"\r\n\r\n")?;
    let mut cl = 0;
    for (n, v, _) in headers(&b[..h + 2]) {
        if is(n, "Content-Length", "l") {
            cl = num(v) as usize;
        }
    }
    let t = h + 4 + cl;
    if b.len() >= t {
        Some(t)
    } else {
        None
    }
}

pub fn hex(d: &[u8]) -> String {
    const H: &[u8; 16] = b"0123456789abcdef";
    let mut s = String::with_capacity(d.len() * 2);
    for b in d {
        s.push(H[(b >> 4) as usize] as char);
        s.push(H[(b & 15) as usize] as char);
    }
    s
}

pub fn md5s(parts: &[&[u8]]) -> String {
    let mut m = Md5::new();
    for (i, p) in parts.iter().enumerate() {
        if i > 0 {
            m.update(b":");
        }
        m.update(p);
    }
    hex(&m.finalize())
}

pub fn digest_response(
    user: &str,
    pass: &str,
    realm: &[u8],
    nonce: &[u8],
    method: &str,
    uri: &str,
    cnonce: &str,
) -> String {
    let ha1 = md5s(&[user.as_bytes(), realm, pass.as_bytes()]);
    let ha2 = md5s(&[method.as_bytes(), uri.as_bytes()]);
    md5s(&[ha1.as_bytes(), nonce, b"00000001", cnonce.as_bytes(), b"auth", ha2.as_bytes()])
}
