"""The project's source files, taken apart far enough for the checks: code, comments, functions."""

import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# One alternative per kind of token; what matches none of them is code, one character at a time.
_TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?\*/)
      | (?P<raw>R"(?P<delimiter>[^()\s]*)\(.*?\)(?P=delimiter)")
      | (?P<text>"(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])*')""",
    re.VERBOSE | re.DOTALL,
)

_NOT_A_FUNCTION = re.compile(r"\b(namespace|struct|union|enum|class|extern)\b[^()]*$|=\s*$|^\s*$")
_LAMBDA = re.compile(r"\[[^\[\]]*\]\s*(\([^{}]*\))?[^(){}]*$")


def paths(*suffixes):
    """All files of the tree that end in one of `suffixes`, relative to the root, sorted."""
    found = []
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if not name.startswith(("bazel-", ".", "__pycache__"))]
        found += [os.path.relpath(os.path.join(folder, name), ROOT) for name in files if name.endswith(suffixes)]
    return sorted(found)


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def _blank(text):
    """Spaces in place of everything but the line ends."""
    return re.sub(r"[^\n]", " ", text)


class Function:
    """A function with a body: its name's line and the line of its closing brace."""

    def __init__(self, name, first_line, last_line):
        self.name = name
        self.first_line = first_line
        self.last_line = last_line

    @property
    def lines(self):
        return self.last_line - self.first_line + 1


class Source:
    """One C or C++ file."""

    def __init__(self, path):
        self.path = path
        self.text = read(path)
        self.comments = []  # (line, text)
        pieces = []
        end = 0
        for token in _TOKEN.finditer(self.text):
            pieces.append(self.text[end:token.start()])
            if token.group("comment"):
                self.comments.append((self.line_at(token.start()), token.group()))
                pieces.append(_blank(token.group()))
            else:
                pieces.append('"' + _blank(token.group())[2:] + '"')
            end = token.end()
        pieces.append(self.text[end:])
        self.code = "".join(pieces)  # without comments and contents of literals; the same length as the text
        self.functions, self.conditionals_in_functions = self._walk()

    def line_at(self, offset):
        return self.text.count("\n", 0, offset) + 1

    def _walk(self):
        """Follows the braces: the functions, and the lines of the `#if`s inside their bodies."""
        functions = []
        conditionals = []
        braces = []  # for each open brace: the Function it opened, or None
        statement = 0  # where the text since the last brace or semicolon begins
        code = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda line: _keep_conditional(line.group()), self.code,
                      flags=re.MULTILINE)
        for token in re.finditer(r"[{};]|#if", code):
            character = token.group()
            inside = next((entry for entry in braces if entry), None)
            if character == "#if":
                if inside:
                    conditionals.append(self.line_at(token.start()))
                else:
                    statement = token.end()
                continue
            if character == "{":
                before = code[statement:token.start()]
                opened = None if inside else self._function_opened_by(before, statement)
                braces.append(opened)
            elif character == "}" and braces:
                closed = braces.pop()
                if closed:
                    closed.last_line = self.line_at(token.start())
                    functions.append(closed)
            statement = token.end()
        return functions, conditionals

    def _function_opened_by(self, before, offset):
        if "(" not in before or (_NOT_A_FUNCTION.search(before) and not before.rstrip().endswith(")")):
            return None
        if _LAMBDA.search(before) and "=" in before:
            return None
        name = re.search(r"([A-Za-z_~][\w:~]*)\s*\(", before)
        leading = len(before) - len(before.lstrip())
        first = self.line_at(offset + leading)
        return Function(name.group(1) if name else "?", first, first)


def _keep_conditional(directive):
    """A preprocessor line blanked, but for an `#if` at its beginning."""
    blanked = _blank(directive)
    match = re.match(r"[ \t]*#[ \t]*if", directive)
    if not match:
        return blanked
    return "#if" + blanked[3:]
