"""What `bunker nip07 install` writes, and the host that a browser starts by it."""

import asyncio
import base64
import json
import stat
import struct
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bunker_client.cli.nip07 import nip07
from bunker_client.errors import ClientError
from bunker_client.nip07.install import CHROMIUM_ORIGIN, EXTENSION_ID, FIREFOX_ID, Settings
from bunker_core.event import parse_event, verify
from client.nip07._stage import built

SOURCE = Path(__file__).parents[3] / "packages/client/extension"
NOTE = {"kind": 1, "content": "hello", "tags": [], "created_at": 1_790_000_000}


@pytest.fixture
def signer(tmp_path: Path) -> str:
    """A sealed key, as `bunker key new` makes it; an extension that can be installed."""
    built()
    from bunker_signer.cli.key import key

    result = CliRunner().invoke(key, ["new", "--data", str(tmp_path / "signer")])
    assert result.exit_code == 0, result.output
    return f"nse:{tmp_path / 'signer'}"


def command(tmp_path: Path, *arguments: str) -> Any:
    """Run `bunker nip07 ...` with a home directory of its own."""
    environment = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "share")}
    return CliRunner().invoke(nip07, arguments, env=environment)


def test_the_extensions_id_is_that_of_its_key() -> None:
    """Chromium names an unpacked extension by its key: the host lets in no other."""
    manifest = json.loads((SOURCE / "static" / "manifest.json").read_bytes())
    digest = sha256(base64.b64decode(manifest["key"])).hexdigest()[:32]
    assert "".join(chr(ord("a") + int(digit, 16)) for digit in digest) == EXTENSION_ID
    assert manifest["browser_specific_settings"]["gecko"]["id"] == FIREFOX_ID
    assert manifest["permissions"] == ["unlimitedStorage"]
    assert manifest["optional_permissions"] == ["nativeMessaging"]


def test_the_extension_runs_no_text_and_fetches_nothing() -> None:
    """Nothing that a page says can become markup or code; what is fetched is its own file."""
    for path in SOURCE.rglob("*.js"):
        source = path.read_text().replace('fetch(this.api.runtime.getURL("secp256k1.wasm"))', "")
        for word in ("innerHTML", "outerHTML", "insertAdjacent", "eval(", "fetch(", "XMLHttp"):
            assert word not in source, path.name


def test_install_serves_every_browser_that_is_there(tmp_path: Path, signer: str) -> None:
    """Each finds the manifest where it looks, naming a host that exists and our extension."""
    (tmp_path / ".config/chromium").mkdir(parents=True)
    (tmp_path / ".mozilla").mkdir()
    result = command(tmp_path, "install", "--signer", signer)
    assert result.exit_code == 0, result.output
    assert "chrome://extensions" in result.output
    chromium = json.loads(
        (tmp_path / ".config/chromium/NativeMessagingHosts/nostr_bunker.json").read_bytes()
    )
    firefox = json.loads(
        (tmp_path / ".mozilla/native-messaging-hosts/nostr_bunker.json").read_bytes()
    )
    assert chromium["allowed_origins"] == [CHROMIUM_ORIGIN]
    assert firefox["allowed_extensions"] == [FIREFOX_ID]
    host = Path(chromium["path"])
    assert host.is_absolute()
    assert stat.S_IMODE(host.stat().st_mode) == 0o700
    manifest = json.loads((host.parent / "extension" / "manifest.json").read_bytes())
    assert manifest["permissions"] == ["unlimitedStorage", "nativeMessaging"]
    assert "optional_permissions" not in manifest
    removed = command(tmp_path, "uninstall")
    assert removed.exit_code == 0, removed.output
    assert [path for path in tmp_path.rglob("*bunker*.json") if path.is_file()] == []
    assert not host.parent.exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--signer", "bunker://abc?secret=x"], "session:NAME"),
        (["--signer", "session:nobody"], "there is no session"),
        (["--signer", "nse:/nowhere"], "holds no sealed key"),
        (["--browser", "lynx"], "is none of"),
        (["--profile", "/tmp"], "--profile needs one --browser"),
        ([], "no browser's profile was found"),
    ],
)
def test_install_says_what_is_wrong(tmp_path: Path, arguments: list[str], told: str) -> None:
    """One line, and nothing is written."""
    browser = [] if not arguments or "--signer" not in arguments else ["--browser", "chromium"]
    result = command(tmp_path, "install", *arguments, *browser)
    assert result.exit_code != 0
    assert told in result.output
    assert not (tmp_path / "share").exists()


