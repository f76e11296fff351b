"""Checkpoints on the hub: downloaded on request, otherwise read from the cache, and identified by their commit.

huggingface_hub's `snapshot_download` is replaced by a function that reads a folder; nothing else of it is used.
"""

from __future__ import annotations

import fnmatch
import pkgutil
import shutil
import warnings
from typing import TYPE_CHECKING

import huggingface_hub
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler
from huggingface_hub.errors import LocalEntryNotFoundError

from probebench.api import DataError, ProbebenchWarning, UsageError
from probebench_ddpm import probebench_backbones
from probebench_ddpm.backbones.ddpm import DDPM
from probebench_ddpm.backbones.latent import LDM, DiT
from probebench_ddpm.loading.hub import fetch, parse
from probebench_ddpm.options import DDPMOptions, DiTOptions, LDMOptions

if TYPE_CHECKING:
    from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PINNED = f"hub:owner/name@{COMMIT}"


class Hub:
    """A hub with one repository, in a folder, and the cache that its files are copied to."""

    def __init__(self, root: Path) -> None:
        self.remote, self.cache = root / "remote", root / "snapshots" / COMMIT
        self.requests: list[tuple[str, str]] = []
        self.error: Exception | None = None

    def snapshot_download(self, repo_id, *, revision, allow_patterns, local_files_only):
        known = repo_id == "owner/name" and revision in ("main", "v1", COMMIT)
        if local_files_only:
            if not (known and self.cache.is_dir()):
                raise LocalEntryNotFoundError("not in the cache")
            return str(self.cache)
        self.requests.append((repo_id, revision))
        if self.error or not known:
            raise self.error or OSError("404 Client Error. Repository not found")
        for path in self.remote.rglob("*"):
            name = path.relative_to(self.remote).as_posix()
            if path.is_file() and any(fnmatch.fnmatch(name, pattern) for pattern in allow_patterns):
                (self.cache / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, self.cache / name)
        return str(self.cache)


@pytest.fixture
def hub(tmp_path, unet, monkeypatch):
    """A hub whose repository is a pipeline of diffusers with additional files."""
    hub = Hub(tmp_path)
    DDPMPipeline(unet(), DDPMScheduler()).save_pretrained(hub.remote)
    (hub.remote / "README.md").write_text("a model card")
    (hub.remote / "unet/diffusion_pytorch_model.bin").write_bytes(b"the same again")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
    return hub


def download(checkpoint: str) -> None:
    fetch(DDPMOptions(checkpoint=checkpoint), lambda *_: None)


def test_a_downloaded_checkpoint_equals_its_folder(hub, batch, at, blocks, assert_features):
    download(PINNED)
    images, points = batch(), at(blocks)
    ours = DDPM(DDPMOptions(checkpoint=PINNED))
    theirs = DDPM(DDPMOptions(checkpoint=str(hub.remote)))
    assert ours.fingerprint() == theirs.fingerprint()
    features = theirs.extract(images, points, seed=0)
    for point, vectors in ours.extract(images, points, seed=0).items():
        assert_features(vectors, features[point], str(point))


def test_nothing_is_downloaded_without_request(hub):
    with pytest.raises(UsageError) as error:
        DDPM(DDPMOptions(checkpoint="hub:owner/name@v1"))
    text = str(error.value)
    assert hub.requests == []
    assert text.startswith("hub:owner/name@v1 is not in the cache of huggingface_hub")
    assert "probebench run --download" in text
    assert "checkpoint=FOLDER" in text
    assert len(text.splitlines()) == 3


