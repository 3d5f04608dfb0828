"""A signer in this process: the real agent, with keys that the test may bring."""

import asyncio
import os
import time
from collections.abc import Callable, Iterable, MutableMapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final

from bunker.testbed.faults import Faults
from bunker.testbed.thread import LoopThread
from bunker.testbed.wire import Party
from bunker_core.event import sign_event
from bunker_core.keys import SecretKey
from bunker_core.nips.bunker_uri import new_secret, parse_nostrconnect_uri
from bunker_core.nips.channel import rpc_template
from bunker_core.nips.nip19 import encode_npub
from bunker_core.nips.nip46 import parse_permissions
from bunker_core.pool import RelayPool
from bunker_signer.key.access import KeyState
from bunker_signer.key.identity import Identity
from bunker_signer.key.keystore import MASTER_KEY_FILE, TRANSPORT_NAME, key_storage
from bunker_signer.nse import NSE
from bunker_signer.nse.model import DEFAULT_NAME
from bunker_signer.policy import Grant, Profile, grants_of, profile_grants
from bunker_signer.request.approval import Answer, Question, Verdict
from bunker_signer.service.service import Config, Service, running

_KEY_BYTES: Final = 32
_RECEIPT_TIMEOUT: Final = 3.0  # seconds
_RETRY_SECONDS: Final = 0.02

# What a test puts in the owner's place: True or False, a Verdict, or None for silence.
Script = Callable[[Question], Verdict | bool | None]


class Signer:
    """One user's key on some relays. `faults` and `approver` can be changed at any time."""

    def __init__(
        self,
        thread: LoopThread,
        relay_urls: Iterable[str],
        data: Path,
        parties: MutableMapping[str, Party],
        *,
        secret_key: bytes | None = None,
        allow: str | None = None,
        approver: Script | None = None,
    ) -> None:
        """Start; `allow` is what a client that pairs may do without asking, None: everything.

        `secret_key` is the user's, 32 bytes, throw-away unless given. `approver` answers what is
        not allowed; without one it is denied.
        """
        self._thread = thread
        self._relay_urls = tuple(relay_urls)
        self._data = data
        user = secret_key or os.urandom(_KEY_BYTES)
        transport = os.urandom(_KEY_BYTES)  # known to the wire, which reads and forges
        self._seal(user, transport)
        self._running: _Running | None = None
        self.allow = allow
        self.approver: Script = approver or (lambda _: False)
        self.questions: list[Question] = []  # what the approver was asked, in order
        self.faults = Faults()
        self.pubkey = SecretKey(user).pubkey
        self.remote_signer_pubkey = SecretKey(transport).pubkey
        parties[self.remote_signer_pubkey] = Party(SecretKey(transport), self.faults)
        self.restart()

    @property
    def npub(self) -> str:
        """The user's pubkey, as people write it."""
        return encode_npub(self.pubkey)

    @property
    def uri(self) -> str:
        """A bunker:// URI that pairs one client; each reading makes a fresh one."""
        return self.invite(self.allow)

    @property
    def running(self) -> bool:
        """Whether the signer serves just now."""
        return self._running is not None

    @property
    def locked(self) -> bool:
        """Whether the user's key is locked."""
        return self._current().identity.state is KeyState.LOCKED

    def invite(self, allow: str | None = None) -> str:
        """Return a bunker:// URI that pairs one client, which then may do `allow`."""
        return self._thread.run(self._current().invite(_grants(allow)))

    def accept(self, uri: str, allow: str | None = None) -> None:
        """Take a client's nostrconnect:// invitation."""
        self._thread.run(self._current().accept(uri, _grants(allow)))

    def lock(self) -> None:
        """Lock the user's key: requests that need it wait until `unlock`."""
        self._thread.run(self._current().lock())

    def unlock(self) -> None:
        """Unlock the user's key."""
        self._thread.run(self._current().unlock())

    def kill(self) -> None:
        """End the signer in the middle of whatever it does."""
        running, self._running = self._running, None
        if running is not None:
            self._thread.run(running.stop())

    def restart(self) -> None:
        """Start again, with the clients and grants that there were; end it first if it runs."""
        self.kill()
        self._running = self._thread.run(self._start())

    def wait_until_listening(self, timeout: float = 10.0) -> None:
        """Return when a relay passes requests on to the signer; raises TimeoutError.

        After a relay's restart client and signer come back each in its own time. A request that is
        sent between the two finds nobody, as it would in real life.
        """
        self._thread.run(self._current().listening(), timeout)

    def close(self) -> None:
        """End the signer for good."""
        self.faults.clear()
        self.kill()

    async def ask(self, question: Question) -> Answer:
        """Answer as the script says (the signer asks here)."""
        self.questions.append(question)
        said = self.approver(question)
        if said is None:
            await asyncio.Event().wait()  # until the signer's own deadline
        if not isinstance(said, Verdict):
            said = Verdict.ONCE if said else Verdict.DENY
        return Answer(said, "the test's script")

    def _current(self) -> "_Running":
        if self._running is None:
            raise RuntimeError("the signer is killed; restart it first")
        return self._running

    def _seal(self, user: bytes, transport: bytes) -> None:
        """Put both keys where a signer finds them."""
        master_key = os.urandom(_KEY_BYTES)
        (self._data / MASTER_KEY_FILE).write_bytes(master_key)
        storage = key_storage(self._data)
        for name, secret in ((DEFAULT_NAME, user), (TRANSPORT_NAME, transport)):
            with NSE(master_key=bytearray(master_key), storage=storage, name=name) as key:
                key.import_key(bytearray(secret))

    async def _start(self) -> "_Running":
        config = Config(self._data, self._relay_urls)
        stack = AsyncExitStack()
        try:
            # What is not the signer's own has a pool of its own.
            pool = await stack.enter_async_context(RelayPool(self._relay_urls))
            service = await stack.enter_async_context(
                running(config, [self], clock=self.faults.clock)
            )
        except BaseException:
            await stack.aclose()
            raise
        return _Running(service, pool, stack, self.faults.clock)


