"""The documentation runs, and leaves nothing out.

One idea: a page is a program.  Its ```python blocks are executed in order in one namespace; a
```text block right behind one is what it printed.  Blocks marked `no-run` are skipped, a block
```c kernel=NAME is laid beside the package's kernels, ```c FILE is written to that file, and what
lies there in the end compiles.  Not a test of style or of links to other sites.
"""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from tools.command_table import render as render_commands
from tools.device_table import render as render_devices
from tools.operator_table import render as render_operators

from lilliput.cli import lilliput
from lilliput.devices import load, names
from lilliput.emu.toolchain import host_compilers
from lilliput.ops import registry
from lilliput.ops.registry import all_ops

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)[^)]*\)")
NAMED = re.compile(r"`((?:src|tests|docs|tools|examples)/[\w./-]+)`")
READ_KERNEL = "lilliput.codegen.emit._resource"


@dataclass(frozen=True)
class Block:
    """A fenced block: its info string, its text, its line, and where its text begins."""

    info: str
    body: str
    line: int
    start: int


def blocks(text: str) -> list[Block]:
    return [
        Block(m["info"].strip(), m["body"], text.count("\n", 0, m.start()) + 1, m.start("body"))
        for m in FENCE.finditer(text)
    ]


def executed(page: Path) -> bool:
    return any(b.info == "python" for b in blocks(page.read_text(encoding="utf-8")))


def relative(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Kernel sources that a page shows: the emitter finds them as if the package had them."""
    shown: dict[str, str] = {}
    module = __import__("lilliput.codegen.emit", fromlist=["emit"])
    package: Callable[[str], str] = module._resource

    def read(path: str) -> str:
        name = path.removeprefix("kernels/")
        return shown[name] if name in shown else package(path)

    monkeypatch.setattr(READ_KERNEL, read)
    return shown


@pytest.fixture
def own_ops(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a page registers is gone after it."""
    monkeypatch.setattr(registry, "_OPS", {op.name: op for op in all_ops()})


@pytest.mark.zig
@pytest.mark.unicorn
@pytest.mark.usefixtures("own_ops")
@pytest.mark.parametrize("page", [p for p in PAGES if executed(p)], ids=relative)
def test_page_runs(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kernels: dict[str, str],
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LILLIPUT_BOARDS", "")
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    name = f"page_{page.stem.replace('-', '_').lower()}"
    module = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)  # dataclasses look their module up
    text = page.read_text(encoding="utf-8")
    printed, corrected, kept = "", "", 0
    for block in blocks(text):
        kind, _, label = block.info.partition(" ")
        if label.startswith("kernel="):
            name = label.removeprefix("kernel=")
            kernels[name] = block.body
            Path("kernels").mkdir(exist_ok=True)
            Path("kernels", name).write_text(block.body, encoding="utf-8")
        elif kind == "c" and label:
            Path(label).write_text(block.body, encoding="utf-8")
        elif block.info == "python":
            printed = run(block, page, module.__dict__)
        elif block.info == "text" and printed:
            corrected += text[kept : block.start] + printed
            kept = block.start + len(block.body)
            if not request.config.getoption("--update-golden"):
                assert printed == block.body, f"{relative(page)}:{block.line} shows other output"
            printed = ""
    for block in blocks(text):
        if (source := block.info.removeprefix("c ")).endswith(".c") and Path(source).exists():
            compile_c(Path(source))
    corrected += text[kept:]
    if corrected != text:
        page.write_text(corrected, encoding="utf-8", newline="\n")


def compile_c(source: Path) -> None:
    """Holds a C file to what is promised of the emitted C, with a compiler of this machine."""
    flags = ["-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-I."]
    flags += ["-Ifirmware"] if Path("firmware").is_dir() else []
    command = [*host_compilers()[0].command, *flags, "-c", str(source), "-o", "checked.o"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def run(block: Block, page: Path, namespace: dict[str, object]) -> str:
    """What the block prints; errors show the page's own lines."""
    out = io.StringIO()
    code = compile("\n" * block.line + block.body, str(page), "exec", dont_inherit=True)
    with contextlib.redirect_stdout(out):
        exec(code, namespace)
    return out.getvalue()


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    missing = [link for link in LINK.findall(text) if not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize(
    ("page", "render"),
    [
        ("docs/commands.md", render_commands),
        ("docs/devices.md", render_devices),
        ("docs/operators.md", render_operators),
    ],
)
def test_generated_page_is_up_to_date(
    page: str, render: Callable[[], str], request: pytest.FixtureRequest
) -> None:
    path = ROOT / page
    if request.config.getoption("--update-golden"):
        path.write_text(render(), encoding="utf-8", newline="\n")
    hint = f"to write it: pytest {request.node.nodeid} -n0 --update-golden"
    assert path.read_text(encoding="utf-8") == render(), hint


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_paths_that_are_named_exist(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    missing = [path for path in NAMED.findall(text) if not (ROOT / path).exists()]
    assert not missing


def test_every_room_is_in_the_layout() -> None:
    text = (ROOT / "docs/layout.md").read_text(encoding="utf-8")
    inside = (ROOT / "src/lilliput").iterdir()
    rooms = {p.stem for p in inside if p.suffix in ("", ".py")} - {"__init__", "__pycache__"}
    assert [room for room in sorted(rooms) if f"`{room}`" not in text] == []


def test_every_command_is_documented() -> None:
    text = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    assert [name for name in lilliput.commands if f"\n## {name}\n" not in text] == []
    assert [name for name, command in lilliput.commands.items() if not command.help] == []


def test_every_operator_is_documented() -> None:
    text = (ROOT / "docs/operators.md").read_text(encoding="utf-8")
    assert [op.name for op in all_ops() if f"| `{op.name}` |" not in text] == []
    assert [op.name for op in all_ops() if not op.doc] == []


def test_every_device_is_documented() -> None:
    text = (ROOT / "docs/devices.md").read_text(encoding="utf-8")
    assert [name for name in names() if f"| `{name}` |" not in text] == []
    assert [name for name in names() if not load(name).sources] == []
