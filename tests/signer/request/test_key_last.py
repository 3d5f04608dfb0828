"""The key is the last step: whatever is granted and asked, what is refused never came that far."""

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bunker_core.event import sign_event, verify
from bunker_core.keys import SecretKey
from bunker_core.nips import nip04, nip44
from bunker_core.nips.channel import Channel, rpc_template
from bunker_core.nips.nip46 import ClientMetadata, Method
from bunker_signer.key.access import KeyState
from bunker_signer.policy import Action, Allow, Effect, Grant, Rate, decide
from bunker_signer.store import clients, grants
from signer.request.support.rig import DENY, Owner, Rig, rig

PEERS = (SecretKey.generate(), SecretKey.generate())
NSE_OPERATIONS = ("sign", "nip44_encrypt", "nip44_decrypt", "nip04_encrypt", "nip04_decrypt")
# Version 3 of NIP-44 has grants of another form, by kind and scope.
_CRYPT = [item for item in Method if "crypt" in item.value and "v3" not in item.value]
METHODS = [Method.SIGN_EVENT, *_CRYPT]
NOW = int(time.time())

held_grants = st.lists(
    st.builds(
        Grant,
        st.sampled_from([item.value for item in METHODS]),
        st.sampled_from([None, "0", "1", *(peer.pubkey for peer in PEERS)]),
        st.sampled_from(list(Effect)),
        st.sampled_from([None, NOW - 100, NOW + 10_000]),
        st.sampled_from([None, 0, 1]),
        st.none() | st.builds(Rate, st.integers(1, 2), st.just(1000)),
    ),
    max_size=4,
    unique_by=lambda grant: (grant.method, grant.param),
)


class Served:
    """A signer whose owner says no to everything; `uses` is what its sealed key was used for."""

    def __init__(self, signer: Rig, runner: asyncio.Runner) -> None:
        self.signer = signer
        self.runner = runner
        self.uses: list[str] = []
        for name in NSE_OPERATIONS:
            self._watch(name)

    def _watch(self, name: str) -> None:
        original = getattr(self.signer.identity.user, name)

        def watched(*args: Any) -> Any:
            self.uses.append(name)
            return original(*args)

        setattr(self.signer.identity.user, name, watched)

    def admit(self, held: list[Grant]) -> SecretKey:
        """Return the key of a new client that holds these grants."""
        key = SecretKey.generate()
        with self.signer.database.write() as to:
            clients.add(to, "default", key.pubkey, ClientMetadata(), (), "", held, NOW)
        return key

    def ask(self, key: SecretKey, number: int, method: Method, *params: str) -> str | None:
        """Have a request handled; return the answer's error."""
        request = json.dumps({"id": f"{number}", "method": method.value, "params": params})
        shared = nip44.conversation_key(key.shared_x(self.signer.pubkey))
        content = Channel(self.signer.pubkey, shared, key.shared_x).seal(request)
        event = sign_event(rpc_template(content, self.signer.pubkey, int(time.time())), key)
        handled = self.signer.agent.handler.handle(verify(event), self.signer.relay)
        reply = self.runner.run(handled)
        assert reply is not None
        return reply.response.error


@pytest.fixture(scope="module")
def served(relay_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One signer for all examples; each has a client of its own."""
    with asyncio.Runner() as runner:
        owner = _Refusing()
        context = rig(relay_url, tmp_path_factory.mktemp("signer"), approver=owner)
        signer = runner.run(context.__aenter__())
        signer.service.approvals._gather = 0
        try:
            yield Served(signer, runner)
        finally:
            runner.run(context.__aexit__(None, None, None))


class _Refusing(Owner):
    async def ask(self, question: Any) -> Any:
        return DENY


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(held_grants, st.sampled_from(METHODS), st.integers(0, 1), st.integers(1, 3))
def test_what_is_refused_never_reaches_the_key(
    served: Served, held: list[Grant], method: Method, which: int, times: int
) -> None:
    """The sealed key is used once for each request that a grant allows, and for no other."""
    key, peer = served.admit(held), PEERS[which]
    for number in range(times):
        served.uses.clear()
        action, params = _request(served, method, which, peer)
        allowed = isinstance(decide(held, action, int(time.time())), Allow)
        error = served.ask(key, number, method, *params)
        assert (error is None, served.uses) == (
            allowed,
            [method.value.removesuffix("_event")] if allowed else [],
        )
        held = _counted(served, key)


def test_a_locked_key_is_not_tried(served: Served) -> None:
    """What waits in vain for the unlock leaves the sealed key alone."""
    key = served.admit([Grant("sign_event")])
    served.uses.clear()
    served.signer.service.jobs._deadline = 0.05
    served.signer.identity.access._set(KeyState.LOCKED)
    try:
        error = served.ask(key, 0, Method.SIGN_EVENT, json.dumps({"kind": 1}))
    finally:
        served.signer.identity.access._set(KeyState.UNLOCKED)
        served.signer.service.jobs._deadline = 120
    assert error is not None
    assert error.startswith("locked: ")
    assert served.uses == []


def _request(
    served: Served, method: Method, kind: int, peer: SecretKey
) -> tuple[Action, tuple[str, ...]]:
    """Return a request that the key could fulfil."""
    shared = peer.shared_x(served.signer.user)
    match method:
        case Method.SIGN_EVENT:
            return Action(method, kind=kind), (json.dumps({"kind": kind, "content": "x"}),)
        case Method.NIP44_DECRYPT:
            text = nip44.encrypt("x", nip44.conversation_key(shared))
        case Method.NIP04_DECRYPT:
            text = nip04.encrypt("x", shared)
        case _:
            text = "x"
    return Action(method, peer=peer.pubkey), (peer.pubkey, text)


def _counted(served: Served, key: SecretKey) -> list[Grant]:
    """Return the client's grants with what is left of them."""
    with served.signer.database.read() as at:
        return [replace(grant, id=0) for grant in grants.of(at, "default", key.pubkey)]
