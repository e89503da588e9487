"""Pretrained encoders return the token states of transformers, and refuse unsafe or unsuitable models."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from pretrained_folders import IDS, IMAGES, TEXTS, TOKENS, made, save, sentence_model
from torch import nn

from commlearn.batch import Modality
from commlearn.errors import ConfigurationError
from commlearn.kinds.pretrained import Pretrained
from commlearn.models.encoders.pretrained import FineTuned, Frozen, frozen_encoders, pretrained
from commlearn.models.encoders.pretrained_model import fingerprint, locate


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders with a saved model of each family."""
    root = tmp_path_factory.mktemp("families")
    return {family: save(family, root / family) for family in {*IMAGES, *TEXTS}}


def description(folder, kind, **settings):
    choice = Pretrained(str(folder), **settings)
    return (choice.for_images() if kind == "image" else choice.for_texts(99))["encoder"]


def pixels(batch=3, size=32):
    return torch.randint(0, 256, (batch, 3, size, size), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )


def texts(lengths=(7, 7, 4)):
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, IDS, (len(lengths), max(lengths)), generator=generator)
    return ids, torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None]


def tower(family, kind):
    model = made(family)
    return getattr(model, "vision_model" if kind == "image" else "text_model", model)


@pytest.mark.parametrize("family", IMAGES)
@pytest.mark.parametrize("frozen", [True, False])
def test_images_give_the_states_of_transformers(family, frozen, folders):
    stated = description(folders[family], "image", frozen=frozen)
    encoder = pretrained((3, 32, 32), 32, stated).eval()
    tokens = encoder(Modality(pixels()))
    mean, std = (torch.tensor(stated[name])[:, None, None] for name in ("mean", "std"))
    with torch.no_grad():
        wanted = tower(family, "image")((pixels() / 255 - mean) / std).last_hidden_state
    assert tokens.values.shape == (3, TOKENS[family], 32)
    torch.testing.assert_close(tokens.values, wanted, atol=1e-5, rtol=1e-5)
    assert tokens.padding is None


@pytest.mark.parametrize("family", TEXTS)
@pytest.mark.parametrize("frozen", [True, False])
def test_texts_give_the_states_of_transformers_whatever_the_padding(family, frozen, folders):
    encoder = pretrained((IDS,), 32, description(folders[family], "text", frozen=frozen)).eval()
    ids, padding = texts()
    tokens = encoder(Modality(ids, padding))
    for row, length in enumerate((7, 7, 4)):
        alone = ids[row : row + 1, :length]
        if family == "siglip":  # trained on padded texts, so it attends to the padding
            alone = nn.functional.pad(alone, (0, 16 - length), value=1)
        with torch.no_grad():
            wanted = tower(family, "text")(alone).last_hidden_state[0, :length]
        torch.testing.assert_close(tokens.values[row, :length], wanted, atol=1e-5, rtol=1e-5)
    assert torch.equal(tokens.padding, padding)
    assert tokens.values[padding].abs().sum() == 0
    junk = pretrained((IDS,), 32, description(folders[family], "text", frozen=frozen)).eval()
    again = junk(Modality(ids.masked_fill(padding, 9), padding))
    torch.testing.assert_close(again.values, tokens.values)


def test_a_frozen_encoder_is_no_part_of_the_method_and_a_tuned_one_learns(folders):
    stated = description(folders["clip"], "image")
    frozen = pretrained((3, 32, 32), 48, stated)
    assert [*frozen.state_dict()] == ["adapter.project.weight", "adapter.project.bias"]
    frozen(Modality(pixels())).values.sum().backward()
    assert [name for name, _ in frozen.named_parameters()] == [*frozen.state_dict()]
    assert not any(p.requires_grad for p in frozen.encoder.backbone.parameters())
    frozen.train()
    assert not frozen.encoder.backbone.training  # dropout of a frozen encoder stays off

    tuned = pretrained((3, 32, 32), 48, stated | {"frozen": False})
    weights = torch.randn(3, 17, 48, generator=torch.Generator().manual_seed(2))
    (tuned(Modality(pixels())).values * weights).sum().backward()
    trained = {name: p for name, p in tuned.named_parameters() if p.requires_grad}
    assert len(trained) > 20
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained.values())
    assert not any("post_layernorm" in name for name in trained)  # only the pooled vector uses it, not tokens


