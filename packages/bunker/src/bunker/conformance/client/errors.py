"""NIP-46, refusals: in whatever form a signer writes them, the caller has to read them."""

from collections.abc import Iterable
from typing import Any

from bunker.conformance.case import Level, NotOffered, case, expect
from bunker.conformance.client.kit import ClientKit
from bunker.conformance.client.signer import Asked

ERROR = "NIP-46, Response Events: its presence indicates an error"
FORMS = "practice: forms that signers write"
TEXT = "denied: the user said no"


async def refused(client: ClientKit, **value: Any) -> str:
    """Refuse sign_event in a form; return what the library tells its caller."""
    client.signer.on("sign_event", lambda asked: [{"id": asked.id, **value}])
    await client.login()
    return await client.rejects(client.sign())


@case("client/error/with-result", Level.MUST, ERROR)
async def with_result(client: ClientKit) -> None:
    """An error ends the call. Sent: {"result":"error","error":"denied…"}."""
    await refused(client, result="error", error=TEXT)


@case("client/error/alone", Level.MUST, ERROR)
async def alone(client: ClientKit) -> None:
    """An error without a result ends the call. Sent: {"error":"denied…"}."""
    await refused(client, error=TEXT)


@case("client/error/result-null", Level.SHOULD, FORMS)
async def result_null(client: ClientKit) -> None:
    """An error beside result: null ends the call. Sent: {"result":null,"error":"denied…"}."""
    await refused(client, result=None, error=TEXT)


@case("client/error/result-empty", Level.SHOULD, FORMS)
async def result_empty(client: ClientKit) -> None:
    """An error beside result: "" ends the call. Sent: {"result":"","error":"denied…"}."""
    await refused(client, result="", error=TEXT)


@case("client/error/object", Level.MAY, "practice: snstr's bunker sends an object")
async def error_object(client: ClientKit) -> None:
    """An error that is an object ends the call. Sent: {"error":{"code":7,"message":"denied…"}}."""
    await refused(client, result="error", error={"code": 7, "message": TEXT})


async def said(client: ClientKit, **value: Any) -> None:
    told = await refused(client, **value)
    expect(TEXT in told, f"the caller reads {told!r}")


@case("client/error/text", Level.SHOULD, "practice: a person has to read why")
async def text(client: ClientKit) -> None:
    """The caller gets the signer's text. Sent: {"result":"error","error":"denied…"}."""
    await said(client, result="error", error=TEXT)


@case("client/error/text-alone", Level.SHOULD, "practice: a person has to read why")
async def text_alone(client: ClientKit) -> None:
    """So it does without a result. Sent: {"error":"denied…"}."""
    await said(client, error=TEXT)


@case("client/error/next-works", Level.MUST, "practice: a refusal is of one request")
async def next_works(client: ClientKit) -> None:
    """After a refusal the next request is answered. Sent: an error, then a signed event."""
    ids: list[Any] = []

    def answer(asked: Asked) -> Iterable[Any]:
        ids.append(asked.id)
        if asked.id != ids[0]:  # one that is sent again is the same request
            return [client.signer.good(asked)]
        return [{"id": asked.id, "result": "error", "error": TEXT}]

    client.signer.on("sign_event", answer)
    await client.login()
    await client.rejects(client.sign())
    await client.sign()


@case("client/error/ping", Level.SHOULD, ERROR)
async def ping(client: ClientKit) -> None:
    """A ping that is refused ends with an error. Sent: ping answered with an error."""
    client.signer.on(
        "ping", lambda asked: [{"id": asked.id, "result": "error", "error": "unsupported: ping"}]
    )
    await client.login()
    await client.rejects(client.tell("ping"))


@case("client/logout/sent", Level.MAY, "NIP-46, Ending a session: client MAY send logout")
async def logout_sent(client: ClientKit) -> None:
    """Its logout tells the signer. Sent: "ack"."""
    await client.login()
    await client.tell("logout")
    if not client.signer.requests("logout"):
        raise NotOffered("it sends no logout")
