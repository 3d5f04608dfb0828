"""How many files the relay may open, and how many clients it has room for then."""

import resource
from typing import Any

import pytest

from bunker_core.bounds.rate import Buckets
from bunker_relay.config import Config, Limits, Rates
from bunker_relay.http import accept
from bunker_relay.http.accept import HTTPProtocol
from bunker_relay.logs import log


class Descriptors:
    """The limit of open files of a process."""

    def __init__(self, soft: int, hard: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.limits = (soft, hard)
        self.allowed = True
        monkeypatch.setattr(resource, "getrlimit", lambda _: self.limits)
        monkeypatch.setattr(resource, "setrlimit", self._set)

    def _set(self, _what: int, limits: tuple[int, int]) -> None:
        if not self.allowed:
            raise ValueError("not allowed")
        self.limits = limits


UNLIMITED = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "allowed", "raised"),
    [
        (1_024, UNLIMITED, True, 65_536),
        (1_024, 4_096, True, 4_096),
        (1_024, 1_048_576, True, 65_536),
        (65_537, UNLIMITED, False, 65_537),
        (65_536, 1_048_576, False, 65_536),
        (UNLIMITED, UNLIMITED, False, 65_536),
        (1_024, UNLIMITED, False, 1_024),
    ],
)
def test_as_many_files_are_opened_as_is_allowed_and_wanted(
    soft: int, hard: int, allowed: bool, raised: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The relay is served with what there is."""
    files = Descriptors(soft, hard, monkeypatch)
    files.allowed = allowed
    assert accept._raise_descriptors() == raised
    assert files.limits == ((raised, hard) if allowed else (soft, hard))


@pytest.mark.parametrize(
    ("descriptors", "most", "total", "room", "warns"),
    [
        (1_000, 650, 250, 650, False),
        (1_000, 651, 250, 650, True),
        (10_000, 700, 700, 9_200, False),
        (120, 50, 30, 0, True),
    ],
)
def test_a_quarter_of_the_descriptors_is_for_who_is_no_websocket(
    descriptors: int,
    most: int,
    total: int,
    room: int,
    warns: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is left is for clients, of which there are to be as many as the configuration says."""
    Descriptors(descriptors, descriptors, monkeypatch)
    warned: list[dict[str, Any]] = []
    monkeypatch.setattr(log, "warning", lambda _, **facts: warned.append(facts))

    class Ours(HTTPProtocol):
        requests = Buckets(Rates().requests_per_ip)

    limits = Limits(max_connections=most, max_connections_per_ip=7)
    assert Ours.configure(Config(limits=limits, trusted_proxies=("10.0.0.0/8",))) == room
    assert (Ours.waiting.per_address, Ours.waiting.total) == (7, total)
    assert Ours.addresses.is_proxy("10.1.2.3")
    facts = {"open_files": descriptors, "clients": room, "max_connections": most}
    assert warned == [facts] * warns
