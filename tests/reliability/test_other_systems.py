"""Without the modules that Windows lacks, imports work, and locks lock or report that they cannot.

The modules are hidden in separate processes.
"""

from __future__ import annotations

import re
import subprocess
import sys

HIDDEN = """
import sys
for name in ("fcntl", "resource"):
    sys.modules[name] = None
"""
# as in msvcrt, a locked byte stays locked until its file is closed
MSVCRT = """
import os, types, torch  # whose own imports ask for msvcrt, too
held = {}
def locking(handle, mode, count):
    there = os.fstat(handle)
    key = (there.st_ino, os.lseek(handle, 0, os.SEEK_CUR), count)
    if key in held:
        raise OSError(13, "Permission denied")
    held[key] = handle
sys.modules["msvcrt"] = types.SimpleNamespace(locking=locking, LK_NBLCK=2, LK_LOCK=1)
"""


def python(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_module_that_locks_or_measures_is_imported_without_fcntl_and_resource():
    printed = python(
        HIDDEN
        + """
import commlearn.training.kept_tokens, commlearn.storage.locks, commlearn.training.train, commlearn.cli
from commlearn.comparison import workers
workers.Path = lambda path: type("Nothing", (), {"exists": lambda self: False})()  # there is no /proc either
print(workers.peak_memory())
"""
    )
    assert printed == "None\n"


def test_a_folder_is_locked_by_msvcrt_where_there_is_no_fcntl(tmp_path):
    printed = python(
        HIDDEN
        + MSVCRT
        + f"""
from pathlib import Path
from commlearn.errors import RunError
from commlearn.storage.locks import hold
folder = Path({str(tmp_path)!r})
first = hold(folder, "training")
try:
    hold(folder, "training")
except RunError as problem:
    print(problem)
(key,) = held
print(key[1:], (folder / "lock").stat().st_size)
"""
    )
    assert "Another process is training in" in printed
    assert printed.endswith(f"({1 << 30}, 1) 0\n")


def test_a_system_without_locks_is_named(tmp_path):
    printed = python(
        HIDDEN
        + f"""
from pathlib import Path
from commlearn.errors import RunError
from commlearn.storage.locks import hold
try:
    hold(Path({str(tmp_path)!r}), "training")
except RunError as problem:
    print(problem)
"""
    )
    assert re.search("Cannot lock the folder .*neither fcntl nor msvcrt.*COMMLEARN_LOCKS", printed)
