"""litellm, in an environment of its own: each of `support/litellm_cases.py` is told here."""

import ast
from pathlib import Path
from xml.etree import ElementTree

import pytest

from llm_cost.providers.litellm_replies import request_of
from support import litellm_environment

CASES = Path(litellm_environment.__file__).with_name("litellm_cases.py")
NAMES = [
    node.name
    for node in ast.parse(CASES.read_text()).body
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
]
Outcomes = dict[str, list[str]]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """What each case came to: its failures, none where it passed."""
    report = tmp_path_factory.mktemp("litellm") / "report.xml"
    printed = litellm_environment.run_cases(CASES, report)
    assert report.exists(), printed
    found: Outcomes = {}
    for case in ElementTree.parse(report).iter("testcase"):
        failures = [
            f"{case.get('name')}: {problem.text}"
            for problem in case
            if problem.tag in ("failure", "error", "skipped")
        ]
        found.setdefault(str(case.get("name")).partition("[")[0], []).extend(failures)
    return found


@pytest.mark.timeout(600)  # the first run installs litellm
@pytest.mark.parametrize("name", NAMES)
def test_in_litellms_environment(name: str, outcomes: Outcomes) -> None:
    assert name in outcomes, "it did not run"
    assert not outcomes[name], "\n".join(outcomes[name])


def test_what_litellm_says_of_a_request_may_be_anything() -> None:
    odd = {
        "model": None,
        "custom_llm_provider": 7,
        "additional_args": {"complete_input_dict": "{}", "api_base": None},
        "optional_params": None,
        "call_type": None,
    }

    request = request_of(odd)

    assert (request.provider, request.model, request.operation) == ("", "", "chat")
