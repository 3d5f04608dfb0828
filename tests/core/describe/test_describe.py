"""What a person is told of a request is what would happen."""

import json
import string

import pytest

from bunker_core.describe import LANGUAGES, Asked, Known, describe, texts_of
from bunker_core.describe.change import DELETED, MANY
from bunker_core.describe.description import Description, kind_name, title
from bunker_core.describe.lines import lines
from bunker_core.describe.plain import short
from bunker_core.event import EventTemplate, Tags
from bunker_core.nips.nip46 import Method

NOW = 1_790_000_000
EN, DE = texts_of("en"), texts_of("de")
# The kinds of the NIPs' table, as of 2026-07.
KINDS = """0 1 3 4 5 6 7 8 9 11 13 14 15 16 17 20 21 22 24 30 31 32 33 40 41 42 43 44 54 62 64 78
443 444 445 818 1018 1021 1022 1234 1040 1059 1063 1068 1111 1222 1244 1311 1337 1617 1618 1619
1621 1622 1630 1631 1632 1633 1971 1984 1985 1987 2003 2004 2022 4550 7374 7375 7376 7516 7517
8000 8001 9000 9005 9030 9041 9321 9734 9735 9802 10000 10001 10002 10003 10004 10005 10006 10007
10008 10009 10011 10012 10013 10015 10019 10020 10030 10050 10051 10054 10063 10064 10096 10154
10166 10312 13194 13534 5128 15128 17375 22242 23194 23195 24133 24242 27235 28934 28935 28936
30000 30002 30003 30004 30005 30006 30007 30008 30009 30015 30017 30018 30019 30020 30023 30024
30030 30040 30041 30063 30078 30166 30267 30311 30312 30313 30315 30382 30383 30384 30402 30403
30617 30618 30818 30819 31234 31922 31923 31924 31925 31989 31990 32267 34235 34236 34550 34128
35128 38172 38173 37516 37517 38383 39000 39009 39089 39092 39701"""


def event(kind: int, content: str = "", *tags: tuple[str, ...], at: int = NOW) -> EventTemplate:
    return EventTemplate(kind, content, tags, at)


def people(*numbers: int) -> Tags:
    return tuple(("p", f"{number:064x}") for number in numbers)


def told(*templates: EventTemplate, known: Known | None = None) -> Description:
    asked = [Asked(template) for template in templates]
    return describe(Method.SIGN_EVENT, asked, now=NOW, kind=templates[0].kind, known=known)


def says(description: Description) -> list[str]:
    return [EN.say(change) for detail in description.details for change in detail.changes]


def dangers(description: Description) -> list[str]:
    return [item.key for item in description.dangers]


@pytest.mark.parametrize("kind", [int(kind) for kind in KINDS.split()])
def test_every_kind_of_the_table_has_a_name(kind: int) -> None:
    """Each in every language, and none is another's number."""
    named = kind_name(kind)
    assert named.key != "kind.unknown"
    assert EN.say(named) != DE.say(named)


