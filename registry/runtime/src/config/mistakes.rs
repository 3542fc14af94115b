//! Finds all mistakes of a page: notes one, mends it for the moment, and reads on.

use std::collections::BTreeSet;

use figment::Error;
use figment::error::{Actual, Kind};
use figment::value::{Dict, Tag, Value};
use serde::de::DeserializeOwned;

use super::layers::Stack;

/// More mistakes than this are not one page's; the rest stays untold.
const MISTAKES_MAX: usize = 100;

/// Two names this alike are taken for a slip of the pen.
const SLIP_EDITS_MAX: usize = 2;

/// Reads the page out of the stack, or gives every mistake found.
pub(super) fn read_page<Page: DeserializeOwned>(stack: Stack) -> Result<Page, Vec<String>> {
    let mut tree = stack.tree.clone();
    let mut mistakes = Vec::new();
    let mut told = BTreeSet::new();
    while mistakes.len() < MISTAKES_MAX {
        let error = match tree.deserialize::<Page>() {
            Ok(page) if mistakes.is_empty() => return Ok(page),
            Ok(_) => break,
            Err(error) => error,
        };
        let spot = Spot::of(&error);
        if take_literally(&stack, &mut tree, &spot, &error) {
            continue;
        }
        // A key that was wrong and taken out is not missing as well.
        if told.insert(spot.key()) {
            mistakes.push(sentence(&stack, &tree, &spot, &error));
        }
        if !mend::<Page>(&mut tree, &spot, &error) {
            break;
        }
    }
    Err(mistakes)
}

/// Where in the page a mistake is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Spot(Vec<String>);

impl Spot {
    fn of(error: &Error) -> Self {
        let mut path = error.path.clone();
        if let Kind::MissingField(name) = &error.kind {
            path.push(name.to_string());
        }
        Self(path)
    }

    fn key(&self) -> String {
        self.0.join(".")
    }
}

/// `LANDBRIDGE_REGION=1` was read as a number; where text is wanted, the text as written is meant.
fn take_literally(stack: &Stack, tree: &mut Value, spot: &Spot, error: &Error) -> bool {
    let text_wanted = matches!(&error.kind, Kind::InvalidType(..));
    let Some(raw) = stack.raw(&spot.key()).filter(|_| text_wanted) else { return false };
    match find(tree, &spot.0) {
        None | Some(Value::String(..)) => false,
        Some(value) => {
            *value = Value::String(value.tag(), raw.clone());
            true
        }
    }
}

fn sentence(stack: &Stack, tree: &Value, spot: &Spot, error: &Error) -> String {
    let key = spot.key();
    let mut copy = tree.clone();
    let tag = find(&mut copy, &spot.0).map(|value| value.tag());
    let place = tag.map(|tag| format!(" ({})", stack.place(tag, &spot.0))).unwrap_or_default();
    match &error.kind {
        Kind::MissingField(_) => {
            let variable = key.to_ascii_uppercase().replace('.', "__");
            format!(
                "`{key}` is missing: write it in the file, set LANDBRIDGE_{variable} or give --set {key}=…"
            )
        }
        Kind::UnknownField(name, known) => format!("`{key}` is unknown{place}: {}", known_names(name, known)),
        Kind::UnknownVariant(name, known) => {
            format!("`{key}` is \"{}\"{place}: {}", name.escape_debug(), known_names(name, known))
        }
        Kind::InvalidType(actual, wanted) | Kind::InvalidValue(actual, wanted) => {
            format!("`{key}` is {}{place}: write {}", shown(actual), in_words(wanted))
        }
        Kind::InvalidLength(length, wanted) => format!("`{key}` has {length} parts{place}: write {wanted}"),
        Kind::Message(why) => format!("`{key}`{place}: {why}"),
        Kind::DuplicateField(_)
        | Kind::ISizeOutOfRange(_)
        | Kind::USizeOutOfRange(_)
        | Kind::Unsupported(_)
        | Kind::UnsupportedKey(..) => format!("`{key}`{place}: {}", error.kind),
    }
}

