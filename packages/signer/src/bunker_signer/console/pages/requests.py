"""What waits for an answer, and answering it."""

from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from bunker_core.describe import plain
from bunker_core.nips.nip19 import encode_npub
from bunker_signer.approvers.inbox import UnknownQuestion
from bunker_signer.console import live
from bunker_signer.console.pages.keys import unlock_key
from bunker_signer.console.problem import Problem
from bunker_signer.console.routing import Form, Proof, action, page
from bunker_signer.console.site import Console, Visit
from bunker_signer.console.view import words
from bunker_signer.console.view.waiting import seen
from bunker_signer.key.access import KeyState
from bunker_signer.key.keystore import opens_by_master_key
from bunker_signer.request.approval import Answer, Question, Verdict

_DENY: Final = "deny"
_ONCE: Final = "once"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the list."""

    id: str
    app: str
    title: str
    asked: words.Moment


def rows(console: Console, visit: Visit) -> list[Row]:
    """Return what waits, the oldest first: a new request never moves an older one."""
    return [
        Row(
            question.items[0].request,
            words.name_of(question.client_name, visit.texts),
            words.title_of(question.action, len(question.items), visit.texts),
            words.moment(int(question.asked_at), visit.texts),
        )
        for question in console.waiting.questions()
    ]


def card(console: Console, visit: Visit, request_id: str) -> words.Card | None:
    """Return an open question as it is shown."""
    question = console.waiting.find(request_id)
    return None if question is None else _card(console, visit, question)


def how_it_ended(console: Console, visit: Visit, request_id: str) -> str:
    """Return in words how a question ended."""
    end = console.waiting.end(request_id)
    if end is None:
        return visit.texts("over.gone")
    if end.expired:
        return visit.texts("over.expired")
    if end.answer is None:
        return visit.texts("over.elsewhere")
    key = "over.allowed" if end.answer.allows else "over.denied"
    return visit.texts(key, by=words.by_words(end.answer.by, visit.texts))


async def home(visit: Visit) -> Response:
    return visit.go("/requests")


async def show_all(visit: Visit) -> Response:
    questions = visit.console.waiting.questions()
    shown = questions[0].items[0].request if questions else ""
    return _page(visit, shown)


async def show_one(visit: Visit) -> Response:
    return _page(visit, visit.request.path_params["id"])


async def answer(visit: Visit, form: Form) -> Response:
    """Take the owner's answer. Of two devices that answer at once the first one counts."""
    console = visit.console
    request_id = visit.request.path_params["id"]
    question = console.waiting.find(request_id)
    if question is None:
        return _page(visit, request_id, 409)
    # Asked anew in the meantime, and perhaps for more: nothing counts that was not on the page.
    if form.get("seen") != seen(question):
        raise Problem("problem.changed", 409)
    said = _answer(form.get("answer", ""), visit.device.name)
    visit.console.signer.owner_seen()
    if said.allows:
        if visit.console.signer.app(question.key_name, question.client_pubkey) is None:
            raise Problem("problem.app_gone", 409)
        if question.description(console.now()).dangers and form.get("sure") != "yes":
            raise Problem("problem.twice", 409)
        await unlock_key(visit, question.key_name, form)
    try:
        console.waiting.answer(question.id, said)
    except UnknownQuestion:
        return _page(visit, request_id, 409)
    if said.verdict is Verdict.ALWAYS:
        return visit.go(f"/requests?undo={request_id}")
    return visit.go("/requests", "allowed" if said.allows else "denied")


async def undo(visit: Visit, _form: Form) -> Response:
    """Take back the permission that an answer gave; what was signed stays signed."""
    end = visit.console.waiting.end(visit.request.path_params["id"])
    if end is None or end.answer is None or end.answer.verdict is not Verdict.ALWAYS:
        raise Problem("problem.not_found", 404)
    question, action = end.question, end.question.action
    taken = visit.console.signer.take_rule(
        question.key_name,
        question.client_pubkey,
        action.method.value,
        action.param,
        f"console: {visit.device.name}",
    )
    if not taken:
        raise Problem("problem.not_found", 404)
    return visit.go("/requests", "undone")


def undo_offer(console: Console, visit: Visit) -> tuple[str, str] | None:
    """Return the request whose lasting answer can be taken back, and what it allowed."""
    request_id = visit.request.query_params.get("undo", "")[:64]
    end = console.waiting.end(request_id) if request_id else None
    if end is None or end.answer is None or end.answer.verdict is not Verdict.ALWAYS:
        return None
    question = end.question
    periods = {seconds: value for value, seconds in words.PERIODS.items()}
    key = periods.get(end.answer.seconds, "always")
    app = words.name_of(question.client_name, visit.texts)
    what = words.title_of(question.action, 1, visit.texts)
    return request_id, visit.texts(f"spelt.{key}", app=app, what=what)


def proof_of(visit: Visit, form: Form) -> Proof:
    """Return what an answer needs: to deny, nothing; to allow something dangerous, perhaps more."""
    if form.get("answer") == _DENY:
        return Proof.NONE
    console = visit.console
    question = console.waiting.find(visit.request.path_params["id"])
    if question is None or not console.accounts.guard_dangers:
        return Proof.CHOSEN
    dangers = question.description(console.now()).dangers
    return Proof.ALWAYS if dangers else Proof.CHOSEN


def _answer(value: str, device: str) -> Answer:
    by = f"console: {device}"
    if value == _DENY:
        return Answer(Verdict.DENY, by)
    if value == _ONCE:
        return Answer(Verdict.ONCE, by)
    if value in words.PERIODS:
        return Answer(Verdict.ALWAYS, by, seconds=words.PERIODS[value])
    raise Problem("problem.request")


def _page(visit: Visit, shown: str, status: int = 200) -> Response:
    return visit.render("requests.html", status, shown=shown)


def _card(console: Console, visit: Visit, question: Question) -> words.Card:
    identity = console.signer.identity(question.key_name)
    own = question.known(question).own_name or question.key_name
    key = f"{own} · {plain.short(encode_npub(identity.user_pubkey))}"
    locked = identity.state is KeyState.LOCKED
    return words.card_of(
        question,
        key,
        visit.texts,
        console.now(),
        locked=locked,
        needs_passphrase=locked and not opens_by_master_key(identity.user),
    )


async def favicon(_: Request) -> Response:
    return RedirectResponse("/static/icon.svg", 308)


routes = [
    page("/", home),
    page("/requests", show_all),
    page("/requests/{id}", show_one),
    action("/requests/{id}", answer, proof=proof_of),
    action("/requests/{id}/undo", undo),
    page("/events", live.events),
    Route("/favicon.ico", favicon),
]
