//! A file and what it includes, as sections.

use crate::line::{Comments, Line, read};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file.
    pub file: Arc<Path>,
    /// The line, counted from 1.
    pub line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// `name = value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// In lower case.
    pub name: String,
    /// As written, without comments.
    pub value: String,
    /// Where it is written: in the section itself, or in a template.
    pub place: Place,
}

/// `[name]` and what stands below it, templates' settings first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// In brackets.
    pub name: String,
    /// Where its heading is.
    pub place: Place,
    /// `(!)`: only others are made of it.
    pub template: bool,
    /// The templates it is made of, by their index.
    pub parents: Vec<usize>,
    /// Its settings.
    pub settings: Vec<Setting>,
}

impl Section {
    /// The setting of that name that counts: the last.
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<&Setting> {
        self.settings.iter().rev().find(|setting| setting.name == name)
    }

    /// Its value.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.setting(name).map(|setting| setting.value.as_str())
    }

    /// All values of a setting that may be repeated, also those joined by commas.
    pub fn values<'s>(&'s self, name: &str) -> impl Iterator<Item = (&'s str, &'s Place)> {
        self.settings.iter().filter(move |setting| setting.name == name).flat_map(|setting| {
            let values = setting.value.split(',').map(str::trim);
            values.filter(|value| !value.is_empty()).map(|value| (value, &setting.place))
        })
    }

    /// Whether a setting says yes; `None` when it is not there.
    #[must_use]
    pub fn is_on(&self, name: &str) -> Option<bool> {
        let word = self.value(name)?.to_ascii_lowercase();
        Some(matches!(word.as_str(), "yes" | "true" | "y" | "t" | "1" | "on"))
    }
}

/// Something that was not read, or is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Where.
    pub place: Place,
    /// What.
    pub text: String,
}

/// All sections of a file and of those it includes, in their order.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// The sections.
    pub sections: Vec<Section>,
    /// What could not be read.
    pub notes: Vec<Note>,
    /// How many files were read.
    pub read: usize,
    bytes: usize,
}

impl Files {
    /// Bytes of all files together.
    pub const BYTES_MAX: usize = 32 << 20;
    /// Files.
    pub const FILES_MAX: usize = 2_048;
    /// Files that include each other (`MAX_INCLUDE_LEVEL` in Asterisk).
    pub const DEPTH_MAX: usize = 10;
    /// Settings of all sections together, those of templates counted each time.
    pub const SETTINGS_MAX: usize = 2_000_000;

    /// Reads `directory/name`. Includes are looked for in `directory`, where they are not absolute.
    ///
    /// # Errors
    /// When that file itself cannot be read.
    pub fn read(directory: &Path, name: &str) -> std::io::Result<Files> {
        let mut files = Files::default();
        let file = directory.join(name);
        let text = String::from_utf8_lossy(&std::fs::read(&file)?).into_owned();
        let mut settings = 0;
        files.take(directory, &file, &text, 0, &mut settings);
        Ok(files)
    }

    fn take(
        &mut self,
        directory: &Path,
        file: &Path,
        text: &str,
        depth: usize,
        settings: &mut usize,
    ) {
        let file: Arc<Path> = file.into();
        self.read += 1;
        self.bytes += text.len();
        let mut comments = Comments::default();
        for (number, line) in text.lines().enumerate() {
            let place = Place { file: file.clone(), line: number as u32 + 1 };
            if self.bytes > Files::BYTES_MAX || *settings > Files::SETTINGS_MAX {
                return self.note(place, "what follows is not read: it is too much");
            }
            match read(&comments.strip(line)) {
                Line::Empty => {}
                Line::Unknown => self.note(place, "this line is not understood"),
                Line::Exec => {
                    self.note(place, "#exec is not executed: what it would say is not known")
                }
                Line::Include { pattern, must } => {
                    self.include(directory, &pattern, must, place, depth, settings);
                }
                Line::Section { name, template, append, parents } => {
                    self.begin(name, template, append, &parents, place);
                    *settings += self.sections.last().map_or(0, |section| section.settings.len());
                }
                Line::Setting { name, value, more } => {
                    *settings += 1;
                    self.set(Setting { name, value, place }, more);
                }
            }
        }
    }

    fn begin(
        &mut self,
        name: String,
        template: bool,
        append: bool,
        parents: &[String],
        place: Place,
    ) {
        let found = |sections: &[Section], name: &str| {
            sections.iter().position(|section| section.name.eq_ignore_ascii_case(name))
        };
        if append {
            match found(&self.sections, &name) {
                // what follows is added to it: it becomes the last, which settings go to
                Some(at) => {
                    let section = self.sections.remove(at);
                    for other in &mut self.sections {
                        for parent in &mut other.parents {
                            match (*parent).cmp(&at) {
                                std::cmp::Ordering::Equal => *parent = usize::MAX,
                                std::cmp::Ordering::Greater => *parent -= 1,
                                std::cmp::Ordering::Less => {}
                            }
                        }
                    }
                    let last = self.sections.len();
                    for other in &mut self.sections {
                        let moved =
                            other.parents.iter_mut().filter(|parent| **parent == usize::MAX);
                        moved.for_each(|parent| *parent = last);
                    }
                    self.sections.push(section);
                    return;
                }
                None => self.note(place.clone(), "there is no section of this name to add to"),
            }
        }
        let mut section = Section {
            name,
            place: place.clone(),
            template,
            parents: Vec::new(),
            settings: Vec::new(),
        };
        for parent in parents {
            match found(&self.sections, parent) {
                Some(at) => {
                    section.settings.extend(self.sections[at].settings.iter().cloned());
                    section.parents.push(at);
                }
                None => {
                    self.note(place.clone(), &format!("the template \"{parent}\" is not there"))
                }
            }
        }
        self.sections.push(section);
    }

    fn set(&mut self, setting: Setting, more: bool) {
        let Some(section) = self.sections.last_mut() else {
            return self.note(setting.place, "this setting is in no section");
        };
        let known = section.settings.iter_mut().rev().find(|known| known.name == setting.name);
        match known.filter(|_| more) {
            Some(known) => {
                known.value = format!("{},{}", known.value, setting.value);
                known.place = setting.place;
            }
            None => section.settings.push(setting),
        }
    }

    fn include(
        &mut self,
        directory: &Path,
        pattern: &str,
        must: bool,
        place: Place,
        depth: usize,
        settings: &mut usize,
    ) {
        if depth >= Files::DEPTH_MAX {
            return self.note(place, "this is not read: files include each other too deeply");
        }
        let path = directory.join(pattern);
        let found: Vec<PathBuf> = match path.to_str().map(glob::glob) {
            Some(Ok(paths)) => paths.filter_map(Result::ok).take(Files::FILES_MAX).collect(),
            _ => Vec::new(),
        };
        if found.is_empty() && must {
            return self.note(place, &format!("{} is not there", path.display()));
        }
        for file in found {
            if self.read >= Files::FILES_MAX {
                return self.note(place, "this is not read: there are too many files");
            }
            match std::fs::read(&file) {
                Ok(bytes) => {
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    self.take(directory, &file, &text, depth + 1, settings);
                }
                Err(error) => {
                    self.note(
                        place.clone(),
                        &format!("{} cannot be read: {error}", file.display()),
                    );
                }
            }
        }
    }

    fn note(&mut self, place: Place, text: &str) {
        if self.notes.len() < 100 {
            self.notes.push(Note { place, text: text.to_owned() });
        }
    }
}
