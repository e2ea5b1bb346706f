from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest
from edictum.sandbox.shell import SimpleCommand, Unreadable, Word, parse
from hypothesis import assume, given
from hypothesis import strategies as st


def find_bash() -> str | None:
    bash = shutil.which("bash") if os.name == "posix" else None
    # The bash of macOS is from 2007: it reads some ranges differently and lacks command_not_found_handle.
    return bash if bash and subprocess.run([bash, "-c", "((BASH_VERSINFO[0] >= 5))"]).returncode == 0 else None


BASH = find_bash()


def words(text: str) -> list[str]:
    (command,) = parse(text)
    assert command.assignments == ()
    assert command.targets == ()
    return [word.text for word in command.words]


@pytest.mark.parametrize("text", ["", " ", "\t \t", "\\\n", " \\\n "])
def test_parse_nothing_but_blanks_gives_no_command(text: str) -> None:
    assert parse(text) == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ls -l\tx", ["ls", "-l", "x"]),
        ("  ls  ", ["ls"]),
        ("'a b' c", ["a b", "c"]),
        (r"'a\b'", [r"a\b"]),
        ("'$(x) `y` ; | & < >'", ["$(x) `y` ; | & < >"]),
        ('"a  b"', ["a  b"]),
        (r'"\$ \` \" \\ \a"', [r'$ ` " \ \a']),
        ('"a\\\nb" c\\\nd', ["ab", "cd"]),
        ("'a\\\nb'", ["a\\\nb"]),
        ("'a\nb' \"c\nd\"", ["a\nb", "c\nd"]),
        ("'a'b\"c\"\\d", ["abcd"]),
        (r"a\ b \; \& \| \( \) \< \> \` \$x \\", ["a b", ";", "&", "|", "(", ")", "<", ">", "`", "$x", "\\"]),
        ("''", [""]),
        ("x \"\" ''", ["x", "", ""]),
        ("a# #b # c", ["a#", "#b", "#", "c"]),
        ("! { time } x", ["!", "{", "time", "}", "x"]),
        ("if x then", ["if", "x", "then"]),
        ("größe 東京 \u00a0x", ["größe", "東京", "\u00a0x"]),
        ("x a=b c+=d", ["x", "a=b", "c+=d"]),
    ],
)
def test_parse_words_and_quotes_are_read_as_the_shell_does(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x $ $", ["x", "$", "$"]),
        ("x a$ $. $/ $, $% $= $+ $}", ["x", "a$", "$.", "$/", "$,", "$%", "$=", "$+", "$}"]),
        ('x "$" "$\'" "\'$\'" "a$"b', ["x", "$", "$'", "'$'", "a$b"]),
        (r'x $\x "$\x" "$\$x"', ["x", "$x", r"$\x", "$$x"]),
        ("x '$HOME' '$'y", ["x", "$HOME", "$y"]),
    ],
)
def test_parse_dollar_that_begins_no_expansion_is_literal(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("echo 'a", "unbalanced quotes"),
        ('echo "a', "unbalanced quotes"),
        ("echo \"a'", "unbalanced quotes"),
        ("echo 'it''s' '", "unbalanced quotes"),
        ("echo a\\", "a backslash at the end"),
        ('echo "a\\', "a backslash at the end"),
        ("echo \x00", "a control character"),
        ("echo '\x00'", "a control character"),
        ("echo '\x1b[1m'", "a control character"),
        ("echo '\r'", "a control character"),
        ("echo a\r", "a control character"),
        ("echo \\\r", "a control character"),
        ("echo\x0bx", "a control character"),
        ("echo \x7f", "a control character"),
        ("echo \x85", "a control character"),
        ("echo \udcff", "a control character"),
        ("echo a\nrm b", "a line break"),
        ("echo a\n", "a line break"),
        ("echo a \\\\\nrm b", "a line break"),
        ("echo # '\nrm b #'", "a line break after a number sign"),
        ("echo # \\\nrm b", "a line break after a number sign"),
        ("echo a;", "a command separator"),
        ("echo a; rm b", "a command separator"),
        ("echo a&", "a background command or a list"),
        ("echo a && rm b", "a background command or a list"),
        ("echo &> f", "a background command or a list"),
        ("echo &>> f", "a background command or a list"),
        ("echo >>& f", "a background command or a list"),
        ("(echo)", "a parenthesis"),
        ("echo )", "a parenthesis"),
        ("f() x", "a parenthesis"),
        ("echo ?(a)", "a parenthesis"),
        ("a=(b)", "a parenthesis"),
        ("echo | cat", "a pipeline"),
        ("echo || cat", "a list of commands"),
        ("echo |& cat", "a pipe of both outputs"),
        ("echo `id`", "a command substitution"),
        ('echo "`id`"', "a command substitution"),
        ("echo \\\\`id`", "a command substitution"),
        ("echo $(id)", "a command substitution"),
        ('echo "$(id)"', "a command substitution"),
        ("echo $\\\n(id)", "a command substitution"),
        ("echo $HOME", "an expansion"),
        ("echo ${HOME}", "an expansion"),
        ('echo "a $HOME"', "an expansion"),
        ("echo $\\\nHOME", "an expansion"),
        ('echo "$\\\nHOME"', "an expansion"),
        ("echo $é", "an expansion"),
        *[(f"echo ${char}", "an expansion") for char in "_{@*#?$!-[07"],
        *[(f'echo "${char}"', "an expansion") for char in "_{@*#?$!-[07"],
        ("echo $'a'", "a quote after a dollar sign"),
        ('echo $"a"', "a quote after a dollar sign"),
        ("echo $\\\n'a'", "a quote after a dollar sign"),
        ("cat << x", "a here-document"),
        ("cat <<- x", "a here-document"),
        ("cat <<< x", "a here-document"),
        ("cat <(id)", "a process substitution"),
        ("tee >(id)", "a process substitution"),
        ("tee >\\\n(id)", "a process substitution"),
    ],
)
def test_parse_text_without_certain_meaning_is_refused(text: str, reason: str) -> None:
    with pytest.raises(Unreadable) as caught:
        parse(text)

    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a | b", [["a"], ["b"]]),
        ("a x|b y|c", [["a", "x"], ["b", "y"], ["c"]]),
        ("a '|' \\| b", [["a", "|", "|", "b"]]),
        ("a >| f | b", [["a"], ["b"]]),
        ("a$|b", [["a$"], ["b"]]),
    ],
)
def test_parse_pipeline_when_allowed_gives_each_command(text: str, expected: list[list[str]]) -> None:
    assert [[word.text for word in command.words] for command in parse(text, pipelines=True)] == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("|", "an empty stage of a pipeline"),
        ("a |", "an empty stage of a pipeline"),
        ("| a", "an empty stage of a pipeline"),
        ("a | | b", "an empty stage of a pipeline"),
        ("a || b", "a list of commands"),
        ("a |& b", "a pipe of both outputs"),
        ("a |\\\n| b", "a list of commands"),
        ("a | >f", "a redirection before the command"),
        ("a > | b", "a redirection without a file"),
    ],
)
def test_parse_pipeline_that_is_broken_is_refused(text: str, reason: str) -> None:
    with pytest.raises(Unreadable, match=f"^{reason}$"):
        parse(text, pipelines=True)


