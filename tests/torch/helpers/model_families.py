"""Families of models, each as a tiny model with random weights, and what random operators it runs.

    PYTHONPATH=tests/helpers:tests/torch/helpers python -m model_families

writes docs/results/model_families.json anew, from which the documentation makes its table.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

try:
    import torchvision
except RuntimeError:
    # The index builds it for another PyTorch, so that its compiled operators can't be loaded. It
    # imports if these two are defined. No model here calls them.
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision
import timm
import transformers as hf
from timm.models.resnet import BasicBlock
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformerBlockV2

import anydrop
from anydrop.torch.conversion.convert import convert

FILE = Path(anydrop.__file__).parent.parent / "docs" / "results" / "model_families.json"
LAYERDROP = "LayerDrop, which skips whole layers by `torch.rand`"


class Family(NamedTuple):
    """A model and its inputs, and what `convert` with ``functional=True`` leaves of it, in words.

    Builders that need random numbers draw them from PyTorch's generator.
    """

    title: str
    build: Callable[[], tuple[nn.Module, dict[str, Tensor]]]
    left: str = ""
    #: Whether it draws from NumPy's generator, too.
    numpy: str = ""

    def made(self, seed: int = 0) -> tuple[nn.Module, dict[str, Tensor]]:
        """Return the model in float64, in training mode, and its inputs."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model, inputs = self.build()
        inputs = {name: x.double() if x.is_floating_point() else x for name, x in inputs.items()}
        return model.double().train(), inputs


def ids() -> dict[str, Tensor]:
    """Return tokens, and the same as labels."""
    tokens = torch.arange(3, 15).reshape(2, 6)
    return {"input_ids": tokens, "labels": tokens}


def of_two_classes(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**inputs, "labels": torch.tensor([0, 1])}


def images(size: int, name: str = "x") -> dict[str, Tensor]:
    return {name: torch.randn(2, 3, size, size)}


