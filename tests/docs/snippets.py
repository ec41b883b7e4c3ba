# SPDX-License-Identifier: Apache-2.0
"""Every fenced block of code in the pages is what it claims to be.

The language of a block says what is done with it:

    c         a program (it has a main) is compiled and run; anything else is compiled as the body
              of a function, or as it is where it defines functions
    sh        run by `sh -eu`, with `ringfall` on PATH
    json      parsed
    starlark  parsed
    text      for people, unless a comment says `output`

The blocks of one page share a folder, which is empty at first, and run in their order.  HTML
comments right above a block tell what it needs:

    <!-- with: DECLARATIONS -->   stand before a piece of C: what the reader has at that point
    <!-- not run: REASON -->      it cannot be tried here; counted, see NOT_RUN
    <!-- file: NAME -->           it is put into the page's folder under this name
    <!-- output -->               the block before it prints this: lines in this order, among others
                                  where there is a line `...`, which within a line stands for
                                  anything; numbers and blanks may differ

A block of another language, or with another comment, is an error.
"""

import ast
import json
import os
import re
import subprocess
import sys
import tempfile

import markdown

# How many blocks of each page may be left out: those that need what no test has (a container
# engine, a cluster, another Bazel).
NOT_RUN = {
    "docs/getting-started.md": 1,
    "docs/tasks/container.md": 5,
}

# Pages whose blocks another test takes and runs, in an order and with files of its own.
RUN_BY = {
    "docs/installing.md": "tests/dist/dist_test.sh",
    "docs/tracing.md": "tests/tracing/tracers_test.sh",
}

TIME_MOST = 120  # seconds, for one block
INCLUDES = ["engine/include", "probe/include", "engine/fault_injection/include"]
HOST = "tests/docs/host"  # has the library, and runs programs: see host.c
WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-variable", "-Wno-unused-parameter",
            "-Wno-unused-but-set-variable", "-Wno-unused-function", "-Wno-unused-value"]
DIRECTIVE = re.compile(r"^(with|not run|file|output)(?::\s*(.*))?$", re.DOTALL)
FUNCTION = re.compile(r"^(?!if|for|while|switch|do|else)[a-z][^;=]*\)\s*\{", re.MULTILINE)
NUMBER = re.compile(r"\d+(?:\.\d+)*")


class Wrong(Exception):
    """What a block does not do."""


def run(command, folder, environment):
    """What it prints; Wrong unless it ends with 0."""
    try:
        done = subprocess.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=TIME_MOST, check=False)
    except subprocess.TimeoutExpired:
        raise Wrong("not done after %d seconds" % TIME_MOST) from None
    text = done.stdout.decode("utf-8", "replace")
    if done.returncode != 0:
        raise Wrong("ends with %d:\n%s" % (done.returncode, text))
    return text


class Tools:
    """The compiler, the library and the program, with paths that hold in any folder."""

    def __init__(self, root):
        self.host = os.path.join(root, HOST)
        self.flags = ["-std=gnu17", "-O1", "-pthread"] + WARNINGS
        self.flags += ["-I" + os.path.join(root, folder) for folder in INCLUDES]
        self.compiler = os.environ.get("CC", "gcc")
        self.environment = {name: value for name, value in os.environ.items()
                            if not name.startswith("RINGFALL_")}
        self.environment["PATH"] = os.path.join(root, "tools") + ":" + os.environ["PATH"]

    def compile(self, source, how, folder):
        run([self.compiler, source, "-o", source + ".o"] + how + self.flags, folder,
            self.environment)

    def run(self, command, folder):
        environment = dict(self.environment, TMPDIR=folder, HOME=folder)
        return run(command, folder, environment)


def is_program(block):
    return re.search(r"\bmain\(", block.text) is not None


def defines_functions(block):
    return FUNCTION.search(block.text) is not None


def source_of(block, declarations):
    """A translation unit whose errors name the line of the page."""
    place = '#line %d "%s"\n' % (block.line, block.page)
    if is_program(block):
        return place + block.text
    lines = declarations.splitlines()
    lines = [line for line in lines if line.startswith("#")] + ["#include <ringfall/ringfall.h>"] + \
        [line for line in lines if not line.startswith("#")]
    head = '#line 1 "%s: with"\n%s\n' % (block, "\n".join(lines))
    if defines_functions(block):
        return head + place + block.text
    return head + "static int piece(void) {\n" + place + block.text + "return 0;\n}\n" \
        "int (*const the_piece)(void);\nint (*const the_piece)(void) = piece;\n"


