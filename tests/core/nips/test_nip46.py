"""nip46.py: requests and responses of remote signing."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bunker_core.errors import InvalidRPC
from bunker_core.nips.nip46 import (
    MAX_ID,
    MAX_METADATA,
    MAX_PERMISSIONS,
    ClientMetadata,
    Method,
    Permission,
    Request,
    Response,
    format_permissions,
    metadata_from,
    parse_metadata,
    parse_permissions,
    parse_relay_list,
    parse_request,
    parse_response,
)
from support.strategies import JSON_VALUES, TEXTS

IDS = TEXTS | st.integers(-(2**63), 2**63 - 1)
REQUESTS = st.builds(Request, IDS, TEXTS, st.lists(TEXTS, max_size=4).map(tuple))
SUCCESSES = st.builds(Response, IDS, TEXTS)
PERMISSIONS = st.one_of(
    st.builds(Permission, st.sampled_from([method.value for method in Method])),
    st.builds(Permission, st.just("sign_event"), st.integers(0, 65535).map(str)),
    st.builds(
        Permission, st.just("nip44_encrypt"), st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True)
    ),
)


@given(REQUESTS)
def test_parse_undoes_to_json_for_requests(request_: Request) -> None:
    """A request survives encryption's text, whatever its id and method are."""
    assert parse_request(request_.to_json()) == request_


@given(SUCCESSES)
def test_parse_undoes_to_json_for_results(response: Response) -> None:
    """A success has its result as text and no error at all (R2)."""
    assert parse_response(response.to_json()) == response
    assert "error" not in json.loads(response.to_json())


@given(IDS, TEXTS.filter(bool))
def test_an_error_is_read_as_one(request_id: str | int, error: str) -> None:
    """An error has `result: "error"` beside it: the shape that all seven libraries read (R2)."""
    response = Response(request_id, error=error)
    assert json.loads(response.to_json()) == {"id": request_id, "result": "error", "error": error}
    assert parse_response(response.to_json()).error == error
    assert parse_response(response.to_json()).auth_url is None


def test_an_auth_challenge_keeps_its_result() -> None:
    """`auth_url` travels beside the URL, reusing the request's id (R11)."""
    response = Response("1", "auth_url", "https://example.com/ok")
    assert json.loads(response.to_json()) == {
        "id": "1",
        "result": "auth_url",
        "error": "https://example.com/ok",
    }
    assert parse_response(response.to_json()).auth_url == "https://example.com/ok"
    assert Response("1", "auth_url").auth_url is None


@pytest.mark.parametrize(
    "page",
    [
        "javascript:alert(1)",
        "file:///etc/passwd",
        "HTTPS://example.com",
        "https://example.com/\x1b]0;title\x07",
        "https://example.com/\u202egnp.exe",
        "https://example.com/a b",
        "https://example.com/" + "x" * 2048,
    ],
)
def test_an_auth_url_is_a_web_page_or_none(page: str) -> None:
    """What is no plain http(s) address is neither shown nor opened, and the challenge stands."""
    response = parse_response(Response("1", "auth_url", page).to_json())
    assert response.is_auth_challenge
    assert response.auth_url is None


@given(st.lists(PERMISSIONS, max_size=8, unique=True))
def test_parse_undoes_format_permissions(permissions: list[Permission]) -> None:
    """A permission list survives the wire, in order."""
    assert parse_permissions(format_permissions(permissions)) == tuple(permissions)


@given(TEXTS, TEXTS, TEXTS)
def test_metadata_survives_but_for_control_characters(name: str, url: str, image: str) -> None:
    """What can be shown is kept; what can't is dropped before anybody shows it."""
    parsed = parse_metadata(ClientMetadata(name, url, image).to_json())
    assert parsed == ClientMetadata(
        *("".join(filter(str.isprintable, text)) for text in (name, url, image))
    )
    assert parse_metadata(parsed.to_json()) == parsed


@given(JSON_VALUES)
def test_random_json_raises_only_invalid_rpc(value: object) -> None:
    """Whatever JSON holds is a request, a response, a relay list, or InvalidRPC."""
    text = json.dumps(value)
    for parse in (parse_request, parse_response, parse_relay_list, parse_metadata):
        try:
            parse(text)
        except InvalidRPC:
            continue
    assert isinstance(metadata_from(value), ClientMetadata)


