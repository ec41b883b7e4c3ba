# SPDX-License-Identifier: Apache-2.0
"""What depends on the library that a label_flag has chosen: the host's, or one from elsewhere.

A BUILD file cannot know that when it is loaded, and must not look: a host's library is not to be
looked for when the flag points elsewhere. So these rules look at the target that they are given.
"""

load("@rules_cc//cc:defs.bzl", "cc_library")
load(":system_library.bzl", "FOUND", "MISSING")

def _backend_sources_impl(ctx):
    missing = ctx.attr.library.label.name == MISSING
    return [DefaultInfo(files = depset(ctx.files.stub if missing else ctx.files.srcs))]

backend_sources = rule(
    doc = "The sources of a backend, or of what stands in for it where its library is missing.",
    implementation = _backend_sources_impl,
    attrs = {
        "library": attr.label(mandatory = True),
        "srcs": attr.label_list(allow_files = [".c", ".h"]),
        "stub": attr.label_list(allow_files = [".c"]),
    },
)

# The host's own report, or what can be said of a library that the one who builds has named.
_HOST = """\
#include <ringfall_host/{target}.h>
"""
_ELSEWHERE = """\
#define {prefix}_FOUND 1
#define {prefix}_OUTCOME "found"
#define {prefix}_REASON ""
#define {prefix}_REMEDY ""
#define {prefix}_LINK "{label}, by a flag of the build"
#define {prefix}_LOG ""
"""

def _report_header_impl(ctx):
    target = ctx.attr.target
    label = ctx.attr.library.label
    header = ctx.actions.declare_file("generated/ringfall_build/%s.h" % target)
    prefix = "RF_BUILD_" + target.upper()
    text = _HOST if label.name in [FOUND, MISSING] else _ELSEWHERE
    ctx.actions.write(header, """\
/* Generated: what the build found of {target}. */
#ifndef {prefix}_H
#define {prefix}_H
{text}#endif
""".format(
        target = target,
        prefix = prefix,
        text = text.format(target = target, prefix = prefix, label = str(label)),
    ))
    return [DefaultInfo(files = depset([header]))]

_report_header = rule(
    implementation = _report_header_impl,
    attrs = {
        "library": attr.label(mandatory = True),
        "target": attr.string(mandatory = True),
    },
)

def build_report(name, library, target, **kwargs):
    """A cc_library with <ringfall_build/TARGET.h>: what the build found of a library.

    Args:
      name: of the cc_library.
      library: the library, or a flag that chooses it.
      target: the library's name.
      **kwargs: further attributes of the cc_library.
    """
    _report_header(
        name = name + "_header",
        library = library,
        target = target,
    )
    cc_library(
        name = name,
        hdrs = [":%s_header" % name],
        includes = ["generated"],
        deps = [library],
        **kwargs
    )
