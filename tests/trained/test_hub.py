"""Models on the hub: what is stored, who can see it, what is fetched, and which errors are raised."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import commlearn as cl
from commlearn.cli import main
from commlearn.errors import CommlearnError, ConfigurationError, RunError
from commlearn.storage.plain_yaml import read_yaml

pytest.importorskip("huggingface_hub", reason="the extra [hf] is not installed: NOTHING OF THE HUB IS TESTED")
from hub_stand_in import REAL, HubStandIn, response
from huggingface_hub import constants, errors

ADDRESS = "hf://ana/ward"
STORED = {"config.json", "model.safetensors", "README.md", "schema.json", "preprocessing.json"}
STORED |= {"features.safetensors"}


def table(rows=60):
    draw = np.random.default_rng(0)
    ill = draw.integers(2, size=rows)
    return pd.DataFrame(
        {
            "case": [f"patient-{row:04}" for row in range(rows)],
            "age": draw.normal(50, 10, rows) + ill,
            "note": [f"word{word} and more" for word in draw.integers(9, size=rows)],
            "remark": "seen by Dr Grey",
            "ill": np.array(["flu-label", "cold-label"])[ill],
        }
    )


SCHEMA = cl.Schema({"labs": cl.Tabular(["age"]), "note": cl.Text("note")}, {"ill": "class"}, id="case")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "run"
    settings = {"model.width": 16}
    return cl.Embedder(SCHEMA, epochs=1, batch_size=16, out=folder, settings=settings).fit(table())


@pytest.fixture
def hub(tmp_path, monkeypatch):
    stand_in = HubStandIn(tmp_path / "cache")
    stand_in.install(monkeypatch)
    return stand_in


@pytest.fixture
def address(model, hub):
    return model.push_to_hub("ana/ward")


def test_a_model_comes_back_from_the_hub_to_the_same_bits(model, hub, address):
    assert address == f"{ADDRESS}@{list(hub.commits['ana/ward'])[-1]}"
    vectors = model.transform(table())
    assert np.array_equal(cl.embed(cl.load(address), table()), vectors)
    for again in (cl.Embedder.load(ADDRESS), cl.Embedder.from_pretrained("ana/ward")):
        assert np.array_equal(again.transform(table()), vectors)
    assert set(hub.asked) == STORED - {"README.md"}  # loading does not read it


def test_a_folder_is_from_pretrained_too(model, tmp_path):
    folder = model.save(tmp_path / "model")
    assert np.array_equal(cl.Embedder.from_pretrained(folder).transform(table()), model.transform(table()))


def test_a_revision_is_a_commit_of_before(model, hub, address):
    old = address.rpartition("@")[2]
    assert cl.push_to_hub(model.trained, ADDRESS, rows=True) != address
    assert cl.load(ADDRESS).rows is not None
    assert cl.load(ADDRESS, revision=old).rows is None
    with pytest.raises(RunError, match=r"ana/ward has no revision 'v9'\. Give one of its branches, tags"):
        cl.load(f"{ADDRESS}@v9")
    with pytest.raises(ConfigurationError, match="only models on the hub have revisions"):
        cl.load("runs/ward", revision="v1")


def test_no_row_and_no_label_leaves_the_machine(model, hub, address):
    files = hub.files("ana/ward")
    assert files.keys() == STORED
    content = b"".join(files.values())
    for secret in (b"patient-", b"flu-label", b"cold-label", b"Grey", b"remark"):
        assert secret not in content
    assert cl.Embedder.load(address).unused_ == {}
    assert model.unused_.keys() == {"remark"}


def test_hashes_of_rows_are_stored_if_asked_for_and_go_with_the_next_commit(model, hub):
    model.push_to_hub("ana/ward", rows=True)
    assert hub.files("ana/ward").keys() == STORED | {"rows.safetensors"}
    model.push_to_hub("ana/ward")
    assert hub.files("ana/ward").keys() == STORED


def test_an_export_without_rows_quotes_none_of_their_cells(model, tmp_path):
    cl.export(model.trained, tmp_path / "all")
    cl.export(model.trained, tmp_path / "fewer", rows=False)
    assert cl.load(tmp_path / "all").unused == model.unused_
    assert cl.load(tmp_path / "fewer").unused is None


def test_a_model_is_private_unless_it_is_said_to_be_public(model, hub, address):
    assert hub.private["ana/ward"]
    model.push_to_hub("ana/open", private=False)
    assert not hub.private["ana/open"]
    for name, private, now in (("ana/open", True, "public"), ("ana/ward", False, "private")):
        before = dict(hub.commits[name])
        with pytest.raises(RunError, match=f"{name} is already {now}.*Nothing was stored"):
            model.push_to_hub(name, private=private)
        assert hub.commits[name] == before


def head_of(card: str) -> dict:
    return read_yaml(card.split("---\n")[1], "head")


def test_the_card_says_what_hubs_read_and_how_to_load_it(model, hub):
    model.push_to_hub("ana/ward", license="mit", datasets=["ana/rows"])
    card = hub.files("ana/ward")["README.md"].decode()
    head = head_of(card)
    assert head == {
        "library_name": "commlearn",
        "tags": ["multimodal", "self-supervised", "embeddings", "comm", "tabular", "text"],
        "license": "mit",
        "datasets": ["ana/rows"],
    }
    assert f'commlearn.load("{ADDRESS}")' in card
    assert "pip install 'commlearn[hf]'" in card
    assert "this folder" not in card
    huggingface_hub = pytest.importorskip("huggingface_hub")
    assert huggingface_hub.ModelCard(card).data.library_name == "commlearn"


def test_an_edited_card_of_an_export_is_stored_as_it_was_written(model, hub, tmp_path):
    folder = model.save(tmp_path / "model")
    card = folder / "README.md"
    own = card.read_text().replace("tags:\n", "license: mit\ntags:\n- wards\n") + "\n## Thanks\n\nTo all.\n"
    card.write_text(own, newline="\r\n")
    cl.push_to_hub(folder, "ana/ward", license="cc0-1.0")
    stored = hub.files("ana/ward")["README.md"].decode()
    assert stored.endswith("To all.\n")
    assert head_of(stored)["license"] == "cc0-1.0"
    assert "wards" in head_of(stored)["tags"]
    card.write_text("Mine alone.\n")
    cl.push_to_hub(folder, "ana/ward")
    assert head_of(hub.files("ana/ward")["README.md"].decode()) == {"library_name": "commlearn"}
    card.write_bytes(b"caf\xe9")
    with pytest.raises(RunError, match="is not UTF-8"):
        cl.push_to_hub(folder, "ana/ward")
    (tmp_path / "secret").write_text("of this machine")
    card.unlink()
    card.symlink_to(tmp_path / "secret")
    with pytest.raises(RunError, match="is a link that leads out of its folder"):
        cl.push_to_hub(folder, "ana/ward")
    card.unlink()
    card.write_text("---\n- a\n---\n")
    with pytest.raises(RunError, match="does not map names to values"):
        cl.push_to_hub(folder, "ana/ward")


def test_what_is_not_ours_is_neither_replaced_nor_taken_for_a_model(model, hub):
    files = {"config.json": b'{"model_type": "bert"}', "model.safetensors": b"x" * 9, "vocab.txt": b""}
    hub.store("ana/bert", files)
    with pytest.raises(RunError, match="holds something other.*Nothing was stored. Give another name"):
        model.push_to_hub("ana/bert")
    assert hub.files("ana/bert") == files
    hub.asked.clear()
    with pytest.raises(RunError, match=r"hf://ana/bert/config\.json is not the configuration of an artifact"):
        cl.load("hf://ana/bert")
    assert hub.asked == ["config.json"]  # before gigabytes of weights
    hub.store("ana/empty", {})
    with pytest.raises(RunError, match="hf://ana/empty is not a commlearn model, or is incomplete"):
        cl.load("hf://ana/empty")


def stored_again(hub, change):
    """Store changed files of the model as a newer commit."""
    files = hub.files("ana/ward")
    config = json.loads(files["config.json"])
    change(files, config)
    files["config.json"] = json.dumps(config).encode()
    hub.store("ana/ward", files)
    hub.asked.clear()


def named(name, content=b"cos\nsystem\n(S'false'\ntR."):
    def change(files, config):
        files[name] = content
        config["sha256"][name] = hashlib.sha256(content).hexdigest()

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (named("evil.pkl"), r"names 'evil\.pkl', which is not a file of an artifact"),
        (named("../../evil"), r"names a file outside its folder: '\.\./\.\./evil'"),
        (named("*"), r"names '\*', which is not a file of an artifact"),
        (named("model.safetensors"), r"model\.safetensors does not fit the configuration"),
        (named("rows.safetensors"), "the configuration is damaged.*it does not hold the rows of a training"),
        (lambda files, config: files.update({"schema.json": b"{}"}), r"schema\.json is damaged"),
        (lambda files, config: files.pop("model.safetensors"), r"incomplete: .*has no model\.safetensors"),
        (lambda files, config: config.update(format=9), "has format 9, .*Update commlearn"),
    ],
    ids=["a file too many", "a path", "a pattern", "a pickle", "other rows", "changed", "cut", "newer"],
)
def test_a_model_that_means_harm_or_is_damaged_is_refused_by_name(hub, address, change, message):
    stored_again(hub, change)
    with pytest.raises(RunError, match=message):
        cl.load(ADDRESS)
    assert set(hub.asked) <= STORED | {"rows.safetensors"}


def test_files_besides_those_of_a_model_are_neither_fetched_nor_read(hub, address):
    stored_again(hub, lambda files, config: files.update({"config.yaml": b"name: x", "run.py": b""}))
    snapshot = Path(hub.hf_hub_download("ana/ward", "config.yaml")).parent  # as `hf download` does
    assert cl.load(ADDRESS).rows is None
    assert not (snapshot / "run.py").exists()


def test_a_link_that_leads_out_of_the_repository_is_not_followed(hub, address, tmp_path):
    cl.load(ADDRESS)
    link = next(hub.cache.rglob("schema.json"))
    secret = tmp_path / "schema.json"
    secret.write_bytes(link.read_bytes())
    link.unlink()
    link.symlink_to(secret)
    with pytest.raises(RunError, match="is a link that leads out of its folder"):
        cl.load(address)


def failing(kind, status=None, text="It failed."):
    return kind(text, response=response(status)) if status else kind(text)


FAILURES = {
    "absent": (
        failing(errors.RepositoryNotFoundError, 404),
        "The hub has no model ana/ward, or it is private",
    ),
    "gated": (failing(errors.GatedRepoError, 403), "Access to .* must be requested"),
    "forbidden": (failing(errors.HfHubHTTPError, 403), r"refuses this for ana/ward \(status 403\).*hf auth"),
    "broken": (failing(errors.HfHubHTTPError, 502, "Bad gateway"), r"failed for ana/ward: Bad gateway\. Try"),
    "no network": (failing(errors.HTTPError), "could not be reached for ana/ward: It failed. Check the conn"),
    "switched off": (failing(errors.OfflineModeIsEnabled), "HF_HUB_OFFLINE"),
}


@pytest.mark.parametrize(("failure", "message"), FAILURES.values(), ids=FAILURES)
def test_errors_of_the_hub_are_named_with_the_way_out(model, hub, failure, message):
    hub.failure = failure
    for request in (lambda: cl.load(ADDRESS), lambda: model.push_to_hub("ana/ward")):
        with pytest.raises(RunError, match=message):
            request()


def test_a_connection_that_breaks_on_the_way_is_not_taken_for_the_files_of_somebody_else(
    model, hub, address, monkeypatch
):
    def broken(*_, **__):
        raise failing(errors.HTTPError)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", broken)
    with pytest.raises(RunError, match="could not be reached for ana/ward"):
        model.push_to_hub("ana/ward")


@pytest.mark.parametrize(
    "address", ["hf://ward", "hf://ana/ward/x", "hf://ana/..", "hf://ana/ward@../x", "hf://"]
)
def test_an_address_that_names_no_model_is_refused_before_anything_is_asked(hub, address):
    hub.failure = AssertionError("asked")
    with pytest.raises(ConfigurationError, match="Write hf://user/name"):
        cl.load(address)


def test_storing_needs_a_token_and_a_trained_model(model, hub):
    hub.token = None
    with pytest.raises(RunError, match=r"needs an account: sign in \(hf auth login, or HF_TOKEN\)"):
        model.push_to_hub("ana/ward")
    assert not hub.commits
    with pytest.raises(ConfigurationError, match="names a revision"):
        model.push_to_hub("hf://ana/ward@v1")
    with pytest.raises(ConfigurationError, match="A CoMM is not a trained model"):
        cl.push_to_hub(model.trained.method, "ana/ward")
    with pytest.raises(ConfigurationError, match="push_to_hub"):
        cl.export(model.trained, ADDRESS)


def test_without_the_extra_its_name_is_in_the_error(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for request in (lambda: cl.load(ADDRESS), lambda: model.push_to_hub("ana/ward")):
        with pytest.raises(ConfigurationError, match=r"huggingface_hub.*pip install 'commlearn\[hf\]'"):
            request()


def test_commands_take_a_model_of_the_hub_in_place_of_a_folder(model, hub, tmp_path, capsys):
    def shell(*words):
        code = main([*map(str, words), "--quiet"])
        written = capsys.readouterr()
        return code, written.out, written.err

    run, csv = model.out, tmp_path / "ward.csv"
    table().to_csv(csv, index=False)
    code, out, _ = shell("export", run, ADDRESS, "--license", "mit", "--json")
    assert (code, json.loads(out)["public"]) == (0, False)
    assert json.loads(out)["out"].startswith(f"{ADDRESS}@")
    assert b"license: mit" in hub.files("ana/ward")["README.md"]
    code, out, _ = shell("info", ADDRESS, "--json")
    assert (code, json.loads(out)["step"]) == (0, "exported")
    assert shell("embed", ADDRESS, csv, "-o", tmp_path / "z.npz")[0] == 0
    assert shell("probe", ADDRESS, csv)[0] == 0
    assert main(["search", ADDRESS, str(csv), "--row", "3"]) == 0
    assert f"commlearn report {ADDRESS} {csv} --out report\n" in capsys.readouterr().out
    code, _, err = shell("report", ADDRESS, csv)
    assert (code, "specify a folder for the report" in err) == (2, True)
    code, out, _ = shell("export", run, ADDRESS, "--public", "--show-python")
    assert f"cl.push_to_hub({str(run)!r}, '{ADDRESS}', private=False)" in out
    code, out, _ = shell("finetune", f"{ADDRESS}@main", csv, "--target", "ill", "--show-python")
    assert "'ward-ill'" in out
    for words, message in (
        ((run, "model", "--public"), "are for the hub"),
        ((run, ADDRESS, "--onnx"), "stores no ONNX graphs"),
        ((run, ADDRESS, "--public"), "is already private"),
    ):
        code, _, err = shell("export", *words)
        assert (code, message in err) == (2, True)
    assert shell("export", run, "hf://ana/open", "--public", "--with-rows")[0] == 0
    assert not hub.private["ana/open"]
    assert "rows.safetensors" in hub.files("ana/open")


def test_the_client_itself_says_kindly_that_it_may_not_ask(tmp_path):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "commlearn", "info", "hf://ana/nothing"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "could not be reached for ana/nothing" in done.stderr
    assert "HF_HUB_OFFLINE" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_client_itself_finds_offline_what_was_fetched_before(model, hub, address, monkeypatch):
    import huggingface_hub

    cl.load(ADDRESS)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub.cache))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", REAL["hf_hub_download"])
    assert np.array_equal(cl.embed(cl.load(ADDRESS), table()), model.transform(table()))
    with pytest.raises(CommlearnError, match="could not be reached"):
        cl.load("hf://ana/other")
