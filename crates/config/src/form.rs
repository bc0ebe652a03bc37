//! How single values and lists are written.

use crate::keys::Form;
use crate::out::{self, Out};
use crate::problem::Complaint;
use crate::table::Field;
use crate::value::{self, print_duration, print_size};
use std::ops::RangeInclusive;
use std::time::Duration;

/// No duration that can be set is longer.
pub(crate) const DURATION_MAX: Duration = Duration::from_secs(30 * 86_400);
/// No duration that can be set is shorter.
pub(crate) const DURATION_MIN: Duration = Duration::from_millis(1);
/// Any length of time that makes sense.
pub(crate) const TIME: Time = Time(DURATION_MIN, DURATION_MAX);

/// `30s`: not shorter than the one, not longer than the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time(pub(crate) Duration, pub(crate) Duration);

impl Form<Duration> for Time {
    fn read(&self, field: &Field<'_>, value: &mut Duration) {
        if let Some(read) = field.bounded(value::duration, self.0..=self.1, print_duration) {
            *value = read;
        }
    }

    fn print(&self, value: &Duration) -> Option<Out> {
        Some(out::time(*value))
    }

    fn schema(&self, _: &Duration) -> Out {
        pattern("^([0-9]+([.][0-9]+)?(d|h|m|s|ms|us))+$")
    }
}

/// A whole number within bounds, both included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count(pub(crate) u64, pub(crate) u64);

impl Count {
    fn value(self, field: &Field<'_>) -> Option<u64> {
        field.bounded(value::count, self.0..=self.1, |value| value.to_string())
    }

    fn bounds(self) -> Out {
        Out::table([
            ("type", out::text("integer")),
            ("minimum", Out::Number(self.0)),
            ("maximum", Out::Number(self.1)),
        ])
    }
}

impl Form<u32> for Count {
    fn read(&self, field: &Field<'_>, value: &mut u32) {
        if let Some(read) = self.value(field).and_then(|read| u32::try_from(read).ok()) {
            *value = read;
        }
    }

    fn print(&self, value: &u32) -> Option<Out> {
        Some(Out::Number(u64::from(*value)))
    }

    fn schema(&self, _: &u32) -> Out {
        self.bounds()
    }
}

impl Form<usize> for Count {
    fn read(&self, field: &Field<'_>, value: &mut usize) {
        if let Some(read) = self.value(field).and_then(|read| usize::try_from(read).ok()) {
            *value = read;
        }
    }

    fn print(&self, value: &usize) -> Option<Out> {
        Some(out::count(*value))
    }

    fn schema(&self, _: &usize) -> Out {
        self.bounds()
    }
}

/// A size in bytes within bounds, both included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size(pub(crate) u64, pub(crate) u64);

impl Form<usize> for Size {
    fn read(&self, field: &Field<'_>, value: &mut usize) {
        let read = field.bounded(value::size, self.0..=self.1, print_size);
        if let Some(read) = read.and_then(|read| usize::try_from(read).ok()) {
            *value = read;
        }
    }

    fn print(&self, value: &usize) -> Option<Out> {
        Some(out::size(*value))
    }

    fn schema(&self, _: &usize) -> Out {
        Out::table([
            ("type", Out::List(vec![out::text("integer"), out::text("string")])),
            ("pattern", out::text("^[0-9]+([.][0-9]+)? ?(B|kB|KiB|MB|MiB|GB|GiB)?$")),
        ])
    }
}

/// An amount of evidence within bounds, both included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weight(pub(crate) f32, pub(crate) f32);

impl Form<f32> for Weight {
    fn read(&self, field: &Field<'_>, value: &mut f32) {
        let parse = |text: &str| {
            let number = text.parse::<f32>().ok().filter(|number| number.is_finite());
            number.ok_or_else(|| Complaint::new(format!("\"{text}\" is no number")))
        };
        if let Some(read) = field.bounded(parse, self.0..=self.1, |value| value.to_string()) {
            *value = read;
        }
    }

    fn print(&self, value: &f32) -> Option<Out> {
        Some(Out::Decimal(*value))
    }

    fn schema(&self, _: &f32) -> Out {
        Out::table([
            ("type", out::text("number")),
            ("minimum", Out::Decimal(self.0)),
            ("maximum", Out::Decimal(self.1)),
        ])
    }
}

/// `true` or `false`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Truth;

impl Form<bool> for Truth {
    fn read(&self, field: &Field<'_>, value: &mut bool) {
        if let Some(read) = field.parse(value::truth) {
            *value = read;
        }
    }

