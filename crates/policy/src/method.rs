use wire::Method;

/// Every method as labels and rules call it: a closed set, what is unknown is `other`, and what
/// has none `none`.
pub const METHODS: [&str; 16] = [
    "ACK",
    "BYE",
    "CANCEL",
    "INFO",
    "INVITE",
    "MESSAGE",
    "NOTIFY",
    "OPTIONS",
    "PRACK",
    "PUBLISH",
    "REFER",
    "REGISTER",
    "SUBSCRIBE",
    "UPDATE",
    "other",
    "none",
];

/// Index of a method in [`METHODS`].
#[must_use]
pub fn method_index(method: Method<'_>) -> u8 {
    match method {
        Method::Ack => 0,
        Method::Bye => 1,
        Method::Cancel => 2,
        Method::Info => 3,
        Method::Invite => 4,
        Method::Message => 5,
        Method::Notify => 6,
        Method::Options => 7,
        Method::Prack => 8,
        Method::Publish => 9,
        Method::Refer => 10,
        Method::Register => 11,
        Method::Subscribe => 12,
        Method::Update => 13,
        Method::Other(_) => 14,
    }
}

/// A set of methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MethodSet(u16);

impl MethodSet {
    /// All.
    pub const ALL: MethodSet = MethodSet(u16::MAX);

    /// The methods of these names, as [`METHODS`] has them; `None` when one is unknown.
    #[must_use]
    pub fn of(names: &[&str]) -> Option<Self> {
        names.iter().try_fold(MethodSet(0), |set, name| {
            let index = METHODS.iter().position(|known| known == name)?;
            Some(MethodSet(set.0 | 1 << index))
        })
    }

    /// Whether the method of that index is in it.
    #[must_use]
    pub fn has(self, index: u8) -> bool {
        self.0 >> (index & 15) & 1 == 1
    }

    /// All but these.
    #[must_use]
    pub fn others(self) -> Self {
        MethodSet(!self.0)
    }

    /// Its methods.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        METHODS
            .iter()
            .enumerate()
            .filter(move |(index, _)| self.0 >> index & 1 == 1)
            .map(|(_, name)| *name)
    }
}
