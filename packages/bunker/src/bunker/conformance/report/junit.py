"""The report that every CI reads: JUnit's XML."""

import re
from xml.etree import ElementTree

from bunker.conformance.case import Verdict
from bunker.conformance.report.run import Run, issue

# What XML 1.0 can't hold, not even escaped.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(run: Run) -> str:
    """Return the run as a test suite: what is not offered or not run is skipped."""
    counts = run.counts()
    suite = ElementTree.Element(
        "testsuite",
        name=_clean(f"conformance {run.kind}: {run.target}"),
        tests=str(len(run.results)),
        failures=str(counts[Verdict.FAIL] + counts[Verdict.HANGS]),
        skipped=str(counts[Verdict.NOT_OFFERED] + counts[Verdict.NOT_RUN]),
        errors="0",
        time=f"{run.seconds:.3f}",
        timestamp=run.began.isoformat(timespec="seconds"),
    )
    for result in run.results:
        chapter, _, name = result.case.id.rpartition("/")
        element = ElementTree.SubElement(
            suite,
            "testcase",
            classname=chapter.replace("/", "."),
            name=name,
            time=f"{result.seconds:.3f}",
        )
        if result.convicts:
            level = result.case.level.value.upper()
            failure = ElementTree.SubElement(
                element, "failure", message=_clean(f"{level}: {result.reason}"), type=level
            )
            failure.text = _clean(issue(result, run))
        elif result.verdict is not Verdict.PASS:
            message = _clean(f"{result.verdict.value}: {result.reason}")
            ElementTree.SubElement(element, "skipped", message=message)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
