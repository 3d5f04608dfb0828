"""What a client may do without asking: the table, and what holds for every grant."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bunker_core.nips.nip46 import Method, parse_permissions
from bunker_signer.policy import (
    FREE,
    Action,
    Allow,
    Ask,
    Decision,
    Effect,
    Grant,
    Profile,
    Rate,
    Refuse,
    decide,
    grants_of,
    profile_grants,
)

NOW = 1_800_000_000
PEER, OTHER = "aa" * 32, "bb" * 32
NOTE = Action(Method.SIGN_EVENT, kind=1)
PROFILE_EVENT = Action(Method.SIGN_EVENT, kind=0)
READ = Action(Method.NIP44_DECRYPT, peer=PEER)
WRITE = Action(Method.NIP44_ENCRYPT, peer=PEER)
DENY = Effect.DENY


def words(decision: Decision) -> str:
    """Return a decision's kind, or the stable word of a refusal."""
    match decision:
        case Allow():
            return "allow"
        case Ask():
            return "ask"
        case Refuse(error):
            return error.partition(":")[0]


@pytest.mark.parametrize(
    ("grants", "action", "expected"),
    [
        ([], NOTE, "ask"),
        ([], READ, "ask"),
        ([], Action(Method.PING), "allow"),
        ([], Action(Method.GET_PUBLIC_KEY), "allow"),
        ([Grant("sign_event")], NOTE, "allow"),
        ([Grant("sign_event", "1")], NOTE, "allow"),
        ([Grant("sign_event", "1")], PROFILE_EVENT, "ask"),
        ([Grant("sign_event", "10")], NOTE, "ask"),
        # a right to sign is no right to read or to write to others, and the reverse
        ([Grant("sign_event")], READ, "ask"),
        ([Grant("sign_event")], WRITE, "ask"),
        ([Grant("nip44_encrypt")], READ, "ask"),
        ([Grant("nip04_decrypt")], READ, "ask"),
        ([Grant("nip44_decrypt")], NOTE, "ask"),
        ([Grant("nip44_decrypt")], READ, "allow"),
        ([Grant("nip44_decrypt", PEER)], READ, "allow"),
        ([Grant("nip44_decrypt", OTHER)], READ, "ask"),
        # limits
        ([Grant("sign_event", expires_at=NOW + 1)], NOTE, "allow"),
        ([Grant("sign_event", expires_at=NOW)], NOTE, "ask"),
        ([Grant("sign_event", uses_left=1)], NOTE, "allow"),
        ([Grant("sign_event", uses_left=0)], NOTE, "ask"),
        ([Grant("sign_event", rate=Rate(2, 60), window_start=NOW, window_used=1)], NOTE, "allow"),
        (
            [Grant("sign_event", rate=Rate(2, 60), window_start=NOW, window_used=2)],
            NOTE,
            "rate-limited",
        ),
        (
            [Grant("sign_event", rate=Rate(2, 60), window_start=NOW - 60, window_used=2)],
            NOTE,
            "allow",
        ),
        # a second grant can help where the first is used up
        (
            [
                Grant("sign_event", "1", rate=Rate(1, 60), window_start=NOW, window_used=1),
                Grant("sign_event"),
            ],
            NOTE,
            "allow",
        ),
        # what is ruled out
        ([Grant("sign_event", effect=DENY)], NOTE, "denied"),
        ([Grant("sign_event", effect=DENY), Grant("sign_event", "1")], NOTE, "allow"),
        ([Grant("sign_event"), Grant("sign_event", "0", effect=DENY)], PROFILE_EVENT, "denied"),
        ([Grant("sign_event"), Grant("sign_event", "0", effect=DENY)], NOTE, "allow"),
        ([Grant("sign_event", "1"), Grant("sign_event", "1", effect=DENY)], NOTE, "denied"),
        ([Grant("sign_event", effect=DENY, expires_at=NOW)], NOTE, "ask"),
    ],
)
def test_table(grants: list[Grant], action: Action, expected: str) -> None:
    """Each line is a case that an owner could stumble over."""
    assert words(decide(grants, action, NOW)) == expected
    assert words(decide(reversed(grants), action, NOW)) == expected


@pytest.mark.parametrize(
    ("profile", "allowed"),
    [
        (Profile.ASK, []),
        (Profile.BASIC, [NOTE]),
        (Profile.FULL, [NOTE, PROFILE_EVENT, READ, WRITE]),
    ],
)
def test_profiles(profile: Profile, allowed: list[Action]) -> None:
    """The three profiles are what their names say; none but full reads messages."""
    held = profile_grants(profile)
    for action in (NOTE, PROFILE_EVENT, READ, WRITE):
        assert words(decide(held, action, NOW)) == ("allow" if action in allowed else "ask")


