"""
Reading the text of a shell command, so that a sandbox can judge its words.

The text is read as bash reads it, but only as far as its meaning can be known without running anything: words,
quotes, braces, redirections, leading assignments and, when asked for, pipelines.  Whatever depends on the state of
a shell, or is read differently by different shells, is refused.

Three passes follow each other.  Characters become pieces, which know whether they were quoted; pieces become tokens;
tokens become commands, whose words have their braces written out.
"""

from __future__ import annotations

import re
from itertools import pairwise, takewhile
from typing import NamedTuple, TypeAlias

_LONGEST_TEXT = 100_000
_MOST_BRACE_WORDS = 256
_DEEPEST_BRACES = 20
# Characters written while braces are expanded, copies included: a long word times 256 would be a lot of memory.
_MOST_BRACE_CHARACTERS = 100_000

# Tab and line feed have rules of their own.  A lone surrogate reaches the shell as a byte nobody has looked at.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_SUBSCRIPT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\[")
# Ten digits may not fit into a descriptor; bash then takes them for a word.
_DESCRIPTOR = re.compile("[0-9]{1,9}")
_INTEGERS = re.compile(r"([+-]?[0-9]+)\.\.([+-]?[0-9]+)(?:\.\.([+-]?[0-9]+))?")
_LETTERS = re.compile(r"([A-Za-z])\.\.([A-Za-z])(?:\.\.([+-]?[0-9]+))?")
_LONGEST_NUMBER = 15

_EXPANDING = frozenset("_({@*#?$!-[")
_REFUSED_CHARACTERS = {
    "\n": "a line break",
    ";": "a command separator",
    "&": "a background command or a list",
    "(": "a parenthesis",
    ")": "a parenthesis",
}
_REFUSED_PAIRS = {
    "<<": "a here-document",
    "<(": "a process substitution",
    ">(": "a process substitution",
    "||": "a list of commands",
    "|&": "a pipe of both outputs",
}
_PAIRS = frozenset({">>", ">|", "<>", ">&", "<&"})


class Unreadable(ValueError):  # noqa: N818  an answer, not a malfunction
    """
    The text holds something whose meaning is not certain; ``str()`` names it, without showing the text.
    """


class Word(NamedTuple):
    """
    One word, as the command would receive it if file name patterns and tildes stayed as they are.

    Attributes:
        text: The word without its quotes.
        glob: Where the first unquoted ``*``, ``?`` or ``[`` stands in the text; -1 when there is none.
        tilde: Whether the text begins with an unquoted ``~``, which the shell replaces with a folder.
        quoted: Whether any part was quoted.
    """

    text: str
    glob: int = -1
    tilde: bool = False
    quoted: bool = False


class SimpleCommand(NamedTuple):
    """
    One command without operators.

    Attributes:
        assignments: Names and values written as ``NAME=value`` or ``NAME+=value`` before the command.
        words: Name of the command and its arguments; empty when there are assignments only.
        targets: Files named by redirections.
    """

    assignments: tuple[tuple[str, Word], ...]
    words: tuple[Word, ...]
    targets: tuple[Word, ...]


# A character and how it was written: bare, taken literally, inside double quotes, or itself a quotation mark.
# Marks are kept, because they make an empty word a word, and because quotes without content count too.
_Piece: TypeAlias = tuple[str, int]
_BARE, _LITERAL, _DOUBLE, _MARK = range(4)
_KIND_INSIDE = {"": _BARE, "'": _LITERAL, '"': _DOUBLE}

_OPEN, _CLOSE, _COMMA, _DOT = ("{", _BARE), ("}", _BARE), (",", _BARE), (".", _BARE)
_DOLLAR, _EQUALS, _COLON, _SLASH, _TILDE = ("$", _BARE), ("=", _BARE), (":", _BARE), ("/", _BARE), ("~", _BARE)
_BLANKS = ((" ", _BARE), ("\t", _BARE))


class _Token(NamedTuple):
    operator: str  # Empty for a word.
    word: list[_Piece]
    joined: bool  # No blank stands before it.


