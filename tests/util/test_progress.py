from __future__ import annotations

import contextlib
import io
import sys
from typing import TYPE_CHECKING

import pytest

from probebench.util import progress

if TYPE_CHECKING:
    from collections.abc import Iterator


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _interactive(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")


@contextlib.contextmanager
def terminal(stream: io.StringIO | None = None) -> Iterator[io.StringIO]:
    with contextlib.redirect_stderr(stream or Terminal()) as shown:
        yield shown


def test_on_a_terminal_the_bar_is_shown_with_its_note():
    with terminal() as shown, progress.bar("extract", total=4) as bar:
        bar.advance(2, note="loss 0.5")
        bar.advance()
    assert "extract" in shown.getvalue()
    assert "3/4" in shown.getvalue()
    assert "loss 0.5" in shown.getvalue()


def test_the_position_of_a_bar_can_be_set():
    with terminal() as shown, progress.bar("train", total=4) as bar:
        bar.set_completed(3, note="loss 0.7")
        bar.set_completed(2)
    assert "2/4" in shown.getvalue()
    assert "loss 0.7" in shown.getvalue()


def test_bars_inside_bars_share_the_display():
    with terminal() as shown, progress.bar("cells", total=2) as outer:
        for _ in range(2):
            with progress.bar("images", total=3) as inner:
                inner.advance(3)
            outer.advance()
    assert "cells" in shown.getvalue()
    assert "2/2" in shown.getvalue()


def test_after_an_exception_the_next_bar_works():
    with terminal() as shown:
        with pytest.raises(ZeroDivisionError), progress.bar("first"):
            raise ZeroDivisionError
        with progress.bar("second"):
            pass
    assert "second" in shown.getvalue()


def test_track_yields_the_items_and_counts_them():
    with terminal() as shown:
        assert list(progress.track("abc", "letters")) == ["a", "b", "c"]
        assert list(progress.track(iter("ab"), "letters", total=2)) == ["a", "b"]
    assert "3/3" in shown.getvalue()
    assert "2/2" in shown.getvalue()


def test_output_to_a_pipe_during_a_bar_goes_to_the_pipe(capsys):
    with terminal() as shown, progress.bar("extract"):
        sys.stdout.write('{"a": 1}\n')
    assert capsys.readouterr().out == '{"a": 1}\n'
    assert '"a"' not in shown.getvalue()


def test_under_ci_nothing_is_shown(monkeypatch):
    monkeypatch.setenv("CI", "true")
    with terminal() as shown:
        assert list(progress.track([1, 2], "numbers")) == [1, 2]
    assert shown.getvalue() == ""


def test_in_a_file_nothing_is_shown():
    with terminal(io.StringIO()) as shown, progress.bar("extract", total=2) as bar:
        bar.advance(note="x")
    assert shown.getvalue() == ""
