# SPDX-License-Identifier: Apache-2.0
"""A repository for one library of the host, made by asking the compiler.

A version number or a file's existence proves little, so the rule compiles and links a program that
calls what ringfall calls, with CC, CPPFLAGS, CFLAGS (CXXFLAGS) and LDFLAGS as make would use them.
What it found becomes the target //:LIBRARY, which is another name of
  //:host_library  headers and archive as links inside the repository, which sandboxes can see; or
  //:no_library    where there is none.
Both have the findings with them as C string literals; see chosen_library.bzl.
The static archive is preferred: the program then runs where the shared library is not installed.
"""

# Variables the result depends on. Bazel runs the rule again when one of them changes.
_ENVIRON = [
    "CC",
    "CFLAGS",
    "CPATH",
    "CPPFLAGS",
    "CXXFLAGS",
    "C_INCLUDE_PATH",
    "LDFLAGS",
    "LIBRARY_PATH",
    "RINGFALL_BUILD_AIO",
    "RINGFALL_BUILD_URING",
]

# The host's package manager: program, key in `packages`, command. The first one present counts.
_MANAGERS = [
    ("apt-get", "apt", "apt-get install"),
    ("dnf", "dnf", "dnf install"),
    ("yum", "dnf", "yum install"),
    ("zypper", "zypper", "zypper install"),
    ("pacman", "pacman", "pacman -S"),
    ("apk", "apk", "apk add"),
]

# Where package managers write down what is installed: files that change with every package.
PACKAGE_DATABASES = [
    "/var/lib/dpkg/status",
    "/var/lib/rpm/rpmdb.sqlite",
    "/usr/lib/sysimage/rpm/rpmdb.sqlite",
    "/usr/lib/sysimage/rpm/Packages.db",
    "/lib/apk/db/installed",
    "/var/log/pacman.log",
]

# A C compiler need not take longer literals than 4095 bytes, so the log ends there.
_LOG_LINES = 40
_LOG_BYTES = 3800

# What the target is called in the end; rules tell by it what became of the library.
FOUND = "host_library"
MISSING = "no_library"

def _missing(outcome, log, reason):
    return struct(
        outcome = outcome,
        log = log,
        headers = {},
        archives = [],
        linkopts = [],
        link = "",
        reason = reason,
    )

def _words(ctx, variable):
    return [w for w in ctx.os.environ.get(variable, "").split(" ") if w]

def _compiler(ctx):
    cc = _words(ctx, "CC")
    if cc:
        return cc
    for name in ["gcc", "cc", "clang"]:
        if ctx.which(name):
            return [name]
    return ["cc"]

def _flags(ctx):
    return _words(ctx, "CXXFLAGS") + ["-std=c++17"] if ctx.attr.cxx else _words(ctx, "CFLAGS")

def _run(ctx, log, command, quiet = False):
    """Runs the compiler; the log keeps the command and what it said, as a user would see it."""
    result = ctx.execute(command, environment = {"LC_ALL": "C"})
    log.append("$ " + " ".join(command))
    if not quiet:
        log.extend([x for x in (result.stdout + result.stderr).splitlines() if x])
    elif result.return_code:
        log.extend([x for x in result.stderr.splitlines() if x])
    return result

def _own_headers(ctx, dependencies):
    """Maps include path to file for those headers, in the output of -M, that are the library's."""
    paths = [w for w in dependencies.replace("\\\n", " ").replace("\n", " ").split(" ") if w]
    first = ctx.attr.headers[0]
    roots = [p[:-len(first)] for p in paths if p.endswith("/" + first)]
    if not roots:
        return {}
    own = {}
    for path in paths:
        if not path.startswith(roots[0]):
            continue
        below = path[len(roots[0]):]

        # /usr/include/openssl/... and /usr/include/x86_64-linux-gnu/openssl/... are one tree.
        for name in [below, below.partition("/")[2]]:
            if name in ctx.attr.headers or [o for o in ctx.attr.owned if name.startswith(o)]:
                own[name] = path
                break
    return own

