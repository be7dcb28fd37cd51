"""Every YAML file builds the class it names, and the class has exactly its keys."""

from __future__ import annotations

import dataclasses
from typing import get_type_hints

import pytest

from stt.config import GROUPS, build, compose, config_dir, options
from stt.errors import ConfigError

BUILT = [g for g in GROUPS if g != "experiment"]
FILES = [(group, name) for group in BUILT for name in options(group)]


@pytest.mark.parametrize(("group", "name"), FILES)
def test_a_yaml_file_has_exactly_the_fields_of_its_class(group, name):
    cfg, chosen = compose([f"{group}={name}"])
    assert chosen[group] == name
    built = build(cfg[group], f"{group}={name}")
    fields = {field.name for field in dataclasses.fields(built)}
    assert fields == set(cfg[group]) - {"_target_"}
    assert type(built).__module__.startswith("stt.")


@pytest.mark.parametrize(("group", "name"), FILES)
def test_a_yaml_file_says_what_it_is(group, name):
    assert options(group)[name].endswith("."), "its first comment is shown by --help"


@pytest.mark.parametrize("name", list(options("translator")))
def test_translators_say_their_precision_in_one_way_so_that_it_can_be_swept(name):
    cfg, _ = compose([f"translator={name}"])
    fields = get_type_hints(type(build(cfg.translator, f"translator={name}")))
    assert not {"dtype", "compute_type", "quantization"} & set(fields)
    if "precision" in fields:  # not every engine has one
        known = {str(choice) for choice in fields["precision"]}
        assert "float32" in known
        assert known <= {"float32", "bfloat16", "float16", "int8"}


@pytest.mark.parametrize("name", list(options("experiment")))
def test_an_experiment_composes(name):
    _, chosen = compose([f"+experiment={name}"])
    assert chosen["experiment"] == name


def test_an_unknown_engine_is_answered_with_the_nearest_names():
    with pytest.raises(ConfigError, match="Nearest: embedded"):
        compose(["translator=embeded"])


def test_a_wrong_type_is_refused_by_name():
    cfg, _ = compose(["tts=tone", "tts.sample_rate=fast"])
    with pytest.raises(ConfigError, match="sample_rate"):
        build(cfg.tts, "tts=tone")


def test_an_unknown_key_is_refused_by_name():
    cfg, _ = compose(["tts=tone", "+tts.pitch=3"])
    with pytest.raises(ConfigError, match="pitch"):
        build(cfg.tts, "tts=tone")


def test_nothing_outside_the_package_is_built_from_yaml():
    from omegaconf import OmegaConf

    with pytest.raises(ConfigError, match="nothing else is built"):
        build(OmegaConf.create({"_target_": "subprocess.Popen", "args": ["true"]}), "tts=evil")


def test_configuration_folder_is_found():
    assert (config_dir() / "config.yaml").is_file()
