"""Start of a module in a child process that ends with its parent: `python -m flows.child_process PID MODULE ARGUMENT...`"""

import os
import runpy
import sys

from mirl.training.parent_process import end_with_parent  # imports no torch, which takes seconds

EXIT_STOPPED = 75
"""Exit code (EX_TEMPFAIL) of a process that was stopped and resumes when begun again; no other is worth a retry."""


if __name__ == "__main__":
    _, parent, module, *arguments = sys.argv
    end_with_parent()
    if os.getppid() != int(parent):
        sys.exit("the process that began this one is gone")
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
