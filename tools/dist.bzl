# SPDX-License-Identifier: Apache-2.0
"""What programs that are not built by Bazel need of ringfall: libraries in one piece, and a tarball."""

load("@rules_cc//cc:defs.bzl", "CcInfo", "cc_common")

def _headers(targets):
    """The public headers, each once: Bazel may know one under several paths."""
    found = {}
    for target in targets:
        for header in target[CcInfo].compilation_context.headers.to_list():
            if "/include/" in header.path and header.dirname.endswith("/ringfall"):
                found[header.basename] = header
    return [found[name] for name in sorted(found.keys())]

def _archives(linker_input):
    archives = [x.pic_static_library or x.static_library for x in linker_input.libraries]
    return [x for x in archives if x]

def _merged_library_impl(ctx):
    toolchain = ctx.attr._cc_toolchain[cc_common.CcToolchainInfo]
    library = []
    needed = []
    faults = []
    flags = []
    for x in ctx.attr.faults[CcInfo].linking_context.linker_inputs.to_list():
        if x.owner == ctx.attr.faults.label:
            faults += _archives(x)
        elif x.owner.workspace_name == ctx.label.workspace_name:
            library += _archives(x)
        else:
            needed += _archives(x)
        flags += [f for f in x.user_link_flags if f not in flags]
    headers = _headers([ctx.attr.library, ctx.attr.faults])

    args = ctx.actions.args()
    args.add(toolchain.ar_executable, format = "AR=%s")
    args.add(toolchain.ld_executable, format = "LD=%s")
    args.add(toolchain.nm_executable, format = "NM=%s")
    args.add(toolchain.objcopy_executable, format = "OBJCOPY=%s")
    args.add(ctx.file._functions, format = "FUNCTIONS=%s")
    args.add(ctx.outputs.archive, format = "ARCHIVE=%s")
    args.add(ctx.outputs.faults_object, format = "FAULTS_OBJECT=%s")
    args.add(ctx.outputs.library_object, format = "LIBRARY_OBJECT=%s")
    args.add(ctx.outputs.link_flags, format = "LINK_FLAGS=%s")
    args.add(ctx.outputs.version_script, format = "VERSION_SCRIPT=%s")
    args.add_all("--headers", headers)
    args.add_all("--library", library)
    args.add_all("--needed", needed)
    args.add_all("--faults", faults)
    args.add_all("--flags", flags)
    ctx.actions.run(
        executable = ctx.executable._merge,
        arguments = [args],
        inputs = depset(
            headers + library + needed + faults + [ctx.file._functions],
            transitive = [toolchain.all_files],
        ),
        outputs = [
            ctx.outputs.archive,
            ctx.outputs.faults_object,
            ctx.outputs.library_object,
            ctx.outputs.link_flags,
            ctx.outputs.version_script,
        ],
        mnemonic = "RingfallMerge",
        use_default_shell_env = True,
    )
    return [DefaultInfo(files = depset([ctx.outputs.archive]))]

merged_library = rule(
    doc = "libringfall.a, and what libringfall.so is linked from; see install/merge.sh.",
    implementation = _merged_library_impl,
    attrs = {
        "archive": attr.output(mandatory = True),
        "faults": attr.label(mandatory = True, providers = [CcInfo]),
        "faults_object": attr.output(mandatory = True),
        "library": attr.label(mandatory = True, providers = [CcInfo]),
        "library_object": attr.output(mandatory = True),
        "link_flags": attr.output(mandatory = True),
        "version_script": attr.output(mandatory = True),
        "_cc_toolchain": attr.label(default = "@bazel_tools//tools/cpp:current_cc_toolchain"),
        "_functions": attr.label(default = "//tools:install/functions.awk", allow_single_file = True),
        "_merge": attr.label(
            default = "//tools:install/merge.sh",
            allow_single_file = True,
            cfg = "exec",
            executable = True,
        ),
    },
)

def _tarball_impl(ctx):
    headers = _headers(ctx.attr.libraries)
    out = ctx.actions.declare_file("ringfall.tar.gz")
    singles = {
        "ARCHIVE": ctx.file.archive,
        "CMAKE_CONFIG": ctx.file._cmake_config,
        "CMAKE_VERSION": ctx.file._cmake_version,
        "COMPLETION": ctx.file.completion,
        "LINK_FLAGS": ctx.file.link_flags,
        "PKG_CONFIG": ctx.file._pkg_config,
        "PROGRAM": ctx.file.program,
        "SHARED": ctx.file.shared,
    }
    args = ctx.actions.args()
    for name, file in singles.items():
        args.add(file, format = name + "=%s")
    args.add(out, format = "TARBALL=%s")
    args.add_all("--headers", headers)
    args.add_all("--man", ctx.files.man)
    args.add_all("--doc", ctx.files.doc)
    ctx.actions.run(
        executable = ctx.executable._pack,
        arguments = [args],
        inputs = headers + ctx.files.man + ctx.files.doc + singles.values(),
        outputs = [out],
        mnemonic = "RingfallPack",
        use_default_shell_env = True,
    )
    return [DefaultInfo(files = depset([out]))]

tarball = rule(
    doc = "ringfall.tar.gz, all that is installed; see install/pack.sh.",
    implementation = _tarball_impl,
    attrs = {
        "archive": attr.label(mandatory = True, allow_single_file = True),
        "completion": attr.label(mandatory = True, allow_single_file = True),
        "doc": attr.label_list(allow_files = True),
        "libraries": attr.label_list(doc = "whose headers are public", providers = [CcInfo]),
        "link_flags": attr.label(mandatory = True, allow_single_file = True),
        "man": attr.label_list(allow_files = True),
        "program": attr.label(mandatory = True, allow_single_file = True),
        "shared": attr.label(mandatory = True, allow_single_file = True),
        "_cmake_config": attr.label(default = "//tools:install/ringfall-config.cmake.in", allow_single_file = True),
        "_cmake_version": attr.label(default = "//tools:install/ringfall-config-version.cmake.in", allow_single_file = True),
        "_pack": attr.label(
            default = "//tools:install/pack.sh",
            allow_single_file = True,
            cfg = "exec",
            executable = True,
        ),
        "_pkg_config": attr.label(default = "//tools:install/ringfall.pc.in", allow_single_file = True),
    },
)
