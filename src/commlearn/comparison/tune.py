"""Tuning: every method tries the same number of settings and is scored on data not used to choose them."""

from __future__ import annotations

import hashlib
import inspect
import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from commlearn.batch import as_names
from commlearn.comparison.baselines import BASELINES, SINGLE
from commlearn.comparison.compare import USUAL, compared, seeds_of
from commlearn.comparison.plan import ComparisonSource
from commlearn.comparison.table import Comparison
from commlearn.config.configuration import Experiment, experiment_from, read_experiment, to_mapping
from commlearn.config.fill import set_dotted
from commlearn.config.own_data import is_schema
from commlearn.datasets import READERS
from commlearn.errors import CommlearnError, ConfigurationError, Problems, unknown
from commlearn.methods import METHODS
from commlearn.seeds import numpy_generator
from commlearn.storage.checkpoint import write_atomically
from commlearn.storage.locks import hold
from commlearn.storage.plain_json import json_text
from commlearn.storage.plain_yaml import read_yaml

Setting = dict[str, Any]
"""Dotted key to value; an empty one is the unchanged recipe."""
LOGARITHMIC = 4  # draw on a logarithmic scale if a range's upper end is at least this multiple of its lower
SCIENTIFIC = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
TRIES = 100  # draws allowed per setting, as a short range of integers yields many duplicates

Values = list[Any] | tuple[float, float] | tuple[int, int]
"""Values to choose from, or the ends of a range."""


def values_of(key: str, stated: str | Sequence[Any]) -> Values:
    """Parse comma-separated values, or a range `a..b`.

    Example:
        >>> values_of("method.temperature", ".1,.3"), values_of("training.epochs", "4..20")
        ([0.1, 0.3], (4, 20))
    """
    if not isinstance(stated, str):
        values = list(stated) if isinstance(stated, Iterable) else [stated]
    elif ".." in stated:
        return _range(key, stated)
    else:
        values = [_number_or_same(value) for value in read_yaml(f"[{stated}]", f"over {key}={stated}")]
    if not values:
        raise ConfigurationError(f"over {key}: there are no values; give some (.1,.3,1) or a range (.05..1).")
    return values


def _number_or_same(value: Any) -> Any:
    """Return a number for text such as 1e-3, which is text in YAML and would not equal a recipe's 0.001."""
    return float(value) if isinstance(value, str) and SCIENTIFIC.fullmatch(value) else value


def settings_to_try(
    over: Mapping[str, Values], budget: int | None, seed: int, current: Mapping[str, Any] | None = None
) -> list[Setting]:
    """Return the unchanged recipe and further settings: the whole grid if the budget allows, or random draws.

    Settings are also drawn if there is any range. A larger budget begins with the draws of a smaller one.
    What the recipe has already, its `current` values by dotted key, takes no second place in the budget.

    Example:
        >>> settings_to_try({"method.temperature": [0.1, 0.3]}, None, 0)
        [{}, {'method.temperature': 0.1}, {'method.temperature': 0.3}]
        >>> drawn = settings_to_try({"method.temperature": (0.05, 1.0)}, 3, 0)
        >>> len(drawn), all(0.05 <= setting["method.temperature"] <= 1 for setting in drawn[1:])
        (3, True)
    """
    settings: list[Setting] = [{}]
    own = {key: current[key] for key in over if current and key in current}
    grid = [values for values in over.values() if isinstance(values, list)]
    is_grid = len(grid) == len(over)
    if budget is None and not is_grid:
        raise ConfigurationError(
            "A range has infinitely many settings; give budget=, the number of settings to try."
        )
    size = len(settings) + math.prod(len(values) for values in grid)
    limit = size if budget is None else budget
    if limit < 1:
        raise ConfigurationError(f"budget is {limit}; give the number of settings to try, 1 or more.")
    if not over:
        return settings
    if is_grid and len(own) == len(over) and all(own[key] in over[key] for key in over):
        size -= 1  # one of them is the recipe's own
    if is_grid and size <= limit:
        every = (dict(zip(over, values, strict=True)) for values in itertools.product(*grid))
        return settings + [setting for setting in every if setting != own]
    generator = numpy_generator(seed, "settings to try")
    for _ in range(TRIES * limit):
        if len(settings) >= limit:
            break
        drawn = {key: _draw(values, generator) for key, values in over.items()}
        if drawn not in (own, *settings):
            settings.append(drawn)
    return settings


def _range(key: str, text: str) -> Values:
    ends = [read_yaml(end, f"over {key}={text}") for end in text.split("..", 1)]
    try:
        low, high = (end if isinstance(end, int) else float(end) for end in ends)
    except (TypeError, ValueError):
        low, high = 0, 0
    if not -math.inf < low < high < math.inf:
        raise ConfigurationError(
            f"over {key}={text} is not a range; give two numbers, the lower first (.05..1), or "
            "values (.1,.3,1)."
        )
    return (low, high)


