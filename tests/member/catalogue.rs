//! Walks every Nacos route of the table against a running member.

use crate::one::One;

/// Values for every parameter that some route needs; what a route does not know it ignores.
const EVERYTHING: &str = "serviceName=walked&ip=10.9.0.1&port=80&healthy=true&namespaceName=n&namespaceId=walked\
    &entry=distroThreshold&value=0.7&clusterName=DEFAULT&checkPort=80&useInstancePort4Check=true\
    &healthChecker=%7B%22type%22%3A%22TCP%22%7D&metadata=a%3Db&pageNo=1&pageSize=10&key=public%23%23DEFAULT_GROUP%40%40walked\
    &clientId=none&connectionId=none&count=1000&ips=10.0.0.1&command=doSnapshot";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_of_the_table_is_answered_by_its_own_handler() {
    let one = One::start().await;
    let mut strange = Vec::new();
    let mut walked = 0;

    for (method, path, right) in landbridge_registry::nacos_routes() {
        if path.ends_with("/listener") {
            continue;
        }
        let method = if method == "ANY" { "GET" } else { method };
        let path = ["{namespaceId}", "{service}", "{key}", "{cluster}", "{*rest}"]
            .into_iter()
            .fold(path.to_owned(), |path, part| path.replace(part, "serverlist"));
        let (status, text) = one.ask(method, &format!("/nacos{path}?{EVERYTHING}")).await;
        walked += 1;
        let lost = status == 0
            || status == 405
            || text.starts_with("no such api")
            || (status >= 500 && status != 501);
        if lost || text.contains(r#""error":"Not Found""#) {
            strange.push(format!("{method} {path} ({right}): {status} {text}"));
        }
    }

    assert!(strange.is_empty(), "{} of {walked}:\n{}", strange.len(), strange.join("\n"));
    println!("{walked} routes answered");
    one.end().await.expect("ends in order");
}