@pytest.mark.parametrize("language", LANGUAGES)
def test_languages_say_the_same(language: str) -> None:
    """The same keys, the same values to fill in."""
    sentences = texts_of(language).sentences

    def fields(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    assert EN.sentences.keys() == sentences.keys()
    for key, text in EN.sentences.items():
        assert fields(text) == fields(sentences[key]), key


def test_a_follow_list_that_shrinks() -> None:
    """How many, who is gone by the owner's own name for them, and a second question."""
    old = event(3, "", *people(*range(1, 213)))
    known = Known(events={(3, ""): old}, names={f"{212:064x}": "fiatjaf"})
    shown = told(event(3, "", *people(*range(1, 9))), known=known)
    assert says(shown)[:2] == ["You would follow 8 people.", "204 fewer than now."]
    assert "Gone are:" in says(shown)[2]
    assert "and 196 more" in says(shown)[2]
    assert dangers(shown) == ["warning.loses"]
    last = told(event(3, "", *people(*range(1, 212))), known=known)
    assert says(last)[2] == "Gone is: fiatjaf"
    assert dangers(last) == []


@pytest.mark.parametrize(("kept", "dangerous"), [(8, False), (7, True)])
def test_a_fifth_of_a_list_may_go(kept: int, *, dangerous: bool) -> None:
    """Two of ten may go without a further question, three may not."""
    known = Known(events={(3, ""): event(3, "", *people(*range(10)))})
    shown = told(event(3, "", *people(*range(kept))), known=known)
    assert bool(shown.dangers) is dangerous


def test_what_is_replaced_is_not_known() -> None:
    """Then it says so, and judges nothing."""
    shown = told(event(3, "", *people(1)))
    assert "What it replaces is not known here." in says(shown)
    assert dangers(shown) == []


def test_a_profile_field_by_field() -> None:
    """Before and after, what is new, what is gone."""
    old = event(0, json.dumps({"name": "Ann", "about": "x", "lud16": "ann@pay.example"}))
    new = event(0, json.dumps({"name": "Anna", "about": "x", "picture": "https://p.example/a"}))
    shown = says(told(new, known=Known(events={(0, ""): old})))
    assert shown == [
        "name: Anna (before: Ann)",
        "lud16 would be gone (before: ann@pay.example)",
        "picture: https://p.example/a (new)",
    ]


@pytest.mark.parametrize("before", [None, 700])
def test_however_deep_a_field_is_it_is_told(before: int | None) -> None:
    """An app can't make its question one that nobody can look at; Python knows the depths."""
    old = {} if before is None else {(0, ""): event(0, f'{{"x":{"[" * before}{"]" * before}}}')}
    for depth in range(900, 1100):
        content = f'{{"name":{"[" * depth}{"]" * depth}}}'
        assert told(event(0, content), known=Known(events=old)).details


@pytest.mark.parametrize("content", ["{}", "", "[]", '{"name":""}', "[" * 100_000])
def test_an_empty_profile(content: str) -> None:
    """One that holds nothing, or can't be read, is dangerous."""
    assert "warning.empty_profile" in dangers(told(event(0, content)))


def test_relays_added_and_removed() -> None:
    """A relay counts with what it is for."""
    old = event(10002, "", ("r", "wss://a.example"), ("r", "wss://b.example", "read"))
    new = event(10002, "", ("r", "wss://a.example"), ("r", "wss://c.example"))
    shown = says(told(new, known=Known(events={(10002, ""): old})))
    assert "Gone is: wss://b.example read" in shown
    assert "New is: wss://c.example" in shown


@pytest.mark.parametrize("kind", [10000, 10003])
def test_private_parts_by_size(kind: int) -> None:
    """What is encrypted can't be compared but by its size; to lose it is dangerous."""
    old = event(kind, "x" * 900, ("e", "ab" * 32))
    shown = told(event(kind, "", ("e", "ab" * 32)), known=Known(events={(kind, ""): old}))
    assert "Its private part: 0 bytes, now 900 bytes." in says(shown)
    assert dangers(shown) == ["warning.loses"]


def test_app_data_by_size() -> None:
    """NIP-78: the name, and how much of it is there afterwards."""
    known = Known(events={(30078, "settings"): event(30078, "y" * 5000, ("d", "settings"))})
    shown = told(event(30078, "{}", ("d", "settings")), known=known)
    assert says(shown) == ["Its name: settings", "2 bytes, now 5000 bytes."]
    assert dangers(shown) == ["warning.loses"]
    other = told(event(30078, "{}", ("d", "other")), known=known)
    assert dangers(other) == []


@pytest.mark.parametrize("kind", [int(kind) for kind in KINDS.split()])
def test_tags_of_nothing_are_no_stumbling_block(kind: int) -> None:
    """NIP-01 asks of a tag nothing but that it is an array of strings."""
    tags = ((), ("e",), ("a",), ("p",), ("d",), ("r",), ("u",), ("",))
    described = told(event(kind, "", *tags), event(kind, "{}", *tags))
    assert lines(described, EN)


def test_deletions_with_their_text() -> None:
    """What is deleted is shown as far as it is known; many are dangerous, all together too."""
    known = Known(notes={"ab" * 32: "good morning"})
    shown = told(event(5, "", ("e", "ab" * 32), ("e", "cd" * 32)), known=known)
    assert says(shown) == [
        "2 posts would be deleted.",
        "Deleted: good morning",
        "Deleted, content not known here: cdcdcdcd…cdcdcdcd",
    ]
    assert dangers(shown) == []
    one_by_one = [event(5, "", ("e", f"{number:064x}")) for number in range(MANY + 1)]
    assert EN.say(told(*one_by_one).dangers[0]) == "It asks for the deletion of 6 posts."
    assert len(says(told(event(5, "", *(("e", f"{n:064x}") for n in range(3000)))))) == DELETED + 2


@pytest.mark.parametrize(
    ("template", "where", "host"),
    [
        (event(22242, "", ("relay", "wss://Relay.example/x")), "wss://Relay.example/x", "relay"),
        (event(27235, "", ("u", "https://site.example/a"), ("method", "POST")), "site", "site"),
        (event(24242, "", ("t", "upload"), ("server", "files.example")), "files", "files"),
    ],
)
def test_logins_say_where(template: EventTemplate, where: str, host: str) -> None:
    """A place where this key was never before is asked about twice, a known one is not."""
    new = told(template, known=Known(hosts=()))
    assert where in new.where[0]
    assert dangers(new) == ["warning.new_host"]
    seen = told(template, known=Known(hosts={f"{host}.example"}))
    assert dangers(seen) == []
    assert dangers(told(template)) == []  # nobody keeps count


def test_a_login_without_a_place() -> None:
    """It is good anywhere."""
    assert dangers(told(event(27235))) == ["warning.no_host"]


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("21000", "21 sats to Bob"),
        ("1500", "1.500 sats to Bob"),
        ("", "An amount that the app chooses, to Bob"),
        ("9" * 5000, "An amount that the app chooses, to Bob"),
    ],
)
def test_zaps_say_how_much(amount: str, text: str) -> None:
    """NIP-57 counts in thousandths."""
    zap = event(9734, "", ("p", "ab" * 32), ("amount", amount))
    assert says(told(zap, known=Known(names={"ab" * 32: "Bob"}))) == [text]


