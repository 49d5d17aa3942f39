"""XML with care: what is sent is made of layouts with placeholders, what comes is read by a parser that trusts nobody.

A *layout* is XML with placeholders like ``{user_id}`` in its texts and attributes. Values are put into the tree and never into
its text, so that nothing in them can become markup. Where a placeholder has no value, the element or attribute around it is left
out; an empty value is written as an empty one.

Of what comes a document type is refused before anything of it is read, and with it every entity; depth and number of elements
are bounded, and no network is ever asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from enum import StrEnum
from typing import Any, Final
from xml.parsers import expat

from lxml import etree

Element = Any
"""lxml gives no types."""

MOST_ELEMENTS: Final = 5_000
"""Of an answer; real ones have some twenty."""
DEEPEST: Final = 60
MOST_ATTRIBUTES: Final = 100
"""Of one element."""

_ENDS_EARLY: Final = frozenset(
    expat.errors.codes[each]
    for each in (
        expat.errors.XML_ERROR_NO_ELEMENTS,
        expat.errors.XML_ERROR_UNCLOSED_TOKEN,
        expat.errors.XML_ERROR_PARTIAL_CHAR,
        expat.errors.XML_ERROR_UNCLOSED_CDATA_SECTION,
    )
)
_PLACEHOLDER: Final = re.compile(r"\{([a-z_]+)\}")
_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML 1.0 document can hold (section 2.2)."""


class SoapVersion(StrEnum):
    """A version of SOAP."""

    V1_1 = "1.1"
    V1_2 = "1.2"


ENVELOPES: Final[Mapping[SoapVersion, str]] = {
    SoapVersion.V1_1: "http://schemas.xmlsoap.org/soap/envelope/",
    SoapVersion.V1_2: "http://www.w3.org/2003/05/soap-envelope",
}
"""The namespaces of the envelopes."""
SOAP: Final = "soap"
"""The prefix of the envelope in what is sent, and in paths."""


class MarkupError(Exception):
    """XML that cannot stand; the text is half a sentence that says why, and repeats nothing of a secret."""


class CutOffError(MarkupError):
    """XML that was well-formed as far as it went, and ends too early."""


class Layout:
    """A document with placeholders. Raises MarkupError."""

    def __init__(self, document: str, known: frozenset[str]) -> None:
        self._root = parsed(document.encode())
        self.names = frozenset(_names(self._root))
        if unknown := sorted(self.names - known):
            raise MarkupError(f"there is no placeholder {{{unknown[0]}}}; known are {', '.join(sorted(known))}")

    def filled(self, values: Mapping[str, str | None]) -> bytes:
        """The document with its values, in UTF-8. Raises MarkupError for a value that no XML can hold."""
        for name in sorted(self.names):
            if _NOT_XML.search(values[name] or ""):
                raise MarkupError(f"{name} holds a control character, which XML cannot carry")
        root = deepcopy(self._root)
        for element in list(root.iter()):
            _fill(element, values)
        octets: bytes = etree.tostring(root, xml_declaration=True, encoding="UTF-8")
        return octets


def enveloped(version: SoapVersion, namespaces: Mapping[str, str], element: str, content: str) -> str:
    """The text of a layout: an envelope with one element in its body, and the content in that."""
    declared = "".join(f' xmlns:{prefix}="{_quoted(uri)}"' for prefix, uri in namespaces.items())
    return (
        f'<{SOAP}:Envelope xmlns:{SOAP}="{ENVELOPES[version]}"{declared}><{SOAP}:Body>'
        f"<{element}>{content}</{element}></{SOAP}:Body></{SOAP}:Envelope>"
    )


def qualified(name: str, namespaces: Mapping[str, str]) -> str:
    """``prefix:name`` as lxml has it, ``{namespace}name``. Raises MarkupError."""
    prefix, _, local = name.rpartition(":")
    if not re.fullmatch(r"[A-Za-z_][\w.-]*", local):
        raise MarkupError(f"{name!r} is no name of an element")
    if prefix not in namespaces:
        raise MarkupError(f"{name!r} needs one of the prefixes {', '.join(sorted(namespaces))}, as in 'prefix:Name'")
    return f"{{{namespaces[prefix]}}}{local}"


