"""The testbed over HTTP, for suites in other languages; described by its own OpenAPI document.

The table of operations is the one source of the routes and of the document.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bunker.testbed.bed import Testbed
from bunker.testbed.faults import Fault, FaultName
from bunker.testbed.relay import Relay
from bunker.testbed.signer import Signer
from bunker_core.errors import BunkerError
from bunker_signer.request.approval import Verdict

MAX_BODY: Final = 65_536  # bytes
_CALL_TIMEOUT: Final = 10.0  # seconds that `wait` waits


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NewRelay(_Body):
    """A relay to start."""

    profile: str = Field("open", pattern="^(open|bunker)$")


class Invitation(_Body):
    """What a client may do that pairs: a list as NIP-46 writes it, null for everything."""

    allow: str | None = None


class NewSigner(Invitation):
    """A signer to start. `relays` are numbers of relays; the first one unless given."""

    relays: list[int] = []
    secret_key: str | None = Field(None, pattern="^[0-9a-f]{64}$")


class ClientInvitation(Invitation):
    """A client's nostrconnect:// URI for the signer to take."""

    uri: str


class NewFault(_Body):
    """What happens to the next response, or to the next one of `method`."""

    name: FaultName
    method: str | None = None
    seconds: float = Field(0.0, ge=0, le=300)
    url: str = Field("", max_length=2_000)


class State(_Body):
    """What stays until it is changed again; what is left out stays as it is."""

    muted: bool | None = None
    denying: bool | None = None
    locked: bool | None = None
    clock_skew: float | None = Field(None, ge=-1e6, le=1e6)
    answer: str | None = Field(None, pattern="^(deny|once|always|never|silence)$")


class NotFound(Exception):
    """There is no relay or signer of that number."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be done: `act` gets the number in the path (or 0) and the body."""

    method: str
    path: str
    summary: str
    act: Callable[[int, Any], Any]
    body: type[_Body] | None = None


