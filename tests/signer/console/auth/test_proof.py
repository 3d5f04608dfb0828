"""What a stolen phone can't do: every action needs a proof, but for a short list."""

import json
import sqlite3
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

from bunker_signer.console.app import ROUTES
from bunker_signer.console.auth.address import parse_address
from bunker_signer.console.auth.passkeys import LIFETIME, Passkeys
from bunker_signer.console.problem import Problem
from bunker_signer.console.routing import ActionRoute, Proof
from bunker_signer.store.accounts import CODE_TRIES, FILE_NAME, LINK_LIFETIME, Accounts
from signer.console._stage import Stage, bound, http, stage
from signer.console.auth._authenticator import Authenticator
from support.commands import printed

ORIGIN = "http://localhost:7778"
# What needs no proof on a bound device, though the owner wants to be asked: it takes something
# away from apps or from this very device, chooses a language, or changes nothing.
EXCEPTIONS = {
    "/keys/{key}/lock",
    "/stop/lock",
    "/logout",
    "/language",
    "/confirm/options",
    "/passkeys/options",
    "/apps/frame",
    "/apps/review",
}
PUBLIC = {"/bind/{token}", "/login", "/login/options", "/login/password"}
FRESH = {"/devices/link", "/passkeys/add", "/passkeys/remove", "/confirm"}
ACTIONS = [route for route in ROUTES if isinstance(route, ActionRoute)]


class Nowhere:
    """A visit to a request that is over."""

    class request:  # noqa: N801
        path_params: ClassVar = {"id": "x"}

    class console:  # noqa: N801
        class waiting:  # noqa: N801
            @staticmethod
            def find(_: str) -> None:
                return None


def proof_of(route: ActionRoute, **form: str) -> Proof:
    proof: Any = route.proof
    return proof if isinstance(proof, Proof) else proof(Nowhere, form)


def test_a_proof_is_the_default() -> None:
    """A route that says nothing asks; the walk prints what each one needs."""
    table = {route.path: proof_of(route, answer="once") for route in ACTIONS}
    for path, proof in sorted(table.items()):
        print(f"{path:<36} {proof.value}")
    assert {path for path, proof in table.items() if proof is Proof.NONE} == EXCEPTIONS | PUBLIC
    assert {path for path, proof in table.items() if proof is Proof.FRESH} == FRESH
    (answer,) = (route for route in ACTIONS if route.path == "/requests/{id}")
    assert proof_of(answer, answer="deny") is Proof.NONE
    assert proof_of(answer) is Proof.CHOSEN


async def test_every_action_without_the_passkey(relay_url: str, folder: Path) -> None:
    """A thief of a bound device, and the owner wants to be asked: nothing but the exceptions."""
    async with stage(relay_url, folder) as on, http(on) as thief:
        csrf = await bound(on, thief)
        Authenticator(on.origin).register(on.data)
        accounts = Accounts(on.data / FILE_NAME)
        accounts.set_confirm(wanted=True)
        (device,) = accounts.devices()
        for route in ACTIONS:
            if route.path in EXCEPTIONS | PUBLIC:
                continue
            path = route.path.replace("{key}", "default").replace("{pubkey}", "b" * 64)
            path = path.replace("{id}", device.id)
            for form in ({}, {"answer": "once"}, {"name": "evil", "grant": "1"}):
                answer = await thief.post(path, data={"csrf": csrf, **form})
                assert answer.status_code == 403, path
                assert "This needs your passkey" in answer.text, path
        assert accounts.devices() != ()
        accounts.close()


def age(data: Path, seconds: int) -> None:
    """Have every device been bound so long ago."""
    with sqlite3.connect(data / FILE_NAME) as database:
        database.execute("UPDATE devices SET bound_at = bound_at - ?", (seconds,))
    database.close()


async def post(client: httpx.AsyncClient, path: str, csrf: str, **form: str) -> int:
    return (await client.post(path, data={"csrf": csrf, **form})).status_code


