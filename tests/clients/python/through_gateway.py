"""Two regions, unmodified SDKs: a consumer in west calls what only east runs, through west's own gateway."""

import asyncio
import os
import socket
import socketserver
import threading
import urllib.request

from checks import Checks, same, until, until_async
from federation import REGIONS, Federation, instance, sdk

checks = Checks("through gateway")
HOME = os.environ["HOME"]
WEB, STORE = "web-of-east", "store-of-east"
# How soon a change must have crossed, and its port be given and opened.
CROSSED = 20.0


def store():
    """A program that speaks something else, and speaks first."""

    class Greet(socketserver.StreamRequestHandler):
        def handle(self):
            self.wfile.write(b"220 ready\r\n")
            for line in self.rfile:
                self.wfile.write(b"250 " + line)

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greet)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


async def chosen(consumer, service, ports):
    """The one address that the SDK would call: not the far one."""
    from v2.nacos import ListInstanceParam

    hosts = await consumer.list_instances(ListInstanceParam(service_name=service, healthy_only=True))
    found = [(host.ip, host.port) for host in hosts]
    return found[0] if len(found) == 1 and found[0][1] in ports else None


def get(address):
    try:
        with urllib.request.urlopen(f"http://{address[0]}:{address[1]}/", timeout=5) as answer:
            return answer.read()
    except OSError:
        return None


def talk(address):
    """One conversation in which the server speaks first."""
    try:
        with socket.create_connection(address, timeout=5) as line:
            words = line.makefile("rwb")
            greeting = words.readline()
            words.write(b"noop\r\n")
            words.flush()
            return greeting + words.readline()
    except OSError:
        return None


async def through(federation):
    from v2.nacos import RegisterInstanceParam

    provider, consumer = await sdk(federation.address("east"), "east"), await sdk(federation.address("west"), "west")
    running = {WEB: instance(), STORE: store()}
    given = range(federation.port("west", 40), federation.port("west", 50))
    for service, port in running.items():
        await provider.register_instance(RegisterInstanceParam(service_name=service, ip="127.0.0.1", port=port))
    where = {}
    with checks.holds("the Python SDK in west is answered its own gateway, at a port for each service"):
        for service in running:
            wanted = lambda: chosen(consumer, service, given)
            where[service] = await until_async(f"{service} in west", CROSSED, wanted)
        same(len(set(where.values())), 2)
    with checks.holds("an HTTP call to that address is answered from east"):
        until("an answer", CROSSED, lambda: get(where[WEB]) == b"hello")
    with checks.holds("a protocol that is not HTTP, whose server speaks first, passes too"):
        until("a conversation", CROSSED, lambda: talk(where[STORE]) == b"220 ready\r\n250 noop\r\n")
    with checks.holds("the ports stay when west's registry is killed and started again"):
        federation.kill("west", "registry")
        same(get(where[WEB]), b"hello")
        federation.start("west", "registry")
        until("an answer", CROSSED, lambda: get(where[WEB]) == b"hello")
        again = lambda: chosen(consumer, WEB, given)
        same(await until_async("the service in west", 60, again), where[WEB])


async def main():
    federation = Federation(os.environ["LANDBRIDGE"], f"{HOME}/federation", through_gateway=True)
    try:
        with checks.holds("two regions start whose clients go through gateways"):
            for region in REGIONS:
                federation.start(region, "registry")
                federation.start(region, "bridge")
            federation.start("west", "gateway")
            federation.run("--at", federation.address("east"), "policy", "export", "west", "--allow", "*/*/*")
        if not checks.failed:
            with checks.comes_to_its_end("through"):
                await through(federation)
    finally:
        federation.close()


asyncio.run(main())
checks.close()
