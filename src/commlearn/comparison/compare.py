"""Comparison of several methods and seeds with the same data, encoders, budget and probe, in one table.

After the trainings, readouts of them and of their rivals give the verdict. A schema or table in memory is
written into the folder of the comparison, where its processes read it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image as PIL

from commlearn.batch import as_names
from commlearn.comparison.answers.readouts import (
    clear_material,
    missing_readers,
    shares_of,
    units_of,
    write_material,
)
from commlearn.comparison.answers.rivals import chosen_rivals, vectors_of
from commlearn.comparison.answers.task import Task, checked_budgets, task_of
from commlearn.comparison.answers.verdict import run_name, verdict_of
from commlearn.comparison.plan import (
    ComparisonSource,
    Job,
    Member,
    identity,
    members_of,
    plan,
    scores_of,
    targets_of,
    with_method,
)
from commlearn.comparison.table import Comparison, table_from
from commlearn.comparison.workers import work_on
from commlearn.config.configuration import Experiment, Score
from commlearn.config.own_data import is_schema
from commlearn.cores import cores
from commlearn.errors import ConfigurationError, DataError, Problems, RunError
from commlearn.kinds.image import Decoder, Image
from commlearn.probes.probe import chosen_targets
from commlearn.records import Dataset
from commlearn.storage.checkpoint import write_atomically
from commlearn.storage.locks import LOCK, hold
from commlearn.storage.plain_json import json_text, values_of_file
from commlearn.tables.schema import Schema, modules_of_schema
from commlearn.tables.table import is_frame, read_table
from commlearn.trained.run import changes
from commlearn.trained.training_rows import check_same_data

USUAL = ("clip", "crossself", "comm")  # default methods on a recipe
BEGUN = "compare.json"  # settings and records of the comparison, written before the first training
SCHEMA, TABLE = "schema.yaml", "table.parquet"  # of data in memory
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
    _check_replaced(Path(out), recipe, table)
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
    methods = as_names((["comm"] if on_table else USUAL) if methods is None else methods) or []
    numbers = _check(methods, seeds, jobs, source.overrides)
    experiment, data = source.read()
    scores = scores_of(experiment, data, targets)
    members, refused = members_of(methods, source, experiment, data, scores)
    planned = plan(members, scores, numbers, Path(out))
    with_verdict = on_table if rivals is None else bool(rivals)
    questions = _questions(experiment, data, scores, rivals, budgets) if with_verdict else None
    with closing(hold(Path(out), "comparing")):
        _remember(Path(out), {**asdict(source), **identity(experiment, data)})
        at_a_time = jobs or (1 if torch.cuda.is_available() else cores())
        missing = [job for job in planned if job.probes() is None]
        for name, reason in refused.items():
            tell(f"left out: {name}: {reason}")
        for job in planned:
            if job not in missing:
                tell(f"done before: {job}")
        for note in data.notes if missing else ():
            tell(note)
        errors = work_on(source, missing, at_a_time, tell, data.files, experiment.training.threads)
        result = table_from(experiment, data, members, scores, planned, errors)
        result["refused"] = refused
        write_atomically(Path(out) / "table.json", json_text(result).encode())
        verdict = None
        if questions is not None and any(member.role == "method" for member in members):
            own_jobs = [job for job in planned if _is_of_data(job.variant, experiment)]
            verdict = _answer(
                questions, source, experiment, data, members, own_jobs, Path(out), at_a_time, tell
            )
    return Comparison(result, verdict)


def seeds_of(seeds: int | Sequence[int]) -> list[int]:
    """Return the seeds 0, 1, ... if their number is given, or the given ones, checked.

    Example:
        >>> seeds_of(2), seeds_of([3, 1])
        ([0, 1], [3, 1])
    """
    named = range(int(seeds)) if isinstance(seeds, Integral) else seeds
    numbers = list(named) if isinstance(named, Iterable) and not isinstance(named, str) else []
    if not numbers or not all(isinstance(number, Integral) and number >= 0 for number in numbers):
        raise ConfigurationError(
            f"seeds is {seeds}; give the number of seeds, 1 or more, or a list of whole numbers from 0."
        )
    return list(dict.fromkeys(map(int, numbers)))


def _check(
    methods: Sequence[str], seeds: int | Sequence[int], jobs: int, overrides: Mapping[str, Any]
) -> list[int]:
    """Return the seeds; raise one error for all arguments that make no comparison."""
    problems, numbers = Problems("compare"), []
    if not methods:
        problems.add("a comparison needs at least one method")
    try:
        numbers = seeds_of(seeds)
    except ConfigurationError as problem:
        problems.add(str(problem))
    if jobs < 0:
        problems.add(f"jobs is {jobs}; give the number of trainings to run at a time, or 0 for one per core")
    for key, option in (("seed", "seeds="), ("method", "methods=")):
        if key in overrides:
            problems.add(
                f"{key} is set to {overrides[key]}, which has no effect here; a comparison takes {option}"
            )
    problems.raise_if_any(ConfigurationError)
    return numbers


def _remember(out: Path, settings: Mapping[str, Any]) -> None:
    """Record settings and records, or raise an error if they differ from those the comparison began with."""
    path, current = out / BEGUN, json.loads(json.dumps(settings, sort_keys=True, default=str))
    previous = values_of_file(path, "Give another out=.") if path.exists() else current
    data = previous.pop("data", {}) if previous is not current else current["data"]
    changed = changes(previous, {key: part for key, part in current.items() if key in previous})
    if data and all(line.startswith("records ") for line in changed):
        check_same_data(out, data, current["data"], "Restore the original data, or give another out=.")
    if changed:
        rest = len(changed) - SHOWN
        listed = [*changed[:SHOWN], *([f"and {rest} more differences"] if rest > 0 else [])]
        raise RunError(
            f"{out} holds a comparison with other settings or records: {'; '.join(listed)}. "
            "Give another out=."
        )
    write_atomically(path, (json.dumps(current, indent=2) + "\n").encode())


@dataclass(frozen=True)
class _Questions:
    """Targets, budgets and rivals that a comparison's verdict covers."""

    tasks: tuple[Task, ...]  # one for each target
    budgets: tuple[str, ...]  # budgets of labels
    readers: tuple[str, ...]  # names of the rivals' readers
    not_tried: dict[str, str]  # members that are left out, with the reason for each


