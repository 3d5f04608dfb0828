"""signer.py: what every signer offers is said once."""

import inspect

import pytest

from bunker_client import RemoteSigner, SyncRemoteSigner
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
