"""call.py: the steps and deadlines of one request, with time as an argument."""

from dataclasses import replace

import pytest

from bunker_client.errors import (
    RelayRefused,
    RelayUnreachable,
    RequestTimeout,
    RequestTooLarge,
    SignerLocked,
    SignerOffline,
    WaitingForApproval,
)
from bunker_client.request.call import Action, Call, Patience, View
from bunker_client.request.progress import Step
from bunker_core.nips.nip46 import Request
from bunker_core.pool import Receipt

A, B = "wss://a.example", "wss://b.example"
NOBODY = View((), (), (), False, f"{A}: connection refused", None, False)
SENT = replace(NOBODY, connected=(A,), owing=(A,))


def answered(reason: str = "", *, accepted: bool = True) -> View:
    return replace(SENT, owing=(), receipts=(Receipt(A, accepted, reason),))


DELIVERED = answered()
WOKEN = answered("mute: no one is listening yet, held while the signer is woken")
MUTED = answered("mute: no one is listening")


def call(patience: Patience | None = None, method: str = "sign_event") -> Call:
    return Call(Request("1", method), patience or Patience(10, 100), 0.0)


def test_without_a_relay_it_waits_for_one_round_trip() -> None:
    """QUEUED until the machine's deadline, then RelayUnreachable with the relays' own reasons."""
    request = call()
    request.review(5.0, SENT)
    request.review(9.9, NOBODY)
    assert request.step is Step.QUEUED
    with pytest.raises(RelayUnreachable, match="connection refused"):
        request.review(10.0, NOBODY)


def test_a_relay_that_says_nothing_is_checked_and_then_given_up() -> None:
    """SENT: after three seconds the connection is checked, once, and at the deadline named."""
    request = call()
    assert request.review(2.9, SENT)[0] == []
    assert request.step is Step.SENT
    assert request.review(3.0, SENT)[0] == [Action.CHECK_RELAYS]
    assert request.review(4.0, SENT)[0] == []
    request.sent(5.0)
    assert request.review(7.9, SENT)[0] == []
    assert request.review(8.0, SENT)[0] == [Action.CHECK_RELAYS]
    with pytest.raises(RequestTimeout, match=f": no answer.*; {B} did not acknowledge") as raised:
        request.review(10.0, replace(SENT, connected=(A, B), owing=(B,)))
    assert raised.value.timeout == 10.0


def test_an_offline_signer_is_asked_again_and_again() -> None:
    """`mute:` is retried after 0.25, 0.5, 1 and then every 2 seconds, until the deadline."""
    request = call()
    tries = [now / 4 for now in range(40) if Action.SEND in request.review(now / 4, MUTED)[0]]
    assert tries == [0.25, 0.75, 1.75, 3.75, 5.75, 7.75, 9.75]
    assert request.step is Step.SIGNER_OFFLINE
    with pytest.raises(SignerOffline, match=A):
        request.review(10.0, MUTED)


def test_a_woken_signer_has_a_persons_time() -> None:
    """A phone that was told needs its owner: asked again each 20 seconds, until the approval's end.

    A later word that nobody listens changes nothing: the phone has the request and sleeps again.
    """
    request = call(Patience(10, 100, offline=0))
    tries = [now for now in range(100) if Action.SEND in request.review(float(now), WOKEN)[0]]
    assert tries == [20, 40, 60, 80]
    assert request.step is Step.SIGNER_WOKEN
    assert str(request.progress) == "sign_event: woken, waiting for you on your phone"
    request.review(99.0, MUTED)
    assert request.step is Step.SIGNER_WOKEN
    with pytest.raises(WaitingForApproval):
        request.review(100.0, WOKEN)


def test_a_woken_signer_answers_a_ping_itself() -> None:
    """What needs no owner waits no longer than any round trip."""
    request = call(method="ping")
    request.review(0.0, WOKEN)
    with pytest.raises(WaitingForApproval):
        request.review(10.0, WOKEN)


