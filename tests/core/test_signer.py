"""signer.py: what every signer offers is said once."""

import inspect

import pytest

from bunker_client import RemoteSigner, SyncRemoteSigner
from bunker_core.nips.nip46 import Method
from bunker_core.signer import Signer, SyncSigner
from bunker_signer.key.direct import DirectSigner

METHODS = [name for name in vars(Signer) if not name.startswith("_")]


@pytest.mark.parametrize("kind", [SyncSigner, RemoteSigner, SyncRemoteSigner, DirectSigner])
def test_every_signer_has_all_methods_and_says_what_they_do(kind: type) -> None:
    """`help()` tells of each method of each signer what the protocol tells."""
    assert len(METHODS) == 6
    for name in METHODS:
        said = inspect.getdoc(getattr(kind, name))
        assert said is not None, name
        assert (
            said.partition("\n")[0]
            == (inspect.getdoc(getattr(Signer, name)) or "").partition("\n")[0]
        ), name


@pytest.mark.parametrize("kind", [RemoteSigner, SyncRemoteSigner])
def test_a_remote_signer_can_be_asked_by_every_method(kind: type) -> None:
    """NIP-46's `connect` is said when the signer is entered, where there is no asyncio."""
    by_entering = {Method.CONNECT.value} if kind is SyncRemoteSigner else set()
    assert {method.value for method in Method} - set(dir(kind)) == by_entering
