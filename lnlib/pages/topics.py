"""How the topics around layer normalization are related: the map of the book's last chapter.

The relations are those that the pages of the book show, the glossary says where, or that a source
states. Needs no other package.
"""

from typing import NamedTuple

LN = "layer normalization"
RELATIONS: dict[str, dict[str, tuple[str, ...]]] = {  # relation: {start: ends}
    "uses": {
        "transformer": ("attention", "residual connection", LN),
        "BERT": ("transformer",),
        "GPT": ("transformer",),
        "T5": ("transformer", "RMSNorm"),
        "LLM": ("transformer", "RMSNorm"),
        "Stable Diffusion": ("diffusion model", LN, "group normalization"),
        "diffusion model": ("conditional LN", "group normalization"),
        "GAN": (LN, "spectral normalization"),
        "VAE": ("batch normalization",),
        "RNN": (LN,),
        "deep learning": ("batch normalization", "initialization", "optimizer"),
        LN: ("gain γ", "shift β"),
    },
    "is a special case of": {
        "instance normalization": ("group normalization",),
        LN: ("group normalization", "conditional LN"),
    },
    "replaces": {
        LN: ("batch normalization",),
        "RMSNorm": (LN,),
        "weight normalization": ("batch normalization",),
        "initialization": (LN,),
    },
    "affects": {
        LN: ("learning rate", "mixed precision", "attention sink"),
        "weight decay": ("learning rate",),
        "optimizer": ("learning rate",),
        "initialization": ("learning rate",),
        "warm-up": ("learning rate",),
        "learning rate": ("plasticity",),
        "gain γ": ("outlier dimension",),
        "outlier dimension": ("quantization",),
    },
    "does not explain": {"internal covariate shift": (LN,)},
}
SOURCES = {  # of the relations that no page shows
    ("transformer", "attention"): "vaswani2017attention",
    ("BERT", "transformer"): "devlin2019bert",
    ("GPT", "transformer"): "radford2019language",
    ("T5", "transformer"): "raffel2020exploring",
    ("LLM", "transformer"): "touvron2023llama",
    ("LLM", "RMSNorm"): "touvron2023llama",
    ("Stable Diffusion", "diffusion model"): "rombach2022high",
    ("Stable Diffusion", LN): "rombach2022high",
    ("Stable Diffusion", "group normalization"): "rombach2022high",
    ("diffusion model", "group normalization"): "ho2020denoising",
    ("GAN", "spectral normalization"): "miyato2018spectral",
    ("VAE", "batch normalization"): "vahdat2020nvae",
    ("deep learning", "batch normalization"): "ioffe2015batch",
    ("deep learning", "initialization"): "glorot2010understanding",
    ("deep learning", "optimizer"): "kingma2015adam",
    ("weight normalization", "batch normalization"): "salimans2016weight",
    (LN, "attention sink"): "sun2026spike",
    ("learning rate", "plasticity"): "lyle2024normalization",
    ("gain γ", "outlier dimension"): "kovaleva2021bert",
}
LISTED = (  # what the glossary entry names
    "BERT",
    "batch normalization",
    "deep learning",
    "diffusion model",
    "GAN",
    "GPT",
    "LLM",
    "RNN",
    "Stable Diffusion",
    "T5",
    "transformer",
    "VAE",
)
PLACES: dict[str, tuple[float, float]] = {  # x to the right, y down
    "LLM": (0.1, 0.3),
    "T5": (0.1, 1.3),
    "GPT": (0.1, 2.3),
    "BERT": (0.1, 3.3),
    "transformer": (1, 2.2),
    "attention": (0.45, 4),
    "residual connection": (1.15, 3.7),
    "attention sink": (1.1, 0.1),
    "RMSNorm": (1.7, 1),
    LN: (2, 3.6),
    "internal covariate shift": (2.5, 0.3),
    "mixed precision": (3.1, 0.9),
    "gain γ": (3.05, 2.4),
    "shift β": (3.05, 3.25),
    "outlier dimension": (3.7, 1.5),
    "quantization": (4.4, 0.4),
    "plasticity": (4.3, 2.6),
    "learning rate": (4, 3.9),
    "warm-up": (4.75, 3.3),
    "weight decay": (4.75, 4.2),
    "optimizer": (4.75, 5.2),
    "initialization": (3.3, 4.6),
    "RNN": (0.1, 4.9),
    "GAN": (0.1, 6.4),
    "spectral normalization": (0.1, 8.2),
    "conditional LN": (1.3, 6.1),
    "diffusion model": (1.2, 8),
    "Stable Diffusion": (2, 8.9),
    "group normalization": (2.5, 6.2),
    "instance normalization": (2.8, 7.9),
    "batch normalization": (3.4, 6.1),
    "weight normalization": (3.6, 7.9),
    "VAE": (4.5, 8.2),
    "deep learning": (4.7, 7),
}
NAMES: dict[str, dict[str, str]] = {  # in each language, where not as above
    "en": {},
    "de": {
        "uses": "benutzt",
        "is a special case of": "ist Spezialfall von",
        "replaces": "ersetzt",
        "affects": "wirkt auf",
        "does not explain": "erklärt nicht",
        LN: "Layer Normalization",
        "transformer": "Transformer",
        "attention": "Attention",
        "attention sink": "Attention Sink",
        "residual connection": "Residualverbindung",
        "diffusion model": "Diffusionsmodell",
        "conditional LN": "Conditional LN",
        "batch normalization": "Batch Normalization",
        "group normalization": "Group Normalization",
        "instance normalization": "Instance Normalization",
        "weight normalization": "Weight Normalization",
        "spectral normalization": "Spectral Normalization",
        "deep learning": "Deep Learning",
        "initialization": "Initialisierung",
        "optimizer": "Optimierer",
        "gain γ": "Skalierung γ",
        "shift β": "Verschiebung β",
        "learning rate": "Lernrate",
        "weight decay": "Weight Decay",
        "warm-up": "Warm-up",
        "mixed precision": "gemischte Genauigkeit",
        "plasticity": "Plastizität",
        "outlier dimension": "Ausreißer-Dimension",
        "quantization": "Quantisierung",
        "internal covariate shift": "Internal Covariate Shift",
    },
}


