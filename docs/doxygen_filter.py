# SPDX-License-Identifier: Apache-2.0
"""Turns the plain comments of a header into Doxygen's, line by line, for INPUT_FILTER.

The first comment of a file is the file's.  Other comments that begin a line belong to what follows,
and comments behind code to that code, as readers take them.  Rulers (/* ---- */) stay plain.  What is
indented by five, after an empty line, is shown as it is; what is indented by three and begins with a
status is a list.
"""

import re
import sys

PLAIN = re.compile(r"^\s*/\* (-{4}|SPDX)")
SPECIAL = re.compile(r"([\\@&$#<>%\"]|::|--)")
VERBATIM = re.compile(r"^\s*\* {5}")
STATUS = re.compile(r"^(\s*\* {3})(-E|0 |other -errno)")


def opening(line, at, first):
    """What a comment that begins there becomes."""
    if PLAIN.match(line):
        return "/*"
    if line[:at].strip():
        return "/**<"
    return "/** @file" if first else "/**"


def escape(text):
    """Nothing in a plain comment is a command, a tag or a reference."""
    text = SPECIAL.sub(lambda match: "".join("\\" + c for c in match.group(1)), text)
    return STATUS.sub(r"\1@li \2", text)


class Filter:
    """Where in a file the last line ended."""

    def __init__(self):
        self.first = True
        self.inside = False  # a comment
        self.verbatim = False

    def comment(self, text, following):
        """A line of a comment, or what of it is in this one."""
        text = text if self.verbatim else escape(text)
        wanted = VERBATIM.match(following) is not None
        blank = following.strip() == "*"
        if self.verbatim and not wanted and not blank:
            self.verbatim = False
            text = text.rstrip("\n") + " @endverbatim\n"
        elif not self.verbatim and wanted and text.strip() == "*":
            self.verbatim = True
            text = text.rstrip("\n") + " @verbatim\n"
        return text

    def line(self, line, following):
        done = ""
        while True:
            end = line.find("*/") if self.inside else -1
            if self.inside and end < 0:
                return done + self.comment(line, following)
            if self.inside:
                done += escape(line[:end]) + "*/"
                line = line[end + 2:]
                self.inside = False
            at = -1 if line.startswith("//") else line.find("/*")
            if at < 0:
                return done + line
            done += line[:at] + opening(line, at, self.first)
            line = line[at + 2:]
            self.first = False
            self.inside = True


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        lines = file.readlines()
    into = Filter()
    for number, line in enumerate(lines):
        sys.stdout.write(into.line(line, lines[number + 1] if number + 1 < len(lines) else ""))


if __name__ == "__main__":
    main()
