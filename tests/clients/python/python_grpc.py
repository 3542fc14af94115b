"""PyPI nacos-sdk-python 3.2.0: gRPC, with ability negotiation, redo and pushes."""

import asyncio
import os
import subprocess
import time

from v2.nacos.common.client_config import TLSConfig
from v2.nacos import (
    BatchRegisterInstanceParam,
    ConfigParam,
    ClientConfigBuilder,
    DeregisterInstanceParam,
    ListInstanceParam,
    ListServiceParam,
    NacosConfigService,
    NacosNamingService,
    RegisterInstanceParam,
    SubscribeServiceParam,
)

from checks import (
    CONTROL,
    PUSHED,
    REDONE,
    SERVER,
    PASSWORD,
    TLS,
    USER,
    Checks,
    http,
    listed,
    listed_or_starting,
    same,
    server,
    until_async,
)

checks = Checks("python-grpc 3.2.0" + (" over TLS" if TLS else "") + (" with a user" if USER else ""))
IP = "10.1.0.1"


def settings():
    home = os.environ["HOME"]
    builder = ClientConfigBuilder().server_address(SERVER).log_level("ERROR")
    if USER:
        builder = builder.username(USER).password(PASSWORD)
    config = builder.log_dir(f"{home}/logs").cache_dir(f"{home}/cache").build()
    config.set_update_cache_when_empty(True)
    config.set_load_cache_at_start(False)
    if TLS:
        files = {"ca_file": f"{TLS}/ca.pem", "cert_file": f"{TLS}/client.pem", "key_file": f"{TLS}/client.key"}
        config.set_tls_config(TLSConfig(enabled=True, **files))
    return config


async def connect():
    return await asyncio.wait_for(NacosNamingService.create_naming_service(settings()), 20)


def instance(service, port, **more):
    return RegisterInstanceParam(service_name=service, ip=IP, port=port, **more)


async def query(client, service):
    found = await client.list_instances(ListInstanceParam(service_name=service, subscribe=False, healthy_only=None))
    return {host.port: host for host in found}


class Watch:
    """Keeps the newest list that a subscription was told."""

    def __init__(self):
        self.hosts, self.told = {}, 0

    async def hear(self, hosts):
        self.hosts, self.told = {host.port: host for host in hosts}, self.told + 1

    async def until(self, what, ask, seconds=PUSHED):
        return await until_async(what, seconds, lambda: ask(self.hosts))


async def configs(provider, consumer):
    client = await asyncio.wait_for(NacosConfigService.create_config_service(settings()), 20)
    with checks.holds("a config that nobody keeps is not found, and is listened to"):
        same(await client.get_config(ConfigParam(data_id="nobodys.yaml", group="DEFAULT_GROUP")) or "", "")

        async def told(*what):
            os._exit(1)

        await client.add_listener("nobodys.yaml", "DEFAULT_GROUP", told)
        assert await client.server_health()
    listening.append(client)


listening = []  # to the end


async def reading(provider, consumer):
    with checks.holds("an instance that is registered is found with all its values"):
        extra = {"weight": 2.5, "metadata": {"zone": "a", "text": "ä=b"}, "cluster_name": "blue"}
        assert await provider.register_instance(instance("py-read", 1001, **extra))
        found = await until_async("the instance", PUSHED, lambda: query(consumer, "py-read"))
        host = found[1001]
        assert (host.ip, host.weight, host.clusterName) == (IP, 2.5, "blue"), host
        assert host.metadata["zone"] == "a" and host.metadata["text"] == "ä=b", host.metadata
        assert host.healthy and host.enabled and host.ephemeral, host
    with checks.holds("the HTTP API lists what gRPC registered"):
        host = listed("py-read")[1001]
        assert host["ip"] == IP and host["weight"] == 2.5 and host["clusterName"] == "blue", host
        assert host["serviceName"] == "DEFAULT_GROUP@@py-read", host
    with checks.holds("a service without instances is an empty list and no error"):
        assert await query(consumer, "py-nothing") == {}
    with checks.holds("the list of services names it"):
        page = await provider.list_services(ListServiceParam(page_size=100))
        assert "py-read" in page.services and page.count >= 1, page
    with checks.holds("a persistent instance is registered and deregistered"):
        assert await provider.register_instance(instance("py-kept", 1010, ephemeral=False))
        found = await until_async("the instance", PUSHED, lambda: listed("py-kept"))
        assert found[1010]["ephemeral"] is False, found
        gone = DeregisterInstanceParam(service_name="py-kept", ip=IP, port=1010, ephemeral=False)
        assert await provider.deregister_instance(gone)
        await until_async("no instance", PUSHED, lambda: not listed("py-kept"))


