"""What the host asks, answers and refuses."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bunker_client.nip07.operation import METHODS, parse_operation
from bunker_client.nip07.prompts import (
    MAX_CALLS,
    MAX_CHARACTERS,
    MAX_QUESTIONS,
    MAX_SITES,
    Effect,
    Prompts,
    Send,
    Use,
)
from bunker_client.nip07.sites import Sites
from bunker_core.errors import InvalidInput

NOW = 1_790_000_000
SITE, OTHER = "https://notes.example", "https://other.example"
PEER = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
DECRYPT = ("nip44.decrypt", PEER, "payload")
NOTE: dict[str, Any] = {"kind": 1, "content": "hello", "tags": [], "created_at": NOW}


@pytest.fixture
def prompts(tmp_path: Path) -> Prompts:
    """The prompts of a user who has granted nothing."""
    return Prompts(Sites(tmp_path / "sites.json"))


def request(number: int, method: str, *params: Any, origin: Any = SITE) -> dict[str, Any]:
    return {"type": "request", "id": number, "origin": origin, "method": method, "params": params}


def ask(prompts: Prompts, number: int, *call: Any, origin: Any = SITE) -> list[Effect]:
    message = request(number, *call, origin=origin)
    return prompts.receive({**message, "params": list(message["params"])}, NOW)


def answer(prompts: Prompts, number: int, said: object, now: int = NOW) -> list[Effect]:
    return prompts.receive({"type": "answer", "id": number, "answer": said}, now)


def told(effects: list[Effect]) -> list[dict[str, Any]]:
    """Return what is sent to the extension."""
    return [effect.message for effect in effects if isinstance(effect, Send)]


def used(effects: list[Effect]) -> list[int]:
    """Return the requests for which the signer is used."""
    return [effect.id for effect in effects if isinstance(effect, Use)]


def test_a_first_request_is_a_question(prompts: Prompts) -> None:
    """Nothing is signed; the extension, which has the request, shows it to the user."""
    effects = ask(prompts, 1, "signEvent", NOTE)
    assert used(effects) == []
    assert told(effects) == [{"type": "question", "id": 1}]


@pytest.mark.parametrize(
    ("said", "uses", "asks_again"),
    [
        ("once", True, True),
        ("hour", True, False),
        ("always", True, False),
        ("deny", False, True),
        ("never", False, False),
        ("yes", False, True),
        (None, False, True),
        (["once"], False, True),
    ],
)
def test_an_answer_decides(prompts: Prompts, said: object, uses: bool, asks_again: bool) -> None:
    """Only a clear yes uses the signer; whatever else is said is a no."""
    ask(prompts, 1, "signEvent", NOTE)
    effects = answer(prompts, 1, said)
    assert used(effects) == ([1] if uses else [])
    if not uses:
        assert told(effects) == [
            {"type": "reply", "id": 1, "error": "denied: the user does not allow it"}
        ]
    again = told(ask(prompts, 2, "signEvent", NOTE))
    assert any(item["type"] == "question" for item in again) is asks_again


def test_to_sign_is_no_right_to_read(prompts: Prompts) -> None:
    """A grant for notes leaves articles, the public key and decryption to be asked for."""
    ask(prompts, 1, "signEvent", NOTE)
    answer(prompts, 1, "always")
    for number, call in enumerate(
        [
            ("signEvent", {**NOTE, "kind": 30023}),
            ("nip44.decrypt", PEER, "x"),
            ("nip04.decrypt", PEER, "x"),
            ("getPublicKey",),
        ],
        start=2,
    ):
        assert used(ask(prompts, number, *call)) == []


def test_there_is_one_question_at_a_time(prompts: Prompts) -> None:
    """The next is asked when the first was answered; each signature is looked at alone."""
    assert len(told(ask(prompts, 1, "signEvent", NOTE))) == 1
    assert ask(prompts, 2, "signEvent", {**NOTE, "content": "other"}) == []
    effects = answer(prompts, 1, "once")
    assert used(effects) == [1]
    assert told(effects) == [{"type": "question", "id": 2}]


def test_a_longer_answer_is_for_all_that_wait_for_the_same(prompts: Prompts) -> None:
    """A hundred messages to read are one question, if the user says so; other sites still ask."""
    ask(prompts, 0, "nip44.decrypt", PEER, "0")
    for number in range(1, 100):
        ask(prompts, number, "nip44.decrypt", PEER, str(number))
    ask(prompts, 100, "nip44.decrypt", PEER, "x", origin=OTHER)
    effects = answer(prompts, 0, "hour")
    assert used(effects) == list(range(100))
    assert [item["id"] for item in told(effects)] == [100]


def test_a_closed_window_does_not_open_the_next(prompts: Prompts) -> None:
    """Deny is for all that ask the same, so that a site can't wear a user out."""
    for number in range(50):
        ask(prompts, number, "signEvent", NOTE)
    effects = told(answer(prompts, 0, "deny"))
    assert len(effects) == 50
    assert {item["error"] for item in effects} == {"denied: the user does not allow it"}


def test_an_old_window_answers_nothing(prompts: Prompts) -> None:
    """Only the question that is asked can be answered, and once."""
    ask(prompts, 1, "signEvent", NOTE)
    ask(prompts, 2, "signEvent", {**NOTE, "kind": 0})
    assert answer(prompts, 2, "always") == []
    assert used(answer(prompts, 1, "once")) == [1]
    assert answer(prompts, 1, "once") == []


def test_what_waits_is_bounded(prompts: Prompts) -> None:
    """A site that asks without end is refused, and takes no other site's place."""
    for number in range(MAX_CALLS):
        assert not any(item["type"] == "reply" for item in told(ask(prompts, number, *DECRYPT)))
    [refusal] = told(ask(prompts, MAX_CALLS, *DECRYPT))
    assert refusal["error"].startswith("rate-limited:")
    assert ask(prompts, MAX_CALLS + 1, *DECRYPT, origin=OTHER) == []  # waits for its turn


