"""Each fault does what it says, to the response that it is meant for and to no other."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from bunker.testbed import Client, Fault, FaultName, Faults, Relay, Signer, Testbed, Transcript
from bunker_client import RequestDenied, RequestTimeout, SignerLocked
from bunker_client.errors import ClientError, SignerOffline
from bunker_core.keys import SecretKey
from bunker_signer.request.approval import Verdict

NOTE = {"kind": 1, "content": "hello"}


def test_faults_are_met_in_their_order_and_by_their_method() -> None:
    """A fault for a method waits for that method, and lets the others pass."""
    faults = Faults()
    faults.drop("sign_event")
    faults.delay(1.0)
    faults.corrupt("sign_event")
    taken = [faults.take("ping"), faults.take("ping"), faults.take("sign_event")]
    assert [fault.name if fault else None for fault in taken] == ["delay", None, "drop"]
    assert faults.waiting() == (Fault(FaultName.CORRUPT, "sign_event"),)


def test_dropped_response_is_lost_and_the_next_arrives(
    bunker_client: Client, bunker_signer: Signer, bunker_transcript: Transcript
) -> None:
    """The signer signs, the client waits in vain, and the request after it is answered."""
    bunker_signer.faults.drop()
    with pytest.raises(RequestTimeout, match=r"no answer within|did not answer"):
        bunker_client.request_signature(NOTE, timeout=0.3)
    assert bunker_client.request_signature(NOTE).content == "hello"
    lost, arrived = bunker_transcript.responses("sign_event")
    assert (lost.fault, arrived.fault) == ("drop", "")
    assert lost.result is not None


def test_delayed_response_arrives_late(bunker_client: Client, bunker_signer: Signer) -> None:
    """The response takes at least as long as it was held back."""
    bunker_signer.faults.delay(0.3)
    started = time.monotonic()
    bunker_client.ping()
    assert time.monotonic() - started >= 0.3


def test_duplicate_is_two_events_with_one_response(
    bunker_client: Client, bunker_signer: Signer, bunker_transcript: Transcript
) -> None:
    """The client takes the first and is not disturbed by the second."""
    bunker_signer.faults.duplicate("ping")
    bunker_client.ping()
    bunker_client.ping()
    doubles = [entry for entry in bunker_transcript.responses("ping") if entry.fault]
    assert len({entry.event_id for entry in doubles}) == 2
    assert len({entry.id for entry in doubles}) == 1


def test_corrupt_response_is_ignored(bunker_client: Client, bunker_signer: Signer) -> None:
    """A response that can't be decrypted is as good as none."""
    bunker_signer.faults.corrupt("sign_event")
    with pytest.raises(RequestTimeout):
        bunker_client.request_signature(NOTE, timeout=0.3)
    assert bunker_client.request_signature(NOTE).content == "hello"


def test_muted_signer_answers_again_when_it_wakes(
    bunker_client: Client, bunker_signer: Signer
) -> None:
    """Muted, it hears and says nothing; afterwards it is what it was."""
    bunker_signer.faults.mute()
    with pytest.raises(RequestTimeout):
        bunker_client.ping(timeout=0.3)
    bunker_signer.faults.mute(False)
    bunker_client.ping()


def test_denying_signer_denies_what_it_granted(
    bunker_client: Client, bunker_signer: Signer
) -> None:
    """`deny` wins over the grants, and spares what needs no key."""
    bunker_signer.faults.deny()
    with pytest.raises(RequestDenied, match="denied"):
        bunker_client.request_signature(NOTE)
    bunker_client.ping()
    bunker_signer.faults.deny(False)
    bunker_client.request_signature(NOTE)


def test_locked_key_signs_nothing_until_it_is_unlocked(
    bunker_client: Client, bunker_signer: Signer
) -> None:
    """With the key locked a request waits and says why, and an unlocked key signs again."""
    bunker_signer.lock()
    assert bunker_signer.locked
    with pytest.raises(SignerLocked):
        bunker_client.request_signature(NOTE, timeout=0.3)
    bunker_signer.unlock()
    assert bunker_client.request_signature(NOTE).pubkey == bunker_signer.pubkey


