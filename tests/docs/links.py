# SPDX-License-Identifier: Apache-2.0
"""Every relative link in every Markdown file goes to a file, and to a place in it, that exists; and
docs/README.md has one to every page in docs.

Looks at the source tree itself, since a link may go anywhere in it.
"""

import os
import sys

import markdown


def pages_below(root):
    """Paths of all Markdown files, relative to root."""
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith((".", "bazel-"))]
        for name in files:
            if name.endswith(".md"):
                yield os.path.relpath(os.path.join(folder, name), root)


def is_external(target):
    return "://" in target or target.startswith("mailto:")


class Tree:
    """The pages below a folder, each read once."""

    def __init__(self, root):
        self.root = root
        self.prose = {}
        for page in pages_below(root):
            with open(os.path.join(root, page), encoding="utf-8") as file:
                self.prose[page] = markdown.split(page, file.read())[1]

    def targets(self, page):
        """Yields (line, target as written, path relative to root, anchor)."""
        for line, target in markdown.links(self.prose[page]):
            if is_external(target):
                continue
            path, _, anchor = target.partition("#")
            path = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
            yield line, target, path, anchor

    def broken(self, page):
        """Yields what is wrong with the links of a page."""
        for line, target, path, anchor in self.targets(page):
            if path.startswith("..") or not os.path.exists(os.path.join(self.root, path)):
                yield "%s:%d: %s: there is no such file" % (page, line, target)
            elif anchor and anchor not in markdown.anchors(self.prose.get(path, "")):
                yield "%s:%d: %s: there is no such place in it" % (page, line, target)


def main():
    tree = Tree(sys.argv[1])
    complaints, count = [], 0
    for page in sorted(tree.prose):
        count += len(list(tree.targets(page)))
        complaints += tree.broken(page)
    listed = {path for _, _, path, _ in tree.targets("docs/README.md")} | {"docs/README.md"}
    for page in sorted(tree.prose):
        if page.startswith("docs/") and page not in listed:
            complaints.append("%s: docs/README.md has no link to it" % page)
    print("%d links in %d pages" % (count, len(tree.prose)))
    if count == 0:
        complaints.append("no link was found at all")
    for complaint in complaints:
        print("FAILED: " + complaint)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