class API:
    """What the HTTP interface does to a testbed. Called from worker threads."""

    def __init__(self, bed: Testbed, stop: Callable[[], None]) -> None:
        """`stop` ends the testbed."""
        self._bed = bed
        self._stop = stop

    def operations(self) -> list[Operation]:
        """Return the table of all operations."""
        return [
            Operation("GET", "/relays", "List the relays.", self._relays),
            Operation("POST", "/relays", "Start a relay.", self._add_relay, NewRelay),
            Operation("POST", "/relays/{number}/kill", "Break all connections.", self._kill_relay),
            Operation("POST", "/relays/{number}/stop", "Stop with a goodbye.", self._stop_relay),
            Operation(
                "POST",
                "/relays/{number}/restart",
                "Start again on the same port, and wait for the signers to be back.",
                self._restart_relay,
            ),
            Operation("GET", "/signers", "List the signers.", self._signers),
            Operation("POST", "/signers", "Start a signer.", self._add_signer, NewSigner),
            Operation("GET", "/signers/{number}", "Show a signer.", self._show_signer),
            Operation("PATCH", "/signers/{number}", "Change its state.", self._set_state, State),
            Operation(
                "POST", "/signers/{number}/uri", "Make a bunker:// URI.", self._invite, Invitation
            ),
            Operation(
                "POST",
                "/signers/{number}/accept",
                "Take a nostrconnect:// URI.",
                self._accept,
                ClientInvitation,
            ),
            Operation(
                "POST",
                "/signers/{number}/faults",
                "Let the next response go wrong.",
                self._add_fault,
                NewFault,
            ),
            Operation("DELETE", "/signers/{number}/faults", "Let all go well.", self._clear_faults),
            Operation(
                "POST", "/signers/{number}/agree", "Be the user at the auth_url.", self._agree
            ),
            Operation("POST", "/signers/{number}/kill", "End the signer.", self._kill_signer),
            Operation("POST", "/signers/{number}/restart", "Start it again.", self._restart_signer),
            Operation(
                "GET",
                "/signers/{number}/questions",
                "List what its owner was asked.",
                self._questions,
            ),
            Operation("GET", "/transcript", "Show what crossed, decrypted.", self._transcript),
            Operation("DELETE", "/transcript", "Forget it.", self._clear_transcript),
            Operation("DELETE", "/", "End the testbed.", self._end),
        ]

    def _relays(self, _number: int, _body: None) -> Any:
        return [_relay(number, relay) for number, relay in enumerate(self._bed.relays)]

    def _add_relay(self, _number: int, body: NewRelay) -> Any:
        relay = self._bed.relay(profile=body.profile)
        return _relay(self._bed.relays.index(relay), relay)

    def _kill_relay(self, number: int, _body: None) -> None:
        self._relay(number).kill()

    def _stop_relay(self, number: int, _body: None) -> None:
        self._relay(number).stop()

    def _restart_relay(self, number: int, _body: None) -> None:
        self._relay(number).restart()
        for signer in self._bed.signers:
            if signer.running:
                signer.wait_until_listening(_CALL_TIMEOUT)

    def _signers(self, _number: int, _body: None) -> Any:
        return [_signer(number, signer) for number, signer in enumerate(self._bed.signers)]

    def _add_signer(self, _number: int, body: NewSigner) -> Any:
        signer = self._bed.signer(
            *(self._relay(number) for number in body.relays),
            secret_key=bytes.fromhex(body.secret_key) if body.secret_key else None,
            allow=body.allow,
        )
        return {**_signer(self._bed.signers.index(signer), signer), "uri": signer.uri}

    def _show_signer(self, number: int, _body: None) -> Any:
        return _signer(number, self._signer(number))

    def _set_state(self, number: int, body: State) -> Any:
        signer = self._signer(number)
        if body.muted is not None:
            signer.faults.mute(body.muted)
        if body.denying is not None:
            signer.faults.deny(body.denying)
        if body.clock_skew is not None:
            signer.faults.skew_clock(body.clock_skew)
        if body.locked is not None:
            (signer.lock if body.locked else signer.unlock)()
        if body.answer is not None:
            answer = None if body.answer == "silence" else Verdict(body.answer)
            signer.approver = lambda _: answer
        return _signer(number, signer)

    def _invite(self, number: int, body: Invitation) -> Any:
        return {"uri": self._signer(number).invite(body.allow)}

    def _accept(self, number: int, body: ClientInvitation) -> None:
        self._signer(number).accept(body.uri, body.allow)

    def _add_fault(self, number: int, body: NewFault) -> None:
        if body.name is FaultName.AUTH_URL:
            self._signer(number).faults.ask_auth_url(body.url, body.method)
        else:
            fault = Fault(body.name, body.method, body.seconds)
            self._signer(number).faults.add(fault)

    def _clear_faults(self, number: int, _body: None) -> None:
        self._signer(number).faults.clear()

    def _agree(self, number: int, _body: None) -> None:
        self._signer(number).faults.agree()

    def _kill_signer(self, number: int, _body: None) -> None:
        self._signer(number).kill()

    def _restart_signer(self, number: int, _body: None) -> None:
        self._signer(number).restart()

    def _questions(self, number: int, _body: None) -> Any:
        return [
            {
                "client_pubkey": question.client_pubkey,
                "method": item.action.method.value,
                "kind": item.action.kind,
                "peer": item.action.peer,
                "content": item.template.content if item.template else None,
            }
            for question in self._signer(number).questions
            for item in question.items
        ]

    def _transcript(self, _number: int, _body: None) -> Any:
        return [entry.to_dict() for entry in self._bed.transcript]

    def _clear_transcript(self, _number: int, _body: None) -> None:
        self._bed.transcript.clear()

    def _end(self, _number: int, _body: None) -> None:
        self._stop()

    def _relay(self, number: int) -> Relay:
        try:
            return self._bed.relays[number]
        except IndexError:
            raise NotFound(f"there is no relay {number}") from None

    def _signer(self, number: int) -> Signer:
        try:
            return self._bed.signers[number]
        except IndexError:
            raise NotFound(f"there is no signer {number}") from None


