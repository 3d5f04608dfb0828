"""An app's code is read by the camera, or from a photo, also where the browser itself can't."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
import segno
from PIL import Image

from bunker_client import Pairing, RequestDenied
from bunker_core.nips.nip46 import ClientMetadata
from bunker_signer.qr.pictures import FRAME_EVERY, Busy, Pictures
from signer.console._stage import Stage, bind, bound, browser, http, sign, tap, visitor

if TYPE_CHECKING:
    import httpx
    from playwright.async_api import Browser, Page

pytestmark = pytest.mark.asyncio(loop_scope="module")

WIDTH, HEIGHT = 960, 720


def picture(text: str) -> Image.Image:
    """Return a code as a camera sees it: small, off the middle, on a grey table."""
    target = io.BytesIO()
    segno.make(text, error="m").save(target, kind="png", scale=5, border=4)
    code = Image.open(target).convert("L").resize((560, 560))
    scene = Image.new("L", (WIDTH, HEIGHT), 90)
    scene.paste(code.rotate(4, expand=True, fillcolor=90), (190, 60))
    return scene


def jpeg(image: Image.Image) -> bytes:
    target = io.BytesIO()
    image.save(target, "JPEG", quality=80)
    return target.getvalue()


def hold(path: Path, text: str) -> None:
    """Hold a code before the camera: a film of one frame, which is played again and again."""
    colours = bytes([128]) * (WIDTH * HEIGHT // 2)
    head = b"YUV4MPEG2 W%d H%d F10:1 Ip A1:1 C420jpeg\nFRAME\n" % (WIDTH, HEIGHT)
    path.write_bytes(head + picture(text).tobytes() + colours)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The film that the camera plays, read when the camera is switched on."""
    return tmp_path_factory.mktemp("camera") / "code.y4m"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium(seen: Path) -> AsyncIterator["Browser"]:
    """A Chromium with a camera."""
    flags = (
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={seen}",
    )
    async with browser(*flags, shell=True) as started:
        yield started


@asynccontextmanager
async def at_pairing(chromium: "Browser", on: Stage, **options: Any) -> AsyncIterator["Page"]:
    """Open the page that pairs an app on a bound phone."""
    async with visitor(chromium, on.origin, **options) as phone:
        await bind(phone, await on.new_link())
        await phone.goto(f"{on.origin}/apps/new")
        yield phone


def running(phone: "Page") -> Any:
    return phone.evaluate("document.getElementById('camera').srcObject !== null")


async def test_the_camera_pairs_an_app(chromium: "Browser", on: Stage, seen: Path) -> None:
    """Held before the camera, the app's code is read, shown for a look, and the app is paired."""
    async with Pairing([on.relay], metadata=ClientMetadata("Amethyst")) as pairing:
        hold(seen, str(pairing.uri))
        async with at_pairing(chromium, on) as phone:
            # This Chromium reads no codes by itself: it is the signer that does.
            assert not await phone.evaluate("'BarcodeDetector' in window")
            await phone.get_by_role("button", name="Scan with the camera").click()
            await phone.get_by_role("heading", name="Pair this app?").wait_for()
            await phone.get_by_text(pairing.uri.client_pubkey).wait_for()
            await tap(phone, "Pair", exact=True)
            app = await pairing.wait()
            await phone.get_by_text("The app is paired", exact=True).wait_for()
            signing = sign(app)
            await phone.goto(f"{on.origin}/requests")
            await tap(phone, "Deny")
            with pytest.raises(RequestDenied):
                await signing


async def test_the_camera_stops(chromium: "Browser", on: Stage, seen: Path) -> None:
    """Another code is said to be another; the camera goes out by its button and behind a page."""
    hold(seen, "https://example.org")
    async with at_pairing(chromium, on) as phone:
        await phone.get_by_role("button", name="Scan with the camera").click()
        await phone.get_by_text("not one of an app that wants to be paired").wait_for()
        assert await running(phone)
        await phone.get_by_role("button", name="Stop the camera").click()
        assert not await running(phone)
        await phone.get_by_role("button", name="Scan with the camera").click()
        await phone.get_by_text("not one of an app that wants to be paired").wait_for()
        # A page that is left may be kept, to come back to: its camera must not.
        await phone.evaluate("window.dispatchEvent(new Event('pagehide'))")
        assert not await running(phone)
        await phone.get_by_role("button", name="Scan with the camera").click()
        await phone.get_by_text("not one of an app that wants to be paired").wait_for()
        await phone.evaluate(
            "Object.defineProperty(document, 'hidden', { value: true });"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )
        assert not await running(phone)


async def test_a_browser_that_reads_codes_sends_no_picture(
    chromium: "Browser", on: Stage, seen: Path
) -> None:
    """Where there is a BarcodeDetector, what the camera sees stays on the phone."""
    detector = (
        "window.BarcodeDetector = class { static getSupportedFormats() { return ['qr_code'] }"
        " detect() { return [{ rawValue: 'nostrconnect://nonsense' }] } }"
    )
    hold(seen, "nothing")
    async with at_pairing(chromium, on) as phone:
        await phone.add_init_script(detector)
        await phone.reload()
        sent: list[str] = []
        phone.on("request", lambda request: sent.append(request.url.rpartition("/")[2]))
        await phone.get_by_role("button", name="Scan with the camera").click()
        await phone.get_by_text("That did not work").wait_for()
        assert "review" in sent
        assert "frame" not in sent


