//! Import policies as protobuf.

use std::collections::BTreeMap;

use landbridge_model::{
    Group, ImportPolicy, InvalidName, KeyGlob, Namespace, Showing,
    import::{RENAMES_MAX, WEIGHT_SCALE_MAX},
};

use super::{Malformed, globs_from, number, proto, within};

pub(super) fn import_of(policy: &ImportPolicy) -> proto::Import {
    let texts = |globs: &[KeyGlob]| globs.iter().map(KeyGlob::to_string).collect();
    let rename = |from: &str, to: &str| proto::Rename { from: from.into(), to: to.into() };
    let visibility = match policy.visibility {
        None => proto::Showing::Unspecified,
        Some(Showing::Failover) => proto::Showing::Failover,
        Some(Showing::Merge) => proto::Showing::Merge,
        Some(Showing::Hidden) => proto::Showing::Hidden,
    };
    proto::Import {
        allow: texts(&policy.allow),
        deny: texts(&policy.deny),
        namespaces: policy.namespaces.iter().map(|(from, to)| rename(from.as_str(), to.as_str())).collect(),
        groups: policy.groups.iter().map(|(from, to)| rename(from.as_str(), to.as_str())).collect(),
        weight_scale: policy.weight_scale,
        max_stale_ms: policy.max_stale_ms,
        visibility: visibility.into(),
    }
}

pub(super) fn import_from(import: &proto::Import) -> Result<ImportPolicy, Malformed> {
    let visibility = match import.visibility() {
        proto::Showing::Unspecified => None,
        proto::Showing::Failover => Some(Showing::Failover),
        proto::Showing::Merge => Some(Showing::Merge),
        proto::Showing::Hidden => Some(Showing::Hidden),
    };
    Ok(ImportPolicy {
        allow: globs_from(&import.allow)?,
        deny: globs_from(&import.deny)?,
        namespaces: renames_from(&import.namespaces, Namespace::parse)?,
        groups: renames_from(&import.groups, Group::parse)?,
        weight_scale: number(import.weight_scale, WEIGHT_SCALE_MAX, "weight_scale")?,
        max_stale_ms: import.max_stale_ms,
        visibility,
    })
}

fn renames_from<T: Ord>(
    renames: &[proto::Rename],
    parse: impl Fn(&str) -> Result<T, InvalidName>,
) -> Result<BTreeMap<T, T>, Malformed> {
    within(renames.len(), RENAMES_MAX, "renames")?;
    let name = |text: &str| parse(text).map_err(|invalid| Malformed::new("rename", invalid));
    renames.iter().map(|rename| Ok((name(&rename.from)?, name(&rename.to)?))).collect()
}