actions = st.one_of(
    st.builds(Action, st.just(Method.SIGN_EVENT), kind=st.integers(0, 3)),
    st.builds(
        lambda method, peer: Action(method, peer=peer),
        st.sampled_from([item for item in Method if "crypt" in item.value]),
        st.sampled_from([PEER, OTHER]),
    ),
)
grant_lists = st.lists(
    st.builds(
        Grant,
        st.sampled_from([item.value for item in Method]),
        st.sampled_from([None, "0", "1", PEER, OTHER]),
        st.sampled_from(list(Effect)),
        st.none() | st.integers(NOW - 2, NOW + 2),
        st.none() | st.integers(0, 2),
        st.none() | st.builds(Rate, st.integers(1, 3), st.integers(1, 5)),
        st.integers(NOW - 6, NOW),
        st.integers(0, 4),
    ),
    max_size=6,
)


@given(grant_lists, actions)
def test_nothing_is_allowed_without_a_living_grant_for_it(
    held: list[Grant], action: Action
) -> None:
    """What is allowed is allowed by a grant of that method and parameter, with room in it."""
    decision = decide(held, action, NOW)
    if isinstance(decision, Allow):
        grant = decision.grant
        assert grant is not None
        assert grant in held
        assert grant.method == action.method.value
        assert grant.param in (None, action.param)
        assert grant.effect is Effect.ALLOW
        assert grant.expires_at is None or grant.expires_at > NOW
        assert grant.uses_left != 0


@given(grant_lists, actions)
def test_a_limit_never_allows_more(held: list[Grant], action: Action) -> None:
    """Without its expired and used-up grants a client may do exactly as much."""
    living = [grant for grant in held if grant.live(NOW)]
    assert decide(living, action, NOW) == decide(held, action, NOW)


@given(grant_lists, actions)
def test_decryption_is_never_implied(held: list[Grant], action: Action) -> None:
    """Rights to other methods, however many, let nobody read a message."""
    others = [replace(grant, method="sign_event") for grant in held]
    read = replace(action, method=Method.NIP44_DECRYPT, kind=None, peer=PEER)
    assert isinstance(decide(others, read, NOW), Ask)


@given(st.integers(1, 20), st.integers(1, 100), st.lists(st.integers(0, 10), max_size=60))
def test_a_rate_holds_in_every_window(count: int, seconds: int, steps: list[int]) -> None:
    """However the uses are spread, no window has more than `count` of them."""
    grant = Grant("sign_event", rate=Rate(count, seconds))
    now = NOW
    times: list[int] = []
    for step in steps:
        now += step
        if isinstance(decide([grant], NOTE, now), Allow):
            grant = grant.used(now)
            times.append(now)
            assert sum(1 for at in times if at >= grant.window_start) <= count


def test_a_rate_is_as_much_as_it_says() -> None:
    """So many uses from the first of them on, and as many once its window is over."""
    grant, allowed = Grant("sign_event", rate=Rate(3, 60)), []
    for now in (NOW, NOW + 1, NOW + 58, NOW + 59, NOW + 60, NOW + 60, NOW + 60, NOW + 119):
        allowed.append(isinstance(decide([grant], NOTE, now), Allow))
        if allowed[-1]:
            grant = grant.used(now)
    assert allowed == [True, True, True, False, True, True, True, False]


def test_what_a_grant_for_less_is_about() -> None:
    """The narrowest parameter comes first; the kind and scope of NIP-44 version 3 are one."""
    sealed = Action(Method.NIP44V3_DECRYPT, peer=PEER, context=(14, "chat"))
    assert sealed.params == ("14/chat", "14", None)
    assert sealed.rule == sealed.param == "14/chat"
    assert READ.params == (PEER, None)
    login = Action(Method.SIGN_EVENT, kind=22242, host="relay.example")
    assert login.params == ("22242:relay.example", "22242", None)
    assert login.rule == login.param
    assert NOTE.rule == "1"


@pytest.mark.parametrize("kind", [22242, 24242, 27235])
def test_no_rule_is_made_of_a_login_to_nowhere(kind: int) -> None:
    """It would be one for every host."""
    with pytest.raises(ValueError, match="a login to nowhere"):
        _ = Action(Method.SIGN_EVENT, kind=kind).rule


