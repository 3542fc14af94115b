"""PyPI nacos-sdk-python 2.0.11: HTTP v1 with beats, and subscriptions that ask again."""

import multiprocessing
import os
import time
from importlib.metadata import version

import nacos

from checks import CONTROL, PASSWORD, PUSHED, REDONE, SERVER, USER, Checks, listed_or_starting, same, server, until

checks = Checks(f"python-http {version('nacos-sdk-python')}" + (" with a user" if USER else ""))
IP = "10.2.0.1"
# A user's instances say whose they are.
OWNER = {"landbridge.owner": USER} if USER else {}


def found(client, service, **query):
    return {host["port"]: host for host in client.list_naming_instance(service, **query)["hosts"]}


def refused(ask):
    try:
        ask()
    except nacos.exception.NacosException as why:
        same(str(why), "Insufficient privilege.")
        return
    raise AssertionError("it was answered")


def reading(client):
    with checks.holds("an instance that is registered is found with all its values"):
        extra = {"weight": 2.5, "metadata": {"zone": "a", "text": "x=y"}, "cluster_name": "blue"}
        assert client.add_naming_instance("http-read", IP, 2001, **extra)
        host = until("the instance", PUSHED, lambda: found(client, "http-read"))[2001]
        assert (host["ip"], host["weight"], host["clusterName"]) == (IP, 2.5, "blue"), host
        assert host["metadata"] == {"zone": "a", "text": "x=y", **OWNER} and host["ephemeral"] is True, host
    with checks.holds("one instance is found by its address"):
        host = client.get_naming_instance("http-read", IP, 2001, "blue")
        assert host["ip"] == IP and host["port"] == 2001 and host["healthy"] is True, host
    with checks.holds("a list can be narrowed to clusters"):
        same(sorted(found(client, "http-read", clusters="blue")), [2001])
        same(found(client, "http-read", clusters="green"), {})
    with checks.holds("weight, metadata and enabled can be changed"):
        change = {"cluster_name": "blue", "weight": 9, "metadata": {"zone": "b"}, "enable": True}
        assert client.modify_naming_instance("http-read", IP, 2001, **change)
        host = found(client, "http-read")[2001]
        assert host["weight"] == 9 and host["metadata"]["zone"] == "b", host
    with checks.holds("a disabled instance is not in the list"):
        change = {"cluster_name": "blue", "weight": 9, "metadata": {"zone": "b"}, "enable": False}
        assert client.modify_naming_instance("http-read", IP, 2001, **change)
        until("no instance", PUSHED, lambda: not found(client, "http-read"))
    with checks.holds("groups and namespaces keep services of one name apart"):
        assert client.add_naming_instance("http-read", IP, 2002, group_name="OTHER")
        same(sorted(found(client, "http-read", group_name="OTHER")), [2002])
        same(sorted(found(client, "http-read")), [])
        if USER:  # whose right ends where the namespace does
            refused(lambda: found(client, "http-read", group_name="OTHER", namespace_id="elsewhere"))
        else:
            same(found(client, "http-read", group_name="OTHER", namespace_id="elsewhere"), {})
    with checks.holds("an instance is deregistered by its address, whatever cluster it said"):
        assert client.remove_naming_instance("http-read", IP, 2002, group_name="OTHER")
        until("no instance", PUSHED, lambda: not found(client, "http-read", group_name="OTHER"))
    with checks.holds("a persistent instance is registered and deregistered by its address, whatever cluster it said"):
        assert client.add_naming_instance("http-kept", IP, 2011, ephemeral=False)
        assert until("the instance", PUSHED, lambda: found(client, "http-kept"))[2011]["ephemeral"] is False
        assert client.remove_naming_instance("http-kept", IP, 2011, ephemeral=False)
        until("no instance", PUSHED, lambda: not found(client, "http-kept"))


def configs(client):
    with checks.holds("a config that nobody keeps is not found, and is listened to"):
        same(client.get_config("nobodys.yaml", "DEFAULT_GROUP", no_snapshot=True), None)
        client.add_config_watcher("nobodys.yaml", "DEFAULT_GROUP", lambda told: os._exit(1))