class _Running:
    """One run of the signer, from a start to its end. Lives on the loop's thread."""

    def __init__(
        self,
        service: Service,
        pool: RelayPool,
        stack: AsyncExitStack,
        clock: Callable[[], float],
    ) -> None:
        self._service = service
        self._pool = pool
        self._stack = stack
        self._clock = clock
        self._serving = asyncio.create_task(service.agent.serve())

    @property
    def identity(self) -> Identity:
        """The one key that is served."""
        return self._service.identities[0]

    async def stop(self) -> None:
        """Cancel what runs and leave the relays."""
        self._serving.cancel()
        await asyncio.gather(self._serving, return_exceptions=True)
        await self._stack.aclose()

    async def invite(self, grants: tuple[Grant, ...]) -> str:
        """Return a fresh bunker:// URI."""
        return str(self._service.agent.invite(self.identity, new_secret(), grants))

    async def accept(self, uri: str, grants: tuple[Grant, ...]) -> None:
        """Take a nostrconnect:// URI; raises BunkerError."""
        await self._service.agent.accept(self.identity, parse_nostrconnect_uri(uri), grants)

    async def lock(self) -> None:
        """Lock the key, for a later run too."""
        self.identity.access.lock("testbed")

    async def unlock(self) -> None:
        """Unlock the key."""
        opening = partial(self._service.keystore.unlock, self.identity.user, None)
        await self.identity.access.unlock(opening, "testbed", on_machine=True)

    async def listening(self) -> None:
        """Send events that mean nothing to the signer until a relay delivers one."""
        while True:
            recipient = self.identity.remote_signer_pubkey
            template = rpc_template("", recipient, int(time.time()))
            publication = self._pool.publish(sign_event(template, SecretKey.generate()))
            receipt = await publication.delivered(_RECEIPT_TIMEOUT)
            publication.forget()
            if receipt is not None:
                return
            await asyncio.sleep(_RETRY_SECONDS)


def _grants(allow: str | None) -> tuple[Grant, ...]:
    if allow is None:
        return profile_grants(Profile.FULL)
    permissions = parse_permissions(allow)
    if allow and len(permissions) != len(allow.split(",")):
        raise ValueError(f"{allow}: not a list like sign_event:1,nip44_encrypt")
    return grants_of(permissions)