def _archive_path(trace, archive):
    """The archive's path in the words of `ld --trace`: bare, in brackets, or before a member."""
    for line in trace.splitlines():
        end = line.find("/" + archive)
        if end >= 0:
            return line[:end].lstrip("( ") + "/" + archive
    return None

def _symbols(ctx, said):
    """Which of the functions the compiler or linker complained of."""
    names = [c.partition("(")[0] for c in ctx.attr.calls]
    return ", ".join([n for n in names if "`%s" % n in said or "'%s" % n in said or ": %s" % n in said] or names)

def _link(ctx, log, objects, static):
    """Links `objects` with the library; what a build must add to do the same, or None."""
    names = ["lib%s.a" % name for name in ctx.attr.links]
    options = [("-l:lib%s.a" if static else "-l%s") % name for name in ctx.attr.links] + ctx.attr.also_link
    command = _compiler(ctx) + _flags(ctx) + _words(ctx, "LDFLAGS") + objects + ["-o", "linked"]
    result = _run(ctx, log, command + (["-Wl,--trace"] if static else []) + options, quiet = static)
    if result.return_code:
        return None
    if static:
        paths = [_archive_path(result.stdout + result.stderr, name) for name in names]
        if None not in paths:
            paths = [str(ctx.path(path).realpath) for path in paths]
            return struct(archives = paths, linkopts = ctx.attr.also_link, what = "static " + " ".join(paths))

    # Bazel's own link must find and load it again, so it gets that part of LDFLAGS.
    search = [w for w in _words(ctx, "LDFLAGS") if w.startswith("-L") or w.startswith("-Wl,-rpath")]
    return struct(
        archives = [],
        linkopts = search + options,
        what = ("static " if static else "shared ") + " ".join(search + options),
    )

def _probe(ctx):
    """Finds the library, or which of compiler, header, symbol and library is missing."""
    suffix = ".cc" if ctx.attr.cxx else ".c"
    compile = _compiler(ctx) + _words(ctx, "CPPFLAGS") + _flags(ctx)
    include = "".join(["#include <%s>\n" % h for h in ctx.attr.headers])
    calls = "".join(["  (void)%s;\n" % c for c in ctx.attr.calls])
    ctx.file("empty" + suffix, "int main(void) { return 0; }\n", False)
    ctx.file("header" + suffix, include, False)
    ctx.file("calls" + suffix, include + "int main(void)\n{\n" + calls + "  return 0;\n}\n", False)

    # Objects by name, never through the driver's own temporary files: their names would differ
    # from run to run in the log, and with it the report and everything compiled from it.
    log = []
    link_alone = _compiler(ctx) + _flags(ctx) + _words(ctx, "LDFLAGS") + ["empty.o", "-o", "linked"]
    if (_run(ctx, log, compile + ["-c", "empty" + suffix, "-o", "empty.o"]).return_code or
        _run(ctx, log, link_alone).return_code):
        return _missing("no-compiler", log, "the compiler (%s) did not work" % " ".join(_compiler(ctx)))

    log = []
    dependencies = _run(ctx, log, compile + ["-M", "header" + suffix], quiet = True)
    if dependencies.return_code:
        return _missing("no-header", log, "%s was not found" % ctx.attr.headers[0])

    # An undeclared function must fail here, and no warning may, whatever CFLAGS say.
    log = []
    strict = ["-Wno-error"] + ([] if ctx.attr.cxx else ["-Werror=implicit-function-declaration"])
    compiled = _run(ctx, log, compile + strict + ["-c", "calls" + suffix, "-o", "calls.o"])
    if compiled.return_code:
        return _missing("no-symbol", log, "%s did not declare %s" % (
            ctx.attr.headers[0],
            _symbols(ctx, compiled.stderr),
        ))

    log = []
    for static in ([True, False] if ctx.attr.prefer_static else [False]):
        linked = _link(ctx, log, ["calls.o"], static)
        if linked:
            return struct(
                outcome = "found",
                log = log,
                reason = "",
                link = linked.what,
                linkopts = linked.linkopts,
                archives = linked.archives,
                headers = _own_headers(ctx, dependencies.stdout),
            )

    # The same link without the calls tells a library that is too old from one that is not there.
    if _link(ctx, [], ["empty.o"], False) or _link(ctx, [], ["empty.o"], True):
        return _missing("no-symbol", log, "%s had no %s" % (ctx.attr.target, _symbols(ctx, "\n".join(log))))
    return _missing("no-library", log, "%s was found, but no %s to link" % (ctx.attr.headers[0], ctx.attr.target))

