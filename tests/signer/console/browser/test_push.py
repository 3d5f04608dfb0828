"""App asks, phone asleep, push, card, tap, signed: each step with what it really needs."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from time import perf_counter
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bunker_core.nips.webpush import encode, public_bytes
from bunker_signer.store.accounts import FILE_NAME, Accounts
from signer.console._stage import CONSOLE, bind, bound, http, paired, sign, stage, visitor


class Browser91:
    """A browser's half of RFC 8291: its keys, and how it opens a message."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.key = public_bytes(self._key)
        self.secret = b"0123456789abcdef"

    def open(self, body: bytes) -> Any:
        salt, size, length = body[:16], int.from_bytes(body[16:20], "big"), body[20]
        sender, sealed = body[21 : 21 + length], body[21 + length :]
        assert len(sealed) <= size == 4096
        theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender)
        shared = self._key.exchange(ec.ECDH(), theirs)

        def derive(salt: bytes, material: bytes, info: bytes, count: int) -> bytes:
            return HKDF(hashes.SHA256(), count, salt, info).derive(material)

        ikm = derive(self.secret, shared, b"WebPush: info\x00" + self.key + sender, 32)
        cek = derive(salt, ikm, b"Content-Encoding: aes128gcm\x00", 16)
        nonce = derive(salt, ikm, b"Content-Encoding: nonce\x00", 12)
        plain = AESGCM(cek).decrypt(nonce, sealed, None)
        assert plain.endswith(b"\x02")
        return json.loads(plain[:-1])


@contextmanager
def push_service() -> Iterator[tuple[str, Queue[Any], list[int]]]:
    """Run a push service; yields its origin, what comes, and the status that it answers."""
    came: Queue[Any] = Queue()
    status = [201]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            came.put((self.path, dict(self.headers), body))
            self.send_response(status[0])
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", came, status
    finally:
        server.shutdown()
        server.server_close()


async def test_asleep_push_card_tap_signed(relay_url: str, folder: Path) -> None:
    """The message names the app and what it wants, for this browser alone, and is taken back."""
    phone = Browser91()
    with push_service() as (origin, came, status):
        async with (
            stage(relay_url, folder, (*CONSOLE, "--console-push", origin)) as on,
            http(on) as browser,
            paired(on, "Habla") as app,
        ):
            csrf = await bound(on, browser)
            keys = {"key": encode(phone.key), "secret": encode(phone.secret)}
            refused = await browser.post(
                "/push/wake", data={"csrf": csrf, "endpoint": "http://10.0.0.1/x", **keys}
            )
            assert "not an https address" in refused.text
            form = {"csrf": csrf, "endpoint": f"{origin}/p/1", "detail": "yes", **keys}
            assert (await browser.post("/push/wake", data=form)).status_code == 303

            begin = perf_counter()
            signing = sign(app, "a secret draft", kind=30024)
            path, headers, body = await asyncio.to_thread(came.get, timeout=10)
            pushed = perf_counter()
            told = phone.open(body)
            assert path == "/p/1"
            assert (told["title"], told["body"]) == ("Habla", "Save a draft article")
            assert b"Habla" not in body
            assert "secret draft" not in json.dumps(told)
            assert headers["Content-Encoding"] == "aes128gcm"
            assert headers["Urgency"] == "high"
            assert 0 < int(headers["TTL"]) <= 120
            assert headers["Authorization"].startswith("vapid t=")

            card = await browser.get(f"/requests/{told['id']}")
            assert "a secret draft" in card.text
            seen = card.text.split('name="seen" value="')[1].split('"')[0]
            answer = {"csrf": csrf, "seen": seen, "answer": "once"}
            await browser.post(f"/requests/{told['id']}", data=answer)
            assert (await signing).content == "a secret draft"
            print(f"push after {pushed - begin:.2f} s, signed after {perf_counter() - begin:.2f} s")
            _, headers, body = await asyncio.to_thread(came.get, timeout=10)
            assert phone.open(body) == {"id": told["id"], "over": True}

            await browser.post("/push/wake", data={**form, "detail": ""})
            status[0] = 410  # the browser wants no more
            signing = sign(app, "discreet")
            _, _, body = await asyncio.to_thread(came.get, timeout=10)
            told = phone.open(body)
            assert (told["title"], "Habla" in json.dumps(told)) == ("A request is waiting", False)
            accounts = Accounts(on.data / FILE_NAME)
            async with asyncio.timeout(10):
                while await asyncio.to_thread(accounts.pushes):
                    pass
            accounts.close()
            signing.cancel()


async def test_a_notification_opens_the_card_and_goes(relay_url: str, folder: Path) -> None:
    """In Chromium, as its own push client delivers it: shown, and closed when it is over."""
    from signer.console._stage import browser as started

    async with (
        started() as chromium,
        stage(relay_url, folder) as on,
        visitor(chromium, on.origin, worker=True) as page,
    ):
        await bind(page, on.link)
        await page.context.grant_permissions(["notifications"], origin=on.origin)
        session = await page.context.new_cdp_session(page)
        registration: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def updated(event: Any) -> None:
            for item in event["registrations"]:
                if not item["isDeleted"] and not registration.done():
                    registration.set_result(item["registrationId"])

        session.on("ServiceWorker.workerRegistrationUpdated", updated)
        await session.send("ServiceWorker.enable")
        await page.evaluate("navigator.serviceWorker.ready.then(() => 1)")
        identifier = await asyncio.wait_for(registration, 10)

        async def push(**told: Any) -> None:
            await session.send(
                "ServiceWorker.deliverPushMessage",
                {"origin": on.origin, "registrationId": identifier, "data": json.dumps(told)},
            )

        shown = (
            "navigator.serviceWorker.ready.then((r) => r.getNotifications())"
            ".then((all) => all.map((n) => [n.title, n.body, n.data.path]))"
        )

        async def until(count: int, **told: Any) -> list[list[str]]:
            # Chromium drops a push whose worker does not start in time: the same again is no other.
            async with asyncio.timeout(60):
                while True:
                    await push(**told)
                    for _ in range(50):
                        # Not `wait_for_function`, which takes a promise itself for true.
                        if len(found := await page.evaluate(shown)) == count:
                            return list(found)
                        await page.evaluate("new Promise((resolve) => setTimeout(resolve, 50))")

        asked = {"id": "abc", "title": "Habla", "body": "Post a note", "until": 1_900_000_000}
        ((title, body, path),) = await until(1, **asked)
        assert (title, path) == ("Habla", "/requests/abc")
        assert body.startswith("Post a note\n")
        await until(0, id="abc", over=True)