async def test_a_bound_phone_brings_nobody_in(relay_url: str, folder: Path) -> None:
    """Without a passkey a new device takes a code of the machine: once, and few tries."""
    async with stage(relay_url, folder) as on, http(on) as phone:
        csrf = await bound(on, phone)
        assert await post(phone, "/devices/link", csrf) == 200  # just bound by a link: it is fresh
        age(on.data, LINK_LIFETIME + 5)
        for path in sorted(FRESH):
            assert await post(phone, path, csrf) == 403, path
        code = await on.command("devices", "code")
        assert await post(phone, "/devices/link", csrf, code=code.lower()) == 200
        assert await post(phone, "/devices/link", csrf, code=code) == 403


async def test_wrong_codes_use_a_code_up(tmp_path: Path) -> None:
    """Ten letters and five tries: nobody guesses one."""
    accounts = Accounts(tmp_path / FILE_NAME)
    code = accounts.new_code(1000)
    for _ in range(CODE_TRIES - 1):
        assert not accounts.use_code("AAAAA-AAAAA", 1000)
    assert accounts.use_code(code.replace("-", " ").lower(), 1000 + LINK_LIFETIME)
    code = accounts.new_code(1000)
    assert not accounts.use_code(code, 1001 + LINK_LIFETIME)
    for _ in range(CODE_TRIES):
        assert not accounts.use_code("AAAAA-AAAAA", 1000)
    assert not accounts.use_code(code, 1000)
    first, second = accounts.new_code(1000), accounts.new_code(1000)
    assert not accounts.use_code(first, 1000)
    assert accounts.use_code(second, 1000)
    accounts.close()


async def test_a_fresh_passkey_lets_in_and_a_stolen_phone_does_not(
    relay_url: str, folder: Path
) -> None:
    """Where there is a passkey it is asked for, also when the owner did not choose that."""
    async with stage(relay_url, folder) as on, http(on) as phone:
        csrf = await bound(on, phone)
        passkey = Authenticator(on.origin)
        passkey.register(on.data)
        assert await post(phone, "/devices/link", csrf) == 403
        assert (
            await post(phone, "/devices/link", csrf, code=await on.command("devices", "code"))
            == 403
        )
        fields = {"csrf": csrf, "confirm_path": "/devices/link"}
        options = await phone.post("/confirm/options", data=fields)
        proof = passkey.answer(options.text)
        assert await post(phone, "/devices/link", csrf, proof=proof) == 200
        assert await post(phone, "/devices/link", csrf, proof=proof) == 403  # once


async def test_panic_is_total_and_final(relay_url: str, folder: Path) -> None:
    """A thief who bound a second device and made a passkey is out, and unlocks nothing."""
    async with stage(relay_url, folder) as on, http(on) as phone, http(on) as second:
        await bound(on, phone, "Phone")
        csrf = await bound(on, second, "Thief")
        passkey = Authenticator(on.origin)
        passkey.register(on.data)
        unused = (await on.new_link()).removeprefix(on.origin)
        listed = await on.command("devices")
        assert "passkey" in listed
        said = await on.command("panic")
        assert "forgot 2 devices and 1 passkey" in said
        for client in (phone, second):
            assert (await client.get("/requests")).status_code == 401
        assert await post(second, "/keys/default/unlock", csrf) == 401
        options = await second.post("/login/options")
        answer = await second.post("/login", data={"credential": passkey.answer(options.text)})
        assert answer.status_code == 403
        assert (await second.post(unused, data={"name": "x"})).status_code == 404
        # Also a device that the machine lets in anew can't end it from the console.
        csrf = await bound(on, phone, "Phone")
        assert await post(phone, "/keys/default/unlock", csrf) == 403
        await on.command("unlock")
        await on.command("lock")
        assert await post(phone, "/keys/default/unlock", csrf) == 303


async def test_devices_from_the_machine(relay_url: str, folder: Path) -> None:
    """The command line lists devices and passkeys, and forgets them under a running signer."""
    async with stage(relay_url, folder) as on, http(on) as phone:
        await bound(on, phone, "Phone")
        Authenticator(on.origin).register(on.data)
        rows = []
        for line in (await command(on, "devices", "--json")).splitlines():
            rows.append(json.loads(line))
        assert [(row["type"], row["name"]) for row in rows] == [
            ("device", "Phone"),
            ("passkey", "Soft"),
        ]
        assert (await phone.get("/requests")).status_code == 200
        await on.command("devices", "forget", rows[0]["id"], rows[1]["id"])
        assert (await phone.get("/requests")).status_code == 401
        assert await command(on, "devices", "--json") == ""