@pytest.mark.parametrize(
    ("text", "expected_words", "expected_targets"),
    [
        ("a > f", ["a"], ["f"]),
        ("a>f", ["a"], ["f"]),
        ("a < f b", ["a", "b"], ["f"]),
        ("a >> f >| g <> h", ["a"], ["f", "g", "h"]),
        ("a 2> f", ["a"], ["f"]),
        ("a 2>f<g", ["a"], ["f", "g"]),
        ("a 2 > f", ["a", "2"], ["f"]),
        ("a b2>f", ["a", "b2"], ["f"]),
        ("a '2'>f", ["a", "2"], ["f"]),
        ("a 2''>f", ["a", "2"], ["f"]),
        ("a \\2>f", ["a", "2"], ["f"]),
        ("a ²>f", ["a", "²"], ["f"]),
        ("a 9999999999>f", ["a", "9999999999"], ["f"]),
        ("a {fd}> f", ["a"], ["f"]),
        ("a {fd} > f", ["a", "{fd}"], ["f"]),
        ("a {'fd'}>f", ["a", "{fd}"], ["f"]),
        ("a {1}>f", ["a", "{1}"], ["f"]),
        ("a 2>&1", ["a"], []),
        ("a 2>&1>f", ["a"], ["f"]),
        ("a >&1 2>f", ["a"], ["f"]),
        ("a >&2 <&0 2>&- b", ["a", "b"], []),
        ("a '>' f", ["a", ">", "f"], []),
        ("a > 'x y'", ["a"], ["x y"]),
        ("a > ''", ["a"], [""]),
        ("a >\\\n> f", ["a"], ["f"]),
    ],
)
def test_parse_redirection_names_its_target(text: str, expected_words: list[str], expected_targets: list[str]) -> None:
    (command,) = parse(text)

    assert [word.text for word in command.words] == expected_words
    assert [word.text for word in command.targets] == expected_targets


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("> f", "a redirection before the command"),
        ("2> f a", "a redirection before the command"),
        ("{fd}> f a", "a redirection before the command"),
        (">&2 a", "a redirection before the command"),
        ("a >", "a redirection without a file"),
        ("a > > f", "a redirection without a file"),
        ("a >>> f", "a redirection without a file"),
        ("a > 2> f", "a redirection without a file"),
        ("a 2>", "a redirection without a file"),
        ("a >&", "a redirection without a file"),
        ("a >& f", "a redirection of both outputs"),
        ("a >&f", "a redirection of both outputs"),
        ("a >& 2", "a redirection of both outputs"),
        ("a >&2f", "a redirection of both outputs"),
        ("a >&2-", "a redirection of both outputs"),
        ("a >&-f", "a redirection of both outputs"),
        ("a >&'2'", "a redirection of both outputs"),
        ("a >&9999999999", "a redirection of both outputs"),
        ("a >&²", "a redirection of both outputs"),
        ("a > {f,g}", "braces in a redirection"),
        ("a {b[0]}> f", "an array element as a descriptor"),
    ],
)
def test_parse_redirection_that_is_unclear_is_refused(text: str, reason: str) -> None:
    with pytest.raises(Unreadable, match=f"^{reason}$"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a {b,c}", ["a", "b", "c"]),
        ("a x{b,c}y", ["a", "xby", "xcy"]),
        ("a {b,c}{d,e}", ["a", "bd", "be", "cd", "ce"]),
        ("a {b,{c,d}e}", ["a", "b", "ce", "de"]),
        ("a x{,y}", ["a", "x", "xy"]),
        ("a {,y}", ["a", "y"]),
        ("a {'',y}", ["a", "", "y"]),
        ("{,a} b", ["a", "b"]),
        ("a {} {x} x{} {x}{y}", ["a", "{}", "{x}", "x{}", "{x}{y}"]),
        ("a {x{b,c}y}", ["a", "{xby}", "{xcy}"]),
        ("a '{b,c}' \"{b,c}\" \\{b,c}", ["a", "{b,c}", "{b,c}", "{b,c}"]),
        ("a {b','c} {b\\,c}", ["a", "{b,c}", "{b,c}"]),
        ("a {b','c,d}", ["a", "b,c", "d"]),
        ('a {"b c",d}', ["a", "b c", "d"]),
        ("a b,c } { ,", ["a", "b,c", "}", "{", ","]),
        ("a {b c", ["a", "{b", "c"]),
        ("git show HEAD@{1}..HEAD@{0}", ["git", "show", "HEAD@{1}..HEAD@{0}"]),
        ("a {1..3}", ["a", "1", "2", "3"]),
        ("a {3..1}", ["a", "3", "2", "1"]),
        ("a {-1..+1}", ["a", "-1", "0", "1"]),
        ("a {1..7..3} {7..1..3} {1..3..-2} {1..2..0}", ["a", *"147", *"741", *"13", *"12"]),
        ("a {08..10} {-01..1}", ["a", "08", "09", "10", "-01", "000", "001"]),
        ("a {a..c} {c..a} {a..e..2} {A..C}", ["a", *"abc", *"cba", *"ace", *"ABC"]),
        ("a {1..1}x", ["a", "1x"]),
        (
            "a {a..1} {a..} {..b} {1..3..} {1..2..x} {aa..b}",
            ["a", "{a..1}", "{a..}", "{..b}", "{1..3..}", "{1..2..x}", "{aa..b}"],
        ),
        ("a {1'..'3} {'1'..3} {\\1..3}", ["a", "{1..3}", "{1..3}", "{1..3}"]),
        ("a {é..ê}", ["a", "{é..ê}"]),
        ("a {1..256}", ["a", *map(str, range(1, 257))]),
    ],
)
def test_parse_braces_become_several_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a {1..257}", "braces that make more than 256 words"),
        ("a {1..100000000}", "braces that make more than 256 words"),
        ("a {1..200} {1..200}", "braces that make more than 256 words"),
        ("a {1..16}{1..17}", "braces that make more than 256 words"),
        ("a {{1..200},{1..200}}", "braces that make more than 256 words"),
        ("a " + "{b,c}" * 9, "braces that make more than 256 words"),
        ("a {b,c}" + "d" * 60_000, "braces that make more than 100000 characters"),
        ("a " + "{" * 21 + "b,c" + "}" * 21, "braces nested deeper than 20"),
        ("a {b,c", "unbalanced braces"),
        ("a {b},c}", "unbalanced braces"),
        ("a {b,c{d}", "unbalanced braces"),
        ('a {a..b","}', "a comma or braces in a range"),
        ("a {{a,c}..b}", "a comma or braces in a range"),
        ("a {A..c}", "a range of capital and small letters"),
        ("a {9999999999999999..9999999999999999}", "a range with a long number"),
        ("a {$,b}HOME", "a dollar sign beside braces"),
        ("{,}", "braces that leave no command"),
        ("a=b {,} > f", "braces that leave no command"),
        ("a={b,c}", "braces in an assignment"),
        ("export a={b,c}", "braces in an assignment"),
    ],
)
def test_parse_braces_beyond_a_limit_or_unclear_are_refused(text: str, reason: str) -> None:
    with pytest.raises(Unreadable, match=f"^{reason}$"):
        parse(text)


