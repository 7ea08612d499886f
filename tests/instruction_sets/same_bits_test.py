"""same_bits_test.py FOLDER LINKED [HEADERS]: whether the templates in a program, and dca::kernels, agree on every bit.

LINKED takes its kernels from dca::kernels, HEADERS has those for AVX2 in it. Both say a digest of their results.
"""

import os
import re
import subprocess
import sys


def digest(folder, program, **environment):
    run = subprocess.run([program, folder, "AVX2 + FMA"], env=os.environ | environment, capture_output=True, text=True)
    if "must be one that the processor and the library have" in run.stderr:
        print("SKIPPED: a build without AVX2")
        sys.exit(0)
    found = re.search(r"^digest ([0-9a-f]+)$", run.stdout, re.MULTILINE)
    if run.returncode != 0 or not found:
        sys.exit(f"{program}: {run.stdout[-400:]}{run.stderr}")
    return found[1]


def main():
    folder, linked, *headers = sys.argv[1:]
    if not headers:
        print("SKIPPED: this CPU has no AVX2")
        return 0
    digests = digest(folder, linked, DCA_INSTRUCTION_SET="avx2"), digest(folder, headers[0])
    print("linked and in headers:", *digests)
    return 0 if digests[0] == digests[1] else 1


if __name__ == "__main__":
    sys.exit(main())
