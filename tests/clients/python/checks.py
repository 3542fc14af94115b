"""Says of each sentence whether it held, and asks the server over plain HTTP where an SDK must not be its own witness."""

import contextlib
import json
import os
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

SERVER = os.environ["SERVER"]
# The folder of an authority and a client's certificate, where the server speaks TLS only.
TLS = os.environ.get("TLS", "")
# Who the server asks for, if it does.
USER = os.environ.get("NACOS_USER")
PASSWORD = os.environ.get("NACOS_PASSWORD")
CONTROL = os.environ.get("SERVER_CONTROL", "")
# How soon a push must arrive. Polling SDKs ask again every 10 s, so that what comes earlier was pushed.
PUSHED = 5.0
# How soon an SDK must have found a restarted server and said everything again.
REDONE = 60.0
REST = 0.02


class Checks:
    """Counts sentences that held and sentences that did not."""

    def __init__(self, sdk):
        self.sdk, self.passed, self.failed, self.skipped = sdk, 0, 0, 0

    @contextlib.contextmanager
    def holds(self, sentence):
        """One sentence: it holds if nothing is raised."""
        try:
            yield
        except Exception as why:  # every reason is a reason to fail this one sentence and go on
            self.failed += 1
            reason = " ".join(str(why).split()) or type(why).__name__
            print(f"{self.sdk}: {sentence} ... FAILED\n    {reason}", flush=True)
        else:
            self.passed += 1
            print(f"{self.sdk}: {sentence} ... ok", flush=True)

    @contextlib.contextmanager
    def comes_to_its_end(self, part):
        """What breaks between two sentences fails too, but says nothing while all is well."""
        try:
            yield
        except Exception as why:
            with self.holds(f"the part {part} comes to its end"):
                raise why

    def skip(self, sentence, why):
        self.skipped += 1
        print(f"{self.sdk}: {sentence} ... skipped: {why}", flush=True)

    def close(self):
        print(f"counts {self.passed} {self.failed} {self.skipped}", flush=True)
        sys.stdout.flush()
        os._exit(1 if self.failed else 0)  # SDKs leave threads behind that would hold the process


def same(got, expected):
    """Fails with both values when they differ."""
    assert got == expected, f"{got!r} is not {expected!r}"


def until(what, seconds, ask):
    """Asks until the answer is true, and returns it."""
    end = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what}; last answer {answer!r}")
        time.sleep(REST)


async def until_async(what, seconds, ask):
    """As `until`, without holding up the SDK's own event loop."""
    import asyncio

    end = time.monotonic() + seconds
    while True:
        answer = ask()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what}; last answer {answer!r}")
        await asyncio.sleep(REST)


def http(method, path, **query):
    """The server's answer as text."""
    if USER:
        query |= {"username": USER, "password": PASSWORD}
    address = f"{'https' if TLS else 'http'}://{SERVER}/nacos{path}?{urllib.parse.urlencode(query)}"
    context = ssl.create_default_context(cafile=f"{TLS}/ca.pem") if TLS else None
    if TLS:
        context.load_cert_chain(f"{TLS}/client.pem", f"{TLS}/client.key")
    request = urllib.request.Request(address, method=method)
    with urllib.request.urlopen(request, timeout=5, context=context) as answer:
        return answer.read().decode()


def listed(service, **query):
    """What a plain HTTP reader is told about a service, by port."""
    page = json.loads(http("GET", "/v1/ns/instance/list", serviceName=service, **query))
    return {host["port"]: host for host in page["hosts"]}


def listed_or_starting(service):
    """As `listed`; nothing while the server is down or says that it is starting."""
    try:
        return listed(service)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return None


def server(verb):
    """Lets the server under test be killed or restarted."""
    subprocess.run([CONTROL, verb], check=True, timeout=60)
