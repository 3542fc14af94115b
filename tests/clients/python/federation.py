"""Starts two regions as real processes on loopback: certificates, pages, registries, bridges and one gateway."""

import asyncio
import http.server
import os
import pathlib
import shutil
import socket
import subprocess
import threading
import urllib.error
import urllib.request

from checks import until

REGIONS = ["east", "west"]
# Ports that each region listens on, so far behind its first.
OFFSETS = [0, 20, 21, 22, 23, *range(40, 50), 1000, 1001]


def free_base(bases, offsets):
    """The first of these ports from which on nobody listens on any of the ports so far behind it."""
    for base in bases:
        try:
            for offset in offsets:
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", base + offset))
            return base
        except OSError:
            continue
    raise AssertionError("no free ports")


def answers(url):
    """Whether somebody says 2xx there."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status < 300
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def instance():
    """A program that can be called over HTTP; its port."""

    class Answer(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.send_response(200)
            self.send_header("content-length", "5")
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


async def sdk(address, name):
    """The Python SDK at a registry; it keeps its logs and its cache under that name."""
    from v2.nacos import ClientConfigBuilder, NacosNamingService

    home = os.environ["HOME"]
    builder = ClientConfigBuilder().server_address(address).log_level("ERROR")
    config = builder.log_dir(f"{home}/logs-{name}").cache_dir(f"{home}/cache-{name}").build()
    return await asyncio.wait_for(NacosNamingService.create_naming_service(config), 20)


class Federation:
    """East and west, each with a registry and a bridge; west has a gateway too."""

    def __init__(self, program, folder, through_gateway=False):
        self.program, self.folder, self.through_gateway = program, pathlib.Path(folder), through_gateway
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        begin, self.running = 28000 if through_gateway else 25000, {}
        listened = [100 * at + offset for at in range(len(REGIONS)) for offset in OFFSETS]
        self.base = free_base(range(begin, begin + 3000, 200), listened)
        regions = [word for region in REGIONS for word in ("--region", region)]
        self.run("certs", str(self.folder / "certs"), "--deployment", "trial", *regions)
        for region in REGIONS:
            self.write(region)

    def port(self, region, offset=0):
        return self.base + 100 * REGIONS.index(region) + offset

    def address(self, region, offset=0):
        return f"127.0.0.1:{self.port(region, offset)}"

    def run(self, *words):
        done = subprocess.run([self.program, *words], capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, f"landbridge {' '.join(words)}: {done.stderr}"
        return done.stdout

    def write(self, region):
        other = REGIONS[1 - REGIONS.index(region)]

        def tls(role):
            stem = self.folder / "certs" / region / f"{role}-1"
            authority = self.folder / "certs" / "ca.pem"
            return f'[{"registry." if role == "gateway" else ""}tls]\ncertificate = "{stem}.pem"\nkey = "{stem}.key"\nauthority = "{authority}"\n'

        naming, presence = "", ""
        if self.through_gateway:
            first = self.port(region, 40)
            naming = f'[naming]\nvisibility = "gateway"\nservice_ports = "{first}-{first + 9}"\n'
            presence = f'[presence]\naddress = "127.0.0.1"\nregistries = ["{self.address(region)}"]\nlisten = "127.0.0.1"\n'
        pages = {
            "registry": f"""region = "{region}"
deployment = "trial"
data_dir = "{self.folder}/{region}-registry"
[listen]
http_port = {self.port(region)}
{naming}""",
            "bridge": f"""region = "{region}"
registries = ["{self.address(region, 1001)}"]
data = "{self.folder}/{region}-bridge"
[feeds]
listen = "{self.address(region, 22)}"
[admin]
listen = "{self.address(region, 23)}"
[peers]
{other} = ["{self.address(other, 22)}"]
""",
            "gateway": f"""region = "{region}"
zone = "a"
[admin]
listen = "{self.address(region, 21)}"
[[listeners]]
name = "calls"
listen = "{self.address(region, 20)}"
by_path = true
{presence}[registry]
addresses = ["{self.address(region, 1001)}"]
keepsake = "{self.folder}/{region}-gateway"
""",
        }
        for role, page in pages.items():
            (self.folder / f"{region}-{role}.toml").write_text(page + tls(role))

    def start(self, region, role):
        name = f"{region}-{role}"
        with open(self.folder / f"{name}.log", "ab") as log:
            words = [self.program, role, "-c", str(self.folder / f"{name}.toml")]
            self.running[name] = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        offset = {"registry": 0, "bridge": 23, "gateway": 21}[role]
        url = f"http://{self.address(region, offset)}/readyz"
        until(f"{name} is ready, see {self.folder}/{name}.log", 30, lambda: answers(url))

    def kill(self, region, role):
        """As a power failure would: no word of farewell."""
        process = self.running.pop(f"{region}-{role}")
        process.kill()
        process.wait()

    def close(self):
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
