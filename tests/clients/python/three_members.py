"""A region of three members, each of which is killed once under unmodified SDKs: they reconnect, say all again, and hear on. Then
each connection is sent away by an operator's call, and comes back.

MEMBER_CLIENTS names the programs, one a line: NAME, a tab, and the words that start it. Each registers a service of its own and
subscribes to another one, and prints what it is told. One that holds no connection beats on at the others. That they list it says
nothing at first, for they would list the dead member's records too: an orphan with the same lease, which nobody beats for, has to
be gone by then.
"""

import json
import os
import pathlib
import shlex
import shutil
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request

from checks import Checks, until
from federation import answers, free_base

HOME = os.environ["HOME"]
# SDKs that hold no connection.
BEATING = ("java 1", "go 1", "node", "python-http")
WATCHED = "member-watched"
MEMBERS = [1, 2, 3]
# A member that starts waits for the feeds of the dead; a busy machine takes its time.
READY = 120.0
# How soon an SDK must have found another member and said everything again.
REDONE = 60.0
# The lease of whoever beats, as metadata: gone after 15 s without a beat. LEASED is how soon the orphan must be gone.
LEASE = {"preserved.heart.beat.interval": "2000", "preserved.heart.beat.timeout": "12000", "preserved.ip.delete.timeout": "15000"}
LEASED = 120.0


