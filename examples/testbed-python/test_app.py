"""An app's tests with a real relay and a real signer: install `nostr-bunker[testbed]`, run pytest.

Nothing is configured: pytest finds the fixtures by itself, and pytest-xdist may run the tests in
parallel.
"""

import asyncio

import pytest

from bunker_client import RemoteSigner, RequestDenied, RequestTimeout, SignerLocked


class App:
    """What is tested: it publishes what its user writes, signed elsewhere."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    async def post(self, text: str, timeout: float = 10) -> str:
        async with RemoteSigner.from_uri(self._uri, timeout=timeout) as signer:
            event = await signer.request_signature({"kind": 1, "content": text})
            return event.content


def test_post_is_signed_by_the_user(bunker_signer, bunker_transcript):
    assert asyncio.run(App(bunker_signer.uri).post("hello")) == "hello"
    (request,) = bunker_transcript.requests("sign_event")
    assert request.fault == ""


def test_lost_answer_is_not_waited_for_for_ever(bunker_client, bunker_signer):
    bunker_signer.faults.drop("sign_event")
    with pytest.raises(RequestTimeout):
        bunker_client.request_signature({"kind": 1}, timeout=0.3)


def test_late_double_and_damaged_answers(bunker_client, bunker_signer):
    bunker_signer.faults.delay(0.1)
    bunker_client.request_signature({"kind": 1})
    bunker_signer.faults.duplicate()
    bunker_client.request_signature({"kind": 1})
    bunker_signer.faults.corrupt()
    with pytest.raises(RequestTimeout):
        bunker_client.request_signature({"kind": 1}, timeout=0.3)


def test_user_says_no(make_bunker_signer, make_bunker_client):
    signer = make_bunker_signer(allow="sign_event:1", approver=lambda _question: False)
    client = make_bunker_client(signer)
    with pytest.raises(RequestDenied):
        client.request_signature({"kind": 0})
    assert len(signer.questions) == 1


def test_two_users(make_bunker_signer, make_bunker_client):
    first, second = make_bunker_signer(), make_bunker_signer()
    assert make_bunker_client(second).user_pubkey == second.pubkey != first.pubkey


def test_lock_and_unlock(bunker_client, bunker_signer):
    bunker_signer.lock()
    with pytest.raises((RequestTimeout, SignerLocked)):
        bunker_client.request_signature({"kind": 1}, timeout=0.3)
    bunker_signer.unlock()
    bunker_client.request_signature({"kind": 1})


def test_signer_and_relay_come_back(bunker_client, bunker_signer, bunker_relay):
    bunker_signer.kill()
    bunker_signer.restart()
    bunker_client.request_signature({"kind": 1})
    bunker_relay.kill()
    bunker_relay.restart()
    bunker_client.request_signature({"kind": 1})


def test_user_agrees_elsewhere(bunker_client, bunker_signer):
    bunker_signer.faults.ask_auth_url("https://bunker.example/agree", "sign_event")
    bunker_signer.faults.agree()
    assert bunker_client.request_signature({"kind": 1})
