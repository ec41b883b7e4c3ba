# SPDX-License-Identifier: Apache-2.0
"""What MODULE.bazel uses: the repositories of libraries.bzl as a module extension."""

load(":fio_source.bzl", "fio_source")
load(":libraries.bzl", "system_benchmark", "system_googletest", "system_libraries", "system_libuv")

def _system_impl(_module_ctx):
    system_libraries()
    system_benchmark()
    system_libuv()
    fio_source(name = "ringfall_fio_source")

    # Only debian_modules/googletest uses this one; other builds have the registry's.
    system_googletest()

system = module_extension(
    doc = "Libraries of the host, found by compiling and linking.",
    implementation = _system_impl,
)
