//! What honest products and tools send, of which many variations can be made: the files of
//! `tests/data`.

use std::collections::BTreeMap;

/// What phones, PBXs, carriers and devices send to a stranger.
pub const HONEST: [&str; 4] = [
    include_str!("../data/honest/desk-phones.txt"),
    include_str!("../data/honest/softphones.txt"),
    include_str!("../data/honest/servers.txt"),
    include_str!("../data/honest/devices.txt"),
];

/// What scanners, crackers and dialers send.
pub const TOOLS: &str = include_str!("../data/tools.txt");

/// Numbers that are the same in each run.
pub struct Rng(pub u64);

impl Rng {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }

    pub fn of(&mut self, alphabet: &[u8], length: usize) -> String {
        (0..length).map(|_| char::from(alphabet[self.below(alphabet.len())])).collect()
    }
}

pub const DIGITS: &[u8] = b"0123456789";
pub const LOW: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
const ALPHA: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// What `hex 8`, `HEX 8`, `dec 8` (no zero in front), `low 8`, `alnum 8`, `alpha 8`, `uuid` and
/// `svhex` (SIPVicious's tag) stand for.
fn random(kind: &str, rng: &mut Rng) -> String {
    let (kind, length) = kind.split_once(' ').unwrap_or((kind, "0"));
    let length: usize = length.parse().unwrap();
    match kind {
        "hex" => rng.of(&LOW[..16], length),
        "HEX" => rng.of(&LOW[..16], length).to_uppercase(),
        "dec" => rng.of(&DIGITS[1..], 1) + &rng.of(DIGITS, length - 1),
        "low" => rng.of(LOW, length),
        "alnum" => rng.of(&[ALPHA, DIGITS].concat(), length),
        "alpha" => rng.of(ALPHA, length),
        "uuid" => [8, 4, 4, 4, 12].map(|length| rng.of(&LOW[..16], length)).join("-"),
        "svhex" => {
            let secret = rng.of(&LOW[..16], 8) + "1\u{1}" + &rng.of(DIGITS, 10);
            secret.bytes().map(|byte| format!("{byte:02x}")).collect()
        }
        _ => panic!("{{{kind}}} stands for nothing"),
    }
}

/// A message of the file with something in place of each pair of braces; `{name:hex 8}` is
/// remembered, and `{name}` behind it the same.
pub fn vary(template: &str, rng: &mut Rng) -> String {
    let (mut text, mut names) = (String::new(), BTreeMap::new());
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once('{') {
        let (what, behind) = behind.split_once('}').unwrap();
        text += before;
        text += &match (what.split_once(':'), names.get(what)) {
            (Some((name, kind)), _) => {
                names.entry(name).or_insert_with(|| random(kind, rng)).clone()
            }
            (None, Some(known)) => known.clone(),
            (None, None) if what == "length" => "{length}".into(),
            (None, None) => random(what, rng),
        };
        rest = behind;
    }
    text += rest;
    let (head, body) = text.split_once("\n\n").unwrap();
    let body = body.trim_start_matches('\n').replace('\n', "\r\n");
    let head = head.replace("{length}", &body.len().to_string());
    format!("{}\r\n\r\n{body}", head.replace('\n', "\r\n"))
}

/// What stands behind each `===`, and the message below it.
pub fn messages(file: &'static str) -> impl Iterator<Item = (&'static str, String)> {
    file.split("\n=== ").skip(1).map(|message| {
        let (title, text) = message.split_once('\n').unwrap();
        (title, format!("{}\n\n", text.trim_end_matches('\n')))
    })
}
