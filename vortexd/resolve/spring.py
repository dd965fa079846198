"""Spring's order of precedence: which documents make up a key, and which of them wins.

In come the parsed files of one label and a key; out go its property sources, highest precedence first: for each profile, last
first, the profile's files; then the files without a profile. Within each: the last location, the last application, the extensions
in order, the last document of a file. `application-{profile}` so beats `{application}`, and a location beats a name.

The cost grows with the number of names that are candidates, not with the number of files.
"""

from collections.abc import Iterator, Mapping, Sequence

import attrs

from .. import names
from ..errors import InvalidName, ResolveError
from ..model import Key, PropertySource, Scalar
from .formats import EXTENSIONS, Document
from .locations import prefixes_for
from .tree import ParsedFiles, location_of

_SHARED = "application"
_DEFAULT = "default"
_MAX_PROFILES = 64
# What Spring refuses where it can only be read once the profiles are known.
_UNCONDITIONAL = ("spring.profiles.active", "spring.profiles.include", "spring.profiles.default")
_INCLUDE = "spring.profiles.include"
_GROUP = "spring.profiles.group."


@attrs.frozen(slots=True, eq=False)
class _Candidate:
    """A document that may be part of a key.

    Attributes:
        number: Its number in a file of several documents, from 0; None where it is the only one.
    """

    path: str
    number: int | None
    document: Document


def property_sources(files: ParsedFiles, key: Key) -> tuple[PropertySource, ...]:
    """The property sources of a key, highest precedence first; none where no file is for it.

    With several sources, all of the stronger ones go before those of the weaker. Broken files are as if they weren't there: whoever asks looks at
    `files.faults` first. For a profile other than `default`, `spring.profiles.include` and `spring.profiles.group` of documents without a
    condition are honoured; included profiles are weaker than those asked for, the members of a group stronger than its name.

    Raises:
        ResolveError: A document that is itself for a profile says which profiles are active, or there are too many of them.
    """
    return tuple(source for layer in files.layers_for(key) for source in _layer(layer, key))


def _layer(files: ParsedFiles, key: Key) -> Iterator[PropertySource]:
    applications = tuple(dict.fromkeys((_SHARED, *key.applications)))
    prefixes = prefixes_for(files.files.locations, key, files.directories)
    general = list(_candidates(files, prefixes, applications, ""))
    is_default = key.profile == _DEFAULT
    profiles = key.profiles if is_default else _expanded(key.profiles, general)
    accepted = frozenset(profiles)
    for suffix in (*(f"-{profile}" for profile in reversed(profiles)), ""):
        for each in _candidates(files, prefixes, applications, suffix) if suffix else general:
            demand = each.document.profiles
            if demand is not None and not demand.is_met(accepted):
                continue
            if each.document.profile_keys and not is_default and (suffix or demand is not None):
                _refuse_profile_keys(each)
            yield _source(files.files.root, each)


def _candidates(
    files: ParsedFiles, prefixes: Sequence[str], applications: Sequence[str], suffix: str
) -> Iterator[_Candidate]:
    """The documents of all files `<prefix><application><suffix>.<extension>`, highest precedence first."""
    for prefix in reversed(prefixes):
        for application in reversed(applications):
            for extension in EXTENSIONS:
                path = f"{prefix}{application}{suffix}.{extension}"
                documents = files.documents.get(path)
                # With the locations "" and `prod/`, `prod/x.yml` isn't the application `prod/x`.
                if documents is None or ("/" in application and location_of(path, prefixes) != prefix):
                    continue
                for number in reversed(range(len(documents))):
                    yield _Candidate(path, number if len(documents) > 1 else None, documents[number])


def _source(root: str, candidate: _Candidate) -> PropertySource:
    name = root + candidate.path
    if candidate.number is not None:
        name += f" (document #{candidate.number})"
    return PropertySource(name, candidate.document.values, candidate.document.origins)


def _refuse_profile_keys(candidate: _Candidate) -> None:
    for name in candidate.document.profile_keys:
        if name.partition("[")[0] in _UNCONDITIONAL:
            reason = f"{name} can't be in a file or document that is itself for a profile; move it to one that isn't"
            raise ResolveError(reason, candidate.path)


def _expanded(requested: tuple[str, ...], general: Sequence[_Candidate]) -> tuple[str, ...]:
    """The profiles asked for, with those that the files include before them and the members of groups behind each group."""
    included: list[str] = []
    groups: dict[str, list[str]] = {}
    for each in general:
        keys = each.document.profile_keys
        if not keys or each.document.profiles is not None:
            continue
        included += _listed(keys, _INCLUDE)
        for name in dict.fromkeys(name.partition("[")[0] for name in keys if name.startswith(_GROUP)):
            groups.setdefault(name.removeprefix(_GROUP), _listed(keys, name))
    if not included and not groups:
        return requested
    # As Spring's Profiles.expandProfiles: depth first, each profile once.
    stack = [*reversed(requested), *reversed(included)]
    expanded: dict[str, None] = {}
    while stack:
        profile = stack.pop()
        if profile not in expanded:
            expanded[profile] = None
            stack += reversed(groups.get(_group_name(profile), []))
        if len(expanded) > _MAX_PROFILES:
            raise ResolveError(f"spring.profiles.include and group make more than {_MAX_PROFILES} profiles")
    return tuple(expanded)


def _group_name(profile: str) -> str:
    # Keys are kept in the canonical form; see activation.canonical.
    return profile.lower().replace("-", "").replace("_", "")


def _listed(keys: Mapping[str, Scalar], name: str) -> list[str]:
    """The profiles of a comma list, or of a list's entries."""
    texts = [str(value) for key, value in keys.items() if key == name or key.startswith(name + "[")]
    profiles = [profile.strip() for text in texts for profile in text.split(",") if profile.strip()]
    try:
        return [names.profile(profile) for profile in profiles]
    except InvalidName:
        raise ResolveError(f"{name} holds what can't be the name of a profile") from None
