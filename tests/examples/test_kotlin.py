"""The Kotlin client compiles, with declarations in the place of Android and ONNX Runtime."""

import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CLIENT = HERE.parents[1] / "examples" / "kotlin" / "Predictor.kt"
COMPILER = "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"


@pytest.mark.timeout(900)
def test_it_compiles(tmp_path):
    java, kernel = shutil.which("java"), importlib.util.find_spec("run_kotlin_kernel")
    if java is None:
        pytest.skip("Java is not installed")
    if kernel is None or kernel.origin is None:
        pytest.skip("the package kotlin-jupyter-kernel, which holds a Kotlin compiler, is not installed")
    jars = Path(kernel.origin).parent / "jars"
    (library,) = jars.glob("kotlin-stdlib-[0-9]*.jar")
    sources = [CLIENT, HERE / "android_stand_ins.kt", HERE / "json_stand_ins.kt"]
    options = ["-no-stdlib", "-no-reflect", "-Werror", "-cp", str(library), "-d", str(tmp_path)]
    command = [java, "-Xmx900m", "-cp", f"{jars}/*", COMPILER, *options, *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "edgebehave" / "Predictor.class").is_file()
