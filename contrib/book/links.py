"""A preprocessor of mdBook: leads links that leave docs/ to the repository, and the README's links to docs/ to the book."""

import json
import os
import posixpath
import re
import sys

REPOSITORY = "https://github.com/fumidai/fumidai/blob/main"
INTRODUCTION = "introduction.md"
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)]*)?\)")


def lead(chapter, link):
    """Returns the link as the book has to have it; the introduction is the README, which is at the top."""
    if ":" in link:
        return link
    folder = "" if chapter == INTRODUCTION else posixpath.join("docs", posixpath.dirname(chapter))
    target = posixpath.normpath(posixpath.join(folder, link))
    if target == "README.md":
        target = posixpath.join("docs", INTRODUCTION)
    if not target.startswith("docs/"):
        return f"{REPOSITORY}/{target}"
    return posixpath.relpath(target, posixpath.join("docs", posixpath.dirname(chapter)))


def rewrite(items):
    for item in items:
        chapter = item.get("Chapter") if isinstance(item, dict) else None
        if chapter and chapter["path"]:
            path = chapter["path"].replace(os.sep, "/")
            replace = lambda found: f"]({lead(path, found[1])}{found[2] or ''})"
            chapter["content"] = LINK.sub(replace, chapter["content"])
        if chapter:
            rewrite(chapter["sub_items"])


if sys.argv[1:2] == ["supports"]:
    sys.exit(0)
_, book = json.load(sys.stdin)
rewrite(book.get("items") or book.get("sections"))
json.dump(book, sys.stdout)