class Region:
    """Three members as processes."""

    def __init__(self, program, folder):
        self.program, self.folder = program, pathlib.Path(folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        listened = [10 * at + offset for at in range(3) for offset in (0, 1000, 1001, -1000)]
        self.base, self.running = free_base(range(31000, 34000, 40), listened), {}
        words = ["certs", str(self.folder / "certs"), "--deployment", "trial", "--region", "east", "--each", "3"]
        subprocess.run([program, *words], check=True, capture_output=True, timeout=30)
        members = ", ".join(f"{member}@{self.address(member)}" for member in MEMBERS)
        for member in MEMBERS:
            stem = self.folder / "certs" / "east" / f"registry-{member}"
            page = f"""region = "east"
deployment = "trial"
member = {member}
data_dir = "{self.folder}/data-{member}"
[listen]
http_port = {self.port(member)}
[cluster]
members = "{members}"
[tls]
certificate = "{stem}.pem"
key = "{stem}.key"
authority = "{self.folder}/certs/ca.pem"
"""
            (self.folder / f"{member}.toml").write_text(page)

    def port(self, member):
        return self.base + 10 * (member - 1)

    def address(self, member):
        return f"127.0.0.1:{self.port(member)}"

    def start(self, *members):
        for member in members:
            with open(self.folder / f"{member}.log", "ab") as log:
                words = [self.program, "registry", "-c", str(self.folder / f"{member}.toml")]
                self.running[member] = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        for member in members:
            url = f"http://{self.address(member)}/readyz"
            until(f"member {member} is ready, see {self.folder}/{member}.log", READY, lambda: answers(url))

    def kill(self, member):
        process = self.running.pop(member)
        process.kill()
        process.wait()

    def ask(self, member, method, path):
        request = urllib.request.Request(f"http://{self.address(member)}/nacos{path}", method=method)
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.read().decode()

    def answer(self, member, path):
        try:
            return json.loads(self.ask(member, "GET", path))
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return {}

    def connected(self, member, service):
        """The connections of this very member that publish the service, by their ids."""
        rows = self.answer(member, f"/v2/ns/client/service/publisher/list?serviceName={service}").get("data") or []
        return {row["clientId"] for row in rows if "#" not in row["clientId"]}

    def register(self, member, service, port, **more):
        query = urllib.parse.urlencode({"serviceName": service, "ip": "10.6.1.1", "port": port, **more})
        self.ask(member, "POST", f"/v1/ns/instance?{query}")

    def lists(self, member, service):
        return bool(self.answer(member, f"/v1/ns/instance/list?serviceName={service}").get("hosts"))

    def close(self):
        for process in self.running.values():
            process.kill()


class Client:
    """One SDK's program, and what it said."""

    def __init__(self, name, words, port, servers):
        self.name, self.service = name, f"member-{name.replace(' ', '-')}"
        self.checks, self.told = Checks(f"{name} at three members"), set()
        lease = ",".join(f"{name}={value}" for name, value in LEASE.items())
        environment = {**os.environ, "SERVERS": servers, "LEASE": lease, "HOME": f"{HOME}/{self.service}"}
        os.makedirs(environment["HOME"], exist_ok=True)
        log = open(f"{HOME}/{self.service}.log", "wb")
        words = [*shlex.split(words), self.service, str(port), WATCHED]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            if line.startswith("told"):
                self.told |= set(line.split()[1:])

    def is_at(self, region, members):
        """Whether one of these members has its connection, or all of them list it if it holds none."""
        if self.name.startswith(BEATING):
            return all(region.lists(member, self.service) for member in members)
        return any(region.connected(member, self.service) for member in members)

    def connections(self, region):
        """Where its connections are: their ids by member."""
        return {(member, one) for member in MEMBERS for one in region.connected(member, self.service)}

    def heard(self, port):
        """Ever: nobody beats for what is registered to be told of, and it may be gone again."""
        return str(port) in self.told


def sent_away(region, clients):
    """Those that ignore it are closed a little later, and come back as after any loss of their connection."""
    before = {}
    for client in clients:
        before[client] = client.connections(region)
        for member, connection in before[client]:
            query = urllib.parse.urlencode({"connectionId": connection})
            region.ask(member, "GET", f"/v2/core/loader/reloadClient?{query}")
    for client in clients:
        with client.checks.holds("connects anew when it is sent away, and registers again"):
            assert before[client], "it had no connection"
            until("another connection", REDONE, lambda: (now := client.connections(region)) and not now & before[client])
            until("its instance", REDONE, lambda: all(region.lists(member, client.service) for member in MEMBERS))
    region.register(1, WATCHED, 7010)
    for client in clients:
        with client.checks.holds("is told of what comes after it was sent away"):
            until(f"the port, told was {client.told!r}", REDONE, lambda: client.heard(7010))


def main():
    region = Region(os.environ["LANDBRIDGE"], f"{HOME}/region")
    checks, clients = Checks("three members"), []
    try:
        with checks.holds("a region of three members forms"):
            region.start(*MEMBERS)
        servers = ",".join(region.address(member) for member in MEMBERS)
        for at, line in enumerate(os.environ["MEMBER_CLIENTS"].splitlines() if not checks.failed else []):
            name, words = line.split("\t")
            clients.append(Client(name, words, 7100 + at, servers))
        for client in clients:
            with client.checks.holds("registers at one of them"):
                until("the instance", REDONE, lambda: client.is_at(region, MEMBERS))
        for dying in MEMBERS if clients else []:
            left = [member for member in MEMBERS if member != dying]
            orphans = f"member-orphans-{dying}"
            region.register(dying, orphans, 7000, metadata=json.dumps(LEASE))
            until("the orphan", REDONE, lambda: all(region.lists(member, orphans) for member in left))
            region.kill(dying)
            region.register(left[0], WATCHED, 7000 + dying)
            with checks.holds(f"the others drop what nobody beats for after member {dying} was killed"):
                until("no orphan", LEASED, lambda: not any(region.lists(member, orphans) for member in left))
            for client in clients:
                with client.checks.holds(f"is at the others after member {dying} was killed"):
                    until("the instance", REDONE, lambda: client.is_at(region, left))
                with client.checks.holds(f"is told of what comes after member {dying} was killed"):
                    until(f"the port, told was {client.told!r}", REDONE, lambda: client.heard(7000 + dying))
            region.start(dying)
        sent_away(region, [client for client in clients if not client.name.startswith(BEATING)])
    finally:
        for client in clients:
            client.process.kill()
        region.close()
    for client in clients:
        checks.passed += client.checks.passed
        checks.failed += client.checks.failed
        print(f"{client.name} at three members: {client.checks.passed} passed, {client.checks.failed} failed", flush=True)
    checks.close()


main()
