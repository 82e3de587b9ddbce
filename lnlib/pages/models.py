"""Which norms language models use, where, and in what order they round: one line a model.

Read in the authors' own code where it is public, else in Hugging Face's port, at the revisions
below. An ε counts as stated if the authors' code or their answers say it; the others are the
default of a configuration class or stand in other people's recipes, since the released files were
out of reach. None says that we have not seen it.
"""

from dataclasses import dataclass
from typing import Literal

REVISIONS = {
    "allenai/OLMo": "59a53e3f68e546330ca5a99ec626e58f9ab96494",
    "allenai/OLMo-core": "fa6c5014c9f6e9ee789da2d9c20d5126fee8df0d",
    "MoonshotAI/Kimi-K2": "c6157be8531e1c52f5dfd3bb91a1275b089eac50",
    "deepseek-ai/DeepSeek-V3": "9b4e9788e4a3a731f7567338ed15d3ec549ce03b",
    "google-research/bert": "eedf5716ce1268e56f0a50264a88cafad334ac61",
    "google/gemma_pytorch": "014acb7ac4563a5f77c76d7ff98f31b568c16508",
    "huggingface/transformers": "v4.57.1",
    "kingoflolz/mesh-transformer-jax": "f8315e3003033b23f21d78361b288953064e0e76",
    "meta-llama/llama": "57b0eb62de0636e75af471e49e2f1862d908d9d8",
    "meta-llama/llama-models": "a9c89c471f793423afd4cc3ca8671d6e56fe64cb",
    "mistralai/mistral-inference": "2557e12d0e1878a1562ece30434820f80aa3e12a",
    "openai/finetune-transformer-lm": "a69b5c43b0452462890bca8ff92fb75dee9290cf",
    "openai/gpt-2": "9b63575ef42771a015060c964af2c3da4cf7c8ab",
    "openai/gpt-oss": "7b583341fe16729127f6d5b94a7b09ccae97e1a1",
    "tensorflow/mesh": "da907937e68aa421186f1178d71eb5f736fcb069",
}


@dataclass(frozen=True)
class Model:
    """One model: its norm and what differs from one model to the next.

    The place is that of the norms of attention and MLP; where not Post, one more norm follows after
    the last block. `qk` is the norm of queries and keys, always RMSNorm, or what is done instead;
    "latents" are the narrow vectors that DeepSeek computes queries, keys and values from. `cast`
    says when the normalized numbers, computed in float32, are rounded to the format of the input:
    before or after γ multiplies them, never, or as PyTorch's own function does it.

    Example:
        >>> MODELS[2].name, MODELS[2].eps, MODELS[2].repository
        ('GPT-2', 1e-05, 'openai/gpt-2')
    """

    name: str
    year: int
    norm: Literal["LN", "LN without β", "LN without γ, β", "RMSNorm"]
    place: Literal["post", "pre", "parallel", "output", "around"]
    eps: float
    stated: bool
    gain: Literal["γ", "1 + γ", "no γ"]
    qk: Literal[
        "no norm", "clamp", "cap", "head", "head without γ", "width", "latents", "latents, clip"
    ]
    cast: Literal["before", "after", "never", "torch"] | None
    repository: str
    path: str

    @property
    def source(self) -> str:
        """The address of the file at its revision.

        Example:
            >>> MODELS[2].source
            'https://github.com/openai/gpt-2/blob/9b63575ef42771a015060c964af2c3da4cf7c8ab/src/model.py'
        """
        revision = REVISIONS[self.repository]
        return f"https://github.com/{self.repository}/blob/{revision}/{self.path}"


def _ported(name: str) -> tuple[str, str]:
    path = f"src/transformers/models/{name}/modeling_{name}.py"
    return "huggingface/transformers", path


