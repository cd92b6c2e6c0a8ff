"""The hook that gives Sphinx the comments beside parameters: `name: type, # what it is` becomes a `:param name:` field.
"""

import re

from fastcore.docments import docments

# What reStructuredText would read as markup, outside of `names`.
MARKUP = re.compile(r"`[^`]+`|[*|_\\]")


def escape(text):
    "`text` with reStructuredText's special characters taken literally, names in backticks aside."
    return MARKUP.sub(lambda match: match[0] if match[0].startswith("`") else "\\" + match[0], text)


def fields(definition):
    "A field for each parameter of a function or dataclass that has a comment, and one for what it returns."
    try:
        comments = docments(definition, returns=True)
    except Exception:  # no source, or a definition that docments cannot read
        return []
    comments = {name: comment for name, comment in comments.items() if comment and name != "self"}
    returned = comments.pop("return", None)
    lines = [f":param {name}: {escape(' '.join(comment.split()))}" for name, comment in comments.items()]
    return lines + ([f":returns: {escape(' '.join(returned.split()))}"] if returned else [])


def add_fields(app, what, name, definition, options, lines):
    lines[:] = [escape(line) for line in lines]
    if what in ("function", "class", "method"):
        lines += ["", *fields(definition)]


def setup(app):
    app.connect("autodoc-process-docstring", add_fields)
    return {"parallel_read_safe": True}