def _draw(values: Values, generator: np.random.Generator) -> Any:
    """Draw one of the values, or a number from the range, on a logarithmic scale if it is wide."""
    if isinstance(values, list):
        return values[int(generator.integers(len(values)))]
    low, high = values
    logarithmic = low > 0 and high / low >= LOGARITHMIC
    if isinstance(low, int) and isinstance(high, int):
        if not logarithmic:
            return int(generator.integers(low, high + 1))
        return min(int(math.exp(generator.uniform(math.log(low), math.log(high + 1)))), high)
    ends = (math.log(low), math.log(high)) if logarithmic else (low, high)
    number = generator.uniform(*ends)
    return float(f"{math.exp(number) if logarithmic else number:.3g}")


LONGEST_NAME = 100  # characters in the name of a setting's folder, at most


@dataclass(frozen=True)
class Axis:
    """A setting to search over, and the methods that have it."""

    name: str  # the key as given, with the methods before it
    key: str  # dotted key of the setting
    values: Values
    methods: tuple[str, ...]


def tune(
    recipe: str | Path,
    over: Mapping[str, str | Sequence[Any]],
    methods: Sequence[str] | None = None,
    budget: int | None = None,
    seeds: int | Sequence[int] = 1,
    out: str | Path = "runs/tune",
    overrides: Mapping[str, Any] | None = None,
    jobs: int = 0,
    tell: Callable[[str], None] = print,
    targets: Sequence[str] | None = None,
    table: str | Path | None = None,
    search_seed: int = 0,
) -> dict[str, Any]:
    """Choose settings for each method within one budget, then train and score each with its chosen settings.

    Generated data are generated again, with the next data seed, to choose settings on. For all other data
    the test rows are not used until the choice is made: settings are chosen on the validation rows or, if
    there are none, on a quarter of the training rows. Finished trials are kept, so running again in the same
    folder resumes where it stopped.

    Args:
        recipe: name of a recipe, or path of a YAML file: a recipe or a schema.
        over: dotted key to values, `[0.1, 0.3]` or `"0.1,0.3"`, or to a range, `"0.05..1"`. `comm,clip:KEY`
            searches over the key for these methods only.
        methods: names of methods and baselines, `raw:NAME` for one modality; as in `compare` if not given.
        budget: number of settings to try for each method, including the recipe's own; the whole grid if not
            given.
        seeds: number of seeds (0, 1, ...) or the seeds themselves, for the final trainings; trials use one.
        out: folder, with a comparison in it for every setting.
        overrides: dotted key to value, for every method and setting.
        jobs: trainings to run at once; 0 = one for each CPU core, or one if there is a GPU.
        tell: receives a line for each training that starts and ends.
        targets: targets to probe; the recipe's scores, or all targets, if not given.
        table: replaces the schema's table.
        search_seed: seed of the settings that are drawn at random.

    Returns:
        The content of `tuning.json`: for each method the settings tried and the one chosen, with the scores
        of the recipe's own setting and of the chosen one.

    Example:
        >>> import pandas as pd
        >>> import commlearn as cl
        >>> table = pd.DataFrame({"left": range(90), "right": range(1, 91), "odd": [0, 1] * 45})
        >>> table.to_csv("table.csv", index=False)
        >>> halves = {"left": cl.Tabular(["left"]), "right": cl.Tabular(["right"])}
        >>> schema = cl.Schema(halves, targets={"odd": "class"}).to_yaml()
        >>> _ = open("schema.yaml", "w").write(schema)
        >>> over = {"training.learning_rate": [1e-3, 1e-4]}
        >>> few = {"overrides": {"training.epochs": 1}, "tell": lambda line: None}
        >>> tuning = tune("schema.yaml", over, table="table.csv", **few)
        >>> len(tuning["methods"]["comm"]["tried"])
        2
    """
    source = ComparisonSource(str(recipe), None if table is None else str(table), dict(overrides or {}))
    names = tuple(as_names(methods) or (["comm"] if is_schema(recipe) else USUAL))
    seeds = seeds_of(seeds)  # the trials use none of them
    axes = _axes(over, names, source)
    if is_schema(source.recipe):
        experiment = source.read()[0]
    else:  # without reading the records
        experiment = read_experiment(source.recipe, source.without_method_options(source.overrides))
    tried = {name: _settings(name, axes, budget, search_seed, source, experiment) for name in names}
    _check(tried, source, experiment)
    before_test, descriptions = _selection_source(source, experiment)
    out = Path(out)
    options: dict[str, Any] = {"tell": tell, "jobs": jobs, "targets": targets}
    with closing(hold(out, "tuning")):
        trials = _tables(before_test, out / "tried", tried, [0], **options)
        best = {name: max(tried[name], key=lambda setting: _rank(trials, name, setting)) for name in names}
        both = {name: _deduplicate([{}, best[name]]) for name in names}
        final = _tables(source, out / "scored", both, seeds, **options)
        default = final[_folder_name({})]
        result = {
            "recipe": experiment.name,
            "over": _describe(axes),
            "budget": budget or max(len(settings) for settings in tried.values()),
            "search_seed": search_seed,
            **descriptions,
            "metric": default["metric"],
            "scores": default["scores"],
            "chance": default["chance"],
            "methods": {name: _row(name, tried[name], best[name], trials, final) for name in names},
        }
        write_atomically(out / "tuning.json", json_text(result).encode())
    return result


