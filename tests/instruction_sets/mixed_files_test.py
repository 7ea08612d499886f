"""mixed_files_test.py KERNELS COMPILER FLAG...: programs of files with templates in each, compiled for one
instruction set or for several, through headers alone or with the compiled kernels, the library KERNELS.

Files for several must be refused by the linker: it would keep any of the functions that have the same name.
"""

import pathlib
import subprocess
import sys
import tempfile
import unittest

KERNELS, *COMPILER = sys.argv[1:]
del sys.argv[1:]
SETS = ([], ["-mavx2", "-mfma"], ["-mavx2", "-mfma", "-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl"])
REFUSED = "dca_files_of_a_program_need_one_instruction_set"

# A part of its own: templates of the library with what this file was compiled for.
SOURCE = """
#include <dca/dca.hpp>

namespace {{
struct Before {{
  using Layout = dca::ChunkLayout;
  static dca::Index query_position(const Layout&, dca::Index i) {{ return i; }}
  static dca::Index key_position(const Layout&, dca::Index j) {{ return j; }}
  static dca::KeyRange keys(const Layout&, dca::Index i) {{ return {{0, i + 1}}; }}
}};
}}

float mean_{name}() {{
  const dca::ComposedAttention<float, Before> attention(
      {{.chunks = dca::ChunkLayout::from_trained_window(64), .rope = dca::RotaryEmbedding(dca::plain_frequencies(16, 1e4))}});
  Eigen::Tensor<float, 3, Eigen::RowMajor> q(50, 2, 16), kv(50, 1, 16), out(50, 2, 16);
  q.setConstant(0.5f);
  kv.setConstant(1.0f);
  attention(Eigen::DefaultDevice{{}}, dca::blh(q), dca::blh(kv), dca::blh(kv), dca::blh(out));
  return out(49, 1, 15);
}}
"""
CHECK = "  if (const float mean = mean_{name}(); !(mean > 0.999f && mean < 1.001f)) return 1;\n"


class Files(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.path = pathlib.Path(cls.folder.name)

    def compile(self, name, source, flags):
        path, result = self.path / f"{name}.cpp", self.path / f"{name}{''.join(flags)}.o"
        if result.exists():
            return str(result)
        path.write_text(source)
        command = [*COMPILER, "-std=c++20", "-O0", "-w", "-march=x86-64", *flags, "-c", str(path), "-o", str(result)]
        subprocess.run(command, check=True)
        return str(result)

    def link(self, sets, linked):
        """What the linker said, where it refused; otherwise the program has run."""
        flags = ["-DDCA_COMPILED_KERNELS"] if linked else []
        files = range(len(sets))
        objects = [self.compile(str(k), SOURCE.format(name=k), [*sets[k], *flags]) for k in files]
        main = [*(f"float mean_{k}();\n" for k in files), "int main() {\n", *(CHECK.format(name=k) for k in files), "}\n"]
        objects.append(self.compile(f"main{len(sets)}", "".join(main), []))
        program = str(self.path / "program")
        command = [COMPILER[0], *objects, *([KERNELS] if linked else []), "-o", program]
        process = subprocess.run(command, capture_output=True, text=True)
        if process.returncode != 0:
            return process.stderr
        subprocess.run([program], check=True)
        return ""

    def test_one_instruction_set_through_headers(self):
        self.assertEqual(self.link([SETS[0]] * 2, False), "")

    def test_one_instruction_set_with_compiled_kernels(self):
        self.assertEqual(self.link([SETS[0]] * 2, True), "")

    def test_several_through_headers(self):
        self.assertIn(REFUSED, self.link(SETS, False))

    def test_several_with_compiled_kernels(self):
        self.assertIn(REFUSED, self.link(SETS, True))


if __name__ == "__main__":
    unittest.main()