@pytest.mark.parametrize(
    ("off", "warning", "danger"),
    [(3600, False, False), (3601, True, False), (86401, True, True), (-86401, True, True)],
)
def test_a_date_far_off(off: int, *, warning: bool, danger: bool) -> None:
    """An hour is worth a warning, a day a second question."""
    shown = told(event(1, "hi", at=NOW + off))
    assert (bool(shown.warnings), bool(shown.dangers)) == (warning, danger)


def test_the_same_name_as_another_app() -> None:
    """A second app that calls itself like the first is pointed out."""
    shown = told(event(1), known=Known(same_name=True))
    assert [item.key for item in shown.warnings] == ["warning.same_name"]


def test_keys_are_told_apart() -> None:
    """Eight and eight: two keys alike in them can't be made by chance."""
    assert short("ab" * 32) == "abababab…abababab"
    assert short("npub1" + "q" * 58) == "npub1qqqqqqqq…qqqqqqqq"
    assert short("short") == "short"


def test_lines_are_bounded() -> None:
    """Whatever an app sends, a terminal gets a few thousand characters of printable text."""
    evil = event(30023, "\x1b[2J\u202e" * 30_000, *(("t", "\x07" * 900) for _ in range(2000)))
    for texts in (EN, DE):
        shown = lines(told(evil), texts)
        assert all(line.isprintable() for line in shown)
        assert sum(map(len, shown)) < 8000


def test_titles_count() -> None:
    """Several of a kind are one sentence."""
    assert EN.say(title(Method.SIGN_EVENT, 1, None, 3)) == "Post a note (3 times)"
    assert DE.say(title(Method.NIP44_DECRYPT, None, "cd" * 32, 2)).startswith("2 Nachrichten mit")
