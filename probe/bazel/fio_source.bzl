# SPDX-License-Identifier: Apache-2.0
"""A repository over the source tree of fio that tools/fio is compiled against.

RINGFALL_FIO_SOURCE names the tree, after its ./configure; tools/fio/build sets it.  Nobody looks at
it before a target in tools/fio is built.
"""

_OLDEST = 31  # FIO_IOOPS_VERSION of fio 3.33

_BUILD = """\
load("@rules_cc//cc:defs.bzl", "cc_library")

# As a system's headers: their warnings are not ours to mend.
cc_library(
    name = "fio",
    hdrs = glob(["fio/**/*.h"]) + ["ringfall_fio_version.h"],
    includes = [".", "fio"],
    visibility = ["//visibility:public"],
)
"""

def _after(text, mark):
    """The rest of the line that begins with `mark`; "" if there is none."""
    for line in text.splitlines():
        if line.startswith(mark):
            return line[len(mark):].strip()
    return ""

def _fio_source_impl(ctx):
    source = ctx.os.environ.get("RINGFALL_FIO_SOURCE", "")
    if not source:
        fail("RINGFALL_FIO_SOURCE does not name a source tree of fio: use tools/fio/build")
    tree = ctx.path(source)
    for name in ["ioengines.h", "FIO-VERSION-GEN"]:
        if not tree.get_child(name).exists:
            fail("%s is not a source tree of fio: it has no %s" % (source, name))
    if not tree.get_child("config-host.h").exists:
        fail("%s is not configured: run ./configure there" % source)
    abi = _after(ctx.read(tree.get_child("ioengines.h")), "#define FIO_IOOPS_VERSION")
    if not abi.isdigit() or int(abi) < _OLDEST:
        fail("%s has engines of version %s; %d (fio 3.33) or later is needed" % (source, abi, _OLDEST))
    version = _after(ctx.read(tree.get_child("FIO-VERSION-GEN")), "DEF_VER=")
    ctx.symlink(tree, "fio")
    ctx.file("ringfall_fio_version.h", "#define RINGFALL_FIO_VERSION \"%s\"\n" % version, False)
    ctx.file("BUILD.bazel", _BUILD, False)

fio_source = repository_rule(
    implementation = _fio_source_impl,
    doc = "Makes //:fio, the headers of a configured source tree of fio.",
    configure = True,
    environ = ["RINGFALL_FIO_SOURCE"],
    local = True,
)
