"""Slot values, kept apart by split so that copying can be told from remembering."""

import random

from thumbwheel_demo.corpus.model import Split

NAMES: dict[Split, tuple[str, ...]] = {
    "train": tuple(
        """Anna Ben Clara David Elena Felix Greta Hugo Ines Jonas Klara Leon Mara Nils Olga Paul Rosa Simon
        Tara Viktor Wanda Yara Zeno Amir Bella Carlos Dina Emil Fiona Gustav Hanna Ivan Julia Karim Lena
        Marco Nadia Oscar Petra Rafael Selma Tomas Ursula Vera Walter Yusuf Zoe Alice Boris Celia Dario
        Edith Farid Gloria Henrik Irma Jasper Katrin Lukas Mona Noah Odile Pedro Ruth Stefan Tilda Umar
        Violet Wilma Xenia Yannick Agnes Bruno Cecil Dora Erik Flora Goran Heidi Igor Judith Kofi Linda
        Milan Nora Otto Pia Rico Sonja Theo Ulla Valerie Werner Adele Bastian Corinna Dennis Esther Frank
        Gina Harald Iris Jana Konrad Lisa Martin Nina Oliver Paula Robert Sara Tim Vanessa""".split()
    ),
    "live": tuple(
        """Aaron Birgit Chloe Dominik Eva Fabian Gerda Hector Ida Joel Kira Lorenz Maya Nathan Orla Philip
        Renata Samuel Tessa Ulrich Viola Wesley Yvonne Zachary Amelie Bernard Carmen Derek Elif Fergus""".split()
    ),
    "heldout": tuple(
        """Abel Brigitte Cyrus Daphne Edgar Frida Gordon Helga Isaac Jolanda Kevin Luisa Malik Noemi Orson
        Priya Quentin Ramona Silas Thea Ugo Vincent Willow Yolanda Zelda Astrid Borja Camille Desmond Enid""".split()
    ),
}
MATERIALS: dict[Split, tuple[str, ...]] = {
    "train": tuple(
        """red blue green black white grey wooden steel glass leather cotton woollen silver yellow small large
        folding round copper velvet linen striped plastic ceramic""".split()
    ),
    "live": tuple("orange paper marble denim pine tall square".split()),
    "heldout": tuple("purple bamboo brass silk oval cedar rubber".split()),
}
THINGS: dict[Split, tuple[str, ...]] = {
    "train": tuple(
        """lamp chair table kettle backpack jacket scarf mug blanket mirror clock shelf pan bottle wallet belt
        sweater desk pillow umbrella radio speaker toaster helmet tent vase suitcase keyboard basket bowl""".split()
    ),
    "live": tuple("curtain stool hammock watch cushion teapot sandal camera".split()),
    "heldout": tuple("lantern rug bench hat blender drum cabinet glove".split()),
}
CITIES: dict[Split, tuple[str, ...]] = {
    "train": tuple(
        """Lyon Berlin Porto Vienna Oslo Madrid Bristol Prague Turin Ghent Malmo Zurich Dublin Krakow Seville
        Hamburg Nantes Leeds Milan Aarhus Basel Bergen Cork Florence Bonn Graz Lille Riga Utrecht Venice""".split()
    ),
    "live": tuple("Munich Glasgow Bologna Tallinn Antwerp Geneva Lisbon Tampere".split()),
    "heldout": tuple("Dresden Marseille Cardiff Verona Gdansk Leiden Salzburg Uppsala".split()),
}
CODE_WORDS: dict[Split, tuple[str, ...]] = {
    "train": tuple("SPRING SUMMER WELCOME FRIEND BONUS HAPPY SUNNY EXTRA THANKS HELLO LUCKY FRESH".split()),
    "live": tuple("AUTUMN WINTER SMILE".split()),
    "heldout": tuple("HARVEST COSY ROCKET".split()),
}
PLANS: dict[Split, tuple[str, ...]] = {
    "train": ("basic", "plus", "family", "large", "duo", "green"),
    "live": ("home", "silver"),
    "heldout": ("premium", "studio"),
}
SIZES: dict[Split, range] = {"train": range(28, 41), "live": range(41, 44), "heldout": range(44, 49)}
MONTHS = "January February March April May June July August September October November December".split()
_FIRST = "Ba Ca Da Fe Ga Ha Jo Ka Le Mi No Pa Ra Sa Te Va Wi Za Lo Mo Be Do".split()
_MIDDLE = "ra li no me ta vi lo na ri se la do ni".split()
_LAST = "na lo ra s n mir la ro ne l th ka do".split()
_RESIDUES: dict[Split, tuple[int, ...]] = {"train": (0, 1, 2, 3, 4), "live": (5,), "heldout": (6,)}
_PERIOD = 7


def _number(split: Split, low: int, high: int, rng: random.Random) -> int:
    """Draw a number of this split: the remainder by seven tells the splits apart."""
    residue = rng.choice(_RESIDUES[split])
    first = low + (residue - low) % _PERIOD
    return rng.randrange(first, high, _PERIOD)


def _made_up_name(rng: random.Random) -> str:
    """Build a name nobody has, so that training cannot be passed by knowing all names."""
    name = rng.choice(_FIRST) + rng.choice(_MIDDLE) + rng.choice(_LAST)
    taken = {*NAMES["live"], *NAMES["heldout"]}
    return "Balina" if name in taken else name


def _name(split: Split, rng: random.Random) -> str:
    if split == "train" and rng.random() < 0.4:
        return _made_up_name(rng)
    return rng.choice(NAMES[split])


def _date(split: Split, rng: random.Random) -> str:
    """Draw a day of the year of this split, numbered so that no date is in two splits."""
    day_of_year = _number(split, 0, 12 * 28, rng)
    return f"{day_of_year % 28 + 1} {MONTHS[day_of_year // 28]}"


def draw(slot: str, split: Split, rng: random.Random) -> str:
    """Draw one value for a slot from the split's own pool."""
    match slot:
        case "name":
            return _name(split, rng)
        case "order":
            return str(_number(split, 10_000, 100_000, rng))
        case "card":
            return str(_number(split, 1_000, 10_000, rng))
        case "amount":
            return f"{_number(split, 12, 400, rng)} euros"
        case "date":
            return _date(split, rng)
        case "product":
            return f"{rng.choice(MATERIALS[split])} {rng.choice(THINGS[split])}"
        case "city":
            return rng.choice(CITIES[split])
        case "code":
            return f"{rng.choice(CODE_WORDS[split])}{_number(split, 10, 100, rng)}"
        case "plan":
            return rng.choice(PLANS[split])
        case "size":
            return str(rng.choice(SIZES[split]))
        case _:
            raise KeyError(slot)
