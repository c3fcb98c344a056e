"""Turns the unpacked Autobahn testsuite, which is Python 2 code, into Python 3.

usage: patch.py SOURCES, by the Python that the suite is to run on

SOURCES holds what the archives of sources.txt unpack to; the result goes among
the site packages of this Python. First the mechanical part (fissix: print,
except, has_key, imports and so on), then the edits listed below. An edit that
does not match exactly as often as it says ends the run: what is installed is
right or absent.
"""

import compileall
import re
import shutil
import sys
import sysconfig
import warnings
from pathlib import Path

from fissix.refactor import RefactoringTool, get_fixers_from_package

SUITE = "autobahntestsuite"


def without_binascii(match):
    rest = [name for name in match[1].split(", ") if name != "binascii"]
    line = f"import {', '.join(rest)}\n" if rest else ""
    return f"{line}from {SUITE} import octets as binascii"


# (files, pattern, replacement, how often, why)
EDITS = [
    ("autobahn/websocket/protocol.py", r"range\(payload_len / len\(payload\)\)", "range(payload_len // len(payload))", 1,
     "division of integers: repeats a payload up to the length asked for"),
    ("autobahn/websocket/protocol.py", r"reasonRaw\.decode\('utf8'\)", "reasonRaw.decode('utf8', 'replace')", 1,
     "a peer that echoes the bad reason of case 7.5.1 is to be judged, not to stop us"),
    ("autobahntestsuite/case/case10_1_1.py", r"len\(self\.payload\) / ", "len(self.payload) // ", 1,
     "division of integers: counts whole frames"),
    ("autobahntestsuite/case/*.py", r"(?m)^# coding=utf-8$", "# coding=latin-1", 12,
     "a literal is its octets, as it was in Python 2; see octets.py"),
    ("autobahntestsuite/**/*.py", r"(?m)^import ((?:\w+, )*binascii(?:, \w+)*)$", without_binascii, 18,
     "hexadecimal digits of such literals, as text"),
    ("autobahntestsuite/fuzzing.py", r"class FuzzingProtocol:", "class FuzzingProtocol(octets.Edge):", 1,
     "payloads become bytes on the way out and octets on the way in"),
    ("autobahntestsuite/fuzzing.py", r"(?m)^(from \.caseset import CaseSet)$", r"\1" f"\nfrom {SUITE} import octets", 1,
     "the same"),
    ("autobahntestsuite/fuzzing.py", r"(?<![\w.])(asciiLogData|binLogData)\((?=data\)|p\)|payload\)|t\[1\]\))", r"octets.\1(", 6,
     "the wire log takes bytes and octets alike"),
    ("autobahntestsuite/fuzzing.py", r"p = ''\.join\(payload\)", "p = b''.join(payload)", 1,
     "a received frame is a list of bytes"),
    ("autobahntestsuite/fuzzing.py", r"self\.factory\.logCase\(caseResult\)", "self.factory.logCase(octets.printable(caseResult))", 1,
     "reports hold text, not bytes"),
    ("autobahntestsuite/fuzzing.py", r"\.encode\(['\"]utf-?8['\"]\)", "", 2,
     "report files are text files"),
    ("autobahntestsuite/fuzzing.py", r"(open\(os\.path\.join\(outdir, report_filename\), 'w')\)", r"\1, encoding='utf-8')", 4,
     "report files are UTF-8 whatever the locale"),
    ("autobahntestsuite/case/case.py", r"pickle\.dumps\(obj1\) == pickle\.dumps\(obj2\)", "obj1 == obj2", 1,
     "equal values need not pickle alike: shared objects are written once"),
    ("autobahntestsuite/case/case12_x_x.py", r"(?m)^(def onMessage\(self, msg, binary\):)$", r"\1\n   msg = binascii.encode(msg)", 1,
     "the payload is hashed, so it has to be bytes"),
    ("autobahntestsuite/case/case6_x_x.py", r"v\.validate\(vss\[:i\]\)", "v.validate(binascii.encode(vss[:i]))", 1,
     "the validator reads bytes"),
    ("autobahntestsuite/case/*.py", r"\(object, Case, \)", "(Case, )", 6,
     "no class can list object before a class of its own"),
    ("autobahntestsuite/case/__init__.py", r"(?m)^from \.case9_9_1 import \*\n", "", 1,
     "never run, and imports what zope.interface no longer has"),
    ("autobahntestsuite/wstest.py", r"(?m)^from \. import serializer\n", "", 1,
     "a WAMP mode, with unittest2 for a dependency"),
    ("autobahntestsuite/report.py", r"(?m)^import jinja2\n", "", 1,
     "used by the WAMP reports only"),
    ("autobahntestsuite/fuzzing.py", r"import reactor, ssl", "import reactor", 1,
     "no TLS: saves pyOpenSSL and cryptography"),
    ("autobahntestsuite/fuzzing.py", r"ssl\.ClientContextFactory\(\)", "None", 1,
     "the same"),
    ("autobahntestsuite/fuzzing.py", r"listenWS\(factory, sslContext\)",
     "factory.externalPort = listenWS(factory, interface='127.0.0.1').getHost().port\n"
     "   print('listening on 127.0.0.1:%d' % factory.externalPort)", 1,
     "the fuzzing server listens on loopback, not on every address, on any port if 0 is asked for, and says when and where"),
    ("autobahntestsuite/fuzzing.py", r"reactor\.listenTCP\(webport, web\)", "reactor.listenTCP(webport, web, interface='127.0.0.1')", 1,
     "so does its web page"),
]


def main():
    site = Path(sysconfig.get_path("purelib"))
    for name in ("autobahn", "txaio", SUITE):
        (source,) = Path(sys.argv[1]).glob(f"{name}-*/{name}")
        shutil.copytree(source, site / name)
    # Latin-1 maps every octet to itself: what is not touched stays as it was.
    fissix = RefactoringTool(get_fixers_from_package("fissix.fixes"))
    for path in (site / SUITE).rglob("*.py"):
        # The parser wants a line end after the last line.
        tree = fissix.refactor_string(path.read_text("latin-1") + "\n", str(path))
        path.write_text(str(tree)[:-1], "latin-1")
    for files, pattern, replacement, times, why in EDITS:
        done = 0
        for path in sorted(site.glob(files)):
            text, count = re.subn(pattern, replacement, path.read_text("latin-1"))
            if count:
                path.write_text(text, "latin-1")
                done += count
        if done != times:
            sys.exit(f"patch.py: {files}: {done} matches of {pattern!r}, not {times} (for: {why})")
    shutil.copy(Path(__file__).with_name("octets.py"), site / SUITE)
    warnings.simplefilter("ignore")  # about escapes that Python 2 let pass
    for package in ("autobahn", "txaio", SUITE):
        compileall.compile_dir(site / package, quiet=2)


main()