def parse(text: str, *, pipelines: bool = False) -> tuple[SimpleCommand, ...]:
    """
    Read the text of a shell command.

    ``#`` and reserved words are ordinary: words after a ``#`` are judged although a shell would skip them.

    Args:
        text: What would be handed to ``bash -c``.
        pipelines: Whether commands may be joined by ``|``.

    Returns:
        The commands in the order in which they are written; nothing for a text of blanks.

    Raises:
        Unreadable: Something in the text has no certain meaning.
    """
    if len(text) > _LONGEST_TEXT:
        raise Unreadable(f"a text of more than {_LONGEST_TEXT} characters")
    pieces = _pieces(text)
    _refuse_expansions(pieces)
    stages: list[list[_Token]] = [[]]
    for token in _tokens(pieces):
        if token.operator != "|":
            stages[-1].append(token)
        elif pipelines:
            stages.append([])
        else:
            raise Unreadable("a pipeline")
    if stages == [[]]:
        return ()
    if not all(stages):
        raise Unreadable("an empty stage of a pipeline")
    braces = _Braces()
    return tuple(_command(stage, braces) for stage in stages)


def _pieces(text: str) -> list[_Piece]:
    if _CONTROL.search(text):
        raise Unreadable("a control character")
    hash_sign = text.find("#")
    if hash_sign >= 0 and text.find("\n", hash_sign) >= 0:
        # A comment ends with its line, even when a backslash or what looks like a quote seems to hide the line break.
        raise Unreadable("a line break after a number sign")
    pieces: list[_Piece] = []
    quote = ""
    characters = iter(text)
    for char in characters:
        if char == "\\" and quote != "'":
            pieces += _escaped(next(characters, ""), quote)
        elif char == "`" and quote != "'":
            raise Unreadable("a command substitution")
        elif char == quote or (char in "'\"" and not quote):
            quote = "" if quote else char
            pieces.append((char, _MARK))
        else:
            pieces.append((char, _KIND_INSIDE[quote]))
    if quote:
        raise Unreadable("unbalanced quotes")
    return pieces


def _escaped(char: str, quote: str) -> list[_Piece]:
    if not char:
        raise Unreadable("a backslash at the end")
    if char == "\n":
        return []
    if quote and char not in '$`"\\':
        return [("\\", _LITERAL), (char, _DOUBLE)]
    return [(char, _LITERAL)]


def _refuse_expansions(pieces: list[_Piece]) -> None:
    # On pieces rather than characters: a line break after a backslash may stand between the dollar and the name.
    for (char, kind), (following, its_kind) in pairwise(pieces):
        if char != "$" or kind in (_LITERAL, _MARK):
            continue
        if its_kind == kind and (following in _EXPANDING or following.isalnum()):
            raise Unreadable("a command substitution" if following == "(" else "an expansion")
        if its_kind == _MARK and kind == _BARE:
            raise Unreadable("a quote after a dollar sign")


def _tokens(pieces: list[_Piece]) -> list[_Token]:
    tokens: list[_Token] = []
    word: list[_Piece] = []
    joined = False
    skip = False
    for index, piece in enumerate(pieces):
        if skip:
            skip = False
            continue
        char, kind = piece
        if kind != _BARE or char not in " \t\n;&()<>|":
            word.append(piece)
            continue
        if word:
            tokens.append(_Token("", word, joined))
            word, joined = [], True
        if piece in _BLANKS:
            joined = False
            continue
        operator = _operator(pieces, index)
        skip = len(operator) == 2
        tokens.append(_Token(operator, [], joined))
        joined = True
    if word:
        tokens.append(_Token("", word, joined))
    return tokens


def _operator(pieces: list[_Piece], index: int) -> str:
    char = pieces[index][0]
    if char in _REFUSED_CHARACTERS:
        raise Unreadable(_REFUSED_CHARACTERS[char])
    pair = char + "".join(following for following, kind in pieces[index + 1 : index + 2] if kind == _BARE)
    if pair in _REFUSED_PAIRS:
        raise Unreadable(_REFUSED_PAIRS[pair])
    return pair if pair in _PAIRS else char