fn shown(actual: &Actual) -> String {
    match actual {
        Actual::Str(text) => format!("the text \"{}\"", text.escape_debug()),
        Actual::Bool(value) => value.to_string(),
        Actual::Unsigned(number) => format!("the number {number}"),
        Actual::Signed(number) => format!("the number {number}"),
        Actual::Float(number) => format!("the number {number}"),
        Actual::Seq => "a list".to_owned(),
        Actual::Map => "a table".to_owned(),
        other => other.to_string(),
    }
}

/// What serde wants, in an operator's words.
fn in_words(wanted: &str) -> String {
    match wanted {
        "u8" => "a whole number from 0 to 255".to_owned(),
        "u16" => "a whole number from 0 to 65535".to_owned(),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" => "text in quotes".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a table".to_owned(),
        other if other.starts_with("struct ") => "a table".to_owned(),
        other => other.to_owned(),
    }
}

fn known_names(written: &str, known: &[&str]) -> String {
    let nearest = known.iter().map(|name| (edits(written, name), *name)).min();
    match nearest {
        Some((distance, name)) if distance <= SLIP_EDITS_MAX => format!("write `{name}`"),
        Some(_) => format!("remove it, or write one of {}", known.join(", ")),
        None => "remove it: nothing can be set here".to_owned(),
    }
}

/// How many letters must be changed, added or removed to get from one name to the other.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (taken, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = taken + 1;
        for (column, other) in to.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

/// Puts something readable where the mistake is, so that the next one shows; false when nothing fits there.
fn mend<Page: DeserializeOwned>(tree: &mut Value, spot: &Spot, error: &Error) -> bool {
    if spot.0.is_empty() {
        return false;
    }
    remove(tree, &spot.0);
    let fits = |tree: &Value| match tree.deserialize::<Page>() {
        Ok(_) => true,
        Err(next) => Spot::of(&next) != *spot,
    };
    if matches!(error.kind, Kind::UnknownField(..)) || fits(tree) {
        return true;
    }
    fillers(error).into_iter().any(|filler| {
        insert(tree, &spot.0, filler);
        fits(tree)
    })
}

/// Values of every shape a key may want.
fn fillers(error: &Error) -> Vec<Value> {
    let text = |text: &str| Value::String(Tag::Default, text.to_owned());
    let variant = match &error.kind {
        Kind::UnknownVariant(_, known) => known.first().map(|name| text(name)),
        _ => None,
    };
    let others = [
        Value::from(1_u8),
        Value::from(true),
        text("x"),
        text("127.0.0.1:0"),
        text("127.0.0.1"),
        Value::Array(Tag::Default, Vec::new()),
        Value::Dict(Tag::Default, Dict::new()),
    ];
    variant.into_iter().chain(others).collect()
}

/// The value at a path, if it is there.
fn find<'tree>(tree: &'tree mut Value, path: &[String]) -> Option<&'tree mut Value> {
    path.iter().try_fold(tree, |at, part| match at {
        Value::Dict(_, table) => table.get_mut(part),
        Value::Array(_, list) => list.get_mut(part.parse::<usize>().ok()?),
        Value::String(..) | Value::Char(..) | Value::Bool(..) | Value::Num(..) | Value::Empty(..) => None,
    })
}

fn remove(tree: &mut Value, path: &[String]) {
    let Some((last, parents)) = path.split_last() else { return };
    match find(tree, parents) {
        Some(Value::Dict(_, table)) => {
            table.remove(last);
        }
        Some(Value::Array(_, list)) => {
            if let Ok(index) = last.parse::<usize>()
                && index < list.len()
            {
                list.remove(index);
            }
        }
        _ => {}
    }
}

fn insert(tree: &mut Value, path: &[String], value: Value) {
    let Some((last, parents)) = path.split_last() else { return };
    if let Some(Value::Dict(_, table)) = find(tree, parents) {
        table.insert(last.clone(), value);
    }
}
