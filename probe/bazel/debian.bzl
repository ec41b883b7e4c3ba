# SPDX-License-Identifier: Apache-2.0
"""What only WORKSPACE builds need: stubs for Debian's Bazel, and a way to notice new packages."""

load(":system_library.bzl", "PACKAGE_DATABASES")

# What Bazel's own packages and ours load; each is still a native rule in 4.2.3.
_RULES = {
    "cc": [
        "cc_binary",
        "cc_import",
        "cc_library",
        "cc_test",
        "cc_toolchain",
        "cc_toolchain_suite",
    ],
    "java": [
        "java_binary",
        "java_import",
        "java_library",
        "java_runtime",
        "java_test",
        "java_toolchain",
    ],
}

def _stub_impl(ctx):
    ctx.file("WORKSPACE", "workspace(name = \"%s\")\n" % ctx.name)
    for path, text in ctx.attr.files.items():
        ctx.file(path, text)

_stub = repository_rule(
    implementation = _stub_impl,
    attrs = {"files": attr.string_dict()},
)

_COVERAGE_BUILD = """\
filegroup(
    name = "coverage_report_generator",
    visibility = ["//visibility:public"],
)
"""

# Not rules, and no name can be that of a native one in its own file.
_CC_PROVIDERS = """\
load(":native.bzl", "native_cc_common", "native_cc_info")
CcInfo = native_cc_info
cc_common = native_cc_common
"""

def debian_stubs():
    """Declares what Debian's 4.2.3 asks for by name and, without a network, cannot fetch."""
    stubs = {"remote_coverage_tools": {"BUILD.bazel": _COVERAGE_BUILD}}
    for language, rules in _RULES.items():
        stubs["rules_" + language] = {
            language + "/BUILD.bazel": "",
            language + "/defs.bzl": "".join(["%s = native.%s\n" % (r, r) for r in rules]),
        }
    stubs["rules_cc"]["cc/native.bzl"] = "native_cc_info = CcInfo\nnative_cc_common = cc_common\n"
    stubs["rules_cc"]["cc/defs.bzl"] = _CC_PROVIDERS + stubs["rules_cc"]["cc/defs.bzl"]
    for name, files in stubs.items():
        if not native.existing_rule(name):
            _stub(name = name, files = files)

def _host_packages_impl(ctx):
    for path in PACKAGE_DATABASES:
        if ctx.path(path).exists:
            ctx.symlink(path, "packages")
            break
    if not ctx.path("packages").exists:
        ctx.file("packages", "")
    ctx.file("BUILD.bazel", "exports_files([\"packages\"])\n")

host_packages = repository_rule(
    doc = """The package manager's database, as a file that other repositories may depend on.

Bazel notices when it changes. Thus a library that was missing is looked for again as soon as
anything was installed, and not only when the server starts anew.""",
    implementation = _host_packages_impl,
    local = True,
)