def _command(tokens: list[_Token], braces: _Braces) -> SimpleCommand:
    assignments: list[tuple[str, Word]] = []
    words: list[Word] = []
    targets: list[Word] = []
    named = False  # Whether the name of the command was read; braces can expand to no word at all.
    index = 0
    while index < len(tokens):
        token = tokens[index]
        if token.operator or _names_descriptor(tokens, index):
            if not named and not assignments:
                raise Unreadable("a redirection before the command")
            index += 1 if token.operator else 2
            targets += _target(tokens, index, braces)
        elif not named and (assignment := _assignment(token.word)):
            name, value = assignment
            braces.refuse(token.word, "braces in an assignment")
            assignments.append((name, _word(value, assigned=True)))
        else:
            if not named and _SUBSCRIPT.match(_bare_start(token.word)):
                raise Unreadable("an array element before the command")
            if _assignment(token.word):
                # In POSIX mode bash leaves them alone in arguments of export and its like.
                braces.refuse(token.word, "braces in an assignment")
            named = True
            words += [_word(word) for word in braces.expand(token.word) if word]
        index += 1
    if named and not words:
        raise Unreadable("braces that leave no command")
    return SimpleCommand(tuple(assignments), tuple(words), tuple(targets))


def _names_descriptor(tokens: list[_Token], index: int) -> bool:
    """
    Say whether a word stands directly before a redirection and names the descriptor to redirect.
    """
    if index + 1 >= len(tokens):
        return False
    token, following = tokens[index], tokens[index + 1]
    if not following.operator or not following.joined:
        return False
    text = _bare_start(token.word)
    if len(text) < len(token.word):
        return False
    if text.startswith("{") and text.endswith("}"):
        if _SUBSCRIPT.match(text, 1):
            raise Unreadable("an array element as a descriptor")
        return _NAME.fullmatch(text, 1, len(text) - 1) is not None
    return _DESCRIPTOR.fullmatch(text) is not None


def _target(tokens: list[_Token], index: int, braces: _Braces) -> list[Word]:
    """
    Read the word after the redirection that ends before ``index``.
    """
    if index >= len(tokens) or tokens[index].operator:
        raise Unreadable("a redirection without a file")
    operator, token = tokens[index - 1].operator, tokens[index]
    if operator not in (">&", "<&"):
        if _names_descriptor(tokens, index):
            raise Unreadable("a redirection without a file")
        braces.refuse(token.word, "braces in a redirection")
        return [_word(token.word)]
    text = _bare_start(token.word)
    if not token.joined or len(text) < len(token.word) or not (text == "-" or _DESCRIPTOR.fullmatch(text)):
        raise Unreadable("a redirection of both outputs")
    return []


def _bare_start(word: list[_Piece]) -> str:
    return "".join(char for char, _ in takewhile(lambda piece: piece[1] == _BARE, word))


def _assignment(word: list[_Piece]) -> tuple[str, list[_Piece]] | None:
    head, equals, _ = _bare_start(word).partition("=")
    name = head.removesuffix("+")
    return (name, word[len(head) + 1 :]) if equals and _NAME.fullmatch(name) else None


def _word(pieces: list[_Piece], *, assigned: bool = False) -> Word:
    _refuse_tildes(pieces, assigned)
    shown = [piece for piece in pieces if piece[1] != _MARK]
    return Word(
        text="".join(char for char, _ in shown),
        glob=next((at for at, (char, kind) in enumerate(shown) if kind == _BARE and char in "*?["), -1),
        tilde=pieces[:1] == [_TILDE],
        quoted=any(kind != _BARE for _, kind in pieces),
    )


def _refuse_tildes(pieces: list[_Piece], assigned: bool) -> None:
    if pieces[:1] == [_TILDE] and any(kind != _BARE for _, kind in takewhile(lambda piece: piece != _SLASH, pieces)):
        raise Unreadable("a partly quoted tilde")
    # In dd of=~/x and in PATH=/bin:~/x bash replaces the tilde as well.
    for before, piece in pairwise(pieces):
        assigned = assigned or before == _EQUALS
        if piece == _TILDE and (before == _EQUALS or (assigned and before == _COLON)):
            raise Unreadable("a tilde inside a word")


class _Group:
    """
    An open brace and what was read since; the outermost group stands for the whole word.
    """

    def __init__(self, start: int) -> None:
        self.start = start
        self.finished: list[list[_Piece]] = []  # The alternatives before the last comma.
        self.current: list[list[_Piece]] = [[]]  # The alternative being read, in each of its forms.
        self.ranged = False


