#!/usr/bin/env python3
"""Prints how the peers of a run did.

usage: report.py REPORT...

A REPORT is what fuzzingclient.sh or fuzzingserver.sh was given; several are
printed as one. There is a line for each section, then every case that is not
good, with the reason. The exit status is 1 if there is such a case.

Good is OK, NON-STRICT or INFORMATIONAL. Not so in STRICT, where NON-STRICT says
that bad UTF-8 was seen later than at its first impossible octet.
"""

import json
import sys
from collections import Counter, defaultdict
from itertools import groupby
from pathlib import Path

GOOD = {"OK", "NON-STRICT", "INFORMATIONAL"}
STRICT = {"6.4.1", "6.4.2", "6.4.3", "6.4.4"}
MISSING = {"behavior": "MISSING", "behaviorClose": "MISSING", "duration": 0}


def by_number(case):
    return [int(part) for part in case.split(".")]


def counts(results, key):
    tally = Counter(result[key] for result in results)
    return ", ".join(f"{name} {tally[name]}" for name in sorted(tally, key=lambda name: (name not in GOOD, -tally[name])))


def row(section, results):
    seconds = sum(result["duration"] for result in results) / 1000
    print(f"{section:>7} {len(results):>5} {seconds:>8.1f}  {counts(results, 'behavior'):<44}  close: {counts(results, 'behaviorClose')}")


def verdict(result):
    verdict = f"{result['behavior']}, close: {result['behaviorClose']}"
    if "detail" in result:
        detail = json.loads(result["detail"].read_text())
        verdict += f" ({detail['result']} {detail['resultClose']}.)"
    return verdict


def good(case, result):
    verdicts = {result["behavior"], result["behaviorClose"]}
    return verdicts <= GOOD and not (case in STRICT and "NON-STRICT" in verdicts)


def subsection(case):
    return case.rpartition(".")[0]


def shortened(cases, expected):
    """A subsection that is here as a whole is named once, as a pattern."""
    whole = Counter(map(subsection, expected))
    for name, members in groupby(cases, subsection):
        members = list(members)
        yield from [f"{name}.*"] if len(members) == whole[name] > 1 else members


def show(agent, expected, results):
    results = {case: results.get(case, MISSING) for case in expected}
    sections = defaultdict(list)
    for case, result in results.items():
        sections[case.split(".")[0]].append(result)
    print(f"{agent}\n{'section':>7} {'cases':>5} {'seconds':>8}")
    for section, of_section in sections.items():
        row(section, of_section)
    row("all", results.values())
    lenient = [case for case, result in results.items() if result["behavior"] == "NON-STRICT"]
    if lenient:
        print("NON-STRICT:", *lenient)
    bad = defaultdict(list)
    for case, result in results.items():
        if not good(case, result):
            bad[verdict(result)].append(case)
    for why, cases in bad.items():
        print(f"{why}\n   ", *shortened(cases, expected))
    return bad


def main():
    reports = [Path(argument) for argument in sys.argv[1:]]
    if not reports:
        sys.exit(__doc__)
    expected = {case for report in reports for case in (report / "cases.txt").read_text().split()}
    agents = defaultdict(dict)
    for index in (index for report in reports for index in report.glob("*/index.json")):
        for agent, results in json.loads(index.read_text()).items():
            for case, result in results.items():
                agents[agent][case] = result | {"detail": index.parent / result["reportfile"]}
    if not agents:
        sys.exit("nothing was reported: see */wstest.log in " + ", ".join(map(str, reports)))
    bad = [show(agent, sorted(expected, key=by_number), results) for agent, results in agents.items()]
    sys.exit(1 if any(bad) else 0)


main()