def test_an_offline_signer_can_be_reported_at_once() -> None:
    """`offline` 0: the first word of the relay ends the request."""
    with pytest.raises(SignerOffline):
        call(Patience(10, 100, offline=0)).review(0.1, MUTED)


def test_a_relay_that_still_connects_may_have_the_signer() -> None:
    """Offline is said when every relay has spoken, or after two seconds of a slow one."""
    request = call(Patience(10, 100, offline=0))
    hoping = replace(MUTED, connecting=True)
    request.review(1.9, hoping)
    assert request.step is Step.SENT
    with pytest.raises(SignerOffline):
        request.review(2.0, hoping)


def test_a_relay_that_owes_its_answer_may_still_deliver() -> None:
    """One relay is mute, another has not answered: not offline yet."""
    request = call(Patience(10, 100, offline=0))
    request.review(1.0, replace(MUTED, owing=(B,), connected=(A, B)))
    assert request.step is Step.SENT


def test_the_signer_may_be_anywhere() -> None:
    """One relay is mute, another delivers: delivered."""
    request = call()
    view = replace(MUTED, receipts=(*MUTED.receipts, Receipt(B, True, "")), connected=(A, B))
    request.review(0.1, view)
    assert request.step is Step.DELIVERED


@pytest.mark.parametrize("reason", ["blocked: not you", "restricted: x", "invalid: x", "pow: 20"])
def test_a_refusal_by_policy_ends_the_request_at_once(reason: str) -> None:
    """What a relay will not take now it will not take later either."""
    with pytest.raises(RelayRefused, match=reason):
        call().review(0.1, answered(reason, accepted=False))


def test_only_what_is_too_large_for_every_relay_is_too_large() -> None:
    """Another relay's refusal may have another reason, and then so has the error."""
    large, other = (Receipt(A, False, "invalid: too large, over 9 bytes"), Receipt(B, False, "pow"))
    with pytest.raises(RequestTooLarge):
        call().review(0.1, replace(SENT, owing=(), receipts=(large,)))
    with pytest.raises(RelayRefused) as raised:
        call().review(0.1, replace(SENT, owing=(), receipts=(large, other)))
    assert type(raised.value) is RelayRefused


@pytest.mark.parametrize("reason", ["rate-limited: slow down", "error: database is locked"])
def test_a_passing_refusal_is_tried_again(reason: str) -> None:
    """A relay that is busy gets the request again until the deadline."""
    request = call()
    refused = answered(reason, accepted=False)
    assert request.review(0.0, refused)[0] == []
    assert request.review(0.25, refused)[0] == [Action.SEND]
    assert request.review(0.3, SENT)[0] == []  # sent again, no word yet
    with pytest.raises(RelayRefused, match=reason.partition(":")[0]):
        request.review(10.0, refused)


def test_a_delivered_request_has_the_time_of_a_person() -> None:
    """A person needs longer than a round trip; in the end the error says it was delivered."""
    request = call()
    request.review(1.0, DELIVERED)
    request.review(100.9, DELIVERED)
    with pytest.raises(RequestTimeout, match="delivered, but the signer did not answer"):
        request.review(101.0, DELIVERED)


@pytest.mark.parametrize("method", ["ping", "switch_relays", "logout"])
def test_what_no_person_decides_has_the_time_of_a_machine(method: str) -> None:
    """A method that asks nobody ends after a round trip, delivered or not."""
    request = call(method=method)
    request.review(1.0, DELIVERED)
    with pytest.raises(RequestTimeout):
        request.review(10.0, DELIVERED)


