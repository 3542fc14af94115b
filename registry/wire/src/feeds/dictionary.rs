//! Changes with a dictionary: each service key, word and instance of a frame stands once and is named by its place.
//!
//! The reader gets the same sharing in memory: one allocation per distinct key, word and instance of a frame.

use std::{collections::HashMap, sync::Arc};

use ecow::EcoString;
use landbridge_model::{Change, Instance, Metadata, Record, RecordKey, ServiceKey};

use super::{CHANGES_MAX, Malformed, proto, record, within};

/// Encodes changes; a record of `None` says that the key is gone.
pub(crate) fn changes_of<'a>(
    changes: impl Iterator<Item = (&'a RecordKey, Option<&'a Record>)>,
) -> proto::Changes {
    let mut writer = Writer::default();
    let changes = changes.map(|(key, record)| record::change_of(&mut writer, key, record)).collect();
    proto::Changes { services: writer.services, words: writer.words, instances: writer.instances, changes }
}

/// Decodes changes; each record fits its key.
pub(crate) fn changes_from(changes: proto::Changes) -> Result<Vec<Change>, Malformed> {
    within(changes.changes.len(), CHANGES_MAX, "changes")?;
    let reader = Reader::new(&changes.services, changes.words, &changes.instances)?;
    changes.changes.into_iter().map(|change| record::change_from(&reader, change)).collect()
}

/// Gives places to what it meets for the first time.
#[derive(Default)]
pub(super) struct Writer<'a> {
    services: Vec<proto::Service>,
    words: Vec<String>,
    instances: Vec<proto::Instance>,
    service_places: HashMap<&'a ServiceKey, u32>,
    word_places: HashMap<&'a str, u32>,
    instance_places: HashMap<(u64, bool, bool, &'a Metadata), u32>,
    latest: Option<(&'a ServiceKey, u32)>,
}

impl<'a> Writer<'a> {
    /// The place of a service; runs of one service, as key order makes them, cost no search.
    pub(super) fn service(&mut self, key: &'a ServiceKey) -> u32 {
        if let Some((latest, place)) = self.latest
            && latest == key
        {
            return place;
        }
        let place = match self.service_places.get(key) {
            Some(place) => *place,
            None => {
                let place = place_of(self.services.len());
                self.services.push(service_of(key));
                self.service_places.insert(key, place);
                place
            }
        };
        self.latest = Some((key, place));
        place
    }

    /// The place of an instance.
    pub(super) fn instance(&mut self, instance: &'a Instance) -> u32 {
        let Instance { weight, healthy, enabled, metadata } = instance;
        let shape = (weight.to_bits(), *healthy, *enabled, metadata);
        if let Some(place) = self.instance_places.get(&shape) {
            return *place;
        }
        let place = place_of(self.instances.len());
        let metadata = self.metadata(metadata);
        let (unhealthy, disabled) = (!healthy, !enabled);
        self.instances.push(proto::Instance { weight: *weight, unhealthy, disabled, metadata });
        self.instance_places.insert(shape, place);
        place
    }

    /// The places of keys and values.
    pub(super) fn metadata(&mut self, metadata: &'a Metadata) -> Vec<u32> {
        metadata.pairs().iter().flat_map(|(key, value)| [self.word(key), self.word(value)]).collect()
    }

    fn word(&mut self, word: &'a str) -> u32 {
        let words = &mut self.words;
        *self.word_places.entry(word).or_insert_with(|| {
            words.push(word.into());
            place_of(words.len() - 1)
        })
    }

    /// Only the services, where nothing else was written.
    pub(super) fn into_services(self) -> Vec<proto::Service> {
        self.services
    }
}

fn place_of(count: usize) -> u32 {
    u32::try_from(count).expect("a frame is bounded far below 2^32 entries")
}

fn service_of(key: &ServiceKey) -> proto::Service {
    proto::Service {
        namespace: key.namespace().as_str().into(),
        group: key.group().as_str().into(),
        name: key.service().as_str().into(),
    }
}

/// What places stand for.
pub(super) struct Reader {
    services: Vec<ServiceKey>,
    words: Vec<EcoString>,
    instances: Vec<Arc<Instance>>,
}

impl Reader {
    /// Parses every entry once.
    pub(super) fn new(
        services: &[proto::Service],
        words: Vec<String>,
        instances: &[proto::Instance],
    ) -> Result<Self, Malformed> {
        let services = services.iter().map(service_from).collect::<Result<_, _>>()?;
        let words = words.into_iter().map(EcoString::from).collect();
        let mut reader = Self { services, words, instances: Vec::with_capacity(instances.len()) };
        for instance in instances {
            let instance = Instance {
                weight: number(instance.weight, 10_000.0, "weight")?,
                healthy: !instance.unhealthy,
                enabled: !instance.disabled,
                metadata: reader.metadata(&instance.metadata)?,
            };
            reader.instances.push(Arc::new(instance));
        }
        Ok(reader)
    }

    /// The service at a place.
    pub(super) fn service(&self, place: u32) -> Result<ServiceKey, Malformed> {
        at(&self.services, place, "service").cloned()
    }

    /// The instance at a place.
    pub(super) fn instance(&self, place: u32) -> Result<Arc<Instance>, Malformed> {
        at(&self.instances, place, "instance").cloned()
    }

    /// The pairs at places.
    pub(super) fn metadata(&self, places: &[u32]) -> Result<Metadata, Malformed> {
        let (pairs, rest) = places.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(Malformed::new("metadata", "a key has no value"));
        }
        within(pairs.len(), landbridge_model::instance::METADATA_PAIRS_MAX, "metadata")?;
        let pairs = pairs
            .iter()
            .map(|[key, value]| {
                Ok((at(&self.words, *key, "word")?.clone(), at(&self.words, *value, "word")?.clone()))
            })
            .collect::<Result<Vec<_>, Malformed>>()?;
        Metadata::new(pairs).map_err(|e| Malformed::new("metadata", e))
    }
}

fn service_from(service: &proto::Service) -> Result<ServiceKey, Malformed> {
    ServiceKey::parse(&service.namespace, &service.group, &service.name)
        .map_err(|e| Malformed::new("service", e))
}

fn at<'a, T>(entries: &'a [T], place: u32, what: &'static str) -> Result<&'a T, Malformed> {
    entries
        .get(place as usize)
        .ok_or_else(|| Malformed::new(what, format_args!("there is none at place {place}")))
}

/// A number between zero and a bound.
pub(super) fn number(number: f64, max: f64, at: &'static str) -> Result<f64, Malformed> {
    if (0.0..=max).contains(&number) {
        Ok(number)
    } else {
        Err(Malformed::new(at, format_args!("{number} is not between 0 and {max}")))
    }
}
