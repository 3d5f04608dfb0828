"""The password of `--console-password-file` binds the first device, and no other."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from bunker.harness import running_signer
from bunker_core.errors import BunkerError
from bunker_signer.console.server import MIN_PASSWORD, ConsoleConfig, Listening

PASSWORD = "5f" * 32


async def test_password_binds_the_first_device_alone(relay_url: str, tmp_path: Path) -> None:
    """A wrong one is told so, the right one lets in; then it is no way in for anybody else."""
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    arguments = ("--console", "127.0.0.1:0", "--console-password-file", str(file))
    async with running_signer(tmp_path / "signer", [relay_url], arguments=arguments) as signer:
        origin = next(line.split()[1] for line in signer.lines if line.startswith("console "))
        assert not any(PASSWORD in line for line in signer.lines)
        here: dict[str, Any] = {
            "base_url": origin,
            "trust_env": False,
            "headers": {"origin": origin},
        }
        async with httpx.AsyncClient(**here) as first, httpx.AsyncClient(**here) as second:
            assert "/login/password" in (await first.get("/login")).text
            wrong = await first.post("/login/password", data={"password": "5e" * 32})
            assert wrong.status_code == 403
            assert (await first.get("/requests")).status_code != 200
            right = await first.post("/login/password", data={"password": PASSWORD})
            assert right.status_code == 303
            assert (await first.get("/requests")).status_code == 200

            assert "/login/password" not in (await second.get("/login")).text
            late = await second.post("/login/password", data={"password": PASSWORD})
            assert late.status_code == 403
            assert (await second.get("/requests")).status_code != 200


async def test_guesses_are_few(relay_url: str, tmp_path: Path) -> None:
    """Wrong passwords count as failed tries: soon none is looked at, not even the right one."""
    file = tmp_path / "password"
    file.write_text(PASSWORD)
    arguments = ("--console", "127.0.0.1:0", "--console-password-file", str(file))
    async with running_signer(tmp_path / "signer", [relay_url], arguments=arguments) as signer:
        origin = next(line.split()[1] for line in signer.lines if line.startswith("console "))
        async with httpx.AsyncClient(base_url=origin, trust_env=False) as guesser:
            guesser.headers["origin"] = origin
            answers = [
                (await guesser.post("/login/password", data={"password": str(number)})).status_code
                for number in range(30)
            ]
            assert answers[-1] == 429
            assert answers.count(403) < 20
            right = await guesser.post("/login/password", data={"password": PASSWORD})
            assert right.status_code == 429


@pytest.mark.parametrize("content", [None, b"", b" \n", b"a" * (MIN_PASSWORD - 1)])
def test_password_that_is_none_is_refused(content: bytes | None, tmp_path: Path) -> None:
    """No file, an empty one, a short one: said before anything listens, without the password."""
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BunkerError, match="--console-password-file") as refused:
        Listening(ConsoleConfig("127.0.0.1:0", password=file))
    assert "aaa" not in str(refused.value)
