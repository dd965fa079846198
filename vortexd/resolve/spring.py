"""Spring's order of precedence: selects the documents of a key, and decides which document wins.

The functions take the parsed files of one label and a key. They return property sources, highest precedence first. The
files of profiles come first, the last profile before the others. The files without a profile follow. Within each group,
the order is: last location first, last application first, extensions in order, last document of a file first. So
`application-{profile}` wins over `{application}`, and the location counts more than the name.

The cost grows with the number of possible file names, not with the number of files.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product

import attrs

from ..core import names
from ..core.errors import FormatError, InvalidName, ResolveError
from ..core.model import Key, Origin, PropertySource
from .formats import EXTENSIONS, Document
from .imports import for_profile
from .locations import prefixes_for
from .stems import stem
from .tree import ParsedFiles, location_of

_SHARED = "application"
_DEFAULT = "default"
_MAX_PROFILES = 64
_MAX_IMPORTS = 64
# Spring refuses these keys in documents that can be read only when the profiles are known.
_UNCONDITIONAL = ("spring.profiles.active", "spring.profiles.include", "spring.profiles.default")
_INCLUDE = "spring.profiles.include"
_GROUP = "spring.profiles.group."


@attrs.frozen(slots=True, eq=False)
class Candidate:
    """A document that may be part of a key.

    Attributes:
        number: The number in a file of several documents, from 0, or None if it is the only document.
        profile: The profile in the name of its file, or "" if the file is for all profiles.
    """

    path: str
    number: int | None
    profile: str
    document: Document

    @property
    def name(self) -> str:
        """The document's name in Spring's form, without the root of its source."""
        return self.path if self.number is None else f"{self.path} (document #{self.number})"

    def property_source(self, root: str) -> PropertySource:
        """Return the document as a property source.

        Args:
            root: As `Files.root`.
        """
        return PropertySource(root + self.name, self.document.values, self.document.origins)


@attrs.frozen(slots=True)
class Reason:
    """Why a profile is active that the client didn't request.

    Attributes:
        document: The document that activates the profile.
        key: The key in the document, in the form of `activation.canonical`.
    """

    document: Candidate
    key: str


@attrs.frozen(slots=True, eq=False)
class Selection:
    """The documents of one layer that are considered for a key.

    Attributes:
        profiles: The active profiles, the strongest last. Requested profiles have the reason None.
        candidates: The documents, highest precedence first, including those that aren't active.
        files: The layer.
        reads: The paths that were searched for, whether such a file exists or not, each with its stem. The key depends
            only on these files of the layer.
    """

    key: Key
    profiles: Mapping[str, Reason | None]
    candidates: Sequence[Candidate]
    files: ParsedFiles
    reads: Mapping[str, str]

    @property
    def stems(self) -> tuple[str, ...]:
        """The paths in `reads` without their extensions, each once."""
        return tuple(dict.fromkeys(self.reads.values()))

    @property
    def broken(self) -> list[str]:
        """The paths in `reads` whose files are broken."""
        return [path for path in self.reads if path in self.files.broken] if self.files.broken else []

    @property
    def fault(self) -> FormatError | None:
        """The error of a broken file in `reads` without a fallback, because of which the key can't be resolved, or None."""
        return next((self.files.broken[path] for path in self.broken if path not in self.files.fallbacks), None)

    @property
    def origin(self) -> Origin | None:
        """The newest commit that changed a file in `reads`."""
        edits = self.files.files.edits
        return self.files.files.origin if edits is None else edits.last(self.reads)

    def is_active(self, candidate: Candidate) -> bool:
        """Return whether a document is active for these profiles."""
        return _is_active(candidate.document, frozenset(self.profiles))

    def active(self) -> Iterator[Candidate]:
        """Yield the active documents.

        Raises:
            ResolveError: A document that is itself for a profile activates profiles.
        """
        for each in filter(self.is_active, self.candidates):
            is_conditional = bool(each.profile) or each.document.profiles is not None
            if each.document.profile_keys and is_conditional and self.key.profile != _DEFAULT:
                _refuse_profile_keys(each)
            yield each


