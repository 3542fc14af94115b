//! A service's label selector: which of its instances a consumer with certain labels is shown (Nacos's type `label`).
//!
//! `CONSUMER.label.zone = PROVIDER.label.zone`, several joined by `&`: of each named label that the consumer has, an
//! instance must have the same value. Labels are metadata of instances; Nacos asks a CMDB for them, and ships none.

use ecow::EcoString;
use landbridge_model::Metadata;

/// Service metadata under this key is the expression of the service's label selector.
pub const SELECTOR: &str = "landbridge.selector";

/// The most labels that one expression names.
pub const SELECTOR_LABELS_MAX: usize = 8;

/// The label that an instance's zone is told by; [`ZONE`] in its metadata says it better.
const PLAIN_ZONE: &str = "zone";

/// Our own label of a zone, which wins over the plain one.
const ZONE: &str = "landbridge.zone";

/// Labels that an instance must have: names in order, each with its value.
pub type Labels = Vec<(EcoString, EcoString)>;

/// The labels in which consumer and instance must agree, none of them if all instances are shown to all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<EcoString>);

impl Selector {
    /// Reads an expression, or says what is wrong with it; an empty one selects nothing out.
    pub fn parse(expression: &str) -> Result<Self, String> {
        if expression.trim().is_empty() {
            return Ok(Self::default());
        }
        let mut names = expression.split('&').map(equation).collect::<Result<Vec<_>, _>>()?;
        names.sort_unstable();
        names.dedup();
        if names.len() > SELECTOR_LABELS_MAX {
            return Err(format!("an expression names at most {SELECTOR_LABELS_MAX} labels"));
        }
        Ok(Self(names))
    }

    /// The selector that a service's metadata holds; one that cannot be read selects nothing out.
    pub fn of(service: &Metadata) -> Self {
        service.value(SELECTOR).and_then(|text| Self::parse(text).ok()).unwrap_or_default()
    }

    /// Whether all instances are shown to all.
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// What instances must have for a consumer of which these instances are known; of two values the first counts, and a
    /// label that the consumer does not have restricts nothing.
    pub fn labels<'a>(&self, consumer: impl Iterator<Item = &'a Metadata> + Clone) -> Labels {
        let of = |name: &EcoString| {
            let value = consumer.clone().find_map(|metadata| label(metadata, name))?;
            Some((name.clone(), value.into()))
        };
        self.0.iter().filter_map(of).collect()
    }
}

/// Whether an instance has all these labels.
pub(crate) fn has(metadata: &Metadata, labels: &Labels) -> bool {
    labels.iter().all(|(name, value)| label(metadata, name) == Some(value.as_str()))
}

/// The value of a label; an empty one is none.
fn label<'a>(metadata: &'a Metadata, name: &str) -> Option<&'a str> {
    let better = if name == PLAIN_ZONE { metadata.value(ZONE) } else { None };
    better.or_else(|| metadata.value(name)).filter(|value| !value.is_empty())
}

/// The label in `CONSUMER.label.X = PROVIDER.label.X`.
fn equation(text: &str) -> Result<EcoString, String> {
    let shown: String = text.trim().chars().take(80).flat_map(char::escape_default).collect();
    let wrong = || format!("'{shown}' is not of the form CONSUMER.label.X = PROVIDER.label.X");
    let (consumer, provider) = text.split_once('=').ok_or_else(wrong)?;
    let consumer = consumer.trim().strip_prefix("CONSUMER.label.").ok_or_else(wrong)?;
    let provider = provider.trim().strip_prefix("PROVIDER.label.").ok_or_else(wrong)?;
    if consumer != provider {
        return Err(format!("'{shown}' compares two labels, and only one label can be compared with itself"));
    }
    if consumer.is_empty() || consumer.contains(['=', '&']) || consumer.chars().any(char::is_whitespace) {
        return Err(wrong());
    }
    Ok(consumer.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(pairs: &[(&str, &str)]) -> Metadata {
        Metadata::new(pairs.iter().map(|(key, value)| ((*key).into(), (*value).into()))).unwrap()
    }

    fn labels(expression: &str, consumer: &[&[(&str, &str)]]) -> Vec<String> {
        let known: Vec<Metadata> = consumer.iter().map(|pairs| metadata(pairs)).collect();
        let labels = Selector::parse(expression).unwrap().labels(known.iter());
        labels.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    #[test]
    fn each_named_label_that_the_consumer_has_must_be_the_same() {
        let both = "CONSUMER.label.zone = PROVIDER.label.zone & CONSUMER.label.rack=PROVIDER.label.rack";

        assert_eq!(labels(both, &[&[("zone", "a"), ("rack", "7")]]), ["rack=7", "zone=a"]);
        assert_eq!(labels(both, &[&[("rack", "")], &[("zone", "a")]]), ["zone=a"]);
        assert_eq!(labels(both, &[]), Vec::<String>::new());
        assert_eq!(labels("  ", &[&[("zone", "a")]]), Vec::<String>::new());
    }

    #[test]
    fn our_own_zone_label_wins_over_the_plain_one() {
        let zone = "CONSUMER.label.zone = PROVIDER.label.zone";
        let wanted = Selector::parse(zone).unwrap().labels([metadata(&[("zone", "a")])].iter());

        assert_eq!(labels(zone, &[&[("zone", "b"), ("landbridge.zone", "a")]]), ["zone=a"]);
        assert!(has(&metadata(&[("zone", "b"), ("landbridge.zone", "a")]), &wanted));
        assert!(!has(&metadata(&[("zone", "b")]), &wanted));
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        let many = (0..9).map(|i| format!("CONSUMER.label.l{i} = PROVIDER.label.l{i}")).collect::<Vec<_>>();
        for wrong in [
            "zone",
            "CONSUMER.label.a = PROVIDER.label.b",
            "CONSUMER.label. = PROVIDER.label.",
            "CONSUMER.label.a b = PROVIDER.label.a b",
            "CONSUMER.label.a = PROVIDER.label.a &",
            &many.join("&"),
        ] {
            assert!(Selector::parse(wrong).is_err(), "{wrong}");
        }
        let kept = metadata(&[(SELECTOR, "nonsense")]);
        assert!(Selector::of(&kept).is_none(), "one that was kept before does not hide anything");
    }
}
