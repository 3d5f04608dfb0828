"""What the owner is told of a request is what would be done."""

import pytest

from bunker_core.describe.description import DANGEROUS_KINDS, FAR_TIME
from bunker_core.event import EventTemplate
from bunker_core.nips.nip46 import Method
from bunker_signer.console.view.texts import texts_of
from bunker_signer.console.view.waiting import seen
from bunker_signer.console.view.words import Card, card_of, grant_words, moment
from bunker_signer.policy import Action
from bunker_signer.request.approval import TOGETHER, Item, Question

NOW = 1_790_000_000
EN = texts_of("en")
PEER = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"


def question(*items: Item, name: str = "Notes") -> Question:
    return Question("q1", "default", "ab" * 32, name, items, NOW, NOW + 120)


def note(kind: int = 1, content: str = "hi", at: int = NOW, digest: str = "d" * 64) -> Item:
    template = EventTemplate(kind, content, (), at)
    return Item(Action(Method.SIGN_EVENT, kind=kind), digest, template)


def card(*items: Item, name: str = "Notes") -> Card:
    return card_of(question(*items, name=name), "default", EN, NOW)


@pytest.mark.parametrize("kind", DANGEROUS_KINDS)
def test_dangerous_kinds_warn(kind: int) -> None:
    """Profile, contacts, deletion, relays and app data are never asked for without a warning."""
    assert EN(f"warning.kind_{kind}") in card(note(kind)).warnings


def test_everyday_kinds_do_not() -> None:
    """Who is warned of everything is warned of nothing."""
    assert card(note(1)).warnings == ()


@pytest.mark.parametrize("method", [Method.NIP44_DECRYPT, Method.NIP04_DECRYPT])
def test_decryption_warns_and_says_with_whom(method: Method) -> None:
    """To read a message is said in these words, with the whole key of the other side to look up."""
    shown = card(Item(Action(method, peer=PEER), "e" * 64))
    assert shown.title.startswith("Read a message with npub10")
    assert EN("warning.decrypt") in shown.warnings
    assert shown.peer.startswith("npub1")
    assert len(shown.peer) == 63


def test_encryption_is_not_called_reading() -> None:
    """Encrypting shows no warning about reading."""
    shown = card(Item(Action(Method.NIP44_ENCRYPT, peer=PEER), "e" * 64))
    assert shown.title.startswith("Encrypt a message to npub10")
    assert shown.warnings == ()


def test_an_unknown_kind_is_said_to_be_unknown() -> None:
    """No words are made up for a kind that nobody here knows."""
    shown = card(note(31235))
    assert shown.title == "Sign an event of kind 31235"
    assert EN("warning.unknown_kind") in shown.warnings


@pytest.mark.parametrize("at", [NOW - 3601, NOW + 3601, 0, 2**53 - 1])
def test_an_odd_date_warns(at: int) -> None:
    """A date an hour off, or none at all, is pointed out."""
    off = abs(at - NOW)
    warning = EN("warning.far_date" if off > FAR_TIME else "warning.odd_date")
    assert card(note(at=at)).warnings == (warning,)


@pytest.mark.parametrize("at", [2**53, 10**18, -(10**18)])
def test_a_number_that_is_no_date_stays_a_number(at: int) -> None:
    """An impossible date is shown as what it is and breaks nothing."""
    shown = moment(at, EN)
    assert shown.iso == ""
    assert str(at) in shown.text


def test_the_answers_are_spelt_out() -> None:
    """Each lasting answer says who may do what for how long."""
    spelt = [offer.spelt for offer in card(note(), name="Habla").offers]
    assert all("Habla" in text and "Post a note" in text for text in spelt)
    assert ["10 minutes" in spelt[0], "1 hour" in spelt[1], "always" in spelt[2]] == [True] * 3


def test_a_burst_shows_each() -> None:
    """What one answer is for is on the page, all of it."""
    shown = card(*(note(content=str(number), digest=f"{number:064}") for number in range(TOGETHER)))
    assert (shown.count, len(shown.details)) == (TOGETHER, TOGETHER)
    assert shown.title == f"Post a note ({TOGETHER} times)"


def test_a_text_to_encrypt_is_shown() -> None:
    """Who is asked to encrypt sees what; it is no event, and has no date."""
    item = Item(Action(Method.NIP44_ENCRYPT, peer=PEER), "e" * 64, text="meet me at noon")
    (detail,) = card(item).details
    assert detail.content.head[0].text == "meet me at noon"
    assert not detail.event


def test_a_form_answers_what_was_on_the_page() -> None:
    """One request more or less is another question."""
    one, two = note(digest="1" * 64), note(digest="2" * 64)
    assert seen(question(one)) != seen(question(one, two))
    assert seen(question(one)) == seen(question(one))


@pytest.mark.parametrize(
    ("method", "param", "words"),
    [
        ("sign_event", None, "Sign anything"),
        ("sign_event", "7", "React to a post"),
        ("nip44_decrypt", None, "Read all your messages"),
        ("nip44_decrypt", "not a key", "nip44_decrypt not a key"),
        ("sign_event", "<script>", "sign_event <script>"),
        ("ping", None, "ping"),
        ("made_up", "x", "made_up x"),
    ],
)
def test_grants_in_words(method: str, param: str | None, words: str) -> None:
    """Also what an app wishes for that makes no sense is shown."""
    assert grant_words(method, param, EN) == words