def test_only_needed_files_are_downloaded(hub):
    download(PINNED)
    names = {path.relative_to(hub.cache).as_posix() for path in hub.cache.rglob("*") if path.is_file()}
    assert names == {
        "model_index.json",
        "scheduler/scheduler_config.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    }


def test_a_pickle_is_downloaded_where_there_are_no_safetensors(hub, unet):
    (hub.remote / "unet/diffusion_pytorch_model.safetensors").unlink()
    torch.save(unet().state_dict(), hub.remote / "unet/diffusion_pytorch_model.bin")
    download(PINNED)
    assert (
        DDPM(DDPMOptions(checkpoint=PINNED)).fingerprint()
        == DDPM(DDPMOptions(checkpoint=str(hub.remote))).fingerprint()
    )


def test_cached_files_are_not_downloaded_again(hub):
    download(PINNED)
    download(PINNED)
    assert len(hub.requests) == 1
    (hub.cache / "unet/diffusion_pytorch_model.safetensors").unlink()
    download(PINNED)
    assert len(hub.requests) == 2, "an interrupted download is resumed"


@pytest.mark.parametrize(("text", "revision"), [("hub:owner/name@v1", "v1"), ("hub:owner/name", "main")])
def test_a_warning_names_the_commit_of_a_branch(hub, text, revision):
    download(text)
    assert hub.requests == [("owner/name", revision)]
    with pytest.warns(ProbebenchWarning, match=rf"hub:owner/name@{revision} is read at commit {COMMIT}"):
        DDPM(DDPMOptions(checkpoint=text))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DDPM(DDPMOptions(checkpoint=PINNED))


@pytest.mark.parametrize("text", ["hub:", "hub:name", "hub:owner/name@", "hub:a/b/c@main", "hub:../x@main/../.. "])
def test_invalid_names_of_repositories(text):
    with pytest.raises(
        UsageError, match=r"does not name a repository\n.*option checkpoint.*\n.*hub:owner/name@revision"
    ):
        parse(text)


@pytest.mark.parametrize("error", [None, LocalEntryNotFoundError("Got: ConnectError"), ConnectionError("no route")])
def test_a_download_that_fails(hub, error):
    hub.error = error
    with pytest.raises(DataError, match=r"hub:owner/nobody@main cannot be downloaded: .*\n.*hf auth login"):
        download("hub:owner/nobody")


@pytest.mark.parametrize("checkpoint", ["scattered-digits", "none", "some/folder"])
def test_other_checkpoints_need_no_download(hub, checkpoint):
    download(checkpoint)
    assert hub.requests == []


def test_the_specs_name_the_download_function(hub):
    specs = list(probebench_backbones())
    assert [spec.name for spec in specs] == ["ddpm", "ldm", "dit"]
    assert all(pkgutil.resolve_name(spec.fetch) is fetch for spec in specs)


@pytest.mark.parametrize("kind", ["dit", "vq"])
def test_a_pipeline_of_latents(hub, latent, kind):
    """Only network, autoencoder and schedule are downloaded."""
    folder, _ = latent(kind)
    shutil.rmtree(hub.remote)
    shutil.copytree(folder, hub.remote)
    (hub.remote / "vae.bin").write_bytes(b"whatever")
    (backbone, options) = (DiT, DiTOptions) if kind == "dit" else (LDM, LDMOptions)
    fetch(options(checkpoint=PINNED), lambda *_: None)
    fetch(options(checkpoint=PINNED), lambda *_: None)
    assert len(hub.requests) == 1
    network, encoder = ("transformer", "vae") if kind == "dit" else ("unet", "vqvae")
    names = {path.relative_to(hub.cache).as_posix() for path in hub.cache.rglob("*") if path.is_file()}
    files = ("config.json", "diffusion_pytorch_model.safetensors")
    assert names == {
        *("model_index.json", "scheduler/scheduler_config.json"),
        *(f"{part}/{file}" for part in (network, encoder) for file in files),
    }
    read = backbone(options(checkpoint=PINNED)).fingerprint()
    assert read == backbone(options(checkpoint=str(folder))).fingerprint()


def test_a_text_encoder_is_downloaded_where_it_is_needed(hub, latent):
    folder, _ = latent("text")
    shutil.rmtree(hub.remote)
    shutil.copytree(folder, hub.remote)
    for name in ("text_encoder/config.json", "text_encoder/model.safetensors", "tokenizer/vocab.json"):
        (hub.remote / name).parent.mkdir(exist_ok=True)
        (hub.remote / name).write_text("{}")
    fetch(LDMOptions(checkpoint=PINNED, prompt="zeros"), lambda *_: None)
    assert not (hub.cache / "text_encoder").exists()
    shutil.rmtree(hub.cache)
    fetch(LDMOptions(checkpoint=PINNED), lambda *_: None)
    assert (hub.cache / "text_encoder/model.safetensors").is_file()
    assert (hub.cache / "tokenizer/vocab.json").is_file()