def _tables(
    source: ComparisonSource,
    folder: Path,
    settings: Mapping[str, Sequence[Setting]],
    seeds: int | Sequence[int],
    tell: Callable[[str], None],
    **options: Any,
) -> dict[str, Comparison]:
    """Return each setting's table by the name of its folder: a comparison of the methods that try it."""
    tables: dict[str, Comparison] = {}
    for setting in _deduplicate([setting for tried in settings.values() for setting in tried]):
        name = _folder_name(setting)
        members = [method for method, tried in settings.items() if setting in tried]
        changed = replace(source, overrides={**source.overrides, **setting})

        def tell_named(line: str, name: str = f"{folder.name}/{name}") -> None:
            tell(f"{name}: {line}")

        tables[name] = compared(changed, members, seeds, folder / name, rivals=[], tell=tell_named, **options)
    return tables


def _axes(
    over: Mapping[str, str | Sequence[Any]], methods: Sequence[str], source: ComparisonSource
) -> list[Axis]:
    """Return the settings to search over; raise an error for those that a method does not have."""
    problems = Problems("tune")
    axes: list[Axis] = []
    for method in methods:
        if not _exists(method):
            problems.add(unknown("method", method, [*METHODS, *BASELINES]))
    for scoped_key, values in over.items():
        scope, _, key = scoped_key.rpartition(":")
        named = [name.strip() for name in scope.split(",")] if scope else list(methods)
        for method in named:
            if method not in methods:
                problems.add(f"over {scoped_key}: {unknown('method', method, methods)}")
            elif (scope or _exists(method)) and not _has(method, key):
                others = [name for name in methods if _has(name, key)]
                named_others = f"Name those that have it: over {','.join(others)}:{key}"
                advice = named_others if others else "Correct its name"
                problems.add(f"{method} has no setting {key}. {advice}, or leave {method} out of methods=.")
        if key in source.overrides:
            problems.add(f"{key} is set to {source.overrides[key]}, so it cannot be searched over as well.")
        if key in ("seed", "method", "data.seed"):
            problems.add(f"over {key}: this is not a setting of a method; give it with seeds= or methods=.")
        for axis in axes:
            if axis.key == key and (twice := [name for name in named if name in axis.methods]):
                both = f"over {axis.name} and {scoped_key}"
                problems.add(f"{both} both give values for {', '.join(twice)}; use one.")
        axes.append(Axis(scoped_key, key, values_of(key, values), tuple(named)))
    problems.raise_if_any(ConfigurationError)
    return axes


def _exists(method: str) -> bool:
    """Whether a method or baseline of this name may exist; the data's modalities are not known yet."""
    return method in METHODS or method in BASELINES or method.startswith(SINGLE)


def _has(method: str, key: str) -> bool:
    """Whether a setting affects a method; none affects a baseline."""
    if method not in METHODS:
        return False
    name = key.removeprefix("method.").partition(".")[0]
    return not key.startswith("method.") or name in inspect.signature(METHODS[method].build).parameters


def _settings(
    method: str,
    axes: Sequence[Axis],
    budget: int | None,
    seed: int,
    source: ComparisonSource,
    experiment: Experiment,
) -> list[Setting]:
    """Return the settings to try for a method: the unchanged recipe and others that differ from it."""
    over = {axis.key: axis.values for axis in axes if method in axis.methods}
    return settings_to_try(over, budget, seed, _current_values(method, source, experiment))


def _current_values(method: str, source: ComparisonSource, experiment: Experiment) -> dict[str, Any]:
    """Return the current value of every setting by dotted key, including the method's options."""
    values = _dotted({**to_mapping(experiment), "method": {}})
    if method in METHODS:
        parameters = inspect.signature(METHODS[method].build).parameters
        values |= {f"method.{name}": parameter.default for name, parameter in parameters.items()}
        options = source.method_options(method, experiment)
        values |= {f"method.{name}": option for name, option in options.items()}
    return values


