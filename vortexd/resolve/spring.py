"""Spring's order of precedence: which documents make up a key, and which of them wins.

In come the parsed files of one label and a key; out go its property sources, highest precedence first: for each profile, last
first, the profile's files; then the files without a profile. Within each: the last location, the last application, the extensions
in order, the last document of a file. `application-{profile}` so beats `{application}`, and a location beats a name.

The cost grows with the number of names that are candidates, not with the number of files.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product

import attrs

from ..core import names
from ..core.errors import FormatError, InvalidName, ResolveError
from ..core.model import Key, Origin, PropertySource
from .formats import EXTENSIONS, Document
from .imports import for_profile
from .locations import prefixes_for
from .tree import ParsedFiles, location_of

_SHARED = "application"
_DEFAULT = "default"
_MAX_PROFILES = 64
_MAX_IMPORTS = 64
# What Spring refuses where it can only be read once the profiles are known.
_UNCONDITIONAL = ("spring.profiles.active", "spring.profiles.include", "spring.profiles.default")
_INCLUDE = "spring.profiles.include"
_GROUP = "spring.profiles.group."


@attrs.frozen(slots=True, eq=False)
class Candidate:
    """A document that may be part of a key.

    Attributes:
        number: Its number in a file of several documents, from 0; None where it is the only one.
        profile: The one that its file is for, by its name; "" where it is for all.
    """

    path: str
    number: int | None
    profile: str
    document: Document

    @property
    def name(self) -> str:
        """As Spring names it, without the root of its source."""
        return self.path if self.number is None else f"{self.path} (document #{self.number})"

    def property_source(self, root: str) -> PropertySource:
        """As it is served.

        Args:
            root: As `Files.root`.
        """
        return PropertySource(root + self.name, self.document.values, self.document.origins)


@attrs.frozen(slots=True)
class Reason:
    """Why a profile is active that nobody asked for.

    Attributes:
        document: The one that says so.
        key: Where in it, in the form of `activation.canonical`.
    """

    document: Candidate
    key: str


@attrs.frozen(slots=True, eq=False)
class Selection:
    """What of one layer is looked at for a key.

    Attributes:
        profiles: Those that are active, the strongest last; None with those that were asked for.
        candidates: Highest precedence first, those that don't count included.
        files: The layer.
        reads: The paths that were looked for, whether there is such a file or not. The key depends on these files of the layer and on
            no others.
    """

    key: Key
    profiles: Mapping[str, Reason | None]
    candidates: Sequence[Candidate]
    files: ParsedFiles
    reads: Sequence[str]

    @property
    def broken(self) -> list[str]:
        """Those of `reads` that are broken."""
        return [path for path in self.reads if path in self.files.broken] if self.files.broken else []

    @property
    def fault(self) -> FormatError | None:
        """Why the key can't be resolved: a broken file that it reads and that has no fallback."""
        return next((self.files.broken[path] for path in self.broken if path not in self.files.fallbacks), None)

    @property
    def origin(self) -> Origin | None:
        """The newest commit that changed a file which the key reads."""
        edits = self.files.files.edits
        return self.files.files.origin if edits is None else edits.last(self.reads)

    def is_active(self, candidate: Candidate) -> bool:
        """Whether a document counts for these profiles."""
        return _is_active(candidate.document, frozenset(self.profiles))

    def active(self) -> Iterator[Candidate]:
        """Those that count.

        Raises:
            ResolveError: One that is itself for a profile says which profiles are active.
        """
        for each in filter(self.is_active, self.candidates):
            is_conditional = bool(each.profile) or each.document.profiles is not None
            if each.document.profile_keys and is_conditional and self.key.profile != _DEFAULT:
                _refuse_profile_keys(each)
            yield each


