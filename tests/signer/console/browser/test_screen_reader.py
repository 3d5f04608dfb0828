"""What a screen reader is given: Chromium's accessibility tree of a question that arrives."""

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from bunker_client import RequestDenied
from signer.console._stage import Stage, bind, paired, sign, tap, visitor

if TYPE_CHECKING:
    from playwright.async_api import Browser, CDPSession, Page

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIVE = frozenset({"status", "alert", "log", "timer", "marquee"})  # roles that speak by themselves


@dataclass(slots=True)
class Node:
    """A node as it is spoken; `live` tells whether a change of it is spoken, too."""

    role: str
    name: str
    live: bool
    properties: dict[str, Any] = field(default_factory=dict)


async def spoken(page: "Page", devtools: "CDPSession | None" = None) -> list[Node]:
    """Return the nodes that a screen reader meets, in its order."""
    devtools = devtools or await page.context.new_cdp_session(page)
    tree = (await devtools.send("Accessibility.getFullAXTree"))["nodes"]
    by_id = {node["nodeId"]: node for node in tree}
    found: list[Node] = []

    def walk(node: dict[str, Any], live: bool) -> None:
        role = node.get("role", {}).get("value", "")
        name = node.get("name", {}).get("value", "").strip()
        properties = {
            item["name"]: item["value"].get("value") for item in node.get("properties", [])
        }
        live = live or role in LIVE or properties.get("live") in ("polite", "assertive")
        if not node.get("ignored"):
            found.append(Node(role, name, live, properties))
        for child in node.get("childIds", []):
            if child in by_id:
                walk(by_id[child], live)

    walk(tree[0], live=False)
    return found


def named(nodes: list[Node], role: str) -> list[str]:
    """Return the names of all nodes of a role."""
    return [node.name for node in nodes if node.role == role]


async def test_a_question_is_spoken_once_and_its_clock_is_not(
    chromium: "Browser", on: Stage
) -> None:
    """The title is announced, who asks comes before it, what to beware of before the answers.

    Seconds that run down are no live region: they would be read out every second.
    """
    async with visitor(chromium, on.origin) as page, paired(on, "Coracle") as app:
        await bind(page, await on.new_link())
        before = await spoken(page)
        assert named(before, "heading") == ["Nothing is waiting"]
        asking = sign(app, "{}", kind=0)
        await page.locator("fieldset:not(:disabled)").wait_for()
        nodes = await spoken(page)
        title = await page.locator("h1").inner_text()
        texts = [node for node in nodes if node.role == "StaticText"]
        known = {node.name for node in before}
        assert [node.name for node in texts if node.live and node.name not in known] == [title]
        clock = re.compile(r"\d:\d\d left")
        assert [node.live for node in texts if clock.fullmatch(node.name)] == [False]
        order = [
            [(node.role, node.name) for node in nodes].index(wanted)
            for wanted in (
                ("StaticText", "Coracle"),
                ("heading", title),
                ("heading", "Look twice"),
                ("group", "Your answer"),
                ("checkbox", "I have read what would be lost or changed."),
                ("button", "Deny"),
                ("button", "Allow once"),
            )
        ]
        assert order == sorted(order)
        controls = ("button", "link", "checkbox", "textbox", "combobox", "navigation")
        assert [node.role for node in nodes if node.role in controls and not node.name] == []
        await tap(page, "Deny")
        assert page.url.endswith("done=denied")
        after = await spoken(page)
        assert "Denied" in " ".join(node.name for node in after if node.live)
        with pytest.raises(RequestDenied):
            await asking
