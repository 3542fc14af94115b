//! Walks every Nacos route of the table against a member that asks for names: a stranger gets nowhere but where it must.

use crate::one::One;

/// What is answered without a name, and why. A route that is to join this list is added here by hand.
const OPEN: &[&str] = &[
    // Logins, and the first admin, which needs the secret of a file.
    "POST /v1/auth/login",
    "POST /v1/auth/users/login",
    "POST /v3/auth/user/login",
    "POST /v1/auth/admin",
    "POST /v1/auth/users/admin",
    "POST /v3/auth/user/admin",
    // What SDKs and probes ask before they have a name.
    "ANY /v1/ns/health/server",
    "GET /v1/ns/operator/metrics",
    "GET /v1/ns/ops/metrics",
    "GET /v2/ns/operator/metrics",
    "GET /v2/ns/ops/metrics",
    "GET /v3/admin/ns/ops/metrics",
    "GET /v1/console/health/liveness",
    "GET /v1/console/health/readiness",
    "GET /v2/console/health/liveness",
    "GET /v2/console/health/readiness",
    "GET /v3/admin/core/state/liveness",
    "GET /v3/admin/core/state/readiness",
    "GET /v3/console/health/liveness",
    "GET /v3/console/health/readiness",
    "GET /v1/cs/health",
    // What a console shows before its login.
    "GET /v1/console/server/state",
    "GET /v1/console/server/announcement",
    "GET /v1/console/server/guide",
    "GET /v3/admin/core/state",
    "GET /v3/console/server/state",
    "GET /v3/console/server/announcement",
    "GET /v3/console/server/guide",
    // Figures for scrapers, which the member's own page of metrics tells everybody too.
    "GET /actuator/prometheus",
    // Addresses of servers, for clients that know none.
    "GET /{cluster}",
    // Configs, of which there are none.
    "GET /v1/cs/configs",
    "POST /v1/cs/configs/listener",
    "GET /v2/cs/config",
    "GET /v3/client/cs/config",
    "GET /v3/admin/cs/config",
    "GET /v3/console/cs/config",
];

/// Values for every parameter, so that nothing but the missing name is in the way.
const EVERYTHING: &str = "serviceName=walked&ip=10.9.0.1&port=80&healthy=true&namespaceName=n&namespaceId=walked\
    &entry=distroThreshold&value=0.7&clusterName=DEFAULT&metadata=a%3Db&pageNo=1&pageSize=10\
    &key=public%23%23DEFAULT_GROUP%40%40walked&clientId=none&connectionId=none&count=1000&ips=10.0.0.1\
    &command=doSnapshot&role=r&resource=a&action=r&newPassword=long-enough";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_gets_nowhere_but_where_it_must() {
    let one = One::start_guarded(&[]).await;
    let mut wrong = Vec::new();
    let mut walked = 0;

    for (method, path, right) in landbridge_registry::nacos_routes() {
        let named = format!("{method} {path}");
        let open = OPEN.contains(&named.as_str());
        if open != (right == "open") {
            wrong.push(format!("{named} has the right {right}, and the list of this test says otherwise"));
        }
        if open {
            continue;
        }
        let method = if method == "ANY" { "GET" } else { method };
        let path = ["{namespaceId}", "{service}", "{key}", "{cluster}", "{*rest}"]
            .into_iter()
            .fold(path.to_owned(), |path, part| path.replace(part, "walked"));
        for more in ["", "&accessToken=null", "&username=nacos&password=nacos"] {
            let (status, text) = one.ask(method, &format!("/nacos{path}?{EVERYTHING}{more}")).await;
            walked += 1;
            if status != 403 {
                wrong.push(format!("{named} ({right}) {more}: {status} {text}"));
            }
        }
    }

    assert!(wrong.is_empty(), "{} of {walked}:\n{}", wrong.len(), wrong.join("\n"));
    println!("{walked} calls of a stranger refused, {} routes are open", OPEN.len());
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_spelling_of_a_path_slips_past_its_rule() {
    let one = One::start_guarded(&[]).await;
    let spellings = [
        "/nacos/v1/auth/users/",
        "/nacos/v1/auth//users",
        "/nacos/v1/auth/users;x=1",
        "/nacos/v1/auth/./users",
        "/nacos/v1/auth/../auth/users",
        "/nacos/v1/auth/%75sers",
        "/nacos/v1/auth/users%2f",
        "/nacos/v1/auth/users%00",
        "/NACOS/V1/AUTH/USERS",
        "/nacos/v1/console/health/../../auth/users",
        "/nacos/v1/console/health/liveness/..;/..;/..;/auth/users",
        "//nacos/v1/auth/users",
        "/nacos//v1/auth/users",
        "/v1/auth/users",
    ];

    for path in spellings {
        let (status, text) = one.get(&format!("{path}?pageNo=1&pageSize=9&accessToken=")).await;
        assert!(matches!(status, 400 | 403 | 404 | 501), "{path}: {status} {text}");
        let (status, text) = one.ask("POST", &format!("{path}?username=eve&password=eve-is-here")).await;
        assert!(matches!(status, 400 | 403 | 404 | 405 | 501), "POST {path}: {status} {text}");
    }
    let markers =
        [("user-agent", "Nacos-Server"), ("serverIdentity", "security"), ("x-forwarded-for", "127.0.0.1")];
    let list = "/nacos/v1/auth/users?pageNo=1&pageSize=9";
    let marked = landbridge_tests::http::send(one.http(), "GET", list, &markers, "");
    assert_eq!(marked.await.expect("answered").0, 403);
    one.end().await.expect("ends in order");
}
