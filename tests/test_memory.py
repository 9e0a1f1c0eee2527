"""Keeping freed memory is for commands: asked for, never done by importing."""

import platform
import subprocess
import sys

from kinema._memory import keep_freed_memory


def test_done_on_glibc_unless_the_environment_forbids_it(monkeypatch):
    monkeypatch.setenv("KINEMA_KEEP_MEMORY", "0")
    assert keep_freed_memory() is False
    monkeypatch.delenv("KINEMA_KEEP_MEMORY")
    code = "from kinema._memory import keep_freed_memory; import sys; print(keep_freed_memory(), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(platform.libc_ver()[0] == "glibc"), "False"]