@given(st.dictionaries(st.sampled_from(["id", "method", "params", "result", "error"]), JSON_VALUES))
def test_random_fields_raise_only_invalid_rpc(fields: dict[str, Any]) -> None:
    """The right names with any values are read or refused; what is read can be shown."""
    text = json.dumps({"id": "1", "method": "m", **fields})
    for parse in (parse_request, parse_response):
        try:
            repr(parse(text))
        except InvalidRPC:
            continue


@given(st.text(max_size=200))
def test_random_text_is_a_permission_list(text: str) -> None:
    """Any text is a list, perhaps an empty one, and writing it out adds nothing to it."""
    permissions = parse_permissions(text)
    assert parse_permissions(format_permissions(permissions)) == permissions
    assert all(str(permission).isprintable() for permission in permissions)


@pytest.mark.parametrize(
    "request_id",
    [
        "02iow-1",  # nostr-tools
        "gn-50765-2",  # go-nostr
        "x3k9q",  # NDK: 5 to 6 characters of base 36
        "V1StGXR8",  # nanoid, whose alphabet has _ and -
        "a_b-C_d1",
        "123456789012345678",  # 15 to 18 digits as text
        "4294967295",
        "f47ac10b-58cc-4372-a567-0e02b2c3d479",
        "0123456789abcdef0123456789abcdef",
        "",
        "é🦊",
        "x" * MAX_ID,
        7,
        -1,
        2**53,
    ],
)
def test_every_id_is_echoed_as_it_came(request_id: str | int) -> None:
    """Ids of every library, and the numbers of hand-made clients, come back as they were."""
    request = parse_request(json.dumps({"id": request_id, "method": "ping", "params": []}))
    assert request.id == request_id
    assert type(request.id) is type(request_id)
    assert json.loads(Response(request.id, "pong").to_json())["id"] == request_id


PUBKEY = "a" * 64


@pytest.mark.parametrize(
    ("params", "secret", "permissions", "metadata"),
    [
        ([PUBKEY, "s"], "s", "", ""),  # nostr-tools, nostr_sdk
        ([PUBKEY, "s", "", '{"name":"App"}'], "s", "", '{"name":"App"}'),  # nostr-tools, metadata
        ([PUBKEY, "", ""], "", "", ""),  # applesauce, welshman, nostr-login
        ([PUBKEY, "s", "sign_event:1"], "s", "sign_event:1", ""),
        (["", "s"], "s", "", ""),  # NDK
        ([""], "", "", ""),  # NDK without a secret
        ([PUBKEY], "", "", ""),  # nostr_sdk
        ([PUBKEY, ""], "", "", ""),  # nostrkey, go-nostr
        ([PUBKEY, "s", "", "", "extra"], "s", "", ""),
        ([PUBKEY, None, 5, {"name": "App"}], "", "", ""),  # what is not text counts as absent
        ([], "", "", ""),
    ],
)
def test_connect_of_every_library(
    params: list[object], secret: str, permissions: str, metadata: str
) -> None:
    """Missing, empty and additional parameters of connect all read as what they mean."""
    request = parse_request(json.dumps({"id": "1", "method": "connect", "params": params}))
    assert [request.param(index) for index in (1, 2, 3)] == [secret, permissions, metadata]
    assert request.param(99) == ""


@pytest.mark.parametrize("template", ['{"kind":1}', {"kind": 1}])
def test_sign_event_keeps_text_and_object(template: object) -> None:
    """Every library sends the template as text, hand-made clients send the object itself."""
    request = parse_request(json.dumps({"id": "1", "method": "sign_event", "params": [template]}))
    assert request.params == (template,)


@pytest.mark.parametrize("params", [None, {}, "x", 5, {"0": "x"}])
@pytest.mark.parametrize("method", ["ping", "get_public_key", "logout"])
def test_params_that_are_no_list_count_as_none(method: str, params: object) -> None:
    """ping, get_public_key and logout come without params, or with something else."""
    for text in (
        json.dumps({"id": "1", "method": method}),
        json.dumps({"id": "1", "method": method, "params": params}),
    ):
        assert parse_request(text) == Request("1", method)


