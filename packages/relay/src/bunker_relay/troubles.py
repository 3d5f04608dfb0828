"""What is wrong just now and can be mended by the owner: said once in the log, and in readiness."""

from dataclasses import dataclass

from bunker_relay.logs import log


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is wrong."""

    fact: str  # what is wrong, in one sentence
    advice: str  # what to do
    ready: bool  # whether the relay does its work all the same


class Troubles:
    """Those that are there, by their names. Each is logged when it comes and when it goes."""

    def __init__(self) -> None:
        self._present: dict[str, Trouble] = {}

    def __bool__(self) -> bool:
        return bool(self._present)

    def has(self, name: str) -> bool:
        """Tell whether a trouble is there."""
        return name in self._present

    @property
    def ready(self) -> bool:
        """Whether the relay does its work."""
        return all(trouble.ready for trouble in self._present.values())

    def report(self, name: str, fact: str, advice: str, *, ready: bool = False) -> None:
        """Say that something is wrong, unless that was said."""
        if name in self._present:
            return
        self._present[name] = Trouble(fact, advice, ready)
        log.error(fact, trouble=name, advice=advice)

    def over(self, name: str) -> None:
        """Say that it is not any more, if it was."""
        if self._present.pop(name, None) is not None:
            log.info("this trouble is over", trouble=name)

    def to_dict(self) -> dict[str, dict[str, str]]:
        """Return what /readyz shows."""
        return {
            name: {"fact": trouble.fact, "advice": trouble.advice}
            for name, trouble in self._present.items()
        }