def test_the_questions_of_a_site_are_bounded(prompts: Prompts) -> None:
    """Of the kinds that a site may ask for at a time, so many and no more."""
    for kind in range(MAX_QUESTIONS):
        ask(prompts, kind, "signEvent", {**NOTE, "kind": kind})
    [refusal] = told(ask(prompts, 99, "signEvent", {**NOTE, "kind": 99}))
    assert refusal["error"].startswith("rate-limited:")
    assert ask(prompts, 100, "signEvent", {**NOTE, "kind": 0}) == []  # the same question again


def test_the_text_that_waits_is_bounded(prompts: Prompts) -> None:
    """Eight mebibytes of a site, in calls of a few hundred kilobytes."""
    part = MAX_CHARACTERS // 16
    for number in range(16):
        ask(prompts, number, "nip44.encrypt", PEER, "x" * part)
    [refusal] = told(ask(prompts, 16, "nip44.encrypt", PEER, "x" * part))
    assert refusal["error"].startswith("rate-limited:")


def test_the_sites_that_wait_are_bounded(prompts: Prompts) -> None:
    """A page that opens hundreds of others is no way around the bound of one."""
    for number in range(MAX_SITES):
        ask(prompts, number, "getPublicKey", origin=f"https://site{number}.example")
    [refusal] = told(ask(prompts, MAX_SITES, "getPublicKey", origin="https://more.example"))
    assert refusal["error"].startswith("rate-limited:")


def test_a_question_ends_with_its_page(prompts: Prompts) -> None:
    """A tab that is closed takes its question along, and the next one is asked."""
    ask(prompts, 1, "signEvent", NOTE)
    ask(prompts, 2, *DECRYPT)
    ask(prompts, 3, "getPublicKey", origin=OTHER)
    effects = prompts.receive({"type": "gone", "ids": [1, 2, 99, "x"]}, NOW)
    withdrawn, question = told(effects)
    assert withdrawn == {"type": "withdrawn", "id": 1}
    assert (question["type"], question["id"]) == ("question", 3)
    assert answer(prompts, 1, "once") == []
    assert used(answer(prompts, 3, "once")) == [3]


def test_what_waited_behind_a_question_is_gone_without_a_word(prompts: Prompts) -> None:
    """The question on the screen is another page's: it stays."""
    ask(prompts, 1, "getPublicKey", origin=OTHER)
    ask(prompts, 2, "signEvent", NOTE)
    assert prompts.receive({"type": "gone", "ids": [2]}, NOW) == []
    assert used(answer(prompts, 1, "once")) == [1]


class Somebody:
    """A signer for one key that would sign anything."""

    async def get_public_key(self) -> str:
        return PEER

    async def sign_event(self, event: Any) -> Any:
        raise AssertionError("signed")


@pytest.mark.parametrize("pubkey", ["11" * 32, "not a key"])
async def test_an_event_of_another_author_is_not_signed(pubkey: str) -> None:
    """NIP-07 as NIP-46: our key never signs under somebody else's name in silence."""
    operation = parse_operation("signEvent", [{**NOTE, "pubkey": pubkey}], NOW)
    with pytest.raises(InvalidInput, match="another author"):
        await operation.perform(Somebody())  # type: ignore[arg-type]
    own = parse_operation("signEvent", [{**NOTE, "pubkey": PEER.upper()}], NOW)
    with pytest.raises(AssertionError, match="signed"):
        await own.perform(Somebody())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("origin", "call", "error"),
    [
        ("null", ("getPublicKey",), "origin"),
        (None, ("getPublicKey",), "origin"),
        (SITE, ("eval", "1"), "unsupported"),
        (SITE, (["getPublicKey"],), "unsupported"),
        (SITE, ("signEvent",), "not an object"),
        (SITE, ("signEvent", {"content": "x"}), "kind"),
        (SITE, ("signEvent", {**NOTE, "kind": "1"}), "kind"),
        (SITE, ("signEvent", {**NOTE, "kind": -1}), "kind"),
        (SITE, ("signEvent", {**NOTE, "kind": True}), "kind"),
        (SITE, ("signEvent", {**NOTE, "tags": [[1]]}), "tag"),
        (SITE, ("nip44.encrypt", PEER), "pubkey and a text"),
        (SITE, ("nip44.encrypt", PEER, {"a": 1}), "pubkey and a text"),
        (SITE, ("nip44.encrypt", "xyz", "text"), ""),
    ],
)
def test_what_can_not_be_read_is_refused_without_a_question(
    prompts: Prompts, origin: Any, call: tuple[Any, ...], error: str
) -> None:
    """Neither the user nor the signer is bothered with it."""
    [reply] = told(ask(prompts, 1, *call, origin=origin))
    assert reply["type"] == "reply"
    assert reply["error"].startswith("invalid: ")
    assert error in reply["error"]


@pytest.mark.parametrize("message", [None, 1, [], {}, {"type": "request"}, {"type": "x", "id": 1}])
def test_other_messages_are_left_alone(prompts: Prompts, message: object) -> None:
    """What is not of this conversation changes nothing."""
    assert prompts.receive(message, NOW) == []


@given(
    st.sampled_from(sorted(METHODS)) | st.text(max_size=8),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
)
def test_a_page_can_raise_nothing_but_what_is_documented(method: str, params: object) -> None:
    """Whatever a page sends is an operation or InvalidInput."""
    with contextlib.suppress(InvalidInput):
        parse_operation(method, params, NOW)
