//! What a signature asks of a message, as a tree.

use super::automaton;
use crate::MethodSet;

/// A condition on a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// All hold.
    All(Vec<Condition>),
    /// At least one holds.
    Any(Vec<Condition>),
    /// At least so many hold.
    AtLeast(u8, Vec<Condition>),
    /// It does not hold.
    Not(Box<Condition>),
    /// A field's text; a field that the message lacks fails every test.
    Text(TextField, Test),
    /// The value of a header (long name, letter case ignored), of any of its lines.
    Header(Box<str>, Test),
    /// The header is there.
    Present(Box<str>),
    /// The header lines' names, compact forms counting as the long ones.
    HeaderOrder(Order, Vec<Box<str>>),
    /// The names of the top Via's parameters, all of them in this order.
    ViaParams(Vec<Box<str>>),
    /// Max-Forwards is one of these.
    MaxForwards(Vec<u8>),
    /// The method is one of these.
    Method(MethodSet),
    /// The transport that the top Via names is one of these, letter case ignored.
    Transport(Vec<Box<str>>),
    /// More than one blank stands between the colon and the value of this header.
    Padded(Box<str>),
    /// A relation between fields.
    Peculiar(Peculiarity),
}

/// A field that is matched as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextField {
    /// User-Agent, letter case ignored.
    UserAgent,
    /// Branch of the top Via with its magic cookie.
    Branch,
    /// Host of the top Via's sent-by, letter case ignored.
    ViaHost,
    /// Tag of From.
    FromTag,
    /// Call-ID.
    CallId,
    /// Display name of From with its quotes, letter case ignored.
    FromName,
    /// User part of the Request-URI as written.
    RequestUser,
    /// Host of the Request-URI, letter case ignored.
    RequestHost,
    /// User part of From.
    FromUser,
    /// Host of From, letter case ignored.
    FromHost,
    /// User part of To.
    ToUser,
    /// Host of To, letter case ignored.
    ToHost,
    /// User part of the first Contact.
    ContactUser,
    /// Host of the first Contact, letter case ignored.
    ContactHost,
    /// User part of any of the four.
    AnyUser,
    /// Host of any of the four, letter case ignored.
    AnyHost,
    /// Any whole line of an SDP body, such as `s=sipcli`.
    Sdp,
    /// What stands behind `s=` in SDP.
    SdpSession,
    /// What stands behind `o=` in SDP.
    SdpOrigin,
    /// The body. It costs as much as it is long: prefer a line of SDP.
    Body,
}

/// How a text is tested; each of the words counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// It is one of these.
    Is(Vec<Box<str>>),
    /// It starts with one of these.
    Starts(Vec<Box<str>>),
    /// It ends with one of these.
    Ends(Vec<Box<str>>),
    /// One of these stands in it.
    Contains(Vec<Box<str>>),
    /// The whole of it matches one of these regular expressions, bytes not characters.
    Matches(Vec<Box<str>>),
}

/// How a list of header names is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The lines are these and no others.
    Exactly,
    /// The first lines are these.
    Starts,
    /// These are there, the first of each before the first of the next.
    Before,
}

/// A relation between fields that no pattern on one of them can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peculiarity {
    /// The branch of the top Via has no magic cookie (RFC 3261 §8.1.1.7), or there is none.
    NoMagicCookie,
    /// The branch is the Call-ID behind the magic cookie and at most one `-`.
    BranchIsCallId,
    /// From and To have the same user and host.
    FromIsTo,
    /// The User-Agent is the user part of From.
    UserAgentIsFromUser,
    /// The From tag is the Call-ID.
    TagIsCallId,
    /// The top Via's sent-by host is also the Request-URI's, as if we had sent it.
    ViaIsTarget,
    /// The From tag has more than 192 bytes: no stack makes such, exploits of overflows do.
    LongTag,
}

impl Peculiarity {
    /// All of them.
    pub const ALL: [Peculiarity; 7] = [
        Peculiarity::NoMagicCookie,
        Peculiarity::BranchIsCallId,
        Peculiarity::FromIsTo,
        Peculiarity::UserAgentIsFromUser,
        Peculiarity::TagIsCallId,
        Peculiarity::ViaIsTarget,
        Peculiarity::LongTag,
    ];
}

/// Why signatures cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("signature \"{id}\": {problem}")]
pub struct SignatureError {
    /// Index of the signature.
    pub signature: usize,
    /// Its name.
    pub id: Box<str>,
    /// Which of its conditions, counted from 0 in the order in which they are written, those that
    /// only join others left out; `None` for the signature itself.
    pub condition: Option<usize>,
    /// What is wrong.
    pub problem: String,
}

impl TextField {
    pub(super) fn ignores_case(self) -> bool {
        use TextField as F;
        match self {
            F::UserAgent | F::ViaHost | F::FromName => true,
            F::RequestHost | F::FromHost | F::ToHost | F::ContactHost | F::AnyHost => true,
            F::Branch | F::FromTag | F::CallId => false,
            F::RequestUser | F::FromUser | F::ToUser | F::ContactUser | F::AnyUser => false,
            F::Sdp | F::SdpSession | F::SdpOrigin | F::Body => false,
        }
    }
}

impl Test {
    /// Whether it can be compiled by itself, so that a mistake can be told where it stands.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        automaton::check(&self.pattern("", false)?)
    }

    fn words(&self) -> &[Box<str>] {
        match self {
            Test::Is(words) | Test::Starts(words) | Test::Ends(words) => words,
            Test::Contains(words) | Test::Matches(words) => words,
        }
    }

    /// One regular expression, to be matched from the text's start; `prefix` is a literal that the
    /// field begins with.
    pub(super) fn pattern(&self, prefix: &str, ignores_case: bool) -> Result<String, String> {
        let words = self.words();
        if words.is_empty() {
            return Err("the list is empty".into());
        }
        if words.iter().any(|word| word.is_empty()) && !matches!(self, Test::Is(_)) {
            return Err("an empty text is in every text".into());
        }
        let literal = !matches!(self, Test::Matches(_));
        let words: Vec<String> = words
            .iter()
            .map(|word| if literal { escape(word) } else { format!("(?:{word})") })
            .collect();
        let words = format!("(?:{})", words.join("|"));
        let body = match self {
            Test::Is(_) | Test::Matches(_) => format!(r"{words}\z"),
            Test::Starts(_) => words,
            Test::Ends(_) => format!(r"(?s:.)*{words}\z"),
            Test::Contains(_) => format!(r"(?s:.)*{words}"),
        };
        let case = if ignores_case { "(?i)" } else { "" };
        Ok(format!("{case}{}{body}", escape(prefix)))
    }
}

/// A text as a regular expression that matches its bytes.
fn escape(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => char::from(byte).to_string(),
        _ => format!(r"\x{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}