def test_parse_braces_of_several_commands_count_together() -> None:
    assert len(parse("a {1..128} | b {1..128}", pipelines=True)) == 2
    with pytest.raises(Unreadable, match="more than 256 words"):
        parse("a {1..128} | b {1..129}", pipelines=True)


@pytest.mark.parametrize(
    ("text", "expected_assignments", "expected_words"),
    [
        ("A=b x", [("A", "b")], ["x"]),
        ("A=b _c2+='d e' x f=g", [("A", "b"), ("_c2", "d e")], ["x", "f=g"]),
        ("A=", [("A", "")], []),
        ("A=b", [("A", "b")], []),
        ("A=b=c x", [("A", "b=c")], ["x"]),
        ("A={b} x", [("A", "{b}")], ["x"]),
        ("A=b >f C=d x", [("A", "b"), ("C", "d")], ["x"]),
        ("'A'=b x", [], ["A=b", "x"]),
        ("\\A=b x", [], ["A=b", "x"]),
        ("A'='b x", [], ["A=b", "x"]),
        ("''A=b x", [], ["A=b", "x"]),
        ("2A=b x", [], ["2A=b", "x"]),
        ("A-b=c x", [], ["A-b=c", "x"]),
        ("é=c x", [], ["é=c", "x"]),
        ("A++=c x", [], ["A++=c", "x"]),
        ("=c x", [], ["=c", "x"]),
        ("A{b,c}=d x", [], ["Ab=d", "Ac=d", "x"]),
    ],
)
def test_parse_leading_assignments_are_kept_apart(
    text: str, expected_assignments: list[tuple[str, str]], expected_words: list[str]
) -> None:
    (command,) = parse(text)

    assert [(name, word.text) for name, word in command.assignments] == expected_assignments
    assert [word.text for word in command.words] == expected_words


