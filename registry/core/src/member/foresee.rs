//! What a policy would change if it were set: looked up, never done.

use std::collections::BTreeMap;

use landbridge_model::{ExportPolicy, ImportPolicy, InstanceKey, Region, ServiceKey};

use super::Member;
use crate::{
    outcome::{FORESEEN_NAMED_MAX, Foreseen, ForeseenRow, Outcome, Refusal},
    state::Command,
};

/// Services with their instances and those weights.
type Showing = BTreeMap<ServiceKey, Vec<(InstanceKey, f64)>>;

impl Member {
    /// What a command would change of what leaves, or of what shows. It looks at every service of one region: milliseconds for
    /// thousands.
    pub(super) fn foresee(&self, command: &Command) -> Result<Outcome, Refusal> {
        let (before, after) = match command {
            Command::SetPolicy { peer, policy } => (
                self.leaving(self.holder.export(peer).map(|policy| &**policy)),
                self.leaving(policy.as_deref()),
            ),
            Command::SetImport { region, policy } => {
                let standing = self.holder.import(region).map(|policy| &**policy);
                (self.showing(region, standing), self.showing(region, policy.as_deref()))
            }
            Command::Found { .. }
            | Command::Open { .. }
            | Command::Close { .. }
            | Command::Settle { .. }
            | Command::SetLink { .. }
            | Command::SetBridge { .. }
            | Command::Define { .. }
            | Command::Undefine { .. }
            | Command::PutPersistent { .. }
            | Command::DeletePersistent { .. }
            | Command::SetHealth { .. }
            | Command::SetOverlay { .. }
            | Command::Note { .. }
            | Command::AssignPort { .. }
            | Command::ReleasePort { .. }
            | Command::ClearOverlay { .. } => return Err(Refusal::Reserved),
        };
        Ok(Outcome::Foreseen(compared(&before, &after)))
    }

    /// What another region sees under an export policy; without one nothing.
    fn leaving(&self, policy: Option<&ExportPolicy>) -> Showing {
        let own = &self.settings.region;
        let selected = |service: &ServiceKey| policy.is_some_and(|policy| policy.selects(service));
        let services = self.holder.services(own).filter(selected);
        services.map(|service| (service.clone(), self.weighed(own, &service, None))).collect()
    }

    /// What shows here of another region under an import policy; without one everything.
    fn showing(&self, region: &Region, policy: Option<&ImportPolicy>) -> Showing {
        let services = self.holder.services_under(region, policy);
        services.map(|service| (service.clone(), self.weighed(region, &service, policy))).collect()
    }

    fn weighed(
        &self,
        region: &Region,
        service: &ServiceKey,
        policy: Option<&ImportPolicy>,
    ) -> Vec<(InstanceKey, f64)> {
        let shown = self.holder.shown_under(region, service, policy);
        shown.into_iter().map(|shown| (shown.key, shown.instance.weight)).collect()
    }
}

fn compared(before: &Showing, after: &Showing) -> Foreseen {
    let mut foreseen = Foreseen { before: before.len(), after: after.len(), ..Foreseen::default() };
    let gone = before.keys().filter(|service| !after.contains_key(*service));
    let mut differing: Vec<_> =
        gone.chain(after.keys()).filter(|service| before.get(*service) != after.get(*service)).collect();
    differing.sort();
    for service in differing {
        if foreseen.rows.len() == FORESEEN_NAMED_MAX {
            foreseen.unnamed += 1;
            continue;
        }
        let count = |showing: &Showing| showing.get(service).map(Vec::len);
        let (before, after) = (count(before), count(after));
        foreseen.rows.push(ForeseenRow { service: service.clone(), before, after });
    }
    foreseen
}