def test_auth_url_comes_first_and_the_answer_after_the_agreement(
    bunker_client: Client, bunker_signer: Signer, bunker_transcript: Transcript
) -> None:
    """The client is sent to the page; its request is answered once the user has agreed."""
    bunker_signer.faults.ask_auth_url("https://auth.example.com/", "sign_event")
    with ThreadPoolExecutor(1) as pool:
        signature = pool.submit(bunker_client.request_signature, NOTE)
        bunker_transcript.wait_for("sign_event")
        assert not signature.done()
        bunker_signer.faults.agree()
        assert signature.result(10).content == "hello"
    assert bunker_client.auth_urls == ["https://auth.example.com/"]


def test_signer_with_a_wrong_clock_drops_what_is_stale(
    bunker_client: Client, bunker_signer: Signer, bunker_transcript: Transcript
) -> None:
    """A clock an hour ahead takes every request for an old one, and says so; seconds do no harm."""
    bunker_signer.faults.skew_clock(3600)
    with pytest.raises(RequestTimeout):
        bunker_client.ping(timeout=0.3)
    said = {entry.error for entry in bunker_transcript.responses("ping")}
    assert said == {"invalid: your clock is 3600 s behind the relay's, set it and retry"}
    bunker_signer.faults.skew_clock(-20)
    bunker_client.ping()


def test_relay_is_killed_and_comes_back_on_its_port(
    bunker_relay: Relay, bunker_client: Client, bunker_signer: Signer
) -> None:
    """Signer and client find the relay again, and the pairing holds."""
    url = bunker_relay.url
    bunker_relay.kill()
    assert not bunker_relay.running
    with pytest.raises(ClientError):
        bunker_client.ping(timeout=0.3)
    bunker_relay.restart()
    bunker_signer.wait_until_listening()
    assert bunker_relay.url == url
    assert bunker_client.request_signature(NOTE).content == "hello"


def test_signer_is_killed_and_knows_its_clients_afterwards(
    bunker_client: Client, bunker_signer: Signer
) -> None:
    """While it is gone the client learns that nobody listens; then the old pairing serves."""
    bunker_signer.kill()
    with pytest.raises(SignerOffline):
        bunker_client.ping(timeout=0.3)
    with pytest.raises(RuntimeError, match="restart it first"):
        bunker_signer.invite()
    bunker_signer.restart()
    assert bunker_client.request_signature(NOTE).pubkey == bunker_signer.pubkey


def test_script_answers_in_the_owners_place(bunker_testbed: Testbed) -> None:
    """What is not allowed is put to the script, which may also keep silent."""
    signer = bunker_testbed.signer(allow="", approver=lambda question: question.action.kind is None)
    app = bunker_testbed.client(signer)
    with pytest.raises(RequestDenied):
        app.request_signature(NOTE)
    assert app.nip44_encrypt(SecretKey.generate().pubkey, "secret")
    signer.approver = lambda _: Verdict.ALWAYS
    app.request_signature(NOTE)
    signer.approver = lambda _: None
    app.request_signature(NOTE)  # granted by the answer before
    with pytest.raises(RequestTimeout):
        app.request_signature({"kind": 0}, timeout=1)
    assert [question.action.method.value for question in signer.questions] == [
        *("sign_event", "nip44_encrypt", "sign_event", "sign_event")
    ]


def test_given_key_is_the_one_that_signs(bunker_testbed: Testbed) -> None:
    """A test that needs a fixed pubkey brings its own key."""
    secret = bytes(31) + b"\x07"
    signer = bunker_testbed.signer(secret_key=secret)
    assert signer.pubkey == SecretKey(secret).pubkey
    assert bunker_testbed.client(signer).request_signature(NOTE).pubkey == signer.pubkey


def test_transcript_shows_what_was_encrypted(
    bunker_client: Client, bunker_transcript: Transcript
) -> None:
    """Requests and responses stand there in clear, in the order of their crossing."""
    bunker_transcript.clear()
    friend = SecretKey.generate().pubkey
    payload = bunker_client.nip44_encrypt(friend, "between us")
    request, response = bunker_transcript
    assert (request.method, request.params) == ("nip44_encrypt", (friend, "between us"))
    assert (response.result, response.scheme) == (payload, "nip44")
    assert response.to_dict()["direction"] == "response"


def test_testbed_stops_its_thread() -> None:
    """When the context ends, no thread of it is left."""
    before = set(threading.enumerate())
    with Testbed() as bed:
        bed.client(bed.signer()).ping()
        assert set(threading.enumerate()) - before
    for thread in set(threading.enumerate()) - before:
        thread.join(30)  # a reader of the store is told to end, and not waited for
        assert not thread.is_alive(), thread