async def test_a_photo_without_javascript(chromium: "Browser", on: Stage, tmp_path: Path) -> None:
    """Without a script, or with the camera refused, a photo of the code does the same."""
    async with (
        Pairing([on.relay], metadata=ClientMetadata("Amethyst")) as pairing,
        at_pairing(chromium, on, java_script_enabled=False) as phone,
    ):
        photo = tmp_path / "photo.jpg"
        photo.write_bytes(jpeg(picture(str(pairing.uri))))
        field = phone.get_by_label("Or a photo of the code")
        assert await field.get_attribute("capture") == "environment"
        await field.set_input_files(photo)
        await tap(phone, "Continue")
        await phone.get_by_text("Everyday things").click()
        await tap(phone, "Pair", exact=True)
        app = await pairing.wait()
        assert (await sign(app, "as chosen after looking")).kind == 1


async def test_without_a_camera_there_is_no_button(chromium: "Browser", on: Stage) -> None:
    """A browser that gives no camera, as at an address without HTTPS, offers photo and address."""
    async with visitor(chromium, on.origin) as phone:
        await phone.add_init_script("delete Navigator.prototype.mediaDevices")
        await bind(phone, await on.new_link())
        await phone.goto(f"{on.origin}/apps/new")
        assert await phone.get_by_label("Or a photo of the code").is_visible()
        assert not await phone.get_by_role("button", name="Scan with the camera").is_visible()


def no_code() -> bytes:
    return jpeg(Image.new("L", (400, 300), 200))


def bomb() -> bytes:
    target = io.BytesIO()
    Image.new("1", (9000, 9000)).save(target, "PNG")
    return target.getvalue()


def cut() -> bytes:
    return jpeg(picture("nostrconnect:"))[:2000]


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (no_code(), "no code in the picture"),
        (bomb(), "no picture that can be read"),
        (cut(), "no picture that can be read"),
        (SVG, "no picture that can be read"),
        (b"GIF89a" + bytes(100), "no picture that can be read"),
        (jpeg(picture("bunker://not-ours")), "not a nostrconnect:// URI"),
    ],
    ids=["no code", "bomb", "cut", "svg", "gif", "another code"],
)
async def test_a_photo_that_pairs_nothing(on: Stage, data: bytes, said: str) -> None:
    """What is no picture, too large a one, or shows no app's code is refused in words."""
    async with http(on) as phone:
        token = await bound(on, phone)
        answer = await photo(phone, data, token)
    assert answer.status_code == 400
    assert said in answer.text
    assert 'href="/apps/new"' in answer.text  # where it can be tried again


async def test_pictures_only_of_bound_devices(on: Stage) -> None:
    """Neither a picture without a device nor one without its token is looked at, nor a long one."""
    frame = bytes(64 * 64)
    async with http(on) as phone, http(on) as stranger:
        token = await bound(on, phone)
        assert (await look(phone, frame, 64, token)).json() == {"text": ""}
        assert (await look(phone, frame, 64, "")).status_code == 403
        assert (await look(stranger, frame, 64, token)).status_code == 401
        assert (await look(stranger, bytes(400 * 400), 400, token)).status_code == 413
        assert (await look(phone, bytes(800 * 800), 800, token)).status_code == 413
        assert (await photo(stranger, bytes(100_000), token)).status_code == 413
        assert (await photo(phone, bytes(17 * 1024 * 1024), token)).status_code == 413
        files = {"a": b"1", "b": b"2"}
        answer = await phone.post("/apps/frame", data={"csrf": token}, files=files)
        assert answer.status_code == 400


@pytest.mark.parametrize(
    ("pixels", "width"), [(b"x" * 99, "10"), (b"", "0"), (b"x", "-1"), (b"x" * 9, "three")]
)
async def test_a_frame_is_as_large_as_it_says(on: Stage, pixels: bytes, width: str) -> None:
    """A frame with other dimensions than bytes is refused before a process is started for it."""
    async with http(on) as phone:
        token = await bound(on, phone)
        assert (await look(phone, pixels, width, token)).status_code == 400


async def test_one_picture_at_a_time(on: Stage) -> None:
    """Of frames that come faster than they can be looked at, most are sent away at once."""
    async with http(on) as phone:
        token = await bound(on, phone)
        frame = picture("nostrconnect:").resize((640, 640)).tobytes()
        answers = await asyncio.gather(*(look(phone, frame, 640, token) for _ in range(8)))
        codes = [answer.status_code for answer in answers]
        assert codes.count(200) >= 1
        assert codes.count(429) >= 4
        told = {answer.text for answer in answers if answer.status_code == 200}
        assert told == {'{"text":"nostrconnect:"}'}


async def test_frames_come_no_faster_than_they_may() -> None:
    """Also one after the other, frames are looked at ten times a second at most."""
    now = 100.0
    pictures = Pictures(monotonic=lambda: now)
    frame = bytes(50 * 50)
    assert await pictures.frame(frame, 50, 50) == ""
    with pytest.raises(Busy):
        await pictures.frame(frame, 50, 50)
    now += FRAME_EVERY
    assert await pictures.frame(frame, 50, 50) == ""


async def test_few_photos_at_a_time(on: Stage) -> None:
    """Of many photos only two are taken in at once; when they are through there is room again."""
    async with http(on) as phone:
        token = await bound(on, phone)
        answers = await asyncio.gather(*(photo(phone, no_code(), token) for _ in range(6)))
        codes = [answer.status_code for answer in answers]
        assert codes.count(429) >= 1
        assert codes.count(400) >= 2
        assert (await photo(phone, no_code(), token)).status_code == 400


async def look(
    phone: "httpx.AsyncClient", pixels: bytes, width: int | str, token: str
) -> "httpx.Response":
    fields = {"csrf": token, "width": str(width), "height": str(width)}
    return await phone.post("/apps/frame", data=fields, files={"picture": pixels})


async def photo(phone: "httpx.AsyncClient", data: bytes, token: str) -> "httpx.Response":
    return await phone.post("/apps/review", data={"csrf": token}, files={"picture": data})