def property_sources(layers: Iterable[ParsedFiles], key: Key) -> tuple[PropertySource, ...]:
    """Return the property sources of a key, highest precedence first. The result is empty if no file is for the key.

    All sources of a stronger layer precede the sources of a weaker layer. A broken file without a fallback is treated as
    absent, so check `Selection.fault` first. For a profile other than `default`, this function applies
    `spring.profiles.include` and `spring.profiles.group` of documents without a condition. Included profiles are stronger
    than requested profiles. The members of a group are stronger than the group's name.

    Args:
        layers: The layers that serve the key, strongest first.

    Raises:
        ResolveError: A document that is itself for a profile activates profiles, or there are too many profiles.
    """
    return tuple(source for layer in layers for source in sources_of(selection(layer, key)))


def sources_of(chosen: Selection) -> Iterator[PropertySource]:
    """Yield the property sources of one layer. Raises the errors of `Selection.active`."""
    root = chosen.files.files.root
    return (each.property_source(root) for each in chosen.active())


def selection(files: ParsedFiles, key: Key) -> Selection:
    """Select the documents of one layer for a key, and the profiles that decide which of them are active.

    Raises:
        ResolveError: There are too many profiles.
    """
    applications = tuple(dict.fromkeys((_SHARED, *key.applications)))
    prefixes = prefixes_for(files.files.locations, key, files.directories)
    reads: dict[str, str] = {}
    general = list(_candidates(files, prefixes, applications, "", reads))
    asked_for: dict[str, Reason | None] = dict.fromkeys(key.profiles)
    # Imported documents may activate profiles, too, unless they are themselves for a profile.
    unconditional = _with_imports(files, general, (), lambda each: each.document.profiles is None, reads)
    profiles = asked_for if key.profile == _DEFAULT else _expanded(key.profiles, unconditional)
    candidates: list[Candidate] = []
    for profile in reversed(profiles):
        candidates += _candidates(files, prefixes, applications, profile, reads)
    active = frozenset(profiles)
    chosen = _with_imports(
        files, (*candidates, *general), tuple(profiles), lambda each: _is_active(each.document, active), reads
    )
    return Selection(key, profiles, chosen, files, reads)


def _is_active(document: Document, profiles: frozenset[str]) -> bool:
    return document.profiles is None or document.profiles.is_met(profiles)


def _candidates(
    files: ParsedFiles,
    prefixes: Sequence[str],
    applications: Sequence[str],
    profile: str,
    reads: dict[str, str],
) -> Iterator[Candidate]:
    """Yield the documents of all files `<prefix><application>[-<profile>].<extension>`, highest precedence first.

    Adds the paths and their stems to `reads`.
    """
    suffix = f"-{profile}" if profile else ""
    for prefix in reversed(prefixes):
        for application in reversed(applications):
            beginning = sys.intern(f"{prefix}{application}{suffix}")
            for extension in EXTENSIONS:
                path = f"{beginning}.{extension}"
                # With the locations "" and `prod/`, `prod/x.yml` isn't the application `prod/x`.
                if "/" in application and location_of(path, prefixes) != prefix:
                    continue
                reads[path] = beginning
                documents = files.documents.get(path)
                if documents is not None:
                    yield from of_file(path, profile, documents)


def _with_imports(
    files: ParsedFiles,
    candidates: Sequence[Candidate],
    profiles: Sequence[str],
    is_active: Callable[[Candidate], bool],
    reads: dict[str, str],
) -> Sequence[Candidate]:
    """Add the imported documents. Each comes before its importer, the last import first, and each file occurs once.

    Args:
        profiles: For each of these profiles, the profile's file of each import is imported, too.
        is_active: Whether a document's imports count.
        reads: Collects the paths that are searched for.
    """
    if not any(each.document.imports for each in candidates):
        return candidates
    imports = _Imports(files, candidates, profiles, is_active, reads)
    expanded = [imports.expand(each, not each.profile) for each in candidates]
    return [each for part in zip(*expanded, strict=True) for some in part for each in some]


