//! One description of a table's keys from which it is read, printed and explained: a key that is
//! read is printed, and stands in the schema, because nothing else can be written down here.

use crate::out::{self, Out};
use crate::table::{Field, Table};

/// A part of the policy that is written as a table of keys.
pub(crate) trait Element: Clone {
    /// Names every key, in the order of `--print-effective`.
    fn keys(&mut self, keys: &mut impl Keys);

    /// What no single key can tell, once all are read.
    fn check(&self, field: &Field<'_>) {
        let _ = field;
    }
}

/// What is done with the keys of an element.
pub(crate) trait Keys {
    /// The key `name`, which says `about`, stands for `value` in that form.
    fn key<T>(
        &mut self,
        name: &'static str,
        about: &'static str,
        value: &mut T,
        form: impl Form<T>,
    );
}

/// How a value is written. A value that is there is changed by what is read, not replaced: what a
/// file does not say stays as the profile has it.
pub(crate) trait Form<T> {
    /// Reads the node into the value, or complains and leaves it as it is.
    fn read(&self, field: &Field<'_>, value: &mut T);

    /// The value as [`Form::read`] takes it; `None` when its absence says it.
    fn print(&self, value: &T) -> Option<Out>;

    /// JSON Schema of what can be read.
    fn schema(&self, value: &T) -> Out;
}

/// Written as a table of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Section;

impl<T: Element> Form<T> for Section {
    fn read(&self, field: &Field<'_>, value: &mut T) {
        let Some(table) = field.table() else { return };
        table.keys_of(value);
        value.check(field);
    }

    fn print(&self, value: &T) -> Option<Out> {
        let mut printer = Printer(Out::table([]));
        value.clone().keys(&mut printer);
        Some(printer.0)
    }

    fn schema(&self, value: &T) -> Out {
        let mut describer = Describer(Out::table([]));
        value.clone().keys(&mut describer);
        Out::table([
            ("type", out::text("object")),
            ("additionalProperties", Out::Truth(false)),
            ("properties", describer.0),
        ])
    }
}

impl Table<'_> {
    /// Reads an element whose keys stand in this table, and refuses what is left over.
    pub(crate) fn keys_of(mut self, element: &mut impl Element) {
        element.keys(&mut Reader(&mut self));
        self.finish();
    }
}

struct Reader<'t, 'a>(&'t mut Table<'a>);

impl Keys for Reader<'_, '_> {
    fn key<T>(&mut self, name: &'static str, _: &'static str, value: &mut T, form: impl Form<T>) {
        if let Some(field) = self.0.take(name) {
            form.read(&field, value);
        }
    }
}

struct Printer(Out);

impl Keys for Printer {
    fn key<T>(&mut self, name: &'static str, _: &'static str, value: &mut T, form: impl Form<T>) {
        if let (Out::Table(entries), Some(printed)) = (&mut self.0, form.print(value)) {
            entries.push((name.into(), printed));
        }
    }
}

struct Describer(Out);

impl Keys for Describer {
    fn key<T>(
        &mut self,
        name: &'static str,
        about: &'static str,
        value: &mut T,
        form: impl Form<T>,
    ) {
        let mut schema = form.schema(value).with("description", out::text(about));
        if let Some(default) = form.print(value)
            && !matches!(default, Out::Table(_))
        {
            schema = schema.with("default", default);
        }
        if let Out::Table(entries) = &mut self.0 {
            entries.push((name.into(), schema));
        }
    }
}