    fn print(&self, value: &bool) -> Option<Out> {
        Some(Out::Truth(*value))
    }

    fn schema(&self, _: &bool) -> Out {
        Out::table([("type", out::text("boolean"))])
    }
}

/// A word of a closed list: what it is called, and the words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word<T: 'static>(
    pub(crate) &'static str,
    pub(crate) &'static [(&'static str, T)],
);

impl<T: Copy + PartialEq> Word<T> {
    /// The word for a value.
    pub(crate) fn word(&self, value: T) -> Option<&'static str> {
        self.1.iter().find(|(_, known)| *known == value).map(|(word, _)| *word)
    }

    /// The value of a word.
    pub(crate) fn parse(&self, text: &str) -> Result<T, Complaint> {
        value::one_of(text, self.0, self.1)
    }

    /// JSON Schema: one of them.
    pub(crate) fn choice(&self) -> Out {
        let words = self.1.iter().map(|(word, _)| out::text(word)).collect();
        Out::table([("enum", Out::List(words))])
    }
}

impl<T: Copy + PartialEq> Form<T> for Word<T> {
    fn read(&self, field: &Field<'_>, value: &mut T) {
        if let Some(read) = field.parse(|text| self.parse(text)) {
            *value = read;
        }
    }

    fn print(&self, value: &T) -> Option<Out> {
        self.word(*value).map(out::text)
    }

    fn schema(&self, _: &T) -> Out {
        self.choice()
    }
}

/// A text with a meaning: how it is read, and how it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scalar<T>(
    pub(crate) fn(&str) -> Result<T, Complaint>,
    pub(crate) fn(&T) -> String,
);

impl<T> Form<T> for Scalar<T> {
    fn read(&self, field: &Field<'_>, value: &mut T) {
        if let Some(read) = field.parse(self.0) {
            *value = read;
        }
    }

    fn print(&self, value: &T) -> Option<Out> {
        Some(Out::Text((self.1)(value)))
    }

    fn schema(&self, _: &T) -> Out {
        scalar()
    }
}

/// A list of scalars; what is read replaces what was there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List<T>(pub(crate) Scalar<T>);

impl<T> Form<Vec<T>> for List<T> {
    fn read(&self, field: &Field<'_>, value: &mut Vec<T>) {
        *value = field.list().iter().filter_map(|element| element.parse(self.0.0)).collect();
    }

    fn print(&self, value: &Vec<T>) -> Option<Out> {
        Some(Out::List(value.iter().map(|value| Out::Text((self.0.1)(value))).collect()))
    }

    fn schema(&self, _: &Vec<T>) -> Out {
        Out::table([("type", out::text("array")), ("items", scalar())])
    }
}

/// A value that may be absent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Maybe<F>(pub(crate) F);

impl<T: Default, F: Form<T>> Form<Option<T>> for Maybe<F> {
    fn read(&self, field: &Field<'_>, value: &mut Option<T>) {
        self.0.read(field, value.get_or_insert_default());
    }

    fn print(&self, value: &Option<T>) -> Option<Out> {
        value.as_ref().and_then(|value| self.0.print(value))
    }

    fn schema(&self, _: &Option<T>) -> Out {
        self.0.schema(&T::default())
    }
}

/// JSON Schema of a text, or of what YAML takes for something else and is one.
pub(crate) fn scalar() -> Out {
    Out::table([(
        "type",
        Out::List(["string", "number", "boolean"].into_iter().map(out::text).collect()),
    )])
}

/// JSON Schema of a text of that pattern.
pub(crate) fn pattern(pattern: &str) -> Out {
    Out::table([("type", out::text("string")), ("pattern", out::text(pattern))])
}

/// JSON Schema: any of these.
pub(crate) fn any_of(schemas: Vec<Out>) -> Out {
    Out::table([("anyOf", Out::List(schemas))])
}

impl Field<'_> {
    /// The scalar, parsed, if it is within bounds (both included).
    pub(crate) fn bounded<T: PartialOrd + Copy>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, Complaint>,
        bounds: RangeInclusive<T>,
        print: impl Fn(T) -> String,
    ) -> Option<T> {
        let value = self.parse(parse)?;
        if bounds.contains(&value) {
            return Some(value);
        }
        let (least, most) = (print(*bounds.start()), print(*bounds.end()));
        let text = format!("{} is not between {least} and {most}", print(value));
        self.error(Complaint::new(text));
        None
    }
}
