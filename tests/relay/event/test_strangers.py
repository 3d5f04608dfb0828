"""strangers.py: who has an answer of whom they write to, and whose share they take without one."""

import pytest

from bunker_core.event import Event
from bunker_relay.config import Config, Rate, Rates
from bunker_relay.event.strangers import Strangers

APP, OTHER, SIGNER, SECOND = "a" * 64, "b" * 64, "c" * 64, "d" * 64
RATES = Rates(strangers_per_ip=Rate(per_second=0.5, burst=2))
TO_ALL = Config(rates=RATES)
OWN = Config(rates=RATES, signers=(SIGNER, SECOND))


def writes(author: str, *recipients: str) -> Event:
    tags = (("e", "f" * 64), ("p",), *(("p", pubkey) for pubkey in recipients))
    return Event("0" * 64, author, 0, 24133, tags, "", "0" * 128)


def is_stranger(strangers: Strangers, event: Event) -> bool:
    """Take an event as the relay does, and tell whether it was a stranger's."""
    known = strangers.look(event)
    strangers.met(event, known)
    return strangers.is_stranger(event, known)


def test_a_signer_knows_whom_it_answered() -> None:
    """And nobody else: not who wrote to it, nor whom an app wrote to, nor a second recipient."""
    strangers = Strangers(OWN)
    assert not is_stranger(strangers, writes(SIGNER, OTHER))
    for _ in range(2):
        assert is_stranger(strangers, writes(APP, SIGNER))
    assert not is_stranger(strangers, writes(OTHER, APP))
    assert is_stranger(strangers, writes(APP, SIGNER))
    is_stranger(strangers, writes(SIGNER, OTHER, APP))
    assert is_stranger(strangers, writes(APP, SIGNER))
    is_stranger(strangers, writes(SECOND, APP))
    assert not is_stranger(strangers, writes(APP, SIGNER))


@pytest.mark.parametrize(("one", "other"), [(APP, OTHER), (OTHER, APP)])
def test_two_know_each_other_once_both_have_written(one: str, other: str) -> None:
    """However often one of them has, and whichever pubkey is the lower one."""
    strangers = Strangers(TO_ALL)
    for _ in range(3):
        assert is_stranger(strangers, writes(one, other))
    assert not is_stranger(strangers, writes(other, one))
    for _ in range(3):
        assert not is_stranger(strangers, writes(one, other))
        assert not is_stranger(strangers, writes(other, one))
    assert is_stranger(strangers, writes(one, SIGNER))
    assert is_stranger(strangers, writes(SIGNER, other))


def test_who_writes_to_nobody_stays_a_stranger() -> None:
    """Such an event reaches no signer, and makes no acquaintance of anyone."""
    strangers = Strangers(TO_ALL)
    for _ in range(3):
        assert is_stranger(strangers, writes(APP))
    assert is_stranger(strangers, writes(OTHER))


@pytest.mark.parametrize(("config", "times"), [(OWN, 1), (TO_ALL, 10)])
def test_strangers_of_an_address_share_a_rate(config: Config, times: int) -> None:
    """The one that is set; ten times as much where signers are strangers too."""
    strangers = Strangers(TO_ALL if config is OWN else OWN)
    strangers.configure(config)
    at_once = [strangers.rates.take("192.0.2.1", 1.0) for _ in range(2 * times + 1)]
    assert at_once == [True] * 2 * times + [False]
    assert strangers.rates.take("192.0.2.2", 1.0)
    later = [strangers.rates.take("192.0.2.1", 3.0) for _ in range(times + 1)]
    assert later == [True] * times + [False]