@pytest.mark.parametrize("text", ["a[0]=b rm c", "a[ | cat ]=b", "a=b c[1"])
def test_parse_array_element_before_the_command_is_refused(text: str) -> None:
    with pytest.raises(Unreadable, match="an array element before the command"):
        parse(text, pipelines=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ab*", Word("ab*", glob=2)),
        ("a?[b", Word("a?[b", glob=1)),
        ("[a]", Word("[a]", glob=0)),
        ("'*'?", Word("*?", glob=1, quoted=True)),
        ("''*", Word("*", glob=0, quoted=True)),
        ("'*' ", Word("*", quoted=True)),
        (r"\*", Word("*", quoted=True)),
        ('"a*?["', Word("a*?[", quoted=True)),
        ("~", Word("~", tilde=True)),
        ("~/x", Word("~/x", tilde=True)),
        ("~user/'x y'", Word("~user/x y", tilde=True, quoted=True)),
        ("'~'/x", Word("~/x", quoted=True)),
        ("''~", Word("~", quoted=True)),
        (r"\~", Word("~", quoted=True)),
        ("a~", Word("a~")),
        ("host:~/x", Word("host:~/x")),
        ("''", Word("", quoted=True)),
        ("plain", Word("plain")),
    ],
)
def test_parse_word_tells_patterns_tildes_and_quotes(text: str, expected: Word) -> None:
    assert parse(f"x {text} > {text}") == (SimpleCommand((), (Word("x"), expected), (expected,)),)