_GEMMA = "google/gemma_pytorch", "gemma/model.py"
# fmt: off
MODELS = (
    Model("GPT-1", 2018, "LN", "post", 1e-5, True, "γ", "no norm", "never",
          "openai/finetune-transformer-lm", "train.py"),
    Model("BERT", 2018, "LN", "post", 1e-12, True, "γ", "no norm", "never",  # ε: tf.contrib.layers
          "google-research/bert", "modeling.py"),
    Model("GPT-2", 2019, "LN", "pre", 1e-5, True, "γ", "no norm", "never",
          "openai/gpt-2", "src/model.py"),
    Model("T5", 2019, "RMSNorm", "pre", 1e-6, True, "γ", "no norm", "never",
          "tensorflow/mesh", "mesh_tensorflow/transformer/transformer.py"),
    Model("GPT-J", 2021, "LN", "parallel", 1e-5, True, "γ", "no norm", "never",
          "kingoflolz/mesh-transformer-jax", "mesh_transformer/layers.py"),
    # ε of Llama 1: ggml-org/llama.cpp pull request 2384; of Llama 2: meta-llama/llama issue 771
    Model("Llama 1", 2023, "RMSNorm", "pre", 1e-6, False, "γ", "no norm", "before",
          "meta-llama/llama", "llama/model.py"),
    Model("Llama 2, 3", 2023, "RMSNorm", "pre", 1e-5, True, "γ", "no norm", "before",
          "meta-llama/llama-models", "models/llama3/model.py"),
    # ε: NVIDIA/NeMo, nemo/collections/llm/gpt/model/mistral.py
    Model("Mistral 7B", 2023, "RMSNorm", "pre", 1e-5, False, "γ", "no norm", "before",
          "mistralai/mistral-inference", "src/mistral_inference/transformer_layers.py"),
    # clip_qkv: 8 in configs/official-0724/OLMo-7B-0424.yaml, absent from OLMo-7B.yaml
    Model("OLMo 1", 2024, "LN without γ, β", "pre", 1e-5, True, "no γ", "clamp", "torch",
          "allenai/OLMo", "olmo/model.py"),
    Model("Gemma 1", 2024, "RMSNorm", "pre", 1e-6, True, "1 + γ", "no norm", "after", *_GEMMA),
    Model("Command R", 2024, "LN without β", "parallel", 1e-5, False, "γ", "no norm", "after",
          *_ported("cohere")),
    Model("Nemotron-4", 2024, "LN", "pre", 1e-5, False, "1 + γ", "no norm", "torch",
          *_ported("nemotron")),
    Model("Gemma 2", 2024, "RMSNorm", "around", 1e-6, True, "1 + γ", "cap", "after", *_GEMMA),
    # ε, place: configs/official-1124/OLMo2-7B-stage1.yaml
    Model("OLMo 2", 2024, "RMSNorm", "output", 1e-6, True, "γ", "width", "before",
          "allenai/OLMo", "olmo/model.py"),
    Model("DeepSeek-V3", 2024, "RMSNorm", "pre", 1e-6, True, "γ", "latents", "torch",
          "deepseek-ai/DeepSeek-V3", "inference/model.py"),
    Model("Gemma 3", 2025, "RMSNorm", "around", 1e-6, True, "1 + γ", "head", "after", *_GEMMA),
    # QK norm: not in Maverick, says ggml-org/llama.cpp pull request 16042
    Model("Llama 4", 2025, "RMSNorm", "pre", 1e-5, False, "γ", "head without γ", "before",
          "meta-llama/llama-models", "models/llama4/model.py"),
    Model("Qwen3", 2025, "RMSNorm", "pre", 1e-6, False, "γ", "head", "before", *_ported("qwen3")),
    # "reuses the DeepSeekV3CausalLM architecture"; ε: NVIDIA-NeMo/Megatron-Bridge, kimi_provider.py
    Model("Kimi K2", 2025, "RMSNorm", "pre", 1e-6, False, "γ", "latents, clip", None,
          "MoonshotAI/Kimi-K2", "docs/deploy_guidance.md"),
    Model("gpt-oss", 2025, "RMSNorm", "pre", 1e-5, True, "γ", "no norm", "after",
          "openai/gpt-oss", "gpt_oss/torch/model.py"),
    Model("Qwen3-Next", 2025, "RMSNorm", "pre", 1e-6, False, "1 + γ", "head", "after",
          *_ported("qwen3_next")),
    # ε, place: src/olmo_core/nn/transformer/config.py, olmo3_7B
    Model("OLMo 3", 2025, "RMSNorm", "output", 1e-6, True, "γ", "width", "after",
          "allenai/OLMo-core", "src/olmo_core/nn/layer_norm.py"),
)
# fmt: on