def try_c(tools, block, notes, folder):
    source = os.path.join(folder, "block%d.c" % block.line)
    program = is_program(block)
    with open(source, "w", encoding="utf-8") as file:
        file.write(source_of(block, notes.get("with", "")))
    tools.compile(source, ["-shared", "-fPIC", "-Dmain=program_main"] if program else ["-c"], folder)
    output = tools.run([tools.host, source + ".o"], folder) if program else None
    os.unlink(source)
    os.unlink(source + ".o")
    return output


def try_sh(tools, block, _notes, folder):
    return tools.run(["sh", "-euc", block.text], folder)


def try_json(_tools, block, _notes, _folder):
    json.loads(block.text)


def try_starlark(_tools, block, _notes, _folder):
    ast.parse(block.text)


TRIALS = {"c": try_c, "sh": try_sh, "json": try_json, "starlark": try_starlark}
FOR_PEOPLE = ["text"]


def pattern_of(line):
    """What a line of a page may look like in fact."""
    parts = re.split(r"(\s+|\.{3}|\d+(?:\.\d+)*)", line.strip())
    return "".join(r"\s+" if part.isspace() else ".*" if part == "..."
                   else r"\d+(\.\d+)*" if NUMBER.fullmatch(part) else re.escape(part)
                   for part in parts)


def compare(expected, output):
    lines, at, gap = output.splitlines(), 0, False
    for line in expected.splitlines():
        if line.strip() == "...":
            gap = True
            continue
        pattern = re.compile(r"\s*" + pattern_of(line) + r"\s*")
        while gap and at < len(lines) and not pattern.fullmatch(lines[at]):
            at += 1
        if at == len(lines) or not pattern.fullmatch(lines[at]):
            raise Wrong("'%s' is not in the output, or not there:\n%s" % (line, output))
        at, gap = at + 1, False
    if at < len(lines) and not gap:
        raise Wrong("the output goes on with '%s'" % lines[at])


def notes_of(block):
    notes = {}
    for comment in block.comments:
        match = DIRECTIVE.match(comment)
        if match is None:
            raise Wrong("a comment that says nothing: '%s'" % comment)
        notes[match.group(1)] = match.group(2) or ""
    return notes


class Page:
    """The blocks of one page, one after the other, in a folder of their own."""

    def __init__(self, tools, path):
        self.tools = tools
        self.left_out = []
        self.complaints = []
        self.output = None
        with open(path, encoding="utf-8") as file:
            self.blocks = markdown.split(path, file.read())[0]

    def attempt(self, block, folder):
        notes = notes_of(block)
        if block.language not in TRIALS and block.language not in FOR_PEOPLE \
                and "not run" not in notes:
            raise Wrong("what is to be done with a block of '%s'?" % block.language)
        if "file" in notes:
            with open(os.path.join(folder, notes["file"]), "w", encoding="utf-8") as file:
                file.write(block.text)
        if "not run" in notes:
            if not notes["not run"]:
                raise Wrong("not run, without a reason")
            self.left_out.append("%s: %s" % (block, notes["not run"]))
        elif "output" in notes:
            if self.output is None:
                raise Wrong("the output of which block?")
            compare(block.text, self.output)
        elif block.language in TRIALS:
            self.output = TRIALS[block.language](self.tools, block, notes, folder)

    def try_all(self):
        with tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR")) as folder:
            for block in self.blocks:
                try:
                    self.attempt(block, folder)
                except (Wrong, ValueError, SyntaxError) as wrong:
                    self.output = None
                    self.complaints.append("%s: %s" % (block, wrong))


def main():
    tools, complaints, count = Tools(os.getcwd()), [], 0
    for path in sys.argv[1:]:
        if path in RUN_BY:
            with open(RUN_BY[path], encoding="utf-8") as file:
                if path not in file.read():
                    complaints.append("%s: %s does not run it" % (path, RUN_BY[path]))
            continue
        page = Page(tools, path)
        page.try_all()
        count += len(page.blocks)
        complaints += page.complaints
        for line in page.left_out:
            print("not run: " + line)
        if len(page.left_out) != NOT_RUN.get(path, 0):
            complaints.append("%s: %d blocks are not run; NOT_RUN in snippets.py has %d" %
                              (path, len(page.left_out), NOT_RUN.get(path, 0)))
    print("%d blocks" % count)
    if count == 0:
        complaints.append("no block was found at all")
    for complaint in complaints:
        print("FAILED: " + complaint)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
