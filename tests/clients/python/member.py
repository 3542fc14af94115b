"""Registers one service and subscribes to another at several servers, and prints the ports of every list that it is told."""

import asyncio
import os
import sys

from federation import sdk
from v2.nacos import RegisterInstanceParam, SubscribeServiceParam


async def main(own, port, watched):
    client = await sdk(os.environ["SERVERS"], "member")

    async def told(hosts):
        print("told", *sorted(host.port for host in hosts), flush=True)

    await client.subscribe(SubscribeServiceParam(service_name=watched, subscribe_callback=told))
    lease = dict(time.split("=") for time in os.environ["LEASE"].split(","))
    await client.register_instance(RegisterInstanceParam(service_name=own, ip="10.6.0.4", port=int(port), metadata=lease))
    print("registered", flush=True)
    await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:4]))
