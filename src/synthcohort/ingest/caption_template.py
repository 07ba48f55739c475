"""The language of caption templates: text in which whatever depends on a field disappears together with the field.

    {a} [{view} ]radiograph[ of {the_part}][, showing {finding}| without a stated finding].

`{name}` is a field. `[...]` is a group: of its alternatives between `|`, the first whose own fields are all known is
said, and none when no alternative can be; groups nest, and a group inside does not count for the one around it. Fields
stand in groups only, so that nothing has to be known. `{a}` becomes a or an, by the sound of what follows. The first
letter is made a capital when the text ends with a full stop.
"""

import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from itertools import combinations

_TOKEN = re.compile(r"\{[^{}]*\}|[\[\]|{}]|[^\[\]|{}]+")
_ARTICLE = "\x00"
# Words that must be followed by more.
_LEADING = (
    "a|an|the|of|on|in|at|by|with|without|showing|shows|demonstrating|depicting|from|and|or|through|to|for|labeled|is|as"
    "|within|his|her|their|consistent"
)
_DANGLING = re.compile(rf"\b(?:{_LEADING})\s*(?:[.,;:)]|$)", re.IGNORECASE)
_FLAWS = {
    "two blanks": re.compile(r"  "),
    "a blank before punctuation": re.compile(r" [.,;:)]|\( "),
    "punctuation without words between": re.compile(r"[,;:(][.,;:)]|\.[,;:.]|\(\)"),
    "a sentence or part that starts with punctuation": re.compile(r"^[\s.,;:)]|\. [.,;:)]"),
    "a blank or a comma at the end": re.compile(r"[\s,;:(]$"),
    "a word that leads nowhere": _DANGLING,
    "two leading words in a row": re.compile(r"\b(a|an|the|of|on|in|with|showing|by) \1\b", re.IGNORECASE),
}


class TemplateError(ValueError):
    """A template that is not of this language; the message says what is wrong with it."""


@dataclass(frozen=True)
class Group:
    """Alternatives, each a sequence of text, fields and groups."""

    alternatives: tuple["Sequence", ...]


@dataclass(frozen=True)
class Field:
    name: str


Node = str | Field | Group
Sequence = tuple[Node, ...]


@dataclass(frozen=True)
class Template:
    text: str
    nodes: Sequence

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields, each once, as they come."""
        return tuple(dict.fromkeys(_fields(self.nodes)))

    def render(self, facts: Mapping[str, str]) -> str:
        """The text for what is known; a fact that is empty is not known."""
        known = {name: value for name, value in facts.items() if value}
        text = _render(self.nodes, known)
        text = re.sub(_ARTICLE, lambda match: article(text[match.end() :]), text)
        return text[:1].upper() + text[1:] if text.endswith(".") else text


def parse(text: str, allowed: Set[str]) -> Template:
    """A template from its text. Raises TemplateError when it is malformed, or uses a field that is not allowed."""
    tokens = _TOKEN.findall(text)
    nodes, end = _sequence(tokens, 0, allowed, depth=0)
    assert end == len(tokens)
    return Template(text, nodes)


def _sequence(tokens: list[str], at: int, allowed: Set[str], depth: int) -> tuple[Sequence, int]:
    nodes: list[Node] = []
    while at < len(tokens):
        token = tokens[at]
        if token == "[":
            group, at = _group(tokens, at + 1, allowed, depth + 1)
            nodes.append(group)
            continue
        if token in ("]", "|"):
            if depth:
                break
            raise TemplateError(f"{token} stands outside [ ]")
        if token in ("{", "}"):
            raise TemplateError(f"{token} has no partner")
        if token.startswith("{"):
            nodes.append(_field(token[1:-1], allowed, depth))
        else:
            nodes.append(token)
        at += 1
    return tuple(nodes), at


def _group(tokens: list[str], at: int, allowed: Set[str], depth: int) -> tuple[Group, int]:
    alternatives = []
    while True:
        nodes, at = _sequence(tokens, at, allowed, depth)
        alternatives.append(nodes)
        if at >= len(tokens):
            raise TemplateError("[ is not closed")
        at += 1
        if tokens[at - 1] == "]":
            return Group(tuple(alternatives)), at


def _field(name: str, allowed: Set[str], depth: int) -> Node:
    if name == "a":
        return _ARTICLE
    if name not in allowed:
        raise TemplateError(f"unknown field {{{name}}}")
    if not depth:
        raise TemplateError(f"{{{name}}} stands outside [ ], but may be unknown")
    return Field(name)


def _fields(nodes: Sequence) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, Field):
            yield node.name
        elif isinstance(node, Group):
            for alternative in node.alternatives:
                yield from _fields(alternative)


def _render(nodes: Sequence, known: Mapping[str, str]) -> str:
    parts = []
    for node in nodes:
        if isinstance(node, Field):
            parts.append(known[node.name])
        elif isinstance(node, Group):
            parts.append(_alternative(node, known))
        else:
            parts.append(node)
    return "".join(parts)


def _alternative(group: Group, known: Mapping[str, str]) -> str:
    for alternative in group.alternatives:
        if all(node.name in known for node in alternative if isinstance(node, Field)):
            return _render(alternative, known)
    return ""


def article(following: str) -> str:
    """a or an, by the sound of the first word: an MRI slice, an H&E stain, a unilateral finding, a US image."""
    word = re.match(r"[^\s,.;]*", following.lstrip())
    first = word[0] if word else ""
    spelled = re.match(r"[A-Z](?=$|[A-Z&\-\d])", first)
    if spelled:  # letters that are said one by one
        return "an" if first[0] in "AEFHILMNORSX" else "a"
    if re.match(r"(?:eu|one\b|uni(?!n)|ure|ute|usu)", first, re.IGNORECASE):
        return "a"
    return "an" if first[:1].lower() in tuple("aeiou") else "a"


def flaw(text: str) -> str:
    """What is wrong with a text as a text: dangling words, lost punctuation, empty; nothing when it reads well."""
    if not text.strip(" ."):
        return "it is empty"
    return next((name for name, pattern in _FLAWS.items() if pattern.search(text)), "")


def first_flaw(template: Template, samples: Mapping[str, str]) -> tuple[str, str, tuple[str, ...]] | None:
    """The first flaw over all subsets of the template's fields: what, in which text, with which fields known."""
    for size in range(len(template.fields) + 1):
        for chosen in combinations(template.fields, size):
            text = template.render({name: samples[name] for name in chosen})
            found = flaw(text)
            if found:
                return found, text, chosen
    return None
