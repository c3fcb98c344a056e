#!/usr/bin/env python3
"""Prints how the peers of a run did.

usage: report.py [--name NAME] REPORT...

A REPORT is what fuzzingclient.sh or fuzzingserver.sh was given; several are
printed as one. There is a line for each section, then every NON-STRICT case and
every case that is not good, with its reason, then the sum. The exit status is 1
if a case is not good.

Good is OK, NON-STRICT or INFORMATIONAL. Not so in STRICT, where NON-STRICT says
that bad UTF-8 was seen later than at its first impossible octet.
"""

import json
import sys
from collections import Counter, defaultdict
from itertools import groupby
from pathlib import Path

GOOD = ["OK", "NON-STRICT", "INFORMATIONAL"]
STRICT = {"6.4.1", "6.4.2", "6.4.3", "6.4.4"}
MISSING = {"behavior": "MISSING", "behaviorClose": "MISSING", "duration": 0}


def by_number(case):
    return [int(part) for part in case.split(".")]


def good(case, result):
    verdicts = {result["behavior"], result["behaviorClose"]}
    return verdicts <= set(GOOD) and not (case in STRICT and "NON-STRICT" in verdicts)


def overall(result):
    """The worse of the two verdicts, of which only one is ever more than OK in a good case."""
    verdicts = [result["behavior"], result["behaviorClose"]]
    bad = [verdict for verdict in verdicts if verdict not in GOOD]
    return bad[0] if bad else max(verdicts, key=GOOD.index)


def row(section, results):
    seconds = sum(result["duration"] for result in results) / 1000
    tally = Counter(map(overall, results))
    names = sorted(tally, key=lambda name: (name not in GOOD, -tally[name]))
    print(f"{section:>7} {len(results):>5} {seconds:>8.1f}  {', '.join(f'{name} {tally[name]}' for name in names)}")


def verdict(result):
    verdict = f"{result['behavior']}, close: {result['behaviorClose']}"
    if "detail" in result:
        detail = json.loads(result["detail"].read_text())
        verdict += f" ({detail['result']} {detail['resultClose']}.)"
    return verdict


def subsection(case):
    return case.rpartition(".")[0]


def shortened(cases, expected):
    """A subsection that is here as a whole is named once, as a pattern."""
    whole = Counter(map(subsection, expected))
    for name, members in groupby(cases, subsection):
        members = list(members)
        yield from [f"{name}.*"] if len(members) == whole[name] > 1 else members


def listed(cases, results, expected):
    reasons = defaultdict(list)
    for case in cases:
        reasons[verdict(results[case])].append(case)
    for why, cases in reasons.items():
        print(f"{why}\n   ", *shortened(cases, expected))


def show(name, expected, results):
    results = {case: results.get(case, MISSING) for case in expected}
    sections = defaultdict(list)
    for case, result in results.items():
        sections[case.split(".")[0]].append(result)
    print(f"{name}\n{'section':>7} {'cases':>5} {'seconds':>8}")
    for section, of_section in sections.items():
        row(section, of_section)
    bad = [case for case, result in results.items() if not good(case, result)]
    listed([case for case in results if overall(results[case]) == "NON-STRICT" and case not in bad], results, expected)
    listed(bad, results, expected)
    print(f"{name}: {len(expected) - len(bad)} of {len(expected)} acceptable")
    return bad


def main():
    arguments = sys.argv[1:]
    name = None
    if arguments[:1] == ["--name"]:
        name, arguments = arguments[1], arguments[2:]
    reports = [Path(argument) for argument in arguments]
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
    bad = [show(name or agent, sorted(expected, key=by_number), results) for agent, results in agents.items()]
    sys.exit(1 if any(bad) else 0)


main()
