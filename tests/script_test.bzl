# SPDX-License-Identifier: Apache-2.0
"""A shell script as a test.

Bazel 9 has no sh_test of its own, and Debian has no rules_shell: this works with every version.
"""

def _script_test_impl(ctx):
    program = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.symlink(output = program, target_file = ctx.file.script, is_executable = True)
    return [DefaultInfo(
        executable = program,
        runfiles = ctx.runfiles(files = ctx.files.data + [ctx.file.script]),
    )]

script_test = rule(
    doc = "Runs `script`, with `data` beside it in the runfiles.",
    implementation = _script_test_impl,
    attrs = {
        "data": attr.label_list(allow_files = True),
        "script": attr.label(mandatory = True, allow_single_file = [".sh"]),
    },
    test = True,
)
