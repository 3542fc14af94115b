"""Two regions, unmodified SDKs: what the Python SDK does in east is seen in west by the Node SDK, by curl and by callers."""

import asyncio
import json
import os
import re
import subprocess
import urllib.request

from checks import Checks, same, until, until_async
from federation import REGIONS, Federation, instance, sdk

checks = Checks("two regions")
HOME = os.environ["HOME"]
SERVICE = "crossing"
# How soon a change must have crossed; failover visibility shows other regions' instances after 2 s without own ones.
CROSSED = 10.0
# How soon a silent region must be marked.
MARKED = 15.0


def get(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


def listed(federation, region):
    """What a plain HTTP reader in the region is told, by port."""
    address = federation.address(region)
    page = json.loads(get(f"http://{address}/nacos/v1/ns/instance/list?serviceName={SERVICE}"))
    return {host["port"]: host for host in page["hosts"]}


def standing(federation, region, origin):
    """How the origin stands as the region's registry tells its scraper: 0 live, 1 suspect, 2 frozen."""
    page = get(f"http://{federation.address(region)}/metrics")
    found = re.search(rf'^landbridge_registry_origin_standing{{origin="{origin}"}} (\d)', page, re.M)
    return found and int(found.group(1))


def call(federation):
    """Whether a call through west's gateway reaches the instance."""
    try:
        return get(f"http://{federation.address('west', 20)}/svc/{SERVICE}/") == "hello"
    except OSError:
        return False


async def crossing(federation):
    from v2.nacos import DeregisterInstanceParam, RegisterInstanceParam

    port, address = instance(), {"service_name": SERVICE, "ip": "127.0.0.1"}
    client = await sdk(federation.address("east"), "east")
    west = lambda: listed(federation, "west")
    node = None
    if os.environ.get("NODE_WATCH"):
        environment = {**os.environ, "SERVER": federation.address("west")}
        words = [*os.environ["NODE_WATCH"].split(), SERVICE]
        node = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
    line = lambda: asyncio.wait_for(asyncio.to_thread(node.stdout.readline), CROSSED)
    try:
        if node:
            same((await line()).strip(), "watching")
        with checks.holds("curl in west sees what the Python SDK registered in east, with its origin"):
            await client.register_instance(RegisterInstanceParam(**address, port=port))
            host = (await until_async("the instance in west", CROSSED, west))[port]
            same(host["metadata"].get("landbridge.origin"), "east")
        if node:
            with checks.holds("the Node SDK in west is told of it"):
                same((await line()).strip(), str(port))
        with checks.holds("a call through west's gateway reaches it"):
            await until_async("an answer", CROSSED, lambda: asyncio.to_thread(call, federation))
        with checks.holds("deregistering takes it away in west too"):
            await client.deregister_instance(DeregisterInstanceParam(**address, port=port))
            await until_async("an empty list in west", CROSSED, lambda: not west())
            await until_async("no answer", CROSSED, lambda: not call(federation))
        await client.register_instance(RegisterInstanceParam(**address, port=port))
        await until_async("the instance in west", CROSSED, west)
    finally:
        if node:
            node.kill()
    return client


async def silence(federation, _client):
    def stays():
        """The instance is in west, whatever happens in east."""
        assert listed(federation, "west"), "west lost the instance"
        return True

    frozen = lambda: stays() and standing(federation, "west", "east") == 2
    live = lambda: stays() and standing(federation, "west", "east") == 0
    with checks.holds("killing east's bridge takes nothing away in west and marks east stale within 15 s"):
        federation.kill("east", "bridge")
        await until_async("east is frozen", MARKED, frozen)
    with checks.holds("with east stale a call through west's gateway still reaches the instance"):
        await until_async("an answer", CROSSED, lambda: asyncio.to_thread(call, federation))
    with checks.holds("when the bridge is back east is live again, and nothing blinked"):
        federation.start("east", "bridge")
        await until_async("east is live", 30, live)
    with checks.holds("killing east altogether takes nothing away in west and marks east stale within 15 s"):
        federation.kill("east", "bridge")
        federation.kill("east", "registry")
        await until_async("east is frozen", MARKED, frozen)
    with checks.holds("with every registry down west's gateway still routes"):
        federation.kill("west", "bridge")
        federation.kill("west", "registry")
        until("an answer", CROSSED, lambda: call(federation))


async def main():
    federation = Federation(os.environ["LANDBRIDGE"], f"{HOME}/federation")
    try:
        with checks.holds("two regions start, and their policies let everything cross"):
            for region in REGIONS:
                federation.start(region, "registry")
                federation.start(region, "bridge")
            federation.start("west", "gateway")
            for region in REGIONS:
                other = REGIONS[1 - REGIONS.index(region)]
                federation.run("--at", federation.address(region), "policy", "export", other, "--allow", "*/*/*")
            live = lambda: all(standing(federation, *pair) == 0 for pair in [("east", "west"), ("west", "east")])
            until("both regions see each other live", 30, live)
        if not checks.failed:
            with checks.comes_to_its_end("crossing"):
                client = await crossing(federation)
                with checks.comes_to_its_end("silence"):
                    await silence(federation, client)
    finally:
        federation.close()


asyncio.run(main())
checks.close()