def test_basic_signs_the_everyday_kinds() -> None:
    """Notes, reposts, reactions, comments and a relay's login, and no other kind at all."""
    grants = profile_grants(Profile.BASIC)
    kinds = [0, *range(1, 25), *range(1105, 1115), *range(22235, 22250)]
    signed = [
        kind
        for kind in kinds
        if isinstance(decide(grants, Action(Method.SIGN_EVENT, kind=kind), NOW), Allow)
    ]
    assert signed == [1, 6, 7, 16, 1111, 22242]


def test_uses_run_out() -> None:
    """A grant for three uses is used three times."""
    grant, uses = Grant("sign_event", uses_left=3), 0
    while isinstance(decide([grant], NOTE, NOW), Allow):
        grant, uses = grant.used(NOW), uses + 1
    assert uses == 3


@given(grant_lists)
def test_json_round_trip(held: list[Grant]) -> None:
    """What lies beside a secret until a client pairs is what it then gets."""
    for grant in held:
        fresh = replace(grant, window_start=0, window_used=0)
        assert Grant.from_json(fresh.to_json()) == fresh


def test_permission_lists_become_grants() -> None:
    """A list in NIP-46's words is taken as it stands."""
    assert grants_of(parse_permissions("sign_event:1,nip44_encrypt")) == (
        Grant("sign_event", "1"),
        Grant("nip44_encrypt"),
    )


def test_free_methods_open_no_key() -> None:
    """What needs no grant is what needs no key."""
    assert not any("crypt" in item.value or "sign" in item.value for item in FREE)


# --- logins ---------------------------------------------------------------------------------------

HTTP, OTHERS_HTTP = "27235:api.example.com", "27235:evil.example.com"


@pytest.mark.parametrize(
    ("grants", "host", "expected"),
    [
        ([Grant("sign_event", HTTP)], "api.example.com", "allow"),
        ([Grant("sign_event", HTTP)], "evil.example.com", "ask"),
        ([Grant("sign_event", HTTP)], None, "ask"),
        ([Grant("sign_event", "27235")], "evil.example.com", "allow"),
        (
            [Grant("sign_event", "27235"), Grant("sign_event", OTHERS_HTTP, DENY)],
            "evil.example.com",
            "denied",
        ),
        (
            [Grant("sign_event", "27235", DENY), Grant("sign_event", HTTP)],
            "api.example.com",
            "allow",
        ),
        ([Grant("sign_event", "2723")], "api.example.com", "ask"),
        (profile_grants(Profile.BASIC), "api.example.com", "ask"),
    ],
)
def test_a_login_is_for_one_host(grants: list[Grant], host: str | None, expected: str) -> None:
    """A grant for a host covers that host alone, and goes before one for the kind."""
    action = Action(Method.SIGN_EVENT, kind=27235, host=host)
    assert words(decide(grants, action, NOW)) == expected


@pytest.mark.parametrize("kind", [24242, 27235])
def test_basic_logs_in_to_no_web_server(kind: int) -> None:
    """NIP-98 and Blossom are asked for, whatever else is everyday."""
    action = Action(Method.SIGN_EVENT, kind=kind, host="api.example.com")
    assert words(decide(profile_grants(Profile.BASIC), action, NOW)) == "ask"


@pytest.mark.parametrize(
    ("grants", "host", "expected"),
    [
        ([], "relay.example.com", "denied"),  # and not asked
        ([Grant("sign_event")], "relay.example.com", "denied"),
        ([Grant("sign_event", "27235")], "relay.example.com", "denied"),
        ([Grant("sign_event", "27235")], None, "denied"),  # two `u` tags, one of them ours
        ([Grant("sign_event", "27235:relay.example.com")], "relay.example.com", "allow"),
    ],
)
def test_no_app_logs_in_to_the_own_relay(
    grants: list[Grant], host: str | None, expected: str
) -> None:
    """It could ban the signer there; only a grant for that very host does."""
    action = Action(Method.SIGN_EVENT, kind=27235, host=host, at_own_relay=True)
    assert words(decide(grants, action, NOW)) == expected


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("sign_event:27235:api.example.com", True),
        ("sign_event:22242:relay.example.com:7777", True),
        ("sign_event:1:api.example.com", False),
        ("sign_event:27235:", False),
        ("sign_event:27235:\u202eevil", False),
    ],
)
def test_a_host_in_a_permission(text: str, taken: bool) -> None:
    """`--allow` takes a host for the kinds that have one."""
    assert bool(parse_permissions(text)) is taken
