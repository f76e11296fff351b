"""The file of Inception's weights: verification and download."""

from __future__ import annotations

import io
import urllib.error

import pytest

from probebench.api import DataError, UsageError
from probebench_fidelity.inception import Inception
from probebench_fidelity.inception_weights import NAME, URL, fetch, path_of
from probebench_fidelity.options import InceptionOptions


def test_another_file_is_refused_before_it_is_loaded(tmp_path):
    path = tmp_path / "other.pth"
    path.write_bytes(b"not these")
    with pytest.raises(DataError) as caught:
        Inception(InceptionOptions(weights=str(path))).fingerprint()
    first, where, hint = str(caught.value).splitlines()
    assert first.startswith("other.pth is not torch-fidelity's file: its SHA-256 begins with ")
    assert where == f"  in: {path}"
    assert hint == f"  try: delete it and add --download to probebench run, or save {URL} as this file"


class Response(io.BytesIO):
    def __init__(self, content):
        super().__init__(content)
        self.headers = {"Content-Length": str(len(content))}


def serve(monkeypatch, content):
    requested = []

    def urlopen(url, timeout):
        requested.append(url)
        if isinstance(content, Exception):
            raise content
        return Response(content)

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    return requested


def test_a_download_is_verified_and_done_once(accepted, monkeypatch):
    requested, progress = serve(monkeypatch, accepted), []
    for _ in range(2):
        fetch(InceptionOptions(), lambda *step: progress.append(step))
    assert requested == [URL]
    assert progress[-1] == (NAME, len(accepted), len(accepted))
    path = path_of(InceptionOptions())
    assert [file.name for file in path.parent.iterdir()] == [NAME]
    assert Inception(InceptionOptions()).fingerprint() == Inception(InceptionOptions(weights=str(path))).fingerprint()


def test_nothing_is_downloaded_for_random_weights(monkeypatch):
    requested = serve(monkeypatch, b"")
    fetch(InceptionOptions(pretrained=False), print)
    assert requested == []


def test_a_file_that_the_user_names_is_not_downloaded(tmp_path):
    with pytest.raises(UsageError) as caught:
        fetch(InceptionOptions(weights=str(tmp_path / "mine.pth")), print)
    assert str(caught.value).splitlines() == [
        f"no file {str(tmp_path / 'mine.pth')!r}",
        "  in: option weights of inception",
        "  try: remove the option weights, so that --download fetches them",
    ]


def test_an_interrupted_download_leaves_no_file(monkeypatch):
    serve(monkeypatch, urllib.error.URLError("no route to host"))
    with pytest.raises(DataError) as caught:
        fetch(InceptionOptions(), print)
    path = path_of(InceptionOptions())
    assert str(caught.value).splitlines() == [
        f"{NAME} cannot be downloaded: no route to host",
        f"  in: {URL}",
        f"  try: run the same command again, or save the file yourself as {path}",
    ]
    serve(monkeypatch, b"half of it")
    with pytest.raises(DataError, match="is not torch-fidelity's file"):
        fetch(InceptionOptions(), print)
    assert list(path.parent.iterdir()) == []
