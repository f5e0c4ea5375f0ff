"""Results of tests as JUnit XML, which CI systems show."""

import re
from collections.abc import Sequence
from typing import Protocol
from xml.etree import ElementTree as ET

# What XML 1.0 can't hold (section 2.2).
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Reported(Protocol):
    """One result."""

    @property
    def name(self) -> str:
        """The case."""

    @property
    def file(self) -> str:
        """Where it stands."""

    @property
    def line(self) -> int:
        """The line there."""

    @property
    def problems(self) -> Sequence[str]:
        """What failed; nothing if it passed."""


def junit(results: Sequence[Reported]) -> bytes:
    """Return the document."""
    failed = sum(bool(result.problems) for result in results)
    counts = {"tests": str(len(results)), "failures": str(failed), "errors": "0"}
    root = ET.Element("testsuites", counts)
    for file in dict.fromkeys(result.file for result in results):
        own = [result for result in results if result.file == file]
        wrong = sum(bool(result.problems) for result in own)
        suite = ET.SubElement(
            root,
            "testsuite",
            {"name": _text(file), "tests": str(len(own)), "failures": str(wrong), "errors": "0"},
        )
        for result in own:
            case = ET.SubElement(
                suite,
                "testcase",
                {
                    "classname": _text(file),
                    "name": _text(result.name),
                    "file": _text(file),
                    "line": str(result.line),
                },
            )
            if result.problems:
                failure = ET.SubElement(case, "failure", {"message": _text(result.problems[0])})
                failure.text = _text("\n".join(result.problems))
    written: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _text(text: str) -> str:
    return _NO_XML.sub("?", text)
