"""The empty text, encoded by the CLIP text encoder of the pipeline."""

from __future__ import annotations

import json
import string
import sys

import pytest
import torch

from probebench.api import UsageError
from probebench_ddpm.backbones.latent import LDM
from probebench_ddpm.options import LDMOptions


@pytest.fixture
def refused():
    """Returns the error of reading a folder, which has three lines at most."""

    def load(folder):
        with pytest.raises(UsageError) as error:
            LDM(LDMOptions(checkpoint=str(folder)))
        assert len(str(error.value).splitlines()) <= 3
        return str(error.value)

    return load


@pytest.fixture
def described(latent):
    """A pipeline whose text encoder consists only of a config."""
    folder, _ = latent("text")
    for name in ("text_encoder", "tokenizer"):
        (folder / name).mkdir()
    (folder / "text_encoder/config.json").write_text(json.dumps({"model_type": "clip_text_model"}))
    return folder


def test_another_text_encoder(described, refused):
    (described / "text_encoder/config.json").write_text(json.dumps({"model_type": "t5"}))
    text = refused(described)
    assert text.startswith("the text encoder is a t5, not a clip_text_model")
    assert "prompt=zeros" in text


def test_without_transformers(described, refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    text = refused(described)
    assert text.startswith("prompt=empty needs the package transformers, which is not installed")
    assert "pip install 'probebench-ddpm[text]', or prompt=zeros" in text


def test_without_a_tokenizer(described, refused):
    (described / "tokenizer").rmdir()
    assert refused(described).startswith("the checkpoint has no tokenizer/, and its network is conditioned on text")


def write_text_encoder(folder, *, width: int = 8):
    """Saves a random CLIP text encoder and a tokenizer of letters with transformers, and returns the encoder."""
    transformers = pytest.importorskip("transformers", reason="needs pip install 'probebench-ddpm[text]'")
    words = [*string.ascii_lowercase, *(f"{letter}</w>" for letter in string.ascii_lowercase)]
    vocabulary = {word: number for number, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "tokenizer/vocab.json").write_text(json.dumps(vocabulary))
    (folder / "tokenizer/merges.txt").write_text("#version: 0.2\n")
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 7, "pad_token": "<|endoftext|>"}
    (folder / "tokenizer/tokenizer_config.json").write_text(json.dumps(config))
    size = {"hidden_size": width, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    tokens = {"vocab_size": 54, "max_position_embeddings": 7, "bos_token_id": 52, "eos_token_id": 53}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = transformers.CLIPTextModel(transformers.CLIPTextConfig(**size, **tokens, pad_token_id=53)).eval()
    encoder.save_pretrained(folder / "text_encoder")
    return encoder


def test_the_network_attends_to_the_empty_text(latent, batch, at, full_forward, assert_features):
    folder, parts = latent("text")
    encoder = write_text_encoder(folder)
    start, end = 52, 53
    with torch.inference_mode():
        states = encoder(torch.tensor([[start, *[end] * 6]]))[0]
    images, modules = batch(2), {"down.0": "down_blocks.0", "up.1": "up_blocks.1"}
    with torch.inference_mode():
        latents = 0.7 * parts["vae"].encode(images.images.float() / 127.5 - 1).latent_dist.mean
    maps = full_forward(parts["network"], latents, 10, modules, encoder_hidden_states=states.expand(2, -1, -1))
    backbone = LDM(LDMOptions(checkpoint=str(folder), noise="none"))
    for point, vectors in backbone.extract(images, at(modules), seed=0).items():
        assert_features(vectors, maps[point.tap].mean((2, 3)), point.tap)
    without = LDM(LDMOptions(checkpoint=str(folder), noise="none", prompt="zeros"))
    assert without.fingerprint() != backbone.fingerprint()


def test_the_text_encoder_of_another_network(latent, refused):
    folder, _ = latent("text")
    write_text_encoder(folder, width=16)
    assert refused(folder).startswith("the text encoder has 16 channels, the network attends to 8")


def test_a_text_encoder_without_weights(latent, refused):
    folder, _ = latent("text")
    write_text_encoder(folder)
    (folder / "text_encoder/model.safetensors").unlink()
    assert refused(folder).startswith("transformers cannot load the text encoder: ")
