"""What the extension makes of a remote signer's answers, when they are not those of a good one."""

import asyncio
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from bunker_core.event import EventTemplate, parse_template, sign_event
from bunker_core.keys import SecretKey
from client.nip07._stage import bundled
from support.require import need
from support.scripted import Asked, ScriptedSigner, scripted_relay, scripted_signer

HERE = Path(__file__).parent
CURVE = HERE.parents[3] / "packages/phone/node_modules/tiny-secp256k1/lib/secp256k1.wasm"
PATIENCE = 30  # seconds for what takes one
ODD = "refused: error: what the signer answered is no event with a signature that holds"
NONE = "refused: error: the signer answered {} without a result"


def page(url: str) -> dict[str, str]:
    """Return the answer that sends the signer's owner somewhere (NIP-46)."""
    return {"result": "auth_url", "error": url}


# What comes back, beside the id, for a text; and what the site gets.
TEXTS: dict[str, tuple[list[Any], str]] = {
    "object": ([{"result": None, "error": {"code": 1, "message": "denied: no"}}], "denied: no"),
    "code": ([{"error": {"code": 7}}], '{"code":7}'),
    "null": ([{"result": None}], NONE.format("nip44_decrypt")),
    "empty": ([{"result": ""}], ""),
    "other id": ([{"id": "x", "result": "wrong"}, {"result": "right"}], "right"),
    "twice": ([{"result": "first"}, {"result": "second"}], "first"),
    "script": ([page("javascript:alert(1)"), {"result": "none"}], "none"),
    "data": ([page("data:text/html,x"), page("https://late.example"), {"result": "one"}], "one"),
    "page": ([page("https://a.example/x"), page("https://b"), {"result": "seen"}], "seen"),
}
REFUSED = {"object", "code"}  # by the signer, in the words that stand there
ASKED: list[tuple[str, int | str, str]] = [
    ("sign_event", 1, "hi"),
    ("sign_event", 2, "hi"),
    ("sign_event", 3, "refused: error: the signer changed created_at"),
    ("sign_event", 4, "refused: error: the signer changed content, tags"),
    ("sign_event", 5, NONE.format("sign_event")),
    ("sign_event", 6, "refused: error: the event is signed by another key"),
    ("sign_event", 7, ODD),
    ("sign_event", 8, ODD),
    *(
        ("nip44_decrypt", text, f"refused: {want}" if text in REFUSED else want)
        for text, (_, want) in TEXTS.items()
    ),
    ("nip44_encrypt", "empty", NONE.format("nip44_encrypt")),
    ("nip04_encrypt", "null", NONE.format("nip04_encrypt")),
]


def signed(signer: ScriptedSigner, asked: Asked) -> list[Any]:
    """Return the answers to `sign_event`, by the kind."""
    wanted = json.loads(asked.params[0])

    def event(**fields: Any) -> str:
        return sign_event(parse_template(wanted | fields), signer.user).to_json().decode()

    other = sign_event(EventTemplate(6, "hi", (), 1_790_000_000), SecretKey.generate())
    results: dict[int, list[Any]] = {
        1: [event(), event()],
        2: [json.loads(event())],
        3: [event(created_at=1)],
        4: [event(content="x", tags=[["e"]])],
        5: [None],
        6: [other.to_json().decode()],
        7: [event().replace('"hi"', '"ho"')],
        8: ["null"],
    }
    return [{"result": result} for result in results[wanted["kind"]]]


@pytest.mark.asyncio
async def test_odd_answers_are_errors_in_words_and_never_an_empty_success() -> None:
    """Errors as objects, no result, changed events, late and doubled answers, pages that are none.

    The signer is silent to `switch_relays`, and the pairing does not wait for it.
    """
    node = shutil.which("node")
    need(node and CURVE.is_file(), "Node.js, make extension (npm)")

    def answer(request: Asked) -> Iterable[Any]:
        match request.method:
            case "connect" | "get_public_key":
                return [signer.good(request)]
            case "switch_relays":
                return []
            case "sign_event":
                answers = signed(signer, request)
            case _:
                answers, _ = TEXTS[request.params[1]]
        return [{"id": request.id} | item for item in answers]

    async with scripted_relay() as relay, scripted_signer(relay.url, answer=answer) as signer:
        said, pages = await run(str(node), signer.uri)
    assert dict(zip([(method, what) for method, what, _ in ASKED], said, strict=True)) == {
        (method, what): want for method, what, want in ASKED
    }
    assert pages == ["https://a.example/x"]
    assert "switch_relays" not in signer.methods()  # nothing here waits for it


async def run(node: str, uri: str) -> tuple[list[str], list[str]]:
    """Pair by `uri` and ask; return what came back, and the pages that were opened."""
    read = f"import {{ readFileSync }} from 'node:fs'; globalThis.wasm = readFileSync('{CURVE}');"
    asked = json.dumps([(method, what) for method, what, _ in ASKED])
    process = await asyncio.create_subprocess_exec(
        *(node, "--experimental-websocket", "--input-type=module", "-"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "BUNKER_URI": uri, "ASKED": asked},
    )
    script = (read + bundled(HERE / "answers.js")).encode()
    out, _ = await asyncio.wait_for(process.communicate(script), PATIENCE)
    found = json.loads(out)
    return found["said"], found["pages"]