class Path:
    """An XPath, compiled with the prefixes of a profile. Raises MarkupError."""

    def __init__(self, expression: str, namespaces: Mapping[str, str]) -> None:
        try:
            self._find = etree.XPath(expression, namespaces=dict(namespaces), regexp=False, smart_strings=False)
            # Prefixes and functions that do not exist show only when it is used.
            self._find(etree.Element("nothing"))
        except (etree.XPathError, ValueError) as error:
            raise MarkupError(f"it is no XPath that can be used here ({error})") from None

    def found(self, element: Element) -> list[Element | str]:
        """The elements, or texts of attributes, that it leads to; a text or number that it computes is one."""
        result = self._find(element)
        if isinstance(result, list):
            return result
        return [] if result in {"", False} else [str(result)]

    def texts(self, element: Element) -> list[str]:
        """The same as texts, without the white space around them."""
        return [text_of(each) for each in self.found(element)]


def text_of(found: Element | str) -> str:
    """All text in an element, without the white space around it; a text is its own."""
    return whole_text_of(found).strip()


def whole_text_of(found: Element | str) -> str:
    """The same with that white space."""
    return found if isinstance(found, str) else "".join(found.itertext())


def parsed(octets: bytes) -> Element:
    """The root of a document that anybody may have written. Raises MarkupError."""
    _look_over(octets)
    parser = etree.XMLParser(
        resolve_entities=False,
        load_dtd=False,
        dtd_validation=False,
        no_network=True,
        huge_tree=False,
        collect_ids=False,
        remove_comments=True,
        remove_pis=True,
        remove_blank_text=True,
    )
    try:
        return etree.fromstring(octets, parser)
    except (etree.XMLSyntaxError, ValueError, LookupError):
        raise MarkupError("it is not well-formed XML") from None


class _FoundError(Exception):
    """What the look finds is worse than bad form."""


def _look_over(octets: bytes) -> None:
    """One pass without a tree, which ends where a document type begins: entities are never even declared."""
    parser = expat.ParserCreate()
    depth = elements = 0

    def begins(_name: str, attributes: Mapping[str, str]) -> None:
        nonlocal depth, elements
        depth += 1
        elements += 1
        if depth > DEEPEST or elements > MOST_ELEMENTS or len(attributes) > MOST_ATTRIBUTES:
            raise _FoundError("it is nested too deep, or has too many elements or attributes")

    def ends(_name: str) -> None:
        nonlocal depth
        depth -= 1

    def has_type(*_: object) -> None:
        raise _FoundError("it has a document type (DTD), which no SOAP message may have")

    parser.StartElementHandler = begins
    parser.EndElementHandler = ends
    parser.StartDoctypeDeclHandler = has_type
    try:
        parser.Parse(octets, True)  # noqa: FBT003 - it takes no names
    except _FoundError as error:
        raise MarkupError(str(error)) from None
    except expat.ExpatError as error:
        kind = CutOffError if error.code in _ENDS_EARLY else MarkupError
        # expat says what and where, and repeats nothing of it.
        raise kind(f"it is not well-formed XML ({error})") from None
    except (ValueError, LookupError) as error:
        raise MarkupError(f"it is not well-formed XML ({error})") from None


def _names(root: Element) -> Iterator[str]:
    for element in root.iter():
        for text in (element.text or "", *element.attrib.values()):
            yield from _PLACEHOLDER.findall(text)


def _fill(element: Element, values: Mapping[str, str | None]) -> None:
    for name, text in element.attrib.items():
        written = _written(text, values)
        if written is None:
            del element.attrib[name]
        else:
            element.set(name, written)
    if element.text:
        written = _written(element.text, values)
        if written is not None:
            element.text = written
        elif element.getparent() is not None:
            element.getparent().remove(element)


def _written(text: str, values: Mapping[str, str | None]) -> str | None:
    """A text with its values; None where one of them is missing."""
    if any(values[name] is None for name in _PLACEHOLDER.findall(text)):
        return None
    return _PLACEHOLDER.sub(lambda match: values[match[1]] or "", text)


def _quoted(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
