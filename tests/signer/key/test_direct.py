"""The sealed key in the app's own process: what opens it, what it does, and how it ends."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bunker_core.errors import BunkerError
from bunker_core.event import EventTemplate, verify
from bunker_core.keys import SecretKey
from bunker_signer.key.direct import MASTER_KEY_VARIABLE, DirectSigner, open_signer
from bunker_signer.key.keystore import MASTER_KEY_FILE, KeyStore, create_master_key
from bunker_signer.nse import NSE

PEER = SecretKey.generate().pubkey


@pytest.fixture
def pubkey(data: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a key in `data`; return the user's pubkey."""
    monkeypatch.delenv(MASTER_KEY_VARIABLE, raising=False)
    data.mkdir()
    (pair,) = KeyStore(data, None).open()
    pubkey = pair.user.get_public_key()
    pair.transport.close()
    pair.user.close()
    return pubkey


async def test_it_does_what_every_signer_does(data: Path, pubkey: str) -> None:
    """With the key that the bunker has; a template may be a mapping."""
    template = EventTemplate(1, "hello", (("t", "x"),), 1_700_000_000)
    async with open_signer(str(data)) as signer:
        assert isinstance(signer, DirectSigner)
        assert await signer.get_public_key() == pubkey
        for asked in (template, {"kind": 1, "content": "hello", "tags": [["t", "x"]]}):
            signed = await signer.sign_event(asked)
            assert verify(signed) == signed
            assert (signed.pubkey, signed.content, signed.tags) == (pubkey, "hello", template.tags)
        payload = await signer.nip44_encrypt(PEER, "new")
        assert await signer.nip44_decrypt(PEER, payload) == "new"
        old = await signer.nip04_encrypt(PEER, "old")
        assert "?iv=" in old
        assert await signer.nip04_decrypt(PEER, old) == "old"


@pytest.mark.parametrize(
    "does",
    [
        lambda signer: signer.nip44_decrypt(PEER, "garbage"),
        lambda signer: signer.nip04_decrypt(PEER, "garbage"),
        lambda signer: signer.nip44_encrypt("garbage", "x"),
        lambda signer: signer.nip04_encrypt("garbage", "x"),
        lambda signer: signer.sign_event({"kind": "one"}),
    ],
)
async def test_what_it_refuses_is_an_error_of_ours(
    data: Path, pubkey: str, does: Callable[[DirectSigner], object]
) -> None:
    """Whether the enclave refuses or it can't be read; the key is good afterwards."""
    async with open_signer(str(data)) as signer:
        with pytest.raises(BunkerError):
            await does(signer)  # type: ignore[misc]
        assert await signer.get_public_key() == pubkey


async def test_at_the_end_the_key_is_closed(data: Path, pubkey: str) -> None:
    """Whoever keeps the object can't use the key."""
    async with open_signer(str(data)) as signer:
        assert await signer.get_public_key() == pubkey
    with pytest.raises(BunkerError):
        await signer.sign_event({"kind": 1, "content": ""})


def test_where_there_is_no_key_none_is_made(tmp_path: Path) -> None:
    """Neither in a folder nor where none is."""
    for place in (tmp_path, tmp_path / "missing"):
        with pytest.raises(BunkerError, match=f"{place.name} holds no sealed key"):
            open_signer(str(place))
    assert not list(tmp_path.iterdir())


async def test_the_master_key_is_the_one_that_the_signer_would_use(
    data: Path, pubkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that the environment names, before the one in the directory."""
    elsewhere = data.parent / "elsewhere"
    (data / MASTER_KEY_FILE).rename(elsewhere)
    with pytest.raises(BunkerError, match=MASTER_KEY_FILE):
        open_signer(str(data))
    create_master_key(data / MASTER_KEY_FILE)
    monkeypatch.setenv(MASTER_KEY_VARIABLE, str(elsewhere))
    async with open_signer(str(data)) as signer:
        assert await signer.get_public_key() == pubkey
        assert await signer.sign_event({"kind": 1, "content": ""})


def test_a_wrong_master_key_leaves_nothing_open(
    data: Path, pubkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is an error of ours, and the enclave is closed."""
    other = data.parent / "other"
    create_master_key(other)
    monkeypatch.setenv(MASTER_KEY_VARIABLE, str(other))
    closed: list[NSE] = []
    close = NSE.close

    def noted(self: NSE) -> None:
        closed.append(self)
        close(self)

    monkeypatch.setattr(NSE, "close", noted)
    with pytest.raises(BunkerError):
        open_signer(str(data))
    assert len(closed) == 1
    assert pubkey
