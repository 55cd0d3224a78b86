"""The habits that ruff and mypy cannot hold. Each message names the replacement."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = (
    "instrumentation/llm_cost",
    "policy_service/llm_cost_policy",
    "collector_processor/llm_cost_processor",
    "grafana/llm_cost_dashboards",
    "cli/llm_cost_cli",
)
GENERATED = ("policy/v1/", "raw/v1/", "pricing/table")
LARGEST_FUNCTION_LINES = 60
LARGEST_FILE_LINES = 400
LARGEST_PARAMETER_COUNT = 8  # keyword-only ones excepted: names at the call say what they are


def _sources() -> list[Path]:
    return [
        path
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if not any(part in path.as_posix() for part in GENERATED)
    ]


SOURCES = _sources()


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _docstrings(tree: ast.Module) -> set[int]:
    return {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def test_there_are_sources_to_check() -> None:
    assert len(SOURCES) > 20


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_functions_and_files_stay_small(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    long = [
        f"{node.name} ({length} lines)"
        for node in _functions(_tree(path))
        if (length := (node.end_lineno or 0) - node.lineno + 1) > LARGEST_FUNCTION_LINES
    ]

    assert lines <= LARGEST_FILE_LINES, f"{_name(path)} has {lines} lines; split it by noun"
    assert not long, f"{_name(path)}: {long}; push ifs up, fors down, and name the steps"


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_functions_take_few_positional_parameters(path: Path) -> None:
    wide = [
        node.name
        for node in _functions(_tree(path))
        if len(node.args.posonlyargs + node.args.args) > LARGEST_PARAMETER_COUNT
    ]

    assert not wide, f"{_name(path)}: {wide} take too many parameters; pass a frozen dataclass"


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_the_environment_is_read_in_settings_only(path: Path) -> None:
    if path.name == "settings.py":
        return
    reads = [
        node.lineno
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "putenv")
    ]

    assert not reads, f"{_name(path)}:{reads} reads the environment; add a field in settings.py"


RAW_NAME_PREFIXES = (
    "gen_ai.",
    "llm_cost.cost.",
    "llm_cost.policy.",
    "llm_cost.call.",
    "llm_cost.price.",
    "llm_cost.usage.",
    "llm_cost.user.",
)
METRIC_PREFIXES = (
    "llm_cost_usd",
    "llm_calls_",
    "llm_tokens_",
    "llm_call_",
    "llm_policy_",
    "llm_tier_",
    "llm_top_",
    "llm_unpriced_",
)


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_attribute_and_metric_names_stand_in_attributes_only(path: Path) -> None:
    # A dialect is by definition a table of other people's names.
    if path.name == "attributes.py" or "dialects" in path.as_posix():
        return
    tree = _tree(path)
    prose = _docstrings(tree)
    raw = [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in prose
        and node.value.startswith(RAW_NAME_PREFIXES + METRIC_PREFIXES)
        # The name of a gRPC service or of one of our modules is not an attribute.
        and not node.value.startswith(("llm_cost.policy.v1", "llm_cost.policy.client"))
    ]

    assert not raw, f"{_name(path)}: {raw}; import the name from llm_cost.attributes"


MONEY_PATHS = (
    "llm_cost/money.py",
    "llm_cost/usage.py",
    "llm_cost/pricing/",
    "llm_cost_policy/engine.py",
    "llm_cost_policy/ledger/",
)
DISPLAY_ONLY = {"usd_display"}


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if any(m in p.as_posix() for m in MONEY_PATHS)], ids=_name
)
def test_money_paths_hold_no_floats(path: Path) -> None:
    tree = _tree(path)
    display = {
        id(inner)
        for node in _functions(tree)
        if node.name in DISPLAY_ONLY
        for inner in ast.walk(node)
    }
    floats = [
        node.lineno
        for node in ast.walk(tree)
        if id(node) not in display
        and (
            (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div))
            or (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "float")
        )
    ]

    assert not floats, f"{_name(path)}:{floats} makes a float; use money.round_half_even"


TEXTS = [
    path
    for pattern in ("*.md", "*.py", "*.toml", "*.yaml", "*.yml", "*.sh", "*.json", "Makefile")
    for path in ROOT.rglob(pattern)
    if not {".venv", ".git", ".cache", "node_modules", ".hypothesis"} & set(path.parts)
]


def test_no_committed_file_names_a_path_of_one_machine() -> None:
    here = (f"{ROOT.parent}/", f"{Path.home()}/")
    named = [_name(path) for path in TEXTS if any(h in path.read_text() for h in here if h != "//")]

    assert not named, f"{named} name a path of this machine; make it relative"
