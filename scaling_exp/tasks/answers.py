"""The canonical form of a mathematical answer: equal answers become equal text, because votes count text.

Only rewriting that never merges answers that differ: the same number written otherwise, the same LaTeX spelled
otherwise, the order in a set. What needs algebra (`x+1` and `1+x`) stays two answers here; a grader may find them
equal. Linear in the text and safe for any text. It knows no task, no grader and no algebra system.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction
from itertools import chain, zip_longest

MAX_CHARS = 2000
"""A longer text is no answer: it is kept as it is."""
MAX_DIGITS = 200
"""A longer number stays text: what it is made of must not cost more than reading it."""
MAX_EXPONENT = 60
"""Powers of ten beyond this stay text."""
MAX_DEPTH = 4
"""Sets in tuples in sets; what is deeper stays as it is written."""


def is_list(form: str) -> bool:
    """Whether a canonical form is a bare list, which is a set."""
    return len(_split(form, ",")[0]) > 1


_plain = re.compile(r"-?\d+(?:/\d+|\.\d+)?")

# Cleaning: one spelling for what looks the same on paper.

SYMBOLS = str.maketrans(
    {
        "−": "-",
        "–": "-",
        "×": r"\times ",
        "·": r"\cdot ",
        "⋅": r"\cdot ",
        "π": r"\pi ",
        "∞": r"\infty ",
        "∪": r"\cup ",
        "≤": r"\le ",
        "≥": r"\ge ",
        "≠": r"\ne ",
        "±": r"\pm ",
        "∈": r"\in ",
        "°": r"^\circ ",
        "％": "%",
    }
)
COMMANDS = {
    r"\dfrac": r"\frac",
    r"\tfrac": r"\frac",
    r"\cfrac": r"\frac",
    r"\leq": r"\le",
    r"\geq": r"\ge",
    r"\neq": r"\ne",
    r"\lbrace": r"\{",
    r"\rbrace": r"\}",
    r"\lbrack": "[",
    r"\rbrack": "]",
    r"\degree": r"^\circ",
    r"\times": r"\cdot",
    r"\ast": r"\cdot",
    r"\varnothing": r"\emptyset",
    r"\dots": r"\ldots",
}
SPACING = {
    *[
        r"\displaystyle",
        r"\textstyle",
        r"\limits",
        r"\quad",
        r"\qquad",
        r"\left",
        r"\right",
        r"\middle",
    ],
    *[r"\big", r"\Big", r"\bigl", r"\bigr", r"\Bigl", r"\Bigr", r"\bigg", r"\Bigg"],
    *(r"\ ", *[r"\;", r"\:", r"\,", r"\>", r"\!", r"\(", r"\)", r"\[", r"\]", r"\$"]),
}
TEXT = r"\\(?:text|textbf|textit|textrm|textnormal|mbox|mathrm|mathbf|mathit|operatorname)\s*\{([^{}]*)\}"
_text = re.compile(TEXT)
_whole_text = re.compile(rf"{TEXT}\s*")
_command = re.compile(r"\\[A-Za-z]+|\\.")
_blanks = re.compile(r"(\s)\s+")
_no_delimiter = re.compile(r"\\(?:left|right)\s*\.")
_thousands = re.compile(r"(?<=\d)(?:\{,\}|,?\\!\s*|\\,)(?=\d{3}(?!\d))|(?<=,)\\!\s*(?=\d{3}(?!\d))")
_connective = re.compile(r"\s*,?\s*(?:\\text\{\s*(?:and|or)\s*\}|\b(?:and|or)\b)\s*")
_brackets = re.compile(r"\\(begin|end)\s*\{[bB]matrix\}")
_capitalised = re.compile(r"[A-Z][a-z]{3,}")
_choice = re.compile(r"\(([A-Z])\)|([A-Z])[).:]")
_token = re.compile(r"\\[A-Za-z]+|\\.|[A-Za-z]+|\d+|\s+|.", re.DOTALL)
_atom = re.compile(r"\\[A-Za-z]+|\\.|.", re.DOTALL)


def canonical(text: str) -> str:
    """The form of an answer in which equal answers are equal text; the form of a form is itself."""
    if len(text) > MAX_CHARS:
        return " ".join(text.split())
    return _form(_clean(_unwrapped(text)), MAX_DEPTH)


def number(text: str) -> Fraction | None:
    """The value of a plain number in canonical form; None for everything else, a percentage among it."""
    return Fraction(text) if len(text) <= 3 * MAX_DIGITS and _plain.fullmatch(text) else None


def percentage(text: str) -> Fraction | None:
    r"""The number before the sign of a percentage in canonical form: 50 of `50\%`."""
    return number(text.removesuffix(r"\%")) if text.endswith(r"\%") else None


def _unwrapped(text: str) -> str:
    """Without what stands around an answer: blanks, dollars, a box, bold stars, a full stop."""
    text = text.strip()
    before = None
    while text != before:
        before = text
        text = text.strip(" \n\t*$")
        text = text.removeprefix(r"\(").removesuffix(r"\)").removeprefix(r"\[").removesuffix(r"\]")
        box = re.match(r"\\(?:boxed|fbox)\s*\{", text)
        if box and _is_one_bracket(_token.findall(text[box.end() - 1 :])):
            text = text[box.end() : -1]
        if text.endswith((".", ",", ";")) and not text.endswith((r"\.", r"\,", r"\;", r"\right.")):
            text = text[:-1]
    return text


def _clean(text: str) -> str:
    """One spelling of commands, thousands, text and blanks."""
    # First, and one blank for many: what follows tries every way to share them out.
    text = _blanks.sub(r"\1", text)
    text = _no_delimiter.sub("", text.translate(SYMBOLS))
    text = _thousands.sub("", text)
    text = _brackets.sub(r"\\\1{pmatrix}", text)
    whole = _whole_text.fullmatch(text)
    if whole:
        text = whole[1]
    text = _connective.sub(", ", text)
    text = _text.sub(lambda found: rf"\text{{{' '.join(found[1].split())}}}", text)
    text = _command.sub(lambda found: _respelled(found[0]), text.replace("~", " "))
    return text.replace("$", "").replace("*", r"\cdot ").strip()


def _respelled(command: str) -> str:
    if command in SPACING:
        return " " if command != r"\!" else ""
    return COMMANDS.get(command, command)


# Structure: what an answer is made of.

OPENING = {"(", "[", "{", r"\{", r"\begin"}
CLOSING = {")", "]", "}", r"\}", r"\end"}
RELATIONS = {"=", "<", ">", r"\le", r"\ge", r"\ne", r"\in", r"\approx"}


def _form(text: str, depth: int) -> str:
    """The canonical form of clean text; `depth` is how many brackets may still be opened."""
    text = _tidy(text)
    return _word(text) or _number(text) or _structure(text, depth) or _expression(text)


def _word(text: str) -> str | None:
    choice = _choice.fullmatch(text)
    if choice:
        return choice[1] or choice[2]
    return text.lower() if _capitalised.fullmatch(text) else None


def _structure(text: str, depth: int) -> str | None:
    if depth == 0:
        return None
    for read in (_matrix, _bracketed, _list, _relation, _union):
        found = read(text, depth)
        if found:
            return found
    return None


def _tidy(text: str) -> str:
    """Without the blanks that mean nothing; one stays after a comma, between numbers, between words."""
    tokens = _token.findall(text.strip())
    return "".join(
        token if not token.isspace() else " " * _is_blank_kept(tokens[at - 1], tokens[at + 1])
        for at, token in enumerate(tokens)
    )


def _is_blank_kept(before: str, after: str) -> bool:
    if before == ",":
        return True
    if before.isdigit():
        return after.isdigit()
    if before[0] == "\\":
        return before[-1].isalpha() and after.isalpha()
    return before.isalpha() and after.isalpha() and len(before) + len(after) > 2


def _split(text: str, separators: Collection[str]) -> tuple[list[str], list[str]]:
    """The parts of a text between separators outside all brackets, and the separators."""
    parts: list[list[str]] = [[]]
    found: list[str] = []
    depth = 0
    for token in _token.findall(text):
        depth += (token in OPENING) - (token in CLOSING)
        if depth == 0 and token in separators:
            parts.append([])
            found.append(token)
        else:
            parts[-1].append(token)
    return ["".join(part).strip() for part in parts], found


def _bracketed(text: str, depth: int) -> str | None:
    """A tuple, an interval or a set; a number in parentheses is the number."""
    tokens = _token.findall(text)
    if len(tokens) < 3 or tokens[0] not in ("(", "[", r"\{") or not _is_one_bracket(tokens):
        return None
    parts = _elements("".join(tokens[1:-1]))
    if tokens[0] == r"\{":
        elements = _set(parts, depth)
        is_list = depth == MAX_DEPTH and len(parts) > 1
        return elements if is_list or elements is None else rf"\{{{elements}\}}"
    if len(parts) == 1:
        return _number(parts[0]) if tokens[0] == "(" else None
    forms = ",".join(_form(part, depth - 1) for part in parts)
    return f"{tokens[0]}{forms}{tokens[-1]}" if all(parts) else None


def _is_one_bracket(tokens: Sequence[str]) -> bool:
    """Whether what the first token opens is closed by the last."""
    depth = 0
    for at, token in enumerate(tokens):
        depth += (token in OPENING) - (token in CLOSING)
        if depth == 0:
            return at == len(tokens) - 1
    return False


def _list(text: str, depth: int) -> str | None:
    """A bare list is a set."""
    parts = _elements(text, is_bare=True)
    return _set(parts, depth) if len(parts) > 1 else None


def _elements(text: str, is_bare: bool = False) -> list[str]:
    """What stands between commas. A comma without a blank parts thousands in a bare list, or beside wide commas."""
    wide = _split(text.replace(", ", "\0"), "\0")[0]
    if len(wide) == 1 and not is_bare:
        return _split(text, ",")[0]
    return [part for each in wide for part in ([each] if _number(each) else _split(each, ",")[0])]


def _set(parts: Sequence[str], depth: int) -> str | None:
    """The elements in one order; equations and what goes on with dots keep theirs."""
    if not all(parts):
        return None
    forms = [_form(part, depth - 1) for part in parts]
    if not any(r"\ldots" in form or _split(form, RELATIONS)[1] for form in forms):
        forms.sort()
    return ",".join(forms)


def _matrix(text: str, depth: int) -> str | None:
    begin, end = r"\begin{pmatrix}", r"\end{pmatrix}"
    if not (text.startswith(begin) and text.endswith(end)) or text.count(r"\begin") > 1:
        return None
    rows = text[len(begin) : -len(end)].removesuffix(r"\\").split(r"\\")
    cells = ("&".join(_form(cell, depth - 1) for cell in row.split("&")) for row in rows)
    return begin + r"\\".join(cells) + end


def _relation(text: str, depth: int) -> str | None:
    parts, found = _split(text, RELATIONS)
    if not found:
        return None
    sides = [_form(part, depth - 1) for part in parts]
    return _tidy(" ".join(chain.from_iterable(zip_longest(sides, found, fillvalue=""))))


def _union(text: str, depth: int) -> str | None:
    parts, found = _split(text, (r"\cup",))
    return r"\cup".join(sorted(_form(part, depth - 1) for part in parts)) if found else None


# Numbers.

DECIMAL = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+"
ARGUMENT = rf"(?:\{{[+-]?(?:{DECIMAL})\}}|\d)"
UNIT = (
    r"(?:square|sq\.?|cubic|cu\.?)?\s?(?:(?:centi|milli|kilo)?(?:met(?:er|re)|lit(?:er|re)|gram)s?"
    r"|inch(?:es)?|foot|feet|yards?|miles?|acres?|pounds?|ounces?|gallons?|seconds?|minutes?|hours?|days?|weeks?"
    r"|months?|years?|units?|degrees?|radians?|dollars?|cents?|mph|cm|mm|km|kg{symbols})"
    r"(?:(?:/|\sper\s)(?:second|minute|hour|sec|min|hr|h|s))?\.?"
)
# One letter may be a variable where it does not stand in \text.
SYMBOLS_IN_TEXT = r"|m|s|g|h|L|in|ft|yd|mi|oz|lbs?|hrs?|min|sec"
UNIT_IN_TEXT = rf"\\text\{{{UNIT.replace('{symbols}', SYMBOLS_IN_TEXT)}\}}"
BARE_UNIT = UNIT.replace("{symbols}", "")
_number_form = re.compile(
    r"(?P<sign>[+-]?)(?:"
    rf"(?P<decimal>{DECIMAL})(?:\\cdot\s?10\^(?:\{{(?P<exponent>[+-]?\d+)\}}|(?P<digit>\d)))?"
    rf"|(?P<over>{DECIMAL})/(?P<under>{DECIMAL})"
    rf"|(?P<whole>\d+)?\\frac\s?(?P<top>{ARGUMENT})\s?(?P<bottom>{ARGUMENT})"
    r"|(?P<units>\d+) (?P<few>\d+)/(?P<many>\d+)"
    r")(?:(?P<percent>\s?(?:\\?%|percent|\\text\{percent\}))"
    r"|\^(?:\\circ|\{\\circ\})"
    rf"|\s?(?:{UNIT_IN_TEXT}|{BARE_UNIT})(?:\^(?:[23]|\{{[23]\}}))?)?"
)


def _number(text: str) -> str | None:
    found = _number_form.fullmatch(text)
    if found is None or sum(map(str.isdigit, text)) > MAX_DIGITS:
        return None
    try:
        value = _magnitude(found)
    except ZeroDivisionError:
        return None
    if value is None:
        return None
    return str(-value if found["sign"] == "-" else value) + (r"\%" if found["percent"] else "")


def _magnitude(found: re.Match[str]) -> Fraction | None:
    """Of a number without its sign; None when its power of ten is too large."""
    if found["decimal"]:
        exponent = int(found["exponent"] or found["digit"] or 0)
        return (
            None
            if abs(exponent) > MAX_EXPONENT
            else _ratio(found["decimal"]) * Fraction(10) ** exponent
        )
    if found["over"]:
        return _ratio(found["over"]) / _ratio(found["under"])
    if found["units"]:
        return int(found["units"]) + Fraction(int(found["few"]), int(found["many"]))
    return int(found["whole"] or 0) + _ratio(found["top"]) / _ratio(found["bottom"])


def _ratio(text: str) -> Fraction:
    return Fraction(text.strip("{}").replace(",", ""))


# Everything else.


def _expression(text: str) -> str:
    """LaTeX with braces where an argument needs them and none where it does not."""
    atoms = _atom.findall(text.removeprefix("+"))
    closed_by = _closers(atoms)
    braced, dropped = _arguments(atoms, closed_by)
    pieces: list[str] = []
    for at, atom in enumerate(atoms):
        if at in dropped or (atom == " " and pieces and pieces[-1] == ","):
            continue
        if pieces and _needs_blank(pieces[-1], atom):
            pieces.append(" ")
        pieces.append(f"{{{atom}}}" if at in braced else atom)
    return "".join(pieces)


def _needs_blank(before: str, after: str) -> bool:
    return before[0] == "\\" and before[-1].isalpha() and after[0].isalpha()


def _closers(atoms: Sequence[str]) -> dict[int, int]:
    """Where each opening brace is closed."""
    closed_by: dict[int, int] = {}
    open_: list[int] = []
    for at, atom in enumerate(atoms):
        if atom == "{":
            open_.append(at)
        elif atom == "}" and open_:
            closed_by[open_.pop()] = at
    return closed_by


def _arguments(atoms: Sequence[str], closed_by: Mapping[int, int]) -> tuple[set[int], set[int]]:
    """Atoms to put in braces (arguments of fractions and roots), braces to drop (around one atom after ^ and _)."""
    braced: set[int] = set()
    dropped: set[int] = set()
    for at, atom in enumerate(atoms):
        if atom in ("^", "_") and closed_by.get(at + 1) == at + 3:
            dropped |= {at + 1, at + 3}
        argument = at + 1
        for _ in range({r"\frac": 2, r"\sqrt": 1}.get(atom, 0)):
            if argument in closed_by:
                argument = closed_by[argument] + 1
            elif argument < len(atoms) and atoms[argument].isalnum():
                braced.add(argument)
                argument += 1
    return braced, dropped
