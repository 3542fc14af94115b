"""Registers one service and asks for another at several servers again and again, and prints the ports of every list."""

import os
import sys
import threading

import nacos

own, port, watched = sys.argv[1:4]
client = nacos.NacosClient(os.environ["SERVERS"])
lease = dict(time.split("=") for time in os.environ["LEASE"].split(","))
client.add_naming_instance(own, "10.6.0.5", int(port), metadata=lease, heartbeat_interval=2)
print("registered", flush=True)
while not threading.Event().wait(1):
    try:
        hosts = client.list_naming_instance(watched)["hosts"]
    except Exception:  # the next question goes to the next server
        continue
    print("told", *sorted(host["port"] for host in hosts), flush=True)