def property_sources(layers: Iterable[ParsedFiles], key: Key) -> tuple[PropertySource, ...]:
    """The property sources of a key, highest precedence first; none where no file is for it.

    All of a stronger layer go before those of a weaker one. A broken file without a fallback is as if it weren't there: look at
    `Selection.fault` first. For a profile other than `default`, `spring.profiles.include` and `spring.profiles.group` of documents without a
    condition are honoured; included profiles are stronger than those asked for, and so are the members of a group than its name.

    Args:
        layers: Those that serve the key, the strongest first.

    Raises:
        ResolveError: A document that is itself for a profile says which profiles are active, or there are too many of them.
    """
    return tuple(source for layer in layers for source in sources_of(selection(layer, key)))


def sources_of(chosen: Selection) -> Iterator[PropertySource]:
    """The property sources of one layer. Raises as `Selection.active`."""
    root = chosen.files.files.root
    return (each.property_source(root) for each in chosen.active())


def selection(files: ParsedFiles, key: Key) -> Selection:
    """The documents of one layer that are looked at for a key, and the profiles that decide between them.

    Raises:
        ResolveError: There are too many profiles.
    """
    applications = tuple(dict.fromkeys((_SHARED, *key.applications)))
    prefixes = prefixes_for(files.files.locations, key, files.directories)
    reads: dict[str, None] = {}
    general = list(_candidates(files, prefixes, applications, "", reads))
    asked_for: dict[str, Reason | None] = dict.fromkeys(key.profiles)
    # What is imported may say, too, which profiles there are; what is for a profile may not.
    saying = _with_imports(files, general, (), lambda each: each.document.profiles is None, reads)
    profiles = asked_for if key.profile == _DEFAULT else _expanded(key.profiles, saying)
    candidates: list[Candidate] = []
    for profile in reversed(profiles):
        candidates += _candidates(files, prefixes, applications, profile, reads)
    active = frozenset(profiles)
    chosen = _with_imports(
        files, (*candidates, *general), tuple(profiles), lambda each: _is_active(each.document, active), reads
    )
    return Selection(key, profiles, chosen, files, tuple(reads))


def _is_active(document: Document, profiles: frozenset[str]) -> bool:
    return document.profiles is None or document.profiles.is_met(profiles)


def _candidates(
    files: ParsedFiles,
    prefixes: Sequence[str],
    applications: Sequence[str],
    profile: str,
    reads: dict[str, None],
) -> Iterator[Candidate]:
    """The documents of all files `<prefix><application>[-<profile>].<extension>`, highest precedence first; notes the paths in `reads`."""
    suffix = f"-{profile}" if profile else ""
    for prefix in reversed(prefixes):
        for application in reversed(applications):
            for extension in EXTENSIONS:
                path = f"{prefix}{application}{suffix}.{extension}"
                # With the locations "" and `prod/`, `prod/x.yml` isn't the application `prod/x`.
                if "/" in application and location_of(path, prefixes) != prefix:
                    continue
                reads[path] = None
                documents = files.documents.get(path)
                if documents is not None:
                    yield from _of_file(path, profile, documents)


def _with_imports(
    files: ParsedFiles,
    candidates: Sequence[Candidate],
    profiles: Sequence[str],
    is_active: Callable[[Candidate], bool],
    reads: dict[str, None],
) -> Sequence[Candidate]:
    """The documents with those that they import, each before the one that imports it, the last import first; a file comes once.

    Args:
        profiles: For each of them the file of the import that is for it is imported, too.
        is_active: Whether what a document imports counts.
        reads: Where the paths are noted that are looked for.
    """
    if not any(each.document.imports for each in candidates):
        return candidates
    imports = _Imports(files, candidates, profiles, is_active, reads)
    expanded = [imports.expand(each, not each.profile) for each in candidates]
    return [each for part in zip(*expanded, strict=True) for some in part for each in some]


