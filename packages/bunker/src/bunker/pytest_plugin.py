"""Fixtures for other projects' suites: a relay, a signer and a paired client, gone after the test.

Installed with nostr-bunker and found by pytest (entry point `pytest11`). What they give is
described in `bunker.testbed`; it runs on a thread of its own, hence in any kind of test:

    def test_app_survives_a_lost_answer(bunker_signer, bunker_client):
        bunker_signer.faults.drop("sign_event")
        with pytest.raises(RequestTimeout):
            bunker_client.request_signature({"kind": 1, "content": "hello"}, timeout=1)
"""

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # pytest loads this file in every run: what it costs is paid on first use
    from collections.abc import Callable, Iterator

    from bunker.conformance.plugin import Bench, CaseTest
    from bunker.testbed import Client, Relay, Signer, Testbed, Transcript


@pytest.fixture
def bunker_testbed() -> "Iterator[Testbed]":
    """An empty testbed: `relay()`, `signer()` and `client()` fill it."""
    from bunker.testbed import Testbed

    with Testbed() as bed:
        yield bed


@pytest.fixture
def make_bunker_relay(bunker_testbed: "Testbed") -> "Callable[..., Relay]":
    """Start relays; the arguments are those of `Testbed.relay`."""
    return bunker_testbed.relay


@pytest.fixture
def make_bunker_signer(bunker_testbed: "Testbed", bunker_relay: "Relay") -> "Callable[..., Signer]":
    """Start signers, each with a key of its own; the arguments are those of `Testbed.signer`."""

    def make(*relays: "Relay", **options: Any) -> "Signer":
        return bunker_testbed.signer(*(relays or (bunker_relay,)), **options)

    return make


@pytest.fixture
def make_bunker_client(bunker_testbed: "Testbed") -> "Callable[..., Client]":
    """Pair clients; the arguments are those of `Testbed.client`."""
    return bunker_testbed.client


@pytest.fixture
def bunker_relay(bunker_testbed: "Testbed") -> "Relay":
    """A relay on a free port."""
    return bunker_testbed.relay()


@pytest.fixture
def bunker_signer(make_bunker_signer: "Callable[..., Signer]") -> "Signer":
    """A signer on `bunker_relay` that allows everything; `bunker_signer.uri` pairs a client."""
    return make_bunker_signer()


@pytest.fixture
def bunker_client(bunker_testbed: "Testbed", bunker_signer: "Signer") -> "Client":
    """A client that is paired with `bunker_signer`."""
    return bunker_testbed.client(bunker_signer)


@pytest.fixture
def bunker_transcript(bunker_testbed: "Testbed") -> "Transcript":
    """What crossed the relays in this test, decrypted."""
    return bunker_testbed.transcript


# A test that asks for one of these becomes a test a case of the conformance kit.
_CONFORMANCE = {f"{kind}_conformance": kind for kind in ("relay", "signer", "client")}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test a case of each test that asks for `relay_conformance` and the like."""
    for fixture, kind in _CONFORMANCE.items():
        if fixture in metafunc.fixturenames:
            from bunker.conformance.plugin import parameters

            metafunc.parametrize(fixture, parameters(kind), indirect=True)


@pytest.fixture(scope="session")
def _conformance_bench() -> "Iterator[Bench]":
    from bunker.conformance.plugin import Bench

    with Bench() as bench:
        yield bench


@pytest.fixture
def relay_conformance(request: pytest.FixtureRequest, _conformance_bench: "Bench") -> "CaseTest":
    """One case for relays: `relay_conformance("ws://127.0.0.1:7777")`."""
    return _case_test(request, _conformance_bench)


@pytest.fixture
def signer_conformance(request: pytest.FixtureRequest, _conformance_bench: "Bench") -> "CaseTest":
    """One case for signers: `signer_conformance("my-signer", "--relay={relay}")`."""
    return _case_test(request, _conformance_bench)


@pytest.fixture
def client_conformance(request: pytest.FixtureRequest, _conformance_bench: "Bench") -> "CaseTest":
    """One case for clients: `client_conformance("node", "driver.mjs")`."""
    return _case_test(request, _conformance_bench)


def _case_test(request: pytest.FixtureRequest, bench: "Bench") -> "CaseTest":
    from bunker.conformance.plugin import CaseTest

    return CaseTest(request.param, bench)
