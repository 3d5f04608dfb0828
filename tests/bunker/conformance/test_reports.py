"""What a run writes: summary, JSON, JUnit, page, table and issue texts, and the exit code."""

import json
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from bunker.conformance.case import Case, Level, Result, Silence, Verdict, case, cases_in, expect
from bunker.conformance.command import conformance
from bunker.conformance.report.junit import junit
from bunker.conformance.report.page import page
from bunker.conformance.report.run import Run, issue
from bunker.conformance.report.table import table
from bunker.conformance.report.terminal import summary
from bunker.conformance.run import judge, run
from bunker.conformance.wire.trace import Trace, TracedMessage

HOSTILE = "</pre><script>alert(1)</script> \x1b[2J \u202e ]]> | * [x](javascript:1)"


async def nothing(_: object) -> None:
    """Pass."""


def made(name: str, level: Level, verdict: Verdict, reason: str = "") -> Result:
    one = Case(f"relay/x/{name}", level, "NIP-01", "It answers.", "A request.", nothing)
    return Result(one, verdict, reason, 0.25, (TracedMessage(0.1, "client", True, "REQ", "plain"),))


RUN = Run(
    f"relay {HOSTILE}",
    "relay",
    "1.2.3",
    datetime(2026, 7, 1, 12, 0, tzinfo=UTC),
    1.5,
    (
        made("good", Level.MUST, Verdict.PASS),
        made("wrong", Level.MUST, Verdict.FAIL, HOSTILE),
        made("silent", Level.SHOULD, Verdict.HANGS, "no OK within 5 s"),
        made("missing", Level.MAY, Verdict.NOT_OFFERED, "has none"),
        made("unfed", Level.MUST, Verdict.NOT_RUN, "no command"),
    ),
)


def test_junit_is_what_a_ci_reads() -> None:
    """Failures and hangs are failures, the rest that did not pass is skipped; all is XML."""
    suite = ElementTree.fromstring(junit(RUN))
    assert [suite.get(name) for name in ("tests", "failures", "skipped")] == ["5", "2", "2"]
    failures = [item.get("name") for item in suite if item.find("failure") is not None]
    assert failures == ["wrong", "silent"]


def test_the_page_holds_what_a_target_said_and_runs_none_of_it() -> None:
    """A target's words are text; the page asks for nothing and has no script."""
    text = page(RUN)
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "http" not in text.replace("http-equiv", "")
    assert text.count("<details id=") == 5
    assert 'name="viewport"' in text


def test_the_summary_counts_by_level() -> None:
    """What did not pass is listed with its reason, and each level is summed up."""
    lines = list(summary(RUN))
    assert any("relay/x/silent" in line and "no OK within 5 s" in line for line in lines)
    assert "  MUST      1 of 3 pass; 1 fail, 1 not run" in lines
    assert not [line for line in lines if "relay/x/good" in line]


def test_an_issue_can_be_pasted() -> None:
    """It names case, level, source, what was sent, expected and came, and how to repeat it."""
    text = issue(RUN.results[2], RUN)
    for part in ("relay/x/silent", "SHOULD", "NIP-01", "A request.", "It answers.", "no OK within"):
        assert part in text
    assert "bunker conformance relay --case relay/x/silent URL" in text
    assert "->" in text


def test_the_table_has_a_row_a_case_and_a_column_a_target() -> None:
    """Runs of one kind stand beside each other, with how they failed a MUST."""
    text = table([RUN.to_dict(), RUN.to_dict()])
    assert "| `relay/x/good` It answers. | MUST | ✓ | ✓ |" in text
    assert "| `relay/x/silent` It answers. | SHOULD | **…** | **…** |" in text
    assert "<script" not in text


@pytest.mark.parametrize(("level", "convicted"), [("must", 1), ("should", 2), ("may", 2)])
def test_a_level_counts_all_that_is_asked_more_strongly(level: str, convicted: int) -> None:
    """`--level should` fails for a MUST too."""
    assert len(RUN.convicted(Level(level))) == convicted


