"""Asks a server what calls.txt says and prints each call with its status and its answer; what differs by time or place is left out.

record.py http://HOST:PORT > nacos-VERSION.txt
"""

import pathlib
import sys
import time
import urllib.error
import urllib.request


def answer(server, method, path):
    request = urllib.request.Request(f"{server}/nacos{path}", method=method, data=b"" if method != "GET" else None)
    request.add_header("content-type", "application/x-www-form-urlencoded")
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read()


def main():
    for line in pathlib.Path(__file__).with_name("calls.txt").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        method, path = line.split(" ", 1)
        status, body = answer(sys.argv[1], method, path)
        if method != "GET":
            time.sleep(0.5)  # Nacos shows a change a moment after it has answered it
        text = body.decode().replace("\n", "\\n")
        print(f"{line}\n  {status} {text}")


main()
