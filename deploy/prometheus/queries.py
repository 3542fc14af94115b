"""Asks a live Prometheus every question of the dashboard, and holds what it scraped against METRICS.md.

usage: queries.py PROMETHEUS_URL TARGETS    with TARGETS the number of processes that must be scraped
"""

import json
import pathlib
import re
import sys
import time
import urllib.parse
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
PROMETHEUS, TARGETS = sys.argv[1], int(sys.argv[2])
# A rate needs a few scrapes, and what a rare event counts needs that event.
DEADLINE = 120.0
QUIET = "Empty while all is well."


def ask(path, **query):
    address = f"{PROMETHEUS}/api/v1/{path}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(address, timeout=10) as answer:
        return json.load(answer)["data"]


def until(what, question):
    """Asks until the answer is true; None when the deadline has passed."""
    end = time.monotonic() + DEADLINE
    while True:
        answer = question()
        if answer or time.monotonic() > end:
            return answer
        time.sleep(0.25)


def panels():
    """Every panel's title, whether it may be empty, and its queries with the dashboard's variables filled in."""
    dashboard = json.loads((HERE.parent / "grafana" / "landbridge.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"].replace("$region", ".*").replace("$__rate_interval", "30s")
            yield panel["title"], QUIET in panel["description"], query


def table():
    """Name and type of every metric in METRICS.md."""
    rows = re.findall(r"^\| `(landbridge_\w+)` \| (\w+) \|", (HERE / "METRICS.md").read_text(), re.M)
    return dict(rows)


def unlisted():
    """Metrics that were scraped and are not in the table, or have another type there."""
    listed = table()
    for name, meanings in ask("metadata").items():
        kind = meanings[0]["type"]
        if name.startswith("landbridge_") and listed.get(name) != kind:
            yield f"{name} ({kind})"


def main():
    passed = failed = 0

    def say(sentence, holds, why=""):
        nonlocal passed, failed
        passed, failed = passed + bool(holds), failed + (not holds)
        print(f"prometheus: {sentence} ... {'ok' if holds else 'FAILED'}{'' if holds else f'{chr(10)}    {why}'}", flush=True)

    up = lambda: len(ask("query", query='up{job="landbridge"} == 1')["result"])
    until("targets", lambda: up() >= TARGETS)
    say(f"all {TARGETS} processes are scraped", up() >= TARGETS, f"{up()} are")

    pending = list(panels())
    answered = []
    bare = lambda query: ask("query", query=query)["result"]

    def round_of_questions():
        for question in list(pending):
            if bare(question[2]):
                pending.remove(question)
                answered.append(question)
        return all(quiet for _, quiet, _ in pending)

    until("answers", round_of_questions)
    for title, _, query in answered:
        say(f"the panel \"{title}\" has an answer", True)
    for title, quiet, query in pending:
        if quiet:
            say(f"the panel \"{title}\" asks something that Prometheus understands", True)
        else:
            say(f"the panel \"{title}\" has an answer", False, query)

    strangers = sorted(unlisted())
    say("METRICS.md lists every scraped metric with its type", not strangers, ", ".join(strangers))
    rules = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
    broken = [f"{rule['name']}: {rule.get('lastError', '')}" for rule in rules if rule["health"] == "err"]
    say(f"all {len(rules)} alerts are evaluated", rules and not broken, "; ".join(broken))
    print(f"prometheus: {passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