def create_app(api: API, prefix: str, version: str) -> Starlette:
    """Return the app that serves `api` below `prefix`, a path without a slash at its end."""
    operations = api.operations()
    document = openapi(operations, prefix, version)

    async def describe(_request: Request) -> Response:
        return JSONResponse(document)

    routes = [Route(f"{prefix}/openapi.json", describe)]
    for operation in operations:
        path = prefix + operation.path.replace("{number}", "{number:int}")
        routes.append(Route(path, _endpoint(operation), methods=[operation.method]))
    return Starlette(routes=routes)


def openapi(operations: list[Operation], prefix: str, version: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of `operations`."""
    paths: dict[str, Any] = {}
    for operation in operations:
        described: dict[str, Any] = {
            "summary": operation.summary,
            "operationId": operation.act.__name__.removeprefix("_"),
            "responses": {
                "200": {"description": "What it says, as JSON"},
                "204": {"description": "Done"},
                "400": {"description": "It can't be done; the reason is in `error`"},
                "404": {"description": "There is no such relay or signer"},
                "422": {"description": "The body does not fit; the reason is in `error`"},
            },
        }
        if "{number}" in operation.path:
            schema = {"type": "integer", "minimum": 0}
            described["parameters"] = [
                {"name": "number", "in": "path", "required": True, "schema": schema}
            ]
        if operation.body is not None:
            content = {"application/json": {"schema": _schema(operation.body)}}
            described["requestBody"] = {"required": False, "content": content}
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "bunker testbed",
            "version": version,
            "description": "Relay and remote signer (NIP-46) with faults on demand, for tests.",
        },
        "servers": [{"url": prefix}],
        "paths": paths,
    }


def _schema(body: type[_Body]) -> dict[str, Any]:
    schema = body.model_json_schema()
    # An OpenAPI document has its definitions elsewhere than a JSON schema: put them in place.
    definitions = schema.pop("$defs", {})
    text = json.dumps(schema)
    for name, definition in definitions.items():
        text = text.replace(json.dumps({"$ref": f"#/$defs/{name}"}), json.dumps(definition))
    placed: dict[str, Any] = json.loads(text)
    return placed


def _endpoint(operation: Operation) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        raw = bytearray()
        async for chunk in request.stream():
            raw += chunk
            if len(raw) > MAX_BODY:
                return _error(413, "the body is too large")
        number = int(request.path_params.get("number", 0))
        try:
            body = (
                operation.body.model_validate_json(bytes(raw) or b"{}") if operation.body else None
            )
            result = await run_in_threadpool(operation.act, number, body)
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False, include_input=False)
            return _error(422, "; ".join(f"{_place(item['loc'])}{item['msg']}" for item in found))
        except NotFound as error:
            return _error(404, str(error))
        except (BunkerError, ValueError, RuntimeError, TimeoutError, OSError) as error:
            return _error(400, str(error) or type(error).__name__)
        return Response(status_code=204) if result is None else JSONResponse(result)

    return answer


def _place(location: tuple[int | str, ...]) -> str:
    return f"{'.'.join(map(str, location))}: " if location else ""


def _error(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status_code=status)


def _relay(number: int, relay: Relay) -> dict[str, Any]:
    return {"number": number, "url": relay.url, "running": relay.running}


def _signer(number: int, signer: Signer) -> dict[str, Any]:
    faults = signer.faults
    return {
        "number": number,
        "npub": signer.npub,
        "pubkey": signer.pubkey,
        "remote_signer_pubkey": signer.remote_signer_pubkey,
        "running": signer.running,
        "locked": signer.running and signer.locked,
        "muted": faults.muted,
        "denying": faults.denying,
        "clock_skew": faults.clock_skew,
        "faults": [fault.name.value for fault in faults.waiting()],
    }