class _Braces:
    """
    Expands braces within limits that hold for a whole text.

    A word with a comma or two dots must have balanced braces.  What bash makes of others, for instance
    ``{a},b}``, depends on details of its search that no author means to use.
    """

    def __init__(self) -> None:
        self._words = 0
        self._characters = 0

    def refuse(self, word: list[_Piece], reason: str) -> None:
        if self.expand(word) != [word]:
            raise Unreadable(reason)

    def expand(self, word: list[_Piece]) -> list[list[_Piece]]:
        if _OPEN not in word or not (_COMMA in word or (_DOT, _DOT) in pairwise(word)):
            return [word]
        groups = [_Group(0)]
        for index, piece in enumerate(word):
            group = groups[-1]
            if piece == _OPEN:
                if len(groups) > _DEEPEST_BRACES:
                    raise Unreadable(f"braces nested deeper than {_DEEPEST_BRACES}")
                groups.append(_Group(index))
            elif piece == _CLOSE:
                groups.pop()
                if not groups:
                    raise Unreadable("unbalanced braces")
                self._append(groups[-1], self._forms(group, word[group.start : index + 1]))
            elif piece == _COMMA and len(groups) > 1:
                group.finished += group.current
                group.current = [[]]
                _limit_words(len(group.finished))
            else:
                group.ranged = group.ranged or _two_dots(word, index)
                self._append(group, [[piece]])
        if len(groups) > 1:
            raise Unreadable("unbalanced braces")
        return self._result(word, groups[0].current)

    def _result(self, word: list[_Piece], forms: list[list[_Piece]]) -> list[list[_Piece]]:
        if forms == [word]:
            return forms
        if _DOLLAR in word:
            # In {$,a}HOME the dollar meets the name only now.
            raise Unreadable("a dollar sign beside braces")
        self._words += len(forms)
        _limit_words(self._words)
        return forms

    def _forms(self, group: _Group, written: list[_Piece]) -> list[list[_Piece]]:
        if group.finished:
            return group.finished + group.current
        if group.ranged:
            return _range(written)
        return [[_OPEN, *form, _CLOSE] for form in group.current]

    def _append(self, group: _Group, forms: list[list[_Piece]]) -> None:
        heads = group.current
        _limit_words(len(heads) * len(forms))
        self._characters += len(heads) * sum(map(len, forms))
        if len(forms) > 1:
            self._characters += len(forms) * sum(map(len, heads))
        if self._characters > _MOST_BRACE_CHARACTERS:
            raise Unreadable(f"braces that make more than {_MOST_BRACE_CHARACTERS} characters")
        if len(forms) > 1:
            group.current = [head + form for head in heads for form in forms]
        else:
            # In place, so that a long word of many small parts takes linear time.
            for head in heads:
                head += forms[0]


def _limit_words(number: int) -> None:
    if number > _MOST_BRACE_WORDS:
        raise Unreadable(f"braces that make more than {_MOST_BRACE_WORDS} words")


def _two_dots(word: list[_Piece], index: int) -> bool:
    # Bash does not count dots that stand directly before the closing brace.
    return word[index : index + 2] == [_DOT, _DOT] and word[index + 2 : index + 3] != [_CLOSE]


def _range(written: list[_Piece]) -> list[list[_Piece]]:
    """
    Expand ``{1..3}`` or ``{a..c}``, braces included; anything else stays as it is.
    """
    body = written[1:-1]
    if any(char in "{,}" for char, _ in body):
        # Bash drops the outer braces of {a..b","}, and expands inner ones in some cases only.
        raise Unreadable("a comma or braces in a range")
    text = _bare_start(body)
    if len(text) < len(body):
        return [written]
    if match := _LETTERS.fullmatch(text):
        first, last, step = match.groups()
        if first.islower() != last.islower():
            raise Unreadable("a range of capital and small letters")
        return [[(chr(code), _BARE)] for code in _steps(ord(first), ord(last), step)]
    if match := _INTEGERS.fullmatch(text):
        first, last, step = match.groups()
        if max(map(len, (first, last, step or ""))) > _LONGEST_NUMBER:
            raise Unreadable("a range with a long number")
        padded = any(re.match("-?0[0-9]", end) for end in (first, last))
        width = max(len(first), len(last)) if padded else 0
        return [[(char, _BARE) for char in f"{number:0{width}}"] for number in _steps(int(first), int(last), step)]
    return [written]


def _steps(first: int, last: int, step: str | None) -> range:
    # Bash corrects the sign of a step, and takes 1 for 0.
    size = abs(int(step or "1")) or 1
    numbers = range(first, last + 1, size) if first <= last else range(first, last - 1, -size)
    _limit_words(len(numbers))
    return numbers
