//! Scalars as Jackson reads them: `null` is absence, and a number or flag may stand in quotes.

use std::{borrow::Cow, fmt, marker::PhantomData};

use ecow::EcoString;
use landbridge_model::instance::METADATA_PAIRS_MAX;
use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::Refusal;

/// Reads a message; borrows from the text where nothing is escaped.
pub(super) fn read<'a, T: Deserialize<'a>>(what: &str, json: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(json).map_err(|e| Refusal::unreadable(format_args!("{what} is not readable: {e}")))
}

/// Appends a string in quotes, escaped.
pub(super) fn quote(json: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(json, text).expect("a string into memory cannot fail");
}

/// Appends a list of strings.
pub(super) fn texts<'a>(json: &mut Vec<u8>, texts: impl IntoIterator<Item = &'a str>) {
    json.push(b'[');
    for (place, text) in texts.into_iter().enumerate() {
        if place > 0 {
            json.push(b',');
        }
        quote(json, text);
    }
    json.push(b']');
}

/// Appends a flag.
pub(super) fn flag(json: &mut Vec<u8>, flag: bool) {
    json.extend_from_slice(if flag { b"true" } else { b"false" });
}

/// Appends a whole number.
pub(super) fn whole(json: &mut Vec<u8>, number: u64) {
    serde_json::to_writer(json, &number).expect("a number into memory cannot fail");
}

/// Appends a finite number the way Java writes a double: 1 is `1.0`.
pub(super) fn real(json: &mut Vec<u8>, number: f64) {
    serde_json::to_writer(json, &number).expect("a number into memory cannot fail");
}

/// A text; absent and `null` are empty.
#[derive(Default, Debug)]
pub(super) struct Text<'a>(pub Cow<'a, str>);

impl Text<'_> {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Cow<'de, str>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(""))
            }
            fn visit_bool<E: Error>(self, flag: bool) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(if flag { "true" } else { "false" }))
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Cow::Owned(number.to_string()))
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Cow::Owned(number.to_string()))
            }
            fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
                Ok(Cow::Owned(format!("{number:?}")))
            }
        }
        deserializer.deserialize_any(Reader).map(Text)
    }
}

/// A number; absent, `null` and `""` are none.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Number(pub Option<f64>);

impl Number {
    /// The number as one between 0 and `max`, `default` when absent.
    pub(super) fn whole(self, what: &str, default: u64, max: u64) -> Result<u64, Refusal> {
        match self.0 {
            None => Ok(default),
            Some(number) if number >= 0.0 && number <= max as f64 => Ok(number as u64),
            Some(number) => Err(Refusal::invalid(format_args!("{what} {number} is not between 0 and {max}"))),
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Option<f64>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Some(number as f64))
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Some(number as f64))
            }
            fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
                Ok(Some(number))
            }
            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(None)
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                match text.trim() {
                    "" => Ok(None),
                    text => text.parse().map(Some).map_err(|_| E::custom("a text that is no number")),
                }
            }
        }
        deserializer.deserialize_any(Reader).map(Number)
    }
}

/// A flag; absent, `null` and `""` are none.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Flag(pub Option<bool>);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Option<bool>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true or false")
            }
            fn visit_bool<E: Error>(self, flag: bool) -> Result<Self::Value, E> {
                Ok(Some(flag))
            }
            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(None)
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                match text.trim() {
                    "" => Ok(None),
                    text => flag_from(text).map(Some).ok_or_else(|| E::custom("a text that is no flag")),
                }
            }
        }
        deserializer.deserialize_any(Reader).map(Flag)
    }
}

/// A flag in text, in any case: Python sends `True`.
pub(super) fn flag_from(text: &str) -> Option<bool> {
    match () {
        () if text.eq_ignore_ascii_case("true") => Some(true),
        () if text.eq_ignore_ascii_case("false") => Some(false),
        () => None,
    }
}

/// Pairs of texts; a pair whose value is `null` is left out.
#[derive(Default, Debug)]
pub(super) struct Pairs(pub Vec<(EcoString, EcoString)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Vec<(EcoString, EcoString)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }
            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Vec::new())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some((key, value)) = map.next_entry::<Text<'de>, Option<Text<'de>>>()? {
                    if pairs.len() == METADATA_PAIRS_MAX {
                        return Err(A::Error::custom(format_args!("more than {METADATA_PAIRS_MAX} pairs")));
                    }
                    if let Some(value) = value {
                        pairs.push((key.as_str().into(), value.as_str().into()));
                    }
                }
                Ok(pairs)
            }
        }
        deserializer.deserialize_any(Reader).map(Pairs)
    }
}

/// A list that may be `null`. One entry more than `MAX` is kept, so that the reader sees that there were too many;
/// the rest is skipped, so that a large message of small entries costs no more memory than it should.
#[derive(Debug)]
pub(super) struct List<T, const MAX: usize>(pub Vec<T>);

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T, const MAX: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Reader<T, MAX> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Vec::new())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::new();
                while list.len() <= MAX {
                    match entries.next_element()? {
                        Some(entry) => list.push(entry),
                        None => return Ok(list),
                    }
                }
                while entries.next_element::<IgnoredAny>()?.is_some() {}
                Ok(list)
            }
        }
        deserializer.deserialize_any(Reader::<T, MAX>(PhantomData)).map(List)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Sample<'a> {
        #[serde(borrow)]
        text: Text<'a>,
        number: Number,
        flag: Flag,
        pairs: Pairs,
    }

    fn sample(json: &str) -> Sample<'_> {
        read("sample", json.as_bytes()).expect("readable")
    }

    #[test]
    fn null_and_absence_mean_the_same() {
        for json in [r#"{"text":null,"number":null,"flag":null,"pairs":null,"other":[{}]}"#, "{}"] {
            let sample = sample(json);

            assert!(sample.text.as_str().is_empty() && sample.number.0.is_none() && sample.flag.0.is_none());
            assert!(sample.pairs.0.is_empty());
        }
    }

    #[test]
    fn numbers_and_flags_may_stand_in_quotes() {
        let sample = sample(r#"{"number":"8080","flag":"True","pairs":{"a":1,"b":null,"c":true}}"#);

        assert_eq!((sample.number.0, sample.flag.0), (Some(8080.0), Some(true)));
        assert_eq!(sample.pairs.0, [("a".into(), "1".into()), ("c".into(), "true".into())]);
    }

    #[test]
    fn a_list_is_read_no_further_than_its_bound() {
        let many = format!("[{}1]", "1,".repeat(99));

        assert_eq!(read::<List<u8, 4>>("list", many.as_bytes()).map(|list| list.0.len()), Ok(5));
        assert_eq!(read::<List<u8, 4>>("list", b"null").map(|list| list.0.len()), Ok(0));
    }

    #[test]
    fn plain_text_is_borrowed_and_escaped_text_is_read() {
        assert!(matches!(sample(r#"{"text":"plain"}"#).text.0, Cow::Borrowed("plain")));
        assert_eq!(sample(r#"{"text":"a\nb"}"#).text.as_str(), "a\nb");
    }
}
