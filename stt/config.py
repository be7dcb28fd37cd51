"""Configuration: the closed part as dataclasses, the open part as YAML nodes, and one way to build an object."""

from __future__ import annotations

import difflib
import importlib
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

from stt.engine import Synthesizer, Translator, Unit
from stt.errors import ConfigError, SttError, first_line, reason, refusals, refused

GROUPS = ("translator", "tts", "device", "segment", "source", "sink", "pipeline", "experiment")
CONTRACTS: dict[str, type] = {"translator": Translator, "tts": Synthesizer}


@dataclass
class Language:
    """NLLB codes of the languages, e.g. eng_Latn and jpn_Jpan."""

    source: str = "???"
    target: str = "???"


@dataclass
class Measure:
    """How often and how long is measured; the values are in conf/config.yaml."""

    passes: int = 1
    limit: int | None = None
    seed: int = 0
    shuffle: bool = True
    warmup_max: int = 40
    warmup_tolerance: float = 0.05
    against: list[str] = field(default_factory=list)


@dataclass
class Target:
    """The verdict: `percentile` of each metric stays within `limit_ms`."""

    metrics: list[str] = field(default_factory=list)
    percentile: int = 95
    limit_ms: float = 150


@dataclass
class Config:
    """The whole configuration; the open groups are checked by the class each names."""

    translator: Any = "???"
    tts: Any = "???"
    device: Any = "???"
    segment: Any = "???"
    source: Any = "???"
    sink: Any = "???"
    pipeline: Any = "???"
    language: Language = field(default_factory=Language)
    measure: Measure = field(default_factory=Measure)
    target: Target = field(default_factory=Target)
    resume: bool = False


def config_dir() -> Path:
    """The folder of YAML files: inside an installed package, or at the top of a checkout."""
    inside = Path(__file__).parent / "conf"
    return inside if inside.is_dir() else Path(__file__).parents[1] / "conf"


def options(group: str) -> dict[str, str]:
    """Names in a group and what each is, read from the first comment of its YAML."""
    found = {}
    for path in sorted((config_dir() / group).glob("*.yaml")):
        lines = path.read_text(encoding="utf-8").splitlines()
        comments = [line.lstrip("# ") for line in lines if line.startswith("#")]
        found[path.stem] = next((text for text in comments if not text.startswith("@package")), "")
    return found


def describe_choices() -> str:
    """All groups with their options, for --help."""
    blocks = []
    for group in GROUPS:
        names = options(group)
        width = max((len(name) for name in names), default=0)
        lines = [f"  {name:<{width}}  {text}".rstrip() for name, text in names.items()]
        blocks.append("\n".join([f"{'+' if group == 'experiment' else ''}{group}=", *lines]))
    return "\n\n".join(blocks)


def register() -> None:
    """Give Hydra the schema and the resolvers that conf/config.yaml names."""
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    from stt.environment import run_name

    ConfigStore.instance().store(name="schema", node=Config)
    OmegaConf.register_new_resolver(
        "stt.run_name", lambda *, _root_: run_name(_root_), replace=True
    )
    OmegaConf.register_new_resolver("stt.choices", describe_choices, replace=True)