def _is_of_data(variant: str, experiment: Experiment) -> bool:
    """Whether trainings of a variant are trainings on the records that were read for the comparison."""
    return variant in ("", experiment.variant)


def _questions(
    experiment: Experiment,
    data: Dataset,
    scores: Mapping[str, Score],
    rivals: Sequence[str] | None,
    budgets: Sequence[str | int] | None,
) -> _Questions:
    """Return the questions, checked before anything is trained: on targets of the variant that was read."""
    own_scores = {name: score for name, score in scores.items() if _is_of_data(score.variant, experiment)}
    if not own_scores:
        raise ConfigurationError(
            f"No score is of the variant {experiment.variant}, whose records the verdict reads. Name "
            "another variant, or the targets that the verdict is about."
        )
    sorts = chosen_targets(data, targets_of(own_scores), "linear")
    readers, left_out = chosen_rivals(as_names(rivals), list(data.train.specs), len(data.fit))
    if not readers:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise ConfigurationError(f"None of the rivals can be used ({reasons}). Name others.")
    left_out |= {
        f"score {name}": f"it is of variant {score.variant}; the verdict covers {experiment.variant}"
        for name, score in scores.items()
        if name not in own_scores
    }
    tasks = tuple(task_of(data, name, sort) for name, sort in sorts.items())
    return _Questions(tasks, checked_budgets(budgets), tuple(readers), left_out)


