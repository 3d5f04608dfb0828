"""Data of earlier releases is taken up by this one.

Each release adds a fixture: what `bunker relay run` and `bunker signer run` left behind after an
app had paired (with sign_event:1), an event had been signed and one stored. The keys are for this
test alone.
"""

import tarfile
from pathlib import Path

import pytest

from bunker.harness import running_relay, running_signer
from bunker_client import RemoteSigner
from bunker_client.errors import RequestDenied
from bunker_core.filter import Filter
from bunker_core.keys import SecretKey
from bunker_core.pool import RelayPool

FIXTURES = Path(__file__).parent / "fixtures"
RELEASES = sorted(path.name.removesuffix(".tar.gz") for path in FIXTURES.glob("*.tar.gz"))
# release: (the user's pubkey, the id of the stored event)
LEFT = {
    "data-0.1.0": (
        "50865df786367196062a5b15777e4e41aaef7039453515ab835aad8475893c15",
        "a55690263e957ff13c7394b182bec16bef299e2b8f818c3ac251e1f9ea139525",
    ),
}
APP_KEY = bytes(31) + b"\x09"


def test_every_fixture_is_known() -> None:
    """No release's data lies here unused."""
    assert set(RELEASES) == set(LEFT)
    assert RELEASES


@pytest.mark.parametrize("release", RELEASES)
async def test_data_of_a_release_is_taken_up(release: str, tmp_path: Path) -> None:
    """The sealed key opens, the paired app still may what it might, the event is still there."""
    with tarfile.open(FIXTURES / f"{release}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    pubkey, note = LEFT[release]
    async with (
        running_relay(tmp_path / "relay") as relay,
        running_signer(tmp_path / "signer", [relay.url]) as signer,
        RemoteSigner.from_uri(signer.uri, client_key=SecretKey(APP_KEY), timeout=10) as app,
        RelayPool([relay.url]) as pool,
    ):
        assert app.user_pubkey == pubkey
        assert (await app.request_signature({"kind": 1})).pubkey == pubkey
        with pytest.raises(RequestDenied):
            await app.request_signature({"kind": 0})
        subscription = pool.subscribe(Filter(ids=frozenset({note})))
        assert (await anext(subscription)).event.content == "written before the upgrade"
