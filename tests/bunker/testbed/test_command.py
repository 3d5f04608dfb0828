"""`bunker testbed`: what a suite in another language sees of it."""

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bunker.testbed import Testbed
from bunker.testbed.api import API, create_app, openapi
from bunker_client import RequestDenied, RequestTimeout, SignerLocked

NOTE = {"kind": 1, "content": "hello"}
COMMAND = (sys.executable, "-m", "bunker", "testbed")


class Bed:
    """A running `bunker testbed` and a client of its API."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout
        self.process = process
        self.told: dict[str, str] = json.loads(process.stdout.readline())
        self.http = httpx.Client(base_url=self.told["api"], timeout=20)

    def call(self, verb: str, path: str, /, **body: Any) -> Any:
        answer = self.http.request(verb, path, json=body or None)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None


@pytest.fixture
def bed() -> Iterator[Bed]:
    process = subprocess.Popen(
        COMMAND, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    bed = Bed(process)
    try:
        yield bed
    finally:
        bed.http.close()
        process.terminate()
        out, err = process.communicate(timeout=20)
        assert (out, err) == ("", "")


def test_one_line_says_all_that_a_client_needs(bed: Bed, bunker_testbed: Testbed) -> None:
    """The line names relay, URI, npub and api; by the URI a client pairs and signs."""
    assert set(bed.told) == {"relay", "uri", "npub", "pubkey", "api"}
    app = bunker_testbed.client(bed.told["uri"])
    assert app.request_signature(NOTE).pubkey == bed.told["pubkey"]
    assert bed.call("GET", "/signers")[0]["npub"] == bed.told["npub"]


def test_faults_over_http(bed: Bed, bunker_testbed: Testbed) -> None:
    """Faults, state, restarts and the transcript work from outside as they do from inside."""
    app = bunker_testbed.client(bed.told["uri"])
    bed.call("POST", "/signers/0/faults", name="drop", method="sign_event")
    with pytest.raises(RequestTimeout):
        app.request_signature(NOTE, timeout=0.3)
    bed.call("PATCH", "/signers/0", denying=True)
    with pytest.raises(RequestDenied):
        app.request_signature(NOTE)
    assert bed.call("PATCH", "/signers/0", denying=False, locked=True)["locked"]
    with pytest.raises(SignerLocked):
        app.request_signature(NOTE, timeout=1.0)
    bed.call("PATCH", "/signers/0", locked=False)
    bed.call("POST", "/relays/0/kill")
    assert not bed.call("GET", "/relays")[0]["running"]
    bed.call("POST", "/relays/0/restart")
    bed.call("POST", "/signers/0/kill")
    bed.call("POST", "/signers/0/restart")
    assert app.request_signature(NOTE).content == "hello"
    crossed = [entry["fault"] for entry in bed.call("GET", "/transcript") if entry["fault"]]
    assert crossed == ["drop", "deny"]
    bed.call("DELETE", "/transcript")
    assert bed.call("GET", "/transcript") == []


def test_more_signers_and_uris(bed: Bed, bunker_testbed: Testbed) -> None:
    """A second signer has its own key, and a fresh URI its own permissions."""
    second = bed.call("POST", "/signers", allow="sign_event:7", secret_key="00" * 31 + "07")
    app = bunker_testbed.client(second["uri"])
    assert app.user_pubkey == second["pubkey"] != bed.told["pubkey"]
    with pytest.raises(RequestDenied):
        app.request_signature(NOTE)
    uri = bed.call("POST", f"/signers/{second['number']}/uri", allow="sign_event:1")["uri"]
    assert bunker_testbed.client(uri).request_signature(NOTE).kind == 1
    asked = bed.call("GET", f"/signers/{second['number']}/questions")
    assert [question["kind"] for question in asked] == [1]


def test_wrong_calls_are_explained(bed: Bed) -> None:
    """What can't be done is answered with a status and a reason, and harms nothing."""
    for method, path, body, status in (
        ("POST", "/signers/0/faults", {"name": "explode"}, 422),
        ("POST", "/signers/0/faults", {"name": "drop", "more": 1}, 422),
        ("POST", "/signers/9/kill", None, 404),
        ("POST", "/signers/0/uri", {"allow": "sign event"}, 400),
        ("POST", "/signers/0/accept", {"uri": "http://example.com"}, 400),
        ("GET", "/nothing", None, 404),
    ):
        answer = bed.http.request(method, path, json=body)
        assert answer.status_code == status, (path, answer.text)
    wrong_key = httpx.get(bed.told["api"].rpartition("/")[0] + "/signers")
    assert wrong_key.status_code == 404
    assert bed.call("GET", "/signers")[0]["running"]


def test_delete_ends_it(bed: Bed) -> None:
    """DELETE on the address of the API ends the process with exit code 0."""
    bed.call("DELETE", "/")
    assert bed.process.wait(10) == 0


def wait_for_end(pid: int) -> None:
    """Return when a process that is not our child has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([handle], [], [], 10)[0], "still running"
    finally:
        os.close(handle)


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    """When the suite dies without a word, its testbed does too, and removes its files."""
    parent = (
        "import subprocess, sys, os\n"
        f"child = subprocess.Popen({list(COMMAND)!r}, stdout=subprocess.PIPE)\n"
        "print(child.pid, flush=True)\n"
        "child.stdout.readline()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", parent],
        capture_output=True,
        text=True,
        env={"TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
        timeout=30,
        check=False,
    )
    # `run` returns when the last holder of the pipe, the testbed, has closed it.
    assert result.returncode == -9
    wait_for_end(int(result.stdout))
    assert list(tmp_path.iterdir()) == []


def test_document_describes_every_route_and_no_other() -> None:
    """The OpenAPI document and the app have the same operations."""
    api = API(Testbed(), lambda: None)
    document = openapi(api.operations(), "/key", "1.0")
    described = {
        (method.upper(), path) for path, item in document["paths"].items() for method in item
    }
    served = {
        (method, route.path.removeprefix("/key").replace(":int", ""))  # type: ignore[attr-defined]
        for route in create_app(api, "/key", "1.0").routes
        for method in route.methods - {"HEAD"}  # type: ignore[attr-defined]
    }
    assert served - described == {("GET", "/openapi.json")}
    assert described <= served
    names = [item["operationId"] for path in document["paths"].values() for item in path.values()]
    assert len(names) == len(set(names))
    assert "$ref" not in json.dumps(document)
