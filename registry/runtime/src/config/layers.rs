//! Reads the layers of a configuration and lays one over the other, remembering where each value stands.

use std::collections::BTreeMap;
use std::fs;

use figment::value::{Dict, Map, Tag, Value};
use figment::{Error, Figment, Metadata, Profile, Provider};
use toml::de::{DeTable, DeValue};

use super::{ENVIRONMENT_PREFIX, Layers};

/// The largest configuration file read, in bytes; more is surely another file.
const FILE_BYTES_MAX: u64 = 4_194_304;

/// All layers, one over the other.
pub(super) struct Stack {
    figment: Figment,
    /// The values as one tree; the root is a table.
    pub(super) tree: Value,
    /// Values of the environment and the command line as they were written, by key.
    raw: BTreeMap<String, String>,
    file_text: String,
}

impl Stack {
    pub(super) fn read(layers: &Layers<'_>) -> Result<Self, Vec<String>> {
        let mut mistakes = Vec::new();
        let mut raw = BTreeMap::new();
        let mut figment = Figment::new();
        let mut file_text = String::new();
        match parse(layers.defaults) {
            Ok(values) => figment = figment.merge(Layer { name: Origin::Defaults.name(), values }),
            Err(why) => mistakes.push(format!("the built-in defaults cannot be read: {why}")),
        }
        if let Some(path) = layers.file {
            let name = Origin::File(path.display().to_string()).name();
            let read = read_file(path).and_then(|text| {
                let values = parse(&text).map_err(|why| format!("{name} is not TOML: {why}"))?;
                Ok((text, values))
            });
            match read {
                Ok((text, values)) => {
                    file_text = text;
                    figment = figment.merge(Layer { name, values });
                }
                Err(why) => mistakes.push(why),
            }
        }
        for (variable, value) in layers.environment {
            let Some(rest) = variable.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
            let key = rest.to_ascii_lowercase().replace("__", ".");
            let name = Origin::Variable(variable.clone()).name();
            figment = lay(figment, name, &key, value, &mut raw, &mut mistakes);
        }
        for set in layers.sets {
            let name = Origin::Flag(set.clone()).name();
            match set.split_once('=') {
                Some((key, value)) => {
                    figment = lay(figment, name, key.trim(), value, &mut raw, &mut mistakes)
                }
                None => mistakes.push(format!("{name} has no value: write --set key=value")),
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let tree = figment.extract::<Value>().map_err(|error| vec![error.to_string()])?;
        Ok(Self { figment, tree, raw, file_text })
    }

    /// The value at a key as somebody wrote it in the environment or on the command line.
    pub(super) fn raw(&self, key: &str) -> Option<&String> {
        self.raw.get(key)
    }

    /// Where a value stands, in words.
    pub(super) fn place(&self, tag: Tag, path: &[String]) -> String {
        let Some(metadata) = self.figment.get_metadata(tag) else { return "nowhere".to_owned() };
        let line = metadata.name.starts_with(FILE_WORD).then(|| line_of(&self.file_text, path)).flatten();
        line.map_or_else(|| metadata.name.to_string(), |line| format!("{}, line {line}", metadata.name))
    }
}

/// How the origin "file" begins in words.
const FILE_WORD: &str = "file ";

/// What a layer is made of.
enum Origin {
    Defaults,
    File(String),
    Variable(String),
    Flag(String),
}

impl Origin {
    fn name(&self) -> String {
        match self {
            Self::Defaults => "the built-in defaults".to_owned(),
            Self::File(path) => format!("{FILE_WORD}{path}"),
            Self::Variable(name) => format!("environment variable {name}"),
            Self::Flag(set) => format!("--set {set}"),
        }
    }
}

/// One layer as figment wants it.
struct Layer {
    name: String,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

fn parse(text: &str) -> Result<Dict, String> {
    toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())
}

fn read_file(path: &std::path::Path) -> Result<String, String> {
    let about = |why: String| format!("configuration file {} cannot be read: {why}", path.display());
    let size = fs::metadata(path).map_err(|error| about(error.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(about(format!("it has {size} bytes, more than a page ever has ({FILE_BYTES_MAX})")));
    }
    fs::read_to_string(path).map_err(|error| about(error.to_string()))
}

/// Lays one key of the environment or the command line over the rest.
fn lay(
    figment: Figment,
    name: String,
    key: &str,
    value: &str,
    raw: &mut BTreeMap<String, String>,
    mistakes: &mut Vec<String>,
) -> Figment {
    if key.is_empty() || key.split('.').any(str::is_empty) {
        mistakes.push(format!("{name} names no key: the parts of a key must not be empty"));
        return figment;
    }
    raw.insert(key.to_owned(), value.to_owned());
    let parsed: Value = value.parse().expect("figment reads any text, at worst as a string");
    let values = figment::util::nest(key, parsed).into_dict().expect("a key with parts nests into a table");
    figment.merge(Layer { name, values })
}

/// The line of the file at which a key stands, counted from one; of its nearest table if it is not there itself.
fn line_of(text: &str, path: &[String]) -> Option<usize> {
    let parsed = DeTable::parse(text).ok()?;
    let mut table = Some(parsed.get_ref());
    let mut at = None;
    for part in path {
        let Some((key, value)) = table.and_then(|table| table.get_key_value(part.as_str())) else { break };
        at = Some(key.span().start);
        table = match value.get_ref() {
            DeValue::Table(inner) => Some(inner),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => None,
        };
    }
    at.map(|offset| text[..offset].matches('\n').count() + 1)
}