def test_a_signer_that_answers_a_ping_and_not_the_request_waits_for_its_owner() -> None:
    """Pings after 5 s, 15 s, 45 s; one answered means approval, and sends the request again."""
    request = call()
    request.review(0.0, DELIVERED)
    assert request.review(4.9, DELIVERED)[0] == []
    assert request.review(5.0, DELIVERED)[0] == [Action.PROBE]
    heard = replace(DELIVERED, heard_at=5.1, answers_pings=True)
    assert request.review(5.1, heard)[0] == [Action.SEND]
    assert request.step is Step.WAITING_FOR_APPROVAL
    assert request.review(19.9, heard)[0] == []
    assert request.review(20.0, heard)[0] == [Action.PROBE]
    with pytest.raises(WaitingForApproval, match="waits to be approved at the signer") as caught:
        request.review(105.1, replace(heard, heard_at=20.1))
    assert caught.value.auth_url is None


def test_a_request_is_sent_again_three_times_at_most() -> None:
    """A signer that answers each ping has it by then, and asks its owner."""
    request, view, sent = call(Patience(10, 2_000)), DELIVERED, []
    for now in range(1_000):
        actions, _ = request.review(now, view)
        if Action.PROBE in actions:
            view = replace(DELIVERED, heard_at=now + 0.5, answers_pings=True)
        if Action.SEND in actions:
            sent.append(now)
            request.sent(now)
    assert sent == [6, 21, 66]  # a second after the pings of 5, 20 and 65, and not of 200 and 605


def test_nobody_is_pinged_while_there_is_no_way_to_them() -> None:
    """A ping that was due is not, until the request is delivered again."""
    request = call()
    request.review(0.0, DELIVERED)
    request.review(4.0, NOBODY)
    assert request.review(6.0, NOBODY)[0] == []
    assert request.review(6.5, DELIVERED)[0] == []
    assert request.review(11.5, DELIVERED)[0] == [Action.PROBE]


def test_an_answer_to_a_ping_of_before_proves_nothing() -> None:
    """A busy signer answers what was sent before the request, however late: nobody is at work."""
    request = call()
    request.review(0.0, DELIVERED)
    request.review(5.0, DELIVERED)
    request.review(6.0, replace(DELIVERED, heard_at=0.0))
    assert request.step is Step.DELIVERED


def test_a_signer_that_stops_answering_pings_is_gone() -> None:
    """One that answered pings before and does not now is given up after a round trip."""
    request = call()
    knows = replace(DELIVERED, answers_pings=True)
    request.review(0.0, knows)
    request.review(5.0, knows)
    request.review(14.9, knows)
    with pytest.raises(RequestTimeout, match="neither it nor a ping"):
        request.review(15.0, knows)


def test_an_auth_url_gives_the_owner_his_time() -> None:
    """From the page on the owner has the whole approval time, and the error names the page."""
    request = call(Patience(10, 50))
    request.review(1.0, DELIVERED)
    assert request.ask_user("https://example.com/yes", 9.0)
    assert not request.ask_user("https://example.com/other", 9.0)
    assert request.progress.auth_url == "https://example.com/yes"
    request.review(30.0, MUTED)  # such a signer may listen elsewhere by now
    assert request.step is Step.WAITING_FOR_APPROVAL
    with pytest.raises(WaitingForApproval, match=r"https://example\.com/yes"):
        request.review(59.0, DELIVERED)


def test_a_relay_that_is_lost_after_delivery_has_a_round_trip_to_come_back() -> None:
    """DELIVERED falls back to QUEUED, and the deadline is the machine's, from the loss on."""
    request = call()
    request.review(1.0, DELIVERED)
    request.review(30.0, NOBODY)
    assert request.step is Step.QUEUED
    request.review(39.9, NOBODY)
    with pytest.raises(RelayUnreachable):
        request.review(40.0, NOBODY)


def test_a_relay_that_comes_and_goes_does_not_make_a_request_immortal() -> None:
    """However often the steps change, both deadlines together are the end."""
    request = call()
    for now in range(0, 110, 2):
        request.review(now, DELIVERED)
        request.review(now + 1, NOBODY)
    with pytest.raises(RequestTimeout):
        request.review(110, DELIVERED)