class _Imports:
    """Follows imports from document to document, each file once. The limit on imports bounds the recursion."""

    def __init__(
        self,
        files: ParsedFiles,
        candidates: Sequence[Candidate],
        profiles: Sequence[str],
        is_active: Callable[[Candidate], bool],
        reads: dict[str, str],
    ) -> None:
        self._files = files
        self._reads = reads
        self._taken = {each.path for each in candidates}
        self._profiles = profiles
        self._is_active = is_active
        self._count = 0

    def expand(self, candidate: Candidate, is_lifting: bool) -> tuple[list[Candidate], list[Candidate]]:
        """Return the documents above a document's place, and the documents in its place: its imports, then itself.

        Spring knows the profiles only after it has read the documents that have no profile. In such a document, the
        imports for a profile move to the top at the end. This is the top of the importing document, or of all
        documents. In any other document, imports stay in place.
        """
        if not candidate.document.imports or not self._is_active(candidate):
            return [], [candidate]
        targets = candidate.document.imports[::-1]
        general = self._imported(candidate, product(targets, ("",)))
        special = self._imported(candidate, product(targets, self._profiles[::-1]))
        is_inner = is_lifting and candidate.document.profiles is None
        for_all = [self.expand(each, is_inner) for each in general]
        above = [each for document in special for each in self.expand(document, False)[1]]
        inner = [each for lifted, _ in for_all for each in lifted]
        place = [*inner, *(each for _, below in for_all for each in below), candidate]
        return (above, place) if is_lifting else ([], above + place)

    def _imported(self, importer: Candidate, pairs: Iterable[tuple[str, str]]) -> list[Candidate]:
        found: list[Candidate] = []
        for path, profile in ((for_profile(*pair), pair[1]) for pair in pairs):
            self._reads[path] = sys.intern(stem(path))
            if path not in self._taken and path in self._files.documents:
                self._taken.add(path)
                self._count += 1
                found += of_file(path, profile, self._files.documents[path])
        if self._count > _MAX_IMPORTS:
            raise ResolveError(f"spring.config.import imports more than {_MAX_IMPORTS} files", importer.path)
        return found


def of_file(path: str, profile: str, documents: Sequence[Document]) -> Iterator[Candidate]:
    """Yield the documents of a file, the last document first."""
    for number in reversed(range(len(documents))):
        yield Candidate(path, number if len(documents) > 1 else None, profile, documents[number])


def _refuse_profile_keys(candidate: Candidate) -> None:
    for name in candidate.document.profile_keys:
        if name.partition("[")[0] in _UNCONDITIONAL:
            reason = f"{name} can't be in a file or document that is itself for a profile; move it to a file or document without one"
            raise ResolveError(reason, candidate.path)


def _expanded(requested: Sequence[str], general: Sequence[Candidate]) -> dict[str, Reason | None]:
    """Return the requested profiles, each followed by its group's members, and then the profiles that files include."""
    included: list[tuple[str, Reason | None]] = []
    groups: dict[str, list[tuple[str, Reason | None]]] = {}
    for each in general:
        keys = each.document.profile_keys
        if not keys or each.document.profiles is not None:
            continue
        included += _listed(each, _INCLUDE)
        for name in dict.fromkeys(name.partition("[")[0] for name in keys if name.startswith(_GROUP)):
            groups.setdefault(name.removeprefix(_GROUP), _listed(each, name))
    # As in Spring's Profiles.expandProfiles: depth first, each profile once.
    stack = [*reversed(included), *((profile, None) for profile in reversed(requested))]
    expanded: dict[str, Reason | None] = {}
    while stack:
        profile, reason = stack.pop()
        if profile not in expanded:
            expanded[profile] = None if profile in requested else reason
            stack += reversed(groups.get(_group_name(profile), []))
        if len(expanded) > _MAX_PROFILES:
            raise ResolveError(f"spring.profiles.include and group activate more than {_MAX_PROFILES} profiles")
    return expanded


def _group_name(profile: str) -> str:
    # Keys have the canonical form (see activation.canonical).
    return profile.lower().replace("-", "").replace("_", "")


def _listed(document: Candidate, name: str) -> list[tuple[str, Reason | None]]:
    """Return the profiles in a comma-separated list, or in the entries of a list."""
    found: list[tuple[str, Reason | None]] = []
    for key, value in document.document.profile_keys.items():
        if key == name or key.startswith(name + "["):
            profiles = [profile.strip() for profile in str(value).split(",")]
            found += [(profile, Reason(document, key)) for profile in profiles if profile]
    try:
        return [(names.profile(profile), reason) for profile, reason in found]
    except InvalidName:
        raise ResolveError(f"{name} has an entry that isn't a valid name of a profile") from None