def compose(overrides: list[str]) -> tuple[Any, dict[str, str]]:
    """The resolved configuration for `overrides`, and the option chosen in each group.

    Raises:
        ConfigError: an override names something that does not exist.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    register()
    check_choices(overrides)
    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir().absolute()), version_base="1.3"):
            cfg = hydra_compose("config", overrides, return_hydra_config=True)
    except refusals() as error:
        raise refused(error) from error
    finally:
        GlobalHydra.instance().hydra = before
    return without_hydra(cfg), choices(cfg)


def without_hydra(cfg: Any) -> Any:
    """`cfg` without the node Hydra keeps for itself."""
    from omegaconf import OmegaConf, open_dict

    task = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])
    with open_dict(task):
        return task


def choices(cfg: Any) -> dict[str, str]:
    """The option chosen in each group of a configuration that still has its hydra node."""
    chosen = cfg.hydra.runtime.choices
    return {group: str(chosen[group]) for group in GROUPS if group in chosen}


def check_options(arguments: list[str]) -> None:
    """Refuse an option that does not exist in a sentence, where Hydra prints its whole usage.

    Raises:
        ConfigError: for example for `--hlep`.
    """
    from argparse import ArgumentError

    from hydra._internal.utils import get_args_parser  # the one that it will read them with

    parser = get_args_parser()
    parser.exit_on_error = False
    shown = "`python -m stt.run --help` shows what can be asked for"
    try:
        _, unknown = parser.parse_known_args(arguments)
    except ArgumentError as error:
        raise ConfigError(f"{error}; {shown}.") from error
    if wrong := [word for word in unknown if word.startswith("-")]:
        raise ConfigError(f"there is no option {wrong[0]}; {shown}.")
    if unknown:
        raise ConfigError(
            f"{unknown[0]} stands behind an option, others before it: write options first."
        )


def check_choices(overrides: list[str]) -> None:
    """Refuse an option that does not exist before Hydra does, with the nearest names, and a folder that Hydra would ignore.

    Raises:
        ConfigError: for example for `translator=embeded`.
    """
    sweep = {"-m", "--multirun", "hydra.mode=MULTIRUN"} & set(overrides)
    folder, ignored = ("sweep", "run") if sweep else ("run", "sweep")
    for override in overrides:
        if override in ("hydra.run.dir=", "hydra.sweep.dir="):  # not the current folder
            raise ConfigError(f"{override} names no folder. Name one, or leave it out.")
        if override.startswith(f"hydra.{ignored}.dir="):
            raise ConfigError(f"{override} has no effect here. Write hydra.{folder}.dir= instead.")
        if override.startswith(("hydra/launcher=", "hydra/sweeper=")) and override[-6:] != "=basic":
            raise ConfigError(
                f"{override} is not possible: a sweep measures one configuration after the other, each in a fresh "
                "process, for those beside each other would share the machine. Leave it out."
            )
        name, _, value = override.lstrip("+~").partition("=")
        if name not in GROUPS or not value or any(c in value for c in "(${[*"):
            continue
        there = options(name)
        for option in value.split(","):
            if option.strip() not in there:
                near = difflib.get_close_matches(option, there, n=3, cutoff=0.4) or list(there)
                missing = (config_dir() / name / f"{option.strip()}.yaml").resolve()
                raise ConfigError(
                    f"{name}={option} does not exist. Nearest: {', '.join(near)}. "
                    f"`python -m stt.run --help` lists all; {missing} would add it."
                )


def build(node: Any, choice: str) -> Any:
    """Build the object a YAML node describes, with the class itself as the node's schema.

    Args:
        node: a mapping with `_target_: stt.<module>.<Class>` and one key for each field of that dataclass.
        choice: how the user named it, e.g. `tts=piper`; used in messages.

    Raises:
        ConfigError: wrong type, unknown key, missing value, a target outside `stt`, or one that is not
            what its group asks for.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

    values = OmegaConf.to_container(node, resolve=True)
    if not isinstance(values, dict) or not isinstance(values.get("_target_"), str):
        raise ConfigError(f"{choice}: its YAML needs a line `_target_: stt.<module>.<Class>`.")
    target = values.pop("_target_")
    cls = _class(target, choice)
    contract = CONTRACTS.get(choice.partition("=")[0], object)
    if not issubclass(cls, contract):
        raise ConfigError(
            f"{choice}: {target} must derive from {contract.__module__}.{contract.__name__}."
        )
    try:
        built = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(cls), values))
    except SttError:
        raise
    except OmegaConfBaseException as error:
        named = isinstance(error, ConfigKeyError)
        where = "" if named else f"{error.full_key or 'a value'}: "
        raise ConfigError(f"{choice}: {where}{first_line(error)}.") from error
    except Exception as error:
        raise ConfigError(f"{choice}: {reason(error)}.") from error
    if contract is Synthesizer and not isinstance(getattr(built, "unit", None), Unit):
        raise ConfigError(
            f"{choice}: {target} needs a field `unit: Unit` (from stt.engine), and its YAML a line "
            "`unit: clause` or `unit: sentence`."
        )
    return built


def _class(target: str, choice: str) -> Any:
    module, _, name = target.rpartition(".")
    if not target.startswith("stt."):
        raise ConfigError(
            f"{choice}: _target_ {target} is not in the package stt; nothing else is built from YAML."
        )
    try:
        cls = getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever runs while the file is imported
        raise ConfigError(
            f"{choice}: _target_ {target} cannot be imported: {reason(error)}."
        ) from error
    if not (isinstance(cls, type) and is_dataclass(cls)):
        raise ConfigError(
            f"{choice}: _target_ {target} is not a dataclass; its fields are the YAML's keys."
        )
    return cls


def check_values(cfg: Any) -> None:
    """Refuse what the types allow and nothing can be measured with.

    Raises:
        ConfigError: with the keys or values that would do.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from stt.metrics import TIMES

    try:  # `+measure.limt=2`: Hydra adds what is asked for with a plus, whatever the schema
        OmegaConf.merge(OmegaConf.structured(Config), OmegaConf.to_container(cfg))
    except OmegaConfBaseException as error:
        raise refused(error) from error
    target, counts = cfg.target, {"passes": cfg.measure.passes, "limit": cfg.measure.limit}
    if not target.metrics or not set(target.metrics) <= set(TIMES):
        raise ConfigError(
            f"target.metrics={list(target.metrics)}: choose from these times: {', '.join(TIMES)}."
        )
    if len(set(cfg.measure.against)) < len(cfg.measure.against):
        raise ConfigError(f"measure.against={cfg.measure.against}: name each experiment once.")
    if not 0 < target.percentile < 100 or not target.limit_ms > 0:
        raise ConfigError(
            f"target.percentile={target.percentile}, target.limit_ms={target.limit_ms}: "
            "the percentile lies between 0 and 100, the limit above 0."
        )
    if any(count is not None and count < 1 for count in counts.values()):
        said = ", ".join(f"measure.{name}={count}" for name, count in counts.items())
        raise ConfigError(f"{said}: each must be at least 1 (no limit: null).")