def test_a_uri_with_a_secret_is_never_written_down(tmp_path: Path) -> None:
    """Settings take a name of a key, not a way to it."""
    with pytest.raises(ClientError):
        Settings("bunker://abc?relay=wss://r.example&secret=hush")


async def start(tmp_path: Path, signer: str, *arguments: str) -> asyncio.subprocess.Process:
    """Install the host, and start it as a browser does."""
    options = ("--signer", signer, "--browser", "chromium")
    result = await asyncio.to_thread(command, tmp_path, "install", *options)
    assert result.exit_code == 0, result.output
    return await asyncio.create_subprocess_exec(
        str(tmp_path / "share/nostr-bunker/nip07/host"),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def exchange(process: asyncio.subprocess.Process, message: dict[str, Any]) -> dict[str, Any]:
    """Send one message and read one."""
    assert process.stdin is not None
    assert process.stdout is not None
    body = json.dumps(message).encode()
    process.stdin.write(struct.pack("=I", len(body)) + body)
    (size,) = struct.unpack("=I", await process.stdout.readexactly(4))
    answer: dict[str, Any] = json.loads(await process.stdout.readexactly(size))
    return answer


async def test_the_host_signs_after_the_answer_and_ends_with_the_browser(
    tmp_path: Path, signer: str
) -> None:
    """The installed program asks, signs with the sealed key, and goes when the pipe closes."""
    host = await start(tmp_path, signer, CHROMIUM_ORIGIN)
    request = {"type": "request", "id": 1, "origin": "https://notes.example"}
    asked = await exchange(host, {**request, "method": "signEvent", "params": [NOTE]})
    assert asked["type"] == "question"
    reply = await exchange(host, {"type": "answer", "id": 1, "answer": "once"})
    assert verify(parse_event(reply["result"])).content == "hello"
    large = {**request, "id": 2, "method": "nip44.encrypt", "params": ["0" * 64, "x"]}
    asked = await exchange(host, large)
    reply = await exchange(host, {"type": "answer", "id": 2, "answer": "once"})
    assert "error" in reply  # no such pubkey is on the curve; the host goes on
    assert host.stdin is not None
    host.stdin.close()
    _, errors = await host.communicate()
    assert (host.returncode, errors) == (0, b"")


@pytest.mark.parametrize("caller", [[], ["chrome-extension://" + "a" * 32 + "/"]])
async def test_the_host_serves_no_other_extension(
    tmp_path: Path, signer: str, caller: list[str]
) -> None:
    """Started by hand or for another extension it says so and ends."""
    host = await start(tmp_path, signer, *caller)
    output, errors = await host.communicate()
    assert host.returncode == 1
    assert output == b""
    assert b"a browser starts this" in errors


async def test_garbage_on_the_pipe_ends_with_the_pipe(tmp_path: Path, signer: str) -> None:
    """No traceback, no answer, and the host goes when the browser does."""
    host = await start(tmp_path, signer, CHROMIUM_ORIGIN)
    output, errors = await host.communicate(b"GET / HTTP/1.1\r\n\r\n" + b"x" * 100_000)
    assert (host.returncode, output, errors) == (0, b"", b"")


def test_sites_are_listed_and_forgotten(tmp_path: Path) -> None:
    """What a site may do is a line each; a forgotten site asks again."""
    empty = command(tmp_path, "sites")
    assert (empty.exit_code, empty.stdout) == (0, "")
    folder = tmp_path / "share/nostr-bunker/nip07"
    folder.mkdir(parents=True)
    rules = {
        "sign_event:1": {"allow": True, "expires_at": None},
        "nip44_decrypt": {"allow": False, "expires_at": None},
        "nip44_encrypt": {"allow": True, "expires_at": 1},
    }
    content = {"version": 1, "sites": {"https://a.example": rules}}
    (folder / "sites.json").write_text(json.dumps(content))
    assert command(tmp_path, "sites").output.splitlines() == [
        "https://a.example  nip44_decrypt  never",
        "https://a.example  sign_event:1  allowed",
    ]
    assert command(tmp_path, "forget", "https://a.example/").exit_code == 0
    assert command(tmp_path, "forget", "https://a.example").exit_code == 1