def _remedy(ctx, outcome):
    """A command, as far as the host lets one be named."""
    if outcome == "found":
        return ""
    if outcome == "left-out":
        return "rebuild without %s=0" % ctx.attr.switch
    if outcome == "no-compiler":
        return "install a C compiler or set CC, then rebuild"
    for program, key, command in _MANAGERS:
        if ctx.which(program):
            # The newest package of the host may still be too old.
            verb = " (or a newer release from source)" if outcome == "no-symbol" else ""
            return "%s %s%s, then rebuild" % (command, ctx.attr.packages[key], verb)
    return "install the development files of %s, then rebuild" % ctx.attr.target

def _literal(text):
    return "\"" + text.replace("\\", "\\\\").replace("\"", "\\\"").replace("\t", " ") + "\""

def _lines(log):
    """The log as adjacent C literals, cut to what a C compiler must accept."""
    kept = []
    size = 0
    for line in log[:_LOG_LINES]:
        size += len(line) + 1
        if size > _LOG_BYTES:
            break
        kept.append(_literal(line)[:-1] + "\\n\"")
    return " \\\n  ".join(kept or ["\"\""])

def _write_report(ctx, result, reason, remedy):
    prefix = "RF_BUILD_" + ctx.attr.target.upper()
    ctx.file("report/ringfall_host/%s.h" % ctx.attr.target, """\
/* Generated: what the build found of {library}. */
#define {prefix}_FOUND {found}
/* found, left-out, no-compiler, no-header, no-library or no-symbol */
#define {prefix}_OUTCOME {outcome}
#define {prefix}_REASON {reason}
#define {prefix}_REMEDY {remedy}
#define {prefix}_LINK {link}
/* the last commands, and what the compiler said to them */
#define {prefix}_LOG \\
  {log}
""".format(
        library = ctx.attr.target,
        prefix = prefix,
        found = 1 if result.outcome == "found" else 0,
        outcome = _literal(result.outcome),
        reason = _literal(reason),
        remedy = _literal(remedy),
        link = _literal(result.link),
        log = _lines(result.log),
    ), False)

def _write_build(ctx, result):
    archives = []
    for path in result.archives:
        ctx.symlink(path, "lib/" + path.rpartition("/")[2])
        archives.append("lib/" + path.rpartition("/")[2])
    headers = []
    for name, path in result.headers.items():
        ctx.symlink(path, "include/" + name)
        headers.append("include/" + name)
    headers.append("report/ringfall_host/%s.h" % ctx.attr.target)
    name = FOUND if result.outcome == "found" else MISSING
    aliases = "".join(["""
alias(
    name = "%s",
    actual = ":%s",
)
""" % (alias, name) for alias in [ctx.attr.target] + ctx.attr.aliases])
    ctx.file("BUILD.bazel", """\
load("@rules_cc//cc:defs.bzl", "cc_library")

package(default_visibility = ["//visibility:public"])

cc_library(
    name = "{name}",
    srcs = {archives},
    hdrs = {headers},
    includes = [
        "include",
        "report",
    ],
    linkopts = {linkopts},
)
{aliases}""".format(
        name = name,
        archives = repr(archives),
        headers = repr(headers),
        linkopts = repr(result.linkopts),
        aliases = aliases,
    ), False)