def test_parse_patterns_and_tildes_made_by_braces_are_told() -> None:
    (command,) = parse("x {~,'~'}/{*,'*'}")

    assert command.words[1:] == (
        Word("~/*", glob=2, tilde=True),
        Word("~/*", tilde=True, quoted=True),
        Word("~/*", glob=2, quoted=True),
        Word("~/*", quoted=True),
    )


def test_parse_tilde_after_the_equals_sign_of_an_assignment_is_told() -> None:
    assert parse("A=~/x y")[0].assignments == (("A", Word("~/x", tilde=True)),)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("dd of=~/x", "a tilde inside a word"),
        ("dd a=b:~/x", "a tilde inside a word"),
        ("A=b:~/x y", "a tilde inside a word"),
        ("x {a,b}=~", "a tilde inside a word"),
        ("x ~'user'/y", "a partly quoted tilde"),
        ("x ~'/y'", "a partly quoted tilde"),
        ("x ~''/y", "a partly quoted tilde"),
    ],
)
def test_parse_tilde_that_is_unclear_is_refused(text: str, reason: str) -> None:
    with pytest.raises(Unreadable, match=f"^{reason}$"):
        parse(text)


def test_parse_text_beyond_the_limit_is_refused() -> None:
    assert words("x" * 100_000) == ["x" * 100_000]
    for length in (100_001, 1_000_000):
        with pytest.raises(Unreadable, match="more than 100000 characters"):
            parse("x" * length)


def test_parse_long_runs_of_special_characters_need_no_recursion() -> None:
    assert words("{" * 100_000) == ["{" * 100_000]
    assert words("\\" * 100_000) == ["\\" * 50_000]
    assert words("{1..1}" * 16_000) == ["1" * 16_000]
    for text in ("{," * 50_000, "{a..b" * 20_000, "{a,b}" * 20_000, "{a," * 10 + "b" * 90_000 + "}" * 10):
        with pytest.raises(Unreadable):
            parse(text)


shell_text = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc"]) | st.sampled_from("\t '\"\\$`;|"))


@given(st.lists(shell_text, min_size=1))
def test_parse_quoted_by_shlex_gives_the_words_back(raw: list[str]) -> None:
    assume("=" not in raw[0])

    assert words(shlex.join(raw)) == raw


