//! Deterministic mutations, for runs on stable and without coverage feedback.

/// SplitMix64: the same numbers from the same seed, everywhere.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator of its own for each seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// Seeded by bytes, for targets that need choices: libFuzzer must see the same each time.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        Random(bytes.iter().fold(0xcbf2_9ce4_8422_2325, fnv))
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`; 0 when that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        match bound {
            0 => 0,
            bound => (self.number() % bound as u64) as usize,
        }
    }
}

/// What SIP parsers trip over.
pub(crate) const TOKENS: [&[u8]; 64] = [
    b"\r\n",
    b"\r\n ",
    b"\r\n\t",
    b"\r\n\r\n",
    b"\r",
    b"\n",
    b"\0",
    b"\\\0",
    b"\"",
    b"\\\"",
    b"\\",
    b"<",
    b">",
    b",",
    b";",
    b":",
    b"@",
    b"=",
    b"?",
    b"[",
    b"]",
    b"(",
    b")",
    b"%00",
    b"%41",
    b"#",
    b" ",
    b"\t",
    b"\x0b",
    b"\x0c",
    b"\xc3\xbc",
    b"\xff",
    b"::",
    b":::",
    b"[::1]",
    b"[::",
    b";tag=",
    b";tag=a;tag=b",
    b";branch=",
    b";rport",
    b";received=::1",
    b";lr",
    b"sip:",
    b"sips:",
    b"tel:",
    b"65535",
    b"65536",
    b"2147483648",
    b"4294967296",
    b"18446744073709551616",
    b"-1",
    b"0",
    b"Content-Length: 0\r\n",
    b"l: 5\r\n",
    b"Via: SIP/2.0/UDP h\r\n",
    b"To: <sip:x@y>\r\n",
    b"m: *\r\n",
    b"\r\nX : y",
    b"SIP/2.0 ",
    b"SIP/3.0",
    b"\"<sip:evil@a>\" ",
    b"<sip:a@b>, ",
    b"*",
    b"INVITE ",
];

/// A seed with a mutation, or two with half the chance, or three with a quarter…
#[must_use]
pub fn mutate(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    loop {
        step(&mut bytes, seeds, random);
        if random.below(2) == 0 {
            break;
        }
    }
    bytes.truncate(70_000);
    bytes
}

fn step(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    // Nine of ten mutations are in the head: bodies are not read.
    let head = bytes.windows(4).position(|w| w == b"\r\n\r\n").map_or(bytes.len(), |end| end + 4);
    let reach = if random.below(10) == 0 { bytes.len() } else { head };
    let at = random.below(reach + 1);
    let end = (at + 1 + random.below(24)).min(bytes.len());
    match random.below(14) {
        0 => set(bytes, at, random.number() as u8),
        1 => {
            let flipped = bytes.get(at).copied().unwrap_or(0) ^ (1 << random.below(8));
            set(bytes, at, flipped);
        }
        2..=4 => {
            bytes.splice(at..at, TOKENS[random.below(TOKENS.len())].iter().copied());
        }
        5 => {
            bytes.splice(at..end.max(at), TOKENS[random.below(TOKENS.len())].iter().copied());
        }
        6 => {
            bytes.drain(at..end.max(at));
        }
        7 => {
            let again = bytes[at..end.max(at)].to_vec();
            bytes.splice(at..at, again);
        }
        8 => lines(bytes, random, |lines, a, b| lines.swap(a, b)),
        9 => lines(bytes, random, |lines, a, b| lines.insert(b, lines[a].clone())),
        10 => lines(bytes, random, |lines, a, _| drop(lines.remove(a))),
        11 => {
            let other = &seeds[random.below(seeds.len())];
            bytes.truncate(at);
            bytes.extend_from_slice(&other[random.below(other.len())..]);
        }
        12 => {
            let other = &seeds[random.below(seeds.len())];
            let line = other.split_inclusive(|b| *b == b'\n').nth(1 + random.below(12));
            let start = bytes.iter().position(|b| *b == b'\n').map_or(0, |end| end + 1);
            bytes.splice(start..start, line.unwrap_or_default().iter().copied());
        }
        _ => bytes.truncate(at),
    }
}

fn set(bytes: &mut [u8], at: usize, byte: u8) {
    if let Some(old) = bytes.get_mut(at) {
        *old = byte;
    }
}

fn lines(
    bytes: &mut Vec<u8>,
    random: &mut Random,
    edit: impl FnOnce(&mut Vec<Vec<u8>>, usize, usize),
) {
    let mut lines: Vec<Vec<u8>> =
        bytes.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    if lines.len() > 1 {
        let a = 1 + random.below(lines.len() - 1);
        let b = 1 + random.below(lines.len() - 1);
        edit(&mut lines, a, b);
        *bytes = lines.concat();
    }
}
