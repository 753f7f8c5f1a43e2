"""The people, organisations and titles of the demo company, all invented, every domain `.example`.
No dates.
"""

from __future__ import annotations

import random
import unicodedata
from dataclasses import dataclass
from itertools import islice

DOMAIN = "nordlicht-optik.example"


@dataclass(frozen=True)
class Person:
    """An employee (`site` is a schedule id) or somebody from outside (`site` 0)."""

    first: str
    last: str
    domain: str
    language: str
    organisation: str | None = None
    site: int = 0
    phone: str | None = None
    active: bool = True


_NAMES: dict[str, tuple[str, str]] = {
    "de_de": (
        (
            "Anna Björn Christa Dörte Emil Frieda Günther Hanna Ingo Jürgen Käthe Lukas Mia Nils "
            "Özlem Paula Rüdiger Sören Tanja Ulf"
        ),
        (
            "Müller Schröder Weiß Bäcker Köhler Groß Lindner Vogt Jäger Krüger Öztürk Straub "
            "Hübner Böhm Fuchs Brandt"
        ),
    ),
    "en_gb": (
        (
            "Alice Brian Chloe Declan Ellie Fergus Grace Harriet Isla Jack Kieran Lorna Maeve Noah "
            "Orla Piers"
        ),
        (
            "Ashdown Birch Carter Dunmore Ellison Fairfax Gale Hargreaves Ingram Jarvis Kendrick "
            "O'Hara Lowell Marsh"
        ),
    ),
    "fr_fr": (
        "Amélie Benoît Céline Étienne François Hélène Jérôme Margaux Noël Zoé",
        "Aubert Béranger Chevalier Lefèvre Noël Perrault Rivière Saint-Aubin",
    ),
    "pl": (
        "Agnieszka Bartłomiej Grażyna Jędrzej Łukasz Małgorzata Stanisław Żaneta",
        "Dąbrowska Jaśkiewicz Kowal Łuczak Nowicka Świątek Zając Żak",
    ),
    "it_it": (
        "Alessia Bruno Chiara Dario Elisa Niccolò",
        "Bellini Conti D'Amico Ferrero Gallo Lombardi",
    ),
    "cz": ("Božena Dušan Jiří Lenka Růžena Zdeněk", "Černý Dvořák Hájek Kučera Němcová Říha"),
    "en_us": (
        "Ava Brandon Carmen Dwight Eleanor Marcus",
        "Alvarez Brooks Chen Delgado Everett Foster",
    ),
}
_SITE_LANGUAGES = {1: "de_de", 2: "de_de", 3: "de_de", 4: "en_gb", 5: "pl", 6: "en_us"}
ORGANISATIONS = (
    ("Kupferblatt GmbH", "kupferblatt.example"),
    ("Weidenhof Präzision", "weidenhof.example"),
    ("Harbour & Finch", "harbourfinch.example"),
    ("Atelier Lumière", "atelier-lumiere.example"),
    ("Zakład Soczewek", "soczewki.example"),
    ("Vetro Chiaro", "vetrochiaro.example"),
    ("Sklárna Jizera", "jizera.example"),
    ("Larchmont Labs", "larchmont.example"),
)
TITLES: tuple[str | None, ...] = (
    "Kundenbesuch {organisation}",
    "Werksführung für {organisation}",
    "Lieferantengespräch {organisation}",
    "Projektstand Messtechnik",
    "Abnahme Prüfstand 4",
    "Schulung Reinraum",
    "Audit ISO 9001",
    "Quarterly review with {organisation}",
    "Design workshop",
    "Contract talks – {organisation}",
    "Site tour 🔬",
    "Réunion fournisseur {organisation}",
    "Présentation de l'objectif Boréal",
    "Spotkanie projektowe: {organisation}",
    "Vertraulich: Gespräch Geschäftsführung",
    "Confidential – board",
    "Elterngespräch (privat)",
    "Besprechung\nTeil 2",
    None,
)


def _ascii(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name.lower().replace("ł", "l").replace("ß", "ss"))
    return "".join(c for c in plain if c.isascii() and (c.isalnum() or c == "-"))


def email_of(person: Person) -> str:
    """first.last@domain in ASCII."""
    return f"{_ascii(person.first)}.{_ascii(person.last)}@{person.domain}"


def _pairs(language: str) -> list[tuple[str, str]]:
    firsts, lasts = (names.split() for names in _NAMES[language])
    # all pairs, neighbours differing in both names
    return [
        (first, lasts[(n + shift) % len(lasts)])
        for shift in range(len(lasts))
        for n, first in enumerate(firsts)
    ]


def _employees() -> tuple[Person, ...]:
    people = []
    per_language = {language: iter(_pairs(language)) for language in set(_SITE_LANGUAGES.values())}
    sites = (1, 1, 1, 2, 2, 3, 4, 4, 5, 6)
    for number in range(123):
        site = sites[number % len(sites)]
        language = _SITE_LANGUAGES[site]
        first, last = next(per_language[language])
        phone = f"+49 30 5550 {100 + number}" if number % 4 else None
        people.append(
            Person(
                first, last, DOMAIN, language, "Nordlicht Optik", site, phone, active=number < 120
            )
        )
    return tuple(people)


EMPLOYEES = _employees()


def outsiders(rng: random.Random, count: int, *, private: bool = False) -> list[Person]:
    """People from outside with distinct addresses; `private`: at a mail provider instead of an
    organisation.
    """
    everybody = [
        Person(
            first,
            last,
            "post.example" if private else domain,
            language,
            None if private else organisation,
        )
        for language in _NAMES
        for first, last in _pairs(language)
        for organisation, domain in (ORGANISATIONS[:1] if private else ORGANISATIONS)
    ]
    rng.shuffle(everybody)
    distinct = {email_of(person): person for person in everybody}
    return list(islice(distinct.values(), count))
