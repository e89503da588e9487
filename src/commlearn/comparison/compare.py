"""Comparison of several methods and seeds with the same data, encoders, budget and probe, in one table."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from commlearn.comparison.answers.questions import Questions
from commlearn.comparison.plan import Job, members_of, plan, scores_of
from commlearn.comparison.result import Comparison
from commlearn.comparison.source import ComparisonSource, identity
from commlearn.comparison.stored_table import BEGUN, stored_schema, stored_table
from commlearn.comparison.table import table_from
from commlearn.comparison.workers import work_on
from commlearn.config.own_data import is_schema
from commlearn.cores import cores
from commlearn.errors import ConfigurationError, Problems, RunError
from commlearn.probes import chosen_targets
from commlearn.storage.checkpoint import write_atomically
from commlearn.storage.locks import hold
from commlearn.storage.plain_json import json_text, values_of_file
from commlearn.tables.schema import Schema
from commlearn.trained.data_identity import check_same_data
from commlearn.trained.resume import changes

USUAL = ("clip", "crossself", "comm")  # default methods on a recipe
SHOWN = 6  # differences that a message lists, at most


def compare(
    recipe: str | Path | Schema | Mapping[str, Any],
    methods: Sequence[str] | None = None,
    seeds: int | Sequence[int] = 1,
    out: str | Path = "runs/compare",
    overrides: Mapping[str, Any] | None = None,
    jobs: int = 0,
    tell: Callable[[str], None] = print,
    targets: Sequence[str] | None = None,
    table: Any = None,
    rivals: Sequence[str] | None = None,
    budgets: Sequence[str | int] | None = None,
) -> Comparison:
    """Run the trainings that are missing, skip those that are done, and write one table and one verdict.

    Methods differ only in what they learn: data, splits, encoders, steps and probe are the same. A method
    that cannot take the data is refused before anything is trained. A training that fails later is reported
    in the table and left out of the averages; the others continue.

    Args:
        recipe: name of a recipe, path of a YAML file (a recipe or a schema), a `Schema` or its plain values.
        methods: names of methods and baselines; `single` is each modality alone, `all` is all that exist.
            `comm` on a table and `clip`, `crossself` and `comm` on a recipe if not given.
        seeds: number of seeds (0, 1, ...) or the seeds themselves.
        out: folder of the comparison; running again in it resumes where it stopped.
        overrides: dotted key to value, for every method.
        jobs: trainings to run at once; 0 = one for each CPU core, or one if there is a GPU.
        tell: receives a line for each training that starts and ends.
        targets: targets to probe; the recipe's scores, or all targets, if not given.
        table: replaces the schema's table: a path, or anything else that `Embedder.fit` takes as a table. A
            table in memory is written to `out` once; paths in its cells are relative to the working folder.
        rivals: names in `RIVALS` that the verdict compares the embeddings with. All on a table, none on a
            recipe if not given; with an empty list there is no verdict.
        budgets: budgets of labels: shares such as `5%`, numbers per class such as 20, or `all`; 1, 5, 10, 50
            and 100 % if not given.

    Returns:
        The table, as written to `table.json`, together with the verdict.

    Example:
        >>> import pandas as pd
        >>> import commlearn as cl
        >>> table = pd.DataFrame({"left": range(90), "right": range(1, 91), "odd": [0, 1] * 45})
        >>> table.to_csv("table.csv", index=False)
        >>> halves = {"left": cl.Tabular(["left"]), "right": cl.Tabular(["right"])}
        >>> schema = cl.Schema(halves, targets={"odd": "class"}).to_yaml()
        >>> _ = open("schema.yaml", "w").write(schema)
        >>> few = {"overrides": {"training.epochs": 1}, "rivals": ["features"], "budgets": ["all"]}
        >>> result = compare("schema.yaml", table="table.csv", tell=lambda line: None, **few)
        >>> list(result["scores"]), "odd" in str(result)
        (['odd'], True)
    """
    if table is None and not isinstance(recipe, str | Path):
        raise ConfigurationError("A schema in memory names no table. Pass one: table=")
    path = stored_schema(recipe, Path(out))
    table_location = stored_table(table, path, Path(out))
    in_memory = not isinstance(table, str | Path | None)
    root = {"data.root": str(Path.cwd())} if in_memory else {}
    source = ComparisonSource(path, table_location, {**root, **(overrides or {})})
    return compared(source, methods, seeds, out, jobs, tell, targets, rivals, budgets)


def compared(
    source: ComparisonSource,
    methods: Sequence[str] | None,
    seeds: int | Sequence[int],
    out: str | Path,
    jobs: int,
    tell: Callable[[str], None],
    targets: Sequence[str] | None,
    rivals: Sequence[str] | None,
    budgets: Sequence[str | int] | None = None,
) -> Comparison:
    """Compare on an existing source; the other arguments are those of `compare`."""
    on_table = is_schema(source.recipe)
    methods = (["comm"] if on_table else USUAL) if methods is None else methods
    numbers = list(range(seeds)) if isinstance(seeds, int) else list(dict.fromkeys(seeds))
    _check(methods, numbers, jobs, source.overrides)
    experiment, data = source.read()
    scores = scores_of(experiment, data, targets)
    members, refused = members_of(methods, source, experiment, data, scores)
    planned = plan(members, scores, numbers, Path(out))
    with_verdict = on_table if rivals is None else bool(rivals)
    names = list(dict.fromkeys(target for score in scores.values() for target in score.targets))
    sorts = chosen_targets(data, names, "linear")
    questions = Questions.of(data, sorts, rivals, budgets) if with_verdict else None
    with closing(hold(Path(out), "comparing")):
        _remember(Path(out), {**asdict(source), **identity(experiment, data)})
        errors = _run_missing(source, planned, jobs, tell, refused, data.files)
        result = table_from(experiment, data, members, scores, planned, errors)
        result["refused"] = refused
        write_atomically(Path(out) / "table.json", json_text(result).encode())
        verdict = None
        if questions is not None and any(member.role == "method" for member in members):
            first_jobs = [job for job in planned if job.variant == planned[0].variant]
            args = (source, experiment, data, members, first_jobs, Path(out), jobs or _default_jobs(), tell)
            verdict = questions.answer(*args)
    return Comparison(result, verdict)


def _run_missing(
    source: ComparisonSource,
    planned: Sequence[Job],
    jobs: int,
    tell: Callable[[str], None],
    refused: Mapping[str, str],
    files: Mapping[str, str] | None,
) -> dict[Job, str]:
    """Run the jobs that are missing; return the reasons of those that failed."""
    missing = [job for job in planned if job.probes() is None]
    for name, reason in refused.items():
        tell(f"left out: {name}: {reason}")
    for job in planned:
        if job not in missing:
            tell(f"done before: {job}")
    return work_on(source, missing, jobs or _default_jobs(), tell, files)


def _default_jobs() -> int:
    return 1 if torch.cuda.is_available() else cores()


def _check(methods: Sequence[str], seeds: Sequence[int], jobs: int, overrides: Mapping[str, Any]) -> None:
    problems = Problems("compare")
    if not seeds or not methods:
        problems.add("a comparison needs at least one method and one seed")
    if jobs < 0:
        problems.add(
            f"--jobs is {jobs}; give the number of trainings to run at a time, or 0 for one per core"
        )
    for key, option in (("seed", "--seeds"), ("method", "--methods")):
        if key in overrides:
            problems.add(f"--{key} {overrides[key]} has no effect here; a comparison takes {option}")
    problems.raise_if_any(ConfigurationError)


def _remember(out: Path, settings: Mapping[str, Any]) -> None:
    """Record settings and records, or raise an error if they differ from those the comparison began with."""
    path, current = out / BEGUN, json.loads(json.dumps(settings, sort_keys=True, default=str))
    previous = values_of_file(path, "Give another --out.") if path.exists() else current
    data = previous.pop("data", {}) if previous is not current else current["data"]
    changed = changes(previous, {key: part for key, part in current.items() if key in previous})
    if data and all(line.startswith("records ") for line in changed):
        check_same_data(out, data, current["data"], "Restore the original data, or give another --out.")
    if changed:
        rest = len(changed) - SHOWN
        listed = [*changed[:SHOWN], *([f"and {rest} more differences"] if rest > 0 else [])]
        raise RunError(
            f"{out} holds a comparison with other settings or records: {'; '.join(listed)}. "
            "Give another --out."
        )
    write_atomically(path, (json.dumps(current, indent=2) + "\n").encode())
