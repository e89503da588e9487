"""The contract of every fusion: any subset of any number of modalities, padded or absent ones included."""

from __future__ import annotations

import pytest
import torch
from test_fusion import NAMES, SUBSETS, tokens_of

from commlearn.errors import ConfigurationError
from commlearn.models.build import FUSIONS, build_fusion
from commlearn.models.fusion import ConcatFusion, CrossAttentionFusion
from commlearn.models.tokens import Tokens, pool

every_fusion = pytest.mark.parametrize("name", FUSIONS)


def fusion_of(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    options = {"heads": 4} if "attention" in name else {}
    return build_fusion(NAMES, 16, {"name": name, **options}).double()


@every_fusion
@pytest.mark.parametrize("padded", [False, True])
def test_every_subset_is_fused_and_every_parameter_and_token_learns(name, padded, generator):
    fusion, tokens = fusion_of(name), tokens_of(generator, padded)
    fused = fusion(tokens, SUBSETS)
    assert list(fused) == SUBSETS
    assert all(z.shape == (5, 16) and z.isfinite().all() for z in fused.values())
    weights = torch.randn(16, generator=generator, dtype=torch.float64)
    leaves = [*(part.values for part in tokens.values()), *fusion.parameters()]
    gradients = torch.autograd.grad(sum((z @ weights).square().sum() for z in fused.values()), leaves)
    assert all(gradient.isfinite().all() and gradient.abs().sum() > 0 for gradient in gradients)


@every_fusion
def test_a_subset_depends_on_its_modalities_alone_and_on_each(name, generator):
    fusion, tokens = fusion_of(name), tokens_of(generator, padded=False)
    before = fusion(tokens, SUBSETS)
    for changed in NAMES:
        part = tokens[changed]
        after = fusion({**tokens, changed: Tokens(part.values + torch.randn_like(part.values))}, SUBSETS)
        for subset in SUBSETS:
            assert torch.allclose(after[subset], before[subset]) == (changed not in subset)


@every_fusion
def test_padding_has_no_influence_and_a_missing_modality_is_as_if_not_asked_for(name, generator):
    fusion, tokens = fusion_of(name), tokens_of(generator, padded=True)
    before = fusion(tokens, SUBSETS)
    shifted = {
        key: Tokens(torch.where(part.padding[..., None], part.values + 9, part.values), part.padding)
        for key, part in tokens.items()
    }
    for subset, embedding in fusion(shifted, SUBSETS).items():
        torch.testing.assert_close(embedding, before[subset])
    whole = tokens_of(generator, padded=False)
    whole["text"] = Tokens(whole["text"].values, torch.ones(5, 7, dtype=torch.bool))
    embedding = fusion(whole, SUBSETS)
    torch.testing.assert_close(embedding[NAMES], embedding["image", "table"])
    assert embedding[("text",)].isfinite().all()


def test_concat_is_one_linear_map_of_the_means_side_by_side(generator):
    fusion, tokens = fusion_of("concat_linear"), tokens_of(generator, padded=True)
    joint = torch.cat([fusion.maps[key] for key in NAMES], dim=1)  # (width, modalities * width)
    for subset, embedding in fusion(tokens, SUBSETS).items():
        zero = torch.zeros(5, 16, dtype=torch.float64)
        means = torch.cat([pool(tokens[key]) if key in subset else zero for key in NAMES], dim=1)
        torch.testing.assert_close(embedding, means @ joint.T + fusion.bias)


def test_cross_attention_equals_a_loop_over_records_and_heads(generator):
    fusion, tokens = fusion_of("cross_attention"), tokens_of(generator, padded=True)
    layer, fused = fusion.layers[0], fusion(tokens, [NAMES])[NAMES]
    for record in range(5):
        real = {key: part.values[record][~part.padding[record]] for key, part in tokens.items()}
        means = []
        for key, own in real.items():
            if not len(own):
                continue
            others = torch.cat([fusion.none[None], *(rows for other, rows in real.items() if other != key)])
            query, read = layer.query(layer.norm(own)), layer.norm(others)
            projected = (query, layer.key(read), layer.value(read))
            heads = zip(*(part.split(4, dim=1) for part in projected), strict=True)
            context = torch.cat([(q @ k.T / 2).softmax(dim=1) @ v for q, k, v in heads], dim=1)
            rows = own + layer.out(context)
            hidden = layer.expand(layer.mlp_norm(rows))
            means.append((rows + layer.contract(hidden * torch.sigmoid(1.702 * hidden))).mean(dim=0))
        torch.testing.assert_close(fused[record], fusion.norm(torch.stack(means).mean(dim=0)))


def test_class_attention_equals_a_loop_over_records_layers_and_heads(generator):
    fusion, tokens = fusion_of("class_attention"), tokens_of(generator, padded=True)
    fused = fusion(tokens, SUBSETS)
    assert len(fusion.layers) == 2
    for subset in SUBSETS:
        for record in range(5):
            real = [tokens[key].values[record][~tokens[key].padding[record]] for key in subset]
            row = fusion.cls
            for layer in fusion.layers:
                read = layer.norm(torch.cat([row[None], *real]))
                projected = (layer.query(read[:1]), layer.key(read), layer.value(read))
                heads = zip(*(part.split(4, dim=1) for part in projected), strict=True)
                context = torch.cat([(q @ k.T / 2).softmax(dim=1) @ v for q, k, v in heads], dim=1)
                row = row + layer.out(context[0])
                hidden = layer.expand(layer.mlp_norm(row))
                row = row + layer.contract(hidden * torch.sigmoid(1.702 * hidden))
            torch.testing.assert_close(fused[subset][record], fusion.norm(row))


def test_one_layer_of_class_attention_is_the_fusion_of_the_paper(generator):
    tokens, outputs = tokens_of(generator, padded=True, lengths=(4, 17, 1)), []
    for options in ({"name": "attention"}, {"name": "class_attention", "layers": 1}):
        torch.manual_seed(0)
        fusion = build_fusion(NAMES, 16, {**options, "heads": 4}).double()
        outputs.append(torch.stack(list(fusion(tokens, SUBSETS).values())))
    assert torch.equal(*outputs)


def test_several_layers_of_cross_attention_and_an_mlp_after_concatenation(generator):
    tokens = tokens_of(generator, padded=True)
    for part in ({"name": "cross_attention", "layers": 2, "heads": 4}, {"name": "concat_mlp", "hidden": 8}):
        fused = build_fusion(NAMES, 16, part).double()(tokens, SUBSETS)
        assert all(z.isfinite().all() for z in fused.values())


def test_mistakes_are_named():
    with pytest.raises(
        ConfigurationError, match="Unknown fusion 'concat_liner', did you mean 'concat_linear'"
    ):
        build_fusion(NAMES, 16, {"name": "concat_liner"})
    with pytest.raises(ConfigurationError, match="'layer', did you mean 'layers'"):
        build_fusion(NAMES, 16, {"name": "attention", "layer": 2})
    with pytest.raises(ConfigurationError, match="6 heads, width 16"):
        build_fusion(NAMES, 16, {"name": "cross_attention", "heads": 6})
    assert isinstance(build_fusion(NAMES, 16, {"name": "concat_mlp"}), ConcatFusion)
    assert isinstance(build_fusion(NAMES, 16, {"name": "cross_attention"}), CrossAttentionFusion)
