"""Where a user's things lie, also for a user whom the system does not know."""

import pwd
from pathlib import Path

import pytest

from bunker_core.errors import BunkerError
from bunker_core.local.home import data_home, expanded, user_home


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a bare uid, as `docker run --user 12345` makes one."""

    def unknown(_: object) -> None:
        raise KeyError

    for name in ("HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(pwd, "getpwnam", unknown)


def test_a_home_is_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """$XDG_DATA_HOME, else below $HOME."""
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/a")
    assert (user_home(), data_home()) == (Path("/home/a"), Path("/home/a/.local/share"))
    assert expanded("~/x") == Path("/home/a/x")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert data_home() == Path("/data")


@pytest.mark.usefixtures("nobody")
def test_without_a_home_it_is_said_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """And $XDG_DATA_HOME is enough."""
    for find in (data_home, user_home):
        with pytest.raises(BunkerError, match="set HOME"):
            find()
    with pytest.raises(BunkerError, match="~x/y: there is no such home"):
        expanded("~x/y")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert data_home() == Path("/data")
