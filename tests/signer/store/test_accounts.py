"""Who is bound, for how long, and how many. Time is passed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bunker_signer.store.accounts import (
    DEVICE_LIFETIME,
    LINK_LIFETIME,
    MAX_DEVICES,
    Accounts,
    AccountsError,
    Passkey,
)

NOW = 1_790_000_000


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[Accounts]:
    opened = Accounts(tmp_path / "console.sqlite3")
    yield opened
    opened.close()


def test_a_device_that_stays_away_is_unbound(accounts: Accounts) -> None:
    """Ninety days after its last visit a device is nobody's, and each visit counts anew."""
    token = accounts.add_device("Phone", NOW)
    later = NOW + DEVICE_LIFETIME - 1
    assert accounts.device(token, later)
    assert accounts.device(token, later + DEVICE_LIFETIME - 1)
    assert accounts.device(token, later + 2 * DEVICE_LIFETIME) is None


def test_a_token_is_the_whole_of_it(accounts: Accounts) -> None:
    """Neither nothing, nor a part, nor the digest of a token is a device."""
    token = accounts.add_device("Phone", NOW)
    for wrong in ("", token[:-1], f"{token} ", token.swapcase()):
        assert accounts.device(wrong, NOW) is None


def test_a_link_is_good_once_and_for_ten_minutes(accounts: Accounts) -> None:
    """Looking does not spend it, binding does, and so does time."""
    link = accounts.new_link(NOW)
    assert accounts.link_works(link, NOW + LINK_LIFETIME)
    assert not accounts.link_works(link, NOW + LINK_LIFETIME + 1)
    assert accounts.bind(link, "Late", NOW + LINK_LIFETIME + 1) is None
    assert accounts.bind(link, "Phone", NOW + 1)
    assert accounts.bind(link, "Second", NOW + 1) is None


def test_devices_have_a_number(accounts: Accounts) -> None:
    """A full house takes no more, says so, and takes one again when one has gone."""
    for number in range(MAX_DEVICES):
        accounts.add_device(f"Device {number}", NOW)
    with pytest.raises(AccountsError, match="bound already"):
        accounts.add_device("One more", NOW)
    assert accounts.unbind(accounts.devices()[0].id)
    assert accounts.add_device("One more", NOW)


def test_without_a_passkey_none_is_asked_for(accounts: Accounts) -> None:
    """Whoever removes their last passkey is not locked out of their own answers."""
    for name in (b"one", b"two"):
        accounts.add_passkey(Passkey(name, b"key", 0, "Phone", NOW))
    accounts.set_confirm(True)
    assert accounts.remove_passkey(b"one")
    assert accounts.confirm
    assert accounts.remove_passkey(b"two")
    assert not accounts.confirm
    assert not accounts.remove_passkey(b"two")
