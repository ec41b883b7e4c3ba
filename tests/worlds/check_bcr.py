# SPDX-License-Identifier: Apache-2.0
"""Checks .bcr/, the templates for the Central Registry: that they are what their names say, have the
fields that are asked for, and name targets, modules and versions that exist. Run by world.sh."""

import json
import os
import re

import yaml


def text(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def target_exists(label, module):
    """Whether a BUILD file below `module` has a rule of that name."""
    package, _, name = label.rpartition("//")[2].partition(":")
    build = text(os.path.join(module, package, "BUILD.bazel"))
    return f'name = "{name or os.path.basename(package)}"' in build


metadata = json.loads(text(".bcr/metadata.template.json"))
for field, kind in {
    "homepage": str,
    "maintainers": list,
    "repository": list,
    "versions": list,
    "yanked_versions": dict,
}.items():
    assert isinstance(metadata[field], kind), field
assert not metadata["versions"], "the registry fills them in"

source = json.loads(text(".bcr/source.template.json"))
assert source["integrity"] == "", "it is filled in for each release"
for field, placeholders in {"strip_prefix": ["{VERSION}"], "url": ["{OWNER}", "{TAG}"]}.items():
    for placeholder in placeholders:
        assert placeholder in source[field], field

presubmit = yaml.safe_load(text(".bcr/presubmit.yml"))
test_module = presubmit["bcr_test_module"]
checked = 0
for part, module in ((presubmit, "."), (test_module, test_module["module_path"])):
    assert os.path.isfile(os.path.join(module, "MODULE.bazel")), module
    for name, task in part["tasks"].items():
        for variable in ("platform", "bazel"):
            assert task[variable] == "${{ %s }}" % variable and part["matrix"][variable], name
        for label in task.get("build_targets", []) + task.get("test_targets", []):
            assert target_exists(label, module), label
            checked += 1
assert checked >= 4, checked

version = re.search(r'^    version = "(.*)",$', text("MODULE.bazel"), re.M).group(1)
used = re.search(r'name = "ringfall", version = "(.*)"', text("tests/consumer/MODULE.bazel")).group(1)
assert used == version, (used, version)
header = text("engine/include/ringfall/version.h")
assert all(re.search(rf"#define RF_VERSION_{part}\s+{number}\b", header)
           for part, number in zip(("MAJOR", "MINOR", "PATCH"), version.split("."))), version
