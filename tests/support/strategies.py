"""Hypothesis strategies for what the protocol speaks of."""

from hypothesis import strategies as st

from bunker_core.event import MAX_TIMESTAMP, Event, EventTemplate
from bunker_core.filter import Filter
from bunker_core.keys import SecretKey

# Every text that UTF-8 can carry: no lone surrogates, but control characters and NUL.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
HEX32 = st.binary(min_size=32, max_size=32).map(bytes.hex)
HEX64 = st.binary(min_size=64, max_size=64).map(bytes.hex)
TIMES = st.integers(0, MAX_TIMESTAMP)
KINDS = st.integers(0, 65535)
TAGS = st.lists(st.lists(TEXTS, min_size=1, max_size=3).map(tuple), max_size=3).map(tuple)
TEMPLATES = st.builds(EventTemplate, kind=KINDS, content=TEXTS, tags=TAGS, created_at=TIMES)
# Of the right shape; id and signature do not hold.
EVENTS = st.builds(
    Event,
    id=HEX32,
    pubkey=HEX32,
    created_at=TIMES,
    kind=KINDS,
    tags=TAGS,
    content=TEXTS,
    sig=HEX64,
)

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_TAG_FILTERS = st.dictionaries(st.sampled_from(_LETTERS), st.frozensets(HEX32, max_size=2)).map(
    lambda tags: tuple(sorted(tags.items()))
)
FILTERS = st.builds(
    Filter,
    ids=st.none() | st.frozensets(HEX32, max_size=2),
    authors=st.none() | st.frozensets(HEX32, max_size=2),
    kinds=st.none() | st.frozensets(KINDS, max_size=3),
    tags=_TAG_FILTERS,
    since=st.none() | st.integers(-(2**63), 2**63 - 1),
    until=st.none() | st.integers(-(2**63), 2**63 - 1),
    limit=st.none() | st.integers(0, 2**63 - 1),
)

# All JSON values, lone surrogates and numbers beyond 64 bits included.
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)


def secret_key(number: int) -> SecretKey:
    """Return the private key `number`: fixed keys make failures repeatable."""
    return SecretKey(number.to_bytes(32))


SECRET_KEYS = st.integers(1, 2**128).map(secret_key)