def _directories(ctx, flag, variables):
    """The directories that these variables name, as the flag and the path in one word."""
    words = [w for v in variables for w in _words(ctx, v) if w.startswith(flag + "/")]
    return [w[len(flag):] for w in words]

def _watch(ctx):
    """Makes a later installation count at once (Bazel 7.1 on; before, `watched` does it)."""
    if not hasattr(ctx, "watch"):
        return
    for label in ctx.attr.watched:
        ctx.watch(label)
    for path in PACKAGE_DATABASES:
        ctx.watch(path)
    headers = ["/usr/include", "/usr/local/include"]
    for path in headers + _directories(ctx, "-I", ["CPPFLAGS", "CFLAGS", "CXXFLAGS"]):
        ctx.watch(path + "/" + ctx.attr.headers[0])
    for path in ["/usr/local/lib"] + _directories(ctx, "-L", ["LDFLAGS"]):
        for name in ctx.attr.links:
            ctx.watch("%s/lib%s.a" % (path, name))
            ctx.watch("%s/lib%s.so" % (path, name))

def _indented(lines):
    return "\n".join(["    " + line for line in lines])

def _system_library_impl(ctx):
    switch = ctx.os.environ.get(ctx.attr.switch, "") if ctx.attr.switch else "1"
    if switch not in ["", "0", "1"]:
        fail("%s is '%s', but must be 0 (leave it out), 1 (it must be there) or unset" % (
            ctx.attr.switch,
            switch,
        ))

    _watch(ctx)
    if switch == "0":
        result = _missing("left-out", [], "left out by %s=0" % ctx.attr.switch)
    else:
        result = _probe(ctx)
        for leftover in ["empty.o", "calls.o", "linked"]:
            ctx.delete(leftover)
    remedy = _remedy(ctx, result.outcome)
    if result.outcome not in ["found", "left-out"]:
        if switch == "1":
            fail("\n".join([
                "",
                "ringfall: %s cannot be used: %s." % (ctx.attr.target, result.reason),
                "  remedy: " + remedy,
            ] + ([
                "  or leave it out: %s=0" % ctx.attr.switch,
            ] if ctx.attr.switch else []) + [
                "  The compiler's words:",
                _indented(result.log),
                "",
            ]))

        # buildifier: disable=print
        print("ringfall is built without %s: %s. Remedy: %s." % (ctx.attr.target, result.reason, remedy))

    when = "" if result.outcome in ["found", "left-out"] else " when ringfall was built"
    _write_report(ctx, result, result.reason + when, remedy)
    _write_build(ctx, result)

system_library = repository_rule(
    doc = "Probes the host for one library; see the head of this file.",
    implementation = _system_library_impl,
    attrs = {
        "aliases": attr.string_list(doc = "further names of the library's target"),
        "also_link": attr.string_list(doc = "linker options after the library's own"),
        "calls": attr.string_list(doc = "C calls that must compile and link"),
        "cxx": attr.bool(doc = "C++ instead of C"),
        "headers": attr.string_list(doc = "what the program includes; the first tells where they are"),
        "links": attr.string_list(doc = "X of libX.a, in linking order"),
        "owned": attr.string_list(doc = "further headers that are the library's: beginnings of paths"),
        "packages": attr.string_dict(doc = "its package by package manager"),
        "prefer_static": attr.bool(default = True),
        "switch": attr.string(doc = "variable: 0 leaves it out, 1 or no switch at all demands it"),
        "target": attr.string(doc = "name of the library, and of its target"),
        "watched": attr.label_list(doc = "files whose change calls for another look"),
    },
    configure = True,
    environ = _ENVIRON,
    local = True,
)