def _answer(
    questions: _Questions,
    source: ComparisonSource,
    experiment: Experiment,
    data: Dataset,
    members: Sequence[Member],
    jobs: Sequence[Job],
    out: Path,
    at_a_time: int,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Compute the missing readouts, and write and return the verdict."""
    not_tried = dict(questions.not_tried)
    runs: dict[str, Path] = {}
    roles = {member.name: member.role for member in members}
    for job in jobs:
        if roles[job.method] == "method with labels":
            not_tried[job.method] = "it learns from the labels of all training rows"
        elif roles[job.method] == "method" and job.probes() is not None:
            runs[run_name(job.method, job.seed)] = job.folder
    modalities, readers = list(data.train.specs), questions.readers
    missing = [
        (readout, lacking)
        for task in questions.tasks
        for readout, names in units_of(task, questions.budgets, modalities, readers, list(runs))
        if (lacking := missing_readers(readout.path(out), names))
    ]
    if missing:
        targets = dict.fromkeys(readout.target for readout, _ in missing)
        trainings = f"{len(runs)} training{'s' if len(runs) != 1 else ''}"
        tell(f"predicting {', '.join(targets)} from {trainings} and by rivals")
        network = with_method(experiment, source.method_options("comm", experiment))
        tasks = [task for task in questions.tasks if task.name in targets]
        write_material(out, vectors_of(network, data, runs, "untrained" in readers), tasks)
        shares = shares_of(missing, out, at_a_time)
        errors = work_on(source, shares, at_a_time, tell, data.files, experiment.training.threads)
        for share, reason in errors.items():
            raise RunError(f"{share} failed: {reason}. Its output is in {share.folder / 'output.txt'}.")
        clear_material(out)
    verdict = verdict_of(out, questions.tasks, questions.budgets, modalities, readers, list(runs), not_tried)
    write_atomically(out / "verdict.json", json_text(verdict).encode())
    return verdict


def _check_replaced(out: Path, recipe: object, table: object) -> None:
    """Refuse to store a schema or a table in a folder that has such a file and was never a comparison's."""
    if any((out / name).exists() for name in (LOCK, BEGUN)):
        return
    for name, stored in ((SCHEMA, recipe), (TABLE, table)):
        if not isinstance(stored, str | Path | None) and (out / name).exists():
            raise RunError(f"{out / name} exists, and a comparison would replace it. Give another out=.")


def stored_schema(recipe: str | Path | Schema | Mapping[str, Any], out: Path) -> str:
    """Return where to read the recipe or schema; a schema in memory is written into the folder."""
    if isinstance(recipe, str | Path):
        return str(recipe)
    schema = recipe if isinstance(recipe, Schema) else Schema.from_mapping(recipe)
    if modules := modules_of_schema(schema):
        name = next(iter(modules))
        raise ConfigurationError(
            f"compare trains in separate processes, and the encoder of {', '.join(modules)} is a module of "
            f"this one. Leave out encoder= of {name} to compare the methods with the default encoder, "
            f"or train one after the other: cl.Embedder(schema, method=...).fit(table), then cl.probe."
        )
    return _write(out / SCHEMA, schema.to_yaml().encode())


def stored_table(table: Any, recipe: str, out: Path) -> str | None:
    """Return where to read the table; a table in memory is written into the folder, needed columns only."""
    if table is None or isinstance(table, str | Path):
        return None if table is None else str(table)
    if not (isinstance(table, Mapping) or is_frame(table)):
        raise ConfigurationError(
            f"table is a {type(table).__name__}; give a path, a frame, a list of dicts or a dict of arrays."
        )
    if not is_schema(recipe):
        raise ConfigurationError(
            f"{recipe} is a recipe, which names its own data. Pass a Schema with a table."
        )
    schema = Schema.from_yaml(Path(recipe))
    frame = read_table(table, schema.training_columns()).frame
    pictures = {
        column for kind in schema.modalities.values() if isinstance(kind, Image) for column in kind.columns()
    }
    columns = {name: _storable(frame[name], name in pictures) for name in frame}
    content = io.BytesIO()
    pq.write_table(pa.table(columns), content)
    return _write(out / TABLE, content.getvalue())


def _storable(values: pd.Series, pictures: bool) -> pa.Array:
    """Convert a column to Arrow: pictures as encoded image files, arrays as lists of lists, bins as text."""
    cells = values.dtype.categories if isinstance(values.dtype, pd.CategoricalDtype) else values
    if isinstance(cells.dtype, pd.IntervalDtype):
        values = values.astype(object).map(str, na_action="ignore")
    elif values.dtype == object:
        values = values.map(_picture if pictures else _lists)
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as problem:
        raise DataError(
            f"Column {values.name} cannot be written as Parquet for the training processes ({problem}). "
            "Give cells of one type, or the path of a table."
        ) from problem


def _picture(cell: Any) -> Any:
    if isinstance(cell, torch.Tensor):
        cell = cell.detach().cpu().numpy()
    if isinstance(cell, np.ndarray):
        deep = cell.dtype == np.uint16
        cell = PIL.fromarray(cell.squeeze()) if deep else Decoder(Path()).from_array(cell)
    if not isinstance(cell, PIL.Image):
        return cell
    content = io.BytesIO()
    cell.save(content, "TIFF" if cell.mode in ("F", "CMYK", "YCbCr", "LAB") else "PNG")
    return content.getvalue()


def _lists(cell: Any) -> Any:
    if isinstance(cell, torch.Tensor):
        cell = cell.detach().cpu().numpy()
    if isinstance(cell, set | frozenset):
        return sorted(cell, key=str)
    if isinstance(cell, np.ndarray) and (cell.ndim > 1 or not cell.size):  # an empty array may be of text
        return [_lists(part) for part in cell]
    return cell


def _write(path: Path, content: bytes) -> str:
    """Write a file and return its path; raise an error if it belongs to another comparison."""
    path = path.resolve()
    if not path.exists() or path.read_bytes() != content:
        if path.exists() and (path.parent / BEGUN).exists():
            raise RunError(f"{path} is the {path.stem} of another comparison. Give another out.")
        hold(path.parent, "comparing").close()  # makes the folder
        write_atomically(path, content)
    return str(path)