def test_a_trace_is_bounded_and_shows_no_control_character() -> None:
    """10,000 messages of 100 KB leave 121 of 1,300 characters at most; a secret is hidden."""
    trace = Trace()
    trace.hide("s3cret", "the secret")
    for _ in range(10_000):
        trace.add("client", True, "\x1b[2J\u202e s3cret" + "x" * 100_000)
    messages = trace.messages()
    assert len(messages) == 121
    assert max(len(str(message)) for message in messages) < 1_300
    assert not [
        message for message in messages if "s3cret" in str(message) or "\x1b" in str(message)
    ]


def test_two_cases_of_one_id_are_refused() -> None:
    """An id means one case for ever."""
    import types

    chapter = types.ModuleType("chapter")
    vars(chapter).update(a=RUN.results[0].case, b=RUN.results[0].case)
    with pytest.raises(ValueError, match="one id"):
        cases_in((chapter,))


async def test_every_end_of_a_check_is_a_verdict() -> None:
    """What a target can cause ends in words; a fault of the kit's own is not swallowed."""
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def kit(trace: Trace):  # type: ignore[no-untyped-def]
        yield trace

    async def verdict(error: BaseException | None) -> tuple[Verdict, str]:
        @case("relay/x/y", Level.MUST, "NIP-01")
        async def check(_: object) -> None:
            """It holds. Sent: nothing."""
            if error:
                raise error

        result = await judge(check, kit)
        return result.verdict, result.reason

    assert await verdict(None) == (Verdict.PASS, "")
    assert await verdict(Silence("OK", 5)) == (Verdict.HANGS, "no OK within 5 s")
    assert (await verdict(KeyError("id")))[0] is Verdict.FAIL
    assert (await verdict(ConnectionRefusedError("no")))[1] == "no connection: no"
    with pytest.raises(NotImplementedError):
        await verdict(NotImplementedError())
    with pytest.raises(Exception, match="reason"):
        expect(False, "reason")


async def test_what_goes_wrong_beside_others_is_judged_once_more_alone() -> None:
    """With a second kit its verdict counts: no target pays for another case's doing."""
    from contextlib import asynccontextmanager

    @case("signer/x/y", Level.MUST, "NIP-46")
    async def check(kit: str) -> None:
        """It holds. Sent: nothing."""
        expect(kit == "alone", "disturbed")

    @asynccontextmanager
    async def shared(trace: Trace):  # type: ignore[no-untyped-def]
        yield "shared"

    @asynccontextmanager
    async def alone(trace: Trace):  # type: ignore[no-untyped-def]
        yield "alone"

    assert [r.verdict async for r in run([check], shared)] == [Verdict.FAIL]
    assert [r.verdict async for r in run([check], shared, again=alone)] == [Verdict.PASS]


def test_the_command_exits_by_level_and_writes_its_files(tmp_path: Path, dead_url: str) -> None:
    """A relay that is away: every case fails in words, three files are written, the code is 1."""
    files = {name: tmp_path / f"run.{name}" for name in ("json", "junit", "html")}
    options = [word for name, file in files.items() for word in (f"--{name}", str(file))]
    words = ["relay", "--case", "relay/24133/m*", "--issues", *options, dead_url]
    may = CliRunner().invoke(conformance, [*words, "--level", "may"])
    assert may.exit_code == 1, may.output
    assert "no connection" in may.output
    assert "### relay/24133/mute:" in may.output
    assert CliRunner().invoke(conformance, words).exit_code == 0  # these are MAY and SHOULD
    told = json.loads(files["json"].read_text())
    assert [item["verdict"] for item in told["cases"]] == ["fail", "fail"]
    assert "<testsuite" in files["junit"].read_text()
    assert "<!doctype html>" in files["html"].read_text()
    shown = CliRunner().invoke(conformance, ["table", str(files["json"])])
    assert "relay/24133/mute" in shown.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["relay", "http://x"], "begins with ws://"),
        (["relay", "--case", "nope", "ws://x"], "no case has such an id"),
        (["signer"], "give a bunker:// URI, or a command"),
        (["signer", "bunker://x", "ls"], "not both"),
        (["client"], "give the command"),
        (["table", __file__], "not a run"),
    ],
)
def test_a_wrong_call_is_said(words: list[str], said: str) -> None:
    """What can't be judged is said in a sentence."""
    result = CliRunner().invoke(conformance, words)
    assert result.exit_code != 0
    assert said in result.output