def test_modalities_of_one_frozen_encoder_share_its_weights(folders):
    stated = description(folders["vit"], "image")
    first, second = (pretrained((3, 32, 32), 32, stated).encoder for _ in range(2))
    assert first.backbone is second.backbone
    both = nn.ModuleDict({"a": nn.Linear(1, 1), "b": pretrained((3, 32, 32), 32, stated)})
    assert set(frozen_encoders(both)) == {"b"}


def test_weights_first_read_under_inference_can_be_trained_beside(folders):
    encoder = pretrained((3, 32, 32), 48, description(folders["siglip"], "image"))
    with torch.inference_mode():
        encoder(Modality(pixels()))
    encoder(Modality(pixels())).values.sum().backward()
    assert encoder.adapter.project.weight.grad is not None


def test_states_that_were_computed_pass_unchanged(folders):
    encoder = pretrained((3, 32, 32), 32, description(folders["vit"], "image"))
    states = torch.randn(2, 5, 32)
    assert torch.equal(encoder(Modality(states)).values, states)
    assert torch.equal(encoder(Modality(states[:, None].half())).values, states.half().float())
    assert isinstance(encoder.encoder, Frozen)
    assert not encoder.encoder.held  # the weights were never read


def test_built_anew_without_the_folder(folders):
    stated = description(folders["bert"], "text")
    ids, padding = texts()
    frozen = pretrained((IDS,), 32, stated)
    wanted = frozen(Modality(ids, padding)).values
    elsewhere = pretrained((IDS,), 32, stated | {"pretrained": "gone"})
    elsewhere.encoder.adopt(frozen.encoder.backbone.state_dict())
    assert torch.equal(elsewhere(Modality(ids, padding)).values, wanted)
    blank = FineTuned(elsewhere.encoder.description, (IDS,), fresh=False)
    blank.backbone.load_state_dict(frozen.encoder.backbone.state_dict())
    assert torch.equal(blank.eval()(ids, padding)[0].masked_fill(padding[..., None], 0), wanted)


def test_weights_that_changed_since_training_are_refused(folders, tmp_path):
    stated = description(shutil.copytree(folders["vit"], tmp_path / "vit"), "image")
    other = made("vit")
    other.save_pretrained(tmp_path / "vit")
    with torch.no_grad():
        other.embeddings.cls_token.add_(1)
    other.save_pretrained(tmp_path / "vit")
    with pytest.raises(ConfigurationError, match="is not the one this model was trained with: its SHA-256"):
        pretrained((3, 32, 32), 32, stated)(Modality(pixels()))


def copy(folders, family, tmp_path):
    return shutil.copytree(folders[family], tmp_path / family)


def test_folders_that_are_none_are_named(tmp_path, folders):
    with pytest.raises(ConfigurationError, match=r"There is no folder /no/such/place"):
        locate("/no/such/place")
    with pytest.raises(ConfigurationError, match=r"no config\.json"):
        locate(str(tmp_path))
    with pytest.raises(ConfigurationError, match="is a file"):
        locate(str(folders["vit"] / "config.json"))


def test_a_hub_that_cannot_be_reached_is_told_with_the_name():
    with pytest.raises(ConfigurationError, match=r"no folder owner/model, and no model of this name .* hub"):
        locate("owner/model")


def test_pickled_weights_are_refused_by_name(folders, tmp_path):
    folder = copy(folders, "vit", tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ConfigurationError, match=r"only in pytorch_model\.bin, .* can run code"):
        locate(str(folder))
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(ConfigurationError, match=r"has no weights"):
        locate(str(folder))


@pytest.mark.parametrize("keep", [0, 100, 30_000])
def test_weights_that_are_cut_off_are_told(keep, folders, tmp_path):
    folder = copy(folders, "vit", tmp_path)
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:keep])
    with pytest.raises(ConfigurationError, match="damaged or do not fit"):
        pretrained((3, 32, 32), 32, description(folder, "image"))(Modality(pixels()))


