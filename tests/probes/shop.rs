//! Persistent services of a region, their checkers, and what is shown of their health.

use std::time::Duration;

use anyhow::{Result, ensure};
use landbridge_tests::{
    region::Region,
    wait::{until_async, within},
};
use serde_json::Value;

/// A change of health is shown within this: three probes at the longest pace, on a machine that does other things too.
const SHOWN_WITHIN: Duration = Duration::from_secs(120);

/// What is registered at a region.
pub struct Shop<'a>(pub &'a Region);

impl Shop<'_> {
    /// Registers a persistent instance, and asks until it is taken.
    pub async fn register(&self, service: &str, ip: &str, port: u16) {
        let path = format!("/nacos/v1/ns/instance?serviceName={service}&ip={ip}&port={port}&ephemeral=false");
        until_async("a persistent instance is taken", SHOWN_WITHIN, async || {
            (self.0.ask(1, "POST", &path).await.0 == 200).then_some(())
        })
        .await;
    }

    /// Sets the checker of a service's only cluster.
    pub async fn checker(&self, service: &str, checker: &str) -> Result<()> {
        let checker = encoded(checker);
        let path = format!(
            "/nacos/v1/ns/cluster?serviceName={service}&clusterName=DEFAULT&checkPort=80\
             &useInstancePort4Check=true&healthChecker={checker}"
        );
        let (status, said) = self.0.ask(1, "PUT", &path).await;
        ensure!(status == 200, "the checker of {service} was refused: {status} {said}");
        Ok(())
    }

    /// Somebody says how the instances of a service are.
    pub async fn says(&self, service: &str, healthy: bool) -> Result<()> {
        for (ip, port, _) in self.instances(2, service).await.unwrap_or_default() {
            let path = format!(
                "/nacos/v1/ns/health/instance?serviceName={service}&ip={ip}&port={port}&healthy={healthy}"
            );
            let (status, said) = self.0.ask(2, "PUT", &path).await;
            ensure!(status == 200, "refused: {status} {said}");
        }
        Ok(())
    }

    /// Waits until every member that runs shows so many unhealthy and so many healthy instances.
    pub async fn shows(&self, service: &str, unhealthy: usize, healthy: usize) {
        for member in self.0.members().into_iter().filter(|member| self.0.runs(*member)) {
            let as_wanted = async || {
                let instances = self.instances(member, service).await?;
                let well = instances.iter().filter(|(.., well)| *well).count();
                ((instances.len() - well, well) == (unhealthy, healthy)).then_some(())
            };
            if within(SHOWN_WITHIN, as_wanted).await.is_none() {
                let shown = self.instances(member, service).await;
                let told = self.0.tell_all().await;
                panic!(
                    "member {member} shows {shown:?} of {service}, not {unhealthy} unhealthy and {healthy} healthy\n{told}"
                );
            }
        }
    }

    /// Address, port and health of each instance.
    async fn instances(&self, member: u16, service: &str) -> Option<Vec<(String, u64, bool)>> {
        let path = format!(
            "/nacos/v1/ns/catalog/instances?serviceName={service}&clusterName=DEFAULT&pageNo=1&pageSize=100"
        );
        let (status, text) = self.0.ask(member, "GET", &path).await;
        let said: Value = (status == 200).then(|| serde_json::from_str(&text).ok()).flatten()?;
        let one = |host: &Value| {
            Some((host["ip"].as_str()?.to_owned(), host["port"].as_u64()?, host["healthy"].as_bool()?))
        };
        said["list"].as_array()?.iter().map(one).collect()
    }

    /// What a member counted.
    pub async fn counted(&self, member: u16) -> String {
        let (_, page) = self.0.ask(member, "GET", "/metrics").await;
        let wanted = |line: &&str| {
            line.starts_with("landbridge_registry_probe")
                && !line.contains("_bucket")
                && !line.contains("_sum")
        };
        page.lines().filter(wanted).collect::<Vec<_>>().join("\n")
    }
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
