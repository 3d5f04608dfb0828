"""errors.py: what the NSE refuses."""

import click
import pytest
from click.testing import CliRunner

from bunker_core.errors import BunkerError
from bunker_core.local.commands import Program
from bunker_signer.nse import NSE, NSEErrorCode


def test_what_the_enclave_refuses_is_one_of_our_errors() -> None:
    """Who catches those of the package has it too, with its code."""
    with NSE() as nse, pytest.raises(BunkerError) as raised:
        nse.get_public_key()
    assert vars(raised.value) == {"code": NSEErrorCode.KEY_NOT_FOUND}


def test_a_command_that_foresaw_no_refusal_says_it_in_one_line() -> None:
    """Not as a traceback, in which a person finds no advice."""

    @click.group(cls=Program)
    def program() -> None:
        pass

    @program.command()
    def show() -> None:
        with NSE() as nse:
            nse.get_public_key()

    result = CliRunner().invoke(program, ["show"])
    assert (result.exit_code, result.output) == (1, "Error: no key found: generate or import one\n")