@pytest.mark.parametrize(
    "method",
    ["get_relays", "create_account", "describe", "nip44_get_key", "", "SIGN_EVENT", "é" * 1000],
)
def test_an_unknown_method_is_still_a_request(method: str) -> None:
    """Legacy and invented methods are read, because they MUST be answered with an error."""
    assert parse_request(json.dumps({"id": "1", "method": method})).method == method


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        '"text"',
        "{}",
        '{"method":"ping"}',
        '{"id":true,"method":"ping"}',
        '{"id":["1"],"method":"ping"}',
        '{"id":"1","method":"ping"',
        '{"id":"1","result":"pong"}',  # a response, and nobody answers those
        '{"id":"' + "x" * 5000 + '","method":"ping"}',
        '{"id":' + "9" * 5000 + ',"method":"ping"}',
        "[" * 100_000,
    ],
)
def test_what_is_no_request_has_no_answer(text: str) -> None:
    """Without an id that can be read there is nothing to answer to."""
    with pytest.raises(InvalidRPC) as caught:
        parse_request(text)
    assert not caught.value.answerable


@pytest.mark.parametrize(
    ("text", "request_id"),
    [
        ('{"id":"1"}', "1"),
        ('{"id":"1","method":null}', "1"),
        ('{"id":7,"method":{}}', 7),
        ('{"id":null,"method":"ping"}', None),
        ('{"id":0.4375,"method":"ping"}', 0.4375),
        ('{"id":12345678901234567890123,"method":"ping"}', 12345678901234567890123),
        (json.dumps({"id": "x" * (MAX_ID + 1), "method": "ping"}), "x" * (MAX_ID + 1)),
        ('{"id":"\\ud800","method":"ping"}', "\ud800"),
        ('{"id":"1","method":"nip44_encrypt","params":["","\\ud83d"]}', "1"),
        ('{"id":"1","method":"sign_event","params":[{"content":NaN}]}', "1"),
        ('{"id":"1","method":"ping","params":[' + "9" * 5000 + "]}", "1"),
        ('{"id":' + "9" * 4096 + ',"method":"ping","params":[NaN]}', int("9" * 4096)),
        ('\ufeff{"id":"1","method":"ping"}', "1"),
    ],
)
def test_an_error_is_owed_to_whatever_has_an_id(text: str, request_id: Any) -> None:
    """A request that only a lenient parser reads is named, and its id goes back as it came."""
    with pytest.raises(InvalidRPC) as caught:
        parse_request(text)
    assert (caught.value.answerable, caught.value.request_id) == (True, request_id)
    answer = Response(caught.value.request_id, error=f"invalid: {caught.value}").to_json()
    assert json.loads(answer)["id"] == request_id
    answer.encode()
    assert ("not Unicode" in str(caught.value)) == ("ud8" in text)


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        # the shapes of section 2 of the observations, and those that section 4 asks to tolerate
        ({"result": "", "error": "denied"}, Response("1", "", "denied")),
        ({"error": "denied"}, Response("1", None, "denied")),
        ({"result": None, "error": "denied"}, Response("1", None, "denied")),
        ({"result": "error", "error": "denied"}, Response("1", "error", "denied")),
        ({"result": "ok", "error": None}, Response("1", "ok")),
        ({"result": "ok", "error": ""}, Response("1", "ok")),
        ({"result": {"id": "x"}}, Response("1", '{"id":"x"}')),
        ({"result": ""}, Response("1", "")),
        ({"result": '["e","abc"]'}, Response("1", '["e","abc"]')),
        ({"result": ["wss://r"]}, Response("1", '["wss://r"]')),
        ({"result": "null"}, Response("1", "null")),
        ({"result": None}, Response("1")),  # Amber, applesauce: switch_relays
        ({}, Response("1")),
        (
            {"error": {"code": -32000, "message": "no"}},  # snstr's bunker
            Response("1", None, "no"),
        ),
        ({"error": {"code": -32000}}, Response("1", None, '{"code":-32000}')),
        ({"error": False}, Response("1", None, "false")),
        ({"result": "auth_url", "error": "https://a"}, Response("1", "auth_url", "https://a")),
        ({"result": "urmom"}, Response("1", "urmom")),
        # Clave's answer to nostrconnect
        (
            {"result": {"echoed_secret": "s", "total": 1}},
            Response("1", '{"echoed_secret":"s","total":1}'),
        ),
        ({"result": True}, Response("1", "true")),
    ],
)
def test_responses_of_the_field(wire: dict[str, object], expected: Response) -> None:
    """Every response shape that signers are known to send is read as what it means."""
    assert parse_response(json.dumps({"id": "1", **wire})) == expected


