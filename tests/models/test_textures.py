"""Texture energies, and embeddings that hold them next to the fused vector."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

import commlearn as cl
from commlearn.batch import Batch, Modality, Spec, merge
from commlearn.errors import ConfigurationError
from commlearn.methods import METHODS
from commlearn.models.build import build_encoders
from commlearn.models.features import FixedFeatures
from commlearn.models.features.pictures import LEAST_ENERGY, PATTERN_SIDE, PATTERNS, texture_energies, waves

WIDTH = 16
SPECS = {"left": Spec("image", (3, 32, 32)), "right": Spec("image", (3, 32, 32))}
METHODS_THAT_FUSE = ("comm", "comm-crossself", "hril", "infmasking")


def build(method="comm", **options):
    torch.manual_seed(0)
    return METHODS[method].build(
        build_encoders(SPECS, WIDTH, {}), WIDTH, embedding="fused+textures", **options
    )


def pictures(rows=6, seed=1):
    draw = torch.Generator().manual_seed(seed)
    return {name: Modality(torch.randint(0, 256, (rows, 3, 32, 32), generator=draw).byte()) for name in SPECS}


def test_energies_are_what_a_loop_over_places_finds():
    image = torch.rand(3, 9, 7, generator=torch.Generator().manual_seed(0)).double()
    values = (image - 0.5) / 0.25
    values = values - values.mean(dim=(1, 2), keepdim=True)
    grey = (values / (values.square().mean().sqrt() + 0.2)).mean(dim=0).numpy()
    wanted = []
    for pattern in waves(PATTERN_SIDE).double().numpy():
        answers = [
            (grey[row : row + PATTERN_SIDE, column : column + PATTERN_SIDE] * pattern).sum()
            for row in range(9 - PATTERN_SIDE + 1)
            for column in range(7 - PATTERN_SIDE + 1)
        ]
        wanted.append(np.log(max(np.sqrt(np.mean(np.square(answers))), LEAST_ENERGY)))
    reached = texture_energies(image[None].float(), waves(PATTERN_SIDE))[0]
    np.testing.assert_allclose(reached.numpy(), wanted, rtol=1e-4, atol=1e-5)


def test_waves_are_orthonormal():
    flat = waves(PATTERN_SIDE).flatten(1)
    torch.testing.assert_close(flat @ flat.T, torch.eye(PATTERNS), atol=1e-5, rtol=0)


@pytest.mark.parametrize("side", [1, 3, 4, 5, 6])
def test_pictures_smaller_than_a_pattern_and_flat_ones_have_finite_energies(side):
    for image in (torch.rand(2, 1, side, side), torch.full((2, 3, side, side), 7, dtype=torch.uint8)):
        assert texture_energies(image, waves(PATTERN_SIDE)).isfinite().all()


@pytest.mark.parametrize("name", METHODS_THAT_FUSE)
def test_an_embedding_is_the_fused_vector_and_the_standardised_energies(name):
    method, view = build(name), pictures()
    method.train()
    next(method.steps(Batch(augmented=(view, pictures(seed=2)))))
    method.eval()
    embedding = method.embed(view)
    assert embedding.shape == (6, WIDTH + 2 * PATTERNS)
    torch.testing.assert_close(embedding[:, :WIDTH], method.fuse(view))
    for place, modality in enumerate(SPECS):
        start = WIDTH + place * PATTERNS
        norm = method.beside.norms[modality]
        energies = texture_energies(view[modality].values, waves(PATTERN_SIDE))
        wanted = (energies - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
        torch.testing.assert_close(embedding[:, start : start + PATTERNS], wanted, atol=1e-4, rtol=1e-4)


def test_a_record_without_a_picture_embeds_as_if_it_was_not_asked_for():
    method, view = build(), pictures()
    method.train()
    next(method.steps(Batch(augmented=(view, pictures(seed=2)))))
    method.eval()
    there = torch.tensor([True, False] * 3)
    some = method.embed({**view, "left": Modality(view["left"].values, present=there)})
    without = method.embed(view, ["right"])
    torch.testing.assert_close(some[~there], without[~there])
    torch.testing.assert_close(some[there], method.embed(view)[there])


def test_tokens_that_stand_in_a_view_carry_the_energies_along():
    """Tokens are encoded once, then cut, stacked and moved, as by diagnostics, ladders and shared images."""
    method, view = build(), pictures()
    method.train()
    next(method.steps(Batch(augmented=(view, pictures(seed=2)))))
    method.eval()
    halves = [
        {name: part.apply(lambda rows, cut=cut: rows[cut]) for name, part in view.items()}
        for cut in (slice(0, 3), slice(3, 6))
    ]
    tokens = merge([dict(method.encode(half)) for half in halves])
    wanted = method.embed(view)
    torch.testing.assert_close(method.embed(tokens), wanted)
    moved = {name: part.apply(lambda rows: rows.roll(1, 0)) for name, part in tokens.items()}
    torch.testing.assert_close(method.embed(moved), wanted.roll(1, 0))


def test_while_it_learns_present_pictures_have_their_energies_and_absent_ones_none():
    method, view = build().train(), pictures()
    there = torch.tensor([True, False] * 3)
    tokens = method.encode({**view, "left": Modality(view["left"].values, present=there)})["left"]
    wanted = texture_energies(view["left"].values, waves(PATTERN_SIDE))
    torch.testing.assert_close(tokens.textures[there], wanted[there])
    assert not tokens.textures[~there].any()


def test_what_no_image_encoder_reads_is_named():
    specs = {"photo": SPECS["left"], "labs": Spec("vector", (5,))}
    with pytest.raises(ConfigurationError, match=r"'labs' does not use an image encoder.*fused\+tokens"):
        METHODS["comm"].build(build_encoders(specs, WIDTH, {}), WIDTH, embedding="fused+textures")


def test_a_trained_model_holds_them_and_a_saved_one_too(tmp_path):
    draw, files = np.random.default_rng(0), []
    for _ in range(12):
        file = io.BytesIO()
        Image.fromarray(draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file, "PNG")
        files.append(file.getvalue())
    distinct = {"left": files, "right": files[::-1]}
    table = {name: cells * 4 for name, cells in distinct.items()}
    schema = cl.Schema({name: cl.Image(name, size=32) for name in table})
    settings = {"method.embedding": "fused+textures", "model.features": "learned"}
    model = cl.Embedder(schema, epochs=1, settings=settings).fit(table)
    once = model.transform(table)
    assert once[:, -2 * PATTERNS :].std(axis=0).min() > 0
    np.testing.assert_allclose(once[:12], model.transform(distinct), atol=1e-4)
    model.save(tmp_path / "model")
    assert np.array_equal(cl.Embedder.load(tmp_path / "model").transform(table), once)


def test_fixed_features_of_an_earlier_version_have_no_energies():
    class Column:
        spec = SPECS["left"]

        def __len__(self):
            return 40

        def take(self, rows):
            return Modality(pictures(40)["left"].values[torch.from_numpy(rows)])

    column = Column()
    learned = FixedFeatures(column.spec, networks=False).learn(column, 0)
    assert learned.raw.described.endswith("textures")
    groups = learned.raw(column.take(np.arange(40)))
    torch.testing.assert_close(
        groups[-1], texture_energies(column.take(np.arange(40)).values, waves(PATTERN_SIDE))
    )
    older = {name: value for name, value in learned.state_dict().items() if not name.endswith("patterns")}
    former = FixedFeatures(column.spec, networks=False)
    former.load_state_dict(older, strict=False)
    assert len(former.raw(column.take(np.arange(40)))) == len(groups) - 1
    assert "textures" not in former.raw.described