async def pushes(provider, consumer):
    watch = Watch()
    subscription = SubscribeServiceParam(service_name="py-push", subscribe_callback=watch.hear)
    with checks.holds("a subscriber is told of a new instance"):
        await consumer.subscribe(subscription)
        await provider.register_instance(instance("py-push", 1002))
        await watch.until("the new instance", lambda hosts: 1002 in hosts)
    with checks.holds("a subscriber is told of a changed instance"):
        await provider.update_instance(instance("py-push", 1002, weight=7, metadata={"colour": "red"}))
        changed = lambda hosts: hosts[1002].weight == 7 and hosts[1002].metadata.get("colour") == "red"
        await watch.until("the changed instance", changed)
    with checks.holds("a gRPC subscriber is told of what HTTP registers and deregisters"):
        other = {"serviceName": "py-push", "ip": "10.1.0.9", "port": 1009}
        http("POST", "/v1/ns/instance", **other)
        await watch.until("both instances", lambda hosts: sorted(hosts) == [1002, 1009])
        http("DELETE", "/v1/ns/instance", **other)
        await watch.until("one instance", lambda hosts: sorted(hosts) == [1002])
    with checks.holds("a subscriber is told when the last instance is deregistered"):
        await provider.deregister_instance(DeregisterInstanceParam(service_name="py-push", ip=IP, port=1002))
        await watch.until("an empty list", lambda hosts: not hosts)
        assert listed("py-push") == {}
    with checks.holds("an unsubscribed consumer is told nothing more"):
        await consumer.unsubscribe(subscription)
        told = watch.told
        witness = Watch()
        await provider.subscribe(SubscribeServiceParam(service_name="py-push", subscribe_callback=witness.hear))
        await provider.register_instance(instance("py-push", 1002))
        await witness.until("the witness is told", lambda hosts: 1002 in hosts)
        assert watch.told == told, f"{watch.told - told} pushes"


async def batches(provider, consumer):
    batch = lambda *ports: BatchRegisterInstanceParam(
        service_name="py-batch", instances=[instance("py-batch", port) for port in ports]
    )
    with checks.holds("a batch registers all its instances at once"):
        assert await provider.batch_register_instances(batch(1, 2, 3))
        await until_async("three", PUSHED, lambda: sorted(listed("py-batch")) == [1, 2, 3])
    with checks.holds("a batch replaces the one before"):
        assert await provider.batch_register_instances(batch(2, 4))
        await until_async("two and four", PUSHED, lambda: sorted(listed("py-batch")) == [2, 4])
    with checks.holds("a batch deregistration takes away what it names"):
        assert await provider.batch_deregister_instances(batch(4))
        await until_async("two", PUSHED, lambda: sorted(listed("py-batch")) == [2])


async def endings(provider, consumer):
    with checks.holds("an idle connection keeps its instance for 35 s"):
        await provider.register_instance(instance("py-idle", 1003))
        end = time.monotonic() + 35
        while time.monotonic() < end:
            assert listed("py-idle")[1003]["healthy"]
            await asyncio.sleep(0.2)
    with checks.holds("a closed client takes its instances with it"):
        leaving = await connect()
        await leaving.register_instance(instance("py-leave", 1004))
        await until_async("its instance", PUSHED, lambda: 1004 in listed("py-leave"))
        await leaving.shutdown()
        await until_async("an empty list", PUSHED, lambda: not listed("py-leave"))


async def other_sdk(provider, consumer):
    command = "" if TLS else os.environ.get("NODE_WATCH")
    sentence = "the Node SDK is told over UDP of what the Python SDK does over gRPC"
    if not command:
        checks.skip(sentence, "the Node SDK does not take part")
        return
    with checks.holds(sentence):
        node = subprocess.Popen([*command.split(), "py-node"], stdout=subprocess.PIPE, text=True)
        line = lambda: asyncio.wait_for(asyncio.to_thread(node.stdout.readline), PUSHED)
        try:
            same((await line()).strip(), "watching")
            await consumer.register_instance(instance("py-node", 1005))
            same((await line()).strip(), "1005")
            await provider.register_instance(instance("py-node", 1008))
            same((await line()).strip(), "1005 1008")
            # Not the last one: the Node SDK takes an empty list for a mistake and keeps what it had.
            await provider.deregister_instance(DeregisterInstanceParam(service_name="py-node", ip=IP, port=1008))
            same((await line()).strip(), "1005")
        finally:
            node.kill()


async def restarts(provider, consumer):
    sentences = [
        "after kill -9 and restart a reader never misses an instance",
        "after a restart without data the SDK registers again",
        "after a restart without data the subscription is told of changes again",
    ]
    if not CONTROL:
        for sentence in sentences:
            checks.skip(sentence, "the server is not ours to restart")
        return
    watch = Watch()
    await provider.register_instance(instance("py-redo", 1006))
    await consumer.subscribe(SubscribeServiceParam(service_name="py-redo", subscribe_callback=watch.hear))
    await until_async("the instance", PUSHED, lambda: 1006 in listed("py-redo"))
    with checks.holds(sentences[0]):
        await asyncio.sleep(1)  # the checkpoint is at most 500 ms behind
        await asyncio.to_thread(server, "restart")
        answers = 0
        end = time.monotonic() + 5
        while time.monotonic() < end:
            answer = await asyncio.to_thread(listed_or_starting, "py-redo")
            assert answer is None or 1006 in answer, f"answer {answers} was {answer}"
            answers += answer is not None
            await asyncio.sleep(0.01)
        assert answers > 0
    with checks.holds(sentences[1]):
        await asyncio.to_thread(server, "empty")
        await until_async("the instance", REDONE, lambda: 1006 in (listed_or_starting("py-redo") or {}))
    with checks.holds(sentences[2]):
        newcomer = await connect()
        await newcomer.register_instance(instance("py-redo", 1007))
        await watch.until("both instances", lambda hosts: sorted(hosts) == [1006, 1007], REDONE)


async def main():
    with checks.holds("a client connects, negotiates and finds the server healthy"):
        provider, consumer = await connect(), await connect()
        assert await provider.server_health()
    if checks.failed:
        return
    for part in [configs, reading, pushes, batches, endings, other_sdk, restarts]:
        with checks.comes_to_its_end(part.__name__):
            await part(provider, consumer)


asyncio.run(main())
checks.close()