def test_a_missing_result_is_written_as_empty_text() -> None:
    """`result` is always a text on the wire."""
    assert json.loads(Response("1").to_json()) == {"id": "1", "result": ""}


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ("null", None),
        ("", None),
        ("[]", ()),
        ('["wss://a","wss://b"]', ("wss://a", "wss://b")),
    ],
)
def test_relay_lists(result: str, expected: tuple[str, ...] | None) -> None:
    """switch_relays answers the text `null`, JSON's null (read as no text), or a list."""
    assert parse_relay_list(result) == expected


@pytest.mark.parametrize("result", ["error", "{}", '"wss://a"', "[5]", "[null]", "5", "ack", "["])
def test_what_is_no_relay_list_is_refused(result: str) -> None:
    """Anything else is not guessed at."""
    with pytest.raises(InvalidRPC):
        parse_relay_list(result)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (
            "sign_event:1, nip44_encrypt ,nip44_decrypt",
            ["sign_event:1", "nip44_encrypt", "nip44_decrypt"],
        ),
        ("sign_event", ["sign_event"]),
        ("sign_event:,sign_event:x,sign_event:65536,sign_event:-1,sign_event:٣", []),
        ("ping,ping,sign_event:1,sign_event:1", ["ping", "sign_event:1"]),
        (",,:1,_,sign event,nip44-encrypt,é", []),
        ("get_relays,nip44_encrypt:abc", ["get_relays", "nip44_encrypt:abc"]),
        ("ping:a\nb,ping:\x1b[2J,ping:\ud800", []),  # nothing that a console would obey
    ],
)
def test_permission_lists_of_the_field(text: str, expected: list[str]) -> None:
    """Spaces and doubles are tolerated; what can't be read grants nothing."""
    assert [str(permission) for permission in parse_permissions(text)] == expected


def test_a_permission_list_is_bounded() -> None:
    """A list of a million entries is cut, without reading all of it."""
    text = ",".join(f"method_{number}" for number in range(100_000))
    assert len(parse_permissions(text)) == MAX_PERMISSIONS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ClientMetadata()),
        ("{", ClientMetadata()),
        ("[]", ClientMetadata()),
        ("null", ClientMetadata()),
        ('{"name":5,"url":null,"image":["x"],"other":"y"}', ClientMetadata()),
        ('{"name":"My \\u0000\\u001b[31mApp\\u202e"}', ClientMetadata("My [31mApp")),
        (json.dumps({"name": "x" * 9999}), ClientMetadata("x" * MAX_METADATA)),
        ('{"name":"\\ud800"}', ClientMetadata()),
        ("[" * 5000, ClientMetadata()),
    ],
)
def test_metadata_is_text_of_bounded_size(text: str, expected: ClientMetadata) -> None:
    """Metadata comes from a stranger and is shown to a person (R13)."""
    assert parse_metadata(text) == expected


def test_neither_params_nor_results_are_in_a_repr() -> None:
    """Params hold pairing secrets and plaintexts, results decrypted text: no repr has them."""
    request = Request("id-7", "connect", (PUBKEY, "hidden"))
    assert repr(request) == "Request(id='id-7', method='connect')"
    for response in (Response("id-7", "hidden"), Response("id-7", "error", "hidden")):
        assert "hidden" not in repr(response)
        assert "id-7" in repr(response)
    with pytest.raises(InvalidRPC) as caught:
        parse_request('{"id":"1","method":5,"params":["hidden"]')
    assert "hidden" not in str(caught.value) + repr(caught.value)
    assert caught.value.__suppress_context__  # the JSON error beneath it holds the whole text


def test_text_without_utf8_is_not_written() -> None:
    """A lone surrogate can't be encrypted; InvalidRPC says so before anything is sent."""
    with pytest.raises(InvalidRPC):
        Request("1", "nip44_encrypt", (PUBKEY, "\ud800")).to_json()
    with pytest.raises(InvalidRPC):
        Response("1", "\ud800").to_json()


@pytest.mark.parametrize("deep", ["[", '{"a":'])
def test_however_deep_a_message_is_it_is_read_or_refused(deep: str) -> None:
    """Also at the depth that can be read and not written down again; that is Python's to know."""
    shut = {"[": "]", '{"a":': "}"}[deep]
    for depth in range(900, 1100):
        inner = deep * depth + "1" + shut * depth
        for text in (
            f'{{"id":"1","method":"ping","params":[NaN,{inner}]}}',
            f'{{"id":"1","result":{inner}}}',
        ):
            for parse in (parse_request, parse_response):
                with contextlib.suppress(InvalidRPC):
                    parse(text)