class _Imports:
    """Follows imports from document to document, each file once. Recursion is as deep as there may be imports."""

    def __init__(
        self,
        files: ParsedFiles,
        candidates: Sequence[Candidate],
        profiles: Sequence[str],
        is_active: Callable[[Candidate], bool],
        reads: dict[str, None],
    ) -> None:
        self._files = files
        self._reads = reads
        self._taken = {each.path for each in candidates}
        self._profiles = profiles
        self._is_active = is_active
        self._count = 0

    def expand(self, candidate: Candidate, is_lifting: bool) -> tuple[list[Candidate], list[Candidate]]:
        """What goes above the place of a document, and its place: itself below what it imports.

        Spring knows the profiles only when it has read what is for none. What is imported for a profile from there goes, at the end, to the top of
        the document that imports the importer, or of all there is; from elsewhere it stays.
        """
        if not candidate.document.imports or not self._is_active(candidate):
            return [], [candidate]
        targets = candidate.document.imports[::-1]
        general = self._taken_in(candidate, product(targets, ("",)))
        special = self._taken_in(candidate, product(targets, self._profiles[::-1]))
        is_inner = is_lifting and candidate.document.profiles is None
        for_all = [self.expand(each, is_inner) for each in general]
        above = [each for document in special for each in self.expand(document, False)[1]]
        inner = [each for lifted, _ in for_all for each in lifted]
        place = [*inner, *(each for _, below in for_all for each in below), candidate]
        return (above, place) if is_lifting else ([], above + place)

    def _taken_in(self, importer: Candidate, pairs: Iterable[tuple[str, str]]) -> list[Candidate]:
        found: list[Candidate] = []
        for path, profile in ((for_profile(*pair), pair[1]) for pair in pairs):
            self._reads[path] = None
            if path not in self._taken and path in self._files.documents:
                self._taken.add(path)
                self._count += 1
                found += _of_file(path, profile, self._files.documents[path])
        if self._count > _MAX_IMPORTS:
            raise ResolveError(f"spring.config.import takes in more than {_MAX_IMPORTS} files", importer.path)
        return found


def _of_file(path: str, profile: str, documents: Sequence[Document]) -> Iterator[Candidate]:
    """The documents of a file, the last one first."""
    for number in reversed(range(len(documents))):
        yield Candidate(path, number if len(documents) > 1 else None, profile, documents[number])


def _refuse_profile_keys(candidate: Candidate) -> None:
    for name in candidate.document.profile_keys:
        if name.partition("[")[0] in _UNCONDITIONAL:
            reason = f"{name} can't be in a file or document that is itself for a profile; move it to one that isn't"
            raise ResolveError(reason, candidate.path)


def _expanded(requested: Sequence[str], general: Sequence[Candidate]) -> dict[str, Reason | None]:
    """The profiles asked for, with the members of groups behind each group, and those that the files include behind all."""
    included: list[tuple[str, Reason | None]] = []
    groups: dict[str, list[tuple[str, Reason | None]]] = {}
    for each in general:
        keys = each.document.profile_keys
        if not keys or each.document.profiles is not None:
            continue
        included += _listed(each, _INCLUDE)
        for name in dict.fromkeys(name.partition("[")[0] for name in keys if name.startswith(_GROUP)):
            groups.setdefault(name.removeprefix(_GROUP), _listed(each, name))
    # As Spring's Profiles.expandProfiles: depth first, each profile once.
    stack = [*reversed(included), *((profile, None) for profile in reversed(requested))]
    expanded: dict[str, Reason | None] = {}
    while stack:
        profile, reason = stack.pop()
        if profile not in expanded:
            expanded[profile] = None if profile in requested else reason
            stack += reversed(groups.get(_group_name(profile), []))
        if len(expanded) > _MAX_PROFILES:
            raise ResolveError(f"spring.profiles.include and group make more than {_MAX_PROFILES} profiles")
    return expanded


def _group_name(profile: str) -> str:
    # Keys are kept in the canonical form; see activation.canonical.
    return profile.lower().replace("-", "").replace("_", "")


def _listed(document: Candidate, name: str) -> list[tuple[str, Reason | None]]:
    """The profiles of a comma list, or of a list's entries."""
    found: list[tuple[str, Reason | None]] = []
    for key, value in document.document.profile_keys.items():
        if key == name or key.startswith(name + "["):
            profiles = [profile.strip() for profile in str(value).split(",")]
            found += [(profile, Reason(document, key)) for profile in profiles if profile]
    try:
        return [(names.profile(profile), reason) for profile, reason in found]
    except InvalidName:
        raise ResolveError(f"{name} holds what can't be the name of a profile") from None