def _dotted(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in mapping.items():
        values[prefix + key] = value
        if isinstance(value, Mapping):
            values |= _dotted(value, f"{prefix}{key}.")
    return values


def _check(tried: Mapping[str, Sequence[Setting]], source: ComparisonSource, experiment: Experiment) -> None:
    """Refuse settings that no training could have, before the first training."""
    problems = Problems("tune")
    for method, settings in tried.items():
        for setting in settings if method in METHODS else ():
            mapping = to_mapping(experiment) | {"method": source.method_options(method, experiment)}
            try:
                for key, value in setting.items():
                    set_dotted(mapping, key, value)
                experiment_from(mapping)
            except CommlearnError as problem:
                problems.add(f"{method} with {_words(setting)}: {problem}")
    problems.raise_if_any(ConfigurationError)
    if is_schema(source.recipe):  # choices depend on the records: one setting per method is read
        for setting in _deduplicate([settings[-1] for settings in tried.values()]):
            replace(source, overrides={**source.overrides, **setting}).read()


def _selection_source(
    source: ComparisonSource, experiment: Experiment
) -> tuple[ComparisonSource, dict[str, str]]:
    """Return the source to choose settings on, and descriptions of where they are chosen and scored."""
    reader = READERS[experiment.data["name"]]
    if getattr(reader, "generated", False):
        seed = experiment.data.get("seed", inspect.signature(reader).parameters["seed"].default)
        other = replace(source, overrides={**source.overrides, "data.seed": seed + 1})
        return other, {"chosen_on": f"data seed {seed + 1}", "scored_on": f"data seed {seed}"}
    held_out = "validation rows or, if there are none, a quarter of the training rows"
    return replace(source, before_test=True), {"chosen_on": held_out, "scored_on": "test rows"}


def _rank(trials: Mapping[str, dict[str, Any]], method: str, setting: Setting) -> float:
    value = _mean_above_chance(trials[_folder_name(setting)], method)
    return float("-inf") if value is None else value


def _mean_above_chance(table: Mapping[str, Any], method: str) -> float | None:
    """Return each score's share of the distance from chance to 100, in percent, averaged over the scores."""
    shares = []
    for score, cell in table["methods"][method]["scores"].items():
        if cell["mean"] is None:
            return None
        chance = table["chance"][score] or 0.0
        reachable = 100 - chance  # 0 if a guess is always right
        shares.append(100 * (cell["mean"] - chance) / reachable if reachable else 0.0)
    return sum(shares) / len(shares)


def _row(
    method: str,
    settings: Sequence[Setting],
    best: Setting,
    trials: Mapping[str, dict[str, Any]],
    final: Mapping[str, dict[str, Any]],
) -> dict[str, Any]:
    """Return a method's entry in the result: the settings tried, the one chosen, and their scores."""

    def summarise(tables: Mapping[str, dict[str, Any]], setting: Setting) -> dict[str, Any]:
        row = tables[_folder_name(setting)]["methods"][method]
        return {"scores": row["scores"], "seconds": row["cost"]["seconds"], "errors": row["errors"]}

    tried = []
    for setting in settings:
        value = _mean_above_chance(trials[_folder_name(setting)], method)
        tried.append({"setting": setting, "above_chance": value, **summarise(trials, setting)})
    return {
        "tried": tried,
        "trained": method in METHODS,
        "chosen": best,
        "above_chance": _mean_above_chance(final[_folder_name(best)], method),
        "seconds": round(sum(trial["seconds"] or 0.0 for trial in tried), 1),
        "default": summarise(final, {}),
        "best": summarise(final, best),
    }


def _deduplicate(settings: Sequence[Setting]) -> list[Setting]:
    return [setting for index, setting in enumerate(settings) if setting not in settings[:index]]


def _words(setting: Setting) -> str:
    return " ".join(f"--{key} {value}" for key, value in setting.items()) or "the recipe's own settings"


def _folder_name(setting: Setting) -> str:
    """Return the name of a setting's folder: its values, or a digest if they do not make a file name."""
    name = "_".join(f"{key}={value}" for key, value in setting.items()) or "default"
    if len(name) <= LONGEST_NAME and all(letter.isalnum() or letter in "._=-" for letter in name):
        return name
    return hashlib.sha256(json.dumps(setting, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _describe(axes: Sequence[Axis]) -> dict[str, Any]:
    """Return what was searched over by key or, where methods have their own values, by the key as given."""
    keys = [axis.key for axis in axes]
    return {
        axis.key if keys.count(axis.key) == 1 else axis.name: {
            "values": axis.values if isinstance(axis.values, list) else f"{axis.values[0]}..{axis.values[1]}",
            "methods": list(axis.methods),
        }
        for axis in axes
    }