def test_weights_of_another_model_are_told(folders, tmp_path):
    folder = copy(folders, "vit", tmp_path)
    shutil.copy(folders["bert"] / "model.safetensors", folder)
    with pytest.raises(ConfigurationError, match=r"lack \d+ tensors of ViTModel|do not fit"):
        pretrained((3, 32, 32), 32, description(folder, "image"))(Modality(pixels()))


def test_code_in_a_folder_is_never_run(folders, tmp_path):
    folder = copy(folders, "vit", tmp_path)
    (folder / "evil.py").write_text("raise SystemExit('the code was run')\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigurationError, match=r"model type 'evil'.*without running the folder's own code"):
        description(folder, "image")


def test_the_wrong_kind_of_model_is_told(folders):
    with pytest.raises(ConfigurationError, match="'vit', which does not take text"):
        description(folders["vit"], "text")
    with pytest.raises(ConfigurationError, match="'bert', which does not take images"):
        description(folders["bert"], "image")


def test_a_missing_extra_is_named(monkeypatch, folders):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'commlearn\[hf\]'"):
        description(folders["vit"], "image")


def test_the_fingerprint_follows_weights_and_preparation(folders, tmp_path):
    folder = copy(folders, "vit", tmp_path)
    before = fingerprint(folder)
    (folder / "README.md").write_text("says nothing of the output")
    assert fingerprint(folder) == before == fingerprint(folders["vit"])
    stated = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(stated | {"resample": 3}))
    assert fingerprint(folder) != before


def test_folders_of_sentence_transformers_are_read_through_their_first_module(folders, tmp_path):
    shutil.copytree(folders["bert"], tmp_path / "st" / "0_Transformer")
    modules = [{"idx": 0, "path": "0_Transformer", "type": "sentence_transformers.models.Transformer"}]

    def write(**change):
        (tmp_path / "st" / "modules.json").write_text(json.dumps([modules[0] | change]))
        return str(tmp_path / "st")

    assert locate(write()) == (tmp_path / "st" / "0_Transformer").resolve()
    (tmp_path / "st" / "0_Transformer" / "sentence_bert_config.json").write_text('{"max_seq_length": 5}')
    assert Pretrained(write()).for_texts(99)["max_length"] == 5
    with pytest.raises(ConfigurationError, match="'evil.Module', which is not a transformer"):
        locate(write(type="evil.Module"))
    with pytest.raises(ConfigurationError, match="points outside its folder"):
        locate(write(path="../../elsewhere"))


def test_a_real_sentence_encoder_gives_the_states_of_its_own_library():
    folder = sentence_model()
    library = pytest.importorskip(
        "sentence_transformers", reason="NOT RUN: the comparison needs sentence-transformers"
    )
    from commlearn.kinds.pretrained import ids_of

    sentences = ["A cat sat on the mat.", "Une phrase plus longue, avec de la ponctuation!", "short"]
    learned = Pretrained(str(folder)).for_texts(64)
    lists = ids_of(sentences, learned["tokenizer"], learned["max_length"])
    longest = max(map(len, lists))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in lists])
    padding = torch.arange(longest) >= torch.tensor([len(row) for row in lists])[:, None]
    encoder = pretrained((learned["ids"],), 384, learned["encoder"])
    tokens = encoder(Modality(ids, padding)).values
    theirs = library.SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    for row, wanted in enumerate(theirs.encode(sentences, output_value="token_embeddings")):
        torch.testing.assert_close(
            tokens[row, : len(lists[row])], wanted[: len(lists[row])], atol=1e-5, rtol=1e-4
        )
    mean = tokens.sum(dim=1) / (~padding).sum(dim=1, keepdim=True)  # the pooling that the folder specifies
    pooled = nn.functional.normalize(mean).numpy()
    np.testing.assert_allclose(pooled, theirs.encode(sentences), atol=1e-5)


