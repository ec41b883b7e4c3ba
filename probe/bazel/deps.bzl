# SPDX-License-Identifier: Apache-2.0
"""What WORKSPACE files call: ours, and those of consumers who do not use modules."""

load("@bazel_tools//tools/build_defs/repo:http.bzl", "http_archive")
load(":debian.bzl", "debian_stubs", "host_packages")
load(":fio_source.bzl", "fio_source")
load(":libraries.bzl", "system_benchmark", "system_googletest", "system_libraries", "system_libuv")

# Debian builds Bazel without a version, and 4.2.3 (Debian 12) is older than cc_shared_library.
def _is_debian_4():
    return not native.bazel_version and not hasattr(native, "cc_shared_library")

# `watch` of a repository rule is younger than WORKSPACE builds mostly are: a label does its job.
_COMMON = {"watched": ["@ringfall_host//:packages"]}

def ringfall_deps():
    """Declares what @ringfall needs, leaving alone what the caller has declared before."""
    if _is_debian_4():
        debian_stubs()
    elif not native.existing_rule("rules_cc"):
        http_archive(
            name = "rules_cc",
            sha256 = "2037875b9a4456dce4a79d112a8ae885bbc4aad968e6587dca6e64f3a0900cdf",
            strip_prefix = "rules_cc-0.0.9",
            urls = ["https://github.com/bazelbuild/rules_cc/releases/download/0.0.9/rules_cc-0.0.9.tar.gz"],
        )
    if not native.existing_rule("ringfall_host"):
        host_packages(name = "ringfall_host")
        system_libraries(**_COMMON)

def ringfall_dev_deps():
    """Declares what ringfall's own tests, tools/fio and examples/libuv_loop.c need besides."""
    if not native.existing_rule("googletest"):
        system_googletest(**_COMMON)
    system_benchmark(**_COMMON)
    system_libuv(**_COMMON)
    fio_source(name = "ringfall_fio_source")
