"""The package, made from a clean clone with one command, as an application installs and imports it."""

from __future__ import annotations

import email
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest
import zipfile
from pathlib import Path

HERE = Path(__file__).parents[1]
LICENCES = ("LICENSE-APACHE", "LICENSE-MIT")
MODULES = ("__init__.py", "_core.py", "_operation.py", "client.py", "errors.py", "py.typed", "types.py", "webhook.py")


def run(folder: Path, *arguments: str) -> str:
    """Runs this Python in a folder, and returns what it has printed."""
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Package(unittest.TestCase):
    folder: Path

    @classmethod
    def setUpClass(cls) -> None:
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = Path(temporary.name)
        leftovers = shutil.ignore_patterns("__pycache__", ".mypy_cache", "build", "dist", "*.egg-info")
        shutil.copytree(HERE, cls.folder / "clone", ignore=leftovers)
        run(cls.folder / "clone", "-m", "build")
        (cls.folder / "app").mkdir()
        run(cls.folder, "-m", "pip", "install", "--quiet", "--no-deps", "--target", "app", str(cls.built("*.whl")))

    @classmethod
    def built(cls, pattern: str) -> Path:
        (path,) = (cls.folder / "clone/dist").glob(pattern)
        return path

    def test_the_wheel_has_the_code_the_types_and_the_licences_and_nothing_else(self) -> None:
        info = "hubspot_connect-0.1.0.dist-info"
        expected = {f"hubspot_connect/{name}" for name in MODULES} | {f"{info}/licenses/{name}" for name in LICENCES}
        expected |= {f"{info}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "top_level.txt")}
        with zipfile.ZipFile(self.built("*.whl")) as wheel:
            self.assertEqual(set(wheel.namelist()), expected)
            for name in LICENCES:
                self.assertEqual(wheel.read(f"{info}/licenses/{name}"), (HERE.parents[1] / name).read_bytes())
            about = email.message_from_bytes(wheel.read(f"{info}/METADATA"))
        self.assertEqual(about["Requires-Python"], ">=3.10")
        self.assertEqual(about["License-Expression"], "MIT OR Apache-2.0")
        self.assertIn("hubspot", about["Keywords"])
        self.assertEqual(sorted(about.get_all("Requires-Dist", [])), ["anyio>=4", "httpx<1,>=0.27"])

    def test_the_source_distribution_has_the_licences_and_the_readme(self) -> None:
        with tarfile.open(self.built("*.tar.gz")) as sources:
            names = {name.partition("/")[2] for name in sources.getnames()}
        self.assertLessEqual({*LICENCES, "README.md", "pyproject.toml", *(f"hubspot_connect/{name}" for name in MODULES)}, names)

    def test_the_readme_begins_with_the_installation(self) -> None:
        readme = (HERE / "README.md").read_text()
        self.assertTrue(readme.startswith("# hubspot-connect for Python\n\n```sh\npip install ./hubspot-connect/sdk/python\n```\n"))

    def test_an_application_imports_it_and_its_types_hold(self) -> None:
        app = self.folder / "app"
        self.assertEqual(run(app, "-c", "import hubspot_connect; print(hubspot_connect.__file__)").strip(), str(app / "hubspot_connect/__init__.py"))
        shutil.copy(HERE / "tests/consumer.py", app)
        run(app, "-m", "mypy", "--strict", "--python-version", "3.10", "consumer.py")


if __name__ == "__main__":
    unittest.main()