# As it finds out in a first forward otherwise, and is compiled anew.
TWO_CLASSES = {"num_labels": 2, "problem_type": "single_label_classification"}
SIZES = {
    **{"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
    **{"intermediate_size": 32, "vocab_size": 50},
}
HALVES = {
    **{"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2},
    **{"decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32},
    **{"vocab_size": 50, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
    **{"decoder_start_token_id": 2, "attention_dropout": 0.1, "activation_dropout": 0.1},
    **{"encoder_layerdrop": 0.3, "decoder_layerdrop": 0.3, "use_cache": False},
}


def bert() -> Any:
    return hf.BertForSequenceClassification(hf.BertConfig(**SIZES, **TWO_CLASSES)), of_two_classes(
        ids()
    )


def albert() -> Any:
    config = hf.AlbertConfig(
        **{**SIZES, **TWO_CLASSES, "embedding_size": 8},
        **{"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1},
    )
    return hf.AlbertForSequenceClassification(config), of_two_classes(ids())


def gpt2() -> Any:
    config = hf.GPT2Config(
        **{"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 16, "vocab_size": 50},
        **{"bos_token_id": 1, "eos_token_id": 2, "use_cache": False},
    )
    model = hf.GPT2LMHeadModel(config)
    model.loss_type = "ForCausalLM"  # else it warns in each forward
    return model, ids()


def llama() -> Any:
    config = hf.LlamaConfig(**SIZES, num_key_value_heads=1, attention_dropout=0.1, use_cache=False)
    return hf.LlamaForCausalLM(config), ids()


def opt() -> Any:
    config = hf.OPTConfig(
        **{"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 32},
        **{"vocab_size": 50, "max_position_embeddings": 32, "word_embed_proj_dim": 16},
        **{"attention_dropout": 0.1, "layerdrop": 0.3, "use_cache": False},
    )
    return hf.OPTForCausalLM(config), ids()


def t5() -> Any:
    config = hf.T5Config(
        **{"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2},
        **{"vocab_size": 50, "decoder_start_token_id": 0, "use_cache": False},
    )
    return hf.T5ForConditionalGeneration(config), ids()


def bart() -> Any:
    config = hf.BartConfig(**HALVES, max_position_embeddings=32, forced_eos_token_id=None)
    return hf.BartForConditionalGeneration(config), ids()


def whisper() -> Any:
    config = hf.WhisperConfig(**HALVES, num_mel_bins=8, max_source_positions=20, dropout=0.1)
    model = hf.WhisperForConditionalGeneration(config)
    return model, {"input_features": torch.randn(2, 8, 40), "labels": ids()["labels"]}


def deberta() -> Any:
    return hf.DebertaForSequenceClassification(
        hf.DebertaConfig(**SIZES, **TWO_CLASSES)
    ), of_two_classes(ids())


def deberta_v2() -> Any:
    config = hf.DebertaV2Config(**SIZES, **TWO_CLASSES)
    return hf.DebertaV2ForSequenceClassification(config), of_two_classes(ids())


def vit() -> Any:
    sizes = {name: size for name, size in SIZES.items() if name != "vocab_size"}
    config = hf.ViTConfig(
        **{**sizes, **TWO_CLASSES, "image_size": 16, "patch_size": 8},
        **{"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1},
    )
    return hf.ViTForImageClassification(config), of_two_classes(images(16, "pixel_values"))


def swin() -> Any:
    config = hf.SwinConfig(
        **{"image_size": 16, "patch_size": 4, "embed_dim": 8, "depths": [1, 1]},
        **{"num_heads": [2, 2], "window_size": 2, "drop_path_rate": 0.3, **TWO_CLASSES},
        **{"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1},
    )
    return hf.SwinForImageClassification(config), of_two_classes(images(16, "pixel_values"))


def wav2vec2() -> Any:
    config = hf.Wav2Vec2Config(
        **{**SIZES, "conv_dim": (16, 16), "conv_stride": (5, 4), "conv_kernel": (8, 4)},
        **{"num_feat_extract_layers": 2, "num_conv_pos_embeddings": 8, "mask_time_length": 2},
        **{"num_conv_pos_embedding_groups": 2, "classifier_proj_size": 8, "layerdrop": 0.3},
        **{"feat_proj_dropout": 0.1, **TWO_CLASSES},
    )
    model = hf.Wav2Vec2ForSequenceClassification(config)
    return model, of_two_classes({"input_values": torch.randn(2, 400)})


def timm_vit() -> Any:
    model = timm.models.VisionTransformer(
        **{"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2},
        **{"num_classes": 4, "drop_rate": 0.1, "pos_drop_rate": 0.1, "patch_drop_rate": 0.25},
        **{"proj_drop_rate": 0.1, "attn_drop_rate": 0.1, "drop_path_rate": 0.3},
    )
    return model, images(32)


def timm_resnet() -> Any:
    model = timm.models.ResNet(
        **{"block": BasicBlock, "layers": [1, 1, 1, 1], "channels": (8, 8, 8, 8)},
        **{"num_classes": 4, "drop_rate": 0.1, "drop_path_rate": 0.3, "drop_block_rate": 0.1},
        zero_init_last=False,  # else the masks in residual branches change nothing at first
    )
    return model, images(64)


def convnext() -> Any:
    blocks = [CNBlockConfig(8, 8, 1), CNBlockConfig(8, None, 2)]
    model = torchvision.models.ConvNeXt(
        blocks, stochastic_depth_prob=0.3, layer_scale=1.0, num_classes=4
    )
    return model, images(16)


def swin_v2() -> Any:
    model = torchvision.models.SwinTransformer(
        **{"patch_size": [4, 4], "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2]},
        **{"window_size": [2, 2], "dropout": 0.1, "attention_dropout": 0.1, "num_classes": 4},
        **{"stochastic_depth_prob": 0.3, "block": SwinTransformerBlockV2},
        downsample_layer=PatchMergingV2,
    )
    return model, images(16)


def densenet() -> Any:
    model = torchvision.models.DenseNet(
        **{"growth_rate": 4, "block_config": (2, 1), "num_init_features": 4, "bn_size": 1},
        **{"drop_rate": 0.2, "num_classes": 4},
    )
    return model, images(32)


def transformer() -> Any:
    sizes = {"d_model": 8, "nhead": 2, "dim_feedforward": 16}
    layers = {"num_encoder_layers": 1, "num_decoder_layers": 1}
    model = nn.Transformer(**sizes, **layers, dropout=0.1, batch_first=True)
    return model, {"src": torch.randn(2, 5, 8), "tgt": torch.randn(2, 4, 8)}


class Recurrent(nn.Module):
    """A head on an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 8, num_layers=2, dropout=0.2, batch_first=True)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores of the last place."""
        y: Tensor = self.head(self.dropout(self.lstm(x)[0][:, -1]))
        return y


def lstm() -> Any:
    return Recurrent(), {"x": torch.randn(2, 5, 4)}


FAMILIES: dict[str, Family] = {
    "bert": Family("BERT", bert),
    "albert": Family("ALBERT", albert),
    "gpt2": Family("GPT-2", gpt2),
    "llama": Family("Llama, with attention dropout", llama),
    "opt": Family("OPT, with LayerDrop", opt, LAYERDROP),
    "t5": Family("T5", t5),
    "bart": Family("BART, with LayerDrop", bart, LAYERDROP),
    "whisper": Family("Whisper, with LayerDrop", whisper, LAYERDROP),
    "deberta": Family("DeBERTa", deberta),
    "deberta_v2": Family("DeBERTa-v2", deberta_v2),
    "vit": Family("ViT", vit),
    "swin": Family("Swin", swin),
    "wav2vec2": Family(
        *("wav2vec2, with LayerDrop", wav2vec2, LAYERDROP),
        numpy="SpecAugment, which draws from NumPy's generator",
    ),
    "timm_vit": Family(
        "timm: ViT, with each drop argument", timm_vit, "`PatchDropout`, which drops patches"
    ),
    "timm_resnet": Family("timm: ResNet, with DropBlock", timm_resnet),
    "convnext": Family("torchvision: ConvNeXt", convnext),
    "swin_v2": Family("torchvision: Swin V2", swin_v2),
    "densenet": Family("torchvision: DenseNet", densenet),
    "transformer": Family("`nn.Transformer`", transformer),
    "lstm": Family("`nn.LSTM(dropout=)`", lstm),
}


# What a forward draws -------------------------------------------------------------------------


class Drawn(TorchDispatchMode):
    """Counts the random operators that run and are not ours, by their name."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(
        self, operator: Any, types: Any, arguments: Any = (), keywords: Any = None
    ) -> Any:
        if torch.Tag.nondeterministic_seeded in operator.tags and operator.namespace != "anydrop":
            self.count[operator.__name__.partition(".")[0]] += 1
        return operator(*arguments, **(keywords or {}))


def drawn(model: nn.Module, inputs: dict[str, Tensor]) -> Counter[str]:
    """Return the random operators that are not ours in a training forward, by name.

    Numbers of NumPy's generator count as one operator, ``"numpy"``.
    """
    before, count = _place_in_numpy(), Drawn()
    with count:
        model(**inputs)
    return count.count + Counter(numpy=int(before != _place_in_numpy()))


def _place_in_numpy() -> tuple[bytes, int]:
    state: Any = np.random.get_state()  # noqa: NPY002 - the generator that models use
    return state[1].tobytes(), state[2]


def row(name: str) -> dict[str, Any]:
    """Return a row of the documentation's table."""
    family = FAMILIES[name]
    found: dict[str, Any] = {"model": family.title}
    for way, keywords in WAYS.items():
        model, inputs = family.made()
        skip_no_layer(model)
        if keywords is not None:
            convert(model, seed=0, **keywords)
        with seeded(0):
            found[way] = sum(drawn(model, inputs).values())
    return {**found, "left": "; ".join(filter(None, (family.left, family.numpy)))}


def skip_no_layer(model: nn.Module) -> None:
    """Let LayerDrop draw its numbers and skip nothing, so that each layer's operators count."""
    for module in model.modules():
        for holder in (module, getattr(module, "config", None)):
            if getattr(holder, "layerdrop", 0) > 0:
                holder.layerdrop = 1e-12  # type: ignore[union-attr]


WAYS: dict[str, dict[str, bool] | None] = {
    "before": None,
    "convert(model)": {},
    "convert(model, functional=True)": {"functional": True},
}


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed PyTorch's and NumPy's generator, and put them back."""
    state: Any = np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(state)  # noqa: NPY002


def table() -> dict[str, dict[str, Any]]:
    """Return all rows, by name."""
    return {name: row(name) for name in FAMILIES}


if __name__ == "__main__":
    FILE.write_text(json.dumps(table(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
