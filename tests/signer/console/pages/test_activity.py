"""Looking back: sentences, names as they were, search, and a table to keep."""

import csv
import io
from pathlib import Path

import pytest

from bunker_client import RemoteSigner
from bunker_core.nips.nip46 import ClientMetadata
from bunker_signer.policy import Profile
from signer.console._stage import Stage, bound, http, key_of, sign, stage

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_names_as_they_were(relay_url: str, folder: Path) -> None:
    """After renaming, revoking and a panic everything is still told by the name of its time."""
    async with stage(relay_url, folder) as on, http(on) as browser:
        csrf = await bound(on, browser, "Phone")
        uri = await on.new_uri(Profile.BASIC)
        async with RemoteSigner.from_uri(uri, metadata=ClientMetadata("=Notes")) as app:
            await sign(app, "one")
            pubkey = key_of(app)
            path = f"/apps/default/{pubkey}"
            await browser.post(f"{path}/rename", data={"csrf": csrf, "name": "My notes"})
            await sign(app, "two")
            page = (await browser.get("/activity")).text
            assert "An app is called My notes now" in page
            assert "=Notes was paired" in page
            assert "all that" in (await browser.get(path)).text.lower()
            await on.command("panic")
            csrf = await bound(on, browser, "Phone")
        page = (await browser.get("/activity")).text
        assert "My notes has no access any more" in page
        assert "Panic: everything locked and revoked" in page
        assert f'<option value="{pubkey}">My notes' in page
        export = await browser.get("/activity/export")
        assert export.headers["content-disposition"].startswith("attachment")
        rows = list(csv.DictReader(io.StringIO(export.text)))
        signed = [row for row in rows if row["what"] == "Post a note"]
        assert [row["app"] for row in signed] == ["My notes", "'=Notes"]  # no formula
        assert all(row["outcome"] == "Allowed" for row in signed)
        audit = await on.command("audit", "--method", "sign_event")
        assert "My notes" in audit


async def test_search(on: Stage) -> None:
    """By what was done, by app, by who decided; a text that is nowhere finds nothing."""
    async with http(on) as browser:
        await bound(on, browser, "Phone")
        for name, kind in (("Notes", 1), ("Reader", 7)):
            uri = await on.new_uri(Profile.BASIC)
            async with RemoteSigner.from_uri(uri, metadata=ClientMetadata(name)) as app:
                await sign(app, "+", kind=kind)
        for asked, there, not_there in (
            ("react", "React to a post", "Post a note"),
            ("notes", "Post a note", "React to a post"),
            ("allowed", "Post a note", "was paired"),
        ):
            page = (await browser.get("/activity", params={"q": asked})).text
            rows = page.partition('<ul class="list">')[2]
            assert there in rows, asked
            assert not_there not in rows, asked
        empty = await browser.get("/activity", params={"q": "<script>alert(1)</script>"})
        assert "Nothing here" in empty.text
        assert "<script>alert" not in empty.text
        export = (await browser.get("/activity/export", params={"q": "react"})).text
        assert export.count("\n") == 2


@pytest.mark.parametrize("path", ["/activity", "/activity/export"])
async def test_odd_questions(on: Stage, path: str) -> None:
    """Whatever stands in the address, there is a page."""
    async with http(on) as browser:
        await bound(on, browser)
        for query in ({"app": "x" * 500}, {"outcome": "made up"}, {"q": "\x00%_'\""}):
            assert (await browser.get(path, params=query)).status_code == 200