FOREIGN = {
    "attn_implementation": "owner/kernel",
    "_attn_implementation": "owner/kernel",
    "_attn_implementation_internal": "owner/kernel",
    "experts_implementation": "owner/kernel",
    "use_kernels": True,
    "auto_map": {"AutoModel": "owner/code--modeling.Harm"},
    "quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True},
    "_name_or_path": "owner/model",
    "dtype": "float16",
    "text_config": {"attn_implementation": "owner/kernel"},
}


@pytest.mark.parametrize(
    ("family", "kind"), [("vit", "image"), ("clip", "image"), ("bert", "text"), ("mbert", "text")]
)
def test_a_configuration_cannot_name_kernels_or_code(family, kind, folders, monkeypatch):
    from transformers import PreTrainedModel

    asked = []
    inner = PreTrainedModel._check_and_adjust_attn_implementation

    def spy(self, attn_implementation, *arguments, **options):
        asked.append(attn_implementation)
        return inner(self, attn_implementation, *arguments, **options)

    monkeypatch.setattr(PreTrainedModel, "_check_and_adjust_attn_implementation", spy)
    stated = description(folders[family], kind, frozen=False)
    shape = (3, 32, 32) if kind == "image" else (IDS,)
    configs = (stated["config"], {**stated["config"], **FOREIGN})
    built = [
        pretrained(shape, 32, {**stated, "config": config}, fresh=False).encoder.backbone
        for config in configs
    ]
    assert built[0].config.to_dict() == built[1].config.to_dict()
    assert asked == ["sdpa", "sdpa"]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("hidden_act", "owner/kernel"),
        ("hidden_act", "../code"),
        ("hidden_act", {"a": "b/c"}),
        ("vocab_size", "owner/model"),
        ("pad_token_id", {"model_type": "bert"}),
        ("layer_norm_eps", ["owner/model"]),
    ],
)
def test_an_option_that_names_something_is_refused(option, value, folders):
    stated = description(folders["bert"], "text", frozen=False)
    with pytest.raises(
        ConfigurationError, match=f"The configuration of BertModel sets {option}: .* could name code"
    ):
        pretrained((IDS,), 32, {**stated, "config": {**stated["config"], option: value}}, fresh=False)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("RwkvModel", "runs downloaded kernels"),
        ("YosoModel", "runs downloaded kernels"),
        ("DetrModel", "is composed of other models"),
        ("TimmWrapperModel", "is composed of other models"),
        ("RagModel", "is composed of other models"),
        ("VisionEncoderDecoderModel", "is composed of other models"),
    ],
)
def test_models_that_load_others_are_refused(architecture, message, folders):
    stated = description(folders["bert"], "text", frozen=False)
    with pytest.raises(ConfigurationError, match=message):
        pretrained((IDS,), 32, {**stated, "architecture": architecture, "config": {}}, fresh=False)


def test_a_folder_cannot_name_kernels_or_another_model(folders, tmp_path):
    folder = copy(folders, "bert", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    foreign = {
        key: value for key, value in FOREIGN.items() if key not in ("text_config", "quantization_config")
    }
    (folder / "config.json").write_text(json.dumps({**config, **foreign}))
    stated = description(folder, "text")
    assert not {*FOREIGN} & {*stated["config"]}
    backbone = pretrained((IDS,), 32, stated).encoder.backbone
    assert backbone.config._attn_implementation == "sdpa"
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "owner/model"}')
    with pytest.raises(
        ConfigurationError, match=r"holds an adapter for another model, which its adapter_config\.json"
    ):
        locate(str(folder))


def test_what_a_loaded_model_names_is_looked_for_on_this_machine_alone(monkeypatch, folders):
    import huggingface_hub

    asked = []

    def refused(repository, **options):
        asked.append(options["local_files_only"])
        raise OSError("not here")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refused)
    with pytest.raises(ConfigurationError, match="no model of this name could be downloaded"):
        locate("owner/model")
    stated = {**description(folders["vit"], "image"), "pretrained": "owner/model@v1"}
    with pytest.raises(
        ConfigurationError,
        match=r"never starts a download\. Download it yourself: hf download owner/model --revision v1",
    ):
        pretrained((3, 32, 32), 32, stated)(Modality(pixels()))
    assert asked == [False, True]
