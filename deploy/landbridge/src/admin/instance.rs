//! Registers an instance by hand, as a Nacos client does over HTTP, and keeps it alive.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::query;
use crate::arguments::InstanceName;
use crate::call::{Caller, refusal};
use crate::ending::Trouble;
use crate::output;

/// Where Nacos clients register.
const INSTANCE: &str = "/nacos/v1/ns/instance";

/// How often a Nacos client beats.
const BEAT_MS: u64 = 5_000;

/// Registers, beats until interrupted, and takes the instance away again.
pub(crate) async fn register(caller: &Caller, wish: &InstanceName) -> Result<(), Trouble> {
    let metadata = metadata(wish)?;
    say(caller, Method::POST, INSTANCE, wish, &[("metadata", &metadata.to_string())]).await?;
    eprintln!(
        "landbridge: {} of {} is registered; interrupt to take it away",
        wish.address, wish.service.service
    );
    let beat = beat(wish, &metadata).to_string();
    let mut beats = tokio::time::interval(Duration::from_millis(BEAT_MS));
    loop {
        tokio::select! {
            _ = beats.tick() => {
                let path = format!("{INSTANCE}/beat");
                // A registry that is away for a while learns of the instance from a later beat.
                if let Err(trouble) = say(caller, Method::PUT, &path, wish, &[("beat", &beat)]).await {
                    trouble.tell();
                }
            }
            _ = tokio::signal::ctrl_c() => return deregister(caller, wish).await,
        }
    }
}

/// Takes an instance away.
pub(crate) async fn deregister(caller: &Caller, wish: &InstanceName) -> Result<(), Trouble> {
    say(caller, Method::DELETE, INSTANCE, wish, &[]).await?;
    eprintln!("landbridge: {} of {} is taken away", wish.address, wish.service.service);
    Ok(())
}

async fn say(
    caller: &Caller,
    method: Method,
    path: &str,
    wish: &InstanceName,
    more: &[(&str, &str)],
) -> Result<(), Trouble> {
    let (ip, port, weight) =
        (wish.address.ip().to_string(), wish.address.port().to_string(), wish.weight.to_string());
    let mut pairs = vec![
        ("namespaceId", wish.service.namespace.as_str()),
        ("groupName", &wish.service.group),
        ("serviceName", &wish.service.service),
        ("clusterName", &wish.cluster),
        ("ip", &ip),
        ("port", &port),
        ("weight", &weight),
        ("ephemeral", "true"),
    ];
    pairs.extend_from_slice(more);
    let (status, text) = caller.text(method, &format!("{path}?{}", query(&pairs))).await?;
    if status == StatusCode::OK { Ok(()) } else { Err(refusal(status, &text).into()) }
}

fn metadata(wish: &InstanceName) -> Result<Value, Trouble> {
    let pair = |text: &String| match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), Value::from(value))),
        _ => Err(Trouble::usage(format!("metadata `{}` is not KEY=VALUE", output::escaped(text)))),
    };
    wish.metadata.iter().map(pair).collect::<Result<Map<_, _>, _>>().map(Value::Object)
}

/// The beat of a Nacos 1.x client, which also re-registers where it is not known.
fn beat(wish: &InstanceName, metadata: &Value) -> Value {
    json!({
        "serviceName": format!("{}@@{}", wish.service.group, wish.service.service),
        "cluster": wish.cluster,
        "ip": wish.address.ip().to_string(),
        "port": wish.address.port(),
        "weight": wish.weight,
        "metadata": metadata,
        "scheduled": false,
        "period": BEAT_MS,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::ServiceName;

    fn wish(metadata: &[&str]) -> InstanceName {
        InstanceName {
            service: ServiceName {
                service: "orders".to_owned(),
                group: "DEFAULT_GROUP".to_owned(),
                namespace: "public".to_owned(),
            },
            address: "192.0.2.1:8080".parse().unwrap(),
            cluster: "DEFAULT".to_owned(),
            weight: 1.0,
            metadata: metadata.iter().map(|pair| (*pair).to_owned()).collect(),
        }
    }

    #[test]
    fn a_beat_says_all_that_is_needed_to_register_again() {
        let wish = wish(&["zone=a", "note=x=y"]);

        let beat = beat(&wish, &metadata(&wish).unwrap());

        assert_eq!(beat["serviceName"], "DEFAULT_GROUP@@orders");
        assert_eq!(beat["metadata"], json!({ "zone": "a", "note": "x=y" }));
        assert_eq!(beat["port"], 8080);
    }

    #[test]
    fn metadata_without_a_key_or_a_value_is_a_usage_mistake() {
        assert!(metadata(&wish(&["zone"])).is_err());
        assert!(metadata(&wish(&["=a"])).is_err());
    }
}
