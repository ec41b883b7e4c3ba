# SPDX-License-Identifier: Apache-2.0
"""What the tests of the pages need to know of Markdown: blocks of code, headings and links."""

import re

FENCE = re.compile(r"^( *)(`{3,}|~{3,})\s*([^`]*)$")
CODE_SPAN = re.compile(r"(`+).*?\1")
COMMENT = re.compile(r"<!--(.*?)-->", re.DOTALL)
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)")
ATTRIBUTE = re.compile(r"\b(?:href|src)=\"([^\"]+)\"")
ANCHOR = re.compile(r"\b(?:id|name)=\"([^\"]+)\"")


class Block:
    """A fenced block, with the HTML comments that stand right above it."""

    def __init__(self, page, line, language, comments):
        self.page = page
        self.line = line  # of its first line of text, counted from 1
        self.language = language
        self.comments = comments
        self.text = ""

    def __str__(self):
        return "%s:%d" % (self.page, self.line)


def split(page, text):
    """Returns the blocks of a page, and its text with the blocks' lines emptied."""
    blocks, prose = [], []
    block, fence, comments, comment = None, "", [], None
    for number, line in enumerate(text.splitlines(), 1):
        mark = FENCE.match(line)
        if block is not None:
            prose.append("")
            if mark and mark.group(2).startswith(fence) and not mark.group(3):
                blocks.append(block)
                block, comments = None, []
            else:
                block.text += re.sub("^ {0,%d}" % indent, "", line) + "\n"
        elif comment is None and mark:
            prose.append("")
            indent, fence = len(mark.group(1)), mark.group(2)
            block = Block(page, number + 1, mark.group(3).strip(), comments)
        else:
            prose.append(line)
            if comment is not None or line.lstrip().startswith("<!--"):
                comment = line if comment is None else comment + "\n" + line
                if "-->" in line:
                    comments = comments + [part.strip() for part in COMMENT.findall(comment)]
                    comment = None
            elif line.strip():
                comments = []
    if block is not None:
        raise ValueError("%s: the block is not closed" % block)
    return blocks, "\n".join(prose)


def links(prose):
    """Yields (line, target) for every link and picture."""
    for number, line in enumerate(prose.splitlines(), 1):
        line = CODE_SPAN.sub("", line)
        for pattern in (LINK, ATTRIBUTE):
            for match in pattern.finditer(line):
                yield number, match.group(1)


def anchors(prose):
    """The places in a page that a link can name, as GitHub makes them from the headings."""
    found, seen = set(), {}
    for line in prose.splitlines():
        found.update(ANCHOR.findall(line))
        if not re.match(r"^#{1,6} ", line):
            continue
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", line.lstrip("#").strip())
        slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        count = seen.get(slug, 0)
        seen[slug] = count + 1
        found.add(slug if count == 0 else "%s-%d" % (slug, count))
    return found