def test_a_total_deadline_ends_all_waiting() -> None:
    """`total` is the caller's own word on this request."""
    request = call(Patience(10, 100, total=3))
    request.ask_user("https://example.com/yes", 1.0)
    with pytest.raises(WaitingForApproval):
        request.review(3.0, DELIVERED)


def test_the_next_look_is_at_the_next_thing_to_do() -> None:
    """The pause is a second at most, and shorter when something is due before."""
    request = call(Patience(1.5, 100))
    assert request.review(0.0, SENT)[1] == 1.0
    assert request.review(1.0, SENT)[1] == 0.5
    offline = call()
    assert offline.review(0.0, MUTED)[1] == 0.25


def test_a_connection_that_is_lost_at_the_auth_page_changes_nothing() -> None:
    """The signer has the request, and its owner the page: no relay is needed to wait for them."""
    request = call(Patience(10, 50))
    request.review(1.0, DELIVERED)
    request.ask_user("https://example.com/yes", 2.0)
    request.review(20.0, NOBODY)  # longer than a relay may be away otherwise
    assert request.step is Step.WAITING_FOR_APPROVAL
    with pytest.raises(WaitingForApproval):
        request.review(52.0, NOBODY)


def test_no_word_of_any_relay_is_no_refusal() -> None:
    """Relays that left while they owed their answer: the request is sent, and not refused."""
    request = call()
    request.review(1.0, replace(SENT, owing=(), receipts=()))
    assert request.step is Step.SENT


def test_a_short_time_is_enough_to_ask_what_becomes_of_a_request() -> None:
    """The first ping goes out in a quarter of the caller's time, at five seconds at the latest."""
    for total, first in ((0.8, 0.2), (8.0, 2.0), (60.0, 5.0)):
        request = call(Patience(10, 100, total=total))
        request.review(0.0, DELIVERED)
        actions, pause = request.review(first - 0.01, DELIVERED)
        assert (actions, round(pause, 2)) == ([], 0.01)  # and the next look is at it
        assert request.review(first, DELIVERED)[0] == [Action.PROBE]


def test_a_relays_word_can_wait_for_the_next_look() -> None:
    """Delivered from the moment of the relay's OK on, without a review, if nothing is due soon."""
    request = call()
    request.review(0.0, SENT)
    assert request.delivered(0.5)
    assert request.step is Step.DELIVERED
    assert request.review(1.0, DELIVERED)[0] == []
    assert request.review(5.49, DELIVERED)[0] == []
    assert request.review(5.5, DELIVERED)[0] == [Action.PROBE]
    assert not request.delivered(6.0)  # another relay's: there is a question to look at
    short = call(Patience(10, 100, total=0.8))
    short.review(0.0, SENT)
    assert not short.delivered(0.1)
    assert short.step is Step.SENT


def test_a_key_that_is_locked_and_unlocked_again() -> None:
    """The latest ping says which: locked, then waiting for approval, and the error accordingly."""
    request = call()
    request.review(0.0, DELIVERED)
    request.review(5.0, DELIVERED)
    request.review(5.1, replace(DELIVERED, heard_at=5.1, answers_pings=True, locked=True))
    steps = [request.step]
    locked = replace(DELIVERED, heard_at=5.1, answers_pings=True, locked=True)
    assert request.review(20.0, locked)[0] == [Action.PROBE]
    request.review(20.1, replace(locked, heard_at=20.1, locked=False))
    assert [*steps, request.step] == [Step.LOCKED, Step.WAITING_FOR_APPROVAL]
    still = call(Patience(10, 20))
    still.review(0.0, DELIVERED)
    still.review(5.0, DELIVERED)
    still.review(5.1, locked)
    with pytest.raises(SignerLocked, match="not unlocked"):
        still.review(26.0, locked)