# Runs each text, and writes down which commands it tried to run, with their words, and which files it made.
# There is no program to be found, and no builtin that these texts can name.
OBSERVER = r"""
set -f
PATH=/nonexistent
enable -n . : [
command_not_found_handle() { printf '%s\0' "$#" "$@" >>"$OUT"; }
while IFS= read -r -d '' text; do
  eval -- "$text" </dev/null 2>/dev/null
  set +f; shopt -s nullglob dotglob; files=(*); shopt -u nullglob dotglob; set -f
  printf '%s\0' end "${#files[@]}" "${files[@]}" >>"$OUT"
  [[ ${#files[@]} = 0 ]] || "$RM" -f -- "${files[@]}"
done <"$IN"
"""


class Seen(NamedTuple):
    commands: list[list[str]]
    files: set[str]


def observe(texts: list[str]) -> list[Seen]:
    assert BASH is not None
    with TemporaryDirectory() as folder:
        source, result, empty = (Path(folder, name) for name in ("texts", "seen", "empty"))
        empty.mkdir()
        source.write_bytes(b"".join(text.encode() + b"\0" for text in texts))
        result.touch()
        environment = {"IN": str(source), "OUT": str(result), "RM": shutil.which("rm") or "", "HOME": "/home/nobody"}
        subprocess.run(
            [BASH, "--norc", "--noprofile", "-c", OBSERVER],
            cwd=empty,
            env=environment | {"LC_ALL": os.environ.get("LC_ALL", "C.UTF-8")},
            check=True,
            stderr=subprocess.DEVNULL,
        )
        fields = iter(result.read_bytes().decode().split("\0")[:-1])
    return list(_seen(fields))


def _seen(fields: Iterator[str]) -> Iterator[Seen]:
    commands: list[list[str]] = []
    for field in fields:
        if field == "end":
            yield Seen(commands, {next(fields) for _ in range(int(next(fields)))})
            commands = []
        else:
            commands.append([next(fields) for _ in range(int(field))])


def agrees(text: str, command: SimpleCommand, seen: Seen) -> bool:
    expected = [word.text for word in command.words]
    files = {word.text for word in command.targets}
    if "#" in text:  # A comment, all of which is judged.
        return seen.files <= files and all(expected[: len(found)] == found for found in seen.commands)
    if not seen.commands and (files or ">&" in text):  # A file or descriptor that cannot be opened; or no words.
        return seen.files <= files
    return seen.files == files and seen.commands == ([expected] if expected else [])


def comparable(text: str) -> SimpleCommand | None:
    try:
        (command, *others) = parse(text)
    except ValueError:  # Refused, or no command at all.
        return None
    found = (*command.words, *command.targets, *(word for _, word in command.assignments))
    # Reserved words, which the module hands on; and what depends on folders.
    reserved = command.words[:1] and command.words[0].text in ("!", "{", "}")
    return None if others or reserved or any(word.tilde for word in found) else command


plain = ["a", "b", "é", " ", " ", "\t", "=", "*", "~", ":", "-", "+", "!", ";", "a=", "#", "\n"]
quotes = ["'", '"', "\\", "\\\\", "\\\n", "$", "$'", "`"]
braces = ["{", "{", "}", "}", ",", ",", ".", "..", "1", "3", "02", "{a,b}", "{1..3}"]
redirections = [">", ">>", ">|", "2>", ">&1", "&", "|", "{a}>", "(", " "]


@pytest.mark.security
@pytest.mark.skipif(BASH is None, reason="needs bash 5")
@pytest.mark.parametrize(
    "alphabet",
    [plain + quotes, plain + braces, quotes + braces + ["a", " "], plain + quotes + braces + redirections],
    ids=["quotes", "braces", "quoted-braces", "everything"],
)
@given(data=st.data())
def test_parse_generated_text_hides_nothing_that_bash_runs_or_writes(alphabet: list[str], data: st.DataObject) -> None:
    texts = data.draw(st.lists(st.lists(st.sampled_from(alphabet), max_size=12).map("".join), max_size=60))
    readable = [(text, command) for text in texts if (command := comparable(text))]

    seen = observe([text for text, _ in readable])

    assert len(seen) == len(readable)
    assert [(*pair, found) for pair, found in zip(readable, seen, strict=True) if not agrees(*pair, found)] == []
