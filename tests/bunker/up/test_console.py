"""`bunker up` says where requests are answered, whether a device is bound or not."""

import pytest

from bunker.up.console import show_console

ORIGIN = "https://bunker.example"


def test_a_link_until_a_device_is_bound(capsys: pytest.CaptureFixture[str]) -> None:
    """The link stands alone on its line, to be copied, and as a code for a phone."""
    show_console([f"console {ORIGIN}", f"{ORIGIN}/bind/abc", "bunker://x"], qr=True)
    said = capsys.readouterr().out
    assert "\n" + f"{ORIGIN}/bind/abc\n" in said
    assert "scan this" in said
    assert "█" in said


def test_the_address_when_one_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Later runs print no link, which would be an open door in a log, but still say where."""
    show_console([f"console {ORIGIN}", "bunker://x"], qr=True)
    said = capsys.readouterr().out
    assert ORIGIN in said
    assert "/bind/" not in said
    assert "█" not in said


def test_nothing_without_a_console(capsys: pytest.CaptureFixture[str]) -> None:
    """A signer without its page is not said to have one."""
    show_console(["bunker://x"], qr=True)
    assert capsys.readouterr().out == ""