async def command(on: Stage, *arguments: str) -> str:
    """Return all that a command prints."""
    return await printed("signer", *arguments, "--data", str(on.data))


# Challenges, without a browser and with a clock of our own.


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def desk(tmp_path: Path, clock: Clock) -> Iterator[tuple[Passkeys, Authenticator]]:
    """A console's passkeys, and one that is registered."""
    accounts = Accounts(tmp_path / FILE_NAME)
    passkey = Authenticator(ORIGIN)
    accounts.add_passkey(passkey.passkey())
    yield Passkeys(parse_address(ORIGIN), accounts, clock), passkey
    accounts.close()


def test_strangers_push_out_no_challenge(desk: tuple[Passkeys, Authenticator]) -> None:
    """However many challenges somebody asks for, the owner's is as good as before."""
    passkeys, phone = desk
    login, confirmation = passkeys.login(), passkeys.confirmation("d1", "/x", {"a": "b"})
    for _ in range(3000):
        passkeys.login()
    assert passkeys.log_in(phone.answer(login)).name == "Soft"
    passkeys.check(phone.answer(confirmation), "d1", "/x", {"a": "b"})


@pytest.mark.parametrize("late", [LIFETIME + 0.1, 10 * LIFETIME])
def test_a_challenge_is_for_two_minutes(
    desk: tuple[Passkeys, Authenticator], clock: Clock, late: float
) -> None:
    """Later it is worth nothing."""
    passkeys, phone = desk
    options = passkeys.login()
    clock.now += late
    with pytest.raises(Problem):
        passkeys.log_in(phone.answer(options))


def test_a_challenge_is_for_one_purpose_and_once(desk: tuple[Passkeys, Authenticator]) -> None:
    """Neither another form, nor another device, nor a log-in, nor again."""
    passkeys, phone = desk
    options = passkeys.confirmation("d1", "/x", {"a": "b"})
    for device, path, form in (
        ("d2", "/x", {"a": "b"}),
        ("d1", "/y", {"a": "b"}),
        ("d1", "/x", {}),
    ):
        with pytest.raises(Problem):
            passkeys.check(phone.answer(options), device, path, form)
    with pytest.raises(Problem):
        passkeys.log_in(phone.answer(options))
    passkeys.check(phone.answer(options), "d1", "/x", {"a": "b"})
    with pytest.raises(Problem):
        passkeys.check(phone.answer(options), "d1", "/x", {"a": "b"})


@pytest.mark.parametrize(
    "change",
    [
        {"crossOrigin": True},
        {"crossOrigin": "no"},
        {"origin": "http://localhost:7779"},
        {"challenge": "AAAA"},
        {"challenge": ""},
        {"type": "webauthn.create"},
    ],
)
def test_an_answer_from_elsewhere(
    desk: tuple[Passkeys, Authenticator], change: dict[str, Any]
) -> None:
    """Of a frame in a foreign page, of another origin, of a made-up challenge: refused."""
    passkeys, phone = desk
    options = passkeys.login()
    with pytest.raises(Problem):
        passkeys.log_in(phone.answer(options, **change))
    assert passkeys.log_in(phone.answer(options)).name == "Soft"


@pytest.mark.parametrize("depth", [1, 60_000])
def test_an_answer_that_is_none(desk: tuple[Passkeys, Authenticator], depth: int) -> None:
    """Whatever stands in the form or in its client data, of strangers too: refused, and counted."""
    passkeys, phone = desk
    inner = b64encode(b"[" * depth).decode().rstrip("=")
    whole = {"rawId": "AAAA", "response": {"clientDataJSON": inner}}
    for credential in ("[" * depth, '{"a":' * depth, json.dumps(whole), "[]", "null", "7", "é"):
        with pytest.raises(Problem):
            passkeys.log_in(credential)
    assert passkeys.log_in(phone.answer(passkeys.login())).name == "Soft"