class Edge(NamedTuple):
    """One relation between two topics: the start does it to the end.

    The source, a key of the bibliography, is empty where a page shows the relation.
    """

    relation: str
    start: str
    end: str
    source: str


def translate(text: str, language: str) -> str:
    """Return the name of a topic or a relation in a language of the book, a key of `NAMES`."""
    return NAMES[language].get(text, text)


def edges(language: str = "en") -> list[Edge]:
    """Return the map's relations.

    Args:
        language: a key of `NAMES`.

    Example:
        >>> edges()[0]
        Edge(relation='uses', start='transformer', end='attention', source='vaswani2017attention')
        >>> edges("de")[-1]._asdict()["relation"]
        'erklärt nicht'
    """
    return [
        Edge(
            relation=translate(relation, language),
            start=translate(start, language),
            end=translate(end, language),
            source=SOURCES.get((start, end), ""),
        )
        for relation, starts in RELATIONS.items()
        for start, ends in starts.items()
        for end in ends
    ]


def listed(language: str = "en") -> list[str]:
    """Return the topics that the glossary entry names.

    Example:
        >>> len(listed()), listed("de")[3]
        (12, 'Diffusionsmodell')
    """
    return [translate(topic, language) for topic in LISTED]


def places(language: str = "en") -> dict[str, tuple[float, float]]:
    """Return where each topic stands on the map.

    Example:
        >>> places("de")["Layer Normalization"]
        (2, 3.6)
    """
    return {translate(topic, language): place for topic, place in PLACES.items()}
