"""Health: is the process alive, and does it carry a signing request just now?"""

import asyncio
import time
from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from bunker_core.keys import SecretKey

if TYPE_CHECKING:
    from bunker_relay.relay import Relay

_TIMEOUT: Final = 3.0  # seconds
_FRESH: Final = 1.0  # seconds for which an answer holds: asking often costs nothing


class Health:
    """Answers /healthz and /readyz."""

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay
        self._one_at_a_time = asyncio.Lock()
        self._asked_at = -_FRESH
        self._answer: tuple[int, dict[str, object]] = (503, {})

    async def healthz(self, _request: Request) -> Response:
        """The event loop answers, so the process is alive."""
        return PlainTextResponse("ok\n")

    async def readyz(self, request: Request) -> Response:
        """Send a real kind 24133 event through this relay and back, with throw-away keys."""
        async with self._one_at_a_time:
            if time.monotonic() - self._asked_at >= _FRESH:
                self._answer = await self._probe(request)
                self._asked_at = time.monotonic()
            status, body = self._answer
            return JSONResponse(body, status_code=status)

    async def _probe(self, request: Request) -> tuple[int, dict[str, object]]:
        # Imported here: a relay that nobody asks does not need a WebSocket client.
        from bunker_relay.http.probe import ProbeError, round_trip

        host, port = request.scope["server"]
        url = f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}"
        signer, client = SecretKey.generate(), SecretKey.generate()
        await self._open_gate(signer.pubkey, True)
        try:
            seconds = await round_trip(url, signer=signer, client=client, timeout=_TIMEOUT)
        except ProbeError as error:
            return 503, {"ready": False, "reason": str(error)}
        finally:
            await self._open_gate(signer.pubkey, False)
        troubles = self._relay.troubles
        body: dict[str, object] = {"ready": troubles.ready}
        body["round_trip_ms"] = round(seconds * 1000, 2)
        if troubles:
            body["troubles"] = troubles.to_dict()
        connected = self._relay.bus.gauges.get("bus_connected")
        if connected is not None:  # still ready: the clients of this host hear each other
            body["bus"] = "connected" if connected else "lost"
        return 200 if troubles.ready else 503, body

    async def _open_gate(self, pubkey: str, on: bool) -> None:
        """Let a throw-away signer through, here and at the workers that the probe may reach."""
        probes = self._relay.policy.visibility.probes
        (probes.add if on else probes.discard)(pubkey)
        await self._relay.share({"probe": pubkey, "on": on})