def beats(client):
    with checks.holds("a full beat of an unknown instance registers it and tells when to beat again"):
        answer = client.send_heartbeat("http-beat", IP, 2003, metadata={"via": "beat"})
        assert answer["clientBeatInterval"] >= 1000 and answer["code"] == 10200, answer
        host = until("the instance", PUSHED, lambda: found(client, "http-beat"))[2003]
        same(host["metadata"], {"via": "beat", **OWNER})
    with checks.holds("times kept in the metadata are honoured: unhealthy after 3 s, gone after 6 s"):
        times = {"interval": "1000", "timeout": "3000"}
        times = {f"preserved.heart.beat.{name}": value for name, value in times.items()}
        times["preserved.ip.delete.timeout"] = "6000"
        # A second instance stays healthy: when none is, Nacos shows all as healthy rather than send every call nowhere.
        assert client.add_naming_instance("http-short", IP, 2010, heartbeat_interval=2)
        started = time.monotonic()
        assert client.add_naming_instance("http-short", IP, 2004, metadata=times)
        until("unhealthy", 6, lambda: not found(client, "http-short")[2004]["healthy"])
        unhealthy = time.monotonic() - started
        until("gone", 6, lambda: 2004 not in found(client, "http-short"))
        gone = time.monotonic() - started
        assert 2.5 < unhealthy < 5.5 and 5.5 < gone < 9, (unhealthy, gone)
    with checks.holds("beats keep an instance healthy for 35 s; without them it is unhealthy at 15 s and gone at 30 s"):
        assert client.add_naming_instance("http-alive", IP, 2005, heartbeat_interval=5)
        started, unhealthy, gone = time.monotonic(), None, None
        assert client.add_naming_instance("http-alive", IP, 2006)
        while (now := time.monotonic() - started) < 35:
            hosts = found(client, "http-alive")
            assert hosts[2005]["healthy"], f"the beating instance after {now:.1f} s"
            if unhealthy is None and 2006 in hosts and not hosts[2006]["healthy"]:
                unhealthy = now
            if gone is None and 2006 not in hosts:
                gone = now
            time.sleep(0.1)
        assert unhealthy and 14 < unhealthy < 21 and gone and 29 < gone, (unhealthy, gone)


def subscriptions(client):
    events = []
    listener = nacos.listener.SubscribeListener(
        fn=lambda event, kept: events.append((event, kept.instance["port"])), listener_name="checks"
    )
    seen = lambda event, port: lambda: (event, port) in events
    with checks.holds("a subscription that asks again sees what is added, modified and deleted"):
        assert client.add_naming_instance("http-sub", IP, 2007)
        client.subscribe(listener, 1, "http-sub")
        until("the first question", PUSHED, lambda: client.subscribed_local_manager.get_local_instances("http-sub"))
        # With its cluster: without one this SDK registers in a cluster "None" and changes one in "DEFAULT".
        assert client.add_naming_instance("http-sub", IP, 2008, cluster_name="DEFAULT")
        until("added", PUSHED, seen("ADDED", 2008))
        assert client.modify_naming_instance("http-sub", IP, 2008, cluster_name="DEFAULT", weight=3, enable=True)
        until("modified", PUSHED, seen("MODIFIED", 2008))
        assert client.remove_naming_instance("http-sub", IP, 2008, cluster_name="DEFAULT")
        until("deleted", PUSHED, seen("DELETED", 2008))
    client.stop_subscribe()


def restarts(client):
    sentences = [
        "after kill -9 and restart a reader never misses a beating instance",
        "after a restart without data the next beats register again",
    ]
    if not CONTROL:
        for sentence in sentences:
            checks.skip(sentence, "the server is not ours to restart")
        return
    assert client.add_naming_instance("http-redo", IP, 2009, heartbeat_interval=2, metadata={"kept": "yes"})
    with checks.holds(sentences[0]):
        time.sleep(1)  # the checkpoint is at most 500 ms behind
        server("restart")
        answers, end = 0, time.monotonic() + 5
        while time.monotonic() < end:
            answer = listed_or_starting("http-redo")
            assert answer is None or 2009 in answer, f"answer {answers} was {answer}"
            answers += answer is not None
            time.sleep(0.01)
        assert answers > 0
    with checks.holds(sentences[1]):
        server("empty")
        again = until("the instance", REDONE, lambda: (listed_or_starting("http-redo") or {}).get(2009))
        assert again["metadata"] == {"kept": "yes"}, again


def main():
    home = os.environ["HOME"]
    client = nacos.NacosClient(SERVER, namespace="", logDir=f"{home}/logs", username=USER, password=PASSWORD)
    client.set_options(snapshot_base=f"{home}/snapshots")
    for part in [configs, reading, beats, subscriptions, restarts]:
        with checks.comes_to_its_end(part.__name__):
            part(client)


main()
for process in multiprocessing.active_children():
    process.kill()  # it listens for configs
checks.close()
